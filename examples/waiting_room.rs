//! A crowd waits for three locks, and a table shows live how many wait for what: started in several terminals, with the
//! same Redis nodes in `REDLOCK_NODES`, each shows the waiters of all.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use redlock_runtime::{Error, LockManager, WaitingStatistics};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

const DOORS: [&str; 3] = ["dentist", "barber", "passport office"];

/// Goes to one door after the other; is served for a while at each.
async fn visit(locks: LockManager, client: u64) -> Result<(), Error> {
    for turn in 0..4 {
        let door = DOORS[usize::try_from(client + turn).unwrap_or(0) % DOORS.len()];
        let served = locks.lock(door).acquire().await?;
        sleep(Duration::from_millis(100 + 37 * (client % 5))).await;
        served.release().await?;
    }
    Ok(())
}

/// The table in place where there is a terminal to draw on, else a line for each look.
fn show(statistics: &WaitingStatistics, is_first: bool) {
    let bar = |count: u64| "*".repeat(usize::try_from(count).unwrap_or(0).min(40));
    let waiting = |door| statistics.get(door).map_or((0, 0), |name| (name.here, name.everywhere));
    if !stdout().is_terminal() {
        let all: Vec<_> = DOORS.iter().map(|door| format!("{door} {}", waiting(door).1)).collect();
        return println!("waiting: {}", all.join(", "));
    }
    if !is_first {
        print!("\x1b[{}A", DOORS.len());
    }
    for door in DOORS {
        let (here, everywhere) = waiting(door);
        println!("\x1b[2K{door:>16}  {here:>3} here  {everywhere:>3} in all  {}", bar(everywhere));
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let locks = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::from_env()?
    } else {
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?
    };
    let mut clients: JoinSet<_> = (0..12).map(|client| visit(locks.clone(), client)).collect();
    let mut look = interval(Duration::from_millis(250));
    let mut is_first = true;
    while !clients.is_empty() {
        tokio::select! {
            Some(visited) = clients.join_next() => visited??,
            _ = look.tick() => {
                show(&locks.statistics().await?, is_first);
                is_first = false;
            }
        }
    }
    println!("everybody was served");
    locks.shutdown().await;
    Ok(())
}
