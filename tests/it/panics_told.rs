//! What others wrote and what is told of locks, a recorder of metrics or a subscriber of events, may panic at any time: no lock stays
//! held for that, and nobody waits for ever.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use redlock_runtime::{Error, LockGuard, LockManager};
use redlock_tests::Servers;
use redlock_tests::wait::LIMIT;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::common::events::Events;
use crate::common::recorder::{Handles, HandsOut};
use crate::common::waiters::{Acquire, poll_once};
use crate::common::{none_has_x, unhurried};

/// No lock expires, or is renewed, while a test waits for it: what is there was not released.
const TTL: Duration = Duration::from_secs(300);

/// Panics at what is asked for, as soon as it is armed.
#[derive(Clone, Default)]
struct Panics {
    at: &'static str,
    is_armed: Arc<AtomicBool>,
    has_panicked: Arc<AtomicBool>,
}

impl Panics {
    fn at(at: &'static str) -> Self {
        Self { at, ..Self::default() }
    }

    fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
    }

    /// It hears of what this thread tells.
    fn subscribe(&self) -> DefaultGuard {
        // Whatever another thread tells first would count as of interest to nobody, were this the only one who listens.
        Events::from_now();
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    /// From now on it does as others do; whether it has panicked.
    fn disarm(&self) -> bool {
        self.is_armed.store(false, Ordering::Relaxed);
        self.has_panicked.load(Ordering::Relaxed)
    }

    fn comes_by(&self, what: &str) {
        // A panic while another unwinds would end the process, whatever the lock does.
        if self.is_armed.load(Ordering::Relaxed) && what == self.at && !std::thread::panicking() {
            self.has_panicked.store(true, Ordering::Relaxed);
            panic!("as the test wants, at {what}");
        }
    }
}

struct Series(Panics, String);

impl CounterFn for Series {
    fn increment(&self, _: u64) {
        self.0.comes_by(&self.1);
    }

    fn absolute(&self, _: u64) {
        self.0.comes_by(&self.1);
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {
        self.0.comes_by(&format!("{} up", self.1));
    }

    fn decrement(&self, _: f64) {
        self.0.comes_by(&format!("{} down", self.1));
    }

    fn set(&self, _: f64) {
        self.0.comes_by(&self.1);
    }
}

impl HistogramFn for Series {
    fn record(&self, _: f64) {
        self.0.comes_by(&self.1);
    }
}

impl Handles for Panics {
    type Handle = Series;

    fn handle(&self, key: &Key) -> Arc<Series> {
        Arc::new(Series(self.clone(), key.name().to_owned()))
    }
}

impl<S: Subscriber> Layer<S> for Panics {
    fn on_new_span(&self, _: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.comes_by("new span");
    }

    fn on_record(&self, _: &span::Id, _: &span::Record<'_>, _: Context<'_, S>) {
        self.comes_by("record");
    }

    fn on_enter(&self, _: &span::Id, _: Context<'_, S>) {
        self.comes_by("enter");
    }

    fn on_exit(&self, _: &span::Id, _: Context<'_, S>) {
        self.comes_by("exit");
    }

    fn on_close(&self, _: span::Id, _: Context<'_, S>) {
        self.comes_by("close");
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        self.comes_by(&message.0);
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

fn manager(servers: &Servers) -> LockManager {
    unhurried().nodes(servers.urls()).node_timeout(Duration::from_secs(2)).build().unwrap()
}

fn in_line(locks: &LockManager) -> Acquire {
    let mut acquire: Acquire = Box::pin(locks.lock("x").ttl(TTL).acquire());
    assert!(poll_once(&mut acquire).is_none(), "it has to wait");
    acquire
}

/// What comes of it within bounds, unless it panics.
async fn unless_it_panics<T>(what: impl Future<Output = T>) -> Option<T> {
    let within_bounds = tokio::time::timeout(LIMIT, what);
    AssertUnwindSafe(within_bounds).catch_unwind().await.ok().map(|ended| ended.expect("it ends"))
}

fn drops(guard: Option<Result<LockGuard, Error>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(guard)));
}

/// Several take turns while it panics; says whether it did.
async fn take_turns(panics: &Panics) -> bool {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").ttl(TTL).acquire().await.unwrap();
    let mut line = [(); 4].map(|()| in_line(&locks));
    panics.arm();
    drops(Some(Ok(guard)));
    for (number, waiter) in line.iter_mut().enumerate() {
        let guard = unless_it_panics(waiter).await;
        match guard {
            // In turn by dropping it, and by its release.
            Some(Ok(guard)) if number % 2 == 0 => _ = unless_it_panics(guard.release()).await,
            guard => drops(guard),
        }
    }
    // One acquisition by itself, and one that is refused.
    let alone = unless_it_panics(locks.lock("x").ttl(TTL).acquire()).await;
    let refused = unless_it_panics(others.lock("x").try_acquire()).await;
    drop(catch_unwind(AssertUnwindSafe(|| drop(refused))));
    drops(alone);
    let has_panicked = panics.disarm();
    // Nobody stands in the way, here or there; and nobody renews what is nobody's.
    for locks in [&locks, &others] {
        let acquired = tokio::time::timeout(LIMIT, locks.lock("x").acquire()).await;
        acquired.unwrap_or_else(|_| panic!("{}: it is held for ever", panics.at)).unwrap().release().await.unwrap();
    }
    none_has_x(&servers).await;
    has_panicked
}

#[tokio::test]
async fn a_recorder_that_panics_harms_no_lock() {
    const AT: [&str; 6] = [
        "redlock_held up",
        "redlock_held down",
        "redlock_waiting up",
        "redlock_waiting down",
        "redlock_hold_duration_seconds",
        "redlock_acquire_duration_seconds",
    ];
    for at in AT {
        let panics = Panics::at(at);
        let recorder = HandsOut(panics.clone());
        let _recorder = metrics::set_default_local_recorder(&recorder);
        // Who waits already has told so.
        assert!(take_turns(&panics).await || at == "redlock_waiting up", "{at}");
    }
}

#[tokio::test]
async fn a_subscriber_that_panics_harms_no_lock() {
    for at in ["new span", "record", "enter", "exit", "close"] {
        let panics = Panics::at(at);
        let _subscriber = panics.subscribe();
        assert!(take_turns(&panics).await, "{at}");
    }
}

/// Whoever gets the lock is told that enough nodes can be reached again, when it is his already.
#[tokio::test]
async fn a_subscriber_that_panics_when_the_lock_was_just_won_does_not_keep_it() {
    let servers = Servers::start(1);
    let builder = LockManager::builder().nodes(servers.urls()).slow_poll(Duration::from_millis(100));
    let (locks, others) = (builder.build().unwrap(), manager(&servers));
    let panics = Panics::at("enough nodes can be reached again");
    let _subscriber = panics.subscribe();
    servers[0].hang();
    let mut waiting = in_line(&locks);
    // It is told that too few can be reached.
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err());
    assert!(poll_once(&mut waiting).is_none());
    panics.arm();
    servers[0].resume();
    drops(unless_it_panics(waiting).await);
    assert!(panics.disarm(), "it was told");
    for locks in [&locks, &others] {
        let acquired = tokio::time::timeout(LIMIT, locks.lock("x").acquire()).await;
        acquired.expect("it is held for ever").unwrap().release().await.unwrap();
    }
    none_has_x(&servers).await;
}
