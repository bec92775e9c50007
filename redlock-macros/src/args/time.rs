use std::time::Duration;

use proc_macro2::Span;
use syn::parse::ParseStream;
use syn::spanned::Spanned as _;
use syn::{Expr, Lit, LitStr, UnOp};

/// How long a call waits for its lock.
pub(crate) enum Timeout {
    /// The literal `0`.
    Forever,
    /// The literal `-1`.
    Skip(Span),
    /// A positive number of seconds, or a duration in words.
    After(Duration, Span),
    /// An expression of type `Timeout` or `Duration`.
    Expression(Expr),
}

/// A length of time.
pub(crate) enum Time {
    Literal(Duration, Span),
    /// An expression of type `Duration`.
    Expression(Expr),
}

/// Which run of a job a call is.
pub(crate) enum Once {
    /// The only one in this time.
    Period(Duration, Span),
    /// An expression that is `Into<Fire>`.
    Fire(Expr),
}

impl Once {
    /// No job is called more often for each of its fires.
    const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

    /// For so long marks are kept, unless a builder says otherwise: a longer period needs one that does.
    const MARK_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// Marks are kept for no longer.
    const LONGEST_PERIOD: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expression: Expr = input.parse()?;
        let span = expression.span();
        let refuse = |message: &str| Err(syn::Error::new(span, message));
        match Written::read(&expression)? {
            Written::Words(period) if period < Self::SHORTEST_PERIOD => {
                refuse("a period of `once` is at least \"1s\": calls of one fire come less than half a period apart")
            }
            Written::Words(period) if period > Self::LONGEST_PERIOD => {
                refuse("a period of `once` is at most \"365d\": marks of completed fires are kept for no longer")
            }
            Written::Words(period) if period > Self::MARK_RETENTION => refuse(
                "marks of completed fires are kept for 7 days unless `marks_retention` of the builder says otherwise, and a period is no \
                 longer: set it to the period at least, in all processes, and write `once = Fire::every(…)` with a `Duration`",
            ),
            Written::Words(period) => Ok(Self::Period(period, span)),
            Written::NegativeWords => refuse("a period of `once` is at least \"1s\""),
            Written::Seconds(_) => refuse(
                "a number that is always the same would let the job run once for ever: write a period with its unit, such as \
                 \"1d\", or an expression that gives each run its own moment or number",
            ),
            Written::Other => Ok(Self::Fire(expression)),
        }
    }
}

impl Timeout {
    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        const CURE: &str = "use -1 for one attempt, 0 to wait for ever, or a positive number of seconds";
        let expression: Expr = input.parse()?;
        let span = expression.span();
        let refuse = |message: String| Err(syn::Error::new_spanned(&expression, message));
        match Written::read(&expression)? {
            // Exact comparisons: 0 and -1 are names here, not measurements. `-0` is none.
            Written::Seconds(0.0) if !is_negative(&expression) => Ok(Self::Forever),
            Written::Seconds(-1.0) => Ok(Self::Skip(span)),
            Written::Seconds(seconds) if seconds > 0.0 => match Duration::try_from_secs_f64(seconds) {
                Ok(limit) => Ok(Self::After(limit, span)),
                Err(_) => refuse(format!("a timeout of this many seconds does not exist: {CURE}")),
            },
            Written::Seconds(_) | Written::NegativeWords => refuse(format!("this timeout is not understood: {CURE}")),
            Written::Words(Duration::ZERO) => {
                refuse("a timeout of no time has two readings: use -1 for one attempt, or 0 to wait for ever".into())
            }
            Written::Words(limit) => Ok(Self::After(limit, span)),
            Written::Other => Ok(Self::Expression(expression)),
        }
    }
}

