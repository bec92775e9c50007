//! Who leads, as it is told: never what nobody can know, whoever looks and however often that is dropped; and what a leader's body may do.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redlock_runtime::node::{Acquire, BoxFuture, Extend, Held, Node, NodeError, Outcome, Release, Vote};
use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, Leadership, LockManager, LockManagerBuilder};
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually_async};
use tokio::sync::{Notify, watch};

use crate::common::key;

/// A manager of three nodes in memory, and these.
fn nodes(prefix: &str) -> (LockManagerBuilder, [MemoryNode; 3]) {
    let names = ["a", "b", "c"].map(|node| format!("{prefix}-{node}"));
    let builder = LockManager::builder().nodes(names.each_ref().map(|name| format!("memory://{name}")));
    (builder, names.each_ref().map(|name| MemoryNode::named(name)))
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it comes soon")
}

/// Nobody knows who leads where those who could say it do not answer.
#[tokio::test]
async fn that_nobody_leads_is_only_said_where_a_majority_knows() {
    let (builder, [a, _b, c]) = nodes("unknown");
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    c.go_down();
    let guard = locks.lock("x").ttl(Duration::from_secs(120)).acquire().await.unwrap();
    assert!(others.leader("x").await.unwrap().is_some());
    c.recover();
    a.go_down();
    assert!(matches!(others.leader("x").await, Err(Error::QuorumUnreachable { .. })));
    let mut watch = others.lead("x").watch();
    assert!(tokio::time::timeout(Duration::from_secs(3), watch.next()).await.is_err(), "nothing is known");
    a.recover();
    let Some(Ok(Leadership::Following { .. })) = soon(watch.next()).await else { panic!("another leads") };
    drop(guard);
}

/// A call that is dropped begins nothing anew: its pauses go on, and so does its campaign.
#[tokio::test]
async fn a_watch_that_is_dropped_again_and_again_misses_nothing() {
    let (builder, [a, b, c]) = nodes("dropped");
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let held = others.lock("x").acquire().await.unwrap();
    let mut watch = locks.lead("x").watch();
    let Some(Ok(Leadership::Following { label })) = soon(watch.next()).await else { panic!("another leads") };
    // On a busy machine it is labelled before anybody looks.
    if label.is_none() {
        let Some(Ok(Leadership::Following { label: Some(_) })) = soon(watch.next()).await else {
            panic!("it has a label")
        };
    }
    for node in [&a, &b, &c] {
        node.give_to(&key("x"), "other", Duration::from_secs(60));
    }
    let item = soon(async {
        loop {
            if let Ok(item) = tokio::time::timeout(Duration::from_millis(100), watch.next()).await {
                return item;
            }
        }
    });
    let Some(Ok(Leadership::Following { label: None })) = item.await else { panic!("who else leads said nothing") };
    drop(held);

    [&a, &b, &c].into_iter().for_each(MemoryNode::flush);
    eventually_async("it leads, while nobody calls", async || {
        others.leader("x").await.unwrap().is_some_and(|leader| leader.fencing_token.is_some())
    })
    .await;
    let Some(Ok(Leadership::Leading(term))) = soon(watch.next()).await else { panic!("it leads") };
    term.resign();
    drop(term);
    let leads_again = soon(async {
        loop {
            if let Ok(item) = tokio::time::timeout(Duration::from_millis(30), watch.next()).await {
                return item;
            }
        }
    });
    let Some(Ok(Leadership::Leading(_))) = leads_again.await else { panic!("it leads again") };
}

/// A node that knows nothing of anybody's lock, and hangs from some moment on.
#[derive(Clone, Default)]
struct Hangs {
    hangs: Arc<watch::Sender<bool>>,
    /// That it is looked at while it hangs.
    is_looked_at: Arc<Notify>,
}

impl Hangs {
    async fn unless_it_hangs<T>(&self, answer: Result<T, NodeError>) -> Result<T, NodeError> {
        let _ = self.hangs.subscribe().wait_for(|hangs| !hangs).await;
        answer
    }

    fn refuses<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, NodeError>> {
        Box::pin(self.unless_it_hangs(Err(NodeError::answered("it votes for nobody"))))
    }
}

impl Node for Hangs {
    fn label(&self) -> &'static str {
        "one that hangs"
    }

    fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        self.refuses()
    }

    fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        self.refuses()
    }

    fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        self.refuses()
    }

    fn inspect(&self, _: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
        if *self.hangs.borrow() {
            self.is_looked_at.notify_one();
        }
        Box::pin(self.unless_it_hangs(Ok(None)))
    }
}

