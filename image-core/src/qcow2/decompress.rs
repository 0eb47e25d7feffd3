//! Compressed clusters → bytes, exactly one cluster at a time, deflate or zstd.
//!
//! ```text
//! sectors ─┬─► libdeflate, one shot ── exactly a cluster? ─► done          (every image QEMU writes)
//!          │        └─ no ─► streaming inflate, until the cluster is full
//!          └─► zstd, frame by frame ── exactly a cluster? ─► done
//!                   └─ no ─► streaming zstd, until the cluster is full
//! ```
//!
//! The bytes handed in end at a sector, the data may end earlier; a stream may go on past the cluster, or stop without
//! its end mark once the cluster is full; a cluster may be several zstd frames. Less than a cluster is an error.
//! Contexts and buffers live as long as their thread.
//! Section: "Compressed Clusters Descriptor".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress};
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::header::Compression;

/// The largest window that a zstd frame may ask memory for: 2^24 bytes, eight clusters of the largest size.
const MAX_ZSTD_WINDOW_LOG: u32 = 24;

/// Contexts and buffers of one thread.
pub(super) struct Decompressor {
    codecs: Codecs,
    compressed: Vec<u8>,
}

struct Codecs {
    deflate: libdeflater::Decompressor,
    inflate: Decompress,
    zstd: DCtx<'static>,
}

thread_local! {
    static DECODER: RefCell<Decompressor> = RefCell::new(Decompressor {
        codecs: Codecs {
            deflate: libdeflater::Decompressor::new(),
            inflate: Decompress::new(false),
            zstd: DCtx::create(),
        },
        compressed: Vec::new(),
    });
}

impl Decompressor {
    /// Does `work` with this thread's decoder. It must not read from a disk, which may be an image itself.
    pub(super) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        DECODER.with_borrow_mut(work)
    }

    /// This thread's buffer for compressed data, at least `len` bytes; to be handed back to [`decode`](Self::decode).
    pub(super) fn compressed_buffer(len: usize) -> Vec<u8> {
        let mut compressed = Self::with(|decoder| std::mem::take(&mut decoder.compressed));
        if compressed.len() < len {
            compressed.resize(len, 0);
        }
        compressed
    }

    /// Decodes the first `len` bytes of `compressed` into `out`, a whole cluster.
    ///
    /// # Errors
    /// Why the data are not a cluster.
    pub(super) fn decode(
        &mut self,
        compression: Compression,
        compressed: Vec<u8>,
        len: usize,
        out: &mut [u8],
    ) -> Result<(), String> {
        let done = self.codecs.decode(compression, compressed.get(..len).unwrap_or_default(), out);
        self.compressed = compressed;
        done
    }
}

impl Codecs {
    fn decode(&mut self, compression: Compression, compressed: &[u8], out: &mut [u8]) -> Result<(), String> {
        match compression {
            Compression::Deflate => self.inflate(compressed, out),
            Compression::Zstd => self.unzstd(compressed, out),
        }
    }

    fn inflate(&mut self, compressed: &[u8], out: &mut [u8]) -> Result<(), String> {
        if self.deflate.deflate_decompress(compressed, out) == Ok(out.len()) {
            return Ok(());
        }
        self.inflate.reset(false);
        loop {
            let (read, written) = (self.inflate.total_in() as usize, self.inflate.total_out() as usize);
            let (rest, room) =
                (compressed.get(read..).unwrap_or_default(), out.get_mut(written..).unwrap_or_default());
            if room.is_empty() {
                return Ok(());
            }
            let done = self.inflate.decompress(rest, room, FlushDecompress::None);
            let progress =
                self.inflate.total_out() as usize > written || self.inflate.total_in() as usize > read;
            match done {
                Err(error) => return Err(error.to_string()),
                Ok(status) if status == flate2::Status::StreamEnd || !progress => {
                    return self.enough(self.inflate.total_out() as usize, out.len());
                }
                Ok(_) => {}
            }
        }
    }

    fn unzstd(&mut self, compressed: &[u8], out: &mut [u8]) -> Result<(), String> {
        if self.unzstd_frames(compressed, out) == Some(out.len()) {
            return Ok(());
        }
        let named = |code| zstd_safe::get_error_name(code).to_owned();
        self.zstd.reset(ResetDirective::SessionAndParameters).map_err(named)?;
        self.zstd.set_parameter(DParameter::WindowLogMax(MAX_ZSTD_WINDOW_LOG)).map_err(named)?;
        let mut input = InBuffer::around(compressed);
        let out_len = out.len();
        let mut output = OutBuffer::around(out);
        while output.pos() < out_len {
            let before = (input.pos, output.pos());
            self.zstd.decompress_stream(&mut output, &mut input).map_err(named)?;
            if (input.pos, output.pos()) == before {
                break;
            }
        }
        let written = output.pos();
        self.enough(written, out_len)
    }

