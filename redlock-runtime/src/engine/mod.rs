//! One round over all nodes: asks them all at once, feeds the votes to [`protocol::Round`](crate::protocol::Round) and
//! returns as soon as no further vote can change the verdict.
//!
//! Returns plain data; knows nothing of guards.

mod acquisition;
mod adoption;
mod completion;
mod heard;
mod permits;
mod release_round;
mod repair;
mod survey;

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

pub(crate) use self::acquisition::Acquisition;
pub(crate) use self::completion::NotConfirmed;
use self::heard::Heard;
pub(crate) use self::release_round::{TrackedRelease, TrackedReleases};
pub(crate) use self::repair::{Extended, Repairs};
use crate::Error;
use crate::error::NodeFailures;
use crate::node::{Action, Changes, Command, Delivery, Listener, NewMark, NodeStatus, PendingReply, Reply, Voter};
use crate::observe::{NodeStanding, Observers, Operation, Seldom, Sent};
use crate::platform::background;
use crate::platform::deadline::Deadline;
use crate::platform::drivers::Uses;
use crate::platform::tasks::Handle;
use crate::platform::{clock, process};
use crate::protocol::{
    AskOrder, At, FenceFallback, FireQuestion, Hearing, NodeObservation, NodeSet, OthersSay, Quorum, Tally, TokenBlock,
    Verdict, Voters, longest_round, patience, reply_timeout, valid_until,
};
use crate::values::subject::{Subject, Which};

/// The configured nodes.
pub(crate) struct Engine {
    /// All of them, in the order of the configuration.
    nodes: Box<[Arc<dyn Voter>]>,
    /// The majority, counted over all of them.
    quorum: Quorum,
    /// How long one node's reply may take.
    node_timeout: Duration,
    /// An attempt that takes longer is not won.
    longest_round: Duration,
    /// Who looks at it.
    observers: Observers,
    /// Releases that are on their way.
    tracked_releases: TrackedReleases,
    /// When it was told that a release was given up, by node.
    given_up: Seldom,
    /// Which process uses it; zero while none does.
    process: AtomicU32,
    /// Whether all nodes are in this process's memory.
    is_in_memory: bool,
    /// Whether nothing is asked any more but releases.
    is_closed: AtomicBool,
}

/// A lock that was acquired.
pub(crate) struct Won {
    /// Answers for its release, however it ends.
    pub(crate) acquisition: Acquisition,
    /// What was won.
    pub(crate) term: Term,
    /// How many permits others say that the lock has, if any was asked for.
    pub(crate) permits: Option<OthersSay>,
}

/// What an attempt gives that is won.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    /// When the attempt began.
    pub(crate) began: Instant,
    /// When it was won, which is the moment at which there was some validity left.
    pub(crate) won: Instant,
    /// Until when the lock counts as held.
    pub(crate) valid_until: Instant,
    /// Greater than that of every earlier acquisition of this lock.
    pub(crate) fencing_token: u64,
    /// Those that were reserved besides, if it has tokens.
    pub(crate) tokens: Option<TokenBlock>,
    /// Whether another process was seen to wait for it.
    pub(crate) is_wanted: bool,
}

/// How an attempt to acquire is made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In which order the nodes are asked.
    pub(crate) ask_order: AskOrder,
    /// Whether the nodes that refuse report the next change of the key.
    pub(crate) is_watched: bool,
    /// Which process asks, if the caller waits for the key: such processes are noted.
    pub(crate) contender: Option<Arc<str>>,
    /// How the lock gets its fencing token, if it gets one.
    pub(crate) fencing: Option<Fenced>,
    /// The fire that the lock is asked for, if it is for one; in an Arc, because most locks are for none.
    pub(crate) fire: Option<Arc<FireQuestion>>,
    /// Whether nodes that know the fire to be completed grant the lock all the same, so that it can be told.
    pub(crate) insists: bool,
}

