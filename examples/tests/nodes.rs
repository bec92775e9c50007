//! The examples take their nodes from the environment as every program does, whatever stands there.

use std::process::Command;

use redlock_runtime::observe::names::{ALL, RENEWAL_FAILURES};
use redlock_tests::Sentinel;
use redlock_tests::process::example;

const EXAMPLES: [&str; 14] = [
    "quickstart",
    "nightly_report",
    "cron_once",
    "queue_job",
    "http_handler",
    "waiting_room",
    "cache_stampede",
    "fenced_writes",
    "leader",
    "observed",
    "doctor",
    "lock_layer",
    "migrations",
    "threads",
];

#[test]
fn every_example_runs_with_the_nodes_of_the_environment_whatever_their_urls_have_commas_for() {
    let service = Sentinel::start();
    assert!(service.hosts().contains(','), "several hosts in one URL");
    let nodes = format!("{}, memory://other, memory://another", service.url());
    let running = EXAMPLES.map(|name| {
        let mut command = Command::new(example(name));
        command.env("REDLOCK_NODES", &nodes).env_remove("CACHE_URL").stdout(std::process::Stdio::piped());
        (name, command.stderr(std::process::Stdio::piped()).spawn().unwrap())
    });
    for (example, program) in running {
        let output = program.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}: {out}{err}");
        assert!(!out.contains("REDLOCK_NODES is not set"), "{example}: {out}");
        assert!(prints_what_it_shows(example, &out), "{example}: {out}{err}");
    }
    assert!(service.master().probe().command_counts().of("evalsha") > 0, "the service had a vote");
}

/// Whether an example printed what it is there to show: a job that runs once per fire did so, say, or one of several callers was refused.
fn prints_what_it_shows(example: &str, out: &str) -> bool {
    let count = |what: &str| out.matches(what).count();
    match example {
        "quickstart" => {
            // On a busy machine Bea may come when Ada has gone.
            let bea = count("Bea: gave up on invoice:7 after") + count("Bea: paid, gives it back");
            count("Ada: paid, gives it back") == 1 && bea == 1 && count("Cem: paid, gives it back") == 1
        }
        "waiting_room" => {
            let looks = out.lines().filter(|line| line.starts_with("waiting: dentist ") && line.contains(", barber "));
            looks.count() > 0 && count("everybody was served") == 1
        }
        "cache_stampede" => count("50 callers have the value; 1 of them computed it") == 1,
        "fenced_writes" => {
            count("Bea has the lock, with token ") == 1
                && count("Ada wakes up and writes: Err(\"token ") == 1
                && count("the report is Bea's") == 1
        }
        "leader" => {
            // One of the nodes is in memory.
            let lines = [
                "this one leads alone",
                "leads ",
                "others see that Some(\"the only one\") leads",
                "nobody leads any more",
            ];
            lines.iter().all(|line| count(line) > 0)
        }
        "observed" => {
            let lines = |text: &str| out.lines().filter(|line| *line == text).count();
            let refused =
                out.lines().filter(|line| line.starts_with("lock `invoice:7` ") && line.contains("held elsewhere"));
            // Of those that count what went wrong a loss counts from zero on, and no renewal failed.
            let exported = ALL.iter().map(|(name, _)| *name).filter(|name| *name != RENEWAL_FAILURES);
            let missing: Vec<_> = exported.filter(|name| count(&format!("# TYPE {name} ")) != 1).collect();
            assert!(missing.is_empty(), "{missing:?} are missing");
            lines("done") == 4 && refused.count() == 1
        }
        "doctor" => {
            let rows = ["redis+sentinel://", "memory://other", "memory://another"];
            rows.iter().all(|row| count(row) > 0) && count("unusable") == 0
        }
        "lock_layer" => {
            // Whichever comes first.
            let twice =
                count("200 OK and 409 Conflict; another: 200 OK") + count("409 Conflict and 200 OK; another: 200 OK");
            twice == 1
        }
        "migrations" => {
            let once = (1..=3).all(|version| count(&format!(" migrates to version {version}\n")) == 1);
            once && count(" serves requests") == 3 && count(", after it migrated") == 1
        }
        "threads" => count(", with token ") == 4 && count("the balance is 40\n") == 1,
        "nightly_report" => count(": done, the report has") == 1 && count(": skipped, it already ran") == 2,
        "cron_once" => {
            // Of the two calls of each fire one runs to its end, and the other comes too late or failed before it.
            let (ran, skipped, failed) = (count(": done"), count(": already ran ("), count(": failed, "));
            let summary = format!("{ran} fires at 2 workers: {ran} ran, {skipped} already ran, {failed} did not");
            ran > 0 && ran == skipped + failed && out.contains(&summary)
        }
        "queue_job" => {
            // Each order comes twice: one is billed, and the other comes too late or failed before it.
            let of = |order: usize, end: &str| {
                out.lines().filter(|line| line.starts_with(&format!("order {order}:")) && line.contains(end)).count()
            };
            let is_billed_once = |order| {
                of(order, "is done") == 1 && of(order, "skips it, it already ran") + of(order, ": failed, ") == 1
            };
            (1..=10).all(is_billed_once) && count("is done") == 10
        }
        "http_handler" => count("invoice 7 is paid") == 1 && count(" 409 ") == 1 && count("invoice 8 is paid") == 1,
        _ => panic!("it is not said what {example} prints"),
    }
}
