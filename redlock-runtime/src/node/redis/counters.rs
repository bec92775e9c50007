//! A Redis server as a keeper of counters.
//!
//! What is asked of one server here is asked of several in a cluster, so it is put together from [`Counters`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::super::counters::{Answer, Counted, Counting, Number, Recorded, Unwanted};
use super::RedisNode;
use super::commands;
use super::commands::Marker;
use super::server::{BATCH, PLAIN_BATCH, Server, all_done, reason};
use crate::platform::{clock, entropy};
use crate::shown::shown;
use crate::values::keys::{CounterKeys, Keys, from_json};

impl Counting for RedisNode {
    fn record(&self, process: &Arc<str>, numbers: Vec<Number>, reply_timeout: Duration) -> Answer<Vec<Recorded>> {
        let process = Arc::clone(process);
        self.with_connection(reply_timeout, |mut server| async move { server.record(&process, &numbers).await })
    }

    fn count_others(&self, keys: Arc<CounterKeys>, reply_timeout: Duration) -> Answer<i64> {
        self.with_connection(reply_timeout, |mut server| async move { server.count_others(&keys).await })
    }

    fn enlist(&self, counters: Vec<Arc<CounterKeys>>, keys: &Keys, reply_timeout: Duration) -> Answer<()> {
        let keys = keys.clone();
        self.with_connection(reply_timeout, |mut server| async move { enlist(&mut server, &counters, &keys).await })
    }

    fn count(&self, keys: &Keys, reply_timeout: Duration) -> Answer<Vec<Counted>> {
        let keys = keys.clone();
        self.with_connection(reply_timeout, |mut server| async move { count(&mut server, &keys).await })
    }
}

/// Where counters are kept, their markers, and the list that names them; each key perhaps on a server of its own.
pub(in super::super) trait Counters: Send {
    /// [`Counting::record`].
    fn record(
        &mut self,
        process: &str,
        numbers: &[Number],
    ) -> impl Future<Output = Result<Vec<Recorded>, Arc<str>>> + Send;

