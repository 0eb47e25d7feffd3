//! `qemu-img check`: is an image consistent? What is wrong goes to standard error, the numbers to standard output.

use std::fmt::Write;

use image_core::ErrorKind;

use image_core::format::FormatNode;
use image_core::qcow2::check::{CheckResult, Finding, Severity, check};
use image_core::qcow2::repair::{Repair, Repaired, Step};
use image_core::qcow2::{Corrupt, Geometry, Header, HostOffset, snapshot};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::{Call, Output, cache, json, words};

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    flag('q', "quiet"),
    valued('f', "format"),
    valued('T', "cache"),
    valued('r', "repair"),
    long_valued("output"),
    long_valued("object"),
    long_flag("image-opts"),
    flag('U', "force-share"),
];

/// The exit code where a format has nothing to check.
const NOT_SUPPORTED: u8 = 63;
/// The exit code of a corrupt image.
const CORRUPT: u8 = 2;
/// The exit code of an image with leaks and nothing worse.
const LEAKS: u8 = 3;

/// Set in an entry whose cluster has a refcount of exactly 1.
const COPIED: u64 = 1 << 63;

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut output, mut quiet) = (Wanted::default(), Output::default(), false);
    let (mut repair, mut cache_mode) = (None, "writeback".to_owned());
    while let Some(option) = call.option()? {
        match option.name {
            "quiet" => quiet = true,
            "cache" => cache_mode = option.value,
            "output" => output = Output::parse(&option.value)?,
            "repair" if option.value == "leaks" => repair = Some(Repair::Leaks),
            "repair" if option.value == "all" => repair = Some(Repair::All),
            "repair" => {
                let message = format!("--repair (-r) expects 'leaks' or 'all' not '{}'", option.value);
                return Err(Failure::usage(message));
            }
            _ => wanted.take(option),
        }
    }
    let name = call.one_name("Expecting one image file name")?;
    cache::check_source(&cache_mode)?;
    let node = Node::parse(&name, &wanted)?;
    if repair.is_some() {
        node.check_writable()?;
    }
    let member = if repair.is_some() { node.member_to_repair()? } else { node.member_to_check()? };
    let Some(header) = &member.header else {
        if repair.is_some() {
            call.talk.say(&node.warning_of_probing());
        }
        let failure = Failure::new("This image format does not support checks");
        return Err(Failure { code: NOT_SUPPORTED, ..failure });
    };
    if repair != Some(Repair::All) {
        refuse_too_much_extra(call, &member, header)?;
    }
    let failed =
        |error: image_core::Error| Failure::new(format!("Check failed: {}", words::of_opening(&error)));
    let repaired = match repair {
        None => {
            let mut report = |finding: &Finding| call.talk.say(&words_of(finding, header.geometry, false));
            Repaired {
                left: check(&member.file, header, &mut report).map_err(failed)?,
                ..Repaired::default()
            }
        }
        Some(what) => {
            let geometry = header.geometry;
            // It holds a lock that would be in the way.
            drop(member);
            run_repair(call, &node, geometry, what)?
        }
    };
    if !quiet {
        call.print(&match output {
            Output::Human => text_of(&repaired),
            Output::Json => json::pretty(&json_of(&repaired, node.shown())),
        });
    }
    Ok(exit_code(&repaired.left))
}

/// Refuses to check, or to free leaks, where a snapshot has more extra data than are read.
fn refuse_too_much_extra(call: &Call, member: &FormatNode, header: &Header) -> Result<(), Failure> {
    let listed = snapshot::list(&member.file, header);
    let Some(Corrupt::SnapshotExtra { index, .. }) = listed.as_ref().err().and_then(image_core::Error::cause)
    else {
        return Ok(());
    };
    call.talk.say(&format!(
        "qemu-img: ERROR failed to read the snapshot table: Too much extra metadata in snapshot table entry {index}\n\
         You can force-remove this extra metadata with qemu-img check -r all\n"
    ));
    Err(Failure::new("Check failed: File too large"))
}

fn run_repair(call: &Call, node: &Node, geometry: Geometry, what: Repair) -> Result<Repaired, Failure> {
    let file = node.file_to_write()?;
    let mut tell = |step: Step<'_>| call.talk.say(&line_of_step(&step, geometry));
    image_core::qcow2::repair::repair(&file, what, &mut tell).map_err(|error| match error.kind() {
        ErrorKind::Refused => {
            call.talk.say("ERROR need to rebuild refcount structures\n");
            Failure::new("Check failed: Input/output error")
        }
        _ => Failure::new(format!("Check failed: {}", words::of_opening(&error))),
    })
}

