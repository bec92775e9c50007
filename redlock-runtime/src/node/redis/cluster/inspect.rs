//! A Redis Cluster's locks, as people see them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::ClusterNode;
use crate::node::counters::Answer;
use crate::node::inspect::{
    Cursor, Deleted, Inspecting, Listed, LockRecord, OwnerLabel, Page, PermitsRecord, SharedRecord,
};
use crate::node::redis::RedisNode;
use crate::protocol::StoredMark;
use crate::values::keys::LockKeys;

impl Inspecting for ClusterNode {
    fn record_labels(&self, labels: Vec<OwnerLabel>, reply_timeout: Duration) -> Answer<()> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            let by_server = cluster.by_server(labels, |label| &label.keys.lock).await?.into_iter();
            let each =
                by_server.map(|(server, labels)| async move { server.record_labels(labels, reply_timeout).await });
            // A server that hangs keeps the others from nothing.
            let answer: Result<(), _> = join_all(each).await.into_iter().collect();
            if answer.is_err() {
                // Perhaps others have these slots now.
                cluster.look_again();
            }
            answer
        })
    }

    fn look(&self, keys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<Option<LockRecord>> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            let server = cluster.mapped(&keys.lock).await?;
            if let Ok(record) = server.look(Arc::clone(&keys), reply_timeout).await {
                return Ok(record);
            }
            cluster.looked_again().await;
            cluster.mapped(&keys.lock).await?.look(keys, reply_timeout).await
        })
    }

    fn permits(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<PermitsRecord> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            if let Ok(permits) = cluster.mapped(&lock).await?.permits(Arc::clone(&lock), reply_timeout).await {
                return Ok(permits);
            }
            cluster.looked_again().await;
            cluster.mapped(&lock).await?.permits(lock, reply_timeout).await
        })
    }

    fn shared(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<SharedRecord> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            if let Ok(shared) = cluster.mapped(&lock).await?.shared(Arc::clone(&lock), reply_timeout).await {
                return Ok(shared);
            }
            cluster.looked_again().await;
            cluster.mapped(&lock).await?.shared(lock, reply_timeout).await
        })
    }

    fn watch(&self, keys: Vec<Arc<str>>, reply_timeout: Duration) -> Answer<()> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            let Some(any) = keys.first() else { return Ok(()) };
            cluster.mapped(any).await?.watch(keys, reply_timeout).await
        })
    }

    /// One server after the other, each to its end.
    fn page(&self, wanted: Listed, from: Cursor, reply_timeout: Duration) -> Answer<Page> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            // Any key will do: this is to know the servers.
            cluster.mapped("").await?;
            if from == Cursor::default() {
                cluster.looked_again().await;
            }
            let servers = cluster.masters();
            let Some(server) = servers.get(from.server) else { return Ok(Page::default()) };
            let page = server.page(wanted, from, reply_timeout).await?;
            let following = Cursor { server: from.server + 1, at: 0 };
            let next = page.next.or_else(|| (following.server < servers.len()).then_some(following));
            Ok(Page { next, ..page })
        })
    }

    fn mark(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<Option<StoredMark>> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            if let Ok(mark) = cluster.mapped(&lock).await?.mark(Arc::clone(&lock), reply_timeout).await {
                return Ok(mark);
            }
            cluster.looked_again().await;
            cluster.mapped(&lock).await?.mark(lock, reply_timeout).await
        })
    }

    fn reset_mark(&self, lock: Arc<str>, retention: Duration, reply_timeout: Duration) -> Answer<bool> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            let reset = |server: Arc<RedisNode>| server.reset_mark(Arc::clone(&lock), retention, reply_timeout);
            if let Ok(was_there) = reset(cluster.mapped(&lock).await?).await {
                return Ok(was_there);
            }
            cluster.looked_again().await;
            reset(cluster.mapped(&lock).await?).await
        })
    }

    fn reset(&self, locks: Vec<Arc<LockKeys>>, reply_timeout: Duration) -> Answer<Vec<Deleted>> {
        let cluster = Arc::clone(&self.cluster);
        Box::pin(async move {
            let mut deleted = Vec::with_capacity(locks.len());
            for lock in locks {
                let reset = |server: Arc<RedisNode>| server.reset(vec![Arc::clone(&lock)], reply_timeout);
                let mut answer = reset(cluster.mapped(&lock.lock).await?).await;
                if !matches!(answer.as_deref(), Ok([Ok(_)])) {
                    cluster.looked_again().await;
                    answer = reset(cluster.mapped(&lock.lock).await?).await;
                }
                deleted.push(answer.and_then(|mut answer| answer.pop().unwrap_or_else(|| Err(Arc::from("no answer")))));
            }
            Ok(deleted)
        })
    }
}
