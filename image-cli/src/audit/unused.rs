//! Rules of unused space: what was removed is gone, and not only out of sight.
//!
//! ```text
//! ext2/3/4      blocks of no file and no table      swap      what was in memory: all behind the header, of partitions and files
//! the disk      between and behind partitions       others    not read here, and said so
//! ```

use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, is_zero};
use image_core::fs::{FilesystemKind, unused_ranges};

use super::Subject;
use super::rule::{Finding, Judgement, Rule};
use super::space::{gaps, swap_files, swap_page};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "deleted-keys",
        "no private key can be read in unused space",
        "what is removed from a filesystem stays until it is overwritten",
        keys,
    )
    .reads(&["unused space", "the partition table", "the disk", "/etc/fstab"]),
    Rule::should(
        "unused-space",
        "unused space is empty: the image is small, and nothing in it can be recovered",
        "OpenStack image guide, converting: sparse images",
        stale,
    )
    .reads(&["unused space", "the partition table", "the disk", "/etc/fstab"]),
];

const FIX: &str = "goldimg seal makes holes of it";
/// It is read in pieces of this size, in bytes.
const PIECE: u64 = 1 << 20;
/// Less than this is what every filesystem leaves, in bytes.
const LITTLE: u64 = 1 << 20;
/// How the first line of a private key ends (RFC 7468).
const KEY: &[u8] = b"PRIVATE KEY-----";

/// What is left in unused space.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Where something is left, and how many bytes are in blocks that are not all zeroes.
    places: Vec<(String, u64)>,
    /// Where a private key begins.
    keys: Vec<String>,
    /// Filesystems whose unused space is not known here.
    unknown: Vec<String>,
}

impl Stale {
    /// Reads what is stored in `ranges` of `disk`. `at` tells where an offset is.
    fn read(
        &mut self,
        place: String,
        disk: &dyn BlockRead,
        ranges: impl IntoIterator<Item = ByteRange>,
        at: impl Fn(u64) -> String,
    ) -> anyhow::Result<()> {
        let mut bytes = 0_u64;
        for range in ranges {
            for extent in disk.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                bytes += self.piece(disk, extent.range, &at)?;
            }
        }
        if bytes > 0 {
            self.places.push((place, bytes));
        }
        Ok(())
    }

    /// How many bytes of `range` are in blocks that are not all zeroes.
    fn piece(
        &mut self,
        disk: &dyn BlockRead,
        range: ByteRange,
        told: impl Fn(u64) -> String,
    ) -> anyhow::Result<u64> {
        let (mut at, mut stale) = (range.offset(), 0);
        while at < range.end() {
            let mut bytes = vec![0; range.end().saturating_sub(at).min(PIECE) as usize];
            disk.read_at(&mut bytes, at)?;
            let blocks = bytes.chunks(4096).filter(|block| !is_zero(block));
            stale += blocks.map(|block| block.len() as u64).sum::<u64>();
            // The marker's first byte is seldom; a key begins in one block.
            let marks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'P');
            let keys =
                marks.filter(|(index, _)| bytes.get(*index..).is_some_and(|rest| rest.starts_with(KEY)));
            self.keys.extend(keys.map(|(index, _)| told(at + index as u64)));
            at += bytes.len() as u64;
        }
        Ok(stale)
    }
}

/// What is left there, read by the rule that asks first.
fn look<'a>(subject: &Subject<'a>) -> anyhow::Result<&'a Stale> {
    let known = &subject.view.stale;
    subject.view.watch().place("unused space");
    match known.get() {
        Some(found) => Ok(found),
        None => read(subject).map(|found| known.get_or_init(|| found)),
    }
}

/// Reads all that is in no file of any filesystem.
fn read(subject: &Subject<'_>) -> anyhow::Result<Stale> {
    let mut found = Stale::default();
    let view = subject.view;
    for volume in view.volumes() {
        let window = volume.window(Arc::clone(view.disk()))?;
        let at = |offset: u64| format!("offset {:#x} of the disk", volume.range.offset() + offset);
        match volume.signature.kind {
            kind if kind.is_ext() => {
                found.read(
                    format!("unused blocks of {}", volume.name()),
                    &window,
                    unused_ranges(&window)?,
                    at,
                )?;
            }
            FilesystemKind::Swap => {
                let behind = behind_header(&window)?;
                found.read(format!("swap space, {}", volume.name()), &window, behind, at)?;
            }
            FilesystemKind::Fat | FilesystemKind::Iso9660 | FilesystemKind::Squashfs => {}
            kind => found.unknown.push(format!("{}: {kind}", volume.name())),
        }
    }
    for path in swap_files(view)? {
        if let Some(content) = view.root().content(&path)? {
            let (path, behind) = (path.display(), behind_header(&*content)?);
            found
                .read(format!("swap space, {path}"), &*content, behind, |at| format!("{path}, at {at:#x}"))?;
        }
    }
    if let Some(table) = view.table() {
        let at = |offset: u64| format!("offset {offset:#x} of the disk");
        let gaps = gaps(&**view.disk(), table)?;
        found.read("between and behind partitions".to_owned(), &**view.disk(), gaps, at)?;
    }
    Ok(found)
}

/// All of a swap space but its header; nothing of what is none.
fn behind_header(disk: &dyn BlockRead) -> anyhow::Result<Option<ByteRange>> {
    Ok(swap_page(disk)?.map(|page| ByteRange::between(page, disk.size())))
}

fn keys(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let found = look(subject)?;
    let told = |place: &String| Finding::new(place.clone(), "a private key that was removed", FIX);
    let findings: Vec<Finding> = found.keys.iter().map(told).collect();
    Ok(judged(found, findings, "none".to_owned()))
}

fn stale(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let found = look(subject)?;
    let bytes: u64 = found.places.iter().map(|(_, bytes)| bytes).sum();
    let told =
        |(place, bytes): &(String, u64)| Finding::new(place.clone(), format!("{bytes} bytes are in it"), FIX);
    let findings: Vec<Finding> =
        if bytes < LITTLE { Vec::new() } else { found.places.iter().map(told).collect() };
    Ok(judged(found, findings, format!("{bytes} bytes in it")))
}

/// Nothing is said to be fine of what was not seen.
fn judged(found: &Stale, findings: Vec<Finding>, kept: String) -> Judgement {
    match findings.is_empty() && !found.unknown.is_empty() {
        true => Judgement::Open(format!("unused space is not read here: {}", found.unknown.join(", "))),
        false => Judgement::of(findings, kept),
    }
}
