//! Would Glance take this file? Its own format rules, asked before a byte is sent.
//!
//! Glance looks into what is uploaded (oslo.utils `format_inspector`) and refuses with 415 what it deems unsafe
//! or of another format than declared, after all of it has been sent. Its rules since 33.0.0 (2026.1):
//!
//! ```text
//! qcow2   version 2 or 3 · no backing file · no external data file · incompatible features 0 to 3 only
//! vmdk    monolithicSparse and streamOptimized, in one file
//! raw     whatever ends its first sector in 55 AA and is no FAT boot sector is a partition table, and must have
//!         a partition · boot flags 00 or 80 · a protective entry (type EE) alone, at LBA 1 and CHS 0/2/0
//! any     recognised as one format only
//! ```
//!
//! Older releases take more; a file that passes here passes there too.

use std::path::Path;

use image_core::block::{BlockRead, FileDisk};
use image_core::foreign::{self, Kind};
use image_core::qcow2::layout::INCOMPATIBLE_EXTENDED_L2;
use image_core::qcow2::{Header, Unsupported};

use crate::error::{Advise, Context, err};

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// Glance's name of the format.
    pub(crate) format: &'static str,
    /// In bytes; unknown for formats that are not read here.
    pub(crate) virtual_size: Option<u64>,
    /// In bytes.
    pub(crate) file_size: u64,
    /// Why Glance would refuse it.
    pub(crate) violations: Vec<Violation>,
    /// What Glance takes, but a user may not want.
    pub(crate) warnings: Vec<String>,
}

/// A rule of Glance's that a file breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("it is empty")]
    Empty,
    #[error("its qcow2 version is {0}; 2 and 3 are allowed")]
    Version(u32),
    #[error("it has a backing file: only half of its content is here")]
    BackingFile,
    #[error("its data lies in an external file")]
    DataFile,
    #[error("its data lies in other files: this one only names them")]
    Extents,
    #[error("its VMDK type is {0:?}; monolithicSparse and streamOptimized are allowed")]
    VmdkType(String),
    #[error("it needs features that Glance does not allow: {0}")]
    Features(String),
    #[error("it is marked corrupt: Glance would take it, but no hypervisor writes to it")]
    MarkedCorrupt,
    #[error("it can be read as {0} and as {1} as well: a file that is two things may be an attack")]
    Ambiguous(&'static str, &'static str),
    #[error("partition {index} of its MBR has the boot flag {flag:#04x}; 0x00 and 0x80 are allowed")]
    BootFlag { index: usize, flag: u8 },
    #[error("its protective MBR entry starts at CHS {0:02x?}; GPT demands 00 02 00")]
    ProtectiveChs([u8; 3]),
    #[error("its protective MBR entry starts at LBA {0:#x}; GPT demands 1")]
    ProtectiveLba(u32),
    #[error("it has a hybrid MBR: beside the protective entry there are others")]
    HybridMbr,
    #[error("its first sector is signed 55 AA, but describes no partition")]
    NoPartition,
    #[error(
        "it is a fixed VHD: as vhd Glance does not recognise it, and as raw its footer counts as a part of the disk"
    )]
    FixedVhd,
    #[error("its format {0} is none that Glance takes")]
    Banned(&'static str),
}

