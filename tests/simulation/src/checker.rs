//! What must hold, whatever happens. It knows nothing of how the lock works: it sees who holds what, by whose clock and for how
//! long, and what is on the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use redlock_simulated::simulation::{Held, Place, within};
use tokio::time::Instant;

use crate::leads::Leaders;
use crate::node::Node;
use crate::plan::{CONNECT_TIMEOUTS, FIRE_SKEW, Fault, FireKind, FireWish, Plan, Weather, Wish};
use crate::runs::Runs;
use crate::world::{Life, Universe, locked, now};

/// How long a lock may be free beside somebody who waits, if nothing goes wrong.
const HAND_OVER: Duration = Duration::from_millis(400);

/// How often in a row one process may get a lock for which another waits, if nothing goes wrong.
const ROW: usize = 48;

/// How much later than its time an acquisition may end: two timers, each up to a millisecond late, and a moment to give back.
const LATE: Duration = Duration::from_millis(5);

/// How often something was met, to see that the schedules try it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met(pub(crate) BTreeMap<&'static str, u64>);

impl Met {
    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

/// Somebody who waits, by number.
pub(crate) type Waiter = u64;

struct Waiting {
    waiter: Waiter,
    place: Place,
    since: Instant,
}

struct Record {
    number: u64,
    process: usize,
    held: Held,
    is_told: bool,
}

/// What is known about one lock.
#[derive(Default)]
struct Lock {
    held: Vec<Record>,
    /// The tokens that were given, by key, and when, in true time.
    tokens: BTreeMap<String, Vec<(u64, Instant)>>,
    waiting: Vec<Waiting>,
    free_since: Option<Instant>,
    /// Who had it last, and how often in a row.
    row: (usize, usize),
}

pub(crate) struct Checker {
    state: Mutex<State>,
    is_fine: bool,
    is_calm: bool,
    is_crowded: bool,
    /// Whether clocks run together well enough for more than tokens.
    are_clocks_right: bool,
    /// Whether nodes may have forgotten tokens before the run began.
    is_young: bool,
    majority: usize,
}

#[derive(Default)]
struct State {
    violations: Vec<String>,
    locks: [Lock; 2],
    next: u64,
    met: Met,
    restarts: usize,
    shut_down: BTreeSet<usize>,
    /// Which process wrote an owner's value first.
    owners: BTreeMap<String, usize>,
    /// When holders let go.
    let_go: BTreeMap<String, Instant>,
    /// Owners whose locks were given out of hand.
    detached: BTreeSet<String>,
    /// What is known of fires.
    fires: Fires,
    /// What is known of leaders.
    leaders: Leaders,
    /// All that ever were, and those that were lost before their holders let go: what a shutdown does not answer for.
    given_away: BTreeSet<String>,
}

/// What is known of the fires of a job.
#[derive(Default)]
struct Fires {
    /// Those whose bodies have started.
    started: Vec<u64>,
    /// Those whose bodies have ended well.
    ended: Vec<u64>,
    /// Those whose completion was confirmed.
    confirmed: Vec<u64>,
    /// Those whose bodies run.
    running: Runs,
}

/// Whether a fire was completed where this one was.
fn covers(completed: u64, fire: u64, wanted: &FireWish) -> bool {
    let since = fire.saturating_sub(completed);
    let is_within = |period: Duration| u128::from(since) * 2 < period.as_millis();
    since == 0 || matches!(wanted.kind, FireKind::Called { period } if is_within(period))
}

/// How long an owner's value is.
const OWNER: usize = 36;

impl Checker {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            state: Mutex::default(),
            // Who may go first is another question where some wait for others' locks as well.
            is_fine: plan.is_fine() && !plan.has_kinds(),
            is_calm: plan.weather == Weather::Calm,
            is_crowded: plan.weather == Weather::Crowded && !plan.has_kinds(),
            are_clocks_right: plan.script.as_ref().is_none_or(|script| script.are_clocks_right),
            is_young: plan.nodes.iter().any(|node| node.age < Duration::from_secs(24 * 60 * 60)),
            majority: if plan.is_cluster { 1 } else { plan.nodes.len().max(plan.memory) / 2 + 1 },
        }
    }

    pub(crate) fn add(&self, violation: String) {
        locked(&self.state).violations.push(violation);
    }

    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.state).violations)
    }

    pub(crate) fn meet(&self, what: &'static str) {
        *locked(&self.state).met.0.entry(what).or_default() += 1;
    }

    pub(crate) fn met(&self) -> Met {
        locked(&self.state).met.clone()
    }

    pub(crate) fn shut_down(&self, process: usize) {
        locked(&self.state).shut_down.insert(process);
    }

    pub(crate) fn is_shut_down(&self, process: usize) -> bool {
        locked(&self.state).shut_down.contains(&process)
    }

    pub(crate) fn has_restarts(&self) -> bool {
        locked(&self.state).restarts > 0
    }

    pub(crate) fn restarted(&self) {
        locked(&self.state).restarts += 1;
    }

    /// A process wrote this under a key.
    pub(crate) fn wrote(&self, value: &str, process: Option<usize>) {
        if let Some(process) = process.filter(|_| value.len() == OWNER) {
            locked(&self.state).owners.entry(value.to_owned()).or_insert(process);
        }
    }

    /// Which process wrote an owner's value first.
    pub(crate) fn writer_of(&self, owner: &str) -> Option<usize> {
        locked(&self.state).owners.get(owner).copied()
    }

    /// The body of a fire has ended well.
    pub(crate) fn ended_well(&self, fire: u64) {
        let mut state = locked(&self.state);
        state.fires.ended.push(fire);
        state.fires.running.ended_well(fire);
    }

    /// What is known of the fires that run, and of those who stand by.
    pub(crate) fn with_runs<T>(&self, look: impl FnOnce(&mut Runs) -> T) -> T {
        look(&mut locked(&self.state).fires.running)
    }

    /// The completion of a fire was confirmed.
    pub(crate) fn confirmed(&self, fire: u64, wanted: &FireWish) {
        self.meet("completed");
        if !wanted.is_at_start {
            locked(&self.state).fires.confirmed.push(fire);
        }
    }

    /// Nobody answers for the keys of this owner, until somebody has adopted them.
    pub(crate) fn detached(&self, owner: &str) {
        let mut state = locked(&self.state);
        state.detached.insert(owner.to_owned());
        state.given_away.insert(owner.to_owned());
    }

    pub(crate) fn has_detached(&self) -> bool {
        !locked(&self.state).detached.is_empty()
    }

    /// Somebody has.
    pub(crate) fn adopted(&self, owner: &str) {
        locked(&self.state).detached.remove(owner);
    }

    /// Those of a process, or of one of its runtimes, do not wait any more.
    pub(crate) fn forget(&self, process: usize) {
        let mut state = locked(&self.state);
        state.locks.iter_mut().for_each(|lock| lock.waiting.retain(|waiting| waiting.place.process != process));
        state.leaders.ended(process);
        state.fires.running.forget(process);
    }

    pub(crate) fn joined(&self, name: usize, place: Place) -> Waiter {
        self.joined_at(name, place, now())
    }

    /// Somebody waits, at the latest from that moment on.
    pub(crate) fn joined_at(&self, name: usize, place: Place, since: Instant) -> Waiter {
        let waiter = self.number();
        locked(&self.state).locks[name].waiting.push(Waiting { waiter, place, since });
        waiter
    }

    /// A number that nothing else has.
    pub(crate) fn number(&self) -> u64 {
        let mut state = locked(&self.state);
        state.next += 1;
        state.next
    }

    /// What is known of leaders, and of those who campaign: where, and since when.
    pub(crate) fn with_leaders<T>(&self, look: impl FnOnce(&mut Leaders, Vec<(Place, Instant)>) -> T) -> T {
        let mut state = locked(&self.state);
        let campaigning = state.locks[0].waiting.iter().map(|waiting| (waiting.place, waiting.since)).collect();
        look(&mut state.leaders, campaigning)
    }

    pub(crate) fn left(&self, waiter: Waiter) {
        let mut state = locked(&self.state);
        state.locks.iter_mut().for_each(|lock| lock.waiting.retain(|waiting| waiting.waiter != waiter));
        state.fires.running.over(waiter);
    }
}