    /// Whole frames one after the other; the bytes that came out, if all of them are sound.
    fn unzstd_frames(&mut self, compressed: &[u8], out: &mut [u8]) -> Option<usize> {
        let (mut rest, mut written) = (compressed, 0_usize);
        while written < out.len() {
            let (frame, behind) = rest.split_at_checked(zstd_safe::find_frame_compressed_size(rest).ok()?)?;
            written = written.checked_add(self.zstd.decompress(out.get_mut(written..)?, frame).ok()?)?;
            rest = behind;
        }
        Some(written)
    }

    fn enough(&self, written: usize, wanted: usize) -> Result<(), String> {
        if written == wanted {
            return Ok(());
        }
        Err(format!("it ends after {written:#x} of {wanted:#x} bytes"))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use std::io::Write;

    use super::*;

    const CLUSTER: usize = 65536;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * at / 977) as u8).collect()
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(compression: Compression, compressed: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = vec![0xaa; CLUSTER];
        let mut buffer = Decompressor::compressed_buffer(compressed.len());
        buffer[..compressed.len()].copy_from_slice(compressed);
        Decompressor::with(|decoder| decoder.decode(compression, buffer, compressed.len(), &mut out))
            .map(|()| out)
    }

    #[test]
    fn deflate_streams_of_every_shape() {
        let bytes = content(CLUSTER);
        let exact = deflated(&bytes);
        assert_eq!(decode(Compression::Deflate, &exact).unwrap(), bytes);
        let padded = [exact.as_slice(), &[0x55; 700]].concat();
        assert_eq!(decode(Compression::Deflate, &padded).unwrap(), bytes);
        for longer in [1, 4096, CLUSTER] {
            let long = deflated(&content(CLUSTER + longer));
            assert_eq!(decode(Compression::Deflate, &long).unwrap(), bytes, "{longer} more");
        }
        // A stored block may run past the cluster too.
        let mut stored = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::none());
        stored.write_all(&content(CLUSTER + 1000)).unwrap();
        assert_eq!(decode(Compression::Deflate, &stored.finish().unwrap()).unwrap(), bytes);
        // Flushed but never ended: the end mark is missing.
        let mut open = flate2::Compress::new(flate2::Compression::new(6), false);
        let mut compressed = Vec::with_capacity(2 * CLUSTER);
        open.compress_vec(&bytes, &mut compressed, flate2::FlushCompress::Sync).unwrap();
        assert_eq!(decode(Compression::Deflate, &compressed).unwrap(), bytes);
    }

    #[test]
    fn too_little_or_nonsense_is_an_error() {
        let short = decode(Compression::Deflate, &deflated(&content(CLUSTER - 1))).unwrap_err();
        assert_eq!(short, "it ends after 0xffff of 0x10000 bytes");
        let exact = deflated(&content(CLUSTER));
        assert!(decode(Compression::Deflate, &exact[..exact.len() / 2]).is_err());
        assert!(decode(Compression::Deflate, &[0xff; 512]).is_err());
        assert!(decode(Compression::Deflate, &[]).is_err());
        assert!(decode(Compression::Zstd, &[]).is_err());
        assert!(decode(Compression::Zstd, &[0x11; 512]).is_err());
        let frame = zstd::bulk::compress(&content(CLUSTER), 3).unwrap();
        assert!(decode(Compression::Zstd, &frame[..frame.len() - 1]).is_err());
        let short = decode(Compression::Zstd, &zstd::bulk::compress(&content(9), 3).unwrap()).unwrap_err();
        assert_eq!(short, "it ends after 0x9 of 0x10000 bytes");
    }

    #[test]
    fn zstd_frames_of_every_shape() {
        let bytes = content(CLUSTER);
        let frame = zstd::bulk::compress(&bytes, 3).unwrap();
        assert_eq!(decode(Compression::Zstd, &frame).unwrap(), bytes);
        let padded = [frame.as_slice(), &[0; 300]].concat();
        assert_eq!(decode(Compression::Zstd, &padded).unwrap(), bytes);
        let (one, two) = bytes.split_at(1000);
        let several = [zstd::bulk::compress(one, 3).unwrap(), zstd::bulk::compress(two, 1).unwrap()].concat();
        assert_eq!(decode(Compression::Zstd, &several).unwrap(), bytes);
        let long = zstd::bulk::compress(&content(2 * CLUSTER), 3).unwrap();
        assert_eq!(decode(Compression::Zstd, &long).unwrap(), bytes);
    }
}