/// How a lock gets its fencing token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fenced {
    /// The greatest counter that earlier attempts of the same waiter heard of; zero if none did.
    pub(crate) seen: u64,
    /// What to do if too few nodes have evidence of earlier tokens.
    pub(crate) fence_fallback: FenceFallback,
    /// How many tokens are reserved besides its own.
    pub(crate) room: u64,
}

impl Plan {
    /// One attempt of somebody who does not wait.
    pub(crate) fn once(fencing: Option<Fenced>) -> Self {
        Self { ask_order: AskOrder::AllAtOnce, is_watched: false, contender: None, fencing, fire: None, insists: false }
    }

    /// The same attempt, for this fire.
    pub(crate) fn for_fire(self, fire: Option<Arc<FireQuestion>>) -> Self {
        Self { fire, ..self }
    }
}

/// A round that was not won.
#[derive(Debug)]
pub(crate) struct AttemptFailed {
    /// Why not.
    pub(crate) verdict: Verdict,
    /// How many nodes granted.
    pub(crate) granted: usize,
    /// What the nodes that did not vote said.
    pub(crate) failures: NodeFailures,
    /// Whether nodes did not answer because the caller's time was over before theirs.
    pub(crate) was_cut_short: bool,
    /// What was learnt about the nodes that were asked.
    pub(crate) seen: Vec<(At, NodeObservation)>,
    /// The greatest fencing counter that was heard of; zero if none was.
    pub(crate) counter: u64,
    /// What is wrong with the nodes as they were configured, or with this machine's clock, if something is.
    pub(crate) misconfigured: Option<String>,
    /// What the marks say about the fire that the lock was asked for, if that is why it was not won.
    pub(crate) fire: Option<Box<FireRefusal>>,
    /// What was told of the permits, if any was asked for.
    pub(crate) permits: Option<Box<PermitsRefused>>,
}

impl AttemptFailed {
    /// How many permits others say that the lock has, if any was asked for.
    pub(crate) fn permits_said(&self) -> Option<OthersSay> {
        Some(self.permits.as_ref()?.said)
    }
}

/// What an attempt for any permit was told that was not won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PermitsRefused {
    /// The slot that may be had although the nodes disagreed, if there is one.
    pub(crate) second_choice: Option<u8>,
    /// How many permits others say that the lock has.
    pub(crate) said: OthersSay,
}

/// Why a fire does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FireRefusal {
    /// It was completed.
    AlreadyRan {
        /// The greatest completed fire, as far as is known.
        completed: u64,
    },
    /// It was completed as far as less than a majority shows: the lock is granted, and this is to be written back before it is told.
    Spread {
        /// What was read, and how long it is kept.
        mark: NewMark,
        /// Until when the lock counts as held.
        valid_until: Instant,
    },
    /// It was completed as far as less than a majority shows, and those did not grant the lock: they have to be asked for it.
    Shown,
    /// Nobody can know whether it was completed; the nodes that cannot are among the failures.
    Doubt {
        /// A mark that covers the fire, if a node shows one.
        shown: Option<u64>,
        /// Whether all of them answered, so that no later attempt learns more of them.
        is_final: bool,
    },
}

/// A reply that is on its way from a node.
pub(crate) struct InFlight {
    /// The node's position in the configuration.
    node: usize,
    /// Its reply.
    reply: PendingReply,
    /// When it was asked, if somebody looks, and whoever waits has listened ever since.
    sent: Option<Sent>,
}

/// When requests were sent that are sent one behind the other: a clock is read once for all of them, if somebody looks.
#[derive(Default)]
struct SentAt(Option<Instant>);

impl Engine {
    /// One that nobody looks at.
    #[cfg(test)]
    pub(crate) fn new(
        nodes: Vec<Arc<dyn Voter>>,
        quorum: Quorum,
        node_timeout: Duration,
        longest_ttl: Duration,
    ) -> Arc<Self> {
        Self::observed(nodes, quorum, (node_timeout, longest_ttl), Observers::default())
    }

