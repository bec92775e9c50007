//! `memory://` nodes: a voter inside this process, for tests and demonstrations.

mod readers_writers;
mod several;

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as OrderMutex, Notify};
use tokio::time::sleep;

use super::check::{Examination, Examining, FencingCounters, Tells, Trial, Wakes};
use super::counters::{Answer, Counted, Counting, LEASE, Number, Recorded};
use super::inspect::{
    Cursor, Deleted, Inspecting, Listed, LockRecord, OwnerLabel, Page, PermitsRecord, RecordedLabel, SharedRecord,
};
use super::{Action, Changes, Command, Delivery, Failure, NewMark, NodeStatus, PendingReply, Reply, Voter, VoterId};
use crate::platform::clock;
use crate::platform::process::PerProcess;
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::protocol::{
    Ballot, Counter, GrantedSlot, Holder, Marked, OthersKey, PERMITS_RETENTION, Proposal, RELEASED, RETENTION, Role,
    SaidPermits, ServerInfo, StoredMark, ToldMark, ToldSlots, confirmation,
};
use crate::values::keys::{CounterKeys, Keys, LockKeys};
use crate::values::permits::Slots;
use crate::values::several::Waiting;
use crate::values::subject::{Kind, Which};

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

/// What a Redis server would be.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// A std mutex: it is never held across an await.
    state: Mutex<State>,
    /// Commands are carried out in the order in which they came, also behind one that takes its time.
    order: OrderMutex<()>,
    /// Told when the condition changes.
    changed: Notify,
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
    /// Until when the intent of a writer stands whom readers keep out.
    intents: HashMap<Arc<str>, Instant>,
    /// Who waits for what.
    counters: HashMap<String, Waiters>,
    /// What is noted about the owners of keys.
    notes: HashMap<Arc<str>, Noted>,
}

/// How many waiters each process has under one name, and until when it answers for them.
type Waiters = HashMap<Arc<str>, (usize, Instant)>;

/// Who noted something about itself: which owner, the label, and when it acquired the lock.
type Noted = (Arc<str>, Arc<str>, Instant, u64);

/// How a node is.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only tests make a node anything but well"))]
pub(crate) enum Condition {
    /// It answers at once.
    #[default]
    Well,
    /// It answers every command with this error, and carries none out.
    Failing(Arc<str>),
    /// It carries every command out and then answers with this error.
    FailingAfterwards(Arc<str>),
    /// It carries every command out, and answers, this much later.
    Slow(Duration),
    /// It takes commands, and carries them out when it goes on.
    Hung,
    /// It cannot be reached.
    Down,
}

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

/// The servers that have a name, for as long as somebody uses them. A child that was forked has its own, which are empty.
static NAMED: PerProcess<Mutex<HashMap<String, Weak<Server>>>> = PerProcess::new();

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

impl Server {
    pub(crate) fn named(name: &str) -> Arc<Self> {
        #[cfg(redlock_simulated)]
        let name = &*crate::platform::simulated::of_this_run(name);
        let mut named = NAMED.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = named.get(name).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::default();
        named.retain(|_, other| other.strong_count() > 0);
        named.insert(name.to_owned(), Arc::downgrade(&server));
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn set(&self, condition: Condition) {
        self.state().condition = condition;
        self.changed.notify_waiters();
    }

    #[cfg(feature = "testing")]
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        state.clear();
        state.restarted = Some(clock::now());
        state.tell_all();
    }

