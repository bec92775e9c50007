//! Connections: first in, first out within one, any order between two; closed, stalled, cut off and made anew.

use redlock_runtime::protocol::{Backoff, Papers, Role};

use super::clock::{MILLI, Micros, length};
use super::node::{Action, Command, Reply};
use super::plan::{Freight, LONGEST_TTL};
use super::world::{Event, World};

/// A client has two connections to each node: one of the caller's runtime, one of the background, where renewals and the
/// releases of cancelled callers go.
pub(crate) const CALLERS: usize = 0;
pub(crate) const BACKGROUND: usize = 1;

/// A connection that has not answered for this many node timeouts is closed.
pub(crate) const DEAD_AFTER_TIMEOUTS: Micros = 10;

/// One TCP connection, from when it is made until it is forgotten.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each end has its own view, and they go wrong one by one")]
pub(crate) struct Connection {
    /// The client at one end.
    pub(crate) client: usize,
    /// The node at the other.
    pub(crate) node: usize,
    /// Which of the client's lanes it is.
    lane: usize,
    /// Which life of the node it leads to.
    incarnation: u32,
    /// The client knows that it has ended.
    pub(crate) is_closed: bool,
    /// The server dropped it on request: nothing that it carries is applied any more.
    is_killed: bool,
    /// Nothing arrives at either end any more.
    is_dark: bool,
    /// What was sent before still arrives, and nothing else.
    is_cut: bool,
    /// It is cut behind its next command.
    doom: Option<Freight>,
    /// Nothing arrives before this moment.
    stalled_until: Micros,
    /// When the last command, and the last answer, arrives.
    last: [Micros; 2],
    /// Sent and not answered.
    pending: Vec<(u64, Command)>,
}

impl Connection {
    /// The client, the node and the lane that it connects.
    pub(crate) fn ends(&self) -> (usize, usize, usize) {
        (self.client, self.node, self.lane)
    }
}

/// What one lane of a client knows about its connection to a node.
#[derive(Debug)]
pub(crate) struct Link {
    /// The connection and what the node said about itself; `None` while there is none.
    pub(crate) up: Option<(usize, Papers)>,
    /// A reply is overdue: nothing more is sent until the node has answered.
    pub(crate) is_late: bool,
    /// The one before, which is killed when a new one is made.
    previous: Option<usize>,
    /// Pauses between attempts to connect.
    pauses: Backoff,
}

impl Link {
    pub(crate) fn new(seed: u64) -> Self {
        Self { up: None, is_late: false, previous: None, pauses: Self::pauses(seed) }
    }

    fn pauses(seed: u64) -> Backoff {
        Backoff::new(length(20 * MILLI), length(1_000 * MILLI), seed)
    }
}

impl World {
    /// Hands a command to a lane; `None` if there is no connection that could take it.
    pub(crate) fn send(&mut self, client: usize, lane: usize, command: Command) -> Option<u64> {
        let link = &self.clients[client].links[command.node][lane];
        if link.is_late && command.action != Action::Ping {
            return None;
        }
        let connection = link.up.as_ref()?.0;
        self.serial += 1;
        self.connections[connection].pending.push((self.serial, command));
        let serial = self.serial;
        if !self.connections[connection].is_cut {
            let arrival = self.travel(connection, 0);
            self.at(arrival, Event::Arrives { connection, serial, command });
        }
        if let Some(freight) = self.connections[connection].doom.take() {
            self.cut_connection(connection, freight);
        }
        Some(serial)
    }

    /// When something that is sent now arrives, behind what was sent before.
    fn travel(&mut self, connection: usize, direction: usize) -> Micros {
        let delay = match self.random.index(100) {
            0 => self.random.between(MILLI, 400 * MILLI),
            1..=5 => self.random.between(MILLI, 40 * MILLI),
            6..=20 => self.random.between(500, 5 * MILLI),
            _ => self.random.between(50, 500),
        };
        let connection = &mut self.connections[connection];
        let arrival = (self.now + delay).max(connection.stalled_until).max(connection.last[direction]);
        connection.last[direction] = arrival;
        arrival
    }

