//! Uses locks where a process has less than it needs, or is not what it was: `hardship WHICH`, with the nodes in
//! `REDLOCK_NODES`. It prints a line for each call, `what: how it went`.
//!
//! - `descriptors`, `threads`: has none left, and then has some again;
//! - `descriptors_N`: has so many left, and then more;
//! - `names`: has no thread left to look up the name of a node, and then has one again;
//! - `destructor`: in the destructor of a thread-local, when tokio's are gone;
//! - `drivers`: on tokio runtimes without timers or sockets;
//! - `fork`, `fork_before_use`: in a child that was forked.

use std::cell::RefCell;
use std::error::Error as _;
use std::fs::{self, File};
use std::future::Future;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{env, io, process, thread};

use fork::Fork;
use redlock_runtime::{Error, LockGuard, LockManager, LockRequest, redlock};
use redlock_tests::clock::now;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

fn main() {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let which = env::args().nth(1).expect("an argument says which");
    match which.as_str() {
        "descriptors" => out_of(Resource::Nofile, next_descriptor),
        "threads" => out_of(Resource::As, address_space),
        "names" => out_of_threads_for_names(),
        "destructor" => in_a_destructor(),
        "drivers" => without_drivers(),
        "fork" => in_a_child(),
        "fork_before_use" => in_a_child_before_use(),
        _ => match which.strip_prefix("descriptors_").and_then(|few| few.parse().ok()) {
            Some(few) => with_few_descriptors(few),
            None => panic!("there is no {which}"),
        },
    }
}

/// How long a call waits for its lock.
const TIMEOUT: Duration = Duration::from_secs(10);

fn locks() -> LockManager {
    LockManager::from_env().expect("the test names nodes")
}

fn lock(locks: &LockManager, name: &str) -> LockRequest {
    locks.lock(name).timeout(TIMEOUT)
}

#[redlock(name = "annotated", timeout = 10)]
fn annotated() -> Result<(), Error> {
    Ok(())
}

#[redlock(name = "annotated", timeout = 10)]
async fn annotated_async() -> Result<(), Error> {
    Ok(())
}

fn tell<T>(what: &str, how: &Result<T, Error>) {
    match how {
        Ok(_) => println!("{what}: ok"),
        Err(error) => {
            let source = error.source().map(|source| format!(" ({source})")).unwrap_or_default();
            println!("{what}: {error}{source}");
        }
    }
}

fn released(guard: Result<LockGuard, Error>) -> Result<(), Error> {
    guard?.release_blocking()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("there is enough for it")
}

/// The first descriptor that is free.
fn next_descriptor() -> u64 {
    let file = File::open("/dev/null").expect("there is one left");
    u64::try_from(file.as_raw_fd()).expect("it is not negative")
}

/// So much that a little more can be allocated, but no thread's stack.
fn address_space() -> u64 {
    const ROOM: u64 = 1024 * 1024;

    let sizes = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: u64 = sizes.split(' ').next().and_then(|pages| pages.parse().ok()).expect("it begins with a number");
    pages * u64::try_from(rustix::param::page_size()).expect("a page is small") + ROOM
}

/// Runs something with less of a resource.
fn within<T>(resource: Resource, limit: impl Fn() -> u64, run: impl FnOnce() -> T) -> T {
    let Rlimit { current, maximum } = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(limit()), maximum }).expect("it may be lowered");
    let ran = run();
    setrlimit(resource, Rlimit { current, maximum }).expect("it may be raised again");
    ran
}

