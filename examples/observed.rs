//! A service that is seen from outside: three locks, `/metrics` for Prometheus, and log lines.
//!
//! `ADDRESS=127.0.0.1:8080 cargo run --example observed` serves until it is asked to end; without `ADDRESS` it looks at itself once.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusBuilder;
use redlock_runtime::observe::names::BUCKETS;
use redlock_runtime::{Error, InDoubt, LockManager, redlock};
use tokio::net::TcpListener;
use tokio::time::sleep;

// One request for an invoice at a time; another is refused.
#[redlock(name = "invoice:{id}", timeout = -1)]
async fn pay(id: u64) -> Result<String, Error> {
    sleep(Duration::from_millis(20)).await;
    Ok(format!("invoice {id} is paid"))
}

// Two imports at a time in the whole fleet; others wait for up to five seconds.
#[redlock(name = "import", permits = 2, timeout = 5)]
async fn import() -> Result<(), Error> {
    sleep(Duration::from_millis(50)).await;
    Ok(())
}

// A job that every machine fires, and one of them runs.
#[redlock(name = "report", once = "5s", timeout = -1, silent)]
async fn report() {
    sleep(Duration::from_millis(10)).await;
}

fn said<T>(ended: Result<T, Error>) -> String {
    ended.map_or_else(|error| format!("{error}\n"), |_| "done\n".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt::init();
    let metrics = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };
    // A report that comes twice does no harm, so servers that were just started do not keep it waiting.
    let locks = builder.in_doubt(InDoubt::Run).build()?;
    locks.install()?;

    let render = metrics.clone();
    let app = Router::new()
        .route("/metrics", get(move || async move { render.render() }))
        .route("/invoices/{id}/pay", post(async |Path(id): Path<u64>| said(pay(id).await)))
        .route("/import", post(async || said(import().await)));
    if let Ok(address) = std::env::var("ADDRESS") {
        tokio::spawn(async {
            loop {
                report().await;
                sleep(Duration::from_secs(1)).await;
            }
        });
        let listener = TcpListener::bind(address).await?;
        tokio::select! {
            served = async { axum::serve(listener, app).await } => served?,
            ended = locks.shutdown_on_signal() => println!("{}", ended?),
        }
    } else {
        // One import more than there are permits, so that one waits.
        let imports = async { tokio::join!(import(), import(), import()) };
        let (paid, again, imported, ()) = tokio::join!(pay(7), pay(7), imports, report());
        println!("{}{}{}{}{}", said(paid), said(again), said(imported.0), said(imported.1), said(imported.2));
        locks.shutdown().await;
        println!("{}", metrics.render());
    }
    Ok(())
}
