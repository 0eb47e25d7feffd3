//! Conversions against a model: the same bytes, the same calls for any number of workers, bounded memory.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::block::{BlockWrite, ByteRange, ExtentKind, Extents, FileDisk, FileRange, MemoryDisk};
use crate::error::Error;
use crate::progress::Counter;

/// A file of `bytes`, and the folder it is in.
fn file_of(bytes: &[u8]) -> (tempfile::TempDir, FileDisk) {
    let folder = tempfile::tempdir().unwrap();
    let file = FileDisk::create_new(folder.path().join("source"), bytes.len() as u64).unwrap();
    file.write_at(bytes, 0).unwrap();
    (folder, file)
}

/// What a sink was given.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Zero(ByteRange),
    Unchanged(ByteRange),
    Plain(ByteRange, Vec<u8>),
    Compressed(ByteRange, Vec<u8>),
    Copied(ByteRange, Vec<u8>),
}

/// What [`Recorder::content`] has where the backing file is to be read.
const UNCHANGED: u8 = 0xee;

/// Remembers all it is given; compresses units whose bytes are all the same into one.
struct Recorder {
    unit: u64,
    compresses: bool,
    given: Vec<Given>,
    finished: bool,
    fails_at: Option<u64>,
    copies: Option<CopyOffload>,
}

impl Recorder {
    fn new(unit: u64, compresses: bool) -> Self {
        Self { unit, compresses, given: Vec::new(), finished: false, fails_at: None, copies: None }
    }

    /// The disk that was given, after checking that the ranges follow each other.
    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for given in &self.given {
            let (range, bytes) = match given {
                Given::Zero(range) => (range, vec![0; range.len() as usize]),
                // No byte of a test is this one.
                Given::Unchanged(range) => (range, vec![UNCHANGED; range.len() as usize]),
                Given::Plain(range, bytes) | Given::Copied(range, bytes) => (range, bytes.clone()),
                Given::Compressed(range, byte) => (range, vec![byte[0]; range.len() as usize]),
            };
            assert_eq!(range.offset(), content.len() as u64, "a gap or an overlap before {given:?}");
            assert_eq!(range.offset() % self.unit, 0, "{given:?}");
            assert_eq!(range.len(), bytes.len() as u64);
            content.extend(bytes);
        }
        content
    }
}

struct OneByte;

impl Encoder for OneByte {
    fn encode(&mut self, unit: &[u8], compressed: &mut Vec<u8>) -> Result<bool> {
        let same = unit.iter().all(|byte| *byte == unit[0]);
        compressed.extend(same.then_some(unit[0]));
        Ok(same)
    }
}

impl Sink for Recorder {
    fn unit_size(&self) -> u64 {
        self.unit
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(self.compresses.then(|| Box::new(OneByte) as Box<dyn Encoder>))
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        if self.fails_at.is_some_and(|at| range.end() > at) {
            return Err(std::io::Error::other("this sink was told to fail").into());
        }
        self.given.push(match piece {
            Piece::Zero => Given::Zero(range),
            Piece::Unchanged => Given::Unchanged(range),
            Piece::Plain(bytes) => Given::Plain(range, bytes.to_vec()),
            Piece::Compressed(bytes) => Given::Compressed(range, bytes.to_vec()),
        });
        Ok(())
    }

    fn copy_offload(&self) -> Option<CopyOffload> {
        self.copies
    }

    fn put_copy(&mut self, range: ByteRange, from: FileRange<'_>) -> Result<()> {
        assert_eq!(range.len(), from.range.len());
        let mut bytes = vec![0; range.len() as usize];
        from.file.read_at(&mut bytes, from.range.offset())?;
        self.given.push(Given::Copied(range, bytes));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.finished = true;
        Ok(())
    }
}

fn with_threads(count: usize) -> Options<'static> {
    Options { threads: NonZeroUsize::new(count), ..Options::default() }
}

