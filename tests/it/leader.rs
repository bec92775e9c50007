//! One of several processes leads, and when it ends another does.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redlock_runtime::{Error, Leadership, LockManager, LostReason, Term};
use redlock_tests::Servers;
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually_async};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::common::{RARE_POLL, manager, none_has_x};

/// A candidate, and the token of the term in which it leads; zero while it does not.
struct Candidate {
    locks: LockManager,
    leads: Arc<AtomicU64>,
    terms: Arc<AtomicUsize>,
    running: JoinHandle<Result<(), Error>>,
}

/// A candidate whose body does this.
fn candidate<F>(servers: &Servers, body: impl Fn(Arc<Told>) -> F + Send + Sync + 'static) -> Candidate
where
    F: Future<Output = Result<(), Error>> + Send,
{
    candidate_that_winds_down(servers, body, || tokio::time::sleep(Duration::from_millis(200)))
}

/// One whose body ends like this when it loses the term.
fn candidate_that_winds_down<F, W>(
    servers: &Servers,
    body: impl Fn(Arc<Told>) -> F + Send + Sync + 'static,
    winds_down: impl Fn() -> W + Send + Sync + 'static,
) -> Candidate
where
    F: Future<Output = Result<(), Error>> + Send,
    W: Future<Output = ()> + Send,
{
    let locks = manager(servers);
    let (leads, terms) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
    let told = Arc::new(Told { leads: Arc::clone(&leads), terms: Arc::clone(&terms) });
    let lead = locks.lead("x").ttl(Duration::from_secs(2)).owner_label("a candidate");
    let running = tokio::spawn(lead.run(async move |term: &Term| {
        let leading = Leading::begin(&told, term);
        let ended = tokio::select! {
            ended = body(Arc::clone(&told)) => ended,
            loss = term.lost() => {
                winds_down().await;
                assert!(matches!(loss, Error::Lost { .. }));
                Ok(())
            }
        };
        drop(leading);
        ended
    }));
    Candidate { locks, leads, terms, running }
}

/// What a candidate tells of its terms.
struct Told {
    leads: Arc<AtomicU64>,
    terms: Arc<AtomicUsize>,
}

/// A term, from its beginning to the end of its body, however that ends.
struct Leading<'a>(&'a Told);

impl<'a> Leading<'a> {
    fn begin(told: &'a Told, term: &Term) -> Self {
        assert!(term.is_leader());
        told.leads.store(term.fencing_token(), Ordering::SeqCst);
        told.terms.fetch_add(1, Ordering::SeqCst);
        Self(told)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.leads.store(0, Ordering::SeqCst);
    }
}

impl Candidate {
    fn leads(&self) -> u64 {
        self.leads.load(Ordering::SeqCst)
    }

    async fn until_it_leads(&self) -> u64 {
        eventually_async("it leads", async || self.leads() > 0).await;
        self.leads()
    }
}

