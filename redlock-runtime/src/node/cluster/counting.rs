//! A Redis Cluster as a keeper of counters.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::super::commands::Marker;
use super::super::counting::{Answer, Counted, Counting, Number, Settled};
use super::super::redis::Server;
use super::super::redis::counting::{Counters, count, enlist};
use super::{Cluster, ClusterNode};
use crate::keys::{CounterKeys, Keys};

impl Counting for ClusterNode {
    fn settle(&self, process: &Arc<str>, numbers: Vec<Number>, patience: Duration) -> Answer<Vec<Settled>> {
        let (process, mut everywhere) = (Arc::clone(process), self.everywhere(patience));
        Box::pin(async move { everywhere.settle(&process, &numbers).await })
    }

    fn enlist(&self, counters: Vec<Arc<CounterKeys>>, patience: Duration) -> Answer<()> {
        let mut everywhere = self.everywhere(patience);
        Box::pin(async move { enlist(&mut everywhere, &counters).await })
    }

    fn count(&self, keys: &Keys, patience: Duration) -> Answer<Vec<Counted>> {
        let (keys, mut everywhere) = (keys.clone(), self.everywhere(patience));
        Box::pin(async move { count(&mut everywhere, &keys).await })
    }
}

impl ClusterNode {
    fn everywhere(&self, patience: Duration) -> Everywhere {
        Everywhere { cluster: Arc::clone(&self.cluster), patience }
    }
}

/// The servers of a cluster, each asked for what it has.
struct Everywhere {
    cluster: Arc<Cluster>,
    /// How long a round trip may take.
    patience: Duration,
}

impl Everywhere {
    /// Puts what is about keys of one server to that server, all servers at once, and brings the answers into the order of
    /// the subjects.
    async fn each<T, A, F>(
        &self,
        subjects: &[T],
        key: impl Fn(&T) -> &str,
        ask: impl Fn(Server, Vec<T>) -> F,
    ) -> Result<Vec<Result<A, Arc<str>>>, Arc<str>>
    where
        T: Clone,
        F: Future<Output = Result<Vec<A>, Arc<str>>>,
    {
        let numbered: Vec<_> = subjects.iter().cloned().enumerate().collect();
        let by_server = self.cluster.by_server(numbered, |(_, subject)| key(subject)).await?;
        let (ask, patience) = (&ask, self.patience);
        let asked = by_server.into_iter().map(|(server, theirs)| async move {
            let (positions, theirs): (Vec<usize>, Vec<T>) = theirs.into_iter().unzip();
            let answers = match server.server(patience).await {
                Ok(server) => ask(server, theirs).await,
                Err(reason) => Err(reason),
            };
            (positions, answers)
        });
        let mut answers: Vec<_> = subjects.iter().map(|_| Err(Arc::from("no answer"))).collect();
        let mut is_any_wrong = false;
        for (positions, theirs) in join_all(asked).await {
            is_any_wrong |= theirs.is_err();
            match theirs {
                Ok(theirs) => {
                    for (position, answer) in positions.into_iter().zip(theirs) {
                        answers[position] = Ok(answer);
                    }
                }
                Err(reason) => {
                    for position in positions {
                        answers[position] = Err(Arc::clone(&reason));
                    }
                }
            }
        }
        if is_any_wrong {
            // Perhaps others have these slots now.
            self.cluster.look_again();
        }
        Ok(answers)
    }
}

impl Counters for Everywhere {
    async fn settle(&mut self, process: &str, numbers: &[Number]) -> Result<Vec<Settled>, Arc<str>> {
        let settle = |mut server: Server, numbers: Vec<Number>| async move { server.settle(process, &numbers).await };
        let settled = self.each(numbers, |number| &*number.keys.counter, settle).await?;
        let settled: Vec<Settled> = settled.into_iter().map(|settled| settled.and_then(|settled| settled)).collect();
        if settled.iter().any(Result::is_err) {
            self.cluster.look_again();
        }
        Ok(settled)
    }

    async fn markers(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Marker>, Arc<str>> {
        let markers =
            |mut server: Server, counters: Vec<Arc<CounterKeys>>| async move { server.markers(&counters).await };
        self.each(counters, |keys| &keys.marker, markers).await?.into_iter().collect()
    }

    async fn mark(&mut self, counters: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
        let mark = |mut server: Server, counters: Vec<Arc<CounterKeys>>| async move {
            server.mark(&counters).await?;
            Ok(vec![(); counters.len()])
        };
        self.each(counters, |keys| &keys.marker, mark).await?.into_iter().collect()
    }

    async fn put_in(&mut self, counters: &[Arc<CounterKeys>]) -> Result<(), Arc<str>> {
        let put_in = |mut server: Server, counters: Vec<Arc<CounterKeys>>| async move {
            server.put_in(&counters).await?;
            Ok(vec![(); counters.len()])
        };
        self.each(counters, |keys| &keys.list, put_in).await?.into_iter().collect()
    }

    async fn take_out(&mut self, list: &str, unwanted: &[Arc<CounterKeys>]) -> Result<Vec<String>, Arc<str>> {
        let server = self.cluster.mapped(list).await?;
        let listed = server.server(self.patience).await?.take_out(list, unwanted).await;
        if listed.is_err() {
            self.cluster.look_again();
        }
        listed
    }
}
