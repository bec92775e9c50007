//! What the simulation puts in the place of the machine: its clocks, its chance, its network, and its processes and runtimes, all of
//! which are one tokio runtime with a paused clock.
//!
//! Only a build with `--cfg redlock_simulated` has this module, and only tests make one. Everything else in the crate is
//! what ships.

#![allow(missing_docs, clippy::missing_errors_doc, reason = "for the simulation alone")]

pub(crate) mod tasks;
pub(crate) mod threads;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

pub use self::tasks::Placed;
pub use self::threads::{Thread, block_on};

/// A tokio runtime of a simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub process: usize,
    /// Which of its runtimes; [`Place::BACKGROUND`] is our own, and [`Place::THREAD`] none.
    pub runtime: usize,
}

impl Place {
    /// The number of the background runtime.
    pub const BACKGROUND: usize = 0;
    /// What stands for no runtime: the code runs on a thread of its own.
    pub const THREAD: usize = usize::MAX;
}

/// A byte stream to a simulated server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, and from where it comes as the server sees it, if nobody is in between.
pub type Connected = (Box<dyn Stream>, Option<SocketAddr>);

/// A connection that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;

/// std's, in an order that is the same in each run.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// What stands in for the machine.
pub trait World: Send + Sync {
    /// What the process takes this true moment for.
    fn local(&self, process: usize, truth: Instant) -> Instant;
    /// When the process's clock shows this moment.
    fn truth(&self, process: usize, moment: Instant) -> Instant;
    /// What the process takes for the time of day, as the time since 1970.
    fn since_1970(&self, process: usize) -> Duration;
    fn random(&self) -> [u8; 16];
    fn connect(&self, from: Place, host: &str, port: u16) -> Connecting;
    /// Whether tasks there are polled; if not, the waker is woken when they are again.
    fn may_run(&self, place: Place, waker: &Waker) -> bool;
    fn is_multi_thread(&self, place: Place) -> bool;
    /// A thread of this runtime blocks, or does not any more.
    fn blocks(&self, place: Place, is_blocked: bool);
    /// A task begins there. Aborting it is what the end of that runtime does.
    fn began(&self, place: Place, task: AbortHandle);
    /// Whether the runtime has ended.
    fn has_ended(&self, place: Place) -> bool;
}

thread_local! {
    static WORLD: RefCell<Option<Arc<dyn World>>> = const { RefCell::new(None) };
    /// Counts the worlds of all threads, because runtimes are told apart in statics.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    /// Where the present code runs.
    static HERE: Cell<Option<Place>> = const { Cell::new(None) };
    /// The run is over; whatever is dropped now has no effects any more.
    static IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// A world of this thread, until it is dropped.
#[derive(Debug)]
pub struct Installed(());

/// Puts the machine's place under this world, on this thread.
pub fn install(world: Arc<dyn World>) -> Installed {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBER.set(NUMBERS.fetch_add(1, Ordering::Relaxed));
    IS_OVER.set(false);
    WORLD.with(|place| place.replace(Some(world)));
    Installed(())
}

/// The run is over: nothing begins any more.
pub fn finish() {
    IS_OVER.set(true);
}

impl Drop for Installed {
    fn drop(&mut self) {
        drop(WORLD.with(RefCell::take));
    }
}

pub(crate) fn world() -> Option<Arc<dyn World>> {
    WORLD.try_with(|world| world.try_borrow().ok()?.clone()).ok().flatten()
}

pub(crate) fn number() -> u64 {
    NUMBER.get()
}

/// A name that no other run has.
pub(crate) fn of_this_run(name: &str) -> String {
    format!("{name} of run {}", NUMBER.get())
}

pub(crate) fn is_over() -> bool {
    IS_OVER.get()
}

/// Where the present code runs.
#[must_use]
pub fn here() -> Option<Place> {
    HERE.try_with(Cell::get).ok().flatten()
}

/// Runs something as code of that place.
pub fn within<T>(place: Place, run: impl FnOnce() -> T) -> T {
    let _within = Within::enter(place);
    run()
}

/// Where the code runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Within(Option<Place>);

impl Within {
    pub(crate) fn enter(place: Place) -> Self {
        Self(HERE.replace(Some(place)))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

pub(crate) fn is_on() -> bool {
    here().is_some()
}

/// What the process that runs takes this true moment for.
pub(crate) fn local(truth: Instant) -> Instant {
    match (world(), here()) {
        (Some(world), Some(here)) => world.local(here.process, truth),
        _ => truth,
    }
}

/// When the clock of the process that runs shows this moment.
pub(crate) fn truth(moment: Instant) -> Instant {
    match (world(), here()) {
        (Some(world), Some(here)) => world.truth(here.process, moment),
        _ => moment,
    }
}

pub(crate) fn since_1970() -> Option<Duration> {
    Some(world()?.since_1970(here()?.process))
}

pub(crate) fn random() -> Option<[u8; 16]> {
    Some(world()?.random())
}

/// Connects to a simulated server.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<Connected> {
    let connecting = match (world(), here()) {
        (Some(world), Some(here)) => world.connect(here, host, port),
        _ => return Err(io::Error::other("no simulated process runs")),
    };
    connecting.await
}
