//! What the page is made of; all of it is in this program.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};

pub(super) async fn index() -> impl IntoResponse {
    Html(include_str!("page/index.html"))
}

pub(super) async fn login() -> impl IntoResponse {
    Html(include_str!("page/login.html"))
}

/// The same, for somebody whose token was wrong.
pub(super) fn wrong_token() -> Html<String> {
    Html(
        include_str!("page/login.html")
            .replace("<!-- wrong -->", "<p role=\"alert\" class=\"wrong\">That is not the token.</p>"),
    )
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/app.js"))
}

pub(super) async fn theme() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/theme.js"))
}

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/style.css"))
}

pub(super) async fn nothing() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "there is /, /lock?name=NAME, /metrics, /api/locks, /api/lock?name=NAME and /api/nodes\n")
}
