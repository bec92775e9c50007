//! A lock that a majority of PostgreSQL databases holds, without Redis: `cargo run --example postgres -- "host=10.0.0.1 user=app" …`, a
//! connection string for each database, of which there should be three on servers that fail independently.

mod node;

use redlock_runtime::LockManager;
use tokio_postgres::{Config, NoTls};

use node::{PostgresNode, SETUP};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt::init();
    let mut builder = LockManager::builder();
    let databases: Vec<String> = std::env::args().skip(1).collect();
    if databases.is_empty() {
        println!("name databases: cargo run --example postgres -- \"host=10.0.0.1 user=app dbname=locks\" …");
        return Ok(());
    }
    for (number, database) in databases.iter().enumerate() {
        let config: Config = database.parse()?;
        // Once for each database; a migration of yours does as well.
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(SETUP).await?;
        builder = builder.node(PostgresNode::new(format!("database {number}"), config));
    }
    let locks = builder.build()?;
    let guard = locks.lock("invoice:7").acquire().await?;
    println!("invoice:7 is ours, with fencing token {}", guard.fencing_token());
    println!("somebody else gets it now: {}", locks.lock("invoice:7").try_acquire().await?.is_some());
    guard.release().await?;
    println!("and now: {}", locks.lock("invoice:7").try_acquire().await?.is_some());
    locks.shutdown().await;
    Ok(())
}
