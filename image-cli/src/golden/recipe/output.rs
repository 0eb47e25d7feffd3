//! What a recipe says of the images that are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use crate::size::Size;

/// What is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, default, extend("allOf" = schema::levels()))]
pub struct Output {
    /// The images.
    #[schemars(schema_with = "schema::formats")]
    pub formats: Vec<OutputFormat>,
    /// How a qcow2's clusters are packed.
    pub compression: Compression,
    /// How hard, from 1 (fast) to 9 (small) for deflate, to 19 for zstd; default: the codec's own.
    #[schemars(with = "u8", range(min = 1, max = 19))]
    pub level: Option<u8>,
    /// A qcow2's cluster size: a power of two from 512 to 2 MiB.
    #[schemars(schema_with = "schema::cluster_size")]
    pub cluster_size: Size,
    /// The memory an instance needs, in MiB.
    #[schemars(range(max = 16777216))]
    pub min_ram_mib: u32,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            formats: vec![OutputFormat::Qcow2],
            compression: Compression::Deflate,
            level: None,
            cluster_size: Size(64 << 10),
            min_ram_mib: 512,
        }
    }
}

/// A format that a build writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OutputFormat {
    /// qcow2.
    Qcow2,
    /// Raw, sparse.
    Raw,
}

/// How a qcow2's clusters are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// With deflate, which every reader knows.
    Deflate,
    /// With zstd: faster; QEMU reads it from 5.1 on.
    Zstd,
}
