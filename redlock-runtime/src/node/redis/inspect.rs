//! A Redis server's locks, as people see them.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::super::counters::Answer;
use super::super::inspect::{
    Announcing, Cursor, Deleted, Inspecting, Listed, LockRecord, Looked, OwnerLabel, Page, PermitsRecord,
    RecordedLabel, SharedRecord,
};
use super::commands::{self, FoundMark};
use super::server::{BATCH, PLAIN_BATCH, Server, all_done, reason};
use super::{RedisNode, never_given, text};
use crate::node::Changes;
use crate::platform::clock;
use crate::protocol::{MARKED_FROM, NoMark, StoredMark};
use crate::values::keys::{Keys, LockKeys};

impl Inspecting for RedisNode {
    fn record_labels(&self, labels: Vec<OwnerLabel>, reply_timeout: Duration) -> Answer<()> {
        self.with_connection(reply_timeout, |mut server| async move { server.record_labels(&labels).await })
    }

    fn look(&self, keys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<Option<LockRecord>> {
        self.with_connection(reply_timeout, |mut server| async move { server.look(&keys).await })
    }

    fn look_at_each(&self, locks: &[Arc<LockKeys>], reply_timeout: Duration) -> Answer<Vec<Looked>> {
        let locks = locks.to_vec();
        self.with_connection(reply_timeout, |mut server| async move { server.look_at_each(&locks).await })
    }

    fn marks(&self, locks: &[Arc<str>], reply_timeout: Duration) -> Answer<Vec<Option<StoredMark>>> {
        let keys: Vec<_> = locks.iter().map(|lock| Keys::done(lock)).collect();
        self.with_connection(reply_timeout, |mut server| async move { server.marks(&keys).await })
    }

    fn permits(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<PermitsRecord> {
        self.with_connection(reply_timeout, |mut server| async move { server.permits(&lock).await })
    }

    fn shared(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<SharedRecord> {
        self.with_connection(reply_timeout, |mut server| async move { server.shared(&lock).await })
    }

    fn watch(&self, keys: Vec<Arc<str>>, reply_timeout: Duration) -> Answer<()> {
        self.with_connection(reply_timeout, |mut server| async move { server.watch(&keys).await })
    }

    fn announce(&self, prefixes: &Arc<[String]>, changes: Changes) -> Option<Box<dyn Announcing>> {
        Some(self.announced(prefixes, changes))
    }

    fn page(&self, wanted: Listed, from: Cursor, reply_timeout: Duration) -> Answer<Page> {
        self.with_connection(reply_timeout, move |mut server| async move { server.page(&wanted, from).await })
    }

    fn reset(&self, locks: Vec<Arc<LockKeys>>, reply_timeout: Duration) -> Answer<Vec<Deleted>> {
        self.with_connection(reply_timeout, |mut server| async move { server.reset(&locks).await })
    }

    fn mark(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<Option<StoredMark>> {
        self.with_connection(reply_timeout, |mut server| async move { server.mark(&lock).await })
    }

    fn reset_mark(&self, lock: Arc<str>, retention: Duration, reply_timeout: Duration) -> Answer<bool> {
        self.with_connection(reply_timeout, move |mut server| async move { server.reset_mark(&lock, retention).await })
    }
}

impl Server {
    pub(super) async fn record_labels(&mut self, labels: &[OwnerLabel]) -> Result<(), Arc<str>> {
        for batch in labels.chunks(BATCH) {
            all_done(self.call(|call| commands::label(batch, clock::since_1970(), call)).await?)?;
        }
        Ok(())
    }

    pub(super) async fn look(&mut self, keys: &LockKeys) -> Result<Option<LockRecord>, Arc<str>> {
        let mut answers =
            self.call(|call| commands::look_at_each(std::slice::from_ref(keys), clock::since_1970(), call)).await?;
        let answer = answers.pop().unwrap_or(Value::Nil).extract_error().map_err(|error| reason(&error))?;
        record(&answer)
    }

    /// Batch by batch, so that the server sees to others in between.
    async fn look_at_each(&mut self, locks: &[Arc<LockKeys>]) -> Result<Vec<Looked>, Arc<str>> {
        let mut looked = Vec::with_capacity(locks.len());
        for batch in locks.chunks(BATCH) {
            let answers = self.call(|call| commands::look_at_each(batch, clock::since_1970(), call)).await?;
            looked.extend(
                answers.into_iter().map(|answer| record(&answer.extract_error().map_err(|error| reason(&error))?)),
            );
        }
        Ok(looked)
    }

    async fn marks(&mut self, keys: &[String]) -> Result<Vec<Option<StoredMark>>, Arc<str>> {
        let mut marks = Vec::with_capacity(keys.len());
        for batch in keys.chunks(PLAIN_BATCH) {
            let answers = self.send(&commands::values(batch)).await?;
            marks.extend(answers.iter().map(|answer| StoredMark::parse(&text(answer)?).ok()));
        }
        Ok(marks)
    }

    async fn shared(&mut self, lock: &str) -> Result<SharedRecord, Arc<str>> {
        let (writer, readers) = (Keys::around(&Keys::writer(lock).into()), Keys::readers(lock));
        let answers =
            all_done(self.call(|call| commands::look_at_shared(&writer, &readers, clock::since_1970(), call)).await?)?;
        match answers.as_slice() {
            [writer, Value::Array(told)] => match told.as_slice() {
                [Value::Int(count), Value::Int(remaining)] => {
                    let number = |number: &i64| u64::try_from(*number).unwrap_or_default();
                    let readers = (number(count), Duration::from_millis(number(remaining)));
                    Ok(SharedRecord { writer: record(writer)?, readers })
                }
                _ => Err(never_given(&answers[1])),
            },
            _ => Err(never_given(&Value::Array(answers))),
        }
    }

    async fn permits(&mut self, lock: &Arc<str>) -> Result<PermitsRecord, Arc<str>> {
        let keys: Vec<_> = iter::once(Keys::permits(lock)).chain(Keys::all_permits(lock).map(|(_, key)| key)).collect();
        let answer = all_done(self.send(&commands::values_beside(&keys)).await?)?.pop().unwrap_or(Value::Nil);
        let Value::Array(values) = &answer else { return Err(never_given(&answer)) };
        let said = values.first().and_then(text).and_then(|said| said.parse().ok());
        let there = values.iter().zip(&keys).skip(1).filter(|(value, _)| matches!(value, Value::BulkString(_)));
        let slots: Vec<_> = there
            .filter_map(|(_, key)| Some((Keys::slot_of_permit(key)?.0, Keys::around(&Arc::from(&**key)))))
            .collect();
        if slots.is_empty() {
            return Ok(PermitsRecord { said, held: Vec::new() });
        }
        let (numbers, keys): (Vec<_>, Vec<_>) = slots.into_iter().unzip();
        let answers = self.call(|call| commands::look_at_each(&keys, clock::since_1970(), call)).await?;
        let mut held = Vec::with_capacity(numbers.len());
        for (number, answer) in numbers.into_iter().zip(answers) {
            let answer = answer.extract_error().map_err(|error| reason(&error))?;
            held.extend(record(&answer)?.map(|record| (number, record)));
        }
        Ok(PermitsRecord { said, held })
    }

    /// As those who wait have changes reported: with tracking, or a subscription.
    async fn watch(&mut self, keys: &[Arc<str>]) -> Result<(), Arc<str>> {
        if let Some(subscription) = &self.live.subscription {
            subscription.cover(keys.iter()).await;
        } else if self.live.reports_changes {
            all_done(self.send(&commands::watch(keys)).await?)?;
        }
        Ok(())
    }

    async fn page(&mut self, wanted: &Listed, from: Cursor) -> Result<Page, Arc<str>> {
        let (mut keys, next) = self.keys(&commands::pattern_of(wanted), from).await?;
        keys.retain(|key| wanted.is_called(key));
        let lengths = self.send(&commands::lengths(&keys)).await?;
        let locks = keys.into_iter().zip(lengths).filter(|(_, length)| matches!(length, Value::Int(1..)));
        let keys = locks.map(|(key, _)| key).collect();
        Ok(Page { keys, next })
    }

    /// Some of the keys that match this, whatever they hold, and where the next ones begin, if there may be more.
    pub(super) async fn keys(
        &mut self,
        pattern: &str,
        from: Cursor,
    ) -> Result<(Vec<String>, Option<Cursor>), Arc<str>> {
        let answer = all_done(self.send(&commands::page(pattern, from)).await?)?.pop().unwrap_or(Value::Nil);
        let (next, keys): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(answer).map_err(|error| Arc::from(error.to_string()))?;
        // No key of ours is called what is no text.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        Ok((keys, (next != 0).then_some(Cursor { at: next, ..from })))
    }

    async fn mark(&mut self, lock: &str) -> Result<Option<StoredMark>, Arc<str>> {
        let key = Keys::done(lock);
        let answer = self.send(&commands::values(std::slice::from_ref(&key))).await?.pop().unwrap_or(Value::Nil);
        match answer.extract_error().map_err(|error| reason(&error))? {
            Value::Nil => Ok(None),
            stored => match text(&stored).map(|stored| StoredMark::parse(&stored)) {
                Some(Ok(mark)) => Ok(Some(mark)),
                _ => Err(NoMark::about(&key).into()),
            },
        }
    }

    async fn reset_mark(&mut self, lock: &str, retention: Duration) -> Result<bool, Arc<str>> {
        let too_young = MARKED_FROM.saturating_sub(self.live.server_info.age(clock::now()));
        if !too_young.is_zero() {
            clock::sleep_until(clock::now() + too_young).await;
        }
        let key = Keys::done(lock);
        let found = match self.send(&commands::values(std::slice::from_ref(&key))).await?.pop().unwrap_or(Value::Nil) {
            Value::Nil => FoundMark::None,
            Value::BulkString(text) => FoundMark::Text(text),
            Value::ServerError(error) if error.code() != "WRONGTYPE" => return Err(reason(&error.into())),
            _ => FoundMark::Other,
        };
        // If this comes late, a fire may have been completed meanwhile: so it replaces nothing but what was found.
        let answers = self.call(|call| commands::reset_mark(&key, &found, retention, call)).await?;
        if all_done(answers)?.first() != Some(&Value::Int(1)) {
            return Err("a fire was completed meanwhile; reset the marks again if that one may run again, too".into());
        }
        let mark = match &found {
            FoundMark::Text(text) => std::str::from_utf8(text).ok().and_then(|text| StoredMark::parse(text).ok()),
            FoundMark::None | FoundMark::Other => None,
        };
        Ok(mark.is_some_and(|mark| mark != StoredMark::NONE))
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

fn record(answer: &Value) -> Result<Option<LockRecord>, Arc<str>> {
    let (owner, remaining, label) = match answer {
        Value::Nil => return Ok(None),
        Value::Array(record) => match record.as_slice() {
            [owner, Value::Int(remaining)] => (owner, remaining, None),
            [owner, Value::Int(remaining), label, Value::Int(held_for), Value::Int(fencing_token)] => {
                (owner, remaining, Some((text(label), milliseconds(*held_for), u64::try_from(*fencing_token))))
            }
            _ => return Err(never_given(answer)),
        },
        _ => return Err(never_given(answer)),
    };
    Ok(Some(LockRecord {
        owner: text(owner).ok_or("the key holds no text, which is no lock")?,
        // Negative for a key without an expiry.
        remaining: milliseconds(*remaining),
        label: label.and_then(|(label, held_for, fencing_token)| {
            let fencing_token = fencing_token.unwrap_or_default();
            Some(RecordedLabel { label: label?.to_string(), held_for: held_for?, fencing_token })
        }),
    }))
}

fn milliseconds(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().map(Duration::from_millis)
}
