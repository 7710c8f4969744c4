//! Text from outside (file names, cards, messages of other programs) made safe to print on a terminal.
//!
//! A terminal obeys control characters: they clear the screen, set its title, hide what was printed before. The command
//! lines pass everything that they print through these functions. Escaped JSON is still JSON with the same meaning.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` on one line: each control character, line breaks included, is shown as its escape, such as `\n` or `\u001b`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// Like [`escaped`], but keeps line breaks: for text of several lines whose outside parts are already escaped.
#[must_use]
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && is_unsafe(c))
}

/// Control characters, and those that change the direction of the text around them: a file name with one of these can
/// look like another.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_unsafe(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // All of these are below U+10000, so four digits are enough. Writing to a string cannot fail.
            c => drop(write!(safe, "\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_other_text_is_unchanged() {
        assert_eq!(escaped("a\u{1b}[2J\u{1b}]0;x\u{7}b"), r"a\u001b[2J\u001b]0;x\u0007b");
        assert_eq!(escaped("one\ntwo\r\t\u{9b}31m\u{7f}"), r"one\ntwo\r\t\u009b31m\u007f");
        assert_eq!(escaped("photo\u{202e}gpj.exe"), r"photo\u202egpj.exe");
        assert!(matches!(escaped("Hokusai, 神奈川沖浪裏 \\ 🎨"), Cow::Borrowed(_)));
        assert_eq!(escaped_lines("one\n\u{1b}two\n"), "one\n\\u001btwo\n");
    }
}
