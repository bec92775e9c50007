//! Being told of changes.

use std::time::Duration;

use redlock_simulated_redis::ConnectionId;

use crate::pair::Pair;

fn check(pair: &mut Pair, sequences: &[(&str, &str)]) {
    for (name, lines) in sequences {
        pair.check(name, lines);
    }
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}

const TRACKING: &str = "HELLO 3\nCLIENT TRACKING ON OPTIN\nload";

#[test]
fn those_who_read_a_key_are_told_of_its_next_change() {
    let mut pair = Pair::start();
    let sequences = [
        ("not asked", "GET k\n1: SET k v"),
        ("set", "CLIENT CACHING YES\nGET k\n1: SET k v\n1: SET k w"),
        ("deleted", "SET k v\nCLIENT CACHING YES\nGET k\n1: DEL k"),
        ("deleted, where there is none", "CLIENT CACHING YES\nGET k\n1: DEL k"),
        ("longer", "SET k v\nCLIENT CACHING YES\nGET k\n1: PEXPIRE k 60000"),
        ("only the next command", "CLIENT CACHING YES\nGET k\nGET x\n1: SET x v"),
        ("its own change", "CLIENT CACHING YES\nGET k\nSET k v"),
        ("expired", "SET k v PX 300\nCLIENT CACHING YES\nGET k\nafter 301\nexpire"),
        ("expired, as somebody notices", "SET k v PX 300\nCLIENT CACHING YES\nGET k\nafter 301\n1: GET k"),
        ("flushed", "CLIENT CACHING YES\nGET k\n1: FLUSHALL"),
        ("flushed by itself", "CLIENT CACHING YES\nGET k\nFLUSHALL"),
        ("a hash", "CLIENT CACHING YES\nHGET h a\n1: HSET h a b"),
        ("refused", "SET k x PX 60000\nCLIENT CACHING YES\n@acquire 1 k a 60000\n1: DEL k"),
        (
            "refused, fenced",
            "SET k x PX 60000\nCLIENT CACHING YES\n@acquire 2 k f a 60000 1 1 90000\n1: SET f 2\n1: DEL k",
        ),
        (
            "a key that a script declares and does not read",
            "CLIENT CACHING YES\n@look 2 k n 1\n1: HSET n a b\n1: SET k v",
        ),
        ("granted", "CLIENT CACHING YES\n@acquire 1 k a 60000\n1: DEL k"),
        (
            "refused, released by its owner",
            "1: load\n1: @acquire 1 k a 60000\nCLIENT CACHING YES\n@acquire 1 k b 60000\n1: @release 1 k a 0",
        ),
        (
            "refused, extended by its owner",
            "1: load\n1: @acquire 1 k a 60000\nCLIENT CACHING YES\n@acquire 1 k b 60000\n1: @extend 1 k a 90000",
        ),
        (
            "refused, not extended by its owner",
            "1: load\n1: @acquire 1 k a 60000\nCLIENT CACHING YES\n@acquire 1 k b 60000\n1: @extend 1 k a 5",
        ),
        ("its own script", "SET k a PX 20000\nCLIENT CACHING YES\n@extend 1 k a 60000\n1: DEL k"),
        ("a set that does nothing", "SET k x\nCLIENT CACHING YES\nSET k v NX GET\n1: DEL k"),
        ("a waiter's notes", "SET k x\nCLIENT CACHING YES\n@acquire 1 k a 60000 '' '' '' p w\n1: ZADD w 9 q\n1: DEL k"),
    ];
    for (name, lines) in sequences {
        check(&mut pair, &[(name, &format!("{TRACKING}\n{lines}"))]);
    }
    check(
        &mut pair,
        &[
            (
                "all that is read",
                "HELLO 3\nCLIENT TRACKING ON\nGET k\n1: SET k v\nCLIENT TRACKING OFF\nGET k\n1: SET k w",
            ),
            ("not its own", "HELLO 3\nCLIENT TRACKING ON NOLOOP\nGET k\nSET k v\nGET k\n1: SET k w"),
            ("in the older protocol", "CLIENT TRACKING ON OPTIN\nCLIENT CACHING YES\nGET k\n1: SET k v"),
            ("caching without tracking", "CLIENT CACHING YES\nHELLO 3\nCLIENT TRACKING ON\nCLIENT CACHING YES"),
            (
                "several",
                "HELLO 3\nCLIENT TRACKING ON\n1: HELLO 3\n1: CLIENT TRACKING ON\nGET k\n1: GET k\n2: SET k v\n2: SET k w",
            ),
        ],
    );
}

#[test]
fn subscribers_get_what_is_published() {
    let mut pair = Pair::start();
    check(
        &mut pair,
        &[
            ("nobody", "PUBLISH c hello"),
            ("one", "1: SUBSCRIBE c\nPUBLISH c hello\nPUBLISH d hello"),
            ("two", "1: SUBSCRIBE c d\n2: HELLO 3\n2: SUBSCRIBE c\nPUBLISH c hello\nPUBLISH d hello"),
            (
                "no longer",
                "1: SUBSCRIBE c d\n1: UNSUBSCRIBE c\nPUBLISH c x\n1: UNSUBSCRIBE\n1: UNSUBSCRIBE\n1: UNSUBSCRIBE q\n1: GET k",
            ),
            ("twice", "1: SUBSCRIBE c c\n1: SUBSCRIBE c\nPUBLISH c x"),
            ("nothing else", "1: SUBSCRIBE c\n1: GET k\n1: PING\n1: PING x"),
            ("anything else in the newer protocol", "1: HELLO 3\n1: SUBSCRIBE c\n1: GET k\n1: PING\n1: PUBLISH c x"),
        ],
    );
}

#[test]
fn changes_of_keys_are_published_where_that_is_configured() {
    let mut pair = Pair::start_with(&["--notify-keyspace-events", "KEA"]);
    check(
        &mut pair,
        &[
            (
                "a lock",
                "load\n1: SUBSCRIBE __keyspace@0__:k\n@acquire 1 k a 60000\n@extend 1 k a 90000\n@release 1 k a 0",
            ),
            ("kept", "load\n1: SUBSCRIBE __keyspace@0__:k\nSET k a\n@release 1 k a 5000"),
            ("expired", "1: SUBSCRIBE __keyspace@0__:k\nSET k a PX 300\nafter 301\nexpire"),
            ("events", "1: SUBSCRIBE __keyevent@0__:del __keyevent@0__:expired\nSET k a\nDEL k"),
            (
                "values",
                "1: SUBSCRIBE __keyspace@0__:k\nINCR k\nDEL k\nHSET k a b\nHDEL k a\nRPUSH k a\nLREM k 0 a\nZADD k 1 a\nZREM k a",
            ),
        ],
    );
}

#[test]
fn a_connection_ends_another() {
    let mut pair = Pair::start();
    pair.begin("kill");
    pair.line("1: PING");
    pair.line("PING");
    let address = pair.address(1);
    pair.line(&format!("CLIENT KILL ADDR {address}"));
    pair.line(&format!("CLIENT KILL ADDR {address}"));
    let own = pair.address(0);
    pair.line(&format!("CLIENT KILL ADDR {own}"));
    pair.line(&format!("CLIENT KILL SKIPME no ADDR {own}"));
    assert_eq!(pair.simulated.receive(ConnectionId(0), b"PING\r\n", Duration::ZERO), []);
}
