//! The node of the example `postgres`, on a server of PostgreSQL that is started here.
//!
//! Where the server is not installed the test says so, and does nothing; with `REDLOCK_REQUIRE_POSTGRES=1` it fails. Its packages are
//! `postgresql` on Debian and Ubuntu.

#[path = "../postgres/node.rs"]
mod node;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use redlock_runtime::LockManager;
use redlock_runtime::testing::check_node;
use tokio_postgres::{Client, Config, NoTls};

use node::{PostgresNode, SETUP};

/// A server in a temporary directory, gone when this is dropped.
struct Postgres {
    server: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

/// The folder of `initdb` and `postgres`, which Debian does not have on the PATH.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let folders = versions.map(|version| version.path().join("bin")).chain(on_path.into_iter().flatten());
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// The program as somebody who is not root, because PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id is there");
    id.stdout.trim_ascii() == b"0"
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { bail!("{command:?}: {said}") }
}

impl Postgres {
    fn start(binaries: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::TempDir::with_prefix("redlock-postgres-")?;
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(directory.path()))?;
        }
        let data = directory.path().join("data");
        let initialize = ["--auth=trust", "--username=test", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"];
        run(unprivileged(&binaries.join("initdb")).current_dir("/").args(initialize).arg(&data))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=40"];
        let mut command = unprivileged(&binaries.join("postgres"));
        command.current_dir("/").arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        let log = std::fs::File::create(directory.path().join("log"))?;
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { server, port, _directory: directory })
    }

    fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("test").dbname(database);
        config
    }

    async fn client(&self, database: &str) -> anyhow::Result<Client> {
        let (client, connection) = self.config(database).connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A client, as soon as the server takes one.
    async fn first_client(&mut self) -> anyhow::Result<Client> {
        for _ in 0..3000 {
            if let Ok(client) = self.client("postgres").await {
                return Ok(client);
            }
            if let Some(ended) = self.server.try_wait()? {
                bail!("the server ended: {ended}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the server takes no connections")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is its fast shutdown, which leaves no shared memory behind.
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_of_databases_holds_a_lock() -> anyhow::Result<()> {
    let is_required = std::env::var_os("REDLOCK_REQUIRE_POSTGRES").is_some();
    let Some(binaries) = binaries() else {
        assert!(
            !is_required,
            "REDLOCK_REQUIRE_POSTGRES is set, but initdb and postgres are not there: install postgresql"
        );
        println!("SKIPPED: initdb and postgres are not there; Debian's package is postgresql");
        return Ok(());
    };
    let mut server = Postgres::start(&binaries)?;
    let admin = server.first_client().await?;
    let names = ["first", "second", "third"];
    for name in names {
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let client = server.client(name).await?;
        client.batch_execute(SETUP).await?;
        client.batch_execute(SETUP).await?; // it may be run again
    }

    let node = |name: &str| PostgresNode::new(name, server.config(name));
    let report = check_node(async || node("first")).await?;
    assert!(report.has_counters && report.reports_changes, "{report:?}");
    assert!(report.inspects && report.lists && report.resets, "{report:?}");

    // In production each is a server of its own.
    let manager = || {
        let builder = LockManager::builder().node_timeout(Duration::from_secs(5)).slow_poll(Duration::from_secs(600));
        names.iter().fold(builder, |builder, name| builder.node(node(name))).build()
    };
    let (here, there) = (manager()?, manager()?);
    let guard = here.lock("x").acquire().await?;
    let token = guard.fencing_token();
    assert!(there.lock("x").try_acquire().await?.is_none());
    let waiting = tokio::spawn(there.lock("x").acquire());
    while !is_waiting(&there).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guard.release().await?;
    // A notification wakes it; the next poll is far.
    let guard = waiting.await??;
    assert!(guard.fencing_token() > token);
    // Before a connection ends: a lock that was granted by this database and one other would not be released by a majority.
    guard.release().await?;

    // A connection that ends is made again.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'second'";
    admin.execute(end, &[]).await?;
    there.lock("x").timeout(Duration::from_secs(30)).acquire().await?.release().await?;
    assert!(here.check().await?.to_string().contains("first"));
    here.shutdown().await;
    there.shutdown().await;
    Ok(())
}

async fn is_waiting(locks: &LockManager) -> bool {
    let waiting = locks.statistics().await;
    waiting.is_ok_and(|waiting| waiting.get("x").is_some_and(|x| x.everywhere > 0))
}
