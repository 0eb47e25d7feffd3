//! Packing one cluster, by deflate or zstd.
//!
//! Deflate is raw (RFC 1951, no zlib header) and never looks back further than 4096 bytes: the window QEMU writes with,
//! and all that several other readers have. zstd is one frame with its content size. Section: "Compressed Clusters".

use std::fmt;

use super::header::Compression;
use crate::error::{Doing, Error, Result};

/// log2 of the furthest distance in a deflate stream.
const DEFLATE_WINDOW_BITS: u8 = 12;

/// How compressed clusters are packed: the method and the effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    compression: Compression,
    level: u8,
}

impl Codec {
    /// `compression` with an effort of `level`, or the default one: 2 to 9 for deflate (6), 1 to 22 for zstd (3).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other levels.
    pub fn new(compression: Compression, level: Option<u8>) -> Result<Self> {
        let (levels, default) = match compression {
            Compression::Deflate => (2..=9, 6),
            Compression::Zstd => (1..=22, 3),
        };
        let level = level.unwrap_or(default);
        if !levels.contains(&level) {
            let (least, most) = levels.into_inner();
            return Err(Error::invalid(format!("{compression} has levels {least} to {most}, not {level}")));
        }
        Ok(Self { compression, level })
    }

    /// The method.
    pub fn compression(self) -> Compression {
        self.compression
    }

    /// The effort.
    pub fn level(self) -> u8 {
        self.level
    }
}

/// Deflate, at the default level.
impl Default for Codec {
    fn default() -> Self {
        Self { compression: Compression::Deflate, level: 6 }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        })
    }
}

/// Packs clusters, one after the other, with scratch space that is used again.
pub(super) struct Packer {
    method: Method,
    scratch: Vec<u8>,
}

enum Method {
    Deflate(flate2::Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    /// For clusters of `cluster_size` bytes.
    pub(super) fn new(codec: Codec, cluster_size: usize) -> Result<Self> {
        let level = codec.level();
        Ok(match codec.compression() {
            Compression::Deflate => {
                let level = flate2::Compression::new(u32::from(level));
                let method = flate2::Compress::new_with_window_bits(level, false, DEFLATE_WINDOW_BITS);
                // zlib-rs 0.6 panics when it runs out of room: enough for stored blocks, however many.
                let scratch = Vec::with_capacity(cluster_size + cluster_size / 8 + 1024);
                Self { method: Method::Deflate(method), scratch }
            }
            Compression::Zstd => {
                let method = zstd::bulk::Compressor::new(i32::from(level)).doing(|| "preparing zstd")?;
                let scratch = Vec::with_capacity(zstd::zstd_safe::compress_bound(cluster_size));
                Self { method: Method::Zstd(method), scratch }
            }
        })
    }

    /// Appends what stands for `unit`, a whole cluster, to `packed`; `false`, and `packed` as it was, if that is no shorter.
    pub(super) fn pack(&mut self, unit: &[u8], packed: &mut Vec<u8>) -> Result<bool> {
        self.scratch.clear();
        match &mut self.method {
            Method::Deflate(method) => {
                method.reset();
                let status = method
                    .compress_vec(unit, &mut self.scratch, flate2::FlushCompress::Finish)
                    .map_err(|error| Error::from(std::io::Error::other(error)))?;
                if status != flate2::Status::StreamEnd {
                    return Ok(false);
                }
            }
            Method::Zstd(method) => {
                method.compress_to_buffer(unit, &mut self.scratch).doing(|| "compressing by zstd")?;
            }
        }
        if self.scratch.len() >= unit.len() {
            return Ok(false);
        }
        packed.extend_from_slice(&self.scratch);
        Ok(true)
    }
}
