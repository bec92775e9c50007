//! The `#[redlock]` attribute. Use it through the crate `redlock-runtime`, whose runtime its expansion calls.
//!
//! # Layout
//!
//! - `args`: the attribute's arguments, which `args/table.rs` declares; `item`, `body`, `output`: the annotated function
//! - `refuse`: what does not go together
//! - `expand`: the function that runs under its lock; the only place that names the runtime's hidden module.
//!   `expand/locked.rs` is what makes the upper of two attributes the outer one
mod args;
mod body;
mod item;
mod output;
mod refuse;

mod expand;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

use self::args::documentation::documentation;
use self::args::table::arguments;

/// Makes the body of a function run under a distributed lock: only one caller in the whole fleet is inside at a time.
///
/// ```
/// use redlock_runtime::{Error, LockManager, redlock};
///
/// // One machine writes the report, the others skip it.
/// #[redlock(name = "nightly-report", timeout = -1, silent)]
/// async fn nightly_report() -> Option<String> {
///     Some("the report".to_owned())
/// }
///
/// // Waits up to five seconds for its turn, else returns `Error::NotAcquired`.
/// #[redlock(name = "invoice:{id}", timeout = 5, ttl = "20s", guard = lock)]
/// async fn bill(id: u64) -> Result<String, Error> {
///     Ok(format!("billed under {}", lock.name()))
/// }
///
/// // Waits as long as it takes.
/// #[redlock(name = "migrate")]
/// fn migrate() {}
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// LockManager::builder().nodes(["memory://"]).build()?.install()?;
/// assert_eq!(nightly_report().await.as_deref(), Some("the report"));
/// assert_eq!(bill(7).await?, "billed under invoice:7");
/// migrate();
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
///
/// # Arguments
///
/// A number of seconds is an integer or a float; a duration is one such number, text with units (`"250ms"`, `"1.5s"`,
/// `"5m"`, `"1h 30m"`), or an expression of type `Duration`. Expressions other than `skip_value` are evaluated when the
/// function is called (an `async fn`: when it is first polled), before the body takes the arguments.
///
/// | argument | accepts | default | meaning |
/// |---|---|---|---|
#[doc = arguments!(documentation)]
///
/// Text that the attribute cannot see, such as a constant, is no template: when the call finds one of the function's arguments
/// in its braces, it fails with `Error::InvalidName`, because all calls would share one lock. `format!` is taken at its word.
///
/// # Names of several values
///
/// A template puts values side by side and escapes nothing: `"t:{tenant}:{doc}"` of ("acme:x", "y") and of ("acme", "x:y") is one
/// lock. Where an argument may contain what separates it from the next one (text that users type, a path), let
/// `name = name_of!("t", tenant, doc)` escape it, which is in `redlock_runtime`; numbers and UUIDs need nothing of the kind.
///
/// # One run per fire
///
/// A job that several machines fire runs once with `once`, which says which run it is: a period (`once = "1d"`), whose calls are
/// one fire while they come less than half a period apart, clocks included; or a `Fire` made of
/// the moment that the run is scheduled for, or of a number that grows.
///
/// ```
/// use redlock_runtime::{Error, LockManager, redlock};
///
/// // Others stand by for up to five seconds, and run the batch if this run fails.
/// #[redlock(name = "import", once = batch, timeout = 5)]
/// async fn import(batch: u64) -> Result<u64, Error> {
///     Ok(batch)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # LockManager::builder().nodes(["memory://"]).build()?.install()?;
/// assert_eq!(import(7).await?, 7);
/// assert!(matches!(import(7).await, Err(Error::AlreadyRan { .. })));
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
///
/// The fire is completed when the body has returned, and not `Err`; with `once_at = "start"` before it starts. From then on
/// neither it nor an earlier one runs again. A process that dies between the end of the body and the mark of its fire leaves no
/// mark, and the fire may run again. With `timeout = -1` the others leave, and a run that fails is lost; with a longer one they
/// stand by, and the next of them runs. What servers that were just started cannot know is in doubt, and does not run. All of it
/// is in `docs/cron.md`, "Cron jobs".
///
/// # What the function returns
///
/// The declared return type decides, never its spelling: **A** is a `Result<T, E>` with `E: From<redlock_runtime::Error>`
/// (`anyhow::Result`, `std::io::Result` and your own aliases too), **B** any other `Result<T, E>`, **C** any other type.
/// A type parameter needs the bound in the function's `where`.
///
/// | situation | A | B, C |
/// |---|---|---|
/// | not acquired, not `silent` | `Err(E::from(Error::NotAcquired { .. }))` | does not compile, unless the call waits for ever |
/// | not acquired, `silent` | the skip value | the skip value |
/// | `once`: the fire already ran | `Err(E::from(Error::AlreadyRan { .. }))`; `silent`: the skip value | `silent`: the skip value; else does not compile, also if the call waits for ever |
/// | `once`: nobody can know whether the fire ran | `Err(E::from(Error::FireInDoubt { .. }))`, also when `silent` | `silent`: the skip value, and an event at ERROR |
/// | too few nodes can be reached within the timeout | `Err(E::from(Error::QuorumUnreachable { .. }))`, also when `silent` | the skip value, and an event at ERROR |
/// | invalid name, wrong configuration, the call would wait for itself | `Err`, also when `silent` | `silent`: the skip value and an event at ERROR; else a panic |
/// | the manager was shut down | `Err`, also when `silent` | `silent`: the skip value and an event at INFO; else the call does not return, because the process is ending |
/// | the lock is lost while the body runs | `"cancel"`: `Err(E::from(Error::Lost { .. }))`, also when `silent`; else the body's value, and an event at WARN | `silent` and async: body dropped, skip value, event at ERROR; else the body's value, and an event at WARN |
/// | the body of a `silent` function fails because another lock was not acquired | the skip value | the skip value (B) |
///
/// Every loss is counted, in `LockManager::losses`. Where the table says that it does not compile, the error stands at the
/// return type and names the cures. A function that returns `impl Trait` itself needs `skip_value`, and one that returns `!`
/// has to wait for ever, without `once`.
///
/// A call made from inside a body that holds the same lock, annotated or by hand, would wait for itself for ever. It fails at
/// once with `Error::WouldDeadlock`; with one attempt it is simply not acquired. Spawned tasks and other threads wait, and so
/// does a call beside a guard that its caller acquired by hand.
///
/// When the body is over, the lock is released before the call returns. A release that fails never replaces the body's
/// value; it is logged. A value that is not `Send` is returned as soon as the release is sent, because a future that
/// kept it meanwhile would not be `Send` either. Dropping the future releases the lock in the background.
///
/// The body's own values are dropped under the lock. An argument that the body does not mention, or of which it only
/// mentions some fields, is not the body's and is dropped after the release: `let _whole = &argument;` takes it in.
///
/// # `require_lock!`
///
/// `require_lock!();`, once, as a statement of the body's outermost block, splits the body: the attempt is made on
/// entry, the statements before it run in any case, the rest only with the lock, and only the rest sees the guard. It needs
/// a `timeout` other than `0`.
///
/// ```
/// use redlock_runtime::{Error, redlock, require_lock};
///
/// #[redlock(name = "cleanup", timeout = -1, guard = lock)]
/// async fn cleanup() -> Result<(), Error> {
///     println!("asked to clean up");
///     require_lock!();
///     println!("cleaning up under {}", lock.name());
///     Ok(())
/// }
/// ```
///
/// # Functions
///
/// Any function with a body, in place: methods, generics, `async fn` in traits, under `#[async_trait]`, `unsafe fn`. Of a
/// function that returns `impl Future`, `Pin<Box<dyn Future>>` or `BoxFuture`, the lock is held while the future is polled;
/// what stands before the future runs at the call, without the lock, and so `guard` and `require_lock!` are refused there.
/// A type alias that hides a future is refused, as are `const fn` and `extern fn`.
///
/// A sync function blocks its thread while it waits, acquires and releases. It may be called on any thread, inside a tokio
/// runtime too, where it blocks the worker it runs on; use an `async fn` where that matters. Its body becomes a closure,
/// which does not see who called: under `#[track_caller]`, `Location::caller()` is a place in the body.
///
/// An iterator or a stream that is returned runs after the function has, and so without the lock.
///
/// # Order with other attributes
///
/// Attributes are expanded from the top, and each wraps what the ones above it made of the body. So
///
/// - of two `#[redlock]` the upper lock is taken first, which is the one exception: the lower goes inside;
/// - `#[tracing::instrument]` *below* `#[redlock]` is expanded later and wraps it, so that its span covers the waiting too; above, its
///   span covers the body alone;
/// - methods under `#[async_trait]`, which stands on the whole trait, are what they are written as, an `async fn`;
/// - above `#[tokio::main]` and `#[tokio::test]` the function is still async; below them it is a sync function, which blocks
///   its thread.
///
/// # What it becomes
///
/// ```text
/// #[redlock(name = "invoice:{id}", timeout = 5, guard = lock)]
/// async fn bill(id: u64) -> Result<Invoice, BillingError> {
///     store(id, lock.name()).await
/// }
/// ```
///
/// is, without the parts that only make the compiler blame the right line, and with `redlock` for the runtime's hidden
/// module:
///
/// ```text
/// async fn bill(id: u64) -> Result<Invoice, BillingError> {
///     let call = redlock::Call::new(redlock::name(&format_args!("invoice:{id}"))).timeout(Duration::new(5, 0));
///     let (call, access) = call.with_access();
///     let body = async move {
///         let lock: &LockGuard = access.guard();
///         store(id, lock.name()).await
///     };
///     // How an error of the lock becomes the return value; needs `BillingError: From<redlock_runtime::Error>`.
///     let rules = redlock::Rules::loud(Some(redlock::fail));
///     // Acquires, polls the body, drops it when the lock is lost, releases.
///     let verdict = redlock::drive(call, pin!(Some(body)), rules).await;
///     verdict.returned()
/// }
/// ```
///
/// A sync function has a closure in place of the `async` block and calls `redlock::run` in place of `redlock::drive`. With
/// `silent`, the last line is `verdict.returned_or(redlock::skip)`; with `skip_value = value`, it is
/// `match verdict { Skip => value, Return(value) => value }`. All names are hygienic and all paths absolute.
#[proc_macro_attribute]
pub fn redlock(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::redlock(arguments.into(), item.into()).into()
}
