//! The attribute's arguments, from its tokens to `Args`.
//!
//! ```text
//! table → keys, fields → reader → Args; the table's own words → documentation: a page, tested
//! ```
pub(crate) mod table;

#[cfg(test)]
mod documentation;
mod fields;
mod keys;
mod slot;

mod name;
mod time;
mod values;

mod clashes;
mod reader;

use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser as _};

use self::reader::Reader;

pub(crate) use self::fields::Args;
pub(crate) use self::name::Name;
pub(crate) use self::reader::Faulty;
pub(crate) use self::time::{Once, Time, Timeout};
pub(crate) use self::values::{Mode, OnLost, OnceAt, Permits};

impl Args {
    /// Reads all arguments.
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self, Faulty> {
        let mut reader = Reader::default();
        let read = |input: ParseStream<'_>| {
            reader.read_all(input);
            Ok(())
        };
        if let Err(fault) = read.parse2(tokens) {
            reader.fault(fault);
        }
        reader.finish()
    }

    /// Whether a call that did not get its lock skips the body instead of returning an error.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.is_some() || self.skip_value.is_some()
    }

    /// Whether the lock may fail to be acquired, as far as the tokens tell.
    pub(crate) fn can_run_out(&self) -> bool {
        !matches!(self.timeout, None | Some(Timeout::Forever))
    }

    /// Whether a call may end without its body, however long it waits: its fire may have run.
    pub(crate) fn may_have_run(&self) -> bool {
        self.once.is_some()
    }
}
