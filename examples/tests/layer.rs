//! The layer that locks requests, beside requests that come at once, come again, and lose their lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, post};
use redlock_runtime::{LockManager, Timeout};
use redlock_tests::wait::eventually_async;
use tokio::sync::Notify;
use tower_service::Service as _;

use self::lock_layer::LockLayer;

#[expect(dead_code, reason = "an example is a program")]
#[path = "../lock_layer.rs"]
mod lock_layer;

fn manager() -> LockManager {
    LockManager::builder().nodes(["memory://"]).build().unwrap()
}

fn under(locks: &LockManager, routes: Router) -> Router {
    routes.layer(LockLayer { locks: locks.clone(), wait: Timeout::Skip })
}

async fn ask(app: &Router, method: &str, path: &str, key: &str) -> Response {
    let request = Request::builder().method(method).uri(path).header("idempotency-key", key);
    app.clone().call(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[test]
fn it_is_short_enough_to_be_copied() {
    let lines = include_str!("../lock_layer.rs").lines().count();
    assert!(lines <= 80, "{lines} lines");
}

/// The same key is the same lock at one method and path, and at no other, also where they could be taken for one another.
#[tokio::test]
async fn a_key_keeps_out_requests_of_its_own_method_and_path_alone() {
    let (started, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let locks = manager();
    let slow = any({
        let (started, end) = (Arc::clone(&started), Arc::clone(&end));
        async move || {
            started.notify_one();
            end.notified().await;
        }
    });
    let app = under(&locks, Router::new().route("/a", slow).fallback(async || {}));
    let first = tokio::spawn({
        let app = app.clone();
        async move { ask(&app, "POST", "/a", "7").await.status() }
    });
    started.notified().await;
    let again = ask(&app, "POST", "/a", "7").await;
    assert_eq!((again.status(), again.headers()["retry-after"].as_bytes()), (StatusCode::CONFLICT, &b"1"[..]));
    for (method, path, key) in [("POST", "/b", "7"), ("PUT", "/b", "7"), ("POST", "/a:7", ""), ("POST", "/", "a:7")] {
        assert_eq!(ask(&app, method, path, key).await.status(), StatusCode::OK, "{method} {path} {key}");
    }
    assert_eq!(ask(&app, "POST", "/a", &"7".repeat(600)).await.status(), StatusCode::BAD_REQUEST);
    end.notify_one();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
}

/// One at a time, not once.
#[tokio::test]
async fn a_key_that_comes_again_later_is_handled_again() {
    let (locks, handled) = (manager(), Arc::new(AtomicUsize::new(0)));
    let count = {
        let handled = Arc::clone(&handled);
        async move || {
            handled.fetch_add(1, Ordering::Relaxed);
        }
    };
    let app = under(&locks, Router::new().route("/a", post(count)));
    // At once: the lock is free when the response is there.
    for _ in 0..20 {
        assert_eq!(ask(&app, "POST", "/a", "7").await.status(), StatusCode::OK);
    }
    assert_eq!(handled.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_request_whose_lock_is_lost_is_dropped_and_its_client_told_to_try_again() {
    let locks = manager();
    let app = under(&locks, Router::new().route("/a", post(std::future::pending::<()>)));
    let request = tokio::spawn(async move { ask(&app, "POST", "/a", "7").await.status() });
    eventually_async("it is told of its loss", async || {
        locks.reset("request:POST:/a:7").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        request.is_finished()
    })
    .await;
    assert_eq!(request.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!locks.is_locked("request:POST:/a:7").await.unwrap());
}
