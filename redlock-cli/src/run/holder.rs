//! The process that holds the lock, beside the one that was started and the command.
//!
//! It is apart so that the lock is renewed while the one that was started is stopped by its shell; so that nothing is left of a
//! command whose front was killed, nor a key; and so that a command inherits none of its connections.

use std::convert::Infallible;
use std::io::{BufRead, Write, stdin, stdout};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use redlock_runtime::{Error, LockGuard, LockManager, LockRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::group::Group;
use super::limits::Limits;
use super::messages::{Held, News, Task, Told};
use super::moment::Moment;
use crate::args::Nodes;
use crate::clock::{now, sleep_until};
use crate::exit::{Failure, LOST, MAX_HOLD, OURS};
use crate::request::say_when_blind;
use crate::signals::Signals;

/// The first argument of this process.
pub(super) const WORD: &str = "__holder";

/// How long it stays for releases that a node has not confirmed, when nobody waits for it any more.
const LINGER: Duration = Duration::from_secs(2);

/// How often it is looked whether the lock of a command that ends is still renewed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long it may take until a killed process is gone.
const DEATH: Duration = Duration::from_secs(2);

/// `redlock __holder`: told what to hold by the first line of its stdin.
pub(crate) fn main() -> ExitCode {
    let front = Arc::new(Front::new());
    let told = Arc::clone(&front);
    std::panic::set_hook(Box::new(move |panic| {
        told.tell(&Told::Failed { code: OURS, message: format!("the process that holds the lock panicked: {panic}") });
        told.flush();
    }));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            front.tell(&Told::Failed { code: OURS, message: format!("no runtime: {error}") });
            front.flush();
            return ExitCode::from(OURS);
        }
    };
    runtime.block_on(hold(&front));
    front.flush();
    // The thread that reads stdin would be waited for.
    std::process::exit(0)
}

/// The way to the front. Whoever is stopped reads nothing, and must not keep us from what is due: a thread writes.
struct Front {
    lines: blocking::Sender<String>,
    /// How many lines are not written yet.
    unwritten: Arc<AtomicUsize>,
}

