use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{Expr, Ident, Lit, LitBool, LitStr, Path, Token, UnOp};

/// What happens to a running body when the lock is lost.
#[derive(Clone, Copy)]
pub(crate) enum OnLost {
    Cancel(Span),
    Continue,
}

impl OnLost {
    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let refuse = |span| syn::Error::new(span, "`on_lost` is \"cancel\" or \"continue\"");
        let value: LitStr = input.parse().map_err(|_| refuse(input.span()))?;
        match value.value().as_str() {
            "cancel" => Ok(Self::Cancel(value.span())),
            "continue" => Ok(Self::Continue),
            _ => Err(refuse(value.span())),
        }
    }
}

/// When a fire is marked as completed.
#[derive(Clone, Copy)]
pub(crate) enum OnceAt {
    End,
    Start,
}

impl OnceAt {
    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let refuse = |span| syn::Error::new(span, "`once_at` is \"end\" or \"start\"");
        let value: LitStr = input.parse().map_err(|_| refuse(input.span()))?;
        match value.value().as_str() {
            "end" => Ok(Self::End),
            "start" => Ok(Self::Start),
            _ => Err(refuse(value.span())),
        }
    }
}

/// How a lock is wanted that readers share.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Read,
    Write,
}

impl Mode {
    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let refuse = |span| syn::Error::new(span, "`mode` is \"read\" or \"write\"");
        let value: LitStr = input.parse().map_err(|_| refuse(input.span()))?;
        match value.value().as_str() {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err(refuse(value.span())),
        }
    }
}

/// How many may hold the lock at once.
pub(crate) struct Permits(pub(crate) Expr);

impl Permits {
    /// A server is asked for all of them in one script, and does nothing else meanwhile.
    const MOST: u32 = 64;

    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expression: Expr = input.parse()?;
        let refuse = || {
            let message = format!(
                "`permits` is a number from 1 to {}: so many calls run at once; many small shares of one thing are better guarded by \
                 several locks",
                Self::MOST
            );
            Err(syn::Error::new(expression.span(), message))
        };
        match &expression {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(number) if number.base10_parse().is_ok_and(|permits| (1..=Self::MOST).contains(&permits)) => {}
                _ => return refuse(),
            },
            Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) && matches!(*unary.expr, Expr::Lit(_)) => {
                return refuse();
            }
            _ => {}
        }
        Ok(Self(expression))
    }
}

/// Refuses a value of `silent`, which takes none.
pub(super) fn parse_silent(input: ParseStream<'_>) -> syn::Result<()> {
    if input.peek(Token![=]) {
        return Err(input.error("`silent` takes no value: write `silent`, or omit it"));
    }
    Ok(())
}

pub(super) fn parse_renew(input: ParseStream<'_>) -> syn::Result<LitBool> {
    let span = input.span();
    input.parse().map_err(|_| syn::Error::new(span, "`renew` is `true` or `false`"))
}

pub(super) fn parse_guard(input: ParseStream<'_>, meant: &mut Option<Ident>) -> syn::Result<Ident> {
    let span = input.span();
    let ahead = input.fork();
    input.parse().map_err(|_| {
        *meant = in_quotes(&ahead).or_else(|| {
            ahead.parse::<Token![&]>().ok()?;
            ahead.parse().ok()
        });
        syn::Error::new(span, "`guard` takes the name that the body uses for the guard: `guard = lock`")
    })
}

pub(super) fn parse_runtime(input: ParseStream<'_>, meant: &mut Option<Path>) -> syn::Result<Path> {
    let span = input.span();
    let ahead = input.fork();
    input.call(Path::parse_mod_style).map_err(|_| {
        *meant = in_quotes(&ahead);
        syn::Error::new(span, "`crate` takes the path of the runtime: `crate = redlock_runtime`")
    })
}

/// What was put in quotes and should not have been.
fn in_quotes<T: Parse>(input: ParseStream<'_>) -> Option<T> {
    if !input.peek(LitStr) {
        return None;
    }
    input.parse::<LitStr>().ok()?.parse().ok()
}
