use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Attribute, FnArg, Signature, Token, Visibility};

use crate::body::{Body, is_ident, is_punct};

/// The annotated function. Its body stays tokens: nothing in it is ever refused here.
pub(crate) struct Item {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Body,
}

/// Why something has no body that could run under a lock.
pub(crate) struct NotLocked {
    pub(crate) fault: syn::Error,
    /// Whether it is a function all the same.
    pub(crate) is_function: bool,
}

impl Item {
    pub(crate) fn read(tokens: TokenStream) -> Result<Self, NotLocked> {
        let kind = kind_of(&tokens);
        if kind == Kind::Function {
            return syn::parse2(tokens).map_err(|fault| NotLocked { fault, is_function: true });
        }
        let message = match kind {
            Kind::Expression => {
                "#[redlock] goes on a function: make this one, or take the lock by hand with `LockManager::lock`"
            }
            Kind::Function | Kind::Other => "#[redlock] goes on a function",
        };
        Err(NotLocked { fault: syn::Error::new(Span::call_site(), message), is_function: false })
    }

    /// The names of the function's arguments, `self` among them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut names = Vec::new();
        for argument in &self.sig.inputs {
            match argument {
                FnArg::Receiver(_) => names.push("self".to_owned()),
                FnArg::Typed(typed) => collect_bindings(typed.pat.to_token_stream(), &mut names),
            }
        }
        names
    }
}

/// The names that a pattern binds. Fields that it only mentions are among them, which does no harm.
fn collect_bindings(pattern: TokenStream, names: &mut Vec<String>) {
    for token in pattern {
        match token {
            TokenTree::Group(group) => collect_bindings(group.stream(), names),
            TokenTree::Ident(ident) if !["mut", "ref", "box"].iter().any(|word| ident == word) => {
                let name = ident.unraw().to_string();
                if name.starts_with(|first: char| first.is_lowercase() || first == '_') && !names.contains(&name) {
                    names.push(name);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// What the attribute stands on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    /// A closure, a block, a call.
    Expression,
    /// Another item, or a `let`.
    Other,
}

/// Whether the attribute stands on an expression.
pub(crate) fn is_expression(tokens: &TokenStream) -> bool {
    kind_of(tokens) == Kind::Expression
}

fn kind_of(tokens: &TokenStream) -> Kind {
    let read = |input: ParseStream<'_>| {
        let _attributes = input.call(Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        let rest: TokenStream = input.parse()?;
        Ok((!matches!(visibility, Visibility::Inherited), rest.into_iter().collect::<Vec<TokenTree>>()))
    };
    let Ok((is_item, tokens)) = read.parse2(tokens.clone()) else { return Kind::Other };
    let is_qualifier = |token: &TokenTree| {
        let is_abi = matches!(token, TokenTree::Literal(_));
        is_abi || ["default", "const", "async", "unsafe", "safe", "extern"].iter().any(|word| is_ident(token, word))
    };
    let qualifiers = tokens.iter().take_while(|token| is_qualifier(token)).count();
    let items = [
        "struct",
        "enum",
        "union",
        "trait",
        "impl",
        "mod",
        "use",
        "static",
        "type",
        "let",
        "macro_rules",
        "macro",
        "auto",
    ];
    match &tokens[qualifiers..] {
        [next, ..] if is_ident(next, "fn") => Kind::Function,
        [next, ..] if is_item || items.iter().any(|word| is_ident(next, word)) => Kind::Other,
        // `const NAME: …`, `extern { … }`; what is half-typed stays what it may become.
        [name, colon, ..]
            if tokens[..qualifiers].last().is_some_and(|last| is_ident(last, "const"))
                && matches!(name, TokenTree::Ident(_))
                && is_punct(colon, ':') =>
        {
            Kind::Other
        }
        _ if tokens[..qualifiers].iter().any(|token| is_ident(token, "extern")) => Kind::Other,
        [] if !tokens.iter().any(|token| matches!(token, TokenTree::Literal(_))) => Kind::Other,
        _ => Kind::Expression,
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
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
