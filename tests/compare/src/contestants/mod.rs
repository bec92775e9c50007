//! The contestants that this program brings itself: the commands underneath, by hand, and ours.

use std::time::Duration;

use anyhow::bail;
use redlock_compare::{Orders, serve};

use floor::{Fenced, Floor};
use ours::{Annotated, Once, Ours};
use push::{Line, Push};

mod nodes;

mod floor;

mod push;

mod ours;

/// Takes part as one of them.
pub(crate) fn take_part(orders: &Orders) -> anyhow::Result<()> {
    match orders.contestant.as_str() {
        "floor" => serve(orders, Floor::connect),
        "floor-fenced" => serve(orders, Fenced::connect),
        "floor-push" => serve(orders, Push::connect),
        "floor-line" => serve(orders, Line::connect),
        "ours" => serve(orders, async |orders| Ours::connect(orders, |builder| builder)),
        "ours-unfenced" => serve(orders, async |orders| Ours::connect(orders, |builder| builder.fencing(false))),
        "ours-once" => serve(orders, async |orders| Once::connect(orders)),
        "#[redlock]" => serve(orders, async |orders| Annotated(Ours::connect(orders, |builder| builder))),
        unknown => bail!("no contestant is called {unknown:?}"),
    }
}

fn whole_milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
