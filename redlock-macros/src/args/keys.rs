use std::fmt::{self, Display, Formatter};

use syn::Ident;

use super::table::arguments;

/// An argument by its keys.
pub(super) struct Argument {
    key: &'static str,
    /// Another name for it.
    other: Option<&'static str>,
}

/// All arguments from the table.
///
/// ```text
/// "ttl" | "auto_release_time" => ttl: Time, value(Time::parse);
///
/// // becomes
/// Argument { key: "ttl", other: Some("auto_release_time") },
/// ```
macro_rules! keys {
    ($($presence:ident { $(
        #[doc = $cells:literal]
        $key:literal $(| $other:literal)? => $field:ident: $type:ty, $how:ident($parse:path);
    )* })*) => {
        &[$($(Argument { key: $key, other: [$($other)?].first().copied() },)*)*]
    };
}

pub(super) const ARGUMENTS: &[Argument] = arguments!(keys);

impl Argument {
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        [self.key].into_iter().chain(self.other)
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.key)?;
        self.other.map_or(Ok(()), |other| write!(f, " (or `{other}`)"))
    }
}

/// All arguments, as an error lists them.
pub(super) fn list() -> String {
    let arguments: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
    arguments.join(", ")
}

pub(super) fn is_known(key: &str) -> bool {
    keys().any(|known| known == key)
}

fn keys() -> impl Iterator<Item = &'static str> {
    ARGUMENTS.iter().flat_map(Argument::keys)
}

/// The fault of an argument that is given a second time, as `key`.
pub(super) fn duplicate(key: &Ident) -> syn::Error {
    let also = ARGUMENTS.iter().find_map(|argument| match argument {
        Argument { key: name, other: Some(other) } if key == name => {
            Some(format!(" (`{other}` is another name for it)"))
        }
        Argument { key: name, other: Some(other) } if key == other => {
            Some(format!(" (it is another name for `{name}`)"))
        }
        Argument { .. } => None,
    });
    syn::Error::new_spanned(key, format!("`{key}` is given twice{}", also.unwrap_or_default()))
}

/// The key that was meant, if a third of the letters or fewer have to change.
pub(super) fn nearest(written: &str) -> Option<&'static str> {
    let written = written.to_lowercase();
    let (changes, key) = keys().map(|key| (changes_between(&written, key), key)).min()?;
    (changes <= (key.len() / 3).max(1)).then_some(key)
}

/// How many letters have to be added, dropped, replaced, or swapped with the next one.
///
/// Source: the optimal string alignment distance.
fn changes_between(written: &str, key: &str) -> usize {
    let (written, key): (Vec<char>, Vec<char>) = (written.chars().collect(), key.chars().collect());
    let mut rows = vec![vec![0; key.len() + 1]; written.len() + 1];
    for at in 0..=written.len() {
        for other in 0..=key.len() {
            if at == 0 || other == 0 {
                rows[at][other] = at + other;
                continue;
            }
            let replaced = rows[at - 1][other - 1] + usize::from(written[at - 1] != key[other - 1]);
            let mut least = replaced.min(rows[at - 1][other] + 1).min(rows[at][other - 1] + 1);
            if at > 1 && other > 1 && written[at - 1] == key[other - 2] && written[at - 2] == key[other - 1] {
                least = least.min(rows[at - 2][other - 2] + 1);
            }
            rows[at][other] = least;
        }
    }
    rows[written.len()][key.len()]
}