impl Universe {
    /// Whether nodes may be unable to know whether a fire was completed: those that restarted, and those that have not run for long
    /// enough, unless it is due when they have.
    pub(crate) fn may_be_in_doubt(&self, wish: &Wish) -> bool {
        let is_early = wish.fire.is_none_or(|fire| fire.due < Duration::from_millis(1_500) + 2 * FIRE_SKEW);
        let is_young = self.checker.is_young && is_early;
        self.checker.has_restarts() || is_young || !self.plan.faults.is_empty()
    }

    /// The body of a fire starts.
    pub(crate) fn started(&self, fire: u64, wanted: &FireWish, number: u64) {
        self.checker.meet("fire started");
        let mut state = locked(&self.checker.state);
        let process = state.locks.iter().flat_map(|lock| &lock.held).find(|record| record.number == number);
        let process = process.map(|record| record.process);
        let Fires { started, confirmed, running, .. } = &mut state.fires;
        if let Some(process) = process.filter(|_| !wanted.is_at_start) {
            running.started(fire, process, number);
        }
        let again = confirmed.iter().find(|completed| covers(**completed, fire, wanted)).copied();
        let twice =
            started.iter().find(|before| covers(**before, fire, wanted)).filter(|_| wanted.is_at_start).copied();
        started.push(fire);
        drop(state);
        if let Some(completed) = again {
            self.violated(format!("ran again: fire {fire} starts, and {completed} was completed"));
        }
        if let Some(before) = twice {
            self.violated(format!("started twice: fire {fire}, after {before}, at most once"));
        }
    }

