//! A logical volume as a disk: which byte of it is where on which physical one.
//!
//! ```text
//! logical   0 1 2 3 4 5 …        in pieces of the stripe's size
//! stripes   0: 0 2 4 …    1: 1 3 5 …
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::rule::LvmRule;
use super::{LogicalVolume, PhysicalVolume, Segment, SegmentKind, Stripe};
use crate::block::{BlockRead, ByteRange, ExtentKind, Extents};
use crate::error::{Doing, Error, Result};

/// A logical volume that can be read.
#[derive(Debug, Clone)]
pub struct LogicalDisk {
    volume: LogicalVolume,
}

/// A piece of a logical volume that is in one place.
struct Piece<'a> {
    len: u64,
    /// Where; `None` for what reads as zeroes.
    place: Option<(&'a PhysicalVolume, u64)>,
}

impl LogicalDisk {
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for kinds of segments that are not read here;
    /// [`Invalid`](crate::ErrorKind::Invalid) with [`LvmRule::NoPhysicalVolume`] if a disk was not given.
    pub(super) fn new(volume: LogicalVolume) -> Result<Self> {
        for segment in &volume.segments {
            match &segment.kind {
                SegmentKind::Other(kind) => {
                    return Err(Error::unsupported(format!("it has a segment that is {kind}")));
                }
                SegmentKind::Striped { stripes, .. } => {
                    stripes.iter().try_for_each(|stripe| stripe.volume.disk().map(drop))?;
                }
                SegmentKind::Zero => (),
            }
        }
        Ok(Self { volume })
    }

    /// The piece that begins at `at`, no longer than `limit`.
    fn piece(&self, at: u64, limit: u64) -> Result<Piece<'_>> {
        let segments = &self.volume.segments;
        let behind = segments.partition_point(|segment| segment.start <= at);
        let Some(segment) = segments.get(behind.saturating_sub(1)) else {
            return Err(Error::invalid(format!("nothing is at {at:#x}")));
        };
        let inside = at.saturating_sub(segment.start);
        let limit = limit.min(segment.len.saturating_sub(inside));
        let SegmentKind::Striped { stripe_size, stripes } = &segment.kind else {
            return Ok(Piece { len: limit, place: None });
        };
        let (chunk, skipped) = (quotient(inside, *stripe_size), rest(inside, *stripe_size));
        let count = stripes.len() as u64;
        let Some(stripe) = stripes.get(rest(chunk, count) as usize) else {
            return Err(Error::invalid(format!("nothing is at {at:#x}")));
        };
        let within = quotient(chunk, count).saturating_mul(*stripe_size).saturating_add(skipped);
        let len = limit.min(stripe_size.saturating_sub(skipped));
        Ok(Piece { len, place: Some((&stripe.volume, stripe.offset.saturating_add(within))) })
    }

    /// Calls `each` with every place that `range` has on the disks that were given: which of them, from 0, and where on it.
    pub(crate) fn each_place(&self, range: ByteRange, each: &mut dyn FnMut(usize, ByteRange)) -> Result<()> {
        range.check_within(self.volume.size)?;
        let mut at = range.offset();
        while at < range.end() {
            let piece = self.piece(at, range.end().saturating_sub(at))?;
            if let Some((volume, place)) = piece.place {
                volume.on_disk(place, piece.len)?;
                if let Some(index) = volume.index {
                    each(index, ByteRange::between(place, place.saturating_add(piece.len)));
                }
            }
            at = at.saturating_add(piece.len.max(1));
        }
        Ok(())
    }

    fn read_pieces(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let (mut left, mut at) = (buf, offset);
        while !left.is_empty() {
            let piece = self.piece(at, left.len() as u64)?;
            let Some((target, behind)) = left.split_at_mut_checked(piece.len as usize) else { break };
            match piece.place {
                Some((volume, place)) => {
                    volume.on_disk(place, piece.len)?;
                    volume.disk()?.read_at(target, place)?;
                }
                None => target.fill(0),
            }
            left = behind;
            at = at.saturating_add(piece.len);
        }
        Ok(())
    }

    fn extents_of(&self, range: ByteRange) -> Result<Extents> {
        let mut extents = Extents::starting_at(range.offset());
        for segment in &self.volume.segments {
            let whole = ByteRange::between(segment.start, segment.start.saturating_add(segment.len));
            let Some(part) = whole.intersection(range) else { continue };
            let SegmentKind::Striped { stripe_size, stripes } = &segment.kind else {
                extents.push(part.len(), ExtentKind::Hole);
                continue;
            };
            // Each disk is asked once; what it says is dealt out in pieces.
            let mut said = Vec::new();
            for stripe in stripes {
                said.push(Said::of(stripe, *stripe_size, stripes.len() as u64, segment, part)?);
            }
            let mut at = part.offset();
            while at < part.end() {
                let piece = self.piece(at, part.end().saturating_sub(at))?;
                let chunk = quotient(at.saturating_sub(segment.start), *stripe_size);
                let index = rest(chunk, stripes.len() as u64) as usize;
                if let (Some(said), Some((_, place))) = (said.get_mut(index), piece.place) {
                    said.deal(place, place.saturating_add(piece.len), &mut extents);
                }
                at = at.saturating_add(piece.len.max(1));
            }
        }
        Ok(extents)
    }
}

