//! What each command does.

pub(crate) mod hashes;

pub(crate) mod keys;

pub(crate) mod lists;

pub(crate) mod pattern;

pub(crate) mod sorted_sets;

pub(crate) mod strings;

use crate::keyspace::{Keyspace, Signal};
use crate::reply::Reply;
use crate::server::{Refusal, Version};

/// A command about keys, and what Redis knows about it.
pub(crate) struct Spec {
    /// The number of arguments with the name; the least number if it is negative.
    arity: isize,
    traits: u8,
    /// Which arguments are keys.
    keys: Keys,
    run: fn(&mut Keyspace, &[&[u8]]) -> Reply,
}

#[derive(Clone, Copy)]
enum Keys {
    None,
    First,
    /// All behind the name.
    All,
}

/// It only reads.
const READS: u8 = 1;
/// It may write.
const WRITES: u8 = 2;
/// It is refused where memory is short.
const GROWS: u8 = 4;
/// It is carried out while the server loads its data.
const ALWAYS: u8 = 8;

/// The name of a command in capitals.
pub(crate) struct Name([u8; 24], usize);

impl Name {
    pub(crate) fn new(name: &[u8]) -> Self {
        let mut capitals = [0; 24];
        let length = name.len().min(capitals.len());
        capitals[..length].copy_from_slice(&name[..length]);
        capitals.make_ascii_uppercase();
        Self(capitals, length)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// Finds a command about keys.
// Source: the files in https://github.com/redis/redis/tree/7.0/src/commands
pub(crate) fn find(name: &[u8], version: Version) -> Option<Spec> {
    use Keys::{All, First, None};
    let spec = |arity, traits, keys, run| Some(Spec { arity, traits, keys, run });
    match name {
        b"GET" => spec(2, READS, First, strings::get),
        b"MGET" => spec(-2, READS, All, strings::get_each),
        b"SET" => spec(-3, WRITES | GROWS, First, strings::set),
        b"INCR" => spec(2, WRITES | GROWS, First, strings::increment),
        b"DECR" => spec(2, WRITES | GROWS, First, strings::decrement),
        b"INCRBY" => spec(3, WRITES | GROWS, First, strings::increment_by),
        b"DECRBY" => spec(3, WRITES | GROWS, First, strings::decrement_by),
        b"STRLEN" => spec(2, READS, First, strings::length),
        b"DEL" | b"UNLINK" => spec(-2, WRITES, All, keys::delete),
        b"EXISTS" => spec(-2, READS, All, keys::exists),
        b"TYPE" => spec(2, READS, First, keys::kind),
        b"PTTL" => spec(2, READS, First, keys::remaining_milliseconds),
        b"TTL" => spec(2, READS, First, keys::remaining_seconds),
        b"PEXPIRE" => spec(-3, WRITES, First, keys::expire_milliseconds),
        b"EXPIRE" => spec(-3, WRITES, First, keys::expire_seconds),
        b"PERSIST" => spec(2, WRITES, First, keys::persist),
        b"SCAN" => spec(-2, READS, None, keys::scan),
        b"DBSIZE" => spec(1, READS, None, keys::size),
        b"FLUSHALL" | b"FLUSHDB" => spec(-1, WRITES, None, keys::flush),
        b"TIME" => spec(1, ALWAYS, None, keys::time),
        b"HSET" => spec(-4, WRITES | GROWS, First, hashes::set),
        b"HGET" => spec(3, READS, First, hashes::get),
        b"HMGET" => spec(-3, READS, First, hashes::get_many),
        b"HDEL" => spec(-3, WRITES, First, hashes::delete),
        b"HVALS" => spec(2, READS, First, hashes::values),
        b"HGETALL" => spec(2, READS, First, hashes::get_all),
        b"RPUSH" => spec(-3, WRITES | GROWS, First, lists::push),
        b"LLEN" => spec(2, READS, First, lists::length),
        b"LRANGE" => spec(4, READS, First, lists::range),
        b"LSET" => spec(4, WRITES | GROWS, First, lists::set),
        b"LREM" => spec(4, WRITES, First, lists::remove),
        b"LPOS" if version >= (6, 0, 6) => spec(-3, READS, First, lists::position),
        b"ZADD" => spec(-4, WRITES | GROWS, First, sorted_sets::add),
        b"ZREM" => spec(-3, WRITES, First, sorted_sets::remove),
        b"ZCARD" => spec(2, READS, First, sorted_sets::size),
        b"ZSCORE" => spec(3, READS, First, sorted_sets::score),
        b"ZRANGE" => spec(-4, READS, First, sorted_sets::range),
        b"ZRANGEBYSCORE" => spec(-4, READS, First, sorted_sets::range_by_score),
        b"ZREMRANGEBYSCORE" => spec(4, WRITES, First, sorted_sets::remove_by_score),
        b"PUBLISH" => spec(3, ALWAYS, None, publish),
        _ => Option::None,
    }
}

/// Whether a server of a later version knows a command, so that it is no wonder if somebody asks an older one for it.
pub(crate) fn is_known_later(name: &[u8]) -> bool {
    find(name, (u32::MAX, 0, 0)).is_some()
}

impl Spec {
    pub(crate) fn has_arity(&self, arguments: usize) -> bool {
        fits(self.arity, arguments)
    }

    /// Why the command is refused as things are.
    pub(crate) fn refused(&self, refusal: Option<Refusal>) -> Option<&'static str> {
        let refusal = refusal?;
        let is_refused = match refusal {
            Refusal::ReadOnly | Refusal::Misconfigured => self.traits & WRITES != 0,
            Refusal::OutOfMemory => self.traits & GROWS != 0,
            Refusal::Loading => self.traits & ALWAYS == 0,
        };
        is_refused.then(|| refusal.text())
    }

    /// Carries the command out.
    pub(crate) fn run(&self, keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
        let reply = (self.run)(keyspace, arguments);
        if self.traits & READS != 0 && keyspace.reports_reads {
            let keys = self.keys_in(arguments).iter();
            keyspace.signals.push(Signal::Read(keys.map(|&key| key.into()).collect()));
        }
        reply
    }

    /// Those of the arguments that are keys.
    pub(crate) fn keys_in<'s, 'a>(&self, arguments: &'s [&'a [u8]]) -> &'s [&'a [u8]] {
        match self.keys {
            Keys::None => &[],
            Keys::First => arguments.get(1..2).unwrap_or_default(),
            Keys::All => arguments.get(1..).unwrap_or_default(),
        }
    }
}

