//! A layer of tower: one request at a time for each method, path and `Idempotency-Key`. Others wait, and then get 409 with `Retry-After`.
//! One at a time, not once: a key that comes again later is handled again, unless the store that the handler writes to knows it.

use std::task::{Context, Poll};
use std::{pin::Pin, time::Duration};

use axum::response::{IntoResponse, Response};
use axum::{body::Body, extract::Request, http::StatusCode, routing::post};
use redlock_runtime::{Error, LockManager, Run, Timeout, name_of};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone)]
pub(crate) struct LockLayer {
    pub(crate) locks: LockManager,
    pub(crate) wait: Timeout, // with `Timeout::Skip` others get 409 at once
}

#[derive(Clone)]
pub(crate) struct Locked<S>(LockLayer, S);

impl<S> Layer<S> for LockLayer {
    type Service = Locked<S>;
    fn layer(&self, inner: S) -> Locked<S> {
        Locked(self.clone(), inner)
    }
}

impl<S> Service<Request> for Locked<S>
where
    S: Service<Request, Response = Response, Error: Send, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let key = request.headers().get("idempotency-key").map_or(&b""[..], |key| key.as_bytes());
        let name = name_of!("request", request.method(), request.uri().path(), String::from_utf8_lossy(key));
        let lock = self.0.locks.lock(name).timeout(self.0.wait);
        let next = self.1.clone();
        let mut inner = std::mem::replace(&mut self.1, next); // the one that is ready
        Box::pin(async move {
            // Held until the response is there. If it is lost before, the handler is dropped, whose work may be half done.
            match lock.run(async move |_| Ok::<_, Error>(inner.call(request).await)).await {
                Ok(Run::Ran(answer)) => answer,
                Ok(Run::Skipped(_)) => Ok((StatusCode::CONFLICT, LATER, "it is being worked on").into_response()),
                Err(error) => Ok(refusal(&error)),
            }
        })
    }
}

const LATER: [(&str, &str); 1] = [("retry-after", "1")];

fn refusal(error: &Error) -> Response {
    if matches!(error, Error::InvalidName { .. }) {
        return (StatusCode::BAD_REQUEST, "path and key are too long").into_response();
    }
    eprintln!("no lock for a request: {error}");
    (StatusCode::SERVICE_UNAVAILABLE, LATER, "try again").into_response()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = std::env::var("REDLOCK_NODES").unwrap_or("memory://".to_owned()); // a node that only this process sees
    let locks = LockManager::builder_from_env()?.nodes_in_text(&nodes).build()?;
    let layer = LockLayer { locks: locks.clone(), wait: Duration::from_millis(100).into() };
    let work = async || tokio::time::sleep(Duration::from_millis(500)).await;
    let mut app = axum::Router::new().route("/invoices/{id}", post(work)).layer(layer);
    let mut ask = |path: &str| app.call(Request::post(path).body(Body::empty()).expect("it is a request"));
    let (first, second, other) = tokio::join!(ask("/invoices/7"), ask("/invoices/7"), ask("/invoices/8"));
    println!("twice at once: {} and {}; another: {}", first?.status(), second?.status(), other?.status());
    locks.shutdown().await;
    Ok(())
}
