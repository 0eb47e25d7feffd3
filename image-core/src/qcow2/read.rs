//! An image as a disk: guest range → runs → bytes, through the backing chain.
//!
//! ```text
//! read_at ─┐                          ┌─ nothing there ─► backing file, then zeroes
//!          ├─► Runs: neighbours with ─┼─ zero ──────────► zeroes
//! extents ─┘   one treatment joined   ├─ plain ─────────► one read for all that is contiguous in the file
//!                                     └─ compressed ────► decoded, one cluster at a time
//! ```

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::corrupt::Corrupt;
use super::decompress::Decompressor;
use super::entry::CompressedPlace;
use super::image::Qcow2;
use super::map;
use super::offset::{GuestOffset, HostOffset};
use super::prefetch;
use super::runs::{Run, RunKind};
use crate::block::{self, BlockRead, ByteRange, ExtentKind, Extents, FileRange, MapEntry};
use crate::error::{Doing, Result};

impl BlockRead for Qcow2 {
    fn size(&self) -> u64 {
        self.virtual_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64)?;
        range.check_within(self.size())?;
        let mut rest = buf;
        for run in self.runs(range) {
            let run = run?;
            let (part, behind) = rest.split_at_mut(run.range.len() as usize);
            self.read_run(part, run)?;
            rest = behind;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        let mut extents = Extents::starting_at(range.offset());
        for run in self.runs(range) {
            let run = run?;
            let end = run.range.end();
            match run.kind {
                RunKind::Zero(_) => extents.push_until(end, ExtentKind::Zero),
                RunKind::Compressed(_) => extents.push_until(end, ExtentKind::Data),
                RunKind::Plain(host) => self.plain_extents(&mut extents, host, run.range)?,
                RunKind::Backing(_) => {
                    block::push_backing_extents(self.backing.as_deref(), run.range, &mut extents)?;
                }
            }
        }
        Ok(extents)
    }

    fn map_entries(&self, range: ByteRange) -> Result<Vec<MapEntry>> {
        range.check_within(self.size())?;
        map::map_entries(self, range)
    }

    fn prefetch(&self, range: ByteRange) {
        prefetch::prefetch(self, range);
    }

    fn file_range(&self, range: ByteRange) -> Result<Option<FileRange<'_>>> {
        range.check_within(self.size())?;
        let Some(run) = self.runs(range).next().transpose()? else { return Ok(None) };
        match run.kind {
            RunKind::Plain(host) => {
                let host = self.plain_range(GuestOffset(range.offset()), host, run.range.len())?;
                self.cluster_file().file_range(host)
            }
            RunKind::Backing(_) => match &self.backing {
                Some(backing) => match run.range.intersection(ByteRange::whole(backing.size())) {
                    Some(covered) => backing.file_range(covered).doing(|| "reading the backing file"),
                    None => Ok(None),
                },
                None => Ok(None),
            },
            RunKind::Zero(_) | RunKind::Compressed(_) => Ok(None),
        }
    }
}

impl Qcow2 {
    fn read_run(&self, buf: &mut [u8], run: Run) -> Result<()> {
        match run.kind {
            RunKind::Zero(_) => {
                buf.fill(0);
                Ok(())
            }
            RunKind::Backing(_) => self.read_backing(buf, run.range.offset()),
            RunKind::Plain(host) => self.read_plain(buf, GuestOffset(run.range.offset()), host),
            RunKind::Compressed(place) => self.read_compressed(buf, GuestOffset(run.range.offset()), place),
        }
    }

    fn read_backing(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        block::read_backing(self.backing.as_deref(), buf, offset).doing(|| "reading the backing file")
    }

    fn read_plain(&self, buf: &mut [u8], guest: GuestOffset, host: HostOffset) -> Result<()> {
        self.plain_range(guest, host, buf.len() as u64)?;
        self.cluster_file().read_at(buf, host.0)
    }

    fn read_compressed(&self, buf: &mut [u8], guest: GuestOffset, place: CompressedPlace) -> Result<()> {
        let (geometry, host) = (self.geometry(), place.offset);
        let len = self.compressed_range(guest, place)?.len() as usize;
        let is_whole = buf.len() as u64 == geometry.cluster_size();
        let key = self.compressed_key(place);
        let from = geometry.in_cluster(guest.0) as usize;
        if !is_whole && let Some(cluster) = self.decompressed.find(key) {
            copy_part(buf, &cluster, from);
            return Ok(());
        }
        let mut compressed = Decompressor::compressed_buffer(len);
        self.file.read_at(compressed.get_mut(..len).unwrap_or_default(), host.0)?;
        let decode = |compressed, out: &mut [u8]| {
            Decompressor::with(|decoder| decoder.decode(self.compression, compressed, len, out)).map_err(
                |why| {
                    let guest = GuestOffset(geometry.cluster_start(guest.0));
                    Corrupt::CompressedData { guest, host, len: place.len, why }.into()
                },
            )
        };
        if is_whole {
            return decode(compressed, buf);
        }
        let mut cluster = vec![0; geometry.cluster_size() as usize];
        decode(compressed, &mut cluster)?;
        copy_part(buf, &cluster, from);
        // The next one to ask mostly asks for what is beside it.
        self.decompressed.put(key, cluster.into());
        Ok(())
    }
    /// Allocated clusters may be holes of the file they are in, after a preallocation or a discard.
    fn plain_extents(&self, extents: &mut Extents, host: HostOffset, range: ByteRange) -> Result<()> {
        let file = self.cluster_file();
        block::push_stored_extents(file, ByteRange::new(host.0, range.len())?, extents)?;
        // Past the end of the file, reading says what is wrong.
        extents.push_until(range.end(), ExtentKind::Data);
        Ok(())
    }
}

/// Fills `buf` from `cluster`, from byte `from` of it on, where both are as long as that takes.
fn copy_part(buf: &mut [u8], cluster: &[u8], from: usize) {
    if let Some(part) = cluster.get(from..).and_then(|rest| rest.get(..buf.len())) {
        buf.copy_from_slice(part);
    }
}
