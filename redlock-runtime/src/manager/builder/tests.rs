//! Tests of what is refused as a configuration, and of what is told of one.

use super::*;
use crate::LockManager;
use crate::protocol::{LONGEST_TTL, RETENTION};

fn check(nodes: &[&str], expect: &str) {
    let error = LockManager::builder().nodes(nodes.iter().copied()).build().unwrap_err().to_string();
    assert!(error.contains(expect), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn what_cannot_be_a_configuration_is_refused_with_the_cure() {
    check(&[], "needs 1 to 64 nodes and was given 0");
    check(&["memory://"; 65], "was given 65");
    check(&["memory://a", "memory://a"], "memory://a is given twice");
    check(&["redis://u:secret@h:1", "redis://h:1"], "redis://h:1 is given twice");
    check(&["redis://h", "localhost:6379"], "node 2: it is not a URL of a Redis node");
    check(&["http://u:secret@host"], "node 1: it is not a URL");
    check(&[""], "node 1: it is not a URL");
    check(&["memory://u:secret@h"], "use a plain name");
    check(&["memory://", "memory://a?db=1"], "node 2: it has the parameter `db`, and such a node has none");
    check(&["memory://a,memory://b"], "node 1: it has a second ://");
    for url in ["redis://u:secret@host:port", "redis://u:secret", "redis://u:se/cret@h", "redis://:secret@"] {
        if let Err(error) = LockManager::builder().nodes([url]).build() {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

#[test]
fn managers_on_the_same_nodes_are_told_from_others() {
    let on = |nodes: &[&str]| LockManager::builder().nodes(nodes.iter().copied()).build().unwrap();
    let check = |nodes: &[&str], others: &[&str], expect: bool| {
        let (one, other) = (on(nodes), on(others));
        assert_eq!(one.shared.engine.is_same_as(&other.shared.engine), expect, "{nodes:?} and {others:?}");
        assert!(one.shared.engine.is_same_as(&one.clone().shared.engine));
    };
    check(&["redis://h:1"], &["redis://h:1"], true);
    check(&["redis://u:secret@h:1"], &["redis://other:word@h:1"], true);
    check(&["redis://a", "redis://b", "redis://c"], &["redis://c:6379", "redis://a", "redis://b/0"], true);
    check(&["redis+sentinel://h/service"], &["redis+sentinel://h:26379/service"], true);
    check(&["memory://one"], &["memory://one"], true);
    check(&["redis://h:1"], &["redis://h:1/1"], false);
    check(&["redis://h:1"], &["redis://h:2"], false);
    check(&["redis://a", "redis://b", "redis://c"], &["redis://a"], false);
    check(&["redis://a", "redis://b", "redis://c"], &["redis://a", "redis://b", "redis://d"], false);
    check(&["redis+sentinel://h/service"], &["redis+sentinel://h/other"], false);
    check(&["memory://one"], &["memory://other"], false);
    check(&["memory://"], &["memory://"], false);
}

#[test]
fn times_out_of_bounds_are_refused() {
    let builder = || LockManager::builder().nodes(["memory://"]);
    for ttl in [Duration::ZERO, Duration::from_millis(2), Duration::MAX] {
        assert!(builder().ttl(ttl).build().is_err(), "{ttl:?}");
    }
    for timeout in [Duration::ZERO, LONGEST_TTL + Duration::from_nanos(1), Duration::MAX] {
        let error = builder().node_timeout(timeout).build().unwrap_err().to_string();
        assert!(error.contains("is impossible; use 1 ns to 365 days"), "{error}");
    }
    for timeout in [Duration::from_nanos(1), LONGEST_TTL] {
        builder().node_timeout(timeout).build().expect("the bounds themselves are possible");
    }
    let clocks = |skew| builder().max_clock_skew(skew).build();
    let error = clocks(RETENTION / 2 + Duration::from_nanos(1)).unwrap_err().to_string();
    assert!(error.contains(&format!("use at most {:?}", RETENTION / 2)), "{error}");
    clocks(RETENTION / 2).expect("the bound itself is possible");
}

#[test]
fn no_credentials_are_printed() {
    for (url, printed) in [
        ("redis://user:s%40cret@host:1/2", "redis://host:1/2"),
        ("redis://:secret@host", "redis://host:6379"),
        ("redis+unix:///tmp/s?pass=my@secret", "redis+unix:///tmp/s"),
        ("redis://u:secret@host:1?db=3", "redis://host:1/3"),
    ] {
        let builder = LockManager::builder().nodes([url]);
        assert!(!format!("{builder:?}").contains("cret"), "{builder:?}");
        let manager = format!("{:?}", builder.build().unwrap());
        assert!(manager.contains(printed) && !manager.contains("cret"), "{manager}");
    }
}
