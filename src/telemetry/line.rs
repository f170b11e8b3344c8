//! What log lines are made of. Text that others chose is made safe for one line: nothing in it can end the line, the string
//! or the terminal's colour.

use std::cell::RefCell;
use std::io::Write;

use crate::clock::Timestamp;

/// Appends `text` in JSON's escapes (RFC 8259 section 7), without quotes. Beyond what JSON asks for, every control
/// character, line separator and direction override is escaped: such a line is read on terminals too (CVE-2024-45808).
pub(super) fn escape(line: &mut Vec<u8>, text: &str) {
    if text.bytes().all(is_plain) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    let mut rest = text;
    while let Some((at, found)) = rest.char_indices().find(|(_, c)| needs_escape(*c)) {
        let (plain, tail) = rest.split_at(at);
        line.extend_from_slice(plain.as_bytes());
        escape_char(line, found);
        rest = tail.get(found.len_utf8()..).unwrap_or_default();
    }
    line.extend_from_slice(rest.as_bytes());
}

/// The same for bytes that need not be UTF-8.
pub(super) fn escape_bytes(line: &mut Vec<u8>, bytes: &[u8]) {
    escape(line, &String::from_utf8_lossy(bytes));
}

/// Appends what `Display` says, as it is: for numbers and words of our own.
pub(super) fn plain(line: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a Vec can't fail.
    let _ = write!(line, "{value}");
}

/// Appends a number. Several stand in every line, and `Display` is several times as slow.
pub(super) fn number(line: &mut Vec<u8>, number: u64) {
    digits(line, number, 1);
}

/// Appends a number with zeros before it, up to `width` digits.
pub(super) fn digits(line: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = line.len();
    while number > 0 || line.len() < start + width {
        line.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
    }
    if let Some(written) = line.get_mut(start..) {
        written.reverse();
    }
}

/// Begins a member of an object that has one already.
pub(super) fn name(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

/// Appends a member that is text.
pub(super) fn text(line: &mut Vec<u8>, key: &str, value: &str) {
    name(line, key);
    line.push(b'"');
    escape(line, value);
    line.push(b'"');
}

/// The same for bytes that need not be UTF-8.
pub(super) fn bytes(line: &mut Vec<u8>, key: &str, value: &[u8]) {
    name(line, key);
    line.push(b'"');
    escape_bytes(line, value);
    line.push(b'"');
}

/// At most so many.
pub(super) fn cut(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(..at).unwrap_or(bytes)
}

/// RFC 3339. What comes before the second's fraction is rendered once a second.
pub(super) fn write_time(line: &mut Vec<u8>, at: Timestamp) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let _ = SECOND.try_with(|second| {
        let Ok(mut second) = second.try_borrow_mut() else {
            return;
        };
        if second.0 != at.as_secs() {
            *second = (at.as_secs(), rendered_second(at.as_secs()));
        }
        line.extend_from_slice(second.1.as_bytes());
    });
    line.push(b'.');
    digits(line, at.as_millis() % 1000, 3);
    line.push(b'Z');
}

fn rendered_second(second: u64) -> String {
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    let mut text = format!("{time:.0}");
    text.truncate("2000-01-01T00:00:00".len());
    text
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn needs_escape(c: char) -> bool {
    if c.is_ascii() {
        return !u8::try_from(c).is_ok_and(is_plain);
    }
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escape_char(line: &mut Vec<u8>, c: char) {
    match c {
        '"' => line.extend_from_slice(b"\\\""),
        '\\' => line.extend_from_slice(b"\\\\"),
        '\n' => line.extend_from_slice(b"\\n"),
        '\r' => line.extend_from_slice(b"\\r"),
        '\t' => line.extend_from_slice(b"\\t"),
        // All others that need it are in the basic plane: one unit of UTF-16.
        other => plain(line, format_args!("\\u{:04x}", u32::from(other))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut line = Vec::new();
        escape(&mut line, text);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn numbers_are_written_as_display_writes_them() {
        for value in [0, 1, 9, 10, 404, 65_535, u64::MAX] {
            let mut line = b"x".to_vec();
            number(&mut line, value);
            assert_eq!(line, format!("x{value}").into_bytes());
            let mut line = Vec::new();
            digits(&mut line, value, 3);
            assert_eq!(line, format!("{value:03}").into_bytes());
        }
    }

    #[test]
    fn nothing_ends_the_line_or_the_string() {
        assert_eq!(
            escaped("a\r\n{\"b\"}\u{1b}[31m\u{7f}\u{85}\u{2028}\u{202e}\\"),
            "a\\r\\n{\\\"b\\\"}\\u001b[31m\\u007f\\u0085\\u2028\\u202e\\\\"
        );
        assert_eq!(escaped("/für/日本"), "/für/日本");
    }

    proptest! {
        #[test]
        fn json_gives_back_what_went_in(text in any::<String>()) {
            let line = format!("\"{}\"", escaped(&text));
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }

        #[test]
        fn bytes_make_one_json_string(bytes in any::<Vec<u8>>()) {
            let mut line = vec![b'"'];
            escape_bytes(&mut line, &bytes);
            line.push(b'"');
            let back: String = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
