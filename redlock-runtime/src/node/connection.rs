//! Connections to one server: one for each tokio runtime that uses it, made lazily, watched and made anew.
//!
//! A connection's driver is a task of the runtime that made it. A manager outlives runtimes (each `#[tokio::test]`
//! is one), so every runtime gets a connection of its own, and nothing hops between threads on the way to a lock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, ProtocolVersion, PushKind, RedisConnectionInfo,
    RedisError, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{Handle, Id};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::commands::Introduction;
use super::corked::Corked;
use super::subscription::Subscription;
use super::{Changes, ConnectionId, Known, commands, identity};
use crate::clock;
use crate::protocol::{Backoff, Papers};

/// How many commands wait for one connection before a sender does; far above the waiters of one process.
const QUEUE: usize = 1024;

/// Pauses between attempts to connect: the first, and the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// An attempt to connect that somebody waits for is made this long after the last one at the latest.
const WANTED: Duration = Duration::from_millis(100);

/// A connection that has not answered for this many node timeouts is closed and made anew.
pub(crate) const DEAD_AFTER_TIMEOUTS: u32 = 10;

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
#[derive(Clone)]
pub(crate) struct Dial {
    /// Address and credentials.
    client: Client,
    /// The URL without credentials.
    label: Arc<str>,
    /// How long a reply may take.
    node_timeout: Duration,
    /// How long it may take to connect, TLS and authentication included.
    connect_timeout: Duration,
    /// The age below which a server that restarted does not vote.
    longest_ttl: Duration,
    /// Who is told of changes of keys.
    changes: Option<Changes>,
}

impl std::fmt::Debug for Dial {
    /// Without the client, which knows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("label", &self.label).finish_non_exhaustive()
    }
}

/// An open connection.
#[derive(Clone)]
pub(crate) struct Live {
    /// Shared by everybody on its runtime.
    pub(crate) connection: MultiplexedConnection,
    /// What does not change while it is open.
    about: Arc<About>,
}

/// What is known about an open connection. It is shared: each command has a copy of its connection, and to count every part of
/// this up and down for each costs more than to look through one pointer.
pub(crate) struct About {
    /// By which number the server knows it, if it told.
    pub(crate) id: Option<ConnectionId>,
    /// Which server it is, read on this very connection, so that no vote can come from another one.
    pub(crate) papers: Arc<Papers>,
    /// Whether the server reports changes of the keys it is asked to.
    pub(crate) reports_changes: bool,
    /// What reports them, if the server does not.
    pub(crate) subscription: Option<Subscription>,
    /// Whether a reply is overdue, so that nothing more is sent for now.
    is_late: AtomicBool,
    /// Which of the connections that its task made this is; an old one must not end a new one.
    generation: u64,
    /// Tells the task that keeps the connection.
    events: mpsc::WeakUnboundedSender<Event>,
}

impl Deref for Live {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

/// What the task that keeps a connection is told.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// The connection with this number, counted by the task itself, ended.
    Broken(u64),
    /// A reply did not come in time.
    Overdue,
    /// Somebody wants a connection that is not there.
    Wanted,
}

/// What can be had from a server at this moment.
pub(crate) enum Now {
    /// An open connection.
    Up(Live),
    /// No connection, and why.
    Down(Arc<str>),
    /// The first attempt to connect is under way.
    Connecting(Arc<Link>),
}

/// The connection of one runtime.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which runtime that is.
    runtime: Id,
    /// Written by the task that keeps the connection.
    state: watch::Receiver<State>,
    /// Read by that task, which ends when this is dropped.
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Clone)]
enum State {
    /// Nobody knows yet whether the server can be reached.
    Connecting,
    /// Connected.
    Up(Live),
    /// Not connected, and why; being tried again.
    Down(Arc<str>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connecting => f.write_str("Connecting"),
            Self::Up(_) => f.write_str("Up"),
            Self::Down(reason) => write!(f, "Down({reason})"),
        }
    }
}

/// All connections to one server.
#[derive(Debug)]
pub(crate) struct Links {
    /// How to make one.
    dial: Dial,
    /// Who is told of changes of keys.
    changes: OnceLock<Changes>,
    /// Those that were made, seldom more than two; `None` when no more are to be. A std lock: it is never held across an await.
    by_runtime: RwLock<Option<Vec<Arc<Link>>>>,
}

impl Links {
    pub(crate) fn new(dial: Dial) -> Self {
        Self { dial, changes: OnceLock::new(), by_runtime: RwLock::new(Some(Vec::new())) }
    }

