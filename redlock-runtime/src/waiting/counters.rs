//! How many wait for what, told to the nodes behind the locks' backs.
//!
//! A waiter is counted in memory, and a task on the background runtime tells the nodes: no acquisition waits for it, and
//! none fails by it. What is told is always the number of all waiters of this process under a name, never a difference,
//! so that it may be told twice; and it is told again and again while somebody waits, because a number that is not is taken
//! away when its lease is over.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::Error;
use crate::engine::Engine;
use crate::node::counters::{Counted, GONE, Number};
use crate::node::{NodeStatus, Voter};
use crate::platform::{clock, entropy};
use crate::shown::shown;
use crate::values::keys::{CounterKeys, Keys};
use crate::values::name::Name;

/// A number is told at most this often: waits that are shorter are not worth a write.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often a number that stays the same is told. A lease survives two of these that are lost; and a process that was
/// killed is found out, by the others that wait, at most this much after its lease ended: before [`GONE`].
const REFRESH: Duration = Duration::from_secs(3);

/// How often the nodes are asked for those who wait and do not say so.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(300);

/// The waiters of this process, as far as this manager knows them, and the way to tell the nodes.
pub(crate) struct Statistics {
    /// The nodes.
    engine: Arc<Engine>,
    /// How names become keys.
    keys: Keys,
    /// What stands for this process; two managers are two of them.
    process: Arc<str>,
    /// A std mutex: it is never held across an await.
    lines: Mutex<Lines>,
    /// Told when a number changed.
    changed: Notify,
    /// Whether what is left is to be told without a pause.
    is_in_a_hurry: AtomicBool,
    /// Told when that begins.
    hurry: Notify,
    /// Told when nothing of those who no longer wait is left to be told.
    settled: Notify,
}

#[derive(Default)]
struct Lines {
    /// Those under whose name somebody waits, or of which the nodes may believe so.
    by_name: BTreeMap<Arc<str>, Line>,
    /// Whether a task tells the nodes; it ends when there is nothing to tell.
    is_told: bool,
}

/// Those who wait under one name.
#[derive(Default)]
struct Line {
    /// Made by the task that tells, not by a waiter.
    keys: Option<Arc<CounterKeys>>,
    /// How many they are.
    waiting: usize,
    /// Which number one of the nodes took in last.
    told: Option<usize>,
    /// When they were told, or could not be.
    tried: Option<Instant>,
    /// Whether the list names the counter.
    is_listed: bool,
    /// Which nodes may count some of us, and until when at the latest.
    counting: HashMap<usize, Instant>,
    /// Whether others matter who do not say that they wait, and what is known of them.
    others: Others,
}

/// What is known of those who wait under one name and say so nowhere but in the counter: a Python fleet's.
#[derive(Clone, Copy, Default)]
struct Others {
    /// Whether somebody wants to know: the lock passes on in this process, which none of them sees.
    is_wanted: bool,
    /// When the nodes were asked.
    asked: Option<Instant>,
    /// How many waited then.
    count: u64,
}

/// Somebody who waits; counted until this is dropped.
#[must_use = "whoever is not kept does not wait"]
pub(crate) struct Waiting {
    /// Where it is counted.
    statistics: Arc<Statistics>,
    /// Under which name.
    stats_name: Arc<str>,
}

/// One number on its way to the nodes.
struct News {
    /// Under which name.
    stats_name: Arc<str>,
    /// Its keys.
    keys: Arc<CounterKeys>,
    /// How many wait.
    waiting: usize,
    /// Whether nodes that should not count us are told so, too.
    is_for_all: bool,
    /// Whether the list has to name the counter.
    is_unlisted: bool,
    /// Which nodes may count some of us.
    counting: Vec<usize>,
}

/// The task that tells. When its runtime ends before it, the next waiter begins another.
struct Telling {
    statistics: Arc<Statistics>,
    /// Whether it ended because there was nothing to tell.
    is_over: bool,
}

impl Telling {
    async fn run(mut self) {
        self.statistics.record_until_current().await;
        self.is_over = true;
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if !self.is_over {
            self.statistics.lines().is_told = false;
        }
    }
}

