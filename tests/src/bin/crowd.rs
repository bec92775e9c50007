//! Some tasks that want a few locks again and again, and tell when each was held.
//!
//! `crowd tasks=8 seconds=60 ttl_ms=1000`, with the nodes in `REDLOCK_NODES`; `names=1` says that they want one lock only,
//! and `hold_ms=2` that each time is as short as that, and asked for until it is had; `permits=2` that as many may hold
//! each lock, and then `NAME` ends with the permit; `shared=1` that most of them read and few write; `sets=1` that they want
//! two or three of the locks at once, or one. At the end it prints a line
//! `held NAME BEGIN END ASKED TASK`, or of a reader `read …`, for each time, and each name, in nanoseconds of the machine's monotonic clock, which all processes
//! share: from before the body began to the last moment at which the guard said that the lock is held, and when the task
//! asked for it. Then `acquired N lost N longest_wait_ms N`. Its log goes to stderr, each line behind its nanosecond.

use std::time::Duration;
use std::{env, fmt, io};

use anyhow::Context;
use redlock_runtime::{LockGuard, LockManager, LockRequest};
use redlock_tests::clock::monotonic_nanoseconds;
use tokio::task::JoinSet;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// What all tasks do.
#[derive(Clone, Copy)]
struct Habits {
    ttl: Duration,
    /// How many names the tasks want; fewer than tasks, so that they meet.
    names: u64,
    /// How many permits each lock has; of `None`: they are locks without.
    permits: Option<u32>,
    /// Whether readers share them.
    is_shared: bool,
    /// Whether several are wanted at once.
    are_sets: bool,
    /// How long a lock is held at most, in milliseconds; now and then for very long if not given.
    hold: Option<u64>,
    /// When they end, in nanoseconds of the machine's clock.
    until: u64,
}

#[derive(Default)]
struct Seen {
    /// What is printed of each time.
    held: Vec<String>,
    acquired: usize,
    lost: usize,
    longest_wait: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_timer(Monotonic).init();
    let [tasks, seconds, ttl] = ["tasks", "seconds", "ttl_ms"].map(argument);
    let (tasks, ttl) = (tasks?, Duration::from_millis(ttl?));
    let until = monotonic_nanoseconds() + seconds? * 1_000_000_000;
    let permits = argument("permits").ok().map(u32::try_from).transpose()?;
    let (is_shared, are_sets) = (argument("shared").is_ok(), argument("sets").is_ok());
    let names = argument("names").unwrap_or(if are_sets { 5 } else { 3 });
    let habits = Habits { ttl, names, permits, is_shared, are_sets, hold: argument("hold_ms").ok(), until };
    let nodes = env::var("REDLOCK_NODES").context("`REDLOCK_NODES` is not set")?;
    // A node that restarted abstains no longer than these locks can need.
    let locks = LockManager::builder().nodes(nodes.split(',')).ttl(ttl).longest_ttl(ttl).build()?;
    let mut running: JoinSet<Seen> = (0..tasks).map(|task| want(locks.clone(), task, habits)).collect();
    let mut all = Seen::default();
    while let Some(seen) = running.join_next().await {
        let seen = seen?;
        all.held.extend(seen.held);
        all.acquired += seen.acquired;
        all.lost += seen.lost;
        all.longest_wait = all.longest_wait.max(seen.longest_wait);
    }
    for held in &all.held {
        println!("{held}");
    }
    println!("acquired {} lost {} longest_wait_ms {}", all.acquired, all.lost, all.longest_wait / 1_000_000);
    locks.shutdown().await;
    Ok(())
}

/// What a task does with a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It holds the lock for a moment.
    Short,
    /// It gives up asking after a moment.
    Cancelled,
    /// It holds the lock for longer than its TTL.
    Renewed,
    /// It holds the lock for longer than its TTL and does not renew it.
    Outlived,
}

