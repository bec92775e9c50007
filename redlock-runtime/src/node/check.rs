//! What a node tells whoever wants to know whether locks will work there. Nothing here is a vote.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::counters::Answer;
use super::identity::InfoReply;
use super::{Action, Command, Reply};
use crate::platform::entropy;
use crate::protocol::{Counter, NoCounter, Proposal, ServerInfo};
use crate::values::keys::{CounterKeys, Keys, LockKeys};
use crate::values::subject::Subject;

/// A node's servers, looked at and tried out.
pub(crate) trait Examining {
    /// Examines every server behind the node, now, whatever is known about it: with connections of its own.
    ///
    /// An answer may be dropped at any time: what was tried out expires by itself, soon. `reply_timeout` is how long each round trip
    /// may take. The error says why no server can be examined.
    fn examine(&self, trial: Trial, reply_timeout: Duration) -> Answer<Vec<Examination>>;
}

/// What is tried out on a server: a whole lock that nobody else takes.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// How names become keys.
    pub(crate) keys: Keys,
    /// Makes the name unlike any other.
    pub(crate) id: Arc<str>,
    /// What is proposed for the fencing counter, if locks have one.
    pub(crate) fence: Option<Proposal>,
}

impl Trial {
    /// How long what is tried out stays if nobody takes it away.
    pub(crate) const TTL: Duration = Duration::from_secs(5);

    /// The name of the lock; one for each number, because a server may not have the keys of every name.
    pub(crate) fn name(&self, number: u32) -> String {
        format!("redlock-check-{}-{number}", self.id)
    }

    /// The key of that lock.
    pub(crate) fn key(&self, number: u32) -> Arc<str> {
        format!("{}{}", self.keys.lock_prefix, self.name(number)).into()
    }
}

/// What was learnt about one server.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    /// Where it is, without credentials.
    pub(crate) address: Arc<str>,
    /// What it said about itself.
    pub(crate) server_info: Arc<ServerInfo>,
    /// Whether it did; what it does not tell is taken for granted in its `ServerInfo`.
    pub(crate) tells: Tells,
    /// Why it speaks the older protocol, if it does.
    pub(crate) refused_hello: Option<Arc<str>>,
    /// Why it does not carry out scripts, if it does not.
    pub(crate) refused_scripts: Option<Arc<str>>,
    /// Why a connection that was cut is not ended at the server, if that is known beforehand.
    pub(crate) keeps_cut: Option<Arc<str>>,
    /// Its version.
    pub(crate) version: Option<String>,
    /// What it does when its memory is full; `None` where that is no question.
    pub(crate) memory: Option<Memory>,
    /// What it keeps over a restart; `None` where that is no question.
    pub(crate) persistence: Option<Persistence>,
    /// Its clock next to ours.
    pub(crate) clock: Option<Clocks>,
    /// How long it takes to answer: the median of some.
    pub(crate) round_trip: Duration,
    /// How those who wait learn that a lock is free; `None` where nobody knows.
    pub(crate) wakes: Option<Wakes>,
    /// The steps of a lock that failed.
    pub(crate) failed: Vec<(Step, Arc<str>)>,
    /// What the user may not do.
    pub(crate) forbidden: Vec<Forbidden>,
    /// Its fencing counters.
    pub(crate) counters: FencingCounters,
}

impl Examination {
    /// A server of which no more is known, and of which nothing failed.
    pub(crate) fn of(address: Arc<str>, server_info: Arc<ServerInfo>, tells: Tells) -> Self {
        Self {
            address,
            server_info,
            tells,
            refused_hello: None,
            refused_scripts: None,
            keeps_cut: None,
            version: None,
            memory: None,
            persistence: None,
            clock: None,
            round_trip: Duration::ZERO,
            wakes: None,
            failed: Vec::new(),
            forbidden: Vec::new(),
            counters: FencingCounters::default(),
        }
    }
}

/// The fencing counters of a server, looked through.
#[derive(Clone, Debug, Default)]
pub(crate) struct FencingCounters {
    /// The keys of those that are none, and what is wrong; some, if there are many.
    pub(crate) wrong: Vec<(String, NoCounter)>,
    /// Whether there are so many keys that not all were looked at.
    pub(crate) has_more: bool,
}

/// Whether a server tells who it is and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    /// It does.
    Itself,
    /// So much of it; the rest is taken for granted.
    Partly(Arc<InfoReply>),
    /// It does not because it need not: whoever wrote it says that it forgets nothing.
    NoneNeeded,
}

/// What a server does when its memory is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// `maxmemory_policy`, if it tells.
    pub(crate) policy: Option<String>,
    /// `maxmemory` in bytes, if it tells; zero: as much as there is.
    pub(crate) limit: Option<u64>,
}

/// What a server keeps over a restart.
///
/// ```
/// use redlock_runtime::Persistence;
///
/// /// Whether a server that restarts may have forgotten locks, as most do: then it does not vote for a while.
/// fn may_forget(persistence: Persistence) -> bool {
///     persistence != Persistence::Everything
/// }
///
/// assert!(may_forget(Persistence::Log) && !may_forget(Persistence::Everything));
/// assert_eq!(Persistence::Snapshots.to_string(), "snapshots"); // as the report has it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Persistence {
    /// All that it confirmed: a log that is written out with every command (`appendfsync always`).
    Everything,
    /// All but the last moments: a log of its writes (`appendonly yes`).
    Log,
    /// All, or all but the last moments: a log of its writes (`appendonly yes`); how soon it is written out it does not tell.
    SomeLog,
    /// What it had when it saved last (`save`).
    Snapshots,
    /// Nothing.
    Nothing,
    /// It has no log of its writes; whether it saves at times it does not tell.
    NoLog,
    /// It does not tell.
    Unknown,
}

impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everything => "every write",
            Self::Log => "log",
            Self::SomeLog => "log, appendfsync unknown",
            Self::Snapshots => "snapshots",
            Self::Nothing => "none",
            Self::NoLog => "no log",
            Self::Unknown => "unknown",
        })
    }
}

/// A server's clock next to ours, as the time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// The server's.
    pub(crate) theirs: Duration,
    /// Ours, at the middle of the round trip.
    pub(crate) ours: Duration,
    /// Half the round trip.
    pub(crate) uncertainty: Duration,
}

/// How those who wait learn from a server that a lock is free.
///
/// ```
/// # use redlock_runtime::{LockManager, Wakes};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let report = locks.check().await?;
/// let slow: Vec<_> = report.nodes().iter().filter(|node| node.wakes == Some(Wakes::SlowPoll)).collect();
/// assert!(slow.is_empty(), "those who wait ask these now and then: {slow:?}");
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wakes {
    /// The server tracks keys for its clients, and reports every change.
    Tracking,
    /// By a subscription to what is published with each release, and to the server's own notifications of keys.
    Subscription,
    /// By asking now and then.
    SlowPoll,
}

impl fmt::Display for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracking => "tracking",
            Self::Subscription => "subscription",
            Self::SlowPoll => "slow poll",
        })
    }
}

/// One step in the life of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acquire,
    Extend,
    Commit,
    Label,
    Look,
    TakeTurns,
    Count,
    Release,
}

impl Step {
    /// What fails without it.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Acquire | Self::Extend | Self::Commit | Self::Release => Purpose::Locks,
            Self::Label | Self::Look => Purpose::Labels,
            Self::TakeTurns => Purpose::Turns,
            Self::Count => Purpose::Statistics,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acquire => "acquired",
            Self::Extend => "extended",
            Self::Commit => "given a fencing token",
            Self::Label => "labelled",
            Self::Look => "looked at",
            Self::TakeTurns => "passed on in turns",
            Self::Count => "waited for and counted",
            Self::Release => "released",
        })
    }
}

/// Something that the user of the server may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// The command.
    pub(crate) command: &'static str,
    /// The key on which it was refused, as a pattern that others match too; `None` if it has none.
    pub(crate) key: Option<String>,
    /// What fails without it.
    pub(crate) purpose: Purpose,
}

/// What a command is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Locks do not work without.
    Locks,
    /// To see who holds a lock.
    Labels,
    /// To take turns with other processes.
    Turns,
    /// To count those who wait.
    Statistics,
    /// To mark which fires of a job were completed.
    Fires,
    /// To let several hold a lock that has permits.
    Permits,
    /// To let readers share a lock.
    Sharing,
    /// To list and reset locks.
    Listing,
    /// To end connections that may still carry a command.
    CutConnections,
}

/// Whoever carries the steps of a trial out.
pub(crate) trait CarryOut: Send {
    /// An error for what is no vote.
    fn carry_out(&mut self, command: Arc<Command>) -> impl Future<Output = Result<Reply, Arc<str>>> + Send;

    /// What is done with a lock that is no vote, while this owner holds it; what failed of that.
    fn look_at(
        &mut self,
        keys: &Arc<LockKeys>,
        owner: &Arc<str>,
        waited_for: &Arc<CounterKeys>,
    ) -> impl Future<Output = Vec<(Step, Arc<str>)>> + Send;
}

/// Takes a lock, and does with it all that is ever done with one; what failed of that.
pub(crate) async fn try_out(trial: &Trial, number: u32, server: &mut impl CarryOut) -> Vec<(Step, Arc<str>)> {
    let (key, owner) = (trial.key(number), entropy::fresh_owner());
    let subject = Subject::from(&key);
    let command = |action| Command::tried_out(action, &subject, &owner, trial.fence, Trial::TTL);
    let mut failed = Vec::new();
    let acquire = Action::Acquire { ttl: Trial::TTL, is_watched: false };
    let acquired = match server.carry_out(command(acquire)).await {
        Ok(Reply::Granted { counter, .. }) => Ok(counter.and_then(Counter::number)),
        Ok(_) => Err(Arc::from("the key of a name that nobody else has is taken")),
        Err(reason) => Err(reason),
    };
    match &acquired {
        Ok(counter) => {
            // An extension that is no longer than what is left does nothing.
            let ttl = Trial::TTL + Duration::from_secs(1);
            let token = trial.fence.map(Proposal::least).max(*counter);
            let commit = token.map(|token| (Step::Commit, Action::Commit { token }));
            for (step, action) in [(Step::Extend, Action::Extend { ttl, is_noted: true })].into_iter().chain(commit) {
                failed.extend(done(server, command(action)).await.err().map(|reason| (step, reason)));
            }
            let waited_for = Arc::new(trial.keys.counter(&trial.name(number)));
            failed.extend(server.look_at(&Arc::new(Keys::around(&key)), &owner, &waited_for).await);
        }
        Err(reason) => failed.push((Step::Acquire, Arc::clone(reason))),
    }
    // An acquire that failed may have set the key.
    let release = Action::Release { keep: Duration::ZERO, behind: None, is_noted: true };
    let released = done(server, command(release)).await.err();
    failed.extend(released.filter(|_| acquired.is_ok()).map(|reason| (Step::Release, reason)));
    failed
}

async fn done(server: &mut impl CarryOut, command: Arc<Command>) -> Result<(), Arc<str>> {
    match server.carry_out(command).await? {
        Reply::Done => Ok(()),
        _ => Err(Arc::from("the key is gone, a moment after it was set")),
    }
}
