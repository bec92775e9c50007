//! Keys whatever they hold, and the time.

use std::collections::BTreeMap;

use super::{Outcome, either, is_word, pattern};
use crate::keyspace::{Key, Keyspace};
use crate::number::parse_integer;
use crate::reply::Reply;

pub(super) fn delete(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    Reply::count(arguments[1..].iter().filter(|key| keyspace.delete(key)).count())
}

pub(super) fn exists(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    Reply::count(arguments[1..].iter().filter(|key| keyspace.entry(key).is_some()).count())
}

pub(super) fn kind(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    Reply::Status(keyspace.entry(arguments[1]).map_or("none", |entry| entry.value.kind()).into())
}

pub(super) fn remaining_milliseconds(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    Reply::Integer(remaining(keyspace, arguments[1]))
}

pub(super) fn remaining_seconds(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let milliseconds = remaining(keyspace, arguments[1]);
    Reply::Integer(if milliseconds < 0 { milliseconds } else { (milliseconds + 500) / 1000 })
}

fn remaining(keyspace: &mut Keyspace, key: &[u8]) -> i64 {
    let now = keyspace.now_ms();
    match keyspace.entry(key) {
        None => -2,
        Some(entry) => entry.expires.map_or(-1, |expires| (expires - now).max(0)),
    }
}

pub(super) fn expire_milliseconds(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(expire(keyspace, arguments, "pexpire", 1))
}

pub(super) fn expire_seconds(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(expire(keyspace, arguments, "expire", 1000))
}

// Source: `expireGenericCommand`, https://github.com/redis/redis/blob/7.0/src/expire.c
fn expire(keyspace: &mut Keyspace, arguments: &[&[u8]], command: &str, unit_ms: i64) -> Outcome {
    let key = arguments[1];
    let number = parse_integer(arguments[2]).ok_or_else(Reply::not_an_integer)?;
    if let Some(option) = arguments.get(3) {
        keyspace.unknown.push(format!("{command} with {}", super::text(option)));
        return Err(Reply::error(format!("ERR Unsupported option {}", super::text(option))));
    }
    let expires = number.checked_mul(unit_ms).and_then(|life| life.checked_add(keyspace.now_ms()));
    let expires = expires.ok_or_else(|| Reply::error(format!("ERR invalid expire time in '{command}' command")))?;
    if keyspace.entry(key).is_none() {
        return Ok(Reply::Integer(0));
    }
    if expires <= keyspace.now_ms() {
        keyspace.delete(key);
    } else {
        keyspace.expire_at(key, expires);
    }
    Ok(Reply::Integer(1))
}

pub(super) fn persist(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    Reply::Integer(i64::from(keyspace.persist(arguments[1])))
}

pub(super) fn size(keyspace: &mut Keyspace, _: &[&[u8]]) -> Reply {
    Reply::count(keyspace.entries.len())
}

pub(super) fn flush(keyspace: &mut Keyspace, _: &[&[u8]]) -> Reply {
    keyspace.flush();
    Reply::OK
}

pub(super) fn time(keyspace: &mut Keyspace, _: &[&[u8]]) -> Reply {
    let now = keyspace.now;
    Reply::Array(vec![Reply::bulk(now.as_secs().to_string()), Reply::bulk(now.subsec_micros().to_string())])
}

pub(super) fn scan(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_scan(keyspace, arguments))
}

fn try_scan(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let cursor = std::str::from_utf8(arguments[1]).ok().and_then(|cursor| cursor.parse::<u64>().ok());
    let cursor = cursor.ok_or_else(|| Reply::error("ERR invalid cursor"))?;
    let (mut matching, mut count): (Option<&[u8]>, usize) = (None, 10);
    for option in arguments[2..].chunks(2) {
        match *option {
            [name, value] if is_word(name, "MATCH") => matching = Some(value),
            [name, value] if is_word(name, "COUNT") => {
                let number = parse_integer(value).ok_or_else(Reply::not_an_integer)?;
                count = usize::try_from(number).ok().filter(|count| *count > 0).ok_or_else(Reply::syntax_error)?;
            }
            [name, value] if is_word(name, "TYPE") => {
                keyspace.unknown.push(format!("SCAN with TYPE {}", super::text(value)));
                return Err(Reply::syntax_error());
            }
            _ => return Err(Reply::syntax_error()),
        }
    }
    // In an order of their own, so that no key that stays is left out while others come and go.
    let mut places: BTreeMap<u64, Vec<Key>> = BTreeMap::new();
    for key in keyspace.entries.keys() {
        places.entry(place(key)).or_default().push(key.clone());
    }
    let mut found = Vec::new();
    let mut next = 0;
    for (seen, (&place, keys)) in places.range(cursor..).enumerate() {
        if seen >= count {
            next = place;
            break;
        }
        let matching = keys.iter().filter(|key| matching.is_none_or(|pattern| pattern::matches(pattern, key)));
        found.extend(matching.cloned());
    }
    found.retain(|key| keyspace.entry(key).is_some());
    Ok(Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(found.into_iter().map(Reply::Bulk).collect())]))
}

/// Where a key is among all keys; never zero, which begins a scan.
// Source: FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/
fn place(key: &[u8]) -> u64 {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 16) + 1
}
