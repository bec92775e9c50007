//! The harness's server in between does to commands and replies what tests rely on.

use redis::{Client, Connection, RedisResult, Value, cmd, pipe};
use redlock_tests::gateway::Answer;
use redlock_tests::{Gateway, RedisServer};

fn connect(gateway: &Gateway, protocol: &str) -> Connection {
    Client::open(format!("{}?protocol={protocol}", gateway.url())).unwrap().get_connection().unwrap()
}

#[test]
fn a_gateway_keeps_the_order_of_replies_whoever_answers() {
    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    gateway.answer("CLIENT ID", Answer::raw(":17\r\n"));
    gateway.answer("CONFIG", Answer::error("ERR unknown command 'CONFIG'"));
    for protocol in ["resp2", "resp3"] {
        let mut connection = connect(&gateway, protocol);
        let mut all = pipe();
        all.cmd("SET").arg("a").arg("1").cmd("CLIENT").arg("ID").cmd("INCR").arg("a").cmd("client").arg("id");
        all.cmd("INCR").arg("a");
        assert_eq!(all.query::<(String, i64, i64, i64, i64)>(&mut connection).unwrap(), ("OK".into(), 17, 2, 17, 3));
        let refused = cmd("CONFIG").arg("GET").arg("save").query::<Value>(&mut connection).unwrap_err();
        assert_eq!(refused.detail(), Some("unknown command 'CONFIG'"));
        assert!(cmd("CLIENT").arg("GETNAME").query::<Value>(&mut connection).is_ok());
    }
    assert_eq!((gateway.asked("CLIENT ID"), gateway.asked("CONFIG GET save"), gateway.asked("CONF")), (4, 2, 0));
    gateway.answer("CONFIG", Answer::Passed);
    assert!(cmd("CONFIG").arg("GET").arg("save").query::<Value>(&mut connect(&gateway, "resp2")).is_ok());
}

#[test]
fn a_gateway_edits_what_a_server_says_and_closes_what_it_is_told_to() {
    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    gateway.answer("INFO", Answer::without_lines(&["run_id"]));
    for protocol in ["resp2", "resp3"] {
        let info: String = cmd("INFO").arg("server").query(&mut connect(&gateway, protocol)).unwrap();
        assert!(info.contains("uptime_in_seconds:") && !info.contains("run_id:"), "{info}");
    }
    gateway.answer("PING", Answer::Close);
    assert!(cmd("PING").query::<Value>(&mut connect(&gateway, "resp3")).unwrap_err().is_io_error());
}

#[test]
fn a_gateway_has_scripts_carried_out_behind_its_own() {
    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    gateway.before_scripts("local answer = 42\n");
    let mut connection = connect(&gateway, "resp2");
    let by_hash = |connection: &mut Connection, code: &str| -> RedisResult<i64> {
        cmd("EVALSHA").arg(redis::Script::new(code).get_hash()).arg(0).query(connection)
    };
    assert_eq!(by_hash(&mut connection, "return answer").unwrap_err().code(), Some("NOSCRIPT"));
    let loaded: String = cmd("SCRIPT").arg("LOAD").arg("return answer").query(&mut connection).unwrap();
    assert_eq!(loaded, redis::Script::new("return answer").get_hash());
    assert_eq!(by_hash(&mut connection, "return answer").unwrap(), 42);
    assert_eq!(cmd("EVAL").arg("return answer + 1").arg(0).query::<i64>(&mut connection).unwrap(), 43);
    assert_eq!(by_hash(&mut connection, "return answer + 1").unwrap(), 43);
}
