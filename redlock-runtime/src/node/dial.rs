//! Making a connection to a server, wherever that is at the moment, and introducing ourselves.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushKind, RedisError, Value};

use super::commands::Introduction;
use super::endpoint::Endpoint;
use super::replicas::Replicas;
use super::sentinel::Sentinel;
use super::{Changes, ConnectionId, commands, identity};
use crate::clock;
use crate::protocol::{Papers, Role};

/// How many commands wait for one connection before a sender does; far above the waiters of one process.
const QUEUE: usize = 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A reply.
    pub(crate) node_timeout: Duration,
    /// Making a connection, TLS and authentication included.
    pub(crate) connect_timeout: Duration,
    /// The age below which a server that restarted does not vote.
    pub(crate) longest_ttl: Duration,
}

/// How to reach a server.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// Where it is.
    pub(super) origin: Origin,
    /// The URL without credentials.
    pub(super) label: Arc<str>,
    pub(super) limits: Limits,
    /// How many of its replicas have what counts as its vote.
    pub(super) replicas: Option<Replicas>,
    /// Who is told of changes of keys.
    pub(super) changes: Option<Changes>,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Always there.
    Fixed(Endpoint),
    /// Where the Sentinels say.
    Sentinel(Arc<Sentinel>),
}

/// A connection that was made.
pub(super) struct Dialled {
    /// To which server.
    pub(super) endpoint: Endpoint,
    pub(super) connection: MultiplexedConnection,
    /// By which number the server knows it, if it told.
    pub(super) id: Option<ConnectionId>,
    /// Which server it is.
    pub(super) papers: Papers,
    /// Whether the server reports changes of the keys it is asked to.
    pub(super) reports_changes: bool,
    /// Whether a SET that does nothing, because there is a value, tells the value.
    pub(super) set_tells: bool,
}

impl Origin {
    async fn locate(&self) -> Result<Endpoint, Arc<str>> {
        match self {
            Self::Fixed(endpoint) => Ok(endpoint.clone()),
            Self::Sentinel(sentinel) => sentinel.locate().await,
        }
    }

    /// Returns once the server is not there any more.
    pub(super) async fn moved(&self, from: &Endpoint) {
        match self {
            Self::Fixed(_) => std::future::pending().await,
            Self::Sentinel(sentinel) => sentinel.moved(from).await,
        }
    }
}

impl Dial {
    pub(crate) fn new(origin: Origin, label: &str, limits: Limits, replicas: Option<Replicas>) -> Self {
        Self { origin, label: Arc::from(label), limits, replicas, changes: None }
    }

    /// Changes may have gone unreported, or may from now on.
    pub(super) fn tell_of_gap(&self) {
        if let Some(changes) = &self.changes {
            changes.any();
        }
    }

    /// Connects, ends what the previous connection may still carry, and loads the scripts. `on_end` is called when the
    /// connection ends, where that can be noticed.
    pub(super) async fn connect(
        &self,
        previous: Option<ConnectionId>,
        on_end: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<Dialled, Arc<str>> {
        let endpoint = self.origin.locate().await?;
        let dialled = self.introduce(endpoint.clone(), previous, on_end).await;
        let dialled = dialled.map_err(|error| {
            let told = endpoint.tell(&error);
            if endpoint.protocol() == Some(ProtocolVersion::RESP3) && does_not_know_resp3(&error) {
                return Arc::<str>::from(format!(
                    "its URL says protocol=resp3, which it does not know; omit that ({told})"
                ));
            }
            Arc::from(told)
        })?;
        match self.origin {
            Origin::Sentinel(_) if dialled.papers.role() == Role::Replica => Err(format!(
                "the Sentinels name {} as the master, which it is not, or not yet",
                dialled.endpoint.address()
            )
            .into()),
            Origin::Sentinel(_) | Origin::Fixed(_) => Ok(dialled),
        }
    }

    async fn introduce(
        &self,
        endpoint: Endpoint,
        previous: Option<ConnectionId>,
        on_end: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<Dialled, RedisError> {
        let opened = match endpoint.protocol() {
            Some(ProtocolVersion::RESP2) => endpoint.open(ProtocolVersion::RESP2, config()).await.map(|it| (it, false)),
            _ => self.open(&endpoint, on_end).await.map(|it| (it, true)),
        };
        let (mut connection, has_pushes) = match opened {
            // Servers before version 6, and some proxies: nothing tells us there when a connection ends, so the
            // first command that fails does.
            Err(error) if does_not_know_resp3(&error) && endpoint.protocol().is_none() => {
                (endpoint.open(ProtocolVersion::RESP2, config()).await?, false)
            }
            opened => opened?,
        };
        let handshake = commands::handshake();
        let answers = connection.send_packed_commands(&handshake, 0, handshake.len()).await?;
        let now = clock::now();
        // Where the server's rules forbid one of these, locks work all the same: a script that is not loaded is
        // sent with its first use, and what an old connection carries ends with its TTL.
        let Introduction { number, info, reports_changes } = commands::read_handshake(&answers);
        let set_tells = info.is_some_and(|(server, _)| identity::set_tells(server));
        let longest_ttl = self.limits.longest_ttl;
        let papers = info.and_then(|(server, replication)| identity::read(server, replication, now, longest_ttl));
        let papers = papers.unwrap_or_else(|| {
            tracing::warn!(node = %self.label, "the server does not tell its age (INFO), so a restart is not noticed");
            identity::unknown(now, longest_ttl)
        });
        let server = hash_of(papers.run_id());
        let id = number.map(|number| ConnectionId { number, server });
        // What the previous connection still carries must not be carried out any more.
        if let Some(previous) = previous.filter(|previous| previous.server == server) {
            let _ = connection.send_packed_command(&commands::kill(previous)).await;
        }
        // A server that knows tracking takes the command from anybody, also where it cannot push.
        let reports_changes = reports_changes && has_pushes;
        Ok(Dialled { endpoint, connection, id, papers, reports_changes, set_tells })
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        on_end: impl Fn() + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, RedisError> {
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

/// The client tells it from one wording of the server's error; there are others.
fn does_not_know_resp3(error: &RedisError) -> bool {
    let is_unknown_command = || error.detail().is_some_and(|detail| detail.starts_with("unknown command"));
    error.kind() == ErrorKind::RESP3NotSupported || is_unknown_command()
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

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialled").field(&self.endpoint).finish()
    }
}
