use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::join_all;
use futures_util::stream::{StreamExt as _, unfold};

use super::inspect::{LockInfo, NodeRecord};
use super::list::{Kind, Listing};
use crate::Error;
use crate::lock::shared::Shared;
use crate::manager::LockManager;
use crate::node::inspect::{LockRecord, PermitsRecord, SharedRecord};
use crate::values::keys::{Keys, LockKeys};
use crate::values::name::Name;
use crate::waiting::counters::WaitingStatistics;

/// So many locks are looked at in one round of questions to the nodes.
const AT_ONCE: usize = 128;

/// All locks that any node has, as the nodes have them, some at a time and in no order.
///
/// Given by [`LockManager::inspect_all`]. A stream; [`next`](Self::next) does without the combinators of the `futures` crate.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _guards = (locks.lock("invoice:7").acquire().await?, locks.lock("invoice:8").acquire().await?);
/// let (mut pages, mut held) = (locks.inspect_all(), 0);
/// while let Some(page) = pages.next().await {
///     held += page?.iter().filter(|lock| lock.is_held()).count();
/// }
/// assert_eq!(held, 2);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
///
/// # Cancel safety
///
/// [`next`](Self::next) is cancel safe; dropped, nothing more is asked.
#[must_use = "nothing is looked at until it is polled"]
pub struct LockInfos {
    pages: Pin<Box<dyn Stream<Item = Result<Vec<LockInfo>, Error>> + Send>>,
}

impl LockInfos {
    /// The next ones; `None` after the last ones, and after an error.
    pub async fn next(&mut self) -> Option<Result<Vec<LockInfo>, Error>> {
        std::future::poll_fn(|cx| self.pages.as_mut().poll_next(cx)).await
    }
}

impl Stream for LockInfos {
    type Item = Result<Vec<LockInfo>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pages.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for LockInfos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockInfos").finish_non_exhaustive()
    }
}

impl LockManager {
    /// Everything that [`inspect`](Self::inspect) tells, of all locks that [`list`](Self::list) names: for those who watch a whole
    /// fleet.
    ///
    /// The nodes are asked some 128 locks at a time, as pages are wanted, and in batches so small that a server stands still for less
    /// than a millisecond; whoever has many locks and looks again and again lets some time pass between two pages. A lock that
    /// has the name of another one with [permits](crate::LockRequest::permits) may come twice, the second time with the permits, or the readers. One
    /// that was released since it was listed comes as free.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _guard = locks.lock("invoice:7").acquire().await?;
    /// let mut pages = locks.inspect_all();
    /// while let Some(page) = pages.next().await {
    ///     for lock in page? {
    ///         println!("{lock}");
    ///     }
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As the last item: [`Error::ListIncomplete`], if so few nodes listed their locks that one which is held may be missing, and
    /// [`Error::QuorumUnreachable`] if no majority answered for some of the locks. [`Error::ShutDown`].
    pub fn inspect_all(&self) -> LockInfos {
        let listing = Listing::new(Arc::clone(&self.shared), true);
        let looking = Looking { locks: self.clone(), listing, waiting: None, is_over: false };
        LockInfos {
            pages: Box::pin(unfold(looking, async |mut looking| Some((looking.next().await?, looking))).fuse()),
        }
    }

