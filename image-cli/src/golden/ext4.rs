//! The root filesystem: measured, made from the tree by mke2fs at its place in the disk, and given the build's date.
//!
//! Everything that mke2fs would choose by itself, from a file of the machine or from the clock, is said to it, so that
//! the same tree gives the same bytes everywhere.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_core::block::{BlockRead, ByteRange, ExtentKind, FileDisk, Window};
use image_core::fs::{Superblock, clamp_inode_times};

use super::epoch::Epoch;
use super::identity::{Identity, Purpose};
use super::tree::Tree;
use crate::error::{Advise, Context, bail, err};

const BLOCK: u64 = 4096;
const INODE: u64 = 256;
const BLOCKS_PER_GROUP: u64 = 8 * BLOCK;
/// Of each hundred blocks, those that only root may fill: logs go on when users have filled the disk.
const RESERVED_PERCENT: u64 = 1;
/// The default of a large filesystem; smaller where a tree has many small files.
const BYTES_PER_INODE: u64 = 16_384;
/// What GRUB, e2fsprogs and kernels of every supported release read.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// What a tree needs of a filesystem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Blocks of files, directories and long links.
    blocks: u64,
    /// Files, hard links counted once.
    inodes: u64,
}

impl Content {
    /// Measures the tree at `root`.
    ///
    /// # Errors
    /// If a directory or file cannot be read.
    pub(crate) fn measure(root: &Path) -> crate::Result<Self> {
        Self::measure_without(root, &[])
    }

    /// Measures the tree at `root`, but for what is in the folders `empty` of it.
    ///
    /// # Errors
    /// As [`Content::measure`].
    pub(crate) fn measure_without(root: &Path, empty: &[&str]) -> crate::Result<Self> {
        let empty: HashSet<PathBuf> = empty.iter().map(|folder| root.join(folder)).collect();
        let mut content = Self { blocks: 1, inodes: 1 };
        let mut seen = HashSet::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let mut names = 0;
            for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                names += 8 + (entry.file_name().as_bytes().len() as u64).next_multiple_of(4);
                if metadata.nlink() > 1
                    && !metadata.is_dir()
                    && !seen.insert((metadata.dev(), metadata.ino()))
                {
                    continue;
                }
                content.inodes += 1;
                content.blocks += blocks_of(&entry.path(), &metadata)?;
                if metadata.is_dir() && !empty.contains(&entry.path()) {
                    folders.push(entry.path());
                }
            }
            // Its own entries, the checksum at each block's end, and an index above many blocks.
            let blocks = names.div_ceil(BLOCK - 64).max(1);
            content.blocks += blocks + u64::from(blocks > 1);
        }
        Ok(content)
    }

    /// Content of so many bytes, in files of the size that a system's have.
    pub(crate) fn of_bytes(bytes: u64) -> Self {
        Self { blocks: bytes / BLOCK, inodes: bytes / BYTES_PER_INODE / 2 }
    }

    /// The size in bytes of a filesystem for it with `free` bytes free for everyone.
    pub(crate) fn filesystem_size(self, free: u64) -> u64 {
        // Half a percent for what cannot be told beforehand: extent trees, attributes that do not fit into inodes.
        let wanted = self.blocks.saturating_add(self.blocks / 200 + 256).saturating_add(free.div_ceil(BLOCK));
        let mut blocks = wanted;
        // What a filesystem needs for itself grows with it: a few rounds find the size where all of it fits.
        for _ in 0..16 {
            let usable = blocks.saturating_sub(self.overhead(blocks));
            if usable >= wanted {
                break;
            }
            blocks += wanted - usable;
        }
        blocks.next_multiple_of(256) * BLOCK
    }

    /// Blocks of a filesystem of `blocks` that no file can have.
    fn overhead(self, blocks: u64) -> u64 {
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let descriptors = (groups * 64).div_ceil(BLOCK);
        // Descriptors are set aside for growing by 1024, as mke2fs does.
        let growth = (groups * 1024 * 64).div_ceil(BLOCK).min(1024);
        let powers =
            |base: u64| (0..).map(|n| base.pow(n)).take_while(|group| *group < groups).count() as u64;
        let backups = 1 + powers(3) + powers(5) + powers(7);
        let inode_blocks = (blocks * BLOCK / self.bytes_per_inode(blocks) * INODE).div_ceil(BLOCK) + groups;
        let reserved = blocks * RESERVED_PERCENT / 100;
        backups * (1 + descriptors + growth) + groups * 2 + inode_blocks + reserved + journal_blocks(blocks)
    }

    /// How many bytes there are for each inode in a filesystem of `blocks`: a quarter more inodes than needed.
    fn bytes_per_inode(self, blocks: u64) -> u64 {
        let inodes = self.inodes + self.inodes / 4 + 1024;
        (blocks * BLOCK / inodes).clamp(BLOCK, BYTES_PER_INODE) / 1024 * 1024
    }
}

