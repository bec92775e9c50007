//! The harness keeps what it says: servers that die, hang, return empty and go away; connections that fail.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use redis::cmd;
use redlock_tests::probe::Expiry;
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::{as_promised, eventually, eventually_async, eventually_some};
use redlock_tests::{Monitor, Probe, Program, Proxy, RedisServer, Servers, Setup};

/// Long enough that a reply which is not held back has come; only ever awaited in vain.
const SILENCE: Duration = Duration::from_millis(300);

fn nobody_listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// Asks through the proxy with a patience of its own: the probe's two seconds are long for a reply that never comes.
fn ping_through(proxy: &Proxy, patience: Duration) -> redis::RedisResult<String> {
    let mut connection = redis::Client::open(proxy.url())?.get_connection_with_timeout(patience)?;
    connection.set_read_timeout(Some(patience))?;
    cmd("PING").query(&mut connection)
}

#[test]
fn a_server_starts_empty_and_keeps_what_it_is_given() {
    let server = RedisServer::start();
    let probe = server.probe();
    assert_eq!(probe.dbsize(), 0);
    probe.set("a", "1");
    probe.set_for("b", "2", Duration::from_secs(60));
    assert_eq!(probe.get("a").as_deref(), Some("1"));
    assert_eq!(probe.keys(), ["a", "b"]);
    assert_eq!(probe.keys_like("b*"), ["b"]);
    assert_eq!(probe.pttl("a"), Expiry::Never);
    assert_eq!(probe.pttl("c"), Expiry::NoKey);
    let remaining = probe.pttl("b").remaining().expect("the key expires");
    assert!(remaining <= Duration::from_secs(60) && remaining > Duration::from_secs(30), "{remaining:?}");
    assert!(probe.del("a"));
    assert!(!probe.exists("a"));
    assert!(!probe.del("a"));
    probe.flush_all();
    assert_eq!(probe.dbsize(), 0);
}

#[test]
fn a_missing_server_binary_is_told_with_its_cure() {
    let error = RedisServer::try_start(OsStr::new("redis-server-that-is-not-there"), &Setup::new())
        .expect_err("there is no such binary");
    assert!(error.to_string().contains("run tests/run.sh"), "{error}");
}

#[test]
fn a_refused_configuration_is_told_with_the_servers_own_words() {
    let setup = Setup::new().with_arguments(&["--no-such-setting", "1"]);
    let error = RedisServer::try_start(OsStr::new("redis-server"), &setup).expect_err("there is no such setting");
    assert!(error.to_string().contains("no-such-setting"), "{error}");
}

#[test]
fn a_server_with_a_password_is_reached_with_it_and_not_without() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    assert!(server.probe().is_up());
    let stranger = Probe::new(server.port()).run::<String>(&cmd("PING"));
    assert_eq!(stranger.expect_err("it asks for a password").code(), Some("NOAUTH"));
    assert!(server.url().contains(":secret@"));
}

#[test]
fn a_killed_server_is_gone_at_once_and_returns_empty_on_its_port() {
    let server = RedisServer::start();
    let port = server.port();
    let first = server.pid();
    server.probe().set("a", "1");

    server.kill();
    assert!(!server.is_running());
    assert!(nobody_listens(port));
    server.kill();

    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), first);
    assert_eq!(server.probe().dbsize(), 0);
}

#[test]
fn a_running_server_restarts_empty_too() {
    let server = RedisServer::start();
    server.probe().set("a", "1");
    server.restart();
    assert_eq!(server.probe().dbsize(), 0);
}

#[test]
fn a_replica_that_restarts_has_forgotten_what_its_master_sent() {
    let servers = Servers::start(2);
    servers[0].probe().set("a", "1");
    servers[1].probe().replica_of(servers[0].port());
    eventually("the replica has its master's key", || servers[1].probe().exists("a"));
    servers[1].restart();
    assert_eq!(servers[1].probe().dbsize(), 0);
}

