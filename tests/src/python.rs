//! Programs of a Python fleet, in a virtual environment of their own.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::{Program, Servers};

/// Set where these tests must run: where Python cannot be had they fail then, instead of being skipped.
const REQUIRED: &str = "REDLOCK_REQUIRE_PYTHON";

/// What the environment has; one that was made of another text is made anew.
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// An interpreter that has configurable-redlock, and the programs in `tests/python`.
#[derive(Clone, Debug)]
pub struct Python {
    /// The interpreter of the virtual environment.
    interpreter: PathBuf,
}

/// The two classes of configurable-redlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `ConfigurableREDLock`.
    Sync,
    /// `ConfigurableAIOREDLock`.
    Async,
}

impl Class {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sync, Self::Async];
}

impl Python {
    /// The environment in this directory, which is made, once, if it is not there; `None` where Python or its packages
    /// cannot be had, and a line that says so.
    ///
    /// # Panics
    ///
    /// Where they cannot be had although `REDLOCK_REQUIRE_PYTHON` is set.
    pub fn in_directory(directory: &Path) -> Option<Self> {
        static ENVIRONMENT: OnceLock<Option<Python>> = OnceLock::new();
        let environment = ENVIRONMENT.get_or_init(|| match make_once(&directory.join("python")) {
            Ok(python) => Some(python),
            Err(error) if env::var_os(REQUIRED).is_some() => panic!("{REQUIRED} is set: {error:#}"),
            Err(error) => {
                // Not `eprintln!`, which a test that passes does not show.
                let _ = writeln!(io::stderr(), "the tests beside a Python fleet were skipped: {error:#}");
                None
            }
        });
        environment.clone()
    }

    /// Starts one of the programs in `tests/python`, with arguments such as `name=job`.
    pub fn start(&self, program: &str, class: Class, servers: &Servers, arguments: &[&str]) -> Program {
        let class = match class {
            Class::Sync => "class=sync",
            Class::Async => "class=async",
        };
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(program);
        let nodes = format!("nodes={}", servers.nodes());
        // -B: the source tree stays as it is.
        Program::start(Command::new(&self.interpreter).arg("-B").arg(program).args([class, &nodes]).args(arguments))
    }
}

/// Makes the environment if it is not there; of several test binaries one does, and the others wait for it.
fn make_once(directory: &Path) -> anyhow::Result<Python> {
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    // Held until the end of this function, however it ends.
    let turn = File::create(directory.join("lock")).context("the lock file cannot be made")?;
    flock(&turn, FlockOperation::LockExclusive).context("the lock file cannot be locked")?;
    let environment = directory.join("environment");
    let python = Python { interpreter: environment.join("bin/python") };
    // Written last, so that an environment that was half made is made anew.
    let made_of = environment.join("made-of.txt");
    if fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == REQUIREMENTS) && runs(&python.interpreter) {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&environment);
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let requirements = environment.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).context("the requirements cannot be written")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--requirement"];
    run(Command::new(&python.interpreter).args(pip).arg(&requirements))?;
    fs::write(&made_of, REQUIREMENTS).context("the environment cannot be marked as made")?;
    Ok(python)
}

/// An interpreter that was updated or removed leaves a link that leads nowhere.
fn runs(interpreter: &Path) -> bool {
    run(Command::new(interpreter).args(["-c", "import configurable_redlock"])).is_ok()
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{shown} does not start"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed: {}", said.trim_end());
    Ok(())
}
