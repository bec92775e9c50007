//! Tasks that want locks again and again, and note when they had them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redlock_runtime::LockManager;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Account;
use crate::clock::monotonic_nanoseconds;

/// How long a task waits for a lock before that is an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a lock is held.
const HOLD: Duration = Duration::from_millis(1);

/// One time that a lock was held, in nanoseconds of the machine's clock.
#[derive(Clone, Debug)]
pub struct Held {
    /// The lock's name, or what it begins with.
    pub name: String,
    /// When the task asked for it.
    pub asked: u64,
    /// When the task had it.
    pub begin: u64,
    /// When the task gave it back.
    pub end: u64,
    /// Its fencing token.
    pub token: u64,
    /// Which task it was.
    pub task: usize,
}

/// Tasks that take and give back locks until they are told to stop.
#[derive(Debug)]
#[must_use = "the tasks go on until they are told to stop"]
pub struct Load {
    /// What they note.
    noted: Arc<Mutex<Noted>>,
    /// Whether they shall end.
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Which locks a task wants.
#[derive(Clone, Copy)]
enum Names {
    /// That of its name.
    Same,
    /// Each time another one.
    Apart,
}

#[derive(Debug, Default)]
struct Noted {
    held: Vec<Held>,
    /// Locks that could not be had, and why.
    errors: Vec<String>,
}

impl Load {
    /// Starts so many tasks on the current runtime, which take turns in the managers and the names that they use.
    pub fn start(managers: &[LockManager], names: &[String], tasks: usize) -> Self {
        Self::start_with(managers, names, tasks, Names::Same)
    }

    /// The same on names that each task uses once, which begin with these: nobody is in another's way.
    pub fn start_apart(managers: &[LockManager], names: &[String], tasks: usize) -> Self {
        Self::start_with(managers, names, tasks, Names::Apart)
    }

    fn start_with(managers: &[LockManager], names: &[String], tasks: usize, kind: Names) -> Self {
        let (noted, is_over) = (Arc::<Mutex<Noted>>::default(), Arc::new(AtomicBool::new(false)));
        let tasks = (0..tasks).map(|task| {
            // Two tasks of one name are of different managers.
            let locks = managers[task / names.len() % managers.len()].clone();
            let (name, noted, is_over) = (names[task % names.len()].clone(), Arc::clone(&noted), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Acquire) {
                    let asked = monotonic_nanoseconds();
                    let lock = match kind {
                        Names::Same => name.clone(),
                        Names::Apart => format!("{name} {task} {asked}"),
                    };
                    match locks.lock(lock).timeout(PATIENCE).acquire().await {
                        Ok(guard) => {
                            let begin = monotonic_nanoseconds();
                            sleep(HOLD).await;
                            let (end, token, name) = (monotonic_nanoseconds(), guard.fencing_token(), name.clone());
                            all(&noted).held.push(Held { name, asked, begin, end, token, task });
                            // A server that is gone has forgotten it, or tells nobody.
                            let _ = guard.release().await;
                        }
                        Err(error) => all(&noted).errors.push(error.to_string()),
                    }
                }
            })
        });
        Self { tasks: tasks.collect(), noted, is_over }
    }

    /// How often each lock was held up to now, in the order of these names.
    #[must_use]
    pub fn counts(&self, names: &[String]) -> Vec<usize> {
        let noted = all(&self.noted);
        names.iter().map(|name| noted.held.iter().filter(|held| held.name == *name).count()).collect()
    }

    /// Ends all tasks; what they had, in the order in which they had it.
    ///
    /// # Panics
    ///
    /// If a lock could not be had.
    pub async fn stop(self) -> Vec<Held> {
        self.is_over.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.expect("a task does not panic");
        }
        let Noted { mut held, errors } = std::mem::take(&mut *all(&self.noted));
        assert!(errors.is_empty(), "{errors:?}");
        held.sort_unstable_by_key(|held| held.begin);
        held
    }
}

fn all(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Panics
///
/// If two held one lock at a time, or a later one had no greater token.
pub fn check(held: &[Held]) {
    let mut account = Account::new(Duration::from_secs(1));
    for Held { name, asked, begin, end, task, .. } in held {
        account.note_held(0, &format!("held {name} {begin} {end} {asked} {task}"));
    }
    account.check_no_overlap();
    for (index, one) in held.iter().enumerate() {
        if let Some(next) = held[index + 1..].iter().find(|next| next.name == one.name) {
            assert!(next.token > one.token, "{next:?} behind {one:?}");
        }
    }
}
