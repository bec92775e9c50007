//! What the library says, in the words of the command line.

use std::fmt::Write as _;

use crate::output::plain;

/// Settings that have an option of the same name here.
const OPTIONS: [&str; 10] = [
    "node_timeout",
    "longest_ttl",
    "marks_retention",
    "max_clock_skew",
    "wait_replicas",
    "lock_prefix",
    "once",
    "permits",
    "min_hold",
    "max_hold",
];

/// A text about settings that names the options where the library names its methods. Not for a text with names of locks in it, which may be called
/// as a setting is.
pub(crate) fn of_options(text: &str) -> String {
    OPTIONS.iter().fold(text.to_owned(), |text, setting| {
        let (method, option) = (format!("`{setting}`"), format!("`--{}`", setting.replace('_', "-")));
        text.replace(&format!("{method} of the builder"), &option).replace(&method, &option)
    })
}

/// What a shell is to be given so that a command has this as its one argument.
pub(crate) fn quoted(argument: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_@%+=:,./-".contains(character);
    // What begins like an option.
    let dashes = if argument.starts_with('-') { "-- " } else { "" };
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return format!("{dashes}{argument}");
    }
    // As it is shown, it is not what is there.
    if plain(argument) != argument {
        let mut escaped = String::new();
        for character in argument.chars() {
            match character {
                '\'' | '\\' => drop(write!(escaped, "\\{character}")),
                _ if character.is_ascii() && !character.is_ascii_control() => escaped.push(character),
                _ => drop(write!(escaped, "\\U{:08x}", u32::from(character))),
            }
        }
        return format!("{dashes}$'{escaped}'");
    }
    format!("{dashes}'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_called_as_their_options_are() {
        for (text, expect) in [
            (
                "longer than `longest_ttl`; set `longest_ttl` of the builder",
                "longer than `--longest-ttl`; set `--longest-ttl`",
            ),
            ("`once` together with `permits`", "`--once` together with `--permits`"),
            ("`connect_timeout` of the builder", "`connect_timeout` of the builder"),
        ] {
            assert_eq!(of_options(text), expect);
        }
    }

    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        for argument in [
            "deploy",
            "invoice:7",
            "",
            "two words",
            "it's",
            "$HOME `x` \"y\" \\",
            "-n",
            "--",
            "夜間",
            "a\u{202e}b'\\",
            "a\nb",
            "-\tx",
        ] {
            let script = format!("printf '%s|' x {}", quoted(argument));
            let output =
                std::process::Command::new("bash").env("LC_ALL", "C.UTF-8").args(["-c", &script]).output().unwrap();
            let dashes = if argument.starts_with('-') { "--|" } else { "" };
            assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("x|{dashes}{argument}|"), "{script}");
        }
    }
}