    /// The markers that say that the list has these.
    fn markers(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<Vec<Marker>, Arc<str>>> + Send;

    /// Makes these markers anew.
    fn mark(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<(), Arc<str>>> + Send;

    /// The counters as they are, one answer each, whoever is counted in them.
    fn peek(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<Vec<Recorded>, Arc<str>>> + Send;

    /// Adds these to the list that each belongs to, where that does not have them.
    fn put_in(&mut self, counters: &[Arc<CounterKeys>]) -> impl Future<Output = Result<(), Arc<str>>> + Send;

    /// How many entries the list has.
    fn length(&mut self, list: &str) -> impl Future<Output = Result<usize, Arc<str>>> + Send;

    /// What the list has at these positions; fewer if it is not that long.
    fn entries(
        &mut self,
        list: &str,
        positions: Range<usize>,
    ) -> impl Future<Output = Result<Vec<Arc<[u8]>>, Arc<str>>> + Send;

    /// Takes entries out of the list, as far as they are still where they were; those at the greatest positions first.
    fn take_out(&mut self, list: &str, unwanted: &[Unwanted]) -> impl Future<Output = Result<(), Arc<str>>> + Send;
}

/// So many entries of the list are read at once.
const PAGE: usize = 1000;

/// For each counter that is listed so many entries are looked at, so that at most one of as many is of no use in the long run.
const LOOKED_AT: usize = 8;

/// Reading a list that takes longer tells how far it is, and again after as long.
const SLOW: Duration = Duration::from_secs(5);

/// A counter that the list names.
struct Listed {
    /// What stands behind the prefix.
    stats_name: String,
    keys: Arc<CounterKeys>,
    position: usize,
    entry: Arc<[u8]>,
}

impl Listed {
    fn unwanted(&self, same_as: Option<usize>) -> Unwanted {
        Unwanted { position: self.position, entry: Arc::clone(&self.entry), same_as }
    }
}

/// [`Counting::enlist`].
pub(in super::super) async fn enlist(
    counters: &mut impl Counters,
    wanted: &[Arc<CounterKeys>],
    keys: &Keys,
) -> Result<(), Arc<str>> {
    for batch in wanted.chunks(BATCH) {
        let added = put_in(counters, batch).await?;
        if added > 0
            && let Err(reason) = prune(counters, keys, added * LOOKED_AT).await
        {
            tracing::debug!(list = &*keys.waiting_list, reason = %shown(&reason), "the list of contended names was not tidied");
        }
    }
    Ok(())
}

/// Lists a batch of counters, and says how many had no marker.
async fn put_in(counters: &mut impl Counters, batch: &[Arc<CounterKeys>]) -> Result<usize, Arc<str>> {
    let markers = counters.markers(batch).await?;
    let with = |wanted: fn(Marker) -> bool| {
        batch.iter().zip(&markers).filter(move |(_, marker)| wanted(**marker)).map(|(keys, _)| Arc::clone(keys))
    };
    let unlisted: Vec<_> = with(|marker| marker == Marker::Missing).collect();
    // The marker last: it keeps others from adding the counter to the list.
    counters.put_in(&unlisted).await?;
    let to_mark: Vec<_> = with(|marker| marker != Marker::Lasting).collect();
    counters.mark(&to_mark).await?;
    Ok(unlisted.len())
}

/// Takes what is of no use out of some part of the list.
async fn prune(counters: &mut impl Counters, keys: &Keys, width: usize) -> Result<(), Arc<str>> {
    let length = counters.length(&keys.waiting_list).await?;
    // Over both ends, so that every entry is as likely to be among them.
    let ends = usize::try_from(entropy::seed()).unwrap_or_default() % (length + width) + 1;
    let listed = page(counters, keys, ends.saturating_sub(width)..ends.min(length)).await?;
    let unmarked = without_marker(counters, &listed).await?;
    let numbers = look(counters, unmarked.iter().map(|listed| &listed.keys)).await?;
    let unused = unmarked.into_iter().zip(numbers).filter(|(_, counter)| *counter == Ok(None));
    unlist(counters, &keys.waiting_list, &unused.map(|(listed, _)| listed).collect::<Vec<_>>()).await
}

/// The counters that the list names at these positions, the greatest first.
async fn page(counters: &mut impl Counters, keys: &Keys, positions: Range<usize>) -> Result<Vec<Listed>, Arc<str>> {
    let start = positions.start;
    let entries = counters.entries(&keys.waiting_list, positions).await?;
    let named = entries.into_iter().enumerate().rev().filter_map(|(offset, entry)| {
        let counter = from_json(&entry)?;
        let stats_name = counter.strip_prefix(&*keys.waiting_prefix)?.to_owned();
        let keys = Arc::new(keys.counter(&stats_name));
        Some(Listed { stats_name, keys, position: start + offset, entry })
    });
    Ok(named.collect())
}

async fn without_marker<'a>(counters: &mut impl Counters, listed: &'a [Listed]) -> Result<Vec<&'a Listed>, Arc<str>> {
    let keys: Vec<_> = listed.iter().map(|listed| Arc::clone(&listed.keys)).collect();
    let markers = counters.markers(&keys).await?;
    let unmarked = listed.iter().zip(markers).filter(|(_, marker)| *marker == Marker::Missing);
    Ok(unmarked.map(|(listed, _)| listed).collect())
}

/// [`Counting::count`].
pub(in super::super) async fn count(counters: &mut impl Counters, keys: &Keys) -> Result<Vec<Counted>, Arc<str>> {
    let list = &*keys.waiting_list;
    let mut counted = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let length = counters.length(list).await?;
    let mut told = clock::now();
    let mut end = length;
    // From the end: whoever takes an entry out meanwhile puts the last one in its place.
    while end > 0 {
        let start = end.saturating_sub(PAGE);
        let mut once = Vec::new();
        let mut again = Vec::new();
        for listed in page(counters, keys, start..end).await? {
            match seen.entry(listed.stats_name.clone()) {
                Entry::Vacant(first) => {
                    first.insert(listed.position);
                    once.push(listed);
                }
                Entry::Occupied(first) => again.push(listed.unwanted(Some(*first.get()))),
            }
        }
        let unused = count_page(counters, once, &mut counted).await?;
        take_out(counters, list, &again).await?;
        unlist(counters, list, &unused.iter().collect::<Vec<_>>()).await?;
        end = start;
        if end > 0 && clock::now().saturating_duration_since(told) > SLOW {
            told = clock::now();
            tracing::info!(list, read = length - end, length, "still reading who waits for what");
        }
    }
    Ok(counted)
}

/// Counts those of one page, and returns those that are of no use.
async fn count_page(
    counters: &mut impl Counters,
    page: Vec<Listed>,
    counted: &mut Vec<Counted>,
) -> Result<Vec<Listed>, Arc<str>> {
    let keys: Vec<_> = page.iter().map(|listed| Arc::clone(&listed.keys)).collect();
    let (mut waited_for, mut gone) = (Vec::new(), Vec::new());
    for (listed, counter) in page.into_iter().zip(counters.peek(&keys).await?) {
        match counter {
            Ok(Some(1..)) => waited_for.push(listed),
            Ok(Some(waiting)) => counted.push(Counted { stats_name: listed.stats_name, waiting }),
            Ok(None) => gone.push(listed),
            Err(reason) => note_unreadable(&listed, &reason),
        }
    }
    // Most are zero or gone, and only of the others can there be some to be taken away.
    let numbers = look(counters, waited_for.iter().map(|listed| &listed.keys)).await?;
    for (listed, counter) in waited_for.into_iter().zip(numbers) {
        match counter {
            Ok(waiting) => counted.push(Counted { stats_name: listed.stats_name, waiting: waiting.unwrap_or(0) }),
            Err(reason) => note_unreadable(&listed, &reason),
        }
    }
    let unmarked: HashSet<_> =
        without_marker(counters, &gone).await?.into_iter().map(|listed| listed.position).collect();
    let (unused, marked): (Vec<_>, Vec<_>) = gone.into_iter().partition(|listed| unmarked.contains(&listed.position));
    counted.extend(marked.into_iter().map(|listed| Counted { stats_name: listed.stats_name, waiting: 0 }));
    Ok(unused)
}

fn note_unreadable(listed: &Listed, reason: &str) {
    tracing::debug!(counter = %shown(&listed.keys.counter), reason = %shown(reason), "a waiting counter cannot be read");
}

async fn unlist(counters: &mut impl Counters, list: &str, unused: &[&Listed]) -> Result<(), Arc<str>> {
    if unused.is_empty() {
        return Ok(());
    }
    let entries: Vec<_> = unused.iter().map(|listed| listed.unwanted(None)).collect();
    take_out(counters, list, &entries).await?;
    // Somebody may have begun to wait meanwhile, and found the counter still listed.
    let numbers = look(counters, unused.iter().map(|listed| &listed.keys)).await?;
    let used_after_all = unused.iter().zip(numbers).filter(|(_, counter)| *counter != Ok(None));
    let used_after_all: Vec<_> = used_after_all.map(|(listed, _)| Arc::clone(&listed.keys)).collect();
    for batch in used_after_all.chunks(BATCH) {
        put_in(counters, batch).await?;
    }
    Ok(())
}

async fn take_out(counters: &mut impl Counters, list: &str, unwanted: &[Unwanted]) -> Result<(), Arc<str>> {
    for batch in unwanted.chunks(BATCH) {
        counters.take_out(list, batch).await?;
    }
    Ok(())
}

async fn look(
    counters: &mut impl Counters,
    wanted: impl Iterator<Item = &Arc<CounterKeys>>,
) -> Result<Vec<Recorded>, Arc<str>> {
    let numbers: Vec<_> = wanted.map(|keys| Number { keys: Arc::clone(keys), waiting: None }).collect();
    counters.record("", &numbers).await
}

impl Counters for Server {
    async fn record(&mut self, process: &str, numbers: &[Number]) -> Result<Vec<Recorded>, Arc<str>> {
        let mut recorded = Vec::with_capacity(numbers.len());
        for batch in numbers.chunks(BATCH) {
            let answers = self.call(|call| commands::record(process, batch, clock::since_1970(), call)).await?;
            recorded.extend(answers.into_iter().map(|answer| match answer.extract_error() {
                Ok(Value::Int(counter)) => Ok(Some(counter)),
                Ok(Value::Nil) => Ok(None),
                Ok(other) => Err(format!("an answer that the script never gives: {other:?}").into()),
                Err(error) => Err(reason(&error)),
            }));
        }
        Ok(recorded)
    }

