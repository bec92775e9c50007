use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, Ident, Lit, LitStr};

use super::time::ungroup;

/// How long a lock's name may be, in bytes; the runtime checks the same for names only known when called.
const MAX_NAME_BYTES: usize = 512;

/// What names a lock.
pub(crate) enum Name {
    /// A string literal for `format_args!`, with or without captured arguments.
    Template(LitStr),
    /// Anything else that is `Display`.
    Expression(Expr),
}

impl Name {
    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expression: Expr = input.parse()?;
        if let Expr::Lit(literal) = ungroup(&expression)
            && let Lit::Str(text) = &literal.lit
        {
            check_template(text)?;
            return Ok(Self::Template(text.clone()));
        }
        Ok(Self::Expression(expression))
    }
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
