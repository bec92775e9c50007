//! Real redis-servers, and what can happen to them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::Probe;
use crate::ports;
use crate::process;
use crate::setup::{self, Setup};
use crate::wait::{LIMIT, within};
use crate::watchdog;

/// A port can be taken between the look at it and the server's start; so often in a row means something else.
const ATTEMPTS: usize = 20;

/// A redis-server of its own on a free port of 127.0.0.1, without persistence, gone when this is dropped.
///
/// Its state can be changed through a shared reference, so that a test's tasks can do it. Dropping it works in
/// every state and while a test panics; should the test process itself be killed, the server goes with it.
#[derive(Debug)]
#[must_use = "the server is gone when this is dropped"]
pub struct RedisServer {
    /// What to run; `redis-server` unless `REDLOCK_REDIS_SERVER` names another.
    program: OsString,
    /// Who gets in, and how.
    setup: Setup,
    /// Stays the same over a restart.
    port: u16,
    /// The running process; a mutex because tests share the server between threads.
    process: Mutex<Option<Child>>,
    /// The server's working directory, with its log.
    directory: TempDir,
}

/// Whether a server that was started is there.
enum Launched {
    /// It answers.
    Up,
    /// Another process took the port first, and the server ended.
    PortTaken,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    ///
    /// If there is no redis-server on this machine (`tests/run.sh` installs it), or it does not come up.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more configuration, such as `["--requirepass", "secret"]`.
    ///
    /// # Panics
    ///
    /// Like [`start`](Self::start), and if the server refuses the configuration; its log is in the message.
    #[track_caller]
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_as(&Setup::new().with_arguments(arguments))
    }

    /// Starts a server that is set up like this.
    ///
    /// # Panics
    ///
    /// Like [`start_with`](Self::start_with).
    #[track_caller]
    pub fn start_as(setup: &Setup) -> Self {
        let program = env::var_os("REDLOCK_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        Self::try_start(&program, setup).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts a server from a binary of one's own choice.
    ///
    /// # Errors
    ///
    /// If the binary is missing, refuses the configuration, or does not answer within ten seconds.
    pub fn try_start(program: &OsStr, setup: &Setup) -> anyhow::Result<Self> {
        let directory =
            TempDir::with_prefix(watchdog::DIRECTORY_PREFIX).context("a server needs a temporary directory")?;
        let mut server =
            Self { program: program.to_owned(), setup: setup.clone(), port: 0, process: Mutex::new(None), directory };
        for _ in 0..ATTEMPTS {
            server.port = ports::free(setup.needs_bus())?;
            setup
                .write_files(server.port, server.directory.path())
                .context("the server's directory cannot be written to")?;
            match server.launch()? {
                Launched::Up => return Ok(server),
                Launched::PortTaken => {}
            }
        }
        bail!("{ATTEMPTS} ports in a row that seemed free were taken by others")
    }

    /// `redis://127.0.0.1:PORT`, or `rediss` with TLS, with the user and the password that the server asks for.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.setup.url_up_to_hosts(""), self.address())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Who gets in, and how.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The port that the server listens on; a restart does not change it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[track_caller]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.with_process(Child::id)
    }

    /// A client that looks at this server directly.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let mut probe = Probe::new(self.port);
        if let Some(credentials) = self.setup.harness_credentials() {
            probe = probe.with_credentials(credentials);
        }
        if self.setup.certificates().is_some() {
            probe = probe.through_socket(self.directory.path().join(setup::SOCKET));
        }
        probe
    }

    /// Whether the process is there, also while it hangs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Asks the server to end (SIGTERM) and waits until it has; nothing happens if it does not run.
    ///
    /// It closes its connections in order, unlike [`kill`](Self::kill).
    pub fn stop(&self) {
        if let Some(mut child) = self.process().take() {
            if matches!(child.try_wait(), Ok(None)) {
                process::signal(&child, Signal::TERM);
                // A stopped process only notices the other signal when it goes on.
                process::signal(&child, Signal::CONT);
                process::ended_within(LIMIT, &mut child);
            }
            process::kill(&mut child);
        }
    }

    /// Kills the server (SIGKILL) and waits until it is gone; nothing happens if it does not run.
    pub fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            process::kill(&mut child);
        }
    }

    /// Stops the process (SIGSTOP): it still accepts connections and bytes, and answers none.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[track_caller]
    pub fn hang(&self) {
        self.with_process(process::hang);
    }

    /// Lets the server go on after [`hang`](Self::hang): it works off what was sent to it meanwhile.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[track_caller]
    pub fn resume(&self) {
        self.with_process(|child| process::signal(child, Signal::CONT));
    }

    /// Kills the server if it runs, starts it again, empty, on the same port, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        // A replica writes what it got from its master there, persistence or not.
        let _ = fs::remove_file(self.directory.path().join("dump.rdb"));
        self.restart_from_snapshot();
    }

    /// As [`restart`](Self::restart), but with what it had when it was last asked to `SAVE`.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    #[track_caller]
    pub fn restart_from_snapshot(&self) {
        self.kill();
        let launched = within(LIMIT, || match self.launch() {
            Ok(Launched::Up) => Some(Ok(())),
            Ok(Launched::PortTaken) => None,
            Err(error) => Some(Err(error)),
        });
        match launched {
            Some(Ok(())) => {}
            Some(Err(error)) => panic!("{error:#}"),
            None => panic!("port {} was taken by another process before the server was back", self.port),
        }
    }

    /// What the server logged since it was started last.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn launch(&self) -> anyhow::Result<Launched> {
        let log = File::create(self.log_path()).context("the server's log cannot be written")?;
        let spawned = Command::new(&self.program)
            .args(self.setup.command_line(self.port, self.directory.path()))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("the server's log cannot be written")?)
            .stderr(log)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "there is no {} on this machine: run tests/run.sh, which installs it, \
                 or name a binary in REDLOCK_REDIS_SERVER",
                self.program.display()
            ),
            Err(error) => bail!("{} does not start: {error}", self.program.display()),
        };
        watchdog::watch(&child, Some(self.directory.path()));
        let launched = self.wait_for(&mut child);
        match &launched {
            Ok(Launched::Up) => *self.process() = Some(child),
            Ok(Launched::PortTaken) | Err(_) => process::kill(&mut child),
        }
        launched
    }

    fn wait_for(&self, child: &mut Child) -> anyhow::Result<Launched> {
        let probe = self.probe();
        let up = within(LIMIT, || match child.try_wait() {
            Ok(None) => answers(&probe, child.id()).then_some(true),
            Ok(Some(_)) | Err(_) => Some(false),
        });
        match up {
            Some(true) => Ok(Launched::Up),
            Some(false) if self.log().contains("Address already in use") => Ok(Launched::PortTaken),
            Some(false) => bail!("{} ended at once: {}", self.program.display(), self.log()),
            None => bail!("{} did not answer within {LIMIT:?}: {}", self.program.display(), self.log()),
        }
    }

    #[track_caller]
    fn with_process<T>(&self, act: impl FnOnce(&Child) -> T) -> T {
        match &*self.process() {
            Some(child) => act(child),
            None => panic!("the server on port {} does not run", self.port),
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the server with this process id answers on the probe's port: another could have taken the port first.
fn answers(probe: &Probe, id: u32) -> bool {
    match probe.process_id() {
        Ok(said) => said == Some(id) && probe.is_up(),
        // With access rules of the test's own nobody knows who it is, but it answers.
        Err(error) => matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS")),
    }
}