/// A disk of runs of one byte each, zero more often than others; lengths in multiples of `grain` but for the last.
fn disks() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0_u8), 1 => Just(7_u8), 1 => any::<u8>()];
    let runs = prop::collection::vec((byte, 1..20_usize), 0..30);
    (runs, prop_oneof![Just(512_usize), Just(4096), Just(20_000), Just(333)], 0..700_usize).prop_map(
        |(runs, grain, rest)| {
            let mut bytes: Vec<u8> =
                runs.iter().flat_map(|&(byte, count)| vec![byte; count * grain]).collect();
            bytes.extend(vec![9; rest]);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_sink_is_given_the_same_disk_by_the_same_calls_for_any_number_of_workers(
        bytes in disks(), unit_bits in 9..=21_u32, compresses: bool,
    ) {
        let source = MemoryDisk::from_bytes(bytes.clone());
        let mut calls = None;
        for threads in [1, 2, 3, 8] {
            let mut sink = Recorder::new(1 << unit_bits, compresses);
            let algorithms = [Algorithm::Sha256, Algorithm::Md5];
            let options = Options { digests: &algorithms, ..with_threads(threads) };
            let summary = convert(&source, &mut sink, &options).unwrap();
            prop_assert!(sink.finished);
            prop_assert!(sink.content() == bytes, "content differs");
            let mut whole = crate::digest::Hasher::new(Algorithm::Sha256);
            whole.update(&bytes);
            prop_assert_eq!(&summary.digests[0], &whole.finish());
            prop_assert_eq!(summary.size, bytes.len() as u64);
            let zeroes: u64 = sink.given.iter().map(|given| match given {
                Given::Zero(range) => range.len(),
                _ => 0,
            }).sum();
            prop_assert_eq!(summary.stored, summary.size - zeroes);
            prop_assert_eq!(calls.get_or_insert_with(|| sink.given.clone()), &sink.given);
        }
    }

    #[test]
    fn what_is_left_as_zeroes_is_as_much_as_can_be(bytes in disks(), unit_bits in 9..=16_u32) {
        let unit = 1_usize << unit_bits;
        let source = MemoryDisk::from_bytes(bytes.clone());
        let mut sink = Recorder::new(unit as u64, false);
        let summary = convert(&source, &mut sink, &with_threads(2)).unwrap();
        let expect: usize = bytes.chunks(unit).filter(|unit| unit.iter().any(|byte| *byte != 0)).map(<[u8]>::len).sum();
        prop_assert_eq!(summary.stored, expect as u64);
    }

    #[test]
    fn onto_disks_and_into_streams(bytes in disks(), zeroes in 0..3_usize, unit_bits in 9..=21_u32) {
        let source = MemoryDisk::from_bytes(bytes.clone());
        let zeroes = [Zeroes::AlreadyThere, Zeroes::Write, Zeroes::Allocate][zeroes];
        let old = if zeroes == Zeroes::AlreadyThere { 0 } else { 0xee };
        let target = MemoryDisk::from_bytes(vec![old; bytes.len()]);
        let mut sink = DiskSink::new(&target, zeroes).with_sparse_unit(1 << unit_bits).unwrap();
        convert(&source, &mut sink, &with_threads(2)).unwrap();
        prop_assert!(target.to_bytes() == bytes);
        let mut stream = Vec::new();
        convert(&source, &mut StreamSink::new(&mut stream), &with_threads(2)).unwrap();
        prop_assert!(stream == bytes);
    }
}

/// Looks large, has data where it is told to, and knows what was read of it.
struct Vast {
    size: u64,
    data: fn(u64) -> bool,
    reads: Mutex<Vec<ByteRange>>,
    prefetched: Mutex<Vec<ByteRange>>,
    /// The longest list of extents that was asked for.
    most_extents: AtomicUsize,
}

impl Vast {
    /// Every block of this many bytes is data or hole.
    const BLOCK: u64 = 4096;

    fn new(size: u64, data: fn(u64) -> bool) -> Self {
        let (reads, prefetched) = (Mutex::default(), Mutex::default());
        Self { size, data, reads, prefetched, most_extents: AtomicUsize::new(0) }
    }
}

impl BlockRead for Vast {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.reads.lock().unwrap().push(ByteRange::new(offset, buf.len() as u64)?);
        buf.fill((offset / Self::BLOCK) as u8 | 1);
        Ok(())
    }

    fn prefetch(&self, range: ByteRange) {
        self.prefetched.lock().unwrap().push(range);
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        let mut extents = Extents::starting_at(range.offset());
        let mut at = range.offset();
        while at < range.end() {
            let next = range.end().min(at + Self::BLOCK);
            let kind = if (self.data)(at / Self::BLOCK) { ExtentKind::Data } else { ExtentKind::Hole };
            extents.push_until(next, kind);
            at = next;
        }
        self.most_extents.fetch_max(extents.iter().len(), Ordering::Relaxed);
        Ok(extents)
    }
}