async fn for_ever(_: Arc<Told>) -> Result<(), Error> {
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_when_it_ends_another_does_at_once() {
    let servers = Servers::start(3);
    let first = candidate(&servers, for_ever);
    let token = first.until_it_leads().await;
    let second = candidate(&servers, for_ever);
    eventually_async("it waits", async || first.locks.statistics().await.unwrap().get("x").is_some()).await;
    assert_eq!(second.leads(), 0);
    let leader = second.locks.leader("x").await.unwrap().expect("the first one leads");
    eventually_async("its label is noted", async || {
        let leader = second.locks.leader("x").await.unwrap().unwrap();
        leader.label.as_deref() == Some("a candidate") && leader.fencing_token == Some(token)
    })
    .await;
    assert!(leader.leading_for.is_none_or(|time| time < LIMIT));

    first.running.abort();
    let (next, took) = timed(second.until_it_leads()).await;
    assert!(next > token);
    assert!(took < RARE_POLL / 2, "it was woken, {took:?}");
    assert_eq!(first.leads(), 0);
    second.running.abort();
    eventually_async("nobody leads", async || first.locks.leader("x").await.unwrap().is_none()).await;
    none_has_x(&servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_is_followed_when_its_keys_expire() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    mem::forget(locks.lock("x").ttl(Duration::from_secs(1)).renew(false).acquire().await.unwrap());
    let next = candidate(&servers, for_ever);
    let (_, took) = timed(next.until_it_leads()).await;
    assert!(took < RARE_POLL / 2, "{took:?}");
    next.running.abort();
    // It still has the guard that was forgotten, and would look for its servers for ever.
    let _ = locks.shutdown_within(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_lets_the_body_wind_down_under_its_lock_and_then_another_leads() {
    let servers = Servers::start(3);
    let [begins, may_end] = [(); 2].map(|()| Arc::new(Notify::new()));
    let winds_down = (Arc::clone(&begins), Arc::clone(&may_end));
    let first = candidate_that_winds_down(&servers, for_ever, move || {
        let (begins, may_end) = winds_down.clone();
        async move {
            begins.notify_one();
            may_end.notified().await;
        }
    });
    first.until_it_leads().await;
    let second = candidate(&servers, for_ever);
    eventually_async("it waits", async || first.locks.statistics().await.unwrap().get("x").is_some()).await;
    let (report, ()) = tokio::join!(first.locks.shutdown_within(LIMIT), async {
        begins.notified().await;
        // Time enough for another to lead, if it could.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(first.leads() > 0, "it winds down");
        assert_eq!(second.leads(), 0, "its lock is kept meanwhile");
        may_end.notify_one();
    });
    assert_eq!((report.still_held.len(), report.unconfirmed), (0, 0));
    assert!(matches!(first.running.await.unwrap(), Ok(())));
    second.until_it_leads().await;
    assert_eq!(first.terms.load(Ordering::SeqCst), 1);
    second.running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_the_leadership_is_stopped_and_campaigns_again() {
    let servers = Servers::start(3);
    let first = candidate(&servers, for_ever);
    let token = first.until_it_leads().await;
    let other = manager(&servers);
    other.reset("x").await.unwrap();
    eventually_async("it leads again", async || first.leads() > token).await;
    assert_eq!(first.terms.load(Ordering::SeqCst), 2);
    first.running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_fails_is_tried_again_and_one_that_ends_too() {
    let servers = Servers::start(1);
    for fails in [true, false] {
        let first = candidate(&servers, move |_| std::future::ready(if fails { Err(Error::ShutDown) } else { Ok(()) }));
        eventually_async("it has led several times", async || first.terms.load(Ordering::SeqCst) >= 3).await;
        first.locks.shutdown().await;
        assert!(matches!(first.running.await.unwrap(), Ok(())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_resigns_stands_back_for_another() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let terms = AtomicUsize::new(0);
    let resigning = locks.lead("x").run(async |term| {
        terms.fetch_add(1, Ordering::SeqCst);
        eventually_async("another waits", async || others.statistics().await.unwrap().get("x").is_some()).await;
        term.resign();
        Ok::<_, Error>(())
    });
    let following = async {
        eventually_async("it leads", async || terms.load(Ordering::SeqCst) == 1).await;
        let (ended, told) = tokio::sync::oneshot::channel::<()>();
        let mut ended = Some(ended);
        let leading = others.lead("x").run(async |_| {
            drop(ended.take());
            std::future::pending::<Result<(), Error>>().await
        });
        tokio::select! {
            ended = leading => panic!("{ended:?}"),
            _ = told => {}
        }
    };
    tokio::select! {
        ended = resigning => panic!("{ended:?}"),
        () = following => {}
    }
    assert_eq!(terms.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_who_leads_as_it_changes() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let held = others.lock("x").owner_label("another").acquire().await.unwrap();
    eventually_async("its label is noted", async || others.inspect("x").await.unwrap().owner_label.is_some()).await;
    let mut watch = locks.lead("x").ttl(Duration::from_secs(4)).watch();
    let Some(Ok(Leadership::Following { label })) = watch.next().await else { panic!("another leads") };
    assert_eq!(label.as_deref(), Some("another"));
    held.release().await.unwrap();
    let Some(Ok(Leadership::Leading(term))) = watch.next().await else { panic!("it leads") };
    assert!(term.is_leader());
    others.reset("x").await.unwrap();
    let loss = term.lost().await;
    assert!(matches!(loss, Error::Lost { reason: LostReason::Taken | LostReason::Expired, .. }), "{loss}");
    drop(term);
    let Some(Ok(Leadership::Leading(term))) = watch.next().await else { panic!("it leads again") };
    term.end().await.unwrap();
    assert_eq!(others.leader("x").await.unwrap(), None);
    locks.shutdown().await;
    assert!(watch.next().await.is_none());
    assert!(watch.next().await.is_none());
}

#[test]
fn a_thread_leads_until_the_shutdown() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let terms = AtomicUsize::new(0);
    let ended = locks.clone().lead("x").run_blocking(|term| {
        assert!(term.is_leader() && term.fencing_token() > 0 && term.name() == "x");
        if terms.fetch_add(1, Ordering::SeqCst) == 2 {
            let locks = locks.clone();
            std::thread::spawn(move || locks.shutdown_blocking());
            while term.is_leader() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok::<_, Error>(())
    });
    assert!(matches!(ended, Ok(())));
    assert_eq!(terms.load(Ordering::SeqCst), 3);
    assert!(matches!(manager(&servers).lead("").run_blocking(|_| Ok::<_, Error>(())), Err(Error::InvalidName { .. })));
}
