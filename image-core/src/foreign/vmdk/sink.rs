//! New VMDKs: monolithicSparse, and streamOptimized, which vSphere, Glance and VirtualBox import.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "these are numbers of a new image, whose size was looked at, and none that anybody else wrote"
)]

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use super::super::field::{blocks_of, put};
use super::super::sink::{Growing, Layout};
use super::SECTOR;
use super::descriptor;
use super::sparse::{DEFLATE, DIRECTORY_AT_END, MAGIC, MARKER_LEN, NEWLINES, flag};
use crate::block::{BlockWrite, ByteRange};
use crate::convert::{Encoder, Piece, Sink};
use crate::error::{Doing, Error, Result};

/// The bytes of a grain: VMware makes no others.
const GRAIN: u64 = 64 * 1024;
/// Entries of a grain table, and its bytes.
const TABLE_COUNT: u64 = 512;
const TABLE_LEN: u64 = 4 * TABLE_COUNT;
/// The bytes of the disk that a table finds grains of.
const COVERS: u64 = GRAIN * TABLE_COUNT;
/// Behind the header.
const DESCRIPTOR_OFFSET: u64 = SECTOR;
/// Room for the descriptor.
const DESCRIPTOR_LEN: u64 = 20 * SECTOR;
/// What an image is called whose name is not known.
const NAMELESS: &str = "disk.vmdk";

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// The fields of a header in which images differ.
struct Fields {
    version: u32,
    flags: u32,
    /// In bytes, as the following.
    size: u64,
    descriptor: u64,
    second: u64,
    directory: u64,
    overhead: u64,
    compression: u16,
}

impl Fields {
    fn to_bytes(&self) -> Vec<u8> {
        let sectors = |bytes: u64| if bytes == DIRECTORY_AT_END { bytes } else { bytes / SECTOR };
        let mut header = vec![0; SECTOR as usize];
        put(&mut header, 0, MAGIC);
        put(&mut header, 4, &self.version.to_le_bytes());
        put(&mut header, 8, &self.flags.to_le_bytes());
        let descriptor_len = if self.descriptor == 0 { 0 } else { DESCRIPTOR_LEN };
        for (at, bytes) in
            [(12, self.size), (20, GRAIN), (28, self.descriptor), (36, descriptor_len), (48, self.second)]
        {
            put(&mut header, at, &sectors(bytes).to_le_bytes());
        }
        put(&mut header, 44, &(TABLE_COUNT as u32).to_le_bytes());
        put(&mut header, 56, &sectors(self.directory).to_le_bytes());
        put(&mut header, 64, &sectors(self.overhead).to_le_bytes());
        put(&mut header, 73, &NEWLINES);
        put(&mut header, 77, &self.compression.to_le_bytes());
        header
    }
}

/// A content ID of `identity`: two numbers mean that there is none.
fn content_id(identity: u32) -> u32 {
    if identity >= u32::MAX - 1 { 1 } else { identity }
}

/// The descriptor, which ends with zeroes.
fn descriptor(create_type: &str, identity: u32, name: &str, size: u64) -> Result<Vec<u8>> {
    let name = if name.is_empty() { NAMELESS } else { name };
    let mut text = descriptor::written(create_type, content_id(identity), name, size).into_bytes();
    if text.len() as u64 >= DESCRIPTOR_LEN {
        return Err(Error::invalid("the name is too long for a descriptor"));
    }
    text.resize(DESCRIPTOR_LEN as usize, 0);
    Ok(text)
}

/// Grains where they come, tables and directories (twice) before them.
///
/// ```text
/// │ header │ descriptor │ second directory │ its tables │ directory │ tables │ grains
/// ```
pub(in super::super) struct SparseLayout {
    size: u64,
    name: String,
    /// The table that is being filled, and its entries.
    table: (u64, Vec<u8>),
}

impl SparseLayout {
    pub(in super::super) fn new(size: u64, name: &str) -> Self {
        Self { size, name: name.to_owned(), table: (0, vec![0; TABLE_LEN as usize]) }
    }

    fn tables(&self) -> u64 {
        blocks_of(self.size, COVERS)
    }

    /// The bytes of a directory.
    fn directory_len(&self) -> u64 {
        (4 * self.tables()).next_multiple_of(SECTOR)
    }

    /// Where the two directories are; tables follow each.
    fn directories(&self) -> [u64; 2] {
        let first = DESCRIPTOR_OFFSET + DESCRIPTOR_LEN;
        [first, first + self.directory_len() + self.tables() * TABLE_LEN]
    }

