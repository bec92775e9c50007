//! A layer of tower: one request at a time for each `Idempotency-Key`, or else path. Others wait, and then get 409 with `Retry-After`.
//! A key that cannot be a lock's name is the client's mistake; what is wrong with the nodes is for the log, and not for clients.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use redlock_runtime::{Error, LockManager, Timeout};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone)]
struct LockLayer {
    locks: LockManager,
    wait: Timeout, // with `Timeout::Skip` they get it at once
}

#[derive(Clone)]
struct Locked<S>(LockLayer, S);

impl<S> Layer<S> for LockLayer {
    type Service = Locked<S>;

    fn layer(&self, inner: S) -> Locked<S> {
        Locked(self.clone(), inner)
    }
}

impl<S> Service<Request> for Locked<S>
where
    S: Service<Request, Response = Response, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok());
        let name = format!("request:{}", key.unwrap_or(request.uri().path()));
        let acquiring = self.0.locks.lock(name).timeout(self.0.wait).acquire();
        // The one that is ready, and not its clone.
        let next = self.1.clone();
        let mut inner = std::mem::replace(&mut self.1, next);
        Box::pin(async move {
            // Held until the response is there; dropped with the request when the client goes away.
            let _guard = match acquiring.await {
                Ok(guard) => guard,
                Err(error) => return Ok(refusal(&error)),
            };
            inner.call(request).await
        })
    }
}

fn refusal(error: &Error) -> Response {
    let later = [("retry-after", "1")];
    match error {
        Error::NotAcquired { .. } => (StatusCode::CONFLICT, later, "it is being worked on\n").into_response(),
        Error::InvalidName { .. } => {
            (StatusCode::BAD_REQUEST, "the key has more than 500 bytes, or a tab\n").into_response()
        }
        error => {
            // It names nodes.
            eprintln!("no lock for a request: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, later, "try again\n").into_response()
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };
    let locks = builder.build()?;
    let layer = LockLayer { locks: locks.clone(), wait: Duration::from_millis(100).into() };
    let work = async || tokio::time::sleep(Duration::from_millis(500)).await;
    let mut app = axum::Router::new().route("/invoices/{id}", post(work)).layer(layer);
    let mut ask = |path: &str| app.call(Request::post(path).body(axum::body::Body::empty()).expect("it is a request"));
    let (first, second, other) = (ask("/invoices/7"), ask("/invoices/7"), ask("/invoices/8"));
    let (first, second, other) = tokio::join!(first, second, other);
    println!("twice at once: {} and {}; another: {}", first?.status(), second?.status(), other?.status());
    println!("a name that is too long: {}", ask(&format!("/invoices/{}", "7".repeat(600))).await?.status());
    locks.shutdown().await;
    Ok(())
}
