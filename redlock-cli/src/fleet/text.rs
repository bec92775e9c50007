//! How columns are written for people.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text that takes so many columns of a terminal: cut with an ellipsis, or filled up.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let width = text.width();
    if width <= columns {
        return format!("{text}{}", " ".repeat(columns - width));
    }
    let (mut cut, mut taken) = (String::new(), 0);
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if taken + width + 1 > columns {
            break;
        }
        taken += width;
        cut.push(character);
    }
    format!("{cut}…{}", " ".repeat(columns.saturating_sub(taken + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_terminal() {
        for (text, expect) in [("ab", "ab  "), ("abcdef", "abc…"), ("夜間作業", "夜… "), ("夜間", "夜間")]
        {
            assert_eq!(padded(text, 4), expect);
        }
    }
}
