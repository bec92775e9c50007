//! What a request comes to: every setting checked, and what is asked of the nodes.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Kind, LockRequest};
use crate::Error;
use crate::held::owner_label;
use crate::lock::fire::RequestedFire;
use crate::lock::resolved::Resolved;
use crate::lock::shared::check_length;
use crate::platform::{clock, entropy};
use crate::protocol::{Needs, SHORTEST_TTL, slot_order};
use crate::values::name::Name;
use crate::values::permits::{Slots, check_permits};
use crate::values::readers_writers::SharedKeys;
use crate::values::several::{Several, name_of_all};
use crate::values::subject::{self, Subject};

impl LockRequest {
    /// Checks every setting, and takes the time: the acquisition begins, unless it `began` just before, for those who look. The name is
    /// moved out.
    pub(super) fn resolve(&mut self, began: Option<Instant>) -> Result<Resolved, Error> {
        let name = match &self.kind {
            Kind::Several(names) => name_of_all(names)?,
            _ => Name::parse(mem::take(&mut self.name))?,
        };
        if let Some(stats_name) = &self.stats_name {
            Name::parse(stats_name.clone())?;
        }
        if let Some(label) = &self.owner_label {
            owner_label::check(label)?;
        }
        let ttl = self.ttl.unwrap_or(self.shared.ttl);
        self.shared.check_ttl("ttl", ttl)?;
        if let Some(least) = self.min_hold {
            check_length("min_hold", least.max(SHORTEST_TTL))?;
        }
        if let Some(most) = self.max_hold.filter(|most| *most < SHORTEST_TTL) {
            let reason = format!("max_hold of {most:?} ends before it begins; use at least {SHORTEST_TTL:?}");
            return Err(Error::Config { reason });
        }
        let subject = self.subject(&name)?;
        // Also if the holder crashes, the key stays for its least time; unless somebody is to make up for the fire that it ran.
        let least = self.min_hold.filter(|_| self.once.is_none());
        let key_ttl = least.map_or(ttl, |least| least.max(ttl));
        let (min_hold, max_hold) = (self.min_hold, self.max_hold);
        // An earlier moment ends its time earlier, and has a fire later than it is, which leaves less that is evidence.
        let (began, timeout) = (began.unwrap_or_else(clock::now), self.timeout.limit());
        let waits = timeout != Some(Duration::ZERO);
        // A timeout that no clock reaches is none.
        let deadline = timeout.filter(|_| waits).and_then(|timeout| began.checked_add(timeout));
        let resolve = |fire| RequestedFire::resolve(fire, self.once_at, &self.shared, began);
        let fire = self.once.map(resolve).transpose()?;
        let is_simple = self.renew && min_hold.is_none() && fire.is_none() && matches!(subject, Subject::Key(_));
        let passes_on = is_simple && self.passes_on && self.shared.wait_queues.are_passed_on();
        let needs = passes_on.then_some(Needs { ttl });
        Ok(Resolved { needs, name, subject, ttl, key_ttl, min_hold, max_hold, waits, began, deadline, fire })
    }

    /// What is asked for under this name.
    fn subject(&self, name: &Name) -> Result<Subject, Error> {
        if let Some(subject) = self.subject_of_kind(name)? {
            return Ok(subject);
        }
        let Some(permits) = self.permits else { return Ok(Subject::Key(self.shared.keys.lock(name).into())) };
        let permits = check_permits(permits)?;
        if self.once.is_some() {
            let reason =
                "`once` together with `permits`: a fire runs once, so there is nothing to share; omit one of them";
            return Err(Error::Config { reason: reason.to_owned() });
        }
        if let Some(node) = self.node_with_one_key() {
            let reason =
                format!("`permits` needs nodes that grant one of several keys, which the custom node {node} cannot");
            return Err(Error::Config { reason });
        }
        Ok(Subject::any_permit(self.slots(name, permits)))
    }

    /// What is asked for under this name, if it is no plain lock.
    fn subject_of_kind(&self, name: &Name) -> Result<Option<Subject>, Error> {
        let keys = &self.shared.keys;
        let shared = || Arc::new(SharedKeys::new(keys, name));
        let (subject, kind) = match &self.kind {
            Kind::Plain => return Ok(None),
            Kind::Read => (subject::Kind::Reader(shared()), "a lock that readers share"),
            Kind::Write => (subject::Kind::Writer(shared()), "a lock that readers share"),
            Kind::Several(names) => {
                let names: Vec<_> = names.iter().cloned().map(Name::parse).collect::<Result<_, _>>()?;
                let several = Several::new(keys, names)?;
                let several = match self.timeout.limit() {
                    Some(Duration::ZERO) => several,
                    _ => several.awaited(clock::now(), entropy::seed()),
                };
                (subject::Kind::Several(several), "a lock of several names")
            }
        };
        let refused = |reason| Err(Error::Config { reason });
        if self.once.is_some() || self.permits.is_some() {
            let setting = if self.once.is_some() { "once" } else { "permits" };
            return refused(format!("{kind} together with `{setting}`: omit that, or use a plain lock"));
        }
        if let Some(node) = self.node_with_one_key() {
            return refused(format!("{kind} needs nodes with several keys, and the custom node {node} has one"));
        }
        Ok(Some(subject.into()))
    }

    /// A node that has one key for a lock, and so grants neither permits nor locks of other kinds.
    fn node_with_one_key(&self) -> Option<&str> {
        let mut nodes = self.shared.engine.nodes().iter();
        nodes.find(|node| !node.grants_permits()).map(|node| node.label())
    }

    /// The slots of this many permits, or as many more as others say that there are.
    pub(super) fn slots(&self, name: &Name, permits: u8) -> Slots {
        let known = |line: &str| self.shared.others_permits.of(line, clock::now());
        Slots::new(&self.shared.keys, name, permits, known, |count| slot_order(count, entropy::seed()))
    }
}
