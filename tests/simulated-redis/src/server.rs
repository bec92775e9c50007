//! The server, its connections and what goes wrong with it.

mod administration;

mod client;

mod cluster;

mod evaluation;

mod output;

mod settings;

mod subscriptions;

mod tracking;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use self::cluster::{Cluster, Moved, slot_of};
use self::output::Output;
pub(crate) use self::settings::Version;
use self::settings::read_version;
pub use self::settings::{Refusal, Role, Settings};
use crate::commands::{self, Name, find, is_word};
use crate::connection::Connection;
use crate::keyspace::{Event, Key, Keyspace, SentBy};
use crate::parser::ProtocolError;
use crate::reply::{Protocol, Reply};
use crate::script;
use crate::value::Value;

/// Which connection to a server; the number is the simulation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a server does because of what it was sent, or because time passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It sends bytes: replies, or what a client is told without asking.
    Send {
        /// Through which connection.
        to: ConnectionId,
        /// What it sends.
        bytes: Vec<u8>,
    },
    /// It closes a connection, and knows it no more.
    Close(ConnectionId),
}

/// What a key holds, for those who check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// Its name.
    pub key: &'a Key,
    /// What TYPE calls it.
    pub kind: &'static str,
    /// Its text, if it holds one.
    pub text: Option<&'a [u8]>,
    /// When it expires, by the server's clock, if it does: it is still there at that moment, and a millisecond later gone.
    pub until: Option<Duration>,
}

/// A Redis server.
///
/// A clone is the same server in the same state, which then goes its own way.
#[derive(Clone, Debug)]
#[must_use = "a server does nothing until it is sent something"]
pub struct Server {
    settings: Settings,
    role: Role,
    /// What WAIT answers.
    replicas: i64,
    keyspace: Keyspace,
    /// The scripts it knows.
    scripts: BTreeMap<script::Hash, Arc<[u8]>>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// How many connections it has had.
    opened: u64,
    /// Which clients are told of the next change of a key.
    tracked: BTreeMap<Key, BTreeSet<ConnectionId>>,
    /// How many scripts that are called by their hash are answered with this error once they have run.
    failing: Option<(usize, String)>,
    /// What every script has in the place of what.
    patch: Option<(&'static str, &'static str)>,
}

impl Server {
    /// Starts a server without keys.
    ///
    /// # Panics
    ///
    /// If the version is no version.
    pub fn new(settings: Settings) -> Self {
        let keyspace = Keyspace {
            version: read_version(&settings.version),
            notifies: settings.notifies,
            now: settings.started,
            ..Keyspace::default()
        };
        Self {
            settings,
            role: Role::Master,
            replicas: 0,
            keyspace,
            scripts: BTreeMap::new(),
            connections: BTreeMap::new(),
            opened: 0,
            tracked: BTreeMap::new(),
            failing: None,
            patch: None,
        }
    }

    /// Starts the server again as another process, with the keys it had or without: it has no connections and knows no scripts
    /// any more. What was set to go wrong with it no longer does.
    pub fn restart(&mut self, settings: Settings, keeps_keys: bool) -> Vec<Effect> {
        let mut restarted = Self::new(settings);
        if keeps_keys {
            restarted.keyspace.entries = mem::take(&mut self.keyspace.entries);
        } else if !self.keyspace.entries.is_empty() {
            self.keyspace.events.push(Event::Flushed);
        }
        restarted.keyspace.events = mem::take(&mut self.keyspace.events);
        restarted.keyspace.unknown = mem::take(&mut self.keyspace.unknown);
        let closed = mem::replace(self, restarted).connections;
        closed.into_keys().map(Effect::Close).collect()
    }

