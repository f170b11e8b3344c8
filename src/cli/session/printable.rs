//! Names come from elsewhere: none may move the cursor, colour the terminal, hide, or turn the direction of what is shown.

use std::fmt::Write;

use serde_json::Value;

/// Text that shows what is in it.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, c| {
        if is_harmful(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// The same for JSON over several lines, which keeps its meaning: none of these stands outside of its strings.
pub(super) fn printable_json(value: &Value) -> String {
    let mut shown = String::new();
    for c in format!("{value:#}\n").chars() {
        if c == '\n' || !is_harmful(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A string takes whatever is written to it.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Controls, and what Unicode has to format text unseen: directions, joiners, breaks, tags.
fn is_harmful(c: char) -> bool {
    let formats = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    formats || c.is_control()
}

#[cfg(test)]
mod tests {
    //! What reaches a terminal.
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    const NASTY: &str = "a\u{202e}b\u{1b}[31m\u{9b}\u{7f}\n\u{2066}\u{e0041}\u{200d}ü…";

    #[test]
    fn nothing_unseen_reaches_a_terminal_and_letters_do() {
        let shown = printable(NASTY);
        assert!(shown.starts_with("a\\u{202e}b\\u{1b}[31m"), "{shown}");
        assert!(shown.ends_with("ü…"), "{shown}");
        assert!(!shown.chars().any(is_harmful), "{shown:?}");
    }

    #[test]
    fn json_means_the_same_and_has_nothing_unseen_in_it() {
        let value = json!({ "subject": NASTY, NASTY: [1] });
        let shown = printable_json(&value);
        let harmful = |c| c != '\n' && is_harmful(c);
        assert!(!shown.chars().any(harmful), "{shown:?}");
        assert!(
            shown.contains("a\\u202eb") && shown.ends_with("}\n"),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
