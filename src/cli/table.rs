//! Facts as a person reads them: a heading, then names and values in two columns.

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal, Write as _, stdout};

use super::width;

/// Rows are printed when all are known, so that the columns line up.
pub(super) struct Table {
    heading: String,
    rows: Vec<(String, String)>,
}

/// Columns below which values get lines of their own.
const VALUE_COLUMNS_MIN: usize = 24;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

impl Table {
    pub(super) fn new(heading: impl Display) -> Self {
        Self { heading: heading.to_string(), rows: vec![] }
    }

    pub(super) fn row(mut self, name: impl Display, value: impl Display) -> Self {
        self.rows.push((name.to_string(), value.to_string()));
        self
    }

    /// Prints to standard output, in colours only where a person looks at it.
    pub(super) fn print(&self) {
        let colours = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        // A reader that has gone away is no reason to complain.
        let columns = width::columns(&stdout());
        let _ = stdout().write_all(self.text(colours, columns).as_bytes());
    }

    fn text(&self, colours: bool, columns: Option<usize>) -> String {
        let (bold, dim, reset) = if colours { (BOLD, DIM, RESET) } else { ("", "", "") };
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = format!("{bold}{}{reset}\n", self.heading);
        // The two columns, and below each other where that leaves too little for the second.
        let room = columns.map(|columns| columns.saturating_sub(width + 4));
        for (name, value) in &self.rows {
            let lines = match room {
                Some(room) if room >= VALUE_COLUMNS_MIN => width::wrapped(value, room),
                Some(_) => {
                    let _ = writeln!(text, "  {dim}{name}{reset}");
                    for line in width::wrapped(value, columns.unwrap_or_default() - 4) {
                        let _ = writeln!(text, "    {line}");
                    }
                    continue;
                }
                None => vec![value.clone()],
            };
            for (n, line) in lines.iter().enumerate() {
                let name = if n == 0 { name } else { "" };
                let _ = writeln!(text, "  {dim}{name:width$}{reset}  {line}");
            }
        }
        text
    }
}

/// `33.6 MB (33 554 432 bytes)`: a size that can be grasped and compared.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    format!("{} ({} bytes)", indicatif::DecimalBytes(bytes), grouped(bytes))
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && n % 3 == first % 3 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let table = Table::new("Thing").row("a", 1).row("long", "two");
        assert_eq!(table.text(false, None), "Thing\n  a     1\n  long  two\n");
    }

    #[test]
    fn a_table_fits_a_narrow_screen() {
        let digest = "0123456789abcdef".repeat(4);
        let table = Table::new("Thing").row("digest of the payload", digest).row("b", "one two");
        for columns in [40, 60, 80] {
            let text = table.text(false, Some(columns));
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
        }
        assert_eq!(
            Table::new("Thing").row("a", "one two three four").text(false, Some(30)),
            "Thing\n  a  one two three four\n"
        );
    }

    #[test]
    fn sizes_are_shown_twice_when_they_are_large() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(33_554_432), "33.55 MB (33 554 432 bytes)");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(123_456), "123 456");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
