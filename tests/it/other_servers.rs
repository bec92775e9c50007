//! Other makes of servers, and proxies: they refuse what Redis knows, each in its own words, and leave out what Redis tells.

use std::time::Duration;

use expect_test::{Expect, expect};
use redis::{Client, cmd};
use redlock_runtime::{CheckReport, Error, LockManager, Timeout};
use redlock_tests::gateway::Answer;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Gateway, RedisServer, Servers, Setup};

use crate::common::{none_has_x, unhurried};

/// What works takes far less; what does not is tried again and again.
const LIMIT: Duration = Duration::from_secs(30);

/// A server with which nothing is wrong, behind a gateway.
fn behind_gateway() -> (RedisServer, Gateway) {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let gateway = Gateway::start(&server);
    (server, gateway)
}

/// A server that is slow because the machine is busy leaves nothing out.
fn manager(urls: &[String]) -> LockManager {
    unhurried().nodes(urls).node_timeout(Duration::from_secs(2)).build().unwrap()
}

/// What was found, by names for the nodes.
fn found(report: &CheckReport, nodes: &[&Gateway]) -> String {
    let findings = report.findings().iter().map(|finding| format!("{finding}\n"));
    let all = findings.chain([report.verdict().to_string(), "\n".to_owned()]).collect::<String>();
    let (names, port_of) = (["NODE", "OTHER"], "knows this connection as 127.0.0.1:");
    let mut parts = all.split(port_of);
    let first = parts.next().unwrap_or_default().to_owned();
    let all =
        parts.fold(first, |all, part| all + port_of + "PORT" + part.trim_start_matches(|c: char| c.is_ascii_digit()));
    nodes.iter().zip(names).fold(all, |all, (gateway, name)| all.replace(&gateway.url(), name))
}

/// Checks a lock manager of this one node alone.
async fn check(gateway: &Gateway, expect: Expect) {
    let report = manager(&[gateway.url()]).check().await.unwrap();
    expect.assert_eq(&found(&report, &[gateway]));
}

/// A whole lock: held, waited for, released, and got by whoever waited.
async fn check_works(what: &str, gateway: &Gateway, subscribes: Option<&str>) {
    check_works_at(&gateway.url(), what, gateway, subscribes).await;
}

/// The same by this URL of the gateway.
async fn check_works_at(url: &str, what: &str, gateway: &Gateway, subscribes: Option<&str>) {
    let (holder, waiter) = (manager(&[url.to_owned()]), manager(&[url.to_owned()]));
    let guard = holder.lock("x").timeout(LIMIT).acquire().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    guard.extend(Duration::from_secs(40)).await.unwrap();
    let asked = gateway.asked("EVALSHA");
    let waiting = tokio::spawn(waiter.lock("x").timeout(LIMIT).acquire());
    eventually_async(format!("{what}: it waits"), async || gateway.asked("EVALSHA") > asked).await;
    if let Some(command) = subscribes {
        eventually_async(format!("{what}: it subscribes"), async || gateway.asked(command) > 0).await;
    }
    guard.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

fn skip(locks: &LockManager) -> impl Future<Output = Result<redlock_runtime::LockGuard, Error>> {
    locks.lock("x").timeout(Timeout::Skip).acquire()
}

/// An error with all that it was caused by.
fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    told
}

#[tokio::test]
async fn whatever_is_answered_to_hello_the_older_protocol_does() {
    let refusals = [
        "ERR unsupported command 'HELLO'",
        "ERR Unknown or disabled command 'HELLO'",
        "ERR unknown command `HELLO`, with args beginning with: `3`, ",
        "ERR syntax error",
        "ERR command is not allowed",
        "ERR invalid command",
        "NOPROTO unsupported protocol version",
        "NOPERM this user has no permissions to run the 'hello' command",
        "command not allowed",
    ];
    let refusals = refusals.map(|text| (text, Answer::error(text)));
    for (what, answer) in
        refusals.into_iter().chain([("closed", Answer::Close), ("garbage", Answer::raw("HTTP/1.1 400\r\n\r\n"))])
    {
        let (_server, gateway) = behind_gateway();
        gateway.answer("HELLO", answer);
        check_works(what, &gateway, Some("SUBSCRIBE redlock-released:redlock:ConfigurableLock.x")).await;
    }
}

