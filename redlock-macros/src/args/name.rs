use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Stmt, Token, UnOp};

use super::time::ungroup;

/// How long a lock's name may be, in bytes; the runtime checks the same for names only known when called.
const MAX_NAME_BYTES: usize = 512;

/// What names a lock.
pub(crate) enum Name {
    /// A string literal for `format_args!`, with or without captured arguments.
    Template(LitStr),
    /// Anything else that is `Display`. What it holds is only known when the function is called.
    Expression(Expr),
    /// Several of these, whose locks are acquired together.
    Several(Vec<Name>),
}

impl Name {
    /// One, or several in brackets.
    pub(super) fn parse_all(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(syn::token::Bracket) {
            return Self::parse(input);
        }
        let inside;
        let bracket = syn::bracketed!(inside in input);
        let names = Punctuated::<Name, Token![,]>::parse_terminated_with(&inside, Self::parse)?;
        if names.is_empty() {
            return Err(syn::Error::new(bracket.span.join(), "a lock of no names: write at least one"));
        }
        Ok(Self::Several(names.into_iter().collect()))
    }

    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expression: Expr = input.parse()?;
        if let Some(number) = written_number(&expression) {
            let message = format!("the lock's name is a text: write `{number:?}`");
            return Err(syn::Error::new_spanned(&expression, message));
        }
        match written_text(&expression) {
            Some(text) => {
                check_template(&text)?;
                Ok(Self::Template(text))
            }
            None => Ok(Self::Expression(expression)),
        }
    }

    /// What all names that it makes have in common, if it shows that: a template, or that of `format!`.
    pub(crate) fn template(&self) -> Option<String> {
        match self {
            Self::Template(text) => Some(text.value()),
            Self::Several(names) => Some(names.iter().map(Self::template).collect::<Option<Vec<_>>>()?.join(" + ")),
            Self::Expression(expression) => match inside(expression) {
                Expr::Macro(call) if ["format", "format_args"].iter().any(|name| is_named(&call.mac.path, name)) => {
                    let first = |input: ParseStream<'_>| {
                        let text: LitStr = input.parse()?;
                        input.parse::<proc_macro2::TokenStream>()?;
                        Ok(text.value())
                    };
                    call.mac.parse_body_with(first).ok()
                }
                _ => None,
            },
        }
    }

    /// Whether `{argument}` in the name's text was meant to be filled in and was not. `format!` fills it in.
    pub(crate) fn may_hide_template(&self) -> bool {
        match self {
            Self::Template(_) | Self::Several(_) => false,
            Self::Expression(expression) => match inside(expression) {
                Expr::Macro(call) => !["format", "format_args"].iter().any(|name| is_named(&call.mac.path, name)),
                _ => true,
            },
        }
    }
}

/// The expression without what changes nothing about its text: parentheses, `&`, and blocks that hold nothing else.
fn inside(expression: &Expr) -> &Expr {
    let block = match ungroup(expression) {
        Expr::Reference(reference) if reference.mutability.is_none() => return inside(&reference.expr),
        Expr::Block(block) if block.label.is_none() => &block.block,
        Expr::Const(block) => &block.block,
        Expr::Unsafe(block) => &block.block,
        other => return other,
    };
    match block.stmts.as_slice() {
        [Stmt::Expr(only, None)] => inside(only),
        _ => ungroup(expression),
    }
}

/// The text that an expression is, as one literal: written out, or as the `concat!` of literals.
///
/// It stands where the literal does that has the first braces, so that captured arguments are looked for there.
fn written_text(expression: &Expr) -> Option<LitStr> {
    match inside(expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.clone()),
        Expr::Macro(call) if is_named(&call.mac.path, "concat") => {
            let pieces = call.mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated).ok()?;
            let texts: Vec<String> = pieces.iter().map(written_piece).collect::<Option<_>>()?;
            let captures = texts.iter().position(|text| text.contains('{')).unwrap_or(0);
            Some(LitStr::new(&texts.concat(), pieces.get(captures)?.span()))
        }
        _ => None,
    }
}

/// What `concat!` makes of one of its arguments.
fn written_piece(piece: &Expr) -> Option<String> {
    match ungroup(piece) {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Str(text) => Some(text.value()),
            Lit::Int(number) => Some(number.base10_digits().to_owned()),
            Lit::Float(number) => Some(number.base10_digits().to_owned()),
            Lit::Bool(truth) => Some(truth.value.to_string()),
            Lit::Char(character) => Some(character.value().to_string()),
            _ => None,
        },
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => Some(format!("-{}", written_piece(&unary.expr)?)),
        nested @ Expr::Macro(_) => written_text(nested).map(|text| text.value()),
        _ => None,
    }
}