impl Statistics {
    pub(crate) fn new(engine: Arc<Engine>, keys: Keys) -> Arc<Self> {
        Arc::new(Self {
            engine,
            keys,
            process: entropy::fresh_owner(),
            lines: Mutex::default(),
            changed: Notify::new(),
            is_in_a_hurry: AtomicBool::new(false),
            hurry: Notify::new(),
            settled: Notify::new(),
        })
    }

    /// Counts one more waiter, in memory only.
    pub(crate) fn join(self: &Arc<Self>, stats_name: &str) -> Waiting {
        let stats_name: Arc<str> = stats_name.into();
        let mut lines = self.lines();
        lines.by_name.entry(Arc::clone(&stats_name)).or_default().waiting += 1;
        let is_told = mem::replace(&mut lines.is_told, true);
        // A runtime that is ending drops the task at once.
        drop(lines);
        if !is_told {
            self.engine.spawn(Telling { statistics: Arc::clone(self), is_over: false }.run());
        }
        self.changed.notify_one();
        Waiting { statistics: Arc::clone(self), stats_name }
    }

    /// Counts nobody any more, and returns when the nodes know: whoever still waits is about to be told of the shutdown.
    pub(crate) async fn close(&self) {
        self.lines().by_name.values_mut().for_each(|line| line.waiting = 0);
        self.is_in_a_hurry.store(true, Ordering::Release);
        self.hurry.notify_one();
        loop {
            let recorded = self.settled.notified();
            if self.lines().by_name.values().all(|line| line.waiting > 0) {
                return;
            }
            self.changed.notify_one();
            recorded.await;
        }
    }

    /// The connections to the nodes are closed, so they are told nothing any more: what they still count goes when its lease is
    /// over.
    pub(crate) fn end(&self) {
        self.hurry.notify_one();
        self.changed.notify_one();
    }

    /// What the nodes count.
    pub(crate) async fn count(&self) -> Result<WaitingStatistics, Error> {
        let (keys, reply_timeout) = (&self.keys, self.engine.node_timeout());
        let (counts, failures) = self
            .engine
            .survey_all(|_, node| {
                let keys = keys.clone();
                async move { node.count(&keys, reply_timeout).await }
            })
            .await;
        let mut everywhere: HashMap<String, u64> = HashMap::new();
        for Counted { stats_name, waiting } in counts.into_iter().flat_map(|(_, counted)| counted) {
            let everywhere = everywhere.entry(stats_name).or_default();
            *everywhere = everywhere.saturating_add(u64::try_from(waiting).unwrap_or(0));
        }
        let nodes = self.engine.nodes().len();
        if failures.len() == nodes {
            return Err(Error::NoNodeAnswered { nodes, source: failures });
        }
        Ok(WaitingStatistics::of(everywhere, &self.here()))
    }

    /// How many wait under one name, as this node has it.
    pub(crate) async fn count_one(&self, stats_name: &str, node: usize) -> u64 {
        let number = Number { keys: Arc::new(self.keys.counter(stats_name)), waiting: None };
        let voter = &self.engine.nodes()[node];
        let recorded = voter.record(&self.process, vec![number], self.engine.node_timeout()).await;
        match recorded.map(|mut recorded| recorded.pop()) {
            Ok(Some(Ok(Some(waiting)))) => u64::try_from(waiting).unwrap_or(0),
            Ok(Some(Ok(None)) | None) => 0,
            Ok(Some(Err(reason))) | Err(reason) => {
                tracing::debug!(stats_name = %shown(stats_name), node = voter.label(), reason = %shown(&reason), "waiters cannot be read");
                0
            }
        }
    }

    /// How many wait under each of these names, as this node has it.
    pub(crate) async fn count_each(&self, stats_names: &[Name], node: usize) -> Vec<u64> {
        let look = |name: &Name| Number { keys: Arc::new(self.keys.counter(name.as_str())), waiting: None };
        let numbers = stats_names.iter().map(look).collect();
        let voter = &self.engine.nodes()[node];
        let recorded = voter.record(&self.process, numbers, self.engine.node_timeout()).await;
        let recorded = recorded.unwrap_or_else(|reason| {
            tracing::debug!(node = voter.label(), reason = %shown(&reason), "waiters cannot be read");
            Vec::new()
        });
        let counted = recorded.into_iter().map(|recorded| recorded.ok().flatten().unwrap_or(0));
        counted.map(|waiting| u64::try_from(waiting).unwrap_or(0)).collect()
    }