    pub(crate) fn label(&self) -> &str {
        &self.dial.label
    }

    /// Tells of changes from now on, on the connections that are made from now on.
    pub(crate) fn report_to(&self, changes: Changes) {
        // It is told once.
        let _ = self.changes.set(changes);
    }

    /// What the current runtime can have; starts to connect if nobody did.
    pub(crate) fn now(&self) -> Now {
        match self.link() {
            Some(link) => Self::state_of(link),
            None => Now::Down(Arc::from("the lock manager was shut down")),
        }
    }

    /// [`Self::now`] for what is still owed after the end: then on a connection that ends with whoever uses it.
    pub(crate) fn now_or_alone(&self) -> Now {
        match self.link() {
            Some(link) => Self::state_of(link),
            None => Now::Connecting(Arc::new(Link::start(self.dial(), &Handle::current()))),
        }
    }

    /// Ends each connection as soon as what was sent on it is answered and its runtime runs, and makes no more.
    pub(crate) fn close(&self) {
        let ended = self.by_runtime.write().unwrap_or_else(PoisonError::into_inner).take();
        // Not under the lock: this wakes tasks.
        drop(ended);
    }

    fn state_of(link: Arc<Link>) -> Now {
        let state = link.state.borrow();
        match &*state {
            State::Up(live) if live.is_late.load(Ordering::Acquire) => {
                Now::Down(Arc::from("it has not answered an earlier command in time"))
            }
            State::Up(live) => Now::Up(live.clone()),
            State::Down(reason) => {
                let _ = link.events.send(Event::Wanted);
                Now::Down(Arc::clone(reason))
            }
            State::Connecting => {
                drop(state);
                Now::Connecting(link)
            }
        }
    }

    /// What is known about the server that the current runtime is connected to.
    pub(crate) fn known(&self) -> Known {
        let Some(link) = self.link() else { return Known::Unreachable };
        match &*link.state.borrow() {
            State::Connecting => Known::NotYet,
            State::Up(live) => Known::Papers(Arc::clone(&live.papers)),
            State::Down(_) => Known::Unreachable,
        }
    }

    /// How long it may take to connect.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.dial.connect_timeout
    }

    /// Stops sending on the current runtime's connection until it answers again.
    pub(crate) fn overdue(&self) {
        if let Some(link) = self.link()
            && let State::Up(live) = &*link.state.borrow()
        {
            live.note_overdue();
        }
    }

    fn dial(&self) -> Dial {
        Dial { changes: self.changes.get().cloned(), ..self.dial.clone() }
    }

    fn link(&self) -> Option<Arc<Link>> {
        let runtime = Handle::current();
        let links = self.by_runtime.read().unwrap_or_else(PoisonError::into_inner);
        // Its task may have ended with a panic, on a runtime without timers or sockets.
        if let Some(link) = of_runtime(links.as_ref()?, runtime.id()).filter(|link| !link.events.is_closed()) {
            return Some(Arc::clone(link));
        }
        drop(links);

        let mut links = self.by_runtime.write().unwrap_or_else(PoisonError::into_inner);
        let links = links.as_mut()?;
        // The tasks of runtimes that have ended are gone, and with them the receivers of their events.
        links.retain(|link| !link.events.is_closed());
        // Another thread may have been first.
        if let Some(link) = of_runtime(links, runtime.id()) {
            return Some(Arc::clone(link));
        }
        let link = Arc::new(Link::start(self.dial(), &runtime));
        links.push(Arc::clone(&link));
        Some(link)
    }
}

fn of_runtime(links: &[Arc<Link>], runtime: Id) -> Option<&Arc<Link>> {
    links.iter().find(|link| link.runtime == runtime)
}

impl Link {
    fn start(dial: Dial, runtime: &Handle) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let (written, state) = watch::channel(State::Connecting);
        runtime.spawn(keep_connected(dial, events.downgrade(), received, written));
        Self { runtime: runtime.id(), state, events }
    }

    /// The connection, once the first attempt to make it has ended.
    pub(crate) async fn connected(&self) -> Result<Live, Arc<str>> {
        let mut state = self.state.clone();
        match state.wait_for(|state| !matches!(state, State::Connecting)).await.as_deref() {
            Ok(State::Up(live)) => Ok(live.clone()),
            Ok(State::Down(reason)) => Err(Arc::clone(reason)),
            Ok(State::Connecting) | Err(_) => Err(Arc::from("the task that keeps the connection has ended")),
        }
    }
}

