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

/// Checks that no command took longer each of several times: something else on the machine may have made one slow, but not the same
/// one each time.
///
/// # Panics
///
/// If one did.
#[track_caller]
pub fn check_none_is_slow(times: &[BTreeSet<Vec<String>>]) {
    assert!(times.len() > 1, "one time proves nothing");
    let always = times.iter().skip(1).fold(times[0].clone(), |always, slow| &always & slow);
    assert!(always.is_empty(), "slower than {STANDSTILL:?} each time: {always:?}");
}
