mod call;
mod locked;
mod returns;

use std::mem;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::Ident;

use self::locked::Block;
use crate::args::{Args, Faulty};
use crate::body::{Body, is_ident};
use crate::item::{Item, NotLocked, is_expression};
use crate::output::{Output, Returned};
use crate::refuse::refuse;

/// Makes the annotated function run under its lock. With faults, the untouched function stands beside them.
///
/// ```text
/// #[redlock(name = "invoice:{id}", timeout = 5, guard = lock)]
/// async fn bill(&self, id: u64) -> Result<Invoice, Error> { body }
///
/// // becomes, with `__redlock` for the runtime's hidden module and all names hygienic:
/// async fn bill(&self, id: u64) -> Result<Invoice, Error> {
///     let output = __redlock::Output::new();       // the type `Output<Result<Invoice, Error>>` …
///     if false { return output.promised(); };      // … is inferred from here
///     let call = __redlock::Call::new(__redlock::name(&format_args!("invoice:{id}")))
///         .timeout(Duration::new(5, 0));
///     let (call, access) = call.with_access();
///     let body = async move {
///         if false { return output.promised(); };  // the body returns the same type
///         let lock: &LockGuard = access.guard();
///         body
///     };
///     let returns = __redlock::Returns::loud(output, Some(__redlock::fail));
///     let keep = (&output).keep();
///     let verdict = __redlock::drive(call, pin!(Some(body)), returns, keep).await;
///     verdict.returned()
/// }
/// ```
///
/// A sync function differs in two lines: `once(output, move || { … })` and `run(…)`. A function that returns a future
/// makes the `Call` when it is called and does the rest in the future that it returns. `require_lock!();` becomes
/// `let lock: &LockGuard = access.require().await;`, which is where a refused call ends.
pub(crate) fn redlock(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match (Args::parse(arguments), Item::read(item.clone())) {
        (Ok(args), Ok(mut item)) => {
            let output = Output::new(&item.sig);
            match refuse(&args, &item, &output) {
                Ok(()) => {
                    Expansion::new(&args, &output, &item).rewrite(&mut item);
                    item.into_token_stream()
                }
                Err(faults) => {
                    let Args { guard, runtime, .. } = args;
                    leave_alone(&Faulty { faults, guard, runtime }, item)
                }
            }
        }
        (Err(faulty), Ok(item)) => leave_alone(&faulty, item),
        (args, Err(NotLocked { mut fault, is_function })) => {
            if let (Err(faulty), true) = (args, is_function) {
                fault.combine(faulty.faults);
            }
            beside(&fault, item)
        }
    }
}

/// What cannot be locked, as it was, beside the fault. Of a closure or a block, which stand where one expression is
/// expected, the two are made one; else the compiler would find more faults in what is left.
fn beside(fault: &syn::Error, item: TokenStream) -> TokenStream {
    let mut tokens = fault.to_compile_error();
    let is_expression = is_expression(&item);
    tokens.extend(item);
    if is_expression { TokenTree::Group(Group::new(Delimiter::Brace, tokens)).into() } else { tokens }
}

