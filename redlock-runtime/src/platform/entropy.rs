//! The one place that draws random numbers.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use uuid::{Builder, Uuid};

use super::process;

/// A value that no other owner has or had: a random UUID of version 4, in text.
pub(crate) fn fresh_owner() -> Arc<str> {
    let mut text = Uuid::encode_buffer();
    Arc::from(&*drawn_ahead().hyphenated().encode_lower(&mut text))
}

/// A seed for jitter.
pub(crate) fn seed() -> u64 {
    random().as_u64_pair().0
}

/// One of several that were drawn in one call of the system, which takes longer than all the rest of an owner's value.
fn drawn_ahead() -> Uuid {
    #[cfg(redlock_simulated)]
    if crate::platform::simulated::is_on() {
        return random();
    }
    // A thread that is ending has none left.
    DRAWN.try_with(|drawn| drawn.borrow_mut().next()).ok().flatten().unwrap_or_else(random)
}

thread_local! {
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { process: 0, bytes: [[0; 16]; AT_ONCE], left: 0 }) };
}

/// So many are drawn at once.
const AT_ONCE: usize = 32;

/// Random bytes that nobody has had.
struct Drawn {
    /// The process that has drawn them: a child that was forked has the same ones, and must not use them.
    process: u32,
    bytes: [[u8; 16]; AT_ONCE],
    /// How many are left, at the front.
    left: usize,
}

impl Drawn {
    /// `None` where the system gives no more than one at once.
    fn next(&mut self) -> Option<Uuid> {
        // Asked of the system in this poll, not as it was noted: what depends on it is that no two owners are the same.
        let process = process::id_in_this_poll();
        if self.left == 0 || self.process != process {
            *self = Self { process, left: fill(&mut self.bytes)?, ..*self };
        }
        self.left -= 1;
        // Nobody finds it here later.
        let bytes = mem::take(&mut self.bytes[self.left]);
        Some(Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// How many were drawn; `None` if the system has none to give at this moment.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn fill(bytes: &mut [[u8; 16]; AT_ONCE]) -> Option<usize> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let wanted = bytes.as_flattened_mut();
    let drawn = getrandom(&mut *wanted, GetRandomFlags::empty()).ok()?;
    // A signal may have ended it early.
    Some(drawn / 16).filter(|drawn| *drawn > 0)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn fill(_: &mut [[u8; 16]; AT_ONCE]) -> Option<usize> {
    None
}

fn random() -> Uuid {
    #[cfg(redlock_simulated)]
    if let Some(bytes) = crate::platform::simulated::random() {
        return Builder::from_random_bytes(bytes).into_uuid();
    }
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_owners_are_the_same_whichever_threads_draw_them() {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| (0..100).map(|_| fresh_owner()).collect::<Vec<_>>())).collect();
        let owners: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(owners.iter().collect::<HashSet<_>>().len(), owners.len());
        for owner in owners {
            let uuid = Uuid::parse_str(&owner).unwrap();
            assert_eq!((uuid.get_version_num(), uuid.get_variant()), (4, uuid::Variant::RFC4122), "{owner}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn what_another_process_has_drawn_is_not_used() {
        let left = [[7; 16]; AT_ONCE];
        let mut drawn = Drawn { process: std::process::id() ^ 1, bytes: left, left: AT_ONCE };
        let parents = Builder::from_random_bytes([7; 16]).into_uuid();
        let own: HashSet<_> = (0..3 * AT_ONCE).filter_map(|_| drawn.next()).collect();
        assert_eq!(own.len(), 3 * AT_ONCE);
        assert!(!own.contains(&parents));
    }
}