/// The first bytes that tell a format: what, where, which.
const SIGNATURES: &[(&str, usize, &[u8])] = &[
    ("qcow2", 0, b"QFI\xfb"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vhd", 0, b"conectix"),
    ("vhdx", 0, b"vhdxfile"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("iso", 0x8001, b"CD001"),
];

const SECTOR_LEN: usize = 512;
/// Up to the ISO volume descriptor's signature.
const HEAD_LEN: usize = 0x8006;
const MBR_ENTRIES: usize = 446;
const MBR_ENTRY_LEN: usize = 16;

/// Looks at a file as Glance would.
///
/// # Errors
/// Where it cannot be read, or what it claims to be it is not.
pub(crate) fn inspect(path: &Path) -> crate::Result<Inspected> {
    let disk = FileDisk::open(path)?;
    inspect_disk(&disk).with_context(|| format!("inspecting {}", path.display()))
}

pub(crate) fn inspect_disk(disk: &dyn BlockRead) -> crate::Result<Inspected> {
    let file_size = disk.size();
    let head = bytes_at(disk, 0, HEAD_LEN)?;
    let formats = recognised(&head);
    let format = formats.first().copied().unwrap_or("raw");
    let mut found =
        Inspected { format, virtual_size: None, file_size, violations: Vec::new(), warnings: Vec::new() };
    match format {
        _ if file_size == 0 => found.violations.push(Violation::Empty),
        "qcow2" => qcow2(disk, &mut found)?,
        "raw" => raw(disk, &head, &mut found)?,
        // A CD is as large as its file, and boots from a disk of that size.
        "iso" => found.virtual_size = Some(file_size),
        "vmdk" => foreign(disk, Kind::Vmdk, &mut found)?,
        "vhd" => foreign(disk, Kind::Vpc, &mut found)?,
        "vhdx" => foreign(disk, Kind::Vhdx, &mut found)?,
        "vdi" => foreign(disk, Kind::Vdi, &mut found)?,
        "qed" | "luks" => found.violations.push(Violation::Banned(format)),
        _ => {}
    }
    if let [first, second, ..] = formats[..] {
        found.violations.push(Violation::Ambiguous(first, second));
    } else if format != "raw" && format != "iso" && has_mbr_signature(&head) {
        // An ISO that also boots from USB sticks has one, and is taken.
        found.violations.push(Violation::Ambiguous(format, "a partition table"));
    }
    Ok(found)
}

/// A size in whole GiB, rounded up.
pub(crate) fn in_gib(size: u64) -> u64 {
    size.div_ceil(1 << 30)
}

impl Inspected {
    /// The virtual size in whole GiB, rounded up: what `min_disk` must be at least.
    pub(crate) fn min_disk(&self) -> Option<u64> {
        self.virtual_size.map(in_gib)
    }

    /// As its owner declares it. A fixed VHD is a raw disk with a sector behind it: who says raw gets just that.
    pub(crate) fn declared(mut self, declared: Option<&str>) -> Self {
        if declared == Some("raw") && self.violations.contains(&Violation::FixedVhd) {
            self.violations.retain(|violation| *violation != Violation::FixedVhd);
            self.warnings.push(
                "it is a fixed VHD, sent as raw: its footer is the last sector of the disk, behind a GPT's backup".into(),
            );
        }
        self
    }

    /// Fails with all that Glance would refuse, if the file is declared to be `declared`.
    ///
    /// # Errors
    /// Where there is anything.
    pub(crate) fn check(&self, path: &Path, declared: &str) -> crate::Result<()> {
        let mut reasons: Vec<String> = self.violations.iter().map(Violation::to_string).collect();
        // Formats without a signature are told from each other by their declaration alone.
        let known = SIGNATURES.iter().any(|(format, ..)| *format == declared);
        if declared != self.format && (known || self.format != "raw") {
            reasons.push(format!("it is declared to be {declared}, and is {}", self.format));
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let error = err!("Glance would refuse {}: {}", path.display(), reasons.join("; "));
        Err(error).hint(|| self.remedy(path, declared))
    }
}

impl Inspected {
    /// What can be done about what Glance would refuse.
    fn remedy(&self, path: &Path, declared: &str) -> String {
        let path = path.display();
        let converted = |format: &str| {
            format!("goldimg convert -f {format} -O qcow2 {path} NEW.qcow2 makes a qcow2 of it")
        };
        match self.format {
            "raw" if self.violations.contains(&Violation::FixedVhd) => {
                format!("{}; --disk-format raw sends it with its footer", converted("vpc"))
            }
            "raw" if !self.violations.is_empty() => format!(
                "sfdisk or sgdisk mends a partition table; a qcow2 is not looked into: goldimg upload --convert \
                 qcow2 {path}"
            ),
            "qed" => converted("qed"),
            "vmdk" if !self.violations.is_empty() => {
                format!("goldimg convert --allow-backing -O qcow2 {path} NEW.qcow2 makes one file of it")
            }
            "luks" => "open it first (cryptsetup open), and upload what is in it".to_owned(),
            "qcow2" if !self.violations.is_empty() => {
                format!("goldimg convert --allow-backing -O qcow2 {path} NEW.qcow2 makes a plain one of it")
            }
            format if format != declared => format!("leave --disk-format out, or say {format}"),
            _ => "see what it is: goldimg info".to_owned(),
        }
    }
}

fn recognised(head: &[u8]) -> Vec<&'static str> {
    let mut formats = Vec::new();
    for (name, offset, signature) in SIGNATURES {
        let there = head.get(*offset..).is_some_and(|rest| rest.starts_with(signature));
        if there && !formats.contains(name) {
            formats.push(*name);
        }
    }
    formats
}

/// Bytes of a disk, as many as there are.
fn bytes_at(disk: &dyn BlockRead, offset: u64, len: usize) -> crate::Result<Vec<u8>> {
    let there = disk.size().saturating_sub(offset).min(len as u64);
    let mut bytes = vec![0; usize::try_from(there).unwrap_or(len)];
    disk.read_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn qcow2(disk: &dyn BlockRead, found: &mut Inspected) -> crate::Result<()> {
    let header = match Header::read(disk) {
        Ok(header) => header,
        Err(error) => match error.cause::<Unsupported>() {
            // Glance takes it; what is inside is between its owner and Nova.
            Some(Unsupported::Encrypted { method }) => {
                found
                    .warnings
                    .push(format!("it is encrypted with {method}: its virtual size is not read here"));
                return Ok(());
            }
            Some(Unsupported::Version { version }) => {
                found.violations.push(Violation::Version(*version));
                return Ok(());
            }
            Some(Unsupported::Features(unknown)) => {
                found.violations.push(Violation::Features(unknown.to_string()));
                return Ok(());
            }
            _ => return Err(error.into()),
        },
    };
    found.virtual_size = Some(header.size);
    if header.backing_name.is_some() {
        found.violations.push(Violation::BackingFile);
    }
    if header.has_data_file() {
        found.violations.push(Violation::DataFile);
    }
    if header.features.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0 {
        found.violations.push(Violation::Features("extended L2 entries".into()));
    }
    if header.is_corrupt() {
        found.violations.push(Violation::MarkedCorrupt);
    }
    if header.snapshots.count > 0 {
        found
            .warnings
            .push(format!("its {} internal snapshots are uploaded with it", header.snapshots.count));
    }
    Ok(())
}

fn foreign(disk: &dyn BlockRead, kind: Kind, found: &mut Inspected) -> crate::Result<()> {
    let header = foreign::Header::read(disk, kind, None)?;
    found.virtual_size = Some(header.size());
    if !header.extent_names().is_empty() {
        found.violations.push(Violation::Extents);
    }
    if header.parent().is_some() {
        found.violations.push(Violation::BackingFile);
    }
    let taken = ["monolithicSparse", "streamOptimized"];
    if let Some(variant) = header.variant().filter(|variant| kind == Kind::Vmdk && !taken.contains(variant)) {
        found.violations.push(Violation::VmdkType(variant.to_owned()));
    }
    found.warnings.extend(header.notes());
    Ok(())
}

fn raw(disk: &dyn BlockRead, head: &[u8], found: &mut Inspected) -> crate::Result<()> {
    found.virtual_size = Some(found.file_size);
    let footer = bytes_at(disk, found.file_size.saturating_sub(SECTOR_LEN as u64), SECTOR_LEN)?;
    if footer.starts_with(b"conectix") {
        found.violations.push(Violation::FixedVhd);
    }
    if has_mbr_signature(head) {
        found.violations.extend(mbr(head));
    }
    if !found.file_size.is_multiple_of(SECTOR_LEN as u64) {
        found.warnings.push(
            "its size is no multiple of 512 bytes: the last ones are cut off or padded by the cloud".into(),
        );
    }
    Ok(())
}

/// Glance takes a sector for an MBR by its signature alone, unless it looks like a FAT boot sector.
fn has_mbr_signature(head: &[u8]) -> bool {
    let is_fat = head.get(0x10) == Some(&2) && head.get(0x15) == Some(&0xf8);
    head.get(510..SECTOR_LEN) == Some(&[0x55, 0xaa]) && !is_fat
}

/// The first rule that the partition table breaks, in the order in which Glance asks.
fn mbr(sector: &[u8]) -> Option<Violation> {
    let entries = sector.get(MBR_ENTRIES..)?.chunks_exact(MBR_ENTRY_LEN).take(4);
    let mut used = Vec::new();
    let mut protective = false;
    for (index, entry) in entries.enumerate() {
        let [flag, h, s, c, kind, _, _, _, l0, l1, l2, l3, ..] = *entry else { return None };
        if flag != 0 && flag != 0x80 {
            return Some(Violation::BootFlag { index, flag });
        }
        if kind != 0 {
            used.push(index);
        }
        if kind == 0xee {
            protective = true;
            if [h, s, c] != [0, 2, 0] {
                return Some(Violation::ProtectiveChs([h, s, c]));
            }
            let lba = u32::from_le_bytes([l0, l1, l2, l3]);
            if lba != 1 {
                return Some(Violation::ProtectiveLba(lba));
            }
        }
    }
    match used[..] {
        [] => Some(Violation::NoPartition),
        [0] => None,
        _ if protective => Some(Violation::HybridMbr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use image_core::block::{BlockWrite, MemoryDisk};
    use image_core::convert::{Options, convert};
    use image_core::qcow2::{NewImage, Qcow2Sink};

    use super::*;

    /// The protective entry as sfdisk writes it.
    const PROTECTIVE: [u8; 16] = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0, 0];
    /// A bootable Linux partition at 1 MiB.
    const LINUX: [u8; 16] = [0x80, 0x20, 0x21, 0, 0x83, 0xff, 0xff, 0xff, 0, 8, 0, 0, 0, 8, 0, 0];

    fn disk(pieces: &[(u64, &[u8])]) -> Inspected {
        let disk = MemoryDisk::new(1 << 20);
        for (offset, bytes) in pieces {
            disk.write_at(bytes, *offset).unwrap();
        }
        inspect_disk(&disk).unwrap()
    }

    fn table(entries: &[[u8; 16]]) -> Vec<Violation> {
        let bytes = entries.concat();
        disk(&[(446, &bytes), (510, &[0x55, 0xaa])]).violations
    }

    #[test]
    fn partition_tables_pass_as_they_pass_in_glance() {
        assert_eq!(table(&[PROTECTIVE]), []);
        assert_eq!(table(&[LINUX]), []);
        assert_eq!(table(&[LINUX, LINUX]), []);
        assert_eq!(table(&[]), [Violation::NoPartition]);
        assert_eq!(table(&[PROTECTIVE, LINUX]), [Violation::HybridMbr]);
        assert_eq!(table(&[LINUX, PROTECTIVE]), [Violation::HybridMbr]);
        let changed = |at: usize, byte: u8| {
            let mut entry = PROTECTIVE;
            entry[at] = byte;
            table(&[entry])
        };
        assert_eq!(changed(0, 0x80), []);
        assert_eq!(changed(0, 1), [Violation::BootFlag { index: 0, flag: 1 }]);
        assert_eq!(changed(2, 1), [Violation::ProtectiveChs([0, 1, 0])]);
        assert_eq!(changed(8, 2), [Violation::ProtectiveLba(2)]);
    }

    #[test]
    fn what_is_no_partition_table_is_not_judged_as_one() {
        assert_eq!(disk(&[]).violations, []);
        assert_eq!(disk(&[(0x438, &[0x53, 0xef])]).violations, []);
        assert_eq!(disk(&[(0x10, &[2]), (0x15, &[0xf8]), (510, &[0x55, 0xaa])]).violations, []);
        let empty = inspect_disk(&MemoryDisk::new(0)).unwrap();
        assert_eq!(empty.violations, [Violation::Empty]);
    }

    /// An empty image for a disk of `size` bytes, with these bytes of its header changed.
    fn image(size: u64, changes: &[(usize, &[u8])]) -> Vec<u8> {
        let new = NewImage::new(size).unwrap();
        let disk = MemoryDisk::new(0);
        let source = MemoryDisk::new(512);
        let mut sink = Qcow2Sink::new(&disk, new).unwrap();
        convert(&source, &mut sink, &Options::default()).unwrap();
        let mut bytes = disk.to_bytes();
        for (at, change) in changes {
            bytes[*at..at + change.len()].copy_from_slice(change);
        }
        bytes
    }

    #[test]
    fn qcow2_passes_as_it_passes_in_glance() {
        let found = |changes: &[(usize, &[u8])]| disk(&[(0, &image(1 << 20, changes))]);
        let good = disk(&[(0, &image((5 << 30) + 512, &[]))]);
        assert_eq!((good.format, good.min_disk(), good.violations), ("qcow2", Some(6), vec![]));
        assert_eq!(found(&[(79, &[1])]).violations, []);
        assert_eq!(found(&[(79, &[2])]).violations, [Violation::MarkedCorrupt]);
        let backing: &[(usize, &[u8])] = &[(14, &[2, 0]), (19, &[1]), (0x200, b"b")];
        assert_eq!(found(backing).violations, [Violation::BackingFile]);
        assert_eq!(found(&[(79, &[4])]).violations, [Violation::DataFile]);
        assert_eq!(found(&[(79, &[0x10])]).violations, [Violation::Features("extended L2 entries".into())]);
        assert!(matches!(found(&[(78, &[1])]).violations[..], [Violation::Features(_)]));
        assert_eq!(found(&[(7, &[1])]).violations, [Violation::Version(1)]);
        let encrypted = found(&[(35, &[2])]);
        assert_eq!(
            (encrypted.violations, encrypted.virtual_size, encrypted.warnings.len()),
            (vec![], None, 1)
        );
    }

    #[test]
    fn a_file_that_is_two_things_is_refused() {
        let header = image(1 << 20, &[]);
        let found = disk(&[(0, &header), (0x8001, b"CD001")]);
        assert_eq!(found.violations, [Violation::Ambiguous("qcow2", "iso")]);
        let found = disk(&[(0, &header), (510, &[0x55, 0xaa])]);
        assert_eq!(found.violations, [Violation::Ambiguous("qcow2", "a partition table")]);
        let iso = disk(&[(510, &[0x55, 0xaa]), (0x8001, b"CD001")]);
        assert_eq!((iso.format, iso.violations), ("iso", vec![]));
        assert_eq!(disk(&[((1 << 20) - 512, b"conectix")]).violations, [Violation::FixedVhd]);
    }
}
