use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::name::Name;
use crate::Error;

/// A held lock, as text: to be released, extended or taken over somewhere else.
///
/// Given by [`LockGuard::detach`](crate::LockGuard::detach), and understood by [`LockManager::release`](crate::LockManager::release),
/// [`LockManager::extend`](crate::LockManager::extend) and [`LockManager::adopt`](crate::LockManager::adopt) of any process that
/// has the same nodes. Whoever has it can do so: pass it on like a password. [`Debug`](fmt::Debug) does not show the part that
/// makes it one.
///
/// [`Display`](fmt::Display) and [`FromStr`] are each other's inverse. With the feature `serde` it is serialized as that text.
///
/// ```
/// use redlock_runtime::{LockManager, LockToken};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let message = locks.lock("upload:7").acquire().await?.detach().to_string();
///
/// // In another process, later:
/// let token: LockToken = message.parse()?;
/// assert_eq!(token.name(), "upload:7");
/// println!("takes over from the holder with fencing token {}", token.fencing_token());
/// locks.release(&token).await?;
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LockToken {
    /// The lock's name.
    pub(crate) name: Name,
    /// The owner's value.
    pub(crate) owner: Arc<str>,
    /// The fencing token; zero if there is none.
    pub(crate) fencing_token: u64,
    /// How long the lock lives without renewal.
    pub(crate) ttl: Duration,
}

/// What stands first, so that a later form can be told from this one.
const FORM: &str = "lock1";

impl LockToken {
    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The fencing token, see [`LockGuard::fencing_token`](crate::LockGuard::fencing_token).
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.fencing_token
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, owner, fencing_token, ttl } = self;
        // The name comes last: it may contain anything.
        write!(f, "{FORM}:{owner}:{fencing_token}:{}:{}", ttl.as_millis(), name.as_str())
    }
}

impl FromStr for LockToken {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(5, ':');
        let mut next = || parts.next().unwrap_or_default();
        let (form, owner, fencing_token, ttl, name) = (next(), next(), next(), next(), next());
        let is_owner = |owner: &str| uuid::Uuid::try_parse(owner).is_ok();
        match (fencing_token.parse(), ttl.parse(), Name::parse(name.to_owned())) {
            (Ok(fencing_token), Ok(ttl), Ok(name)) if form == FORM && is_owner(owner) => {
                Ok(Self { name, owner: owner.into(), fencing_token, ttl: Duration::from_millis(ttl) })
            }
            // Without the text: it may be a token but for a letter.
            _ => {
                let reason =
                    "this is not the text of a lock token; pass on what `LockGuard::detach` gave, unchanged".to_owned();
                Err(Error::Config { reason })
            }
        }
    }
}

impl fmt::Debug for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockToken")
            .field("name", &self.name())
            .field("fencing_token", &self.fencing_token)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for LockToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for LockToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "be7b1264-9695-4a70-8158-9ee9a9563379";

    #[test]
    fn what_is_written_is_read() {
        for name in ["a", "invoice:7", "lock1:a:b", "夜 {x}"] {
            let text = format!("lock1:{OWNER}:1763712000000000:30000:{name}");
            let token: LockToken = text.parse().unwrap();
            assert_eq!(token.to_string(), text);
            assert_eq!((token.name(), token.fencing_token()), (name, 1_763_712_000_000_000));
            assert_eq!((&*token.owner, token.ttl), (OWNER, Duration::from_secs(30)));
            assert!(!format!("{token:?}").contains(OWNER), "{token:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        for text in [
            "",
            "lock1",
            "lock1:x:1:30000:a",
            &format!("lock2:{OWNER}:1:30000:a"),
            &format!("lock1:{OWNER}:-1:30000:a"),
            &format!("lock1:{OWNER}:1:a"),
            &format!("lock1:{OWNER}:1:30000:"),
            &format!("lock1:{OWNER}:1:30000:a\n"),
        ] {
            let error = text.parse::<LockToken>().unwrap_err().to_string();
            assert!(error.contains("not the text of a lock token") && !error.contains(OWNER), "{error}");
        }
    }
}
