//! Releases, seen through to their end as the engine does: behind stragglers, again until confirmed.

use redlock_runtime::protocol::{Backoff, Ballot, NodeSet, Round};

use super::attempt::Stage;
use super::clock::{MILLI, length, micros};
use super::network::{BACKGROUND, DEAD_AFTER_TIMEOUTS};
use super::node::{Action, Command, Reply};
use super::world::{Event, Life, World};

/// The releases of one owner.
#[derive(Debug)]
pub(crate) struct Settlement {
    /// The connections by which they are sent.
    lane: usize,
    /// Who confirmed.
    round: Round,
    /// The nodes for which a giving back waits.
    pub(crate) awaited: NodeSet,
    /// A connection that may still carry an acquire, by node.
    behind: Vec<Option<usize>>,
    /// Nodes whose straggler has not ended.
    stragglers: NodeSet,
    /// Nodes to which a release is being sent until it is confirmed.
    owed: NodeSet,
    /// Pauses between two tries.
    pauses: Backoff,
}

impl World {
    /// Sends every release that is owed: at once to `nodes`, behind their stragglers to the others.
    pub(crate) fn start_release(&mut self, owner: usize, nodes: NodeSet, lane: usize) {
        let seed = self.random.next();
        let hold = &mut self.holds[owner];
        let in_flight = hold.ledger.in_flight();
        hold.stage = Stage::Over;
        let (now, stragglers) = if self.rules.release_behind_straggler {
            (nodes.without(in_flight), in_flight)
        } else {
            (nodes, in_flight)
        };
        hold.settlement = Some(Settlement {
            lane,
            round: Round::new(self.quorum),
            awaited: now,
            behind: vec![None; self.nodes.len()],
            stragglers,
            owed: NodeSet::default(),
            pauses: Backoff::new(length(20 * MILLI), length(1_000 * MILLI), seed),
        });
        for node in 0..self.nodes.len() {
            if now.contains(node) || (stragglers.contains(node) && !self.rules.release_behind_straggler) {
                self.release_at(owner, node, None);
            } else if stragglers.contains(node) {
                self.after(self.plan.node_timeout * DEAD_AFTER_TIMEOUTS, Event::Silent { owner, node });
            } else {
                // No acquire was sent there, or it was refused.
                self.settled(owner, node);
            }
        }
    }

    /// Owes a node a release, and sends it.
    pub(crate) fn release_at(&mut self, owner: usize, node: usize, behind: Option<usize>) {
        if self.holds[owner].settled.contains(node) {
            return;
        }
        let hold = &mut self.holds[owner];
        let settlement = hold.settlement.as_mut().expect("a release was begun");
        settlement.stragglers.remove(node);
        settlement.owed.insert(node);
        settlement.behind[node] = settlement.behind[node].or(behind).or(hold.cut[node]);
        let lane = settlement.lane;
        self.send_release(owner, node, lane);
    }

    fn send_release(&mut self, owner: usize, node: usize, lane: usize) {
        let hold = &self.holds[owner];
        let (client, settlement) = (hold.client, hold.settlement.as_ref().expect("a release was begun"));
        let now = self.local(client);
        let keep = hold.keep_until.map_or(0, |moment| micros(moment.saturating_duration_since(now)));
        let action = Action::Release { keep, behind: settlement.behind[node] };
        let connection = self.clients[client].links[node][lane].up.as_ref().map(|(connection, _)| *connection);
        match (self.send(client, lane, Command { action, owner, node }), connection) {
            (Some(serial), Some(connection)) => {
                self.after(self.plan.node_timeout, Event::ReleaseOverdue { client, connection, serial });
            }
            _ => self.handle_released(owner, node, Reply::NotSent),
        }
    }

    /// Tells a lane that a release's reply is late.
    pub(crate) fn remind(&mut self, connection: usize, serial: u64) {
        if self.is_pending(connection, serial) {
            let (client, node, lane) = self.connections[connection].ends();
            self.overdue(client, node, lane);
        }
    }

    pub(crate) fn handle_released(&mut self, owner: usize, node: usize, reply: Reply) {
        let hold = &mut self.holds[owner];
        let settlement = hold.settlement.as_mut().expect("a release was begun");
        settlement.awaited.remove(node);
        let ballot = reply.ballot();
        settlement.round.record(node, ballot);
        let (client, is_decided) = (hold.client, settlement.round.verdict().is_some());
        if ballot == Ballot::Failed {
            if !hold.settled.contains(node) {
                let pause = settlement.pauses.next().expect("a backoff never ends");
                self.client_after(client, pause, Event::Resend { owner, node });
            }
        } else {
            self.settled(owner, node);
        }
        if is_decided && self.clients[client].life == Life::Releasing(owner) {
            self.next_wish(client);
        }
        self.proceed_when_given_back(owner);
    }

    /// Nothing of this owner can be left on this node.
    pub(crate) fn settled(&mut self, owner: usize, node: usize) {
        let hold = &mut self.holds[owner];
        hold.ledger.released(node);
        hold.settled.insert(node);
        self.check_settled(owner, node);
    }

    pub(crate) fn resend(&mut self, owner: usize, node: usize) {
        if !self.holds[owner].settled.contains(node) {
            self.met.resent += 1;
            self.send_release(owner, node, BACKGROUND);
        }
    }

    /// The caller who waited was cancelled, and perhaps his runtime: what he sent is sent once more in the background.
    pub(crate) fn send_releases_again(&mut self, owner: usize) {
        let hold = &mut self.holds[owner];
        let settlement = hold.settlement.as_mut().expect("a release was begun");
        settlement.lane = BACKGROUND;
        for node in settlement.owed.without(hold.settled).iter() {
            self.send_release(owner, node, BACKGROUND);
        }
    }

    /// Nothing was heard from a straggler's connection for so long that it is dead: once the server has closed it,
    /// nothing can come from it any more.
    pub(crate) fn handle_silence(&mut self, owner: usize, node: usize) {
        let hold = &mut self.holds[owner];
        if hold.ledger.in_flight().contains(node) {
            let _ = hold.ledger.ended(node, redlock_runtime::protocol::Fate::MaybeSet);
            let carrier = hold.carriers[node];
            self.met.silenced += 1;
            self.release_at(owner, node, carrier);
        }
    }

    /// The time to wait for confirmations is over; they are waited for in the background.
    pub(crate) fn end_settling(&mut self, owner: usize) {
        let client = self.holds[owner].client;
        match self.clients[client].life {
            Life::GivingBack(current) if current == owner => self.try_again(owner),
            Life::Releasing(current) if current == owner => self.next_wish(client),
            _ => {}
        }
    }
}
