//! Locks of several names whose keys are in different slots: slot by slot, in the order that everybody has.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Cluster;
use crate::node::redis::recalled;
use crate::node::{Action, Command, Delivery, Failure, Reply};
use crate::protocol::Counter;
use crate::values::several::Several;
use crate::values::subject::{Kind, Subject};

impl Cluster {
    /// Asks for all of them, as one node would answer.
    pub(super) async fn ask_of_several(self: Arc<Self>, command: Arc<Command>, parts: Vec<Several>) -> Reply {
        let parts: Vec<Subject> = parts.into_iter().map(|part| Kind::Several(part).into()).collect();
        if let Action::Acquire { .. } = command.action {
            return self.acquire_of_several(&command, &parts).await;
        }
        let replies = parts.iter().map(|part| Self::ask_one(&self, command.about(part)));
        let replies = join_all(replies).await;
        let is_release = matches!(command.action, Action::Release { .. });
        let worst = |reply: &Reply| match reply {
            Reply::Failed(_) => 3,
            // A release that finds some of them is one.
            Reply::Done => u8::from(is_release) * 2,
            Reply::Missing => 1,
            _ => 2 - u8::from(is_release),
        };
        replies.into_iter().max_by_key(worst).unwrap_or(Reply::NOT_OURS)
    }

    /// One slot after the other; where one refuses, what the others granted is given back before that is told.
    async fn acquire_of_several(self: Arc<Self>, command: &Command, parts: &[Subject]) -> Reply {
        let mut granted: Vec<(&Subject, Option<Counter>)> = Vec::new();
        let mut is_any_wanted = false;
        for part in parts {
            let reply =
                if command.is_recalled() { recalled() } else { Self::ask_one(&self, command.about(part)).await };
            match reply {
                Reply::Granted { counter, is_wanted, .. } => {
                    granted.push((part, counter));
                    is_any_wanted |= is_wanted;
                }
                refused => {
                    let release = Action::Release { keep: std::time::Duration::ZERO, behind: None, is_noted: false };
                    let back = granted
                        .iter()
                        .map(|(part, _)| Self::ask_one(&self, Command::new(release, part, &command.owner)));
                    let is_given_back = |reply: &Reply| !matches!(reply, Reply::Failed(_));
                    return if join_all(back).await.iter().all(is_given_back) { refused } else { maybe_set() };
                }
            }
        }
        let Some(counters) = granted.iter().map(|(_, counter)| *counter).collect::<Option<Vec<_>>>() else {
            return Reply::Granted { counter: None, is_wanted: is_any_wanted, mark: None };
        };
        let counter = Counter::of_all(counters);
        // All of them get the same token, so none of their counters may stay below it.
        if let Counter::Known(token) = counter {
            let is_behind = |(_, own): &&(&Subject, Option<Counter>)| *own != Some(counter);
            let commit =
                |(part, _): &(&Subject, _)| Self::ask_one(&self, command.about_with(part, Action::Commit { token }));
            let committed = join_all(granted.iter().filter(is_behind).map(commit)).await;
            if committed.iter().any(|reply| *reply != Reply::Done) {
                return maybe_set();
            }
        }
        Reply::Granted { counter: Some(counter), is_wanted: is_any_wanted, mark: None }
    }
}

/// Some of them may be set: the release of all is to follow.
fn maybe_set() -> Reply {
    let reason = "not all of the names were granted, which are in several slots of the cluster";
    Reply::Failed(Failure { reason: reason.into(), delivery: Delivery::Answered })
}
