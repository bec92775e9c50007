//! What is said to a server to learn whether locks will work there.

use redis::{Cmd, Pipeline};

use crate::node::check::{Purpose, Trial};
use crate::values::keys::{CounterKeys, Keys};

/// What the server says about itself; the answers are in the order of [`About`].
pub(in crate::node) fn about() -> Pipeline {
    let mut about = Pipeline::new();
    for section in ["server", "memory", "persistence"] {
        about.cmd("INFO").arg(section);
    }
    for setting in ["save", "appendfsync", "maxmemory-policy", "maxmemory"] {
        about.cmd("CONFIG").arg("GET").arg(setting);
    }
    about
}

/// The smallest script.
pub(in crate::node) fn script() -> Pipeline {
    let mut script = Pipeline::with_capacity(1);
    script.cmd("EVAL").arg("return 1").arg(0);
    script
}

/// Asks for the time.
pub(in crate::node) fn time() -> Pipeline {
    let mut time = Pipeline::with_capacity(1);
    time.cmd("TIME");
    time
}

/// A command that tells whether the user may use it, and does nothing else.
pub(in crate::node) struct Right {
    /// Its name, as rules have it.
    pub(in crate::node) command: &'static str,
    /// The key that it is tried on, as a pattern.
    pub(in crate::node) key: Option<String>,
    /// What it is needed for.
    pub(in crate::node) purpose: Purpose,
    /// The whole command.
    cmd: Cmd,
}

/// The kinds of keys of which a user needs some.
struct Kind<'a> {
    key: &'a str,
    purpose: Purpose,
}

/// Every command that a lock needs, as one that changes nothing: on keys that do not exist, or with arguments that the server
/// refuses once it has decided whether the user may.
// Source: the order of the checks in processCommand, https://github.com/redis/redis/blob/7.0/src/server.c
pub(in crate::node) fn rights(trial: &Trial, number: u32) -> Vec<Right> {
    let lock = trial.key(number);
    let counter = trial.keys.counter(&trial.name(number));
    let contention = Keys::contention(&lock);
    let (fence, note, done) = (Keys::fence(&lock), Keys::owner_label(&lock), Keys::done(&lock));
    let (permits, permit) = (Keys::permits(&lock), Keys::permit(&lock, 0));
    let (writer, readers, intent) = (Keys::writer(&lock), Keys::readers(&lock), Keys::intent(&lock));
    let id = trial.name(number);
    let mut rights = Vec::new();
    let mut on = |kind: Kind<'_>, commands: &[(&'static str, &[&str])]| {
        rights.extend(commands.iter().map(|(command, arguments)| {
            let mut cmd = Cmd::new();
            cmd.arg(*command).arg(kind.key).arg(*arguments);
            let key = match kind.purpose {
                Purpose::Permits if kind.key.starts_with(Keys::PERMIT) => format!("{}*", Keys::PERMIT),
                // Not every name stands in braces.
                Purpose::Fires | Purpose::Permits | Purpose::Sharing => {
                    format!("{}*", kind.key.split_inclusive(':').next().unwrap_or_default())
                }
                _ => kind.key.replace(&id, "*"),
            };
            Right { command, key: Some(key), purpose: kind.purpose, cmd }
        }));
    };
    // No server takes "x" for a number, nor an odd number of fields and values.
    let set: (_, &[&str]) = ("SET", &["x", "PX", "x"]);
    let pexpire: (_, &[&str]) = ("PEXPIRE", &["1"]);
    let hset: (_, &[&str]) = ("HSET", &["x", "x", "x"]);
    let zadd: (_, &[&str]) = ("ZADD", &["x", "x"]);
    let range: (_, &[&str]) = ("ZRANGEBYSCORE", &["0", "0"]);
    on(Kind { key: &lock, purpose: Purpose::Locks }, &[("GET", &[]), set, ("PTTL", &[]), pexpire, ("DEL", &[])]);
    if trial.fence.is_some() {
        on(
            Kind { key: &fence, purpose: Purpose::Locks },
            &[("GET", &[]), set, ("INCRBY", &["x"]), ("PTTL", &[]), pexpire, ("DEL", &[])],
        );
    }
    on(Kind { key: &done, purpose: Purpose::Fires }, &[("GET", &[]), set, pexpire]);
    on(Kind { key: &permits, purpose: Purpose::Permits }, &[("GET", &[]), set, pexpire, ("MGET", &[])]);
    on(Kind { key: &permit, purpose: Purpose::Permits }, &[("GET", &[]), set, ("PTTL", &[]), pexpire, ("DEL", &[])]);
    on(
        Kind { key: &writer, purpose: Purpose::Sharing },
        &[("GET", &[]), set, ("EXISTS", &[]), ("PTTL", &[]), pexpire, ("DEL", &[])],
    );
    on(
        Kind { key: &readers, purpose: Purpose::Sharing },
        &[
            zadd,
            ("ZREM", &["x"]),
            ("ZSCORE", &["x"]),
            ("ZRANGE", &["0", "0"]),
            range,
            ("ZCARD", &[]),
            ("EXISTS", &[]),
            ("PTTL", &[]),
            pexpire,
        ],
    );
    let commands = [set, ("EXISTS", &[]), ("GET", &[]), ("PTTL", &[]), ("DEL", &[])];
    on(Kind { key: &intent, purpose: Purpose::Sharing }, &commands);
    on(Kind { key: &note, purpose: Purpose::Labels }, &[hset, ("HMGET", &["x"]), pexpire, ("DEL", &[])]);
    on(
        Kind { key: &contention, purpose: Purpose::Turns },
        &[("ZRANGE", &["0", "0"]), zadd, ("ZREMRANGEBYSCORE", &["x", "x"]), pexpire],
    );
    on(Kind { key: &counter.counter, purpose: Purpose::Statistics }, &[("GET", &[]), ("INCRBY", &["x"]), pexpire]);
    on(Kind { key: &counter.leases, purpose: Purpose::Statistics }, &[range, zadd, ("ZREM", &["x"]), pexpire]);
    on(
        Kind { key: &counter.counts, purpose: Purpose::Statistics },
        &[hset, ("HGET", &["x"]), ("HDEL", &["x"]), ("HVALS", &[]), pexpire],
    );
    on(Kind { key: &counter.marker, purpose: Purpose::Statistics }, &[set, ("TTL", &[])]);
    // RPUSH cannot be tried out: it would do it.
    on(
        Kind { key: &counter.list, purpose: Purpose::Statistics },
        &[("LLEN", &[]), ("LRANGE", &["0", "0"]), ("LPOS", &["x"]), ("LSET", &["x", "x"]), ("LREM", &["x", "x"])],
    );
    on(Kind { key: &lock, purpose: Purpose::Listing }, &[("STRLEN", &[]), ("TYPE", &[])]);
    let without_key: [(_, &[&str], _); 7] = [
        ("EVALSHA", &["x", "x"], Purpose::Locks),
        ("EVAL", &["", "x"], Purpose::Locks),
        ("TIME", &[], Purpose::Turns),
        ("TIME", &[], Purpose::Sharing),
        ("SCAN", &["0", "COUNT", "1"], Purpose::Listing),
        ("CLIENT|ID", &[], Purpose::CutConnections),
        ("CLIENT|KILL", &["ID", "x"], Purpose::CutConnections),
    ];
    for (command, arguments, purpose) in without_key {
        let mut cmd = Cmd::new();
        cmd.arg(command.split('|').collect::<Vec<_>>()).arg(arguments);
        rights.push(Right { command, key: None, purpose, cmd });
    }
    rights
}

