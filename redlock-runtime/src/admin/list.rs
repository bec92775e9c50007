use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{StreamExt as _, unfold};

use crate::Error;
use crate::error::NodeFailures;
use crate::lock::shared::Shared;
use crate::manager::LockManager;
use crate::node::inspect::{Cursor, Listed, Page};
use crate::platform::background::block_on;

/// The names of all locks that any node has, each once, in no order.
///
/// Given by [`LockManager::list`]. A stream, for those who have the combinators of the `futures` crate at hand;
/// [`next`](Self::next) does without.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _guards = (locks.lock("invoice:7").acquire().await?, locks.lock("invoice:8").acquire().await?);
/// let (mut names, mut invoices) = (locks.list(), Vec::new());
/// while let Some(name) = names.next().await {
///     invoices.extend(name?.strip_prefix("invoice:").map(str::to_owned));
/// }
/// invoices.sort();
/// assert_eq!(invoices, ["7", "8"]);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
///
/// # Cancel safety
///
/// [`next`](Self::next) is cancel safe; dropped, nothing more is asked.
#[must_use = "nothing is listed until it is polled"]
pub struct LockNames {
    names: Pin<Box<dyn Stream<Item = Result<String, Error>> + Send>>,
}

impl LockNames {
    /// The next name; `None` after the last one, and after an error.
    pub async fn next(&mut self) -> Option<Result<String, Error>> {
        std::future::poll_fn(|cx| self.names.as_mut().poll_next(cx)).await
    }
}

impl Stream for LockNames {
    type Item = Result<String, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.names.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for LockNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockNames").finish_non_exhaustive()
    }
}

