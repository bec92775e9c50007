use std::fmt::Display;
use std::fs;
use std::time::Duration;

/// How much processor time the threads of a process have had, those that ended aside; zero where the system does not tell.
pub(crate) fn time_of(process: impl Display) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let time_of = |thread: std::io::Result<fs::DirEntry>| {
        // Source: "/proc/<pid>/schedstat", https://docs.kernel.org/scheduler/sched-stats.html
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.filter_map(time_of).sum()
}