    /// Writes the table that is full, to both places.
    fn write_table(&mut self, file: &mut Growing<'_>) -> Result<()> {
        let (index, bytes) = &self.table;
        if bytes.iter().any(|byte| *byte != 0) {
            for directory in self.directories() {
                file.write(bytes, directory + self.directory_len() + index * TABLE_LEN)?;
            }
        }
        Ok(())
    }
}

impl Layout for SparseLayout {
    fn block_size(&self) -> u64 {
        GRAIN
    }

    fn start(&self) -> u64 {
        let [first, second] = self.directories();
        // As long as the first one and its tables.
        (second + (second - first)).next_multiple_of(GRAIN)
    }

    fn place(&mut self, index: u64, end: u64, file: &mut Growing<'_>) -> Result<(u64, u64)> {
        let (table, entry) = (index / TABLE_COUNT, (index % TABLE_COUNT) as usize);
        if table != self.table.0 {
            self.write_table(file)?;
            self.table = (table, vec![0; TABLE_LEN as usize]);
        }
        let sector = u32::try_from(end / SECTOR).doing_too_large()?;
        put(&mut self.table.1, 4 * entry, &sector.to_le_bytes());
        Ok((end, end + GRAIN))
    }

    fn finish(&mut self, end: u64, identity: u64, file: &mut Growing<'_>) -> Result<u64> {
        self.write_table(file)?;
        let directories = self.directories();
        for directory in directories {
            let tables = directory + self.directory_len();
            let entry = |index: u64| ((tables + index * TABLE_LEN) / SECTOR) as u32;
            let entries: Vec<u8> = (0..self.tables()).flat_map(|index| entry(index).to_le_bytes()).collect();
            file.write(&entries, directory)?;
        }
        let identity = (identity >> 32) as u32 ^ identity as u32;
        file.write(&descriptor("monolithicSparse", identity, &self.name, self.size)?, DESCRIPTOR_OFFSET)?;
        let [second, directory] = directories;
        let fields = Fields {
            version: 1,
            flags: flag::NEWLINE_TEST | flag::REDUNDANT,
            size: self.size,
            descriptor: DESCRIPTOR_OFFSET,
            second,
            directory,
            overhead: self.start(),
            compression: 0,
        };
        file.write(&fields.to_bytes(), 0)?;
        Ok(end)
    }
}

/// What a marker without a grain is of ("Markers").
#[derive(Debug, Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// Compressed grains, each behind a marker; tables when they are full, the directory and a footer at the end.
///
/// ```text
/// │ header │ descriptor │ … │ grain │ grain │ … │ table │ grain │ … │ directory │ footer │ end │
/// ```
pub(in super::super) struct StreamSink<D> {
    file: D,
    size: u64,
    name: String,
    /// Where the next one goes.
    at: u64,
    /// What is not written yet: it ends at `at`.
    pending: Vec<u8>,
    /// The table that is being filled, and its entries.
    table: (u64, Vec<u8>),
    directory: Vec<u8>,
    content: crc::Digest<'static, u32, Table<16>>,
    level: libdeflater::CompressionLvl,
}

/// So many bytes are written at a time.
const WRITE_LEN: usize = 1 << 20;

impl<D: BlockWrite> StreamSink<D> {
    /// A disk of `size` bytes, called `name`, into `file`, which is empty.
    pub(in super::super) fn new(file: D, size: u64, name: &str, level: Option<u8>) -> Result<Self> {
        if file.size() > 0 {
            return Err(Error::unsupported(
                "images of this format are written into files, which are empty first",
            ));
        }
        Ok(Self {
            file,
            size,
            name: name.to_owned(),
            // What precedes the grains is as long as one.
            at: GRAIN,
            pending: Vec::new(),
            table: (0, vec![0; TABLE_LEN as usize]),
            directory: vec![0; 4 * blocks_of(size, COVERS) as usize],
            content: CRC.digest(),
            level: level
                .and_then(|level| libdeflater::CompressionLvl::new(level.into()).ok())
                .unwrap_or_default(),
        })
    }

    /// Appends `parts`, filled up to a sector.
    fn append(&mut self, parts: &[&[u8]]) -> Result<()> {
        let before = self.pending.len();
        parts.iter().for_each(|part| self.pending.extend_from_slice(part));
        let len = (self.pending.len() - before).next_multiple_of(SECTOR as usize);
        self.pending.resize(before + len, 0);
        self.at += len as u64;
        if self.pending.len() >= WRITE_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let start = self.at - self.pending.len() as u64;
        if self.file.size() < self.at {
            self.file.resize(self.at)?;
        }
        self.file.write_at(&self.pending, start)?;
        self.pending.clear();
        Ok(())
    }

