use std::time::Duration;

/// Growing pauses with full jitter, for ever.
// Source: "equal jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: half of the
// pause is fixed, so it is never zero; the other half is random, so that contenders drift apart.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The pause before jitter, of the next step.
    pause: Duration,
    /// The pause before jitter that is not exceeded.
    longest: Duration,
    /// State of the generator.
    seed: u64,
}

impl Backoff {
    /// Pauses that double from `first` up to `longest`; the same seed gives the same pauses.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { pause: first, longest, seed }
    }

    // Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn next_random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let half = self.pause / 2;
        // 32 bits are enough to spread a pause, and multiply with a Duration without overflow.
        let random = u32::try_from(self.next_random() >> 32).unwrap_or(u32::MAX);
        let jitter = half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.pause = (self.pause * 2).min(self.longest);
        Some(half + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_never_zero_and_never_above_the_longest() {
        let first = Duration::from_millis(20);
        let longest = Duration::from_secs(1);
        for seed in 0..1000 {
            for pause in Backoff::new(first, longest, seed).take(12) {
                assert!(pause >= first / 2 && pause <= longest, "{pause:?} with seed {seed}");
            }
        }
    }

    #[test]
    fn contenders_with_different_seeds_drift_apart() {
        let pauses = |seed| Backoff::new(Duration::from_millis(20), Duration::from_secs(1), seed).take(4);
        assert!(pauses(1).ne(pauses(2)));
        assert!(pauses(1).eq(pauses(1)));
    }
}
