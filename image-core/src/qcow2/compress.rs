//! Packing one cluster, by deflate or zstd.
//!
//! Deflate is raw (RFC 1951, no zlib header) and never looks back further than 4096 bytes: the window QEMU writes with,
//! and all that several other readers have. zstd is one frame with its content size. Section: "Compressed Clusters".

use std::fmt;

use super::header::Compression;
use crate::deflate;
use crate::error::{Doing, Error, Result};

/// How compressed clusters are packed: the method and the effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    compression: Compression,
    level: u8,
}

impl Codec {
    /// `compression` with an effort of `level`, or the default one: 1 to 9 for deflate (6), 1 to 22 for zstd (3).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other levels.
    pub fn new(compression: Compression, level: Option<u8>) -> Result<Self> {
        let (levels, default) = match compression {
            Compression::Deflate => (1..=9, 6),
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
    Deflate(deflate::Encoder),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    /// For clusters of `cluster_size` bytes.
    pub(super) fn new(codec: Codec, cluster_size: usize) -> Result<Self> {
        let level = codec.level();
        Ok(match codec.compression() {
            Compression::Deflate => {
                let level = deflate::Level::new(level).unwrap_or_default();
                Self { method: Method::Deflate(deflate::Encoder::new(level)), scratch: Vec::new() }
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
        let limit = unit.len() - 1;
        let method = match &mut self.method {
            Method::Deflate(method) => return Ok(method.encode(unit, packed, limit)),
            Method::Zstd(method) => method,
        };
        self.scratch.clear();
        method.compress_to_buffer(unit, &mut self.scratch).doing(|| "compressing by zstd")?;
        if self.scratch.len() > limit {
            return Ok(false);
        }
        packed.extend_from_slice(&self.scratch);
        Ok(true)
    }
}
