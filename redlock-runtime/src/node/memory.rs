//! `memory://` nodes: a voter inside this process, for tests and demonstrations.

mod apply;
mod inspect;
mod permits;
mod readers_writers;
mod server;
mod several;

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub(crate) use self::server::{Condition, Server};
use super::check::{Examination, Examining, Tells, Trial, Wakes};
use super::counters::{Answer, Counted, Counting, LEASE, Number, Recorded};
use super::{Action, Changes, Command, NodeStatus, PendingReply, Reply, Voter, VoterId};
use crate::platform::clock;
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::protocol::{Counter, Proposal, RELEASED, RETENTION, Role, ServerInfo, StoredMark};
use crate::values::keys::{CounterKeys, Keys};
use crate::values::several::Waiting;

/// A node that keeps its keys in this process and behaves like a Redis node.
#[derive(Debug)]
pub(crate) struct MemoryNode {
    /// `memory://` or `memory://NAME`.
    label: String,
    /// What a Redis server would be; shared by all nodes of the same name.
    server: Arc<Server>,
    /// Which server that is: a name stands for one, and no name for one that nobody else has.
    run_id: Arc<str>,
    /// The age below which it does not vote after a restart.
    longest_ttl: Duration,
    /// Who is told of changes of keys.
    changes: OnceLock<Changes>,
}

#[derive(Debug, Default)]
struct State {
    /// The keys.
    entries: HashMap<Arc<str>, Entry>,
    /// How the node is.
    condition: Condition,
    /// When it last restarted; `None`: so long ago that it does not matter.
    restarted: Option<Instant>,
    /// Who is told of the next change of a key.
    watched: HashMap<Arc<str>, Vec<Changes>>,
    /// The processes that wait for a key, and until when each is believed to.
    waiting: HashMap<Arc<str>, HashMap<Arc<str>, Instant>>,
    /// Those who wait for a key together with others, and until when each has precedence.
    precedence: HashMap<Arc<str>, Vec<(Waiting, Instant)>>,
    /// The fencing counters, by the keys of their locks.
    fences: HashMap<Arc<str>, u64>,
    /// The greatest completed fires, by the keys of their locks, and until when each is kept.
    marks: HashMap<Arc<str>, (StoredMark, Instant)>,
    /// How many permits somebody said that a lock has, and until when that counts.
    permits: HashMap<Arc<str>, (u8, Instant)>,
    /// The readers of locks that they share, by the keys where they stand, and until when each has the lock.
    readers: HashMap<Arc<str>, HashMap<Arc<str>, Instant>>,
    /// The process of a writer whom readers keep out, and until when its intent stands.
    intents: HashMap<Arc<str>, (Arc<str>, Instant)>,
    /// Who waits for what.
    counters: HashMap<String, Waiters>,
    /// What is noted about the owners of keys.
    notes: HashMap<Arc<str>, Noted>,
}

/// How many waiters each process has under one name, and until when it answers for them.
type Waiters = HashMap<Arc<str>, (usize, Instant)>;

/// Who noted something about itself: which owner, the label, and when it acquired the lock.
type Noted = (Arc<str>, Arc<str>, Instant, u64);

/// A key's value and its end.
#[derive(Debug)]
struct Entry {
    /// The value: who holds the lock.
    owner: Arc<str>,
    /// The key does not exist from this moment on.
    expires: Instant,
}

/// How long a process that was refused counts as waiting.
const WAITING: Duration = Duration::from_secs(3);

impl MemoryNode {
    /// The node called `name`, the same for everybody in this process who asks for that name; without a name a node
    /// that nobody else has.
    pub(crate) fn new(name: &str, longest_ttl: Duration) -> Self {
        let server = if name.is_empty() { Arc::default() } else { Server::named(name) };
        let run_id = Arc::from(format!("{:p}", Arc::as_ptr(&server)));
        Self { label: format!("memory://{name}"), server, run_id, longest_ttl, changes: OnceLock::new() }
    }

    fn server_info(&self) -> ServerInfo {
        let now = clock::now();
        let age = self.server.state().age(now);
        ServerInfo::new(now, age, self.longest_ttl, Arc::clone(&self.run_id), Role::Master)
    }
}

impl State {
    #[cfg(feature = "testing")]
    fn clear(&mut self) {
        self.entries.clear();
        self.counters.clear();
        self.notes.clear();
        self.waiting.clear();
        self.fences.clear();
        self.marks.clear();
        self.readers.clear();
        self.intents.clear();
        self.permits.clear();
    }
}

impl State {
    /// Tells those who watch a key that it changed.
    fn tell(&mut self, key: &str) {
        for changes in self.watched.remove(key).unwrap_or_default() {
            changes.key(key);
        }
    }

    #[cfg(feature = "testing")]
    fn tell_all(&mut self) {
        self.watched.drain().flat_map(|(_, watching)| watching).for_each(|changes| changes.any());
    }

    /// How long it has been running.
    fn age(&self, now: Instant) -> Duration {
        self.restarted.map_or(Duration::MAX, |moment| now.saturating_duration_since(moment))
    }

