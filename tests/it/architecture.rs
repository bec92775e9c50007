//! ARCHITECTURE.md says what is there, and imports go the way that it says.

mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::imports::{Imports, Module};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn text() -> String {
    fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("it is in the project's root")
}

/// What stands in backquotes in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What it has in backquotes that looks like the path of a file or folder, or like the name of a file.
fn paths() -> BTreeSet<String> {
    // Not what stands in blocks of code.
    let prose: String = text().split("```").step_by(2).collect();
    let is_path = |word: &&str| {
        let (_, name) = word.rsplit_once('/').unwrap_or(("", word));
        let is_file = [".rs", ".lua", ".json", ".md", ".sh", ".stderr", ".yml"].iter().any(|end| name.ends_with(end));
        let is_word = word.chars().all(|character| character.is_alphanumeric() || "./_-".contains(character));
        is_word && (is_file || word.contains('/'))
    };
    quoted(&prose).filter(is_path).map(str::to_owned).collect()
}

/// What stands in backquotes in the first column of its tables.
fn named() -> BTreeSet<String> {
    let text = text();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(quoted).map(str::to_owned).collect()
}

/// Where paths begin that it names: in the project's root, or in the sources of one of these crates.
const BEGINNINGS: [&str; 3] = ["", "redlock-runtime/src", "redlock-macros/src"];

fn is_there(path: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| Path::new(ROOT).join(beginning).join(path).exists())
}

/// The names of the folders in a folder, but for hidden ones and what is built.
fn folders_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    folders.filter(|name| !name.starts_with('.') && name != "target").collect()
}

/// The files in a folder and in those in it.
fn all_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

/// The sources in a folder, but for files of unit tests alone.
fn files(folder: &Path) -> Vec<PathBuf> {
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    all_files(folder).into_iter().filter(|path| is_source(path) && !path.ends_with("tests.rs")).collect()
}

#[test]
fn what_it_names_is_there() {
    let all = folders_in("").into_iter().flat_map(|folder| all_files(&Path::new(ROOT).join(folder)));
    let names: BTreeSet<_> = all.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let paths = paths();
    assert!(paths.len() > 100, "{} paths are named", paths.len());
    // In a sentence about a folder, its files have names without it.
    for path in paths {
        assert!(is_there(&path) || names.contains(&path), "{path} is named, and is not there");
    }
    for name in named() {
        assert!(is_there(&name), "{name} is named, and is not there");
    }
}

#[test]
fn what_is_there_is_named() {
    let (named, paths) = (named(), paths());
    for name in folders_in("redlock-runtime/src") {
        assert!(named.contains(&name), "the folder {name} of the runtime is not named");
    }
    for name in folders_in("") {
        assert!(named.contains(&name), "the folder {name} is not named");
    }
    for name in folders_in("tests") {
        assert!(paths.contains(&format!("tests/{name}")), "the folder tests/{name} is not named");
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

/// What the table of rooms names, from the bottom up: folders and files of the runtime.
fn rooms() -> Vec<String> {
    let text = text();
    let (_, table) = text.split_once("| room |").expect("it has a table of rooms");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let named: Vec<_> = rows
        .flat_map(|row| {
            let first = row.split(" | ").next().unwrap_or_default();
            let names: Vec<_> = first.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches(".rs")).collect();
            names.into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(named.len() > 10, "{named:?}");
    named
}

#[test]
fn no_import_runs_back_up() {
    let rooms = rooms();
    let height = |module: &Module| {
        let room = &module[0];
        let height = rooms.iter().position(|named| named == room);
        height.unwrap_or_else(|| panic!("the room {room} is not in the table"))
    };
    let imports = Imports::of("redlock-runtime/src");
    assert!(imports.uses.len() > 300, "{} imports were found", imports.uses.len());
    // The root uses whatever it re-exports.
    for (user, used) in imports.uses.iter().filter(|(user, _)| !user.is_empty()) {
        assert!(height(used) <= height(user), "{} uses {}, which is above it", user.join("::"), used.join("::"));
    }
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let imports = Imports::of("redlock-runtime/src");
    let in_words = |circle: BTreeSet<&Module>| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>();
    let circles: Vec<_> = imports.circles().into_iter().map(in_words).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn what_several_files_of_tests_use_is_in_common() {
    let imports = Imports::of("tests/it");
    assert!(imports.uses.len() > 100, "{} imports were found", imports.uses.len());
    for (user, used) in imports.uses.iter().filter(|(user, _)| !user.is_empty()) {
        let is_its_own = user[0] == used[0];
        assert!(
            is_its_own || used[0] == "common",
            "{} uses {}, which is another test's",
            user.join("::"),
            used.join("::")
        );
    }
}
