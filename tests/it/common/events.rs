//! What is told in this process.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Level};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

/// The database of these tests' nodes. It is part of a node's name in events: other tests' nodes had, or will have, the same ports,
/// and their managers may still try to reach them.
pub(crate) const DATABASE: u8 = 9;

/// A node timeout that no busy machine exceeds twice: a node that is late is told as well, and that it answers.
pub(crate) const NO_BUSY_MACHINE: Duration = Duration::from_secs(2);

/// What is told in this process, on whatever thread.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

/// Writes texts without escapes of its own, as somebody else's subscriber may.
struct AsTheyCome;

struct Fields<'a, 'writer>(&'a mut Writer<'writer>);

impl<'writer> FormatFields<'writer> for AsTheyCome {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> std::fmt::Result {
        fields.record(&mut Fields(&mut writer));
        Ok(())
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let name = field.name();
        let _ = if name == "message" { write!(self.0, "{value:?}") } else { write!(self.0, " {name}={value:?}") };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}=\"{value}\"", field.name());
    }
}

/// The events of all tests from a moment on.
pub(crate) struct Events {
    told: Told,
    /// So much had been told before.
    from: usize,
}

impl Events {
    /// Those from now on.
    pub(crate) fn from_now() -> Self {
        static TOLD: OnceLock<Told> = OnceLock::new();
        let told = TOLD.get_or_init(|| {
            let told = Told::default();
            let writer = told.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .with_max_level(Level::DEBUG)
                .with_ansi(false)
                .fmt_fields(AsTheyCome)
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("no other test hears all threads");
            told
        });
        Self { told: told.clone(), from: told.bytes().len() }
    }

    /// How many events of this level have all of this in them.
    pub(crate) fn count(&self, level: Level, parts: &[&str]) -> usize {
        self.find(level, parts).len()
    }

    /// The events of this level that have all of this in them.
    pub(crate) fn find(&self, level: Level, parts: &[&str]) -> Vec<String> {
        // Copied, so that nobody who has something to tell waits for the search: renewals do, of all tests of this process.
        let bytes = self.told.bytes()[self.from..].to_vec();
        let text = String::from_utf8_lossy(&bytes);
        let level = format!(" {level} ");
        let is_meant = |line: &&str| line.contains(&level) && parts.iter().all(|part| line.contains(part));
        text.lines().filter(is_meant).map(str::to_owned).collect()
    }

    /// Expects one such event.
    #[track_caller]
    pub(crate) fn assert_one(&self, level: Level, parts: &[&str]) {
        let found = self.find(level, parts);
        assert_eq!(found.len(), 1, "{level} {parts:?}: {found:#?}");
    }
}

impl Told {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// To be called before a subscriber of this thread is relied on.
///
/// While there is only one subscriber, tracing asks the thread that comes to an event first whether anybody listens to
/// it, and believes it for all threads. With more it asks the subscribers.
pub(crate) fn ask_every_subscriber() {
    static SEVERAL: LazyLock<[Dispatch; 2]> = LazyLock::new(|| {
        let silent = || Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
        [silent(), silent()]
    });
    LazyLock::force(&SEVERAL);
}

/// A node at this place, and the end of its name.
pub(crate) fn node_at(port: u16) -> (String, String) {
    let node = format!("127.0.0.1:{port}/{DATABASE}");
    (format!("redis://{node}"), node)
}