/// Tries all of them out, one answer each.
pub(in crate::node) fn try_out(rights: &[Right]) -> Pipeline {
    super::pipeline(rights.iter().map(|right| right.cmd.clone()))
}

/// Asks who has been noted to wait for a lock; one answer, empty if nobody.
pub(in crate::node) fn contenders(lock: &str) -> Pipeline {
    let mut question = Pipeline::with_capacity(1);
    question.cmd("ZRANGE").arg(Keys::contention(lock)).arg(0).arg(0);
    question
}

/// Asks for the time within a script.
pub(in crate::node) fn time_within_a_script() -> Pipeline {
    let mut question = Pipeline::with_capacity(1);
    question.cmd("EVAL").arg("return redis.pcall('TIME')").arg(0);
    question
}

/// Takes away what trying out how waiters are noted and counted leaves.
pub(in crate::node) fn tidy(lock: &str, counter: &CounterKeys) -> Pipeline {
    let mut tidy = Pipeline::new();
    for key in [&*Keys::contention(lock), &*counter.counter, &*counter.leases, &*counter.counts] {
        tidy.cmd("DEL").arg(key);
    }
    tidy
}

/// The one command that cannot be tried out without doing it, on a fencing counter that is deleted behind it; the first
/// answer tells.
pub(in crate::node) fn increment(trial: &Trial, number: u32) -> (Right, Pipeline) {
    let fence = Keys::fence(&trial.key(number));
    let key = Some(fence.replace(&trial.name(number), "*"));
    let mut cmd = Cmd::new();
    cmd.arg("INCR").arg(&fence);
    let mut pipeline = Pipeline::new();
    pipeline.add_command(cmd.clone());
    pipeline.cmd("DEL").arg(&fence);
    (Right { command: "INCR", key, purpose: Purpose::Locks, cmd }, pipeline)
}
