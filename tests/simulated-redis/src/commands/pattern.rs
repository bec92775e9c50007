//! Patterns of keys.

/// Whether a text matches a pattern with `*`, `?`, `[…]` and `\`.
// Source: `stringmatchlen`, https://github.com/redis/redis/blob/7.0/src/util.c
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
        (_, []) => false,
        ([b'?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([b'[', class @ ..], [first, text @ ..]) => {
            let (is_in, rest) = in_class(class, *first);
            is_in && matches(rest, text)
        }
        ([b'\\', literal, rest @ ..] | [literal, rest @ ..], [first, text @ ..]) => {
            literal == first && matches(rest, text)
        }
    }
}

/// Whether a byte is in a class of bytes, and what follows that.
fn in_class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_negated, mut class) = match class {
        [b'^', class @ ..] => (true, class),
        class => (false, class),
    };
    let mut is_in = false;
    loop {
        class = match class {
            [] => break,
            [b']', rest @ ..] => {
                class = rest;
                break;
            }
            [b'\\', literal, rest @ ..] => {
                is_in |= *literal == byte;
                rest
            }
            [low, b'-', high, rest @ ..] => {
                is_in |= (low.min(high)..=low.max(high)).contains(&&byte);
                rest
            }
            [literal, rest @ ..] => {
                is_in |= *literal == byte;
                rest
            }
        };
    }
    (is_in != is_negated, class)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_those_of_redis() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"\[x\]*", "[x]y", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expect, "{pattern} {text}");
        }
    }
}
