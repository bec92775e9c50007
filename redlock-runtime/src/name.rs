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

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
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
    fn braces_spaces_and_any_script_are_fine() {
        for name in ["a", "in{voi}ce:7", "Lohnlauf März", "夜間", &"x".repeat(512)] {
            assert_eq!(Name::parse(name.to_owned()).unwrap().as_str(), name);
        }
    }
}
