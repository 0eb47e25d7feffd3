//! Partition tables: GPT read and written, MBR read; a partition as a disk of its own.
//!
//! ```text
//! LBA 0            1          2…33        34…                 −33…−2      −1
//! protective MBR │ header │ entries │ partitions, a Window each │ entries │ header
//! └ boot code      primary GPT                                    backup GPT
//! ```
//!
//! UEFI specification 2.10, chapter 5. Tables are read as untrusted bytes: what is read is bounded before anything
//! is allocated, and a partition that is handed out lies on the disk.

mod gpt;
mod grow;
mod mbr;
mod sector;

use uuid::Uuid;

pub use gpt::{GptRule, NewPartition, write_gpt};
pub use grow::grow;
pub use mbr::{MbrRule, ProtectiveRule, check_protective};

use crate::block::{BlockRead, ByteRange, Window};
use crate::error::{Doing, Result};

/// The size of a sector of the tables that are written, in bytes. 4096 is read too.
pub const SECTOR_SIZE: u64 = 512;

/// GUIDs of kinds of partitions.
pub mod kind {
    use uuid::{Uuid, uuid};

    /// Where GRUB keeps its core image on a BIOS machine (GRUB manual, "BIOS installation").
    pub const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
    /// EFI system partition (UEFI specification, 5.3.3).
    pub const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    /// Root filesystem of an x86-64 Linux (Discoverable Partitions Specification).
    pub const LINUX_ROOT_X86_64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    /// A Linux filesystem.
    pub const LINUX_FILESYSTEM: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    /// `/boot` of a Linux (Discoverable Partitions Specification).
    pub const LINUX_EXTENDED_BOOT: Uuid = uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");
    /// LVM physical volume.
    pub const LINUX_LVM: Uuid = uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928");
    /// Linux swap space.
    pub const LINUX_SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");

    /// Kinds by what people call them: above, and the Discoverable Partitions Specification.
    const NAMES: [(Uuid, &str); 18] = [
        (BIOS_BOOT, "BIOS boot"),
        (EFI_SYSTEM, "EFI system"),
        (LINUX_ROOT_X86_64, "Linux root (x86-64)"),
        (LINUX_FILESYSTEM, "Linux filesystem"),
        (LINUX_EXTENDED_BOOT, "Linux extended boot"),
        (LINUX_LVM, "Linux LVM"),
        (LINUX_SWAP, "Linux swap"),
        (uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"), "Linux root (ARM 64)"),
        (uuid!("44479540-f297-41b2-9af7-d131d5f0458a"), "Linux root (x86)"),
        (uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"), "Linux root (RISC-V 64)"),
        (uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), "Linux home"),
        (uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d"), "Linux variable data"),
        (uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"), "Linux server data"),
        (uuid!("8484680c-9521-48c6-9c11-b0720656f69e"), "Linux /usr (x86-64)"),
        (uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), "Linux RAID"),
        (uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b"), "PowerPC PReP boot"),
        (uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), "Microsoft basic data"),
        (uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"), "Microsoft reserved"),
    ];

    /// What the kind `guid` is called, if it is known here.
    pub(super) fn name(guid: Uuid) -> Option<&'static str> {
        NAMES.iter().find(|(own, _)| *own == guid).map(|(_, name)| *name)
    }
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// Which kind, and what identifies the disk.
    pub scheme: Scheme,
    /// The size of a sector in bytes: 512 or 4096.
    pub sector_size: u64,
    /// The partitions in use, by number.
    pub partitions: Vec<Partition>,
    /// What is wrong with a GPT of which one copy is sound.
    pub defects: Vec<GptRule>,
}

/// A kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table.
    Gpt {
        /// The disk's GUID.
        guid: Uuid,
    },
    /// Master boot record.
    Mbr {
        /// The disk's signature.
        signature: u32,
    },
}

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1, as in `/dev/vda1`.
    pub number: u32,
    /// Where on the disk, in bytes. Always within the disk.
    pub range: ByteRange,
    /// What it is for.
    pub kind: PartitionKind,
    /// Its own GUID, in a GPT.
    pub guid: Option<Uuid>,
    /// Its name, in a GPT; may be empty.
    pub name: String,
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// A GUID, such as those in [`kind`].
    Gpt(Uuid),
    /// A type byte.
    Mbr(u8),
}

impl PartitionTable {
    /// The table of `disk`; `None` if it has none.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with a [`GptRule`] or [`MbrRule`]; whatever the disk says.
    pub fn read(disk: &(impl BlockRead + ?Sized)) -> Result<Option<Self>> {
        let Some(record) = mbr::read_record(disk)? else { return Ok(None) };
        if record.is_protective() {
            return gpt::read(disk).map(Some).doing(|| "reading the GUID partition table");
        }
        mbr::read(disk, &record).doing(|| "reading the master boot record")
    }

    /// The partition with this number.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }
}

impl Partition {
    /// It as a disk of its own; `disk` is the one whose table it was read from.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if `disk` is smaller than that one.
    pub fn window<D: BlockRead>(&self, disk: D) -> Result<Window<D>> {
        Window::new(disk, self.range).doing(|| format!("opening partition {}", self.number))
    }

    /// What its kind is called, if it is known here.
    pub fn kind_name(&self) -> Option<&'static str> {
        match self.kind {
            PartitionKind::Gpt(guid) => kind::name(guid),
            PartitionKind::Mbr(byte) => Some(match byte {
                0x01 | 0x04 | 0x06 | 0x0e => "FAT16",
                0x07 => "NTFS or exFAT",
                0x0b | 0x0c => "FAT32",
                0x05 | 0x0f | 0x85 => "extended",
                0x82 => "Linux swap",
                0x83 => "Linux filesystem",
                0x8e => "Linux LVM",
                0xef => "EFI system",
                0xfd => "Linux RAID",
                _ => return None,
            }),
        }
    }

    /// Whether it is of the kind `guid`, or of the MBR type that means the same.
    pub fn is(&self, guid: Uuid) -> bool {
        match self.kind {
            PartitionKind::Gpt(own) => own == guid,
            PartitionKind::Mbr(0xef) => guid == kind::EFI_SYSTEM,
            PartitionKind::Mbr(0x82) => guid == kind::LINUX_SWAP,
            PartitionKind::Mbr(0x83) => guid == kind::LINUX_FILESYSTEM,
            PartitionKind::Mbr(0x8e) => guid == kind::LINUX_LVM,
            PartitionKind::Mbr(_) => false,
        }
    }
}
