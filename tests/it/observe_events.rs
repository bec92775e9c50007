//! The page's table of events has what the runtime tells.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{Visit, visit_file};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An event that is told at one place of the sources.
#[derive(Debug)]
struct Told {
    level: &'static str,
    /// What is said, up to what is filled in, or explained.
    message: String,
    fields: BTreeSet<String>,
}

/// Finds the events of a file.
struct Finding<'a>(&'a mut Vec<Told>);

impl<'ast> Visit<'ast> for Finding<'_> {
    fn visit_macro(&mut self, found: &'ast syn::Macro) {
        let path: Vec<_> = found.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let level = match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["tracing", "error"] => "ERROR",
            ["tracing", "warn"] => "WARN",
            ["tracing", "info"] => "INFO",
            ["tracing", "debug"] => "DEBUG",
            _ => return,
        };
        let tokens: Vec<String> = found.tokens.clone().into_iter().map(|token| token.to_string()).collect();
        let arguments = tokens.split(|token| token == ",").filter(|argument| !argument.is_empty());
        let (mut message, mut fields) = (None, BTreeSet::new());
        for argument in arguments {
            if argument[0].starts_with('"') {
                message = Some(syn::parse_str::<syn::LitStr>(&argument[0]).unwrap().value());
                continue;
            }
            let name = argument.iter().find(|token| !matches!(token.as_str(), "%" | "?")).unwrap();
            fields.insert(name.clone());
        }
        let message = message.unwrap_or_else(|| panic!("an event says nothing: {tokens:?}"));
        let message = message.split([';', '{']).next().unwrap().trim_end_matches([' ', ':']).to_owned();
        self.0.push(Told { level, message, fields });
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn all_told() -> Vec<Told> {
    let (mut files, mut told) = (Vec::new(), Vec::new());
    sources(&Path::new(ROOT).join("redlock-runtime/src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let before = told.len();
        visit_file(&mut Finding(&mut told), &syn::parse_file(&text).unwrap());
        // Also those inside of other macros, whose contents are not read.
        let by_text =
            ["error", "warn", "info", "debug"].map(|level| text.matches(&format!("tracing::{level}!")).count());
        assert_eq!(told.len() - before, by_text.iter().sum::<usize>(), "an event in {} is not found", file.display());
    }
    told
}

#[test]
fn the_table_of_events_has_each_with_its_level_and_fields_and_no_other() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/observe.md")).unwrap();
    let (_, table) = page.split_once("| what is said | level |").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let told = all_told();
    assert!(told.len() > 35, "{told:?}");
    let mut named = BTreeSet::new();
    for Told { level, message, fields } in &told {
        let quoted = format!("`{message}`");
        let row = rows.iter().find(|row| row[1].contains(&quoted));
        let row = row.unwrap_or_else(|| panic!("no row of docs/observe.md says {quoted}"));
        assert_eq!(row[2], *level, "{message}");
        let of_row: BTreeSet<_> = row[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(fields.is_subset(&of_row), "{message} has {fields:?}");
        named.insert(quoted);
    }
    for row in rows {
        for said in row[1].split('`').skip(1).step_by(2) {
            assert!(named.contains(&format!("`{said}`")), "nothing tells {said}");
        }
    }
}
