mod name;
mod time;

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt as _;
use syn::parse::discouraged::Speculative as _;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, Ident, LitBool, LitStr, Path, Token};

pub(crate) use self::name::Name;
pub(crate) use self::time::{Time, Timeout};

/// The names of all arguments, as an error lists them.
const ARGUMENTS: &str = "`name`, `timeout`, `silent`, `skip_value`, `ttl` (or `auto_release_time`), `renew`, \
                         `max_hold`, `min_hold`, `on_lost`, `guard`, `stats_name`, `manager`, `crate`";

/// What stands in the parentheses of `#[redlock(…)]`; every value keeps its tokens and their spans.
pub(crate) struct Args {
    pub(crate) name: Name,
    pub(crate) timeout: Timeout,
    /// Where `silent` stands, or the `skip_value` that implies it.
    pub(crate) silent: Option<Span>,
    pub(crate) skip_value: Option<Expr>,
    pub(crate) ttl: Option<Time>,
    pub(crate) renew: Option<LitBool>,
    pub(crate) max_hold: Option<Time>,
    pub(crate) min_hold: Option<Time>,
    pub(crate) on_lost: Option<OnLost>,
    pub(crate) guard: Option<Ident>,
    pub(crate) stats_name: Option<Name>,
    pub(crate) manager: Option<Expr>,
    pub(crate) runtime: Option<Path>,
}

/// What happens to a running body when the lock is lost.
#[derive(Clone, Copy)]
pub(crate) enum OnLost {
    Cancel(Span),
    Continue,
}

/// Arguments that are not understood, and what of them the body nevertheless relies on.
pub(crate) struct Faulty {
    /// Every fault that was found.
    pub(crate) faults: syn::Error,
    pub(crate) guard: Option<Ident>,
    pub(crate) runtime: Option<Path>,
}

impl Args {
    /// Reads all arguments.
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self, Faulty> {
        let mut reader = Reader::default();
        let read = syn::parse::Parser::parse2(
            |input: ParseStream<'_>| {
                reader.read_all(input);
                Ok(())
            },
            tokens,
        );
        if let Err(fault) = read {
            reader.fault(fault);
        }
        reader.finish()
    }
}

/// The arguments read so far, and the faults found so far.
#[derive(Default)]
struct Reader {
    name: Slot<Name>,
    timeout: Slot<Timeout>,
    silent: Slot<Span>,
    skip_value: Slot<Expr>,
    ttl: Slot<Time>,
    renew: Slot<LitBool>,
    max_hold: Slot<Time>,
    min_hold: Slot<Time>,
    on_lost: Slot<OnLost>,
    guard: Slot<Ident>,
    stats_name: Slot<Name>,
    manager: Slot<Expr>,
    runtime: Slot<Path>,
    faults: Option<syn::Error>,
    /// Whether something was left unread that may have been any argument. None counts as missing then: that would be a
    /// second fault for one mistake.
    has_unread: bool,
    /// What a faulty `guard` and a faulty `crate` were meant to be.
    meant: (Option<Ident>, Option<Path>),
}

/// One argument.
#[derive(Default)]
enum Slot<T> {
    #[default]
    Absent,
    /// Written, but not understood.
    Faulty,
    /// Written with this key.
    Value(Ident, T),
}

impl<T> Slot<T> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn key(&self) -> Option<&Ident> {
        match self {
            Self::Value(key, _) => Some(key),
            Self::Absent | Self::Faulty => None,
        }
    }

    fn value(&self) -> Option<&T> {
        match self {
            Self::Value(_, value) => Some(value),
            Self::Absent | Self::Faulty => None,
        }
    }

    fn into_value(self) -> Option<T> {
        match self {
            Self::Value(_, value) => Some(value),
            Self::Absent | Self::Faulty => None,
        }
    }

    /// Reads this argument's value with `parse` and keeps it.
    fn read(
        &mut self,
        key: &Ident,
        input: ParseStream<'_>,
        parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
    ) -> syn::Result<()> {
        let is_first = self.is_absent();
        let value = parse_assigned(key, input, parse);
        if !is_first {
            return value.and(Err(duplicate(key)));
        }
        *self = Self::Faulty;
        *self = Self::Value(key.clone(), value?);
        Ok(())
    }
}

