//! A connection of its own, on which a server reports all changes of locks to somebody who watches the whole fleet.

use std::sync::Arc;
use std::time::Duration;

use super::RedisNode;
use super::commands;
use super::link::connection::{Link, LinkState};
use super::server::{Server, all_done};
use crate::node::Changes;
use crate::node::inspect::{Announcing, GoingOn};

/// Such a connection; it ends with this.
struct Announced {
    link: Arc<Link>,
    /// What the keys begin with.
    prefixes: Arc<[String]>,
    /// On which of the connections that were made the server reports.
    on: Option<u64>,
}

impl RedisNode {
    /// What the requests of locks go through tracks the keys that it is asked to, and a connection is for one of both.
    pub(super) fn announced(&self, prefixes: &Arc<[String]>, changes: Changes) -> Box<dyn Announcing> {
        Box::new(Announced { link: self.links.reporting(changes), prefixes: Arc::clone(prefixes), on: None })
    }
}

impl Announcing for Announced {
    fn go_on(&mut self, reply_timeout: Duration) -> GoingOn<'_> {
        Box::pin(async move {
            let live = match self.link.now() {
                LinkState::Up(live) => Some(live),
                LinkState::Down(_) => None,
                LinkState::Connecting(link) => link.connected().await.ok(),
            };
            // What changes is pushed, which the older protocol cannot.
            let Some(live) = live.filter(|live| live.reports_changes) else {
                self.on = None;
                return false;
            };
            let (generation, mut server) = (live.generation(), Server { live, reply_timeout });
            let question = if self.on == Some(generation) {
                // One that is there is asked whether it still is: nothing else is sent on it.
                commands::are_you_there()
            } else {
                commands::announce(&self.prefixes)
            };
            let is_on = server.send(&question).await.and_then(all_done).is_ok();
            self.on = is_on.then_some(generation);
            is_on
        })
    }
}
