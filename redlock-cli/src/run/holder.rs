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

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redlock_runtime::{Error, LockGuard, LockManager, LockRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::group::Group;
use super::limits::Limits;
use super::mark::Mark;
use super::messages::{Held, News, Task, Told};
use super::moment::Moment;
use crate::clock::{now, sleep_until};
use crate::exit::{Failure, LOST, MAX_HOLD, OURS};
use crate::request::NODE_TIMEOUT;
use crate::signals::Signals;
use crate::waits::say_why;

/// The first argument of this process.
pub(super) const WORD: &str = "__holder";

/// How long it stays for releases that a node has not confirmed, when nobody waits for it any more.
const LINGER: Duration = Duration::from_secs(2);

/// How often it is looked whether the lock of a command that ends is still renewed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long the front may take to start a command, before the lock is given back for as long as it is stopped.
const ANSWER: Duration = Duration::from_secs(2);

/// How often it is looked who is left of a command that is killed.
const KILL_EVERY: Duration = Duration::from_millis(10);

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
    let locks = match manager(&task) {
        Ok(locks) => locks,
        Err(failure) => return failed(failure),
    };
    let outcome = hold_until_done(&task, &locks, front, &mut news).await;
    // What is on its way to nodes that are slow.
    let mut ending = pin!(locks.shutdown_within(LINGER));
    match outcome {
        Ok(Outcome::GivenBack(said)) => front.tell(&Told::Done(said)),
        Ok(Outcome::Unwanted) => {
            // Nodes that answer are waited for by whoever asked to end this, and the others are not.
            if timeout(NODE_TIMEOUT, &mut ending).await.is_ok() {
                return;
            }
            front.tell(&Told::Done(None));
        }
        Err(failure) => failed(failure),
    }
    let _ = ending.await;
}

/// How a run ends for its lock.
enum Outcome {
    /// What is said of how it was given back.
    GivenBack(Option<(u8, String)>),
    /// Nobody wanted it any more.
    Unwanted,
}

fn manager(task: &Task) -> Result<LockManager, Failure> {
    Ok(task.nodes.builder()?.owner_label(task.label.as_str()).build()?)
}

/// Acquires the lock, and holds it until the command has ended; what is said of how it was given back.
async fn hold_until_done(
    task: &Task,
    locks: &LockManager,
    front: &Front,
    news: &mut mpsc::UnboundedReceiver<News>,
) -> Result<Outcome, Failure> {
    let deadline = task.wanted.wait.and_then(|wait| now().checked_add(wait));
    for attempt in 1.. {
        let mut request = request(task, locks)?;
        // Whoever stopped has waited meanwhile, too.
        if let Some(deadline) = deadline.filter(|_| attempt > 1) {
            request = request.timeout(deadline.saturating_duration_since(now()));
        }
        let waiting = say_why(locks, &task.names, task.tells_waits, |message| front.tell(&Told::Waiting(message)));
        let guard = match acquire(request, news, waiting).await {
            Acquired::Ended(acquired) => acquired?,
            Acquired::Paused if goes_on(news).await => continue,
            Acquired::Paused | Acquired::IsUnwanted => break,
        };
        front.tell(&Told::Acquired(Held {
            attempt,
            fencing_token: guard.fencing_token(),
            fire: guard.fire(),
            permit: task.permits.map(|_| guard.permit()),
            ttl: task.ttl(),
        }));
        match begun(news, attempt).await {
            Begun::In(group) => return Ok(Outcome::GivenBack(attend(task, guard, group, front, news).await)),
            Begun::Never => return Ok(Outcome::GivenBack(undo(task, locks, guard).await)),
            // Whoever is stopped keeps nobody from the lock, and may be for hours.
            Begun::NotInTime => drop(undo(task, locks, guard).await),
        }
        if !goes_on(news).await {
            break;
        }
    }
    Ok(Outcome::Unwanted)
}

fn request(task: &Task, locks: &LockManager) -> Result<LockRequest, Failure> {
    let mut request = task.wanted.request(locks, &task.names)?;
    if let Some(min_hold) = task.min_hold {
        request = request.min_hold(min_hold);
    }
    if let Some(permits) = task.permits {
        request = request.permits(permits);
    }
    if let Some(once) = task.once {
        request = request.once(redlock_runtime::Fire::from(once));
    }
    Ok(request)
}

/// What the wait for a lock comes to.
enum Acquired {
    Ended(Result<LockGuard, Error>),
    /// Nobody wants it for now.
    Paused,
    /// Nobody wants it any more.
    IsUnwanted,
}

