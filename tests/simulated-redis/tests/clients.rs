//! Locks on simulated servers: all that the client sends is known.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use redlock_runtime::{CheckVerdict, LockManager};
use redlock_simulated_redis::{ConnectionId, Effect, Server, Settings};
use redlock_tests::unhurried;
use redlock_tests::wait::eventually_async;

/// How often a server looks for keys that have expired.
const TICK: Duration = Duration::from_millis(10);

/// A simulated server that listens.
struct Listening {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<(Server, BTreeMap<ConnectionId, TcpStream>)>,
    is_over: AtomicBool,
}

impl Listening {
    fn start(version: &str, number: u64) -> Self {
        let settings = Settings {
            run_id: format!("{number:040x}"),
            version: version.to_owned(),
            // Old enough to vote at once.
            started: now().saturating_sub(Duration::from_secs(24 * 60 * 60)),
            ..Settings::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Mutex::new((Server::new(settings), BTreeMap::new()));
        let shared = Arc::new(Shared { state, is_over: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, stream) in (0..).zip(listener.incoming()) {
                let accepting = Arc::clone(&accepting);
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                thread::spawn(move || accepting.serve(ConnectionId(number), stream.unwrap()));
            }
        });
        let ticking = Arc::clone(&shared);
        thread::spawn(move || {
            while !ticking.is_over.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                let mut state = ticking.state();
                let effects = state.0.advance(now());
                perform(&mut state.1, effects);
            }
        });
        Self { port, shared }
    }

    fn unknown(&self) -> Vec<String> {
        self.shared.state().0.unknown().to_vec()
    }

    fn keys(&self) -> Vec<String> {
        let state = self.shared.state();
        state.0.keys(now()).map(|held| String::from_utf8_lossy(held.key).into_owned()).collect()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // So that it is noticed.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, connection: ConnectionId, mut stream: TcpStream) {
        {
            let mut state = self.state();
            state.0.open_from(connection, stream.peer_addr().unwrap());
            state.1.insert(connection, stream.try_clone().unwrap());
        }
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let mut state = self.state();
            let effects = state.0.receive(connection, &bytes[..read], now());
            perform(&mut state.1, effects);
        }
        let mut state = self.state();
        state.0.close(connection);
        state.1.remove(&connection);
    }

    fn state(&self) -> MutexGuard<'_, (Server, BTreeMap<ConnectionId, TcpStream>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn perform(streams: &mut BTreeMap<ConnectionId, TcpStream>, effects: Vec<Effect>) {
    for effect in effects {
        // Who does not listen any more is not told.
        let _ = match effect {
            Effect::Send { to, bytes } => streams.get_mut(&to).map(|stream| stream.write_all(&bytes)),
            Effect::Close(closed) => streams.remove(&closed).map(|stream| stream.shutdown(std::net::Shutdown::Both)),
        };
    }
}

#[expect(clippy::disallowed_methods, reason = "a simulated server whose clients are real has their clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn start(version: &str) -> (Vec<Listening>, LockManager) {
    let servers: Vec<_> = (1..=3).map(|number| Listening::start(version, number)).collect();
    let locks = manager(&servers);
    (servers, locks)
}

fn manager(servers: &[Listening]) -> LockManager {
    let urls = servers.iter().map(|server| format!("redis://127.0.0.1:{}", server.port));
    unhurried().nodes(urls).build().unwrap()
}

#[track_caller]
fn all_is_known(servers: &[Listening]) {
    for server in servers {
        assert_eq!(server.unknown(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn servers_of_all_versions_are_found_healthy() {
    for version in ["7.2.0", "7.0.15", "6.2.14"] {
        let (servers, locks) = start(version);
        let report = locks.check().await.unwrap();
        assert_eq!(report.verdict(), CheckVerdict::Healthy, "{version}: {report}");
        all_is_known(&servers);
        assert!(servers.iter().all(|server| server.keys().is_empty()), "{:?}", servers[0].keys());
    }
}

#[tokio::test]
async fn locks_work_and_waiters_are_told_on_servers_of_all_versions() {
    for version in ["7.2.0", "7.0.15", "6.2.14", "5.0.14"] {
        let (servers, locks) = start(version);
        let others = manager(&servers);
        let guard = locks.lock("x").acquire().await.unwrap();
        assert!(others.lock("x").try_acquire().await.unwrap().is_none(), "{version}");
        let waiter = tokio::spawn(others.lock("x").acquire());
        eventually_async("somebody waits", async || locks.statistics().await.unwrap().get("x").is_some()).await;
        eventually_async("the owner is labelled", async || others.inspect("x").await.unwrap().owner_label.is_some())
            .await;
        guard.extend(Duration::from_secs(20)).await.unwrap();
        let token = guard.fencing_token();
        guard.release().await.unwrap();
        let guard = waiter.await.unwrap().unwrap();
        assert!(guard.fencing_token() > token, "{version}");
        let token = guard.detach();
        let guard = locks.adopt(token).await.unwrap();
        let mut names = locks.list();
        assert_eq!(names.next().await.unwrap().unwrap(), "x");
        drop(guard);
        let guard = locks.lock("y").acquire().await.unwrap();
        let key = "redlock:ConfigurableLock.y".to_owned();
        eventually_async("every node has it", async || servers.iter().all(|server| server.keys().contains(&key))).await;
        assert_eq!(locks.reset("y").await.unwrap(), 3);
        drop(guard);
        all_is_known(&servers);
    }
}