    fn sector(&self) -> Result<u32> {
        u32::try_from(self.at / SECTOR).doing_too_large()
    }

    fn append_marker(&mut self, marker: Marker, sectors: u64) -> Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&sectors.to_le_bytes());
        bytes[12..].copy_from_slice(&(marker as u32).to_le_bytes());
        self.append(&[&bytes])
    }

    /// Appends the table that is full, if anything is in it.
    fn append_table(&mut self) -> Result<()> {
        let (index, bytes) = std::mem::take(&mut self.table);
        if bytes.iter().any(|byte| *byte != 0) {
            self.append_marker(Marker::Table, TABLE_LEN / SECTOR)?;
            let sector = self.sector()?;
            put(&mut self.directory, 4 * index as usize, &sector.to_le_bytes());
            self.append(&[&bytes])?;
        }
        Ok(())
    }

    fn put_grain(&mut self, offset: u64, compressed: &[u8]) -> Result<()> {
        let (grain, lba) = (offset / GRAIN, offset / SECTOR);
        let (table, entry) = (grain / TABLE_COUNT, (grain % TABLE_COUNT) as usize);
        if table != self.table.0 || self.table.1.is_empty() {
            self.append_table()?;
            self.table = (table, vec![0; TABLE_LEN as usize]);
        }
        let sector = self.sector()?;
        put(&mut self.table.1, 4 * entry, &sector.to_le_bytes());
        let mut marker = [0; MARKER_LEN as usize];
        marker[..8].copy_from_slice(&lba.to_le_bytes());
        marker[8..].copy_from_slice(&(compressed.len() as u32).to_le_bytes());
        self.content.update(&marker);
        self.content.update(compressed);
        self.append(&[&marker, compressed])
    }

    fn fields(&self, directory: u64) -> Fields {
        Fields {
            // An older one is "too old" to ESXi.
            version: 3,
            flags: flag::NEWLINE_TEST | flag::COMPRESSED | flag::MARKERS,
            size: self.size,
            descriptor: DESCRIPTOR_OFFSET,
            second: 0,
            directory,
            overhead: GRAIN,
            compression: DEFLATE,
        }
    }
}

impl<D: BlockWrite> Sink for StreamSink<D> {
    fn unit_size(&self) -> u64 {
        GRAIN
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(Some(Box::new(GrainEncoder(libdeflater::Compressor::new(self.level)))))
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        match piece {
            Piece::Zero | Piece::Unchanged => Ok(()),
            Piece::Compressed(bytes) => self.put_grain(range.offset(), bytes),
            Piece::Plain(_) => unreachable!("every grain is compressed"),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.append_table()?;
        let directory = std::mem::take(&mut self.directory);
        let sectors = (directory.len() as u64).div_ceil(SECTOR);
        self.append_marker(Marker::Directory, sectors)?;
        let directory_at = self.at;
        self.append(&[&directory])?;
        self.append_marker(Marker::Footer, 1)?;
        let footer = self.fields(directory_at).to_bytes();
        self.append(&[&footer])?;
        self.append_marker(Marker::EndOfStream, 0)?;
        self.flush()?;
        let identity = self.content.clone().finalize();
        let text = descriptor("streamOptimized", identity, &self.name, self.size)?;
        self.file.write_at(&text, DESCRIPTOR_OFFSET)?;
        self.file.write_at(&self.fields(DIRECTORY_AT_END).to_bytes(), 0)
    }
}

/// Packs grains as zlib streams (RFC 1950).
struct GrainEncoder(libdeflater::Compressor);

impl Encoder for GrainEncoder {
    /// Every grain: one that does not get shorter, too, for there are no others in such a file.
    fn encode(&mut self, unit: &[u8], compressed: &mut Vec<u8>) -> Result<bool> {
        let start = compressed.len();
        let room = self.0.zlib_compress_bound(unit.len());
        compressed.resize(start + room, 0);
        let len = self
            .0
            .zlib_compress(unit, &mut compressed[start..])
            .map_err(|error| Error::invalid(error.to_string()).doing("compressing a grain"))?;
        compressed.truncate(start + len);
        Ok(true)
    }
}

/// Places that a table has no room for.
trait TooLarge<T> {
    fn doing_too_large(self) -> Result<T>;
}

impl<T> TooLarge<T> for Result<T, std::num::TryFromIntError> {
    fn doing_too_large(self) -> Result<T> {
        self.map_err(Error::invalid).doing(|| "a VMDK file has no more than 2 TiB")
    }
}
