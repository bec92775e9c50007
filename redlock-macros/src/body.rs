use proc_macro2::extra::DelimSpan;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;

/// What stands between an annotated function's braces.
pub(crate) struct Body {
    pub(crate) braces: DelimSpan,
    /// `#![…]`, which has to stay the first thing in the function.
    pub(crate) inner_attrs: TokenStream,
    pub(crate) statements: TokenStream,
}

/// A body with a `require_lock!();` among the user's outermost statements.
pub(crate) struct SplitBody {
    before: TokenStream,
    /// The user's own way to the macro, `require_lock!`, so that a wrong one is an error and an import is used.
    pub(crate) path: TokenStream,
    after: TokenStream,
    /// What another attribute wrapped the user's statements in, the innermost first.
    around: Vec<Around>,
}

/// A group with what stands beside it.
struct Around {
    before: TokenStream,
    group: Group,
    after: TokenStream,
}

impl SplitBody {
    /// The body with `statement` in place of its `require_lock!();`.
    pub(crate) fn joined(self, statement: &TokenStream) -> TokenStream {
        let Self { before, after, around, .. } = self;
        around.into_iter().fold(quote!(#before #statement #after), |inside, Around { before, group, after }| {
            let mut joined = Group::new(group.delimiter(), inside);
            joined.set_span(group.span());
            quote!(#before #joined #after)
        })
    }
}

impl Body {
    pub(crate) fn new(tokens: TokenStream, braces: DelimSpan) -> Self {
        let mut statements = tokens.into_iter();
        let mut rest = statements.clone();
        let mut inner_attrs = TokenStream::new();
        while let (Some(hash), Some(bang), Some(group)) = (rest.next(), rest.next(), rest.next()) {
            if !is_punct(&hash, '#') || !is_punct(&bang, '!') || !matches!(group, TokenTree::Group(_)) {
                break;
            }
            inner_attrs.extend([hash, bang, group]);
            statements = rest.clone();
        }
        Self { braces, inner_attrs, statements: statements.collect() }
    }

    /// Finds the first `require_lock!();` that is a statement, at most so many `levels` of groups deep. All others are
    /// left to the macro itself, which refuses to stand anywhere else.
    pub(crate) fn split(&self, levels: usize) -> Option<SplitBody> {
        split(&self.statements, levels)
    }

    /// The `path::pin` and the block of a body that is nothing but `Box::pin(async move { … })`.
    pub(crate) fn boxed_block(&self) -> Option<(TokenStream, Body)> {
        let tokens: Vec<TokenTree> = self.statements.clone().into_iter().collect();
        let [path @ .., TokenTree::Group(arguments)] = tokens.as_slice() else { return None };
        let is_path = path.iter().all(|token| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':'));
        let is_pin = path.last().is_some_and(|last| is_ident(last, "pin"));
        if !is_path || !is_pin || arguments.delimiter() != Delimiter::Parenthesis {
            return None;
        }
        let inside: Vec<TokenTree> = arguments.stream().into_iter().collect();
        match inside.as_slice() {
            [first, second, TokenTree::Group(block)]
                if is_ident(first, "async") && is_ident(second, "move") && block.delimiter() == Delimiter::Brace =>
            {
                Some((path.iter().cloned().collect(), Self::new(block.stream(), block.delim_span())))
            }
            _ => None,
        }
    }
}

fn split(statements: &TokenStream, levels: usize) -> Option<SplitBody> {
    let tokens: Vec<TokenTree> = statements.clone().into_iter().collect();
    let collect = |tokens: &[TokenTree]| tokens.iter().cloned().collect::<TokenStream>();
    for (at, token) in tokens.iter().enumerate() {
        if !is_ident(token, "require_lock") {
            continue;
        }
        let begin = path_begin(&tokens, at);
        let is_statement = match begin.checked_sub(1).map(|before| &tokens[before]) {
            None => true,
            Some(before) => is_punct(before, ';') || is_braced(before),
        };
        let [bang, arguments, rest @ ..] = &tokens[at + 1..] else { continue };
        let is_call =
            is_punct(bang, '!') && matches!(arguments, TokenTree::Group(arguments) if arguments.stream().is_empty());
        let after = match rest {
            [semicolon, after @ ..] if is_punct(semicolon, ';') => after,
            after if after.is_empty() || is_braced(arguments) => after,
            _ => continue,
        };
        if is_statement && is_call {
            let (before, path) = (collect(&tokens[..begin]), collect(&tokens[begin..=at + 1]));
            return Some(SplitBody { before, path, after: collect(after), around: Vec::new() });
        }
    }
    let levels = levels.checked_sub(1)?;
    tokens.iter().enumerate().find_map(|(at, token)| {
        let TokenTree::Group(group) = token else { return None };
        let mut inside = split(&group.stream(), levels)?;
        let (before, after) = (collect(&tokens[..at]), collect(&tokens[at + 1..]));
        inside.around.push(Around { before, group: group.clone(), after });
        Some(inside)
    })
}

/// Where the path begins whose last segment stands at `last`.
fn path_begin(tokens: &[TokenTree], last: usize) -> usize {
    let mut begin = last;
    while begin >= 2 && is_punct(&tokens[begin - 1], ':') && is_punct(&tokens[begin - 2], ':') {
        begin -= 2;
        if begin >= 1 && matches!(tokens[begin - 1], TokenTree::Ident(_)) {
            begin -= 1;
        }
    }
    begin
}

fn is_braced(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

pub(crate) fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

pub(crate) fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