#[test]
fn holes_are_never_read_and_data_once() {
    // Every second block, and a long run.
    let source = Vast::new(1 << 28, |block| block % 2 == 1 || (3000..9000).contains(&block));
    let mut sink = DiskSink::new(MemoryDisk::new(1 << 28), Zeroes::AlreadyThere);
    let summary = convert(&source, &mut sink, &with_threads(3)).unwrap();
    let mut reads = source.reads.into_inner().unwrap();
    reads.sort_by_key(|range| range.offset());
    let mut at = 0;
    for range in &reads {
        assert!(range.offset() >= at, "{range:?} is read twice");
        at = range.end();
        for block in range.offset() / Vast::BLOCK..range.end().div_ceil(Vast::BLOCK) {
            assert!((source.data)(block), "{range:?} reads the hole at block {block}");
        }
    }
    assert_eq!(reads.iter().map(|range| range.len()).sum::<u64>(), summary.read);
    assert_eq!(summary.read, ((1 << 15) + 3000) * 4096);
    assert_eq!(summary.stored, summary.read);
}

/// Checks each read against what was prefetched until then.
struct Checked(Vast);

impl BlockRead for Checked {
    fn size(&self) -> u64 {
        self.0.size
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        let prefetched = self.0.prefetched.lock().unwrap();
        let parts = prefetched.iter().filter_map(|part| part.intersection(range));
        assert_eq!(parts.map(|part| part.len()).sum::<u64>(), range.len(), "{range:?} comes as a surprise");
        let end = prefetched.last().unwrap().end();
        let ahead = (range.end()..end).step_by(4096).filter(|at| (self.0.data)(at / Vast::BLOCK)).count();
        assert!(ahead <= (8 << 20) / 4096, "{ahead} blocks are announced at {range:?}");
        drop(prefetched);
        self.0.read_at(buf, offset)
    }
    fn extents(&self, range: ByteRange) -> Result<Extents> {
        self.0.extents(range)
    }
    fn prefetch(&self, range: ByteRange) {
        self.0.prefetch(range);
    }
}

#[test]
fn data_is_announced_before_it_is_read_and_large_holes_are_not() {
    // Runs of a megabyte far from each other, a long one, and one with a hole in every second block.
    let source = Checked(Vast::new(3 << 30, |block| match block {
        300_000..320_000 => true,
        400_000..410_000 => block % 2 == 1,
        _ => block % 25_000 < 256,
    }));
    let summary = convert(&source, &mut Recorder::new(65536, false), &with_threads(1)).unwrap();
    let prefetched = source.0.prefetched.into_inner().unwrap();
    assert!(prefetched.is_sorted_by(|before, after| before.end() <= after.offset()));
    // Between the first of the blocks with holes and the last.
    let small_holes = 5_000 * 4096;
    let len = prefetched.iter().map(|range| range.len()).sum::<u64>();
    assert!((summary.read..=summary.read + small_holes).contains(&len), "{len} for {}", summary.read);
    assert!(prefetched.len() < 200, "{} calls", prefetched.len());
    let first: u64 = prefetched
        .iter()
        .take_while(|range| range.offset() < 8 * 25_000 * 4096)
        .map(|range| range.len())
        .sum();
    assert_eq!(first, 8 << 20, "runs in several windows are announced at once");
}

