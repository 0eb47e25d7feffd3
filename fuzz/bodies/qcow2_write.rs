//! What is done with bytes that say how an image is to be changed: everything that writes.
//!
//! ```text
//! byte 0      even: an image of our own, compared with a plain disk after every step; odd: one that the bytes are
//! bytes 1–4   what a new image is like, or how many bytes of steps there are
//! the rest    steps of 8 bytes; then the image
//! ```
//!
//! Nothing may panic, hang or grow without bound, and what becomes of an image of our own is clean.

use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite, ByteRange, Extents, MemoryDisk, ZeroMode};
use image_core::convert::{Piece, Sink, Zeroes};
use image_core::qcow2::check::check;
use image_core::qcow2::repair::{Repair, repair};
use image_core::qcow2::write::{
    BitmapChange, CompressedSink, NewSnapshot, apply_snapshot, change_bitmaps, create_snapshot,
    delete_snapshot,
};
use image_core::qcow2::{Geometry, Header, NewImage, Qcow2Sink, Qcow2Writer, Version};
use image_core::{Error, Result};

/// The size of a new disk, in bytes.
const SIZE: u64 = 1 << 20;
/// The most that a file may grow to.
const MOST: u64 = 64 << 20;
/// The most steps.
const STEPS: usize = 64;

/// A disk in memory that does not grow without bound.
struct Bounded(MemoryDisk);

impl BlockRead for Bounded {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_at(buf, offset)
    }
    fn extents(&self, range: ByteRange) -> Result<Extents> {
        self.0.extents(range)
    }
}

impl BlockWrite for Bounded {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.0.write_at(buf, offset)
    }
    fn write_zeroes(&self, range: ByteRange, mode: ZeroMode) -> Result<()> {
        self.0.write_zeroes(range, mode)
    }
    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
    fn resize(&self, size: u64) -> Result<()> {
        if size > MOST {
            return Err(Error::invalid("the disk is full"));
        }
        self.0.resize(size)
    }
}

/// Eight bytes as a step: what, how much of what, where.
struct Step {
    what: u8,
    byte: u8,
    len: u64,
    at: u64,
}

impl Step {
    fn from_bytes(bytes: &[u8; 8]) -> Self {
        let [what, byte, len0, len1, at0, at1, at2, at3] = *bytes;
        let at = u64::from(u32::from_le_bytes([at0, at1, at2, at3]));
        Self { what, byte, len: u64::from(u16::from_le_bytes([len0, len1])), at }
    }
}

/// Does what `bytes` say; whether there was an image to do it to.
pub(crate) fn qcow2_write(bytes: &[u8]) -> bool {
    let Some((&[kind, a, b, c, d], rest)) = bytes.split_first_chunk() else { return false };
    if kind % 2 == 1 {
        let len = (usize::from(a) % STEPS * 8).min(rest.len());
        let (steps, image) = rest.split_at(len);
        return hostile(image, steps);
    }
    let Some(file) = new_image(a, b, c) else { return false };
    own(&file, rest, d % 2 == 1);
    true
}

fn new_image(cluster_bits: u8, order: u8, kind: u8) -> Option<Arc<Bounded>> {
    let (extended, version) = (kind & 1 != 0, if kind & 2 != 0 { Version::V2 } else { Version::V3 });
    let geometry = Geometry::new(9 + u32::from(cluster_bits % 13), u32::from(order % 7), extended).ok()?;
    let file = Arc::new(Bounded(MemoryDisk::new(0)));
    let image = NewImage::in_clusters(SIZE, geometry).ok()?.with_version(version).ok()?;
    Qcow2Sink::new(file.clone(), image).ok()?.finish().ok()?;
    Some(file)
}

fn open(file: &Arc<Bounded>) -> Result<Qcow2Writer> {
    Qcow2Writer::new(file.clone(), Header::read(&**file)?, None, None)
}

/// Steps on an image of our own, each compared with a plain disk.
fn own(file: &Arc<Bounded>, steps: &[u8], snapshots: bool) {
    let mut model = vec![0; SIZE as usize];
    let mut saved: Vec<Vec<u8>> = Vec::new();
    let mut writer = open(file).expect("our own image");
    for step in steps.as_chunks::<8>().0.iter().take(STEPS).map(Step::from_bytes) {
        let size = model.len() as u64;
        let at = step.at % size.max(1);
        let len = step.len.min(size - at);
        match step.what % 8 {
            0..=2 if step.what >= 128 => {
                let (start, bytes) = pack(&writer, &step, at).expect("room");
                model[start..start + bytes.len()].copy_from_slice(&bytes);
            }
            0..=2 => {
                writer.write_at(&vec![step.byte; len as usize], at).expect("room");
                model[at as usize..(at + len) as usize].fill(step.byte);
            }
            3 | 4 => {
                let mode = if step.byte % 2 == 0 { ZeroMode::Punch } else { ZeroMode::Keep };
                writer.write_zeroes(ByteRange::between(at, at + len), mode).expect("room");
                model[at as usize..(at + len) as usize].fill(0);
            }
            5 => writer.flush().expect("room"),
            6 => {
                let size = (step.at % (2 * SIZE)).next_multiple_of(512);
                if writer.resize(size).is_ok() {
                    model.resize(size as usize, 0);
                }
            }
            _ => {
                writer.close().expect("room");
                if snapshots {
                    snapshot(file, step.byte, &mut model, &mut saved);
                }
                writer = open(file).expect("our own image");
            }
        }
    }
    let mut content = vec![0; model.len()];
    writer.read_at(&mut content, 0).expect("our own image");
    assert!(content == model, "the disk differs");
    writer.close().expect("room");
    let header = Header::read(&**file).expect("our own header");
    let result = check(&**file, &header, &mut |_| {}).expect("our own image");
    assert!(result.is_clean(), "{result:?}");
}

