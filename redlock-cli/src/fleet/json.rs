//! What is seen, as JSON.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::history::{Change, Event};
use super::model::{Lamp, Model};
use super::row::{Permit, Row};
use crate::output::milliseconds;

/// A lock.
#[derive(Debug, Serialize)]
pub(crate) struct LockJson<'a> {
    name: &'a str,
    /// The name as people are shown it: control and bidirectional characters are escaped.
    shown: &'a str,
    state: &'static str,
    holder: Option<&'a str>,
    /// For how long it is held, at least.
    age_ms: u64,
    /// Whether that is known, not only since when it is seen.
    is_age_known: bool,
    /// For how long it is held if nobody extends it.
    left_ms: Option<u64>,
    /// The longest that was ever left.
    ttl_ms: u64,
    waiting: u64,
    /// In quotes: it may be greater than the numbers of a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<String>,
    votes: usize,
    needed: usize,
    nodes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fire: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permits: Vec<PermitJson<'a>>,
}

#[derive(Debug, Serialize)]
struct PermitJson<'a> {
    number: u32,
    state: &'static str,
    holder: Option<&'a str>,
    age_ms: Option<u64>,
    left_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<String>,
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
    holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<String>,
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
            holder: row.holder.as_deref(),
            age_ms: milliseconds(row.age(now)),
            is_age_known: row.acquired.is_some(),
            left_ms: row.left(now).map(milliseconds),
            ttl_ms: milliseconds(row.ttl),
            waiting: row.waiting,
            fencing_token: row.token.map(|token| token.to_string()),
            votes,
            needed,
            nodes,
            last_fire: row.last_run.map(|run| run.fire),
            permits: row.permits.iter().map(|permit| PermitJson::of(permit, now)).collect(),
        }
    }
}

impl<'a> PermitJson<'a> {
    fn of(permit: &'a Permit, now: Instant) -> Self {
        let left = permit.expires.map(|expires| expires.saturating_duration_since(now));
        Self {
            number: permit.number,
            state: permit.state.name(),
            holder: permit.holder.as_deref(),
            age_ms: permit.acquired.map(|acquired| milliseconds(now.saturating_duration_since(acquired))),
            left_ms: left.map(milliseconds),
            fencing_token: permit.token.map(|token| token.to_string()),
        }
    }
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
        let (change, holder, token, held_for) = match change {
            Change::Acquired { holder, token } => ("acquired", holder.as_deref(), *token, None),
            Change::Kept => ("kept", None, None, None),
            Change::Unsettled => ("unsettled", None, None, None),
            Change::Released { held_for } => ("released", None, None, Some(milliseconds(*held_for))),
        };
        let fencing_token = token.map(|token| token.to_string());
        Self { at: milliseconds(*at), change, holder, fencing_token, held_for_ms: held_for, waiting: *waiting }
    }

    pub(crate) fn of_all(model: &'a Model, name: &str) -> Vec<Self> {
        model.history().of(name).map(Self::of).collect()
    }
}
