//! Rules of the disk: a table that every importer takes, and a root filesystem that can grow.

use image_core::block::BlockRead;
use image_core::fs::Superblock;
use image_core::partition::{Scheme, check_protective, kind};

use super::{Finding, Rule, Subject};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "partition-table",
        requirement: "the partition table is whole and describes this disk",
        check: whole_table,
    },
    Rule {
        name: "protective-mbr",
        requirement: "the master boot record is one that Glance accepts",
        check: protective_record,
    },
    Rule {
        name: "root-last",
        requirement: "the root partition is the last one, so it can grow",
        check: root_last,
    },
    Rule {
        name: "root-filesystem",
        requirement: "the root filesystem is clean and fills its partition",
        check: root_filesystem,
    },
];

const REBUILD: &str = "build the image again; if it stays, this is a defect of goldimg";

fn whole_table(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let table = &subject.view.table;
    let mut findings: Vec<Finding> = table
        .defects
        .iter()
        .map(|defect| Finding::new("partition table", defect.to_string(), REBUILD))
        .collect();
    if !matches!(table.scheme, Scheme::Gpt { .. }) {
        findings.push(Finding::new("partition table", "it is no GPT", REBUILD));
    }
    Ok(findings)
}

fn protective_record(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let broken = check_protective(&*subject.view.disk)?;
    Ok(broken.iter().map(|rule| Finding::new("sector 0", rule.to_string(), REBUILD)).collect())
}

fn root_last(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let root = &subject.view.root_partition;
    let behind =
        subject.view.table.partitions.iter().filter(|other| other.range.offset() > root.range.offset());
    let mut findings: Vec<Finding> = behind
        .map(|other| {
            Finding::new(format!("partition {}", other.number), "it lies behind the root partition", REBUILD)
        })
        .collect();
    if root.is(kind::LINUX_LVM) {
        findings.push(Finding::new("root partition", "it is an LVM volume, which nothing grows", REBUILD));
    }
    Ok(findings)
}

fn root_filesystem(subject: &Subject<'_>) -> anyhow::Result<Vec<Finding>> {
    let window = subject.view.root_partition.window(&*subject.view.disk)?;
    let superblock = Superblock::read(&window)?;
    let mut findings = Vec::new();
    if !superblock.is_clean {
        findings.push(Finding::new("root filesystem", "it was not unmounted cleanly", REBUILD));
    }
    let gap = window.size().saturating_sub(superblock.size());
    // A last group too small for its own tables is left out.
    if gap > 1 << 20 {
        findings.push(Finding::new(
            "root filesystem",
            format!("it leaves {gap} bytes of its partition"),
            REBUILD,
        ));
    }
    Ok(findings)
}