    /// How many wait under one name in this process.
    pub(crate) fn here_under(&self, stats_name: &str) -> u64 {
        self.lines().by_name.get(stats_name).map_or(0, |line| u64::try_from(line.waiting).unwrap_or(u64::MAX))
    }

    fn here(&self) -> HashMap<Arc<str>, u64> {
        let lines = self.lines();
        let waiting = lines.by_name.iter().filter(|(_, line)| line.waiting > 0);
        waiting.map(|(name, line)| (Arc::clone(name), u64::try_from(line.waiting).unwrap_or(u64::MAX))).collect()
    }

    async fn record_until_current(&self) {
        loop {
            let again = self.lines().next_refresh();
            tokio::select! {
                biased;
                () = self.changed.notified() => self.pause().await,
                () = clock::sleep_until(again) => {}
            }
            if self.engine.is_closed() {
                return;
            }
            self.tell().await;
            self.look_for_others().await;
            let mut lines = self.lines();
            lines.forget_current(clock::now());
            if lines.by_name.values().all(|line| line.waiting > 0) {
                self.settled.notify_waiters();
            }
            if lines.by_name.is_empty() {
                // With the names under the same lock: nobody comes between.
                lines.is_told = false;
                return;
            }
        }
    }

    /// Not ended by further changes: waiters who come and go by the thousand do not wake this task each time.
    async fn pause(&self) {
        if !self.is_in_a_hurry.load(Ordering::Acquire) {
            // Over, or in a hurry: either way it goes on.
            let _ = timeout(INTERVAL, self.hurry.notified()).await;
        }
    }

    /// Tells the first node that takes it in what changed, and those that may count us still, from earlier, that they
    /// should not.
    async fn tell(&self) {
        let news = self.lines().news(clock::now(), &self.keys);
        let mut told_by: BTreeMap<usize, Vec<&News>> = BTreeMap::new();
        let mut untold: Vec<_> = news.iter().collect();
        for node in 0..self.engine.nodes().len() {
            let is_told = self.tell_node(node, untold.iter().map(|news| (*news, news.waiting))).await;
            let (told, rest) = partition(untold, is_told);
            self.enlist(node, &told).await;
            told_by.insert(node, told);
            untold = rest;
        }
        for node in 0..self.engine.nodes().len() {
            let elsewhere = told_by.iter().filter(|(home, _)| **home != node).flat_map(|(_, told)| told);
            let stale =
                elsewhere.filter(|news| news.is_for_all || news.counting.contains(&node)).map(|news| (*news, 0));
            self.tell_node(node, stale).await;
        }
    }

    /// Asks all nodes, because Python writes to any of them.
    async fn look_for_others(&self) {
        let (wanted, reply_timeout) = (self.lines().others_wanted(clock::now()), self.engine.node_timeout());
        for (stats_name, keys) in wanted {
            let look = |_, node: Arc<dyn Voter>| node.count_others(Arc::clone(&keys), reply_timeout);
            let (counts, _) = self.engine.survey_all(look).await;
            let others = counts.into_iter().map(|(_, others)| u64::try_from(others).unwrap_or(0));
            let others = others.fold(0, u64::saturating_add);
            if let Some(line) = self.lines().by_name.get_mut(&stats_name) {
                line.others.count = others;
            }
        }
    }

