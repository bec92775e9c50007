//! Making a connection to a server, wherever that is at the moment, and introducing ourselves.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushKind, RedisError, Value};

use super::bounded::Bound;
use super::endpoint::{Endpoint, Opened};
use super::health::Health;
use super::replicas::Replicas;
use super::sentinel::Sentinel;
use super::traffic::Traffic;
use crate::node::identity::InfoReply;
use crate::node::limits::Limits;
use crate::node::redis::commands;
use crate::node::redis::commands::Introduction;
use crate::node::redis::commands::info;
use crate::node::{Changes, ConnectionId};
use crate::platform::clock;
use crate::protocol::DEAD_AFTER_TIMEOUTS;
use crate::protocol::{Role, ServerInfo, Voters};
use crate::rules::{Rule, holds};

/// How many commands wait for one connection before a sender does; far above the waiters of one process.
const QUEUE: usize = 1024;

/// How to reach a server.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// Where it is.
    pub(in crate::node) origin: Origin,
    /// The URL without credentials.
    pub(in crate::node) label: Arc<str>,
    pub(in crate::node) limits: Limits,
    /// How many of its replicas have what counts as its vote.
    pub(in crate::node) replicas: Option<Replicas>,
    /// Who is told of changes of keys.
    pub(in crate::node) changes: Option<Changes>,
    /// Tells whether the node answers, for all connections to it.
    pub(in crate::node) health: Arc<Health>,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Always there.
    Fixed(Endpoint),
    /// Where the Sentinels say.
    Sentinel(Arc<Sentinel>),
}

/// What was found out about a server, and the connection to it, when it was introduced.
pub(crate) struct Introduced {
    /// Where the server is.
    pub(in crate::node) endpoint: Endpoint,
    /// What the connection takes in as one reply.
    pub(in crate::node) bound: Arc<Bound>,
    /// Why it speaks the older protocol, if it does.
    pub(in crate::node) refused_hello: Option<Arc<str>>,
    /// What is on its way into its stream.
    pub(in crate::node) traffic: Arc<Traffic>,
    /// By which number the server knows it, if it told, and which server that is.
    pub(crate) id: Option<ConnectionId>,
    /// Why it is not ended there once it was cut, if that is known.
    pub(in crate::node) keeps_cut: Option<Arc<str>>,
    /// What the server said about itself.
    pub(in crate::node) told: Arc<InfoReply>,
    /// Which server it is, read on this very connection, so that no vote can come from another one.
    pub(crate) server_info: Arc<ServerInfo>,
    /// Whether the server reports changes of the keys it is asked to.
    pub(crate) reports_changes: bool,
    /// Whether the server took scripts; it may do so with their first use even if not, because not all that do let everybody load
    /// them.
    pub(in crate::node) takes_scripts: bool,
    /// Whether a SET that does nothing, because there is a value, tells the value.
    pub(in crate::node) set_tells: bool,
    /// How scripts name keys beside a lock's.
    pub(in crate::node) beside: commands::Beside,
}

impl Origin {
    async fn locate(&self) -> Result<Endpoint, Arc<str>> {
        match self {
            Self::Fixed(endpoint) => Ok(endpoint.clone()),
            Self::Sentinel(sentinel) => sentinel.locate().await,
        }
    }

    /// Returns once the server is not there any more.
    pub(in crate::node) async fn moved(&self, from: &Endpoint) {
        match self {
            Self::Fixed(_) => std::future::pending().await,
            Self::Sentinel(sentinel) => sentinel.moved(from).await,
        }
    }
}

impl Dial {
    pub(crate) fn new(origin: Origin, label: &str, limits: Limits, replicas: Option<Replicas>) -> Self {
        let label = Arc::from(label);
        let health = Arc::new(Health::new(&label, limits.node_timeout * DEAD_AFTER_TIMEOUTS));
        Self { origin, label, limits, replicas, changes: None, health }
    }

    /// Changes may have gone unreported, or may from now on.
    pub(in crate::node) fn tell_of_gap(&self) {
        if let Some(changes) = &self.changes {
            changes.any();
        }
    }

    /// Connects, ends what the previous connection may still carry, and loads the scripts. `on_end` is called when the
    /// connection ends, where that can be noticed.
    pub(in crate::node) async fn connect(
        &self,
        previous: Option<ConnectionId>,
        on_end: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, Introduced), Arc<str>> {
        let endpoint = self.origin.locate().await?;
        let made = self.introduce(endpoint.clone(), previous, on_end).await;
        let (connection, introduced) = made.map_err(|error| {
            let told = endpoint.tell(&error);
            if endpoint.protocol() == Some(ProtocolVersion::RESP3) && may_refuse_hello(&error) && !error.is_io_error() {
                return Arc::<str>::from(format!(
                    "its URL says protocol=resp3, which it does not know; omit that ({told})"
                ));
            }
            Arc::from(told)
        })?;
        match self.origin {
            Origin::Sentinel(_) if introduced.server_info.role() == Role::Replica => {
                Err(format!("the Sentinels name {} as the master, which it is not, or not yet", endpoint.address())
                    .into())
            }
            Origin::Sentinel(_) | Origin::Fixed(_) => Ok((connection, introduced)),
        }
    }