/// The function as it was, beside its faults. The guard and `require_lock!` mean something, so that nothing follows
/// from their absence.
fn leave_alone(faulty: &Faulty, mut item: Item) -> TokenStream {
    let runtime = hidden_module(faulty.runtime.as_ref());
    let guard = faulty.guard.as_ref().map(|guard| {
        quote_spanned! {Span::mixed_site()=>
            #[allow(unused_variables)]
            let #guard = #runtime::Output::<&#runtime::LockGuard>::new().promised();
        }
    });
    item.body.statements = if let Some(split) = item.body.split(Output::new(&item.sig).levels()) {
        let path = &split.path;
        let statement = quote!(#path(@expanded #guard););
        split.joined(&statement)
    } else {
        let statements = item.body.statements;
        quote!(#guard #statements)
    };
    let mut tokens = faulty.faults.to_compile_error();
    item.to_tokens(&mut tokens);
    tokens
}

/// The path of the runtime's hidden module.
fn hidden_module(runtime: Option<&syn::Path>) -> TokenStream {
    runtime.map_or_else(
        || quote_spanned!(Span::mixed_site()=> ::redlock_runtime::__private),
        |path| quote!(#path::__private),
    )
}

struct Expansion<'a> {
    args: &'a Args,
    output: &'a Output,
    /// The names of the function's arguments.
    arguments: Vec<String>,
    runtime: TokenStream,
    /// The annotated function's name.
    function: String,
}

impl<'a> Expansion<'a> {
    fn new(args: &'a Args, output: &'a Output, item: &Item) -> Self {
        let runtime = hidden_module(args.runtime.as_ref());
        Self { args, output, arguments: item.arguments(), runtime, function: item.sig.ident.to_string() }
    }

    /// Of two attributes the compiler expands the upper one first. The lower one finds the user's block in what that
    /// made of the function, and goes inside it, so that the upper lock is taken first.
    fn rewrite(&self, item: &mut Item) {
        let function = if item.sig.asyncness.is_some() { Block::Async } else { Block::Blocking };
        let statements = mem::take(&mut item.body.statements);
        item.body.statements = locked::rewrite_innermost(statements, &|block, body| self.under_lock(block, &body))
            .unwrap_or_else(|statements| {
                let body = Body { inner_attrs: TokenStream::new(), statements, braces: item.body.braces };
                self.under_lock(function, &body)
            });
    }

    /// The statements that run those of `body` under the lock.
    fn under_lock(&self, block: Block, body: &Body) -> TokenStream {
        let call = self.call();
        match (block, &self.output.future) {
            (Block::Async, _) => {
                let (output, driven) = (self.output(), self.driven(&call, &self.async_block(body)));
                quote_spanned!(Span::mixed_site()=> #output #driven)
            }
            (Block::Blocking, Some(future)) => self.future_body(body, &call, future),
            (Block::Blocking, None) => self.sync_body(body, &call),
        }
    }

    /// Statements that run the future `body` under the lock that `call` asks for.
    fn driven(&self, call: &TokenStream, body: &Spliced) -> TokenStream {
        let runtime = &self.runtime;
        let Spliced { access, tokens: body } = body;
        let (returns, verdict) = (self.returns(), self.verdict());
        quote_spanned! {Span::mixed_site()=>
            let __redlock_call = #call;
            #access
            let __redlock_body = #body;
            #returns
            let __redlock_keep = {
                use #runtime::{HandsOver as _, Keeps as _};
                (&__redlock_output).keep()
            };
            let __redlock_verdict = #runtime::drive(
                __redlock_call,
                ::core::pin::pin!(::core::option::Option::Some(__redlock_body)),
                __redlock_returns,
                __redlock_keep,
            ).await;
            #verdict
        }
    }

    /// The body of an async function as a future.
    fn async_block(&self, body: &Body) -> Spliced {
        let promise = self.promise();
        let require = quote_spanned!(Span::mixed_site()=> __redlock_access.require().await);
        let Spliced { access, tokens: statements } = self.splice(body, &require);
        let tokens = block(quote!(async move), quote!(#promise #statements), body.braces.join());
        Spliced { access, tokens }
    }

    /// A function that returns a future: the lock is held while the future is polled, not while it is built.
    fn future_body(&self, body: &Body, call: &TokenStream, returned: &Returned) -> TokenStream {
        let (runtime, future_output) = (&self.runtime, &returned.output);
        let output = quote_spanned! {Span::mixed_site()=>
            let __redlock_output = #runtime::Output::<#future_output>::new();
        };
        if let Some((pin, inner)) = body.boxed_block() {
            let inner_attrs = &inner.inner_attrs;
            let driven = self.driven(&ident("__redlock_call"), &self.async_block(&inner));
            let driven = block(quote!(async move), quote!(#inner_attrs #output #driven), inner.braces.join());
            return quote_spanned!(Span::mixed_site()=> let __redlock_call = #call; #pin(#driven));
        }
        let build = block(quote!(move ||), body.statements.clone(), body.braces.join());
        let future = Spliced { access: TokenStream::new(), tokens: ident("__redlock_future") };
        let driven = self.driven(&ident("__redlock_call"), &future);
        let driven = block(quote!(async move), quote!(#output #driven), body.braces.join());
        // The box that is built is of the declared type; what `impl Future` is built from is not.
        let (promise, driven) = if returned.is_boxed {
            (Some(self.promise()), quote_spanned!(Span::mixed_site()=> #runtime::boxed(#driven)))
        } else {
            (None, driven)
        };
        quote_spanned! {Span::mixed_site()=>
            let __redlock_call = #call;
            let __redlock_output = #runtime::Output::new();
            #promise
            let __redlock_future = #runtime::once(__redlock_output, #build)();
            #driven
        }
    }

    fn sync_body(&self, body: &Body, call: &TokenStream) -> TokenStream {
        let runtime = &self.runtime;
        let (output, returns, verdict) = (self.output(), self.returns(), self.verdict());
        let require = quote_spanned! {Span::mixed_site()=>
            match __redlock_access.require_blocking(__redlock_returns) {
                ::core::result::Result::Ok(__redlock_guard) => __redlock_guard,
                ::core::result::Result::Err(__redlock_verdict) => return #verdict,
            }
        };
        let Spliced { access, tokens: statements } = self.splice(body, &require);
        let body = block(quote!(move ||), statements, body.braces.join());
        quote_spanned! {Span::mixed_site()=>
            #output
            let __redlock_call = #call;
            #access
            #returns
            let __redlock_body = #runtime::once(__redlock_output, #body);
            let __redlock_verdict = #runtime::run(__redlock_call, __redlock_body, __redlock_returns);
            #verdict
        }
    }

    /// The body's statements with the guard where the body may use it: behind `require`, which stands in place of
    /// `require_lock!`, or at the top.
    fn splice(&self, body: &Body, require: &TokenStream) -> Spliced {
        let runtime = &self.runtime;
        let guard = self.args.guard.as_ref().map(|guard| quote!(#guard: &#runtime::LockGuard));
        let levels = self.output.future.as_ref().map_or(0, Returned::levels);
        match (body.split(levels), guard) {
            (Some(split), guard) => {
                let (path, guard) = (&split.path, guard.unwrap_or_else(|| quote!(_)));
                let statement = quote!(#path(@expanded let #guard = #require;););
                Spliced {
                    access: quote_spanned!(Span::mixed_site()=> let (__redlock_call, __redlock_access) = __redlock_call.with_split_access();),
                    tokens: split.joined(&statement),
                }
            }
            (None, Some(guard)) => {
                let guard = quote_spanned!(Span::mixed_site()=> let #guard = __redlock_access.guard(););
                let access = quote_spanned!(Span::mixed_site()=> let (__redlock_call, __redlock_access) = __redlock_call.with_access(););
                let statements = &body.statements;
                Spliced { access, tokens: quote!(#guard #statements) }
            }
            (None, None) => Spliced { access: TokenStream::new(), tokens: body.statements.clone() },
        }
    }
}

/// A body, and the statement before it that gives it its share of the attempt.
struct Spliced {
    access: TokenStream,
    tokens: TokenStream,
}

/// `head { statements }`, standing where the function's own braces are.
///
/// An attribute further down, such as `#[tracing::instrument(err)]`, may make its own code of those braces; ours would
/// hide its names from each other.
fn block(head: TokenStream, statements: TokenStream, braces: Span) -> TokenStream {
    let mut tokens: TokenStream = head
        .into_iter()
        .map(|mut token| {
            token.set_span(hidden(braces));
            token
        })
        .collect();
    // The user's own braces make the user's edition say when temporaries are dropped. Beside items they would make
    // clippy count our statements among those that should stand behind items.
    let items = ["const", "enum", "fn", "impl", "mod", "static", "struct", "trait", "type", "use"];
    let has_items = statements.clone().into_iter().any(|token| items.iter().any(|item| is_ident(&token, item)));
    let mut block = Group::new(Delimiter::Brace, statements);
    block.set_span(if has_items { hidden(braces) } else { braces });
    tokens.extend([TokenTree::Group(block)]);
    tokens
}

fn ident(name: &str) -> TokenStream {
    Ident::new(name, Span::mixed_site()).into_token_stream()
}

/// The place of `span`, for code that the user did not write.
fn hidden(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
