//! A held lock, as its guard and its renewal share it.

pub(crate) mod lease;

pub(crate) mod renewal;

pub(crate) mod owner_label;

pub(crate) mod unconfirmed_tokens;

pub(crate) mod deadlock;
