//! What the tasks of simulated processes do: they want locks, by every means that there is, and end in every way.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use redlock_simulated::simulation::{Held, Place, here};
use redlock_simulated::{Error, Fire, LockGuard, LockManager, LockToken, OnceAt, Timeout, redlock};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::checker::Waiter;
use crate::node::TIME_OF_DAY;
use crate::plan::{Ending, FireKind, FireWish, How, Wish};
use crate::world::{Universe, now};

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
fn place() -> Place {
    here().expect("it runs in a process")
}

impl Task {
    pub(crate) async fn run(self, wishes: Vec<Wish>) {
        for wish in wishes {
            if let Some(fire) = &wish.fire {
                // By the clock of the process, which is ahead by its skew.
                let skew = self.universe.plan.processes[place().process].skew;
                let moment = (fire.due + wish.after).saturating_sub(skew);
                sleep(moment.saturating_sub(self.universe.elapsed())).await;
            } else {
                sleep(wish.after).await;
            }
            let lived = match wish.how {
                How::Guard | How::Blocking => AssertUnwindSafe(self.by_guard(&wish)).catch_unwind().await,
                How::Attribute => AssertUnwindSafe(self.by_attribute(&wish)).catch_unwind().await,
            };
            let Ok(goes_on) = lived else {
                self.universe.checker.meet("panicked");
                continue;
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Says whether it goes on.
    async fn by_guard(&self, wish: &Wish) -> bool {
        let universe = &*self.universe;
        let (place, began) = (place(), now());
        let waiter = (wish.limit != Some(Duration::ZERO)).then(|| universe.checker.joined(wish.name, place));
        let waits = Waits(universe, waiter);
        let acquiring = until_poll(wish.cancel, self.request(wish).acquire());
        let acquired = match wish.give_up {
            Some(limit) => timeout(limit, acquiring).await.ok().flatten(),
            None => acquiring.await,
        };
        let guard = match acquired {
            None => {
                universe.checker.meet("cancelled");
                universe.note(|| format!("p{} is cancelled", place.process));
                return true;
            }
            Some(Err(error)) => return self.failed(wish, place, began, &error),
            Some(Ok(guard)) => guard,
        };
        let number = universe.acquired(wish.name, place, waits.1, &guard);
        drop(waits);
        let holds = Holds(universe, wish.name, number);
        if let (Some(fire), Some(wanted)) = (guard.fire(), &wish.fire) {
            universe.started(fire, wanted);
        }
        let is_lost = self.hold(wish, number, &guard).await;
        if let (Some(fire), Some(wanted)) = (guard.fire(), &wish.fire)
            && !(is_lost || wanted.fails || matches!(wish.ending, Ending::Drop | Ending::Panic))
        {
            drop(holds);
            universe.checker.ended_well(fire);
            let polls = if let Ending::Cancel(polls) = wish.ending { Some(polls) } else { None };
            let completed = until_poll(polls, guard.complete()).await;
            universe.note(|| format!("p{}: fire {fire} completed: {completed:?}", place.process));
            match completed {
                Some(Ok(())) => universe.checker.confirmed(fire, wanted),
                Some(Err(Error::NotCompleted { .. } | Error::Lost { .. })) => universe.checker.meet("not completed"),
                // A fire that is marked already is released with the lock.
                Some(Err(error)) if !wanted.is_at_start => universe.violated(format!("p{}: {error}", place.process)),
                Some(Err(_)) | None => {}
            }
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
            Ending::Panic => std::panic::resume_unwind(Box::new("as planned")),
            Ending::Detach(after) => {
                drop(holds);
                let owner = Held::of(&guard).owner;
                universe.checker.detached(&owner);
                universe.note(|| format!("p{}: {} is detached", place.process, &owner[..8]));
                let _ = self.parcels.send(Parcel { name: wish.name, owner, token: guard.detach(), after });
            }
        }
        true
    }

    fn request(&self, wish: &Wish) -> redlock_simulated::LockRequest {
        let mut request = self.locks.lock(NAMES[wish.name]).ttl(wish.ttl).renew(wish.is_renewed).timeout(limit(wish));
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

    /// What a holder does; whether it stopped because the lock was lost.
    async fn hold(&self, wish: &Wish, number: u64, guard: &LockGuard) -> bool {
        let universe = &*self.universe;
        let until = now() + wish.body;
        let works = async {
            if let Some((after, ttl)) = wish.extension {
                sleep(after.min(wish.body)).await;
                let extended = guard.extend(ttl).await;
                universe.note(|| format!("extended: {extended:?}"));
                if extended.is_ok() {
                    universe.extended(wish.name, number);
                }
            }
            sleep(until.saturating_duration_since(now())).await;
        };
        let is_lost = tokio::select! {
            biased;
            _ = guard.lost() => true,
            () = works => false,
        };
        if is_lost {
            universe.told(wish.name, number);
            if wish.is_stubborn {
                sleep(until.saturating_duration_since(now())).await;
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
        match self.locks.adopt(token).await {
            Ok(guard) => {
                universe.checker.meet("adopted");
                universe.checker.adopted(&owner);
                let number = universe.acquired(name, place, None, &guard);
                let holds = Holds(universe, name, number);
                sleep(after).await;
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
    let number = universe.acquired(wish.name, place(), waiter, guard);
    let _holds = Holds(universe, wish.name, number);
    // The call itself ends the body when the lock is lost.
    universe.told(wish.name, number);
    sleep(wish.body).await;
    if wish.ending == Ending::Panic {
        std::panic::resume_unwind(Box::new("as planned"));
    }
    Ok(())
}
