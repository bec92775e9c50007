//! The simulated world: machines, the queue of what happens next, and who is told.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use redlock_runtime::protocol::{Backoff, Quorum};

use super::attempt::Hold;
use super::clock::{Clock, Micros, SECOND, length, micros};
use super::invariants::Violation;
use super::network::{Connection, Link};
use super::node::{Command, Node, Reply};
use super::plan::{Fault, HEALED, LONGEST_TTL, Plan, Rules};
use super::random::Random;

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A command arrives at its node.
    Arrives { connection: usize, serial: u64, command: Command },
    /// An answer arrives at its client.
    Answered { connection: usize, serial: u64, command: Command, reply: Reply },
    /// A client notices that a connection has ended.
    Broken { connection: usize },
    /// A connection whose sign of life is still missing is given up.
    IsDead { connection: usize, serial: u64 },
    /// A connection is tried to be made.
    Connect { client: usize, node: usize, lane: usize },
    /// A client begins its next attempt.
    Attempt { client: usize, life: u32 },
    /// A round's time is over; number 0 is the acquire.
    RoundOver { owner: usize, number: u32 },
    /// The time to commit a fencing token is over.
    CommitOver { owner: usize },
    /// The time to wait for a release or a giving back is over.
    SettlingOver { owner: usize },
    /// A release's reply is late.
    ReleaseOverdue { client: usize, connection: usize, serial: u64 },
    /// A straggler's connection counts as dead.
    Silent { owner: usize, node: usize },
    /// A release is sent again.
    Resend { owner: usize, node: usize },
    /// A held lock is to be renewed.
    Renew { owner: usize },
    /// A body asks for an extension.
    Extend { owner: usize, ttl: Micros },
    /// A body has ended.
    BodyOver { owner: usize },
    /// The plan's next fault.
    Fault(Fault),
    /// A node freezes until the clients are done.
    Freeze { node: usize },
    /// A hung node goes on.
    Resume { node: usize },
    /// A crashed node starts again.
    Restart { node: usize },
}

/// What a client does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It will try again, or begin its next wish.
    Waiting,
    /// It listens to the votes on its attempt.
    Asking(usize),
    /// It gives a lost attempt back.
    GivingBack(usize),
    /// It runs its body.
    Holding(usize),
    /// It waits for a majority to confirm its release.
    Releasing(usize),
    /// It has no wish left, or was killed.
    Done,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) clock: Clock,
    /// By node and lane.
    pub(crate) links: Vec<[Link; 2]>,
    /// By node: nothing gets through before.
    pub(crate) cut_off_until: Vec<Micros>,
    /// It does nothing before.
    asleep_until: Micros,
    pub(crate) is_dead: bool,
    pub(crate) life: Life,
    /// Changes with `life`, so that a timer of an earlier one is told apart.
    pub(crate) life_number: u32,
    /// Which of its wishes it is at.
    pub(crate) wish: usize,
    /// When it began to wait; `None` between two wishes.
    pub(crate) waiting_since: Option<Instant>,
    /// The greatest fencing counter that it was told since then.
    pub(crate) seen: u64,
    pub(crate) pauses: Backoff,
}

/// How often schedules meet what the rules are for, to see that they are not empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    /// Acquisitions.
    pub(crate) won: u64,
    /// Locks that were lost while their body ran.
    pub(crate) lost: u64,
    /// Attempts of several at once, of which none got a majority.
    pub(crate) split: u64,
    /// Votes of nodes that may not vote.
    pub(crate) struck: u64,
    /// Keys that were set again.
    pub(crate) repaired: u64,
    /// Releases that were sent to get ahead of a dead connection.
    pub(crate) silenced: u64,
    /// Releases that were sent again.
    pub(crate) resent: u64,
    /// Nodes that restarted empty.
    pub(crate) crashed: u64,
    /// Acquires that ended behind the attempt's end, and were owed a release.
    pub(crate) late: u64,
    /// Fencing tokens that a majority committed.
    pub(crate) committed: u64,
    /// Attempts that were lost because no majority did.
    pub(crate) unconfirmed: u64,
    /// Answers after which a majority had granted the lock, and less than one had evidence of earlier tokens.
    pub(crate) doubted: u64,
    /// Acquisitions behind the restart of a node whose tokens were compared with earlier ones.
    pub(crate) outlived: u64,
}

impl Met {
    pub(crate) fn add(&mut self, mut other: Self) {
        self.counts().into_iter().zip(other.counts()).for_each(|(mine, theirs)| *mine += *theirs);
    }

