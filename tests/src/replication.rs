//! Who is a master, and who follows it.

use std::collections::BTreeMap;

use redis::cmd;

use crate::RedisServer;
use crate::probe::parse_info;

/// Whether the server answers that it is a master.
pub(crate) fn is_master(server: &RedisServer) -> bool {
    replication(server).get("role").is_some_and(|role| role == "master")
}

/// Whether the server is a replica of that one, and has all that it has now.
pub(crate) fn follows(replica: &RedisServer, master: &RedisServer) -> bool {
    let offset = |of: &BTreeMap<String, String>, name: &str| of.get(name).and_then(|offset| offset.parse::<u64>().ok());
    // Asked first: what comes to the master meanwhile is not missing.
    let had = offset(&replication(master), "master_repl_offset");
    let state = replication(replica);
    state.get("master_port") == Some(&master.port().to_string())
        && state.get("master_link_status").is_some_and(|status| status == "up")
        && had.is_some()
        && offset(&state, "slave_repl_offset") >= had
}

/// What a server says about it; nothing if it does not answer.
fn replication(server: &RedisServer) -> BTreeMap<String, String> {
    let info = server.probe().run::<String>(cmd("INFO").arg("replication"));
    info.map(|info| parse_info(&info)).unwrap_or_default()
}