    async fn introduce(
        &self,
        endpoint: Endpoint,
        previous: Option<ConnectionId>,
        on_end: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, Introduced), RedisError> {
        let (Opened { mut connection, bound, ours, traffic }, refused_hello) = self.greet(&endpoint, on_end).await?;
        let handshake = commands::handshake();
        let answers = connection.send_packed_commands(&handshake, 0, handshake.len()).await;
        let answers = answers
            .map_err(|error| bound.exceeded().map_or_else(|| traffic.explain(error), |reason| closed(reason)))?;
        let now = clock::now();
        // Where the server's rules forbid one of these, locks work all the same: a script that is not loaded is
        // sent with its first use, and what an old connection carries ends with its TTL.
        let Introduction { number, peer, info, reports_changes, takes_scripts, beside } =
            commands::read_handshake(&answers);
        let set_tells = info.is_some_and(|(server, _)| info::set_tells(server));
        let told = info.map(|(server, replication)| info::told(server, replication)).unwrap_or_default();
        self.health.note_age(told.has_age());
        let server_info = told.server_info(now, self.limits.longest_ttl);
        if let Some(run_id) = told.run_id() {
            self.health.note_server(run_id, Voters::Acquisition.votes_in(&server_info, now));
        }
        // A server that knows tracking takes the command from anybody, also where it cannot push.
        let reports_changes = reports_changes && refused_hello.is_none();
        let peer = peer.map(|told| (told, endpoint.read_peer(told)));
        // Whoever reports changes keeps clients apart, so this connection is nobody else's however it gets there. Else it may
        // be one that a proxy lets many use, and to kill it would cut them off: then the server has no client of our name.
        let told_peer = peer.and_then(|(_, peer)| peer).filter(|_| reports_changes);
        let keeps_cut = match (number, told.run_id(), peer) {
            (_, None, _) => Some("it does not tell which process it is (`run_id` in INFO)".into()),
            (None, _, _) => Some("it does not number its connections (CLIENT ID)".into()),
            (_, _, Some((told, peer))) if told_peer.is_none() && peer != ours => Some(proxied(told)),
            _ => None,
        };
        let id = number.zip(told_peer.or(ours)).zip(told.run_id());
        let id = id.map(|((number, peer), run_id)| ConnectionId { number, peer, server: hash_of(run_id) });
        // What the previous connection still carries must not be carried out any more.
        if let Some(previous) = previous
            .filter(|previous| id.is_some_and(|id| id.server == previous.server) && holds(Rule::KillCutConnection))
        {
            let _ =
                connection.send_packed_command(&commands::kill(previous, &endpoint.write_peer(previous.peer))).await;
        }
        let introduced = Introduced {
            endpoint,
            bound,
            refused_hello,
            traffic,
            id,
            keeps_cut,
            told: Arc::new(told),
            server_info: Arc::new(server_info),
            reports_changes,
            takes_scripts,
            set_tells,
            beside,
        };
        Ok((connection, introduced))
    }

    /// Connects and signs in, if need be with the older protocol; then, it says why.
    async fn greet(
        &self,
        endpoint: &Endpoint,
        on_end: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Opened, Option<Arc<str>>), RedisError> {
        if endpoint.protocol() == Some(ProtocolVersion::RESP2) {
            let opened = endpoint.open(ProtocolVersion::RESP2, config()).await?;
            return Ok((opened, Some("its URL asks for the older one".into())));
        }
        let refused = match self.open(endpoint, on_end).await {
            Ok(opened) => return Ok((opened, None)),
            Err(error) if may_refuse_hello(&error) && endpoint.protocol().is_none() => error,
            Err(error) => return Err(error),
        };
        // Servers before version 6, other makes, and proxies: nothing tells us there when a connection ends, so the
        // first command that fails does.
        match endpoint.open(ProtocolVersion::RESP2, config()).await {
            Ok(opened) => Ok((opened, Some(endpoint.tell(&refused).into()))),
            // It was not about the protocol, and was said only once.
            Err(error) if error.is_io_error() => Err(refused),
            Err(error) => Err(error),
        }
    }

    async fn open(&self, endpoint: &Endpoint, on_end: impl Fn() + Send + Sync + 'static) -> Result<Opened, RedisError> {
        let changes = self.changes.clone();
        let config = config().set_push_sender(move |push: redis::PushInfo| {
            match (push.kind, &changes) {
                (PushKind::Disconnection, _) => on_end(),
                (PushKind::Invalidate, Some(changes)) => report(&push.data, changes),
                _ => {}
            }
            Ok::<(), redis::aio::SendError>(())
        });
        endpoint.open(ProtocolVersion::RESP3, config).await
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None).set_pipeline_buffer_size(QUEUE)
}

/// Whether this may be the answer to the first command of the newer protocol, HELLO, from a server or a proxy that does not
/// know it. Each has words of its own for that, or none, and closes the connection. But whoever is not let in with these
/// credentials would not be let in by the older protocol either, or only so far as to be refused each command.
fn may_refuse_hello(error: &RedisError) -> bool {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => false,
        (ErrorKind::Io, _) => error.is_connection_dropped() && !error.is_connection_refusal(),
        _ => true,
    }
}

/// What the server calls the connection says that it is another's.
fn proxied(told: &str) -> Arc<str> {
    let told: String = told.chars().filter(char::is_ascii_graphic).take(60).collect();
    let known_as = if told.is_empty() { "another than it answers on".to_owned() } else { told };
    format!("a proxy is in between (the server knows this connection as {known_as}), and others may use the same one")
        .into()
}

/// The connection was closed at our end.
fn closed(reason: &str) -> RedisError {
    io::Error::new(io::ErrorKind::ConnectionAborted, reason).into()
}

/// Passes on which keys a server says have changed; it says none if all have.
fn report(invalidated: &[Value], changes: &Changes) {
    match invalidated {
        [Value::Array(keys)] => {
            let keys = keys.iter().filter_map(|key| match key {
                Value::BulkString(key) => std::str::from_utf8(key).ok(),
                _ => None,
            });
            keys.for_each(|key| changes.key(key));
        }
        _ => changes.any(),
    }
}

fn hash_of(run_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    run_id.hash(&mut hasher);
    hasher.finish()
}
