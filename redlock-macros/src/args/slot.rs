use proc_macro2::Span;
use syn::parse::ParseStream;
use syn::{Ident, Token};

use super::keys::duplicate;

/// One argument as far as it is read.
#[derive(Default)]
pub(super) enum Slot<T> {
    #[default]
    Absent,
    /// Written, but not understood; with what it was meant to be, where that can be told.
    Faulty(Option<T>),
    /// Written with this key.
    Value(Ident, T),
}

impl<T> Slot<T> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn key(&self) -> Option<&Ident> {
        match self {
            Self::Value(key, _) => Some(key),
            Self::Absent | Self::Faulty(_) => None,
        }
    }

    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Value(_, value) => Some(value),
            Self::Absent | Self::Faulty(_) => None,
        }
    }

    /// The value, or what a faulty one was meant to be.
    pub(super) fn meant(&self) -> Option<&T> {
        match self {
            Self::Value(_, value) => Some(value),
            Self::Faulty(meant) => meant.as_ref(),
            Self::Absent => None,
        }
    }

    pub(super) fn into_value(self) -> Option<T> {
        match self {
            Self::Value(_, value) => Some(value),
            Self::Absent | Self::Faulty(_) => None,
        }
    }

    /// Reads `= value` with `parse`, behind `key`.
    pub(super) fn value(
        &mut self,
        key: &Ident,
        input: ParseStream<'_>,
        parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
    ) -> syn::Result<()> {
        self.value_or_meant(key, input, |input, _| parse(input))
    }

    /// Reads `= value` with `parse`, which also tells what a faulty value was meant to be.
    pub(super) fn value_or_meant(
        &mut self,
        key: &Ident,
        input: ParseStream<'_>,
        parse: impl FnOnce(ParseStream<'_>, &mut Option<T>) -> syn::Result<T>,
    ) -> syn::Result<()> {
        let is_first = self.is_absent();
        if is_first {
            *self = Self::Faulty(None);
        }
        let mut unused = None;
        let meant = if let Self::Faulty(meant) = self { meant } else { &mut unused };
        let value = parse_assigned(key, input, |input| parse(input, meant));
        if !is_first {
            return value.and(Err(duplicate(key)));
        }
        *self = Self::Value(key.clone(), value?);
        Ok(())
    }
}

impl Slot<Span> {
    /// Reads an argument that has no value: `parse` refuses what stands in the place of one.
    pub(super) fn flag(
        &mut self,
        key: &Ident,
        input: ParseStream<'_>,
        parse: impl FnOnce(ParseStream<'_>) -> syn::Result<()>,
    ) -> syn::Result<()> {
        if !self.is_absent() {
            return Err(duplicate(key));
        }
        *self = Self::Value(key.clone(), key.span());
        parse(input)
    }
}

/// Reads `= value` behind `key`.
fn parse_assigned<T>(
    key: &Ident,
    input: ParseStream<'_>,
    parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<T> {
    let missing = |span| syn::Error::new(span, format!("`{key}` needs a value: `{key} = …`"));
    let Ok(equals) = input.parse::<Token![=]>() else {
        return Err(missing(key.span()));
    };
    if input.is_empty() || input.peek(Token![,]) {
        return Err(missing(equals.span));
    }
    parse(input)
}
