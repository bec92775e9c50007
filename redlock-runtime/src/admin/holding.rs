use std::sync::Arc;

use crate::Error;
use crate::lock::shared::Shared;
use crate::node::inspect::{LockRecord, RecordedLabel};
use crate::protocol::{Census, LockState, Quorum, Sighting};
use crate::values::keys::Keys;
use crate::values::name::Name;

/// Who has a key, by what the nodes that answered have under it.
pub(super) struct Holding<'a> {
    /// The keys, counted.
    pub(super) census: Census<'a>,
    /// What its owner noted about itself, if a majority has its key: else it would say that the owner holds the lock.
    pub(super) label: Option<&'a RecordedLabel>,
    /// The owner's fencing token, if it noted one.
    pub(super) fencing_token: Option<u64>,
}

/// Asks all nodes who has the lock of this name, and says what follows; [`Error::QuorumUnreachable`] if too few answered, or if what
/// follows depends on those that did not (`None`).
pub(super) async fn ask_who_holds<T>(
    shared: &Shared,
    name: &Name,
    then: impl FnOnce(Holding<'_>) -> Option<T>,
) -> Result<T, Error> {
    let (engine, quorum) = (&shared.engine, shared.engine.quorum());
    let keys = Arc::new(Keys::around(&shared.keys.lock(name).into()));
    let (answers, failures) = engine
        .survey_all(|_, node| {
            let (keys, reply_timeout) = (Arc::clone(&keys), engine.node_timeout());
            async move { node.look(keys, reply_timeout).await }
        })
        .await;
    let records: Vec<_> = answers.iter().map(|(_, record)| record.as_ref()).collect();
    let holding = Holding::of(quorum, &records);
    let (votes, is_answered) = (holding.census.votes, records.len() >= quorum.needed());
    let follows = is_answered.then(|| then(holding)).flatten();
    follows.ok_or_else(|| engine.unreachable(name, votes, failures))
}

impl<'a> Holding<'a> {
    /// That a majority has the key of one owner, or that none can have it; `None` if that depends on nodes that did not answer.
    pub(super) fn is_held(&self) -> Option<bool> {
        (!self.census.may_be_held).then_some(self.census.state == LockState::Held)
    }

    /// `None` is a node without the key.
    pub(super) fn of(quorum: Quorum, records: &[Option<&'a LockRecord>]) -> Self {
        let sighting = |record: &'a LockRecord| Sighting { owner: &record.owner, remaining: record.remaining };
        let sightings: Vec<_> = records.iter().map(|record| record.map(sighting)).collect();
        let census = Census::of(quorum, &sightings);
        let owner = census.owner.filter(|_| census.state == LockState::Held);
        let of_owner = records.iter().copied().flatten().filter(|record| Some(&*record.owner) == owner);
        let labels: Vec<_> = of_owner.filter_map(|record| record.label.as_ref()).collect();
        let tokens = labels.iter().map(|label| label.fencing_token).filter(|token| *token > 0);
        Self { census, label: labels.first().copied(), fencing_token: tokens.max() }
    }
}