fn quotient(number: u64, divisor: u64) -> u64 {
    number.checked_div(divisor).unwrap_or(0)
}

fn rest(number: u64, divisor: u64) -> u64 {
    number.checked_rem(divisor).unwrap_or(0)
}

/// What a disk says of a stripe.
struct Said {
    extents: Extents,
    /// Extents up to here lie behind.
    done: usize,
}

impl Said {
    /// Of what `stripe`, one of `count`, has of `part` of `segment`.
    fn of(stripe: &Stripe, size: u64, count: u64, segment: &Segment, part: ByteRange) -> Result<Self> {
        let row = size.saturating_mul(count);
        let share = quotient(segment.len, count);
        let first = quotient(part.offset().saturating_sub(segment.start), row).saturating_mul(size);
        let last =
            part.end().saturating_sub(segment.start).div_ceil(row.max(1)).saturating_mul(size).min(share);
        // A single stripe is as long as its segment, of which only a part may be asked for.
        let (first, last) = match count {
            1 => (part.offset().saturating_sub(segment.start), part.end().saturating_sub(segment.start)),
            _ => (first, last),
        };
        let (start, end) = (stripe.offset.saturating_add(first), stripe.offset.saturating_add(last));
        let range = ByteRange::between(start, end);
        stripe.volume.on_disk(range.offset(), range.len())?;
        Ok(Self { extents: stripe.volume.disk()?.extents(range)?, done: 0 })
    }

    /// Appends what is said of the bytes from `at` to `end`, which lie behind those that were asked for before.
    fn deal(&mut self, mut at: u64, end: u64, target: &mut Extents) {
        for extent in self.extents.iter().skip(self.done) {
            let upto = extent.range.end().min(end);
            target.push(upto.saturating_sub(at), extent.kind);
            at = at.max(upto);
            if at >= end {
                break;
            }
            self.done = self.done.saturating_add(1);
        }
        // Whatever is not said may be data.
        target.push(end.saturating_sub(at), ExtentKind::Data);
    }
}

impl PhysicalVolume {
    /// Which of the disks that were given it is, from 0.
    pub(crate) fn index(&self) -> Option<usize> {
        self.index
    }

    fn disk(&self) -> Result<&std::sync::Arc<dyn BlockRead>> {
        self.disk.as_ref().ok_or_else(|| {
            let (name, uuid) = (self.name.clone(), self.uuid.clone());
            Error::invalid(LvmRule::NoPhysicalVolume { name, uuid })
        })
    }

    fn on_disk(&self, offset: u64, len: u64) -> Result<()> {
        let (size, end) = (self.disk()?.size(), offset.saturating_add(len));
        match end <= size {
            true => Ok(()),
            false => Err(Error::corrupt(LvmRule::OutsideDisk { name: self.name.clone(), end, size })),
        }
    }
}

impl BlockRead for LogicalDisk {
    fn size(&self) -> u64 {
        self.volume.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        ByteRange::new(offset, buf.len() as u64)?.check_within(self.volume.size)?;
        self.read_pieces(buf, offset).doing(|| format!("reading the logical volume {}", self.volume.name))
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.volume.size)?;
        self.extents_of(range)
            .doing(|| format!("looking where the logical volume {} has data", self.volume.name))
    }
}