#[tokio::test]
async fn whoever_has_a_password_is_let_in_by_the_older_protocol_too() {
    let setup = || Setup::new().with_password("right");
    for (what, setup, credentials) in [
        ("the default user", setup(), ":right@"),
        ("the default user by name", setup(), "default:right@"),
        ("another user", setup().with_user("app", "p/w", "~* &* +@all"), "app:p%2Fw@"),
    ] {
        for refusal in
            [Answer::error("ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, "), Answer::Close]
        {
            let server = RedisServer::start_as(&setup);
            let gateway = Gateway::start(&server);
            gateway.answer("HELLO", refusal);
            let url = gateway.url().replace("redis://", &format!("redis://{credentials}"));
            let subscribes = "SUBSCRIBE redlock-released:redlock:ConfigurableLock.x";
            check_works_at(&url, what, &gateway, Some(subscribes)).await;
            assert!(gateway.asked("HELLO") > 0 && gateway.asked("AUTH") > 0, "{what}");
        }
    }
}

#[tokio::test]
async fn where_nobody_may_subscribe_either_the_slow_poll_does() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("HELLO", Answer::error("ERR unsupported command 'HELLO'"));
    gateway.answer("SUBSCRIBE", Answer::error("ERR unsupported command 'SUBSCRIBE'"));
    check_works("polled", &gateway, None).await;
    check(
        &gateway,
        expect![[r"
            warning: NODE: it, or a proxy before it, neither speaks RESP3 (HELLO 3: ResponseError: unsupported command 'HELLO') nor lets them subscribe: those who wait ask now and then instead of being woken; let the user subscribe, or name the server behind the proxy
            note: NODE: what a cut connection still carries stays for up to its TTL: a proxy is in between (the server knows this connection as 127.0.0.1:PORT), and others may use the same one
            degraded: 1 of 1 nodes work, 1 are needed; see what was found
        "]],
    )
    .await;
}

#[tokio::test]
async fn a_check_tells_that_a_server_speaks_the_older_protocol_alone_and_why() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("HELLO", Answer::error("ERR unsupported command 'HELLO'"));
    check(
        &gateway,
        expect![[r"
            note: NODE: what a cut connection still carries stays for up to its TTL: a proxy is in between (the server knows this connection as 127.0.0.1:PORT), and others may use the same one
            note: NODE: it, or a proxy before it, speaks the older protocol alone (HELLO 3: ResponseError: unsupported command 'HELLO'): those who wait are woken by what Rust processes publish and, with `notify-keyspace-events Kg`, by other releases
            healthy: every node works
        "]],
    )
    .await;
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_so_and_does_not_knock_again() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let gateway = Gateway::start(&server);
    for (url, words) in
        [(gateway.url().replace("redis://", "redis://:s3cret@"), "WRONGPASS"), (gateway.url(), "NOAUTH")]
    {
        let mut knocked = Vec::new();
        // A busy machine keeps the connection that was refused for so long that it is made anew: not each time.
        while knocked.len() < 5 && !knocked.contains(&1) {
            let before = gateway.accepted();
            let report = manager(std::slice::from_ref(&url)).check().await.unwrap().to_string();
            assert!(report.contains(words) && report.contains("right user and password"), "{report}");
            assert!(!report.contains("s3cret"), "{report}");
            knocked.push(gateway.accepted() - before);
        }
        assert!(knocked.contains(&1), "{words}: {knocked:?}");
    }
    // Nor does it get lost in the second attempt what was said in the first.
    let (_server, gateway) = behind_gateway();
    gateway.answer("HELLO", Answer::error("ERR max number of clients reached"));
    gateway.answer("AUTH", Answer::Close);
    let url = gateway.url().replace("redis://", "redis://:s3cret@");
    let report = manager(&[url]).check().await.unwrap().to_string();
    assert!(report.contains("max number of clients reached"), "{report}");
}

/// What INFO has in which a server is told from another.
const IDENTITY: &[&str] = &["run_id", "master_replid"];

/// This uptime, whatever the server's is.
fn old_by(seconds: u64) -> impl Fn(&str) -> String {
    move |info| {
        let line = |line: &str| match line.strip_prefix("uptime_in_seconds:") {
            Some(_) => format!("uptime_in_seconds:{seconds}\r\n"),
            None if IDENTITY.iter().chain(&["role"]).any(|field| line.starts_with(&format!("{field}:"))) => {
                String::new()
            }
            None => line.to_owned(),
        };
        info.split_inclusive('\n').map(line).collect()
    }
}

#[tokio::test]
async fn an_empty_restart_is_noticed_by_the_age_alone() {
    let servers = Servers::start(3);
    let gateways: Vec<_> = servers.iter().map(Gateway::start).collect();
    for (gateway, age) in gateways.iter().zip([5, 100_000, 100_000]) {
        gateway.answer("INFO", Answer::edited(old_by(age)));
    }
    let urls: Vec<_> = gateways.iter().map(Gateway::url).collect();
    let locks = manager(&urls);
    skip(&locks).await.unwrap().release().await.unwrap();
    none_has_x(&servers).await;
    // The young one and an old one are a majority that may have forgotten the one before.
    servers[2].hang();
    let refused = skip(&locks).await.unwrap_err();
    servers[2].resume();
    assert!(matches!(refused, Error::QuorumUnreachable { .. }), "{refused:?}");
    assert!(told(&refused).contains("it restarted and may have forgotten locks"), "{}", told(&refused));
}

#[tokio::test]
async fn a_check_tells_what_a_server_leaves_out_of_itself() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("INFO", Answer::without_lines(&["run_id"]));
    check(&gateway, expect![[r"
        note: NODE: what a cut connection still carries stays for up to its TTL: it does not tell which process it is (`run_id` in INFO)
        healthy: every node works
    "]]).await;
    gateway.answer("INFO", Answer::without_lines(&["run_id", "master_replid", "role"]));
    check(&gateway, expect![[r"
        warning: NODE: it does not tell who it is (neither `run_id` nor `master_replid` in INFO), so that it is not noticed if it is named twice; make sure that every node is a server of its own
        warning: NODE: it does not tell whether it is a master (`role` in INFO), and is taken for one; make sure that it follows no other server
        note: NODE: what a cut connection still carries stays for up to its TTL: it does not tell which process it is (`run_id` in INFO)
        degraded: 1 of 1 nodes work, 1 are needed; see what was found
    "]]).await;
    gateway.answer("INFO", Answer::without_lines(&["uptime_in_seconds"]));
    check(&gateway, expect![[r"
        warning: NODE: it does not tell for how long it has been running (`uptime_in_seconds` in INFO), so that a restart is not noticed, after which it may give away a lock that is held; restart it only while none is
        degraded: 1 of 1 nodes work, 1 are needed; see what was found
    "]]).await;
    gateway.answer("INFO", Answer::error("ERR unknown command 'INFO'"));
    check(&gateway, expect![[r"
        warning: NODE: it does not tell who it is and since when (INFO), so that a restart, a replica or a server that is named twice is not noticed; let it, if that is what is missing: ACL SETUSER <user> +info
        warning: NODE: it is the only node, and would restart empty or with older data (it does not tell what it saves): it then forgets who holds locks and grants them again, and there is nobody else to ask. Use three nodes, or `appendonly yes` with `appendfsync always`
        note: NODE: what a cut connection still carries stays for up to its TTL: it does not tell which process it is (`run_id` in INFO)
        degraded: 1 of 1 nodes work, 1 are needed; see what was found
    "]]).await;
    skip(&manager(&[gateway.url()])).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_server_without_run_id_that_is_named_twice_is_known_by_its_history() {
    let (server, gateway) = behind_gateway();
    let other = Gateway::start(&server);
    let check = async || manager(&[gateway.url(), other.url()]).check().await.unwrap();
    for gateway in [&gateway, &other] {
        gateway.answer("INFO", Answer::without_lines(&["run_id"]));
    }
    let report = found(&check().await, &[&gateway, &other]);
    assert!(report.contains("error: NODE and OTHER are one and the same server"), "{report}");
    for gateway in [&gateway, &other] {
        gateway.answer("INFO", Answer::without_lines(IDENTITY));
    }
    let report = found(&check().await, &[&gateway, &other]);
    for words in ["warning: NODE: it does not tell who it is", "warning: OTHER: it does not tell who it is"] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(!report.contains("one and the same server"), "{report}");
}

#[tokio::test]
async fn an_active_replica_does_not_vote() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("INFO", Answer::edited(|info| info.replace("role:master", "role:active-replica")));
    check(&gateway, expect![[r"
        error: NODE: it is an active replica, which does not vote: it and another server write over each other's keys; set `active-replica no`, or name a server that is a master alone
        unusable: 0 of 1 nodes work, 1 are needed; no lock can be acquired
    "]]).await;
    let others = Servers::start(2);
    let locks = manager(&[gateway.url(), others[0].url(), others[1].url()]);
    skip(&locks).await.unwrap().release().await.unwrap();
    none_has_x(&others).await;
    others[1].kill();
    let error = told(&skip(&locks).await.unwrap_err());
    assert!(error.contains("it is a replica"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_tell_its_role_keeps_its_connection_when_it_refuses_to_write() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("INFO", Answer::without_lines(&["role"]));
    let locks = manager(&[gateway.url()]);
    skip(&locks).await.unwrap().release().await.unwrap();
    gateway.answer("EVALSHA", Answer::error("READONLY You can't write against a read only replica."));
    let before = gateway.accepted();
    let infos = gateway.asked("INFO replication");
    assert!(skip(&locks).await.is_err());
    eventually_async("it was asked for its role", async || gateway.asked("INFO replication") > infos).await;
    gateway.answer("EVALSHA", Answer::Passed);
    skip(&locks).await.unwrap().release().await.unwrap();
    // One more is there for releases that are sent again.
    assert!(gateway.accepted() <= before + 1, "{before} -> {}", gateway.accepted());
}

#[tokio::test]
async fn behind_a_proxy_no_connection_of_others_is_killed() {
    let refused = |command: &'static str| Some((command, Answer::error("ERR unsupported command")));
    for refusal in [None, refused("HELLO"), refused("CLIENT TRACKING"), refused("CLIENT INFO")] {
        let (server, gateway) = behind_gateway();
        // As behind one that carries the commands of many on few connections: what it calls ours is another's.
        let mut victim = Client::open(server.url()).unwrap().get_connection().unwrap();
        let number: i64 = cmd("CLIENT").arg("ID").query(&mut victim).unwrap();
        gateway.answer("CLIENT ID", Answer::raw(format!(":{number}\r\n")));
        let what = format!("{refusal:?}");
        if let Some((command, answer)) = refusal {
            gateway.answer(command, answer);
        }
        let locks = manager(&[gateway.url()]);
        skip(&locks).await.unwrap().release().await.unwrap();
        let before = gateway.asked("CLIENT ID");
        gateway.cut();
        eventually_async("it works again", async || skip(&locks).await.is_ok()).await;
        assert!(gateway.asked("CLIENT ID") > before, "{what}");
        assert_eq!(cmd("PING").query::<String>(&mut victim).unwrap(), "PONG", "{what}");
        assert_eq!(
            gateway.asked(&format!("CLIENT KILL ID {number}")),
            gateway.asked(&format!("CLIENT KILL ID {number} ADDR"))
        );
    }
}

#[tokio::test]
async fn a_connection_through_what_keeps_them_apart_is_ended_when_it_was_cut() {
    let (_server, gateway) = behind_gateway();
    let locks = manager(&[gateway.url()]);
    skip(&locks).await.unwrap().release().await.unwrap();
    let before = gateway.asked("CLIENT KILL ID");
    gateway.cut();
    eventually_async("it works again", async || skip(&locks).await.is_ok()).await;
    assert!(gateway.asked("CLIENT KILL ID") > before);
}

/// The numbers of connections are given anew there.
#[tokio::test]
async fn no_connection_is_killed_of_a_server_that_restarted_since() {
    let (server, gateway) = behind_gateway();
    let locks = manager(&[gateway.url()]);
    skip(&locks).await.unwrap().release().await.unwrap();
    let mut probe = Client::open(server.url()).unwrap().get_connection().unwrap();
    let clients: String = cmd("CLIENT").arg("LIST").query(&mut probe).unwrap();
    let kill = |line: &str| {
        let value = |name| line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap();
        format!("CLIENT KILL ID {} ADDR {}", value("id="), value("addr="))
    };
    let kills: Vec<_> = clients.lines().map(kill).collect();
    server.restart();
    eventually_async("it works again", async || skip(&locks).await.is_ok()).await;
    // One that was made since may have been cut again.
    let asked: Vec<_> = kills.iter().filter(|kill| gateway.asked(kill) > 0).collect();
    assert!(asked.is_empty(), "{asked:?}");
}

#[tokio::test]
async fn a_check_tells_of_a_proxy_in_between_where_cut_connections_stay() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("CLIENT ID", Answer::raw(":1\r\n"));
    check(
        &gateway,
        expect![[r"
            note: NODE: what a cut connection still carries stays for up to its TTL: a proxy is in between (the server knows this connection as another than it answers on), and others may use the same one
            healthy: every node works
        "]],
    )
    .await;
}

#[tokio::test]
async fn scripts_that_are_switched_off_are_named_by_the_error_and_by_a_check() {
    for words in ["ERR unknown command", "ERR command is not allowed", "not supported"] {
        let (_server, gateway) = behind_gateway();
        for command in ["EVAL", "EVALSHA", "SCRIPT"] {
            gateway.answer(command, Answer::error(words));
        }
        let locks = manager(&[gateway.url()]);
        let error = told(&skip(&locks).await.unwrap_err());
        assert!(error.contains("does not carry out scripts, which locks need"), "{error}");
        let report = locks.check().await.unwrap().to_string();
        assert!(report.contains("error: ") && report.contains("does not carry out scripts"), "{report}");
    }
    let (_server, gateway) = behind_gateway();
    for command in ["EVAL", "EVALSHA", "SCRIPT"] {
        gateway.answer(command, Answer::error(&format!("ERR unknown command '{command}'")));
    }
    check(&gateway, expect![[r"
        error: NODE: it does not carry out scripts (ResponseError: unknown command 'EVAL'), without which no lock is extended or released; switch scripting on, or use a server, or a plan, that has it
        unusable: 0 of 1 nodes work, 1 are needed; no lock can be acquired
    "]]).await;
    // Those that may not be loaded beforehand are sent with their first use.
    let (_server, gateway) = behind_gateway();
    gateway.answer("SCRIPT", Answer::error("ERR unknown command 'SCRIPT'"));
    check(
        &gateway,
        expect![[r"
        healthy: every node works
    "]],
    )
    .await;
    check_works("EVAL", &gateway, None).await;
}

#[tokio::test]
async fn replicas_that_cannot_be_counted_are_named_by_the_error_and_by_a_check() {
    let waiting_for = |gateway: &Gateway| {
        unhurried().nodes([gateway.url()]).wait_replicas(1, Duration::from_millis(100)).build().unwrap()
    };
    let (_server, gateway) = behind_gateway();
    gateway.answer("WAIT", Answer::error("ERR unknown command 'WAIT'"));
    let locks = waiting_for(&gateway);
    let error = told(&skip(&locks).await.unwrap_err());
    assert!(error.contains("`wait_replicas` needs WAIT") && error.contains("unknown command 'WAIT'"), "{error}");
    expect![[r"
        error: NODE: a lock cannot be acquired: `wait_replicas` needs WAIT, which the server refuses: ResponseError: unknown command 'WAIT'; omit `wait_replicas`, or use a server that has what it needs
        unusable: 0 of 1 nodes work, 1 are needed; no lock can be acquired
    "]].assert_eq(&found(&locks.check().await.unwrap(), &[&gateway]));

    let (_server, gateway) = behind_gateway();
    gateway.answer("INFO", Answer::without_lines(&["run_id"]));
    let locks = waiting_for(&gateway);
    let error = told(&skip(&locks).await.unwrap_err());
    assert!(error.contains("`wait_replicas` needs a server that tells who it is"), "{error}");
    expect![[r"
        error: NODE: a lock cannot be acquired: `wait_replicas` needs a server that tells who it is (run_id in INFO), so that its replicas can be counted; omit `wait_replicas`, or use a server that has what it needs
        note: NODE: what a cut connection still carries stays for up to its TTL: it does not tell which process it is (`run_id` in INFO)
        unusable: 0 of 1 nodes work, 1 are needed; no lock can be acquired
    "]].assert_eq(&found(&locks.check().await.unwrap(), &[&gateway]));
}

#[tokio::test]
async fn settings_that_may_not_be_asked_for_are_unknown_and_not_fine() {
    let (_server, gateway) = behind_gateway();
    gateway.answer("CONFIG", Answer::error("ERR unknown command 'CONFIG'"));
    check(&gateway, expect![[r"
        warning: NODE: it is the only node, and would restart perhaps without its last second (it does not tell `appendfsync`): it then forgets who holds locks and grants them again, and there is nobody else to ask. Use three nodes, or `appendonly yes` with `appendfsync always`
        degraded: 1 of 1 nodes work, 1 are needed; see what was found
    "]]).await;
    gateway.answer("INFO", Answer::without_lines(&["maxmemory_policy", "aof_enabled"]));
    check(&gateway, expect![[r"
        warning: NODE: it does not tell whether it evicts keys when it is full (`maxmemory_policy` in INFO, or CONFIG GET): a lock that is evicted can be given away while it is held; make sure that its policy is noeviction
        warning: NODE: it is the only node, and would restart empty or with older data (it does not tell what it saves): it then forgets who holds locks and grants them again, and there is nobody else to ask. Use three nodes, or `appendonly yes` with `appendfsync always`
        degraded: 1 of 1 nodes work, 1 are needed; see what was found
    "]]).await;
    let report = manager(&[gateway.url()]).check().await.unwrap();
    assert_eq!(report.to_string().lines().nth(1).unwrap().matches("unknown").count(), 2, "{report}");
}

/// Far above what is kept of a reply, with all that is on its way besides; and far below what would come.
const BOUNDED: usize = 64 << 20;

#[tokio::test]
async fn a_reply_without_end_is_cut_off_and_the_failure_says_so() {
    const REPLY: &str = "a reply of more than 1 MiB, or without end; the connection was closed";
    let floods: [(&str, &[u8], Vec<u8>); 5] = [
        ("a line of more than 64 KiB, or without end; the connection was closed", b"-ERR ", vec![b'x'; 1 << 16]),
        (REPLY, b"$4000000000\r\n", vec![b'x'; 1 << 16]),
        (REPLY, b"*4000000000\r\n", b":1\r\n".repeat(1 << 14)),
        (REPLY, b"*300000\r\n", b":1111111\r\n".repeat(1 << 14)),
        // The client has a bound of its own, and no words for it.
        ("", b"", b"*1\r\n".repeat(1 << 14)),
    ];
    for (what, begin, again) in floods {
        let (_server, gateway) = behind_gateway();
        let locks = unhurried().nodes([gateway.url()]).node_timeout(Duration::from_secs(2)).build().unwrap();
        skip(&locks).await.unwrap().release().await.unwrap();
        gateway.answer("EVALSHA", Answer::Endless(begin.to_vec(), again));
        let error = told(&skip(&locks).await.unwrap_err());
        assert!(error.contains(what), "{what}: {error}");
        assert!(gateway.flooded() < BOUNDED, "{what}: {}", gateway.flooded());
        gateway.answer("EVALSHA", Answer::Passed);
        eventually_async("it works again", async || skip(&locks).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_reply_without_end_is_cut_off_while_a_connection_is_made_too() {
    for command in ["HELLO", "INFO", "CLIENT ID"] {
        let (_server, gateway) = behind_gateway();
        gateway.answer(command, Answer::Endless(b"+".to_vec(), vec![b'x'; 1 << 16]));
        let locks = unhurried().nodes([gateway.url()]).connect_timeout(Duration::from_secs(20)).build().unwrap();
        let acquired = skip(&locks).await;
        if command != "HELLO" {
            let error = told(&acquired.unwrap_err());
            assert!(error.contains("a line of more than 64 KiB"), "{command}: {error}");
        }
        assert!(gateway.flooded() < BOUNDED, "{command}: {}", gateway.flooded());
    }
}

#[tokio::test]
async fn long_lists_are_no_replies_without_end() {
    let (server, gateway) = behind_gateway();
    let entries: Vec<_> = (0..30_000).map(|number| format!("\"Waiting.ConfigurableLock.{number:040}\"")).collect();
    server.probe().run::<u64>(cmd("RPUSH").arg("ConfigurableLockKeys").arg(&entries)).unwrap();
    let locks = unhurried().nodes([gateway.url()]).node_timeout(Duration::from_secs(20)).build().unwrap();
    locks.statistics().await.unwrap();
}