    /// Accepts a connection from an address of the loopback that is its own.
    pub fn open(&mut self, connection: ConnectionId) {
        let port = 1024 + u16::try_from(connection.0 % 64_000).unwrap_or(0);
        self.open_from(connection, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }

    /// Accepts a connection from this address, which CLIENT INFO tells and CLIENT KILL can name.
    pub fn open_from(&mut self, connection: ConnectionId, peer: SocketAddr) {
        self.close(connection);
        self.opened += 1;
        self.connections.insert(connection, Connection::new(self.opened, peer));
    }

    /// Notices that a connection was closed at the other end.
    pub fn close(&mut self, connection: ConnectionId) {
        self.forget(connection);
    }

    /// Takes bytes in from a connection, at `now` by the server's own clock, which is the time since 1970 that TIME tells.
    ///
    /// The bytes may end within a command or hold several. What comes through a connection that the server does not have is
    /// lost.
    pub fn receive(&mut self, connection: ConnectionId, bytes: &[u8], now: Duration) -> Vec<Effect> {
        self.keyspace.now = now;
        let Some(client) = self.connections.get_mut(&connection) else { return Vec::new() };
        let mut parser = mem::take(&mut client.parser);
        parser.push(bytes);
        let mut output = Output::default();
        while self.connections.contains_key(&connection) {
            match parser.next() {
                Ok(Some(parsed)) => {
                    let arguments = parser.arguments(&parsed);
                    if !arguments.is_empty() {
                        self.handle(connection, &arguments, &mut output);
                    }
                }
                Ok(None) => break,
                Err(ProtocolError(reason)) => {
                    let reply = Reply::error(format!("ERR Protocol error: {reason}"));
                    reply.write(Protocol::Resp2, output.to(connection));
                    self.forget(connection);
                    output.close(connection);
                }
            }
        }
        if let Some(client) = self.connections.get_mut(&connection) {
            client.parser = parser;
        }
        output.into_effects()
    }

    /// Removes the keys whose time is over at `now` by the server's own clock, and tells who watches them.
    pub fn advance(&mut self, now: Duration) -> Vec<Effect> {
        self.keyspace.now = now;
        self.keyspace.reports_writes = !self.tracked.is_empty();
        self.keyspace.expire_all();
        self.effects_of_signals()
    }

    /// The first moment of the server's clock at which a key that is there now is gone.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        self.keyspace.next_expiry()
    }