    pub(crate) fn counts(&mut self) -> [&mut u64; 13] {
        let Self {
            won,
            lost,
            split,
            struck,
            repaired,
            silenced,
            resent,
            crashed,
            late,
            committed,
            unconfirmed,
            doubted,
            outlived,
        } = self;
        [won, lost, split, struck, repaired, silenced, resent, crashed, late, committed, unconfirmed, doubted, outlived]
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) quorum: Quorum,
    pub(crate) now: Micros,
    pub(crate) serial: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) connections: Vec<Connection>,
    /// One for each owner value.
    pub(crate) holds: Vec<Hold>,
    pub(crate) violations: Vec<Violation>,
    /// What has been met.
    pub(crate) met: Met,
    /// Whether the clients are done and every node was woken, so that what is owed can be delivered.
    is_closing: bool,
    queue: BinaryHeap<Reverse<(Micros, usize)>>,
    events: Vec<Event>,
}

/// All clients are done this long after the last fault: three wait for each other's TTL, body and turn, after nodes that
/// abstain have grown.
const PATIENCE: Micros = 30 * SECOND;

/// How old a node is at least when clients, who know its age to a second, see that it is old.
const SURELY_GROWN: Micros = LONGEST_TTL + LONGEST_TTL / 4 + 2 * SECOND + SECOND / 10;