/// Whether a number of arguments, with the name, is what Redis calls an arity.
pub(crate) fn fits(arity: isize, arguments: usize) -> bool {
    if arity < 0 { arguments >= arity.unsigned_abs() } else { arguments == arity.unsigned_abs() }
}

pub(crate) fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// What a command answers that cannot go on.
pub(crate) type Outcome = Result<Reply, Reply>;

/// The reply, whichever it is.
pub(crate) fn either(outcome: Outcome) -> Reply {
    outcome.unwrap_or_else(|reply| reply)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The positions of a list that a start and an end name, which count from the end below zero; `None` for none of them.
pub(crate) fn positions(start: &[u8], end: &[u8], length: usize) -> Result<Option<(usize, usize)>, Reply> {
    let parse = |number| crate::number::parse_integer(number).ok_or_else(Reply::not_an_integer);
    let (start, end) = (parse(start)?, parse(end)?);
    let count = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = |position: i64| if position < 0 { position.saturating_add(count) } else { position };
    let (start, end) = (from_start(start).max(0), from_start(end).min(count - 1));
    Ok(usize::try_from(start).ok().zip(usize::try_from(end).ok()).filter(|(start, end)| start <= end))
}

fn publish(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let &[_, channel, message] = arguments else { return Reply::syntax_error() };
    let Some(&subscribers) = keyspace.subscribers.get(channel) else { return Reply::Integer(0) };
    keyspace.signals.push(Signal::Published(channel.into(), message.into()));
    Reply::count(subscribers)
}
