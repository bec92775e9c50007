//! Finds the user's block in a body that was expanded before, by an attribute further up.
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::body::{Body, is_ident, is_punct};

/// What kind of code a body's statements are.
#[derive(Clone, Copy)]
pub(super) enum Block {
    /// They are polled.
    Async,
    /// They run at the call: all of a sync function, or what builds a future.
    Blocking,
}

/// Rewrites the innermost block that an expansion made of the user's statements; gives the tokens back if there is none.
///
/// ```text
/// let __redlock_body = async move { statements };
/// let __redlock_body = …::once(__redlock_output, move || { statements });
/// let __redlock_future = …::once(__redlock_output, move || { statements })();
/// ```
///
/// It may stand at any depth, behind what other attributes made of the function meanwhile.
pub(super) fn rewrite_innermost(
    tokens: TokenStream,
    rewrite: &dyn Fn(Block, Body) -> TokenStream,
) -> Result<TokenStream, TokenStream> {
    let mut trees: Vec<TokenTree> = tokens.into_iter().collect();
    for at in 0..trees.len() {
        let is_block = block_kind(&trees[..at]);
        let TokenTree::Group(group) = &mut trees[at] else { continue };
        let statements = match (rewrite_innermost(group.stream(), rewrite), is_block) {
            (Ok(rewritten), _) => rewritten,
            (Err(statements), Some(kind)) if group.delimiter() == Delimiter::Brace => {
                rewrite(kind, Body::new(statements, group.delim_span()))
            }
            (Err(_), _) => continue,
        };
        replace(group, statements);
        return Ok(trees.into_iter().collect());
    }
    Err(trees.into_iter().collect())
}

/// What the braces behind `before` hold, if they are the user's.
fn block_kind(before: &[TokenTree]) -> Option<Block> {
    match before {
        [.., name, equals, head, moves]
            if is_ident(name, "__redlock_body")
                && is_punct(equals, '=')
                && is_ident(head, "async")
                && is_ident(moves, "move") =>
        {
            Some(Block::Async)
        }
        [output, comma, moves, bar, other_bar]
            if is_ident(output, "__redlock_output")
                && is_punct(comma, ',')
                && is_ident(moves, "move")
                && is_punct(bar, '|')
                && is_punct(other_bar, '|') =>
        {
            Some(Block::Blocking)
        }
        _ => None,
    }
}

fn replace(group: &mut Group, inside: TokenStream) {
    let mut replaced = Group::new(group.delimiter(), inside);
    replaced.set_span(group.span());
    *group = replaced;
}
