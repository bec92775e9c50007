//! Which file of a crate uses which, as its sources say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{ROOT, files};

/// A module, or something in one: the names on the way to it from the crate's root.
pub(super) type Module = Vec<String>;

/// The modules of a crate that have files of their own, and which of them uses which; of the runtime in what ships and in what is
/// simulated, but for unit tests. What is re-exported is used where it is written.
pub(super) struct Imports {
    modules: BTreeSet<Module>,
    /// Who uses whom. The root is used by nobody.
    pub(super) uses: BTreeSet<(Module, Module)>,
}

impl Imports {
    /// Of the crate whose root is in this folder.
    pub(super) fn of(folder: &str) -> Self {
        let root = Path::new(ROOT).join(folder);
        let sources: Vec<_> = files(&root).into_iter().map(|path| (module_of(&root, &path), path)).collect();
        let modules: BTreeSet<Module> = sources.iter().map(|(module, _)| module.clone()).collect();
        let mut found = Found::default();
        for (module, path) in sources {
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            found.module = module;
            syn::visit::visit_file(&mut found, &file);
        }
        let names = Names::new(modules, &found);
        let mut uses = BTreeSet::new();
        for Used { module, path, .. } in &found.used {
            let origins = names.leads_to(module, path).map(|path| names.origins(&path)).unwrap_or_default();
            uses.extend(origins.iter().map(|origin| (names.file_of(module), names.file_of(origin))));
        }
        uses.retain(|(user, used)| user != used && !used.is_empty());
        Self { modules: names.modules, uses }
    }

