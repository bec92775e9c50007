use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::engine::Engine;
use crate::error::NodeFailures;
use crate::manager::LockManager;
use crate::node::Voter;
use crate::node::counters::Answer;
use crate::platform::background::block_on;
use crate::protocol::{Quorum, StoredMark};
use crate::values::name::Name;

/// The last run that was completed of a job that uses [`once`](crate::LockRequest::once).
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use redlock_runtime::{Error, Fire, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let due = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
/// let _ = locks.lock("hourly").once(Fire::at(due)).run(async |_| Ok::<(), Error>(())).await?;
///
/// let last = locks.last_run("hourly").await?.expect("it ran just now");
/// assert_eq!(last.fire, 1_750_000_000_000); // in milliseconds
/// assert_eq!(last.moment(), Some(due));
/// assert!(last.is_confirmed);
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastRun {
    /// Its fire, as the number that [`Fire`](crate::Fire) explains.
    pub fire: u64,
    /// The fencing token of the lock under which it ran; zero where locks have none.
    pub fencing_token: u64,
    /// Whether a majority of the nodes says so. If fewer do, the body has ended well, but its process may not have learnt that
    /// the fire was completed.
    pub is_confirmed: bool,
}

impl LastRun {
    /// The fire as a moment: when the run was due, or was called. `None` for a number that no clock can show.
    #[must_use]
    pub fn moment(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.fire))
    }

    /// What follows from the marks of the nodes that answered.
    pub(super) fn of(quorum: Quorum, marks: impl Iterator<Item = Option<StoredMark>> + Clone) -> Option<Self> {
        let StoredMark { fire, token } =
            marks.clone().flatten().filter(|mark| *mark != StoredMark::NONE).max_by_key(|mark| mark.fire)?;
        let confirmed = marks.flatten().filter(|mark| mark.fire == fire).count();
        Some(Self { fire, fencing_token: token, is_confirmed: confirmed >= quorum.needed() })
    }
}

impl LockManager {
    /// The last run that was completed of the job whose lock has this name: the greatest fire that any node knows of those that
    /// answered, which are a majority at least. `None` if none of them knows one of the last
    /// [`marks_retention`](crate::LockManagerBuilder::marks_retention).
    ///
    /// A node that restarted empty has forgotten what was completed. So `None`, or a fire that is not the last, does not prove that
    /// nothing ran: if the nodes that still know it are down, this cannot tell. A call with [`once`](crate::LockRequest::once) for the
    /// forgotten fire does not run it again, but ends with [`Error::AlreadyRan`] or [`Error::FireInDoubt`].
    ///
    /// For jobs that make up for fires which nobody was there to run: run what is missing, one after the other, and let the scheduler
    /// do so as well, and nothing else run the job. Any number of processes may do so at once, if they wait
    /// ([`Timeout::Forever`](crate::Timeout::Forever)) and end with the first error; else a fire that failed may be overtaken, and never runs.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use redlock_runtime::{Error, Fire, LockManager, Timeout};
    ///
    /// async fn run_what_is_due(locks: &LockManager, first: SystemTime, now: SystemTime) -> Result<(), Error> {
    ///     let hour = Duration::from_secs(3600);
    ///     let last = locks.last_run("hourly").await?.and_then(|last| last.moment());
    ///     let mut due = last.map_or(first, |last| last + hour);
    ///     while due <= now {
    ///         let request = locks.lock("hourly").once(Fire::at(due)).timeout(Timeout::Forever);
    ///         // Skipped, it already ran. Whatever else happens, no later one may run before it.
    ///         let _ = request.run(async |_| report(due).await).await?;
    ///         due += hour;
    ///     }
    ///     Ok(())
    /// }
    /// # async fn report(_: SystemTime) -> Result<(), Error> { Ok(()) }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// # let now = SystemTime::now();
    /// # run_what_is_due(&locks, now - Duration::from_secs(7200), now).await?;
    /// # let before = now - Duration::from_secs(3 * 3600);
    /// # let _ = locks.lock("hourly").once(Fire::at(before)).run(async |_| report(before).await).await?;
    /// # run_what_is_due(&locks, now - Duration::from_secs(7200), now).await?;
    /// # assert!(locks.last_run("hourly").await?.unwrap().moment().unwrap() > now - Duration::from_secs(3600));
    /// # Ok::<(), Error>(())
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
    pub async fn last_run(&self, name: impl Into<String>) -> Result<Option<LastRun>, Error> {
        let quorum = self.shared.engine.quorum();
        let marks = self.ask_marks(name.into(), quorum.needed(), |node, lock, limit| node.mark(lock, limit)).await?;
        Ok(LastRun::of(quorum, marks.into_iter()))
    }

    /// [`Self::last_run`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::last_run`].
    pub fn last_run_blocking(&self, name: impl Into<String>) -> Result<Option<LastRun>, Error> {
        let name = name.into();
        block_on(self.last_run(name))
    }

    /// Says that no fire of the job whose lock has this name was completed, so that each may run again; on how many nodes one
    /// was. [`reset`](Self::reset) leaves completed fires alone.
    ///
    /// Also for a job that is new, on nodes that were just started: they cannot know that it never ran, and whoever deploys it does.
    /// Without this its fires are [in doubt](Error::FireInDoubt) at first.
    ///
    /// It waits for servers that were started within the last three seconds.
    ///
    /// Not while a run is under way or has just ended: its completion may reach a node behind this, and counts.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let run = async || locks.lock("import").once(7_u64).run(async |_| Ok::<_, Error>("ran")).await;
    /// assert_eq!(run().await?.ran(), Some("ran"));
    /// assert_eq!(run().await?.ran(), None); // it already ran
    /// locks.reset_marks("import").await?;
    /// assert_eq!(run().await?.ran(), Some("ran"));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] if a node did not confirm, which may still have a mark, or where a
    /// fire was completed meanwhile: that is left alone, also where this comes late. To reset them again does no harm. [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, it goes on in the background if it is dropped.
    pub async fn reset_marks(&self, name: impl Into<String>) -> Result<usize, Error> {
        let retention = self.shared.once_terms.retention;
        let all = self.shared.engine.quorum().nodes();
        let reset = move |node: &dyn Voter, lock, limit| node.reset_mark(lock, retention, limit);
        let were_there = self.ask_marks(name.into(), all, reset).await?;
        Ok(were_there.into_iter().filter(|was_there| *was_there).count())
    }

    /// [`Self::reset_marks`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::reset_marks`].
    pub fn reset_marks_blocking(&self, name: impl Into<String>) -> Result<usize, Error> {
        let name = name.into();
        block_on(self.reset_marks(name))
    }

    /// What the nodes answer about the mark of this lock, if so many do.
    async fn ask_marks<T: Send + 'static>(
        &self,
        name: String,
        needed: usize,
        ask: impl Fn(&dyn Voter, Arc<str>, Duration) -> Answer<T> + Copy + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        self.check_open()?;
        let name = Name::of_any_client(name)?;
        let engine: &Engine = &self.shared.engine;
        let (lock, limit): (Arc<str>, _) = (self.shared.keys.lock(&name).into(), engine.node_timeout());
        let (answers, failures): (Vec<(usize, T)>, NodeFailures) = engine
            .survey_all(|_, node| {
                let lock = Arc::clone(&lock);
                async move { ask(&*node, lock, limit).await }
            })
            .await;
        if answers.len() < needed {
            return Err(engine.unreachable(&name, answers.len(), failures));
        }
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}
