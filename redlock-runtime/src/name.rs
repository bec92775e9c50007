use crate::Error;

/// The name of a lock: UTF-8, not empty, at most 512 bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name(String);

impl Name {
    /// The longest name, in bytes.
    const LONGEST: usize = 512;

    pub(crate) fn parse(name: String) -> Result<Self, Error> {
        let reason = if name.is_empty() {
            "it is empty; give the lock a name".to_owned()
        } else if name.len() > Self::LONGEST {
            format!("it has {} bytes; use at most {}", name.len(), Self::LONGEST)
        } else if let Some(control) = name.chars().find(|character| character.is_control()) {
            format!("it contains the control character {control:?}; leave it out")
        } else {
            return Ok(Self(name));
        };
        Err(Error::InvalidName { name: shortened(name), reason })
    }

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
    fn braces_spaces_and_any_script_are_fine() {
        for name in ["a", "in{voi}ce:7", "Lohnlauf März", "夜間", &"x".repeat(512)] {
            assert_eq!(Name::parse(name.to_owned()).unwrap().as_str(), name);
        }
    }
}
