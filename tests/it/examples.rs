//! Whoever reads the documentation of something public finds an example there, which runs as a doc test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, ImplItem, Item, Lit, Meta, TraitItem, Type, UseTree, Visibility};

/// What has none yet, a line each. The list only shrinks: what is new has an example, and what got one is taken out.
const WITHOUT: &str = include_str!("examples/without.txt");

fn source(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../redlock-runtime/src")).join(path)
}

fn parsed(path: &Path) -> syn::File {
    syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the documentation says, and whether it is hidden.
fn documentation(attributes: &[Attribute]) -> (String, bool) {
    let (mut text, mut is_hidden) = (String::new(), false);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        match &attribute.meta {
            Meta::NameValue(said) => match &said.value {
                Expr::Lit(literal) => {
                    if let Lit::Str(line) = &literal.lit {
                        text.push_str(&line.value());
                        text.push('\n');
                    }
                }
                // A file, which is an example itself, or has some.
                _ => text.push_str("```"),
            },
            Meta::List(list) => is_hidden |= list.tokens.to_string() == "hidden",
            Meta::Path(_) => {}
        }
    }
    (text, is_hidden)
}

/// The last names of what is used.
fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, names),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}

/// The names of the types, traits and functions that a program can name.
fn exported() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in ["lib.rs", "node/mod.rs", "observe/mod.rs", "testing.rs"] {
        for item in parsed(&source(file)).items {
            match item {
                Item::Use(used) if matches!(used.vis, Visibility::Public(_)) && !documentation(&used.attrs).1 => {
                    leaves(&used.tree, &mut names);
                }
                Item::Struct(item) if matches!(item.vis, Visibility::Public(_)) => {
                    names.insert(item.ident.to_string());
                }
                _ => {}
            }
        }
    }
    names
}

/// What is public, and whether it has an example.
struct Found {
    exported: BTreeSet<String>,
    has_example: BTreeMap<String, bool>,
}

impl Found {
    fn note(&mut self, name: String, visibility: &Visibility, attributes: &[Attribute]) {
        let (text, is_hidden) = documentation(attributes);
        // A twin that blocks is written as the method that it is the twin of.
        if is_hidden || !matches!(visibility, Visibility::Public(_)) || name.ends_with("_blocking") {
            return;
        }
        *self.has_example.entry(name).or_default() |= text.contains("```");
    }

    fn look_at(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Struct(item) if self.exported.contains(&item.ident.to_string()) => {
                    self.note(item.ident.to_string(), &item.vis, &item.attrs);
                }
                Item::Enum(item) if self.exported.contains(&item.ident.to_string()) => {
                    self.note(item.ident.to_string(), &item.vis, &item.attrs);
                }
                Item::Fn(item) if self.exported.contains(&item.sig.ident.to_string()) => {
                    self.note(item.sig.ident.to_string(), &item.vis, &item.attrs);
                }
                Item::Trait(item) if self.exported.contains(&item.ident.to_string()) => {
                    self.note(item.ident.to_string(), &item.vis, &item.attrs);
                    for method in item.items {
                        if let TraitItem::Fn(method) = method {
                            self.note(format!("{}::{}", item.ident, method.sig.ident), &item.vis, &method.attrs);
                        }
                    }
                }
                Item::Impl(item) if item.trait_.is_none() => {
                    let Type::Path(path) = &*item.self_ty else { continue };
                    let of = path.path.segments.last().unwrap().ident.to_string();
                    if !self.exported.contains(&of) {
                        continue;
                    }
                    for method in item.items {
                        if let ImplItem::Fn(method) = method {
                            self.note(format!("{of}::{}", method.sig.ident), &method.vis, &method.attrs);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn look_into(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.look_into(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.look_at(parsed(&path).items);
            }
        }
    }
}

#[test]
fn what_is_public_has_an_example() {
    let mut found = Found { exported: exported(), has_example: BTreeMap::new() };
    found.look_into(&source(""));
    assert!(found.has_example.len() > 150, "{:?}", found.has_example.keys());
    let without: BTreeSet<&str> =
        found.has_example.iter().filter(|(_, has_example)| !**has_example).map(|(name, _)| name.as_str()).collect();
    let known: BTreeSet<&str> = WITHOUT.lines().collect();
    let new: Vec<_> = without.difference(&known).collect();
    assert!(new.is_empty(), "no example in the documentation of these:\n{new:#?}");
    let mended: Vec<_> = known.difference(&without).collect();
    assert!(
        mended.is_empty(),
        "these have an example, or are gone: take them out of tests/it/examples/without.txt\n{mended:#?}"
    );
}
