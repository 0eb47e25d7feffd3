//! What writes a disk block by block: a block gets its place with its first byte that is not zero.
//!
//! ```text
//! pieces ─► the block they are in ─► a place at the end of the file, once ─► written where they belong
//!                                                                 end: tables, headers
//! ```
//!
//! Zeroes within a block stay holes of the file. What identifies the image is made of its content: the same disk gives
//! the same file.

use crc::{CRC_64_XZ, Crc, Table};

use crate::block::{BlockWrite, ByteRange};
use crate::convert::{Encoder, Piece, Sink};
use crate::error::{Error, Result};

/// The shortest run of zeroes that stays a hole: a block of most filesystems.
const UNIT: u64 = 4096;
/// A file grows by a quarter, and so much, at a time.
const GROWTH: u64 = 64 << 20;
/// From so many bytes on, finding storage for a run beforehand costs less than finding it page by page.
const ROOM_LEN: u64 = 256 * 1024;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// Where a format has its blocks and tables.
pub(super) trait Layout: Send {
    /// The bytes of a block.
    fn block_size(&self) -> u64;

    /// Where the first block may lie: behind the tables.
    fn start(&self) -> u64;

    /// The place of block `index`, which is written for the first time, in a file that ends at `end`: where its bytes
    /// begin, and the file's new end. Blocks come in ascending order.
    fn place(&mut self, index: u64, end: u64, file: &mut Growing<'_>) -> Result<(u64, u64)>;

    /// Writes all tables and headers; the file's end, if that is not `end`. `identity` is of the content.
    fn finish(&mut self, end: u64, identity: u64, file: &mut Growing<'_>) -> Result<u64>;
}

/// A file that is made longer before something is written behind its end.
pub(super) struct Growing<'a> {
    file: &'a dyn BlockWrite,
    size: &'a mut u64,
}

impl Growing<'_> {
    /// Writes `bytes` at `offset`.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.reach(offset.saturating_add(bytes.len() as u64))?;
        self.file.write_at(bytes, offset)
    }

    /// Makes the file at least so long.
    fn reach(&mut self, end: u64) -> Result<()> {
        if end > *self.size {
            let size = end.saturating_add(end / 4).saturating_add(GROWTH);
            self.file.resize(size)?;
            *self.size = size;
        }
        Ok(())
    }
}

/// Writes a disk into a new file of a format that has blocks.
pub(super) struct BlockSink<D, L> {
    file: D,
    layout: L,
    size: u64,
    end: u64,
    /// The block that is being written, and where it lies.
    current: Option<(u64, u64)>,
    content: crc::Digest<'static, u64, Table<16>>,
}

impl<D: BlockWrite, L: Layout> BlockSink<D, L> {
    /// Into `file`, which is empty.
    pub(super) fn new(file: D, layout: L) -> Result<Self> {
        if file.size() > 0 {
            return Err(Error::unsupported(
                "images of this format are written into files, which are empty first",
            ));
        }
        let end = layout.start();
        Ok(Self { file, layout, size: 0, end, current: None, content: CRC.digest() })
    }

    fn put_plain(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.content.update(&offset.to_le_bytes());
        self.content.update(bytes);
        let block_size = self.layout.block_size();
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let index = at / block_size;
            let in_block = at % block_size;
            let mut file = Growing { file: &self.file, size: &mut self.size };
            let host = match self.current {
                Some((current, host)) if current == index => host,
                _ => {
                    let (host, end) = self.layout.place(index, self.end, &mut file)?;
                    self.end = end;
                    self.current = Some((index, host));
                    host
                }
            };
            let len = (block_size - in_block).min(rest.len() as u64);
            let (part, behind) = rest.split_at(len as usize);
            let place = host + in_block;
            file.reach(place + len)?;
            if len >= ROOM_LEN {
                self.file.make_room(ByteRange::between(place, place + len));
            }
            self.file.write_at(part, place)?;
            at += len;
            rest = behind;
        }
        Ok(())
    }
}

impl<D: BlockWrite, L: Layout> Sink for BlockSink<D, L> {
    fn unit_size(&self) -> u64 {
        UNIT
    }

    fn encoder(&self) -> Result<Option<Box<dyn Encoder>>> {
        Ok(None)
    }

    fn put(&mut self, range: ByteRange, piece: Piece<'_>) -> Result<()> {
        match piece {
            Piece::Zero | Piece::Unchanged => Ok(()),
            Piece::Plain(bytes) => self.put_plain(range.offset(), bytes),
            Piece::Compressed(_) => unreachable!("there is no encoder"),
        }
    }

    fn finish(&mut self) -> Result<()> {
        let identity = self.content.clone().finalize();
        let mut file = Growing { file: &self.file, size: &mut self.size };
        let end = self.layout.finish(self.end, identity, &mut file)?;
        self.file.resize(end)
    }
}

/// A UUID of `identity` and of what it is for: version 8, RFC 9562, section 5.8.
pub(super) fn uuid(identity: u64, what: &str) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(identity.to_be_bytes()).chain_update(what).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    *uuid::Builder::from_custom_bytes(bytes).as_uuid().as_bytes()
}
