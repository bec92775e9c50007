//! What is seen, as Prometheus reads it.
//!
//! Names of its own, `redlock_fleet_…`: a process that holds locks exports `redlock_held` and the like of itself, by labels, and both
//! are scraped into one database.

use std::fmt::Write as _;
use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use redlock_runtime::NodeStanding;

use super::Served;
use crate::clock::std_now as now;
use crate::fleet::{Model, Row, State as LockState};

/// Each standing, in the words of the library's own metrics. A series of each is always there: one that vanishes is no zero.
const STANDINGS: [(NodeStanding, &str); 5] = [
    (NodeStanding::Votes, "votes"),
    (NodeStanding::Young, "young"),
    (NodeStanding::Replica, "replica"),
    (NodeStanding::SameServer, "same_server"),
    (NodeStanding::Unreachable, "unreachable"),
];

// Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
pub(super) async fn metrics(State(Served { fleet, .. }): State<Served>) -> impl IntoResponse {
    let text = written(&fleet.model(), now());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

fn written(model: &Model, now: Instant) -> String {
    let mut rows: Vec<_> = model.rows().collect();
    rows.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut text = String::with_capacity(1000 + 400 * rows.len());
    let states = [LockState::Held, LockState::Kept, LockState::Unsettled, LockState::Free];
    family(&mut text, "redlock_fleet_locks", "Locks that are held or waited for, by state.");
    for state in states {
        let count = rows.iter().filter(|row| row.state == state).count();
        line(&mut text, "redlock_fleet_locks", &[("state", state.name())], &count.to_string());
    }
    let is_held = |row: &&Row| row.state == LockState::Held;
    of_each(&mut text, "redlock_fleet_held", "Whether the lock is held.", &rows, |row| {
        Some(u8::from(is_held(&row)).to_string())
    });
    of_each(&mut text, "redlock_fleet_waiting", "How many wait for the lock, in all processes.", &rows, |row| {
        Some(row.waiting.to_string())
    });
    of_each(&mut text, "redlock_fleet_held_seconds", "For how long the lock is held.", &rows, |row| {
        is_held(&row).then(|| row.age(now).as_secs_f64().to_string())
    });
    of_each(
        &mut text,
        "redlock_fleet_remaining_seconds",
        "For how long it is held if nobody extends it.",
        &rows,
        |row| Some(row.left(now)?.as_secs_f64().to_string()),
    );
    of_each(&mut text, "redlock_fleet_permits_taken", "How many permits of the lock are taken.", &rows, |row| {
        Some(row.permits()?.0.to_string())
    });
    of_each(
        &mut text,
        "redlock_fleet_last_run_timestamp_seconds",
        "The last fire that was completed of a job that runs once per fire, of those whose lock is held or waited for.",
        &rows,
        |row| Some(row.last_run?.moment()?.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64().to_string()),
    );
    family(&mut text, "redlock_fleet_node_votes", "1 for the standing that the node has now, 0 for the others.");
    for lamp in model.lamps() {
        for (standing, word) in STANDINGS {
            let labels = [("node", &*lamp.label), ("standing", word)];
            line(&mut text, "redlock_fleet_node_votes", &labels, if lamp.standing == standing { "1" } else { "0" });
        }
    }
    family(
        &mut text,
        "redlock_fleet_node_round_trip_seconds",
        "How long the node took to answer; nothing if it did not.",
    );
    for lamp in model.lamps() {
        if let Some(round_trip) = lamp.round_trip {
            let took = round_trip.as_secs_f64().to_string();
            line(&mut text, "redlock_fleet_node_round_trip_seconds", &[("node", &lamp.label)], &took);
        }
    }
    family(&mut text, "redlock_fleet_list_complete", "Whether all locks can be seen.");
    let is_complete = model.problem().is_none() && model.surveyed().is_some();
    line(&mut text, "redlock_fleet_list_complete", &[], if is_complete { "1" } else { "0" });
    text
}

/// One gauge, for each row that has it.
fn of_each(text: &mut String, name: &str, help: &str, rows: &[&Row], value: impl Fn(&Row) -> Option<String>) {
    family(text, name, help);
    for row in rows {
        if let Some(value) = value(row) {
            line(text, name, &[("lock", &row.name)], &value);
        }
    }
}

fn family(text: &mut String, name: &str, help: &str) {
    // A String takes whatever is written.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: &str) {
    text.push_str(name);
    for (index, (label, value)) in labels.iter().enumerate() {
        let _ = write!(text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(value));
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redlock_runtime::LockManager;
    use redlock_runtime::observe::NodeStanding::{Replica, SameServer, Unreachable, Votes, Young};
    use redlock_runtime::observe::{self, names};

    use super::*;

    #[tokio::test]
    async fn any_name_is_a_label() {
        let locks = LockManager::builder()
            .nodes(["memory://metrics-a", "memory://metrics-b", "memory://metrics-c"])
            .build()
            .unwrap();
        let name = r#"a"b\c<script>"#;
        let _guard = locks.lock(name).acquire().await.unwrap();
        let now = now();
        let mut model = Model::new(now);
        model.take_in(&locks.inspect_each([name]).await.unwrap(), now, Duration::ZERO);
        model.take_in_nodes(&locks.nodes().await.unwrap(), now);
        let text = written(&model, now);
        assert!(text.contains("redlock_fleet_held{lock=\"a\\\"b\\\\c<script>\"} 1\n"), "{text}");
        assert!(text.contains("redlock_fleet_locks{state=\"held\"} 1\n"), "{text}");
        assert!(text.contains("redlock_fleet_node_votes{node=\"metrics-a\",standing=\"votes\"} 1\n"), "{text}");
        assert!(text.contains("redlock_fleet_list_complete 0\n"), "{text}");
    }

    #[test]
    fn no_metric_has_the_name_of_one_of_the_library_and_the_standings_have_its_words() {
        let text = written(&Model::new(now()), now());
        let families: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert!(families.len() > 5, "{text}");
        for family in families {
            assert!(family.starts_with("redlock_fleet_"), "{family}");
            assert!(names::ALL.iter().all(|(name, _)| !family.starts_with(name)), "{family}");
        }
        let library = [Votes, Young, Replica, SameServer, Unreachable].map(observe::NodeStanding::as_str);
        assert_eq!(STANDINGS.map(|(_, word)| word), library);
    }
}
