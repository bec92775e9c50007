use std::fmt::Write as _;
use std::sync::Arc;

use super::name::Name;
use super::slot;

/// How many may hold a lock with permits at once, at most.
///
/// A node is asked for all of them in one script, and the server does nothing else meanwhile.
pub(crate) const MOST_PERMITS: u8 = 64;

/// How names become keys. The defaults are those of configurable-redlock, so that both exclude each other and fill the
/// same statistics.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// What stands before a lock's name.
    pub(crate) lock_prefix: Arc<str>,
    /// What stands before the name of a waiting counter.
    pub(crate) waiting_prefix: Arc<str>,
    /// The list of the waiting counters' keys.
    pub(crate) waiting_list: Arc<str>,
    /// What stands before a waiting counter's key in the key that says that the list has it.
    pub(crate) marker_prefix: Arc<str>,
}

/// The keys around one lock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LockKeys {
    /// The lock.
    pub(crate) lock: Arc<str>,
    /// Ours: what is noted about its owner; in the cluster slot of the lock.
    pub(crate) label: String,
}

/// The keys around one waiting counter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CounterKeys {
    /// The counter.
    pub(crate) counter: Arc<str>,
    /// Ours: until when each process answers for its waiters; in the cluster slot of the counter.
    pub(crate) leases: String,
    /// Ours: how many waiters each process has; in the cluster slot of the counter.
    pub(crate) counts: String,
    /// Says that the list has the counter.
    pub(crate) marker: String,
    /// The list of all counters.
    pub(crate) list: Arc<str>,
    /// How the list names the counter.
    pub(crate) listed_as: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            lock_prefix: Arc::from("redlock:ConfigurableLock."),
            waiting_prefix: Arc::from("Waiting.ConfigurableLock."),
            waiting_list: Arc::from("ConfigurableLockKeys"),
            marker_prefix: Arc::from("Inserted."),
        }
    }
}

impl Keys {
    /// What stands before every fencing counter's key.
    pub(crate) const FENCES: &str = "redlock-fence:";

    /// Ours: the processes that wait for the lock with this key; in the cluster slot of that key.
    pub(crate) fn contention(lock: &str) -> String {
        slot::key_beside("redlock-waiting", lock)
    }

    /// Ours: the fencing counter of the lock with this key; in the cluster slot of that key.
    pub(crate) fn fence(lock: &str) -> String {
        slot::key_beside("redlock-fence", lock)
    }

    /// Ours: the mark of the greatest completed fire of the lock with this key; in the cluster slot of that key.
    pub(crate) fn done(lock: &str) -> String {
        slot::key_beside("redlock-done", lock)
    }

    /// What stands before a writer's key.
    pub(crate) const WRITER: &str = "redlock-rw:";

    /// What stands before the key of readers.
    pub(crate) const READERS: &str = "redlock-readers:";

    /// What stands before the key of a writer's intent.
    pub(crate) const INTENT: &str = "redlock-intent:";

    /// Ours: where the writer's value stands of the lock that readers share and that has the name of the lock with this key; in the
    /// cluster slot of that key.
    pub(crate) fn writer(lock: &str) -> String {
        slot::key_beside("redlock-rw", lock)
    }

    /// Ours: where its readers stand; in the same slot.
    pub(crate) fn readers(lock: &str) -> String {
        slot::key_beside("redlock-readers", lock)
    }

    /// Ours: where the intent of a writer stands whom they keep out; in the same slot.
    pub(crate) fn intent(lock: &str) -> String {
        slot::key_beside("redlock-intent", lock)
    }

    /// What stands before the number of a permit in its slot's key.
    pub(crate) const PERMIT: &str = "redlock-permit-";

    /// Ours: how many permits the lock with this key has; in the cluster slot of that key.
    pub(crate) fn permits(lock: &str) -> String {
        slot::key_beside("redlock-permits", lock)
    }

    /// Ours: one slot of the permits of the lock with this key; in the cluster slot of that key.
    pub(crate) fn permit(lock: &str, slot: u8) -> String {
        slot::key_beside(&format!("{}{slot}", Self::PERMIT), lock)
    }

