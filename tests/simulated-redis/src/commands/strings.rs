//! Texts, and numbers as texts.

use super::{Outcome, either, is_word};
use crate::keyspace::Keyspace;
use crate::number::parse_integer;
use crate::reply::Reply;

pub(super) fn get(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(keyspace.string(arguments[1]).map(|value| value.map_or(Reply::Nil, Reply::Bulk)))
}

/// What is no text is as nothing.
pub(super) fn get_each(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let text = |key: &&[u8]| keyspace.string(key).ok().flatten().map_or(Reply::Nil, Reply::Bulk);
    Reply::Array(arguments[1..].iter().map(text).collect())
}

pub(super) fn length(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(keyspace.string(arguments[1]).map(|value| Reply::count(value.map_or(0, |value| value.len()))))
}

/// The options of SET.
#[allow(clippy::struct_excessive_bools, reason = "they are the command's options, each for itself")]
#[derive(Default)]
struct Options {
    only_if_missing: bool,
    only_if_there: bool,
    tells: bool,
    keeps_expiry: bool,
    expires: Option<i64>,
}

pub(super) fn set(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_set(keyspace, arguments))
}

// Source: `setGenericCommand`, https://github.com/redis/redis/blob/7.0/src/t_string.c
fn try_set(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let (key, value) = (arguments[1], arguments[2]);
    let options = options(keyspace, &arguments[3..])?;
    let before = if options.tells { keyspace.string(key)? } else { None };
    let there = keyspace.entry(key).map(|entry| entry.expires);
    if options.only_if_missing && there.is_some() || options.only_if_there && there.is_none() {
        return Ok(before.map_or(Reply::Nil, Reply::Bulk));
    }
    let expires = if options.keeps_expiry { there.flatten() } else { options.expires };
    keyspace.set(key, value.into(), expires, "set");
    if options.expires.is_some() {
        keyspace.notify(&key.into(), "expire");
    }
    Ok(if options.tells { before.map_or(Reply::Nil, Reply::Bulk) } else { Reply::OK })
}

fn options(keyspace: &Keyspace, arguments: &[&[u8]]) -> Result<Options, Reply> {
    let mut options = Options::default();
    let mut expiry = None;
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let is = |word| is_word(option, word);
        if is("NX") && !options.only_if_there {
            options.only_if_missing = true;
        } else if is("XX") && !options.only_if_missing {
            options.only_if_there = true;
        } else if is("GET") && keyspace.version >= (6, 2, 0) {
            options.tells = true;
        } else if is("KEEPTTL") && expiry.is_none() {
            options.keeps_expiry = true;
        } else if let Some(unit) = Unit::read(option)
            && expiry.is_none()
            && !options.keeps_expiry
        {
            expiry = Some((unit, *rest.next().ok_or_else(Reply::syntax_error)?));
        } else {
            return Err(Reply::syntax_error());
        }
    }
    if options.tells && options.only_if_missing && keyspace.version < (7, 0, 0) {
        return Err(Reply::syntax_error());
    }
    if let Some((unit, number)) = expiry {
        let number = parse_integer(number).ok_or_else(Reply::not_an_integer)?;
        let invalid = || Reply::error("ERR invalid expire time in 'set' command");
        let expires = unit.moment(number, keyspace.now_ms()).filter(|_| number > 0);
        options.expires = Some(expires.ok_or_else(invalid)?);
    }
    Ok(options)
}

/// How an expiry is given.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
    MomentInSeconds,
    MomentInMilliseconds,
}

impl Unit {
    fn read(option: &[u8]) -> Option<Self> {
        let units = [
            ("EX", Self::Seconds),
            ("PX", Self::Milliseconds),
            ("EXAT", Self::MomentInSeconds),
            ("PXAT", Self::MomentInMilliseconds),
        ];
        units.into_iter().find_map(|(word, unit)| is_word(option, word).then_some(unit))
    }

    fn moment(self, number: i64, now_ms: i64) -> Option<i64> {
        match self {
            Self::Seconds => number.checked_mul(1000)?.checked_add(now_ms),
            Self::Milliseconds => number.checked_add(now_ms),
            Self::MomentInSeconds => number.checked_mul(1000),
            Self::MomentInMilliseconds => Some(number),
        }
    }
}

pub(super) fn increment(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(add(keyspace, arguments[1], 1))
}

pub(super) fn decrement(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(add(keyspace, arguments[1], -1))
}

pub(super) fn increment_by(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let step = parse_integer(arguments[2]).ok_or_else(Reply::not_an_integer);
    either(step.and_then(|step| add(keyspace, arguments[1], step)))
}

pub(super) fn decrement_by(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let step = parse_integer(arguments[2]).ok_or_else(Reply::not_an_integer);
    let negated = step.and_then(|step| step.checked_neg().ok_or(Reply::error("ERR decrement would overflow")));
    either(negated.and_then(|step| add(keyspace, arguments[1], step)))
}

fn add(keyspace: &mut Keyspace, key: &[u8], step: i64) -> Outcome {
    let before = match keyspace.string(key)? {
        Some(text) => parse_integer(&text).ok_or_else(Reply::not_an_integer)?,
        None => 0,
    };
    let overflow = || Reply::error("ERR increment or decrement would overflow");
    let after = before.checked_add(step).ok_or_else(overflow)?;
    let expires = keyspace.entry(key).and_then(|entry| entry.expires);
    keyspace.set(key, after.to_string().into_bytes().into(), expires, "incrby");
    Ok(Reply::Integer(after))
}
