//! What servers did.

use redlock_tests::Servers;

/// What some servers together did since they were started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How many scripts clients had them run.
    pub(crate) commands: f64,
    /// Seconds of processor time.
    pub(crate) processor: f64,
}

impl Effort {
    pub(crate) fn of(servers: &Servers) -> Self {
        let mut all = Self { commands: 0.0, processor: 0.0 };
        for server in servers {
            let counts = server.probe().command_counts();
            #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
            let commands = ["evalsha", "eval"].iter().map(|command| counts.of(command)).sum::<u64>() as f64;
            let processor = server.probe().info("cpu");
            let seconds = |field: &str| processor.get(field).and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
            all.commands += commands;
            all.processor += seconds("used_cpu_user") + seconds("used_cpu_sys");
        }
        all
    }
}