    #[cfg(feature = "testing")]
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.clear();
        state.tell_all();
    }

    #[cfg(feature = "testing")]
    pub(crate) fn owner_of(&self, key: &str) -> Option<Arc<str>> {
        let now = clock::now();
        self.state().live(key, now).map(|entry| Arc::clone(&entry.owner))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn hand_over(&self, key: &str, owner: &str, ttl: Duration) {
        let entry = Entry { owner: Arc::from(owner), expires: clock::now() + ttl };
        let mut state = self.state();
        state.entries.insert(Arc::from(key), entry);
        state.tell(key);
    }

    /// What a connection to a server would do: carries commands out in their order, however long the node takes.
    async fn carry_out(&self, command: &Command, changes: Option<Changes>) -> Reply {
        let _turn = self.order.lock().await;
        if command.is_recalled() {
            return Reply::not_sent("it was cancelled before it was sent");
        }
        loop {
            let recovered = self.changed.notified();
            let condition = self.state().condition.clone();
            match condition {
                Condition::Well => return self.apply(command, changes.as_ref()),
                Condition::Failing(reason) => return answered_with(reason),
                Condition::FailingAfterwards(reason) => {
                    let _ = self.apply(command, changes.as_ref());
                    return answered_with(reason);
                }
                Condition::Slow(delay) => {
                    sleep(delay).await;
                    return self.apply(command, changes.as_ref());
                }
                Condition::Hung => recovered.await,
                Condition::Down => return Reply::not_sent("the node is down"),
            }
        }
    }

    /// What is no vote is answered at once, or not at all.
    fn answer<T: Send + 'static>(
        self: &Arc<Self>,
        reply_timeout: Duration,
        carry_out: impl FnOnce(&mut State, Instant) -> T + Send + 'static,
    ) -> Answer<T> {
        let server = Arc::clone(self);
        Box::pin(async move {
            let condition = server.state().condition.clone();
            match condition {
                Condition::Slow(delay) if delay < reply_timeout => sleep(delay).await,
                Condition::Well => {}
                Condition::Failing(reason) | Condition::FailingAfterwards(reason) => return Err(reason),
                Condition::Slow(_) | Condition::Hung => {
                    sleep(reply_timeout).await;
                    return Err(format!("no answer within {reply_timeout:?}").into());
                }
                Condition::Down => return Err(Arc::from("the node is down")),
            }
            Ok(carry_out(&mut server.state(), clock::now()))
        })
    }

    fn apply(&self, command: &Command, changes: Option<&Changes>) -> Reply {
        let now = clock::now();
        let mut state = self.state();
        if let Some(reply) = state.apply_of_kind(command, changes, now) {
            return reply;
        }
        let entries = &mut state.entries;
        if entries.get(command.key()).is_some_and(|entry| entry.expires <= now) {
            entries.remove(command.key());
        }
        if let Some(mark) = state.told_mark(command, now)
            && command.mark.is_some_and(|query| query.refuses(mark.stored))
            && state.live(command.key(), now).is_none()
        {
            let counter = command.fence.map(|_| state.fence(command.key(), now));
            return Reply::NotOurs { owner: None, remaining: None, counter, mark: Some(Box::new(mark)) };
        }
        let entries = &mut state.entries;
        match (command.action, entries.get_mut(command.key())) {
            (Action::Acquire { ttl, .. }, None) => {
                let entry = Entry { owner: Arc::clone(&command.owner), expires: now + ttl };
                entries.insert(Arc::clone(command.key()), entry);
                state.tell(command.key());
                let is_wanted =
                    command.contender.as_ref().is_some_and(|process| state.is_wanted(command.key(), process, now));
                let counter = command.fence.map(|proposal| state.raise_fence(command.key(), proposal, now));
                Reply::Granted { counter, is_wanted, mark: state.told_mark(command, now).map(Box::new) }
            }
            (Action::Adopt { ttl }, Some(entry)) if command.is_to_adopt_from(&entry.owner) => {
                *entry = Entry { owner: Arc::clone(&command.owner), expires: entry.expires.max(now + ttl) };
                state.tell(command.key());
                let counter = command.fence.map(|_| state.fence(command.key(), now));
                Reply::Granted { counter, is_wanted: false, mark: None }
            }
            (Action::Commit { token }, held) => {
                let is_ours = held.is_some_and(|entry| entry.owner == command.owner);
                if !is_ours {
                    return Reply::NOT_OURS;
                }
                let committed = state.fence(command.key(), now).commit(Holder::Asker, token);
                let stored = committed.and_then(Counter::number);
                state.fences.extend(stored.map(|counter| (Arc::clone(command.key()), counter)));
                if confirmation(token, committed) == Ballot::Granted { Reply::Done } else { Reply::NOT_OURS }
            }
            (Action::Extend { ttl, .. }, Some(entry)) if entry.owner == command.owner => {
                entry.expires = entry.expires.max(now + ttl);
                state.tell(command.key());
                Reply::Done
            }
            (Action::Release { .. }, Some(entry)) if command.gives_back().is_some_and(|to| entry.owner == to.owner) => {
                Reply::Done
            }
            (action @ (Action::Mark | Action::Release { .. }), held) if command.new_mark.is_some() => {
                let holder = holder(held.as_deref(), command);
                if let (Holder::Asker, Action::Release { keep, .. }) = (holder, action) {
                    state.release_key(command.key(), &command.owner, keep, now);
                }
                command.new_mark.map_or(Reply::Done, |mark| state.complete(command.key(), holder, mark, now))
            }
            // It has a new mark.
            (Action::Mark, _) => Reply::Done,
            (Action::Release { keep, .. }, Some(entry)) if command.releases(&entry.owner) => {
                if let Some(to) = command.gives_back() {
                    entry.owner = Arc::clone(&to.owner);
                    state.tell(command.key());
                } else {
                    state.release_key(command.key(), &command.owner, keep, now);
                }
                Reply::Done
            }
            (Action::Release { .. }, Some(entry)) if *entry.owner == kept(&command.owner) => Reply::Done,
            (Action::Adopt { .. } | Action::Extend { .. }, None) => Reply::Missing,
            (Action::Acquire { .. } | Action::Adopt { .. } | Action::Extend { .. } | Action::Release { .. }, held) => {
                let remaining = held.as_ref().map(|entry| entry.expires.saturating_duration_since(now));
                let owner = held.map(|entry| Arc::clone(&entry.owner));
                state.refused(command, command.key(), [command.key()], changes, now);
                let counter = command.fence.map(|_| state.fence(command.key(), now));
                let mark = state.told_mark(command, now).map(Box::new);
                Reply::NotOurs { owner, remaining, counter, mark }
            }
        }
    }
}

