use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::holding::{Holding, ask_who_holds};
use crate::Error;
use crate::lock::lead::{Lead, Term, WatchedTerm};
use crate::manager::LockManager;
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::clock;
use crate::platform::tasks::JoinSet;
use crate::values::name::Name;

/// Who leads, given by [`LockManager::leader`].
///
/// ```
/// # use redlock_runtime::{LockManager, Leadership};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let mut watch = locks.lead("scheduler").watch();
/// let Some(Leadership::Leading(term)) = watch.next().await.transpose()? else { panic!("nobody else campaigns") };
///
/// let leader = locks.leader("scheduler").await?.expect("it is this process");
/// if let (Some(label), Some(leading_for)) = (&leader.label, leader.leading_for) {
///     println!("{label} has been leading for {leading_for:?}");
/// }
/// # drop(term);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use redlock_runtime::{LockManager, Leadership};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let (mut one, mut other) = (locks.lead("scheduler").watch(), locks.lead("scheduler").watch());
/// let Some(Leadership::Leading(_term)) = one.next().await.transpose()? else { panic!("nobody else campaigns") };
/// match other.next().await.transpose()? {
///     Some(Leadership::Leading(term)) => println!("leads with fencing token {}", term.fencing_token()),
///     Some(Leadership::Following { label }) => println!("sends its work to {label:?}"),
///     Some(_) => println!("keeps its work until somebody leads"),
///     None => println!("the manager was shut down"),
/// }
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use redlock_runtime::{Error, LockManager, Leadership};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let mut watch = locks.lead("scheduler").watch();
/// let mut term = None;
/// while let Some(leadership) = watch.next().await {
///     // A term that is dropped is over, so it is kept until somebody else leads.
///     term = match leadership? {
///         Leadership::Leading(term) => Some(term),
///         _ => None,
///     };
///     println!("leads: {}", term.is_some());
/// #   locks.shutdown().await;
/// }
/// # drop(term);
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nobody campaigns until `next` is called"]
pub struct LeaderWatch {
    locks: LockManager,
    lead: Lead,
    name: String,
    /// What is under way to lead: a task, which ends with this.
    campaign: Option<JoinSet<Campaigned>>,
    /// What is under way to learn who leads.
    look: Option<Look>,
    /// When it is looked next.
    next_look: Option<Instant>,
    /// This process's term, until it is over.
    term: Option<WatchedTerm>,
    /// Until when this process stands back.
    back_until: Option<Instant>,
    /// What was seen last of others.
    seen: Option<Seen>,
    is_over: bool,
}

/// What came of a campaign; `None`: the manager was shut down.
type Campaigned = Result<Option<Term>, Error>;

type Look = Pin<Box<dyn Future<Output = Result<Option<Leader>, Error>> + Send>>;

/// What was seen of others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Nobody leads.
    Nobody,
    /// Somebody does, who may have said how it is called, and in which term it leads.
    Somebody(Option<String>, Option<u64>),
}

/// How often it is looked who leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl LockManager {
    /// Leadership under this name: of all processes that ask, one leads. The name is that of an ordinary lock, which the leader holds.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// locks
    ///     .lead("scheduler")
    ///     .run(async |term| {
    ///         println!("this process leads, with fencing token {}", term.fencing_token());
    ///         locks.shutdown().await; // else it campaigns again when this has ended
    ///         Ok::<(), redlock_runtime::Error>(())
    ///     })
    ///     .await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn lead(&self, name: impl Into<String>) -> Lead {
        Lead::new(self.lock(name))
    }

    /// Who leads under this name; `None`: nobody, as a majority of the nodes says.
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
    /// [`Error::QuorumUnreachable`] if too few nodes answered to tell; [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only looks.
    pub async fn leader(&self, name: impl Into<String>) -> Result<Option<Leader>, Error> {
        self.check_open()?;
        let name = Name::parse(name.into())?;
        let leader = |holding: Holding<'_>| {
            let is_held = holding.is_held()?;
            let Holding { label, fencing_token, .. } = holding;
            Some(is_held.then(|| Leader {
                label: label.map(|label| label.label.clone()),
                fencing_token,
                leading_for: label.map(|label| label.held_for),
            }))
        };
        ask_who_holds(&self.shared, &name, leader).await
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
    /// another one; or nobody. Who else leads is looked up once a second, and told when that is another one, or has begun another
    /// term. When the leadership of this process is lost, what follows is told, whether its [`Term`] was dropped or not.
    ///
    /// From the first call of [`next`](LeaderWatch::next) on the campaign goes on in a task of its own: a term that it wins between two
    /// calls is told by the next one, and held until then.
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
        LeaderWatch {
            locks,
            lead: self,
            name,
            campaign: None,
            look: None,
            next_look: None,
            term: None,
            back_until: None,
            seen: None,
            is_over: false,
        }
    }
}

