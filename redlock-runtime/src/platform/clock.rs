//! The one place that reads a clock, and that turns its moments into timers.
//!
//! It is the monotonic clock of the machine and, on Linux, goes on while the machine is suspended: what a lock's validity is
//! measured by must not stand still while its keys expire. Timers do stand still then: whatever waits for a moment may
//! be woken late by as much as that, and compares moments when it is.
//!
//! Inside a tokio runtime whose clock a test has paused or moved it is that runtime's clock, so tests can run hours in
//! milliseconds. A blocking call on such a runtime begins with its time and goes on with the machine's.
//!
//! The wall clock is read for nothing but proposals of fencing tokens, and to be compared with those of servers in a report.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::Sleep;

use super::drivers::is_on_ending_thread;

/// By how much moments differ from those of the runtime that is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Ahead(Duration),
    Behind(Duration),
}

thread_local! {
    /// Set while a blocking call of a runtime with a clock of its own is driven on another one. Nothing in it is dropped, so
    /// threads that are ending have it too.
    static SHIFT: Cell<Option<Shift>> = const { Cell::new(None) };
}

/// The present moment.
pub(crate) fn now() -> Instant {
    #[cfg(redlock_simulated)]
    if crate::platform::simulated::is_on() {
        return crate::platform::simulated::local(of_runtime());
    }
    let running = of_runtime();
    let now = running + suspension::until(running);
    match SHIFT.get() {
        None => now,
        Some(Shift::Ahead(by)) => now + by,
        Some(Shift::Behind(by)) => now.checked_sub(by).unwrap_or(now),
    }
}

/// A moment as the timers of the current runtime know it.
pub(crate) fn on_runtime(moment: Instant) -> tokio::time::Instant {
    #[cfg(redlock_simulated)]
    if crate::platform::simulated::is_on() {
        return crate::platform::simulated::truth(moment).into();
    }
    let moment = moment.checked_sub(suspension::known()).unwrap_or(moment);
    match SHIFT.get() {
        None => moment,
        Some(Shift::Ahead(by)) => moment.checked_sub(by).unwrap_or(moment),
        Some(Shift::Behind(by)) => moment.checked_add(by).unwrap_or(moment),
    }
    .into()
}

/// Waits until this moment.
pub(crate) fn sleep_until(moment: Instant) -> Sleep {
    #[expect(clippy::disallowed_methods, reason = "everything else sleeps until moments of this clock")]
    tokio::time::sleep_until(on_runtime(moment))
}

/// The present moment as the timers of the current runtime know it.
#[expect(clippy::disallowed_methods, reason = "everything else takes `now` from here")]
pub(crate) fn of_runtime() -> Instant {
    // Tokio looks for its clock where there is nothing any more.
    if is_on_ending_thread() { Instant::now() } else { tokio::time::Instant::now().into_std() }
}

/// By how much the clock of the current runtime was moved, by a test; `None` if it is the machine's.
#[expect(clippy::disallowed_methods, reason = "everything else takes `now` from here")]
pub(crate) fn shift_of_runtime() -> Option<Shift> {
    #[cfg(redlock_simulated)]
    if crate::platform::simulated::is_on() {
        return None;
    }
    let before = Instant::now();
    let told = of_runtime();
    if told < before {
        Some(Shift::Behind(before - told))
    } else if told > Instant::now() {
        Some(Shift::Ahead(told - before))
    } else {
        None
    }
}

/// Runs something by a clock that differs so from that of the runtime that is entered.
pub(crate) fn shifted<T>(shift: Option<Shift>, run: impl FnOnce() -> T) -> T {
    struct Former(Option<Shift>);

    impl Drop for Former {
        fn drop(&mut self) {
            SHIFT.set(self.0);
        }
    }

    let _former = Former(SHIFT.replace(shift));
    run()
}

/// A future for another runtime that goes by the clock of this call.
pub(crate) fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let shift = SHIFT.get();
    async move {
        let mut future = pin!(future);
        poll_fn(|cx| shifted(shift, || future.as_mut().poll(cx))).await
    }
}

