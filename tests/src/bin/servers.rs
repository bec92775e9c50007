//! Starts redis-servers and keeps them until its input ends or it is killed, which a test of the harness does. To try things out with, take the
//! example `servers`.

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
