use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{GenericArgument, PathArguments, PathSegment, ReturnType, Signature, Type, TypeParamBound};

/// Where the return type is declared, and what its tokens tell. All else about it is asked of the type itself.
///
/// Of a function that returns a future, it is the type that the future returns.
pub(crate) struct Output {
    /// The first token. The function's name if no type is written: what is wrong with `()` is said there.
    pub(crate) span: Span,
    /// The last token.
    pub(crate) end: Span,
    pub(crate) kind: OutputKind,
    /// Set if a function that is not async returns a future.
    pub(crate) future: Option<Returned>,
    /// Whether a function that is not async may do so under another name.
    pub(crate) may_hide_future: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Named,
    /// `impl Trait` itself; inside another type it is not told apart.
    ImplTrait,
    Never,
}

/// How a function returns a future.
pub(crate) struct Returned {
    /// `Pin<Box<…>>`, not `impl Future`.
    pub(crate) is_boxed: bool,
    /// What the future returns, as it can be repeated in a body.
    pub(crate) output: TokenStream,
    /// Whether `#[async_trait]` made it of an `async fn`, whose whole body it is.
    pub(crate) is_async_fn: bool,
}

impl Returned {
    /// How many groups deep the user's statements stand in the future's block. `#[async_trait]` makes it
    /// `{ …; let __ret: T = { statements }; __ret }`.
    pub(crate) const fn levels(&self) -> usize {
        if self.is_async_fn { 1 } else { 0 }
    }
}

impl Output {
    pub(crate) fn new(sig: &Signature) -> Self {
        let ReturnType::Type(_, declared) = &sig.output else {
            return Self::at(sig.ident.to_token_stream(), OutputKind::Named, None);
        };
        match returned_future(declared).filter(|_| sig.asyncness.is_none()) {
            None => {
                let kind = OutputKind::new(declared);
                let may_hide_future = kind == OutputKind::Named && sig.asyncness.is_none();
                Self { may_hide_future, ..Self::at(declared.to_token_stream(), kind, None) }
            }
            Some((is_boxed, output)) => {
                let kind = OutputKind::new(output);
                let tokens = output.to_token_stream();
                let is_hidden = kind != OutputKind::Named || tokens.to_string().contains("impl ");
                let repeated = if is_hidden { quote!(_) } else { tokens.clone() };
                let is_async_fn = sig.generics.lifetimes().any(|life| life.lifetime.ident == "async_trait");
                Self::at(tokens, kind, Some(Returned { is_boxed, output: repeated, is_async_fn }))
            }
        }
    }

    /// How many groups deep the user's statements stand in the function.
    pub(crate) fn levels(&self) -> usize {
        // `Box::pin(async move { … })`
        self.future.as_ref().filter(|future| future.is_async_fn).map_or(0, |future| 2 + future.levels())
    }

    fn at(tokens: TokenStream, kind: OutputKind, future: Option<Returned>) -> Self {
        let mut spans = tokens.into_iter().map(|token| token.span());
        let span = spans.next().unwrap_or_else(Span::call_site);
        Self { span, end: spans.last().unwrap_or(span), kind, future, may_hide_future: false }
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
        match ungroup(declared) {
            Type::ImplTrait(_) => Self::ImplTrait,
            Type::Never(_) => Self::Never,
            _ => Self::Named,
        }
    }
}

/// Whether the future that `declared` is comes in a box, and what it returns.
fn returned_future(declared: &Type) -> Option<(bool, &Type)> {
    match ungroup(declared) {
        Type::ImplTrait(opaque) => future_output(&opaque.bounds).map(|output| (false, output)),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            if last.ident == "Pin" {
                let Type::Path(boxed) = ungroup(type_arguments(last).next()?) else { return None };
                let boxed = boxed.path.segments.last().filter(|last| last.ident == "Box")?;
                let Type::TraitObject(object) = ungroup(type_arguments(boxed).next()?) else { return None };
                future_output(&object.bounds).map(|output| (true, output))
            } else if last.ident == "BoxFuture" || last.ident == "LocalBoxFuture" {
                type_arguments(last).next().map(|output| (true, output))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// The `T` of `Future<Output = T>` among the bounds.
fn future_output<P>(bounds: &Punctuated<TypeParamBound, P>) -> Option<&Type> {
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last().filter(|last| last.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
            _ => None,
        })
    })
}

fn type_arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments),
        PathArguments::None | PathArguments::Parenthesized(_) => None,
    };
    arguments.into_iter().flat_map(|arguments| &arguments.args).filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        _ => ty,
    }
}