#[test]
fn extents_are_asked_for_in_bounded_windows() {
    let source = Vast::new(1 << 29, |block| block % 2 == 1);
    convert(&source, &mut Recorder::new(4096, false), &with_threads(1)).unwrap();
    assert_eq!(source.most_extents.into_inner(), 16_384);
}

#[test]
fn of_several_errors_the_one_at_the_lowest_offset_is_told() {
    for threads in [1, 2, 8] {
        let source = MemoryDisk::from_bytes(vec![1; 8 << 20]);
        source.fail_reads_in(ByteRange::between(5 << 20, 8 << 20));
        let mut sink = Recorder::new(65536, false);
        let error = convert(&source, &mut sink, &with_threads(threads)).unwrap_err();
        assert_eq!(error.to_string(), "reading 524288 bytes at guest offset 0x500000");
        assert!(!sink.finished);
        let before: u64 = 5 << 20;
        assert_eq!(sink.content().len() as u64, before, "what was before is given to the sink");

        sink = Recorder { fails_at: Some(3 << 20), ..Recorder::new(65536, false) };
        let error = convert(&source, &mut sink, &with_threads(threads)).unwrap_err();
        assert_eq!(error.to_string(), "storing the 524288 bytes at guest offset 0x300000");
        assert!(!sink.finished);
    }
}

/// Refuses to say what it holds from some offset on.
struct Secretive(MemoryDisk);

impl BlockRead for Secretive {
    fn size(&self) -> u64 {
        1 << 30
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_at(buf, offset)
    }
    fn extents(&self, range: ByteRange) -> Result<Extents> {
        if range.offset() < self.0.size() {
            return Ok(Extents::uniform(range, ExtentKind::Hole));
        }
        Err(Error::corrupt("no map"))
    }
}

