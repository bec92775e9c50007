//! Twenty processes have the same cron jobs, by clocks that differ by up to two seconds either way.
//!
//! `REDLOCK_FIRES` says how many fires there are; 100 unless set.

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::process::Command;
use std::time::{Duration, SystemTime};

use redlock_tests::clock::{monotonic_nanoseconds, time_of_day};
use redlock_tests::wait::eventually;
use redlock_tests::{Program, RedisServer, Servers};

const PROCESSES: usize = 20;
/// How many jobs there are.
const NAMES: usize = 50;
/// Longer than the calls of one fire are apart, and a run that fails takes to be made up for.
const PERIOD: Duration = Duration::from_secs(8);
/// The age at which a server knows that the first fires were not completed before it was started: twice the difference of clocks.
const OLD: Duration = Duration::from_secs(10);

/// What was told of one fire.
#[derive(Debug, Default)]
struct Told {
    /// When its bodies started.
    started: Vec<u64>,
    /// How many ended well.
    ended: usize,
    /// When its completion was confirmed.
    done: Vec<u64>,
    /// How often it was told that it already ran, or is in doubt.
    already: usize,
    doubt: usize,
    /// How often its completion was not confirmed.
    not_done: usize,
    /// How many bodies ended well in processes that were killed before they knew whether that was marked.
    cut_off: usize,
}

/// The processes, and what those said that ended.
struct Fleet {
    programs: Vec<Program>,
    arguments: Vec<Vec<String>>,
    nodes: String,
    /// Of those that were killed.
    killed: Vec<Vec<String>>,
}

impl Fleet {
    fn start(servers: &Servers, fires: usize) -> Self {
        let first = time_of_day() + Duration::from_secs(7);
        let first = first.duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_millis();
        let arguments: Vec<Vec<String>> = (0..PROCESSES)
            .map(|process| {
                let ahead = i64::try_from(process * 4000 / (PROCESSES - 1)).expect("a few seconds") - 2000;
                let period = PERIOD.as_millis();
                vec![
                    format!("names={NAMES}"),
                    format!("fires={}", fires / NAMES),
                    format!("first_ms={first}"),
                    format!("period_ms={period}"),
                    format!("ahead_ms={ahead}"),
                    format!("seed={process}"),
                ]
            })
            .collect();
        let nodes = servers.nodes();
        let programs = arguments.iter().map(|arguments| start(&nodes, arguments)).collect();
        Self { programs, arguments, nodes, killed: Vec::new() }
    }

    /// Kills a process, and begins it anew.
    fn kill(&mut self, process: usize) {
        let mut killed = std::mem::replace(&mut self.programs[process], start(&self.nodes, &self.arguments[process]));
        killed.kill();
        self.killed.push(killed.wait().lines);
    }

    /// What was told of each fire of each job, when all have ended by themselves.
    fn end(self, fires: usize) -> BTreeMap<(String, usize), Told> {
        let mut processes: Vec<_> = self.killed.into_iter().map(|lines| (lines, true)).collect();
        for program in self.programs {
            let ended = program.wait_within(lasts(fires) + Duration::from_secs(60));
            assert!(ended.status.success(), "{ended:?}");
            processes.push((ended.lines, false));
        }
        let all = (0..NAMES).flat_map(|name| (0..fires / NAMES).map(move |fire| (format!("job-{name}"), fire)));
        let mut told: BTreeMap<_, _> = all.map(|fire| (fire, Told::default())).collect();
        for (lines, was_killed) in &processes {
            let mut ended = BTreeMap::new();
            for line in lines {
                let words: Vec<_> = line.split(' ').collect();
                let [moment, what, job, fire] = words[..] else { continue };
                let (Ok(moment), Ok(fire)) = (moment.parse(), fire.parse()) else { continue };
                let key = (job.to_owned(), fire);
                let of_process: &mut usize = ended.entry(key.clone()).or_default();
                match what {
                    "end" => *of_process += 1,
                    "done" | "not-done" => *of_process -= 1,
                    _ => {}
                }
                let told = told.get_mut(&key).expect("it is one of them");
                match what {
                    "start" => told.started.push(moment),
                    "end" => told.ended += 1,
                    "done" => told.done.push(moment),
                    "already" => told.already += 1,
                    "doubt" => told.doubt += 1,
                    "not-done" => told.not_done += 1,
                    "lost" | "not-acquired" => {}
                    other => panic!("{other}"),
                }
            }
            for (fire, cut_off) in ended.into_iter().filter(|(_, cut_off)| *cut_off > 0) {
                assert!(*was_killed && cut_off == 1, "a body ended, and nothing became of it: {fire:?} {lines:?}");
                told.get_mut(&fire).expect("it is one of them").cut_off += 1;
            }
        }
        told
    }
}

fn start(nodes: &str, arguments: &[String]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_jobs")).env("REDLOCK_NODES", nodes).args(arguments))
}