fn out_of(resource: Resource, limit: fn() -> u64) {
    let runtime = current_thread();
    let locks = locks();
    let try_all = |when: &str| {
        tell(&format!("{when} blocking"), &released(lock(&locks, "x").acquire_blocking()));
        tell(&format!("{when} async"), &runtime.block_on(async { lock(&locks, "x").acquire().await?.release().await }));
        tell(&format!("{when} annotated"), &annotated());
        tell(&format!("{when} statistics"), &locks.statistics_blocking());
        tell(&format!("{when} list"), &locks.list_blocking().collect::<Result<Vec<_>, _>>());
        if resource == Resource::Nofile {
            let trusting = LockManager::builder().nodes(["rediss://localhost:1"]).build();
            tell(&format!("{when} certificates"), &trusting);
        }
    };
    // Twice: what has failed once must not fail for another reason.
    within(resource, limit, || ["1st", "2nd"].map(try_all));
    try_all("again");
    let guard = lock(&locks, "dropped").acquire_blocking();
    tell("again acquired", &guard);
    within(resource, limit, || drop(guard));
    tell("again after the drop", &released(lock(&locks, "dropped").acquire_blocking()));
}

fn with_few_descriptors(few: u64) {
    let locks = locks();
    let once = || released(locks.lock("x").timeout(Duration::from_millis(200)).acquire_blocking());
    within(Resource::Nofile, || next_descriptor() + few, || tell("1st blocking", &once()));
    tell("again blocking", &released(lock(&locks, "x").acquire_blocking()));
}

fn out_of_threads_for_names() {
    let locks = locks();
    let runtime = current_thread();
    let memory = LockManager::builder().nodes(["memory://"]).build().expect("it can be built");
    tell("the thread for all of them", &released(memory.lock("x").acquire_blocking()));
    let once = |locks: &LockManager| released(locks.lock("x").timeout(Duration::from_millis(50)).acquire_blocking());
    within(Resource::As, address_space, || {
        tell("1st blocking", &once(&locks));
        tell("1st async", &runtime.block_on(async { locks.lock("x").try_acquire().await }));
    });
    tell("again blocking", &released(lock(&locks, "x").acquire_blocking()));
    tell("again async", &runtime.block_on(async { lock(&locks, "x").acquire().await?.release().await }));
}

/// Uses locks when it is dropped.
struct Late(LockManager);

impl Drop for Late {
    fn drop(&mut self) {
        let Self(locks) = self;
        let is_gone = tokio::runtime::Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed());
        println!("tokio is gone: {is_gone}");
        let guard = lock(locks, "x").acquire_blocking();
        tell("acquire", &guard);
        if let Ok(guard) = guard {
            println!("is valid: {}", guard.is_valid() && !guard.remaining().is_zero());
            tell("extend", &guard.extend_blocking(Duration::from_secs(40)));
            tell("polled extension", &once(guard.extend(Duration::from_secs(40))));
            tell("release", &guard.release_blocking());
        }
        tell("annotated", &annotated());
        tell("statistics", &locks.statistics_blocking());
        tell("inspect", &locks.inspect_blocking("x"));
        tell("polled acquire", &once(lock(locks, "x").acquire()));
        tell("polled annotated", &once(annotated_async()));
        drop(lock(locks, "dropped").acquire_blocking());
        tell("after the drop", &released(lock(locks, "dropped").acquire_blocking()));
        locks.shutdown_blocking();
        tell("after shutdown", &released(lock(locks, "x").acquire_blocking()));
    }
}

/// What comes of one poll, if anything does.
fn once<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => Err(Error::Config { reason: "it waits".to_owned() }),
    }
}

fn in_a_destructor() {
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    // Tokio then looks for the clock of whichever runtime a thread is on, or was.
    drop(Builder::new_current_thread().enable_time().start_paused(true).build().expect("there is enough for it"));
    let ended = thread::spawn(|| {
        // Made before tokio's own, and so destroyed after them.
        LATE.with(|late| late.replace(Some(Late(locks()))));
        current_thread().block_on(async { tokio::task::yield_now().await });
    });
    println!("the thread ended well: {}", ended.join().is_ok());
}

