//! Hashes.

use super::{Outcome, either};
use crate::keyspace::{Keyspace, wrong_type};
use crate::reply::Reply;
use crate::value::{Fields, Value};

fn read<T>(keyspace: &mut Keyspace, key: &[u8], read: impl FnOnce(&Fields) -> T) -> Result<T, Reply> {
    match keyspace.entry(key).map(|entry| &entry.value) {
        None => Ok(read(&Vec::new())),
        Some(Value::Hash(fields)) => Ok(read(fields)),
        Some(_) => Err(wrong_type()),
    }
}

fn update<T>(
    keyspace: &mut Keyspace,
    key: &[u8],
    event: &'static str,
    change: impl FnOnce(&mut Fields) -> (T, bool),
) -> Result<T, Reply> {
    keyspace.update(
        key,
        || Value::Hash(Vec::new()),
        event,
        |value| match value {
            Value::Hash(fields) => Some(change(fields)),
            _ => None,
        },
    )
}

fn value(fields: &Fields, field: &[u8]) -> Reply {
    fields.iter().find(|(name, _)| **name == *field).map_or(Reply::Nil, |(_, value)| Reply::Bulk(value.clone()))
}

pub(super) fn get(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(read(keyspace, arguments[1], |fields| value(fields, arguments[2])))
}

pub(super) fn get_many(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let values = |fields: &Fields| arguments[2..].iter().map(|field| value(fields, field)).collect();
    either(read(keyspace, arguments[1], |fields| Reply::Array(values(fields))))
}

pub(super) fn get_all(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let all = |fields: &Fields| {
        fields.iter().flat_map(|(name, value)| [Reply::Bulk(name.clone()), Reply::Bulk(value.clone())]).collect()
    };
    either(read(keyspace, arguments[1], |fields| Reply::Map(all(fields))))
}

pub(super) fn values(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let values = |fields: &Fields| fields.iter().map(|(_, value)| Reply::Bulk(value.clone())).collect();
    either(read(keyspace, arguments[1], |fields| Reply::Array(values(fields))))
}

pub(super) fn set(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_set(keyspace, arguments))
}

fn try_set(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let pairs = &arguments[2..];
    if pairs.len() % 2 == 1 {
        return Err(Reply::error("ERR wrong number of arguments for 'hset' command"));
    }
    let added = update(keyspace, arguments[1], "hset", |fields| {
        let mut added = 0;
        for pair in pairs.chunks_exact(2) {
            if let Some((_, value)) = fields.iter_mut().find(|(name, _)| **name == *pair[0]) {
                *value = pair[1].into();
            } else {
                fields.push((pair[0].into(), pair[1].into()));
                added += 1;
            }
        }
        (added, true)
    })?;
    Ok(Reply::count(added))
}

pub(super) fn delete(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let deleted = update(keyspace, arguments[1], "hdel", |fields| {
        let before = fields.len();
        fields.retain(|(name, _)| !arguments[2..].contains(&&**name));
        (before - fields.len(), before > fields.len())
    });
    either(deleted.map(Reply::count))
}
