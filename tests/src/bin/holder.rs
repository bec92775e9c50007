//! Takes a lock, says what came of it, and holds it until it is told to release it, or is killed.
//!
//! `holder name=job ttl_ms=1000 timeout=-1 hold_ms=500`, with the nodes in `REDLOCK_NODES`. Only `name` is
//! needed; without `hold_ms` the lock is held until a line, or the end, comes on stdin. `renew=false` and
//! `release=false` (just end, as a program that forgets) change what its names say; with `on_signal=true` it goes on until
//! a signal asks it to end, drains for as long as `bound_ms` says, or cancels at once with `drain=false`, and says
//! `shut down: …`; with `linger=true` an annotated function's program ends after that when a line comes on stdin. It prints one
//! line per event: `acquired`, `skipped` (somebody else holds it), `error: …`, `lost: …`, `released`.
//!
//! With `body=…` the lock is that of an annotated function: `sync`, `async`, `silent` or `continue`, whose body lasts until a
//! line comes on stdin, or `migrate` and `migrate_async`, which wait for as long as it takes and return nothing. It prints
//! `ended: …` with what the function returned.

use std::env;
use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use redlock_runtime::{Error, LockGuard, LockManager, LockRequest, OnShutdown, ShutdownReport, Timeout, redlock};
use tokio::sync::oneshot;

/// What the arguments say.
struct Arguments {
    name: String,
    /// The manager's own if not given.
    ttl: Option<Duration>,
    timeout: Timeout,
    /// Until told if not given.
    hold: Option<Duration>,
    renew: bool,
    release: bool,
    on_signal: bool,
    then: Then,
    /// The manager's own if not given.
    bound: Option<Duration>,
    on_shutdown: OnShutdown,
    /// Which annotated function; by hand if not given.
    body: Option<String>,
    /// The manager's own if not given.
    node_timeout: Option<Duration>,
}

/// What follows on a shutdown.
#[derive(PartialEq, Eq)]
enum Then {
    End,
    Linger,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let arguments = Arguments::parse(env::args().skip(1))?;
    let mut builder = LockManager::builder_from_env()?.on_shutdown(arguments.on_shutdown);
    if let Some(node_timeout) = arguments.node_timeout {
        builder = builder.node_timeout(node_timeout).connect_timeout(node_timeout);
    }
    let locks = builder.build()?;
    locks.install()?;
    let mut request = locks.lock(&arguments.name).timeout(arguments.timeout).renew(arguments.renew);
    if let Some(ttl) = arguments.ttl {
        request = request.ttl(ttl);
    }
    if let Some(body) = arguments.body.clone() {
        let (name, ttl) = (arguments.name.clone(), arguments.ttl.unwrap_or(Duration::from_secs(30)));
        let called = tokio::spawn(call(body, name, ttl));
        if arguments.on_signal {
            println!("shut down: {}", shutdown_on_signal(&locks, &arguments).await?);
            if arguments.then == Then::Linger {
                until_told(None).await;
            }
        } else {
            called.await?;
        }
        return Ok(());
    }
    if arguments.on_signal {
        let (ended, ()) = tokio::join!(shutdown_on_signal(&locks, &arguments), take(request, &arguments));
        println!("shut down: {}", ended?);
        return Ok(());
    }
    take(request, &arguments).await;
    if arguments.release {
        locks.shutdown().await;
    }
    Ok(())
}

async fn shutdown_on_signal(locks: &LockManager, arguments: &Arguments) -> Result<ShutdownReport, Error> {
    match arguments.bound {
        Some(bound) => locks.shutdown_on_signal_within(bound).await,
        None => locks.shutdown_on_signal().await,
    }
}

async fn call(body: String, name: String, ttl: Duration) {
    let ended = match &*body {
        "sync" => tokio::task::spawn_blocking(move || format!("{:?}", sync(&name, ttl))).await.expect("no panic"),
        "async" => format!("{:?}", waits(&name, ttl).await),
        "silent" => format!("{:?}", silent(&name, ttl).await),
        "continue" => format!("{:?}", continues(&name, ttl).await),
        "migrate" => format!("{:?}", tokio::task::spawn_blocking(move || migrate(&name)).await),
        "migrate_async" => format!("{:?}", tokio::spawn(async move { migrate_async(&name).await }).await),
        _ => format!("there is no body {body:?}"),
    };
    println!("ended: {ended}");
}

