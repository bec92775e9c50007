//! What a server stands still for, and everybody who uses it with it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Probe, RedisServer};

/// A server must not stand still for longer.
pub const STANDSTILL: Duration = Duration::from_millis(5);

/// Looks at the commands that a server takes longer for than [`STANDSTILL`], by its SLOWLOG.
#[derive(Debug)]
pub struct Standstills(Probe);

impl Standstills {
    /// Looks from now on.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    #[track_caller]
    #[must_use]
    pub fn watch(server: &RedisServer) -> Self {
        let probe = server.probe();
        probe.config_set("slowlog-log-slower-than", &STANDSTILL.as_micros().to_string());
        probe.config_set("slowlog-max-len", "10000");
        probe.run::<()>(redis::cmd("SLOWLOG").arg("RESET")).expect("the server answers");
        Self(probe)
    }

    /// The commands that took longer, with their first arguments.
    ///
    /// # Panics
    ///
    /// If the server does not answer as a server does.
    #[track_caller]
    #[must_use]
    pub fn told(self) -> BTreeSet<Vec<String>> {
        let told: Vec<redis::Value> =
            self.0.run(redis::cmd("SLOWLOG").arg("GET").arg(10_000)).expect("the server answers");
        let told = told.into_iter().map(|entry| {
            let redis::Value::Array(entry) = entry else { panic!("{entry:?}") };
            let command: Vec<String> = redis::from_redis_value(entry[3].clone()).expect("a command is text");
            // Behind its keys, a script is told the time, too.
            command.into_iter().take(6).collect()
        });
        told.collect()
    }
}

/// How long a server has computed up to now, by its INFO. Whatever else the machine does meanwhile is not in it.
///
/// # Panics
///
/// If the server does not answer as a server does.
#[track_caller]
#[must_use]
pub fn computed(probe: &Probe) -> Duration {
    let info = probe.info("cpu");
    let seconds = ["used_cpu_user", "used_cpu_sys"].map(|field| info[field].parse::<f64>().expect("seconds"));
    Duration::from_secs_f64(seconds.iter().sum())
}

/// What took longer each of several times: something else on the machine may make any command slow, but not the same one each time.
#[derive(Debug, Default)]
pub struct SlowEachTime {
    /// Slow each time up to now.
    always: BTreeSet<Vec<String>>,
    times: usize,
}

impl SlowEachTime {
    /// So often a busy machine may be in the way.
    const MOST: usize = 12;

    /// Whether to look once more: what was slow may not be so the next time.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.times == 0 || self.times < Self::MOST && !self.always.is_empty()
    }

    /// Notes what was slow this time.
    pub fn note(&mut self, slow: BTreeSet<Vec<String>>) {
        self.always = if self.times == 0 { slow } else { &self.always & &slow };
        self.times += 1;
    }

    /// Checks that nothing was slow each time.
    ///
    /// # Panics
    ///
    /// If a command was.
    #[track_caller]
    pub fn check(self) {
        assert!(!self.is_open(), "after {} times", self.times);
        assert!(self.always.is_empty(), "slower than {STANDSTILL:?} each time: {:?}", self.always);
    }
}
