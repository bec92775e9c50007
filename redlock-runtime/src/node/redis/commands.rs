//! All that is said to a Redis server. With the files below it the only one that knows Redis commands.

mod admin;
mod beside;
pub(in crate::node) mod check;
mod counters;
pub(in crate::node) mod info;
mod introduction;
mod locks;
mod topology;

use std::time::Duration;

use redis::{Cmd, Pipeline};

pub(in crate::node) use self::admin::{
    FoundMark, announce, are_you_there, beginning_with, label, lengths, look_at_each, look_at_shared, page, pattern_of,
    reset, reset_mark, values, values_beside, watch,
};
pub(in crate::node) use self::beside::Beside;
pub(in crate::node) use self::counters::{
    Marker, enlist, entries, length, mark, markers, others, peek, record, take_out,
};
pub(in crate::node) use self::introduction::{Introduction, ask_role, handshake, identify, kill, ping, read_handshake};
pub(in crate::node) use self::locks::{
    Preface, Server, channels, evaluate_known, evaluate_unknown, is_plain, key_of, prefaced,
};
pub(in crate::node) use self::topology::{MASTER_SWITCHED, NO_SUCH_MASTER, count_replicas, find_master, map_cluster};

/// A Lua script and the hash under which a server knows it.
struct Script {
    /// The source.
    code: &'static str,
    /// SHA-1 of the source, in hexadecimal.
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

/// How to call a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Call {
    /// By its hash: the server is believed to know it.
    Known,
    /// With its source, after which the server knows it.
    Unknown,
}

/// The first call tells the server the script, if it has to be told, and the others find it there.
fn each<T>(subjects: &[T], call: Call, command: impl Fn(Call, &T) -> Cmd) -> Pipeline {
    let calls = std::iter::once(call).chain(std::iter::repeat(Call::Known));
    pipeline(subjects.iter().zip(calls).map(|(subject, call)| command(call, subject)))
}

fn pipeline(commands: impl Iterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

fn script(script: &Script, call: Call, keys: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    match call {
        Call::Known => cmd.arg("EVALSHA").arg(&script.hash),
        Call::Unknown => cmd.arg("EVAL").arg(script.code),
    };
    cmd.arg(keys.len()).arg(keys);
    cmd
}

/// Rounded up: a key never lives shorter than asked, and never has an expiry of zero, which would delete it.
fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sent_in_whole_milliseconds_and_never_as_zero() {
        assert_eq!(whole_milliseconds(Duration::from_secs(1)), 1000);
        assert_eq!(whole_milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(whole_milliseconds(Duration::ZERO), 0);
        assert_eq!(whole_milliseconds(Duration::from_micros(1500)), 2);
    }
}
