use expect_test::{Expect, expect};
use proc_macro2::TokenStream;

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
                        ::redlock_runtime::__private::name(&::core::format_args!("invoice:{id}")),
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
                let __redlock_rules = ::redlock_runtime::__private::Rules::loud(
                    __redlock_output,
                    ::core::option::Option::Some(::redlock_runtime::__private::fail),
                );
                let __redlock_keep = {
                    use ::redlock_runtime::__private::{HandsOver as _, Keeps as _};
                    (&__redlock_output).keep()
                };
                let __redlock_verdict = ::redlock_runtime::__private::drive(
                        __redlock_call,
                        ::core::pin::pin!(::core::option::Option::Some(__redlock_body)),
                        __redlock_rules,
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
                        my::locks::__private::name(&(format!("a-{}", self.id))),
                    )
                    .of(::core::concat!(::core::module_path!(), "::", "run"))
                    .timeout(my::locks::__private::Timeout::Skip);
                let __redlock_plain = my::locks::__private::no_future({
                    use my::locks::__private::{IsFuture as _, IsNoFuture as _};
                    (&__redlock_output).is_future()
                });
                let __redlock_skip = __redlock_plain.if_skipped(my::locks::__private::skip);
                let __redlock_rules = my::locks::__private::Rules::silent(
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
                );
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
                    __redlock_rules,
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
                        ::redlock_runtime::__private::name(&::core::format_args!("x")),
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
                let __redlock_rules = ::redlock_runtime::__private::Rules::silent(
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
                    .continue_when_lost();
                let __redlock_keep = {
                    use ::redlock_runtime::__private::{HandsOver as _, Keeps as _};
                    (&__redlock_output).keep()
                };
                let __redlock_verdict = ::redlock_runtime::__private::drive(
                        __redlock_call,
                        ::core::pin::pin!(::core::option::Option::Some(__redlock_body)),
                        __redlock_rules,
                        __redlock_keep,
                    )
                    .await;
                match __redlock_verdict {
                    ::redlock_runtime::__private::Verdict::Skip => Err(Busy),
                    ::redlock_runtime::__private::Verdict::Return(__redlock_value) => __redlock_value,
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