fn without_drivers() {
    let locks = locks();
    let mut no_io = Builder::new_current_thread();
    no_io.enable_time();
    let mut no_time = Builder::new_current_thread();
    no_time.enable_io();
    let mut neither = Builder::new_multi_thread();
    neither.worker_threads(1);
    let memory = LockManager::builder().nodes(["memory://"]).build().expect("it can be built");
    for (which, mut builder) in [("no io", no_io), ("no time", no_time), ("neither", neither)] {
        let runtime = builder.build().expect("it can be built");
        for _ in 0..2 {
            tell(&format!("{which} acquire"), &runtime.block_on(lock(&locks, "x").acquire()));
            tell(&format!("{which} annotated"), &runtime.block_on(annotated_async()));
        }
        let spawned = runtime.spawn(lock(&locks, "x").acquire());
        tell(&format!("{which} in a task"), &runtime.block_on(spawned).expect("it does not panic"));
        tell(
            &format!("{which} memory"),
            &runtime.block_on(async { lock(&memory, "x").acquire().await?.release().await }),
        );
        tell(&format!("{which} statistics"), &runtime.block_on(locks.statistics()));
        let guard =
            runtime.block_on(async { lock(&locks, "x").acquire_blocking() }).expect("blocking calls need no drivers");
        tell(&format!("{which} extend"), &runtime.block_on(guard.extend(Duration::from_secs(40))));
        tell(&format!("{which} release"), &runtime.block_on(guard.release()));
        drop(runtime.block_on(async { lock(&locks, "dropped").acquire_blocking() }));
        tell(&format!("{which} after the drop"), &released(lock(&locks, "dropped").acquire_blocking()));
    }
}

/// Runs something in a child, and waits for its end.
fn forked<T>(child: impl FnOnce() -> T) {
    match fork::fork().expect("it can be forked") {
        Fork::Child => {
            child();
            process::exit(0);
        }
        Fork::Parent(pid) => {
            let status = fork::waitpid(pid).expect("it is a child");
            println!("the child ended well: {}", status == 0);
        }
    }
}

fn in_a_child() {
    let locks = locks();
    let memory = || LockManager::builder().nodes(["memory://same"]).build().expect("it can be built");
    let held_in_memory = memory().lock("x").acquire_blocking();
    tell("parent memory", &held_in_memory);
    tell("parent annotated", &annotated());
    let held = lock(&locks, "held").acquire_blocking().expect("it is free");
    let mut copy = Some(held);
    forked(|| {
        let began = now();
        tell("child acquire", &lock(&locks, "x").acquire_blocking());
        tell("child async", &current_thread().block_on(lock(&locks, "x").acquire()));
        tell("child statistics", &locks.statistics_blocking());
        let copy = copy.take().expect("it is held");
        println!("child holds: {}, for {:?}", copy.is_valid(), copy.remaining());
        tell("child extend", &copy.extend_blocking(Duration::from_secs(40)));
        tell("child release", &copy.release_blocking());
        tell("child annotated", &annotated());
        tell("child annotated async", &current_thread().block_on(annotated_async()));
        let own = self::locks();
        println!("child within its timeout: {}", began.elapsed() < TIMEOUT);
        tell("child own", &released(lock(&own, "x").acquire_blocking()));
        tell("child own async", &current_thread().block_on(async { lock(&own, "x").acquire().await?.release().await }));
        let held = own.lock("held").try_acquire_blocking().expect("the nodes answer");
        println!("child has what the parent holds: {}", held.is_some());
        tell("child installs", &own.install());
        tell("child memory", &memory().lock("x").timeout(Duration::from_millis(10)).acquire_blocking());
        drop(lock(&own, "dropped").acquire_blocking());
        tell("child after the drop", &released(lock(&own, "dropped").acquire_blocking()));
        locks.shutdown_blocking();
        drop(locks.clone());
    });
    let held = copy.expect("the child took its copy");
    println!("parent holds: {}", held.is_valid());
    tell("parent release", &held.release_blocking());
    tell("parent acquire", &released(lock(&locks, "x").acquire_blocking()));
}

fn in_a_child_before_use() {
    let locks = locks();
    locks.install().expect("none is installed");
    forked(|| {
        tell("child acquire", &released(lock(&locks, "x").acquire_blocking()));
        tell("child annotated", &annotated());
    });
    tell("parent acquire", &released(lock(&locks, "x").acquire_blocking()));
    tell("parent annotated", &annotated());
    forked(|| tell("2nd child annotated", &annotated()));
}
