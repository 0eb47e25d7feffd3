//! What of its files an image reads next: guest range → runs → host ranges, in long pieces.
//!
//! Clusters that were written one after the other mostly lie so, and are brought in one go; an image that a guest has
//! lived in has them anywhere, and the system could not guess where it is read next.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::image::Qcow2;
use super::runs::RunKind;
use crate::block::{BlockRead, ByteRange};

/// What is brought in one go, of one file.
struct Piece<'a> {
    file: &'a dyn BlockRead,
    range: ByteRange,
}

impl Piece<'_> {
    /// Brings `next` with what is before it, or later.
    fn add(&mut self, next: ByteRange) {
        let touches = (self.range.offset()..=self.range.end()).contains(&next.offset());
        if touches {
            self.range = ByteRange::between(self.range.offset(), next.end().max(self.range.end()));
        } else {
            self.file.prefetch(self.range);
            self.range = next;
        }
    }
}

/// Has the files of `image` bring what `range` of the disk is in. What is wrong there, reading tells.
pub(super) fn prefetch(image: &Qcow2, range: ByteRange) {
    let mut plain = Piece { file: image.cluster_file(), range: ByteRange::EMPTY };
    let mut compressed = Piece { file: &**image.file(), range: ByteRange::EMPTY };
    for run in image.runs(range) {
        let Ok(run) = run else { break };
        let (piece, host, len) = match run.kind {
            RunKind::Plain(host) => (&mut plain, host, run.range.len()),
            RunKind::Compressed(place) => (&mut compressed, place.offset, place.len),
            RunKind::Backing(_) => {
                if let Some(backing) = image.backing()
                    && let Some(covered) = run.range.intersection(ByteRange::whole(backing.size()))
                {
                    backing.prefetch(covered);
                }
                continue;
            }
            RunKind::Zero(_) => continue,
        };
        if let Ok(host) = ByteRange::new(host.0, len) {
            piece.add(host);
        }
    }
    for piece in [plain, compressed] {
        piece.file.prefetch(piece.range);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::Result;
    use crate::block::{Extents, MemoryDisk};
    use crate::convert::{Options, convert};
    use crate::qcow2::{Codec, Header, NewImage, Qcow2Sink};

    /// Remembers what is prefetched of it and what is read.
    struct Watched {
        disk: MemoryDisk,
        prefetched: Mutex<Vec<ByteRange>>,
        read: Mutex<Vec<ByteRange>>,
    }

    impl BlockRead for Watched {
        fn size(&self) -> u64 {
            self.disk.size()
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            self.read.lock().unwrap().push(ByteRange::new(offset, buf.len() as u64)?);
            self.disk.read_at(buf, offset)
        }
        fn extents(&self, range: ByteRange) -> Result<Extents> {
            self.disk.extents(range)
        }
        fn prefetch(&self, range: ByteRange) {
            if !range.is_empty() {
                self.prefetched.lock().unwrap().push(range);
            }
        }
    }

    fn watched(bytes: Vec<u8>) -> Arc<Watched> {
        let disk = MemoryDisk::from_bytes(bytes);
        Arc::new(Watched { disk, prefetched: Mutex::default(), read: Mutex::default() })
    }

    /// In order, those that touch as one.
    fn joined(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
        ranges.sort_by_key(|range| range.offset());
        let mut joined: Vec<ByteRange> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.end() >= range.offset() => {
                    *last = ByteRange::between(last.offset(), last.end().max(range.end()));
                }
                _ => joined.push(range),
            }
        }
        joined
    }

    #[test]
    fn exactly_what_is_read_is_prefetched_in_fewer_pieces() {
        // Holes, clusters that compress, and some that do not: runs of eight each.
        let mut noise = 1_u64;
        let bytes: Vec<u8> = (0..6 << 20_u32)
            .map(|at| {
                noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                match (at >> 19) % 3 {
                    0 => 0,
                    1 => (at >> 9) as u8,
                    _ => (noise >> 56) as u8,
                }
            })
            .collect();
        let disk = MemoryDisk::new(0);
        let new = NewImage::new(bytes.len() as u64).unwrap();
        let new = new.with_codec(Codec::default(), true).unwrap();
        let mut sink = Qcow2Sink::new(&disk, new).unwrap();
        convert(&MemoryDisk::from_bytes(bytes.clone()), &mut sink, &Options::default()).unwrap();
        let file = watched(disk.to_bytes());
        let header = Header::from_bytes(&disk.to_bytes(), file.size()).unwrap();
        let backing = watched(vec![7; bytes.len() - (1 << 20)]);
        let image = Qcow2::new(file.clone(), header, Some(backing.clone()), None).unwrap();

        let range = ByteRange::between(100_000, bytes.len() as u64 - 100_000);
        image.prefetch(range);
        file.read.lock().unwrap().clear();
        image.read_at(&mut vec![0; range.len() as usize], range.offset()).unwrap();
        for watched in [file, backing] {
            let (prefetched, read) = (watched.prefetched.lock().unwrap(), watched.read.lock().unwrap());
            assert!(
                !read.is_empty() && prefetched.len() <= read.len(),
                "{} for {}",
                prefetched.len(),
                read.len()
            );
            assert_eq!(joined(prefetched.clone()), joined(read.clone()));
        }
    }

    /// What a part of a compressed cluster leaves for the next one.
    #[test]
    fn a_second_part_of_a_cluster_is_not_decoded_again() {
        let bytes: Vec<u8> = (0..1_u32 << 18).map(|at| (at.wrapping_mul(at) >> 9) as u8).collect();
        let disk = MemoryDisk::new(0);
        let new = NewImage::new(bytes.len() as u64).unwrap().with_codec(Codec::default(), true).unwrap();
        let mut sink = Qcow2Sink::new(&disk, new).unwrap();
        convert(&MemoryDisk::from_bytes(bytes.clone()), &mut sink, &Options::default()).unwrap();
        let file = watched(disk.to_bytes());
        let header = Header::from_bytes(&disk.to_bytes(), file.size()).unwrap();
        let open = || Qcow2::new(file.clone(), header.clone(), None, None).unwrap();
        let reads_of = |image: &Qcow2, offset: usize, len: usize| {
            let mut part = vec![0; len];
            file.read.lock().unwrap().clear();
            image.read_at(&mut part, offset as u64).unwrap();
            assert_eq!(part, bytes[offset..offset + len]);
            file.read.lock().unwrap().len()
        };
        let image = open();
        assert!(reads_of(&image, 0, 100) > 0);
        // Also when another cluster was read between.
        assert_eq!(reads_of(&image, 70_000, 100), 1);
        assert_eq!((reads_of(&image, 5000, 100), reads_of(&image, 70_100, 100)), (0, 0));
        assert!(reads_of(&open(), 0, 100) > 0, "another image has clusters of its own");
        image.forget_decompressed();
        assert_eq!(reads_of(&image, 5000, 100), 1, "another cluster may be there");
        // A cluster that does not decode is not kept.
        let run = image.runs(ByteRange::between(0, 100)).next().unwrap().unwrap();
        let RunKind::Compressed(place) = run.kind else { panic!("{run:?}") };
        let mut broken = disk.to_bytes();
        let place = place.offset.0 as usize;
        broken[place..place + 64].fill(0xff);
        let broken = Qcow2::new(watched(broken), header.clone(), None, None).unwrap();
        for _ in 0..2 {
            broken.read_at(&mut [0; 100], 0).unwrap_err();
        }
    }
}
