use syn::Error;

use crate::args::{Args, OnLost, Timeout};
use crate::item::Item;
use crate::output::{Output, OutputKind};

/// Finds what no expansion could make right: functions that cannot be locked, and arguments that do not go with
/// this function. Whether a type fits is found by the compiler, in `redlock_runtime`'s traits.
pub(crate) fn refuse(args: &Args, item: &Item, output: &Output) -> syn::Result<()> {
    let mut faults = Vec::new();
    if let Some(constness) = &item.sig.constness {
        let message = "a `const fn` may run while the program is compiled, when no lock can be acquired";
        faults.push(Error::new_spanned(constness, message));
    }
    if let Some(abi) = &item.sig.abi {
        let message = "an `extern fn` is called from code that knows no panic, which a lock may need: \
                       put #[redlock] on a function that this one calls";
        faults.push(Error::new_spanned(abi, message));
    }
    if let Some(OnLost::Cancel(span)) = args.on_lost
        && item.sig.asyncness.is_none()
        && output.future.is_none()
    {
        let message = "the body of a sync function cannot be cancelled: omit `on_lost`";
        faults.push(Error::new(span, message));
    }
    let split = item.body.split(output.levels());
    if output.future.as_ref().is_some_and(|future| !future.is_async_fn) {
        let message = "what stands before the future runs without the lock, when the function is called: \
                       make this an `async fn`";
        if let Some(split) = &split {
            faults.push(Error::new_spanned(&split.path, message));
        }
        if let Some(guard) = &args.guard {
            faults.push(Error::new_spanned(guard, message));
        }
    } else if let Some(split) = &split
        && let None | Some(Timeout::Forever) = args.timeout
    {
        let message = "`require_lock!` is where a call ends that has not got its lock, and this one waits for ever: \
                       give it a `timeout` other than `0`";
        faults.push(Error::new_spanned(&split.path, message));
    }
    if args.can_run_out() && output.kind == OutputKind::Never {
        let message = "a function that never returns has to get its lock: wait for ever with `timeout = 0`";
        faults.push(Error::new(output.span, message));
    } else if args.can_run_out() && output.kind == OutputKind::ImplTrait && args.skip_value.is_none() {
        let message = "`impl Trait` does not tell what to return without the lock: \
                       add `skip_value = …`, or wait for ever with `timeout = 0`";
        faults.push(Error::new(output.span, message));
    } else if args.may_have_run() && output.kind == OutputKind::Never {
        let message = "a run with `once` is completed when the function returns, and this one never does: omit `once`";
        faults.push(Error::new(output.span, message));
    } else if args.may_have_run() && output.kind == OutputKind::ImplTrait && args.skip_value.is_none() {
        let message =
            "`impl Trait` does not tell what to return when the fire of `once` has run before: add `skip_value = …`";
        faults.push(Error::new(output.span, message));
    }
    let combined = faults.into_iter().reduce(|mut all, fault| {
        all.combine(fault);
        all
    });
    combined.map_or(Ok(()), Err)
}
