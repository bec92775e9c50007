//! What is seen, as JSON.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::history::{Change, Event};
use super::model::{Lamp, Model};
use super::row::{Permit, Row, Shared};
use crate::output::{last_run, milliseconds};

/// A lock, in the words of `inspect --json`. The state and the owner are those of the whole: where permits or a shared lock of this name
/// are all that is taken, theirs.
#[derive(Debug, Serialize)]
pub(crate) struct LockJson<'a> {
    name: &'a str,
    /// The name as people are shown it: control and bidirectional characters are escaped.
    shown: &'a str,
    state: &'static str,
    /// The same, with how many permits are taken, or how many read.
    shown_state: String,
    owner: Option<&'a str>,
    /// For how long it is held, at least.
    held_for_ms: u64,
    /// Whether that is known, not only since when it is seen.
    is_held_for_known: bool,
    /// For how long it is held if nobody extends it.
    remaining_ms: Option<u64>,
    /// The longest that was ever left.
    ttl_ms: u64,
    waiting: u64,
    fencing_token: Option<u64>,
    votes: usize,
    needed: usize,
    nodes: usize,
    last_run: Option<Value>,
    permits: Vec<PermitJson<'a>>,
    shared: Option<SharedJson<'a>>,
}

#[derive(Debug, Serialize)]
struct PermitJson<'a> {
    permit: u32,
    state: &'static str,
    owner: Option<&'a str>,
    held_for_ms: Option<u64>,
    remaining_ms: Option<u64>,
    fencing_token: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SharedJson<'a> {
    writer: &'static str,
    owner: Option<&'a str>,
    readers: u64,
    remaining_ms: Option<u64>,
}

/// A node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeJson<'a> {
    node: &'a str,
    standing: String,
    since_ms: u64,
    round_trip_us: Option<u64>,
    failure: Option<&'a str>,
    /// The last round trips, the latest last.
    round_trips_us: Vec<Option<u64>>,
}

/// A change.
#[derive(Debug, Serialize)]
pub(crate) struct EventJson<'a> {
    /// In milliseconds since 1970.
    at: u64,
    change: &'static str,
    owner: Option<&'a str>,
    fencing_token: Option<u64>,
    held_for_ms: Option<u64>,
    waiting: u64,
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl<'a> LockJson<'a> {
    pub(crate) fn of(row: &'a Row, now: Instant) -> Self {
        let (votes, needed, nodes) = row.votes;
        Self {
            name: &row.name,
            shown: &row.shown,
            state: row.state.name(),
            shown_state: row.shown_state(),
            owner: row.holder.as_deref(),
            held_for_ms: milliseconds(row.age(now)),
            is_held_for_known: row.acquired.is_some(),
            remaining_ms: row.left(now).map(milliseconds),
            ttl_ms: milliseconds(row.ttl),
            waiting: row.waiting,
            fencing_token: row.token,
            votes,
            needed,
            nodes,
            last_run: row.last_run.as_ref().map(last_run),
            permits: row.permits.iter().map(|permit| PermitJson::of(permit, now)).collect(),
            shared: row.shared.as_ref().map(|shared| SharedJson::of(shared, now)),
        }
    }
}

impl<'a> PermitJson<'a> {
    fn of(permit: &'a Permit, now: Instant) -> Self {
        Self {
            permit: permit.number,
            state: permit.state.name(),
            owner: permit.holder.as_deref(),
            held_for_ms: permit.acquired.map(|acquired| milliseconds(now.saturating_duration_since(acquired))),
            remaining_ms: until(permit.expires, now),
            fencing_token: permit.token,
        }
    }
}

impl<'a> SharedJson<'a> {
    fn of(shared: &'a Shared, now: Instant) -> Self {
        Self {
            writer: shared.writer.name(),
            owner: shared.owner.as_deref(),
            readers: shared.readers,
            remaining_ms: until(shared.expires, now),
        }
    }
}

fn until(expires: Option<Instant>, now: Instant) -> Option<u64> {
    expires.map(|expires| milliseconds(expires.saturating_duration_since(now)))
}

impl<'a> NodeJson<'a> {
    pub(crate) fn of(lamp: &'a Lamp, now: Instant) -> Self {
        Self {
            node: &lamp.node,
            standing: lamp.standing.to_string(),
            since_ms: milliseconds(now.saturating_duration_since(lamp.since)),
            round_trip_us: lamp.round_trip.map(microseconds),
            failure: lamp.failure.as_deref(),
            round_trips_us: lamp.round_trips.iter().map(|round_trip| round_trip.map(microseconds)).collect(),
        }
    }

    pub(crate) fn of_all(model: &'a Model, now: Instant) -> Vec<Self> {
        model.lamps().iter().map(|lamp| Self::of(lamp, now)).collect()
    }
}

impl<'a> EventJson<'a> {
    fn of(Event { at, change, waiting }: &'a Event) -> Self {
        let (change, owner, fencing_token, held_for) = match change {
            Change::Acquired { holder, token } => ("acquired", holder.as_deref(), *token, None),
            Change::Kept => ("kept", None, None, None),
            Change::Unsettled => ("unsettled", None, None, None),
            Change::Released { held_for } => ("released", None, None, Some(milliseconds(*held_for))),
        };
        Self { at: milliseconds(*at), change, owner, fencing_token, held_for_ms: held_for, waiting: *waiting }
    }

    pub(crate) fn of_all(model: &'a Model, name: &str) -> Vec<Self> {
        model.history().of(name).map(Self::of).collect()
    }
}
