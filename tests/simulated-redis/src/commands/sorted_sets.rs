//! Sorted sets.

use std::iter;

use super::{Outcome, either, is_word, positions, text};
use crate::keyspace::{Keyspace, wrong_type};
use crate::number::{parse_float, parse_integer};
use crate::reply::Reply;
use crate::value::{SortedSet, Value};

fn read<T>(keyspace: &mut Keyspace, key: &[u8], read: impl FnOnce(&SortedSet) -> T) -> Result<T, Reply> {
    match keyspace.entry(key).map(|entry| &entry.value) {
        None => Ok(read(&SortedSet::default())),
        Some(Value::SortedSet(members)) => Ok(read(members)),
        Some(_) => Err(wrong_type()),
    }
}

fn update<T>(
    keyspace: &mut Keyspace,
    key: &[u8],
    event: &'static str,
    change: impl FnOnce(&mut SortedSet) -> (T, bool),
) -> Result<T, Reply> {
    keyspace.update(
        key,
        || Value::SortedSet(SortedSet::default()),
        event,
        |value| match value {
            Value::SortedSet(members) => Some(change(members)),
            _ => None,
        },
    )
}

pub(super) fn add(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_add(keyspace, arguments))
}

fn try_add(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let options = ["NX", "XX", "GT", "LT", "CH", "INCR"];
    if options.iter().any(|option| is_word(arguments[2], option)) {
        keyspace.unknown.push(format!("ZADD with {}", text(arguments[2])));
        return Err(Reply::syntax_error());
    }
    let pairs = &arguments[2..];
    if pairs.len() % 2 == 1 {
        return Err(Reply::syntax_error());
    }
    let invalid = || Reply::error("ERR value is not a valid float");
    let scored = |pair: &[&[u8]]| Some((parse_float(pair[0])?, pair[1].to_vec()));
    let scored = pairs.chunks_exact(2).map(scored).collect::<Option<Vec<_>>>().ok_or_else(invalid)?;
    let added = update(keyspace, arguments[1], "zadd", |members| {
        let (mut added, mut is_changed) = (0, false);
        for (score, member) in scored {
            let before = members.score(&member);
            added += usize::from(before.is_none());
            if before.is_none_or(|before| before.total_cmp(&score).is_ne()) {
                members.insert(&member, score);
                is_changed = true;
            }
        }
        (added, is_changed)
    })?;
    Ok(Reply::count(added))
}

pub(super) fn remove(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    let removed = update(keyspace, arguments[1], "zrem", |members| {
        let removed = arguments[2..].iter().filter(|member| members.remove(member)).count();
        (removed, removed > 0)
    });
    either(removed.map(Reply::count))
}

pub(super) fn size(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(read(keyspace, arguments[1], |members| Reply::count(members.len())))
}

pub(super) fn score(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(read(keyspace, arguments[1], |members| members.score(arguments[2]).map_or(Reply::Nil, Reply::Double)))
}

pub(super) fn range(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    // As scripts are told, and clients of the older protocol: one behind the other. The newer one has pairs.
    let has_scores = match arguments[4..] {
        [] => false,
        [option] if is_word(option, "WITHSCORES") => true,
        [option, ..] => {
            keyspace.unknown.push(format!("ZRANGE with {}", text(option)));
            return Reply::syntax_error();
        }
    };
    let range = positions(arguments[2], arguments[3], 0).and_then(|_| {
        read(keyspace, arguments[1], |members| {
            let range = positions(arguments[2], arguments[3], members.len())?;
            let Some((start, end)) = range else { return Ok(Vec::new()) };
            let range = members.iter().skip(start).take(end - start + 1);
            let told = range.flat_map(|(member, score)| {
                iter::once(Reply::Bulk(member.clone())).chain(has_scores.then_some(Reply::Double(score)))
            });
            Ok(told.collect())
        })?
    });
    either(range.map(Reply::Array))
}

pub(super) fn range_by_score(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_range_by_score(keyspace, arguments))
}

fn try_range_by_score(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    // How many are left out, and how many of the rest are told; below zero, all or none.
    let (skipped, most) = match arguments[4..] {
        [] => (0, -1),
        [option, skipped, most] if is_word(option, "LIMIT") => {
            let read = |number| parse_integer(number).ok_or_else(Reply::not_an_integer);
            (read(skipped)?, read(most)?)
        }
        [option, ..] => {
            keyspace.unknown.push(format!("ZRANGEBYSCORE with {}", text(option)));
            return Err(Reply::syntax_error());
        }
    };
    let range = Range::read(arguments[2], arguments[3])?;
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found = read(keyspace, arguments[1], |members| {
        let found = members.iter().filter(|(_, score)| range.contains(*score));
        found.skip(skipped).take(most).map(|(member, _)| Reply::Bulk(member.clone())).collect()
    })?;
    Ok(Reply::Array(found))
}

pub(super) fn remove_by_score(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Reply {
    either(try_remove_by_score(keyspace, arguments))
}

fn try_remove_by_score(keyspace: &mut Keyspace, arguments: &[&[u8]]) -> Outcome {
    let range = Range::read(arguments[2], arguments[3])?;
    let removed = update(keyspace, arguments[1], "zremrangebyscore", |members| {
        let found = members.iter().filter(|(_, score)| range.contains(*score));
        let found: Vec<_> = found.map(|(member, _)| member.clone()).collect();
        for member in &found {
            members.remove(member);
        }
        (found.len(), !found.is_empty())
    })?;
    Ok(Reply::count(removed))
}

/// Scores from one to another.
struct Range {
    low: Bound,
    high: Bound,
}

struct Bound {
    score: f64,
    is_excluded: bool,
}

impl Range {
    fn read(low: &[u8], high: &[u8]) -> Result<Self, Reply> {
        let bound = |argument: &[u8]| {
            let (score, is_excluded) = match argument {
                [b'(', score @ ..] => (score, true),
                score => (score, false),
            };
            let score = parse_float(score).ok_or_else(|| Reply::error("ERR min or max is not a float"))?;
            Ok(Bound { score, is_excluded })
        };
        Ok(Self { low: bound(low)?, high: bound(high)? })
    }

    fn contains(&self, score: f64) -> bool {
        let is_above = if self.low.is_excluded { score > self.low.score } else { score >= self.low.score };
        is_above && if self.high.is_excluded { score < self.high.score } else { score <= self.high.score }
    }
}
