//! What the attribute may cost: bytes in the future, levels of nesting, time of a call.
use std::mem::size_of_val;
use std::sync::LazyLock;

use redlock_runtime::{Error, LockManager, redlock};

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| {
    LockManager::builder().nodes(["memory://attribute-budget"]).build().expect("a memory node needs nothing")
});

/// How much larger a future may be than that of the same body without the attribute, beside one copy of its arguments.
const BYTES: usize = 300;

#[track_caller]
fn check_size<A, B>(arguments: usize, annotated: &A, plain: &B) {
    let (annotated, plain) = (size_of_val(annotated), size_of_val(plain));
    assert!(annotated <= plain + arguments + BYTES, "{annotated} bytes, {plain} without, {arguments} of arguments");
}

/// Defines `annotated` and `plain` with the same signature and body.
macro_rules! twins {
    ([$($redlock:tt)*] ($($arguments:tt)*) -> $output:ty $body:block) => {
        #[redlock(manager = &LOCKS, $($redlock)*)]
        async fn annotated($($arguments)*) -> $output $body
        async fn plain($($arguments)*) -> $output $body
    };
}

mod nothing {
    use super::*;

    twins!([name = "x"] () -> () {});

    #[test]
    fn costs_no_more_than_its_share() {
        check_size(0, &annotated(), &plain());
    }
}

mod report {
    use super::*;

    twins!([name = "x:{id}", timeout = 5, ttl = "1m", guard = _lock] (id: u64, text: &str) -> Result<String, Error> {
        tokio::task::yield_now().await;
        Ok(format!("{id}{text}"))
    });

    #[test]
    fn costs_no_more_than_its_share() {
        check_size(24, &annotated(1, ""), &plain(1, ""));
    }
}

mod large {
    use super::*;

    twins!([name = "x", timeout = -1, silent] (block: [u8; 4000], text: String) -> Result<u64, Box<dyn std::error::Error>> {
        let state = block;
        tokio::task::yield_now().await;
        Ok(state.iter().map(|byte| u64::from(*byte)).sum::<u64>() + text.len() as u64)
    });

    #[test]
    fn costs_no_more_than_its_share() {
        check_size(4024, &annotated([0; 4000], String::new()), &plain([0; 4000], String::new()));
    }
}

mod large_value {
    use super::*;

    twins!([name = "x", timeout = -1] (number: u8) -> Result<[u8; 4000], Error> {
        tokio::task::yield_now().await;
        Ok([number; 4000])
    });

    #[test]
    fn costs_no_more_than_its_share() {
        check_size(1, &annotated(1), &plain(1));
    }
}

mod nested {
    use super::*;

    macro_rules! level {
        ($($name:ident calls $next:ident),* $(,)?) => {$(
            #[redlock(name = stringify!($name), timeout = -1, manager = &LOCKS)]
            async fn $name(number: u64) -> Result<u64, Error> {
                tokio::task::yield_now().await;
                Ok($next(number).await? + 1)
            }
        )*};
    }

    level!(one calls two, two calls three, three calls four, four calls five, five calls six, six calls seven, seven calls eight);

    #[redlock(name = "eight", timeout = -1, manager = &LOCKS)]
    async fn eight(number: u64) -> Result<u64, Error> {
        Ok(number)
    }

    #[tokio::test]
    async fn eight_levels_compile_at_the_default_recursion_limit() {
        let call = tokio::spawn(one(1));
        assert_eq!(call.await.unwrap().unwrap(), 8);
    }

    #[test]
    fn eight_levels_grow_by_their_share_each() {
        let call = one(1);
        let (bytes, arguments) = (size_of_val(&call), 8);
        assert!(bytes <= 8 * (BYTES + 3 * arguments), "{bytes} bytes");
    }
}
