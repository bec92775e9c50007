//! What changes, as server-sent events: the part that a page shows, and of that what is different from what it was sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::Served;
use super::json::{Asked, Named};
use crate::clock::{since_1970, std_now as now};
use crate::fleet::{EventJson, Fleet, LockJson, NodeJson, Viewer, Window};
use crate::output::milliseconds;

/// A page is told of changes at most this often.
const INTERVAL: Duration = Duration::from_millis(40);

/// What it took to find out what changed is a small part of the time.
const SHARE: u32 = 20;

/// Rows, nodes and the chart; rows that were sent and did not change are left out.
#[derive(Debug, Default, Serialize)]
struct Update<'a> {
    /// The time of day here, in milliseconds since 1970.
    at: u64,
    total: usize,
    held: u64,
    waiting: u64,
    matching: usize,
    from: usize,
    problem: Option<&'a str>,
    /// How long it took to see all locks; nothing before all were.
    survey_took_ms: Option<u64>,
    /// How long ago that was.
    surveyed_ms: Option<u64>,
    /// The names in their order, if that is not what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<&'a str>>,
    locks: Vec<LockJson<'a>>,
    nodes: Vec<NodeJson<'a>>,
    /// The number of all points there were, and the last ones, as waiting, acquired and held.
    points: u64,
    chart: Vec<[u64; 3]>,
}

/// A page that is told.
struct Told {
    fleet: Fleet,
    viewer: Viewer,
    changed: watch::Receiver<u64>,
    window: Window,
    /// What it has.
    names: Vec<Arc<str>>,
    versions: HashMap<Arc<str>, u64>,
    points: u64,
    pause: Duration,
    /// One of those that may be told at once.
    _place: OwnedSemaphorePermit,
}

pub(super) async fn locks(State(served): State<Served>, Query(asked): Query<Asked>) -> Response {
    let Ok(place) = Arc::clone(&served.listeners).try_acquire_owned() else { return too_many() };
    let fleet = served.fleet;
    let told = Told {
        viewer: fleet.viewer(),
        changed: fleet.changed(),
        window: asked.window(),
        names: Vec::new(),
        versions: HashMap::new(),
        points: 0,
        pause: Duration::ZERO,
        fleet,
        _place: place,
    };
    events(unfold(told, async |mut told| Some((told.next().await, told))))
}

impl Told {
    async fn next(&mut self) -> String {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
            // It is changed once a second at least, and lives as long as this does.
            let _ = self.changed.changed().await;
        }
        let began = now();
        let update = self.update();
        self.pause = INTERVAL.max((now() - began) * SHARE);
        update
    }

    fn update(&mut self) -> String {
        let (now, model) = (now(), self.fleet.model());
        let view = self.window.of(&model, now);
        let is_changed = !view.rows.iter().map(|row| &row.name).eq(&self.names);
        let names = is_changed.then(|| view.rows.iter().map(|row| &*row.name).collect());
        let news = view.rows.iter().filter(|row| self.versions.get(&row.name) != Some(&row.version));
        let locks = news.map(|row| LockJson::of(row, now)).collect();
        let (points, count) = model.chart().since(self.points);
        let surveyed = model.surveyed();
        let update = Update {
            at: milliseconds(since_1970()),
            total: model.len(),
            held: model.held(),
            waiting: model.waiting(),
            matching: view.matching,
            from: view.from,
            problem: model.problem(),
            survey_took_ms: surveyed.map(|(_, took)| milliseconds(took)),
            surveyed_ms: surveyed.map(|(at, _)| milliseconds(now - at)),
            names,
            locks,
            nodes: NodeJson::of_all(&model, now),
            points: count,
            chart: points.iter().map(|point| [point.waiting, point.acquired, point.held]).collect(),
        };
        let text = serde_json::to_string(&update).unwrap_or_default();
        self.points = count;
        self.versions = view.rows.iter().map(|row| (Arc::clone(&row.name), row.version)).collect();
        if is_changed {
            self.names = view.rows.iter().map(|row| Arc::clone(&row.name)).collect();
            self.viewer.sees(self.names.iter().map(Arc::clone));
        }
        text
    }
}

/// One lock.
#[derive(Debug, Serialize)]
struct LockUpdate<'a> {
    at: u64,
    problem: Option<&'a str>,
    lock: Option<LockJson<'a>>,
    history: Vec<EventJson<'a>>,
    /// For how long this looks at locks.
    serving_ms: u64,
}

struct LockTold {
    fleet: Fleet,
    viewer: Viewer,
    changed: watch::Receiver<u64>,
    name: Arc<str>,
    /// The versions of the lock and of its history that it has.
    has: Option<(Option<u64>, u64, Option<String>)>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn lock(State(served): State<Served>, Query(Named { name }): Query<Named>) -> Response {
    let Ok(place) = Arc::clone(&served.listeners).try_acquire_owned() else { return too_many() };
    let (fleet, name) = (served.fleet, Arc::<str>::from(name));
    let told = LockTold { viewer: fleet.viewer(), changed: fleet.changed(), name, has: None, fleet, _place: place };
    told.viewer.sees([Arc::clone(&told.name)]);
    events(unfold(told, async |mut told| Some((told.next().await, told))))
}

impl LockTold {
    async fn next(&mut self) -> String {
        loop {
            if let Some(update) = self.update() {
                return update;
            }
            sleep(INTERVAL).await;
            let _ = self.changed.changed().await;
        }
    }

    fn update(&mut self) -> Option<String> {
        let (now, model) = (now(), self.fleet.model());
        let row = model.row(&self.name);
        let problem = model.problem().map(str::to_owned);
        let has = Some((row.map(|row| row.version), model.history().version(&self.name), problem));
        if self.has == has {
            return None;
        }
        self.has = has;
        let update = LockUpdate {
            at: milliseconds(since_1970()),
            problem: model.problem(),
            lock: row.map(|row| LockJson::of(row, now)),
            history: EventJson::of_all(&model, &self.name),
            serving_ms: milliseconds(now - model.began()),
        };
        Some(serde_json::to_string(&update).unwrap_or_default())
    }
}

fn events(texts: impl Stream<Item = String> + Send + 'static) -> Response {
    use futures_util::StreamExt;

    let events = texts.map(|text| Ok::<_, Infallible>(Event::default().data(text)));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn too_many() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response()
}