/// Writes the cluster that `at` is in, compressed where that is shorter: noise, then a byte again and again. Returns where,
/// and what.
fn pack(writer: &Qcow2Writer, step: &Step, at: u64) -> Result<(usize, Vec<u8>)> {
    let mut sink = CompressedSink::new(writer, None, Zeroes::Write)?;
    let unit = sink.unit_size();
    let start = at / unit * unit;
    let mut state = step.at as u32 | 1;
    let mut bytes: Vec<u8> = (0..unit)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if index < step.len { (state >> 24) as u8 } else { step.byte }
        })
        .collect();
    let there = (writer.size().saturating_sub(start)).min(unit) as usize;
    bytes[there..].fill(0);
    let mut packed = Vec::new();
    let packs = sink.encoder()?.map_or(Ok(false), |mut encoder| encoder.encode(&bytes, &mut packed))?;
    bytes.truncate(there);
    let piece = if packs { Piece::Compressed(&packed) } else { Piece::Plain(&bytes) };
    if there > 0 {
        sink.put(ByteRange::new(start, there as u64)?, piece)?;
    }
    sink.finish()?;
    Ok((start as usize, bytes))
}

/// Takes, applies or deletes a snapshot, if refcounts have room for that.
fn snapshot(file: &Arc<Bounded>, byte: u8, model: &mut Vec<u8>, saved: &mut Vec<Vec<u8>>) {
    let header = Header::read(&**file).expect("our own header");
    let index = usize::from(byte / 4) % saved.len().max(1);
    let then = saved.get(index).cloned();
    match (byte % 4, then) {
        (0, _) => {
            let new = NewSnapshot { name: b"s".to_vec(), date: (0, 0) };
            saved.extend(create_snapshot(&**file, &header, new).ok().map(|_| model.clone()));
        }
        (1, Some(then)) => {
            let applied = apply_snapshot(&**file, &header, index);
            *model = applied.map_or_else(|_| model.clone(), |_| then);
        }
        (2, Some(_)) => {
            let deleted = delete_snapshot(&**file, &header, index);
            drop(deleted.map(|_| saved.remove(index)));
        }
        _ => {}
    }
}

/// Steps on an image that may be anything.
fn hostile(image: &[u8], steps: &[u8]) -> bool {
    let file = Arc::new(Bounded(MemoryDisk::from_bytes(image.to_vec())));
    if Header::read(&*file).is_err() {
        return false;
    }
    for step in steps.as_chunks::<8>().0.iter().map(Step::from_bytes) {
        let Ok(header) = Header::read(&*file) else { break };
        let name = vec![b'a' + step.byte % 4];
        match step.what % 12 {
            0..=4 => {
                let Ok(writer) = open(&file) else { continue };
                let at = (step.at << (step.byte % 24)) % writer.size().max(1);
                let len = step.len.min(writer.size() - at);
                let _ = match step.what % 4 {
                    3 if step.what >= 128 => pack(&writer, &step, at).map(drop),
                    0 => writer.write_zeroes(ByteRange::between(at, at + len), ZeroMode::Punch),
                    1 => writer.resize((step.at % MOST).next_multiple_of(512)),
                    _ => writer.write_at(&vec![step.byte; len as usize], at),
                };
                let _ = writer.close();
            }
            5 => drop(create_snapshot(&*file, &header, NewSnapshot { name, date: (0, 0) })),
            6 => drop(apply_snapshot(&*file, &header, usize::from(step.byte % 4))),
            7 => drop(delete_snapshot(&*file, &header, usize::from(step.byte % 4))),
            8 => drop(change_bitmaps(&*file, &header, &[BitmapChange::Add { name, granularity_bits: None }])),
            9 => drop(change_bitmaps(&*file, &header, &[BitmapChange::Clear(name)])),
            10 => drop(change_bitmaps(&*file, &header, &[BitmapChange::Remove(name)])),
            _ => {
                let what = if step.byte % 2 == 0 { Repair::Leaks } else { Repair::All };
                let _ = repair(&*file, what, &mut |_| {});
            }
        }
    }
    true
}
