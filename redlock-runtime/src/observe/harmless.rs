use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls what others wrote: an observer, a recorder of metrics, a subscriber of events. A panic in it ends there, because whoever tells of a
/// lock may be on the way to holding it, or about to release it, and may be unwinding already. Whether it panicked; the program's panic hook
/// has told of it.
pub(crate) fn harmless(tell: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(tell)).is_err()
}
