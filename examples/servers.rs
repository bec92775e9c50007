//! Redis masters to try things out with: three, or as many as the argument says, on free ports of 127.0.0.1, without persistence.
//!
//! The line that it prints says to a shell which they are. They are gone, with all that they had, when this program is: by ctrl-C, SIGTERM, or
//! in any other way.

use std::env;
use std::ffi::OsStr;

use anyhow::Context;
use redlock_tests::{RedisServer, Setup};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before there is anything that would be left behind.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let count = match env::args().nth(1) {
        Some(count) => count.parse().with_context(|| format!("{count:?} is not a number of servers"))?,
        None => 3,
    };
    let program = env::var_os("REDLOCK_REDIS_SERVER");
    let program = program.as_deref().unwrap_or(OsStr::new("redis-server"));
    let servers = (0..count).map(|_| RedisServer::try_start(program, &Setup::new()));
    let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
    let urls: Vec<_> = servers.iter().map(RedisServer::url).collect();
    println!("export REDLOCK_NODES={}", urls.join(","));
    eprintln!("{count} redis-servers run until ctrl-C; paste the line above into other terminals");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Ended one by one, each by its process id.
    drop(servers);
    Ok(())
}
