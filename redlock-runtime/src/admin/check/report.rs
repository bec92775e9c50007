use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::node::check::{Clocks, Examination, Persistence, Purpose, Step, Tells, Wakes};
use crate::protocol::Role;
use crate::shown::{rounded, shown};

/// A node that was asked.
pub(super) struct Examined {
    /// As it was configured, without credentials.
    pub(super) label: String,
    /// What was learnt about its servers, or why nothing was.
    pub(super) servers: Result<Vec<Examination>, Arc<str>>,
}

/// What an examination of all nodes found.
///
/// Given by [`LockManager::check`](crate::LockManager::check). Printed, it is a table with a line for each server, then the
/// findings, then the verdict.
///
/// ```
/// # use redlock_runtime::{CheckVerdict, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// // One of three is not there.
/// let nodes = ["memory://a", "memory://b", "redis://127.0.0.1:1"];
/// let report = LockManager::builder().nodes(nodes).build()?.check().await?;
/// assert!(matches!(report.verdict(), CheckVerdict::Degraded { working: 2, needed: 2, .. }));
/// assert_eq!(report.findings()[0].node.as_deref(), Some("redis://127.0.0.1:1"));
/// assert!(report.nodes()[0].can_lock && !report.nodes()[2].can_lock);
/// println!("{report}"); // all of it, as a table
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use = "it tells whether locks will work"]
#[non_exhaustive]
pub struct CheckReport {
    /// One for each server.
    nodes: Vec<NodeCheck>,
    /// The worst first.
    findings: Vec<Finding>,
    verdict: CheckVerdict,
}

/// What was learnt about one server.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
/// let report = locks.check().await?;
/// for node in report.nodes() {
///     assert!(node.can_lock, "{}: {:?}", node.node, node.unreachable);
///     println!("{}: version {:?}, up for {:?}", node.address, node.version, node.age);
/// }
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeCheck {
    /// The node as it was configured, without credentials. Behind one may stand several servers, each of which has an entry.
    pub node: String,
    /// The server's address, without credentials.
    pub address: String,
    /// Why it could not be examined; then nothing else is known.
    pub unreachable: Option<String>,
    /// Whether a lock could be acquired, extended and released there.
    pub can_lock: bool,
    /// Whether it takes writes; `None` if it does not tell.
    pub role: Option<Role>,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// For how long it has been running, to the second; `None` if it does not tell, or was there before anything else.
    pub age: Option<Duration>,
    /// How long it takes to answer: the median of a few answers.
    pub round_trip: Option<Duration>,
    /// Its clock next to this machine's, to half the time of an answer.
    pub clock: Option<ClockOffset>,
    /// What it does when its memory is full (`maxmemory-policy`), if it tells.
    pub eviction: Option<String>,
    /// What it keeps over a restart.
    pub persistence: Option<Persistence>,
    /// How those who wait learn from it that a lock is free.
    pub wakes: Option<Wakes>,
}

/// How far one clock is from another.
///
/// ```
/// # use std::time::Duration;
/// use redlock_runtime::ClockOffset;
///
/// /// Whether a clock is further off than what fencing tokens and fires count on: see `max_clock_skew`.
/// fn is_off(clock: ClockOffset, max_clock_skew: Duration) -> bool {
///     match clock {
///         ClockOffset::Ahead(by) | ClockOffset::Behind(by) => by > max_clock_skew,
///         _ => false,
///     }
/// }
///
/// assert!(is_off(ClockOffset::Behind(Duration::from_secs(90)), Duration::from_secs(60)));
/// assert_eq!(ClockOffset::Behind(Duration::from_secs(90)).to_string(), "-1m 30s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockOffset {
    /// It is ahead by this, or equal.
    Ahead(Duration),
    /// It is behind by this.
    Behind(Duration),
}