/// A literal that is no text: all callers would share a lock of this name, which nobody means.
fn written_number(expression: &Expr) -> Option<String> {
    match inside(expression) {
        Expr::Lit(ExprLit { lit: Lit::Str(_) | Lit::Verbatim(_), .. }) => None,
        Expr::Lit(ExprLit { lit: Lit::ByteStr(bytes), .. }) => String::from_utf8(bytes.value()).ok(),
        Expr::Lit(ExprLit { lit: Lit::CStr(text), .. }) => text.value().into_string().ok(),
        Expr::Lit(ExprLit { lit: Lit::Char(character), .. }) => Some(character.value().to_string()),
        Expr::Lit(ExprLit { lit: Lit::Byte(byte), .. }) => Some(char::from(byte.value()).to_string()),
        Expr::Lit(literal) => Some(literal.lit.to_token_stream().to_string()),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => Some(format!("-{}", written_number(&unary.expr)?)),
        _ => None,
    }
}

fn is_named(path: &Path, name: &str) -> bool {
    path.segments.last().is_some_and(|last| last.ident == name)
}

/// Refuses what `format_args!` would accept or blame in words that do not name the cure.
fn check_template(literal: &LitStr) -> syn::Result<()> {
    let template = literal.value();
    let refuse = |message: String| Err(syn::Error::new_spanned(literal, message));
    let mut rest = template.as_str();
    let mut fixed_bytes = 0;
    while let Some(at) = rest.find(['{', '}']) {
        let brace = &rest[at..=at];
        fixed_bytes += at;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            fixed_bytes += 1;
            rest = after;
        } else if brace == "}" {
            return refuse("unmatched `}` in the lock's name: write `}}` for the character itself".into());
        } else if let Some((placeholder, after)) = rest.split_once('}') {
            check_placeholder(&template, placeholder).or_else(refuse)?;
            // A captured argument may be empty, but is not known to be.
            fixed_bytes += 1;
            rest = after;
        } else {
            return refuse("unmatched `{` in the lock's name: write `{{` for the character itself".into());
        }
    }
    fixed_bytes += rest.len();
    if fixed_bytes == 0 {
        return refuse("the lock's name is empty".into());
    }
    if fixed_bytes > MAX_NAME_BYTES {
        return refuse(format!("the lock's name is longer than {MAX_NAME_BYTES} bytes"));
    }
    if template.chars().any(char::is_control) {
        return refuse("the lock's name has a control character, such as a line break".into());
    }
    Ok(())
}

/// `placeholder` is what stands between the braces.
fn check_placeholder(template: &str, placeholder: &str) -> Result<(), String> {
    let argument = placeholder[..argument_length(placeholder)].trim();
    // As for `format!`, `{type}` is the argument `r#type`.
    if Ident::parse_any.parse_str(argument).is_ok() {
        return Ok(());
    }
    if argument.is_empty() || argument.bytes().all(|byte| byte.is_ascii_digit()) {
        let cure = template.replacen(&format!("{{{placeholder}}}"), "{id}", 1);
        return Err(format!(
            "`{{{placeholder}}}` names no argument: write the argument's name into the braces, as in `name = {cure:?}`"
        ));
    }
    let format = placeholder.strip_prefix(argument).unwrap_or_default();
    let positional = template.replacen(&format!("{{{placeholder}}}"), &format!("{{{format}}}"), 1);
    Err(format!(
        "`{{{placeholder}}}` is not the name of an argument: write `name = format!({positional:?}, {argument})`"
    ))
}

/// Where the argument ends and its format begins. In `{limits::SHORT}` the colons are the path's, in `{id::<5}` the
/// second one fills the room.
fn argument_length(placeholder: &str) -> usize {
    let is_path = |at: usize| {
        let after = placeholder[at..].strip_prefix("::");
        after.is_some_and(|next| next.starts_with(|first: char| first.is_alphabetic() || first == '_'))
    };
    let mut colons = placeholder.match_indices(':').map(|(at, _)| at);
    while let Some(at) = colons.next() {
        if !is_path(at) {
            return at;
        }
        colons.next();
    }
    placeholder.len()
}