    /// Says which numbers were taken in.
    async fn tell_node<'a>(&self, node: usize, numbers: impl Iterator<Item = (&'a News, usize)>) -> Vec<bool> {
        let numbers: Vec<_> = numbers.collect();
        if numbers.is_empty() {
            return Vec::new();
        }
        let now = clock::now();
        self.lines().note_sent(node, &numbers, now);
        let sent =
            numbers.iter().map(|(news, waiting)| Number { keys: Arc::clone(&news.keys), waiting: Some(*waiting) });
        let voter = &self.engine.nodes()[node];
        let recorded = match voter.record(&self.process, sent.collect(), self.engine.node_timeout()).await {
            Ok(recorded) => recorded,
            Err(reason) => vec![Err(reason); numbers.len()],
        };
        let is_told = numbers.iter().zip(recorded).map(|((news, waiting), recorded)| {
            match &recorded {
                Ok(_) => self.lines().note_told(node, news, *waiting),
                Err(reason) => {
                    tracing::debug!(name = %shown(&news.stats_name), node = voter.label(), reason = %shown(reason), "waiters were not counted");
                    let is_closing = self.is_in_a_hurry.load(Ordering::Acquire);
                    if is_closing && matches!(voter.known(&news.stats_name), NodeStatus::Unreachable) {
                        self.lines().leave_to_its_lease(node, news);
                    }
                }
            }
            recorded.is_ok()
        });
        is_told.collect()
    }

    async fn enlist(&self, node: usize, told: &[&News]) {
        let unlisted: Vec<_> = told.iter().filter(|news| news.is_unlisted).collect();
        if unlisted.is_empty() {
            return;
        }
        let voter = &self.engine.nodes()[node];
        let keys = unlisted.iter().map(|news| Arc::clone(&news.keys)).collect();
        match voter.enlist(keys, &self.keys, self.engine.node_timeout()).await {
            Ok(()) => {
                let mut lines = self.lines();
                for news in unlisted {
                    if let Some(line) = lines.by_name.get_mut(&news.stats_name) {
                        line.is_listed = true;
                    }
                }
            }
            Err(reason) => {
                tracing::debug!(node = voter.label(), reason = %shown(&reason), "contended names were not listed");
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parts those that were told from the rest.
fn partition(news: Vec<&News>, is_told: Vec<bool>) -> (Vec<&News>, Vec<&News>) {
    let (mut told, mut rest) = (Vec::new(), Vec::new());
    for (news, is_told) in news.into_iter().zip(is_told) {
        if is_told { told.push(news) } else { rest.push(news) }
    }
    (told, rest)
}

impl Lines {
    /// When a number has to be told again, at the latest.
    fn next_refresh(&self) -> Instant {
        let tried = self.by_name.values().filter_map(|line| line.tried).min();
        tried.unwrap_or_else(clock::now) + REFRESH
    }

    /// What the nodes do not know yet, or have to be told again.
    fn news(&mut self, now: Instant, keys: &Keys) -> Vec<News> {
        let to_tell = self.by_name.iter_mut().filter_map(|(stats_name, line)| {
            let is_due = line.tried.is_none_or(|tried| now >= tried + REFRESH);
            if !is_due && line.told == Some(line.waiting) {
                return None;
            }
            line.tried = Some(now);
            Some(News {
                stats_name: Arc::clone(stats_name),
                keys: Arc::clone(line.keys.get_or_insert_with(|| Arc::new(keys.counter(stats_name)))),
                waiting: line.waiting,
                is_for_all: is_due && line.told.is_some(),
                is_unlisted: !line.is_listed,
                counting: line.counting.keys().copied().collect(),
            })
        });
        to_tell.collect()
    }

    /// Of which names it is to be known whether others wait.
    fn others_wanted(&mut self, now: Instant) -> Vec<(Arc<str>, Arc<CounterKeys>)> {
        let wanted = self.by_name.iter_mut().filter_map(|(stats_name, line)| {
            let is_due = line.others.asked.is_none_or(|asked| now >= asked + LOOK_FOR_OTHERS);
            let is_wanted = line.others.is_wanted && is_due;
            let keys = line.keys.as_ref().filter(|_| is_wanted)?;
            // Asked for again by the next lock that passes on.
            line.others = Others { is_wanted: false, asked: Some(now), ..line.others };
            Some((Arc::clone(stats_name), Arc::clone(keys)))
        });
        wanted.collect()
    }

    /// From now on the node may count them, whether or not it answers.
    fn note_sent(&mut self, node: usize, numbers: &[(&News, usize)], now: Instant) {
        for (news, _) in numbers.iter().filter(|(_, waiting)| *waiting > 0) {
            if let Some(line) = self.by_name.get_mut(&news.stats_name) {
                line.counting.insert(node, now + GONE);
            }
        }
    }

    fn note_told(&mut self, node: usize, news: &News, waiting: usize) {
        let Some(line) = self.by_name.get_mut(&news.stats_name) else { return };
        if waiting == 0 {
            line.counting.remove(&node);
        }
        if waiting == news.waiting {
            line.told = Some(waiting);
        }
    }

    /// The node cannot be told any more: what it counts, if anything, goes when its lease is over.
    fn leave_to_its_lease(&mut self, node: usize, news: &News) {
        if let Some(line) = self.by_name.get_mut(&news.stats_name) {
            line.counting.remove(&node);
        }
    }

    /// Forgets those of which no node believes that they wait.
    fn forget_current(&mut self, now: Instant) {
        self.by_name.retain(|_, line| {
            // What could not be taken back is over with its lease.
            line.counting.retain(|_, until| *until > now);
            line.waiting > 0 || line.tried.is_none() || !line.counting.is_empty()
        });
    }
}

impl Waiting {
    /// The lock passes on in this process, so that others are to be looked for. How many wait, as far as is known.
    pub(crate) fn others(&self) -> u64 {
        let mut lines = self.statistics.lines();
        let Some(line) = lines.by_name.get_mut(&self.stats_name) else { return 0 };
        line.others.is_wanted = true;
        line.others.count
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(line) = self.statistics.lines().by_name.get_mut(&self.stats_name) {
            line.waiting = line.waiting.saturating_sub(1);
        }
        self.statistics.changed.notify_one();
    }
}

/// How many wait, and for what.
///
/// Given by [`LockManager::statistics`](crate::LockManager::statistics).
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _held = locks.lock("report").acquire().await?;
/// let waiter = tokio::spawn(locks.lock("report").acquire());
/// # while locks.statistics().await?.get("report").is_none() { tokio::task::yield_now().await }
/// let statistics = locks.statistics().await?;
/// assert_eq!(statistics.get("report").map(|report| report.everywhere), Some(1));
/// assert_eq!(statistics.iter().map(|name| name.everywhere).sum::<u64>(), 1);
/// assert_eq!(statistics.to_string(), "report: 1 waiting, 1 of them here\n");
/// # waiter.abort();
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingStatistics(Vec<NameStatistics>);

/// How many wait under one name.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _held = locks.lock("report").acquire().await?;
/// let waiter = tokio::spawn(locks.lock("report").acquire());
/// # while locks.statistics().await?.get("report").is_none() { tokio::task::yield_now().await }
/// for name in locks.statistics().await?.iter() {
///     assert_eq!((name.name.as_str(), name.here, name.everywhere), ("report", 1, 1));
/// }
/// # waiter.abort();
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameStatistics {
    /// The name of the lock, or the `stats_name` that was set for it.
    pub name: String,
    /// How many wait in this process, with this manager.
    pub here: u64,
    /// How many wait in all processes, in those of a Python fleet too; at least those that wait here.
    pub everywhere: u64,
}

impl WaitingStatistics {
    fn of(mut everywhere: HashMap<String, u64>, here: &HashMap<Arc<str>, u64>) -> Self {
        // Nodes learn of a waiter a little later.
        for (name, here) in here {
            let everywhere = everywhere.entry(name.to_string()).or_default();
            *everywhere = (*everywhere).max(*here);
        }
        let with_here = |(name, everywhere): (String, u64)| {
            let here = here.get(&*name).copied().unwrap_or(0);
            NameStatistics { name, here, everywhere }
        };
        let mut names: Vec<_> = everywhere.into_iter().map(with_here).collect();
        names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Self(names)
    }

    /// How many wait under this name; `None` if nobody did in the last days.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NameStatistics> {
        let position = self.0.binary_search_by(|known| known.name.as_str().cmp(name)).ok()?;
        self.0.get(position)
    }

    /// The contended names, in their order: those for which somebody waits, or waited in the last days.
    pub fn iter(&self) -> impl Iterator<Item = &NameStatistics> {
        self.0.iter()
    }
}

impl fmt::Display for WaitingStatistics {
    /// A line for each name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for NameStatistics { name, here, everywhere } in self.iter() {
            writeln!(f, "{}: {everywhere} waiting, {here} of them here", shown(name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_anybody_can_write_direct_no_terminal() {
        let everywhere = HashMap::from([("in\u{202e}voice\u{1b}[2J".to_owned(), 3)]);
        let told = WaitingStatistics::of(everywhere, &HashMap::from([("plain".into(), 1)]));
        let expect = "in\\u{202e}voice\\u{1b}[2J: 3 waiting, 0 of them here\nplain: 1 waiting, 1 of them here\n";
        assert_eq!(told.to_string(), expect);
    }
}
