//! ARCHITECTURE.md says what is there, and imports go the way that it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn text() -> String {
    fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("it is in the project's root")
}

/// What stands in backquotes in the first column of its tables, and looks like a path.
fn named() -> BTreeSet<String> {
    let text = text();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next().map(str::to_owned));
    let quoted = |cell: String| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    cells.flat_map(quoted).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn what_it_names_is_there() {
    for name in named() {
        let places = ["", "redlock-runtime/src"].map(|place| Path::new(ROOT).join(place).join(&name));
        assert!(places.iter().any(|place| place.exists()), "{name} is named, and is not there");
    }
}

#[test]
fn what_is_there_is_named() {
    let named = named();
    let entries_of = |folder: &str| -> Vec<(String, bool)> {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path().is_dir())).collect()
    };
    for (name, is_folder) in entries_of("redlock-runtime/src") {
        assert!(!is_folder || named.contains(&name), "the folder {name} of the runtime is not named");
    }
    for (name, is_folder) in entries_of("tests") {
        let is_crate = is_folder && Path::new(ROOT).join("tests").join(&name).join("Cargo.toml").exists();
        assert!(!is_crate || named.contains(&format!("tests/{name}")), "the crate tests/{name} is not named");
    }
}

/// The sources of a part of the runtime, without their unit tests.
fn sources(part: &str) -> impl Iterator<Item = (PathBuf, String)> {
    files(&Path::new(ROOT).join("redlock-runtime/src").join(part)).into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        (path, shipped)
    })
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn the_protocol_depends_on_nothing_that_sends_sleeps_draws_or_reads_a_clock() {
    for (path, text) in sources("protocol") {
        for line in code(&text) {
            for other in ["tokio", "redis::", "tracing", "rand::", "uuid", "::now()", "SystemTime"] {
                assert!(!line.contains(other), "{other} in {}: {line}", path.display());
            }
            let is_allowed = ["crate::rules::", "crate::protocol::"].iter().any(|allowed| line.contains(allowed));
            assert!(!line.contains("crate::") || is_allowed, "{}: {line}", path.display());
        }
    }
}

#[test]
fn no_import_runs_back_up() {
    let above_node =
        ["engine", "lease", "renewal", "labels", "queue", "statistics", "lock", "guard", "manager", "call", "drive"];
    let above_engine = &above_node[1..];
    for (part, above) in [("node", &above_node[..]), ("engine", above_engine)] {
        for (path, text) in sources(part) {
            for line in code(&text) {
                let back = above.iter().find(|above| line.contains(&format!("crate::{above}::")));
                assert_eq!(back, None, "{}: {line}", path.display());
            }
        }
    }
}
