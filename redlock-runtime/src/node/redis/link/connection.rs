//! Connections to one server: one for each tokio runtime that uses it, made lazily, watched and made anew.
//!
//! A connection's driver is a task of the runtime that made it. A manager outlives runtimes (each `#[tokio::test]`
//! is one), so every runtime gets a connection of its own, and nothing hops between threads on the way to a lock.

use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dial::{Dial, Introduced, Origin};
use super::health::Trouble;
use super::published::{Published, Publisher, publish};
use super::replicas::Acknowledgements;
use super::subscription::Subscription;
use crate::node::limits::Limits;
use crate::node::redis::commands;
use crate::node::redis::commands::info;
use crate::node::{Changes, ConnectionId, NodeStatus};
use crate::observe::NodeView;
use crate::platform::clock;
use crate::platform::tasks::{Handle, Id};
use crate::protocol::Backoff;
use crate::protocol::DEAD_AFTER_TIMEOUTS;
use crate::shown::shown;

/// Pauses between attempts to connect: the first, and the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A connection that was there for so long says that the next one is worth an attempt at once.
const LASTED: Duration = Duration::from_secs(1);

/// An attempt to connect that somebody waits for is made this long after the last one at the latest.
const WANTED: Duration = Duration::from_millis(100);

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
    /// What was found out when the connection was made.
    introduced: Introduced,
    /// What reports changes of keys, if the server does not.
    pub(crate) subscription: Option<Subscription>,
    /// Who counts the replicas that have what the server grants, if they count.
    pub(in crate::node) acknowledgements: Option<Acknowledgements>,
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

impl Deref for About {
    type Target = Introduced;

    fn deref(&self) -> &Introduced {
        &self.introduced
    }
}

/// What the task that keeps a connection is told.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// The connection with this number, counted by the task itself, ended.
    Broken(u64),
    /// The server behind that connection is not any more what it said it was.
    Changed(u64),
    /// A reply did not come in time.
    Overdue,
    /// The node may have answered before it was found not to, so it is asked again.
    Doubted,
    /// Somebody wants a connection that is not there.
    Wanted,
}

/// What can be had from a server at this moment.
pub(crate) enum LinkState {
    /// An open connection.
    Up(Live),
    /// No connection, and why.
    Down(Arc<str>),
    /// The first attempt to connect is under way, or the first one since the connection was idle for too long.
    Connecting(Arc<Link>),
}

/// The connection of one runtime.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which runtime that is.
    runtime: Id,
    /// Written by the task that keeps the connection.
    state: Published<State>,
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
    /// Not connected, because nobody had anything to say for so long that the server, or something in between, hung up. That says
    /// nothing about the server; whoever wants it next has the connection made.
    Resting,
}

