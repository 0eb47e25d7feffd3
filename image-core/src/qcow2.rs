//! The qcow2 format, versions 2 and 3: clusters, two levels of tables to find them, two levels to count them.
//!
//! ```text
//!  file in clusters of 512 B … 2 MiB
//!  ┌────────┬──────────┬────────┬──────────┬──────────┬─────────┬──────┬──────┬─ ─
//!  │ header │ refcount │refcount│ L1 table │ L2 table │ L2 table│ data │ data │ …      in any order
//!  └───┬────┴─┬──▲───┬─┴──▲─────┴─┬──▲───┬─┴──▲───┬───┴─────────┴──▲───┴──────┴─ ─
//!      ├──────│──┘   └────┘       │  │   └────┘   └────────────────┘
//!      └──────│───────────────────┘  │
//!             └ how often each cluster is used
//!
//!  guest offset ─► L1 entry ─► L2 entry ─┬─ unallocated ─► the backing file, or zeroes
//!                                        ├─ zero
//!                                        ├─ allocated ───► a cluster, or its subclusters
//!                                        └─ compressed ──► some bytes, anywhere, that decode to a cluster
//! ```
//!
//! Bytes, meaning and behaviour are three rooms: [`layout`] has every structure and bit as it is on disk, [`header`],
//! [`extension`] and [`entry`] say what they mean, the rest acts on it. [`corrupt`] has every rule that can be
//! broken. Source: QEMU, `docs/interop/qcow2.rst`; each room names its sections.
//!
//! Rules that hold across rooms:
//! - an image is hostile until shown otherwise: no size is believed before it was compared with the file;
//! - damage is an error with the guest offset, never zeroes;
//! - no other file is opened because an image names it: a backing file and a data file are handed in.

pub mod bitmap;
pub mod check;
pub mod compress;
pub mod corrupt;
mod create;
mod decompress;
mod discard;
pub mod entry;
pub mod extension;
mod feature_bits;
pub mod geometry;
pub mod header;
mod image;
pub mod layout;
mod map;
mod new_image;
mod offset;
mod preallocated;
mod prefetch;
mod read;
pub mod refcount;
pub mod repair;
mod runs;
pub mod sink;
pub mod snapshot;
mod table;
pub mod write;

pub use compress::Codec;
pub use corrupt::{Corrupt, Region, UnknownFeatures, Unsupported};
pub use entry::{CompressedPlace, EntryFormat, HostCluster, L1Entry, L2Entry, Mapping, Subclusters};
pub use geometry::Geometry;
pub use header::{Compression, Features, Header, TablePlace, Version};
pub use image::Qcow2;
pub use new_image::NewImage;
pub use offset::{GuestOffset, HostOffset};
pub use sink::Qcow2Sink;
pub use write::Qcow2Writer;
