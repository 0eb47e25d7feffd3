//! A commit that is cut off at any moment, with both files losing what they did not flush: the disk stays what it was.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::{Arc, Mutex};

use super::*;
use crate::block::{MemoryDisk, Operation};
use crate::qcow2::write::change_backing_file;
use crate::qcow2::write::tests::{Kind, SIZE, content, crash, faults, make_lazy, open};
use crate::qcow2::{Header, Qcow2, Version};

/// What is done to several disks, in one order.
type Log = Arc<Mutex<Vec<(usize, Operation)>>>;

/// A disk in memory that enters what is done to it into a log that it shares with others.
struct Logged {
    disk: Arc<MemoryDisk>,
    number: usize,
    log: Log,
}

impl Logged {
    fn enter(&self, operation: Operation) {
        self.log.lock().unwrap().push((self.number, operation));
    }
}

impl BlockRead for Logged {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.disk.read_at(buf, offset)
    }
}

impl BlockWrite for Logged {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.enter(Operation::Write { offset, bytes: buf.to_vec() });
        self.disk.write_at(buf, offset)
    }

    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        self.enter(Operation::Zero(range));
        self.disk.write_zeroes(range, mode)
    }

    fn flush(&self) -> Result<()> {
        self.enter(Operation::Flush);
        self.disk.flush()
    }

    fn resize(&self, size: u64) -> Result<()> {
        self.enter(Operation::Resize(size));
        self.disk.resize(size)
    }
}

fn new_image(size: u64, lazy: bool) -> Arc<MemoryDisk> {
    let kind = Kind { cluster_bits: 12, refcount_order: 4, extended: false, version: Version::V3 };
    let file = kind.image(size);
    if lazy {
        make_lazy(&file);
    }
    file
}

fn reader(file: &Arc<MemoryDisk>, backing: Option<Arc<dyn BlockRead>>) -> Qcow2 {
    Qcow2::new(file.clone(), Header::read(&**file).unwrap(), backing, None).unwrap()
}

#[test]
fn a_commit_that_is_cut_off_leaves_the_disk_as_it_was() {
    for (lazy, base_size) in [(false, SIZE), (true, SIZE), (false, SIZE / 2), (false, 2 * SIZE)] {
        let (base, top) = (new_image(base_size, lazy), new_image(SIZE, lazy));
        let writer = open(&base, None);
        writer.write_at(&[1; 400_000], 10_000).unwrap();
        writer.close().unwrap();
        change_backing_file(&*top, &Header::read(&*top).unwrap(), Some((b"base", None))).unwrap();
        let below: Arc<dyn BlockRead> = Arc::new(reader(&base, None));
        let header = Header::read(&*top).unwrap();
        let writer = Qcow2Writer::new(top.clone(), header, Some(below), None).unwrap();
        writer.write_at(&[2; 200_000], 300_000).unwrap();
        writer.write_zeroes(ByteRange::new(8192, 100_000).unwrap(), ZeroMode::Punch).unwrap();
        writer.write_at(&[4; 4096], SIZE - 4096).unwrap();
        let model = content(&writer);
        writer.close().unwrap();

        let log = Log::default();
        let logged = |number: usize, disk: &Arc<MemoryDisk>| {
            Arc::new(Logged { disk: disk.clone(), number, log: log.clone() })
        };
        let start = [base.to_bytes(), top.to_bytes()];
        // The image's own chain reads the base as it was.
        let below = reader(&Arc::new(MemoryDisk::from_bytes(base.to_bytes())), None);
        let header = Header::read(&*top).unwrap();
        let upper = Qcow2Writer::new(logged(1, &top), header, Some(Arc::new(below)), None).unwrap();
        let lower = Qcow2Writer::new(logged(0, &base), Header::read(&*base).unwrap(), None, None).unwrap();
        put_down(upper, 1, (lower, Qcow2Writer::close), true, &mut |_| Ok(())).unwrap();

        let log = log.lock().unwrap().clone();
        for cut in 0..=log.len() {
            for lost in [None, Some(cut as u64 * 797)] {
                let [base, top] = [0, 1].map(|number| {
                    let after = Arc::new(MemoryDisk::from_bytes(start[number].clone()));
                    let own = log[..cut].iter().filter(|(which, _)| *which == number);
                    let own: Vec<Operation> = own.map(|(_, operation)| operation.clone()).collect();
                    match lost {
                        None => own.iter().for_each(|operation| after.apply(operation).unwrap()),
                        Some(seed) => crash(&after, &own, own.len(), seed),
                    }
                    // Opening repairs what was left dirty.
                    drop(open(&after, None));
                    assert_eq!(faults(&*after).0, 0, "file {number}, {cut} of {}", log.len());
                    after
                });
                let below: Arc<dyn BlockRead> = Arc::new(reader(&base, None));
                assert!(content(&reader(&top, Some(below))) == model, "{cut} of {}", log.len());
            }
        }
        assert!(content(&reader(&base, None))[..SIZE as usize] == model, "all is in the base");
        assert_eq!((faults(&*base), faults(&*top)), ((0, 0), (0, 0)));
    }
}
