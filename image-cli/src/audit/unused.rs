//! Rules of unused space: what was removed is gone, and not only out of sight.

use std::sync::Arc;

use image_core::block::{BlockRead, ByteRange, ExtentKind, is_zero};
use image_core::fs::unused_ranges;

use super::Subject;
use super::rule::{Finding, Judgement, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "deleted-keys",
        "no private key can be read in unused space",
        "what is removed from a filesystem stays until it is overwritten",
        keys,
    ),
    Rule::should(
        "unused-space",
        "unused space is empty: the image is small, and nothing in it can be recovered",
        "OpenStack image guide, converting: sparse images",
        stale,
    ),
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
    /// Bytes of blocks that are not all zeroes.
    bytes: u64,
    /// Where a private key begins on the disk.
    keys: Vec<u64>,
}

/// What is left there, read by the rule that asks first.
fn look<'a>(subject: &Subject<'a>) -> anyhow::Result<&'a Stale> {
    let known = &subject.view.stale;
    match known.get() {
        Some(found) => Ok(found),
        None => read(subject).map(|found| known.get_or_init(|| found)),
    }
}

/// Reads all that is in no file of any filesystem.
fn read(subject: &Subject<'_>) -> anyhow::Result<Stale> {
    let mut found = Stale::default();
    for volume in subject.view.mounted().filter(|volume| volume.signature.kind.is_ext()) {
        let window = volume.window(Arc::clone(subject.view.disk()))?;
        for range in unused_ranges(&window)? {
            for extent in window.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                pieces(&window, extent.range, volume.range.offset(), &mut found)?;
            }
        }
    }
    Ok(found)
}

fn pieces(disk: &dyn BlockRead, range: ByteRange, start: u64, found: &mut Stale) -> anyhow::Result<()> {
    let mut at = range.offset();
    while at < range.end() {
        let mut bytes = vec![0; range.end().saturating_sub(at).min(PIECE) as usize];
        disk.read_at(&mut bytes, at)?;
        let blocks = bytes.chunks(4096).filter(|block| !is_zero(block));
        found.bytes += blocks.map(|block| block.len() as u64).sum::<u64>();
        // The marker's first byte is seldom; a key begins in one block.
        let marks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'P');
        let keys = marks.filter(|(index, _)| bytes.get(*index..).is_some_and(|rest| rest.starts_with(KEY)));
        found.keys.extend(keys.map(|(index, _)| start + at + index as u64));
        at += bytes.len() as u64;
    }
    Ok(())
}

fn keys(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let findings = look(subject)?.keys.iter().map(|offset| {
        Finding::new(format!("offset {offset:#x} of the disk"), "a private key that was removed", FIX)
    });
    Ok(Judgement::of(findings.collect(), "none"))
}

fn stale(subject: &Subject<'_>) -> anyhow::Result<Judgement> {
    let bytes = look(subject)?.bytes;
    match bytes < LITTLE {
        true => Ok(Judgement::kept(format!("{bytes} bytes in it"))),
        false => Ok(Judgement::broken("unused blocks", format!("{bytes} bytes are in them"), FIX)),
    }
}