    /// Somebody was told that a fire already ran.
    pub(crate) fn already_ran(&self, fire: u64, completed: u64, is_at_start: bool) {
        self.checker.meet("already ran");
        let mut state = locked(&self.checker.state);
        // What is marked before it starts may never start.
        let is_true = state.fires.ended.contains(&completed) || is_at_start;
        if !is_at_start {
            // What is told stays true.
            state.fires.confirmed.push(completed);
        }
        drop(state);
        if !is_true {
            self.violated(format!("never ran: fire {fire} is told to be covered by {completed}"));
        }
    }

    /// For how long, in true time, a lock counts as held by its holder.
    fn remaining(&self, process: usize, held: &Held) -> Duration {
        let place = Place { process, runtime: Place::BACKGROUND };
        if self.is_dead(process) {
            Duration::ZERO
        } else {
            self.true_length(process, within(place, || held.remaining()))
        }
    }

    /// Somebody got the lock, after standing in the line or not; returns the number under which it is held.
    pub(crate) fn acquired(&self, name: usize, place: Place, waiter: Option<Waiter>, held: Held) -> u64 {
        let process = place.process;
        let remaining = self.remaining(process, &held);
        self.checker.wrote(&held.owner, Some(process));
        self.note(|| format!("p{process}: {} holds {name}, token {}, for {remaining:?}", &held.owner[..8], held.token));
        self.checker.meet("acquired");
        if !remaining.is_zero() {
            self.check_alone(name, process, &held);
        }
        self.check_validity(process, &held);
        self.check_token(name, process, &held);
        let mut state = locked(&self.checker.state);
        let mut violations = Vec::new();
        let lock = &mut state.locks[name];
        if self.checker.is_fine {
            let older =
                |waiting: &&Waiting| waiter.is_some_and(|waiter| waiting.waiter < waiter) && waiting.place == place;
            if let Some(older) = lock.waiting.iter().find(older).filter(|_| self.checker.is_calm) {
                violations.push(format!("overtaken: p{process}'s waiter {} by {waiter:?}", older.waiter));
            }
            let longest = lock.waiting.iter().map(|waiting| waiting.since).min();
            if let (Some(free), Some(since)) = (lock.free_since, longest) {
                let unused = now().saturating_duration_since(free.max(since));
                if unused > HAND_OVER {
                    violations.push(format!("late: lock {name} was free for {unused:?} beside somebody who waits"));
                }
            }
        }
        if lock.held.iter().any(|other| other.held.owner == held.owner) {
            violations.push(format!("two turns: {} of p{process} is held by two of its tasks", &held.owner[..8]));
        }
        let others_wait = lock.waiting.iter().any(|waiting| waiting.place.process != process);
        lock.row = match lock.row {
            (last, count) if last == process && others_wait => (process, count + 1),
            _ => (process, 1),
        };
        // Of permits several are handed on at once, and a process does not stand back for each.
        let is_fair = self.plan.most_permits().is_none_or(|most| most == 1);
        if self.checker.is_crowded && is_fair && lock.row.1 > ROW {
            violations.push(format!("unfair: p{process} got lock {name} {} times in a row", lock.row.1));
        }
        lock.free_since = None;
        state.next += 1;
        let number = state.next;
        // It may have been passed on within its process.
        if state.let_go.remove(&*held.owner).is_some() {
            *state.met.0.entry("passed on").or_default() += 1;
        }
        state.locks[name].held.push(Record { number, process, held, is_told: false });
        drop(state);
        for violation in violations {
            self.violated(violation);
        }
        if let Some(waiter) = waiter {
            self.checker.left(waiter);
        }
        number
    }

