use std::future::Future;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use redlock_tests::clock::monotonic_nanoseconds;
use tokio::runtime::{Builder, Runtime};

use crate::measures::{cycles, expiry, waiting, weight};
use crate::{Answer, Contestant, Job};

/// Makes a program a process that takes part: `--worker CONTESTANT TTL_MILLISECONDS NODE…`.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Which contestant.
    pub contestant: String,
    /// How long its keys live.
    pub ttl: Duration,
    /// The URLs of its nodes.
    pub nodes: Vec<String>,
}

impl Orders {
    /// What makes a program a process that takes part, as its first argument.
    pub const WORKER: &str = "--worker";

    /// The arguments that say so.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let first = [Self::WORKER.to_owned(), self.contestant.clone(), self.ttl.as_millis().to_string()];
        first.into_iter().chain(self.nodes.iter().cloned()).collect()
    }

    /// Reads the arguments behind the program's name; nothing if they do not begin as these do.
    ///
    /// # Errors
    ///
    /// If they begin so and do not go on so.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        if arguments.next().as_deref() != Some(Self::WORKER) {
            return Ok(None);
        }
        let (Some(contestant), Some(ttl)) = (arguments.next(), arguments.next()) else {
            bail!("a worker is told which contestant it is, and a TTL");
        };
        Ok(Some(Self { contestant, ttl: Duration::from_millis(ttl.parse()?), nodes: arguments.collect() }))
    }
}

/// Connects, and does one job for each line of stdin until that ends.
///
/// # Errors
///
/// If a line is no job, or cannot be answered.
pub fn serve<C: Contestant>(orders: &Orders, connect: impl AsyncFnOnce(&Orders) -> C) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let contestant = runtime.block_on(connect(orders));
    let mut worker = Worker { contestant, runtime, orders, given: None, held: Vec::new(), weighed: 0 };
    answer(&Answer::Ready)?;
    for line in io::stdin().lock().lines() {
        let job = serde_json::from_str(&line?).context("a line that is no job")?;
        answer(&worker.work(job)?)?;
    }
    Ok(())
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(answer)?)?;
    stdout.flush().context("nobody reads the answers")
}

/// A process that takes part.
struct Worker<'a, C: Contestant> {
    /// The lock.
    contestant: C,
    /// Where it runs.
    runtime: Runtime,
    /// Where its nodes are.
    orders: &'a Orders,
    /// The lock that was taken, to be given.
    given: Option<C::Held>,
    /// The locks that are held to be weighed.
    held: Vec<Vec<C::Held>>,
    /// What the process weighed before those.
    weighed: u64,
}

impl<C: Contestant> Worker<'_, C> {
    fn work(&mut self, job: Job) -> anyhow::Result<Answer> {
        let contestant = self.contestant.clone();
        Ok(match job {
            Job::Cycle { milliseconds } => Answer::Durations(self.run(cycles::cycle(contestant, milliseconds))?),
            Job::Many { tasks, milliseconds } => self.run(cycles::many(contestant, tasks, milliseconds))?,
            Job::HandOver { milliseconds } => {
                Answer::Durations(self.run(waiting::hand_over(contestant, milliseconds))?)
            }
            Job::Take => {
                let (held, moment) = self.run(async move {
                    let held = contestant.acquire("handed over").await;
                    (held, monotonic_nanoseconds())
                })?;
                self.given = Some(held);
                Answer::Moment(moment)
            }
            Job::Give => {
                let held = self.given.take().context("nothing was taken that could be given")?;
                Answer::Moment(self.run(async move {
                    let moment = monotonic_nanoseconds();
                    contestant.release(held).await;
                    moment
                })?)
            }
            Job::Compete { tasks, until } => Answer::Waiters(self.run(waiting::compete(contestant, tasks, until))?),
            Job::Burst { waiters, bursts } => Answer::Durations(self.run(waiting::burst(contestant, waiters, bursts))?),
            Job::Expire { waiters, ttl_milliseconds } => {
                let (nodes, ttl) = (self.orders.nodes.clone(), Duration::from_millis(ttl_milliseconds));
                Answer::Durations(self.run(expiry::expire(contestant, nodes, waiters, ttl))??)
            }
            Job::Hold { locks } => {
                // What the first ones allocate for good does not belong to any lock; but what more of them would leave to the
                // allocator would be taken from there, and not be weighed.
                self.run(weight::warm_up(contestant.clone()))?;
                self.weighed = weight::weigh()?;
                self.held = self.run(weight::hold(contestant, locks))?;
                self.weight()?
            }
            Job::Weigh => self.weight()?,
        })
    }

    fn weight(&self) -> anyhow::Result<Answer> {
        let valid = self.held.iter().flatten().filter(|held| self.contestant.is_valid(held)).count();
        Ok(Answer::Weight { before: self.weighed, now: weight::weigh()?, valid })
    }

    /// Runs it as a task of the runtime, where a user's code runs too.
    fn run<T: Send + 'static>(&self, job: impl Future<Output = T> + Send + 'static) -> anyhow::Result<T> {
        self.runtime.block_on(async { tokio::spawn(job).await }).context("a job panicked")
    }
}
