use std::time::Instant;

/// Reads the monotonic clock: bounds of waiting and a proxy's delays are real time, whatever the code under test
/// believes the time to be.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness measures real time; only the product takes `now` from its clock.rs"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
