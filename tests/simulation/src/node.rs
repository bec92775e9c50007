//! A simulated node: a server, its clock, and whether it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redlock_simulated::simulation::Rule;
use redlock_simulated_redis::{ConnectionId, Effect, Event, Key, Refusal, Role, Server, Settings};
use tokio::time::sleep;

use crate::network::{Way, peer};
use crate::plan::NodePlan;
use crate::world::{Universe, locked, passed_at, shown_after};

/// The time of day when the simulation begins.
pub(crate) const TIME_OF_DAY: Duration = Duration::from_secs(1_750_000_000);

pub(crate) struct Node {
    number: usize,
    plan: NodePlan,
    pub(crate) server: Server,
    /// As it was when it took a snapshot.
    saved: Option<Server>,
    /// Counts its lives.
    pub(crate) life: u32,
    is_up: bool,
    is_hung: bool,
    /// Who is to be woken when it goes on.
    wakers: Vec<Waker>,
    off: Option<Rule>,
    /// How many connections it has had.
    connections: u64,
    /// The text that each key got last.
    texts: BTreeMap<Key, Arc<[u8]>>,
    /// When it looks for keys whose time is over, in true time since the beginning.
    looks_at: Option<Duration>,
}

impl Node {
    pub(crate) fn new(number: usize, plan: &NodePlan, off: Option<Rule>) -> Self {
        let server = server(number, plan, 0, TIME_OF_DAY.saturating_sub(plan.age), off);
        Self {
            number,
            plan: plan.clone(),
            server,
            saved: None,
            life: 0,
            is_up: true,
            is_hung: false,
            wakers: Vec::new(),
            off,
            connections: 0,
            texts: BTreeMap::new(),
            looks_at: None,
        }
    }

    /// What its clock shows after this true time, as the time since 1970.
    pub(crate) fn shows(&self, elapsed: Duration) -> Duration {
        TIME_OF_DAY + shown_after(elapsed, self.plan.rate)
    }

