//! Questions that are no vote, to each node by itself.

use std::future::Future;
use std::sync::Arc;

use super::Engine;
use crate::error::NodeFailures;
use crate::node::Voter;
use crate::platform::clock;

impl Engine {
    /// What each of these nodes answers, and what the others said instead.
    ///
    /// Asks on the connections of the background runtime, so that whoever asks may be on any, or on none, and may go: what
    /// was asked is seen through.
    pub(crate) async fn survey<T, F>(
        &self,
        nodes: impl IntoIterator<Item = usize>,
        question: impl Fn(usize, Arc<dyn Voter>) -> F,
    ) -> (Vec<(usize, T)>, NodeFailures)
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Arc<str>>> + Send + 'static,
    {
        let mut failures = NodeFailures::default();
        let runtime = match self.awaited_runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                nodes.into_iter().for_each(|node| failures.push(self.nodes[node].label(), error.to_string()));
                return (Vec::new(), failures);
            }
        };
        let ask = |node: usize| (node, runtime.spawn(clock::carried(question(node, Arc::clone(&self.nodes[node])))));
        let asked: Vec<_> = nodes.into_iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for (node, answer) in asked {
            match answer.await.unwrap_or_else(|_| Err(Arc::from("it was not asked"))) {
                Ok(answer) => answers.push((node, answer)),
                Err(reason) => failures.push(self.nodes[node].label(), &*reason),
            }
        }
        (answers, failures)
    }

    /// [`Self::survey`] of all nodes.
    pub(crate) async fn survey_all<T, F>(
        &self,
        question: impl Fn(usize, Arc<dyn Voter>) -> F,
    ) -> (Vec<(usize, T)>, NodeFailures)
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Arc<str>>> + Send + 'static,
    {
        self.survey(0..self.nodes.len(), question).await
    }
}
