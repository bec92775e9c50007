use std::time::Duration;

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;
use redlock_runtime::LockManagerBuilder;

use crate::expand::redlock;

/// The expansion of `#[redlock(arguments)] item`, formatted.
fn expand(arguments: &str, item: &str) -> String {
    let file = syn::parse2(redlock(tokens(arguments), tokens(item)));
    prettyplease::unparse(&file.expect("the expansion can be parsed"))
}

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("the test's own tokens")
}

#[track_caller]
fn check(arguments: &str, item: &str, expected: &Expect) {
    expected.assert_eq(&expand(arguments, item));
}

#[test]
fn an_async_function_with_a_guard() {
    check(
        r#"name = "invoice:{id}", timeout = 5, ttl = "1m 30s", guard = lock"#,
        "/// Bills.
        #[must_use]
        pub(crate) async fn bill(&self, id: u64) -> Result<Invoice, Error> { store(lock).await? }",
        &expect![[r#"
            /// Bills.
            #[must_use]
            pub(crate) async fn bill(&self, id: u64) -> Result<Invoice, Error> {
                let __redlock_output = ::redlock_runtime::__private::Output::new();
                if false {
                    return __redlock_output.promised();
                }
                let __redlock_call = ::redlock_runtime::__private::Call::new(
                        ::redlock_runtime::__private::name_like(
                            &::core::format_args!("invoice:{id}"),
                            "invoice:{id}",
                        ),
                    )
                    .timeout(::core::time::Duration::new(5u64, 0u32))
                    .ttl(::core::time::Duration::new(90u64, 0u32));
                let (__redlock_call, __redlock_access) = __redlock_call.with_access();
                let __redlock_body = async move {
                    if false {
                        return __redlock_output.promised();
                    }
                    let lock: &::redlock_runtime::__private::LockGuard = __redlock_access.guard();
                    store(lock).await?
                };
                let __redlock_returns = ::redlock_runtime::__private::Returns::loud(
                        __redlock_output,
                        ::core::option::Option::Some(::redlock_runtime::__private::fail),
                    )
                    .completing({
                        use ::redlock_runtime::__private::{Succeeds as _, SucceedsAlways as _};
                        (&__redlock_output).succeeds()
                    });
                let __redlock_keep = {
                    use ::redlock_runtime::__private::{HandsOver as _, Keeps as _};
                    (&__redlock_output).keep()
                };
                let __redlock_verdict = ::redlock_runtime::__private::drive(
                        __redlock_call,
                        ::core::pin::pin!(::core::option::Option::Some(__redlock_body)),
                        __redlock_returns,
                        __redlock_keep,
                    )
                    .await;
                __redlock_verdict.returned()
            }
        "#]],
    );
}

#[test]
fn a_silent_sync_function() {
    check(
        r#"name = format!("a-{}", self.id), timeout = -1, silent, manager = &self.locks, crate = my::locks"#,
        "fn run<'a, T: Clone>(&'a self, mut items: Vec<T>) -> Option<&'a T> where T: 'a { items.pop(); None }",
        &expect![[r#"
            fn run<'a, T: Clone>(&'a self, mut items: Vec<T>) -> Option<&'a T>
            where
                T: 'a,
            {
                let __redlock_output = my::locks::__private::Output::new();
                if false {
                    return __redlock_output.promised();
                }
                let __redlock_call = my::locks::__private::Call::with_manager(
                        &self.locks,
                        my::locks::__private::name_like(&(format!("a-{}", self.id)), "a-{}"),
                    )
                    .of(::core::concat!(::core::module_path!(), "::", "run"))
                    .timeout(my::locks::__private::Timeout::Skip);
                let __redlock_plain = my::locks::__private::no_future({
                    use my::locks::__private::{IsFuture as _, IsNoFuture as _};
                    (&__redlock_output).is_future()
                });
                let __redlock_skip = __redlock_plain.if_skipped(my::locks::__private::skip);
                let __redlock_returns = my::locks::__private::Returns::silent(
                        __redlock_output,
                        {
                            use my::locks::__private::{Fails as _, FailsNot as _};
                            (&__redlock_output).fail()
                        },
                        {
                            use my::locks::__private::{
                                BlamesError as _, BlamesNothing as _, BlamesPointer as _,
                            };
                            (&&__redlock_output).blame()
                        },
                    )
                    .completing({
                        use my::locks::__private::{Succeeds as _, SucceedsAlways as _};
                        (&__redlock_output).succeeds()
                    });
                let __redlock_body = my::locks::__private::once(
                    __redlock_output,
                    move || {
                        items.pop();
                        None
                    },
                );
                let __redlock_verdict = my::locks::__private::run(
                    __redlock_call,
                    __redlock_body,
                    __redlock_returns,
                );
                __redlock_verdict.returned_or(__redlock_skip)
            }
        "#]],
    );
}

#[test]
fn a_skip_value_and_every_other_argument() {
    check(
        r#"name = "x", timeout = limit, skip_value = Err(Busy), auto_release_time = 2.5, renew = false, min_hold = "1s",
           on_lost = "continue", stats_name = "s:{kind}""#,
        "async fn run(limit: Duration, kind: &str) -> Result<(), Busy> { #![allow(unused)] //! Inside.\n work(); }",
        &expect![[r#"
            async fn run(limit: Duration, kind: &str) -> Result<(), Busy> {
                #![allow(unused)]
                //! Inside.
                let __redlock_output = ::redlock_runtime::__private::Output::new();
                if false {
                    return __redlock_output.promised();
                }
                let __redlock_call = ::redlock_runtime::__private::Call::new(
                        ::redlock_runtime::__private::name_like(&::core::format_args!("x"), "x"),
                    )
                    .of(::core::concat!(::core::module_path!(), "::", "run"))
                    .timeout(limit)
                    .ttl(::core::time::Duration::new(2u64, 500000000u32))
                    .min_hold(::core::time::Duration::new(1u64, 0u32))
                    .renew(false)
                    .stats_name(
                        ::redlock_runtime::__private::name(&::core::format_args!("s:{kind}")),
                    );
                let __redlock_body = async move {
                    if false {
                        return __redlock_output.promised();
                    }
                    work();
                };
                let __redlock_returns = ::redlock_runtime::__private::Returns::silent(
                        __redlock_output,
                        {
                            use ::redlock_runtime::__private::{Fails as _, FailsNot as _};
                            (&__redlock_output).fail()
                        },
                        {
                            use ::redlock_runtime::__private::{
                                BlamesError as _, BlamesNothing as _, BlamesPointer as _,
                            };
                            (&&__redlock_output).blame()
                        },
                    )
                    .continue_when_lost()
                    .completing({
                        use ::redlock_runtime::__private::{Succeeds as _, SucceedsAlways as _};
                        (&__redlock_output).succeeds()
                    });
                let __redlock_keep = {
                    use ::redlock_runtime::__private::{HandsOver as _, Keeps as _};
                    (&__redlock_output).keep()
                };
                let __redlock_verdict = ::redlock_runtime::__private::drive(
                        __redlock_call,
                        ::core::pin::pin!(::core::option::Option::Some(__redlock_body)),
                        __redlock_returns,
                        __redlock_keep,
                    )
                    .await;
                match __redlock_verdict {
                    ::redlock_runtime::__private::Returned::Skip => Err(Busy),
                    ::redlock_runtime::__private::Returned::Value(__redlock_value) => __redlock_value,
                }
            }
        "#]],
    );
}

#[test]
fn a_fault_leaves_the_function_untouched() {
    check(
        "name = \"x\", timeout = -2",
        "/// Doc.\n#[inline] async fn job() -> u8 { 5 }",
        &expect![[r#"
            ::core::compile_error! {
                "this timeout is not understood: use -1 for one attempt, 0 to wait for ever, or a positive number of seconds"
            }
            /// Doc.
            #[inline]
            async fn job() -> u8 {
                5
            }
        "#]],
    );
}

#[test]
fn half_typed_arguments_leave_the_function_untouched() {
    let half_typed = [
        "",
        "n",
        "name",
        "name =",
        "name = ,",
        "name = \"x\", timeout",
        "name = \"x\", timeout =",
        "name = \"x\", timeout = -",
        "name = \"x\" timeout = 5",
        "name = \"x\", timeout = 5, si",
        "name = \"x\", skip_value = Ok(",
        "name = \"x\", manager = &self.",
        "name = foo::<u8, , ttl = 5",
        "name = \"invoice:{",
        ", ,",
        "= 5",
        "\"x\"",
        "name = \"x\", crate = ",
        "name = \"x\", on_lost = cancel",
    ];
    for arguments in half_typed {
        let Ok(arguments) = arguments.parse::<TokenStream>() else {
            continue;
        };
        let expansion = redlock(arguments.clone(), tokens("async fn job(a: u8) -> u8 { a + 1 }")).to_string();
        assert!(expansion.contains("compile_error"), "{arguments} is not refused");
        assert!(expansion.ends_with("async fn job (a : u8) -> u8 { a + 1 }"), "{arguments}: {expansion}");
    }
}

#[test]
fn half_typed_functions_are_kept() {
    let half_typed = [
        "async fn job() { let x = ; }",
        "async fn job() { self. }",
        "async fn job() { if }",
        "fn job() { match x { 1 => } }",
        "fn job() { foo( }",
        "fn job() { let s: &str = }",
        "fn job() { return }",
        "fn job() { #[attr] }",
        "fn job() { ? ? ? }",
        "fn job() { x. .await }",
        "fn job() { let 5x = 3; }",
        "fn job(a: ) {}",
        "fn job(",
        "fn job() -> {}",
        "fn job()",
        "pub fn",
        "async fn job<T: >() where { }",
    ];
    for item in half_typed {
        let Ok(item) = item.parse::<TokenStream>() else {
            continue;
        };
        let expansion = redlock(tokens("name = \"x\""), item.clone()).to_string();
        let body = item.into_iter().last().map(|body| body.to_string()).unwrap_or_default();
        let inside = body.trim_start_matches('{').trim_end_matches('}').trim();
        assert!(expansion.contains(inside), "{inside} is missing from {expansion}");
    }
}

/// How many faults the user is told.
fn faults(arguments: &str, item: &str) -> usize {
    redlock(tokens(arguments), tokens(item)).to_string().matches("compile_error").count()
}

#[test]
fn one_mistake_is_one_fault() {
    for arguments in [
        "",
        "nam = \"x\"",
        "Name = \"x\"",
        "lock = \"x\"",
        "lock = pick::<u8, u8>()",
        "naem = \"x\", timeout = -1, silent",
        "name: \"x\"",
        "name == \"x\"",
        "name(\"x\")",
        "name \"x\"",
        "name = \"x\"; timeout = -1, silent",
        "name = \"x\" timeout = -1, silent",
        "\"x\", timeout = -1, silent",
        "name = \"x\", timout = -1, silent",
        "name = \"x\", timeout = -1, slient",
        "name = \"x\", time_out = -1, skip_value = None",
        "name = \"x\", wait = -1, silent",
        "name = \"x\", timeout - 1, silent",
        "name = \"x\", timeout = 5 s",
        "name = \"x\", timeout = 5 seconds, silent",
        "name = \"x\", timeout = 5s, silent",
        "name = \"x\", timeout = , silent",
        "name = \"x\",, timeout = -1, silent",
        "name = \"x\", timeout = -1, silent = true",
        "name = \"x\", silent",
        "name = \"x\", skip_value = None",
        "name = \"x\", tll = 5",
        "name = \"x\", auto_relaese_time = 5",
        "name = \"x\", max_hlod = 5, min_hold = 3",
        "name = \"x\", renew = no",
        "name = \"x\", on_lost = cancel",
        "name = \"x\", guard = \"lock\"",
        "name = \"x\", gaurd = lock",
        "name = \"x\", crate = \"my::locks\"",
        "name = \"x\", ttl = 5, ttl = 6",
        "name = \"x{\"",
    ] {
        assert_eq!(faults(arguments, "async fn job() -> Option<u8> { None }"), 1, "{arguments}");
    }
    assert_eq!(faults("nmae = 5, timeuot = -3, guard = 3", "fn job() {}"), 5, "each of several is told");
}

#[test]
fn a_guard_that_was_meant_is_there_for_the_body() {
    for arguments in ["name = \"x\", gaurd = lock", "name = \"x\", guard = \"lock\"", "name = \"x\", guard = &lock"] {
        let expansion = redlock(tokens(arguments), tokens("fn job() { lock.name(); }")).to_string();
        assert!(expansion.contains("let lock ="), "{arguments}: {expansion}");
    }
}

#[test]
fn what_is_no_function_is_one_fault_and_otherwise_untouched() {
    for expression in [
        "|| 5",
        "move |x: u8| { x }",
        "async move { 5 }",
        "async || 5",
        "{ work(); }",
        "unsafe { work() }",
        "const { 5 }",
        "loop { }",
        "work()",
        "5",
        "'outer: loop { }",
        "#[inline] || 5",
    ] {
        let item = tokens(expression).to_string();
        for arguments in ["name = \"x\"", "", "nam = 5"] {
            let expansion = redlock(tokens(arguments), tokens(expression));
            assert_eq!(faults(arguments, expression), 1, "{expression}");
            assert!(expansion.to_string().contains(&item), "{expression}");
            assert_eq!(expansion.into_iter().count(), 1, "{expression} stands where one expression is expected");
        }
    }
    for other in [
        "struct Job;",
        "pub enum Job {}",
        "impl Job {}",
        "unsafe impl Job for u8 {}",
        "let f = || 5;",
        "const JOB: u8 = 5;",
        "static JOB: u8 = 5;",
        "extern \"C\" { fn job(); }",
        "extern crate core;",
        "mod job {}",
        "macro_rules! job { () => {} }",
    ] {
        let expansion = redlock(tokens(""), tokens(other)).to_string();
        assert_eq!(faults("", other), 1, "{other}");
        assert!(expansion.ends_with(&tokens(other).to_string()), "{other}");
    }
}

#[test]
fn text_that_can_be_seen_is_a_template() {
    let job = "async fn job(id: u64) { work(); }";
    let plain = expand("name = \"invoice:{id}\"", job);
    for name in [
        "&\"invoice:{id}\"",
        "&&\"invoice:{id}\"",
        "(\"invoice:{id}\")",
        "{ \"invoice:{id}\" }",
        "&({ &\"invoice:{id}\" })",
        "const { \"invoice:{id}\" }",
        "concat!(\"invoice:\", \"{id}\")",
        "&concat!(\"invoice\", ':', \"{id}\",)",
        "std::concat!(\"inv\", concat!(\"oice:{\", \"id\"), '}')",
    ] {
        assert_eq!(expand(&format!("name = {name}"), job), plain, "{name}");
    }
    assert_eq!(
        expand("name = concat!(\"v\", 1, -2, 3.5, true)", job),
        expand("name = \"v1-23.5true\"", job),
        "what else may stand in `concat!`"
    );
    for name in ["{ \"invoice:{}\" }", "&\"invoice:{0}\"", "concat!(\"invoice:\", \"{self.id}\")", "(\"\")"] {
        assert_eq!(faults(&format!("name = {name}"), job), 1, "{name}");
    }
}

#[test]
fn text_that_cannot_be_seen_is_looked_at_beside_the_arguments() {
    let job =
        "async fn job(&self, id: u64, Query(Page { size, .. }): Query<Page>, (mut a, r#type): (u8, u8)) { work(); }";
    let expected = "name_beside (& (NAME) , & [\"self\" , \"id\" , \"size\" , \"a\" , \"type\"])";
    let expansion = redlock(tokens("name = NAME, stats_name = NAME"), tokens(job)).to_string();
    assert_eq!(expansion.matches(expected).count(), 2, "{expansion}");
    for (arguments, job) in [
        ("name = format!(\"{{id}}{}\", id)", job),
        ("name = std::format_args!(\"{{id}}{}\", id)", job),
        ("name = \"invoice:{id}\"", job),
        ("name = NAME", "async fn job() { work(); }"),
    ] {
        assert!(!redlock(tokens(arguments), tokens(job)).to_string().contains("name_beside"), "{arguments}");
    }
}

#[test]
fn a_name_that_is_no_text_is_refused_with_the_cure() {
    for (name, cure) in [
        ("5", "\"5\""),
        ("(5)", "\"5\""),
        ("&5", "\"5\""),
        ("5u64", "\"5u64\""),
        ("-5", "\"-5\""),
        ("1.5", "\"1.5\""),
        ("true", "\"true\""),
        ("'x'", "\"x\""),
        ("b'x'", "\"x\""),
        ("b\"x\"", "\"x\""),
        ("c\"x\"", "\"x\""),
        ("{ 5 }", "\"5\""),
    ] {
        for key in ["name", "name = \"x\", stats_name"] {
            let expansion = redlock(tokens(&format!("{key} = {name}")), tokens("fn job() {}")).to_string();
            assert_eq!(expansion.matches("compile_error").count(), 1, "{name}");
            let cure = format!("write `{cure}`").escape_default().to_string();
            assert!(expansion.contains(&cure), "{name}: {expansion}");
        }
    }
}

/// How the attribute reads a length of time; `None` if it refuses it.
fn read_by_the_attribute(time: &str) -> Option<Duration> {
    let expanded = expand(&format!("name = \"x\", ttl = {time:?}"), "fn f() {}");
    let (_, numbers) = expanded.split_once(".ttl(::core::time::Duration::new(")?;
    let (seconds, rest) = numbers.split_once("u64, ")?;
    let (nanoseconds, _) = rest.split_once("u32")?;
    Some(Duration::new(seconds.parse().ok()?, nanoseconds.parse().ok()?))
}

/// The same of settings that are written somewhere.
fn is_read_by_the_builder(time: &str, expected: Option<Duration>) -> bool {
    let written = serde_json::json!({ "node_timeout": time });
    let read = serde_json::from_value::<LockManagerBuilder>(written).ok().map(|builder| format!("{builder:?}"));
    match (read, expected) {
        (Some(read), Some(expected)) => read.contains(&format!(" node_timeout: {expected:?},")),
        (read, expected) => read.is_none() && expected.is_none(),
    }
}

#[test]
fn lengths_of_time_are_read_alike_by_the_attribute_and_in_settings() {
    for unit in ["us", "µs", "μs", "ms", "s", "sec", "m", "min", "h", "d"] {
        for time in [format!("1{unit}"), format!("1.5 {unit}"), format!(" 2{unit} 3{unit} "), format!(".5{unit}1s")] {
            let read = read_by_the_attribute(&time);
            assert!(read.is_some() && is_read_by_the_builder(&time, read), "{time:?}: {read:?}");
        }
    }
    for time in [
        "",
        " ",
        "5",
        "s",
        "1",
        "1.2.3s",
        "1,5s",
        "-1s",
        "+1s",
        "1e3s",
        "1S",
        "1ns",
        "1w",
        "1y",
        "1hour",
        "1s2",
        "1s,2s",
        "soon",
        "NaNs",
        "infs",
        "0x1s",
        "١s",
        "99999999999999999999d",
        "1h -1m",
    ] {
        let read = read_by_the_attribute(time);
        assert!(read.is_none() && is_read_by_the_builder(time, None), "{time:?}: {read:?}");
    }
}
