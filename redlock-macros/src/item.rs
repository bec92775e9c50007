use proc_macro2::extra::DelimSpan;
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Signature, Token, Visibility};

/// The annotated function. Its body stays tokens: nothing in it is ever refused here.
pub(crate) struct Item {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Body,
}

/// What stands between the function's braces.
pub(crate) struct Body {
    pub(crate) braces: DelimSpan,
    /// `#![…]`, which has to stay the first thing in the function.
    pub(crate) inner_attrs: TokenStream,
    pub(crate) statements: TokenStream,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let is_function = ["const", "async", "unsafe", "safe", "extern", "fn"]
            .iter()
            .any(|word| input.cursor().ident().is_some_and(|(ident, _)| ident == word));
        if !is_function {
            return Err(syn::Error::new(
                Span::call_site(),
                "#[redlock] goes on a function",
            ));
        }
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            let message =
                "#[redlock] needs a body to protect: put it on the implementations of this function";
            return Err(syn::Error::new_spanned(&sig.ident, message));
        }
        let body = input.step(|cursor| match cursor.group(Delimiter::Brace) {
            Some((inside, braces, rest)) => Ok(((inside.token_stream(), braces), rest)),
            None => Err(cursor.error("expected the function's body")),
        })?;
        Ok(Self {
            attrs,
            vis,
            sig,
            body: Body::new(body.0, body.1),
        })
    }
}

impl Body {
    fn new(tokens: TokenStream, braces: DelimSpan) -> Self {
        let mut tokens = tokens.into_iter().peekable();
        let mut rest = tokens.clone();
        let mut inner_attrs = TokenStream::new();
        while let (Some(hash), Some(bang), Some(group)) = (rest.next(), rest.next(), rest.next()) {
            if !is_punct(&hash, '#') || !is_punct(&bang, '!') || !matches!(group, TokenTree::Group(_)) {
                break;
            }
            inner_attrs.extend([hash, bang, group]);
            tokens = rest.clone();
        }
        Self {
            braces,
            inner_attrs,
            statements: tokens.collect(),
        }
    }
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            attrs,
            vis,
            sig,
            body,
        } = self;
        tokens.extend(quote::quote!(#(#attrs)* #vis #sig));
        let mut inside = body.inner_attrs.clone();
        inside.extend(body.statements.clone());
        let mut group = proc_macro2::Group::new(Delimiter::Brace, inside);
        group.set_span(body.braces.join());
        tokens.extend([TokenTree::Group(group)]);
    }
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