    /// What stands before the keys of those who have a lock of another kind than a plain one: a permit, a writer, readers.
    pub(crate) const OF_OTHER_KINDS: [&str; 3] = [Self::PERMIT, Self::WRITER, Self::READERS];

    /// If this is a permit's slot, its number, and what stands behind it.
    pub(crate) fn slot_of_permit(key: &str) -> Option<(u8, &str)> {
        let (slot, beside) = key.strip_prefix(Self::PERMIT)?.split_once(':')?;
        Some((slot.parse().ok()?, beside))
    }

    /// What [`Self::permits`] is for the permit's slot behind whose number this stands.
    pub(crate) fn permits_beside(beside: &str) -> String {
        ["redlock-permits:", beside].concat()
    }

    /// The keys of as many permits as a lock can have, by their numbers.
    pub(crate) fn all_permits(lock: &str) -> impl Iterator<Item = (u8, String)> {
        (0..MOST_PERMITS).map(move |slot| (slot, Self::permit(lock, slot)))
    }

    /// The name of the lock that has the permit with this key, and its number.
    pub(crate) fn name_of_permit(&self, key: &str) -> Option<(Name, u8)> {
        let (slot, beside) = Self::slot_of_permit(key)?;
        let lock = slot::beside_which(beside)?;
        Some((Name::of_any_client(lock.strip_prefix(&*self.lock_prefix)?.to_owned()).ok()?, slot))
    }

    /// The name of the lock that readers share, and whose writer, or readers, have this key.
    pub(crate) fn name_of_shared(&self, key: &str) -> Option<Name> {
        let beside = key.strip_prefix(Self::WRITER).or_else(|| key.strip_prefix(Self::READERS))?;
        let lock = slot::beside_which(beside)?;
        Name::of_any_client(lock.strip_prefix(&*self.lock_prefix)?.to_owned()).ok()
    }

    /// What stands before the key of what is noted about an owner.
    const LABEL: &str = "redlock-holder:";

    /// Ours: what is noted about the owner of the lock with this key; in the cluster slot of that key.
    pub(crate) fn owner_label(lock: &str) -> String {
        slot::key_beside("redlock-holder", lock)
    }

    /// What the keys begin with whose changes say who holds a lock, of whatever kind; none of these begins another.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        let all: Vec<_> = Self::OF_OTHER_KINDS.into_iter().chain([&*self.lock_prefix, Self::LABEL]).collect();
        let is_covered = |prefix: &str| all.iter().any(|other| prefix != *other && prefix.starts_with(other));
        all.iter().filter(|prefix| !is_covered(prefix)).map(ToString::to_string).collect()
    }

    /// The name of the lock about which a key with such a beginning is.
    pub(crate) fn name_told(&self, key: &str) -> Option<Name> {
        let labelled = key.strip_prefix(Self::LABEL).and_then(slot::beside_which);
        let key = labelled.unwrap_or(key);
        let of_permit = || self.name_of_permit(key).map(|(name, _)| name);
        of_permit().or_else(|| self.name_of_shared(key)).or_else(|| self.name_of(key))
    }

    /// Ours: what replicas have that have what was written before; in the cluster slot of the lock with this key.
    pub(crate) fn replicated(lock: &str) -> String {
        slot::key_beside("redlock-replicated", lock)
    }

    /// Ours: the same in a slot of its own for each number.
    pub(crate) fn replicated_elsewhere(number: u32) -> String {
        format!("redlock-replicated:{{{number}}}")
    }

    /// The keys around the lock with this key.
    pub(crate) fn around(lock: &Arc<str>) -> LockKeys {
        LockKeys { label: Self::owner_label(lock), lock: Arc::clone(lock) }
    }

    /// The key of a lock, on every node.
    pub(crate) fn lock(&self, name: &Name) -> String {
        [&*self.lock_prefix, name.as_str()].concat()
    }

    /// The name of the lock that has this key; `None` for a key of another kind, also if it begins as locks do.
    pub(crate) fn name_of(&self, key: &str) -> Option<Name> {
        let counter = |key: &str| !self.waiting_prefix.is_empty() && key.starts_with(&*self.waiting_prefix);
        let is_marker = !self.marker_prefix.is_empty() && key.strip_prefix(&*self.marker_prefix).is_some_and(counter);
        // They are told apart by their prefixes, as long as those of locks do not begin the others.
        let is_begun = |prefix: &str| prefix.starts_with(&*self.lock_prefix);
        let is_of_statistics = key == &*self.waiting_list && is_begun(&self.waiting_list)
            || is_begun(&self.waiting_prefix) && counter(key)
            || is_begun(&self.marker_prefix) && is_marker;
        if is_of_statistics || is_beside_another(key) {
            return None;
        }
        Name::of_any_client(key.strip_prefix(&*self.lock_prefix)?.to_owned()).ok()
    }

    /// The keys of the counter of those who wait under this name.
    pub(crate) fn counter(&self, stats_name: &str) -> CounterKeys {
        let counter: Arc<str> = format!("{}{stats_name}", self.waiting_prefix).into();
        CounterKeys {
            leases: slot::key_beside("redlock-leases", &counter),
            counts: slot::key_beside("redlock-counts", &counter),
            marker: format!("{}{counter}", self.marker_prefix),
            list: Arc::clone(&self.waiting_list),
            listed_as: json(&counter),
            counter,
        }
    }
}

