//! Whoever reads the documentation of something public finds an example there, which runs as a doc test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, Ident, ImplItem, Item, Lit, Meta, TraitItem, Type, UseTree, Visibility};

fn source(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../redlock-runtime/src")).join(path)
}

fn parsed(path: &Path) -> syn::File {
    syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the documentation of something says.
#[derive(Default)]
struct Documentation {
    is_hidden: bool,
    /// The lines that readers see of the examples that run; `None`: there is none.
    examples: Option<String>,
}

impl Documentation {
    fn of(attributes: &[Attribute]) -> Self {
        let (mut text, mut is_hidden) = (String::new(), false);
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
            match &attribute.meta {
                Meta::NameValue(said) => match &said.value {
                    Expr::Lit(literal) => {
                        if let Lit::Str(line) = &literal.lit {
                            text.push_str(&line.value());
                        }
                    }
                    Expr::Macro(file) => text.push_str(&included(&file.mac)),
                    _ => {}
                },
                Meta::List(list) => is_hidden |= list.tokens.to_string() == "hidden",
                Meta::Path(_) => {}
            }
            text.push('\n');
        }
        Self { is_hidden, examples: examples(&text) }
    }
}

/// A file that is part of a documentation, which names it by its way out of the sources.
fn included(file: &syn::Macro) -> String {
    assert!(file.path.is_ident("include_str"), "documentation is written there, or in a file");
    let path = file.parse_body::<syn::LitStr>().unwrap().value();
    let path = source("..").join(path.trim_start_matches("../"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is seen of the blocks of code that are compiled and run.
fn examples(text: &str) -> Option<String> {
    let mut shown = None;
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if matches!(kind, "" | "rust") {
            let seen = block.into_iter().filter(|line| *line != "#" && !line.starts_with("# "));
            let shown = shown.get_or_insert_with(String::new);
            shown.extend(seen.flat_map(|line| [line, "\n"]));
        }
    }
    shown
}

/// The names of modules from the root of the crate to a file.
fn module_of(path: &Path) -> Vec<String> {
    let path = path.strip_prefix(source("")).unwrap().with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

/// Something that a program can name.
struct Export {
    /// The module that it comes from, or one around that.
    from: Vec<String>,
    /// What a program writes behind the name of the crate.
    public: String,
}

/// What is used, each with the names before its last one.
fn leaves(tree: &UseTree, before: &[String], used: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(path) => {
            let before: Vec<_> = before.iter().cloned().chain([path.ident.to_string()]).collect();
            leaves(&path.tree, &before, used);
        }
        UseTree::Name(name) => used.push((before.to_vec(), name.ident.to_string())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, used)),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}

/// The types, traits and functions that a program can name.
fn exported() -> BTreeMap<String, Vec<Export>> {
    let mut exports: BTreeMap<String, Vec<Export>> = BTreeMap::new();
    for file in ["lib.rs", "node/mod.rs", "observe/mod.rs", "testing.rs"] {
        let module = module_of(&source(file));
        let mut export = |from: Vec<String>, name: String| {
            let public = module.iter().chain([&name]).cloned().collect::<Vec<_>>().join("::");
            exports.entry(name).or_default().push(Export { from, public });
        };
        for item in parsed(&source(file)).items {
            match item {
                Item::Use(item) if is_public(&item.vis) && !Documentation::of(&item.attrs).is_hidden => {
                    let mut used = Vec::new();
                    leaves(&item.tree, &[], &mut used);
                    for (path, name) in used {
                        match path.split_first() {
                            Some((first, rest)) if first == "crate" => export(rest.to_vec(), name),
                            Some((first, rest)) if first == "self" => export([&module[..], rest].concat(), name),
                            // Another crate's.
                            _ => {}
                        }
                    }
                }
                Item::Struct(item) if is_public(&item.vis) => export(module.clone(), item.ident.to_string()),
                _ => {}
            }
        }
    }
    exports
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// What is public.
#[derive(Default)]
struct Found {
    exported: BTreeMap<String, Vec<Export>>,
    /// What is declared, and by which room: the first module on the way to it.
    declared: BTreeSet<(String, String)>,
    /// The examples of each type, trait and function, as they are seen.
    types: BTreeMap<String, Option<String>>,
    /// What each type's methods are called, and whether they have an example.
    methods: BTreeMap<(String, String), bool>,
}

impl Found {
    /// What programs call something that is declared in this module; `None`: they cannot name it.
    fn public(&self, name: &Ident, module: &[String]) -> Option<String> {
        let exports = self.exported.get(&name.to_string())?;
        exports.iter().find(|export| module.starts_with(&export.from)).map(|export| export.public.clone())
    }

    /// The same of a type for which this module has methods, wherever it is declared.
    fn public_type(&self, name: &Ident, module: &[String]) -> Option<String> {
        if let Some(public) = self.public(name, module) {
            return Some(public);
        }
        if self.declared.contains(&(module[0].clone(), name.to_string())) {
            return None;
        }
        match self.exported.get(&name.to_string())?.as_slice() {
            [only] => Some(only.public.clone()),
            several => panic!("{name} in {module:?} is one of {}", several.len()),
        }
    }

    fn note_type(&mut self, name: &Ident, module: &[String], attributes: &[Attribute]) {
        let documentation = Documentation::of(attributes);
        if let Some(public) = self.public(name, module).filter(|_| !documentation.is_hidden) {
            *self.types.entry(public).or_default() = documentation.examples;
        }
    }

    fn note_method(&mut self, of: &str, name: &Ident, attributes: &[Attribute]) {
        let (name, documentation) = (name.to_string(), Documentation::of(attributes));
        // A twin that blocks is written as the method that it is the twin of.
        if !documentation.is_hidden && !name.ends_with("_blocking") {
            *self.methods.entry((of.to_owned(), name)).or_default() |= documentation.examples.is_some();
        }
    }

    fn look_at(&mut self, item: Item, module: &[String]) {
        match item {
            Item::Struct(item) => self.note_type(&item.ident, module, &item.attrs),
            Item::Enum(item) => self.note_type(&item.ident, module, &item.attrs),
            Item::Type(item) => self.note_type(&item.ident, module, &item.attrs),
            Item::Fn(item) => self.note_type(&item.sig.ident, module, &item.attrs),
            Item::Trait(item) => {
                self.note_type(&item.ident, module, &item.attrs);
                let Some(public) = self.public(&item.ident, module) else { return };
                for method in item.items {
                    if let TraitItem::Fn(method) = method {
                        self.note_method(&public, &method.sig.ident, &method.attrs);
                    }
                }
            }
            Item::Impl(item) if item.trait_.is_none() => {
                let Type::Path(path) = &*item.self_ty else { return };
                let Some(public) = self.public_type(&path.path.segments.last().unwrap().ident, module) else { return };
                for method in item.items {
                    if let ImplItem::Fn(method) = method
                        && is_public(&method.vis)
                    {
                        self.note_method(&public, &method.sig.ident, &method.attrs);
                    }
                }
            }
            Item::Macro(item) => {
                if let (true, Some(name)) = (item.attrs.iter().any(is_export), &item.ident) {
                    let documentation = Documentation::of(&item.attrs);
                    if !documentation.is_hidden {
                        self.types.insert(format!("{name}!"), documentation.examples);
                    }
                }
                // The one that makes enumerations with a word for each value.
                if let Ok(Words(enumerations)) = item.mac.parse_body() {
                    for (attributes, name) in enumerations {
                        self.note_type(&name, module, &attributes);
                        let Some(public) = self.public(&name, module) else { continue };
                        self.note_method(&public, &Ident::new("as_str", name.span()), &[]);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a type's own example shows how this method is called or, of a trait, written.
    fn is_shown(&self, of: &str, method: &str) -> bool {
        let Some(Some(example)) = self.types.get(of) else { return false };
        let name = of.rsplit("::").next().unwrap();
        [format!(".{method}("), format!("{name}::{method}("), format!("fn {method}(")]
            .iter()
            .any(|used| example.contains(used))
    }

    /// What has no example.
    fn without(&self) -> BTreeSet<String> {
        let types = self.types.iter().filter(|(_, examples)| examples.is_none()).map(|(name, _)| name.clone());
        let methods = self.methods.iter().filter(|((of, method), has)| !**has && !self.is_shown(of, method));
        types.chain(methods.map(|((of, method), _)| format!("{of}::{method}"))).collect()
    }
}

fn is_export(attribute: &Attribute) -> bool {
    attribute.path().is_ident("macro_export")
}

/// What the macro `words!` is given: enumerations, with what is said of each.
struct Words(Vec<(Vec<Attribute>, Ident)>);

impl Parse for Words {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut enumerations = Vec::new();
        while !input.is_empty() {
            enumerations.push((input.call(Attribute::parse_outer)?, input.parse()?));
            // Its values, in braces.
            input.step(|cursor| {
                cursor.token_tree().map(|(_, rest)| ((), rest)).ok_or_else(|| cursor.error("no values"))
            })?;
        }
        Ok(Self(enumerations))
    }
}

fn name_of(item: &Item) -> Option<&Ident> {
    match item {
        Item::Struct(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        _ => None,
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let in_each = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let all = entries.flat_map(in_each);
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn found() -> Found {
    let mut found = Found { exported: exported(), ..Found::default() };
    let sources: Vec<_> = files(&source("")).into_iter().map(|path| (module_of(&path), parsed(&path).items)).collect();
    let sources: Vec<_> = sources.into_iter().filter(|(module, _)| !module.is_empty()).collect();
    for (module, items) in &sources {
        let names = items.iter().filter_map(name_of).map(|name| (module[0].clone(), name.to_string()));
        found.declared.extend(names);
    }
    for (module, items) in sources {
        for item in items {
            found.look_at(item, &module);
        }
    }
    found
}

#[test]
fn what_is_public_has_an_example() {
    let found = found();
    assert!(found.types.len() > 70 && found.methods.len() > 140, "{:?}, {:?}", found.types, found.methods.keys());
    for (name, exports) in &found.exported {
        let is_found = |export: &Export| found.types.contains_key(&export.public);
        assert!(exports.iter().all(is_found), "{name} is exported, and was not found");
    }
    let without = found.without();
    assert!(without.is_empty(), "no example in the documentation of these:\n{without:#?}");
}

#[test]
fn what_readers_do_not_see_or_nobody_runs_is_no_example() {
    let check = |text: &str, expect: Option<&str>| assert_eq!(examples(text).as_deref(), expect, "{text}");
    check("Locks.", None);
    check("Locks.\n\n```toml\n[dependencies]\n```", None);
    check("```no_run\nlocks.list();\n```", None);
    check(
        "```\n# let locks = ();\n#\nlocks.list();\n```\nThen:\n```\nlocks.check();\n```",
        Some("locks.list();\nlocks.check();\n"),
    );
}

/// A method that a type's example uses has one there.
#[test]
fn a_method_is_shown_where_its_type_uses_it() {
    let found = Found {
        types: BTreeMap::from([
            ("Lead".to_owned(), Some("let lead = Lead::of(\"x\");\nlead.run();\nfn watch(lead: Lead) {}\n".to_owned())),
            ("Term".to_owned(), None),
        ]),
        ..Found::default()
    };
    for (of, method, expect) in [
        ("Lead", "of", true),
        ("Lead", "run", true),
        ("Lead", "watch", true),
        ("Lead", "ru", false),
        ("Term", "run", false),
    ] {
        assert_eq!(found.is_shown(of, method), expect, "{of}::{method}");
    }
}
