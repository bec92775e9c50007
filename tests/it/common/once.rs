//! The job "job", whose fires run once.

use std::time::Duration;

use redlock_runtime::{Error, LastRun, LockManager, LockManagerBuilder, LockRequest, OnceAt, Run, SkipReason, Timeout};
use redlock_tests::Servers;
use redlock_tests::wait::{LIMIT, eventually_async};

use super::{key, manager};

pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where the greatest completed fire of a lock stands.
pub(crate) fn mark(name: &str) -> String {
    format!("redlock-done:{{{}}}", key(name))
}

/// A manager for whom it is known that the job "job" never ran: the servers are too young to know.
pub(crate) async fn new_job(servers: &Servers) -> LockManager {
    let locks = manager(servers);
    new_on(&locks).await;
    locks
}

pub(crate) async fn new_on(locks: &LockManager) {
    assert_eq!(locks.reset_marks("job").await.unwrap(), 0);
}

pub(crate) fn job(locks: &LockManager, fire: u64) -> LockRequest {
    locks.lock("job").once(fire).timeout(Timeout::Skip)
}

/// Runs the fire, whose body returns its number.
pub(crate) async fn run(request: LockRequest) -> Result<Run<Option<u64>>, Error> {
    request.run(async |guard| Ok(guard.fire())).await
}

pub(crate) fn already_ran(completed: u64) -> Run<Option<u64>> {
    Run::Skipped(SkipReason::AlreadyRan { completed })
}

/// The marks of the servers.
pub(crate) fn marks(servers: &Servers) -> Vec<Option<String>> {
    servers.values(&mark("job"))
}

/// Returns when all servers have the mark of this fire: the slowest may hear of a completion behind the majority that confirms it.
pub(crate) async fn all_are_marked(servers: &Servers, fire: u64) {
    let begin = format!("{fire}:");
    let is_marked = |mark: &Option<String>| mark.as_deref().is_some_and(|mark| mark.starts_with(&begin));
    eventually_async("all have the mark", async || marks(servers).iter().all(is_marked)).await;
}

/// Returns when no server has the key of the job's lock any more.
pub(crate) async fn no_key_is_left(servers: &Servers) {
    eventually_async("no key is left", async || servers.holding(&key("job")) == 0).await;
}

/// A job's fires run once, wherever the lock is.
pub(crate) async fn a_fire_runs_once(builder: LockManagerBuilder) {
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    new_on(&locks).await;
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    assert_eq!(run(job(&others, 7)).await.unwrap(), already_ran(7));
    assert_eq!(run(job(&others, 8)).await.unwrap(), Run::Ran(Some(8)));
    assert_eq!(run(job(&locks, 7)).await.unwrap(), already_ran(8));
    let guard = job(&locks, 9).once_at(OnceAt::Start).acquire().await.unwrap();
    drop(guard);
    assert_eq!(run(job(&others, 9).timeout(LIMIT)).await.unwrap(), already_ran(9));
    let LastRun { fire, is_confirmed, .. } = others.last_run("job").await.unwrap().expect("it ran");
    assert_eq!((fire, is_confirmed), (9, true));
}
