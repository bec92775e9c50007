//! README.md and the pages in `docs`: nothing is missing in them, and no link leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the files in `docs`.
fn pages() -> BTreeSet<String> {
    let files = fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|page| page.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The lines that are no code, without what is code in them.
fn prose(text: &str) -> impl Iterator<Item = String> {
    let mut is_code = false;
    let lines = text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("`"))
}

/// How a heading is named in links to it.
fn anchor(heading: &str) -> String {
    let text = heading.to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter_map(move |line| {
        is_code ^= line.starts_with("```");
        let heading = line.strip_prefix('#').filter(|_| !is_code)?;
        Some(anchor(heading.trim_start_matches('#').trim()))
    });
    headings.collect()
}

/// The definitions of links at the end of a page: their names, and where they lead.
fn definitions(text: &str) -> BTreeMap<String, String> {
    let lines = prose(text).filter_map(|line| {
        let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some((name.to_owned(), target.to_owned()))
    });
    lines.collect()
}

/// What stands behind each `](` or `][`, up to the bracket that ends it; a link may go over the end of a line.
fn links(text: &str, open: &str, close: char) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0.to_owned())).collect()
}

/// Why a link of this file leads nowhere.
fn fault(file: &Path, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, heading) = target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
    let path = if path.is_empty() { file.to_owned() } else { file.parent().unwrap().join(path) };
    if !path.exists() {
        return Some(format!("{target} is not there"));
    }
    let heading = heading.filter(|heading| !anchors(&fs::read_to_string(&path).unwrap()).contains(*heading))?;
    Some(format!("{target}: no heading is #{heading}"))
}

#[test]
fn no_link_leads_nowhere() {
    let of_crates = ["redlock-cli/README.md", "redlock-macros/README.md"];
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].into_iter().chain(of_crates);
    let files = top.map(str::to_owned).chain(pages().into_iter().map(|page| format!("docs/{page}")));
    let mut faults = Vec::new();
    for file in files {
        let (path, text) = (Path::new(ROOT).join(&file), read(&file));
        let defined = definitions(&text);
        let targets = links(&text, "](", ')').into_iter().chain(defined.values().cloned());
        faults.extend(targets.filter_map(|target| fault(&path, &target)).map(|fault| format!("{file}: {fault}")));
        let used: BTreeSet<String> = links(&text, "][", ']').into_iter().collect();
        let defined = defined.into_keys().collect();
        faults.extend(
            used.symmetric_difference(&defined).map(|name| format!("{file}: [{name}] is used, or defined, alone")),
        );
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_readme_can_be_read_in_five_minutes() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 230, "{} lines", readme.lines().count());
    let first_screen: Vec<&str> = readme.lines().take(40).collect();
    assert!(first_screen.iter().any(|line| line.starts_with("#[redlock(")));
    // In a block, to be copied.
    assert!(first_screen.iter().any(|line| line.starts_with("redlock run ")));
    let hidden = readme.split("```rust").skip(1).filter_map(|rest| rest.split("```").next());
    let hidden: Vec<&str> = hidden.flat_map(str::lines).filter(|line| line.starts_with("# ")).collect();
    assert!(hidden.is_empty(), "tests/build.rs adds what a block needs besides: {hidden:#?}");
}

