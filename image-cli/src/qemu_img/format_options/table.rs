//! Every option of every format that is made here, with QEMU's words about it.

use crate::qemu_img::drivers;
use crate::qemu_img::failure::Failure;

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The bytes of the disk.
    Raw,
    /// QEMU's format.
    Qcow2,
    /// A file, which is the same as raw.
    File,
    /// A block device that is there.
    Device,
}

impl Kind {
    /// The format of this name.
    pub(crate) fn parse(name: &str) -> Result<Self, Failure> {
        match name {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            "file" => Ok(Self::File),
            "host_device" => Ok(Self::Device),
            _ => Err(drivers::not_made(name)),
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::File => "file",
            Self::Device => "host_device",
        }
    }
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Size,
    Switch,
    Number,
}

/// An option.
#[derive(Debug)]
pub(super) struct OptionOfFormat {
    pub(super) name: &'static str,
    pub(super) of_type: Type,
    /// The value that is shown where none was given.
    pub(super) default: Option<&'static str>,
    pub(super) help: &'static str,
}

const fn option(name: &'static str, of_type: Type, help: &'static str) -> OptionOfFormat {
    OptionOfFormat { name, of_type, default: None, help }
}

const fn with_default(
    name: &'static str,
    of_type: Type,
    default: &'static str,
    help: &'static str,
) -> OptionOfFormat {
    OptionOfFormat { name, of_type, default: Some(default), help }
}

use Type::{Number, Size, Switch, Text};

pub(super) const OF_RAW: &[OptionOfFormat] = &[option("size", Size, "Virtual disk size")];

pub(super) const OF_DEVICE: &[OptionOfFormat] = &[
    option("size", Size, "Virtual disk size"),
    option("preallocation", Text, "Preallocation mode (allowed values: off)"),
];

pub(super) const OF_FILE: &[OptionOfFormat] = &[
    option("size", Size, "Virtual disk size"),
    option("nocow", Switch, "Turn off copy-on-write (valid only on btrfs)"),
    option("preallocation", Text, "Preallocation mode (allowed values: off, falloc, full)"),
    option("extent_size_hint", Size, "Extent size hint for the image file, 0 to disable"),
];

pub(super) const OF_QCOW2: &[OptionOfFormat] = &[
    option("encrypt.format", Text, "Encrypt the image, format choices: 'aes', 'luks'"),
    option(
        "encryption",
        Switch,
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    ),
    option("encrypt.key-secret", Text, "ID of secret providing qcow AES key or LUKS passphrase"),
    option("encrypt.cipher-alg", Text, "Name of encryption cipher algorithm"),
    option("encrypt.cipher-mode", Text, "Name of encryption cipher mode"),
    option("encrypt.ivgen-alg", Text, "Name of IV generator algorithm"),
    option("encrypt.ivgen-hash-alg", Text, "Name of IV generator hash algorithm"),
    option("encrypt.hash-alg", Text, "Name of encryption hash algorithm"),
    option("encrypt.iter-time", Number, "Time to spend in PBKDF in milliseconds"),
    with_default("cluster_size", Size, "65536", "qcow2 cluster size"),
    with_default("extended_l2", Switch, "off", "Extended L2 tables"),
    option("preallocation", Text, "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    with_default("compression_type", Text, "zlib", "Compression method used for image cluster compression"),
    option("size", Size, "Virtual disk size"),
    option("compat", Text, "Compatibility level (v2 [0.10] or v3 [1.1])"),
    option("backing_file", Text, "File name of a base image"),
    option("backing_fmt", Text, "Image format of the base image"),
    option("data_file", Text, "File name of an external data file"),
    option("data_file_raw", Switch, "The external data file must stay valid as a raw image"),
    with_default("lazy_refcounts", Switch, "off", "Postpone refcount updates"),
    with_default("refcount_bits", Number, "16", "Width of a reference count entry in bits"),
];
