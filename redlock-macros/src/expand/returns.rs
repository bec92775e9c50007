use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Ident;

use super::{Expansion, hidden};
use crate::args::OnLost;
use crate::output::OutputKind;

impl Expansion<'_> {
    /// The return type as a value to ask. It is not written again, so that no error about it stands twice and
    /// `impl Trait` needs no care: the compiler infers it from a `return` that is never reached.
    pub(super) fn output(&self) -> TokenStream {
        let (runtime, promise) = (&self.runtime, self.promise());
        match self.output.kind {
            // `!` cannot be named, and what returns it counts as suspicious.
            OutputKind::Never => quote_spanned! {Span::mixed_site()=>
                let __redlock_output = #runtime::Output::<::core::convert::Infallible>::new();
            },
            OutputKind::Named | OutputKind::ImplTrait => {
                quote_spanned!(Span::mixed_site()=> let __redlock_output = #runtime::Output::new(); #promise)
            }
        }
    }

    /// Tells the enclosing function or block what it returns. Standing first, it makes the compiler blame a
    /// wrong value in the body and not what was promised.
    pub(super) fn promise(&self) -> TokenStream {
        quote_spanned!(hidden(self.output.span)=> if false { return __redlock_output.promised(); };)
    }

    /// What this function returns in which situation. Bounds on the return type stand where it is written, and
    /// so do the errors about them.
    pub(super) fn returns(&self) -> TokenStream {
        let Self { args, output, runtime, .. } = self;
        let is_named = output.kind == OutputKind::Named;
        let none = || quote_spanned!(Span::mixed_site()=> ::core::option::Option::None);
        let if_possible = if is_named {
            quote_spanned! {Span::mixed_site()=> {
                use #runtime::{Fails as _, FailsNot as _};
                (&__redlock_output).fail()
            }}
        } else {
            none()
        };
        let blame = if is_named {
            quote_spanned! {Span::mixed_site()=> {
                use #runtime::{BlamesError as _, BlamesNothing as _, BlamesPointer as _};
                (&&__redlock_output).blame()
            }}
        } else {
            none()
        };
        let required = |by: &str| {
            let by = Ident::new(by, Span::mixed_site());
            let path = output.spread(quote_spanned!(Span::mixed_site()=> #runtime::#by));
            let path = if output.may_hide_future {
                quote_spanned!(Span::mixed_site()=> __redlock_plain.if_not_acquired(#path))
            } else {
                path
            };
            quote_spanned!(Span::mixed_site()=> ::core::option::Option::Some(#path))
        };
        let returns = if args.is_silent() {
            quote_spanned!(Span::mixed_site()=> silent(__redlock_output, #if_possible, #blame))
        } else {
            let fail = match args.on_lost {
                _ if args.can_run_out() => required("fail"),
                _ if args.may_have_run() => required("fail_again"),
                Some(OnLost::Cancel(_)) => required("fail_lost"),
                Some(OnLost::Continue) | None => if_possible,
            };
            quote_spanned!(Span::mixed_site()=> loud(__redlock_output, #fail))
        };
        let on_lost = matches!(args.on_lost, Some(OnLost::Continue))
            .then(|| quote_spanned!(Span::mixed_site()=> .continue_when_lost()));
        let completing = is_named.then(|| {
            quote_spanned! {Span::mixed_site()=> .completing({
                use #runtime::{Succeeds as _, SucceedsAlways as _};
                (&__redlock_output).succeeds()
            })}
        });
        let plain = output.may_hide_future.then(|| {
            quote_spanned! {hidden(output.span)=>
                let __redlock_plain = #runtime::no_future({
                    use #runtime::{IsFuture as _, IsNoFuture as _};
                    (&__redlock_output).is_future()
                });
            }
        });
        let skip = self.may_skip_hidden_future().then(|| {
            let skip = output.spread(quote_spanned!(hidden(output.span)=> #runtime::skip));
            quote_spanned!(hidden(output.span)=> let __redlock_skip = __redlock_plain.if_skipped(#skip);)
        });
        quote_spanned!(Span::mixed_site()=> #plain #skip let __redlock_returns = #runtime::Returns::#returns #on_lost #completing;)
    }

    fn may_skip_hidden_future(&self) -> bool {
        self.output.may_hide_future && self.args.is_silent() && self.args.skip_value.is_none()
    }

    /// What the verdict comes to, as an expression that stands where the return type does.
    pub(super) fn verdict(&self) -> TokenStream {
        let Self { args, output, runtime, .. } = self;
        let place = hidden(output.span);
        match &args.skip_value {
            Some(skip_value) => quote_spanned! {place=>
                match __redlock_verdict {
                    #runtime::Returned::Skip => #skip_value,
                    #runtime::Returned::Value(__redlock_value) => __redlock_value,
                }
            },
            None if self.may_skip_hidden_future() => {
                quote_spanned!(place=> __redlock_verdict.returned_or(__redlock_skip))
            }
            None if args.is_silent() => {
                let skip = output.spread(quote_spanned!(place=> #runtime::skip));
                quote_spanned!(place=> __redlock_verdict.returned_or(#skip))
            }
            None if output.kind == OutputKind::Never => quote_spanned!(place=> match __redlock_verdict.returned() {}),
            None => quote_spanned!(place=> __redlock_verdict.returned()),
        }
    }
}
