//! What `docs/cli.md` says of these tests.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_table_of_complaints_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(folder.join("../docs/cli.md")).unwrap();
    let (_, table) = page.split_once("## Complaints about other commands").expect("the page has the table");
    // Between backticks stands what is code.
    let named: Vec<_> = table.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect();
    assert!(named.len() > 20, "{named:?}");
    for (module, test) in named {
        let file = fs::read_to_string(folder.join(format!("tests/cli/{module}.rs"))).unwrap_or_default();
        assert!(
            file.contains(&format!("#[test]\nfn {test}()")),
            "docs/cli.md names {module}::{test}, which is not there"
        );
    }
}
