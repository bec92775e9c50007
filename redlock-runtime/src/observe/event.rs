use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::LostReason;

/// Is told what happens to locks: by [`LockManagerBuilder::observer`](crate::LockManagerBuilder::observer).
///
/// It is called on the thread of the event, and the lock waits for it, so it must return at once: it counts, or passes on, and
/// waits for nothing. It must not ask the same manager for a lock. A panic is caught, and logged once at ERROR.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use redlock_runtime::LockManager;
/// use redlock_runtime::observe::{Event, Observer};
///
/// /// Counts losses.
/// #[derive(Default)]
/// struct Losses(AtomicU64);
///
/// impl Observer for Losses {
///     fn event(&self, event: &Event<'_>) {
///         if let Event::Lost { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let losses = Arc::new(Losses::default());
/// let locks = LockManager::builder().nodes(["memory://"]).observer(Arc::clone(&losses)).build()?;
/// let guard = locks.lock("import").acquire().await?;
/// locks.reset("import").await?; // as an operator would
/// println!("{}", guard.lost().await);
/// assert_eq!(losses.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Something happened. What an observer does not know it leaves alone: there may be more kinds of events in a later version.
    fn event(&self, event: &Event<'_>);
}

impl<T: Observer + ?Sized> Observer for std::sync::Arc<T> {
    fn event(&self, event: &Event<'_>) {
        (**self).event(event);
    }
}

/// What an [`Observer`] is told.
///
/// `lock` is the lock's label: one of few, never a name with an id in it. `node` is a node's host and port, or what else tells it from
/// the others, and never a credential.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use redlock_runtime::LockManager;
/// use redlock_runtime::observe::{Event, Observer};
///
/// #[derive(Default)]
/// struct Noted(Mutex<Vec<String>>);
///
/// impl Observer for Noted {
///     fn event(&self, event: &Event<'_>) {
///         let line = match event {
///             Event::AcquireEnded { lock, outcome, path, .. } => format!("{lock}: {outcome}, {path}"),
///             Event::HoldEnded { lock, end, .. } => format!("{lock}: {end}"),
///             _ => return,
///         };
///         self.0.lock().unwrap().push(line);
///     }
/// }
///
/// let noted = Arc::new(Noted::default());
/// let locks = LockManager::builder().nodes(["memory://"]).observer(Arc::clone(&noted)).build()?;
/// locks.lock("invoice:7").label("invoice:{id}").acquire_blocking()?.release_blocking()?;
/// assert_eq!(*noted.0.lock().unwrap(), ["invoice:{id}: acquired, network", "invoice:{id}: released"]);
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An acquisition is over, however it ended. Told once for each, whichever way the lock was asked for.
    #[non_exhaustive]
    AcquireEnded {
        /// The lock's label.
        lock: &'a str,
        /// How it ended.
        outcome: Outcome,
        /// Whether a node was asked.
        path: Path,
        /// How long it took, waiting included.
        took: Duration,
    },
    /// A caller begins to wait: its first attempt was not won, or others of this process stand before it. `WaitEnded` follows.
    #[non_exhaustive]
    WaitBegan {
        /// The lock's label.
        lock: &'a str,
    },
    /// A caller waits no more, whatever came of it.
    #[non_exhaustive]
    WaitEnded {
        /// The lock's label.
        lock: &'a str,
    },
    /// A lock is held. `HoldEnded` follows.
    #[non_exhaustive]
    HoldBegan {
        /// The lock's label.
        lock: &'a str,
    },
    /// A lock is not held any more.
    #[non_exhaustive]
    HoldEnded {
        /// The lock's label.
        lock: &'a str,
        /// How that came.
        end: End,
        /// How long it was held.
        held: Duration,
    },
    /// A held lock was lost; `HoldEnded` comes before.
    #[non_exhaustive]
    Lost {
        /// The lock's label.
        lock: &'a str,
        /// Why.
        reason: LostReason,
    },
    /// A lock was not extended when it was to be renewed. It may still be, while its validity lasts.
    #[non_exhaustive]
    RenewalFailed {
        /// The lock's label.
        lock: &'a str,
        /// Why.
        reason: RenewalFailure,
    },
    /// What ran under a lock ended well: the body of an annotated function returned, and not `Err`, or a guard was released. The lock
    /// was held to the end.
    #[non_exhaustive]
    RunEnded {
        /// The lock's label.
        lock: &'a str,
        /// When, by this machine's clock.
        at: SystemTime,
    },
    /// A node answered what it was asked.
    #[non_exhaustive]
    NodeAnswered {
        /// The node.
        node: &'a str,
        /// What it was asked.
        operation: Operation,
        /// How long it took.
        took: Duration,
    },
    /// A node votes from now on, or does not.
    #[non_exhaustive]
    NodeStands {
        /// The node.
        node: &'a str,
        /// Whether it votes.
        standing: NodeStanding,
    },
}

