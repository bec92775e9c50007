use std::time::Duration;

use crate::Error;

/// How long a caller is willing to wait for a lock.
///
/// A [`Duration`] always means *up to*, so `Duration::ZERO` is one attempt. The numbers of the attribute
/// (`-1` one attempt, `0` for ever, `N` seconds) are understood by `Timeout::try_from(number)`.
///
/// ```
/// use std::time::Duration;
/// use redlock_runtime::Timeout;
///
/// assert_eq!(Timeout::try_from(-1.0)?, Timeout::Skip);
/// assert_eq!(Timeout::try_from(0.0)?, Timeout::Forever);
/// assert_eq!(Timeout::try_from(2.5)?, Timeout::After(Duration::from_millis(2500)));
/// assert_eq!(Timeout::from(Duration::ZERO), Timeout::After(Duration::ZERO));
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// One attempt; a lock that somebody else holds is not acquired.
    Skip,
    /// Keep trying until the lock is acquired. The default.
    #[default]
    Forever,
    /// Keep trying for up to this long; at least one attempt is made.
    After(Duration),
}

impl Timeout {
    /// The time after which a caller gives up, counted from its first attempt; `None` if never.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::Timeout;
    /// assert_eq!(Timeout::Skip.limit(), Some(Duration::ZERO));
    /// assert_eq!(Timeout::After(Duration::from_secs(5)).limit(), Some(Duration::from_secs(5)));
    /// assert_eq!(Timeout::Forever.limit(), None);
    /// ```
    #[must_use]
    pub const fn limit(self) -> Option<Duration> {
        match self {
            Self::Skip => Some(Duration::ZERO),
            Self::Forever => None,
            Self::After(limit) => Some(limit),
        }
    }
}

impl From<Duration> for Timeout {
    fn from(limit: Duration) -> Self {
        Self::After(limit)
    }
}

/// What says how long to wait: a [`Timeout`], a [`Duration`], and whatever else is `Into<Timeout>`.
///
/// ```
/// use std::time::Duration;
/// use redlock_runtime::{IntoTimeout, LockManager, Timeout};
///
/// /// What the caller's request says, in whole seconds.
/// struct Deadline(u64);
///
/// impl From<Deadline> for Timeout {
///     fn from(Deadline(seconds): Deadline) -> Self {
///         Timeout::After(Duration::from_secs(seconds))
///     }
/// }
///
/// assert_eq!(Deadline(5).into_timeout(), Duration::from_secs(5).into_timeout());
/// let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("report").timeout(Deadline(5)).acquire_blocking()?;
/// # drop(guard);
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a timeout",
    label = "expected a `Timeout` or a `Duration`",
    note = "a number of seconds is written `Duration::from_secs(…)` (up to that long), or `Timeout::try_from(…)` (with the \
            meaning of -1 and 0)"
)]
pub trait IntoTimeout {
    /// The value as a timeout.
    fn into_timeout(self) -> Timeout;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Timeout>> IntoTimeout for T {
    fn into_timeout(self) -> Timeout {
        self.into()
    }
}

/// What is a length of time: a [`Duration`].
///
/// ```
/// use std::time::Duration;
/// use redlock_runtime::{IntoDuration, LockManager};
///
/// /// A setting in minutes.
/// struct Minutes(u64);
///
/// impl IntoDuration for Minutes {
///     fn into_duration(self) -> Duration {
///         Duration::from_secs(60 * self.0)
///     }
/// }
///
/// let locks = LockManager::builder().nodes(["memory://"]).ttl(Minutes(2)).build()?;
/// let guard = locks.lock("report").acquire_blocking()?;
/// assert!(guard.remaining() > Duration::from_secs(100));
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a duration",
    label = "expected a `Duration`",
    note = "a number of seconds is written `Duration::from_secs(…)`"
)]
pub trait IntoDuration {
    /// The value as a duration.
    fn into_duration(self) -> Duration;
}

impl IntoDuration for Duration {
    fn into_duration(self) -> Duration {
        self
    }
}

impl TryFrom<f64> for Timeout {
    type Error = Error;

    /// Seconds, with the attribute's meaning: `-1` one attempt, `0` for ever, `N` up to N seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for NaN, an infinity, a negative number other than `-1` and a number of seconds that
    /// a [`Duration`] cannot hold.
    fn try_from(seconds: f64) -> Result<Self, Error> {
        // Exact comparisons: -1 and 0 are names here, not measurements.
        #[allow(clippy::float_cmp)]
        let named = if seconds == -1.0 {
            Some(Self::Skip)
        } else if seconds == 0.0 {
            Some(Self::Forever)
        } else {
            None
        };
        match named {
            Some(timeout) => Ok(timeout),
            None => Duration::try_from_secs_f64(seconds).map(Self::After).map_err(|_| Error::Config {
                reason: format!(
                    "a timeout of {seconds} seconds is not understood: use -1 for one attempt, 0 to wait for ever, \
                     or a positive number of seconds"
                ),
            }),
        }
    }
}
