//! Servers of a cluster send those who ask elsewhere, as the specification of Redis Cluster has it.

use std::time::Duration;

use redlock_simulated_redis::{Cluster, ConnectionId, Effect, Server, Settings, slot_of};

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
