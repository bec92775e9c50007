use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::Ident;
use syn::spanned::Spanned as _;

use crate::args::{Args, Name, OnLost, Time, Timeout};
use crate::item::Item;
use crate::output::{Output, OutputKind};
use crate::refuse::refuse;

/// Makes the annotated function run under its lock. With faults, the untouched function stands beside them.
///
/// ```ignore
/// #[redlock(name = "invoice:{id}", timeout = 5, guard = lock)]
/// async fn bill(&self, id: u64) -> Result<Invoice, Error> { body }
///
/// // becomes, with `__redlock` for the runtime's hidden module and all names hygienic:
/// async fn bill(&self, id: u64) -> Result<Invoice, Error> {
///     let output = __redlock::Output::new();       // the type `Output<Result<Invoice, Error>>` …
///     if false { return output.promised(); };      // … is inferred from here
///     let attempt = __redlock::Call::new(__redlock::name(&format_args!("invoice:{id}")))
///         .timeout(Duration::new(5, 0))
///         .enter();
///     let entered = attempt.await;                 // whether it failed is told by `drive`
///     let access = entered.access();
///     let body = async move {
///         if false { return output.promised(); };  // the body returns the same type
///         let lock: &LockGuard = access.guard();
///         body
///     };
///     let rules = __redlock::Rules::loud(output, Some(__redlock::fail));
///     let keep = (&output).keep();
///     let verdict = __redlock::drive(entered, pin!(Some(body)), rules, keep).await;
///     verdict.returned()
/// }
/// ```
///
/// A sync function differs in three lines: `enter_blocking()`, `once(output, move || { … })` and `run(…)`.
pub(crate) fn redlock(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match try_redlock(arguments, item.clone()) {
        Ok(function) => function.into_token_stream(),
        Err(faults) => {
            let mut tokens = faults.into_compile_error();
            tokens.extend(item);
            tokens
        }
    }
}

fn try_redlock(arguments: TokenStream, item: TokenStream) -> syn::Result<Item> {
    let (args, mut item) = match (Args::parse(arguments), syn::parse2::<Item>(item)) {
        (Ok(args), Ok(item)) => (args, item),
        (Err(mut faults), Err(fault)) => {
            faults.combine(fault);
            return Err(faults);
        }
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => return Err(faults),
    };
    let output = Output::new(&item.sig);
    refuse(&args, &item, &output)?;
    let expansion = Expansion {
        args: &args,
        output: &output,
        runtime: runtime(&args),
    };
    item.body.statements = if item.sig.asyncness.is_some() {
        expansion.async_body(&item)
    } else {
        expansion.sync_body(&item)
    };
    Ok(item)
}

/// The path of the runtime's hidden module.
fn runtime(args: &Args) -> TokenStream {
    match &args.runtime {
        Some(path) => quote!(#path::__private),
        None => quote_spanned!(Span::mixed_site()=> ::redlock_runtime::__private),
    }
}

struct Expansion<'a> {
    args: &'a Args,
    output: &'a Output,
    runtime: TokenStream,
}

