//! How scripts name keys beside the lock's.

use redis::Value;

/// How scripts that acquire, extend and release a lock name the keys beside it, without which they go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Beside {
    /// The key of those who wait for the lock.
    pub(in crate::node) contenders: Mention,
    /// The key of what is noted about the owner.
    pub(in crate::node) notes: Mention,
}

/// How a script names a key without which it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) enum Mention {
    /// As an argument: Redis lets scripts touch keys that are not declared, and refuses the whole script to a user who may not
    /// touch one that is.
    #[default]
    Argument,
    /// As one of its keys: the server refuses others, and the user may touch it.
    Key,
    /// Not at all: the server refuses those that are not declared, and the user may not touch it.
    Nowhere,
}

impl Mention {
    /// Reads what came of touching a key of this kind undeclared and declared.
    pub(super) fn read(undeclared: &Value, declared: &Value) -> Self {
        let Some(refusal) = refusal(undeclared) else { return Self::Argument };
        // A server of a cluster may not have the key at all; some say why they refuse, and tell that the user may by sending on.
        let is_strict = refusal.contains("declar");
        match self::refusal(declared) {
            None => Self::Key,
            Some(other) if is_strict && ["moved", "ask", "clusterdown"].iter().any(|code| other.starts_with(code)) => {
                Self::Key
            }
            Some(_) if is_strict => Self::Nowhere,
            Some(_) => Self::Argument,
        }
    }

    /// The key where it is one of the script's arguments, and where it is one of its keys.
    pub(in crate::node) fn of(self, key: Option<String>) -> (Option<String>, Option<String>) {
        match self {
            Self::Argument => (key, None),
            Self::Key => (key.clone(), key),
            Self::Nowhere => (None, None),
        }
    }
}

/// The words of an error, in lower case.
fn refusal(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else { return None };
    Some(format!("{} {}", error.code(), error.details().unwrap_or_default()).to_lowercase())
}

impl Beside {
    /// The same where a second key is not to be declared.
    pub(in crate::node) fn of_one_key(self) -> Self {
        let without = |mention| if mention == Mention::Key { Mention::Nowhere } else { mention };
        Self { contenders: without(self.contenders), notes: without(self.notes) }
    }
}
