//! Events of tasks: one stream that is kept open between calls, or polling where streams do not get through.
//!
//! The server sends pages of events as they happen and a comment at least every 10 s. So silence of
//! [`SILENCE`] means that the line is dead, whatever TCP believes, and the stream is opened anew behind the last
//! page that came: nothing is lost and nothing comes twice.
//!
//! Some proxies hold streams back until they end. They are recognised by a stream that was opened and brought
//! nothing, twice in a row, or by an answer that is no stream; then events are asked for with requests that the
//! server holds (`GET /api/v1/events`), which any proxy lets through, and a stream is tried again after
//! [`POLLING`].

use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::sync::Mutex;
use tokio::time::Instant;
use wavetask_protocol::TaskState;
use wavetask_protocol::native::{EventPage, EventQuery, TaskEvent};

use super::fault::Fault;
use super::transport::{Answer, Ask};
use super::{Core, query_ask};
use crate::error::ClientError;

/// Longest silence of a stream: two comments of the server lost and a little more.
const SILENCE: Duration = Duration::from_secs(25);

/// How long a polling request is held: below what proxies usually allow.
const HELD: Duration = Duration::from_secs(25);

/// How long to poll before a stream is tried again.
const POLLING: Duration = Duration::from_secs(600);

/// Longest message of a stream.
const LONGEST_MESSAGE: usize = 64 << 20;

/// The state between calls.
#[derive(Debug, Default)]
pub(super) struct Events {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<Stream>,
    /// Streams in a row that brought nothing.
    barren: u32,
    polling_until: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    answer: Answer,
    parser: Parser,
    /// The number of the last event that was handed over.
    position: u64,
    /// Whether anything has come.
    fruitful: bool,
}

impl Events {
    /// The next page after this number; an empty one when the server says that nothing happened.
    pub(super) async fn next(&self, core: &Core, after: u64) -> Result<EventPage, ClientError> {
        let mut state = self.state.lock().await;
        let mut retries = core.retries("GET /api/v1/events/stream");
        loop {
            if let Some(until) = state.polling_until {
                if Instant::now() < until {
                    drop(state);
                    let wait_milliseconds = u64::try_from(HELD.as_millis()).unwrap_or(u64::MAX);
                    let query = EventQuery { after, wait_milliseconds, limit: None };
                    return core.call(query_ask("/api/v1/events", &query)?.held(HELD)).await;
                }
                state.polling_until = None;
            }
            if state.stream.as_ref().is_some_and(|stream| stream.position != after) {
                state.stream = None;
            }
            let stream = match &mut state.stream {
                Some(stream) => stream,
                none => match open(core, after).await {
                    Ok(Some(stream)) => none.insert(stream),
                    Ok(None) => {
                        state.polling_until = Some(Instant::now() + POLLING);
                        continue;
                    }
                    Err(fault) => {
                        retries.again(fault).await?;
                        continue;
                    }
                },
            };
            let fault = match stream.next().await {
                Ok(page) => {
                    state.barren = 0;
                    return Ok(page);
                }
                Err(fault) => fault,
            };
            if !stream.fruitful {
                state.barren += 1;
            }
            state.stream = None;
            if state.barren >= 2 {
                tracing::debug!(%fault, "streams bring nothing; asking for events one by one");
                state.barren = 0;
                state.polling_until = Some(Instant::now() + POLLING);
            } else {
                retries.again(fault).await?;
            }
        }
    }
}

/// Opens a stream; `None` if there is something else at its address.
async fn open(core: &Core, after: u64) -> Result<Option<Stream>, Fault> {
    let ask = Ask::get(format!("/api/v1/events/stream?after={after}")).accept("text/event-stream");
    let answer = match tokio::time::timeout(SILENCE, core.transport.open(&ask)).await {
        Ok(Ok(answer)) if is_stream(&answer.headers) => answer,
        Ok(Err(Fault::Refused { status, .. })) if matches!(status.as_u16(), 404 | 405 | 406 | 501) => {
            return Ok(None);
        }
        // Also a head that does not come: it is held back with the rest.
        Ok(Ok(_)) | Err(_) => return Ok(None),
        Ok(Err(fault)) => return Err(fault),
    };
    Ok(Some(Stream { answer, parser: Parser::default(), position: after, fruitful: false }))
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

impl Stream {
    /// May be cancelled without losing anything.
    async fn next(&mut self) -> Result<EventPage, Fault> {
        loop {
            match self.parser.next()? {
                Some(Message::Data(data)) => {
                    let mut page: EventPage =
                        serde_json::from_str(&data).map_err(|error| Fault::Unreadable(error.into()))?;
                    // A proxy that repeats itself does not make things happen twice; the progress of a running task
                    // has the number of the event before it.
                    let is_progress = |event: &TaskEvent| {
                        event.state == TaskState::Running && event.sequence == self.position
                    };
                    page.events.retain(|event| event.sequence > self.position || is_progress(event));
                    self.position = self.position.max(page.last);
                    page.last = self.position;
                    return Ok(page);
                }
                Some(Message::Comment) => return Ok(EventPage { events: Vec::new(), last: self.position }),
                None => {}
            }
            match self.answer.piece_within(SILENCE).await? {
                Some(piece) => {
                    self.fruitful = true;
                    self.parser.feed(&piece)?;
                }
                None => return Err(Fault::Broken("the server ended the stream".into())),
            }
        }
    }
}

/// What a stream says.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Data(String),
    Comment,
}

/// Takes a stream of server-sent events apart, as WHATWG's HTML standard describes it (section 9.2.6).
#[derive(Debug, Default)]
struct Parser {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold no end of a line.
    searched: usize,
    data: Option<String>,
    /// A line ended with a carriage return; a line feed right after it belongs to that end.
    after_return: bool,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let held = self.buffer.len() + self.data.as_ref().map_or(0, String::len);
        if held + bytes.len() > LONGEST_MESSAGE {
            return Err(Fault::Unreadable("a message of the stream does not end".into()));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Message>, Fault> {
        while let Some(line) = self.line() {
            let line = String::from_utf8(line).map_err(|error| Fault::Unreadable(error.into()))?;
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Ok(Some(Message::Data(data)));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => return Ok(Some(Message::Comment)),
                "data" => match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    none => *none = Some(value.to_owned()),
                },
                // The page says its own number; names of events and times are not used.
                _ => {}
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        if self.after_return && self.buffer.first() == Some(&b'\n') {
            self.buffer.remove(0);
        }
        if !self.buffer.is_empty() {
            self.after_return = false;
        }
        let found = self.buffer[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(found) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        self.after_return = line.pop() == Some(b'\r');
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        ": hello\n\nid: 7\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nevent: x\rdata\r\rdata:  two\n\n:\ndata: cut";

    fn expected() -> Vec<Message> {
        let data = |text: &str| Message::Data(text.to_owned());
        vec![Message::Comment, data("{\"a\":\n1}"), data(""), data(" two"), Message::Comment]
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        for length in 1..TEXT.len() {
            let mut parser = Parser::default();
            let mut messages = Vec::new();
            for piece in TEXT.as_bytes().chunks(length) {
                parser.feed(piece).unwrap();
                while let Some(message) = parser.next().unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, expected(), "pieces of {length}");
        }
    }

    #[test]
    fn a_message_without_an_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..=64).find_map(|_| parser.feed(&piece).err());
        assert!(matches!(refused, Some(Fault::Unreadable(_))));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let mut parser = Parser::default();
        parser.feed(b"data: \xff\n\n").unwrap();
        assert!(parser.next().is_err());
    }
}