    /// Modules that use one another in circles, those of each circle together. That a file uses its parent's types is none.
    pub(super) fn circles(&self) -> BTreeSet<BTreeSet<&Module>> {
        let mut used_by = BTreeMap::<_, Vec<_>>::new();
        for (user, used) in self.uses.iter().filter(|(user, used)| !user.starts_with(used)) {
            used_by.entry(user).or_default().push(used);
        }
        let reached_from = |start| {
            let (mut reached, mut ahead) = (BTreeSet::new(), vec![start]);
            while let Some(user) = ahead.pop() {
                ahead.extend(used_by.get(user).into_iter().flatten().filter(|used| reached.insert(**used)));
            }
            reached
        };
        let reached: BTreeMap<_, _> = self.modules.iter().map(|module| (module, reached_from(module))).collect();
        let leads_back = |module: &&Module| reached[module].contains(module);
        let circle_of = |module: &Module| -> BTreeSet<_> {
            reached[module].iter().copied().filter(|other| reached[*other].contains(module)).collect()
        };
        self.modules.iter().filter(leads_back).map(circle_of).collect()
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

fn joined(module: &[String], name: &str) -> Module {
    module.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

/// By which name all names of another module are imported.
const ALL: &str = "*";

/// What names mean in the modules of a crate.
struct Names {
    /// Those with files.
    modules: BTreeSet<Module>,
    /// What is written in modules.
    written: BTreeSet<Module>,
    /// What is imported into modules, whether it is ours or not.
    imported: BTreeSet<Module>,
    /// Where what is ours of that is imported from. From which of several depends on what is compiled.
    origins: BTreeMap<Module, BTreeSet<Module>>,
}

impl Names {
    fn new(modules: BTreeSet<Module>, found: &Found) -> Self {
        let known_as = |used: &Used| Some(joined(&used.module, used.name.as_deref()?));
        let imported = found.used.iter().filter_map(known_as).collect();
        let mut names = Self { modules, written: found.written.clone(), imported, origins: BTreeMap::new() };
        for used in &found.used {
            if let Some((name, origin)) = known_as(used).zip(names.leads_to(&used.module, &used.path)) {
                names.origins.entry(name).or_default().insert(origin);
            }
        }
        names
    }

    /// The path from the crate's root that a path in a module stands for, if it begins in this crate.
    fn leads_to(&self, module: &[String], path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut leads_to = match &**first {
            "crate" => Module::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ => {
                let known = [&self.modules, &self.written, &self.imported];
                Some(joined(module, first)).filter(|here| known.iter().any(|known| known.contains(here)))?
            }
        };
        for name in rest {
            if name == "super" {
                leads_to.pop()?;
            } else {
                leads_to.push(name.clone());
            }
        }
        Some(leads_to)
    }

    /// Where that is written to which a path from the crate's root leads, however often it is re-exported.
    fn origins(&self, path: &[String]) -> BTreeSet<Module> {
        self.origins_but(path, &mut Vec::new())
    }

    fn origins_but(&self, path: &[String], asked: &mut Vec<Module>) -> BTreeSet<Module> {
        let mut places = BTreeSet::from([Module::new()]);
        for name in path {
            let mut ahead = BTreeSet::new();
            for place in places {
                // What nothing is known of is made by a macro, or part of what was found.
                ahead.extend(self.named(&place, name, asked).unwrap_or_else(|| [joined(&place, name)].into()));
            }
            places = ahead;
        }
        places
    }

    /// What has this name in a module, but for what is asked for already.
    fn named(&self, module: &[String], name: &str, asked: &mut Vec<Module>) -> Option<BTreeSet<Module>> {
        let here = joined(module, name);
        if self.modules.contains(&here) || self.written.contains(&here) {
            return Some([here].into());
        }
        if asked.contains(&here) {
            return None;
        }
        asked.push(here.clone());
        let mut found = BTreeSet::new();
        for origin in self.origins.get(&here).into_iter().flatten() {
            found.extend(self.origins_but(origin, asked));
        }
        if found.is_empty() {
            for all_of in self.origins.get(&joined(module, ALL)).into_iter().flatten() {
                for place in self.origins_but(all_of, asked) {
                    found.extend(self.named(&place, name, asked).unwrap_or_default());
                }
            }
        }
        asked.pop();
        Some(found).filter(|found| !found.is_empty())
    }

    /// The module with a file in which something stands.
    fn file_of(&self, path: &[String]) -> Module {
        let lengths = (0..=path.len()).rev();
        lengths.map(|length| &path[..length]).find(|path| self.modules.contains(*path)).unwrap_or_default().to_vec()
    }
}

/// A path that stands in a module.
struct Used {
    module: Module,
    path: Vec<String>,
    /// By which name the module knows it from then on.
    name: Option<String>,
}

/// Collects what stands in files.
#[derive(Default)]
struct Found {
    /// Where that is that is looked at.
    module: Module,
    used: Vec<Used>,
    written: BTreeSet<Module>,
}

impl Found {
    fn add(&mut self, path: Vec<String>, name: Option<&str>) {
        self.used.push(Used { module: self.module.clone(), path, name: name.map(str::to_owned) });
    }

    fn add_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| joined(prefix, &name.to_string());
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.add(prefix.to_vec(), prefix.last().map(String::as_str));
            }
            syn::UseTree::Name(name) => self.add(with(&name.ident), Some(&name.ident.to_string())),
            syn::UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { prefix.to_vec() } else { with(&rename.ident) };
                self.add(path, Some(&rename.rename.to_string()));
            }
            syn::UseTree::Glob(_) => self.add(prefix.to_vec(), Some(ALL)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(prefix, tree)),
        }
    }
}

fn name_of(item: &syn::Item) -> Option<&syn::Ident> {
    match item {
        syn::Item::Const(item) => Some(&item.ident),
        syn::Item::Enum(item) => Some(&item.ident),
        syn::Item::Fn(item) => Some(&item.sig.ident),
        syn::Item::Macro(item) => item.ident.as_ref(),
        // Those with files have them.
        syn::Item::Mod(item) => item.content.as_ref().map(|_| &item.ident),
        syn::Item::Static(item) => Some(&item.ident),
        syn::Item::Struct(item) => Some(&item.ident),
        syn::Item::Trait(item) => Some(&item.ident),
        syn::Item::Type(item) => Some(&item.ident),
        syn::Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

impl<'ast> syn::visit::Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if let Some(name) = name_of(item) {
            self.written.insert(joined(&self.module, &name.to_string()));
        }
        syn::visit::visit_item(self, item);
    }

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

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // Else it begins in another crate.
        if item.leading_colon.is_none() {
            self.add_tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), None);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        for (start, word) in words.iter().enumerate().filter(|(_, word)| ["crate", "super"].contains(word)) {
            let rest = words[start + 1..].chunks(2).take_while(|pair| pair[0] == "::").filter_map(|pair| pair.get(1));
            self.add(std::iter::once(word).chain(rest).map(|name| (*name).to_owned()).collect(), None);
        }
        syn::visit::visit_macro(self, item);
    }
}
