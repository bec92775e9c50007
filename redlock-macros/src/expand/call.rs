use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Ident, LitStr};

use super::{Expansion, hidden};
use crate::args::{Mode, Name, Once, OnceAt, Permits, Time, Timeout};

impl Expansion<'_> {
    /// What is to be acquired. All of the user's expressions but `skip_value` are evaluated here.
    pub(super) fn call(&self) -> TokenStream {
        let Self { args, runtime, .. } = self;
        let name = match args.name.template() {
            Some(template) => self.name_like(&args.name, &template),
            None => self.name(&args.name),
        };
        let mut call = args.manager.as_ref().map_or_else(
            || quote_spanned!(Span::mixed_site()=> #runtime::Call::new(#name)),
            |manager| quote_spanned!(hidden(manager.span())=> #runtime::Call::with_manager(#manager, #name)),
        );
        if args.is_silent() || args.name.template().is_none() {
            let function = &self.function;
            call.extend(quote_spanned!(Span::mixed_site()=>
                .of(::core::concat!(::core::module_path!(), "::", #function))
            ));
        }
        match &args.timeout {
            None | Some(Timeout::Forever) => {}
            Some(Timeout::Skip(span)) => {
                call.extend(quote_spanned!(hidden(*span)=> .timeout(#runtime::Timeout::Skip)));
            }
            Some(Timeout::After(limit, span)) => {
                let limit = duration(*limit, *span);
                call.extend(quote_spanned!(hidden(*span)=> .timeout(#limit)));
            }
            Some(Timeout::Expression(expression)) => {
                call.extend(quote_spanned!(hidden(expression.span())=> .timeout(#expression)));
            }
        }
        match &args.once {
            None => {}
            Some(Once::Period(period, span)) => {
                let period = duration(*period, *span);
                call.extend(quote_spanned!(hidden(*span)=> .once(#runtime::Fire::every(#period))));
            }
            Some(Once::Fire(fire)) => call.extend(quote_spanned!(hidden(fire.span())=> .once(#fire))),
        }
        if let Some(OnceAt::Start) = args.once_at {
            call.extend(quote_spanned!(Span::mixed_site()=> .once_at(#runtime::OnceAt::Start)));
        }
        match args.mode {
            None => {}
            Some(Mode::Read) => call.extend(quote_spanned!(Span::mixed_site()=> .read())),
            Some(Mode::Write) => call.extend(quote_spanned!(Span::mixed_site()=> .write())),
        }
        if let Some(Permits(permits)) = &args.permits {
            call.extend(quote_spanned!(hidden(permits.span())=> .permits(#permits)));
        }
        for (setter, time) in [("ttl", &args.ttl), ("max_hold", &args.max_hold), ("min_hold", &args.min_hold)] {
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

    /// The text of a name that is made of a template, and that template, by which it is called in metrics.
    fn name_like(&self, name: &Name, template: &str) -> TokenStream {
        let runtime = &self.runtime;
        let (text, span) = match name {
            Name::Template(text) => (quote_spanned!(hidden(text.span())=> ::core::format_args!(#text)), text.span()),
            Name::Expression(expression) => {
                (quote_spanned!(hidden(expression.span())=> (#expression)), expression.span())
            }
            Name::Several(_) => {
                let (names, span) = (self.name(name), Span::mixed_site());
                let template = LitStr::new(template, span);
                return quote_spanned!(span=> #runtime::like(#names, #template));
            }
        };
        let template = LitStr::new(template, hidden(span));
        quote_spanned!(hidden(span)=> #runtime::name_like(&#text, #template))
    }

    /// The name's text; an expression is borrowed, because it may name an argument that the body moves. What its text holds
    /// only the runtime sees: it looks for the function's arguments in braces, which nobody has filled in.
    fn name(&self, name: &Name) -> TokenStream {
        let runtime = &self.runtime;
        match name {
            Name::Template(template) => {
                quote_spanned!(hidden(template.span())=> #runtime::name(&::core::format_args!(#template)))
            }
            Name::Expression(expression) if name.may_hide_template() && !self.arguments.is_empty() => {
                let arguments = &self.arguments;
                quote_spanned! {hidden(expression.span())=>
                    #runtime::name_beside(&(#expression), &[#(#arguments),*])
                }
            }
            Name::Expression(expression) => {
                quote_spanned!(hidden(expression.span())=> #runtime::name(&(#expression)))
            }
            Name::Several(names) => {
                let names = names.iter().map(|name| self.name(name));
                quote_spanned!(Span::mixed_site()=> #runtime::names([#(#names),*]))
            }
        }
    }
}

fn duration(time: std::time::Duration, span: Span) -> TokenStream {
    let (seconds, nanoseconds) = (time.as_secs(), time.subsec_nanos());
    quote_spanned!(hidden(span)=> ::core::time::Duration::new(#seconds, #nanoseconds))
}