/// And everything that they owe is delivered this long after that.
const DELIVERY: Micros = 10 * SECOND;

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let count = plan.ages.len();
        let nodes = (0..count).map(|node| Node::new(node, plan.node_rates[node], plan.ages[node])).collect();
        let clients = plan.clients.iter().map(|(rate, _)| Client::new(*rate, count, random.next())).collect();
        let mut world = Self {
            rules,
            quorum: Quorum::of(count).expect("at least one node"),
            random,
            now: 0,
            serial: 0,
            nodes,
            clients,
            connections: Vec::new(),
            holds: Vec::new(),
            violations: Vec::new(),
            met: Met::default(),
            is_closing: false,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for client in 0..self.clients.len() {
            for node in 0..self.nodes.len() {
                self.connect(client, node, 0);
                self.connect(client, node, 1);
            }
            let after = self.plan.clients[client].1[0].after;
            self.at(after, Event::Attempt { client, life: 0 });
        }
        for (moment, fault) in self.plan.faults.clone() {
            self.at(moment, Event::Fault(fault));
        }
        for (moment, node) in self.plan.frozen.clone() {
            self.at(moment, Event::Freeze { node });
        }
    }

    /// Runs the schedule to its end.
    pub(crate) fn run(mut self) -> Self {
        let mut over = HEALED + PATIENCE;
        while let Some(Reverse((moment, number))) = self.queue.pop() {
            if !self.is_closing && self.clients.iter().all(|client| client.life == Life::Done) {
                self.is_closing = true;
                over = self.now.max(HEALED) + DELIVERY;
                for node in 0..self.nodes.len() {
                    self.resume(node);
                }
            }
            if moment > over {
                self.now = over;
                break;
            }
            self.now = moment;
            let event = self.events[number];
            match self.client_of(&event) {
                Some(client) if self.clients[client].is_dead => {}
                // A process that does not run finds everything that happened meanwhile when it goes on.
                Some(client) if self.now < self.clients[client].asleep_until => {
                    self.at(self.clients[client].asleep_until, event);
                }
                _ => self.handle(event),
            }
        }
        self.check_the_end();
        self
    }

    pub(crate) fn at(&mut self, moment: Micros, event: Event) {
        self.queue.push(Reverse((moment, self.events.len())));
        self.events.push(event);
    }

    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    /// After a length that the client's own clock measures.
    pub(crate) fn client_after(&mut self, client: usize, delay: Duration, event: Event) {
        let clock = self.clients[client].clock;
        self.at(clock.true_time(clock.local(self.now) + micros(delay)), event);
    }

    /// When the client's own clock shows this.
    pub(crate) fn client_at(&mut self, client: usize, shown: Instant, event: Event) {
        let moment = self.clients[client].clock.moment(shown);
        self.at(moment.max(self.now), event);
    }

    /// What the client's clock shows.
    pub(crate) fn local(&self, client: usize) -> Instant {
        self.clients[client].clock.instant(self.now)
    }

    /// The process in which something happens; `None` for what happens outside of all.
    fn client_of(&self, event: &Event) -> Option<usize> {
        match *event {
            Event::Answered { connection, .. } | Event::Broken { connection } | Event::IsDead { connection, .. } => {
                Some(self.connections[connection].client)
            }
            Event::Connect { client, .. } | Event::Attempt { client, .. } | Event::ReleaseOverdue { client, .. } => {
                Some(client)
            }
            Event::RoundOver { owner, .. }
            | Event::CommitOver { owner }
            | Event::SettlingOver { owner }
            | Event::Silent { owner, .. }
            | Event::Resend { owner, .. }
            | Event::Renew { owner }
            | Event::Extend { owner, .. }
            | Event::BodyOver { owner } => Some(self.holds[owner].client),
            Event::Fault(Fault::Cancel { client }) => Some(client),
            Event::Arrives { .. }
            | Event::Fault(_)
            | Event::Freeze { .. }
            | Event::Resume { .. }
            | Event::Restart { .. } => None,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives { connection, serial, command } => self.handle_arrival(connection, serial, command),
            Event::Answered { connection, serial, command, reply } => {
                self.handle_answer(connection, serial, command, reply);
            }
            Event::Broken { connection } => self.handle_broken(connection),
            Event::IsDead { connection, serial } => {
                if self.is_pending(connection, serial) {
                    self.handle_broken(connection);
                }
            }
            Event::Connect { client, node, lane } => self.connect(client, node, lane),
            Event::Attempt { client, life } => {
                if self.clients[client].life_number == life {
                    self.begin_attempt(client);
                }
            }
            Event::RoundOver { owner, number: 0 } => self.end_attempt(owner),
            Event::RoundOver { owner, number } => self.end_extension(owner, number),
            Event::CommitOver { owner } => self.end_commit(owner),
            Event::SettlingOver { owner } => self.end_settling(owner),
            Event::ReleaseOverdue { connection, serial, .. } => self.remind(connection, serial),
            Event::Silent { owner, node } => self.handle_silence(owner, node),
            Event::Resend { owner, node } => self.resend(owner, node),
            Event::Renew { owner } => self.renew(owner),
            Event::Extend { owner, ttl } => self.extend(owner, ttl, super::network::CALLERS),
            Event::BodyOver { owner } => self.end_body(owner),
            Event::Fault(fault) => self.strike(fault),
            Event::Freeze { node } => self.nodes[node].is_hung = self.nodes[node].is_up && !self.is_closing,
            Event::Resume { node } => self.resume(node),
            Event::Restart { node } => self.nodes[node].restart(self.now),
        }
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { node, down } => self.crash(node, down),
            Fault::Hang { node, lasting } => {
                if self.nodes[node].is_up {
                    self.nodes[node].is_hung = true;
                    self.after(lasting, Event::Resume { node });
                }
            }
            Fault::Cut { client, node, lane, is_next: true, freight } => self.doom(client, node, lane, freight),
            Fault::Cut { client, node, lane, is_next: false, freight } => self.cut(client, node, lane, freight),
            Fault::Stall { client, node, lane, lasting } => self.stall(client, node, lane, lasting),
            Fault::Partition { client, node, lasting } => self.partition(client, node, lasting),
            Fault::Pause { client, lasting } => self.clients[client].asleep_until = self.now + lasting,
            Fault::Cancel { client } => self.cancel(client),
            Fault::Kill { client } => {
                self.clients[client].is_dead = true;
                self.enter(client, Life::Done);
            }
        }
    }

    /// A node loses everything, unless a majority would then be new, be it created or restarted: that is the limit of what
    /// the electorate rule promises.
    fn crash(&mut self, node: usize, down: Micros) {
        let is_new = |other: &Node| !other.is_up || self.now - other.born < SURELY_GROWN;
        let others = self.nodes.iter().enumerate().filter(|(other, server)| *other != node && is_new(server)).count();
        if others < self.quorum.spare() && self.nodes[node].is_up {
            self.nodes[node].crash();
            self.met.crashed += 1;
            self.drop_connections_of(node);
            self.after(down, Event::Restart { node });
        }
    }

    fn resume(&mut self, node: usize) {
        let is_to_stay = self.plan.frozen.iter().any(|(moment, frozen)| *frozen == node && *moment <= self.now);
        if !self.nodes[node].is_hung || (is_to_stay && !self.is_closing) {
            return;
        }
        self.nodes[node].is_hung = false;
        for (connection, serial, command) in std::mem::take(&mut self.nodes[node].backlog) {
            self.handle_arrival(connection, serial, command);
        }
    }

    /// Begins another part of a client's life.
    pub(crate) fn enter(&mut self, client: usize, life: Life) {
        self.clients[client].life = life;
        self.clients[client].life_number += 1;
    }
}

impl Client {
    fn new(rate: i64, nodes: usize, seed: u64) -> Self {
        let links = (0..nodes).map(|_| [Link::new(seed), Link::new(seed ^ 1)]).collect();
        Self {
            clock: Clock::new(rate),
            links,
            cut_off_until: vec![0; nodes],
            asleep_until: 0,
            is_dead: false,
            life: Life::Waiting,
            life_number: 0,
            wish: 0,
            waiting_since: None,
            seen: 0,
            pauses: Self::pauses(seed),
        }
    }

    /// Pauses between attempts.
    pub(crate) fn pauses(seed: u64) -> Backoff {
        Backoff::new(length(10_000), length(100_000), seed)
    }
}