    /// When its clock shows this, in true time since the beginning.
    fn truth(&self, shown: Duration) -> Duration {
        passed_at(shown.saturating_sub(TIME_OF_DAY), self.plan.rate)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// How old its server is.
    pub(crate) fn age(&self, elapsed: Duration) -> Duration {
        self.shows(elapsed).saturating_sub(self.server.settings().started)
    }

    /// Takes a connection, if it is up.
    pub(crate) fn accept(&mut self) -> Option<(ConnectionId, u32)> {
        if !self.is_up {
            return None;
        }
        self.connections += 1;
        let id = ConnectionId(self.connections);
        self.server.open_from(id, peer(id));
        Some((id, self.life))
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        self.server.close(id);
    }

    /// Waits until it does not hang.
    pub(crate) fn poll_awake(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_hung {
            self.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(crate) fn hang(&mut self) {
        self.is_hung = true;
    }

    pub(crate) fn is_hung(&self) -> bool {
        self.is_hung
    }

    pub(crate) fn wake_up(&mut self) {
        self.is_hung = false;
        self.wakers.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn crash(&mut self) {
        self.is_up = false;
        self.life += 1;
        self.wake_up();
    }

    /// It comes back empty.
    pub(crate) fn restart(&mut self, elapsed: Duration) {
        self.server = server(self.number, &self.plan, self.life, self.shows(elapsed), self.off);
        self.is_up = true;
    }

    pub(crate) fn save(&mut self) {
        self.saved = Some(self.server.clone());
    }

    /// It comes back as it was when it took its snapshot.
    pub(crate) fn restore(&mut self, elapsed: Duration) {
        self.restart(elapsed);
        if let Some(mut saved) = self.saved.clone() {
            saved.restart(self.server.settings().clone(), true);
            saved.take_events();
            self.server = saved;
        }
    }

    pub(crate) fn refuse(&mut self, refusal: Option<Refusal>) {
        self.server.refuse_writes(refusal);
    }

    pub(crate) fn set_role(&mut self, role: Role) {
        self.server.claim_role(role);
    }

    pub(crate) fn forget_scripts(&mut self) {
        self.server.flush_scripts();
    }

    pub(crate) fn unknown(&self) -> &[String] {
        self.server.unknown()
    }

    /// Until when, in true time since the beginning, it keeps the key for this owner.
    pub(crate) fn keeps(&self, key: &str, owner: &str) -> Option<Duration> {
        let held = self.server.peek(key.as_bytes())?;
        if let Some(until) = self.server.peek_score(key.as_bytes(), owner.as_bytes()) {
            // One of the readers of a lock, who stays no longer than all of them.
            let until = Duration::from_millis(until as u64);
            return Some(self.truth(held.until.map_or(until, |all| all.min(until))));
        }
        if held.text != Some(owner.as_bytes()) {
            return None;
        }
        // It is there for the whole of its last millisecond.
        Some(self.truth(held.until?))
    }

    /// All string keys that have not expired, with their values, but for the intents of writers: these are nobody's, and expire by
    /// themselves.
    pub(crate) fn keys_of_locks(&self, elapsed: Duration) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let held = self.server.keys(self.shows(elapsed));
        let is_intent = |held: &redlock_simulated_redis::Held<'_>| held.key.starts_with(b"redlock-intent:");
        held.filter(|held| !is_intent(held)).filter_map(|held| Some((text(held.key), text(held.text?)))).collect()
    }
}

fn server(number: usize, plan: &NodePlan, life: u32, started: Duration, off: Option<Rule>) -> Server {
    let mut server = Server::new(Settings {
        run_id: format!("a{number:019}b{life:019}"),
        version: format!("{}.2.0", plan.version),
        started,
        notifies: false,
    });
    if let Some((before, after)) = off.and_then(patch) {
        server.patch_scripts(before, after);
    }
    server
}

/// How the scripts read without this rule, if it is one of theirs: what is replaced, and by what.
fn patch(off: Rule) -> Option<(&'static str, &'static str)> {
    Some(match off {
        Rule::CommitComparesOwner => {
            ("if redis.call('GET', KEYS[1]) ~= ARGV[1] then\n    return false", "if false then\n    return false")
        }
        Rule::ExtensionComparesOwner => {
            ("if owner == ARGV[1] then\n    if redis.call('PTTL'", "if owner then\n    if redis.call('PTTL'")
        }
        Rule::ReleaseComparesOwner => {
            ("if not owner or owner ~= ARGV[1] and owner ~= ARGV[5] then", "if not owner then")
        }
        Rule::ExtensionOnlyLengthens => ("if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then", "if true then"),
        Rule::KeptKeyIsNobodys => (
            "redis.call('SET', KEYS[1], kept, 'XX', 'PX', ARGV[2])",
            "redis.call('SET', KEYS[1], ARGV[1], 'XX', 'PX', ARGV[2])",
        ),
        Rule::MarkRidesOnAcquire => ("mark = redis.pcall('GET', done)", "mark = false"),
        Rule::CompletionComparesOwner => (
            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then\n    return is_as_great",
            "if false then\n    return is_as_great",
        ),
        Rule::WritersLookForReaders => ("if not reader then\n    counter", "if true then\n    counter"),
        Rule::ReadersLookForWriters => ("if writer and writer ~= ARGV[1] then", "if false then"),
        // The readers of a node expire with the one who came last.
        Rule::ReadersExpireOneByOne => (
            "if redis.call('PTTL', keys[2]) <= tonumber(ARGV[2]) then\n    redis.call('PEXPIRE', keys[2], ARGV[2] + 1)",
            "if true then\n    redis.call('PEXPIRE', keys[2], ARGV[2] + 1)",
        ),
        Rule::EmptiedKeysAreLeftAlone => (
            "local live = 1001",
            "if #gone > 0 then redis.call('HDEL', KEYS[3], unpack(gone)) redis.call('ZREM', KEYS[2], unpack(gone)) end
             local live = 1001",
        ),
        Rule::AllOrNothing => ("blocked = blocked or index", "blocked = false"),
        _ => return None,
    })
}

impl Universe {
    /// The node takes bytes in.
    pub(crate) fn receive(&self, node: usize, (process, from): (usize, ConnectionId), bytes: &[u8]) {
        let elapsed = self.elapsed();
        self.tell_log_with(|| format!("n{node} <- p{process} {}: {}", from.0, short(bytes)));
        let is_followed_by_error = self.plan.errors > 0 && self.random().percent(self.plan.errors);
        let (effects, events) = {
            let mut nodes = locked(&self.nodes);
            let node = &mut nodes[node];
            let shown = node.shows(elapsed);
            if is_followed_by_error {
                node.server.fail_after_scripts(1, "ERR simulated");
            }
            (node.server.receive(from, bytes, shown), node.server.take_events())
        };
        self.carry_out(node, from, effects);
        self.tell(node, Some(process), events);
        self.look_later(node);
    }

    /// Looks for keys whose time is over when the next one's is.
    pub(crate) fn look_later(&self, node: usize) {
        let looks_at = {
            let mut nodes = locked(&self.nodes);
            let node = &mut nodes[node];
            let Some(expiry) = node.server.next_expiry() else { return };
            let moment = node.truth(expiry) + node.plan.expiry_lag;
            if node.looks_at.is_some_and(|looks_at| looks_at <= moment) {
                return;
            }
            node.looks_at = Some(moment);
            moment
        };
        let universe = self.this();
        tokio::spawn(async move {
            sleep(looks_at.saturating_sub(universe.elapsed())).await;
            universe.look(node, looks_at);
        });
    }

    fn look(&self, node: usize, due: Duration) {
        let elapsed = self.elapsed();
        let (effects, events) = {
            let mut nodes = locked(&self.nodes);
            let node = &mut nodes[node];
            if node.looks_at != Some(due) {
                return;
            }
            node.looks_at = None;
            if !node.is_up || node.is_hung {
                return;
            }
            let shown = node.shows(elapsed);
            (node.server.advance(shown), node.server.take_events())
        };
        self.carry_out(node, ConnectionId(0), effects);
        self.tell(node, None, events);
        self.look_later(node);
    }

    pub(crate) fn carry_out(&self, node: usize, from: ConnectionId, effects: Vec<Effect>) {
        let pipe_of = |id: ConnectionId| {
            let pipes = locked(&self.pipes);
            let is_it = |pipe: &&crate::network::Pipe| {
                let state = pipe.lock();
                (state.node, state.id) == (node, id) && state.is_open()
            };
            pipes.iter().rev().find(is_it).cloned()
        };
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => {
                    let Some(pipe) = pipe_of(to) else { continue };
                    let (lost, doubled) = self.plan.reports;
                    let is_report = to != from;
                    if is_report && lost > 0 && self.random().percent(lost) {
                        self.note(|| format!("n{node}: a report to {} is lost", to.0));
                        continue;
                    }
                    if is_report && doubled > 0 && self.random().percent(doubled) {
                        pipe.send(self, Way::ToProcess, bytes.clone());
                    }
                    pipe.send(self, Way::ToProcess, bytes);
                }
                Effect::Close(id) => {
                    self.note(|| format!("n{node}: closes {} for {}", id.0, from.0));
                    if let Some(pipe) = pipe_of(id) {
                        pipe.close();
                    }
                }
            }
        }
    }

    pub(crate) fn tell(&self, node: usize, process: Option<usize>, events: Vec<Event>) {
        for event in events {
            self.note(|| format!("n{node}: {}", words(&event)));
            match event {
                Event::Set { key, value, .. } => {
                    self.checker.wrote(&String::from_utf8_lossy(&value), process);
                    locked(&self.nodes)[node].texts.insert(key, value);
                }
                Event::Expired { key } => {
                    let owner = locked(&self.nodes)[node].texts.get(&key).cloned().unwrap_or_default();
                    self.expired(node, &String::from_utf8_lossy(&key), &String::from_utf8_lossy(&owner));
                }
                _ => {}
            }
        }
    }
}

/// The beginning of what was sent, on one line.
fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).replace("\r\n", " ");
    text.chars().take(300).collect()
}

fn words(event: &Event) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match event {
        Event::Set { key, value, until } => format!("{} = {} until {until:?}", text(key), text(value)),
        Event::Changed { key } => format!("{} changed", text(key)),
        Event::Deleted { key } => format!("{} deleted", text(key)),
        Event::Expired { key } => format!("{} expired", text(key)),
        Event::Expire { key, until } => format!("{} until {until:?}", text(key)),
        other => format!("{other:?}"),
    }
}
