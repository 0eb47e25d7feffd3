//! Compressing one cluster, by deflate or zstd.
//!
//! Deflate is raw (RFC 1951, no zlib header) and never looks back further than 4096 bytes: the window QEMU writes with,
//! and all that several other readers have. zstd is one frame with its content size. Section: "Compressed Clusters".

use std::fmt;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as NO_ROOM;
use zstd::zstd_safe::{CCtx, CParameter, get_error_name, is_error_kind};

use super::header::Compression;
use crate::deflate;
use crate::error::{Error, Result};

/// How clusters are compressed: the method and the effort.
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
pub(super) enum Compressor {
    Deflate(deflate::Encoder),
    Zstd {
        context: CCtx<'static>,
        /// Room for what is shorter than a cluster.
        room: Vec<u8>,
    },
}

impl Compressor {
    /// For clusters of `cluster_size` bytes.
    pub(super) fn new(codec: Codec, cluster_size: usize) -> Result<Self> {
        let level = codec.level();
        match codec.compression() {
            Compression::Deflate => {
                let level = deflate::Level::new(level).unwrap_or_default();
                Ok(Self::Deflate(deflate::Encoder::new(level)))
            }
            Compression::Zstd => {
                let mut context = CCtx::create();
                context
                    .set_parameter(CParameter::CompressionLevel(i32::from(level)))
                    .map_err(|code| zstd_failed(code).doing("preparing zstd"))?;
                Ok(Self::Zstd { context, room: vec![0; cluster_size - 1] })
            }
        }
    }

    /// Appends what stands for `unit`, a whole cluster, to `compressed`; `false`, and `compressed` as it was, if that is no shorter.
    pub(super) fn compress(&mut self, unit: &[u8], compressed: &mut Vec<u8>) -> Result<bool> {
        match self {
            Self::Deflate(encoder) => Ok(encoder.encode(unit, compressed, unit.len() - 1)),
            Self::Zstd { context, room } => match context.compress2(&mut room[..], unit) {
                Ok(len) => {
                    compressed.extend_from_slice(&room[..len]);
                    Ok(true)
                }
                // With more room it would copy what it cannot compress, which then is thrown away.
                Err(code) if is_error_kind(code, NO_ROOM) => Ok(false),
                Err(code) => Err(zstd_failed(code).doing("compressing by zstd")),
            },
        }
    }
}

fn zstd_failed(code: usize) -> Error {
    Error::invalid(get_error_name(code))
}
