//! What signals and limits do: the work ends, what was begun is removed, and the exit code says why.

use std::fs;
use std::path::Path;

use crate::support::peer::peer;
use crate::support::{folder, goldimg, until};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A folder with an image that takes hours to hash.
fn endless() -> tempfile::TempDir {
    let folder = folder();
    fs::File::create(folder.path().join("a.raw")).and_then(|file| file.set_len(8 << 40)).expect("room");
    folder
}

const CONVERT: [&str; 6] = ["convert", "-q", "--content-hash", "sha512", "a.raw", "b.qcow2"];

#[test]
fn each_signal_has_an_exit_code_of_its_own_and_leaves_nothing_behind() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let folder = endless();
        let began = || names(folder.path()).len() == 2;
        let outcome = goldimg(CONVERT).folder(folder.path()).run_signalled(signal, began);
        assert_eq!(outcome.code, code, "{}", outcome.snapshot());
        assert!(outcome.stderr.contains("stopped on request"), "{}", outcome.snapshot());
        assert_eq!(names(folder.path()), ["a.raw"], "{signal}");
    }
}

/// timeout(1) sends its signal to the program and then to the program's group.
#[test]
fn a_signal_that_comes_twice_at_once_leaves_nothing_behind_either() {
    let kill = peer("kill").expect("kill is part of every system");
    let folder = endless();
    for round in 0..8 {
        let mut child = goldimg(CONVERT).folder(folder.path()).spawn();
        until("the target is begun", || {
            assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
            names(folder.path()).len() == 2
        });
        let id = child.id().to_string();
        kill.must(["-TERM", &id, &id]);
        assert_eq!(child.wait().expect("a child").code(), Some(143));
        assert_eq!(names(folder.path()), ["a.raw"], "round {round}");
    }
}

#[test]
fn a_new_image_that_is_being_filled_is_removed() {
    let folder = folder();
    let words = ["create", "-q", "-f", "raw", "-o", "preallocation=full", "b.raw", "20G"];
    let began = || names(folder.path()).len() == 1;
    let outcome = goldimg(words).folder(folder.path()).run_signalled("TERM", began);
    assert_eq!((outcome.code, names(folder.path()).len()), (143, 0), "{}", outcome.snapshot());
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let Some(sh) = peer("sh") else { return };
    let folder = endless();
    // As nohup does: the first signal is nothing to it, the second one ends it.
    let script = "trap '' HUP; exec \"$@\"";
    let program = goldimg([""]).path();
    let start = ["-c".as_ref(), script.as_ref(), "sh".as_ref(), program.as_os_str()];
    let mut child = sh
        .command(start.into_iter().chain(CONVERT.iter().map(|word| word.as_ref())))
        .folder(folder.path())
        .spawn();
    until("the target is begun", || {
        assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
        names(folder.path()).len() == 2
    });
    let kill = peer("kill").expect("kill is part of every system");
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).expect("a mask") & 1, 1, "{status}");
    kill.must(["-HUP", &child.id().to_string()]);
    kill.must(["-TERM", &child.id().to_string()]);
    assert_eq!(child.wait().expect("a child").code(), Some(143));
    assert_eq!(names(folder.path()), ["a.raw"]);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_like_any_other() {
    let Some(prlimit) = peer("prlimit") else { return };
    let folder = folder();
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(folder.path().join("a.raw"), noise).expect("room");
    let program = goldimg([""]).path();
    for words in [
        &["convert", "-q", "a.raw", "b.qcow2"][..],
        &["convert", "-q", "-c", "a.raw", "b.qcow2"],
        &["convert", "-q", "a.raw", "b.raw"],
        &["create", "-q", "b.raw", "2M"],
        &["create", "-q", "-o", "preallocation=full", "b.qcow2", "2M"],
        &["qemu-img", "convert", "-O", "qcow2", "a.raw", "b.qcow2"],
    ] {
        let start = ["--fsize=1048576".as_ref(), program.as_os_str()];
        let outcome = prlimit
            .command(start.into_iter().chain(words.iter().map(|word| word.as_ref())))
            .folder(folder.path())
            .run();
        assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
        assert!(outcome.stderr.contains("File too large"), "{}", outcome.snapshot());
        let hint = "hint: files may have no more than 1.00 MiB here: ulimit -f unlimited";
        assert!(words[0] == "qemu-img" || outcome.stderr.contains(hint), "{}", outcome.snapshot());
        assert_eq!(names(folder.path()), ["a.raw"], "{words:?}");
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure_to_tell_of() {
    let Some(sh) = peer("sh") else { return };
    let folder = folder();
    fs::File::create(folder.path().join("a.raw")).and_then(|file| file.set_len(1 << 30)).expect("room");
    let program = goldimg([""]).path();
    for (words, code) in [("convert -O raw a.raw -", 141), ("map --json a.raw", 0), ("--help", 0)] {
        let script = format!("{{ \"$0\" {words} 2>said; echo $? >code; }} | head -c 10 | wc -c");
        let outcome =
            sh.command(["-c".as_ref(), script.as_ref(), program.as_os_str()]).folder(folder.path()).run();
        assert_eq!(outcome.stdout.trim(), "10", "{}", outcome.snapshot());
        let said = fs::read_to_string(folder.path().join("said")).expect("a file");
        assert!(!said.contains("error"), "{words}: {said}");
        let ended = fs::read_to_string(folder.path().join("code")).expect("a file");
        assert_eq!(ended.trim(), code.to_string(), "{words}: {said}");
    }
}