#[redlock(name = name, timeout = -1, ttl = ttl)]
fn sync(name: &str, ttl: Duration) -> Result<u8, Error> {
    println!("acquired");
    let _ = io::stdin().lock().read_line(&mut String::new());
    Ok(1)
}

#[redlock(name = name, timeout = -1, ttl = ttl)]
async fn waits(name: &str, ttl: Duration) -> Result<u8, Error> {
    println!("acquired");
    until_told(None).await;
    Ok(1)
}

#[redlock(name = name, timeout = -1, ttl = ttl, silent)]
async fn silent(name: &str, ttl: Duration) -> Option<u8> {
    println!("acquired");
    until_told(None).await;
    Some(1)
}

#[redlock(name = name, timeout = -1, ttl = ttl, on_lost = "continue")]
async fn continues(name: &str, ttl: Duration) -> Result<u8, Error> {
    println!("acquired");
    until_told(None).await;
    Ok(1)
}

#[redlock(name = name)]
fn migrate(name: &str) {
    println!("acquired");
}

#[redlock(name = name)]
async fn migrate_async(name: &str) {
    println!("acquired");
}

async fn take(request: LockRequest, arguments: &Arguments) {
    match request.acquire().await {
        Ok(guard) => hold(guard, arguments).await,
        Err(Error::NotAcquired { .. }) => println!("skipped"),
        Err(error) => println!("error: {error}"),
    }
}

/// Stdout ends a line with a flush, so whoever reads these lines sees each at once.
async fn hold(guard: LockGuard, arguments: &Arguments) {
    println!("acquired");
    tokio::select! {
        loss = guard.lost() => println!("lost: {loss}"),
        () = until_told(arguments.hold) => {}
    }
    if !arguments.release {
        std::process::exit(0);
    }
    match guard.release().await {
        Ok(()) => println!("released"),
        Err(error) => println!("error: {error}"),
    }
}

async fn until_told(hold: Option<Duration>) {
    if let Some(hold) = hold {
        return tokio::time::sleep(hold).await;
    }
    // Not tokio's stdin: the runtime would wait for its read when the lock was lost and the program should end.
    let (told, tell) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        let _ = told.send(());
    });
    let _ = tell.await;
}

impl Arguments {
    fn parse(given: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let (mut name, mut ttl, mut hold, mut node_timeout) = (None, None, None, None);
        let (mut timeout, mut renew, mut release) = (Timeout::Forever, true, true);
        let (mut on_signal, mut then) = (false, Then::End);
        let (mut bound, mut on_shutdown, mut body) = (None, OnShutdown::Drain, None);
        for argument in given {
            let (key, value) = argument.split_once('=').with_context(|| format!("{argument:?} is not `name=value`"))?;
            let milliseconds = || anyhow::Ok(Duration::from_millis(value.parse()?));
            match key {
                "name" => name = Some(value.to_owned()),
                "ttl_ms" => ttl = Some(milliseconds()?),
                "hold_ms" => hold = Some(milliseconds()?),
                "node_timeout_ms" => node_timeout = Some(milliseconds()?),
                "timeout" => timeout = Timeout::try_from(value.parse::<f64>()?)?,
                "renew" => renew = value.parse()?,
                "release" => release = value.parse()?,
                "on_signal" => on_signal = value.parse()?,
                "linger" if value == "true" => then = Then::Linger,
                "bound_ms" => bound = Some(milliseconds()?),
                "drain" if value == "false" => on_shutdown = OnShutdown::Cancel,
                "body" => body = Some(value.to_owned()),
                _ => bail!("there is no argument {key:?}"),
            }
        }
        let name = name.context("`name=…` is missing")?;
        Ok(Self { name, ttl, timeout, hold, renew, release, on_signal, then, bound, on_shutdown, body, node_timeout })
    }
}
