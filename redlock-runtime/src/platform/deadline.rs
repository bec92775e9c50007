//! One timer of each runtime for the deadlines of all rounds on it.
//!
//! Hardly any deadline is reached, because nodes answer. To put each into the runtime's timer wheel costs as much as the
//! rest of a round, and often wakes the thread that waits for sockets, so that it waits less long, before the request is even
//! written. Here a deadline is kept, and the one timer runs for whichever was the first when it was started: it is not moved
//! when that one is forgotten.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use super::clock;
use super::process::PerProcess;
use super::schedule::{Schedule, Ticket, Timer};
use super::tasks::{Handle, Id};

/// Ends at a moment.
///
/// # Cancel safety
///
/// Cancel safe: it may be polled again, and on another runtime as well, if the first one has ended.
#[must_use = "it rings for whoever polls it"]
pub(crate) struct Deadline {
    /// The moment.
    at: Instant,
    /// Whether it was just made for a later moment: when it is polled first, it need not be looked whether that has come. If it has, the
    /// timer rings at once.
    is_new: bool,
    /// Where it is kept, once it was polled, and as what. The ticket's moment is one of that runtime's timers.
    kept: Option<(Arc<DeadlineTimer>, Ticket)>,
}

/// So far away that nobody waits for it.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The timer ends after so long in any case, and is started again if it was used: where one round follows another it runs
/// already, and what is noted need not start it.
const LINGER: Duration = Duration::from_millis(50);

/// The deadlines on one runtime.
struct DeadlineTimer {
    runtime: Id,
    /// A std mutex: it is never held across an await.
    deadlines: Mutex<Deadlines>,
    /// Told when there is a deadline before the timer's end.
    is_early: Notify,
}

#[derive(Default)]
struct Deadlines {
    /// Who is to be woken.
    wakers: Schedule<Waker>,
    /// Whether anything was kept since it was started.
    is_used: bool,
    /// Whether the runtime has ended.
    is_over: bool,
}

/// Those of the runtimes that use one. A std lock: it is never held across an await.
static TIMERS: PerProcess<RwLock<Vec<Arc<DeadlineTimer>>>> = PerProcess::new();

impl Deadline {
    /// Rings after this time.
    pub(crate) fn after(time: Duration) -> Self {
        Self::after_from(clock::now(), time)
    }

    /// Rings this time after a moment that was read just before: to read the clock takes as long as all else here.
    pub(crate) fn after_from(now: Instant, time: Duration) -> Self {
        Self { at: now.checked_add(time).unwrap_or_else(|| now + FAR), is_new: !time.is_zero(), kept: None }
    }

    /// Whoever polls it next has a timer of his own, while that of the runtime where it was polled may stand still.
    pub(crate) fn leave_runtime(&mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        if let Some((timer, ticket)) = self.kept.take() {
            // Whoever it would wake is dropped behind the lock: that may be the last of somebody who has deadlines himself.
            let _forgotten = timer.deadlines().wakers.remove(ticket);
        }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((timer, ticket)) = &self.kept {
            let mut deadlines = timer.deadlines();
            if let Some(waker) = deadlines.wakers.get_mut(*ticket) {
                let former = (!waker.will_wake(cx.waker())).then(|| mem::replace(waker, cx.waker().clone()));
                drop(deadlines);
                drop(former);
                return Poll::Pending;
            }
            if !deadlines.is_over {
                return Poll::Ready(());
            }
        }
        if !mem::take(&mut self.is_new) && clock::now() >= self.at {
            return Poll::Ready(());
        }
        // If this runtime is ending as well, nothing on it is waited for.
        self.kept = DeadlineTimer::keep_here(clock::on_runtime(self.at).into_std(), cx.waker());
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.forget();
    }
}

impl DeadlineTimer {
    fn of_this_runtime() -> Arc<Self> {
        let runtime = Handle::current();
        let of_runtime = |timers: &[Arc<Self>]| timers.iter().find(|timer| timer.runtime == runtime.id()).cloned();
        let timers = TIMERS.noted().read().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = of_runtime(&timers) {
            return timer;
        }
        drop(timers);

        // Outside the lock: on a runtime without timers this panics, as any use of one does.
        let first = sleep(Duration::ZERO);
        let mut timers = TIMERS.noted().write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if let Some(timer) = of_runtime(&timers) {
            return timer;
        }
        timers.retain(|timer| !timer.deadlines().is_over);
        let timer = Arc::new(Self { runtime: runtime.id(), deadlines: Mutex::default(), is_early: Notify::new() });
        timers.push(Arc::clone(&timer));
        drop(timers);
        runtime.spawn(ring(Running(Arc::clone(&timer)), first));
        timer
    }

    /// Keeps who is to be woken, and when, on this runtime; nothing if that is ending.
    fn keep_here(at: Instant, waker: &Waker) -> Option<(Arc<Self>, Ticket)> {
        // One that is over although its runtime is not ended with a panic of somebody whom it woke.
        (0..2).find_map(|_| {
            let timer = Self::of_this_runtime();
            let ticket = timer.keep(at, waker);
            if ticket.is_none() {
                let mut timers = TIMERS.noted().write().unwrap_or_else(PoisonError::into_inner);
                timers.retain(|other| !Arc::ptr_eq(other, &timer));
            }
            ticket.map(|ticket| (timer, ticket))
        })
    }

    fn deadlines(&self) -> MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps who is to be woken, and when. Nothing is kept for a runtime that has ended.
    fn keep(&self, at: Instant, waker: &Waker) -> Option<Ticket> {
        let mut deadlines = self.deadlines();
        if deadlines.is_over {
            return None;
        }
        deadlines.is_used = true;
        let (ticket, timer) = deadlines.wakers.add(at, waker.clone());
        if timer == Timer::IsLate {
            drop(deadlines);
            self.is_early.notify_one();
        }
        Some(ticket)
    }

