//! Text that somebody else wrote, as people are shown it.

use std::fmt::{self, Write};

/// A text whose control and bidirectional characters are shown as `\u{…}`: whoever writes one into a name or a label would
/// else write over what stands before it, or turn around what comes after it, on the terminal of whoever reads it.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(&'a str);

pub(crate) fn shown(text: &str) -> Shown<'_> {
    Shown(text)
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() || is_directive(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Whether it says in which direction or on which line the text beside it is shown.
// Source: the property Bidi_Control, https://www.unicode.org/Public/UCD/latest/ucd/PropList.txt; and the two separators of lines
fn is_directive(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_directs_a_terminal_is_escaped_and_any_script_is_left() {
        for (text, expect) in [
            ("host pid 7", "host pid 7"),
            ("夜間 März עברית \u{1f511}", "夜間 März עברית \u{1f511}"),
            ("a\u{1b}[2Jb\r\n", r"a\u{1b}[2Jb\u{d}\u{a}"),
            ("\u{202e}live\u{2066}\u{200f}\u{9b}", r"\u{202e}live\u{2066}\u{200f}\u{9b}"),
        ] {
            assert_eq!(shown(text).to_string(), expect);
        }
    }
}