    async fn markers(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Marker>, Arc<str>> {
        let mut markers = Vec::with_capacity(counters.len());
        for batch in counters.chunks(PLAIN_BATCH) {
            for marker in all_done(self.send(&commands::markers(batch)).await?)? {
                markers.push(Marker::read(&marker).ok_or("an answer that TTL never gives")?);
            }
        }
        Ok(markers)
    }

    async fn mark(&mut self, counters: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
        all_done(self.send(&commands::mark(counters)).await?).map(drop)
    }

    async fn peek(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Recorded>, Arc<str>> {
        let mut read = Vec::with_capacity(counters.len());
        for batch in counters.chunks(PLAIN_BATCH) {
            let answers = self.send(&commands::peek(batch)).await?;
            read.extend(answers.into_iter().map(|answer| match answer.extract_error() {
                Ok(number) => {
                    redis::from_redis_value(number).map_err(|_| Arc::from("the waiting counter is no number"))
                }
                Err(error) => Err(reason(&error)),
            }));
        }
        Ok(read)
    }

    async fn put_in(&mut self, counters: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
        all_done(self.call(|call| commands::enlist(counters, call)).await?).map(drop)
    }

    async fn length(&mut self, list: &str) -> Result<usize, Arc<str>> {
        self.one(&commands::length(list)).await
    }

    async fn entries(&mut self, list: &str, positions: Range<usize>) -> Result<Vec<Arc<[u8]>>, Arc<str>> {
        let entries: Vec<Vec<u8>> = self.one(&commands::entries(list, positions)).await?;
        Ok(entries.into_iter().map(Arc::from).collect())
    }

    async fn take_out(&mut self, list: &str, unwanted: &[Unwanted]) -> Result<(), Arc<str>> {
        all_done(self.call(|call| commands::take_out(list, unwanted, call)).await?).map(drop)
    }
}

impl Server {
    /// [`Counting::count_others`].
    pub(in super::super) async fn count_others(&mut self, keys: &CounterKeys) -> Result<i64, Arc<str>> {
        let mut answers = all_done(self.send(&commands::others(keys)).await?)?.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let no_number = |_| Arc::from("the waiting counter is no number");
        let all: Option<i64> = redis::from_redis_value(next()).map_err(no_number)?;
        let ours: Vec<i64> = redis::from_redis_value(next()).map_err(no_number)?;
        Ok(ours.into_iter().fold(all.unwrap_or(0), i64::saturating_sub))
    }

    /// The one answer.
    async fn one<T: redis::FromRedisValue>(&mut self, question: &Pipeline) -> Result<T, Arc<str>> {
        let answer = all_done(self.send(question).await?)?.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(answer).map_err(|error| error.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write as _};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::sleep;
    use tracing::field::{Field, Visit};
    use tracing::instrument::WithSubscriber as _;
    use tracing::{Event, Metadata, Subscriber, span};

    use super::*;

    /// A list of which each page takes this long.
    struct SlowList {
        entries: usize,
        page_takes: Duration,
    }

    impl Counters for SlowList {
        async fn record(&mut self, _: &str, numbers: &[Number]) -> Result<Vec<Recorded>, Arc<str>> {
            Ok(vec![Ok(Some(0)); numbers.len()])
        }

        async fn markers(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Marker>, Arc<str>> {
            Ok(vec![Marker::Lasting; counters.len()])
        }

        async fn mark(&mut self, _: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
            Ok(())
        }

        async fn peek(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Recorded>, Arc<str>> {
            Ok(vec![Ok(Some(0)); counters.len()])
        }

        async fn put_in(&mut self, _: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
            Ok(())
        }

        async fn length(&mut self, _: &str) -> Result<usize, Arc<str>> {
            Ok(self.entries)
        }

        async fn entries(&mut self, _: &str, positions: Range<usize>) -> Result<Vec<Arc<[u8]>>, Arc<str>> {
            sleep(self.page_takes).await;
            let entry = |number| format!("\"Waiting.ConfigurableLock.{number}\"").into_bytes().into();
            Ok(positions.map(entry).collect())
        }

        async fn take_out(&mut self, _: &str, _: &[Unwanted]) -> Result<(), Arc<str>> {
            Ok(())
        }
    }

    /// The events of one task.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>, Arc<AtomicU64>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{field}={value:?} ");
        }
    }

    impl Subscriber for Told {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(self.1.fetch_add(1, Ordering::Relaxed) + 1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text(format!("{} ", event.metadata().level()));
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0.trim_end().to_owned());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    async fn check(entries: usize, page_takes: Duration, expect: &[usize]) {
        let (mut list, told, keys) = (SlowList { entries, page_takes }, Told::default(), Keys::default());
        let counted = count(&mut list, &keys).with_subscriber(told.clone()).await.unwrap();
        assert_eq!(counted.len(), entries);
        let list = "ConfigurableLockKeys";
        let expect: Vec<_> = expect
            .iter()
            .map(|read| {
                format!("INFO message=still reading who waits for what list={list:?} read={read} length={entries}")
            })
            .collect();
        assert_eq!(*told.0.lock().unwrap(), expect);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_list_that_is_read_slowly_tells_every_few_seconds_how_far_it_is() {
        check(10 * PAGE, Duration::from_secs(2), &[3 * PAGE, 6 * PAGE, 9 * PAGE]).await;
        check(2 * PAGE + 1, Duration::from_secs(6), &[PAGE, 2 * PAGE]).await;
        // What is over is no progress, and what is quick needs none.
        check(PAGE, Duration::from_secs(60), &[]).await;
        check(100 * PAGE, Duration::from_millis(40), &[]).await;
    }
}
