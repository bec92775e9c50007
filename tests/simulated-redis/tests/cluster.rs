//! Servers of a cluster send those who ask elsewhere, as the specification of Redis Cluster has it.

use std::time::Duration;

use redlock_simulated_redis::{Cluster, ConnectionId, Effect, Server, Settings, slot_of};
use redlock_tests::RedisServer;

use crate::pair::Stream;
use crate::wire::{pack, tell};

const CLIENT: ConnectionId = ConnectionId(1);
const NOW: Duration = Duration::from_secs(100);

/// Both servers of a cluster.
struct Two([Server; 2]);

impl Two {
    fn new(version: &str) -> Self {
        let addresses: Vec<_> = ["a", "b"].map(|host| (host.to_owned(), 6379)).into();
        Self([0, 1].map(|here| {
            let mut server = Server::new(Settings { version: version.to_owned(), ..Settings::default() });
            server.join(Cluster::new(addresses.clone(), here));
            server.open(CLIENT);
            server
        }))
    }

    /// What this one of them answers to these commands.
    #[track_caller]
    fn check(&mut self, server: usize, commands: &str, expect: &str) {
        let commands = commands.replace(", ", "\r\n") + "\r\n";
        let effects = self.0[server].receive(CLIENT, commands.as_bytes(), NOW);
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::Send { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
            Effect::Close(_) => None,
        });
        assert_eq!(sent.collect::<String>().replace("\r\n", " ").trim_end(), expect, "{commands}");
    }
}

/// In the slot of the first half, and in one of the second.
const FIRST: &str = "{bar}";
const SECOND: &str = "{foo}";

#[test]
fn a_server_that_does_not_have_the_slot_says_who_does() {
    let mut two = Two::new("7.2.0");
    assert_eq!([FIRST, SECOND].map(|key| slot_of(key.as_bytes())), [5061, 12182]);
    two.check(0, "SET {bar} 1, GET {bar}", "+OK $1 1");
    two.check(0, "GET {foo}", "-MOVED 12182 b:6379");
    two.check(1, "GET {bar}", "-MOVED 5061 a:6379");
    two.check(1, "DEL {foo}1 {bar}1", "-CROSSSLOT Keys in request don't hash to the same slot");
    two.check(1, "PING", "+PONG");
}

#[test]
fn a_slot_moves_key_by_key() {
    for (version, partly) in [
        ("7.2.0", "-TRYAGAIN Multiple keys request during rehashing of slot"),
        // Source: https://github.com/redis/redis/blob/6.2/src/cluster.c, `getNodeByQuery`
        ("6.2.0", "-ASK 5061 b:6379"),
    ] {
        let mut two = Two::new(version);
        two.check(0, "SET {bar}1 1 PX 5000, SET {bar}2 2", "+OK +OK");
        two.0[1].cluster().unwrap().importing.insert(5061);
        two.0[0].cluster().unwrap().migrating.insert(5061, 1);
        two.check(0, "GET {bar}1, GET {bar}3, EXISTS {bar}1 {bar}3", &format!("$1 1 -ASK 5061 b:6379 {partly}"));
        two.check(1, "GET {bar}1", "-MOVED 5061 a:6379");
        two.check(1, "ASKING, GET {bar}3, GET {bar}3", "+OK $-1 -MOVED 5061 a:6379");

        let (moved, _) = two.0[0].move_out(b"{bar}1", NOW).unwrap();
        assert!(two.0[1].move_in(moved, NOW).is_empty(), "nobody watches it");
        two.check(0, "GET {bar}1", "-ASK 5061 b:6379");
        two.check(1, "ASKING, PTTL {bar}1", "+OK :5000");
        two.check(1, "ASKING, EXISTS {bar}1 {bar}2", "+OK -TRYAGAIN Multiple keys request during rehashing of slot");

        for server in [1, 0] {
            two.0[server].cluster().unwrap().assign(5061, 1, 2);
        }
        two.check(0, "GET {bar}2", "-MOVED 5061 b:6379");
        two.check(1, "GET {bar}1", "$1 1");
    }
}

#[test]
fn every_server_tells_who_has_which_slots() {
    let mut two = Two::new("7.2.0");
    let range =
        |first: u16, last: u16, host: &str, id: u8| format!("*3 :{first} :{last} *4 $1 {host} :6379 $40 {id:040} *0");
    two.check(0, "CLUSTER SLOTS", &format!("*2 {} {}", range(0, 8191, "a", 0), range(8192, 16383, "b", 1)));
    two.0[0].cluster().unwrap().assign(5061, 1, 7);
    let ranges =
        [range(0, 5060, "a", 0), range(5061, 5061, "b", 1), range(5062, 8191, "a", 0), range(8192, 16383, "b", 1)];
    two.check(0, "CLUSTER SLOTS", &format!("*4 {}", ranges.join(" ")));
    two.check(0, "CLUSTER INFO", "$43 cluster_state:ok cluster_current_epoch:7");
}

/// The masters of a real cluster, of which the first had the slot of `{bar}` at first, and simulated ones in their places. The second has the
/// slot now, and gives it to the third, which has `{bar}2` already.
struct Moving<'a> {
    real: [&'a RedisServer; 3],
    simulated: [Server; 3],
}

