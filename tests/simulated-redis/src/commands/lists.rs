//! Lists.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Outcome, either, is_word, positions};
use crate::keyspace::{Keyspace, wrong_type};
use crate::number::parse_integer;
use crate::reply::Reply;
use crate::value::Value;

type Items = VecDeque<Arc<[u8]>>;

fn read<T>(keyspace: &mut Keyspace, key: &[u8], read: impl FnOnce(&Items) -> T) -> Result<T, Reply> {
    match keyspace.entry(key).map(|entry| &entry.value) {
        None => Ok(read(&VecDeque::new())),
        Some(Value::List(items)) => Ok(read(items)),
        Some(_) => Err(wrong_type()),
    }
}

fn update<T>(
    keyspace: &mut Keyspace,
    key: &[u8],
    event: &'static str,
    change: impl FnOnce(&mut Items) -> (T, bool),
) -> Result<T, Reply> {
    keyspace.update(
        key,
        || Value::List(VecDeque::new()),
        event,
        |value| match value {
            Value::List(items) => Some(change(items)),
            _ => None,
        },
    )
}

pub(super) fn push(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let length = update(keyspace, arguments[1], "rpush", |items| {
        items.extend(arguments[2..].iter().map(|&item| Arc::from(item)));
        (items.len(), true)
    });
    either(length.map(Reply::count))
}

pub(super) fn length(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(read(keyspace, arguments[1], |items| Reply::count(items.len())))
}

pub(super) fn range(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    // What is no number is refused first, whatever the key holds.
    let range = positions(arguments[2], arguments[3], 0).and_then(|_| {
        read(keyspace, arguments[1], |items| {
            let Some((start, end)) = positions(arguments[2], arguments[3], items.len())? else { return Ok(Vec::new()) };
            Ok(items.range(start..=end).cloned().map(Reply::Bulk).collect())
        })?
    });
    either(range.map(Reply::Array))
}

pub(super) fn set(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_set(keyspace, arguments))
}

fn try_set(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let key = arguments[1];
    if keyspace.entry(key).is_none() {
        return Err(Reply::error("ERR no such key"));
    }
    read(keyspace, key, |_| ())?;
    let position = parse_integer(arguments[2]).ok_or_else(Reply::not_an_integer)?;
    let is_set = update(keyspace, key, "lset", |items| {
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let position = if position < 0 { position.saturating_add(length) } else { position };
        let item = usize::try_from(position).ok().and_then(|position| items.get_mut(position));
        let is_set = item.map(|item| *item = arguments[3].into()).is_some();
        (is_set, is_set)
    })?;
    if is_set { Ok(Reply::OK) } else { Err(Reply::error("ERR index out of range")) }
}

pub(super) fn remove(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_remove(keyspace, arguments))
}

fn try_remove(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let count = parse_integer(arguments[2]).ok_or_else(Reply::not_an_integer)?;
    let limit = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let removed = update(keyspace, arguments[1], "lrem", |items| {
        let is_it = |position: &usize| *items[*position] == *arguments[3];
        let positions: Vec<_> = if count < 0 {
            (0..items.len()).rev().filter(is_it).take(limit).collect()
        } else {
            let mut positions: Vec<_> = (0..items.len()).filter(is_it).take(limit).collect();
            positions.reverse();
            positions
        };
        for &position in &positions {
            items.remove(position);
        }
        (positions.len(), !positions.is_empty())
    })?;
    Ok(Reply::count(removed))
}

pub(super) fn position(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_position(keyspace, arguments))
}

fn try_position(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let (mut rank, mut longest) = (1, 0);
    for option in arguments[3..].chunks(2) {
        let &[name, value] = option else { return Err(Reply::syntax_error()) };
        let number = parse_integer(value).ok_or_else(Reply::not_an_integer)?;
        if is_word(name, "RANK") && number != 0 {
            rank = number;
        } else if is_word(name, "MAXLEN") && number >= 0 {
            longest = number;
        } else {
            keyspace.unknown.push(format!("LPOS with {} {number}", super::text(name)));
            return Err(Reply::syntax_error());
        }
    }
    read(keyspace, arguments[1], |items| {
        let looked_at = if longest == 0 { items.len() } else { usize::try_from(longest).unwrap_or(usize::MAX) };
        let nth = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let is_it = |position: &usize| *items[*position] == *arguments[2];
        let found = if rank < 0 {
            (0..items.len()).rev().take(looked_at).filter(is_it).nth(nth)
        } else {
            (0..items.len()).take(looked_at).filter(is_it).nth(nth)
        };
        found.map_or(Reply::Nil, Reply::count)
    })
}
