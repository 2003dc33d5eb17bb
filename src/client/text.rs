//! What numbers mean, in words for a person.

use crate::coap::Code;

/// `4.04 Not Found`.
pub fn code(code: Code) -> String {
    let name = match (code.class(), code.detail()) {
        (2, 1) => "Created",
        (2, 2) => "Deleted",
        (2, 3) => "Valid",
        (2, 4) => "Changed",
        (2, 5) => "Content",
        (4, 0) => "Bad Request",
        (4, 1) => "Unauthorized",
        (4, 2) => "Bad Option",
        (4, 3) => "Forbidden",
        (4, 4) => "Not Found",
        (4, 5) => "Method Not Allowed",
        (4, 6) => "Not Acceptable",
        (4, 8) => "Request Entity Incomplete",
        (4, 9) => "Conflict",
        (4, 12) => "Precondition Failed",
        (4, 13) => "Request Entity Too Large",
        (4, 15) => "Unsupported Content-Format",
        (4, 22) => "Unprocessable Entity",
        (4, 29) => "Too Many Requests",
        (5, 0) => "Internal Server Error",
        (5, 1) => "Not Implemented",
        (5, 2) => "Bad Gateway",
        (5, 3) => "Service Unavailable",
        (5, 4) => "Gateway Timeout",
        (5, 5) => "Proxying Not Supported",
        _ => return number(code),
    };
    format!("{} {name}", number(code))
}

/// `4.04`.
pub fn number(code: Code) -> String {
    format!("{}.{:02}", code.class(), code.detail())
}

/// Why an update ended (`swupdateresult`, Table 5 of the OCF draft).
pub fn result(result: u64) -> String {
    match result {
        0 => "nothing to report".into(),
        1 => "success".into(),
        2 => "the device has not enough memory".into(),
        3 => "the device has not enough room for the package".into(),
        4 => "the device lost the connection to the package's server, or never had one".into(),
        5 => {
            "the package is not valid for this device: damaged, not signed by a vendor it trusts, \
              made for another device, or older than what it has"
                .into()
        }
        6 => "the device does not accept the package's URL".into(),
        7 => "the device does not speak the protocol of the package's URL".into(),
        8 => "the update failed on the device, which keeps its old software".into(),
        404 => "the package's server does not have it (404)".into(),
        400..=600 => format!("the package's server refused it (status {result})"),
        _ => format!("a result that OCF does not define ({result})"),
    }
}

/// Text of a stranger, fit to be shown: control characters could play tricks with the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_bidirectional(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Characters that change the direction of what follows.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_results_have_words() {
        assert_eq!(code(Code::NOT_FOUND), "4.04 Not Found");
        assert_eq!(code(Code(0xbf)), "5.31");
        for result_code in (0..=8).chain([400, 404, 503, 600, 9, 1000]) {
            let words = result(result_code);
            assert!(words.len() > 5, "{words}");
        }
    }

    #[test]
    fn a_stranger_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\n\u{9b}c\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d"
        );
        assert_eq!(printable("Küche 7"), "Küche 7");
    }
}
