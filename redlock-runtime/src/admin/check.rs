//! Whether locks will work on these nodes, and what to do if not.

mod judgement;
mod report;

use std::sync::Arc;

pub use self::report::{CheckReport, CheckVerdict, ClockOffset, Finding, NodeCheck, Severity};

use self::judgement::{Standard, judge};
use self::report::Examined;
use crate::Error;
use crate::manager::LockManager;
use crate::node::check::Trial;
use crate::platform::background::block_on;
use crate::platform::{clock, entropy};
use crate::protocol::Proposal;

impl LockManager {
    /// Examines all nodes: whether locks will work on them, and what to do if not.
    ///
    /// Every node is asked at the same time, on connections that are made for it: whether it can be reached, who it is, how
    /// old, and what it keeps over a restart; whether it evicts keys; its clock and how long it takes to answer. And a whole
    /// lock is tried out on each, one that nobody else takes: acquired with a fencing token, extended, labelled, looked at
    /// and released; so that a right that the user of the server lacks is found and named before it is needed. What is tried
    /// out is deleted, and would expire within seconds.
    ///
    /// No setting of a server is changed, and no lock is in the way of another. It takes a few round trips; a node that does
    /// not answer keeps it for [`connect_timeout`](crate::LockManagerBuilder::connect_timeout) (1 s unless set) or, once it is
    /// connected, some [`node_timeout`](crate::LockManagerBuilder::node_timeout)s (250 ms), whatever the others do.
    ///
    /// Neither passwords nor owners are in the report. For a person at a terminal, print it; a program that is about to
    /// start looks at the [verdict](CheckReport::verdict):
    ///
    /// ```
    /// # use redlock_runtime::{CheckVerdict, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
    /// let report = locks.check().await?;
    /// println!("{report}");
    /// assert_eq!(report.verdict(), CheckVerdict::Healthy);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after the manager was shut down. Whatever is wrong with the nodes is in the report.
    ///
    /// # Cancel safety
    ///
    /// Once polled, what was begun is seen through in the background if it is dropped; nothing stays behind.
    pub async fn check(&self) -> Result<CheckReport, Error> {
        self.check_open()?;
        let engine = &self.shared.engine;
        let (quorum, reply_timeout) = (engine.quorum(), engine.node_timeout());
        let fence = self
            .shared
            .fence_fallback
            .map(|fence_fallback| Proposal::new(clock::since_1970(), 0, quorum, fence_fallback));
        let trial = Trial { keys: self.shared.keys.clone(), id: entropy::fresh_owner(), fence };
        let (answers, unexamined) = engine
            .survey_all(|_, node| {
                let trial = trial.clone();
                async move { Ok(node.examine(trial, reply_timeout).await) }
            })
            .await;
        let reason = unexamined.iter().next().map_or("it was not examined", |failure| &failure.reason);
        let mut examined: Vec<_> = engine
            .labels()
            .map(|label| Examined { label: label.to_owned(), servers: Err(Arc::from(reason)) })
            .collect();
        for (node, servers) in answers {
            examined[node].servers = servers;
        }
        let (longest_ttl, fence_fallback) = (self.shared.longest_ttl(), self.shared.fence_fallback);
        let standard = Standard { quorum, longest_ttl, node_timeout: reply_timeout, fence_fallback };
        let now = clock::now();
        let (findings, verdict) = judge(&examined, &standard, now);
        Ok(CheckReport::new(&examined, findings, verdict, now))
    }

    /// [`Self::check`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::check`].
    pub fn check_blocking(&self) -> Result<CheckReport, Error> {
        block_on(self.check())
    }
}
