//! What stands behind the `?` of a URL.
//!
//! A parameter that is not known is an error, because whoever wrote it relies on it: a `db` that is passed over is a lock in
//! another database than the other processes use.

use std::borrow::Cow;

use redis::ProtocolVersion;

use super::{ESCAPES, decoded};

/// Which database the keys are in.
pub(in crate::node) const DATABASE: &str = "db";

/// Which version of its protocol a server is spoken to in.
pub(in crate::node) const PROTOCOL: &str = "protocol";

/// Those whose value may be a password.
const SECRETS: [&str; 2] = ["pass", "sentinel_password"];

/// So much is repeated of the name of a parameter that is not known.
const SHOWN: usize = 32;

/// The parameters of a URL.
#[derive(Debug, Default)]
pub(in crate::node) struct Query<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads parameters, of which these are known.
    pub(in crate::node) fn read(query: &'a str, known: &[&'static str]) -> Result<Self, String> {
        // Behind an unescaped ? in a password, and behind an unescaped & in one, stands its rest.
        let mut may_be_secret = query.contains('@');
        let mut parameters: Vec<(&'static str, _)> = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                return Err(unknown((!may_be_secret).then_some(name), known));
            };
            may_be_secret |= SECRETS.contains(&name);
            if parameters.iter().any(|(earlier, _)| *earlier == name) {
                return Err(format!("it has the parameter {name} twice; write it once"));
            }
            parameters.push((name, decoded(value)?));
        }
        Ok(Self(parameters))
    }

    pub(in crate::node) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Which database the keys are in: `path` and `db` say the same, or one of them is omitted.
    pub(in crate::node) fn database(&self, path: &str) -> Result<i64, String> {
        let in_path = if path.is_empty() { None } else { Some(number(path, "the database in its path", "/1")?) };
        let said = self.get(DATABASE).map(|said| number(said, "its parameter db", "db=1")).transpose()?;
        match (in_path, said) {
            (Some(path), Some(said)) if path != said => {
                Err("its path and its parameter db name different databases; write one of them".to_owned())
            }
            (path, said) => Ok(path.or(said).unwrap_or_default()),
        }
    }

    /// Which protocol is asked for.
    pub(in crate::node) fn protocol(&self) -> Result<Option<ProtocolVersion>, String> {
        match self.get(PROTOCOL) {
            None => Ok(None),
            Some("resp2" | "2") => Ok(Some(ProtocolVersion::RESP2)),
            Some("resp3" | "3") => Ok(Some(ProtocolVersion::RESP3)),
            Some(_) => {
                Err("its parameter protocol is neither resp2 nor resp3; write one of these, or omit it for the \
                            newest that the server knows"
                    .to_owned())
            }
        }
    }
}

fn number(text: &str, what: &str, example: &str) -> Result<i64, String> {
    let digits = Some(text).filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
    // No server has more.
    let number = digits.and_then(|digits| digits.parse::<i32>().ok());
    number.map(i64::from).ok_or_else(|| format!("{what} is not a number from 0 on; write {example}"))
}

fn unknown(name: Option<&str>, known: &[&'static str]) -> String {
    let known = match known {
        [] => "such a node has none".to_owned(),
        known => format!("known are {}", known.join(", ")),
    };
    match name {
        Some(name) => {
            let (shown, rest) = name.char_indices().nth(SHOWN).map_or((name, ""), |(end, _)| (&name[..end], "…"));
            format!(
                "it has the parameter `{}{rest}`, and {known}; omit it (times are settings of the builder, user and \
                 password stand in front of an @)",
                shown.escape_debug()
            )
        }
        None => format!("after its ? is an unknown parameter, and {known}; write the URL {ESCAPES}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = [DATABASE, PROTOCOL, "pass"];

    fn refusal(query: &str) -> String {
        Query::read(query, &KNOWN).unwrap_err()
    }

    #[test]
    fn a_parameter_that_is_not_known_is_named_unless_it_may_be_part_of_a_password() {
        for (query, expect) in [
            ("socket_timeout=5", "the parameter `socket_timeout`, and known are db, protocol, pass; omit it"),
            ("db=1&DB=1", "the parameter `DB`"),
            ("x\u{202e}\n", r"the parameter `x\u{202e}\n`"),
            (&"x".repeat(99), "the parameter `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…`"),
            ("db=1&db=1", "the parameter db twice"),
            ("db=%ff", "no UTF-8"),
        ] {
            assert!(refusal(query).contains(expect), "{query}: {}", refusal(query));
        }
        for query in ["secret@h", "secret=1@h", "pass=se&secret", "pass=se&secret=x"] {
            assert!(refusal(query).contains("an unknown parameter"), "{query}: {}", refusal(query));
            assert!(!refusal(query).contains("secret"));
        }
        assert!(Query::read("db=1", &[]).unwrap_err().contains("`db`, and such a node has none"));
    }

    #[test]
    fn a_database_is_named_by_the_path_or_the_parameter_or_both_alike() {
        for (path, query, expect) in
            [("", "", 0), ("3", "", 3), ("", "db=3", 3), ("3", "db=3", 3), ("", "db=%33&protocol=2", 3)]
        {
            assert_eq!(Query::read(query, &KNOWN).unwrap().database(path), Ok(expect), "{path}?{query}");
        }
        for (path, query, expect) in [
            ("0", "db=1", "different databases"),
            ("abc", "", "the database in its path is not a number"),
            ("-1", "", "the database in its path is not a number"),
            ("1/2", "", "the database in its path is not a number"),
            ("99999999999999999999", "", "the database in its path is not a number"),
            ("", "db=-1", "its parameter db is not a number"),
            ("", "db=", "its parameter db is not a number"),
            ("", "db", "its parameter db is not a number"),
        ] {
            let refusal = Query::read(query, &KNOWN).unwrap().database(path).unwrap_err();
            assert!(refusal.contains(expect), "{path}?{query}: {refusal}");
        }
    }

    #[test]
    fn a_protocol_is_one_of_two() {
        for (query, expect) in [
            ("", None),
            ("protocol=resp2", Some(ProtocolVersion::RESP2)),
            ("protocol=2", Some(ProtocolVersion::RESP2)),
            ("protocol=resp3", Some(ProtocolVersion::RESP3)),
            ("protocol=3", Some(ProtocolVersion::RESP3)),
        ] {
            assert_eq!(Query::read(query, &KNOWN).unwrap().protocol(), Ok(expect), "{query}");
        }
        for query in ["protocol=", "protocol=4", "protocol=RESP3"] {
            let refusal = Query::read(query, &KNOWN).unwrap().protocol().unwrap_err();
            assert!(refusal.contains("neither resp2 nor resp3"), "{refusal}");
        }
    }
}
