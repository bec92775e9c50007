//! A Redis server's locks, as people see them.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::super::counting::Answer;
use super::super::inspecting::{Cursor, Deleted, Inspecting, Note, Page, SeenNote, Sight};
use super::commands;
use super::server::{BATCH, Server, all_done, reason};
use super::{RedisNode, never_given, text};
use crate::platform::clock;
use crate::values::keys::LockKeys;

impl Inspecting for RedisNode {
    fn note(&self, notes: Vec<Note>, patience: Duration) -> Answer<()> {
        self.with_connection(patience, |mut server| async move { server.note(&notes).await })
    }

    fn look(&self, keys: Arc<LockKeys>, patience: Duration) -> Answer<Option<Sight>> {
        self.with_connection(patience, |mut server| async move { server.look(&keys).await })
    }

    fn page(&self, prefix: Arc<str>, from: Cursor, patience: Duration) -> Answer<Page> {
        self.with_connection(patience, move |mut server| async move { server.page(&prefix, from).await })
    }

    fn reset(&self, locks: Vec<Arc<LockKeys>>, patience: Duration) -> Answer<Vec<Deleted>> {
        self.with_connection(patience, |mut server| async move { server.reset(&locks).await })
    }
}

impl Server {
    pub(super) async fn note(&mut self, notes: &[Note]) -> Result<(), Arc<str>> {
        for batch in notes.chunks(BATCH) {
            all_done(self.call(|call| commands::note(batch, clock::since_1970(), call)).await?)?;
        }
        Ok(())
    }

    pub(super) async fn look(&mut self, keys: &LockKeys) -> Result<Option<Sight>, Arc<str>> {
        let mut answers = self.call(|call| commands::look(keys, clock::since_1970(), call)).await?;
        let answer = answers.pop().unwrap_or(Value::Nil).extract_error().map_err(|error| reason(&error))?;
        sight(&answer)
    }

    async fn page(&mut self, prefix: &str, from: Cursor) -> Result<Page, Arc<str>> {
        let (keys, next) = self.keys(prefix, from).await?;
        let lengths = self.send(&commands::lengths(&keys)).await?;
        let locks = keys.into_iter().zip(lengths).filter(|(_, length)| matches!(length, Value::Int(1..)));
        let keys = locks.map(|(key, _)| key).collect();
        Ok(Page { keys, next })
    }

    /// Some of the keys that begin with this, whatever they hold, and where the next ones begin, if there may be more.
    pub(super) async fn keys(&mut self, prefix: &str, from: Cursor) -> Result<(Vec<String>, Option<Cursor>), Arc<str>> {
        let answer = all_done(self.send(&commands::page(prefix, from)).await?)?.pop().unwrap_or(Value::Nil);
        let (next, keys): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(answer).map_err(|error| Arc::from(error.to_string()))?;
        // No key of ours is called what is no text.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        Ok((keys, (next != 0).then_some(Cursor { at: next, ..from })))
    }

    async fn reset(&mut self, locks: &[Arc<LockKeys>]) -> Result<Vec<Deleted>, Arc<str>> {
        let reports_changes = self.live.reports_changes;
        let mut deleted = Vec::with_capacity(locks.len());
        for batch in locks.chunks(BATCH) {
            let answers = self.call(|call| commands::reset(batch, reports_changes, call)).await?;
            deleted.extend(answers.into_iter().map(|answer| match answer.extract_error() {
                Ok(Value::Int(number)) => Ok(number > 0),
                Ok(other) => Err(never_given(&other)),
                Err(error) => Err(reason(&error)),
            }));
        }
        Ok(deleted)
    }
}

fn sight(answer: &Value) -> Result<Option<Sight>, Arc<str>> {
    let (owner, remaining, note) = match answer {
        Value::Nil => return Ok(None),
        Value::Array(sight) => match sight.as_slice() {
            [owner, Value::Int(remaining)] => (owner, remaining, None),
            [owner, Value::Int(remaining), label, Value::Int(held_for), Value::Int(fencing_token)] => {
                (owner, remaining, Some((text(label), milliseconds(*held_for), u64::try_from(*fencing_token))))
            }
            _ => return Err(never_given(answer)),
        },
        _ => return Err(never_given(answer)),
    };
    Ok(Some(Sight {
        owner: text(owner).ok_or("the key holds no text, which is no lock")?,
        // Negative for a key without an expiry.
        remaining: milliseconds(*remaining),
        note: note.and_then(|(label, held_for, fencing_token)| {
            let fencing_token = fencing_token.unwrap_or_default();
            Some(SeenNote { label: label?.to_string(), held_for: held_for?, fencing_token })
        }),
    }))
}

fn milliseconds(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().map(Duration::from_millis)
}