#[test]
fn a_stopped_server_ends_in_order_and_so_does_one_that_hangs() {
    for hangs in [false, true] {
        let server = RedisServer::start();
        if hangs {
            server.hang();
        }
        server.stop();
        assert!(!server.is_running());
        assert!(nobody_listens(server.port()));
        assert!(server.log().contains("ready to exit"), "{}", server.log());
    }
}

#[test]
fn a_hung_server_takes_commands_and_does_them_once_it_goes_on() {
    let server = RedisServer::start();
    let mut connection =
        redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("it listens");
    connection.set_read_timeout(Some(SILENCE)).expect("a timeout");
    server.hang();
    assert!(server.is_running());
    cmd("SET").arg("late").arg("1").query::<()>(&mut connection).expect_err("a hung server says nothing");
    drop(connection);

    server.resume();
    eventually("the server has done what came while it hung", || server.probe().exists("late"));
}

#[test]
fn several_servers_are_independent() {
    let servers = Servers::start(3);
    assert_eq!(servers.len(), 3);
    servers[0].probe().set("a", "1");
    servers[2].probe().set("a", "2");
    assert_eq!(servers.values("a"), [Some("1".to_owned()), None, Some("2".to_owned())]);
    servers[2].kill();
    assert_eq!(servers.holding("a"), 1);
    assert_eq!(servers.urls().len(), 3);
    assert_eq!(servers.nodes().split(',').count(), 3);
}

#[test]
fn a_panicking_test_leaves_no_server_behind_even_one_that_hangs() {
    let mut ports = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let servers = Servers::start(2);
        ports.extend(servers.iter().map(RedisServer::port));
        servers[1].hang();
        panic!("what a failed assertion does");
    }));
    assert!(panicked.is_err());
    assert_eq!(ports.len(), 2);
    assert!(ports.into_iter().all(nobody_listens));
}

#[test]
fn a_killed_test_process_leaves_no_server_and_no_directory_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut program =
        Program::start(Command::new(env!("CARGO_BIN_EXE_servers")).arg("2").env("TMPDIR", directory.path()));
    let line = program.line();
    let ports: Vec<u16> = line.split(':').filter_map(leading_number).collect();
    assert_eq!(ports.len(), 2, "{line}");
    assert!(ports.iter().all(|port| Probe::new(*port).is_up()), "{line}");
    assert_eq!(entries(directory.path()).len(), 2);
    program.kill();
    eventually("the watchdog has killed both servers", || ports.iter().all(|port| nobody_listens(*port)));
    eventually("the watchdog has removed the directories", || entries(directory.path()).is_empty());
}

fn leading_number(text: &str) -> Option<u16> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn servers_that_go_for_taken_ports_find_others() {
    // Eight at the same time: whoever loses a port picks another, and all answer as themselves.
    let servers = Servers::start(8);
    let mut ports: Vec<u16> = servers.iter().map(RedisServer::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 8);
    assert!(servers.iter().all(|server| server.probe().is_up()));
}

#[test]
fn commands_are_counted() {
    let server = RedisServer::start();
    let probe = server.probe();
    let before = probe.command_counts();
    probe.set("a", "1");
    probe.set("a", "2");
    probe.config_set("maxmemory", "0");
    let counts = probe.command_counts().since(&before);
    assert_eq!((counts.of("set"), counts.of("config|set"), counts.of("get")), (2, 1, 0));
    assert!(counts.iter().any(|(name, count)| name == "set" && count == 2));
}

#[test]
fn faults_of_the_server_itself_can_be_made() {
    let servers = Servers::start(2);
    let probe = servers[0].probe();
    let set = || probe.run::<()>(cmd("SET").arg("a").arg("1")).map_err(|error| error.code().map(str::to_owned));

    probe.config_set("maxmemory", "1");
    assert_eq!(set(), Err(Some("OOM".to_owned())));
    probe.config_set("maxmemory", "0");

    probe.replica_of(servers[1].port());
    assert_eq!(set(), Err(Some("READONLY".to_owned())));
    probe.replica_of_no_one();
    assert_eq!(set(), Ok(()));

    let script: String = probe.run(cmd("SCRIPT").arg("LOAD").arg("return 1")).expect("a script");
    probe.script_flush();
    let gone = probe.run::<u64>(cmd("EVALSHA").arg(&script).arg(0)).expect_err("the script was flushed");
    assert_eq!(gone.code(), Some("NOSCRIPT"));
}