#[test]
fn a_failing_map_ends_the_work_after_what_is_known() {
    let source = Secretive(MemoryDisk::new(1 << 20));
    let mut sink = Recorder::new(4096, false);
    let error = convert(&source, &mut sink, &with_threads(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().starts_with("asking what is in the 268435456 bytes at guest offset 0x4000000"));
    assert!(!sink.finished);
}

/// Cancels after some bytes.
struct Impatient(Counter, u64);

impl Progress for Impatient {
    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
        if self.0.done() >= self.1 {
            self.0.cancel();
        }
    }
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

#[test]
fn progress_adds_up_and_stops_the_work() {
    let source = Vast::new(3 << 30, |block| block == 5);
    let counter = Counter::default();
    let options = Options { progress: &counter, ..with_threads(2) };
    convert(&source, &mut Recorder::new(4096, false), &options).unwrap();
    assert_eq!(counter.done(), 3 << 30);

    let source = MemoryDisk::from_bytes(vec![1; 16 << 20]);
    let impatient = Impatient(Counter::default(), 1 << 20);
    let options = Options { progress: &impatient, ..with_threads(2) };
    let mut sink = Recorder::new(4096, false);
    let error = convert(&source, &mut sink, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!sink.finished);
    assert!(impatient.0.done() < 8 << 20, "stopped long after {}", impatient.0.done());
}

#[test]
fn a_panicking_encoder_is_a_panic_and_not_a_hang() {
    struct Panics;
    impl Encoder for Panics {
        fn encode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
            panic!("on purpose")
        }
    }
    struct PanicSink;
    impl Sink for PanicSink {
        fn unit_size(&self) -> u64 {
            4096
        }
        fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
            Ok(Some(Box::new(Panics)))
        }
        fn put(&mut self, _: ByteRange, _: Piece<'_>) -> Result<()> {
            Ok(())
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let source = MemoryDisk::from_bytes(vec![1; 16 << 20]);
    let outcome = std::panic::catch_unwind(|| convert(&source, &mut PanicSink, &with_threads(4)));
    assert!(outcome.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_in_a_file_is_left_to_a_sink_that_copies_but_for_zeroes_and_the_end(
        bytes in disks(), unit_bits in 9..=17_u32, find_zeroes: bool,
    ) {
        let unit = 1 << unit_bits;
        let (_folder, source) = file_of(&bytes);
        let copies = Some(CopyOffload { device: source.device(), find_zeroes, reflinks: find_zeroes });
        let mut calls = None;
        for threads in [1, 3] {
            let mut sink = Recorder { copies, ..Recorder::new(unit, false) };
            let summary = convert(&source, &mut sink, &with_threads(threads)).unwrap();
            prop_assert!(sink.content() == bytes);
            let zero = |range: &ByteRange| bytes[range.offset() as usize..range.end() as usize] == vec![0; range.len() as usize];
            for given in &sink.given {
                match given {
                    Given::Copied(range, _) => {
                        prop_assert_eq!(range.len() % unit, 0);
                        let mut units = (range.offset()..range.end()).step_by(unit as usize);
                        let found = units.any(|at| zero(&ByteRange::between(at, at + unit)));
                        prop_assert!(!(find_zeroes && found), "zeroes in {:?}", range);
                    }
                    Given::Plain(range, _) => prop_assert!(range.end() == bytes.len() as u64 && range.len() < unit),
                    _ => {}
                }
            }
            if bytes.len() as u64 >= unit && bytes[..unit as usize].iter().any(|byte| *byte != 0) {
                prop_assert!(matches!(sink.given[0], Given::Copied(..)));
                prop_assert!(summary.stored >= unit);
            }
            prop_assert!(calls.get_or_insert(sink.given.clone()) == &sink.given, "{} threads", threads);
        }
    }
}

#[test]
fn a_sink_copies_from_its_own_filesystem_and_not_beside_digests() {
    let (_folder, source) = file_of(&[5; 8192]);
    let (own, other) = (source.device(), source.device() ^ 1);
    for (device, digests, copied) in
        [(own, &[][..], true), (other, &[], false), (own, &[Algorithm::Md5], false)]
    {
        let copies = Some(CopyOffload { device, find_zeroes: true, reflinks: false });
        let mut sink = Recorder { copies, ..Recorder::new(4096, false) };
        convert(&source, &mut sink, &Options { digests, ..with_threads(1) }).unwrap();
        assert_eq!(matches!(sink.given[..], [Given::Copied(..)]), copied, "{:?}", sink.given);
    }
}

#[test]
fn over_a_base_only_what_differs_is_given() {
    // Per unit: the same data, other data, zeroes over data, data over zeroes, zeroes twice, past the base's end.
    let base = MemoryDisk::from_bytes([[1; 512], [2; 512], [3; 512], [0; 512], [0; 512]].concat());
    let source = MemoryDisk::from_bytes(
        [[1; 512], [9; 512], [0; 512], [4; 512], [0; 512], [5; 512], [0; 512]].concat()[..3300].to_vec(),
    );
    let expected =
        [[UNCHANGED; 512], [9; 512], [0; 512], [4; 512], [UNCHANGED; 512], [5; 512], [UNCHANGED; 512]];
    for (threads, digests) in [(1, &[][..]), (3, &[Algorithm::Sha256][..])] {
        let mut sink = Recorder::new(512, false);
        let options = Options { threads: NonZeroUsize::new(threads), digests, ..Options::default() };
        let summary = convert_over(Some(&base), &source, &mut sink, &options).unwrap();
        assert!(sink.content() == expected.concat()[..3300]);
        assert_eq!(summary.stored, 3 * 512);
        // What is left out belongs to the content all the same.
        let alone = convert(&source, &mut Recorder::new(512, false), &options).unwrap();
        assert_eq!(summary.digests, alone.digests);
    }
}

#[test]
fn what_is_shared_is_joined_across_batches_and_holes_within_units_go_with_it() {
    const UNIT: u64 = 65_536;
    let folder = tempfile::tempdir().unwrap();
    let source = FileDisk::create_new(folder.path().join("disk"), 80 * UNIT + 100).unwrap();
    // A hole in the first unit and between the next two, a unit of written zeroes, zeroes at the start of a unit, the end.
    source.write_at(&[1; 4096], 0).unwrap();
    source.write_at(&[2; 4096], UNIT + 61_440).unwrap();
    source.write_at(&vec![3; 58 * UNIT as usize], 2 * UNIT + 8192).unwrap();
    source.write_at(&vec![0; UNIT as usize], 20 * UNIT).unwrap();
    source.write_at(&[0; 300], 40 * UNIT).unwrap();
    source.write_at(&[4; 100], 80 * UNIT).unwrap();
    for threads in 1..4 {
        let copies = Some(CopyOffload { device: source.device(), find_zeroes: true, reflinks: true });
        let mut sink = Recorder { copies, ..Recorder::new(UNIT, false) };
        convert(&source, &mut sink, &with_threads(threads)).unwrap();
        let copied: Vec<ByteRange> = sink
            .given
            .iter()
            .filter_map(|given| if let Given::Copied(range, ..) = given { Some(*range) } else { None })
            .collect();
        let expected = [ByteRange::between(0, 20 * UNIT), ByteRange::between(21 * UNIT, 61 * UNIT)];
        assert_eq!(copied, expected, "{threads} threads");
        let mut content = vec![0; source.size() as usize];
        source.read_at(&mut content, 0).unwrap();
        assert!(sink.content() == content);
    }
}

/// Counts what is prefetched of it.
struct Told(FileDisk, AtomicUsize);

impl BlockRead for Told {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_at(buf, offset)
    }
    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        self.0.file_range(range)
    }
    fn prefetch(&self, range: ByteRange) {
        self.1.fetch_add(range.len() as usize, Ordering::Relaxed);
    }
}

