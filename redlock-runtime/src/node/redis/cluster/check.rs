//! A Redis Cluster, all of whose masters are looked at and tried out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Cluster, ClusterNode};
use crate::node::Voter;
use crate::node::check::{Examination, Examining, Trial};
use crate::node::counters::Answer;
use crate::node::redis::RedisNode;

/// So many names are tried until one is found for each master; a master with very few slots may have none of them.
const NUMBERS: u32 = 10_000;

impl Examining for ClusterNode {
    fn examine(&self, trial: Trial, reply_timeout: Duration) -> Answer<Vec<Examination>> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            // Any key will do: this is to know the servers.
            cluster.mapped(&trial.key(0)).await?;
            cluster.looked_again().await;
            let examined = cluster.masters_with_numbers(&trial).into_iter().map(|(server, number)| {
                let examined = server.examine_with(trial.clone(), number, reply_timeout);
                async move { examined.await.map_err(|reason| format!("{}: {reason}", server.label()).into()) }
            });
            join_all(examined).await.into_iter().collect()
        })
    }
}

impl Cluster {
    /// Each master with the number of a trial whose keys it has.
    fn masters_with_numbers(&self, trial: &Trial) -> Vec<(Arc<RedisNode>, u32)> {
        let mut numbered: Vec<(Arc<RedisNode>, u32)> = Vec::new();
        let masters = self.masters().len();
        for number in 0..NUMBERS {
            if numbered.len() == masters {
                break;
            }
            if let Some(owner) = self.owner(&trial.key(number))
                && !numbered.iter().any(|(other, _)| Arc::ptr_eq(other, &owner))
            {
                numbered.push((owner, number));
            }
        }
        numbered
    }
}
