//! The processes that take part, and how they take turns.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use redlock_compare::{Answer, Job, Orders};
use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::{Program, Servers};

/// How long keys live where that does not matter.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// How long a process may take to connect.
const CONNECTING: Duration = Duration::from_secs(10);

/// Those who are not ours, which is another program.
pub(crate) const PEERS: [&str; 3] = ["rslock", "redlock", "distributed-lock-redis"];

/// All who take part.
pub(crate) const CONTESTANTS: [&str; 11] = [
    "floor",
    "floor-fenced",
    "floor-push",
    "floor-line",
    "ours",
    "ours-unfenced",
    "ours-once",
    "#[redlock]",
    "rslock",
    "distributed-lock-redis",
    "redlock",
];

/// The programs that contestants are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// This one.
    pub(crate) ours: PathBuf,
    /// That of the peers, if they take part.
    pub(crate) peers: Option<PathBuf>,
}

/// How everything is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) programs: Programs,
    /// Who takes part; empty: all.
    pub(crate) only: Vec<String>,
    /// How often all take turns.
    pub(crate) repetitions: usize,
    /// By how much turns are shorter than usual.
    pub(crate) divisor: u32,
    /// How long one turn may take on top of what it was to take.
    pub(crate) patience: Duration,
}

/// A process that takes part.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Which contestant it is.
    pub(crate) name: &'static str,
    program: Program,
}

/// Whether a turn counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It connects and warms up.
    First,
    /// It counts.
    Counted,
}

impl Plan {
    /// So many milliseconds, or less for a quick run, or to warm up.
    pub(crate) fn milliseconds(&self, turn: Turn, usual: u64) -> u64 {
        let divisor = match turn {
            Turn::First => 3,
            Turn::Counted => 1,
        };
        usual / divisor / u64::from(self.divisor)
    }

    /// Starts those of these contestants that take part at all.
    pub(crate) fn crew(&self, names: &[&'static str], servers: &Servers) -> anyhow::Result<Vec<Worker>> {
        self.present(names).map(|name| self.worker(name, servers, TTL)).collect()
    }

    /// Those of these contestants that take part at all.
    pub(crate) fn present(&self, names: &[&'static str]) -> impl Iterator<Item = &'static str> {
        let is_there = |name: &&str| self.programs.peers.is_some() || !PEERS.contains(name);
        let is_wanted = |name: &&str| self.only.is_empty() || self.only.iter().any(|wanted| wanted == name);
        names.iter().copied().filter(move |name| is_there(name) && is_wanted(name))
    }

    /// Starts a process, and waits until it is connected.
    pub(crate) fn worker(&self, name: &'static str, servers: &Servers, ttl: Duration) -> anyhow::Result<Worker> {
        let program = if PEERS.contains(&name) { self.programs.peers.as_ref() } else { Some(&self.programs.ours) };
        let program = program.context("the peers do not take part")?;
        let orders = Orders { contestant: name.to_owned(), ttl, nodes: servers.urls() };
        let mut worker = Worker { name, program: Program::start(Command::new(program).args(orders.arguments())) };
        let is_connected = worker.answer(CONNECTING)?.is_some();
        ensure!(is_connected, "{name} did not connect within {CONNECTING:?}; {}", worker.last_words());
        Ok(worker)
    }

    /// All have a turn to warm up, and then one in each repetition, each time another being the first. Who is not done in
    /// time is ended and takes part no more.
    pub(crate) fn take_turns<T>(
        &self,
        crew: &mut Vec<T>,
        mut turn: impl FnMut(&mut T, Turn) -> anyhow::Result<InTime>,
    ) -> anyhow::Result<()> {
        for repetition in 0..=self.repetitions {
            let kind = if repetition == 0 { Turn::First } else { Turn::Counted };
            if !crew.is_empty() {
                crew.rotate_left(1);
            }
            let mut late = Vec::new();
            for (index, worker) in crew.iter_mut().enumerate() {
                if turn(worker, kind)? == InTime::No {
                    late.push(index);
                }
            }
            for index in late.into_iter().rev() {
                crew.remove(index);
            }
        }
        Ok(())
    }
}

/// Whether a contestant was done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "who was not must not be asked again"]
pub(crate) enum InTime {
    /// It was.
    Yes,
    /// It was not.
    No,
}

impl Worker {
    /// Has it do a job; nothing if it is not done within this time.
    pub(crate) fn work(&mut self, job: Job, limit: Duration) -> anyhow::Result<Option<Answer>> {
        self.begin(job)?;
        let answer = self.answer(limit)?;
        if answer.is_none() {
            eprintln!("{} did not do {job:?} within {limit:?}; {}", self.name, self.last_words());
        }
        Ok(answer)
    }

    /// Has it do a job that surely ends.
    pub(crate) fn finish(&mut self, job: Job) -> anyhow::Result<Answer> {
        let answer = self.work(job, Duration::from_secs(60))?;
        answer.with_context(|| format!("{} did not do {job:?} in a minute; {}", self.name, self.last_words()))
    }

    /// Has it begin a job.
    pub(crate) fn begin(&mut self, job: Job) -> anyhow::Result<()> {
        self.program.tell(&serde_json::to_string(&job)?);
        Ok(())
    }

    /// What came of the job that it began.
    pub(crate) fn answer(&mut self, limit: Duration) -> anyhow::Result<Option<Answer>> {
        let began = monotonic_nanoseconds();
        let Some(line) = self.program.line_within(limit) else {
            // Nothing comes from a process that ended either: that it broke does not say how long it takes.
            let waited = Duration::from_nanos(monotonic_nanoseconds() - began);
            ensure!(waited >= limit, "{} ended; {}", self.name, self.last_words());
            return Ok(None);
        };
        Ok(Some(serde_json::from_str(&line).with_context(|| format!("{} answered {line:?}", self.name))?))
    }

    /// What it wrote to stderr, as far as a line of a report has room for it.
    fn last_words(&self) -> String {
        let errors = self.program.errors();
        let first: Vec<&str> = errors.lines().filter(|line| !line.is_empty()).take(2).collect();
        if first.is_empty() { "it said nothing".to_owned() } else { format!("it said: {}", first.join(" ")) }
    }
}

/// The durations of an answer, in nanoseconds, from short to long.
pub(crate) fn durations(answer: Answer) -> anyhow::Result<Vec<i64>> {
    let Answer::Durations(mut durations) = answer else { bail!("{answer:?} has no durations") };
    ensure!(!durations.is_empty(), "it was not done once in the time there was");
    durations.sort_unstable();
    Ok(durations)
}

/// Compiles the peers' program where this one was compiled, as it was; returns where it is.
pub(crate) fn compile_peers() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/Cargo.toml");
    let own = env::current_exe()?;
    let target = own.ancestors().nth(2).context("this program is in its target directory")?.join("compare-peers");
    let is_compiled = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()?
        .success();
    ensure!(is_compiled, "the peers cannot be compiled; --only-ours does without them");
    Ok(target.join("release/redlock-compare-peers"))
}
