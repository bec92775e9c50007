//! Takes a lock, says what came of it, and holds it until it is told to release it, or is killed.
//!
//! `holder name=job ttl_ms=1000 timeout=-1 hold_ms=500`, with the nodes in `REDLOCK_NODES`. Only `name` is
//! needed; without `hold_ms` the lock is held until a line, or the end, comes on stdin. `renew=false` and
//! `release=false` (just end, as a program that forgets) change what its names say; with `on_signal=true` it goes on until
//! a signal asks it to end, and says `shut down: …`. It prints one line per event:
//! `acquired`, `skipped` (somebody else holds it), `error: …`, `lost: …`, `released`.

use std::env;
use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use redlock_runtime::{Error, LockGuard, LockManager, LockRequest, Timeout};
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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let arguments = Arguments::parse(env::args().skip(1))?;
    let locks = LockManager::from_env()?;
    let mut request = locks.lock(&arguments.name).timeout(arguments.timeout).renew(arguments.renew);
    if let Some(ttl) = arguments.ttl {
        request = request.ttl(ttl);
    }
    if arguments.on_signal {
        let (ended, ()) = tokio::join!(locks.shutdown_on_signal(), take(request, &arguments));
        println!("shut down: {}", ended?);
        return Ok(());
    }
    take(request, &arguments).await;
    if arguments.release {
        locks.shutdown().await;
    }
    Ok(())
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
        let (mut name, mut ttl, mut hold) = (None, None, None);
        let (mut timeout, mut renew, mut release, mut on_signal) = (Timeout::Forever, true, true, false);
        for argument in given {
            let (key, value) = argument.split_once('=').with_context(|| format!("{argument:?} is not `name=value`"))?;
            let milliseconds = || anyhow::Ok(Duration::from_millis(value.parse()?));
            match key {
                "name" => name = Some(value.to_owned()),
                "ttl_ms" => ttl = Some(milliseconds()?),
                "hold_ms" => hold = Some(milliseconds()?),
                "timeout" => timeout = Timeout::try_from(value.parse::<f64>()?)?,
                "renew" => renew = value.parse()?,
                "release" => release = value.parse()?,
                "on_signal" => on_signal = value.parse()?,
                _ => bail!("there is no argument {key:?}"),
            }
        }
        let name = name.context("`name=…` is missing")?;
        Ok(Self { name, ttl, timeout, hold, renew, release, on_signal })
    }
}
