use proc_macro2::Span;
use syn::parse::{Parse as _, ParseStream};
use syn::{Expr, Ident, LitBool, Path};

use super::name::Name;
use super::slot::Slot;
use super::table::arguments;
use super::time::{Once, Time, Timeout};
use super::values::{Mode, OnLost, OnceAt, Permits, parse_guard, parse_renew, parse_runtime, parse_silent};

/// What holds the arguments: `Args` when all are read, `Slots` meanwhile.
///
/// ```text
/// required { "name" => name: Name, value(Name::parse); }
/// optional { "ttl" | "auto_release_time" => ttl: Time, value(Time::parse); }
///
/// // becomes
/// struct Args { name: Name, ttl: Option<Time> }
/// struct Slots { name: Slot<Name>, ttl: Slot<Time> }
///
/// // and in `Slots::read`
/// match name {
///     "name" => self.name.value(key, input, Name::parse),
///     "ttl" | "auto_release_time" => self.ttl.value(key, input, Time::parse),
///     …
/// }
/// ```
macro_rules! fields {
    ($($presence:ident { $(
        #[doc = $cells:literal]
        $key:literal $(| $other:literal)? => $field:ident: $type:ty, $how:ident($parse:path);
    )* })*) => {
        /// What stands in the parentheses of `#[redlock(…)]`; every value keeps its tokens and their spans.
        pub(crate) struct Args {
            $($(pub(crate) $field: presence!($presence: $type),)*)*
        }

        /// The arguments read so far.
        #[derive(Default)]
        pub(super) struct Slots {
            $($(pub(super) $field: Slot<$type>,)*)*
        }

        impl Slots {
            /// Whether `name` is an argument's, and that is not given yet.
            pub(super) fn is_absent(&self, name: &str) -> bool {
                match name {
                    $($($key $(| $other)? => self.$field.is_absent(),)*)*
                    _ => false,
                }
            }

            /// Reads the value of the argument `name`, which stands there as `key`; None if no argument has this name.
            pub(super) fn read(
                &mut self,
                name: &str,
                key: &Ident,
                input: ParseStream<'_>,
            ) -> Option<syn::Result<()>> {
                Some(match name {
                    $($($key $(| $other)? => self.$field.$how(key, input, $parse),)*)*
                    _ => return None,
                })
            }

            /// None if a required argument is missing.
            pub(super) fn into_args(self) -> Option<Args> {
                Some(Args {
                    $($($field: presence!($presence = self.$field.into_value()),)*)*
                })
            }
        }
    };
}

/// A required argument is there, an optional one may be: as a type, and as what is made of an `Option`.
macro_rules! presence {
    (required: $type:ty) => { $type };
    (optional: $type:ty) => { Option<$type> };
    (required = $value:expr) => { $value? };
    (optional = $value:expr) => { $value };
}

arguments!(fields);