/// The blocks that a file's content needs; a directory is counted by its entries.
fn blocks_of(path: &Path, metadata: &Metadata) -> crate::Result<u64> {
    if metadata.is_symlink() {
        // A short target lies in the inode.
        return Ok(u64::from(metadata.len() >= 60));
    }
    if !metadata.is_file() {
        return Ok(0);
    }
    let blocks = metadata.len().div_ceil(BLOCK);
    if metadata.blocks() * 512 >= metadata.len() {
        return Ok(blocks);
    }
    // Fewer blocks than bytes: holes, or a filesystem that packs. Only holes count.
    let file = FileDisk::open(path)?;
    let extents = file.extents(ByteRange::whole(file.size()))?;
    let data = extents.iter().filter(|extent| extent.kind == ExtentKind::Data);
    Ok(data.map(|extent| extent.range.len().div_ceil(BLOCK) + 1).sum::<u64>().min(blocks))
}

/// A journal does not grow with its filesystem: a large root has from the beginning the one it will need.
fn journal_blocks(blocks: u64) -> u64 {
    match (blocks * BLOCK) >> 20 {
        0..256 => (4 << 20) / BLOCK,
        256..512 => (16 << 20) / BLOCK,
        _ => (64 << 20) / BLOCK,
    }
}

/// Whether mke2fs failed because the filesystem is too small for its content.
pub(crate) fn is_full(error: &crate::Error) -> bool {
    // e2fsprogs, EXT2_ET_BLOCK_ALLOC_FAIL and EXT2_ET_INODE_ALLOC_FAIL.
    let text = format!("{error:#}");
    ["Could not allocate block", "Could not allocate inode"].iter().any(|words| text.contains(words))
}

/// Makes the filesystem of `tree` in `range` of the disk at `path`.
///
/// # Errors
/// If mke2fs fails or has made something else.
pub(crate) fn make(
    tree: &Tree,
    identity: &Identity,
    epoch: Epoch,
    content: &Content,
    path: &Path,
    range: ByteRange,
) -> crate::Result<()> {
    let blocks = range.len() / BLOCK;
    let uuid = identity.uuid(Purpose::RootFilesystem);
    let extended = format!(
        "offset={},hash_seed={},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard",
        range.offset(),
        identity.uuid(Purpose::DirectoryHash)
    );
    let mut command = Command::new("mke2fs");
    command
        .args(["-q", "-F", "-L", "root", "-U", &uuid.to_string()])
        .args(["-b", &BLOCK.to_string(), "-I", &INODE.to_string(), "-G", "16"])
        .args(["-i", &content.bytes_per_inode(blocks).to_string(), "-m", &RESERVED_PERCENT.to_string()])
        .args(["-J", &format!("size={}", (journal_blocks(blocks) * BLOCK) >> 20)])
        .args(["-O", FEATURES, "-E", &extended, "-d"])
        .arg(tree.root())
        .arg(path)
        .arg(blocks.to_string())
        // Its file of defaults differs between machines.
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("E2FSPROGS_FAKE_TIME", epoch.seconds().to_string())
        .env("SOURCE_DATE_EPOCH", epoch.seconds().to_string());
    tree.log()
        .run(&mut command)
        .context("making the root filesystem")
        .hint(|| "if it says that there is no room: `disk.size` or `disk.free` of the recipe")?;
    let disk = FileDisk::open_writable(path)?;
    let window = Window::new(&disk, range)?;
    let seconds = u32::try_from(epoch.seconds()).map_err(|_| err!("the build's date is past 2106"))?;
    clamp_inode_times(&window, seconds).context("setting the times of the root filesystem")?;
    let made = Superblock::read(&window)?;
    if made.uuid != uuid || made.size() != range.len() {
        bail!(
            "mke2fs made a filesystem of {} bytes with UUID {}, not of {}",
            made.size(),
            made.uuid,
            range.len()
        );
    }
    Ok(())
}