impl State {
    /// Tells those who watch a key that it changed.
    fn tell(&mut self, key: &str) {
        for changes in self.watched.remove(key).unwrap_or_default() {
            changes.key(key);
        }
    }

    /// Releases a key for its owner, or keeps it for this long.
    fn release_key(&mut self, key: &Arc<str>, owner: &str, keep: Duration, now: Instant) {
        if keep.is_zero() {
            self.entries.remove(key);
        } else {
            let entry = Entry { owner: kept(owner).into(), expires: now + keep };
            self.entries.insert(Arc::clone(key), entry);
        }
        self.tell(key);
    }

    /// Carries out what is asked of more than one key; `None` if there is more to do, or all, as for any lock with its key.
    fn apply_of_kind(&mut self, command: &Command, changes: Option<&Changes>, now: Instant) -> Option<Reply> {
        match command.subject.kind()? {
            Kind::Permits { slots, which } => self.apply_to_permits(command, (slots, *which), changes, now),
            Kind::Reader(keys) => Some(self.apply_of_reader(command, keys, changes, now)),
            Kind::Writer(keys) => self.apply_of_writer(command, keys, changes, now),
            Kind::Several(keys) => Some(self.apply_of_several(command, keys, changes, now)),
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

    /// What is about several permits.
    fn apply_to_permits(
        &mut self,
        command: &Command,
        (slots, which): (&Slots, Which),
        changes: Option<&Changes>,
        now: Instant,
    ) -> Option<Reply> {
        match (command.action, which) {
            (Action::Acquire { ttl, .. }, Which::Any) => Some(self.grant_permit(command, slots, ttl, changes, now)),
            (Action::Release { .. }, Which::Any) => Some(self.release_permits(command, slots, None)),
            (Action::Release { .. }, Which::AllBut(slot)) => Some(self.release_permits(command, slots, Some(slot))),
            (Action::Release { .. }, Which::One(slot)) => {
                // What may be left of asking for any. The slot itself is released as any key.
                let _ = self.release_permits(command, slots, Some(slot));
                None
            }
            _ => None,
        }
    }

    /// Grants the first slot that is free: see `permit.lua`.
    fn grant_permit(
        &mut self,
        command: &Command,
        slots: &Slots,
        ttl: Duration,
        changes: Option<&Changes>,
        now: Instant,
    ) -> Reply {
        let said = self.permits.get(slots.line()).filter(|(_, until)| *until > now);
        let said = said.map(|(permits, until)| SaidPermits { permits: *permits, lives: *until - now });
        if said.is_none_or(|said| said.permits <= slots.said()) {
            self.permits.insert(Arc::clone(slots.line()), (slots.said(), now + PERMITS_RETENTION));
        }
        let held: Vec<_> = slots
            .keys()
            .iter()
            .map(|key| {
                let entry = self.live(key, now)?;
                let owner = entry.owner.strip_suffix(RELEASED).unwrap_or(&entry.owner);
                Some(OthersKey::told(Some(owner), Some(entry.expires.saturating_duration_since(now)), || now))
            })
            .collect();
        let asks_all = command.fence.is_some_and(Proposal::asks_all);
        let told = slots.keys().iter().filter(|_| asks_all);
        let counters = told.map(|key| Some(self.fence(key, now))).collect();
        let free = slots.order().iter().find(|slot| held[usize::from(**slot)].is_none()).copied();
        let granted = free.map(|slot| {
            let key = slots.key(slot);
            self.entries.insert(Arc::clone(key), Entry { owner: Arc::clone(&command.owner), expires: now + ttl });
            self.tell(key);
            let contender = command.contender.as_ref();
            let is_wanted = contender.is_some_and(|process| self.is_wanted(slots.line(), process, now));
            let counter = command.fence.map(|proposal| self.raise_fence(key, proposal, now));
            GrantedSlot { slot, counter, is_wanted }
        });
        if granted.is_none() {
            self.refused(command, slots.line(), slots.keys(), changes, now);
        }
        Reply::Slots(Box::new(ToldSlots { granted, held, counters, permits: said }))
    }

    /// Releases whatever an owner has of these slots, but for one.
    fn release_permits(&mut self, command: &Command, slots: &Slots, but: Option<u8>) -> Reply {
        let mut reply = Reply::NOT_OURS;
        for (_, key) in (0..).zip(slots.keys()).filter(|(slot, _)| Some(*slot) != but) {
            if self.entries.get(key).is_some_and(|entry| entry.owner == command.owner) {
                self.entries.remove(key);
                self.tell(key);
                reply = Reply::Done;
            }
        }
        reply
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

    /// The mark of a lock, as an acquire that asks for it is told.
    fn told_mark(&self, command: &Command, now: Instant) -> Option<ToldMark> {
        command.mark.map(|_| {
            let (stored, expires) = self.living_mark(command.key(), now).unzip();
            let left = expires.map(|expires| expires.saturating_duration_since(now));
            ToldMark { stored, left, age: self.age(now) }
        })
    }

    /// A mark that has not expired.
    fn mark(&self, key: &str, now: Instant) -> Option<StoredMark> {
        self.living_mark(key, now).map(|(mark, _)| mark)
    }

    /// The same, and when it expires.
    fn living_mark(&self, key: &str, now: Instant) -> Option<(StoredMark, Instant)> {
        self.marks.get(key).filter(|(_, expires)| *expires > now).copied()
    }

    /// Completes a fire, as far as the node takes part in it.
    fn complete(&mut self, key: &Arc<str>, holder: Holder, new: NewMark, now: Instant) -> Reply {
        let stored = self.mark(key, now);
        match Marked::by(stored.map(|stored| stored.fire), holder, new.stored.fire) {
            Marked::Raised { completed } => {
                let mark = stored.filter(|stored| stored.fire == completed).unwrap_or(new.stored);
                self.marks.insert(Arc::clone(key), (mark, now + new.retention));
                Reply::Done
            }
            Marked::Covered => Reply::Covered,
            Marked::Refused => Reply::NOT_OURS,
        }
    }

    /// A key that has not expired.
    fn live(&self, key: &str, now: Instant) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.expires > now)
    }

    /// Who has a key, in words.
    fn look(&self, key: &str, now: Instant) -> Option<LockRecord> {
        let entry = self.live(key, now)?;
        let noted = self.notes.get(key).filter(|(owner, ..)| *owner == entry.owner);
        Some(LockRecord {
            owner: Arc::clone(&entry.owner),
            remaining: Some(entry.expires.saturating_duration_since(now)),
            label: noted.map(|(_, label, since, fencing_token)| RecordedLabel {
                label: label.to_string(),
                held_for: now.saturating_duration_since(*since),
                fencing_token: *fencing_token,
            }),
        })
    }

    /// Whether another process waits.
    fn is_wanted(&self, key: &str, process: &Arc<str>, now: Instant) -> bool {
        let waiting = self.waiting.get(key);
        waiting.is_some_and(|waiting| waiting.iter().any(|(other, until)| other != process && *until > now))
    }
}

/// Whose a key is, as a command sees it.
fn holder(held: Option<&Entry>, command: &Command) -> Holder {
    if held.is_some_and(|entry| entry.owner == command.owner) { Holder::Asker } else { Holder::Other }
}

/// The value of a key that its owner's release keeps.
fn kept(owner: &str) -> String {
    format!("{owner}{RELEASED}")
}

fn answered_with(reason: Arc<str>) -> Reply {
    Reply::Failed(Failure { reason, delivery: Delivery::Answered })
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
            let examination = Examination {
                address: label,
                server_info: Arc::new(server_info),
                tells: Tells::Itself,
                refused_hello: None,
                refused_scripts: None,
                keeps_cut: None,
                version: None,
                memory: None,
                // It ends with this process, and with it all that hold its locks.
                persistence: None,
                clock: None,
                round_trip: Duration::ZERO,
                wakes: Some(Wakes::Tracking),
                failed: Vec::new(),
                forbidden: Vec::new(),
                // Nobody else writes there.
                counters: FencingCounters::default(),
            };
            vec![examination]
        })
    }
}