#[test]
fn every_page_is_in_the_list_and_in_the_documentation() {
    let pages: BTreeSet<String> = pages().into_iter().filter(|page| page != "README.md").collect();
    let listed: BTreeSet<String> = definitions(&read("docs/README.md")).into_values().collect();
    assert_eq!(listed, pages);

    let source = read("redlock-runtime/src/pages.rs");
    let documented = source.lines().filter_map(|line| line.trim().strip_suffix("\";")?.split_once(" = \""));
    let documented: BTreeSet<String> = documented.map(|(_, file)| file.to_owned()).collect();
    // The attribute's page is its own documentation.
    let missing: Vec<_> = pages.iter().filter(|page| *page != "attribute.md" && !documented.contains(*page)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What the first cells of a page's rows name, each in backticks.
fn rows(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let first = text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split(" | ").next()?.to_owned()));
    first.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn variants(file: &syn::File, name: &str) -> Vec<String> {
    let found = file.items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == name => {
            Some(item.variants.iter().map(|v| v.ident.to_string()).collect())
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{name} is an enum"))
}

#[test]
fn every_error_and_every_reason_of_a_loss_is_explained() {
    let file = syn::parse_file(&read("redlock-runtime/src/error.rs")).unwrap();
    let explained = rows("docs/troubleshooting.md");
    let all = variants(&file, "Error").into_iter().chain(variants(&file, "LostReason"));
    let missing: Vec<String> = all.filter(|name| !explained.contains(name)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md has no row for {missing:?}");
}

/// The settings of the builder: its public methods that give it back.
fn settings(file: &syn::File) -> Vec<String> {
    let implementations = file.items.iter().filter_map(|item| match item {
        syn::Item::Impl(item) if item.trait_.is_none() => Some(&item.items),
        _ => None,
    });
    let methods = implementations.flatten().filter_map(|item| match item {
        syn::ImplItem::Fn(method) if matches!(method.vis, syn::Visibility::Public(_)) => {
            Some(method.sig.ident.to_string())
        }
        _ => None,
    });
    methods.collect()
}

#[test]
fn every_setting_and_every_variable_has_a_row() {
    let file = syn::parse_file(&read("redlock-runtime/src/manager/builder.rs")).unwrap();
    let (settings, named) = (settings(&file), rows("docs/settings.md"));
    assert!(settings.len() > 20, "{settings:?}");
    let missing: Vec<&String> = settings.iter().filter(|setting| !named.contains(*setting)).collect();
    assert!(missing.is_empty(), "docs/settings.md has no row for {missing:?}");

    let source = read("redlock-runtime/src/manager/environment.rs");
    let variables = source.split('"').filter(|text| text.starts_with("REDLOCK_")).collect::<BTreeSet<_>>();
    assert!(variables.len() > 5, "{variables:?}");
    let missing: Vec<&&str> = variables.iter().filter(|variable| !named.contains(**variable)).collect();
    assert!(missing.is_empty(), "docs/settings.md has no row for {missing:?}");
}

/// What a table of the cargo features says of each: its name, whether it is a default, and how many crates it adds.
fn features_of(text: &str) -> BTreeMap<String, (bool, String)> {
    let lines = text.lines().map(|line| line.trim_start_matches("//! "));
    let rows = lines.filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let count = cells.get(3).filter(|count| count.parse::<u32>().is_ok())?;
        Some((name.to_owned(), (cells[2] == "yes", (*count).to_owned())))
    });
    rows.collect()
}

#[test]
fn the_features_are_told_alike_and_are_those_of_the_manifest() {
    let (readme, library) = (read("README.md"), read("redlock-runtime/src/lib.rs"));
    let of_readme = features_of(&readme);
    assert_eq!(of_readme, features_of(&library));

    let manifest = read("redlock-runtime/Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]\n").unwrap();
    let lines = features.lines().take_while(|line| !line.starts_with('['));
    let mut declared: BTreeMap<&str, &str> = lines.filter_map(|line| line.split_once(" = ")).collect();
    let defaults = declared.remove("default").unwrap();
    let declared: BTreeMap<_, _> =
        declared.into_keys().map(|name| (name.to_owned(), defaults.contains(&format!("\"{name}\"")))).collect();
    let told: BTreeMap<_, _> = of_readme.into_iter().map(|(name, (is_default, _))| (name, is_default)).collect();
    assert_eq!(told, declared);

    // Without any: README.md counts the runtime too.
    let number = |text: &str| text.trim().parse::<u32>().unwrap();
    let (_, all) = readme.split_once("| none of these | |").unwrap();
    let (_, others) = library.split_once("Without any, ").unwrap();
    let others = number(others.split_once(" other crates").unwrap().0);
    assert_eq!(number(all.split_once('|').unwrap().0), others + 1);
}

/// How many crates are compiled for the runtime with this feature.
#[cfg(target_os = "linux")]
fn crates(feature: &str) -> usize {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--package=redlock-runtime", "--edges=normal,build", "--prefix=none"]);
    let output = cargo.args(["--no-default-features", "--features", feature]).current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end_matches(" (*)")).collect::<BTreeSet<_>>().len()
}

#[cfg(target_os = "linux")]
#[test]
fn so_many_crates_are_compiled_as_is_told() {
    let readme = read("README.md");
    let none = crates("");
    assert!(readme.contains(&format!("| none of these | | {none} | locks by hand ({} crates", crates("macros,tls"))));
    for (feature, (_, told)) in features_of(&readme) {
        let without = if feature == "insecure-tls" { crates("tls") } else { none };
        assert_eq!(crates(&feature), without + told.parse::<usize>().unwrap(), "{feature}");
    }
}

/// By path until the crates are published, which the manifest's `repository` says, and by their version from then on.
#[test]
fn every_text_says_alike_how_the_crates_are_installed() {
    let is_published = read("Cargo.toml").lines().any(|line| line.starts_with("repository = "));
    let others = ["README.md", "redlock-cli/README.md", "redlock-runtime/src/lib.rs"].map(str::to_owned);
    let mut said = Vec::new();
    for file in others.into_iter().chain(pages().into_iter().map(|page| format!("docs/{page}"))) {
        let is_on_installing = |line: &&str| {
            line.contains("redlock-runtime = ") || line.contains("cargo install") && line.contains("redlock-cli")
        };
        said.extend(read(&file).lines().filter(is_on_installing).map(|line| format!("{file}: {line}")));
    }
    assert!(said.len() > 5, "{said:#?}");
    let wrong: Vec<_> = said.iter().filter(|line| line.contains("path") == is_published).collect();
    assert!(wrong.is_empty(), "published: {is_published}; {wrong:#?}");
    assert_eq!(read("README.md").contains("not published yet"), !is_published);
}

#[test]
fn each_crate_is_published_with_its_licences_and_a_text_of_its_own() {
    for package in ["redlock-macros", "redlock-runtime", "redlock-cli"] {
        let package = PathBuf::from(ROOT).join(package);
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let text = fs::read_to_string(package.join(licence)).unwrap();
            assert_eq!(text, read(licence));
        }
        assert!(fs::read_to_string(package.join("Cargo.toml")).unwrap().contains("\"/LICENSE-*\""));
        // That of the runtime is the repository's.
        let has_its_own = fs::exists(package.join("README.md")).unwrap();
        assert_eq!(has_its_own, !package.ends_with("redlock-runtime"), "{}", package.display());
    }
}