    pub(crate) fn observed(
        nodes: Vec<Arc<dyn Voter>>,
        quorum: Quorum,
        (node_timeout, longest_ttl): (Duration, Duration),
        observers: Observers,
    ) -> Arc<Self> {
        let is_in_memory = nodes.iter().all(|node| node.is_in_memory());
        for (node, voter) in nodes.iter().enumerate() {
            observers.view(node).into_iter().for_each(|view| voter.show_to(view));
        }
        Arc::new(Self {
            is_in_memory,
            is_closed: AtomicBool::new(false),
            nodes: nodes.into(),
            quorum,
            node_timeout,
            longest_round: longest_round(longest_ttl),
            observers,
            tracked_releases: TrackedReleases::default(),
            given_up: Seldom::default(),
            process: AtomicU32::new(0),
        })
    }

    /// Everything that a call needs which may leave something on the nodes, asked for before it does.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] in a child of the process that used it first, which has neither its threads nor connections of its
    /// own; and where the process, or the runtime that the caller is on, has not what it takes.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        background::prepare(self.uses())?;
        self.check_process()
    }

    /// The runtime of the caller, if all nodes are in memory and a test has paused or moved its clock: then everything about a lock
    /// happens there, by that clock. Renewals must not be awaited on it in a blocking call, which stands in its way.
    pub(crate) fn home(&self) -> Option<Handle> {
        if self.is_in_memory { background::runtime_of_moved_clock() } else { None }
    }

    /// Begins a task on the background runtime, or [at home](Self::home) if that has not ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self.home() {
            Some(home) => drop(home.spawn(AtHome { task: Box::pin(task), is_begun: false })),
            None => background::spawn(task),
        }
    }

    /// The background runtime, or [home](Self::home), for a task that the caller waits for.
    pub(crate) fn awaited_runtime(&self) -> Result<Handle, Error> {
        match Handle::try_current() {
            Ok(runtime) if self.is_in_memory && clock::shift_of_runtime().is_some() => Ok(runtime),
            _ => background::background().cloned(),
        }
    }

    /// Sees a release through in the background or, [at home](Self::home), at once and there: time there goes on as soon as nobody
    /// there has anything to do.
    fn see_through(&self, release: impl Future<Output = ()> + Send + 'static) {
        if self.home().is_none() {
            return background::spawn(release);
        }
        let mut release = Box::pin(release);
        if release.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.spawn(release);
        }
    }

    /// What it takes of a runtime.
    pub(crate) fn uses(&self) -> Uses {
        if self.nodes.iter().any(|node| node.uses_sockets()) { Uses::Sockets } else { Uses::Time }
    }

    /// Whether this is the process that uses it, inside a call that has [noted](process::id) which one this is.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is a child of that.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        let this = process::noted();
        let user = match self.process.load(Ordering::Relaxed) {
            0 => {
                self.process.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|user| user)
            }
            user => user,
        };
        if user == 0 || user == this { Ok(()) } else { Err(forked(user)) }
    }

    /// Whether it is no copy that a child got of its parent's when it was forked.
    pub(crate) fn is_of_this_process(&self) -> bool {
        let user = self.process.load(Ordering::Relaxed);
        user == 0 || user == process::id()
    }

    pub(crate) fn nodes(&self) -> &[Arc<dyn Voter>] {
        &self.nodes
    }

    pub(crate) fn quorum(&self) -> Quorum {
        self.quorum
    }

    pub(crate) fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    /// Who looks at it.
    pub(crate) fn observers(&self) -> &Observers {
        &self.observers
    }

    /// Whether tokens can be reserved on all nodes.
    pub(crate) fn reserves_tokens(&self) -> bool {
        self.nodes.iter().all(|node| node.reserves_tokens())
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.label())
    }

    /// Whether both ask the same nodes, so that what is held on these cannot be had there.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let has = |node: &Arc<dyn Voter>| other.nodes.iter().any(|one| one.id() == node.id());
        std::ptr::eq(self, other) || self.nodes.len() == other.nodes.len() && self.nodes.iter().all(has)
    }

    /// Whether its connections were [closed](Self::close): nothing is asked any more but releases.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn tracked_releases(&self) -> &TrackedReleases {
        &self.tracked_releases
    }

    /// Ends all connections. What is still owed is sent on some of its own; nothing else is any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.nodes.iter().for_each(|node| node.close());
    }

    /// One attempt to acquire, with a fresh owner, which ends `until` a moment at the latest, also while connections are
    /// being made.
    ///
    /// A failed attempt is given back before this returns, by the nodes that granted it, as far as there is time; by the
    /// others behind their answer, in the background.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the attempt is given back in the background.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        subject: Subject,
        ttl: Duration,
        until: Option<Instant>,
        plan: Plan,
    ) -> Result<Won, AttemptFailed> {
        if let Some((_, Which::Any)) = subject.permits() {
            return Box::pin(self.acquire_any_permit(subject, ttl, until, plan)).await;
        }
        match self.acquire_once(subject.clone(), ttl, until, &plan).await {
            Err(AttemptFailed { fire: Some(refusal), .. }) if *refusal == FireRefusal::Shown => {
                let again = Box::new(Plan { insists: true, ..plan });
                // Seldom, and not to make every acquisition larger.
                Box::pin(self.acquire_once(subject, ttl, until, &again)).await
            }
            attempted => attempted,
        }
    }

    async fn acquire_once(
        self: &Arc<Self>,
        subject: Subject,
        ttl: Duration,
        until: Option<Instant>,
        plan: &Plan,
    ) -> Result<Won, AttemptFailed> {
        let began = clock::now();
        // From here on the acquisition answers for whatever the nodes do: it exists before the first command.
        let mut acquisition = Acquisition::new(Arc::clone(self), subject);
        match acquisition.ask(began, ttl, until, plan).await {
            Ok(term) => Ok(acquisition.into_won(term)),
            Err(failed) => Err(acquisition.end_failed_attempt(failed, until).await),
        }
    }

    /// One attempt to extend, which lasts no longer than `until`; what may be noted about the owner lives on with the key. What was not
    /// sent when `over` ends is not sent any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the key may or may not have been extended.
    pub(crate) async fn extend(
        &self,
        subject: &Subject,
        owner: &Arc<str>,
        ttl: Duration,
        is_noted: bool,
        until: Option<Instant>,
        over: impl Future<Output = ()>,
    ) -> Result<Extended, AttemptFailed> {
        let began = clock::now();
        let command = Command::new(Action::Extend { ttl, is_noted }, subject, owner);
        let mut in_flight = self.ask_each(&command);
        let mut missing = NodeSet::default();
        let mut heard = Heard::nothing(subject.key(), Tally::new(self.quorum, None));
        let reply_timeout = reply_timeout(self.node_timeout, ttl);
        let listen = self.hear(&mut heard, Voters::Extension, &mut in_flight, reply_timeout, until, |node, reply| {
            if *reply == Reply::Missing {
                missing.insert(node);
            }
        });
        let recall = async {
            over.await;
            command.recall();
            pending().await
        };
        let verdict = tokio::select! {
            biased;
            verdict = listen => verdict,
            never = recall => never,
        };
        if verdict == Verdict::Won {
            return Ok(Extended { valid_until: valid_until(began, ttl), missing, rest: in_flight });
        }
        self.poll_in_background(in_flight);
        let verdict = heard.tally.classify_owner_op(verdict);
        Err(heard.into_failed(self, verdict))
    }

    /// Passes on which keys have changed on which nodes.
    pub(crate) fn report_to(&self, listener: &Arc<impl Listener + 'static>) {
        for (node, voter) in self.nodes.iter().enumerate() {
            voter.report_to(Changes::new(node, Arc::clone(listener) as Arc<dyn Listener>));
        }
    }

    fn ask_each(&self, command: &Arc<Command>) -> Vec<InFlight> {
        let mut at = SentAt::default();
        (0..self.nodes.len()).map(|node| self.request(node, Arc::clone(command), &mut at)).collect()
    }

    fn ask(&self, node: usize, command: &Arc<Command>) -> InFlight {
        self.request(node, Arc::clone(command), &mut SentAt::default())
    }

    /// Puts a command to a node, and times the answer if somebody looks.
    fn request(&self, node: usize, command: Arc<Command>, at: &mut SentAt) -> InFlight {
        let sent = self.observers.sent(operation(command.action), || *at.0.get_or_insert_with(clock::now));
        InFlight { node, reply: self.nodes[node].ask(command), sent }
    }

    /// Polls every reply once, in the order of the nodes, and takes out those that arrived.
    fn poll_each(&self, in_flight: &mut Vec<InFlight>, cx: &mut Context<'_>, on_reply: impl FnMut(usize, Reply)) {
        poll_each(&self.observers, in_flight, cx, on_reply);
    }

    /// Sees replies through that nobody waits for: a request that is dropped may not be sent.
    fn poll_in_background(&self, mut in_flight: Vec<InFlight>) {
        if !in_flight.is_empty() {
            let observers = self.observers.clone();
            // Nobody knows here whether sockets are used; what needs them has asked before.
            background::spawn_here(
                Uses::Time,
                poll_fn(move |cx| {
                    poll_each(&observers, &mut in_flight, cx, |_, _| {});
                    if in_flight.is_empty() { Poll::Ready(()) } else { Poll::Pending }
                }),
            );
        }
    }

    /// A node has not answered in time.
    fn overdue(&self, node: usize, key: &str) {
        self.nodes[node].overdue(key);
        self.observers.stands(node, NodeStanding::Unreachable);
    }

    /// The node that everybody asks first who wants the same and can reach the same nodes: the first connected one, from
    /// a position that is [derived from the key](Subject::decides_who_is_first), so that not all locks begin at the same node. One of
    /// those that are excepted only if no other is connected.
    fn first_for(&self, subject: &Subject, except: NodeSet) -> Option<usize> {
        let decides = subject.decides_who_is_first().bytes();
        let start = usize::from(decides.fold(0_u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte)));
        let nodes = (0..self.nodes.len()).map(|node| (start + node) % self.nodes.len());
        let is_connected = |node: &usize| matches!(self.nodes[*node].known(subject.key()), NodeStatus::Introduced(_));
        nodes.filter(is_connected).min_by_key(|node| except.contains(*node))
    }

    /// Listens until no further vote can change the verdict, or the nodes' time is over, or the caller's (`until`).
    /// Replies that are still on their way stay in `in_flight`.
    async fn hear(
        &self,
        heard: &mut Heard,
        voters: Voters,
        in_flight: &mut Vec<InFlight>,
        reply_timeout: Duration,
        until: Option<Instant>,
        mut on_reply: impl FnMut(usize, &Reply),
    ) -> Verdict {
        let extra = in_flight.iter().map(|asked| asked.reply.extra_time()).max().unwrap_or_default();
        let now = clock::now();
        let (reply_timeout, is_cut_short) = within_deadline(reply_timeout + extra, until, now);
        let mut deadline = Deadline::after_from(now, reply_timeout);
        let mut second_look: Option<Pin<Box<Sleep>>> = None;
        let mut older_nodes_deadline: Option<Pin<Box<Sleep>>> = None;
        let mut patience_deadline: Option<Pin<Box<Sleep>>> = None;
        let began = heard.tally.slots().map(|_| now);
        let listen = poll_fn(|cx| {
            // All of them before the verdict is asked for: a request that was never polled is never sent.
            self.poll_each(in_flight, cx, |node, reply| {
                on_reply(node, &reply);
                heard.record(self, node, reply);
            });
            match heard.hearing(self, voters, in_flight.is_empty()) {
                Hearing::IsOver(verdict) => return Poll::Ready(verdict),
                Hearing::GoesOnFor(verdict) => {
                    let older_nodes_deadline =
                        older_nodes_deadline.get_or_insert_with(|| Box::pin(sleep(self.node_timeout)));
                    if older_nodes_deadline.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(verdict);
                    }
                }
                Hearing::GoesOnBriefly(verdict) => {
                    let patience_deadline = patience_deadline.get_or_insert_with(|| {
                        let took = began.map_or(Duration::ZERO, |began| clock::now().saturating_duration_since(began));
                        Box::pin(sleep(patience(took)))
                    });
                    if patience_deadline.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(verdict);
                    }
                }
                Hearing::GoesOn => {}
            }
            if second_look.is_none() {
                ready!(Pin::new(&mut deadline).poll(cx));
            }
            // If this runtime stood still, replies may lie in its sockets: let it read them before the nodes are blamed.
            let second_look = second_look.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(1))));
            ready!(second_look.as_mut().poll(cx));
            for late in in_flight.iter() {
                // A node is not late only because its caller is in a hurry.
                if !is_cut_short {
                    self.overdue(late.node, &heard.key);
                }
                heard.failures.push(self.nodes[late.node].label(), format!("no answer within {reply_timeout:?}"));
            }
            let late = in_flight.iter().map(|asked| asked.node).collect();
            heard.close(self, voters, late, is_cut_short).map_or(Poll::Pending, Poll::Ready)
        });
        // A task that has used up its budget would be told that the connection takes nothing just now: the first poll
        // would not send.
        tokio::task::unconstrained(listen).await
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.labels()).finish()
    }
}