    pub(crate) fn handle_arrival(&mut self, connection: usize, serial: u64, command: Command) {
        let carrier = &self.connections[connection];
        let node = &mut self.nodes[command.node];
        if carrier.is_killed || carrier.is_dark || !node.is_up || carrier.incarnation != node.incarnation {
            return;
        }
        if self.now < carrier.stalled_until {
            self.at(carrier.stalled_until, Event::Arrives { connection, serial, command });
            return;
        }
        if node.is_hung {
            node.backlog.push((connection, serial, command));
            return;
        }
        let reply = self.apply(command);
        let arrival = self.travel(connection, 1);
        self.at(arrival, Event::Answered { connection, serial, command, reply });
    }

    fn apply(&mut self, command: Command) -> Reply {
        let (now, Command { action, owner, node: position }) = (self.now, command);
        let node = &mut self.nodes[position];
        match action {
            Action::Ping => Reply::Done,
            Action::Acquire { ttl, proposal } => {
                let reply = node.acquire(now, owner, ttl, proposal, self.rules);
                if matches!(reply, Reply::Granted { .. }) {
                    self.note_set(owner, position);
                    if self.random.percent(self.plan.error_percent) {
                        return Reply::Error;
                    }
                }
                reply
            }
            Action::Commit { token } => node.commit(now, owner, token, self.rules),
            Action::Extend { ttl, .. } => {
                let reply = node.extend(now, owner, ttl, self.rules);
                if matches!(reply, Reply::Done) {
                    self.note_extended(owner, position);
                }
                reply
            }
            Action::Release { keep, behind } => {
                if let Some(behind) = behind {
                    self.connections[behind].is_killed = true;
                }
                node.release(now, owner, keep, self.rules)
            }
        }
    }

    pub(crate) fn handle_answer(&mut self, connection: usize, serial: u64, command: Command, reply: Reply) {
        let carrier = &mut self.connections[connection];
        if carrier.is_closed || carrier.is_cut || carrier.is_dark || carrier.is_killed {
            return;
        }
        let Some(place) = carrier.pending.iter().position(|(pending, _)| *pending == serial) else { return };
        carrier.pending.remove(place);
        if command.action == Action::Ping {
            let (client, lane) = (carrier.client, carrier.lane);
            self.clients[client].links[command.node][lane].is_late = false;
        } else {
            self.handle_reply(command, reply);
        }
    }

    /// A reply did not come in time: until the node answers again, nothing more is sent on this lane.
    pub(crate) fn overdue(&mut self, client: usize, node: usize, lane: usize) {
        let link = &mut self.clients[client].links[node][lane];
        let Some((connection, _)) = link.up else { return };
        if !std::mem::replace(&mut link.is_late, true) {
            let ping = Command { action: Action::Ping, owner: usize::MAX, node };
            if let Some(serial) = self.send(client, lane, ping) {
                self.after(self.plan.node_timeout * DEAD_AFTER_TIMEOUTS, Event::IsDead { connection, serial });
            }
        }
    }

    pub(crate) fn is_pending(&self, connection: usize, serial: u64) -> bool {
        self.connections[connection].pending.iter().any(|(pending, _)| *pending == serial)
    }

    /// The client notices that a connection has ended.
    pub(crate) fn handle_broken(&mut self, connection: usize) {
        let carrier = &mut self.connections[connection];
        if std::mem::replace(&mut carrier.is_closed, true) {
            return;
        }
        let (client, node, lane) = (carrier.client, carrier.node, carrier.lane);
        let pending = std::mem::take(&mut carrier.pending);
        let link = &mut self.clients[client].links[node][lane];
        link.up = None;
        link.is_late = false;
        link.previous = Some(connection);
        let seed = self.random.next();
        self.clients[client].links[node][lane].pauses = Link::pauses(seed);
        self.connect_later(client, node, lane);
        for (_, command) in pending {
            if command.action != Action::Ping {
                self.handle_reply(command, Reply::Unknown { connection });
            }
        }
    }

