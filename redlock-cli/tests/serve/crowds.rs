//! Many at once: locks that come and go, guests who say nothing, and what the servers are asked for.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use redlock_tests::clock::now;
use redlock_tests::monitor::Monitor;
use redlock_tests::wait::eventually;
use redlock_tests::{Program, Servers};

use crate::http::Place;
use crate::{fill, manager, place_of, serve};

/// Somebody who only looked once a second would need half a second for each of forty changes, and more for those with a label.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_comes_or_goes_is_told_as_it_happens() {
    const ROUNDS: u32 = 20;
    let servers = Servers::start(3);
    let (_program, place) = serve(&servers, &[]);
    let locks = manager(&servers);
    let mut told = place.listen("/events?sort=name&count=10");
    told.until("all locks were seen", |told| told["survey_took_ms"].is_u64());
    let (mut longest, began) = (Duration::ZERO, now());
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("job:{round}");
        let is_there = |told: &serde_json::Value| {
            told["names"].as_array().map(|names| names.iter().any(|told| *told == name.as_str()))
        };
        let guard = locks.lock(&*name).acquire().await.unwrap();
        let acquired = now();
        told.until("it comes", |told| is_there(told) == Some(true));
        delays.push(acquired.elapsed());
        guard.release().await.unwrap();
        let released = now();
        told.until("it goes", |told| is_there(told) == Some(false));
        delays.push(released.elapsed());
        longest = longest.max(acquired.elapsed());
    }
    delays.sort();
    eprintln!(
        "a row came or went after {:?} in the median, {longest:?} at the most for both",
        delays[delays.len() / 2]
    );
    assert!(began.elapsed() < Duration::from_secs(10), "changes are not pushed: {delays:?}");
}

/// Whoever may not get in must not be able to keep the page from its nodes.
#[test]
fn guests_who_say_nothing_leave_the_nodes_their_connections() {
    let servers = Servers::start(1);
    let mut command = Command::new("sh");
    let script = format!(
        "ulimit -n 120; exec {} serve --listen 127.0.0.1:0 --nodes {}",
        env!("CARGO_BIN_EXE_redlock"),
        servers.nodes()
    );
    let program = Program::start(command.args(["-c", &script]));
    let place: Place = place_of(&program);
    let mut told = place.listen("/events");
    told.until("the node votes", |told| told["nodes"][0]["standing"] == "votes");
    let guests: Vec<_> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", place.port)).unwrap()).collect();
    servers[0].kill();
    told.until("it is gone", |told| told["nodes"][0]["standing"] == "unreachable");
    servers[0].restart();
    told.until("it is back", |told| told["nodes"][0]["standing"] != "unreachable");
    drop(guests);
    eventually("others get in again", || place.get("/api/nodes").status == 200);
}

#[test]
fn as_many_pages_as_there_are_places_are_told_and_the_others_get_theirs_when_those_leave() {
    let servers = Servers::start(1);
    let (_program, place) = serve(&servers, &[]);
    let mut streams: Vec<_> = (0..128).map(|_| place.listen("/events")).collect();
    let refused = place.get("/events");
    assert_eq!((refused.status, &*refused.body), (503, "too many pages are open\n"));
    assert_eq!(place.get("/api/nodes").status, 200, "what is no stream is answered all the same");
    for stream in &mut streams {
        stream.next();
    }
    streams.truncate(127);
    // It is noticed with the next change, of which there is one each second.
    eventually("there is a place", || place.opens("/events"));
}

/// What a server does at once is bounded by numbers, whatever the number of locks; how long it takes is the machine's affair.
#[test]
fn what_a_server_is_asked_for_at_once_does_not_grow_with_the_locks() {
    const LOCKS: usize = 3000;
    let servers = Servers::start(1);
    fill(&servers, LOCKS);
    // As many names that somebody waits for.
    let mut push = redis::cmd("EVAL");
    push.arg("for number = 1, tonumber(ARGV[1]) do redis.call('RPUSH', 'ConfigurableLockKeys', '\"Waiting.ConfigurableLock.job-' .. number .. '\"') end");
    servers[0].probe().run::<()>(push.arg(0).arg(LOCKS)).unwrap();
    let monitor = Monitor::start(&servers[0]);
    let (_program, place) = serve(&servers, &[]);
    let mut told = place.listen("/events?sort=name&count=60");
    told.until("all are seen", |told| told["total"] == LOCKS && told["survey_took_ms"].is_u64());
    let lines = monitor.done_about("\"");
    let (mut within, mut most) = (0, 0);
    for line in &lines {
        // `+1700000000.000000 [0 127.0.0.1:5000] "GET" "key"`
        let Some((from, command)) = line.split_once("] ") else { continue };
        if from.ends_with(" lua") {
            within += 1;
            most = most.max(within);
            continue;
        }
        within = 0;
        let words: Vec<_> = command.split("\" \"").map(|word| word.trim_matches('"')).collect();
        let number = |place: usize| words.get(place).and_then(|word| word.parse::<i64>().ok());
        match words[0].to_ascii_uppercase().as_str() {
            "SCAN" => {
                assert!(
                    words.contains(&"COUNT") && number(words.len() - 1).is_some_and(|count| count <= 500),
                    "{line}"
                );
            }
            "LRANGE" => assert!(
                number(3).zip(number(2)).is_some_and(|(last, first)| last >= 0 && last - first < 1000),
                "{line}"
            ),
            // A batch of 32 at most, with three words each.
            "EVAL" | "EVALSHA" => assert!(words.len() <= 110, "{}: {line}", words.len()),
            "KEYS" | "HGETALL" | "SMEMBERS" => panic!("it looks at all that there is: {line}"),
            _ => assert!(words.len() <= 100, "{line}"),
        }
    }
    assert!(lines.len() > LOCKS, "it was looked: {}", lines.len());
    // A batch of 32, for each of which the list is touched five times.
    assert!(most > 0 && most <= 160, "one script does {most} things");
}
