//! How wide the reader's screen is.

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// A screen narrower than this is not written for.
const COLUMNS_MIN: usize = 20;

/// The columns of whatever `output` goes to, or what COLUMNS says; `None` where it is no screen, and
/// lines may be as long as they like.
pub(super) fn columns(output: &(impl AsFd + IsTerminal)) -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || {
        let size = rustix::termios::tcgetwinsize(output).ok().filter(|_| output.is_terminal())?;
        // Some terminals do not know.
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    };
    said.or_else(seen).map(|columns| columns.max(COLUMNS_MIN))
}

/// Breaks a text into lines of at most `width` characters, between words where there are any.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut length = 0;
        for word in paragraph.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            let gap = usize::from(!line.is_empty());
            if length + gap + word.len() <= width {
                line.extend([' '].iter().take(gap));
                length += gap + word.len();
                line.extend(word);
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            while word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            length = word.len();
            line.extend(word);
        }
        lines.push(line);
    }
    if lines.is_empty() { vec![String::new()] } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("a\nb", 10), ["a", "b"]);
        assert_eq!(wrapped("", 10), [""]);
        for width in 1..30 {
            let text = "a device at [fe80::1%eth0]:40001 says: 0123456789abcdef";
            let lines = wrapped(text, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }
}
