//! Digests of the content, beside the conversion: one thread for each.

use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::batch::Batch;
use crate::digest::{Algorithm, Digest, Hasher};

/// Batches that may wait for one digest.
const WAITING: usize = 2;

/// The threads that make digests. A batch goes to all of them, and comes back when the last is done with it.
pub(super) struct Digests<'scope> {
    threads: Vec<(Sender<Arc<Batch>>, ScopedJoinHandle<'scope, Digest>)>,
    returned: Receiver<Batch>,
}

impl<'scope> Digests<'scope> {
    /// One thread for each of `algorithms`.
    pub(super) fn start(scope: &'scope Scope<'scope, '_>, algorithms: &[Algorithm]) -> Self {
        let (give_back, returned) = unbounded();
        let threads = algorithms
            .iter()
            .map(|&algorithm| {
                let (sender, receiver) = bounded(WAITING);
                let give_back = give_back.clone();
                (sender, scope.spawn(move || digest(algorithm, &receiver, &give_back)))
            })
            .collect();
        Self { threads, returned }
    }

    /// Gives `batch` to all digests; returns it if there are none.
    pub(super) fn feed(&self, batch: Batch) -> Option<Batch> {
        if self.threads.is_empty() {
            return Some(batch);
        }
        let batch = Arc::new(batch);
        for (sender, _) in &self.threads {
            // A digest only hangs up by panicking, which joining it tells.
            let _hung_up = sender.send(Arc::clone(&batch));
        }
        Arc::into_inner(batch)
    }

    /// A batch that all digests are done with.
    pub(super) fn returned(&self) -> Option<Batch> {
        self.returned.try_recv().ok()
    }

    /// The digests of all that was fed, in the order they were asked for.
    pub(super) fn finish(self) -> Vec<Digest> {
        let finish = |(sender, thread): (_, ScopedJoinHandle<'_, _>)| {
            drop::<Sender<_>>(sender);
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        self.threads.into_iter().map(finish).collect()
    }
}

fn digest(algorithm: Algorithm, batches: &Receiver<Arc<Batch>>, give_back: &Sender<Batch>) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for batch in batches {
        for content in batch.content() {
            match content {
                Ok(bytes) => hasher.update(bytes),
                Err(zeroes) => hasher.update_zeroes(zeroes),
            }
        }
        if let Some(batch) = Arc::into_inner(batch) {
            // Nobody takes it back after the last batch.
            let _dropped = give_back.send(batch);
        }
    }
    hasher.finish()
}