fn fires() -> usize {
    let fires = env::var("REDLOCK_FIRES").ok().and_then(|fires| fires.parse().ok()).unwrap_or(100);
    (fires / NAMES).max(1) * NAMES
}

/// How long it takes until the last fire is due.
fn lasts(fires: usize) -> Duration {
    Duration::from_secs(7) + PERIOD * u32::try_from(fires / NAMES).expect("few")
}

fn old_servers() -> Servers {
    let servers = Servers::start(3);
    let is_old = |server: &RedisServer| {
        let uptime = server.probe().info("server")["uptime_in_seconds"].parse().map(Duration::from_secs);
        uptime.is_ok_and(|uptime| uptime >= OLD)
    };
    eventually("all servers are old", || servers.iter().all(is_old));
    servers
}

/// No fire starts after it was completed; returns how many ran more than once.
fn check(told: &BTreeMap<(String, usize), Told>) -> usize {
    let count = |what: fn(&Told) -> usize| told.values().map(what).sum::<usize>();
    let ran_again: Vec<_> = told.iter().filter(|(_, told)| told.ended > 1).collect();
    // Of a run that was cut off, or could not be confirmed, the mark may be there all the same, and be spread by who finds it.
    let is_known = |told: &Told| !told.done.is_empty() || (told.cut_off > 0 || told.not_done > 0) && told.already > 0;
    let missed: Vec<_> = told.iter().filter(|(_, told)| !is_known(told)).collect();
    println!(
        "{} fires: {} bodies started, {} ended well, {} completions confirmed, {} not; {} were told that it already ran, {} of \
         doubt; {} were cut off before that was known; {} fires ran more than once, {} were missed",
        told.len(),
        count(|told| told.started.len()),
        count(|told| told.ended),
        count(|told| told.done.len()),
        count(|told| told.not_done),
        count(|told| told.already),
        count(|told| told.doubt),
        count(|told| told.cut_off),
        ran_again.len(),
        missed.len(),
    );
    for ((job, fire), told) in told {
        let done = told.done.iter().min();
        let again = told.started.iter().find(|started| done.is_some_and(|done| *started > done));
        assert!(
            again.is_none() && told.done.len() <= 1,
            "fire {fire} of {job} started after it was completed: {told:?}"
        );
        assert!(told.ended > 0 || told.already == 0, "nobody ran {job} {fire}, and it is told that it ran: {told:?}");
        // Each run but one was cut off before its mark, or could not be confirmed.
        assert!(told.ended <= 1 + told.cut_off + told.not_done, "{job} {fire}: {told:?}");
    }
    assert!(missed.is_empty(), "missed: {missed:?}");
    ran_again.len()
}

#[test]
fn a_healthy_fleet_runs_every_fire_once() {
    let servers = old_servers();
    let fires = fires();
    let told = Fleet::start(&servers, fires).end(fires);
    assert_eq!(check(&told), 0);
    let calls: usize = told.values().map(|told| told.already + told.started.len()).sum();
    assert_eq!(calls, fires * PROCESSES, "everybody was told, or ran it");
}

#[test]
fn every_fire_is_completed_while_servers_and_processes_are_killed() {
    let servers = old_servers();
    let fires = fires();
    let mut fleet = Fleet::start(&servers, fires);
    let began = monotonic_nanoseconds();
    let over = || Duration::from_nanos(monotonic_nanoseconds() - began) > lasts(fires);
    let random = RandomState::new();
    let (mut round, mut kills, mut hung, mut emptied) = (0, 0, 0, 0);
    while !over() {
        // Longer apart than a server needs to vote again, and to have marks again.
        let server = &servers[round % servers.len()];
        if round % 2 == 0 {
            server.hang();
        } else {
            server.kill();
        }
        for step in 0..24 {
            std::thread::sleep(Duration::from_millis(250));
            if step == 5 && round % 2 == 0 {
                server.resume();
                hung += 1;
            } else if step == 5 {
                server.restart();
                emptied += 1;
            }
            let drawn = random.hash_one((round, step)) % PROCESSES as u64;
            fleet.kill(usize::try_from(drawn).expect("one of few"));
            kills += 1;
            if over() {
                break;
            }
        }
        if round % 2 == 0 {
            server.resume();
        } else if !server.is_running() {
            server.restart();
        }
        round += 1;
    }
    println!("{kills} processes were killed, {hung} servers hung, and {emptied} restarted empty");
    // Without the trouble it is about, it shows nothing.
    let killed_at_work = fleet.killed.iter().filter(|lines| lines.iter().any(|line| line.contains(" start "))).count();
    println!("{killed_at_work} of the killed had run a fire");
    assert!(kills > 0 && hung > 0 && emptied > 0, "{kills} kills, {hung} hung, {emptied} emptied");
    assert!(killed_at_work > 0, "nobody was killed who ran anything");
    let again = check(&fleet.end(fires));
    println!("{again} fires ran once more");
}
