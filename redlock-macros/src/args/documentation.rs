/// The rows of the table in docs/attribute.md, which is the attribute's documentation; a test compares them.
///
/// ```text
/// /// | a duration | none | when renewal stops |
/// "max_hold" => max_hold: Time, value(Time::parse);
///
/// // becomes
/// "| `max_hold` | a duration | none | when renewal stops |\n"
/// ```
macro_rules! documentation {
    ($($presence:ident { $(
        #[doc = $cells:literal]
        $key:literal $(| $other:literal)? => $field:ident: $type:ty, $how:ident($parse:path);
    )* })*) => {
        ::core::concat!($($("| `", $key, "`", $(", `", $other, "`",)? $cells, "\n",)*)*)
    };
}
use super::keys::ARGUMENTS;
use super::table::arguments;

const PAGE: &str = include_str!("../../attribute.md");

/// The table of arguments in the page, with its head.
fn table() -> String {
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| argument |"));
    table.take_while(|line| line.starts_with('|')).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn the_page_has_the_row_of_each_argument_as_it_is_declared() {
    let declared =
        concat!("| argument | accepts | default | meaning |\n|---|---|---|---|\n", arguments!(documentation));
    assert!(table() == declared, "the table in docs/attribute.md has to be\n\n{declared}");
}

#[test]
fn each_row_names_its_argument_and_has_four_cells() {
    for (row, argument) in table().lines().skip(2).zip(ARGUMENTS) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let keys: Vec<&str> = cells[0].split('`').skip(1).step_by(2).collect();
        assert_eq!(keys, argument.keys().collect::<Vec<_>>(), "{row}");
    }
    assert_eq!(table().lines().count(), 2 + ARGUMENTS.len());
}
