//! How fast a disk takes requests: many of one size, at regular distances, some at a time.
//!
//! ```text
//! offset, + step, + step, …, round the end    request 0, 1, 2, …, taken by `depth` threads
//! write │ write │ write │ flush │ write …      a flush after every so many
//! ```

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::block::{BlockRead, BlockWrite};
use crate::error::Result;
use crate::progress::Progress;

/// Threads at most: more do not make a disk busier.
const MAX_THREADS: usize = 64;

/// What is asked of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// How many requests.
    pub count: u64,
    /// How many of them at a time.
    pub depth: NonZeroUsize,
    /// The bytes of each.
    pub len: usize,
    /// Where the first begins, in bytes.
    pub offset: u64,
    /// How much further each of the others begins, in bytes; behind the end of the disk it goes on at its start.
    pub step: u64,
}

/// What the requests do.
#[derive(Clone, Copy)]
pub enum Requests<'a> {
    /// They read.
    Read(&'a dyn BlockRead),
    /// They write.
    Write {
        /// This disk.
        disk: &'a dyn BlockWrite,
        /// This byte.
        pattern: u8,
        /// A flush comes after every so many.
        flush_every: Option<NonZeroU64>,
        /// Whether a flush waits for the requests before it.
        drain: bool,
    },
}

impl Requests<'_> {
    fn size(self) -> u64 {
        match self {
            Self::Read(disk) => disk.size(),
            Self::Write { disk, .. } => disk.size(),
        }
    }
}

impl Workload {
    /// Where a request begins on a disk of `size` bytes.
    fn place(self, index: u64, size: u64) -> u64 {
        match index {
            0 => self.offset,
            _ => {
                let far = u128::from(self.offset) + u128::from(index) * u128::from(self.step);
                (far % u128::from(size.max(1))) as u64
            }
        }
    }

    /// Does it; returns how long it took. `progress` is told of the bytes and can stop it.
    ///
    /// # Errors
    /// Of the first request that fails; [`Invalid`](crate::ErrorKind::Invalid) for one that ends past the disk.
    pub fn run(self, requests: Requests<'_>, progress: &dyn Progress) -> Result<Duration> {
        let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        let failed = Mutex::new(None);
        // Held by requests, and alone by a flush that waits for them.
        let in_flight = RwLock::new(());
        let work = || {
            let mut buffer = vec![0; self.len];
            while !stopped.load(Ordering::Relaxed) && !progress.is_cancelled() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.count {
                    return;
                }
                if let Err(error) = self.request(requests, index, &mut buffer, &in_flight) {
                    stopped.store(true, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
                progress.advance(self.len as u64);
            }
        };
        let started = Instant::now();
        std::thread::scope(|scope| {
            let threads =
                self.depth.get().min(MAX_THREADS).min(usize::try_from(self.count).unwrap_or(MAX_THREADS));
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let took = started.elapsed();
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if progress.is_cancelled() => Err(crate::Error::cancelled()),
            None => Ok(took),
        }
    }

    fn request(
        self,
        requests: Requests<'_>,
        index: u64,
        buffer: &mut [u8],
        in_flight: &RwLock<()>,
    ) -> Result<()> {
        let place = self.place(index, requests.size());
        match requests {
            Requests::Read(disk) => disk.read_at(buffer, place),
            Requests::Write { disk, pattern, flush_every, drain } => {
                if flush_every.is_some_and(|every| index > 0 && index.is_multiple_of(every.get())) {
                    let _alone = drain.then(|| in_flight.write().unwrap_or_else(PoisonError::into_inner));
                    disk.flush()?;
                }
                let _with_others = in_flight.read().unwrap_or_else(PoisonError::into_inner);
                buffer.fill(pattern);
                disk.write_at(buffer, place)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::block::{MemoryDisk, Operation};

    fn workload(count: u64, depth: usize, offset: u64, step: u64) -> Workload {
        Workload { count, depth: NonZeroUsize::new(depth).unwrap(), len: 512, offset, step }
    }

    #[test]
    fn requests_go_round_the_end_and_are_flushed() {
        let disk = MemoryDisk::new(4096);
        disk.record();
        let flush_every = NonZeroU64::new(2);
        let requests = Requests::Write { disk: &disk, pattern: 7, flush_every, drain: true };
        workload(5, 1, 1024, 1536).run(requests, &()).unwrap();
        let places: Vec<_> = disk
            .operations()
            .into_iter()
            .map(|operation| match operation {
                Operation::Write { offset, bytes } => {
                    assert_eq!(bytes, [7; 512]);
                    Some(offset)
                }
                _ => None,
            })
            .collect();
        assert_eq!(places, [Some(1024), Some(2560), None, Some(0), Some(1536), None, Some(3072)]);
    }

    #[test]
    fn each_request_is_made_once_whatever_the_depth() {
        let disk = MemoryDisk::new(1 << 20);
        disk.record();
        let requests = Requests::Write { disk: &disk, pattern: 1, flush_every: None, drain: true };
        workload(1000, 8, 0, 512).run(requests, &()).unwrap();
        assert_eq!(disk.operations().len(), 1000);
        assert_eq!(disk.to_bytes().iter().filter(|&&byte| byte == 1).count(), 512_000);
    }

    #[test]
    fn what_fails_ends_it() {
        let disk = MemoryDisk::new(4096);
        let error = workload(3, 2, 4000, 512).run(Requests::Read(&disk), &()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
