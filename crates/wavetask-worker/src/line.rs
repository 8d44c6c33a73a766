//! What a solver child writes on its standard output: one JSON object per line.
//!
//! Lines and not a binary framing, because a person can read them (`wavetask solve …` in a terminal shows
//! what a worker would see) and because a line cut short by a crash is recognised as such.

use wavetask_protocol::{Progress, TaskError};

/// One message from a solver child.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Message {
    /// How far it is.
    Progress(Progress),
    /// A line for the task's log.
    Log {
        /// The line, without a line feed.
        text: String,
    },
    /// The result is there. Only a child that solves several tasks says so; another one just ends.
    Done,
    /// It gives up; the process ends with [`EXIT_FAILED`] after this, or goes on to the next task if it solves
    /// several.
    Failed {
        /// Why.
        error: TaskError,
    },
}

/// Exit code of a child that said why it failed.
pub const EXIT_FAILED: i32 = 3;

/// Bytes of a line beyond which the rest of it is ignored: room for a long error message.
pub const MAXIMUM_LINE_BYTES: usize = 256 << 10;

/// Understands a line. What is no message (a library that prints) becomes a log line: it is worth seeing.
pub fn parse(line: &str) -> Option<Message> {
    let line = line.trim_end_matches(['\n', '\r']);
    if line.trim().is_empty() {
        return None;
    }
    Some(serde_json::from_str(line).unwrap_or_else(|_| Message::Log { text: line.to_owned() }))
}

/// Progress as it may be shown: within 0 and 100, finite, and never going back.
pub fn sane(before: &Progress, mut now: Progress) -> Progress {
    let floor = before.percent.clamp(0.0, 100.0);
    now.percent = if now.percent.is_finite() { now.percent.clamp(floor, 100.0) } else { floor };
    now.residual = now.residual.filter(|residual| residual.is_finite());
    now.stage.truncate(now.stage.char_indices().nth(80).map_or(now.stage.len(), |(index, _)| index));
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_protocol::ErrorKind;

    #[test]
    fn messages_come_back_as_they_were_written() {
        let messages = [
            Message::Progress(Progress { percent: 12.5, residual: Some(1e-3), stage: "solving".into() }),
            Message::Log { text: "mesh: 1000 nodes\nsecond line".into() },
            Message::Failed {
                error: TaskError {
                    kind: ErrorKind::Solver,
                    code: "heat/not-converged".into(),
                    message: "…".into(),
                },
            },
        ];
        for message in messages {
            let line = serde_json::to_string(&message).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(parse(&line), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_is_kept_as_a_log_line() {
        assert_eq!(parse("\r\n"), None);
        assert_eq!(parse("hello\n"), Some(Message::Log { text: "hello".into() }));
        let cut = r#"{"is":"progress","percent":1"#;
        assert_eq!(parse(cut), Some(Message::Log { text: cut.into() }));
    }

    #[test]
    fn progress_stays_within_bounds_and_does_not_go_back() {
        let progress = |percent, residual| Progress { percent, residual, stage: "s".repeat(200) };
        let before = progress(40.0, None);
        assert!((sane(&before, progress(10.0, None)).percent - 40.0).abs() < 1e-12);
        assert!((sane(&before, progress(170.0, None)).percent - 100.0).abs() < 1e-12);
        let odd = sane(&before, progress(f64::NAN, Some(f64::INFINITY)));
        assert!((odd.percent - 40.0).abs() < 1e-12);
        assert_eq!((odd.residual, odd.stage.len()), (None, 80));
    }
}