impl Front {
    fn new() -> Self {
        let (lines, received) = blocking::channel::<String>();
        let unwritten = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&unwritten);
        thread::spawn(move || {
            for line in received {
                // Nobody may be there to read it.
                let _ = stdout().lock().write_all(line.as_bytes()).and_then(|()| stdout().flush());
                written.fetch_sub(1, Ordering::AcqRel);
            }
        });
        Self { lines, unwritten }
    }

    fn tell(&self, told: &Told) {
        let Ok(line) = serde_json::to_string(told) else { return };
        self.unwritten.fetch_add(1, Ordering::AcqRel);
        if self.lines.send(line + "\n").is_err() {
            self.unwritten.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Until when the lock is held, which the next such line says better.
    fn tell_validity(&self, valid: Duration) {
        if self.unwritten.load(Ordering::Acquire) == 0 {
            self.tell(&Told::Valid(Moment::after(valid)));
        }
    }

    /// Waits a moment for what is not written yet.
    fn flush(&self) {
        for _ in 0..1000 {
            if self.unwritten.load(Ordering::Acquire) == 0 {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What the front says, until it is gone.
fn listen() -> (Option<Task>, mpsc::UnboundedReceiver<News>) {
    let (news, received) = mpsc::unbounded_channel();
    let mut first = String::new();
    let is_read = stdin().lock().read_line(&mut first).is_ok();
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let Ok(said) = serde_json::from_str(&line) else { return };
            if news.send(said).is_err() {
                return;
            }
        }
    });
    (serde_json::from_str(&first).ok().filter(|_| is_read), received)
}

async fn hold(front: &Front) {
    // Whoever ends all processes of a service means the front, too, which decides.
    let _deaf = Signals::listen();
    let (Some(task), mut news) = listen() else {
        front.tell(&Told::Failed { code: OURS, message: "`__holder` is for `redlock run` alone".to_owned() });
        return;
    };
    let failed = |failure: Failure| front.tell(&Told::Failed { code: failure.code, message: failure.message });
    let (locks, request) = match prepare(&task) {
        Ok(prepared) => prepared,
        Err(failure) => return failed(failure),
    };
    let waiting = say_when_blind(&locks, &task.names, |message| front.tell(&Told::Waiting(message)));
    match acquire(request, &mut news, waiting).await {
        Some(Ok(guard)) => {
            let done = attend(&task, guard, front, &mut news).await;
            front.tell(&Told::Done(done));
        }
        Some(Err(error)) => failed(error.into()),
        None => {}
    }
    // What is on its way to nodes that are slow.
    let _ = locks.shutdown_within(LINGER).await;
}

fn prepare(task: &Task) -> Result<(LockManager, LockRequest), Failure> {
    let nodes = Nodes { nodes: task.nodes.clone() };
    let locks = nodes.builder()?.owner_label(task.label.as_str()).build()?;
    let mut request = task.wanted.request(&locks, &task.names)?;
    if let Some(min_hold) = task.min_hold {
        request = request.min_hold(min_hold);
    }
    if let Some(permits) = task.permits {
        request = request.permits(permits);
    }
    if let Some(once) = task.once {
        request = request.once(redlock_runtime::Fire::from(once));
    }
    Ok((locks, request))
}

/// The lock; `None` if nobody wants it any more.
async fn acquire(
    request: LockRequest,
    news: &mut mpsc::UnboundedReceiver<News>,
    waiting: impl Future<Output = Infallible>,
) -> Option<Result<LockGuard, Error>> {
    let (acquiring, waiting) = (pin!(request.acquire()), pin!(waiting));
    tokio::select! {
        biased;
        // Nothing is said before the lock is held.
        _ = news.recv() => None,
        acquired = acquiring => Some(acquired),
        never = waiting => match never {},
    }
}

/// Holds the lock until the command has ended, and gives it back; what is said of that.
async fn attend(
    task: &Task,
    guard: LockGuard,
    front: &Front,
    news: &mut mpsc::UnboundedReceiver<News>,
) -> Option<(u8, String)> {
    let ttl = task.wanted.ttl.unwrap_or(DEFAULT_TTL);
    let limits = Limits::new(task.kill_after, ttl);
    front.tell(&Told::Acquired(Held {
        fencing_token: guard.fencing_token(),
        fire: guard.fire(),
        permit: task.permits.map(|_| guard.permit()),
        valid_until: Moment::after(guard.remaining()),
        ttl,
    }));
    let is_success = match news.recv().await {
        Some(News::Started(group)) => {
            let group = Group(Pid::from_raw(group));
            let started = now();
            match until_end(task, &guard, front, news, limits, started).await {
                End::Command { is_success } => is_success,
                End::Front => {
                    group.signal(Signal::SIGKILL);
                    group.gone_before(now() + DEATH).await;
                    false
                }
                End::Lock { code, message, until_kill } => {
                    let kill_at = now() + until_kill;
                    front.tell(&Told::Ending { code, message });
                    group.signal(Signal::SIGTERM);
                    // One that is stopped cannot end.
                    group.signal(Signal::SIGCONT);
                    end(group, &guard, front, limits, kill_at, code != LOST).await;
                    false
                }
            }
        }
        // It could not be started, or nobody is there who would.
        Some(News::Ended { .. }) | None => false,
    };
    give_back(guard, is_success).await
}

/// The manager's own.
const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// What ended first.
enum End {
    /// The command, by itself.
    Command { is_success: bool },
    /// The front: it was killed.
    Front,
    /// The right to run; how long the command has until it is killed.
    Lock { code: u8, message: String, until_kill: Duration },
}

async fn until_end(
    task: &Task,
    guard: &LockGuard,
    front: &Front,
    news: &mut mpsc::UnboundedReceiver<News>,
    limits: Limits,
    started: Instant,
) -> End {
    loop {
        let (looked, valid) = (now(), guard.remaining());
        front.tell_validity(valid);
        let calm = limits.calm(valid);
        if calm.is_zero() && guard.is_valid() {
            let message = format!(
                "lock `{}` is about to be lost: it could not be extended, so the command is ended; `redlock doctor` says what \
                 is wrong with the nodes",
                guard.name().escape_debug()
            );
            return End::Lock { code: LOST, message, until_kill: limits.until_kill(valid) };
        }
        let too_long = async {
            match task.max_hold {
                Some(most) => sleep_until(started + most).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            said = news.recv() => return match said {
                Some(News::Ended { is_success }) => End::Command { is_success },
                Some(News::Started(_)) | None => End::Front,
            },
            loss = guard.lost() => {
                // Until then nobody else could have it, had it not been taken from us.
                let valid = valid.saturating_sub(now() - looked);
                let message = format!("{loss}, so the command is ended");
                return End::Lock { code: LOST, message, until_kill: limits.until_kill(valid) };
            }
            () = too_long => {
                let message = format!(
                    "the command ran for longer than --max-hold, which is {}, so it is ended",
                    crate::duration::short(task.max_hold.unwrap_or_default())
                );
                // The lock is renewed until then.
                return End::Lock { code: MAX_HOLD, message, until_kill: limits.kill_after() };
            }
            () = sleep(calm) => {}
        }
    }
}

/// Waits until the command has ended, and kills it when its time is over, or the lock's, if that is still renewed.
async fn end(group: Group, guard: &LockGuard, front: &Front, limits: Limits, kill_at: Instant, is_renewed: bool) {
    loop {
        let looked = now();
        let valid = guard.remaining();
        let until = if is_renewed { kill_at.min(looked + limits.until_kill(valid)) } else { kill_at };
        if is_renewed {
            front.tell_validity(valid);
        }
        if group.gone_before(until.min(looked + LOOK_AGAIN)).await {
            return;
        }
        if now() >= until {
            group.signal(Signal::SIGKILL);
            group.gone_before(now() + DEATH).await;
            return;
        }
    }
}

/// Completes the fire of a command that ended well, if the lock is for one, and releases the lock.
async fn give_back(guard: LockGuard, is_success: bool) -> Option<(u8, String)> {
    let is_valid = guard.is_valid();
    if is_success && guard.fire().is_some() {
        return guard.complete().await.err().map(|error| {
            let failure = Failure::from(error);
            (failure.code, format!("the command ended well, and {}", failure.message))
        });
    }
    match guard.release().await {
        Err(error) if is_valid => {
            let message = format!("{}; it is free when its TTL is over", Failure::from(error).message);
            Some((0, message))
        }
        // That it was lost has been told.
        Ok(()) | Err(_) => None,
    }
}