/// A task that begins in the background where the runtime that it was for has ended: such a runtime drops it at once.
struct AtHome {
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether it was polled; its timers are of the runtime then, and what it owns takes care of itself when it is dropped.
    is_begun: bool,
}

impl Future for AtHome {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.is_begun = true;
        self.task.as_mut().poll(cx)
    }
}

impl Drop for AtHome {
    fn drop(&mut self) {
        if !self.is_begun {
            background::spawn(std::mem::replace(&mut self.task, Box::pin(std::future::ready(()))));
        }
    }
}

fn forked(user: u32) -> Error {
    Error::Config {
        reason: format!(
            "this process was forked from process {user}, which uses this lock manager: connections, renewals and locks stay \
             there; build a manager in this process (and `install` it)"
        ),
    }
}

/// How long to wait from now on for nodes that have this long, and whether that is less because the caller's time ends before.
fn within_deadline(reply_timeout: Duration, until: Option<Instant>, now: Instant) -> (Duration, bool) {
    match until.map(|moment| moment.saturating_duration_since(now)) {
        Some(left) if left < reply_timeout => (left, true),
        Some(_) | None => (reply_timeout, false),
    }
}

/// Polls every reply once, in the order of the nodes, and takes out those that arrived.
fn poll_each(
    observers: &Observers,
    in_flight: &mut Vec<InFlight>,
    cx: &mut Context<'_>,
    mut on_reply: impl FnMut(usize, Reply),
) {
    // What comes with one poll has come at one moment.
    let mut now = None;
    in_flight.retain_mut(|asked| match Pin::new(&mut asked.reply).poll(cx) {
        Poll::Ready(reply) => {
            if let Some(sent) = asked.sent.filter(|_| was_answered(&reply)) {
                observers.answered(asked.node, sent, *now.get_or_insert_with(clock::now));
            }
            on_reply(asked.node, reply);
            false
        }
        Poll::Pending => true,
    });
}

/// Whether the node itself has said so.
fn was_answered(reply: &Reply) -> bool {
    match reply {
        Reply::Failed(failure) => matches!(failure.delivery, Delivery::Answered | Delivery::Incapable),
        _ => true,
    }
}

/// For those who look.
fn operation(action: Action) -> Operation {
    match action {
        Action::Acquire { .. } => Operation::Acquire,
        Action::Adopt { .. } => Operation::Adopt,
        Action::Commit { .. } => Operation::Commit,
        Action::Extend { .. } => Operation::Extend,
        Action::Release { .. } => Operation::Release,
        Action::Mark => Operation::Mark,
    }
}