    fn connect_later(&mut self, client: usize, node: usize, lane: usize) {
        let pause = self.clients[client].links[node][lane].pauses.next().expect("a backoff never ends");
        self.client_after(client, pause, Event::Connect { client, node, lane });
    }

    /// Makes a connection. What the old one carries ends with it, and the node's age is read on the new one.
    pub(crate) fn connect(&mut self, client: usize, node: usize, lane: usize) {
        let server = &self.nodes[node];
        if !server.is_up || server.is_hung || self.now < self.clients[client].cut_off_until[node] {
            self.connect_later(client, node, lane);
            return;
        }
        let now = self.clients[client].clock.instant(self.now);
        let run_id = std::sync::Arc::clone(&server.run_id);
        let papers = Papers::new(now, server.uptime(self.now), length(LONGEST_TTL), run_id, Role::Master);
        let connection = self.connections.len();
        self.connections.push(Connection {
            client,
            node,
            lane,
            incarnation: server.incarnation,
            is_closed: false,
            is_killed: false,
            is_dark: false,
            is_cut: false,
            doom: None,
            stalled_until: 0,
            last: [0; 2],
            pending: Vec::new(),
        });
        let link = &mut self.clients[client].links[node][lane];
        link.up = Some((connection, papers));
        if let Some(previous) = link.previous {
            self.connections[previous].is_killed = true;
        }
    }

    fn open_connections(&self, is_meant: impl Fn(&Connection) -> bool) -> Vec<usize> {
        let open = self.connections.iter().enumerate().filter(|(_, carrier)| !carrier.is_closed && is_meant(carrier));
        open.map(|(connection, _)| connection).collect()
    }

    /// The node's end of its connections is gone; clients notice a little later.
    pub(crate) fn drop_connections_of(&mut self, node: usize) {
        for connection in self.open_connections(|carrier| carrier.node == node) {
            if !self.connections[connection].is_dark {
                let delay = self.random.between(50, 5 * MILLI);
                self.after(delay, Event::Broken { connection });
            }
        }
    }

    pub(crate) fn cut(&mut self, client: usize, node: usize, lane: usize, freight: Freight) {
        if let Some((connection, _)) = self.clients[client].links[node][lane].up {
            self.cut_connection(connection, freight);
        }
    }

    /// Cuts the connection as soon as it carries something.
    pub(crate) fn doom(&mut self, client: usize, node: usize, lane: usize, freight: Freight) {
        if let Some((connection, _)) = self.clients[client].links[node][lane].up {
            self.connections[connection].doom = Some(freight);
        }
    }

    fn cut_connection(&mut self, connection: usize, freight: Freight) {
        let carrier = &mut self.connections[connection];
        carrier.is_cut = true;
        match freight {
            Freight::Lost => carrier.is_dark = true,
            Freight::Travels(longer) => carrier.stalled_until = self.now + longer,
        }
        self.after(0, Event::Broken { connection });
    }

    pub(crate) fn stall(&mut self, client: usize, node: usize, lane: usize, lasting: Micros) {
        if let Some((connection, _)) = self.clients[client].links[node][lane].up {
            self.connections[connection].stalled_until = self.now + lasting;
        }
    }

    pub(crate) fn partition(&mut self, client: usize, node: usize, lasting: Micros) {
        self.clients[client].cut_off_until[node] = self.now + lasting;
        for connection in self.open_connections(|carrier| carrier.client == client && carrier.node == node) {
            self.connections[connection].is_dark = true;
        }
    }

    /// Whether a majority of this client's connections of a lane take commands, and how many do.
    pub(crate) fn reachable(&self, client: usize, lane: usize) -> usize {
        self.clients[client].links.iter().filter(|links| links[lane].up.is_some() && !links[lane].is_late).count()
    }
}
