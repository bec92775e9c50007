//! What is said about those who wait, how many they are, and the list of what they wait for.

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::{Call, Script, each, pipeline, script, whole_milliseconds};
use crate::node::counters::{GONE, LEASE, LISTED, Number, OTHERS, Unwanted};
use crate::values::keys::CounterKeys;

// Not loaded with those of locks: whoever never waits never needs them.
static RECORD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/record.lua")));
static ENLIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/enlist.lua")));
static TAKE_OUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../lua/take_out.lua")));

/// Settles the numbers of a process, one answer each. `moment` is now by our clock, since 1970.
pub(in crate::node) fn record(process: &str, numbers: &[Number], moment: Duration, call: Call) -> Pipeline {
    each(numbers, call, |call, number| {
        let keys = &number.keys;
        let waiting = number.waiting.map(|waiting| waiting.to_string()).unwrap_or_default();
        let mut cmd = script(&RECORD, call, &[&*keys.counter, &*keys.leases, &*keys.counts]);
        cmd.arg(process).arg(waiting).arg(whole_milliseconds(LEASE));
        cmd.arg(whole_milliseconds(GONE)).arg(whole_milliseconds(OTHERS));
        cmd.arg(whole_milliseconds(moment));
        cmd
    })
}

/// Reads the counters, whoever is counted in them, one answer each.
pub(in crate::node) fn peek(counters: &[Arc<CounterKeys>]) -> Pipeline {
    pipeline(counters.iter().map(|keys| {
        let mut cmd = Cmd::new();
        cmd.arg("GET").arg(&*keys.counter);
        cmd
    }))
}

/// Reads a counter, and how many of those who are counted each process of ours answers for; two answers.
pub(in crate::node) fn others(keys: &CounterKeys) -> Pipeline {
    let mut counter = Cmd::new();
    counter.arg("GET").arg(&*keys.counter);
    let mut ours = Cmd::new();
    ours.arg("HVALS").arg(&*keys.counts);
    pipeline([counter, ours].into_iter())
}

/// Has the list name the counters, one answer each.
pub(in crate::node) fn enlist(counters: &[Arc<CounterKeys>], call: Call) -> Pipeline {
    each(counters, call, |call, keys| {
        let mut cmd = script(&ENLIST, call, &[&*keys.list]);
        cmd.arg(&keys.listed_as);
        cmd
    })
}

/// How many entries a list has; one answer.
pub(in crate::node) fn length(list: &str) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("LLEN").arg(list);
    pipeline(std::iter::once(cmd))
}

/// The entries at these positions of a list; one answer.
pub(in crate::node) fn entries(list: &str, positions: Range<usize>) -> Pipeline {
    let mut cmd = Cmd::new();
    cmd.arg("LRANGE").arg(list).arg(positions.start).arg(positions.end.saturating_sub(1));
    pipeline(std::iter::once(cmd))
}

/// Takes entries out of a list, those at the greatest positions first; one answer.
pub(in crate::node) fn take_out(list: &str, unwanted: &[Unwanted], call: Call) -> Pipeline {
    each(&[()], call, |call, ()| {
        let mut cmd = script(&TAKE_OUT, call, &[list]);
        for Unwanted { position, entry, same_as } in unwanted {
            cmd.arg(*position).arg(&**entry);
            match same_as {
                Some(other) => cmd.arg(*other),
                None => cmd.arg(""),
            };
        }
        cmd
    })
}

/// How long the markers of counters live, one answer each, for [`Marker::read`].
pub(in crate::node) fn markers(counters: &[Arc<CounterKeys>]) -> Pipeline {
    pipeline(counters.iter().map(|keys| {
        let mut cmd = Cmd::new();
        cmd.arg("TTL").arg(&keys.marker);
        cmd
    }))
}

/// What says that the list has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Marker {
    /// Nothing does.
    Missing,
    /// It has to be made anew before it expires.
    Worn,
    /// It was made lately, or by Python, for ever.
    Lasting,
}

impl Marker {
    pub(in crate::node) fn read(answer: &Value) -> Option<Self> {
        let Value::Int(seconds) = answer else { return None };
        Some(match u64::try_from(*seconds) {
            Ok(seconds) if seconds < LISTED.as_secs() * 6 / 7 => Self::Worn,
            Err(_) if *seconds == -2 => Self::Missing,
            Ok(_) | Err(_) => Self::Lasting,
        })
    }
}

/// Lets the markers of counters live for as long as unused counters are listed.
pub(in crate::node) fn mark(counters: &[Arc<CounterKeys>]) -> Pipeline {
    pipeline(counters.iter().map(|keys| {
        let mut cmd = Cmd::new();
        cmd.arg("SET").arg(&keys.marker).arg(1).arg("PX").arg(whole_milliseconds(LISTED));
        cmd
    }))
}