/// Whether it is a key of ours beside another.
fn is_beside_another(key: &str) -> bool {
    let beside = key.strip_prefix("redlock-").and_then(|rest| rest.split_once(':')).map(|(_, beside)| beside);
    beside.is_some_and(slot::is_beside_another)
}

/// A JSON string as Python writes it: in ASCII.
fn json(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            ' '..='~' => json.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
    json
}

/// Reads a JSON string, however it is written; `None` for whatever else it is.
pub(crate) fn from_json(json: &[u8]) -> Option<String> {
    let quoted = std::str::from_utf8(json).ok()?.trim_matches([' ', '\t', '\n', '\r']);
    let mut rest = quoted.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut text = String::with_capacity(quoted.len());
    while let Some(character) = rest.next() {
        text.push(match character {
            '"' | '\0'..'\x20' => return None,
            '\\' => match rest.next()? {
                'u' => escaped(&mut rest)?,
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                itself @ ('"' | '\\' | '/') => itself,
                _ => return None,
            },
            itself => itself,
        });
    }
    Some(text)
}

/// Reads what follows `\u`: one unit of UTF-16, or two.
fn escaped(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let unit = |rest: &mut std::str::Chars<'_>| {
        let digits: String = rest.by_ref().take(4).collect();
        let is_number = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u16::from_str_radix(&digits, 16).ok().filter(|_| is_number)
    };
    let first = unit(rest)?;
    let is_half = (0xd800..0xdc00).contains(&first);
    let second = match (is_half, is_half.then(|| (rest.next(), rest.next()))) {
        (true, Some((Some('\\'), Some('u')))) => Some(unit(rest)?),
        _ => None,
    };
    char::decode_utf16([first].into_iter().chain(second)).next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_configurable_redlock() {
        let keys = Keys::default();
        let name = Name::parse("nächtlich".to_owned()).unwrap();
        assert_eq!(keys.lock(&name), "redlock:ConfigurableLock.nächtlich");
        let counter = keys.counter(name.as_str());
        assert_eq!(&*counter.counter, "Waiting.ConfigurableLock.nächtlich");
        assert_eq!(counter.marker, "Inserted.Waiting.ConfigurableLock.nächtlich");
        assert_eq!(&*counter.list, "ConfigurableLockKeys");
        assert_eq!(counter.listed_as, r#""Waiting.ConfigurableLock.n\u00e4chtlich""#);
    }

    fn keys_with(lock_prefix: &str) -> Keys {
        Keys { lock_prefix: lock_prefix.into(), ..Keys::default() }
    }

    #[test]
    fn a_key_gives_its_name_back() {
        for prefix in ["redlock:ConfigurableLock.", "", "redlock-", "Waiting", "[*]?\\"] {
            let keys = keys_with(prefix);
            for name in ["x", "in{voi}ce:7", "夜間", "*[a]?\\", "Läufe {x}"] {
                let name = Name::parse(name.to_owned()).unwrap();
                assert_eq!(keys.name_of(&keys.lock(&name)), Some(name), "{prefix}");
            }
            // Of clients that refuse no characters.
            for name in ["new\nline", "\u{1b}[2J", &"x".repeat(600)] {
                let name = Name::of_any_client(name.to_owned()).unwrap();
                let lock = keys.lock(&name);
                assert_eq!(keys.name_of_permit(&Keys::permit(&lock, 3)), Some((name.clone(), 3)), "{prefix}");
                assert_eq!(keys.name_of_shared(&Keys::readers(&lock)), Some(name.clone()), "{prefix}");
                assert_eq!(keys.name_of(&lock), Some(name), "{prefix}");
            }
        }
    }

    #[test]
    fn whatever_says_who_holds_a_lock_begins_with_one_prefix_and_has_its_name() {
        for prefix in ["redlock:ConfigurableLock.", "", "redlock-", "redlock-rw:x"] {
            let (keys, name) = (keys_with(prefix), Name::parse("in{voi}ce:7".to_owned()).unwrap());
            let prefixes = keys.prefixes();
            let lock: Arc<str> = keys.lock(&name).into();
            let others = [Keys::permit(&lock, 3), Keys::writer(&lock), Keys::readers(&lock)];
            let labels: Vec<_> =
                others.iter().map(|key| Keys::owner_label(key)).chain([Keys::owner_label(&lock)]).collect();
            for key in others.iter().chain(&labels).map(String::as_str).chain([&*lock]) {
                assert_eq!(prefixes.iter().filter(|prefix| key.starts_with(*prefix)).count(), 1, "{prefix}: {key}");
                assert_eq!(keys.name_told(key), Some(name.clone()), "{prefix}: {key}");
            }
        }
    }

    #[test]
    fn what_is_no_lock_has_no_name() {
        for prefix in ["redlock:ConfigurableLock.", "", "redlock-"] {
            let keys = keys_with(prefix);
            let lock: Arc<str> = keys.lock(&Name::parse("x".to_owned()).unwrap()).into();
            let CounterKeys { counter, leases, counts, marker, list, .. } = keys.counter("x");
            let ours = [Keys::contention(&lock), Keys::around(&lock).label, leases, counts, marker];
            for key in ours.iter().map(String::as_str).chain([&*counter, &*list, prefix]) {
                assert_eq!(keys.name_of(key), None, "{prefix}: {key}");
            }
        }
        let keys = Keys::default();
        for key in ["other", "redlock:ConfigurableLock.", "redlock:ConfigurableLoc"] {
            assert_eq!(keys.name_of(key), None, "{key}");
        }
    }

    #[test]
    fn json_is_ascii() {
        assert_eq!(json(r#"a"b\c/d"#), r#""a\"b\\c/d""#);
        assert_eq!(json("\u{7f}夜😀\n"), "\"\\u007f\\u591c\\ud83d\\ude00\\u000a\"");
    }

    #[test]
    fn json_is_read_however_it_is_written() {
        let read = |text: &str| from_json(text.as_bytes());
        for text in ["", "x", "a/b{c} \"d\" \\e", "\u{7f}Läufe 夜😀"] {
            assert_eq!(read(&json(text)).as_deref(), Some(text));
        }
        assert_eq!(read(" \"夜\\/\\u591C\\b\\f\\n\\r\\t\"\n").as_deref(), Some("夜/夜\x08\x0c\n\r\t"));
        let no_strings = [
            "",
            "\"",
            "x",
            "1",
            "\"a",
            "\"a\"b\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud83d\"",
            "\"\\ud83dxx\"",
            "\"\n\"",
        ];
        for other in no_strings {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(from_json(b"\"\xff\""), None);
    }
}