/// Something that was found, and what to do about it.
///
/// ```
/// # use redlock_runtime::{LockManager, Severity};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let nodes = ["memory://a", "memory://b", "redis://127.0.0.1:1"];
/// # let locks = LockManager::builder().nodes(nodes).build()?;
/// let report = locks.check().await?;
/// for finding in report.findings().iter().filter(|finding| finding.severity <= Severity::Warning) {
///     println!("{:?}: {}", finding.node, finding.text); // or all of it: {finding}
/// }
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which server it is about, without credentials; `None`: all of them.
    pub node: Option<String>,
    /// What it is, what follows from it, and what to do.
    pub text: String,
}

/// How bad a finding is.
///
/// ```
/// # use redlock_runtime::{LockManager, Severity};
/// assert!(Severity::Error < Severity::Warning && Severity::Warning < Severity::Note); // the worst first
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
/// let report = locks.check().await?;
/// assert!(report.findings().iter().all(|finding| finding.severity > Severity::Warning), "{report}");
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// The node cannot vote.
    Error,
    /// The node votes, but a promise may not hold, or not for long.
    Warning,
    /// Good to know.
    Note,
}

/// Whether locks will work.
///
/// ```
/// # use redlock_runtime::{CheckVerdict, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
/// let report = locks.check().await?;
/// match report.verdict() {
///     CheckVerdict::Healthy => {}
///     CheckVerdict::Degraded { working, nodes, .. } => println!("{working} of {nodes} nodes work\n{report}"),
///     CheckVerdict::Unusable { .. } => panic!("{report}"),
///     _ => println!("{report}"),
/// }
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum CheckVerdict {
    /// All nodes work, and there are neither errors nor warnings.
    Healthy,
    /// Locks can be acquired, but something is to be done.
    #[non_exhaustive]
    Degraded {
        /// How many nodes work.
        working: usize,
        /// How many a majority needs.
        needed: usize,
        /// How many are configured.
        nodes: usize,
    },
    /// No lock can be acquired.
    #[non_exhaustive]
    Unusable {
        /// How many nodes work.
        working: usize,
        /// How many a majority needs.
        needed: usize,
        /// How many are configured.
        nodes: usize,
    },
}

impl CheckReport {
    pub(super) fn new(examined: &[Examined], findings: Vec<Finding>, verdict: CheckVerdict, now: Instant) -> Self {
        let of_node = |Examined { label, servers }: &Examined| match servers {
            Ok(servers) => servers.iter().map(|server| NodeCheck::of(label, server, now)).collect(),
            Err(reason) => vec![NodeCheck::unreachable(label, reason)],
        };
        Self { nodes: examined.iter().flat_map(of_node).collect(), findings, verdict }
    }

    /// What was learnt about each server, in the order of the configuration.
    #[must_use]
    pub fn nodes(&self) -> &[NodeCheck] {
        &self.nodes
    }

    /// What was found, the worst first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether locks will work.
    pub fn verdict(&self) -> CheckVerdict {
        self.verdict
    }
}

impl NodeCheck {
    fn of(label: &str, server: &Examination, now: Instant) -> Self {
        let (tells_role, tells_age) = match &server.tells {
            Tells::Itself => (true, true),
            Tells::Partly(told) => (told.role().is_some(), told.has_age()),
            Tells::NoneNeeded => (false, false),
        };
        Self {
            node: label.to_owned(),
            address: server.address.to_string(),
            unreachable: None,
            can_lock: can_lock(server),
            role: tells_role.then(|| server.server_info.role()),
            version: server.version.clone(),
            age: tells_age.then(|| server.server_info.age(now)).filter(|age| *age < IMMEMORIAL),
            round_trip: Some(server.round_trip),
            clock: server.clock.map(offset),
            eviction: server.memory.as_ref().and_then(|memory| memory.policy.clone()),
            persistence: server.persistence,
            wakes: server.wakes,
        }
    }

    fn unreachable(label: &str, reason: &str) -> Self {
        Self {
            node: label.to_owned(),
            address: label.to_owned(),
            unreachable: Some(reason.to_owned()),
            can_lock: false,
            role: None,
            version: None,
            age: None,
            round_trip: None,
            clock: None,
            eviction: None,
            persistence: None,
            wakes: None,
        }
    }

