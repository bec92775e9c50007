//! What is said for people who look at locks, list them and reset them.

use std::borrow::Borrow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Cmd, Pipeline};

use super::locks::RELEASED;
use super::{Call, Script, each, ping, pipeline, script, whole_milliseconds};
use crate::node::inspect::{Cursor, Listed, OwnerLabel};
use crate::protocol::StoredMark;
use crate::values::keys::{Keys, LockKeys};

// Not loaded with those of locks: few look.
static NOTE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/label.lua")));
static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/look.lua")));
static LOOK_AT_READERS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/look_readers.lua")));
static RESET_MARK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/reset_mark.lua")));
static RESET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/reset.lua")));

/// Notes who the owners of locks are, one answer each. `moment` is now by our clock, since 1970, as in the next one.
pub(in crate::node) fn label(labels: &[OwnerLabel], moment: Duration, call: Call) -> Pipeline {
    each(labels, call, |call, OwnerLabel { keys, owner, label, held_for, fencing_token }| {
        let mut cmd = around(&NOTE, call, keys);
        cmd.arg(&**owner).arg(&**label).arg(whole_milliseconds(*held_for)).arg(*fencing_token);
        cmd.arg(whole_milliseconds(moment));
        cmd
    })
}

/// Looks at locks; one answer each.
pub(in crate::node) fn look_at_each<K: Borrow<LockKeys>>(locks: &[K], moment: Duration, call: Call) -> Pipeline {
    each(locks, call, |call, keys| {
        let mut cmd = around(&LOOK, call, keys.borrow());
        cmd.arg(whole_milliseconds(moment));
        cmd
    })
}

/// Looks at the writer of a lock that readers share, and at these; one answer each.
pub(in crate::node) fn look_at_shared(writer: &LockKeys, readers: &str, moment: Duration, call: Call) -> Pipeline {
    let mut look = around(&LOOK, call, writer);
    look.arg(whole_milliseconds(moment));
    let mut count = script(&LOOK_AT_READERS, call, &[readers]);
    count.arg(whole_milliseconds(moment));
    pipeline([look, count].into_iter())
}

/// What keys hold that are in one slot, nothing for what holds no text; one answer.
pub(in crate::node) fn values_beside(keys: &[String]) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("MGET").arg(keys);
    pipeline(std::iter::once(cmd))
}

/// Has the next change of these keys reported, which are in one slot.
pub(in crate::node) fn watch(keys: &[Arc<str>]) -> Pipeline {
    let (mut tracked, mut read) = (Cmd::new(), Cmd::new());
    tracked.arg("CLIENT").arg("CACHING").arg("YES");
    read.arg("MGET");
    for key in keys {
        read.arg(&**key);
    }
    pipeline([tracked, read].into_iter())
}

/// Asks for nothing but an answer.
pub(in crate::node) fn are_you_there() -> Pipeline {
    pipeline(std::iter::once(ping()))
}

/// Has all changes of keys reported that begin with one of these, instead of those of single keys.
// Source: neither can become the other while it is on, https://redis.io/docs/latest/commands/client-tracking/
pub(in crate::node) fn announce(prefixes: &[String]) -> Pipeline {
    let (mut off, mut on) = (Cmd::new(), Cmd::new());
    off.arg("CLIENT").arg("TRACKING").arg("OFF");
    on.arg("CLIENT").arg("TRACKING").arg("ON").arg("BCAST");
    for prefix in prefixes {
        on.arg("PREFIX").arg(prefix);
    }
    pipeline([off, on].into_iter())
}

/// Deletes locks, one answer each, and publishes it if the server does not report changes.
pub(in crate::node) fn reset(locks: &[Arc<LockKeys>], reports_changes: bool, call: Call) -> Pipeline {
    each(locks, call, |call, keys| {
        let mut cmd = around(&RESET, call, keys);
        if !reports_changes {
            cmd.arg(format!("{RELEASED}{}", keys.lock));
        }
        cmd
    })
}

/// How many keys a server looks at for one page; it does nothing else meanwhile, for less than a millisecond.
const PAGE: usize = 500;

/// Some of the keys that match this, and where the next ones begin; one answer.
pub(in crate::node) fn page(pattern: &str, from: Cursor) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("SCAN").arg(from.at).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE);
    pipeline(std::iter::once(cmd))
}

/// A pattern that matches such keys, and perhaps a few others: so that the server looks at all of its keys once.
pub(in crate::node) fn pattern_of(wanted: &Listed) -> String {
    match wanted {
        Listed::Locks(prefix) => beginning_with(prefix),
        Listed::Others => "redlock-[pr]*".to_owned(),
    }
}

/// A pattern that matches what begins with this.
pub(in crate::node) fn beginning_with(prefix: &str) -> String {
    format!("{}*", literally(prefix))
}

/// A pattern that matches this text alone.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// What these keys hold, one answer each.
pub(in crate::node) fn values(keys: &[String]) -> Pipeline {
    pipeline(keys.iter().map(|key| {
        let mut cmd = Cmd::new();
        cmd.arg("GET").arg(key);
        cmd
    }))
}

/// What stands under the key of a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) enum FoundMark {
    /// Nothing.
    None,
    /// A text, which should be a mark.
    Text(Vec<u8>),
    /// Something else.
    Other,
}

/// Lets the mark under this key say that no fire was completed, if what was found there still stands there; one answer.
pub(in crate::node) fn reset_mark(key: &str, found: &FoundMark, retention: Duration, call: Call) -> Pipeline {
    let mut cmd = script(&RESET_MARK, call, &[key]);
    match found {
        FoundMark::None => cmd.arg("none"),
        FoundMark::Text(text) => cmd.arg([b"=", &**text].concat()),
        FoundMark::Other => cmd.arg("other"),
    };
    cmd.arg(StoredMark::NONE.to_string()).arg(whole_milliseconds(retention));
    pipeline(std::iter::once(cmd))
}

/// How long the texts are that keys hold, or how many the readers, one answer each: zero for no key, an error for what is neither.
pub(in crate::node) fn lengths(keys: &[String]) -> Pipeline {
    pipeline(keys.iter().map(|key| {
        let mut cmd = Cmd::new();
        cmd.arg(if key.starts_with(Keys::READERS) { "ZCARD" } else { "STRLEN" }).arg(key);
        cmd
    }))
}

fn around(called: &Script, call: Call, keys: &LockKeys) -> Cmd {
    script(called, call, &[&*keys.lock, &*keys.label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_other_kinds_leaves_none_of_them_out() {
        for prefix in Keys::OF_OTHER_KINDS {
            let rest = prefix.strip_prefix("redlock-").unwrap();
            assert!(rest.starts_with(['p', 'r']), "{prefix}");
        }
        assert_eq!(pattern_of(&Listed::Others), "redlock-[pr]*");
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(literally(r"a*b?[c]\d^-e"), r"a\*b\?\[c\]\\d\^\-e");
        assert_eq!(literally("redlock:ConfigurableLock."), "redlock:ConfigurableLock.");
    }
}
