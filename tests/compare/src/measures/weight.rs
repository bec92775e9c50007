use std::fs;

use anyhow::Context;
use tokio::task::JoinSet;

use crate::Contestant;

/// How many are acquired at a time.
const TASKS: usize = 64;

/// Acquires so many names; what they are kept in is allocated once, so that nothing but the locks is weighed.
pub(crate) async fn hold<C: Contestant>(contestant: C, locks: usize) -> Vec<Vec<C::Held>> {
    let mut acquiring = JoinSet::new();
    for task in 0..TASKS {
        let contestant = contestant.clone();
        acquiring.spawn(async move {
            let mut held = Vec::with_capacity(locks / TASKS + 1);
            for number in (task..locks).step_by(TASKS) {
                held.push(contestant.acquire(&format!("held-{number}")).await);
            }
            held
        });
    }
    acquiring.join_all().await
}

/// Acquires a name for each task, and releases them.
pub(crate) async fn warm_up<C: Contestant>(contestant: C) {
    for held in hold(contestant.clone(), TASKS).await.into_iter().flatten() {
        contestant.release(held).await;
    }
}

/// The memory of this process that is in the machine's, in bytes.
pub(crate) fn weigh() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("only Linux tells what a process weighs")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in the status")?;
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().context("VmRSS is a number of kB")?;
    Ok(kilobytes * 1024)
}