#[test]
fn what_is_only_shared_is_not_announced() {
    let (_folder, file) = file_of(&[5; 1 << 20]);
    let device = file.device();
    let source = Told(file, AtomicUsize::new(0));
    for (reflinks, prefetched) in [(true, 0), (false, 1 << 20)] {
        let copies = Some(CopyOffload { device, find_zeroes: true, reflinks });
        let mut sink = Recorder { copies, ..Recorder::new(65536, false) };
        convert(&source, &mut sink, &with_threads(2)).unwrap();
        assert!(matches!(sink.given[..], [Given::Copied(..)]), "{} pieces", sink.given.len());
        assert_eq!(source.1.load(Ordering::Relaxed), prefetched);
    }
}

#[test]
fn a_sink_that_is_filled_is_given_no_zeroes() {
    let source = MemoryDisk::new(3 << 20);
    source.write_at(&[5; 4096], 1 << 20).unwrap();
    for compresses in [false, true] {
        let mut recorder = Recorder::new(4096, compresses);
        let mut sink = NonSparseSink::new(&mut recorder).unwrap();
        convert(&source, &mut sink, &Options::default()).unwrap();
        assert!(recorder.finished);
        assert_eq!(recorder.content(), source.to_bytes());
        let is_stored = |given: &Given| match given {
            Given::Plain(range, _) => !compresses && range.len() <= 1 << 20,
            Given::Compressed(range, _) => compresses && range.len() == 4096,
            _ => false,
        };
        assert!(recorder.given.iter().all(is_stored), "compresses: {compresses}");
    }
}