    /// Notes who was refused: that his process waits in this line, and where to report the next change of these keys, if he wants
    /// that.
    fn refused<'a>(
        &mut self,
        command: &Command,
        line: &Arc<str>,
        keys: impl IntoIterator<Item = &'a Arc<str>>,
        changes: Option<&Changes>,
        now: Instant,
    ) {
        if let Some(process) = &command.contender {
            let waiting = self.waiting.entry(Arc::clone(line)).or_default();
            waiting.insert(Arc::clone(process), now + WAITING);
        }
        self.watch(command, keys, changes);
    }

    /// Notes where to report the next change of these keys, if who was refused wants that.
    fn watch<'a>(
        &mut self,
        command: &Command,
        keys: impl IntoIterator<Item = &'a Arc<str>>,
        changes: Option<&Changes>,
    ) {
        if let (Action::Acquire { is_watched: true, .. }, Some(changes)) = (command.action, changes) {
            for key in keys {
                self.watched.entry(Arc::clone(key)).or_default().push(changes.clone());
            }
        }
    }

    /// Raises a lock's fencing counter for an acquire that is granted.
    fn raise_fence(&mut self, key: &Arc<str>, proposal: Proposal, now: Instant) -> Counter {
        let granted = self.fence(key, now).grant(proposal);
        self.fences.extend(granted.number().map(|counter| (Arc::clone(key), counter)));
        granted
    }

    /// A lock's fencing counter. It does not expire: that a Redis server forgets one spares memory, and nothing else.
    fn fence(&self, key: &str, now: Instant) -> Counter {
        Counter::read(self.fences.get(key).copied(), self.age(now), RETENTION)
    }

    /// A mark that has not expired.
    fn mark(&self, key: &str, now: Instant) -> Option<StoredMark> {
        self.living_mark(key, now).map(|(mark, _)| mark)
    }

    /// The same, and when it expires.
    fn living_mark(&self, key: &str, now: Instant) -> Option<(StoredMark, Instant)> {
        self.marks.get(key).filter(|(_, expires)| *expires > now).copied()
    }

    /// A key that has not expired.
    fn live(&self, key: &str, now: Instant) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.expires > now)
    }

    /// Whether another process waits.
    fn is_wanted(&self, key: &str, process: &Arc<str>, now: Instant) -> bool {
        let waiting = self.waiting.get(key);
        waiting.is_some_and(|waiting| waiting.iter().any(|(other, until)| other != process && *until > now))
    }
}

/// The value of a key that its owner's release keeps.
fn kept(owner: &str) -> String {
    format!("{owner}{RELEASED}")
}

impl Voter for MemoryNode {
    fn label(&self) -> &str {
        &self.label
    }

    fn id(&self) -> VoterId<'_> {
        VoterId::Object(Arc::as_ptr(&self.server).addr())
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        if !command.is_offered() {
            return PendingReply::new(std::future::ready(Reply::not_offered()));
        }
        let server = Arc::clone(&self.server);
        let changes = self.changes.get().cloned();
        PendingReply::new(async move { server.carry_out(&command, changes).await })
    }

    fn known(&self, _: &str) -> NodeStatus {
        if matches!(self.server.state().condition, Condition::Down) {
            return NodeStatus::Unreachable;
        }
        NodeStatus::Introduced(Arc::new(self.server_info()))
    }

    fn overdue(&self, _: &str) {}

    fn uses_sockets(&self) -> bool {
        false
    }

    fn is_in_memory(&self) -> bool {
        true
    }

    fn report_to(&self, changes: Changes) {
        // It is told once.
        let _ = self.changes.set(changes);
    }
}

/// A name that was ever contended is listed for as long as the node lives; nothing else counts here than processes that
/// have a lease.
impl Counting for MemoryNode {
    fn record(&self, process: &Arc<str>, numbers: Vec<Number>, reply_timeout: Duration) -> Answer<Vec<Recorded>> {
        let process = Arc::clone(process);
        self.server.answer(reply_timeout, move |state, now| {
            let record = |Number { keys, waiting }: Number| {
                let Some(waiting) = waiting else {
                    return Ok(state.counters.get_mut(&*keys.counter).map(|counter| total(counter, now)));
                };
                let counter = state.counters.entry(keys.counter.to_string()).or_default();
                match waiting {
                    0 => drop(counter.remove(&process)),
                    waiting => drop(counter.insert(Arc::clone(&process), (waiting, now + LEASE))),
                }
                Ok(Some(total(counter, now)))
            };
            numbers.into_iter().map(record).collect()
        })
    }

    fn enlist(&self, counters: Vec<Arc<CounterKeys>>, _: &Keys, reply_timeout: Duration) -> Answer<()> {
        self.server.answer(reply_timeout, move |state, _| {
            for keys in counters {
                state.counters.entry(keys.counter.to_string()).or_default();
            }
        })
    }

    fn count(&self, keys: &Keys, reply_timeout: Duration) -> Answer<Vec<Counted>> {
        let prefix = Arc::clone(&keys.waiting_prefix);
        self.server.answer(reply_timeout, move |state, now| {
            let counted = |(name, counter): (&String, &mut Waiters)| {
                let stats_name = name.strip_prefix(&*prefix)?.to_owned();
                Some(Counted { stats_name, waiting: total(counter, now) })
            };
            state.counters.iter_mut().filter_map(counted).collect()
        })
    }
}

/// Whatever is tried out on it works.
impl Examining for MemoryNode {
    fn examine(&self, _: Trial, reply_timeout: Duration) -> Answer<Vec<Examination>> {
        let (label, server_info) = (Arc::from(self.label.as_str()), self.server_info());
        self.server.answer(reply_timeout, move |_, _| {
            // What it keeps ends with this process, and with it all that hold its locks; and nobody else writes there.
            let examination = Examination::of(label, Arc::new(server_info), Tells::Itself);
            vec![Examination { wakes: Some(Wakes::Tracking), ..examination }]
        })
    }
}

/// Those whose lease is over are taken away.
fn total(counter: &mut Waiters, now: Instant) -> i64 {
    counter.retain(|_, (_, lease_ends)| *lease_ends > now);
    counter.values().map(|(waiting, _)| i64::try_from(*waiting).unwrap_or(i64::MAX)).sum()
}