impl Reader {
    fn read_all(&mut self, input: ParseStream<'_>) {
        while !input.is_empty() {
            if let Err(fault) = self.read_one(input) {
                self.fault(fault);
                skip_to_comma(input);
            } else if !input.is_empty() && !input.peek(Token![,]) {
                self.fault(input.error("expected `,` between two arguments"));
                // What follows may be an argument of its own whose comma was forgotten.
                if !is_argument(input) {
                    self.has_unread = true;
                    skip_to_comma(input);
                }
            }
            let _: Result<Option<Token![,]>, _> = input.parse();
        }
    }

    fn read_one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if self.name.is_absent() && input.peek(LitStr) {
            self.name = Slot::Faulty;
            let text: LitStr = input.parse()?;
            return Err(syn::Error::new_spanned(&text, format!("write `name = {}`", text.token())));
        }
        if !input.peek(Ident::peek_any) {
            self.has_unread = true;
            return Err(input.error(format!("expected an argument: {ARGUMENTS}")));
        }
        let key = input.call(Ident::parse_any)?;
        let written = key.unraw().to_string();
        if is_known(&written) {
            return self.read_known(&written, key, input);
        }
        self.has_unread = true;
        let meant = nearest(&written).filter(|meant| self.is_absent(meant));
        let cure = meant
            .map_or_else(|| format!("; the arguments are {ARGUMENTS}"), |meant| format!(": did you mean `{meant}`?"));
        self.fault(syn::Error::new_spanned(&key, format!("unknown argument `{written}`{cure}")));
        if let Some(meant) = meant {
            // Read all the same, so that the body finds its guard.
            return self.read_known(meant, key, input);
        }
        // As one expression where it is one: a comma in it ends no argument.
        let ahead = input.fork();
        if ahead.parse::<Token![=]>().is_ok() && ahead.parse::<Expr>().is_ok() {
            input.advance_to(&ahead);
        } else {
            skip_to_comma(input);
        }
        Ok(())
    }

    /// Reads the value of the argument `name`, which stands there as `key`.
    fn read_known(&mut self, name: &str, key: Ident, input: ParseStream<'_>) -> syn::Result<()> {
        match name {
            "name" => self.name.read(&key, input, Name::parse),
            "stats_name" => self.stats_name.read(&key, input, Name::parse),
            "timeout" => self.timeout.read(&key, input, Timeout::parse),
            "ttl" | "auto_release_time" => self.ttl.read(&key, input, Time::parse),
            "max_hold" => self.max_hold.read(&key, input, Time::parse),
            "min_hold" => self.min_hold.read(&key, input, Time::parse),
            "skip_value" => self.skip_value.read(&key, input, Expr::parse),
            "manager" => self.manager.read(&key, input, Expr::parse),
            "guard" => self.guard.read(&key, input, |input| parse_guard(input, &mut self.meant.0)),
            "renew" => self.renew.read(&key, input, parse_renew),
            "on_lost" => self.on_lost.read(&key, input, OnLost::parse),
            "crate" => self.runtime.read(&key, input, |input| parse_runtime(input, &mut self.meant.1)),
            _ => self.read_silent(key, input),
        }
    }

    fn is_absent(&self, name: &str) -> bool {
        match name {
            "name" => self.name.is_absent(),
            "stats_name" => self.stats_name.is_absent(),
            "timeout" => self.timeout.is_absent(),
            "ttl" | "auto_release_time" => self.ttl.is_absent(),
            "max_hold" => self.max_hold.is_absent(),
            "min_hold" => self.min_hold.is_absent(),
            "skip_value" => self.skip_value.is_absent(),
            "manager" => self.manager.is_absent(),
            "guard" => self.guard.is_absent(),
            "renew" => self.renew.is_absent(),
            "on_lost" => self.on_lost.is_absent(),
            "crate" => self.runtime.is_absent(),
            _ => self.silent.is_absent(),
        }
    }

    fn read_silent(&mut self, key: Ident, input: ParseStream<'_>) -> syn::Result<()> {
        if !self.silent.is_absent() {
            return Err(duplicate(&key));
        }
        let span = key.span();
        self.silent = Slot::Value(key, span);
        if input.peek(Token![=]) {
            return Err(input.error("`silent` takes no value: write `silent`, or leave it out"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Args, Faulty> {
        if self.name.is_absent() && !self.has_unread {
            self.fault(syn::Error::new(Span::call_site(), "the lock has no name: write `#[redlock(name = \"…\")]`"));
        }
        self.refuse_clashes();
        let silent = self.silent.value().copied().or_else(|| self.skip_value.key().map(Ident::span));
        let (guard, runtime) = (self.guard.into_value().or(self.meant.0), self.runtime.into_value().or(self.meant.1));
        match (self.name.into_value(), self.faults) {
            (Some(name), None) => Ok(Args {
                name,
                timeout: self.timeout.into_value().unwrap_or(Timeout::Absent),
                silent,
                skip_value: self.skip_value.into_value(),
                ttl: self.ttl.into_value(),
                renew: self.renew.into_value(),
                max_hold: self.max_hold.into_value(),
                min_hold: self.min_hold.into_value(),
                on_lost: self.on_lost.into_value(),
                guard,
                stats_name: self.stats_name.into_value(),
                manager: self.manager.into_value(),
                runtime,
            }),
            (_, faults) => {
                let faults = faults.unwrap_or_else(|| syn::Error::new(Span::call_site(), "the lock has no name"));
                Err(Faulty { faults, guard, runtime })
            }
        }
    }

    /// Arguments that are right by themselves but not beside each other.
    fn refuse_clashes(&mut self) {
        if self.timeout.is_absent() && !self.has_unread {
            let needs_timeout = self.silent.key().or_else(|| self.skip_value.key()).cloned();
            if let Some(key) = needs_timeout {
                self.fault(syn::Error::new_spanned(
                    &key,
                    format!(
                        "`{key}` says what happens when the lock is not acquired, so it needs a `timeout`: \
                         `-1` skips at once, `0` waits for ever, N gives up after N seconds"
                    ),
                ));
            }
        }
        if let (Some(renew), Some(key)) = (self.renew.value(), self.max_hold.key())
            && !renew.value
        {
            let message = "`max_hold` says when renewal stops, and `renew = false` never starts it: \
                           leave one of them out";
            self.fault(syn::Error::new_spanned(key, message));
        }
        if let (Some(Time::Literal(min, span)), Some(Time::Literal(max, _))) =
            (self.min_hold.value(), self.max_hold.value())
            && min > max
        {
            self.fault(syn::Error::new(*span, "`min_hold` is longer than `max_hold`"));
        }
    }

    fn fault(&mut self, fault: syn::Error) {
        match &mut self.faults {
            Some(faults) => faults.combine(fault),
            None => self.faults = Some(fault),
        }
    }
}

impl OnLost {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let refuse = |span| syn::Error::new(span, "`on_lost` is \"cancel\" or \"continue\"");
        let value: LitStr = input.parse().map_err(|_| refuse(input.span()))?;
        match value.value().as_str() {
            "cancel" => Ok(Self::Cancel(value.span())),
            "continue" => Ok(Self::Continue),
            _ => Err(refuse(value.span())),
        }
    }
}

fn parse_guard(input: ParseStream<'_>, meant: &mut Option<Ident>) -> syn::Result<Ident> {
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

/// What was put in quotes and should not have been.
fn in_quotes<T: Parse>(input: ParseStream<'_>) -> Option<T> {
    if !input.peek(LitStr) {
        return None;
    }
    input.parse::<LitStr>().ok()?.parse().ok()
}

fn parse_renew(input: ParseStream<'_>) -> syn::Result<LitBool> {
    let span = input.span();
    input.parse().map_err(|_| syn::Error::new(span, "`renew` is `true` or `false`"))
}

fn parse_runtime(input: ParseStream<'_>, meant: &mut Option<Path>) -> syn::Result<Path> {
    let span = input.span();
    let ahead = input.fork();
    input.call(Path::parse_mod_style).map_err(|_| {
        *meant = in_quotes(&ahead);
        syn::Error::new(span, "`crate` takes the path of the runtime: `crate = redlock_runtime`")
    })
}

/// Reads `= value` behind `key`.
fn parse_assigned<T>(
    key: &Ident,
    input: ParseStream<'_>,
    parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<T> {
    let missing = |span| syn::Error::new(span, format!("`{key}` needs a value: `{key} = …`"));
    let Ok(equals) = input.parse::<Token![=]>() else {
        return Err(missing(key.span()));
    };
    if input.is_empty() || input.peek(Token![,]) {
        return Err(missing(equals.span));
    }
    parse(input)
}

fn duplicate(key: &Ident) -> syn::Error {
    let also = match key.to_string().as_str() {
        "ttl" => " (`auto_release_time` is another name for it)",
        "auto_release_time" => " (it is another name for `ttl`)",
        _ => "",
    };
    syn::Error::new_spanned(key, format!("`{key}` is given twice{also}"))
}

/// Leaves a faulty argument behind, so that the next one can be read.
fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _: syn::Result<proc_macro2::TokenTree> = input.parse();
    }
}

/// Whether an argument begins here.
fn is_argument(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let key = ahead.call(Ident::parse_any);
    key.is_ok_and(|key| is_known(&key.unraw().to_string()) || ahead.peek(Token![=]))
}

/// Every key that an argument may have.
const KEYS: [&str; 14] = [
    "name",
    "timeout",
    "silent",
    "skip_value",
    "ttl",
    "auto_release_time",
    "renew",
    "max_hold",
    "min_hold",
    "on_lost",
    "guard",
    "stats_name",
    "manager",
    "crate",
];

fn is_known(key: &str) -> bool {
    KEYS.contains(&key)
}

/// The key that was meant, if a third of the letters or fewer have to change.
fn nearest(written: &str) -> Option<&'static str> {
    let written = written.to_lowercase();
    let changes = |key: &&'static str| (changes_between(&written, key), *key);
    let (changes, key) = KEYS.iter().map(changes).min()?;
    (changes <= (key.len() / 3).max(1)).then_some(key)
}

/// How many letters have to be added, dropped, replaced, or swapped with the next one.
///
/// Source: the optimal string alignment distance.
fn changes_between(written: &str, key: &str) -> usize {
    let (written, key): (Vec<char>, Vec<char>) = (written.chars().collect(), key.chars().collect());
    let mut rows = vec![vec![0; key.len() + 1]; written.len() + 1];
    for at in 0..=written.len() {
        for other in 0..=key.len() {
            if at == 0 || other == 0 {
                rows[at][other] = at + other;
                continue;
            }
            let replaced = rows[at - 1][other - 1] + usize::from(written[at - 1] != key[other - 1]);
            let mut least = replaced.min(rows[at - 1][other] + 1).min(rows[at][other - 1] + 1);
            if at > 1 && other > 1 && written[at - 1] == key[other - 2] && written[at - 2] == key[other - 1] {
                least = least.min(rows[at - 2][other - 2] + 1);
            }
            rows[at][other] = least;
        }
    }
    rows[written.len()][key.len()]
}