    /// Its line of the table, but for the address.
    fn cells(&self) -> [String; 9] {
        fn cell<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
            value.map_or_else(|| "-".to_owned(), text)
        }
        let role = |role| if role == Role::Master { "master" } else { "replica" };
        [
            if self.can_lock { "yes" } else { "no" }.to_owned(),
            cell(self.role, |is| role(is).to_owned()),
            cell(self.version.as_deref(), |version| shown(version).to_string()),
            cell(self.age, seconds),
            cell(self.round_trip, rounded),
            cell(self.clock, |clock| clock.to_string()),
            // What keeps nothing over a restart that could be asked for evicts nothing either.
            cell(self.eviction.as_deref().or_else(|| self.persistence.map(|_| "unknown")), |policy| {
                shown(policy).to_string()
            }),
            cell(self.persistence, |persistence| persistence.to_string()),
            cell(self.wakes, |wakes| wakes.to_string()),
        ]
    }
}

/// Servers that are older than this do not tell, or were never started.
const IMMEMORIAL: Duration = Duration::from_secs(u64::MAX / 2);

/// What stands above [`NodeCheck::cells`].
const COLUMNS: [&str; 9] =
    ["locks", "role", "version", "age", "round trip", "clock", "eviction", "after a restart", "wakes by"];

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_examined = |node: &&NodeCheck| node.unreachable.is_none();
        let rows: Vec<_> = self.nodes.iter().filter(is_examined).map(NodeCheck::cells).collect();
        let addresses: Vec<_> = self.nodes.iter().map(|node| shown(&node.address).to_string()).collect();
        let first = addresses.iter().map(|address| width(address)).chain([4]).max().unwrap_or_default();
        let widths: Vec<_> = (0..COLUMNS.len())
            .map(|column| rows.iter().map(|row| width(&row[column])).chain([width(COLUMNS[column])]).max().unwrap_or(0))
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, address: &str, cells: &[&str]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:<width$}"));
            let line = format!("{address:<first$}{}", padded.collect::<String>());
            writeln!(f, "{}", line.trim_end())
        };
        line(f, "node", &COLUMNS)?;
        let mut rows = rows.iter();
        for (node, address) in self.nodes.iter().zip(&addresses) {
            match (&node.unreachable, rows.as_slice()) {
                (Some(_), _) | (None, []) => line(f, address, &["no", "unreachable"])?,
                (None, [row, ..]) => {
                    line(f, address, &row.each_ref().map(String::as_str))?;
                    rows.next();
                }
            }
        }
        writeln!(f)?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if !self.findings.is_empty() {
            writeln!(f)?;
        }
        write!(f, "{}", self.verdict)
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

impl fmt::Display for Finding {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if let Some(node) = &self.node {
            write!(f, "{}: ", shown(node))?;
        }
        write!(f, "{}", shown(&self.text))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for CheckVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy: every node works"),
            Self::Degraded { working, needed, nodes } => {
                write!(f, "degraded: {working} of {nodes} nodes work, {needed} are needed; see what was found")
            }
            Self::Unusable { working, needed, nodes } => {
                write!(f, "unusable: {working} of {nodes} nodes work, {needed} are needed; no lock can be acquired")
            }
        }
    }
}

impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead(offset) => write!(f, "+{}", rounded(*offset)),
            Self::Behind(offset) => write!(f, "-{}", rounded(*offset)),
        }
    }
}

/// A duration that nobody knows better than to the second.
pub(super) fn seconds(duration: Duration) -> String {
    if duration.as_secs() < 10 { format!("{}s", duration.as_secs()) } else { rounded(duration) }
}

/// Whether a lock that was tried out on it worked.
pub(super) fn can_lock(server: &Examination) -> bool {
    let is_vital = |step: &Step| step.purpose() == Purpose::Locks;
    server.server_info.role() == Role::Master && !server.failed.iter().any(|(step, _)| is_vital(step))
}

/// How far the server's clock is from ours.
pub(super) fn offset(Clocks { theirs, ours, .. }: Clocks) -> ClockOffset {
    let offset = theirs.abs_diff(ours);
    if theirs >= ours { ClockOffset::Ahead(offset) } else { ClockOffset::Behind(offset) }
}
