//! A layer of tower: one request at a time for each `Idempotency-Key`, or else path. Others wait, and then get 409 with `Retry-After`.

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
                Err(Error::NotAcquired { .. }) => {
                    return Ok(
                        (StatusCode::CONFLICT, [("retry-after", "1")], "it is being worked on\n").into_response()
                    );
                }
                Err(error) => return Ok((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()),
            };
            inner.call(request).await
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = std::env::var("REDLOCK_NODES").unwrap_or_else(|_| "memory://".to_owned());
    let locks = LockManager::builder().nodes_in_text(&nodes).build()?;
    let layer = LockLayer { locks: locks.clone(), wait: Duration::from_millis(100).into() };
    let work = async || tokio::time::sleep(Duration::from_millis(500)).await;
    let mut app = axum::Router::new().route("/invoices/{id}", post(work)).layer(layer);
    let mut ask = |path: &str| app.call(Request::post(path).body(axum::body::Body::empty()).expect("it is a request"));
    let (first, second, other) = (ask("/invoices/7"), ask("/invoices/7"), ask("/invoices/8"));
    let (first, second, other) = tokio::join!(first, second, other);
    println!("twice at once: {} and {}; another: {}", first?.status(), second?.status(), other?.status());
    locks.shutdown().await;
    Ok(())
}
