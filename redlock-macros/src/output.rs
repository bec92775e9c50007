use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{GenericArgument, PathArguments, ReturnType, Signature, Type};

/// The declared return type, as the body may repeat it.
pub(crate) struct Output {
    /// With `_` for every `impl Trait`, which cannot be written in a body.
    tokens: TokenStream,
    span: Span,
    kind: Kind,
}

enum Kind {
    Named,
    ImplTrait,
    Never,
}

impl Output {
    pub(crate) fn new(sig: &Signature) -> Self {
        let ReturnType::Type(_, declared) = &sig.output else {
            // What is wrong with a type that is not written is said at the function's name.
            let span = sig.ident.span();
            let tokens = quote_spanned!(hidden(span)=> ());
            return Self {
                tokens,
                span,
                kind: Kind::Named,
            };
        };
        let kind = match ungroup(declared) {
            Type::ImplTrait(_) => Kind::ImplTrait,
            Type::Never(_) => Kind::Never,
            _ => Kind::Named,
        };
        let mut erased = Type::clone(declared);
        erase_impl_trait(&mut erased);
        Self {
            tokens: hide(erased.into_token_stream()),
            span: declared.span(),
            kind,
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Whether the declared type is `impl Trait` itself; inside another type it is just unknown.
    pub(crate) fn is_impl_trait(&self) -> bool {
        matches!(self.kind, Kind::ImplTrait)
    }

    pub(crate) fn is_never(&self) -> bool {
        matches!(self.kind, Kind::Never)
    }
}

impl ToTokens for Output {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.tokens.clone());
    }
}

fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        _ => ty,
    }
}

fn erase_impl_trait(ty: &mut Type) {
    match ty {
        Type::ImplTrait(_) => *ty = Type::Verbatim(quote_spanned!(ty.span()=> _)),
        Type::Array(array) => erase_impl_trait(&mut array.elem),
        Type::Group(group) => erase_impl_trait(&mut group.elem),
        Type::Paren(paren) => erase_impl_trait(&mut paren.elem),
        Type::Ptr(pointer) => erase_impl_trait(&mut pointer.elem),
        Type::Reference(reference) => erase_impl_trait(&mut reference.elem),
        Type::Slice(slice) => erase_impl_trait(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase_impl_trait),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
                    for argument in &mut arguments.args {
                        if let GenericArgument::Type(ty) = argument {
                            erase_impl_trait(ty);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

/// Gives the user's type tokens a span that reports errors where they stand, and keeps lints from seeing the
/// type twice. `$crate` finds its crate through its span, so it stays as it is.
fn hide(tokens: TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => {
                let mut hidden_group = Group::new(group.delimiter(), hide(group.stream()));
                hidden_group.set_span(hidden(group.span()));
                TokenTree::Group(hidden_group)
            }
            TokenTree::Ident(ident) if ident == "$crate" => TokenTree::Ident(ident),
            mut other => {
                other.set_span(hidden(other.span()));
                other
            }
        })
        .collect()
}

/// The place of `span`, for code that the user did not write.
pub(crate) fn hidden(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
