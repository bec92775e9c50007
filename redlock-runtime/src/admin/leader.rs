use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::Error;
use crate::lock::lead::{Lead, Term, TermState};
use crate::manager::LockManager;
use crate::platform::background::{block_on, on_any_executor};

/// Who leads, given by [`LockManager::leader`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// What it is called; `None` for the first 100 ms of a term, or if it is called nothing.
    pub label: Option<String>,
    /// The fencing token of its term; noted with the label.
    pub fencing_token: Option<u64>,
    /// For how long it has been leading; noted with the label.
    pub leading_for: Option<Duration>,
}

/// What [`Lead::watch`] sees.
#[derive(Debug)]
#[non_exhaustive]
pub enum Leadership {
    /// This process leads, until the term is dropped.
    Leading(Term),
    /// Another one does.
    Following {
        /// What that is called, as far as it said so.
        label: Option<String>,
    },
    /// Nobody does, as far as a majority of the nodes says.
    Nobody,
}

/// Who leads, as it changes; see [`Lead::watch`].
#[must_use = "nobody campaigns until `next` is called"]
pub struct LeaderWatch {
    locks: LockManager,
    lead: Lead,
    name: String,
    /// What is under way to lead.
    campaign: Option<Campaign>,
    /// This process's term, until it is over.
    term: Option<Arc<TermState>>,
    /// What was seen last of others.
    seen: Option<Seen>,
    is_over: bool,
}

type Campaign = Pin<Box<dyn Future<Output = Result<Option<Term>, Error>> + Send>>;

/// What was seen of others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Nobody leads.
    Nobody,
    /// Somebody does, who may have said how it is called.
    Somebody(Option<String>),
}

/// How often it is looked who leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl LockManager {
    /// Leadership under this name: of all processes that ask, one leads. The name is that of an ordinary lock, which the leader holds.
    pub fn lead(&self, name: impl Into<String>) -> Lead {
        Lead::new(self.lock(name))
    }

    /// Who leads under this name; `None`: nobody, as far as a majority of the nodes says.
    ///
    /// It tells what was, not what is. Whoever writes something because it leads hands on its fencing token.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// assert!(locks.leader("scheduler").await?.is_none());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] if no majority answered; [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only looks.
    pub async fn leader(&self, name: impl Into<String>) -> Result<Option<Leader>, Error> {
        let info = self.inspect(name).await?;
        let is_held = info.is_held();
        Ok(is_held.then_some(Leader {
            label: info.owner_label,
            fencing_token: info.fencing_token,
            leading_for: info.held_for,
        }))
    }

    /// [`Self::leader`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::leader`].
    pub fn leader_blocking(&self, name: impl Into<String>) -> Result<Option<Leader>, Error> {
        let name = name.into();
        block_on(self.leader(name))
    }
}

impl Lead {
    /// Campaigns, and tells who leads as that changes: this process, with a [`Term`] that it keeps for as long as it wants to lead;
    /// another one; or nobody. Who else leads is looked up once a second.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager, Leadership};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let mut watch = locks.lead("scheduler").watch();
    /// while let Some(leadership) = watch.next().await {
    ///     match leadership? {
    ///         Leadership::Leading(term) => {
    ///             println!("leads with fencing token {}", term.fencing_token());
    /// #           locks.shutdown().await;
    ///         }
    ///         Leadership::Following { label } => println!("follows {label:?}"),
    ///         _ => println!("nobody leads"),
    ///     }
    /// }
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    pub fn watch(self) -> LeaderWatch {
        let name = self.request.name().to_owned();
        let locks = LockManager { shared: Arc::clone(self.request.shared()) };
        LeaderWatch { locks, lead: self, name, campaign: None, term: None, seen: None, is_over: false }
    }
}

impl LeaderWatch {
    /// What changed; `None` when the manager was shut down. An error is the last item.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is under way goes on with the next call. Dropping the watch ends the campaign.
    pub async fn next(&mut self) -> Option<Result<Leadership, Error>> {
        if self.is_over {
            return None;
        }
        let uses = self.locks.shared.engine.uses();
        let changed = on_any_executor(uses, std::pin::pin!(self.change())).await;
        match changed {
            Ok(Some(leadership)) => Some(Ok(leadership)),
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }

    async fn change(&mut self) -> Result<Option<Leadership>, Error> {
        if let Some(term) = &self.term {
            term.until_over().await;
            sleep(term.stands_back()).await;
            self.term = None;
        }
        let mut is_first = self.seen.is_none();
        loop {
            let campaign = self.campaign.get_or_insert_with(|| {
                let lead = self.lead.clone();
                Box::pin(async move { lead.campaign().await })
            });
            // The first look waits for the first attempt, which may win.
            let pause = if is_first { LOOK_EVERY / 10 } else { LOOK_EVERY };
            is_first = false;
            tokio::select! {
                biased;
                campaigned = campaign => {
                    self.campaign = None;
                    let Some(term) = campaigned? else { return Ok(None) };
                    self.term = Some(Arc::clone(term.state()));
                    self.seen = None;
                    return Ok(Some(Leadership::Leading(term)));
                }
                () = sleep(pause) => {}
            }
            // Nodes that cannot be reached say nothing; the campaign goes on.
            let Ok(leader) = self.locks.leader(self.name.as_str()).await else { continue };
            let seen = leader.map_or(Seen::Nobody, |leader| Seen::Somebody(leader.label));
            if self.seen.as_ref() != Some(&seen) {
                self.seen = Some(seen.clone());
                return Ok(Some(match seen {
                    Seen::Somebody(label) => Leadership::Following { label },
                    Seen::Nobody => Leadership::Nobody,
                }));
            }
        }
    }
}

impl fmt::Debug for LeaderWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderWatch").field("name", &self.name).finish_non_exhaustive()
    }
}
