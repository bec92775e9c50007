//! What the settings come to, or why they come to nothing.

use std::time::Duration;

use super::LockManagerBuilder;
use crate::Error;
use crate::engine::Engine;
use crate::held::owner_label;
use crate::lock::shared::Shared;
use crate::manager::nodes::config_error;
use crate::node::limits::Limits;
use crate::observe::Observers;
use crate::protocol::{FenceFallback, LONGEST_TTL, MARK_RETENTION, OnceTerms, RETENTION};

impl LockManagerBuilder {
    pub(crate) fn check(self) -> Result<Shared, Error> {
        let times = [
            ("node_timeout", self.node_timeout),
            ("connect_timeout", self.connect_timeout),
            ("longest_ttl", self.longest_ttl),
            ("slow_poll", self.slow_poll),
        ];
        for (setting, value) in times {
            if value.is_zero() || value > LONGEST_TTL {
                return config_error(format!("a {setting} of {value:?} is impossible; use 1 ns to 365 days"));
            }
        }
        let limits = Limits {
            node_timeout: self.node_timeout,
            connect_timeout: self.connect_timeout,
            longest_ttl: self.longest_ttl,
        };
        let (nodes, quorum) = self.nodes.voters(limits, self.fencing)?;
        if let Some(label) = &self.owner_label {
            owner_label::check(label)?;
        }
        let fence_fallback = match self.max_clock_skew {
            // Whoever finds a counter gone knows that it was not used for three quarters of the retention, by any clock.
            Some(max_clock_skew) if max_clock_skew > RETENTION / 2 => {
                return config_error(format!(
                    "a max_clock_skew of {max_clock_skew:?} is too long for the fencing counters; use at most {:?}",
                    RETENTION / 2
                ));
            }
            Some(max_clock_skew) => FenceFallback::TrustClocks { max_clock_skew },
            None => FenceFallback::Refuse,
        };
        if !(MARK_RETENTION..=LONGEST_TTL).contains(&self.marks_retention) {
            return config_error(format!(
                "a marks_retention of {:?} is not possible; use 7 to {} days",
                self.marks_retention,
                LONGEST_TTL.as_secs() / (24 * 60 * 60)
            ));
        }
        let once_terms = OnceTerms {
            retention: self.marks_retention,
            max_clock_skew: self.max_clock_skew.unwrap_or(Duration::MAX),
            in_doubt: self.in_doubt,
        };
        let observers = Observers::new(self.observer, self.most_labels, nodes.iter().map(|node| node.label()));
        let engine = Engine::observed(nodes, quorum, (self.node_timeout, self.longest_ttl), observers);
        let fence_fallback = self.fencing.then_some(fence_fallback);
        let times = (self.slow_poll, self.local_hand_over, self.on_shutdown);
        let (keys, label) = (self.keys, self.owner_label);
        let once = (once_terms, self.time_of_day);
        let shared = Shared::new(engine, keys, (self.ttl, self.longest_ttl), fence_fallback, label, once, times);
        shared.check_ttl("ttl", self.ttl)?;
        Ok(shared)
    }
}
