use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{ReturnType, Signature, Type};

/// Where the return type is declared, and what its tokens tell. All else about it is asked of the type itself.
pub(crate) struct Output {
    /// The first token. The function's name if no type is written: what is wrong with `()` is said there.
    pub(crate) span: Span,
    /// The last token.
    pub(crate) end: Span,
    pub(crate) kind: OutputKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Named,
    /// `impl Trait` itself; inside another type it is not told apart.
    ImplTrait,
    Never,
}

impl Output {
    pub(crate) fn new(sig: &Signature) -> Self {
        match &sig.output {
            ReturnType::Default => Self::at(sig.ident.to_token_stream(), OutputKind::Named),
            ReturnType::Type(_, declared) => Self::at(declared.to_token_stream(), OutputKind::new(declared)),
        }
    }

    fn at(tokens: TokenStream, kind: OutputKind) -> Self {
        let mut spans = tokens.into_iter().map(|token| token.span());
        let span = spans.next().unwrap_or_else(Span::call_site);
        Self {
            span,
            end: spans.last().unwrap_or(span),
            kind,
        }
    }

    /// The same path, written in place of the type, so that an error about the path is one about the type.
    pub(crate) fn spread(&self, path: TokenStream) -> TokenStream {
        let tokens: Vec<_> = path.into_iter().collect();
        let last = tokens.len().saturating_sub(1);
        let spread = tokens.into_iter().enumerate().map(|(position, mut token)| {
            let place = if position == last { self.end } else { self.span };
            token.set_span(token.span().located_at(place));
            token
        });
        spread.collect()
    }
}

impl OutputKind {
    fn new(declared: &Type) -> Self {
        match declared {
            Type::Group(group) => Self::new(&group.elem),
            Type::Paren(paren) => Self::new(&paren.elem),
            Type::ImplTrait(_) => Self::ImplTrait,
            Type::Never(_) => Self::Never,
            _ => Self::Named,
        }
    }
}
