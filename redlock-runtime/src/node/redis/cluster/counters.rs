//! A Redis Cluster as a keeper of counters.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::super::commands::Marker;
use super::{Cluster, ClusterNode};
use crate::node::counters::{Answer, Counted, Counting, Number, Recorded, Unwanted};
use crate::node::redis::Server;
use crate::node::redis::counters::{Counters, count, enlist};
use crate::values::keys::{CounterKeys, Keys};

impl Counting for ClusterNode {
    fn record(&self, process: &Arc<str>, numbers: Vec<Number>, reply_timeout: Duration) -> Answer<Vec<Recorded>> {
        let (process, mut everywhere) = (Arc::clone(process), self.everywhere(reply_timeout));
        Box::pin(async move { everywhere.record(&process, &numbers).await })
    }

    fn count_others(&self, keys: Arc<CounterKeys>, reply_timeout: Duration) -> Answer<i64> {
        let everywhere = self.everywhere(reply_timeout);
        Box::pin(async move {
            let keys = &keys;
            everywhere.at(&keys.counter, |mut server| async move { server.count_others(keys).await }).await
        })
    }

    fn enlist(&self, counters: Vec<Arc<CounterKeys>>, keys: &Keys, reply_timeout: Duration) -> Answer<()> {
        let (keys, mut everywhere) = (keys.clone(), self.everywhere(reply_timeout));
        Box::pin(async move { enlist(&mut everywhere, &counters, &keys).await })
    }

    fn count(&self, keys: &Keys, reply_timeout: Duration) -> Answer<Vec<Counted>> {
        let (keys, mut everywhere) = (keys.clone(), self.everywhere(reply_timeout));
        Box::pin(async move { count(&mut everywhere, &keys).await })
    }
}

impl ClusterNode {
    fn everywhere(&self, reply_timeout: Duration) -> Everywhere {
        Everywhere { cluster: Arc::clone(&self.cluster), reply_timeout }
    }
}

/// The servers of a cluster, each asked for what it has.
struct Everywhere {
    cluster: Arc<Cluster>,
    /// How long a round trip may take.
    reply_timeout: Duration,
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
        let (ask, reply_timeout) = (&ask, self.reply_timeout);
        let asked = by_server.into_iter().map(|(server, theirs)| async move {
            let (positions, theirs): (Vec<usize>, Vec<T>) = theirs.into_iter().unzip();
            let answers = match server.server(reply_timeout).await {
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

    /// Asks the server that has this key.
    async fn at<T, F>(&self, key: &str, ask: impl FnOnce(Server) -> F) -> Result<T, Arc<str>>
    where
        F: Future<Output = Result<T, Arc<str>>>,
    {
        let server = self.cluster.mapped(key).await?;
        let answer = ask(server.server(self.reply_timeout).await?).await;
        if answer.is_err() {
            self.cluster.look_again();
        }
        answer
    }
}

impl Counters for Everywhere {
    async fn record(&mut self, process: &str, numbers: &[Number]) -> Result<Vec<Recorded>, Arc<str>> {
        let record = |mut server: Server, numbers: Vec<Number>| async move { server.record(process, &numbers).await };
        let recorded = self.each(numbers, |number| &*number.keys.counter, record).await?;
        let recorded: Vec<Recorded> =
            recorded.into_iter().map(|recorded| recorded.and_then(|recorded| recorded)).collect();
        if recorded.iter().any(Result::is_err) {
            self.cluster.look_again();
        }
        Ok(recorded)
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

    async fn peek(&mut self, counters: &[Arc<CounterKeys>]) -> Result<Vec<Recorded>, Arc<str>> {
        let peek = |mut server: Server, counters: Vec<Arc<CounterKeys>>| async move { server.peek(&counters).await };
        let read = self.each(counters, |keys| &*keys.counter, peek).await?;
        Ok(read.into_iter().map(|counter| counter.and_then(|counter| counter)).collect())
    }

    async fn length(&mut self, list: &str) -> Result<usize, Arc<str>> {
        self.at(list, |mut server| async move { server.length(list).await }).await
    }

    async fn entries(&mut self, list: &str, positions: Range<usize>) -> Result<Vec<Arc<[u8]>>, Arc<str>> {
        self.at(list, |mut server| async move { server.entries(list, positions).await }).await
    }

    async fn take_out(&mut self, list: &str, unwanted: &[Unwanted]) -> Result<(), Arc<str>> {
        self.at(list, |mut server| async move { server.take_out(list, unwanted).await }).await
    }
}
