//! Starts redis-servers to try things out with, and keeps them until its input ends (Ctrl-D) or it is killed.
//!
//! `cargo run -p redlock-tests --bin servers -- 3` prints a line `REDLOCK_NODES=…` for another terminal.

use std::env;
use std::io::{self, Read};

use anyhow::Context;
use redlock_tests::Servers;

fn main() -> anyhow::Result<()> {
    let count = match env::args().nth(1) {
        Some(count) => count.parse().with_context(|| format!("{count:?} is not a number of servers"))?,
        None => 3,
    };
    let servers = Servers::start(count);
    println!("REDLOCK_NODES={}", servers.nodes());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