/// While the nodes are asked who leads, one of which hangs, the campaign goes on.
#[tokio::test]
async fn a_campaign_goes_on_while_it_is_looked_who_leads() {
    let c = Hangs::default();
    let builder = LockManager::builder().nodes(["a", "b"].map(|name| format!("memory://slow-look-{name}")));
    let builder = builder.node(c.clone()).node_timeout(LIMIT);
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let held = others.lock("x").acquire().await.unwrap();
    let mut watch = locks.lead("x").watch();
    let Some(Ok(Leadership::Following { .. })) = soon(watch.next()).await else { panic!("another leads") };
    c.hangs.send_replace(true);
    let ends = async {
        soon(c.is_looked_at.notified()).await;
        held.release().await.unwrap();
    };
    let leads = async {
        loop {
            if let Leadership::Leading(term) = watch.next().await.unwrap().unwrap() {
                return term;
            }
        }
    };
    let ((term, took), ()) = tokio::join!(timed(leads), ends);
    assert!(term.is_leader() && took < LIMIT / 2, "{took:?}");
    c.hangs.send_replace(false);
}

/// Another term of who leads already is told, and that this process leads no more, whether it has dropped its term or not.
#[tokio::test]
async fn a_watch_tells_another_term_of_the_same_leader_and_the_loss_of_its_own() {
    let (builder, nodes) = nodes("terms");
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    // On one thread, so that nobody comes between.
    let leads = async || {
        nodes.iter().for_each(MemoryNode::flush);
        let another = others.lock("x").owner_label("another").try_acquire().await.unwrap().expect("nobody was quicker");
        eventually_async("its label is noted", async || {
            let leader = others.leader("x").await.unwrap();
            leader.is_some_and(|leader| leader.fencing_token == Some(another.fencing_token()))
        })
        .await;
        another
    };
    let first = leads().await;
    let mut watch = locks.lead("x").watch();
    let mut follows = async || match soon(watch.next()).await {
        Some(Ok(Leadership::Following { label })) => label,
        other => panic!("{other:?}"),
    };
    assert_eq!(follows().await.as_deref(), Some("another"));
    let second = leads().await;
    assert_eq!(follows().await.as_deref(), Some("another"));
    assert!(!first.is_valid());

    second.release().await.unwrap();
    let term = soon(async {
        loop {
            if let Leadership::Leading(term) = watch.next().await.unwrap().unwrap() {
                return term;
            }
        }
    });
    let term = term.await;
    for node in &nodes {
        node.give_to(&key("x"), "somebody", Duration::from_secs(120));
    }
    let Some(Ok(Leadership::Following { label: None })) = soon(watch.next()).await else { panic!("somebody leads") };
    assert!(!term.is_leader());
}

/// A body that asks for the lock that it leads by would wait for itself.
#[test]
fn a_leader_that_blocks_is_told_that_it_would_wait_for_itself() {
    let (builder, _nodes) = nodes("itself");
    let locks = builder.build().unwrap();
    let inner = locks.clone();
    let lead = locks.lead("x").run_blocking(|term| {
        let asked = inner.lock("x").timeout(LIMIT).acquire_blocking();
        assert!(matches!(asked, Err(Error::WouldDeadlock { .. })), "{asked:?}");
        let locks = inner.clone();
        std::thread::spawn(move || locks.shutdown_blocking());
        while term.is_leader() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok::<_, Error>(())
    });
    lead.unwrap();
}

/// A body that returns at once lets others of its runtime run, and is not run more often than ten times a second; and a shutdown ends
/// the pause behind one that failed.
#[tokio::test]
async fn a_body_that_returns_at_once_keeps_nobody_busy() {
    let (builder, _nodes) = nodes("at-once");
    let locks = builder.clone().build().unwrap();
    let terms = AtomicUsize::new(0);
    let leading = locks.lead("x").run(async |_| {
        terms.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>(())
    });
    let mut leading = pin!(leading);
    let (ended, took) = timed(async {
        tokio::join!(leading.as_mut(), async {
            eventually_async("it has led", async || terms.load(Ordering::SeqCst) >= 3).await;
            locks.shutdown().await;
        })
        .0
    })
    .await;
    ended.unwrap();
    assert!(terms.load(Ordering::SeqCst) as u128 <= took.as_millis() / 100 + 1, "in {took:?}");

    let locks = builder.build().unwrap();
    let (failed, mut told) = tokio::sync::mpsc::unbounded_channel();
    let failing = locks.lead("x").run(async |_| {
        failed.send(()).unwrap();
        Err::<(), _>("it fails")
    });
    let shutdown = async {
        for _ in 0..4 {
            told.recv().await;
        }
        // It pauses for 400 ms at least.
        timed(locks.shutdown()).await.1
    };
    let ((ended, took), _) = tokio::join!(timed(failing), shutdown);
    ended.unwrap();
    assert!(took < LIMIT);
}
