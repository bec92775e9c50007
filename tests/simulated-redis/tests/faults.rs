//! What goes wrong with a server.

use std::time::Duration;

use redlock_simulated_redis::{ConnectionId, Effect, Event, Refusal, Role, Server, Settings};

use crate::pair::{Pair, hash, script};
use crate::wire::{pack, words};

const NOW: Duration = Duration::from_secs(1_795_900_726);
const CLIENT: ConnectionId = ConnectionId(0);
const OTHER: ConnectionId = ConnectionId(1);

fn server() -> Server {
    let mut server = Server::new(Settings { started: NOW, ..Settings::default() });
    server.open(CLIENT);
    server
}

fn send(server: &mut Server, line: &str, now: Duration) -> String {
    let sent = server.receive(CLIENT, &pack(&words(line)), now);
    let bytes = sent.into_iter().filter_map(|effect| match effect {
        Effect::Send { to: CLIENT, bytes } => Some(bytes),
        _ => None,
    });
    String::from_utf8(bytes.flatten().collect()).unwrap()
}

#[test]
fn a_replica_refuses_to_write() {
    // Nobody listens there; it is a replica all the same.
    let mut pair = Pair::start_with(&["--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"]);
    pair.simulated.refuse_writes(Some(Refusal::ReadOnly));
    for line in ["SET k v", "GET k", "DEL k", "!acquire 1 k a 1000", "!touch 1 k", "PING", "PEXPIRE k 1", "PUBLISH c x"]
    {
        pair.line(line);
    }
}

#[test]
fn a_server_without_memory_refuses_what_grows() {
    let mut pair = Pair::start_with(&["--maxmemory", "1"]);
    pair.simulated.refuse_writes(Some(Refusal::OutOfMemory));
    for line in ["SET k v", "GET k", "DEL k", "!acquire 1 k a 1000", "!release 1 k a 0", "PEXPIRE k 1", "HSET k a b"] {
        pair.line(line);
    }
}

#[test]
fn a_server_refuses_until_it_no_longer_does() {
    let mut server = server();
    for (refusal, code) in [
        (Refusal::ReadOnly, "-READONLY "),
        (Refusal::Loading, "-LOADING "),
        (Refusal::Misconfigured, "-MISCONF "),
        (Refusal::OutOfMemory, "-OOM "),
    ] {
        server.refuse_writes(Some(refusal));
        assert!(send(&mut server, "SET k v", NOW).starts_with(code));
        assert_eq!(send(&mut server, "GET k", NOW).starts_with(code), refusal == Refusal::Loading);
        server.refuse_writes(None);
        assert_eq!(send(&mut server, "GET k", NOW), "$-1\r\n");
    }
}

#[test]
fn a_script_may_be_carried_out_and_fail_all_the_same() {
    let mut server = server();
    let extend = format!("EVALSHA {} 1 k a 60000", hash(script("extend")));
    server.receive(CLIENT, &pack(&[b"SCRIPT".to_vec(), b"LOAD".to_vec(), script("extend").into()]), NOW);
    send(&mut server, "SET k a PX 1000", NOW);
    server.fail_after_scripts(1, "ERR no");
    assert_eq!(send(&mut server, &extend, NOW), "-ERR no\r\n");
    assert_eq!(send(&mut server, "PTTL k", NOW), ":60000\r\n");
    assert_eq!(send(&mut server, &extend, NOW), ":1\r\n");
    server.flush_scripts();
    assert!(send(&mut server, &extend, NOW).starts_with("-NOSCRIPT "));
}

#[test]
fn a_server_lies_about_its_role() {
    let mut server = server();
    assert!(send(&mut server, "INFO replication", NOW).contains("role:master\r\n"));
    server.claim_role(Role::Replica);
    assert!(send(&mut server, "INFO replication", NOW).contains("role:slave\r\n"));
    assert!(send(&mut server, "ROLE", NOW).contains("slave"));
    assert_eq!(send(&mut server, "SET k v", NOW), "+OK\r\n");
}

#[test]
fn replicas_acknowledge_as_many_as_they_are_told_to() {
    let mut server = server();
    assert_eq!(send(&mut server, "WAIT 2 100", NOW), ":0\r\n");
    server.acknowledge(2);
    assert_eq!(send(&mut server, "WAIT 2 100", NOW), ":2\r\n");
}

#[test]
fn what_changed_is_told_in_order() {
    let mut server = server();
    send(&mut server, "SET k v PX 1000", NOW);
    send(&mut server, "PEXPIRE k 2000", NOW);
    send(&mut server, "SET x v", NOW);
    send(&mut server, "DEL x", NOW);
    let until = |milliseconds| NOW + Duration::from_millis(milliseconds);
    assert_eq!(server.next_expiry(), Some(until(2001)));
    server.advance(until(2000));
    assert_eq!(server.keys(until(2000)).count(), 1);
    assert_eq!(server.keys(until(2001)).count(), 0);
    assert!(server.peek(b"k").is_some(), "nobody has noticed");
    server.advance(until(2001));
    assert!(server.peek(b"k").is_none());
    let (k, x, v) = (b"k".as_slice().into(), b"x".as_slice().into(), b"v".as_slice().into());
    let key = |key: &std::sync::Arc<[u8]>| std::sync::Arc::clone(key);
    let expected = [
        Event::Set { key: key(&k), value: key(&v), until: Some(until(1000)) },
        Event::Expire { key: key(&k), until: until(2000) },
        Event::Set { key: key(&x), value: v, until: None },
        Event::Deleted { key: x },
        Event::Expired { key: k },
    ];
    assert_eq!(server.take_events(), expected);
    assert_eq!(server.take_events(), []);
    assert_eq!(server.next_expiry(), None);
}