impl Time {
    pub(super) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expression: Expr = input.parse()?;
        let span = expression.span();
        let refuse = || Err(syn::Error::new(span, "this length of time must be greater than zero"));
        match Written::read(&expression)? {
            Written::NegativeWords => refuse(),
            Written::Words(time) if time.is_zero() => refuse(),
            Written::Words(time) => Ok(Self::Literal(time, span)),
            Written::Seconds(seconds) if seconds <= 0.0 => refuse(),
            Written::Seconds(seconds) => match Duration::try_from_secs_f64(seconds) {
                Ok(time) if !time.is_zero() => Ok(Self::Literal(time, span)),
                _ => Err(syn::Error::new(span, "this number of seconds is not understood")),
            },
            Written::Other => Ok(Self::Expression(expression)),
        }
    }
}

/// What a time's expression says by itself.
enum Written {
    /// A number literal, which may carry a minus.
    Seconds(f64),
    /// A duration literal such as `"250ms"`.
    Words(Duration),
    /// Such a literal with a minus, inside the quotes or before them.
    NegativeWords,
    /// Only known when the function is called.
    Other,
}

impl Written {
    fn read(expression: &Expr) -> syn::Result<Self> {
        match ungroup(expression) {
            Expr::Lit(literal) => Self::read_literal(&literal.lit),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => match ungroup(&unary.expr) {
                Expr::Lit(literal) => match Self::read_literal(&literal.lit)? {
                    Self::Seconds(seconds) => Ok(Self::Seconds(-seconds)),
                    Self::Words(_) => Ok(Self::NegativeWords),
                    other => Ok(other),
                },
                _ => Ok(Self::Other),
            },
            Expr::Path(path) => match path.path.segments.last() {
                Some(last) if ["NAN", "INFINITY", "NEG_INFINITY"].iter().any(|name| last.ident == name) => {
                    Err(not_a_time(expression))
                }
                _ => Ok(Self::Other),
            },
            _ => Ok(Self::Other),
        }
    }

    fn read_literal(literal: &Lit) -> syn::Result<Self> {
        let (digits, suffix) = match literal {
            Lit::Int(number) => (number.base10_digits(), number.suffix()),
            Lit::Float(number) => (number.base10_digits(), number.suffix()),
            Lit::Str(text) if text.value().trim_start().starts_with('-') => return Ok(Self::NegativeWords),
            Lit::Str(text) => return read_words(text).map(Self::Words),
            Lit::Bool(_) | Lit::Char(_) | Lit::Byte(_) | Lit::ByteStr(_) | Lit::CStr(_) => {
                return Err(not_a_time(literal));
            }
            _ => return Ok(Self::Other),
        };
        let is_number = suffix.is_empty()
            || ["f", "u", "i"].iter().any(|kind| {
                suffix.strip_prefix(kind).is_some_and(|width| ["size", "8", "16", "32", "64", "128"].contains(&width))
            });
        if !is_number {
            return Err(syn::Error::new_spanned(
                literal,
                format!("a duration with its unit stands in quotes: write `\"{digits}{suffix}\"`"),
            ));
        }
        digits.parse().map(Self::Seconds).map_err(|_| not_a_time(literal))
    }
}

fn is_negative(expression: &Expr) -> bool {
    matches!(ungroup(expression), Expr::Unary(_))
}

/// Reads `"250ms"`, `"1.5s"`, `"1h 30m"`.
fn read_words(literal: &LitStr) -> syn::Result<Duration> {
    let text = literal.value();
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(not_a_time(literal));
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(digits_end);
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds_per_unit = match unit {
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(not_a_time(literal)),
        };
        let amount: f64 = digits.parse().map_err(|_| not_a_time(literal))?;
        total = Duration::try_from_secs_f64(amount * seconds_per_unit)
            .ok()
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| not_a_time(literal))?;
        rest = after.trim_start();
    }
    Ok(total)
}

fn not_a_time(tokens: impl quote::ToTokens) -> syn::Error {
    syn::Error::new_spanned(
        tokens,
        "this is not a length of time: write a number of seconds, or a duration such as \"250ms\", \"1.5s\", \"5m\", \"1h\"",
    )
}

/// What stands in parentheses, or was handed on by a `macro_rules!` macro.
pub(super) fn ungroup(expression: &Expr) -> &Expr {
    match expression {
        Expr::Group(group) => ungroup(&group.expr),
        Expr::Paren(paren) => ungroup(&paren.expr),
        _ => expression,
    }
}
