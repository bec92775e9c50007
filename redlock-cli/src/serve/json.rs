//! What is seen, as JSON.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Served;
use crate::clock::std_now as now;
use crate::fleet::{EventJson, LockJson, NodeJson, Order, Sort, Window};

/// More rows than fit on any screen.
const MOST_ROWS: usize = 500;

/// Which rows a request asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    sort: String,
    order: String,
    search: String,
    from: usize,
    count: Option<usize>,
}

impl Asked {
    pub(crate) fn window(self) -> Window {
        let sort = Sort::of_name(&self.sort).unwrap_or_default();
        let order = match self.order.as_str() {
            "ascending" => Order::Ascending,
            "descending" => Order::Descending,
            _ => sort.usual_order(),
        };
        let count = self.count.unwrap_or(100).clamp(1, MOST_ROWS);
        Window { sort, order, search: self.search, from: self.from, count }
    }
}

/// Which lock.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

/// `{"total", "held", "waiting", "matching", "from", "problem", "is_complete", "locks"}`
pub(super) async fn locks(State(Served { fleet, .. }): State<Served>, Query(asked): Query<Asked>) -> Response {
    let (model, now, window) = (fleet.model(), now(), asked.window());
    let view = window.of(&model, now);
    let locks: Vec<_> = view.rows.iter().map(|row| LockJson::of(row, now)).collect();
    json(&serde_json::json!({
        "total": model.len(),
        "held": model.held(),
        "waiting": model.waiting(),
        "matching": view.matching,
        "from": view.from,
        "problem": model.problem(),
        "is_complete": model.surveyed().is_some(),
        "locks": locks,
    }))
}

/// `{"lock", "history"}`
pub(super) async fn lock(State(Served { fleet, .. }): State<Served>, Query(Named { name }): Query<Named>) -> Response {
    let (model, now) = (fleet.model(), now());
    let lock = model.row(&name).map(|row| LockJson::of(row, now));
    json(&serde_json::json!({ "lock": lock, "history": EventJson::of_all(&model, &name) }))
}

/// `[{"node", "standing", …}]`
pub(super) async fn nodes(State(Served { fleet, .. }): State<Served>) -> Response {
    let (model, now) = (fleet.model(), now());
    json(&NodeJson::of_all(&model, now))
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
