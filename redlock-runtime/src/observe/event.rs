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
/// let losses = Arc::new(Losses::default());
/// let locks = LockManager::builder().nodes(["memory://"]).observer(Arc::clone(&losses)).build()?;
/// # Ok::<(), redlock_runtime::Error>(())
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
    Path {
        /// Inside this process: no node was asked.
        Local = "local",
        /// By the nodes.
        Network = "network",
    }

    /// How it came that a lock is not held any more.
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
    RenewalFailure {
        /// Too few nodes answered.
        Unreachable = "unreachable",
        /// A majority of the nodes has no such key any more, or another owner's.
        Taken = "taken",
        /// The answers came when its validity was over.
        Expired = "expired",
    }

    /// What a node is asked.
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