#[test]
fn a_servers_connections_can_be_seen_and_closed() {
    let server = RedisServer::start();
    let mut connection =
        redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("it listens");
    // The probe that saw the server start may be listed for a moment.
    eventually("it and the probe", || server.probe().client_list().len() == 2);
    server.probe().client_kill_all();
    cmd("PING").query::<String>(&mut connection).expect_err("the server closed the connection");
    eventually("only the probe is left", || server.probe().client_list().len() == 1);
}

#[test]
fn a_proxy_forwards() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let through = Probe::new(proxy.port());
    through.set("a", &"x".repeat(1_000_000));
    assert_eq!(through.get("a").map(|value| value.len()), Some(1_000_000));
    assert_eq!(proxy.accepted(), 2);
    eventually("connections that clients closed are gone", || proxy.open() == 0);
}

#[test]
fn a_proxy_delays_each_way() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let delay = Duration::from_millis(50);
    proxy.set_both(Flow::Delay(delay));
    let mut connection =
        redis::Client::open(proxy.url()).and_then(|client| client.get_connection()).expect("it listens");
    let started = now();
    assert_eq!(cmd("PING").query::<String>(&mut connection).as_deref(), Ok("PONG"));
    assert!(started.elapsed() >= delay * 2);
}

#[expect(clippy::disallowed_methods, reason = "a proxy's delay is real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_proxy_swallows_replies_of_commands_that_were_done() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let mut connection =
        redis::Client::open(proxy.url()).and_then(|client| client.get_connection()).expect("it listens");
    connection.set_read_timeout(Some(SILENCE)).expect("a timeout");
    proxy.set(Direction::Replies, Flow::Swallow);
    cmd("SET").arg("a").arg("1").query::<()>(&mut connection).expect_err("the reply is lost");
    eventually("it was done", || server.probe().get("a").as_deref() == Some("1"));
}

#[test]
fn a_proxy_that_swallows_requests_takes_connections_and_answers_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    proxy.set(Direction::Requests, Flow::Swallow);
    ping_through(&proxy, SILENCE).expect_err("nothing comes back");
    eventually("it was taken", || proxy.accepted() == 1);
    proxy.set(Direction::Requests, Flow::Forward);
    assert_eq!(ping_through(&proxy, SILENCE * 10).as_deref(), Ok("PONG"));
}

#[test]
fn what_a_proxy_holds_arrives_later_even_if_the_client_is_gone() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let mut connection =
        redis::Client::open(proxy.url()).and_then(|client| client.get_connection()).expect("it listens");
    connection.set_read_timeout(Some(SILENCE)).expect("a timeout");
    proxy.set(Direction::Requests, Flow::Hold);
    cmd("SET").arg("a").arg("1").query::<()>(&mut connection).expect_err("the request is held");
    drop(connection);
    assert!(!server.probe().exists("a"));
    proxy.set(Direction::Requests, Flow::Forward);
    eventually("the straggler has arrived", || server.probe().exists("a"));
}

#[test]
fn a_proxy_cuts_connections_and_what_is_on_its_way() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let mut connection =
        redis::Client::open(proxy.url()).and_then(|client| client.get_connection()).expect("it listens");
    connection.set_read_timeout(Some(SILENCE)).expect("a timeout");
    proxy.set(Direction::Requests, Flow::Hold);
    cmd("SET").arg("a").arg("1").query::<()>(&mut connection).expect_err("the request is held");
    proxy.cut();
    proxy.set(Direction::Requests, Flow::Forward);
    cmd("PING").query::<String>(&mut connection).expect_err("the connection was cut");
    assert!(!server.probe().exists("a"));
    assert_eq!(ping_through(&proxy, SILENCE * 10).as_deref(), Ok("PONG"));
}

