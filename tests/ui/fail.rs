//! Each file in `fail` makes one mistake; beside it stands what the compiler says.
#[test]
fn a_mistake_is_reported_once_at_the_users_own_token() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}
