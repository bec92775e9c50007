//! The `#[redlock]` attribute. Use it through the crate `redlock-runtime`, whose runtime its expansion calls.
//!
//! # Layout
//!
//! - `args`: the attribute's arguments, which `args/table.rs` declares; `item`, `body`, `output`: the annotated function
//! - `refuse`: what does not go together
//! - `expand`: the function that runs under its lock; the only place that names the runtime's hidden module.
//!   `expand/locked.rs` is what makes the upper of two attributes the outer one
mod args;
mod body;
mod item;
mod output;
mod refuse;

mod expand;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes the body of a function run under a distributed lock: only one caller in the whole fleet is inside at a time.
///
/// [cron]: ../redlock_runtime/pages/cron/index.html
/// [shutdown]: ../redlock_runtime/pages/shutdown/index.html
///
// The rest is docs/attribute.md, whose code runs as doc tests of tests/src/lib.rs.
#[cfg_attr(not(doctest), doc = include_str!("../attribute.md"))]
#[proc_macro_attribute]
pub fn redlock(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::redlock(arguments.into(), item.into()).into()
}