/// Values that stand in labels, with the words for them.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $value:ident = $word:literal,)* })*) => { $(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$meaning])* $value,)*
        }

        impl $name {
            /// All of them, in the order of their declaration.
            #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "series are made for each where there are metrics"))]
            pub(super) const ALL: &[Self] = &[$(Self::$value),*];

            /// The word that stands in a metric's label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )* };
}

words! {
    /// How an acquisition ended.
    ///
    /// ```
    /// use redlock_runtime::observe::Outcome;
    ///
    /// /// Whether somebody has to look at it.
    /// fn is_alarming(outcome: Outcome) -> bool {
    ///     matches!(outcome, Outcome::Unreachable | Outcome::Error)
    /// }
    ///
    /// assert!(is_alarming(Outcome::Unreachable) && !is_alarming(Outcome::Held));
    /// assert_eq!(Outcome::AlreadyRan.as_str(), "already_ran"); // as metrics have it
    /// ```
    Outcome {
        /// The lock was acquired.
        Acquired = "acquired",
        /// Somebody else held it for as long as the caller waited.
        Held = "held",
        /// Too few nodes could be asked, or knew of the fire.
        Unreachable = "unreachable",
        /// Its future was dropped, or the manager was shut down.
        Cancelled = "cancelled",
        /// The fire that it was for has run before.
        AlreadyRan = "already_ran",
        /// A name or a setting could not be used, or the call would have waited for itself.
        Error = "error",
    }

    /// Where an acquisition was decided.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::observe::{Event, Observer, Path};
    ///
    /// #[derive(Default)]
    /// struct Paths(Mutex<Vec<Path>>);
    ///
    /// impl Observer for Paths {
    ///     fn event(&self, event: &Event<'_>) {
    ///         if let Event::AcquireEnded { path, .. } = event {
    ///             self.0.lock().unwrap().push(*path);
    ///         }
    ///     }
    /// }
    ///
    /// let paths = Arc::new(Paths::default());
    /// let locks = LockManager::builder().nodes(["memory://"]).observer(Arc::clone(&paths)).build()?;
    /// let guard = locks.lock("report").acquire_blocking()?;
    /// assert_eq!(*paths.0.lock().unwrap(), [Path::Network]); // not handed over within the process
    /// assert_eq!(Path::Network.as_str(), "network");
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    Path {
        /// Inside this process: no node was asked.
        Local = "local",
        /// By the nodes.
        Network = "network",
    }

    /// How it came that a lock is not held any more.
    ///
    /// ```
    /// use redlock_runtime::observe::End;
    ///
    /// /// Whether what ran under the lock may not have been alone at its end.
    /// fn is_in_doubt(end: End) -> bool {
    ///     matches!(end, End::Lost | End::Reset)
    /// }
    ///
    /// assert!(is_in_doubt(End::Reset) && !is_in_doubt(End::Released));
    /// assert_eq!(End::ShutDown.as_str(), "shutdown"); // as metrics have it
    /// ```
    End {
        /// Its guard was released or dropped, or the lock was given out of hand by its token.
        Released = "released",
        /// It was lost.
        Lost = "lost",
        /// It was reset by this process.
        Reset = "reset",
        /// The manager was shut down: its holder let go because of that, or did not in time.
        ShutDown = "shutdown",
    }

    /// Why a lock was not extended.
    ///
    /// ```
    /// use redlock_runtime::observe::RenewalFailure;
    ///
    /// /// What whoever is called looks at first.
    /// fn look_at(failure: RenewalFailure) -> &'static str {
    ///     match failure {
    ///         RenewalFailure::Unreachable => "the nodes",
    ///         RenewalFailure::Taken => "who reset the lock, or a node that forgot it",
    ///         RenewalFailure::Expired => "what keeps the process from its renewal",
    ///         _ => "the log",
    ///     }
    /// }
    ///
    /// assert_eq!(look_at(RenewalFailure::Unreachable), "the nodes");
    /// assert_eq!(RenewalFailure::Unreachable.as_str(), "unreachable"); // as metrics have it
    /// ```
    RenewalFailure {
        /// Too few nodes answered.
        Unreachable = "unreachable",
        /// A majority of the nodes has no such key any more, or another owner's.
        Taken = "taken",
        /// The answers came when its validity was over.
        Expired = "expired",
    }

    /// What a node is asked.
    ///
    /// ```
    /// use redlock_runtime::observe::Operation;
    ///
    /// /// Whether a caller waits for the answer.
    /// fn is_waited_for(operation: Operation) -> bool {
    ///     !matches!(operation, Operation::Extend)
    /// }
    ///
    /// assert!(is_waited_for(Operation::Acquire) && !is_waited_for(Operation::Extend));
    /// assert_eq!(Operation::Acquire.as_str(), "acquire"); // as metrics have it
    /// ```
    Operation {
        /// To grant a lock.
        Acquire = "acquire",
        /// To give a lock from one owner to another.
        Adopt = "adopt",
        /// To raise a fencing counter, which takes a round of its own where the nodes differed.
        Commit = "commit",
        /// To let a lock live longer.
        Extend = "extend",
        /// To release a lock.
        Release = "release",
        /// To mark a fire as completed.
        Mark = "mark",
    }

    /// Whether a node votes.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::observe::{Event, NodeStanding, Observer};
    ///
    /// /// The nodes that do not vote, and why, as they come and go.
    /// #[derive(Default)]
    /// struct Missing(Mutex<Vec<String>>);
    ///
    /// impl Observer for Missing {
    ///     fn event(&self, event: &Event<'_>) {
    ///         if let Event::NodeStands { node, standing, .. } = event
    ///             && *standing != NodeStanding::Votes
    ///         {
    ///             self.0.lock().unwrap().push(format!("{node}: {}", standing.as_str()));
    ///         }
    ///     }
    /// }
    ///
    /// let missing = Arc::new(Missing::default());
    /// let locks = LockManager::builder().nodes(["redis://127.0.0.1:1"]).observer(Arc::clone(&missing)).build()?;
    /// assert!(locks.lock("report").try_acquire_blocking().is_err());
    /// assert_eq!(*missing.0.lock().unwrap(), ["127.0.0.1:1: unreachable"]);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    NodeStanding {
        /// It does.
        Votes = "votes",
        /// It restarted not long ago, and may have forgotten locks: it abstains while older nodes can be reached.
        Young = "young",
        /// It follows another server.
        Replica = "replica",
        /// It is one server with another node: it was configured twice, and has no vote under either name.
        SameServer = "same_server",
        /// It does not answer, or answers with an error.
        Unreachable = "unreachable",
    }
}

/// Why locks are lost, in the order in which they are numbered.
#[cfg(feature = "metrics")]
pub(super) const LOST_REASONS: &[LostReason] = &[
    LostReason::Expired,
    LostReason::Taken,
    LostReason::MaxHold,
    LostReason::RenewalEnded,
    LostReason::Reset,
    LostReason::ShutDown,
];

impl End {
    /// The end of a lock that was lost for this reason.
    pub(super) const fn of(reason: LostReason) -> Self {
        match reason {
            LostReason::Reset => Self::Reset,
            LostReason::ShutDown => Self::ShutDown,
            LostReason::Expired | LostReason::Taken | LostReason::MaxHold | LostReason::RenewalEnded => Self::Lost,
        }
    }
}