impl Moving<'_> {
    const KEYS: [&'static str; 3] = ["{bar}1", "{bar}2", "{bar}3"];

    /// What this one of them answers to the last of these commands, in the real cluster and in the simulated one.
    #[track_caller]
    fn check(&mut self, server: usize, commands: &[&[&str]], expect: &str) {
        let mut stream = Stream::connect(self.real[server]);
        self.simulated[server].open(CLIENT);
        let mut answers = [String::new(), String::new()];
        for command in commands {
            let command: Vec<_> = command.iter().map(|word| word.as_bytes().to_vec()).collect();
            let sent = self.simulated[server].receive(CLIENT, &pack(&command), NOW);
            let [Effect::Send { bytes, .. }] = &sent[..] else { panic!("{sent:?}") };
            answers = [tell(&stream.ask(&command)), tell(bytes)];
        }
        for (which, answer) in ["real", "simulated"].into_iter().zip(answers) {
            // What a script raised names its place behind that.
            assert_eq!(answer.split(" script: ").next(), Some(expect), "{which} after {commands:?}");
        }
    }
}

/// The beginning of scripts that name one key alone, before one that takes what it cannot read for another's.
const RELEASE: &str = concat!(
    include_str!("../../../redlock-runtime/src/node/redis/lua/unnamed.lua"),
    include_str!("../../../redlock-runtime/src/node/redis/lua/release_permit.lua")
);
const RECORD: &str = include_str!("../../../redlock-runtime/src/node/redis/lua/record.lua");

#[test]
fn a_script_touches_no_key_that_a_server_which_gives_its_slot_away_does_not_have() {
    const ASKING: &[&str] = &["ASKING"];
    const NOT_HERE: &str = "ERR Script attempted to access a non local key in a cluster node";
    const COUNT: [&str; 12] =
        ["EVAL", RECORD, "3", "{bar}c", "{bar}l", "{bar}m", "p", "2", "60000", "70000", "80000", "100000"];
    let [one, other, never] = Moving::KEYS;
    let cluster = redlock_tests::Cluster::start();
    let first = cluster.owner(5061);
    let masters = cluster.masters();
    let others: Vec<_> = masters.into_iter().filter(|master| master.port() != first.port()).collect();
    let mut client = Stream::connect(first);
    let set = |key| ["SET", key, "owner"].map(|word| word.as_bytes().to_vec());
    let count = COUNT.map(|word| word.as_bytes().to_vec());
    for key in [one, other] {
        assert_eq!(tell(&client.ask(&set(key))), "OK");
    }
    assert_eq!(tell(&client.ask(&count)), "2");
    cluster.migrate(5061, others[0]).finish();
    let migration = cluster.migrate(5061, others[1]);
    migration.move_key(other);

    let addresses: Vec<_> = ["a", "b", "c"].map(|host| (host.to_owned(), 6379)).into();
    let mut simulated = [0, 1, 2].map(|here| {
        let mut server = Server::new(Settings { version: "7.0.15".to_owned(), ..Settings::default() });
        server.join(Cluster::new(addresses.clone(), here));
        server.cluster().unwrap().assign(5061, 1, 2);
        server
    });
    simulated[1].open(CLIENT);
    for command in [&set(one)[..], &set(other), &count] {
        simulated[1].receive(CLIENT, &pack(command), NOW);
    }
    simulated[2].cluster().unwrap().importing.insert(5061);
    simulated[1].cluster().unwrap().migrating.insert(5061, 2);
    let (moved, _) = simulated[1].move_out(other.as_bytes(), NOW).unwrap();
    simulated[2].move_in(moved, NOW);
    let mut both = Moving { real: [first, others[0], others[1]], simulated };

    let reads = "return redis.pcall('GET', ARGV[1])";
    let read = |key| ["EVAL", reads, "1", one, key];
    both.check(1, &[&read(one)], "owner");
    // Neither one that has moved, nor one that was nowhere; whether the client was sent here or not.
    both.check(1, &[&read(other)], NOT_HERE);
    both.check(1, &[ASKING, &read(other)], NOT_HERE);
    both.check(1, &[ASKING, &read(never)], NOT_HERE);
    // Where the slot goes to, both are nowhere.
    let there = |key| ["EVAL", reads, "1", other, key];
    both.check(2, &[ASKING, &there(one)], "nil");
    both.check(2, &[ASKING, &there(never)], "nil");

    // So nothing is done for one of them where another one is to be looked at.
    let release = |key, other| ["EVAL", RELEASE, "1", key, "owner", "0", "", "", "1", other, "1"];
    let try_again = "TRYAGAIN Multiple keys request during rehashing of slot";
    for other in [other, never] {
        both.check(1, &[ASKING, &release(one, other)], try_again);
        both.check(1, &[ASKING, &["GET", one]], "owner");
    }
    both.check(2, &[ASKING, &release(other, never)], "1");
    both.check(2, &[ASKING, &["EXISTS", other]], "0");

    // Nor one that the script itself has emptied.
    let empties = "redis.call('DEL', KEYS[1]) return redis.pcall('EXISTS', KEYS[1])";
    both.check(1, &[&["EVAL", empties, "1", one]], NOT_HERE);
    let mut nobody = COUNT;
    nobody[7] = "0";
    both.check(1, &[&nobody], "0");
    drop(both);
    drop(migration);
}