#[test]
fn a_proxy_refuses_until_it_takes_connections_again() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    proxy.refuse();
    ping_through(&proxy, SILENCE).expect_err("the connection is closed at once");
    proxy.take();
    assert_eq!(ping_through(&proxy, SILENCE * 10).as_deref(), Ok("PONG"));
}

#[test]
fn a_proxy_in_front_of_nothing_closes_connections_and_finds_a_server_that_comes_later() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    server.kill();
    ping_through(&proxy, SILENCE).expect_err("there is no server");
    server.restart();
    assert_eq!(ping_through(&proxy, SILENCE * 10).as_deref(), Ok("PONG"));
}

#[test]
fn a_dropped_proxy_listens_no_more() {
    let proxy = Proxy::start_to(1);
    let port = proxy.port();
    drop(proxy);
    // A program that another test starts at this moment has a copy of the socket until it runs.
    eventually("nobody listens", || nobody_listens(port));
}

#[test]
fn waiting_in_vain_says_for_what() {
    let waited = catch_unwind(|| as_promised(Duration::from_millis(50), "the moon turns green", || false));
    let message = *waited.expect_err("it does not").downcast::<String>().expect("a formatted message");
    assert!(message.contains("the moon turns green"), "{message}");
    assert_eq!(eventually_some("something", || Some(7)), 7);
}

#[tokio::test]
async fn waiting_lets_other_tasks_go_on() {
    let (sender, mut receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move { sender.send(()) });
    eventually_async("the other task has run", async || receiver.try_recv().is_ok()).await;
}

#[test]
fn a_program_is_heard_told_and_waited_for() {
    let servers = Servers::start(1);
    let key = "redlock:ConfigurableLock.job";
    let holder = |arguments: &[&str]| {
        Program::start(Command::new(env!("CARGO_BIN_EXE_holder")).args(arguments).env("REDLOCK_NODES", servers.nodes()))
    };
    let mut first = holder(&["name=job"]);
    assert_eq!(first.line(), "acquired");
    assert_eq!(servers.holding(key), 1);
    assert_eq!(holder(&["name=job", "timeout=-1"]).line(), "skipped");

    first.tell("release");
    let ended = first.wait();
    assert!(ended.status.success(), "{}", ended.errors);
    assert_eq!(ended.lines, ["released"]);
    assert_eq!(servers.holding(key), 0);
}

#[test]
fn a_killed_program_says_no_more_and_what_it_held_stays() {
    let servers = Servers::start(1);
    let mut holder = Program::start(
        Command::new(env!("CARGO_BIN_EXE_holder")).arg("name=job").env("REDLOCK_NODES", servers.nodes()),
    );
    assert_eq!(holder.line(), "acquired");
    holder.hang();
    holder.resume();
    holder.kill();
    assert_eq!(holder.line_within(SILENCE), None);
    assert_eq!(servers.holding("redlock:ConfigurableLock.job"), 1);
}

#[test]
fn a_proxy_strands_what_a_connection_carries_and_lands_it_later() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    proxy.set(Direction::Requests, Flow::Hold);
    client.write_all(b"SET k v\r\n").unwrap();
    eventually("the command is on its way", || proxy.waiting(Direction::Requests) == 1);
    proxy.strand();
    proxy.set(Direction::Requests, Flow::Forward);
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0, "the client is told");
    assert!(!server.probe().exists("k"));
    proxy.land();
    eventually("it arrives", || server.probe().exists("k"));
}

#[test]
fn a_monitor_hears_what_clients_send_about_something() {
    let server = RedisServer::start();
    let monitor = Monitor::start(&server);
    server.probe().set("mine", "1");
    server.probe().set("other", "2");
    let script = "return redis.call('GET', KEYS[1])";
    server.probe().run::<i64>(cmd("EVAL").arg(script).arg(1).arg("mine")).unwrap();
    let sent = monitor.sent_about("mine");
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[0].contains("SET") && sent[1].contains("EVAL"), "{sent:?}");
}
