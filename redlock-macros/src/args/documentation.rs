/// The rows of the documentation's table.
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
pub(crate) use documentation;

#[cfg(test)]
mod tests {
    use crate::args::keys::ARGUMENTS;
    use crate::args::table::arguments;

    /// The keys in the first cell of each row of the table of arguments in `text`, as they are written: `` `key` ``.
    fn documented(text: &str) -> Vec<Vec<&str>> {
        let rows = text.lines().skip_while(|line| !line.starts_with("| argument |")).skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        rows.map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{row}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
            cells[0].split('`').skip(1).step_by(2).collect()
        })
        .collect()
    }

    fn declared() -> Vec<Vec<&'static str>> {
        ARGUMENTS.iter().map(|argument| argument.keys().collect()).collect()
    }

    #[test]
    fn the_documentation_has_a_row_of_four_cells_for_each_argument() {
        let table =
            concat!("| argument | accepts | default | meaning |\n|---|---|---|---|\n", arguments!(documentation));
        assert_eq!(documented(table), declared());
    }

    #[test]
    fn the_readme_has_a_row_for_each_argument() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(readme).expect("the README stands beside the crates");
        assert_eq!(documented(&readme), declared());
    }
}
