//! The signals that somebody sends to a run, or to whoever acquires a lock.

use std::fs;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

use nix::sys::signal::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit::Failure;

/// Those that are handed on to the command.
pub(crate) const FORWARDED: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Whether it ends a program that has said nothing of it.
pub(crate) fn ends(signal: Signal) -> bool {
    FORWARDED.contains(&signal) && signal != Signal::SIGWINCH
}

/// Whether it asks a program to end.
pub(crate) fn asks_to_end(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT)
}

/// A runtime that signals reach. tokio panics where there is no file descriptor left for what it is told of them through.
pub(crate) fn runtime(builder: &mut Builder) -> Result<Runtime, Failure> {
    let spare = (0..SPARE_PAIRS).map(|_| UnixStream::pair()).collect::<Result<Vec<_>, _>>().map(drop);
    spare.and_then(|()| builder.enable_all().build()).map_err(|error| {
        Failure::ours(format!(
            "no runtime: {error}; let the process have some more threads or file descriptors (`ulimit -u`, `ulimit -n`)"
        ))
    })
}

/// A runtime has six or seven descriptors.
const SPARE_PAIRS: usize = 4;

/// The signals that came. From when this is made on, none of them ends the process.
pub(crate) struct Signals(Vec<(Signal, Stream)>);

impl Signals {
    /// Those that are handed on, and those by which a shell stops and continues us. What was ignored when this process was started
    /// (`nohup`) stays so, for the command, too.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Self::of(FORWARDED.into_iter().chain([Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGCHLD]))
    }

    /// Those alone that end a program which has said nothing of them; of what was ignored at the start, the same.
    pub(crate) fn that_end() -> std::io::Result<Self> {
        Self::of(FORWARDED.into_iter().filter(|signal| ends(*signal)))
    }

    fn of(signals: impl Iterator<Item = Signal>) -> std::io::Result<Self> {
        let ignored = ignored();
        let is_heard = |signal: &Signal| *signal == Signal::SIGCHLD || ignored & bit(*signal) == 0;
        signals
            .filter(is_heard)
            .map(|number| Ok((number, signal(SignalKind::from_raw(number as i32))?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// One that has come already.
    pub(crate) async fn came(&mut self) -> Option<Signal> {
        // Lets the runtime look at what the handler noted.
        tokio::task::yield_now().await;
        poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(signal) => Poll::Ready(Some(signal)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        for (signal, stream) in &mut self.0 {
            if stream.poll_recv(cx).is_ready() {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as u64 - 1)
}

/// The signals that this process ignores, a bit each. Only Linux tells.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
