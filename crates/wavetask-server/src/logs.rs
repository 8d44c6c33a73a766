//! Task logs as text.

use wavetask_core::TaskRecord;
use wavetask_store::LogLine;

use crate::answer::Refused;
use crate::app::App;

/// Lines that are read at once.
const LINES: usize = 2_000;

/// The log of the latest attempt that wrote one, or of all attempts with a heading for each if there were
/// several: what a user reads after a crash is what led to it. At most [`crate::Limits::log_bytes`], of
/// which the end is kept. Blocks.
pub(crate) fn text(app: &App, record: &TaskRecord) -> Result<String, Refused> {
    text_with(app, record, None)
}

/// The same with lines of the current attempt that are not stored yet, and the number of the first of them.
pub(crate) fn text_with(
    app: &App,
    record: &TaskRecord,
    rest: Option<(u64, &[String])>,
) -> Result<String, Refused> {
    let mut text = String::new();
    let mut attempt = None;
    let mut take = |line: &LogLine| {
        if attempt != Some(line.attempt) {
            if record.attempt > 1 {
                text.push_str(&format!("--- attempt {} ---\n", line.attempt));
            }
            attempt = Some(line.attempt);
        }
        text.push_str(&line.text);
        text.push('\n');
        if text.len() > 2 * app.config.limits.log_bytes {
            cut(&mut text, app.config.limits.log_bytes);
        }
    };
    each_line(app, record, None, |line| {
        if line.attempt != record.attempt || rest.is_none_or(|(first, _)| line.number < first) {
            take(line);
        }
    })?;
    if let Some((first, lines)) = rest {
        for (number, text) in (first..).zip(lines) {
            take(&LogLine { attempt: record.attempt, number, text: text.clone() });
        }
    }
    if text.len() > app.config.limits.log_bytes {
        cut(&mut text, app.config.limits.log_bytes);
    }
    Ok(text)
}

/// Goes through the lines after a place.
pub(crate) fn each_line(
    app: &App,
    record: &TaskRecord,
    mut after: Option<(u32, u64)>,
    mut take: impl FnMut(&LogLine),
) -> Result<(), Refused> {
    loop {
        let page = app.tasks.read_log(record.id(), after, LINES)?;
        for line in &page.lines {
            take(line);
        }
        match page.lines.last() {
            Some(last) if page.more => after = Some((last.attempt, last.number)),
            _ => return Ok(()),
        }
    }
}

/// Keeps whole lines of the end.
fn cut(text: &mut String, bytes: usize) {
    let mut from = text.len() - bytes;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let from = text[from..].find('\n').map_or(from, |at| from + at + 1);
    text.replace_range(..from, "[… earlier lines left out …]\n");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_end_of_a_long_log_is_kept_from_the_start_of_a_line() {
        let mut text = "ä first line\nsecond line\nthird line\n".to_owned();
        super::cut(&mut text, 15);
        assert_eq!(text, "[… earlier lines left out …]\nthird line\n");
    }
}
