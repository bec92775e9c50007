//! Three processes of eight tasks on five servers, each of which is hung, killed and restarted in turn, for a minute.
//! What they say about when they held a lock is looked through by somebody who knows nothing of locks.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use redlock_tests::wait::eventually;
use redlock_tests::{Program, RedisServer, Servers};

const SECONDS: u64 = 60;
/// How long a fault lasts, and the pause behind it.
const FAULT: Duration = Duration::from_millis(1200);
const TTL: Duration = Duration::from_secs(1);

/// What happens to a server.
type Change = fn(&RedisServer);

#[test]
fn no_two_tasks_of_any_process_hold_one_lock_at_a_time() {
    let servers = Servers::start(5);
    // A server that restarts abstains beside older ones, and only beside those: a fleet that is young as a whole votes,
    // and one empty restart is then enough for a second majority.
    let is_old = |server: &RedisServer| {
        let uptime = server.probe().info("server")["uptime_in_seconds"].parse().map(Duration::from_secs);
        uptime.is_ok_and(|uptime| uptime >= TTL + Duration::from_secs(2))
    };
    eventually("all servers are old", || servers.iter().all(is_old));
    let arguments = [format!("tasks={}", 8), format!("seconds={SECONDS}"), format!("ttl_ms={}", TTL.as_millis())];
    let crowd: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_crowd"));
            Program::start(command.env("REDLOCK_NODES", servers.nodes()).args(&arguments))
        })
        .collect();
    let faults: [(Change, Change); 3] = [
        (RedisServer::hang, RedisServer::resume),
        (RedisServer::kill, RedisServer::restart),
        (RedisServer::restart, |_| {}),
    ];
    let rounds = Duration::from_secs(SECONDS).as_millis() / (FAULT * 2).as_millis();
    for round in 0..usize::try_from(rounds).unwrap_or(0).saturating_sub(2) {
        let server = &servers[round % servers.len()];
        let (begin, end) = faults[round % faults.len()];
        begin(server);
        std::thread::sleep(FAULT);
        end(server);
        std::thread::sleep(FAULT);
    }

    let mut held: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let mut acquired = 0;
    for program in crowd {
        let ended = program.wait_within(Duration::from_secs(60));
        assert!(ended.status.success(), "{ended:?}");
        for line in &ended.lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["held", name, begin, end] => {
                    acquired += 1;
                    held.entry(name.to_owned()).or_default().push((begin.parse().unwrap(), end.parse().unwrap()));
                }
                _ => println!("{line}"),
            }
        }
    }
    println!("{acquired} times held in all");
    assert!(acquired > 500, "the crowd hardly got anywhere: {acquired}");
    for (name, times) in &mut held {
        times.sort_unstable();
        for pair in times.windows(2) {
            let [(_, end), (begin, _)] = pair else { unreachable!("windows of two") };
            assert!(end < begin, "{name} was held twice at a time: {pair:?}");
        }
    }
    eventually("nothing is left", || servers.iter().all(|server| server.probe().dbsize() == 0));
}