    /// Wakes everybody whose time has come; returns when to do so again.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let mut deadlines = self.deadlines();
        let linger = mem::take(&mut deadlines.is_used).then(|| now + LINGER);
        let due = deadlines.wakers.take_due(now, linger);
        let timer = deadlines.wakers.timer();
        drop(deadlines);
        due.for_each(Waker::wake);
        timer
    }
}

/// The task of a timer: when it is dropped, the runtime has ended.
struct Running(Arc<DeadlineTimer>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut deadlines = self.0.deadlines();
        deadlines.is_over = true;
        let left = deadlines.wakers.take_all();
        drop(deadlines);
        // They may be polled on another runtime.
        left.for_each(Waker::wake);
    }
}

async fn ring(running: Running, first: Sleep) {
    let timer = &running.0;
    first.await;
    loop {
        match timer.wake(clock::of_runtime()) {
            None => timer.is_early.notified().await,
            Some(moment) => {
                #[expect(clippy::disallowed_methods, reason = "it is a moment of this runtime's timers")]
                let moment = tokio::time::sleep_until(moment.into());
                tokio::select! {
                    biased;
                    () = moment => continue,
                    () = timer.is_early.notified() => {}
                }
            }
        }
        // Also if what it was told of has been forgotten since.
        timer.deadlines().is_used = true;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use tokio::runtime::Builder;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn poll_once(deadline: &mut Deadline) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *deadline).poll(cx))).await
    }

    fn kept_here() -> usize {
        DeadlineTimer::of_this_runtime().deadlines().wakers.len()
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_ring_in_the_order_of_their_moments_and_not_before() {
        let began = clock::now();
        let ring = async |seconds: u32| {
            Deadline::after(SECOND * seconds).await;
            clock::now() - began
        };
        let (last, first, second) = tokio::join!(ring(3), ring(1), ring(2));
        for (rang, seconds) in [(first, 1), (second, 2), (last, 3)] {
            assert!(rang >= SECOND * seconds && rang < SECOND * seconds + SECOND / 2, "{rang:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_set_for_an_earlier_moment_than_the_timer_rings_in_time() {
        let began = clock::now();
        let mut late = Deadline::after(60 * SECOND);
        assert!(poll_once(&mut late).await.is_pending());
        tokio::task::yield_now().await;
        Deadline::after(SECOND).await;
        assert!(clock::now() - began < 2 * SECOND, "{:?}", clock::now() - began);
        late.await;
        assert!(clock::now() - began >= 60 * SECOND);
    }

    #[tokio::test]
    async fn one_whose_time_is_over_rings_at_once_and_is_not_kept() {
        let mut over = Deadline::after(Duration::ZERO);
        assert!(poll_once(&mut over).await.is_ready());
        assert_eq!(kept_here(), 0);
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_any_more_is_forgotten() {
        for _ in 0..3 {
            let mut deadline = Deadline::after(60 * SECOND);
            assert!(poll_once(&mut deadline).await.is_pending());
            assert_eq!(kept_here(), 1);
        }
        assert_eq!(kept_here(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_lingers_between_deadlines_and_ends_when_none_is_set_any_more() {
        let timer = || DeadlineTimer::of_this_runtime().deadlines().wakers.timer();
        for _ in 0..3 {
            let _ = poll_once(&mut Deadline::after(60 * SECOND)).await;
            sleep(LINGER / 2).await;
            assert!(
                timer().is_some_and(|end| end < clock::now() + 2 * LINGER),
                "it runs, and not for what is forgotten"
            );
        }
        sleep(3 * LINGER).await;
        assert_eq!(timer(), None);
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as the test wants");
        }
    }

    #[tokio::test]
    async fn deadlines_ring_although_somebody_panicked_whom_one_woke() {
        let mut deadline = Deadline::after(Duration::from_millis(300));
        let waker = Waker::from(Arc::new(Panics));
        assert!(Pin::new(&mut deadline).poll(&mut Context::from_waker(&waker)).is_pending());
        let former = DeadlineTimer::of_this_runtime();
        while !former.deadlines().is_over {
            sleep(Duration::from_millis(1)).await;
        }
        Deadline::after(Duration::from_millis(1)).await;
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_whoever_polled_last_is_woken() {
        let [former, latter] = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
        let mut deadline = Deadline::after(SECOND);
        for wakes in [&former, &latter] {
            let waker = Waker::from(Arc::clone(wakes));
            assert!(Pin::new(&mut deadline).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        sleep(2 * SECOND).await;
        assert_eq!((former.0.load(Ordering::Relaxed), latter.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn one_whose_runtime_has_ended_rings_on_another() {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let mut deadline = Deadline::after(SECOND);
        let first = runtime();
        assert!(first.block_on(poll_once(&mut deadline)).is_pending());
        drop(first);
        runtime().block_on(deadline);
    }

    #[test]
    fn a_runtime_that_has_ended_is_forgotten() {
        let known = |runtime| TIMERS.noted().read().unwrap().iter().any(|timer| timer.runtime == runtime);
        let first = Builder::new_current_thread().enable_all().build().unwrap();
        let id = crate::platform::tasks::handle_of(&first).id();
        // Far away: one whose time is over before it is polled, on a busy machine, is not kept.
        let mut deadline = Deadline::after(60 * SECOND);
        assert!(first.block_on(poll_once(&mut deadline)).is_pending());
        assert!(known(id));
        drop(first);
        let mut deadline = Deadline::after(60 * SECOND);
        let second = Builder::new_current_thread().enable_all().build().unwrap();
        assert!(second.block_on(poll_once(&mut deadline)).is_pending());
        assert!(!known(id));
    }
}
