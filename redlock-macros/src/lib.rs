//! The `#[redlock]` attribute.
mod args;
mod body;
mod expand;
mod item;
mod output;
mod refuse;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes the body of a function run under a distributed lock.
#[proc_macro_attribute]
pub fn redlock(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::redlock(arguments.into(), item.into()).into()
}
