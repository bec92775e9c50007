//! Examines the Redis nodes in `REDLOCK_NODES` and says whether locks will work on them; fails if none can be acquired.
//! Without the variable it examines three nodes inside this process.

use std::process::ExitCode;
use std::time::Duration;

use redlock_runtime::{CheckVerdict, LockManager};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: examining three memory:// nodes, which only this process sees\n");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };
    let locks = builder
        // What you set for your program, set here too: answers and clocks are measured against it.
        .node_timeout(Duration::from_millis(250))
        .build()?;
    let report = locks.check().await?;
    println!("{report}");
    locks.shutdown().await;
    Ok(match report.verdict() {
        CheckVerdict::Unusable { .. } => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}
