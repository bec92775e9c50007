//! What the tasks of simulated processes do: they want locks, by every means that there is, and end in every way.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use redlock_simulated::simulation::{Held, Place, Placed, Thread, block_on, here};
use redlock_simulated::{Error, Fire, LockGuard, LockManager, LockToken, OnceAt, Timeout, redlock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::checker::Waiter;
use crate::node::TIME_OF_DAY;
use crate::plan::{Ending, FireKind, FireWish, How, LockKind, Wish};
use crate::world::{Universe, locked, now, until};

pub(crate) const NAMES: [&str; 2] = ["x", "y"];

/// A detached lock, on its way to whoever adopts it.
pub(crate) struct Parcel {
    pub(crate) name: usize,
    pub(crate) owner: Arc<str>,
    pub(crate) token: LockToken,
    pub(crate) after: Duration,
}

/// One task of a process.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) universe: Arc<Universe>,
    pub(crate) locks: LockManager,
    /// Where detached locks go.
    pub(crate) parcels: mpsc::UnboundedSender<Parcel>,
    /// Where those are put that have to come to their end.
    pub(crate) tasks: Arc<Tasks>,
}

/// Tasks, and whose they are.
pub(crate) type Tasks = Mutex<Vec<(usize, JoinHandle<()>)>>;

/// With what bodies panic.
pub(crate) const PLANNED: &str = "as planned";

pub(crate) fn panic_as_planned() -> ! {
    resume_unwind(Box::new(PLANNED))
}

/// Waiting, until it is dropped.
struct Waits<'a>(&'a Universe, Option<Waiter>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.1.take() {
            self.0.checker.left(waiter);
        }
    }
}

/// Holding, until it is dropped.
struct Holds<'a>(&'a Universe, usize, u64);

impl Drop for Holds<'_> {
    fn drop(&mut self) {
        self.0.over(self.1, self.2);
    }
}

