use std::time::{Duration, SystemTime};

use super::timeout::IntoDuration;

/// One run of a job, in the whole fleet: what [`LockRequest::once`](crate::LockRequest::once) and `#[redlock(once = …)]` let run
/// once.
///
/// A fire is a number that grows. It is completed when its body has ended well, and then neither it nor a smaller one runs again.
///
/// | made from | the number | the same fire is |
/// |---|---|---|
/// | [`SystemTime`], [`Fire::at`] | milliseconds since 1970 | the same moment: the one that the job is *scheduled for*, not the one at which it starts |
/// | [`Duration`], [`Fire::every`], a literal such as `"1d"` | the moment of the call, by this machine's clock | every call less than half a period after the last completed one |
/// | `u64` | itself, up to 2^53 − 1 | the same number: of a build, of a batch |
///
/// Use one of these for one lock: numbers of different kinds cannot be compared.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use redlock_runtime::Fire;
///
/// let planned = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// assert_eq!(Fire::at(planned), Fire::from(planned));
/// assert_eq!(Fire::every(Duration::from_secs(60)), Fire::from(Duration::from_secs(60)));
/// let batch = Fire::from(17_u64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fire(pub(crate) FireKind);

/// What a fire is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FireKind {
    /// A number.
    Number(u64),
    /// The moment that it is due.
    At(SystemTime),
    /// The moment of the call, once a period.
    Every(Duration),
}

impl Fire {
    /// What is due at this moment. It may be asked for from [`max_clock_skew`](crate::LockManagerBuilder::max_clock_skew) before
    /// that moment on.
    #[must_use]
    pub fn at(moment: impl Into<SystemTime>) -> Self {
        Self(FireKind::At(moment.into()))
    }

    /// One run a period, from 1 s to [`marks_retention`](crate::LockManagerBuilder::marks_retention). There is no grid, such as
    /// midnight, because any has a boundary at which some schedule fires: the fire is the moment of the call, and a call less
    /// than half a period after the last completed one is the same fire. So all calls of one fire have to come within half a period,
    /// differences of the machines' clocks included.
    #[must_use]
    pub fn every(period: impl IntoDuration) -> Self {
        Self(FireKind::Every(period.into_duration()))
    }
}

impl From<u64> for Fire {
    fn from(number: u64) -> Self {
        Self(FireKind::Number(number))
    }
}

impl From<SystemTime> for Fire {
    fn from(moment: SystemTime) -> Self {
        Self::at(moment)
    }
}

impl From<Duration> for Fire {
    fn from(period: Duration) -> Self {
        Self::every(period)
    }
}

/// What says which run of a job it is: a [`Fire`], and whatever else is `Into<Fire>`.
///
/// ```
/// use redlock_runtime::{Fire, IntoFire, LockManager};
///
/// /// Counts up with each build.
/// struct BuildNumber(u64);
///
/// impl From<BuildNumber> for Fire {
///     fn from(BuildNumber(number): BuildNumber) -> Self {
///         Fire::from(number)
///     }
/// }
///
/// assert_eq!(BuildNumber(212).into_fire(), Fire::from(212));
/// let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("publish").once(BuildNumber(212)).acquire_blocking()?;
/// assert_eq!(guard.fire(), Some(212));
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no fire: it does not say which run of the job it is",
    label = "expected a `SystemTime`, a `Duration`, a `u64` or a `Fire`",
    note = "a moment for which the run is scheduled is a `SystemTime`; one of another library is written `Fire::at(…)`",
    note = "one run a period is a `Duration`, or in the attribute a text with its unit, such as \"1d\"",
    note = "a number that grows with each run is a `u64`"
)]
pub trait IntoFire {
    /// The value as a fire.
    fn into_fire(self) -> Fire;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Fire>> IntoFire for T {
    fn into_fire(self) -> Fire {
        self.into()
    }
}

/// When a fire is marked as completed.
///
/// ```
/// use redlock_runtime::{LockManager, OnceAt};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// // A mail: better not at all than twice.
/// let request = locks.lock("reminder").once(17_u64).once_at(OnceAt::Start);
/// request.run(async |_| Ok::<(), redlock_runtime::Error>(())).await?;
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnceAt {
    /// When its body has ended well. A run that fails, or whose machine dies, is made up for by whoever stands by; between the
    /// body's end and its mark it may run again. The default.
    #[default]
    End,
    /// Before its body starts: it runs at most once, and a run that fails, or whose machine dies, is lost; also one that is cancelled
    /// while the mark is being written.
    Start,
}