/// The time of day, as the time since 1970; see [`Fence`](crate::protocol::Fence).
#[expect(clippy::disallowed_methods, reason = "only fencing tokens are told the time of day")]
pub(crate) fn since_1970() -> Duration {
    #[cfg(redlock_simulated)]
    if let Some(time) = crate::platform::simulated::since_1970() {
        return time;
    }
    // A clock before 1970 is wrong; tokens then grow one by one.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// How long the machine was suspended. Linux's monotonic clock, which is std's and tokio's, leaves that out.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod suspension {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use rustix::time::{ClockId, clock_gettime};

    /// Two clocks that are read one after the other differ by less, and what is less than this does no harm: half of what a
    /// validity allows for clocks that run apart.
    pub(super) const NOTICED: Duration = Duration::from_millis(1);

    /// A reading of both clocks at the same moment.
    static ORIGIN: OnceLock<(Instant, Duration)> = OnceLock::new();

    /// How long it was since then, as far as that was noticed; in nanoseconds.
    static KNOWN: AtomicU64 = AtomicU64::new(0);

    pub(super) fn known() -> Duration {
        Duration::from_nanos(KNOWN.load(Ordering::Relaxed))
    }

    /// How long it was until this moment of the monotonic clock, which is now. Of a clock that a test has moved nothing can be
    /// told but what was noticed before.
    pub(super) fn until(running: Instant) -> Duration {
        let (origin, origin_boot) = *ORIGIN.get_or_init(read_both);
        let known = known();
        // The kernel's page of clocks, without a system call. Compared as numbers, because it is done for every moment that is read.
        let expected = nanoseconds(origin_boot)
            .wrapping_add(nanoseconds(running.saturating_duration_since(origin)))
            .wrapping_add(nanoseconds(known));
        if nanoseconds(since_boot()).abs_diff(expected) <= nanoseconds(NOTICED) {
            return known;
        }
        let (running, boot) = read_both();
        let suspended = suspended(running.saturating_duration_since(origin), boot.saturating_sub(origin_boot));
        if suspended > known + NOTICED {
            KNOWN.fetch_max(u64::try_from(suspended.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self::known()
    }

    /// Of centuries no more than fits; whatever is compared is less.
    const fn nanoseconds(duration: Duration) -> u64 {
        duration.as_secs().wrapping_mul(1_000_000_000).wrapping_add(duration.subsec_nanos() as u64)
    }

    /// What is left of the time since the machine's start without that for which it ran.
    pub(super) fn suspended(ran: Duration, passed: Duration) -> Duration {
        passed.saturating_sub(ran)
    }

    /// Both clocks, as close together as they can be read: a thread may be stopped between them.
    #[expect(clippy::disallowed_methods, reason = "everything else takes `now` from the parent")]
    fn read_both() -> (Instant, Duration) {
        const TRIES: usize = 8;
        const CLOSE: Duration = Duration::from_micros(10);

        let read = || {
            let before = Instant::now();
            let boot = since_boot();
            (before.elapsed(), (before, boot))
        };
        let mut best = read();
        for _ in 1..TRIES {
            if best.0 <= CLOSE {
                break;
            }
            let next = read();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }

    pub(super) fn since_boot() -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        // It counts from the machine's start, so neither part is negative.
        let since = Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
        #[cfg(test)]
        let since = since + Duration::from_secs(SUSPENDED.load(Ordering::Relaxed));
        since
    }

    /// For how many seconds more the machine was suspended, as tests want it.
    #[cfg(test)]
    static SUSPENDED: AtomicU64 = AtomicU64::new(0);

    #[cfg(test)]
    pub(super) fn suspend(seconds: u64) {
        SUSPENDED.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// Not known here: the machine's monotonic clock is taken as it is.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod suspension {
    use std::time::{Duration, Instant};

    pub(super) fn known() -> Duration {
        Duration::ZERO
    }

    pub(super) fn until(_: Instant) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_clock_and_its_timers_agree() {
        for shift in
            [None, Some(Shift::Ahead(Duration::from_secs(3600))), Some(Shift::Behind(Duration::from_millis(5)))]
        {
            shifted(shift, || {
                let (runtime, now) = (of_runtime(), now());
                let apart = on_runtime(now).into_std().saturating_duration_since(runtime);
                assert!(apart < Duration::from_secs(60), "{shift:?}: {apart:?}");
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_is_followed_and_told_from_the_machines() {
        let began = now();
        assert!(shift_of_runtime().is_some());
        sleep_until(began + Duration::from_secs(3600)).await;
        let passed = now() - began;
        assert!((Duration::from_secs(3600)..Duration::from_secs(3601)).contains(&passed), "{passed:?}");
    }

    #[tokio::test]
    async fn a_clock_that_runs_is_the_machines() {
        assert_eq!(shift_of_runtime(), None);
    }

    /// Runs this test in a process of its own, because what was noticed once is known for ever; says whether this is that process.
    #[cfg(target_os = "linux")]
    fn is_alone(test: &str) -> bool {
        const ALONE: &str = "REDLOCK_TEST_SUSPENDED";

        if std::env::var_os(ALONE).is_some() {
            return true;
        }
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = alone.args(["--exact", &format!("{module}::{test}")]).env(ALONE, "").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains(" 1 passed"), "{said}");
        false
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_for_which_the_machine_was_suspended_counts() {
        const SUSPENDED: Duration = Duration::from_secs(100);

        if !is_alone("the_time_for_which_the_machine_was_suspended_counts") {
            return;
        }
        assert!(now() - of_runtime() < SUSPENDED / 2);
        suspension::suspend(SUSPENDED.as_secs());
        let running = of_runtime();
        let ahead = now() - running;
        // The two clocks are read one after the other.
        assert!((SUSPENDED..SUSPENDED * 2).contains(&(ahead + suspension::NOTICED)), "{ahead:?}");
        // A timer is not set as far ahead as the clock is.
        let apart = on_runtime(now()).into_std().saturating_duration_since(running);
        assert!(apart < SUSPENDED / 2, "{apart:?}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_lock_whose_ttl_the_machine_was_suspended_for_is_not_held_any_more() {
        const TTL: Duration = Duration::from_secs(100);

        if !is_alone("a_lock_whose_ttl_the_machine_was_suspended_for_is_not_held_any_more") {
            return;
        }
        let locks = crate::LockManager::builder().nodes(["memory://"]).build().unwrap();
        let guard = locks.lock("x").ttl(TTL).renew(false).acquire().await.unwrap();
        // Renewed soon, when it is too late.
        let renewed = locks.lock("y").ttl(Duration::from_secs(10)).acquire().await.unwrap();
        suspension::suspend(TTL.as_secs() / 2);
        assert!(guard.is_valid() && guard.remaining() < TTL / 2, "{:?}", guard.remaining());
        assert!(!renewed.is_valid());
        assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
        suspension::suspend(TTL.as_secs() / 2);
        assert!(!guard.is_valid());
        assert_eq!(guard.remaining(), Duration::ZERO);
        let next = locks.lock("x").try_acquire().await.unwrap().expect("its key has expired");
        assert!(next.is_valid());
        assert!(guard.release().await.is_err());
        let told = renewed.lost().await;
        assert!(matches!(told, crate::Error::Lost { .. }), "{told}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_that_goes_on_is_the_one_since_the_machines_start() {
        let (boot, began) = (suspension::since_boot(), now());
        let both = [suspension::since_boot().saturating_sub(boot), now() - began];
        assert!(both[0].abs_diff(both[1]) < Duration::from_secs(1), "{both:?}");
        assert_eq!(suspension::suspended(Duration::from_secs(1), Duration::from_secs(5)), Duration::from_secs(4));
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((uptime - boot.as_secs_f64()).abs() < 60.0, "{uptime} and {boot:?}");
    }
}