impl Live {
    /// Whether the server is the one that this connection leads to.
    pub(crate) fn is_to(&self, connection: ConnectionId) -> bool {
        self.id.is_some_and(|id| id.server == connection.server)
    }

    /// Tells that a reply did not come in time.
    pub(crate) fn note_overdue(&self) {
        if !self.is_late.swap(true, Ordering::AcqRel)
            && let Some(events) = self.events.upgrade()
        {
            let _ = events.send(Event::Overdue);
        }
    }

    /// Tells that this connection answered with its end.
    pub(crate) fn note_broken(&self) {
        self.is_late.store(true, Ordering::Release);
        if let Some(events) = self.events.upgrade() {
            let _ = events.send(Event::Broken(self.generation));
        }
    }
}

/// Speaks Redis on a stream; a task of this runtime drives it until nobody has the connection any more.
async fn multiplexed(
    settings: &RedisConnectionInfo,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let (connection, driver) = MultiplexedConnection::new_with_config(settings, Corked::new(stream), config).await?;
    tokio::spawn(driver);
    Ok(connection)
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

/// Keeps one connection until nobody can use it any more: makes it, watches it, makes it anew.
///
/// There is one such task for each server and runtime, so at most one attempt to connect is under way.
async fn keep_connected(
    dial: Dial,
    events: mpsc::WeakUnboundedSender<Event>,
    mut received: mpsc::UnboundedReceiver<Event>,
    state: watch::Sender<State>,
) {
    let mut previous = None;
    let mut pauses = reconnect_pauses();
    let mut subscription = None;
    for generation in 0.. {
        let is_first = matches!(*state.borrow(), State::Connecting);
        match timeout(dial.connect_timeout, dial.connect(previous, generation, &events)).await {
            Ok(Ok((connection, mut about))) => {
                if let Some(changes) = dial.changes.as_ref().filter(|_| !about.reports_changes) {
                    let start = || Subscription::start(&dial.client, dial.connect_timeout, changes.clone());
                    about.subscription = Some(subscription.get_or_insert_with(start).clone());
                }
                let live = Live { connection, about: Arc::new(about) };
                if !is_first {
                    tracing::info!(node = %dial.label, "connected again");
                }
                previous = live.id;
                pauses = reconnect_pauses();
                state.send_replace(State::Up(live.clone()));
                if generation > 0 {
                    dial.tell_of_gap();
                }
                let Some(reason) = dial.attend(live, &mut received).await else {
                    return;
                };
                tracing::warn!(node = %dial.label, %reason, "connection lost");
                state.send_replace(State::Down(reason));
                // Nobody shall wait for what this node has to say.
                dial.tell_of_gap();
            }
            Ok(Err(error)) => dial.note_unreachable(&state, error.to_string()),
            Err(_) => {
                dial.note_unreachable(&state, format!("no connection within {:?}", dial.connect_timeout));
            }
        }
        if !pause(pauses.next().unwrap_or(RECONNECT.1), &mut received).await {
            return;
        }
    }
}

fn reconnect_pauses() -> Backoff {
    Backoff::new(RECONNECT.0, RECONNECT.1, crate::entropy::seed())
}

/// Waits before the next attempt, less long if somebody wants the connection; says whether one is still needed.
async fn pause(pause: Duration, received: &mut mpsc::UnboundedReceiver<Event>) -> bool {
    let began = clock::now();
    let mut until = began + pause;
    loop {
        tokio::select! {
            () = sleep_until(until.into()) => return true,
            event = received.recv() => match event {
                None => return false,
                Some(Event::Wanted) => until = until.min(began + WANTED),
                Some(Event::Broken(_) | Event::Overdue) => {}
            },
        }
    }
}

impl Dial {
    pub(crate) fn new(client: Client, label: &str, limits: Limits) -> Self {
        let Limits { node_timeout, connect_timeout, longest_ttl } = limits;
        Self { client, label: Arc::from(label), node_timeout, connect_timeout, longest_ttl, changes: None }
    }

    /// Changes may have gone unreported, or may from now on.
    fn tell_of_gap(&self) {
        if let Some(changes) = &self.changes {
            changes.any();
        }
    }

    fn note_unreachable(&self, state: &watch::Sender<State>, reason: String) {
        let is_news = !matches!(&*state.borrow(), State::Down(_));
        if is_news {
            tracing::warn!(node = %self.label, %reason, "node cannot be reached");
        }
        state.send_replace(State::Down(reason.into()));
    }

    /// Connects, ends what the previous connection may still carry, and loads the scripts.
    async fn connect(
        &self,
        previous: Option<ConnectionId>,
        generation: u64,
        events: &mpsc::WeakUnboundedSender<Event>,
    ) -> Result<(MultiplexedConnection, About), RedisError> {
        let (mut connection, has_pushes) =
            match self.open(ProtocolVersion::RESP3, Some((generation, events.clone()))).await {
                // Servers before version 6, and some proxies: nothing tells us there when a connection ends, so the
                // first command that fails does.
                Err(error) if does_not_know_resp3(&error) => (self.open(ProtocolVersion::RESP2, None).await?, false),
                opened => (opened?, true),
            };
        let handshake = commands::handshake();
        let answers = connection.send_packed_commands(&handshake, 0, handshake.len()).await?;
        let now = clock::now();
        // Where the server's rules forbid one of these, locks work all the same: a script that is not loaded is
        // sent with its first use, and what an old connection carries ends with its TTL.
        let Introduction { number, info, reports_changes } = commands::read_handshake(&answers);
        let papers = info.and_then(|(server, replication)| identity::read(server, replication, now, self.longest_ttl));
        let papers = papers.unwrap_or_else(|| {
            tracing::warn!(node = %self.label, "the server does not tell its age (INFO), so a restart is not noticed");
            identity::unknown(now, self.longest_ttl)
        });
        let server = hash_of(papers.run_id());
        let id = number.map(|number| ConnectionId { number, server });
        // What the previous connection still carries must not be carried out any more.
        if let Some(previous) = previous.filter(|previous| previous.server == server) {
            let _ = connection.send_packed_command(&commands::kill(previous)).await;
        }
        let about = About {
            id,
            papers: Arc::new(papers),
            // A server that knows tracking takes the command from anybody, also where it cannot push.
            reports_changes: reports_changes && has_pushes,
            subscription: None,
            is_late: AtomicBool::new(false),
            generation,
            events: events.clone(),
        };
        Ok((connection, about))
    }

    async fn open(
        &self,
        protocol: ProtocolVersion,
        pushes: Option<(u64, mpsc::WeakUnboundedSender<Event>)>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(protocol);
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        if let Some((generation, events)) = pushes {
            let changes = self.changes.clone();
            config = config.set_push_sender(move |push: redis::PushInfo| {
                match (push.kind, events.upgrade(), &changes) {
                    (PushKind::Disconnection, Some(events), _) => {
                        let _ = events.send(Event::Broken(generation));
                    }
                    (PushKind::Invalidate, _, Some(changes)) => report(&push.data, changes),
                    _ => {}
                }
                Ok::<(), redis::aio::SendError>(())
            });
        }
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // Not even a command behind another waits: the kernel would keep it until the first was acknowledged.
                stream.set_nodelay(true)?;
                multiplexed(&settings, stream, config).await
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => multiplexed(&settings, UnixStream::connect(path).await?, config).await,
            _ => {
                let transport = info.tcp_settings().clone().set_nodelay(true);
                let client = Client::open(info.set_redis_settings(settings).set_tcp_settings(transport))?;
                client.get_multiplexed_async_connection_with_config(&config).await
            }
        }
    }

    /// Watches an open connection; returns why it ended, or `None` when nobody needs it any more.
    async fn attend(&self, mut live: Live, received: &mut mpsc::UnboundedReceiver<Event>) -> Option<Arc<str>> {
        loop {
            match received.recv().await? {
                Event::Broken(generation) if generation == live.generation => {
                    return Some(Arc::from("the connection was closed"));
                }
                Event::Broken(_) | Event::Wanted => {}
                Event::Overdue => {
                    // Replies come in the order of the commands, so the answer to this one says that all of those
                    // before it have been answered.
                    let ping = commands::ping();
                    let patience = self.node_timeout * DEAD_AFTER_TIMEOUTS;
                    tokio::select! {
                        answer = live.connection.send_packed_command(&ping) => {
                            if let Err(error) = answer {
                                return Some(error.to_string().into());
                            }
                        }
                        () = sleep(patience) => {
                            return Some(format!("no answer for {patience:?}").into());
                        }
                    }
                    live.is_late.store(false, Ordering::Release);
                    // What was not sent meanwhile is not watched.
                    self.tell_of_gap();
                }
            }
        }
    }
}
