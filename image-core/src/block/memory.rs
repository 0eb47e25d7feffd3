//! A disk in memory for tests: it can fail, and it remembers what was done to it in which order.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{BlockRead, BlockWrite, ByteRange, ExtentKind, Extents, ZeroMode, is_zero};
use crate::error::{Error, Result};

/// The granularity in which [`MemoryDisk`] tells data from holes, in bytes.
const BLOCK: u64 = 512;

/// One change to a [`MemoryDisk`], in the order it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes written at an offset.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A range zeroed.
    Zero(ByteRange),
    /// All before it is safe.
    Flush,
    /// A new size in bytes.
    Resize(u64),
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    operations: Option<Vec<Operation>>,
    unreadable: Option<ByteRange>,
    changes_left: Option<u64>,
}

/// A disk in memory.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    state: Mutex<State>,
}

impl MemoryDisk {
    /// `size` zeroes.
    pub fn new(size: usize) -> Self {
        Self::from_bytes(vec![0; size])
    }

    /// A disk of these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { state: Mutex::new(State { bytes, ..State::default() }) }
    }

    /// A copy of its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Remembers every change from now on, for [`operations`](Self::operations).
    pub fn record(&self) {
        self.lock().operations = Some(Vec::new());
    }

    /// The changes since [`record`](Self::record).
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone().unwrap_or_default()
    }

    /// Makes every read that touches `range` fail.
    pub fn fail_reads_in(&self, range: ByteRange) {
        self.lock().unreadable = Some(range);
    }

    /// Lets `count` more changes through, then fails every further one.
    pub fn fail_changes_after(&self, count: u64) {
        self.lock().changes_left = Some(count);
    }

    /// Does `operation` to it, as a replay of another disk's record.
    ///
    /// # Errors
    /// As the operation itself.
    pub fn apply(&self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Write { offset, bytes } => self.write_at(bytes, *offset),
            Operation::Zero(range) => self.write_zeroes(*range, ZeroMode::Punch),
            Operation::Flush => self.flush(),
            Operation::Resize(size) => self.resize(*size),
        }
    }

    // A panic in a test that holds the lock leaves whole bytes behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        operation: impl FnOnce() -> Operation,
        range: ByteRange,
    ) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        range.check_within(state.bytes.len() as u64)?;
        if let Some(left) = &mut state.changes_left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Error::from(std::io::Error::other("this disk was told to fail")))?;
        }
        if let Some(operations) = &mut state.operations {
            operations.push(operation());
        }
        Ok(state)
    }
}

impl BlockRead for MemoryDisk {
    fn size(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        let state = self.lock();
        range.check_within(state.bytes.len() as u64)?;
        if state.unreadable.is_some_and(|bad| bad.intersection(range).is_some()) {
            return Err(std::io::Error::other("this range was told to fail").into());
        }
        buf.copy_from_slice(&state.bytes[range.offset() as usize..range.end() as usize]);
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let state = self.lock();
        range.check_within(state.bytes.len() as u64)?;
        let mut extents = Extents::starting_at(range.offset());
        let mut at = range.offset();
        while at < range.end() {
            let next = (at / BLOCK + 1).saturating_mul(BLOCK).min(range.end());
            let zero = is_zero(&state.bytes[at as usize..next as usize]);
            extents.push_until(next, if zero { ExtentKind::Hole } else { ExtentKind::Data });
            at = next;
        }
        Ok(extents)
    }
}

impl BlockWrite for MemoryDisk {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        let mut state = self.change(|| Operation::Write { offset, bytes: buf.to_vec() }, range)?;
        state.bytes[range.offset() as usize..range.end() as usize].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeroes(&self, range: ByteRange, _mode: ZeroMode) -> Result<()> {
        let mut state = self.change(|| Operation::Zero(range), range)?;
        state.bytes[range.offset() as usize..range.end() as usize].fill(0);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.change(|| Operation::Flush, ByteRange::whole(0)).map(drop)
    }

    fn resize(&self, size: u64) -> Result<()> {
        let new_len = usize::try_from(size)
            .map_err(|_| Error::invalid(format!("{size} bytes do not fit into memory")))?;
        let mut state = self.change(|| Operation::Resize(size), ByteRange::whole(0))?;
        state.bytes.resize(new_len, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_of_the_record_gives_the_same_bytes() {
        let disk = MemoryDisk::new(1024);
        disk.record();
        disk.write_at(&[1; 600], 100).unwrap();
        disk.write_zeroes(ByteRange::between(200, 300), ZeroMode::Keep).unwrap();
        disk.flush().unwrap();
        disk.resize(2048).unwrap();
        disk.write_at(&[2; 10], 2000).unwrap();
        let copy = MemoryDisk::new(1024);
        for operation in disk.operations() {
            copy.apply(&operation).unwrap();
        }
        assert_eq!(copy.to_bytes(), disk.to_bytes());
        assert_eq!(disk.operations().len(), 5);
    }

    #[test]
    fn faults_hit_what_they_were_told_to() {
        let disk = MemoryDisk::new(1024);
        disk.fail_reads_in(ByteRange::between(512, 513));
        assert!(disk.read_at(&mut [0; 512], 0).is_ok());
        assert!(disk.read_at(&mut [0; 512], 1).is_err());
        disk.fail_changes_after(1);
        assert!(disk.write_at(&[1], 0).is_ok());
        assert!(disk.write_at(&[1], 1).is_err());
        assert!(disk.flush().is_err());
        assert_eq!(disk.to_bytes()[..2], [1, 0]);
    }
}
