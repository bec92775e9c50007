//! The examples take their nodes from the environment as every program does, whatever stands there.

use std::process::Command;

use redlock_tests::Sentinel;

const EXAMPLES: [&str; 13] = [
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
];

#[test]
fn every_example_runs_with_the_nodes_of_the_environment_whatever_their_urls_have_commas_for() {
    let service = Sentinel::start();
    assert!(service.hosts().contains(','), "several hosts in one URL");
    let nodes = format!("{}, memory://other, memory://another", service.url());
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(|dependencies| dependencies.parent()).unwrap().join("examples");
    let running = EXAMPLES.map(|example| {
        let program = built.join(example);
        assert!(program.exists(), "{example} is not built; run `cargo build -p redlock-examples --examples`");
        let mut command = Command::new(program);
        command.env("REDLOCK_NODES", &nodes).env_remove("CACHE_URL").stdout(std::process::Stdio::piped());
        (example, command.stderr(std::process::Stdio::piped()).spawn().unwrap())
    });
    for (example, program) in running {
        let output = program.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}: {out}{err}");
        assert!(!out.contains("REDLOCK_NODES is not set"), "{example}: {out}");
        assert!(runs_once(example, &out), "{example}: {out}");
    }
    assert!(service.master().probe().command_counts().of("evalsha") > 0, "the service had a vote");
}

/// Whether a job of an example that runs once per fire did so, by what the example printed.
fn runs_once(example: &str, out: &str) -> bool {
    let count = |what: &str| out.matches(what).count();
    match example {
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
        _ => true,
    }
}
