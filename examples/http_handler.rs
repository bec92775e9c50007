//! An axum handler under a lock for each invoice: of two requests at once one is served, the other is answered 409. The
//! process ends gracefully: what is being served when it shall end is served, and leaves no lock behind.

use std::future::IntoFuture;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use redlock_runtime::{Error, LockManager, redlock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A lock's error as the answer to a request.
struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let is_taken = matches!(self.0, Error::NotAcquired { .. });
        let status = if is_taken { StatusCode::CONFLICT } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, self.0.to_string()).into_response()
    }
}

#[redlock(name = "invoice:{id}", timeout = -1)]
async fn pay(Path(id): Path<u64>) -> Result<String, Refusal> {
    sleep(Duration::from_secs(2)).await;
    Ok(format!("invoice {id} is paid"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt::init();
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };
    let locks = builder.build()?;
    locks.install()?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = axum::Router::new().route("/invoices/{id}/pay", axum::routing::post(pay));
    // In a service of yours: the end of `signal(SignalKind::terminate())?.recv()`.
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(server.into_future());

    let of_invoice = |id| async move {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("POST /invoices/{id}/pay HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        println!("{} - {body}", head.lines().next().unwrap_or_default());
        anyhow::Ok(())
    };
    tokio::try_join!(of_invoice(7), of_invoice(7))?;

    // The end of the process, while a request is served: first the server, which sees it through, then the locks.
    let last = tokio::spawn(of_invoice(8));
    while !locks.is_locked("invoice:8").await? {
        sleep(Duration::from_millis(10)).await;
    }
    let _ = stop.send(());
    timeout(Duration::from_secs(20), serving).await???;
    last.await??;
    println!("{}", locks.shutdown_within(Duration::from_secs(5)).await);
    Ok(())
}