    /// The keys that have not expired at `now`, by name.
    pub fn keys(&self, now: Duration) -> impl Iterator<Item = Held<'_>> {
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let there = self.keyspace.entries.iter().filter(move |(_, entry)| !entry.is_expired(now));
        there.filter_map(|(key, _)| self.peek(key))
    }

    /// What a key holds, also if its time is over and nobody has noticed.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<Held<'_>> {
        let (key, entry) = self.keyspace.entries.get_key_value(key)?;
        let text = match &entry.value {
            Value::String(text) => Some(&**text),
            _ => None,
        };
        let until = entry.expires.map(|expires| Duration::from_millis(u64::try_from(expires).unwrap_or(0)));
        Some(Held { key, kind: entry.value.kind(), text, until })
    }

    /// The score of a member of a sorted set, also if the key's time is over.
    #[must_use]
    pub fn peek_score(&self, key: &[u8], member: &[u8]) -> Option<f64> {
        match &self.keyspace.entries.get(key)?.value {
            Value::SortedSet(members) => members.score(member),
            _ => None,
        }
    }

    /// What changed since this was asked last; nothing is forgotten until it is.
    pub fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.keyspace.events)
    }

    /// What was asked for that the server does not know.
    #[must_use]
    pub fn unknown(&self) -> &[String] {
        &self.keyspace.unknown
    }

    /// Who the server is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Has the server refuse commands, or no longer.
    pub fn refuse_writes(&mut self, refusal: Option<Refusal>) {
        self.keyspace.refusal = refusal;
    }

    /// Has the server say that it is a master or a replica; it behaves as before.
    pub fn claim_role(&mut self, role: Role) {
        self.role = role;
    }

    /// How many replicas WAIT answers that have what was written.
    pub fn acknowledge(&mut self, replicas: u32) {
        self.replicas = replicas.into();
    }

    /// Has the next scripts that are called by their hash answer this error, such as `ERR no`, once they have done what they
    /// do; one that the server does not know does not count.
    pub fn fail_after_scripts(&mut self, count: usize, error: impl Into<String>) {
        self.failing = Some((count, error.into())).filter(|_| count > 0);
    }

    /// Has the server run scripts in which `before` is, with `after` instead: to see what a line of one is good for.
    pub fn patch_scripts(&mut self, before: &'static str, after: &'static str) {
        self.patch = Some((before, after));
    }

    /// Has the server forget its scripts.
    pub fn flush_scripts(&mut self) {
        self.scripts.clear();
    }

    /// Deletes all keys, as FLUSHALL from elsewhere.
    pub fn flush_all(&mut self, now: Duration) -> Vec<Effect> {
        self.keyspace.now = now;
        self.keyspace.flush();
        self.effects_of_signals()
    }

    fn forget(&mut self, connection: ConnectionId) -> bool {
        let Some(client) = self.connections.remove(&connection) else { return false };
        for channel in client.channels {
            self.keyspace.unsubscribed(&channel);
        }
        // Another connection may get the same number from the simulation.
        self.tracked.retain(|_, watchers| {
            watchers.remove(&connection);
            !watchers.is_empty()
        });
        true
    }

    /// Carries one command out.
    fn handle(&mut self, from: ConnectionId, arguments: &[&[u8]], output: &mut Output) {
        let name = Name::new(arguments[0]);
        let tracking = self.connections[&from].tracking;
        self.keyspace.reports_reads = tracking.remembers();
        self.keyspace.reports_writes = !self.tracked.is_empty() || self.keyspace.reports_reads;
        self.keyspace.sent_by = if self.connections[&from].is_asking { SentBy::Giver } else { SentBy::Nobody };
        let (reply, declared) = self.reply(from, name.as_bytes(), arguments, output);
        let pending = self.pass_on(from, &declared, output);
        if let Some(client) = self.connections.get_mut(&from) {
            if !is_word(name.as_bytes(), "CLIENT") {
                client.tracking.is_caching = false;
            }
            client.is_asking = is_word(name.as_bytes(), "ASKING");
            reply.write(client.protocol, output.to(from));
        }
        // What a client is told about its own command comes after the reply.
        for invalidated in pending.iter().filter(|key| !tracking.skips_own || key.is_none()) {
            self.invalidate(from, invalidated.as_ref(), output);
        }
    }

    /// The reply to a command, and the keys that a script declared.
    fn reply<'a>(
        &mut self,
        from: ConnectionId,
        name: &[u8],
        arguments: &[&'a [u8]],
        output: &mut Output,
    ) -> (Reply, Vec<&'a [u8]>) {
        let alone = |reply| (reply, Vec::new());
        if self.connections[&from].is_subscriber()
            && !matches!(name, b"SUBSCRIBE" | b"UNSUBSCRIBE" | b"PSUBSCRIBE" | b"PUNSUBSCRIBE" | b"PING" | b"QUIT")
        {
            return alone(Reply::error(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                commands::text(arguments[0]).to_lowercase()
            )));
        }
        if let Some(redirect) = self.elsewhere(name, arguments) {
            return alone(redirect);
        }
        if let Some(spec) = find(name, self.keyspace.version) {
            if !spec.has_arity(arguments.len()) {
                return alone(wrong_number(name));
            }
            if let Some(refusal) = spec.refused(self.keyspace.refusal) {
                return alone(Reply::error(refusal));
            }
            return alone(spec.run(&mut self.keyspace, arguments));
        }
        match name {
            b"EVALSHA" | b"EVAL" | b"SCRIPT" if self.keyspace.refusal == Some(Refusal::Loading) => {
                alone(Reply::error(Refusal::Loading.text()))
            }
            b"EVALSHA" => self.evaluate_known(arguments),
            b"EVAL" => self.evaluate(arguments),
            b"SCRIPT" => alone(self.script(arguments)),
            b"SUBSCRIBE" => alone(self.subscribe(from, arguments)),
            b"UNSUBSCRIBE" => alone(self.unsubscribe(from, arguments)),
            b"CLUSTER" => alone(self.ask_about_cluster(arguments)),
            b"ASKING" => alone(self.asking()),
            b"CLIENT" => alone(self.client(from, arguments, output)),
            _ => alone(self.administer(from, name, arguments)),
        }
    }
}

fn wrong_number(name: &[u8]) -> Reply {
    Reply::error(format!("ERR wrong number of arguments for '{}' command", commands::text(name).to_lowercase()))
}