/// One line about a step of a repair, if there is anything to say.
pub(super) fn line_of_step(step: &Step<'_>, geometry: Geometry) -> String {
    match step {
        Step::Found(finding) => words_of(finding, geometry, false),
        Step::Repaired(finding) | Step::LeftBehind(finding) => words_of(finding, geometry, true),
        Step::Rebuilding => "Rebuilding refcount structure\n".to_owned(),
        Step::CheckingAgain => String::new(),
    }
}

fn exit_code(result: &CheckResult) -> u8 {
    match result {
        CheckResult { check_errors: 1.., .. } => 1,
        CheckResult { corruptions: 1.., .. } => CORRUPT,
        CheckResult { leaks: 1.., .. } => LEAKS,
        _ => 0,
    }
}

/// One line about what is wrong, or was. Clusters are numbered, as QEMU does, not named by their offset.
fn words_of(finding: &Finding, geometry: Geometry, repaired: bool) -> String {
    let cluster = |host: HostOffset| geometry.cluster_index(host.0);
    let error = if repaired { "Repairing" } else { "ERROR" };
    let mut line = match finding {
        Finding::Refcount { host, refcount, references } => {
            let what = if !repaired && finding.severity() == Severity::Leak { "Leaked" } else { error };
            format!("{what} cluster {} refcount={refcount} reference={references}", cluster(*host))
        }
        Finding::Copied { guest, host, is_l2_table, refcount } => {
            let flag = if *refcount == 1 { 0 } else { COPIED };
            let entry = flag | host.0;
            match is_l2_table {
                true => format!(
                    "{error} OFLAG_COPIED L2 cluster: l1_index={} l1_entry={entry:x} refcount={refcount}",
                    geometry.l1_index(*guest)
                ),
                false => format!("{error} OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={refcount}"),
            }
        }
        Finding::RefcountBlockShared { index, references, .. } => {
            format!("{error} refcount block {index} refcount={references}")
        }
        Finding::Rule { rule: Corrupt::SnapshotExtra { index, len, limit }, .. } => {
            format!("Discarding too much extra metadata in snapshot table entry {index} ({len} > {limit})")
        }
        Finding::Rule { rule: Corrupt::RegionPastEnd { offset, len, .. }, .. } => format!(
            "{error}: counting reference for region exceeding the end of the file by one cluster or more: offset \
             {offset:#x} size {len:#x}"
        ),
        other => format!("{error} {other}"),
    };
    line.push('\n');
    line
}

fn text_of(repaired: &Repaired) -> String {
    let (mut text, result) = (String::new(), &repaired.left);
    let (leaks, corruptions) = (repaired.leaks_fixed, repaired.corruptions_fixed);
    if leaks > 0 || corruptions > 0 {
        let _ = write!(
            text,
            "The following inconsistencies were found and repaired:\n\n    {leaks} leaked clusters\n    \
             {corruptions} corruptions\n\nDouble checking the fixed image now...\n"
        );
    }
    if result.is_clean() {
        text.push_str("No errors were found on the image.\n");
    }
    if result.corruptions > 0 {
        let _ = write!(
            text,
            "\n{} errors were found on the image.\n\
             Data may be corrupted, or further writes to the image may corrupt it.\n",
            result.corruptions
        );
    }
    if result.leaks > 0 {
        let _ = write!(
            text,
            "\n{} leaked clusters were found on the image.\n\
             This means waste of disk space, but no harm to data.\n",
            result.leaks
        );
    }
    if result.check_errors > 0 {
        let _ = writeln!(text, "\n{} internal errors have occurred during the check.", result.check_errors);
    }
    let (allocated, total) = (result.allocated_clusters, result.total_clusters);
    if total > 0 && allocated > 0 {
        let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole as f64;
        let _ = writeln!(
            text,
            "{allocated}/{total} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed clusters",
            percent(allocated, total),
            percent(result.fragmented_clusters, allocated),
            percent(result.compressed_clusters, allocated),
        );
    }
    if result.image_end_offset > 0 {
        let _ = writeln!(text, "Image end offset: {}", result.image_end_offset);
    }
    text
}

/// What is 0 is left out, but for the errors of the check itself.
fn json_of(repaired: &Repaired, name: &str) -> Value {
    let result = &repaired.left;
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("filename", json!(name));
    put("format", json!("qcow2"));
    put("check-errors", json!(result.check_errors));
    let counted = [
        ("image-end-offset", result.image_end_offset),
        ("corruptions", result.corruptions),
        ("leaks", result.leaks),
        ("corruptions-fixed", repaired.corruptions_fixed),
        ("leaks-fixed", repaired.leaks_fixed),
        ("total-clusters", result.total_clusters),
        ("allocated-clusters", result.allocated_clusters),
        ("fragmented-clusters", result.fragmented_clusters),
        ("compressed-clusters", result.compressed_clusters),
    ];
    for (key, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
        put(key, json!(count));
    }
    Value::Object(object)
}
