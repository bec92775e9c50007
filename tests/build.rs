//! Makes the code of README.md and of the pages in `docs` ready to be compiled and run as doc tests.
//!
//! The pages show what a reader has to write and nothing else. What a block needs besides is added here, so that it is written once:
//!
//! - a block with a `main` of its own is a program, and stays as it is; so does one that has hidden lines (`# …`)
//! - the tests in a block (`#[tokio::test]`) are called
//! - any other block runs inside an async function, which may use `?`, and has `locks`, a manager of a `memory://` node that is
//!   installed, and what `tests/src/pages.rs` offers

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", root.join("docs").display());

    let files = fs::read_dir(root.join("docs")).expect("the pages are beside the tests");
    let mut pages: Vec<PathBuf> = files.map(|file| file.expect("a page").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|ending| ending == "md"));
    pages.sort();
    pages.push(root.join("README.md"));

    let mut modules = Vec::new();
    for page in &pages {
        println!("cargo::rerun-if-changed={}", page.display());
        let text = fs::read_to_string(page).expect("a page is text");
        let module =
            page.strip_prefix(&root).expect("a page of ours").with_extension("").to_string_lossy().to_lowercase();
        let module = module.replace(|c: char| !c.is_alphanumeric(), "_");
        let ready = out.join(format!("{module}.md"));
        fs::write(&ready, ready_to_run(&text)).expect("the directory of the build can be written");
        let ready = ready.to_str().expect("the directory of the build is named in UTF-8");
        modules.push(format!("#[doc = include_str!({ready:?})] pub mod {module} {{}}"));
    }
    fs::write(out.join("pages.rs"), modules.join("\n")).expect("the directory of the build can be written");
}

/// The page with what its code needs besides.
fn ready_to_run(page: &str) -> String {
    let mut ready = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        ready += line;
        ready += "\n";
        if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            ready += &if line.starts_with("```rust") { wrapped(&block) } else { joined(&block) };
            ready += "```\n";
        }
    }
    ready
}

fn wrapped(block: &[&str]) -> String {
    let code = joined(block);
    let is_whole = code.contains("fn main(") || block.iter().any(|line| line.starts_with("# "));
    if is_whole {
        return code;
    }
    if code.contains("#[tokio::test") {
        let calls: Vec<String> = tests_in(block).map(|name| format!("# {name}().unwrap();\n")).collect();
        let calls = calls.concat();
        // A program's runtime has several threads unless it says otherwise, and a clock is paused for one alone.
        let code = code.replace("test(start_paused", "test(flavor = \"current_thread\", start_paused");
        return format!("# mod tokio {{ pub use ::tokio::*; pub use ::tokio::main as test; }}\n{code}{calls}");
    }
    format!(
        "# #[allow(unused_imports)] use redlock_tests::pages::*;\n\
         # redlock_tests::pages::run(async |locks: redlock_runtime::LockManager| {{\n\
         {code}\
         # anyhow::Ok(())\n\
         # }});\n"
    )
}

/// The names of the functions behind `#[tokio::test]`.
fn tests_in<'a>(block: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let behind = block.windows(2).filter(|pair| pair[0].starts_with("#[tokio::test")).map(|pair| pair[1]);
    behind.map(|line| line.trim_start_matches("async fn ").split('(').next().unwrap_or_default())
}

fn joined(block: &[&str]) -> String {
    block.iter().flat_map(|line| [line, "\n"]).collect()
}