/// Drops a future at this poll.
async fn until_poll<F: Future>(polls: Option<u32>, future: F) -> Option<F::Output> {
    let mut future = Some(Box::pin(future));
    let mut left = polls;
    poll_fn(move |cx| {
        if left == Some(0) {
            future = None;
            return Poll::Ready(None);
        }
        left = left.map(|left| left - 1);
        match &mut future {
            Some(future) => future.as_mut().poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    })
    .await
}

/// Where the task runs.
pub(crate) fn place() -> Place {
    here().expect("it runs in a process")
}

impl Task {
    pub(crate) async fn run(self, wishes: Vec<Wish>) {
        for wish in wishes {
            if let Some(fire) = &wish.fire {
                // By the clock of the process, which is ahead by its skew.
                let skew = self.universe.plan.processes[place().process].skew;
                let moment = (fire.due + wish.after).saturating_sub(skew + fire.early);
                sleep(moment.saturating_sub(self.universe.elapsed())).await;
            } else {
                sleep(wish.after).await;
            }
            let lived = match wish.how {
                How::Guard => AssertUnwindSafe(self.by_guard(&wish)).catch_unwind().await,
                How::Attribute => AssertUnwindSafe(self.by_attribute(&wish)).catch_unwind().await,
                How::Blocking { is_attribute, is_on_runtime } => {
                    self.by_thread(&wish, is_attribute, is_on_runtime).await
                }
            };
            match lived {
                Ok(true) => {}
                Ok(false) => return,
                Err(panic) if panic.downcast_ref() == Some(&PLANNED) => self.universe.checker.meet("panicked"),
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    /// Says whether it goes on.
    async fn by_guard(&self, wish: &Wish) -> bool {
        let universe = &*self.universe;
        let (place, began) = (place(), now());
        let waiter = (wish.limit != Some(Duration::ZERO)).then(|| universe.checker.joined(wish.name, place));
        let waits = Waits(universe, waiter);
        universe.checker.stands_by(waiter, place, wish);
        let acquiring = universe.acquiring(place.process, self.request(wish).acquire());
        let acquiring = until_poll(wish.cancel, acquiring);
        let acquired = match wish.give_up {
            Some(limit) => timeout(limit, acquiring).await.ok().flatten(),
            None => acquiring.await,
        };
        universe.stood_by(waiter, wish, began, acquired.as_ref());
        let guard = match acquired {
            None => {
                universe.checker.meet("cancelled");
                universe.note(|| format!("p{} is cancelled", place.process));
                return true;
            }
            Some(Err(error)) => return self.failed(wish, place, began, &error),
            Some(Ok(guard)) => guard,
        };
        let number = universe.acquired(wish.name, place, waits.1, Held::of(&guard));
        drop(waits);
        let holds = Holds(universe, wish.name, number);
        if let (Some(fire), Some(wanted)) = (guard.fire(), &wish.fire) {
            universe.started(fire, wanted, number);
        }
        let is_lost = self.hold(wish, number, &guard).await;
        if let (Some(fire), Some(wanted)) = (guard.fire(), &wish.fire)
            && !(is_lost || wanted.fails || matches!(wish.ending, Ending::Drop | Ending::Panic))
        {
            drop(holds);
            universe.checker.ended_well(fire);
            let polls = if let Ending::Cancel(polls) = wish.ending { Some(polls) } else { None };
            self.completed(fire, wanted, until_poll(polls, guard.complete()).await.as_ref());
            return true;
        }
        match wish.ending {
            Ending::Release => {
                drop(holds);
                let released = guard.release().await;
                universe.note(|| format!("p{}: released: {released:?}", place.process));
            }
            Ending::Drop => {
                drop(holds);
                drop(guard);
            }
            Ending::Cancel(polls) => {
                drop(holds);
                drop(until_poll(Some(polls), guard.release()).await);
            }
            Ending::Panic => panic_as_planned(),
            Ending::Detach(after) => {
                drop(holds);
                self.detach(wish.name, guard, after);
            }
        }
        true
    }

    /// Hands a lock out.
    fn detach(&self, name: usize, guard: LockGuard, after: Duration) {
        let owner = Held::of(&guard).owner;
        self.universe.checker.detached(&owner);
        self.universe.note(|| format!("p{}: {} is detached", place().process, &owner[..8]));
        let _ = self.parcels.send(Parcel { name, owner, token: guard.detach(), after });
    }

    /// A fire was completed, or not; `None` where it was not waited for.
    fn completed(&self, fire: u64, wanted: &FireWish, completed: Option<&Result<(), Error>>) {
        let (universe, process) = (&*self.universe, place().process);
        universe.note(|| format!("p{process}: fire {fire} completed: {completed:?}"));
        match completed {
            Some(Ok(())) => universe.checker.confirmed(fire, wanted),
            Some(Err(Error::NotCompleted { .. } | Error::Lost { .. })) => universe.checker.meet("not completed"),
            // A fire that is marked already is released with the lock.
            Some(Err(error)) if !wanted.is_at_start => universe.violated(format!("p{process}: {error}")),
            Some(Err(_)) | None => {}
        }
    }

    /// Has a thread do something, whose code runs there. It goes on if the task that waits for it ends.
    pub(crate) async fn on_thread<T: Send + 'static>(
        &self,
        code: Place,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> thread::Result<T> {
        let nowhere = Place { runtime: Place::THREAD, ..code };
        let thread = Thread::new(code, run);
        let (told, heard) = oneshot::channel();
        let stands_for_it = async { drop(told.send(thread.await)) };
        locked(&self.tasks).push((code.process, tokio::spawn(Placed::new(nowhere, stands_for_it))));
        heard.await.expect("it ends with the run")
    }

    /// Has a thread take the lock.
    async fn by_thread(&self, wish: &Wish, is_attribute: bool, is_on_runtime: bool) -> thread::Result<bool> {
        let here = place();
        let (task, mut wish) = (self.clone(), wish.clone());
        if is_on_runtime {
            // Somebody may have it who cannot let it go while this blocks.
            wish.limit = wish.limit.or(Some(Duration::from_millis(200)));
        }
        let code = if is_on_runtime { here } else { Place { runtime: Place::THREAD, ..here } };
        let takes = move || if is_attribute { task.by_blocking_call(&wish) } else { task.by_blocking_guard(&wish) };
        self.on_thread(code, takes).await
    }

    /// As [`Self::by_guard`], on a thread.
    fn by_blocking_guard(&self, wish: &Wish) -> bool {
        let universe = &*self.universe;
        let (place, began) = (place(), now());
        let waiter = (wish.limit != Some(Duration::ZERO)).then(|| universe.checker.joined(wish.name, place));
        let waits = Waits(universe, waiter);
        universe.checker.stands_by(waiter, place, wish);
        universe.begins_to_acquire(place.process);
        let acquired = self.request(wish).acquire_blocking();
        universe.stood_by(waiter, wish, began, Some(&acquired));
        let guard = match acquired {
            Ok(guard) => guard,
            Err(error) => return self.failed(wish, place, began, &error),
        };
        universe.checker.meet("acquired by a thread");
        let number = universe.acquired(wish.name, place, waits.1, Held::of(&guard));
        drop(waits);
        let holds = Holds(universe, wish.name, number);
        if let (Some(fire), Some(wanted)) = (guard.fire(), &wish.fire) {
            universe.started(fire, wanted, number);
        }
        let is_lost = self.hold_blocking(wish, number, &guard);
        if let (Some(fire), Some(wanted)) = (guard.fire(), &wish.fire)
            && !(is_lost || wanted.fails || matches!(wish.ending, Ending::Drop | Ending::Panic))
        {
            drop(holds);
            universe.checker.ended_well(fire);
            self.completed(fire, wanted, Some(&guard.complete_blocking()));
            return true;
        }
        match wish.ending {
            Ending::Release | Ending::Cancel(_) => {
                drop(holds);
                let released = guard.release_blocking();
                universe.note(|| format!("p{}: released by a thread: {released:?}", place.process));
            }
            Ending::Drop => {
                drop(holds);
                drop(guard);
            }
            Ending::Panic => panic_as_planned(),
            Ending::Detach(after) => {
                drop(holds);
                self.detach(wish.name, guard, after);
            }
        }
        true
    }

    /// As [`Self::by_attribute`], on a thread.
    fn by_blocking_call(&self, wish: &Wish) -> bool {
        let (place, began) = (place(), now());
        let waiter = (wish.limit != Some(Duration::ZERO)).then(|| self.universe.checker.joined(wish.name, place));
        let waits = Waits(&self.universe, waiter);
        self.universe.begins_to_acquire(place.process);
        let called = match self.permits() {
            Some(permits) => annotated_blocking_with_permits(self, wish, waits.1, permits),
            None => annotated_blocking(self, wish, waits.1),
        };
        match called {
            Ok(()) => self.universe.checker.meet("called by a thread"),
            Err(error) => return self.failed(wish, place, began, &error),
        }
        true
    }

    fn request(&self, wish: &Wish) -> redlock_simulated::LockRequest {
        let name = NAMES[wish.name];
        let request = match wish.kind {
            LockKind::Plain => self.locks.lock(name),
            LockKind::Read => self.locks.read(name),
            LockKind::Write => self.locks.write(name),
            LockKind::All => self.locks.lock_all(NAMES),
        };
        let mut request = request.ttl(wish.ttl).renew(wish.is_renewed).timeout(limit(wish));
        if let Some(least) = wish.min_hold {
            request = request.min_hold(least);
        }
        if let Some(most) = wish.max_hold {
            request = request.max_hold(most);
        }
        if let Some(permits) = self.permits() {
            request = request.permits(permits);
        }
        if let Some(FireWish { kind, due, is_at_start, .. }) = wish.fire {
            let fire = match kind {
                FireKind::Due => Fire::at(SystemTime::UNIX_EPOCH + TIME_OF_DAY + due),
                FireKind::Number(number) => Fire::from(number),
                FireKind::Called { period } => Fire::every(period),
            };
            request = request.once(fire).once_at(if is_at_start { OnceAt::Start } else { OnceAt::End });
        }
        request
    }

    /// How many permits the process says that locks have.
    fn permits(&self) -> Option<u32> {
        self.universe.plan.permits.get(place().process).copied()
    }

    async fn by_attribute(&self, wish: &Wish) -> bool {
        let (place, began) = (place(), now());
        let waiter = (wish.limit != Some(Duration::ZERO)).then(|| self.universe.checker.joined(wish.name, place));
        let waits = Waits(&self.universe, waiter);
        let called = async {
            self.universe.begins_to_acquire(place.process);
            match self.permits() {
                Some(permits) => Box::pin(annotated_with_permits(self, wish, waits.1, permits)).await,
                None => Box::pin(annotated(self, wish, waits.1)).await,
            }
        };
        let called = until_poll(wish.cancel.map(|polls| polls * 2), called);
        let done = match wish.give_up {
            Some(limit) => timeout(limit + wish.body, called).await.ok().flatten(),
            None => called.await,
        };
        drop(waits);
        match done {
            None => self.universe.checker.meet("cancelled"),
            Some(Ok(())) => self.universe.checker.meet("called"),
            Some(Err(Error::Lost { .. })) => {}
            Some(Err(error)) => return self.failed(wish, place, began, &error),
        }
        true
    }

    /// Says whether it goes on after this error.
    fn failed(&self, wish: &Wish, place: Place, began: Instant, error: &Error) -> bool {
        let universe = &*self.universe;
        universe.note(|| format!("p{} has no {}: {error}", place.process, wish.name));
        match error {
            error if wish.is_certain => universe.violated(format!("p{} was kept from it: {error}", place.process)),
            Error::NotAcquired { .. } if wish.limit.is_some() => universe.checker.meet("not acquired"),
            Error::QuorumUnreachable { .. } if wish.limit.is_some() => universe.checker.meet("unreachable"),
            Error::AlreadyRan { fire, completed, .. } => {
                universe.already_ran(*fire, *completed, wish.fire.is_some_and(|fire| fire.is_at_start));
                return true;
            }
            Error::FireInDoubt { .. } if universe.may_be_in_doubt(wish) => universe.checker.meet("in doubt"),
            // It is not due yet.
            Error::Config { .. } if wish.fire.is_some() && universe.plan.twin.is_none() => {
                universe.checker.meet("early");
            }
            Error::NotCompleted { .. } if wish.fire.is_some_and(|fire| fire.is_at_start) => {
                universe.checker.meet("not completed");
            }
            Error::ShutDown if universe.checker.is_shut_down(place.process) => return false,
            Error::Config { .. } if universe.plan.twin.is_some() => universe.checker.meet("same server"),
            error => universe.violated(format!("p{}: {error}", place.process)),
        }
        universe.gave_up(place.process, began, wish.limit);
        true
    }

    /// As [`Self::hold`], on a thread. What it awaits meanwhile needs no runtime, which may be the one that it blocks.
    fn hold_blocking(&self, wish: &Wish, number: u64, guard: &LockGuard) -> bool {
        let universe = &*self.universe;
        let end = now() + wish.body;
        let is_lost_until = |moment: Instant| block_on(is_lost_before(guard, until(moment)));
        let extends_at = wish.extension.map(|(after, _)| now() + after.min(wish.body));
        let is_lost = extends_at.is_some_and(is_lost_until)
            || wish.extension.is_some_and(|(_, ttl)| {
                let extended = guard.extend_blocking(ttl);
                universe.note(|| format!("extended by a thread: {extended:?}"));
                if extended.is_ok() {
                    universe.extended(wish.name, number);
                }
                matches!(extended, Err(Error::Lost { .. }))
            })
            || is_lost_until(end);
        if is_lost {
            universe.told(wish.name, number);
            if wish.is_stubborn {
                block_on(until(end));
            }
        }
        is_lost && !wish.is_stubborn
    }

    /// What a holder does; whether it stopped because the lock was lost.
    async fn hold(&self, wish: &Wish, number: u64, guard: &LockGuard) -> bool {
        let universe = &*self.universe;
        let end = now() + wish.body;
        let works = async {
            if let Some((after, ttl)) = wish.extension {
                sleep(after.min(wish.body)).await;
                let extended = guard.extend(ttl).await;
                universe.note(|| format!("extended: {extended:?}"));
                if extended.is_ok() {
                    universe.extended(wish.name, number);
                }
            }
            until(end).await;
        };
        let is_lost = is_lost_before(guard, works).await;
        if is_lost {
            universe.told(wish.name, number);
            if wish.is_stubborn {
                until(end).await;
            }
        }
        is_lost && !wish.is_stubborn
    }

    /// Adopts what others detached.
    pub(crate) async fn adopt(self, parcel: Parcel) {
        let Parcel { name, owner, token, after } = parcel;
        sleep(after).await;
        let universe = &*self.universe;
        let place = place();
        match universe.acquiring(place.process, self.locks.adopt(token)).await {
            Ok(guard) => {
                universe.checker.meet("adopted");
                universe.checker.adopted(&owner);
                let number = universe.acquired(name, place, None, Held::of(&guard));
                let holds = Holds(universe, name, number);
                if is_lost_before(&guard, sleep(after)).await {
                    universe.told(name, number);
                }
                drop(holds);
                drop(guard.release().await);
            }
            Err(error) => {
                universe.checker.meet("not adopted");
                universe.note(|| format!("p{}: not adopted: {error}", place.process));
            }
        }
    }
}

/// Whether a holder is told that the lock is lost before this is done.
async fn is_lost_before(guard: &LockGuard, done: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        _ = guard.lost() => true,
        () = done => false,
    }
}

fn limit(wish: &Wish) -> Timeout {
    match wish.limit {
        None => Timeout::Forever,
        Some(Duration::ZERO) => Timeout::Skip,
        Some(limit) => Timeout::After(limit),
    }
}

#[redlock(
    crate = redlock_simulated,
    name = NAMES[wish.name],
    manager = &task.locks,
    timeout = limit(wish),
    ttl = wish.ttl,
    guard = guard
)]
async fn annotated(task: &Task, wish: &Wish, waiter: Option<Waiter>) -> Result<(), Error> {
    body(task, wish, waiter, guard).await
}

#[redlock(
    crate = redlock_simulated,
    name = NAMES[wish.name],
    manager = &task.locks,
    timeout = limit(wish),
    ttl = wish.ttl,
    permits = permits,
    guard = guard
)]
async fn annotated_with_permits(task: &Task, wish: &Wish, waiter: Option<Waiter>, permits: u32) -> Result<(), Error> {
    body(task, wish, waiter, guard).await
}

