use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::manager::LockManager;
use crate::observe;
use crate::platform::background::block_on;
use crate::platform::clock;
use crate::protocol::{NodeStatus, ServerInfo, Standing, Voters};
use crate::shown::{rounded, shown};
use crate::values::keys::Keys;
use crate::values::name::Name;

/// A node as it was a moment ago.
///
/// Given by [`LockManager::nodes`]. [`LockManager::check`] tells much more, and takes longer.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().nodes(["memory://", "redis://127.0.0.1:1"]).build()?;
/// let nodes = locks.nodes().await?;
/// assert!(nodes[0].round_trip.is_some() && nodes[0].failure.is_none());
/// assert!(nodes[1].round_trip.is_none() && nodes[1].failure.is_some());
/// println!("{}", nodes[1]); // redis://127.0.0.1:1: unreachable, …
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The node as it was configured, without credentials.
    pub node: String,
    /// What [metrics](crate::pages::observe) call it: its host and port.
    pub label: String,
    /// Whether it votes.
    pub standing: NodeStanding,
    /// How long it took to answer; `None` if it did not.
    pub round_trip: Option<Duration>,
    /// Why it did not answer, if it did not.
    pub failure: Option<String>,
}

/// Whether a node votes on who acquires a lock, and why not.
///
/// ```
/// # use redlock_runtime::{LockManager, NodeStanding};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
/// let nodes = locks.nodes().await?;
/// // What a probe of readiness asks.
/// let voting = nodes.iter().filter(|node| node.standing == NodeStanding::Votes).count();
/// assert!(voting > nodes.len() / 2, "{nodes:?}");
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeStanding {
    /// It votes.
    Votes,
    /// It restarted not long ago, and may have forgotten locks: it does not vote before it is older than
    /// [`longest_ttl`](crate::LockManagerBuilder::longest_ttl), as long as an older node can be reached.
    Young,
    /// It is a replica, which takes no writes.
    Replica,
    /// It is a server that was configured twice.
    SameServer,
    /// It did not answer in time, or refuses to.
    Unreachable,
}

impl fmt::Display for NodeStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Votes => "votes",
            Self::Young => "young",
            Self::Replica => "replica",
            Self::SameServer => "same server twice",
            Self::Unreachable => "unreachable",
        })
    }
}

impl fmt::Display for NodeInfo {
    /// One line; control and bidirectional characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, standing, round_trip, failure, .. } = self;
        write!(f, "{}: {standing}", shown(node))?;
        if let Some(round_trip) = round_trip {
            write!(f, ", answered in {}", rounded(*round_trip))?;
        }
        if let Some(failure) = failure {
            write!(f, ", {}", shown(failure))?;
        }
        Ok(())
    }
}

impl From<Standing> for NodeStanding {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Votes => Self::Votes,
            Standing::Young => Self::Young,
            Standing::Replica => Self::Replica,
            Standing::SameServer => Self::SameServer,
            Standing::Unknown => Self::Unreachable,
        }
    }
}

/// What was seen of one node.
struct Seen {
    /// How long it took to answer, or why it did not.
    answer: Result<Duration, Arc<str>>,
    /// What is known about it behind that.
    status: NodeStatus,
}

impl Seen {
    /// What it said about itself; whoever does not answer now has no vote, whatever it said before.
    fn server_info(&self) -> Option<&ServerInfo> {
        self.status.server_info().filter(|_| self.answer.is_ok())
    }
}

/// What is looked at to see how long an answer takes; nobody has a lock of this name.
const NOBODYS: &str = "redlock-nobody-holds-this";

impl LockManager {
    /// Whether each node votes, and how long it takes to answer, in the order of the configuration.
    ///
    /// Asks every node one cheap question on the connection that is there anyway, so it may be called every second. Nothing is
    /// written. A node that does not answer keeps it for [`node_timeout`](crate::LockManagerBuilder::node_timeout) (250 ms),
    /// and for [`connect_timeout`](crate::LockManagerBuilder::connect_timeout) (1 s) the first time.
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, NodeStanding};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
    /// for node in locks.nodes().await? {
    ///     assert_eq!(node.standing, NodeStanding::Votes, "{node}");
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after the manager was shut down. Whatever is wrong with a node is told with it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only looks.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        self.check_open()?;
        let engine = &self.shared.engine;
        let key: Arc<str> = self.shared.keys.lock(&Name::parse(NOBODYS.to_owned())?).into();
        let (keys, reply_timeout) = (Arc::new(Keys::around(&key)), engine.node_timeout());
        let (answers, unasked) = engine
            .survey_all(|_, node| {
                let keys = Arc::clone(&keys);
                async move {
                    // The first answer of a connection would be that of the connection being made.
                    let first = node.answers(Arc::clone(&keys), reply_timeout).await;
                    let began = clock::now();
                    let answer = match first {
                        Ok(()) => node.answers(Arc::clone(&keys), reply_timeout).await,
                        Err(reason) => Err(reason),
                    };
                    let took = clock::now().saturating_duration_since(began);
                    Ok(Seen { answer: answer.map(|()| took), status: node.known(&keys.lock) })
                }
            })
            .await;
        let reason = unasked.iter().next().map_or("it was not asked", |failure| &failure.reason);
        let unasked = || Seen { answer: Err(Arc::from(reason)), status: NodeStatus::Unreachable };
        let mut seen: Vec<_> = engine.labels().map(|_| unasked()).collect();
        for (node, answer) in answers {
            seen[node] = answer;
        }
        let electorate = Voters::Acquisition.electorate(clock::now(), seen.iter().map(Seen::server_info));
        let info = |(node, ((name, label), seen)): (usize, ((&str, String), &Seen))| NodeInfo {
            node: name.to_owned(),
            label,
            standing: electorate.standing(node).into(),
            round_trip: seen.answer.as_ref().ok().copied(),
            failure: seen.answer.as_ref().err().map(ToString::to_string),
        };
        let labels = observe::labels(engine.labels());
        Ok(engine.labels().zip(labels).zip(&seen).enumerate().map(info).collect())
    }

    /// [`Self::nodes`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::nodes`].
    pub fn nodes_blocking(&self) -> Result<Vec<NodeInfo>, Error> {
        block_on(self.nodes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_directs_no_terminal() {
        let told = NodeInfo {
            node: "redis://h\u{202e}".to_owned(),
            label: "h".to_owned(),
            standing: NodeStanding::Unreachable,
            round_trip: Some(Duration::from_millis(3)),
            failure: Some("ERR \u{1b}[2J\u{2066}".to_owned()),
        };
        let expect = "redis://h\\u{202e}: unreachable, answered in 3.0ms, ERR \\u{1b}[2J\\u{2066}";
        assert_eq!(told.to_string(), expect);
    }
}
