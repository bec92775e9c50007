use std::fmt::{Display, Write as _};

use crate::Error;

/// The name of a lock: UTF-8, not empty, at most 512 bytes, no control characters; unless it is [another client's](Self::of_any_client).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name(String);

impl Name {
    /// The longest name, in bytes.
    const LONGEST: usize = 512;

    pub(crate) fn parse(name: String) -> Result<Self, Error> {
        let reason = if name.is_empty() {
            Self::EMPTY.to_owned()
        } else if name.len() > Self::LONGEST {
            format!("it has {} bytes; use at most {}", name.len(), Self::LONGEST)
        } else if let Some(control) = name.chars().find(|character| character.is_control()) {
            format!("it contains the control character {control:?}; remove it")
        } else {
            return Ok(Self(name));
        };
        Err(Error::InvalidName { name: shortened(name), reason })
    }

    /// A name that only is looked at, or reset: clients of other kinds bound theirs by other rules, and whoever is to mend a lock has to see it.
    pub(crate) fn of_any_client(name: String) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::InvalidName { name, reason: Self::EMPTY.to_owned() });
        }
        Ok(Self(name))
    }

    /// What is wrong with a name without a character.
    const EMPTY: &str = "it is empty; give the lock a name";

    /// The error of an annotated call whose name holds `{argument}`: all its calls would share one lock.
    pub(crate) fn refuse_unfilled(name: String, argument: &str) -> Error {
        let reason = format!(
            "`{{{argument}}}` in it is not filled in, so that calls with different arguments would share one lock; an argument \
             is inserted into text that stands in the attribute itself, as in `name = \"…:{{{argument}}}\"`, or by `name = \
             format!(\"…:{{}}\", {argument})`, whose braces are taken as they are"
        );
        Error::InvalidName { name: shortened(name), reason }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first of these arguments that `text` holds in braces, as a template does: `{id}`, `{id:>5}`, `{self.id}`.
pub(crate) fn unfilled(text: &str, arguments: &[&'static str]) -> Option<&'static str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        rest = after;
        let Some((placeholder, _)) = after.split_once('}') else { break };
        let placeholder = placeholder.trim();
        let end = placeholder.find([':', '.']).unwrap_or(placeholder.len());
        let (argument, format) = placeholder.split_at(end);
        // A value that is shown as `{id: 5}` is no template.
        if format.contains(char::is_whitespace) {
            continue;
        }
        if let Some(found) = arguments.iter().find(|name| **name == argument) {
            return Some(found);
        }
    }
    None
}

/// The name of a lock that is made of several values, as only these values make it.
///
/// The parts are joined by colons, and a colon or a percent sign *within* one is escaped (`%3A`, `%25`), as is a control
/// character, of which names have none. So ("acme:x", "y") and ("acme", "x:y") are two locks, which
/// `format!("{tenant}:{document}")` makes one. Parts that have none of these characters are joined as they are: `["invoice", "7"]`
/// is the lock `invoice:7`. [`name_of!`](crate::name_of) takes parts of different types.
///
/// ```
/// use redlock_runtime::name_from_parts;
///
/// assert_eq!(name_from_parts(["invoice", "7"]), "invoice:7");
/// assert_ne!(name_from_parts(["acme:x", "y"]), name_from_parts(["acme", "x:y"]));
/// ```
#[must_use]
pub fn name_from_parts<P: Display>(parts: impl IntoIterator<Item = P>) -> String {
    let mut name = String::new();
    for (position, part) in parts.into_iter().enumerate() {
        if position > 0 {
            name.push(':');
        }
        for character in part.to_string().chars() {
            if matches!(character, ':' | '%') || character.is_control() {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    // Text takes whatever is written to it.
                    let _ = write!(name, "%{byte:02X}");
                }
            } else {
                name.push(character);
            }
        }
    }
    name
}

/// The name of a lock that is made of several values of whatever types, as only these values make it: see
/// [`name_from_parts`].
///
/// ```
/// use redlock_runtime::{name_of, redlock};
///
/// #[redlock(name = name_of!("document", tenant, number), timeout = -1, silent)]
/// async fn index(tenant: &str, number: u64) -> bool {
///     true
/// }
///
/// assert_eq!(name_of!("document", "acme:x", 7), "document:acme%3Ax:7");
/// ```
#[macro_export]
macro_rules! name_of {
    ($($part:expr),+ $(,)?) => {
        $crate::name_from_parts([$(&$part as &dyn ::core::fmt::Display),+])
    };
}

/// So that a message does not repeat a megabyte that was passed by mistake.
fn shortened(name: String) -> String {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        None => name,
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expect: &str) {
        let error = Name::parse(name.to_owned()).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn what_cannot_name_a_lock_is_refused_with_the_cure() {
        check("", "it is empty");
        check("nightly\nreport", "'\\n'");
        check("a\u{0}b", "control character");
        check(&"x".repeat(513), "513 bytes; use at most 512");
    }

    #[test]
    fn whoever_looks_at_a_lock_may_name_what_others_call_theirs() {
        for name in ["nightly\nreport", "a\u{0}b", &"x".repeat(513)] {
            assert_eq!(Name::of_any_client(name.to_owned()).unwrap().as_str(), name);
        }
        assert!(Name::of_any_client(String::new()).is_err());
    }

    #[test]
    fn an_argument_in_braces_is_found_however_it_is_formatted() {
        let arguments = ["self", "id", "kind"];
        for (text, expect) in [
            ("invoice:{id}", Some("id")),
            ("{kind}:{id}", Some("kind")),
            ("{other}:{id:>5}", Some("id")),
            ("invoice:{self.id}", Some("self")),
            ("invoice:{ id }", Some("id")),
            ("invoice:{{id}}", Some("id")),
            ("invoice:{ {id}", Some("id")),
            ("invoice:7", None),
            ("invoice:{}", None),
            ("invoice:{0}", None),
            ("invoice:{", None),
            ("in{voi}ce:id", None),
            ("Invoice {id: 5, kind: 2}", None),
            ("{identity}", None),
        ] {
            assert_eq!(unfilled(text, &arguments), expect, "{text}");
        }
        assert_eq!(unfilled("{id}", &[]), None);
    }

    #[test]
    fn other_parts_make_another_name() {
        let all: [&[&str]; 13] = [
            &["t", "acme:x", "y"],
            &["t", "acme", "x:y"],
            &["t", "acme%3Ax", "y"],
            &["t:acme", "x", "y"],
            &["t", "acme", "x", "y"],
            &["t", "acme", "x", "y", ""],
            &["t", "", "acme"],
            &["t", "acme", ""],
            &["%"],
            &["%25"],
            &["%2525"],
            &["a\nb"],
            &["a%0Ab"],
        ];
        let names: std::collections::HashSet<_> = all.iter().map(|parts| name_from_parts(*parts)).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        assert!(names.iter().all(|name| Name::parse(name.clone()).is_ok()), "{names:?}");
        assert_eq!(name_of!("invoice", 7, "für Müller"), "invoice:7:für Müller");
        assert_eq!(name_from_parts(["a\u{85}"]), "a%C2%85");
    }

    #[test]
    fn braces_spaces_and_any_script_are_fine() {
        for name in ["a", "in{voi}ce:7", "Lohnlauf März", "夜間", &"x".repeat(512)] {
            assert_eq!(Name::parse(name.to_owned()).unwrap().as_str(), name);
        }
    }
}