impl Kind {
    fn of(number: u64) -> Self {
        match number {
            _ if number % 103 == 50 => Self::Renewed,
            _ if number % 107 == 51 => Self::Outlived,
            _ if number % 5 == 4 => Self::Cancelled,
            _ => Self::Short,
        }
    }
}

/// The clock that the processes and their test share.
struct Monotonic;

impl FormatTime for Monotonic {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", monotonic_nanoseconds())
    }
}

fn argument(name: &str) -> anyhow::Result<u64> {
    let given = env::args().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    given.with_context(|| format!("`{name}=NUMBER` is missing"))
}

impl Habits {
    /// What is wanted at this turn: the names, and whether it is shared with others.
    fn wish(self, locks: &LockManager, number: u64) -> (LockRequest, Vec<String>, bool) {
        let name = |number: u64| format!("name-{}", number % self.names);
        if self.are_sets {
            // Any two of those of three share a name, and they are named in any order.
            let sets: [&[u64]; 4] = [&[0, 2], &[2, 1, 0], &[0], &[3, 0, 1]];
            let set = sets[usize::try_from(number % 4).unwrap_or_default()];
            let names: Vec<_> = set.iter().map(|other| name(number + other)).collect();
            return (locks.lock_all(names.clone()), names, false);
        }
        let name = name(number);
        let is_read = self.is_shared && number % 4 != 1;
        let request = match self.permits {
            Some(permits) => locks.lock(&name).permits(permits),
            None if is_read => locks.read(&name),
            None if self.is_shared => locks.write(&name),
            None => locks.lock(&name),
        };
        (request, vec![name], is_read)
    }
}

async fn want(locks: LockManager, task: u64, habits: Habits) -> Seen {
    let Habits { ttl, permits, hold, until, .. } = habits;
    let mut seen = Seen::default();
    for turn in 0.. {
        let asked = monotonic_nanoseconds();
        if asked >= until {
            break;
        }
        // Tasks are not in step.
        let kind = if hold.is_some() { Kind::Short } else { Kind::of(turn + task * 13) };
        let (request, names, is_read) = habits.wish(&locks, task + turn);
        let request = request.ttl(ttl).timeout(Duration::from_secs(3)).renew(kind != Kind::Outlived);
        let patience = if kind == Kind::Cancelled { Duration::from_millis(turn % 30) } else { Duration::MAX };
        let Ok(Ok(guard)) = tokio::time::timeout(patience, request.acquire()).await else { continue };
        seen.longest_wait = seen.longest_wait.max(monotonic_nanoseconds() - asked);
        let is_long = matches!(kind, Kind::Renewed | Kind::Outlived);
        let time = if is_long { ttl * 3 / 2 } else { Duration::from_millis(turn * 7 % (hold.unwrap_or(40) + 1)) };
        let (begin, end) = hold_for(&guard, time).await;
        seen.lost += usize::from(!guard.is_valid());
        seen.acquired += 1;
        let permit = permits.map(|_| format!("/{}", guard.permit())).unwrap_or_default();
        let how = if is_read { "read" } else { "held" };
        seen.held.extend(names.iter().map(|name| format!("{how} {name}{permit} {begin} {end} {asked} {task}")));
        match turn % 3 {
            0 => drop(guard),
            // Whether it can be confirmed depends on the nodes, and is not what is looked at here.
            _ => drop(guard.release().await),
        }
    }
    seen
}

/// Holds the lock for a while, and sometimes for longer than its TTL; returns from when to when it surely was held.
async fn hold_for(guard: &LockGuard, time: Duration) -> (u64, u64) {
    let begin = monotonic_nanoseconds();
    let mut end = begin;
    loop {
        // Read before the question: the answer is about a later moment.
        let now = monotonic_nanoseconds();
        if !guard.is_valid() {
            return (begin, end);
        }
        end = now;
        if u128::from(end - begin) >= time.as_nanos() {
            return (begin, end);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
