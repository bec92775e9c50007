//! A Redis server as a keeper of counters.
//!
//! What is asked of one server here is asked of several in a cluster, so it is put together from [`Counters`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::super::commands::{self, Marker};
use super::super::counting::{Answer, Counted, Counting, Number, Settled};
use super::RedisNode;
use super::server::{BATCH, Server, all_done, reason};
use crate::keys::{CounterKeys, Keys};

impl Counting for RedisNode {
    fn settle(&self, process: &Arc<str>, numbers: Vec<Number>, patience: Duration) -> Answer<Vec<Settled>> {
        let process = Arc::clone(process);
        self.with_connection(patience, |mut server| async move { server.settle(&process, &numbers).await })
    }

    fn enlist(&self, counters: Vec<Arc<CounterKeys>>, patience: Duration) -> Answer<()> {
        self.with_connection(patience, |mut server| async move { enlist(&mut server, &counters).await })
    }

    fn count(&self, keys: &Keys, patience: Duration) -> Answer<Vec<Counted>> {
        let keys = keys.clone();
        self.with_connection(patience, |mut server| async move { count(&mut server, &keys).await })
    }
}

/// Where counters are kept, their markers, and the list that names them; each key perhaps on a server of its own.
pub(in super::super) trait Counters: Send {
    /// [`Counting::settle`].
    fn settle(
        &mut self,
        process: &str,
        numbers: &[Number],
    ) -> impl Future<Output = Result<Vec<Settled>, Arc<str>>> + Send;

    /// The markers that say that the list has these.
    fn markers(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<Vec<Marker>, Arc<str>>> + Send;

    /// Makes these markers anew.
    fn mark(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<(), Arc<str>>> + Send;

    /// Adds these to the list that each belongs to, where that does not have them.
    fn put_in(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<(), Arc<str>>> + Send;

    /// The names of counters that are listed, without the unwanted.
    fn take_out(
        &mut self,
        list: &str,
        unwanted: &[Arc<CounterKeys>],
    ) -> impl Future<Output = Result<Vec<String>, Arc<str>>> + Send;
}

/// [`Counting::enlist`].
pub(in super::super) async fn enlist(
    counters: &mut impl Counters,
    wanted: &[Arc<CounterKeys>],
) -> Result<(), Arc<str>> {
    for batch in wanted.chunks(BATCH) {
        let markers = counters.markers(batch).await?;
        let with = |wanted: fn(Marker) -> bool| {
            batch.iter().zip(&markers).filter(move |(_, marker)| wanted(**marker)).map(|(keys, _)| Arc::clone(keys))
        };
        let unlisted: Vec<_> = with(|marker| marker == Marker::Missing).collect();
        // The marker last: it keeps others from adding the counter to the list.
        counters.put_in(&unlisted).await?;
        let to_mark: Vec<_> = with(|marker| marker != Marker::Lasting).collect();
        counters.mark(&to_mark).await?;
    }
    Ok(())
}

/// [`Counting::count`].
pub(in super::super) async fn count(counters: &mut impl Counters, keys: &Keys) -> Result<Vec<Counted>, Arc<str>> {
    let mut counted = Vec::new();
    let (mut listed, mut gone) = (Vec::new(), Vec::new());
    for counter in counters.take_out(&keys.waiting_list, &[]).await? {
        if let Some(stats_name) = counter.strip_prefix(&*keys.waiting_prefix) {
            listed.push((stats_name.to_owned(), Arc::new(keys.counter(stats_name))));
        }
    }
    let numbers = look(counters, listed.iter().map(|(_, keys)| keys)).await?;
    for ((stats_name, keys), counter) in listed.into_iter().zip(numbers) {
        match counter {
            Ok(Some(waiting)) => counted.push(Counted { stats_name, waiting }),
            Ok(None) => gone.push((stats_name, keys)),
            Err(reason) => tracing::debug!(counter = &*keys.counter, %reason, "a waiting counter cannot be read"),
        }
    }
    let keys_of_gone: Vec<_> = gone.iter().map(|(_, keys)| Arc::clone(keys)).collect();
    let mut unused = Vec::new();
    for ((stats_name, keys), marker) in gone.into_iter().zip(counters.markers(&keys_of_gone).await?) {
        if marker == Marker::Missing {
            unused.push(keys);
        } else {
            counted.push(Counted { stats_name, waiting: 0 });
        }
    }
    unlist(counters, &keys.waiting_list, unused).await?;
    Ok(counted)
}

async fn unlist(counters: &mut impl Counters, list: &str, unused: Vec<Arc<CounterKeys>>) -> Result<(), Arc<str>> {
    if unused.is_empty() {
        return Ok(());
    }
    counters.take_out(list, &unused).await?;
    // Somebody may have begun to wait meanwhile, and found the counter still listed.
    let numbers = look(counters, unused.iter()).await?;
    let used_after_all = unused.into_iter().zip(numbers).filter(|(_, counter)| *counter != Ok(None));
    let used_after_all: Vec<_> = used_after_all.map(|(keys, _)| keys).collect();
    enlist(counters, &used_after_all).await
}

async fn look(
    counters: &mut impl Counters,
    wanted: impl Iterator<Item = &Arc<CounterKeys>>,
) -> Result<Vec<Settled>, Arc<str>> {
    let numbers: Vec<_> = wanted.map(|keys| Number { keys: Arc::clone(keys), waiting: None }).collect();
    counters.settle("", &numbers).await
}

impl Counters for Server {
    async fn settle(&mut self, process: &str, numbers: &[Number]) -> Result<Vec<Settled>, Arc<str>> {
        let mut settled = Vec::with_capacity(numbers.len());
        for batch in numbers.chunks(BATCH) {
            let answers = self.call(|call| commands::settle(process, batch, call)).await?;
            settled.extend(answers.into_iter().map(|answer| match answer.extract_error() {
                Ok(Value::Int(counter)) => Ok(Some(counter)),
                Ok(Value::Nil) => Ok(None),
                Ok(other) => Err(format!("an answer that the script never gives: {other:?}").into()),
                Err(error) => Err(reason(&error)),
            }));
        }
        Ok(settled)
    }

    async fn markers(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Marker>, Arc<str>> {
        let mut markers = Vec::with_capacity(counters.len());
        for batch in counters.chunks(BATCH) {
            for marker in all_done(self.send(&commands::markers(batch)).await?)? {
                markers.push(Marker::read(&marker).ok_or("an answer that TTL never gives")?);
            }
        }
        Ok(markers)
    }

    async fn mark(&mut self, counters: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
        all_done(self.send(&commands::mark(counters)).await?).map(drop)
    }

    async fn put_in(&mut self, counters: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
        all_done(self.call(|call| commands::enlist(counters, call)).await?).map(drop)
    }

    async fn take_out(&mut self, list: &str, unwanted: &[Arc<CounterKeys>]) -> Result<Vec<String>, Arc<str>> {
        let mut answers = self.call(|call| commands::take_out(list, unwanted, call)).await?;
        let names = answers.pop().unwrap_or(Value::Nil).extract_error().map_err(|error| reason(&error))?;
        redis::from_redis_value(names).map_err(|error| error.to_string().into())
    }
}