impl LeaderWatch {
    /// What changed; `None` when the manager was shut down. Errors, as the last item: those of [`Lead::run`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is under way goes on, and its pauses are not begun anew by the next call. Dropping the watch ends the campaign.
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
            self.back_until = Some(clock::now() + term.stands_back());
            self.term = None;
        }
        if let Some(moment) = self.back_until {
            clock::sleep_until(moment).await;
            self.back_until = None;
        }
        loop {
            let campaigned = match &mut self.campaign {
                None => self.begin_campaign().await,
                Some(campaign) => {
                    // The first look waits for the first attempt, which may win.
                    let next_look = *self.next_look.get_or_insert_with(|| clock::now() + LOOK_EVERY / 10);
                    tokio::select! {
                        biased;
                        ended = campaign.join_next() => {
                            self.campaign = None;
                            match ended {
                                Some(Ok(campaigned)) => Some(campaigned),
                                Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                                // Its runtime has ended.
                                Some(Err(_)) | None => None,
                            }
                        }
                        looked = looked(&mut self.look, next_look, &self.locks, &self.name) => {
                            self.next_look = Some(clock::now() + LOOK_EVERY);
                            if let Some(leadership) = self.see(looked) {
                                return Ok(Some(leadership));
                            }
                            None
                        }
                    }
                }
            };
            if let Some(campaigned) = campaigned {
                let Some(term) = campaigned? else { return Ok(None) };
                (self.look, self.next_look, self.seen) = (None, None, None);
                self.term = Some(term.watched());
                return Ok(Some(Leadership::Leading(term)));
            }
        }
    }

    /// Begins to campaign, in a task of its own; what came of it, if that is known at once. What is wrong with the caller is found here.
    async fn begin_campaign(&mut self) -> Option<Campaigned> {
        let lead = self.lead.clone();
        let mut campaign = Box::pin(async move { lead.campaign().await });
        let begun = poll_fn(|cx| Poll::Ready(campaign.as_mut().poll(cx))).await;
        if let Poll::Ready(campaigned) = begun {
            return Some(campaigned);
        }
        self.campaign.insert(JoinSet::new()).spawn(campaign);
        None
    }

    /// What is to be told of a look.
    fn see(&mut self, looked: Result<Option<Leader>, Error>) -> Option<Leadership> {
        // Nodes that cannot be reached say nothing; the campaign goes on.
        let leader = looked.ok()?;
        let seen = leader.map_or(Seen::Nobody, |leader| Seen::Somebody(leader.label, leader.fencing_token));
        if self.seen.as_ref() == Some(&seen) {
            return None;
        }
        Some(match self.seen.insert(seen) {
            Seen::Somebody(label, _) => Leadership::Following { label: label.clone() },
            Seen::Nobody => Leadership::Nobody,
        })
    }
}

/// Looks who leads, at this moment; may be dropped, and called again.
async fn looked(
    look: &mut Option<Look>,
    moment: Instant,
    locks: &LockManager,
    name: &str,
) -> Result<Option<Leader>, Error> {
    let looking = if let Some(looking) = look {
        looking
    } else {
        clock::sleep_until(moment).await;
        let (locks, name) = (LockManager { shared: Arc::clone(&locks.shared) }, name.to_owned());
        look.insert(Box::pin(async move { locks.leader(name).await }))
    };
    let looked = looking.await;
    *look = None;
    looked
}

impl fmt::Debug for LeaderWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderWatch").field("name", &self.name).finish_non_exhaustive()
    }
}