impl State {
    /// Whether it is known if the server can be reached.
    fn is_known(&self) -> bool {
        match self {
            Self::Connecting | Self::Resting => false,
            Self::Up(live) => !live.traffic.is_closed(),
            Self::Down(_) => true,
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connecting => f.write_str("Connecting"),
            Self::Resting => f.write_str("Resting"),
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

    /// Whether the server is always at the same place.
    pub(in crate::node) fn is_fixed(&self) -> bool {
        matches!(self.dial.origin, Origin::Fixed(_))
    }

    /// Tells of changes from now on, on the connections that are made from now on.
    pub(crate) fn report_to(&self, changes: Changes) {
        // It is told once.
        let _ = self.changes.set(changes);
    }

    /// Whether the server answers is seen there from now on.
    pub(crate) fn show_to(&self, view: NodeView) {
        self.dial.health.show_to(view);
    }

    /// What the current runtime can have; starts to connect if nobody did.
    pub(crate) fn now(&self) -> LinkState {
        match self.link() {
            Some(link) => Self::state_of(link),
            None => LinkState::Down(Arc::from("the lock manager was shut down")),
        }
    }

    /// [`Self::now`] for what is still owed after the end: then on a connection that ends with whoever uses it.
    pub(crate) fn now_or_alone(&self) -> LinkState {
        match self.link() {
            Some(link) => Self::state_of(link),
            None => LinkState::Connecting(Arc::new(Link::start(self.dial(), &Handle::current()))),
        }
    }

    /// A connection of its own, which is being made now, reports nothing, and ends with whoever has it.
    pub(crate) fn alone(&self) -> Arc<Link> {
        Arc::new(Link::start(self.dial.clone(), &Handle::current()))
    }

    /// The same, which reports changes to those who are named here.
    pub(in crate::node) fn reporting(&self, changes: Changes) -> Arc<Link> {
        Arc::new(Link::start(Dial { changes: Some(changes), ..self.dial.clone() }, &Handle::current()))
    }

    /// Ends each connection as soon as what was sent on it is answered and its runtime runs, and makes no more.
    pub(crate) fn close(&self) {
        let ended = self.by_runtime.write().unwrap_or_else(PoisonError::into_inner).take();
        // Not under the lock: this wakes tasks.
        drop(ended);
    }

    fn state_of(link: Arc<Link>) -> LinkState {
        let state = link.state.read();
        match &*state {
            State::Up(live) if live.is_late.load(Ordering::Acquire) => {
                LinkState::Down(Arc::from("it has not answered an earlier command in time"))
            }
            // What would be sent would be lost. The task that keeps it is about to notice, and says what becomes of it.
            State::Up(live) if live.traffic.is_closed() => {
                let _ = link.events.send(Event::Wanted);
                drop(state);
                LinkState::Connecting(link)
            }
            State::Up(live) => LinkState::Up(live.clone()),
            State::Down(reason) => {
                let _ = link.events.send(Event::Wanted);
                LinkState::Down(Arc::clone(reason))
            }
            State::Resting => {
                let _ = link.events.send(Event::Wanted);
                drop(state);
                LinkState::Connecting(link)
            }
            State::Connecting => {
                drop(state);
                LinkState::Connecting(link)
            }
        }
    }

    /// What is known about the server that the current runtime is connected to.
    pub(crate) fn known(&self) -> NodeStatus {
        let Some(link) = self.link() else { return NodeStatus::Unreachable };
        match &*link.state.read() {
            State::Connecting | State::Resting => NodeStatus::Connecting,
            State::Up(live) => NodeStatus::Introduced(Arc::clone(&live.server_info)),
            State::Down(_) => NodeStatus::Unreachable,
        }
    }

    /// How long it may take to connect.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.dial.limits.connect_timeout
    }

    /// Stops sending on the current runtime's connection until it answers again.
    pub(crate) fn overdue(&self) {
        if let Some(link) = self.link()
            && let State::Up(live) = &*link.state.read()
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
        let (written, state) = publish(State::Connecting);
        runtime.spawn(keep_connected(dial, events.downgrade(), received, written));
        Self { runtime: runtime.id(), state, events }
    }

    /// What can be had at this moment.
    pub(in crate::node) fn now(self: &Arc<Self>) -> LinkState {
        Links::state_of(Arc::clone(self))
    }

    /// The connection, once the first attempt to make it has ended.
    pub(crate) async fn connected(&self) -> Result<Live, Arc<str>> {
        match self.state.wait_for(State::is_known).await {
            Some(State::Up(live)) => Ok(live),
            Some(State::Down(reason)) => Err(reason),
            Some(State::Connecting | State::Resting) | None => {
                Err(Arc::from("the task that keeps the connection has ended"))
            }
        }
    }
}

impl About {
    fn new(introduced: Introduced, generation: u64, dial: &Dial, events: &mpsc::WeakUnboundedSender<Event>) -> Self {
        let acknowledgements = dial.replicas.map(|replicas| {
            Acknowledgements::start(replicas, introduced.endpoint.clone(), introduced.told.run_id(), dial.limits)
        });
        Self {
            introduced,
            subscription: None,
            acknowledgements,
            is_late: AtomicBool::new(false),
            generation,
            events: events.clone(),
        }
    }
}

impl Live {
    /// What is known about it, for whoever uses it meanwhile.
    pub(in crate::node) fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    /// Which of the connections that were made one after the other this is.
    pub(in crate::node) fn generation(&self) -> u64 {
        self.generation
    }

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

