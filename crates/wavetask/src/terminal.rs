//! What can be done with standard output, and small texts for people: ages, tables, colours.

use std::io::{self, IsTerminal, Write};

use wavetask_protocol::TaskState;

/// How standard output may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Lines may be drawn anew.
    pub(crate) live: bool,
    /// Colours may be used.
    pub(crate) colours: bool,
}

impl Terminal {
    /// Standard output of this process.
    pub(crate) fn standard_output() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::of(
            io::stdout().is_terminal(),
            set("TERM").and_then(|term| term.into_string().ok()),
            set("NO_COLOR").is_some(),
        )
    }

    fn of(is_terminal: bool, term: Option<String>, no_color: bool) -> Self {
        let live = is_terminal && term.is_some_and(|term| term != "dumb");
        Self { live, colours: live && !no_color }
    }

    /// The state's word, coloured where that is possible; the word alone says everything.
    pub(crate) fn state(self, state: TaskState, width: usize) -> String {
        let word = format!("{:width$}", state.as_str());
        let code = match state {
            TaskState::Success => "32",
            TaskState::Error => "31",
            TaskState::Diverged | TaskState::Aborted | TaskState::Aborting => "33",
            TaskState::Running | TaskState::Publishing => "36",
            _ => return word,
        };
        if self.colours { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word }
    }
}

/// Text of others' making on one line: control characters would move the cursor or hide something.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most `width` characters, with a mark where something was cut off.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A time span in one or two units: `3 s`, `12 min`, `5 h`, `2 d`.
pub(crate) fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

/// Bytes with a binary unit: `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_milliseconds() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}

/// Writes rows as columns, two spaces between; the last column is not padded.
pub(crate) fn table(output: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| visible_width(cell)).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                let padding = widths[column].saturating_sub(visible_width(cell)) + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        writeln!(output, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Characters of a cell without the colour codes that `Terminal::state` adds.
fn visible_width(cell: &str) -> usize {
    let mut width = 0;
    let mut in_code = false;
    for character in cell.chars() {
        match character {
            '\u{1b}' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            _ => width += 1,
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumb_terminals_pipes_and_no_color_are_respected() {
        let of =
            |is_terminal, term: &str, no_color| Terminal::of(is_terminal, Some(term.to_owned()), no_color);
        assert_eq!(of(true, "xterm", false), Terminal { live: true, colours: true });
        assert_eq!(of(true, "xterm", true), Terminal { live: true, colours: false });
        assert_eq!(of(true, "dumb", false), Terminal { live: false, colours: false });
        assert_eq!(of(false, "xterm", false), Terminal { live: false, colours: false });
        assert_eq!(Terminal::of(true, None, false), Terminal { live: false, colours: false });
    }

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let terminal = Terminal { live: true, colours: true };
        let rows = vec![
            vec!["a".to_owned(), terminal.state(TaskState::Error, 0), "end".to_owned()],
            vec!["long".to_owned(), "queued".to_owned(), "end".to_owned()],
        ];
        let mut output = Vec::new();
        table(&mut output, &rows).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text, "a     \u{1b}[31merror\u{1b}[0m   end\nlong  queued  end\n");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!(span(-5), "0 s");
        assert_eq!(span(119_999), "119 s");
        assert_eq!(span(120_000), "2 min");
        assert_eq!(span(3 * 86_400_000), "3 d");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(shortened("waveguide", 5), "wave…");
    }
}
