/// Every argument of the attribute, declared once: what the documentation says of it, its keys, and how it is read.
///
/// ```text
/// /// | accepts | default | meaning |
/// "key" | "its other name" => field: Type, how(parser);
/// ```
///
/// The rows stand in the order of the documentation and of the list in errors. `field` is the argument's place in `Args`:
/// of a required argument the type itself, else an `Option` of it. `how` is a method of `Slot`. Types and parsers are those
/// that `fields.rs` imports. What is made of the rows is up to the macro that is named by `$generate`.
macro_rules! arguments {
    ($generate:ident) => {
        $generate! {
            required {
                /// | text, in which `{argument}` inserts an argument as `format!` does, also as `concat!` of literals; or any other expression that is `Display`, whose braces are taken as they are; or several of these in brackets: `names = ["account:{from}", "account:{to}"]` | required | the lock's name; see [below](#names-of-several-values) if it is made of several values. Of several names all locks are acquired together, or none, whatever the order in which others name theirs |
                "name" | "names" => name: Name, value(Name::parse_all);
            }
            optional {
                /// | `-1`, `0`, a duration, or an expression of type `Timeout` | `0` | `-1`: one attempt; `0`: wait for ever; else keep trying for up to this long |
                "timeout" => timeout: Timeout, value(Timeout::parse);
                /// | a duration, or an expression that is `Into<Fire>`: a `SystemTime`, a `Duration`, a `u64` | off | one run per fire in the whole fleet: a period (`"1d"`), or the moment or number that the scheduler gives this run; see [below](#one-run-per-fire). Needs an explicit `timeout`; a literal is at most 7 days, a longer period needs `marks_retention` and `Fire::every` |
                "once" => once: Once, value(Once::parse);
                /// | `"end"`, `"start"` | `"end"` | when the fire is marked as completed: when the body has ended well, or before it starts, and then it runs at most once |
                "once_at" => once_at: OnceAt, value(OnceAt::parse);
                /// | a number from 1 to 64, or an expression of type `u32` | none | so many calls run at once in the whole fleet, each with a *permit* of its own, whose number `guard` tells; the same in all processes. A lock with permits excludes none without, also if both have one name |
                "permits" => permits: Permits, value(Permits::parse);
                /// | `"read"`, `"write"` | none | many readers or one writer: calls that read run beside each other, a call that writes alone. No plain lock: one without `mode` excludes neither, also if it has the same name |
                "mode" => mode: Mode, value(Mode::parse);
                /// | nothing | off | without the lock, skip the body and return the *skip value*, not an error; needs an explicit `timeout` |
                "silent" => silent: Span, flag(parse_silent);
                /// | an expression of the return type; may use shared references and `Copy` arguments | `Ok(T::default())` of a `Result`, else `R::default()` | the skip value, evaluated only when needed; implies `silent` |
                "skip_value" => skip_value: Expr, value(Expr::parse);
                /// | a duration | the manager's, 30 s | how long the lock outlives a holder that crashed, 10 ms or more; above the manager's `longest_ttl`, which is 5 minutes unless set, the call is refused as wrongly configured (the lock is renewed, so a body may run for longer) |
                "ttl" | "auto_release_time" => ttl: Time, value(Time::parse);
                /// | `true`, `false` | `true` | keep extending the lock while the body runs |
                "renew" => renew: LitBool, value(parse_renew);
                /// | a duration | none | when renewal stops, and the lock counts as lost |
                "max_hold" => max_hold: Time, value(Time::parse);
                /// | a duration | none | the lock stays taken at least this long, however quick the body is; up to a year, also above `longest_ttl`; with `once` only if the fire was completed |
                "min_hold" => min_hold: Time, value(Time::parse);
                /// | `"cancel"`, `"continue"` | `"cancel"` if async and the loss can be told | whether a running body is dropped at its next await when the lock is lost; a sync body always continues |
                "on_lost" => on_lost: OnLost, value(OnLost::parse);
                /// | a name | none | binds `&LockGuard` under this name in the body |
                "guard" => guard: Ident, value_or_meant(parse_guard);
                /// | as one `name` | `name` | the name under which waiters are counted |
                "stats_name" => stats_name: Name, value(Name::parse);
                /// | an expression giving `&LockManager` | that of the scope, else the installed one | which lock manager |
                "manager" => manager: Expr, value(Expr::parse);
                /// | a path | `::redlock_runtime` | where the runtime is, if the dependency is renamed |
                "crate" => runtime: Path, value_or_meant(parse_runtime);
            }
        }
    };
}
pub(crate) use arguments;