    /// Tells that the server took a command as a master that said it was none, or refused one as no master.
    pub(crate) fn note_changed_role(&self) {
        if let Some(events) = self.events.upgrade() {
            let _ = events.send(Event::Changed(self.generation));
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

/// Keeps one connection until nobody can use it any more: makes it, watches it, makes it anew.
///
/// There is one such task for each server and runtime, so at most one attempt to connect is under way.
async fn keep_connected(
    dial: Dial,
    events: mpsc::WeakUnboundedSender<Event>,
    mut received: mpsc::UnboundedReceiver<Event>,
    state: Publisher<State>,
) {
    // The runtime may end, and this with it, before the node answers again.
    let _keeper = dial.health.keeper();
    let mut previous = None;
    let mut pauses = reconnect_pauses();
    let mut subscription: Option<(String, Subscription)> = None;
    let connect_timeout = dial.limits.connect_timeout;
    for generation in 0.. {
        let began = clock::now();
        let told = events.clone();
        let on_end = move || {
            if let Some(events) = told.upgrade() {
                let _ = events.send(Event::Broken(generation));
            }
        };
        match timeout(connect_timeout, dial.connect(previous, on_end)).await {
            Ok(Ok((connection, introduced))) => {
                let endpoint = introduced.endpoint.clone();
                let mut about = About::new(introduced, generation, &dial, &events);
                if let Some(changes) = dial.changes.as_ref().filter(|_| !about.reports_changes) {
                    let address = endpoint.address();
                    let kept = subscription.take().filter(|(kept, _)| *kept == address);
                    let start = || (address, Subscription::start(endpoint.clone(), connect_timeout, changes.clone()));
                    let (_, kept) = subscription.insert(kept.unwrap_or_else(start));
                    about.subscription = Some(kept.clone());
                }
                let live = Live { connection, about: Arc::new(about) };
                tracing::debug!(node = %dial.label, server = %shown(&endpoint.address()), "connected");
                let heard = dial.health.note_answer(began);
                if let (None, Some(events)) = (heard, events.upgrade()) {
                    let _ = events.send(Event::Doubted);
                }
                let since = heard.unwrap_or(began);
                previous = live.id;
                let (bound, up) = (Arc::clone(&live.bound), clock::now());
                state.set(State::Up(live.clone()));
                if generation > 0 {
                    dial.tell_of_gap();
                }
                let ended = tokio::select! {
                    biased;
                    end = attend(&dial, live, since, &mut received) => end,
                    () = dial.origin.moved(&endpoint) => End::Lost(Arc::from("another server is the master now")),
                };
                // Who floods one connection would flood the next, and who ends one at once, too.
                if bound.exceeded().is_none() && clock::now().saturating_duration_since(up) >= LASTED {
                    pauses = reconnect_pauses();
                }
                match ended {
                    End::Unneeded => return,
                    End::Idle { is_wanted } => {
                        tracing::debug!(node = %dial.label, "the connection was idle, and was closed");
                        state.set(State::Resting);
                        // Whoever relies on what this node reports asks again, and so has it made anew.
                        dial.tell_of_gap();
                        if !is_wanted && !wanted(&mut received).await {
                            return;
                        }
                        state.set(State::Connecting);
                        continue;
                    }
                    End::Lost(reason) => {
                        dial.health.note_trouble(Trouble::Lost, &reason, since);
                        state.set(State::Down(reason));
                        // Nobody shall wait for what this node has to say.
                        dial.tell_of_gap();
                    }
                }
            }
            Ok(Err(reason)) => note_unreachable(&dial, &state, reason, began),
            Err(_) => {
                note_unreachable(&dial, &state, format!("no connection within {connect_timeout:?}").into(), began);
            }
        }
        if !pause(pauses.next().unwrap_or(RECONNECT.1), &mut received).await {
            return;
        }
    }
}

fn reconnect_pauses() -> Backoff {
    Backoff::new(RECONNECT.0, RECONNECT.1, crate::platform::entropy::seed())
}

/// Waits before the next attempt, less long if somebody wants the connection; says whether one is still needed.
async fn pause(pause: Duration, received: &mut mpsc::UnboundedReceiver<Event>) -> bool {
    let began = clock::now();
    let mut until = began + pause;
    loop {
        tokio::select! {
            biased;
            () = clock::sleep_until(until) => return true,
            event = received.recv() => match event {
                None => return false,
                Some(Event::Wanted) => until = until.min(began + WANTED),
                Some(Event::Broken(_) | Event::Changed(_) | Event::Overdue | Event::Doubted) => {}
            },
        }
    }
}

/// Waits until somebody wants the connection; says whether anybody still can.
async fn wanted(received: &mut mpsc::UnboundedReceiver<Event>) -> bool {
    loop {
        match received.recv().await {
            None => return false,
            Some(Event::Wanted) => return true,
            Some(Event::Broken(_) | Event::Changed(_) | Event::Overdue | Event::Doubted) => {}
        }
    }
}

fn note_unreachable(dial: &Dial, state: &Publisher<State>, reason: Arc<str>, began: Instant) {
    dial.health.note_trouble(Trouble::Unreachable, &reason, began);
    state.set(State::Down(reason));
}

/// How a connection ended.
enum End {
    /// Nobody needs it any more.
    Unneeded,
    /// It was closed because nobody had anything to say; perhaps somebody has by now.
    Idle { is_wanted: bool },
    /// It is of no use any more, and why.
    Lost(Arc<str>),
}

/// Watches an open connection, which speaks for the node since this moment, to its end.
async fn attend(dial: &Dial, mut live: Live, since: Instant, received: &mut mpsc::UnboundedReceiver<Event>) -> End {
    let Limits { node_timeout, .. } = dial.limits;
    let dead_after = node_timeout * DEAD_AFTER_TIMEOUTS;
    let mut left_alone = pin!(dial.health.left_alone());
    loop {
        let event = tokio::select! {
            biased;
            event = received.recv() => event,
            // Not every protocol tells it on the connection.
            () = live.traffic.ended() => Some(Event::Broken(live.generation)),
            () = &mut left_alone => {
                left_alone.set(dial.health.left_alone());
                Some(Event::Doubted)
            }
        };
        match event {
            None => return End::Unneeded,
            Some(Event::Broken(generation)) if generation == live.generation => return closed(&live, false),
            Some(Event::Wanted) if live.traffic.is_closed() => return closed(&live, true),
            Some(Event::Changed(generation)) if generation == live.generation => {
                // A replica that lets itself be written to is no master for that.
                let role = timeout(dead_after, live.connection.send_packed_command(&commands::ask_role())).await;
                let role = role.ok().and_then(Result::ok).as_ref().and_then(info::role);
                // One that never told cannot tell that it is another by now.
                if live.told.role().is_some() && role != Some(live.server_info.role()) {
                    let reason = "the server changed its role between master and replica";
                    return End::Lost(Arc::from(reason));
                }
            }
            Some(Event::Broken(_) | Event::Changed(_) | Event::Wanted) => {}
            Some(Event::Overdue | Event::Doubted) => {
                // Replies come in the order of the commands, so the answer to this one says that all of those
                // before it have been answered.
                let ping = commands::ping();
                let given_up = live.bound.take_given_up();
                let mut asked = clock::now();
                let mut connection = live.connection.clone();
                let mut answer = pin!(connection.send_packed_command(&ping));
                let mut answered = timeout(node_timeout, &mut answer).await;
                // Else it was late once, or this process was.
                if answered.is_err() {
                    let reason = format!("no answer within {node_timeout:?}, twice");
                    dial.health.note_trouble(Trouble::Silent, &reason, since);
                    // What comes now comes after that.
                    asked = clock::now();
                    answered = timeout(dead_after.saturating_sub(node_timeout), answer).await;
                }
                match answered {
                    // If it is not news, whoever found the node not to answer tells that it does again.
                    Ok(Ok(_)) => _ = dial.health.note_answer(asked),
                    Ok(Err(error)) => return End::Lost(live.bound.reason(&error)),
                    Err(_) => return End::Lost(format!("no answer for {dead_after:?}").into()),
                }
                live.bound.were_answered(given_up);
                live.is_late.store(false, Ordering::Release);
                // What was not sent meanwhile is not watched.
                dial.tell_of_gap();
            }
        }
    }
}

/// What it says about the server that it closed the connection, or something in between did.
fn closed(live: &Live, is_wanted: bool) -> End {
    match live.bound.exceeded() {
        Some(reason) => End::Lost(Arc::clone(reason)),
        None if live.traffic.is_idle() && !live.is_late.load(Ordering::Acquire) => End::Idle { is_wanted },
        None => End::Lost(Arc::from("the connection was closed")),
    }
}