#[test]
fn a_server_that_starts_again_is_another_with_or_without_its_keys() {
    for keeps_keys in [true, false] {
        let mut server = server();
        send(&mut server, "SET k v", NOW);
        let settings = Settings { run_id: "f".repeat(40), started: NOW, ..Settings::default() };
        assert_eq!(server.restart(settings, keeps_keys), [Effect::Close(CLIENT)]);
        assert_eq!(send(&mut server, "GET k", NOW), "", "the connection is gone");
        server.open(CLIENT);
        assert_eq!(send(&mut server, "EXISTS k", NOW), format!(":{}\r\n", u8::from(keeps_keys)));
        let info = send(&mut server, "INFO server", NOW + Duration::from_secs(5));
        assert!(info.contains(&"f".repeat(40)) && info.contains("uptime_in_seconds:5\r\n"), "{info}");
    }
}

#[test]
fn an_old_server_knows_less() {
    let mut server = Server::new(Settings { version: "5.0.14".to_owned(), ..Settings::default() });
    server.open(CLIENT);
    for line in ["HELLO 3", "CLIENT TRACKING ON OPTIN", "SET k v NX GET", "LPOS k a"] {
        assert!(send(&mut server, line, NOW).starts_with("-ERR "), "{line}");
    }
}

#[test]
fn scripts_track_the_keys_that_they_declare_and_since_7_2_those_that_they_read() {
    for (version, expect) in [("7.0.15", true), ("7.2.0", false)] {
        let mut server = Server::new(Settings { version: version.to_owned(), ..Settings::default() });
        server.open(CLIENT);
        server.open(OTHER);
        server.receive(CLIENT, &pack(&[b"SCRIPT".to_vec(), b"LOAD".to_vec(), script("look").into()]), NOW);
        let look = format!("EVALSHA {} 2 k n 1", hash(script("look")));
        for line in ["HELLO 3", "CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", &look] {
            send(&mut server, line, NOW);
        }
        // It reads what is noted about an owner only if there is one.
        let mut is_told_by = |line| !server.receive(OTHER, &pack(&words(line)), NOW)[1..].is_empty();
        assert_eq!(is_told_by("HSET n a b"), expect, "{version}");
        assert!(is_told_by("SET k v"), "{version}");
    }
}

#[test]
fn a_connection_with_the_number_of_an_earlier_one_knows_nothing_of_it() {
    let mut server = server();
    server.open(OTHER);
    for line in ["HELLO 3", "CLIENT TRACKING ON", "GET k", "SUBSCRIBE c"] {
        send(&mut server, line, NOW);
    }
    server.close(CLIENT);
    server.open(CLIENT);
    for line in ["HELLO 3", "CLIENT TRACKING ON"] {
        send(&mut server, line, NOW);
    }
    for (line, reply) in [("SET k v", "+OK\r\n"), ("PUBLISH c x", ":0\r\n")] {
        let effects = server.receive(OTHER, &pack(&words(line)), NOW);
        assert_eq!(effects, [Effect::Send { to: OTHER, bytes: reply.into() }]);
    }
}

#[test]
fn a_clone_goes_its_own_way() {
    let mut server = server();
    send(&mut server, "SET k v", NOW);
    let mut clone = server.clone();
    send(&mut server, "DEL k", NOW);
    assert_eq!(send(&mut clone, "GET k", NOW), "$1\r\nv\r\n");
    assert_eq!(send(&mut server, "GET k", NOW), "$-1\r\n");
}

#[test]
fn the_same_commands_have_the_same_effects() {
    let run = || {
        let mut server = server();
        server.receive(CLIENT, &pack(&[b"SCRIPT".to_vec(), b"LOAD".to_vec(), script("acquire").into()]), NOW);
        let acquire = hash(script("acquire"));
        let mut sent = String::new();
        for number in 0..200 {
            let now = NOW + Duration::from_millis(37 * number);
            let (lock, owner) = (number % 5, number % 7);
            let line =
                format!("EVALSHA {acquire} 2 k{lock} f{lock} o{owner} 500 {number} {number} 90000 p{owner} w{lock}");
            sent += &send(&mut server, &line, now);
            sent += &send(&mut server, "SCAN 0 COUNT 3", now);
        }
        (sent, server.take_events())
    };
    assert_eq!(run(), run());
}

#[test]
fn what_is_no_command_ends_the_connection() {
    let mut server = server();
    let effects = server.receive(CLIENT, b"*1\r\n:1\r\n", NOW);
    let bytes = b"-ERR Protocol error: expected '$'\r\n".to_vec();
    assert_eq!(effects, [Effect::Send { to: CLIENT, bytes }, Effect::Close(CLIENT)]);
}