impl Expansion<'_> {
    fn async_body(&self, item: &Item) -> TokenStream {
        let Self { runtime, .. } = self;
        let (output, call, (access, guard)) = (self.output(), self.call(), self.access());
        let promise = (self.output.kind != OutputKind::Never).then(|| self.promise());
        let statements = &item.body.statements;
        let body = block(
            quote!(async move),
            quote!(#promise #guard #statements),
            item.body.braces.join(),
        );
        let (rules, verdict) = (self.rules(), self.verdict());
        quote_spanned! {Span::mixed_site()=>
            #output
            let __redlock_attempt = #call.enter();
            let __redlock_entered = __redlock_attempt.await;
            #access
            let __redlock_body = #body;
            let __redlock_rules = #rules;
            let __redlock_keep = {
                use #runtime::{HandsOver as _, Keeps as _};
                (&__redlock_output).keep()
            };
            let __redlock_verdict = #runtime::drive(
                __redlock_entered,
                ::core::pin::pin!(::core::option::Option::Some(__redlock_body)),
                __redlock_rules,
                __redlock_keep,
            ).await;
            #verdict
        }
    }

    fn sync_body(&self, item: &Item) -> TokenStream {
        let Self { runtime, .. } = self;
        let (output, call, (access, guard)) = (self.output(), self.call(), self.access());
        let statements = &item.body.statements;
        let body = block(
            quote!(move ||),
            quote!(#guard #statements),
            item.body.braces.join(),
        );
        let (rules, verdict) = (self.rules(), self.verdict());
        quote_spanned! {Span::mixed_site()=>
            #output
            let __redlock_entered = #call.enter_blocking();
            #access
            let __redlock_body = #runtime::once(__redlock_output, #body);
            let __redlock_rules = #rules;
            let __redlock_verdict = #runtime::run(__redlock_entered, __redlock_body, __redlock_rules);
            #verdict
        }
    }

    /// The return type as a value to ask. It is never written again, so that no error about it stands twice and
    /// `impl Trait` needs no care: the compiler infers it from a `return` that is never reached.
    fn output(&self) -> TokenStream {
        let (runtime, promise) = (&self.runtime, self.promise());
        quote_spanned!(Span::mixed_site()=> let __redlock_output = #runtime::Output::new(); #promise)
    }

    /// Tells the enclosing function or block what it returns. Standing first, it makes the compiler blame a
    /// wrong value in the body and not what was promised.
    fn promise(&self) -> TokenStream {
        quote_spanned!(hidden(self.output.span)=> if false { return __redlock_output.promised(); };)
    }

    /// What is to be acquired. All of the user's expressions but `skip_value` are evaluated here.
    fn call(&self) -> TokenStream {
        let Self { args, runtime, .. } = self;
        let name = self.name(&args.name);
        let mut call = match &args.manager {
            Some(manager) => {
                quote_spanned!(hidden(manager.span())=> #runtime::Call::with_manager(#manager, #name))
            }
            None => quote_spanned!(Span::mixed_site()=> #runtime::Call::new(#name)),
        };
        match &args.timeout {
            Timeout::Absent | Timeout::Forever => {}
            Timeout::Skip(span) => {
                call.extend(quote_spanned!(hidden(*span)=> .timeout(#runtime::Timeout::Skip)))
            }
            Timeout::After(limit, span) => {
                let limit = duration(*limit, *span);
                call.extend(quote_spanned!(hidden(*span)=> .timeout(#limit)));
            }
            Timeout::Expression(expression) => {
                call.extend(quote_spanned!(hidden(expression.span())=> .timeout(#expression)));
            }
        }
        for (setter, time) in [
            ("ttl", &args.ttl),
            ("max_hold", &args.max_hold),
            ("min_hold", &args.min_hold),
        ] {
            let (value, span) = match time {
                None => continue,
                Some(Time::Literal(time, span)) => (duration(*time, *span), *span),
                Some(Time::Expression(expression)) => (expression.to_token_stream(), expression.span()),
            };
            let setter = Ident::new(setter, hidden(span));
            call.extend(quote_spanned!(hidden(span)=> .#setter(#value)));
        }
        if let Some(renew) = &args.renew {
            call.extend(quote_spanned!(hidden(renew.span())=> .renew(#renew)));
        }
        if let Some(stats_name) = &args.stats_name {
            let stats_name = self.name(stats_name);
            call.extend(quote_spanned!(Span::mixed_site()=> .stats_name(#stats_name)));
        }
        call
    }

    /// The name's text; an expression is borrowed, because it may name an argument that the body moves.
    fn name(&self, name: &Name) -> TokenStream {
        let runtime = &self.runtime;
        match name {
            Name::Template(template) => {
                quote_spanned!(hidden(template.span())=> #runtime::name(&::core::format_args!(#template)))
            }
            Name::Expression(expression) => {
                quote_spanned!(hidden(expression.span())=> #runtime::name(&(#expression)))
            }
        }
    }

    /// How the body gets at the guard: a line outside it, and a line at its top.
    fn access(&self) -> (TokenStream, TokenStream) {
        let Some(guard) = &self.args.guard else {
            return (TokenStream::new(), TokenStream::new());
        };
        let runtime = &self.runtime;
        (
            quote_spanned!(Span::mixed_site()=> let __redlock_access = __redlock_entered.access();),
            quote_spanned!(Span::mixed_site()=> let #guard: &#runtime::LockGuard = __redlock_access.guard();),
        )
    }

    /// What this function returns in which situation. Bounds on the return type stand where it is written, and
    /// so do the errors about them.
    fn rules(&self) -> TokenStream {
        let Self {
            args,
            output,
            runtime,
        } = self;
        let if_possible = match output.kind {
            OutputKind::Named => quote_spanned! {Span::mixed_site()=> {
                use #runtime::{Fails as _, FailsNot as _};
                (&__redlock_output).fail()
            }},
            OutputKind::ImplTrait | OutputKind::Never => {
                quote_spanned!(Span::mixed_site()=> ::core::option::Option::None)
            }
        };
        let required = |by: &str| {
            let by = Ident::new(by, Span::mixed_site());
            let path = output.spread(quote_spanned!(Span::mixed_site()=> #runtime::#by));
            quote_spanned!(Span::mixed_site()=> ::core::option::Option::Some(#path))
        };
        let rules = if args.silent.is_some() {
            quote_spanned! {Span::mixed_site()=> silent(__redlock_output, #if_possible, {
                use #runtime::{BlamesError as _, BlamesNothing as _, BlamesPointer as _};
                (&&__redlock_output).blame()
            })}
        } else {
            let fail = match args.on_lost {
                _ if args.timeout.can_run_out() => required("fail"),
                Some(OnLost::Cancel(_)) => required("fail_lost"),
                Some(OnLost::Continue) | None => if_possible,
            };
            quote_spanned!(Span::mixed_site()=> loud(__redlock_output, #fail))
        };
        let on_lost = matches!(args.on_lost, Some(OnLost::Continue))
            .then(|| quote_spanned!(Span::mixed_site()=> .continue_when_lost()));
        quote_spanned!(Span::mixed_site()=> #runtime::Rules::#rules #on_lost)
    }

    /// The function's last expression.
    fn verdict(&self) -> TokenStream {
        let Self {
            args,
            output,
            runtime,
        } = self;
        let Some(skip_value) = &args.skip_value else {
            return match args.silent {
                None => quote_spanned!(Span::mixed_site()=> __redlock_verdict.returned()),
                Some(_) => {
                    let skip = output.spread(quote_spanned!(Span::mixed_site()=> #runtime::skip));
                    quote_spanned!(Span::mixed_site()=> __redlock_verdict.returned_or(#skip))
                }
            };
        };
        quote_spanned! {Span::mixed_site()=>
            match __redlock_verdict {
                #runtime::Verdict::Skip => #skip_value,
                #runtime::Verdict::Return(__redlock_value) => __redlock_value,
            }
        }
    }
}

fn duration(time: std::time::Duration, span: Span) -> TokenStream {
    let (seconds, nanoseconds) = (time.as_secs(), time.subsec_nanos());
    quote_spanned!(hidden(span)=> ::core::time::Duration::new(#seconds, #nanoseconds))
}

/// `head { statements }`, standing where the function's own braces are.
fn block(head: TokenStream, statements: TokenStream, braces: Span) -> TokenStream {
    let mut tokens: TokenStream = head
        .into_iter()
        .map(|mut token| {
            token.set_span(hidden(braces));
            token
        })
        .collect();
    let mut block = Group::new(Delimiter::Brace, statements);
    block.set_span(hidden(braces));
    tokens.extend([TokenTree::Group(block)]);
    tokens
}

/// The place of `span`, for code that the user did not write.
fn hidden(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