    /// No other lock of this name counts as held, or no more than there are permits, each by one.
    fn check_alone(&self, name: usize, process: usize, held: &Held) {
        let others: Vec<_> = {
            let state = locked(&self.checker.state);
            let of_others =
                |lock: &Lock| lock.held.iter().map(|other| (other.process, other.held.clone())).collect::<Vec<_>>();
            let others: Vec<_> = match self.plan.most_permits() {
                Some(_) => of_others(&state.locks[name]),
                None => state.locks.iter().flat_map(of_others).collect(),
            };
            let excludes = |(_, other): &(usize, Held)| {
                let is_about_the_same = other.keys.iter().any(|key| held.keys.contains(key)) || other.key == held.key;
                other.owner != held.owner && (is_about_the_same || self.plan.most_permits().is_some())
            };
            others.into_iter().filter(excludes).collect()
        };
        let (readers, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, other)| held.is_shared && other.is_shared);
        if !readers.is_empty() {
            self.checker.meet("held beside others");
        }
        let mut count = 1;
        for (other, theirs) in others.into_iter().filter(|_| self.checker.are_clocks_right) {
            let remaining = self.remaining(other, &theirs);
            if remaining.is_zero() {
                continue;
            }
            count += 1;
            if theirs.key == held.key {
                let (one, two) = (&theirs.owner[..8], &held.owner[..8]);
                self.violated(format!(
                    "two holders: {one} of p{other} for {remaining:?} more, and {two} of p{process}"
                ));
            }
        }
        let most = self.plan.most_permits().unwrap_or(1);
        if count > 1 {
            self.checker.meet("held beside others");
        }
        if count > most {
            self.violated(format!("more than {most}: {count} hold {name}, such as {} of p{process}", &held.owner[..8]));
        }
    }

    /// A majority keeps the key for longer than it counts as held.
    pub(crate) fn check_validity(&self, process: usize, held: &Held) {
        let remaining = self.remaining(process, held);
        if remaining.is_zero() || !self.checker.are_clocks_right || locked(&self.checker.state).restarts > 0 {
            return;
        }
        if self.plan.memory > 0 {
            let keeping = self.memory_that_keeps(&held.key, &held.owner);
            if keeping < self.checker.majority {
                self.violated(format!("overstated: {} counts, and {keeping} nodes keep it", &held.owner[..8]));
            }
            return;
        }
        let end = self.elapsed() + remaining;
        let keep: Vec<_> = {
            let nodes = locked(&self.nodes);
            let of_all = |node: &Node| held.keys.iter().map(|key| node.keeps(key, &held.owner)).min().flatten();
            nodes.iter().map(of_all).collect()
        };
        let keeping = keep.iter().filter(|until| **until >= Some(end)).count();
        if keeping < self.checker.majority {
            self.violated(format!(
                "overstated: {} counts until {end:?}, nodes keep it until {keep:?}",
                &held.owner[..8]
            ));
        }
    }

    /// Tokens grow, as long as at most one node has restarted.
    fn check_token(&self, name: usize, process: usize, held: &Held) {
        if held.token == 0 {
            return;
        }
        let began = self.true_moment(process, held.began);
        let mut state = locked(&self.checker.state);
        let is_promised = state.restarts == 0 || state.restarts == 1 && !self.checker.is_young;
        // Readers share a token with one another, and with the writer before them.
        let is_wrong = |(token, given): &&(u64, Instant)| {
            *token == held.token && !held.is_shared || *given < began && *token > held.token
        };
        let mut wrong = None;
        for key in if held.is_shared { std::slice::from_ref(&held.key) } else { &held.keys } {
            let lock = if self.plan.has_kinds() { 0 } else { name };
            let tokens = state.locks[lock].tokens.entry(key.to_string()).or_default();
            wrong = wrong.or(tokens.iter().find(is_wrong).filter(|_| is_promised).copied());
            tokens.push((held.token, now()));
        }
        drop(state);
        if let Some((token, _)) = wrong {
            self.violated(format!("token {} of p{process} after {token}", held.token));
        }
    }

    /// The holder extended it by hand.
    pub(crate) fn extended(&self, name: usize, number: u64) {
        let record = {
            let state = locked(&self.checker.state);
            let found = state.locks[name].held.iter().find(|record| record.number == number);
            found.map(|record| (record.process, record.held.clone()))
        };
        if let Some((process, held)) = record {
            self.check_validity(process, &held);
            if !self.remaining(process, &held).is_zero() {
                self.check_alone(name, process, &held);
            }
        }
    }

    /// The holder was told that it is lost.
    pub(crate) fn told(&self, name: usize, number: u64) {
        self.checker.meet("lost");
        let mut state = locked(&self.checker.state);
        let held = state.locks[name].held.iter_mut();
        held.filter(|record| record.number == number).for_each(|record| record.is_told = true);
    }

    /// The holder lets go.
    pub(crate) fn over(&self, name: usize, number: u64) {
        let record = {
            let mut state = locked(&self.checker.state);
            let held = &mut state.locks[name].held;
            held.iter().position(|record| record.number == number).map(|position| held.remove(position))
        };
        let Some(record) = record else { return };
        self.checker.with_runs(|runs| runs.ended(number));
        let is_lost = self.remaining(record.process, &record.held).is_zero();
        self.note(|| format!("p{}: {} lets {name} go", record.process, &record.held.owner[..8]));
        let mut state = locked(&self.checker.state);
        let owner = record.held.owner.to_string();
        state.let_go.insert(owner.clone(), now());
        if is_lost {
            state.given_away.insert(owner);
        } else {
            state.locks[name].free_since = Some(now());
        }
    }

    /// A key's time was over on a node. Whoever held it was told before a majority had it no more.
    pub(crate) fn expired(&self, node: usize, key: &str, owner: &str) {
        let found = {
            let state = locked(&self.checker.state);
            let records = state.locks.iter().flat_map(|lock| &lock.held);
            let found = records.into_iter().find(|record| &*record.held.owner == owner && &*record.held.key == key);
            found.filter(|record| !record.is_told).map(|record| record.process)
        };
        self.check_released(node, owner);
        let Some(process) = found.filter(|_| self.checker.are_clocks_right) else { return };
        let elapsed = self.elapsed();
        let keeping = {
            let nodes = locked(&self.nodes);
            nodes.iter().filter(|node| node.keeps(key, owner) > Some(elapsed)).count()
        };
        // Who was stopped could not be told.
        let has_forgotten = locked(&self.checker.state).restarts > 0;
        if keeping < self.checker.majority && !has_forgotten && self.has_run_for(process, Duration::from_millis(10)) {
            self.violated(format!("not told: {} of p{process}, with n{node} gone {keeping} keep it", &owner[..8]));
        }
    }

    /// A key whose holder let go does not stay until its time is over, once nothing goes wrong any more.
    fn check_released(&self, node: usize, owner: &str) {
        let let_go = {
            let state = locked(&self.checker.state);
            let process = state.owners.get(owner).copied().filter(|_| !state.given_away.contains(owner));
            process.and_then(|process| Some((process, *state.let_go.get(owner)?)))
        };
        let Some((process, let_go)) = let_go else { return };
        // What was sent on a connection that is dead is released when that is known. In a partition all connections of a process to a
        // node are cut, so that the one on which it is then sent may be dead, too.
        let cuts_all = |fault: &Fault| matches!(fault, Fault::Partition { process: p, node: n, .. } if (*p, *n) == (process, node));
        let dead = if self.plan.faults.iter().any(|(_, fault)| cuts_all(fault)) { 22 } else { 12 };
        // The connection before may have been begun when nothing got through yet: its time has to be over first. No made schedule does that.
        let times = dead + if self.plan.script.is_none() { CONNECT_TIMEOUTS } else { 0 };
        let allowed = self.plan.node_timeout * times + Duration::from_millis(100);
        let is_slow = self.plan.nodes[node].is_behind_proxy;
        let late = self.elapsed().saturating_sub(self.plan.healed().max(let_go - self.start));
        if late > allowed && !is_slow && self.has_run_for(process, allowed) {
            self.violated(format!("left until it expired: n{node} had the key of {} for {late:?}", &owner[..8]));
        }
    }

    /// An acquisition that began then, and may last so long, ended without the lock.
    pub(crate) fn gave_up(&self, process: usize, began: Instant, limit: Option<Duration>) {
        let Some(limit) = limit.filter(|limit| !limit.is_zero()) else { return };
        let took = now() - began;
        // A deadline is one by the process's own clock.
        // A fire that is marked before its body is not given up half marked: that takes at most until a connection counts as dead.
        let marking = if self.plan.has_fires() { self.plan.node_timeout * 12 } else { Duration::ZERO };
        let allowed = limit + limit / 100 + LATE + marking;
        if took > allowed && self.has_run_for(process, took) {
            self.violated(format!("late: p{process} gave up after {took:?} instead of {limit:?}"));
        }
    }

    /// What whoever is not dead has left on the nodes: where, which key, and whose.
    pub(crate) fn left(&self) -> Vec<(usize, String, String)> {
        let elapsed = self.elapsed();
        let keys: Vec<_> = {
            let nodes = locked(&self.nodes);
            let up = nodes.iter().enumerate().filter(|(_, node)| node.is_up());
            up.flat_map(|(number, node)| node.keys_of_locks(elapsed).into_iter().map(move |key| (number, key)))
                .collect()
        };
        let is_left = |owner: &String| {
            let state = locked(&self.checker.state);
            let process = state.owners.get(owner).copied().filter(|_| !state.detached.contains(owner));
            drop(state);
            process.is_some_and(|process| !self.is_dead(process))
        };
        let kept =
            keys.into_iter().filter(|(_, (_, owner))| is_left(owner)).map(|(node, (key, owner))| (node, key, owner));
        let in_memory = self.owners_in_memory().into_iter();
        let in_memory = in_memory.filter(|(_, owner)| !locked(&self.checker.state).detached.contains(owner));
        kept.chain(in_memory.map(|(node, owner)| (node, "in memory".to_owned(), owner))).collect()
    }

    /// Whether a node has a key of somebody of this process, which nobody else answers for.
    pub(crate) fn left_by(&self, process: usize) -> Vec<String> {
        let elapsed = self.elapsed();
        let in_memory = self.owners_in_memory();
        let nodes = locked(&self.nodes);
        let state = locked(&self.checker.state);
        // A lock that was lost and has not been let go of goes with its guard.
        let is_held =
            |owner: &String| state.locks.iter().flat_map(|lock| &lock.held).any(|record| *record.held.owner == **owner);
        let is_of = |owner: &String| {
            state.owners.get(owner) == Some(&process) && !state.given_away.contains(owner) && !is_held(owner)
        };
        let up = nodes.iter().enumerate().filter(|(_, node)| node.is_up());
        let keys = up.flat_map(|(number, node)| node.keys_of_locks(elapsed).into_iter().map(move |key| (number, key)));
        let all = keys.map(|(number, (_, owner))| (number, owner)).chain(in_memory);
        all.filter(|(_, owner)| is_of(owner)).map(|(number, owner)| format!("n{number} {owner}")).collect()
    }

    /// The positions in the configuration, as nodes.
    pub(crate) fn configured(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.plan.nodes.len()).chain(self.plan.twin)
    }

    pub(crate) fn is_running(&self, process: usize) -> bool {
        matches!(locked(&self.processes)[process].life, Life::Runs { .. })
    }
}
