use std::collections::BTreeSet;
use std::sync::Arc;

use super::keys::Keys;
use super::name::Name;
use super::slot::slot_of;
use crate::Error;

/// How many locks can be acquired at once, at most. A node is asked for all of them in one script, and the server does nothing else
/// meanwhile.
const MOST_NAMES: usize = 64;

/// Plain locks of several names, which one owner has all of or none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Several {
    /// Their keys, each once, in an order that is the same for everybody: by the slots of a cluster.
    keys: Box<[Arc<str>]>,
    /// What they stand in line for who want the same.
    line: Arc<str>,
}

impl Several {
    /// The locks of these names, of which some may be the same.
    ///
    /// # Errors
    ///
    /// No name, or too many.
    pub(crate) fn new(keys: &Keys, names: impl IntoIterator<Item = Name>) -> Result<Self, Error> {
        let keys: BTreeSet<_> = names
            .into_iter()
            .map(|name| {
                let key: Arc<str> = keys.lock(&name).into();
                (slot_of(&key), key)
            })
            .collect();
        match keys.len() {
            0 => Err(Error::Config { reason: "a lock of no names: name at least one".to_owned() }),
            count if count > MOST_NAMES => Err(Error::Config {
                reason: format!(
                    "a lock of {count} names at once: use {MOST_NAMES} at most, or one name for the whole of what they stand for"
                ),
            }),
            _ => Ok(Self::of(keys.into_iter().map(|(_, key)| key).collect())),
        }
    }

    fn of(keys: Box<[Arc<str>]>) -> Self {
        // No key has a line break.
        Self { line: keys.join("\n").into(), keys }
    }

    /// What they stand in line for who want the same.
    pub(crate) fn line(&self) -> &Arc<str> {
        &self.line
    }

    /// The keys that a line is about.
    pub(crate) fn keys_of_line(line: &str) -> impl Iterator<Item = &str> + Clone {
        line.split('\n')
    }

    /// Their keys.
    pub(crate) fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// Those that are in one slot of a cluster together, slot by slot; nothing if all are in one.
    pub(crate) fn by_slot(&self) -> Vec<Self> {
        let groups: Vec<_> = self.keys.chunk_by(|one, other| slot_of(one) == slot_of(other)).collect();
        if groups.len() == 1 { Vec::new() } else { groups.into_iter().map(|keys| Self::of(keys.into())).collect() }
    }
}

/// What people call a lock of these names: all of them, or as many as there is room for.
///
/// # Errors
///
/// A name that is none.
pub(crate) fn name_of_all(names: &[String]) -> Result<Name, Error> {
    let mut sorted: Vec<_> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let Some((first, others)) = sorted.split_first() else {
        return Err(Error::Config { reason: "a lock of no names: name at least one".to_owned() });
    };
    Name::parse(sorted.join(" + ")).or_else(|_| {
        Name::parse((*first).to_owned())
            .and_then(|first| Name::parse(format!("{} + {} more", first.as_str(), others.len())).or(Ok(first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(names: &[&str]) -> Result<Several, Error> {
        Several::new(&Keys::default(), names.iter().map(|name| Name::parse((*name).to_owned()).unwrap()))
    }

    #[test]
    fn names_are_taken_once_and_in_an_order_that_does_not_depend_on_who_names_them() {
        let one = several(&["a", "b", "c{x}", "a"]).unwrap();
        assert_eq!(one, several(&["c{x}", "b", "a", "b"]).unwrap());
        assert_eq!(one.keys().len(), 3);
        let slots: Vec<_> = one.keys().iter().map(|key| slot_of(key)).collect();
        assert!(slots.is_sorted(), "{slots:?}");
    }

    #[test]
    fn those_in_one_slot_of_a_cluster_are_asked_for_together() {
        assert!(several(&["{x}1", "{x}2"]).unwrap().by_slot().is_empty());
        let parts = several(&["{x}1", "{y}1", "{x}2"]).unwrap().by_slot();
        let mut sizes: Vec<_> = parts.iter().map(|part| part.keys().len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn no_names_and_too_many_are_refused() {
        assert!(several(&[]).is_err());
        let names: Vec<_> = (0..65).map(|name| name.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let error = several(&names).unwrap_err().to_string();
        assert!(error.contains("65 names") && error.contains("64 at most"), "{error}");
        assert!(several(&names[..64]).is_ok());
    }
}
