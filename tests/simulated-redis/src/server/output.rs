//! What a server does, one thing after another.

use super::{ConnectionId, Effect};

/// Effects in order; bytes for one connection that follow each other are sent as one.
#[derive(Debug, Default)]
pub(super) struct Output(Vec<Effect>);

impl Output {
    /// Where bytes for a connection are written to.
    pub(super) fn to(&mut self, connection: ConnectionId) -> &mut Vec<u8> {
        let goes_on = matches!(self.0.last(), Some(Effect::Send { to, .. }) if *to == connection);
        if !goes_on {
            self.0.push(Effect::Send { to: connection, bytes: Vec::new() });
        }
        match self.0.last_mut() {
            Some(Effect::Send { bytes, .. }) => bytes,
            Some(Effect::Close(_)) | None => unreachable!("bytes to send were put there just now"),
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.0.push(Effect::Close(connection));
    }

    pub(super) fn into_effects(self) -> Vec<Effect> {
        let is_something = |effect: &Effect| !matches!(effect, Effect::Send { bytes, .. } if bytes.is_empty());
        self.0.into_iter().filter(is_something).collect()
    }
}
