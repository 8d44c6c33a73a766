//! What a running task has to tell: its progress and its log lines, until the server has taken them.

use std::collections::VecDeque;

use wavetask_protocol::Progress;

use crate::line;

/// Log lines of one attempt beyond this are not kept.
const MAXIMUM_LINES: u64 = 20_000;
/// Characters of one log line.
const MAXIMUM_LINE_CHARACTERS: usize = 4000;
/// Lines in one report.
const LINES_PER_REPORT: usize = 1000;
/// Bytes of log in one request, whatever it reports on. In JSON a byte may become two, and the server takes
/// requests of a megabyte: with more, no heartbeat would ever arrive and all tasks here would be lost.
pub(crate) const BYTES_PER_REQUEST: usize = 256 << 10;

/// Progress and log of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    progress: Progress,
    /// Lines that the server has not confirmed.
    lines: VecDeque<String>,
    /// Number of the first of `lines` among all lines of this attempt.
    first: u64,
}

impl Telling {
    /// The newest progress.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes new progress.
    pub(crate) fn set_progress(&mut self, progress: Progress) {
        self.progress = line::sane(&self.progress, progress);
    }

    /// Takes text for the log, one line or several.
    pub(crate) fn log(&mut self, text: &str) {
        for line in text.lines() {
            let count = self.first + self.lines.len() as u64;
            if count > MAXIMUM_LINES {
                return;
            }
            let line = if count == MAXIMUM_LINES {
                format!("(more than {MAXIMUM_LINES} lines: the rest is not kept)")
            } else {
                line.chars()
                    .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
                    .take(MAXIMUM_LINE_CHARACTERS)
                    .collect()
            };
            self.lines.push_back(line);
        }
    }

    /// Lines that the server has not confirmed yet, about as many as fit into `bytes` and at least one, and
    /// the number of the first of them.
    pub(crate) fn unconfirmed(&self, bytes: usize) -> (u64, Vec<String>) {
        let mut left = bytes;
        let mut fits = |line: &&String| {
            let fits = left > 0;
            left = left.saturating_sub(line.len() + 4);
            fits
        };
        (
            self.first,
            self.lines.iter().take(LINES_PER_REPORT).take_while(|line| fits(line)).cloned().collect(),
        )
    }

    /// Whether there are no more lines than these few.
    pub(crate) fn holds_no_more_than(&self, lines: usize) -> bool {
        self.lines.len() <= lines
    }

    /// Whether the server has all lines.
    pub(crate) fn is_told(&self) -> bool {
        self.lines.is_empty()
    }

    /// The server has taken all lines before number `next`.
    pub(crate) fn confirm(&mut self, next: u64) {
        while self.first < next && self.lines.pop_front().is_some() {
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_until_they_are_confirmed_and_counted_once() {
        let mut telling = Telling::default();
        telling.log("one\ntwo");
        assert_eq!(telling.unconfirmed(BYTES_PER_REQUEST), (0, vec!["one".to_owned(), "two".to_owned()]));
        telling.log("three");
        telling.confirm(2);
        assert_eq!(telling.unconfirmed(BYTES_PER_REQUEST), (2, vec!["three".to_owned()]));
        telling.confirm(1);
        telling.confirm(99);
        assert!(telling.is_told());
        telling.log("four");
        assert_eq!(telling.unconfirmed(BYTES_PER_REQUEST).0, 3);
    }

    #[test]
    fn a_report_is_bounded_in_bytes_and_gets_on_nevertheless() {
        let mut telling = Telling::default();
        for _ in 0..100 {
            telling.log(&"x".repeat(MAXIMUM_LINE_CHARACTERS));
        }
        let (mut told, mut reports) = (0, 0);
        while !telling.is_told() {
            let (first, lines) = telling.unconfirmed(20_000);
            let bytes: usize = lines.iter().map(String::len).sum();
            assert!((1..=20_000 + MAXIMUM_LINE_CHARACTERS).contains(&bytes), "{bytes}");
            told += lines.len();
            reports += 1;
            telling.confirm(first + lines.len() as u64);
        }
        assert_eq!(told, 100);
        assert!(reports >= 20, "{reports}");
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_says_so() {
        let mut telling = Telling::default();
        for number in 0..MAXIMUM_LINES + 100 {
            telling.log(&format!("line {number}\u{1b}[2J"));
        }
        telling.confirm(MAXIMUM_LINES - 1);
        let (first, lines) = telling.unconfirmed(BYTES_PER_REQUEST);
        assert_eq!((first, lines.len()), (MAXIMUM_LINES - 1, 2));
        assert!(lines[1].contains("not kept") && !lines[0].contains('\u{1b}'), "{lines:?}");
    }
}
