//! The files of the folder `docs`, so that they read the same here and in the repository.
//!
//! The folder in this crate is a link to the repository's `docs`: what lies outside of a crate's own folder is not published with
//! it, and links between the pages, the README and the sources have to lead somewhere in the repository too.

/// Files that are no pages: documentation shows no others, but the sources of the published crate have them.
macro_rules! files {
    () => {
        "[alerts]: https://docs.rs/crate/redlock-runtime/latest/source/docs/alerts.yml\n\
         [dashboard]: https://docs.rs/crate/redlock-runtime/latest/source/docs/grafana.json\n"
    };
}

/// Declares the pages, each by its module and its file.
///
/// A page defines its links itself, and they lead to the files beside it. Of two definitions of a link the first one counts, so
/// those that stand in front of the page here lead to the modules.
///
/// ```text
/// waiting = "waiting.md";
///
/// // becomes
/// #[doc = "[acl]: crate::pages::acl\n … [waiting]: crate::pages::waiting\n"]
/// #[doc = include_str!("../docs/waiting.md")]
/// pub mod waiting {}
/// ```
macro_rules! pages {
    ($($module:ident = $file:literal;)*) => { pages!(all [$($module)*] $($module = $file;)*); };
    (all $all:tt $($module:ident = $file:literal;)*) => { $( pages!(one $all $module = $file); )* };
    (one [$($each:ident)*] $module:ident = $file:literal) => {
        #[doc = concat!($("[", stringify!($each), "]: crate::pages::", stringify!($each), "\n",)* "[attribute]: crate::redlock\n", files!(), "\n")]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $module {}
    };
}

pages! {
    acl = "acl.md";
    all = "README.md";
    cli = "cli.md";
    cron = "cron.md";
    faq = "faq.md";
    fencing = "fencing.md";
    guarantees = "guarantees.md";
    kinds = "kinds.md";
    migrating = "migrating.md";
    names = "names.md";
    nodes = "nodes.md";
    observe = "observe.md";
    operating = "operating.md";
    performance = "performance.md";
    permits = "permits.md";
    postgres = "postgres.md";
    readers_writers = "readers-writers.md";
    serve = "serve.md";
    settings = "settings.md";
    shutdown = "shutdown.md";
    testing = "testing.md";
    troubleshooting = "troubleshooting.md";
    waiting = "waiting.md";
    wire = "wire.md";
}
