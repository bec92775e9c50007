//! What annotated functions add to a debug build, next to `#[tracing::instrument]` on the same functions.
//!
//! `cargo bench -p redlock-tests --bench attribute_build`
//!
//! Measured is the processor time of the compiler, the sum over its threads: more than what a developer waits for, and
//! the same whatever else the machine does.
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How often all take turns.
const TURNS: usize = 7;
/// Functions of each crate.
const FUNCTIONS: usize = 200;
/// What the attribute may add to the build of the plain functions.
const TARGET_SECONDS: f64 = 3.0;
/// How much of what `#[tracing::instrument]` adds the attribute may add.
const TARGET_RATIO: f64 = 2.0;

/// The crates, and what stands above each of their functions.
const CRATES: [(&str, &str); 3] = [
    ("plain", ""),
    ("instrumented", "#[tracing::instrument]"),
    ("annotated", "#[redlock_runtime::redlock(name = \"lock-{id}\", timeout = -1)]"),
];

fn main() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a member of a workspace");
    let directory = tempfile::tempdir().expect("a directory for the crates can be made");
    generate(repository, directory.path()).expect("the crates can be written");

    println!(
        "debug build of {FUNCTIONS} async functions that are called, s of processor time: median over {TURNS} turns"
    );
    // The first turn compiles the dependencies.
    let _compiled = CRATES.map(|(name, _)| build(directory.path(), name));
    let turns: Vec<_> = (0..TURNS).map(|_| CRATES.map(|(name, _)| build(directory.path(), name))).collect();
    let [plain, instrumented, annotated] = [0, 1, 2].map(|which| median(turns.iter().map(|turn| turn[which])));
    let added = median(turns.iter().map(|[plain, _, annotated]| annotated - plain));
    let ratio =
        median(turns.iter().map(|[plain, instrumented, annotated]| (annotated - plain) / (instrumented - plain)));
    println!("\nplain {plain:.2}, #[tracing::instrument] {instrumented:.2}, #[redlock] {annotated:.2}");
    let verdict = |is_met| if is_met { "met" } else { "MISSED" };
    println!("#[redlock] adds {added:.2} s; target: at most {TARGET_SECONDS}  {}", verdict(added <= TARGET_SECONDS));
    println!(
        "that is {ratio:.2} of what #[tracing::instrument] adds; target: at most {TARGET_RATIO}  {}\n",
        verdict(ratio <= TARGET_RATIO)
    );
}

/// Writes a workspace of all crates, which uses what this repository's `Cargo.lock` names, so that nothing is fetched.
fn generate(repository: &Path, directory: &Path) -> std::io::Result<()> {
    fs::copy(repository.join("Cargo.lock"), directory.join("Cargo.lock"))?;
    fs::write(directory.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n")?;
    for (name, attribute) in CRATES {
        let package = directory.join(name);
        fs::create_dir_all(package.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             redlock-runtime = {{ path = '{}' }}\n\
             tokio = {{ version = \"1\", features = [\"rt\", \"time\"] }}\n\
             tracing = {{ version = \"0.1\", default-features = false, features = [\"std\", \"attributes\"] }}\n",
            repository.join("redlock-runtime").display()
        );
        fs::write(package.join("Cargo.toml"), manifest)?;
        fs::write(package.join("src/main.rs"), program(attribute))?;
    }
    Ok(())
}

/// A program that calls each of its functions: what is not called is not compiled to the end.
fn program(attribute: &str) -> String {
    let mut program = String::from("use redlock_runtime::Error;\n\n");
    let mut calls = String::new();
    for number in 0..FUNCTIONS {
        let _ = writeln!(
            program,
            "{attribute}\nasync fn job_{number}(id: u64, text: &str) -> Result<String, Error> {{\n    \
             tokio::task::yield_now().await;\n    let number = id + {number};\n    \
             Ok(format!(\"{{number}}{{text}}\"))\n}}\n"
        );
        let _ = writeln!(calls, "        println!(\"{{:?}}\", job_{number}(1, \"text\").await);");
    }
    let runtime = "tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()";
    let _ = writeln!(program, "fn main() {{\n    {runtime}.block_on(async {{\n{calls}    }});\n}}");
    program
}

/// Seconds to compile one of the crates, its dependencies being there.
fn build(directory: &Path, name: &str) -> f64 {
    cargo(directory, &["clean", "--package", name]);
    let began = childrens_seconds();
    cargo(directory, &["build", "--package", name]);
    childrens_seconds() - began
}

/// The processor time of all child processes that ended.
fn childrens_seconds() -> f64 {
    /// `USER_HZ`, which Linux fixed for all programs; time(7).
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    // The second field is the program's name in parentheses, which may have blanks; cutime and cstime are the 16th and
    // 17th of proc_pid_stat(5).
    let (_, behind_name) = stat.rsplit_once(')').expect("it names the program");
    let ticks: f64 =
        behind_name.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

fn cargo(directory: &Path, arguments: &[&str]) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attribute-build");
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--quiet"])
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
