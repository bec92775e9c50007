//! An axum handler under a lock for each invoice: of two requests at once one is served, the other is answered 409.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use redlock_runtime::{Error, LockManager, redlock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

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
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
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
    tokio::spawn(async move { axum::serve(listener, app).await });

    let request = async || {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"POST /invoices/7/pay HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        println!("{} - {body}", head.lines().next().unwrap_or_default());
        anyhow::Ok(())
    };
    tokio::try_join!(request(), request())?;
    locks.shutdown().await;
    Ok(())
}
