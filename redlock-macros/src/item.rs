use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Signature, Token, Visibility};

use crate::body::Body;

/// The annotated function. Its body stays tokens: nothing in it is ever refused here.
pub(crate) struct Item {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Body,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let is_function = ["const", "async", "unsafe", "extern", "fn"]
            .iter()
            .any(|word| input.cursor().ident().is_some_and(|(ident, _)| ident == word));
        if !is_function {
            return Err(syn::Error::new(Span::call_site(), "#[redlock] goes on a function"));
        }
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            let message = "#[redlock] needs a body to protect: put it on the implementations of this function";
            return Err(syn::Error::new_spanned(&sig.ident, message));
        }
        let (inside, braces) = input.step(|cursor| match cursor.group(Delimiter::Brace) {
            Some((inside, braces, rest)) => Ok(((inside.token_stream(), braces), rest)),
            None => Err(cursor.error("expected the function's body")),
        })?;
        Ok(Self { attrs, vis, sig, body: Body::new(inside, braces) })
    }
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        let mut inside = body.inner_attrs.clone();
        inside.extend(body.statements.clone());
        let mut group = Group::new(Delimiter::Brace, inside);
        group.set_span(body.braces.join());
        let body = TokenTree::Group(group);
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}
