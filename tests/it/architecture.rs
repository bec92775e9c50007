//! ARCHITECTURE.md says what is there, and imports go the way that it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// A module: the names on the way to it from the crate's root.
type Module = Vec<String>;

/// The modules of a crate, and which of them uses which; of the runtime in what ships and in what is simulated, but for unit tests.
struct Imports {
    modules: BTreeSet<Module>,
    uses: BTreeSet<(Module, Module)>,
}

impl Imports {
    /// Of the crate whose root is in this folder.
    fn of(folder: &str) -> Self {
        let root = Path::new(ROOT).join(folder);
        let sources: Vec<_> = files(&root).into_iter().map(|path| (module_of(&root, &path), path)).collect();
        let modules: BTreeSet<Module> = sources.iter().map(|(module, _)| module.clone()).collect();
        let mut found = Found::default();
        let mut paths = Vec::new();
        for (module, path) in sources {
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            found.module = module;
            syn::visit::visit_file(&mut found, &file);
            paths.append(&mut found.paths);
        }
        // What the root re-exports is where it comes from.
        let re_exported: BTreeMap<String, Module> = paths
            .iter()
            .filter(|(module, path, _)| module.is_empty() && path.first().is_some_and(|first| first == "crate"))
            .map(|(_, path, name)| (name.clone(), path[1..].to_vec()))
            .collect();
        let uses = paths.iter().filter_map(|(module, path, _)| {
            let mut absolute = resolve(module, path)?;
            if let Some(origin) = absolute.first().and_then(|first| re_exported.get(first)) {
                absolute = origin.clone();
            }
            let used =
                (0..=absolute.len()).rev().map(|length| &absolute[..length]).find(|path| modules.contains(*path))?;
            Some((module.clone(), used.to_vec()))
        });
        let uses = uses.filter(|(user, used)| user != used && !used.is_empty()).collect();
        Self { modules, uses }
    }

    /// Modules that use one another in a circle. That a file uses its parent's types is none.
    fn circle(&self) -> Option<Vec<Module>> {
        let uses = |user: &Module| {
            let of_user = self.uses.iter().filter(|(one, _)| one == user).map(|(_, used)| used.clone());
            of_user.filter(|used| !user.starts_with(used)).collect::<Vec<_>>()
        };
        let mut done = BTreeSet::new();
        for start in &self.modules {
            // Depth first; on the way are those from which the present one was come to.
            let mut way: Vec<(Module, Vec<Module>)> = vec![(start.clone(), uses(start))];
            while let Some((_, ahead)) = way.last_mut() {
                let Some(next) = ahead.pop() else {
                    done.extend(way.pop().map(|(module, _)| module));
                    continue;
                };
                if let Some(position) = way.iter().position(|(module, _)| *module == next) {
                    return Some(way.drain(position..).map(|(module, _)| module).collect());
                }
                if !done.contains(&next) {
                    let ahead = uses(&next);
                    way.push((next, ahead));
                }
            }
        }
        None
    }
}

fn module_of(root: &Path, path: &Path) -> Module {
    let relative = path.strip_prefix(root).unwrap().with_extension("");
    let mut names: Module = relative.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|last| ["mod", "lib", "main"].contains(&&**last)) {
        names.pop();
    }
    names
}

/// Where a path leads from the crate's root, if it begins in this crate.
fn resolve(module: &Module, path: &[String]) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut absolute = match &**first {
        "crate" => Module::new(),
        "self" => module.clone(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    for name in rest {
        if name == "super" {
            absolute.pop()?;
        } else {
            absolute.push(name.clone());
        }
    }
    Some(absolute)
}

/// Collects the paths of files.
#[derive(Default)]
struct Found {
    module: Module,
    /// In which module; the path; and by which name it is known there.
    paths: Vec<(Module, Vec<String>, String)>,
}

impl Found {
    fn add(&mut self, path: Vec<String>, name: &str) {
        self.paths.push((self.module.clone(), path, name.to_owned()));
    }

    fn add_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.add(prefix.to_vec(), ""),
            syn::UseTree::Name(name) => self.add(with(&name.ident), &name.ident.to_string()),
            syn::UseTree::Rename(rename) => self.add(with(&rename.ident), &rename.rename.to_string()),
            syn::UseTree::Glob(_) => self.add(prefix.to_vec(), ""),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(prefix, tree)),
        }
    }
}

impl<'ast> syn::visit::Visit<'ast> for Found {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_for_tests = item.attrs.iter().any(|attribute| match &attribute.meta {
            syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
            _ => false,
        });
        if !is_for_tests {
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_use_tree(&mut self, tree: &'ast syn::UseTree) {
        self.add_tree(&[], tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), "");
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        for (start, word) in words.iter().enumerate().filter(|(_, word)| ["crate", "super"].contains(word)) {
            let rest = words[start + 1..].chunks(2).take_while(|pair| pair[0] == "::").filter_map(|pair| pair.get(1));
            self.add(std::iter::once(word).chain(rest).map(|name| (*name).to_owned()).collect(), "");
        }
        syn::visit::visit_macro(self, item);
    }
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
    let circle = Imports::of("redlock-runtime/src").circle();
    assert_eq!(circle.map(|circle| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>()), None);
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
