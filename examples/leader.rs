//! One process of several leads, and another one soon after it has ended.
//!
//! The example starts itself three times as processes that campaign, and measures how long nobody leads: when the leader ends
//! cleanly, a round trip or two; when it is killed, until its TTL is over.
//!
//! It needs servers that all processes see: Redis masters in `REDLOCK_NODES`. Nodes in memory are seen by their process alone; with one
//! of those it shows a single process that leads.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use anyhow::Context as _;
use redlock_runtime::{Error, LockManager, LockManagerBuilder, Term};

/// How long it takes at most until another leads when the leader was killed, beside two round trips.
const TTL: Duration = Duration::from_secs(2);

/// So many processes campaign.
const CANDIDATES: usize = 3;

/// What is led.
const NAME: &str = "example:leader";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    if env::args().nth(1).as_deref() == Some("candidate") {
        return campaign(LockManager::builder_from_env()?.build()?).await;
    }
    let Some(nodes) = env::var_os("REDLOCK_NODES") else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        return lead_alone(LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])).await;
    };
    if nodes.to_string_lossy().contains("memory://") {
        println!("other processes do not see a memory:// node: this one leads alone");
        return lead_alone(LockManager::builder_from_env()?).await;
    }
    tokio::task::spawn_blocking(change_leaders).await?
}

/// What the leader does: it tells that it leads, and then nothing more until it does not.
async fn lead(term: &Term) -> Result<(), Error> {
    println!("leads {} {}", process::id(), term.fencing_token());
    // Work goes here, beside this; whatever winds it down goes behind it, while the lock is still held.
    term.lost().await;
    Ok(())
}

/// A candidate: it campaigns until its standard input ends, and then ends cleanly.
async fn campaign(locks: LockManager) -> anyhow::Result<()> {
    let leading = tokio::spawn(locks.lead(NAME).ttl(TTL).run(lead));
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    eprintln!("{}", locks.shutdown_within(Duration::from_secs(5)).await);
    Ok(leading.await??)
}

/// What can be shown without servers.
async fn lead_alone(builder: LockManagerBuilder) -> anyhow::Result<()> {
    let locks = builder.owner_label("the only one").build()?;
    let ending = async {
        let leader = loop {
            match locks.leader(NAME).await? {
                Some(leader) if leader.label.is_some() => break leader,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        println!("others see that {:?} leads", leader.label);
        println!("{}", locks.shutdown_within(Duration::from_secs(5)).await);
        Ok(())
    };
    tokio::try_join!(locks.lead(NAME).ttl(TTL).run(lead), ending)?;
    println!("nobody leads any more");
    Ok(())
}

/// A process that leads from a moment on.
struct Leads {
    since: Instant,
    process: u32,
    fencing_token: u64,
}

fn change_leaders() -> anyhow::Result<()> {
    let (tell, told) = channel();
    let mut candidates = (0..CANDIDATES).map(|_| start(&tell)).collect::<anyhow::Result<Vec<_>>>()?;
    let first = next(&told)?;
    println!("process {} leads, with fencing token {}", first.process, first.fencing_token);

    let mut stopped = take(&mut candidates, first.process)?;
    let stop = now();
    // Its standard input ends.
    drop(stopped.stdin.take());
    let second = next(&told)?;
    stopped.wait()?;
    tell_change("it was stopped cleanly", stop, &second);

    let mut killed = take(&mut candidates, second.process)?;
    let kill = now();
    killed.kill()?;
    let third = next(&told)?;
    killed.wait()?;
    tell_change(&format!("it was killed, with a TTL of {TTL:?}"), kill, &third);

    let mut last = take(&mut candidates, third.process)?;
    drop(last.stdin.take());
    last.wait()?;
    Ok(())
}

fn tell_change(what: &str, moment: Instant, next: &Leads) {
    let took = next.since.saturating_duration_since(moment).as_millis();
    println!("{what}: process {} leads after {took} ms, with fencing token {}", next.process, next.fencing_token);
}

/// Starts a candidate.
fn start(tell: &Sender<Leads>) -> anyhow::Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    let mut candidate = command.arg("candidate").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (output, tell) = (candidate.stdout.take().context("it has an output")?, tell.clone());
    thread::spawn(move || listen(output, &tell));
    Ok(candidate)
}

/// Hears when a candidate leads.
fn listen(output: ChildStdout, tell: &Sender<Leads>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let since = now();
        let ["leads", process, fencing_token] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        if let (Ok(process), Ok(fencing_token)) = (process.parse(), fencing_token.parse()) {
            // Nobody listens any more when enough was shown.
            let _ = tell.send(Leads { since, process, fencing_token });
        }
    }
}

/// Whoever leads next.
fn next(told: &Receiver<Leads>) -> anyhow::Result<Leads> {
    told.recv_timeout(Duration::from_secs(30)).context("nobody leads")
}

#[expect(clippy::disallowed_methods, reason = "it measures what no lock depends on")]
fn now() -> Instant {
    Instant::now()
}

/// The candidate that is this process.
fn take(candidates: &mut Vec<Child>, process: u32) -> anyhow::Result<Child> {
    let position = candidates.iter().position(|candidate| candidate.id() == process);
    Ok(candidates.swap_remove(position.context("it is none of the candidates")?))
}