async fn body(task: &Task, wish: &Wish, waiter: Option<Waiter>, guard: &LockGuard) -> Result<(), Error> {
    let universe = &*task.universe;
    let number = universe.acquired(wish.name, place(), waiter, Held::of(guard));
    let _holds = Holds(universe, wish.name, number);
    // The call itself ends the body when the lock is lost.
    universe.told(wish.name, number);
    sleep(wish.body).await;
    if wish.ending == Ending::Panic {
        panic_as_planned();
    }
    Ok(())
}

#[redlock(
    crate = redlock_simulated,
    name = NAMES[wish.name],
    manager = &task.locks,
    timeout = limit(wish),
    ttl = wish.ttl,
    guard = guard
)]
fn annotated_blocking(task: &Task, wish: &Wish, waiter: Option<Waiter>) -> Result<(), Error> {
    blocking_body(task, wish, waiter, guard);
    Ok(())
}

#[redlock(
    crate = redlock_simulated,
    name = NAMES[wish.name],
    manager = &task.locks,
    timeout = limit(wish),
    ttl = wish.ttl,
    permits = permits,
    guard = guard
)]
fn annotated_blocking_with_permits(
    task: &Task,
    wish: &Wish,
    waiter: Option<Waiter>,
    permits: u32,
) -> Result<(), Error> {
    blocking_body(task, wish, waiter, guard);
    Ok(())
}

fn blocking_body(task: &Task, wish: &Wish, waiter: Option<Waiter>, guard: &LockGuard) {
    let universe = &*task.universe;
    let number = universe.acquired(wish.name, place(), waiter, Held::of(guard));
    let _holds = Holds(universe, wish.name, number);
    // Nobody listens.
    universe.told(wish.name, number);
    block_on(sleep(wish.body));
    if wish.ending == Ending::Panic {
        panic_as_planned();
    }
}
