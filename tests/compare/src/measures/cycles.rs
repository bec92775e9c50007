use redlock_tests::clock::monotonic_nanoseconds;
use tokio::task::JoinSet;

use super::{between, end_of, processor_nanoseconds};
use crate::{Answer, Contestant};

/// One task acquires and releases until the time is over.
pub(crate) async fn cycle(contestant: impl Contestant, milliseconds: u64) -> Vec<i64> {
    let until = end_of(milliseconds);
    let mut taken = Vec::new();
    let mut began = monotonic_nanoseconds();
    while began < until {
        contestant.cycle("one").await;
        let ended = monotonic_nanoseconds();
        taken.push(between(began, ended));
        began = ended;
    }
    taken
}

/// Tasks with a name each do so.
pub(crate) async fn many(contestant: impl Contestant, tasks: usize, milliseconds: u64) -> Answer {
    let processor = processor_nanoseconds();
    let (began, until) = (monotonic_nanoseconds(), end_of(milliseconds));
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let contestant = contestant.clone();
        running.spawn(async move {
            let name = format!("name-{task}");
            let mut cycles = 0_u64;
            while monotonic_nanoseconds() < until {
                contestant.cycle(&name).await;
                cycles += 1;
            }
            cycles
        });
    }
    let cycles = running.join_all().await.into_iter().sum();
    let nanoseconds = monotonic_nanoseconds() - began;
    Answer::Done { cycles, nanoseconds, processor: processor_nanoseconds() - processor }
}
