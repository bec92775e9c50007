use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned as _;

use crate::args::{Args, Name, OnLost, Time, Timeout};
use crate::item::Item;
use crate::output::{Output, hidden};
use crate::refuse::refuse;

/// Makes the annotated function run under its lock. With faults, the untouched function stands beside them.
///
/// ```ignore
/// #[redlock(name = "invoice:{id}", timeout = 5, guard = lock)]
/// async fn bill(&self, id: u64) -> Result<Invoice, Error> { body }
///
/// // becomes, with `__redlock` for the runtime's hidden module and all names hygienic:
/// async fn bill(&self, id: u64) -> Result<Invoice, Error> {
///     let attempt = __redlock::Call::new(__redlock::name(&format_args!("invoice:{id}")))
///         .timeout(Duration::new(5, 0))
///         .enter();
///     let entered = attempt.await;                // whether it failed is told by `drive`
///     let access = entered.access();
///     let body = async move {
///         if false {
///             return __redlock::promised::<Result<Invoice, Error>>();  // says which type `return` has
///         }
///         let lock: &LockGuard = access.guard();
///         body
///     };
///     let output = __redlock::Output::<Result<Invoice, Error>>::of_future(&body);
///     let rules = __redlock::Rules::loud(Some(__redlock::fail::<Result<Invoice, Error>>));
///     let keep = (&output).keep();
///     let verdict = __redlock::drive(entered, pin!(Some(body)), rules, keep).await;
///     verdict.returned()
/// }
/// ```
///
/// A sync function differs in three lines: `enter_blocking()`, `once(move || -> R { … })` and `run(…)`.
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
        let Self { output, runtime, .. } = self;
        let call = self.call();
        let (access, guard) = self.access();
        let promise = (!output.is_impl_trait() && !output.is_never()).then(
            || quote_spanned!(Span::mixed_site()=> if false { return #runtime::promised::<#output>(); }),
        );
        let statements = &item.body.statements;
        let block = braced(quote!(#promise #guard #statements), item.body.braces.join());
        let rules = self.rules();
        let verdict = self.verdict();
        quote_spanned! {Span::mixed_site()=>
            let __redlock_attempt = #call.enter();
            let __redlock_entered = __redlock_attempt.await;
            #access
            let __redlock_body = async move #block;
            let __redlock_output = #runtime::Output::<#output>::of_future(&__redlock_body);
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
        let Self { output, runtime, .. } = self;
        let call = self.call();
        let (access, guard) = self.access();
        let statements = &item.body.statements;
        let block = braced(quote!(#guard #statements), item.body.braces.join());
        let rules = self.rules();
        let verdict = self.verdict();
        quote_spanned! {Span::mixed_site()=>
            let __redlock_entered = #call.enter_blocking();
            #access
            let __redlock_body = #runtime::once(move || -> #output #block);
            let __redlock_output = #runtime::Output::<#output>::of_call(&__redlock_body);
            let __redlock_rules = #rules;
            let __redlock_verdict = #runtime::run(__redlock_entered, __redlock_body, __redlock_rules);
            #verdict
        }
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
            let setter = syn::Ident::new(setter, hidden(span));
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

    /// What this function returns in which situation. The return type is asked about where it is written, so
    /// that an error about it stands there.
    fn rules(&self) -> TokenStream {
        let Self {
            args,
            output,
            runtime,
        } = self;
        let convert = if output.is_impl_trait() || output.is_never() {
            quote_spanned!(Span::mixed_site()=> ::core::option::Option::None)
        } else {
            quote_spanned! {Span::mixed_site()=> {
                use #runtime::{Fails as _, FailsNot as _};
                (&__redlock_output).fail()
            }}
        };
        let rules = if args.silent.is_some() {
            quote_spanned! {Span::mixed_site()=> #runtime::Rules::silent(#convert, {
                use #runtime::{BlamesError as _, BlamesNothing as _, BlamesPointer as _};
                (&&__redlock_output).blame()
            })}
        } else if args.timeout.can_run_out() {
            let fail = quote_spanned!(hidden(output.span())=> #runtime::fail::<#output>);
            quote_spanned!(Span::mixed_site()=> #runtime::Rules::loud(::core::option::Option::Some(#fail)))
        } else if let Some(OnLost::Cancel(_)) = args.on_lost {
            let fail = quote_spanned!(hidden(output.span())=> #runtime::fail_lost::<#output>);
            quote_spanned!(Span::mixed_site()=> #runtime::Rules::loud(::core::option::Option::Some(#fail)))
        } else {
            quote_spanned!(Span::mixed_site()=> #runtime::Rules::loud(#convert))
        };
        match args.on_lost {
            Some(OnLost::Continue) => quote_spanned!(Span::mixed_site()=> #rules.continue_when_lost()),
            Some(OnLost::Cancel(_)) | None => rules,
        }
    }

    /// The function's last expression.
    fn verdict(&self) -> TokenStream {
        let Self {
            args,
            output,
            runtime,
        } = self;
        let skip_value = match &args.skip_value {
            Some(value) => value.to_token_stream(),
            None if args.silent.is_some() => {
                quote_spanned!(hidden(output.span())=> #runtime::skip::<#output, _>())
            }
            None => return quote_spanned!(Span::mixed_site()=> __redlock_verdict.returned()),
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

/// The statements in braces whose place is that of the function's own.
fn braced(statements: TokenStream, braces: Span) -> TokenStream {
    let mut block = Group::new(Delimiter::Brace, statements);
    block.set_span(hidden(braces));
    block.into_token_stream()
}
