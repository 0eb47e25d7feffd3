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
mod mbr;
mod sector;

use uuid::Uuid;

pub use gpt::{GptRule, NewPartition, write_gpt};
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