async fn acquire(
    request: LockRequest,
    news: &mut mpsc::UnboundedReceiver<News>,
    waiting: impl Future<Output = Infallible>,
) -> Acquired {
    let (mut acquiring, mut waiting) = (pin!(request.acquire()), pin!(waiting));
    loop {
        tokio::select! {
            biased;
            said = news.recv() => match said {
                Some(News::Pauses) => return Acquired::Paused,
                // Of a lock that was given back.
                Some(News::GoesOn | News::Started { .. }) => {}
                Some(News::Ended { .. }) | None => return Acquired::IsUnwanted,
            },
            acquired = &mut acquiring => return Acquired::Ended(acquired),
            never = &mut waiting => match never {},
        }
    }
}

/// Whether the front, which has stopped, goes on in the end: it says so, or what it did when it went on.
async fn goes_on(news: &mut mpsc::UnboundedReceiver<News>) -> bool {
    loop {
        match news.recv().await {
            Some(News::GoesOn | News::Started { .. }) => return true,
            Some(News::Pauses) => {}
            Some(News::Ended { .. }) | None => return false,
        }
    }
}

/// What comes of a lock that the front was told of.
enum Begun {
    /// A command, in this group.
    In(Group),
    /// Nothing, for now: the front is stopped.
    NotInTime,
    /// Nothing: it could not be started, or nobody is there who would.
    Never,
}

async fn begun(news: &mut mpsc::UnboundedReceiver<News>, attempt: u32) -> Begun {
    let until = now() + ANSWER;
    loop {
        match timeout_at(until, news.recv()).await {
            Ok(Some(News::Started { attempt: of, group })) if of == attempt => {
                return Begun::In(Group(Pid::from_raw(group)));
            }
            // Of a lock of before.
            Ok(Some(News::Started { .. } | News::GoesOn)) => {}
            Ok(Some(News::Pauses)) | Err(_) => return Begun::NotInTime,
            Ok(Some(News::Ended { .. }) | None) => return Begun::Never,
        }
    }
}

/// Holds the lock until the command has ended, and gives it back; what is said of that.
async fn attend(
    task: &Task,
    guard: LockGuard,
    group: Group,
    front: &Front,
    news: &mut mpsc::UnboundedReceiver<News>,
) -> Option<(u8, String)> {
    let limits = Limits::new(task.kill_after, task.ttl());
    front.tell(&Told::Known(Moment::after(guard.remaining())));
    let started = now();
    let is_success = match until_end(task, &guard, front, news, limits, started).await {
        End::Command { is_success } => is_success,
        End::Front => {
            kill_all(group, task.mark).await;
            false
        }
        End::Lock { code, message, until_kill } => {
            let kill_at = now() + until_kill;
            front.tell(&Told::Ending { code, message });
            group.ask_to_end();
            end((group, task.mark), &guard, front, limits, kill_at, code != LOST).await;
            false
        }
    };
    give_back(guard, is_success).await
}

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
                // It has said that it stops, or goes on, before it knew of the lock that its command has.
                Some(News::Pauses | News::GoesOn | News::Started { .. }) => continue,
                None => End::Front,
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

/// Waits until the command has ended, wherever it went, and kills it when its time is over, or the lock's, if that is still renewed.
async fn end(
    (group, mark): (Group, Mark),
    guard: &LockGuard,
    front: &Front,
    limits: Limits,
    kill_at: Instant,
    is_renewed: bool,
) {
    loop {
        let looked = now();
        let valid = guard.remaining();
        let until = if is_renewed { kill_at.min(looked + limits.until_kill(valid)) } else { kill_at };
        if is_renewed {
            front.tell_validity(valid);
        }
        let look_again = until.min(looked + LOOK_AGAIN);
        if group.gone_before(look_again).await && mark.find().is_empty() {
            return;
        }
        if now() >= until {
            return kill_all(group, mark).await;
        }
        sleep_until(look_again).await;
    }
}

/// Kills a command, and whatever left its group, of which the front alone, which may have been killed, knows the descent; waits until all are
/// gone.
async fn kill_all(group: Group, mark: Mark) {
    let until = now() + DEATH;
    group.signal(Signal::SIGKILL);
    // Whoever was started while it was looked is found the next time.
    loop {
        let left = mark.find();
        for process in &left {
            let _ = kill(process.id(), Signal::SIGKILL);
        }
        if left.is_empty() || now() >= until {
            break;
        }
        sleep(KILL_EVERY).await;
    }
    group.gone_before(until).await;
}

/// Gives back a lock under which nothing was done; what is said of that.
async fn undo(task: &Task, locks: &LockManager, guard: LockGuard) -> Option<(u8, String)> {
    let wanted = &task.wanted;
    let is_plain =
        matches!(*task.names, [_]) && !wanted.read && !wanted.write && task.permits.is_none() && task.once.is_none();
    if task.min_hold.is_none() || !is_plain {
        return give_back(guard, false).await;
    }
    // A lock that a command had would be kept for that long.
    let released = locks.release(&guard.detach()).await;
    released.err().map(|error| (0, format!("{}; it is free when its TTL is over", Failure::from(error).message)))
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