impl Inspecting for MemoryNode {
    fn record_labels(&self, notes: Vec<OwnerLabel>, reply_timeout: Duration) -> Answer<()> {
        self.server.answer(reply_timeout, move |state, now| {
            for OwnerLabel { keys, owner, label, held_for, fencing_token } in notes {
                if state.live(&keys.lock, now).is_some_and(|entry| entry.owner == owner) {
                    let since = now.checked_sub(held_for).unwrap_or(now);
                    state.notes.insert(Arc::clone(&keys.lock), (owner, label, since, fencing_token));
                    state.tell(&keys.label);
                }
            }
            let entries = &state.entries;
            state.notes.retain(|key, (owner, ..)| entries.get(key).is_some_and(|entry| entry.owner == *owner));
        })
    }

    fn look(&self, keys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<Option<LockRecord>> {
        self.server.answer(reply_timeout, move |state, now| state.look(&keys.lock, now))
    }

    fn shared(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<SharedRecord> {
        self.server.answer(reply_timeout, move |state, now| {
            let readers = state.readers.get(&*Keys::readers(&lock)).into_iter().flatten();
            let remaining: Vec<_> = readers
                .filter_map(|(_, until)| until.checked_duration_since(now).filter(|rest| !rest.is_zero()))
                .collect();
            let last = remaining.iter().max().copied().unwrap_or_default();
            SharedRecord { writer: state.look(&Keys::writer(&lock), now), readers: (remaining.len() as u64, last) }
        })
    }

    fn permits(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<PermitsRecord> {
        self.server.answer(reply_timeout, move |state, now| {
            let said = state.permits.get(&*Keys::permits(&lock)).filter(|(_, until)| *until > now);
            let held = Keys::all_permits(&lock).filter_map(|(slot, key)| Some((slot, state.look(&key, now)?)));
            PermitsRecord { said: said.map(|(permits, _)| *permits), held: held.collect() }
        })
    }

    fn watch(&self, keys: Vec<Arc<str>>, reply_timeout: Duration) -> Answer<()> {
        let changes = self.changes.get().cloned();
        self.server.answer(reply_timeout, move |state, _| {
            for (key, changes) in keys.into_iter().zip(changes.into_iter().cycle()) {
                let watching = state.watched.entry(key).or_default();
                // Whoever looks again and again is told once.
                if !watching.iter().any(|other| other.is_same_as(&changes)) {
                    watching.push(changes);
                }
            }
        })
    }

    fn page(&self, wanted: Listed, _: Cursor, reply_timeout: Duration) -> Answer<Page> {
        self.server.answer(reply_timeout, move |state, now| {
            let live = state.entries.iter().filter(|(_, entry)| entry.expires > now).map(|(key, _)| key);
            let is_read = |readers: &HashMap<_, Instant>| readers.values().any(|until| *until > now);
            let read = state.readers.iter().filter(|(_, readers)| is_read(readers)).map(|(key, _)| key);
            let keys = live.chain(read).filter(|key| wanted.is_called(key)).map(ToString::to_string).collect();
            Page { keys, next: None }
        })
    }

    fn reset(&self, locks: Vec<Arc<LockKeys>>, reply_timeout: Duration) -> Answer<Vec<Deleted>> {
        self.server.answer(reply_timeout, move |state, now| {
            let reset = |keys: &Arc<LockKeys>| {
                let was_there = state.live(&keys.lock, now).is_some() || state.readers.contains_key(&keys.lock);
                state.readers.remove(&keys.lock);
                state.entries.remove(&keys.lock);
                state.notes.remove(&keys.lock);
                state.tell(&keys.lock);
                Ok(was_there)
            };
            locks.iter().map(reset).collect()
        })
    }

    fn mark(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<Option<StoredMark>> {
        self.server.answer(reply_timeout, move |state, now| state.mark(&lock, now))
    }

    fn reset_mark(&self, lock: Arc<str>, retention: Duration, reply_timeout: Duration) -> Answer<bool> {
        self.server.answer(reply_timeout, move |state, now| {
            let before = state.mark(&lock, now);
            state.marks.insert(lock, (StoredMark::NONE, now + retention));
            before.is_some_and(|mark| mark != StoredMark::NONE)
        })
    }
}

/// Those whose lease is over are taken away.
fn total(counter: &mut Waiters, now: Instant) -> i64 {
    counter.retain(|_, (_, lease_ends)| *lease_ends > now);
    counter.values().map(|(waiting, _)| i64::try_from(*waiting).unwrap_or(i64::MAX)).sum()
}