impl LockManager {
    /// The names of all locks that any node has: held ones, and those that are kept from others until their `min_hold` is
    /// over; those of a Python fleet too, of locks with permits those of which any is held, and of locks that readers share those that
    /// anybody has. Each comes once. A lock that is acquired or released meanwhile may come or not.
    ///
    /// A name comes if a single node has it: also one whose key is left on a minority, which [`inspect`](Self::inspect) calls free, and which
    /// everybody can acquire. Whether nobody can is what [`is_locked`](Self::is_locked) says.
    ///
    /// The nodes are asked page by page (`SCAN`), twice from the beginning to the end, as names are wanted: a server with a million keys stands still for less
    /// than a millisecond at a time. Names that came are remembered until the end.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _guard = locks.lock("invoice:7").acquire().await?;
    /// let mut names = locks.list();
    /// while let Some(name) = names.next().await {
    ///     println!("{}", locks.inspect(name?).await?);
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ListIncomplete`], as the last item, if so few nodes listed their locks that one which is held may be missing.
    pub fn list(&self) -> LockNames {
        let listing = Listing::new(Arc::clone(&self.shared), false);
        LockNames {
            names: Box::pin(unfold(listing, async |mut listing| Some((listing.next().await?, listing))).fuse()),
        }
    }

    /// [`Self::list`] for code that is not async: each name blocks the thread until it comes.
    pub fn list_blocking(&self) -> impl Iterator<Item = Result<String, Error>> + Send + use<> {
        let mut names = self.list();
        let mut is_over = false;
        std::iter::from_fn(move || {
            let next = (!is_over).then(|| block_on(async { Ok(names.next().await) }))?;
            next.unwrap_or_else(|error| {
                is_over = true;
                Some(Err(error))
            })
        })
    }
}

/// What is listed; one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The keys of locks.
    Locks,
    /// Those of permits, and of locks that readers share.
    Others,
}

/// How far it was listed.
pub(super) struct Listing {
    /// The nodes.
    shared: Arc<Shared>,
    /// What is listed now.
    kind: Kind,
    /// Where the next page of each node begins that has one.
    cursors: Vec<(usize, Cursor)>,
    /// The nodes that have listed all of that.
    listed: Vec<usize>,
    /// The names that came.
    seen: HashSet<Arc<str>>,
    /// Those of them that were not given out.
    names: Vec<Arc<str>>,
    /// Whether a lock of either kind comes once as each.
    is_by_kind: bool,
    /// What the nodes said that did not list theirs.
    failures: NodeFailures,
}

impl Listing {
    /// With `is_by_kind`, a name of a lock with permits comes as such also if one without them has it too.
    pub(super) fn new(shared: Arc<Shared>, is_by_kind: bool) -> Self {
        let cursors = (0..shared.engine.nodes().len()).map(|node| (node, Cursor::default())).collect();
        Self {
            shared,
            kind: Kind::Locks,
            cursors,
            listed: Vec::new(),
            seen: HashSet::new(),
            names: Vec::new(),
            is_by_kind,
            failures: NodeFailures::default(),
        }
    }

    async fn next(&mut self) -> Option<Result<String, Error>> {
        if let Err(error) = self.fill().await? {
            return Some(Err(error));
        }
        self.names.pop().map(|name| Ok(name.to_string()))
    }

    /// Up to so many names that were not given out, and what they are names of.
    pub(super) async fn next_some(&mut self, most: usize) -> Option<Result<(Kind, Vec<Arc<str>>), Error>> {
        if let Err(error) = self.fill().await? {
            return Some(Err(error));
        }
        // Too few would answer what is asked about them.
        if let Some(error) = self.incomplete() {
            return Some(Err(error));
        }
        let rest = self.names.len().saturating_sub(most);
        Some(Ok((self.kind, self.names.split_off(rest))))
    }

    /// Sees to it that there is a name to give out; `None`: there is none.
    async fn fill(&mut self) -> Option<Result<(), Error>> {
        loop {
            if !self.names.is_empty() {
                return Some(Ok(()));
            }
            if let Some(error) = self.incomplete() {
                self.cursors.clear();
                self.failures = NodeFailures::default();
                return Some(Err(error));
            }
            if self.cursors.is_empty() && !self.go_on() {
                return None;
            }
            self.turn_page().await;
        }
    }

    /// Begins with what is listed next; says whether there is any more.
    fn go_on(&mut self) -> bool {
        if self.kind == Kind::Others {
            return false;
        }
        self.kind = Kind::Others;
        if self.is_by_kind {
            self.seen.clear();
        }
        self.cursors = self.listed.drain(..).map(|node| (node, Cursor::default())).collect();
        !self.cursors.is_empty()
    }

    /// Asks every node that has one for its next page.
    async fn turn_page(&mut self) {
        let engine = &self.shared.engine;
        let (keys, reply_timeout) = (&self.shared.keys, engine.node_timeout());
        let wanted = match self.kind {
            Kind::Locks => Listed::Locks(Arc::clone(&keys.lock_prefix)),
            Kind::Others => Listed::Others,
        };
        let cursors: HashMap<_, _> = self.cursors.drain(..).collect();
        let (pages, failures) = engine
            .survey(cursors.keys().copied(), |index, node| {
                let (wanted, from) = (wanted.clone(), cursors[&index]);
                async move { node.page(wanted, from, reply_timeout).await }
            })
            .await;
        for (node, Page { keys, next }) in pages {
            match next {
                Some(next) => self.cursors.push((node, next)),
                None => self.listed.push(node),
            }
            let kind = self.kind;
            let names = keys.iter().filter_map(|key| match kind {
                Kind::Locks => self.shared.keys.name_of(key),
                Kind::Others => {
                    let of_permit = self.shared.keys.name_of_permit(key).map(|(name, _)| name);
                    of_permit.or_else(|| self.shared.keys.name_of_shared(key))
                }
            });
            for name in names {
                let name: Arc<str> = name.as_str().into();
                if self.seen.insert(Arc::clone(&name)) {
                    self.names.push(name);
                }
            }
        }
        self.failures.extend(failures);
    }

    /// Every majority must have a node that listed its locks, so that whatever is held was seen.
    fn incomplete(&self) -> Option<Error> {
        let quorum = self.shared.engine.quorum();
        let (nodes, needed) = (quorum.nodes(), quorum.spare() + 1);
        let listed = nodes - self.failures.len();
        (listed < needed).then(|| Error::ListIncomplete { listed, needed, nodes, source: self.failures.clone() })
    }
}
