use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative as _;
use syn::{Error, Expr, Ident, LitStr, Token};

use super::fields::{Args, Slots};
use super::keys::{is_known, list, nearest};
use super::slot::Slot;

/// Arguments that are not understood, and what of them the body nevertheless relies on.
pub(crate) struct Faulty {
    /// Every fault that was found.
    pub(crate) faults: Error,
    pub(crate) guard: Option<Ident>,
    pub(crate) runtime: Option<syn::Path>,
}

/// The arguments read so far, and the faults found so far.
#[derive(Default)]
pub(super) struct Reader {
    slots: Slots,
    faults: Option<Error>,
    /// Whether something was left unread that may have been any argument. None counts as missing then: that would be a
    /// second fault for one mistake.
    has_unread: bool,
}

impl Reader {
    pub(super) fn read_all(&mut self, input: ParseStream<'_>) {
        while !input.is_empty() {
            if let Err(fault) = self.read_one(input) {
                self.fault(fault);
                skip_to_comma(input);
            } else if !input.is_empty() && !input.peek(Token![,]) {
                self.fault(input.error("expected `,` between two arguments"));
                // What follows may be an argument of its own whose comma was forgotten.
                if !is_argument(input) {
                    self.has_unread = true;
                    skip_to_comma(input);
                }
            }
            let _: Result<Option<Token![,]>, _> = input.parse();
        }
    }

    fn read_one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if self.slots.name.is_absent() && input.peek(LitStr) {
            self.slots.name = Slot::Faulty(None);
            let text: LitStr = input.parse()?;
            return Err(Error::new_spanned(&text, format!("write `name = {}`", text.token())));
        }
        if !input.peek(Ident::peek_any) {
            self.has_unread = true;
            return Err(input.error(format!("expected an argument: {}", list())));
        }
        let key = input.call(Ident::parse_any)?;
        let written = key.unraw().to_string();
        if let Some(read) = self.slots.read(&written, &key, input) {
            return read;
        }
        self.has_unread = true;
        let meant = nearest(&written).filter(|meant| self.slots.is_absent(meant));
        let cure = meant
            .map_or_else(|| format!("; the arguments are {}", list()), |meant| format!(": did you mean `{meant}`?"));
        self.fault(Error::new_spanned(&key, format!("unknown argument `{written}`{cure}")));
        // Read all the same, so that the body finds its guard.
        if let Some(read) = meant.and_then(|meant| self.slots.read(meant, &key, input)) {
            return read;
        }
        // As one expression where it is one: a comma in it ends no argument.
        let ahead = input.fork();
        if ahead.parse::<Token![=]>().is_ok() && ahead.parse::<Expr>().is_ok() {
            input.advance_to(&ahead);
        } else {
            skip_to_comma(input);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Args, Faulty> {
        if self.slots.name.is_absent() && !self.has_unread {
            self.fault(Error::new(Span::call_site(), "the lock has no name: write `#[redlock(name = \"…\")]`"));
        }
        for clash in self.slots.clashes(!self.has_unread) {
            combine(&mut self.faults, clash);
        }
        let (guard, runtime) = (self.slots.guard.meant().cloned(), self.slots.runtime.meant().cloned());
        match (self.slots.into_args(), self.faults) {
            (Some(args), None) => Ok(args),
            (_, faults) => {
                let faults = faults.unwrap_or_else(|| Error::new(Span::call_site(), "the lock has no name"));
                Err(Faulty { faults, guard, runtime })
            }
        }
    }

    pub(super) fn fault(&mut self, fault: Error) {
        combine(&mut self.faults, fault);
    }
}

fn combine(faults: &mut Option<Error>, fault: Error) {
    match faults {
        Some(faults) => faults.combine(fault),
        None => *faults = Some(fault),
    }
}

/// Leaves a faulty argument behind, so that the next one can be read.
fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _: syn::Result<proc_macro2::TokenTree> = input.parse();
    }
}

/// Whether an argument begins here.
fn is_argument(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let key = ahead.call(Ident::parse_any);
    key.is_ok_and(|key| is_known(&key.unraw().to_string()) || ahead.peek(Token![=]))
}