    /// [`inspect`](Self::inspect) of each of these locks, in their order, with few questions to the nodes.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _guard = locks.lock("invoice:8").acquire().await?;
    /// let infos = locks.inspect_each(["invoice:7", "invoice:8"]).await?;
    /// assert_eq!(infos.iter().map(|info| info.is_held()).collect::<Vec<_>>(), [false, true]);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] if no majority answered; [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only looks.
    pub async fn inspect_each(
        &self,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<LockInfo>, Error> {
        self.check_open()?;
        let names = names.into_iter().map(|name| Name::of_any_client(name.into())).collect::<Result<Vec<_>, _>>()?;
        let mut infos = Vec::with_capacity(names.len());
        for some in names.chunks(AT_ONCE) {
            infos.extend(self.look_at_each(some, true, None).await?);
        }
        Ok(infos)
    }

    /// What the nodes have of each of these locks. How many wait is asked unless it is known.
    async fn look_at_each(
        &self,
        names: &[Name],
        with_permits: bool,
        waiting: Option<&WaitingStatistics>,
    ) -> Result<Vec<LockInfo>, Error> {
        let Some(first) = names.first() else { return Ok(Vec::new()) };
        let engine = &self.shared.engine;
        let question = Arc::new(Question::new(&self.shared, names, with_permits, waiting.is_none()));
        let (answers, failures) = engine
            .survey_all(|node, _| {
                let (question, shared) = (Arc::clone(&question), Arc::clone(&self.shared));
                async move { question.ask(&shared, node).await }
            })
            .await;
        let quorum = engine.quorum();
        if answers.len() < quorum.needed() {
            return Err(engine.unreachable(first, 0, failures));
        }
        let mut answers: Vec<_> = answers.into_iter().map(|(node, of_each)| (node, of_each.into_iter())).collect();
        let info = |name: &Name| {
            let (mut looked, mut failures) = (Vec::with_capacity(answers.len()), failures.clone());
            for (node, of_each) in &mut answers {
                match of_each.next() {
                    Some(Ok(record)) => looked.push(record),
                    Some(Err(reason)) => failures.push(engine.nodes()[*node].label(), &*reason),
                    None => failures.push(engine.nodes()[*node].label(), "an answer is missing"),
                }
            }
            let counted = match waiting {
                Some(waiting) => waiting.get(name.as_str()).map_or(0, |counted| counted.everywhere),
                None => looked.iter().fold(0, |counted: u64, looked| counted.saturating_add(looked.waiting)),
            };
            // Nodes learn of a waiter a little later.
            let waiting = counted.max(self.shared.statistics.here_under(name.as_str()));
            LockInfo::of(quorum, name, &looked, waiting, failures)
        };
        Ok(names.iter().map(info).collect())
    }
}

/// How far the locks were looked at.
struct Looking {
    locks: LockManager,
    listing: Listing,
    /// How many wait for what, once it was asked.
    waiting: Option<WaitingStatistics>,
    is_over: bool,
}

impl Looking {
    async fn next(&mut self) -> Option<Result<Vec<LockInfo>, Error>> {
        if self.is_over {
            return None;
        }
        let page = self.page().await?;
        self.is_over = page.is_err();
        Some(page)
    }

    async fn page(&mut self) -> Option<Result<Vec<LockInfo>, Error>> {
        if let Err(error) = self.locks.check_open() {
            return Some(Err(error));
        }
        if self.waiting.is_none() {
            // Whoever does not answer is told of with the locks.
            self.waiting = Some(self.locks.shared.statistics.count().await.unwrap_or_default());
        }
        let (kind, names) = match self.listing.next_some(AT_ONCE).await? {
            Ok(listed) => listed,
            Err(error) => return Some(Err(error)),
        };
        let names = names.iter().map(|name| Name::of_any_client(name.to_string())).collect::<Result<Vec<_>, _>>();
        Some(match names {
            Ok(names) => self.locks.look_at_each(&names, kind == Kind::Others, self.waiting.as_ref()).await,
            Err(error) => Err(error),
        })
    }
}

/// What is asked about some locks.
struct Question {
    names: Vec<Name>,
    /// The keys of the locks.
    keys: Vec<Arc<str>>,
    /// With what stands beside them.
    around: Vec<Arc<LockKeys>>,
    with_permits: bool,
    with_waiting: bool,
}

impl Question {
    fn new(shared: &Shared, names: &[Name], with_permits: bool, with_waiting: bool) -> Self {
        let keys: Vec<Arc<str>> = names.iter().map(|name| shared.keys.lock(name).into()).collect();
        let around = keys.iter().map(|key| Arc::new(Keys::around(key))).collect();
        Self { names: names.to_vec(), keys, around, with_permits, with_waiting }
    }

    /// What this node has of each.
    async fn ask(&self, shared: &Shared, node: usize) -> Result<Vec<Result<NodeRecord, Arc<str>>>, Arc<str>> {
        let (voter, reply_timeout) = (&shared.engine.nodes()[node], shared.engine.node_timeout());
        let looked: Vec<Result<Option<LockRecord>, _>> = voter.look_at_each(&self.around, reply_timeout).await?;
        // Few locks have a mark, or permits, and not every user may read one.
        let mut marks = voter.marks(&self.keys, reply_timeout).await.unwrap_or_default().into_iter();
        let mut permits = Vec::new().into_iter();
        let mut shared_locks = Vec::new().into_iter();
        if self.with_permits {
            let asked = self.keys.iter().map(|lock| voter.permits(Arc::clone(lock), reply_timeout));
            permits = join_all(asked).await.into_iter();
            let asked = self.keys.iter().map(|lock| voter.shared(Arc::clone(lock), reply_timeout));
            shared_locks = join_all(asked).await.into_iter();
        }
        let mut waiting = Vec::new().into_iter();
        if self.with_waiting {
            waiting = shared.statistics.count_each(&self.names, node).await.into_iter();
        }
        let records = looked.into_iter().map(|record| {
            let permits: PermitsRecord = permits.next().and_then(Result::ok).unwrap_or_default();
            let of_readers: SharedRecord = shared_locks.next().and_then(Result::ok).unwrap_or_default();
            let (mark, waiting) = (marks.next().flatten(), waiting.next().unwrap_or(0));
            record.map(|record| NodeRecord { record, waiting, mark, permits, shared: of_readers })
        });
        Ok(records.collect())
    }
}
