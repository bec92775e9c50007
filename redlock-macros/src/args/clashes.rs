use syn::{Error, LitBool};

use super::fields::Slots;
use super::name::Name;
use super::time::{Once, Time};

impl Slots {
    /// Faults of arguments that are right by themselves but not beside each other.
    ///
    /// With `is_complete`, an argument that is absent was not written at all.
    pub(super) fn clashes(&self, is_complete: bool) -> impl Iterator<Item = Error> {
        let missing_timeout = if is_complete { self.silent_without_timeout() } else { None };
        let missing_once = if is_complete { self.once_at_without_once() } else { None };
        let kinds = [self.permits_of_a_fire(), self.several_kinds(), self.min_hold_of_a_period()];
        [missing_timeout, missing_once, self.max_hold_without_renewal(), self.min_hold_above_max_hold()]
            .into_iter()
            .chain(kinds)
            .flatten()
    }

    fn once_at_without_once(&self) -> Option<Error> {
        let key = self.once_at.key().filter(|_| self.once.is_absent())?;
        Some(Error::new_spanned(
            key,
            "`once_at` says when a run is marked, and `once` which run that is: add `once = …`",
        ))
    }

    fn permits_of_a_fire(&self) -> Option<Error> {
        let key = self.permits.key().filter(|_| !self.once.is_absent())?;
        let message = "`permits` lets several calls run at once, and `once` lets each fire run once: omit one of them";
        Some(Error::new_spanned(key, message))
    }

    /// A lock is of one kind.
    fn several_kinds(&self) -> Option<Error> {
        let of_several = matches!(self.name.get(), Some(Name::Several(_)));
        let kind = match self.mode.key() {
            Some(key) if of_several => {
                let message = "`mode` is for a lock that readers share, and those of several names are plain locks: omit it, or \
                               write one name";
                return Some(Error::new_spanned(key, message));
            }
            Some(_) => "a lock that readers share",
            None if of_several => "a lock of several names",
            None => return None,
        };
        let key = self.permits.key().or_else(|| self.once.key())?;
        Some(Error::new_spanned(key, format!("`{key}` is for a plain lock, and this is {kind}: omit one of them")))
    }

    fn silent_without_timeout(&self) -> Option<Error> {
        if !self.timeout.is_absent() {
            return None;
        }
        if let Some(key) = self.once.key() {
            let message = "`once` needs a `timeout`: with `-1` the others leave, and a run whose machine dies is lost; with N \
                           they stand by for N seconds, `0` for as long as it takes, and make up for a run that fails";
            return Some(Error::new_spanned(key, message));
        }
        let key = self.silent.key().or_else(|| self.skip_value.key())?;
        let message = format!(
            "`{key}` says what happens when the lock is not acquired, so it needs a `timeout`: \
             `-1` skips at once, `0` waits for ever, N gives up after N seconds"
        );
        Some(Error::new_spanned(key, message))
    }

    fn max_hold_without_renewal(&self) -> Option<Error> {
        let (Some(LitBool { value: false, .. }), Some(key)) = (self.renew.get(), self.max_hold.key()) else {
            return None;
        };
        let message = "`max_hold` says when renewal stops, and `renew = false` never starts it: \
                       omit one of them";
        Some(Error::new_spanned(key, message))
    }

    fn min_hold_above_max_hold(&self) -> Option<Error> {
        match (self.min_hold.get(), self.max_hold.get()) {
            (Some(Time::Literal(min, span)), Some(Time::Literal(max, _))) if min > max => {
                Some(Error::new(*span, "`min_hold` is longer than `max_hold`"))
            }
            _ => None,
        }
    }

    /// Calls of one fire come within half a period, and those of the next one as early as half a period after it.
    fn min_hold_of_a_period(&self) -> Option<Error> {
        match (self.min_hold.get(), self.once.get()) {
            (Some(Time::Literal(min, span)), Some(Once::Period(period, _))) if min >= period => {
                let message = "`min_hold` keeps the lock for the whole period of `once`, so that every other fire finds it held: omit it, \
                               because `once` lets each fire run once without it";
                Some(Error::new(*span, message))
            }
            _ => None,
        }
    }
}
