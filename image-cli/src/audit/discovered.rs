//! Root filesystems that nothing names: systemd finds them in an initrd by the type of their partition, or by the root of their verity tree.
//!
//! ```text
//! no root=, root=gpt-auto   the initrd has systemd-gpt-auto-generator, the loader is one that tells it of its partition,
//!                           the partition has the type of a root   (systemd-gpt-auto-generator(8), Discoverable Partitions)
//! roothash=HEX              the partition's UUID is the first half of it   (systemd-veritysetup-generator(8))
//! ```
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use image_core::partition::Partition;
use uuid::{Uuid, uuid};

use super::menu::{Entry, Loader, initrds};
use super::view::View;

/// Types of root partitions, by processor: x86-64, x86, ARM 64, ARM 32, RISC-V 64, POWER little endian, z, LoongArch 64
/// (Discoverable Partitions Specification).
const ROOTS: [Uuid; 8] = [
    uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
    uuid!("44479540-f297-41b2-9af7-d131d5f0458a"),
    uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
    uuid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3"),
    uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"),
    uuid!("c31c45e6-3f39-412e-80fb-4809c4980599"),
    uuid!("5eead9a9-fe09-4a1e-a1d7-520d00531306"),
    uuid!("77055800-792c-4f94-b39a-98c91b762bb6"),
];
const GENERATOR: &str = "lib/systemd/system-generators/systemd-gpt-auto-generator";
/// Words that keep systemd from looking.
const SWITCHES: [&str; 2] = ["systemd.gpt_auto", "rd.systemd.gpt_auto"];

/// Whether `entry` comes to this image's root filesystem by itself.
///
/// # Errors
/// If an initrd or a folder above it cannot be read.
pub(super) fn finds_root(view: &View, entry: &Entry) -> crate::Result<bool> {
    let Some(own) = view.root_volume().and_then(|volume| volume.partition.as_ref()) else { return Ok(false) };
    if let Some(hash) = entry.values("roothash").last() {
        return Ok(is_half_of(own, hash));
    }
    let is_asked = entry.values("root").last().is_none_or(|root| root == "gpt-auto");
    let is_off = SWITCHES.iter().any(|name| entry.values(name).last().is_some_and(is_no));
    let tells = matches!(entry.loader, Loader::Specification | Loader::Unified);
    if !is_asked || is_off || !tells || !ROOTS.iter().any(|root| own.is(*root)) {
        return Ok(false);
    }
    let read = initrds(view, entry)?;
    Ok(read.iter().filter_map(|(_, initrd)| initrd.as_ref().ok()).any(|initrd| initrd.has_file(GENERATOR)))
}

/// Whether the UUID of `partition` is the first half of `hash`.
fn is_half_of(partition: &Partition, hash: &str) -> bool {
    let own = partition.guid.map(|guid| guid.simple().to_string());
    own.is_some_and(|own| hash.get(..own.len()).is_some_and(|half| half.eq_ignore_ascii_case(&own)))
}

fn is_no(word: &str) -> bool {
    matches!(word, "0" | "no" | "false" | "off" | "n" | "f")
}
