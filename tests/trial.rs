//! Booting images: one that is as it should be, and each way in which one may not be.
//!
//! The fixture boots in seconds; whole golden images are booted by `golden`.

mod cloud_init;
mod fixture;

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::library::{example, succeeds};
use crate::support::peer::peer;
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};
use fixture::Loader;

/// One guest at a time: two emulators on two processors, with everything else, are slower than one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Boots a fixture; `None` where something is missing, which was said.
fn boot(loader: Loader, arguments: &[&str]) -> Option<(Outcome, Value)> {
    boot_and_look(loader, arguments, |_| ())
}

/// As [`boot`], with a look at what is kept of it.
fn boot_and_look(loader: Loader, arguments: &[&str], look: impl FnOnce(&Path)) -> Option<(Outcome, Value)> {
    let folder = folder();
    let image = folder.path().join("fixture.raw");
    peer("qemu-system-x86_64")?;
    if !fixture::make(&image, loader) {
        return None;
    }
    let before = fs::read(&image).expect("the image");
    let (outcome, verdict) = test(&image, arguments, look);
    assert!(before == fs::read(&image).expect("the image"), "the image was changed");
    Some((outcome, verdict))
}

fn test(image: &Path, arguments: &[&str], look: impl FnOnce(&Path)) -> (Outcome, Value) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut words = vec!["test", "--json", "--accelerator", "tcg", "--memory", "256"];
    words.extend(arguments);
    words.push(image.to_str().expect("a path that is text"));
    let outcome = goldimg(words).run();
    let verdict: Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{}", outcome.snapshot()));
    if let Some(logs) = verdict["logs"].as_str() {
        assert!(fs::read_dir(logs).expect("the logs").count() > 0);
        look(logs.as_ref());
        fs::remove_dir_all(logs).expect("logs that can be removed");
    }
    (outcome, verdict)
}

/// The checks of the first boot that did not pass.
fn not_passed(verdict: &Value) -> Vec<&str> {
    not_passed_in(&verdict["boots"][0])
}

fn not_passed_in(boot: &Value) -> Vec<&str> {
    let checks = boot["checks"].as_array().expect("checks").iter();
    checks.filter(|check| check["verdict"] != "passed").filter_map(|check| check["name"].as_str()).collect()
}

fn trouble(verdict: &Value) -> &str {
    verdict["boots"][0]["trouble"].as_str().unwrap_or("none")
}

#[test]
fn a_good_image_passes_with_both_kinds_of_firmware() {
    let Some((outcome, verdict)) = boot(Loader::Boots("fault=none"), &[]) else { return };
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    assert_eq!(verdict["passed"], true);
    assert_eq!(verdict["boots"].as_array().expect("boots").len(), 2);
    assert_eq!(verdict["clones"].as_array().expect("clones").len(), 3);
    assert_eq!(verdict["logs"], Value::Null);
}

#[test]
fn an_example_boots_an_image_and_prints_what_each_check_found() {
    let folder = folder();
    let image = folder.path().join("fixture.raw");
    if peer("qemu-system-x86_64").is_none() || !fixture::make(&image, Loader::Boots("fault=none")) {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // What it writes beside its answer goes where its own variables say.
    let told = succeeds(example("boot").arg(&image).env("TMPDIR", folder.path()));
    let checks = String::from_utf8_lossy(&told.stdout).into_owned();
    let boots = checks.lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(boots, 2, "{checks}");
    assert!(checks.contains("key-login") && !checks.contains("Failed"), "{checks}");
    // Of a good image no log is kept.
    let left: Vec<_> = fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_fault_in_the_guest_is_found_by_its_check_and_by_no_other() {
    for (fault, check) in [
        ("quiet", "console"),
        ("fault=wrong-key", "key-login"),
        ("fault=password", "no-password"),
        ("fault=no-button", "power-button"),
    ] {
        let Some((outcome, verdict)) = boot(Loader::Boots(fault), &["--firmware", "bios"]) else { return };
        assert_eq!((outcome.code, not_passed(&verdict)), (1, vec![check]), "{}", outcome.snapshot());
        assert!(outcome.stderr.contains("hint: less -R "), "{}", outcome.snapshot());
    }
}

/// The names of the boots, and of their checks that did not pass.
fn boots(verdict: &Value) -> Vec<(&str, Vec<&str>)> {
    let boots = verdict["boots"].as_array().expect("boots").iter();
    boots.map(|boot| (boot["folder"].as_str().expect("a folder"), not_passed_in(boot))).collect()
}

#[test]
fn a_good_image_passes_as_openstack_boots_it() {
    let arguments = ["--as", "openstack", "--keep"];
    let judge = |logs: &Path| cloud_init::judge(&logs.join("metadata-q35-virtio-bios/metadata"));
    let Some((outcome, verdict)) = boot_and_look(Loader::Boots("fault=none"), &arguments, judge) else {
        return;
    };
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let wanted = [
        "metadata-q35-virtio-bios",
        "config-drive-scsi-q35-scsi-bios",
        "config-drive-scsi-q35-virtio-no-nic-bios",
        "nothing-q35-virtio-bios",
    ];
    assert_eq!(boots(&verdict), wanted.map(|name| (name, vec![])));
    assert_eq!(verdict["clones"].as_array().expect("clones").len(), 3);
    let checks = verdict["boots"][0]["checks"].as_array().expect("checks");
    let fetched = checks.iter().find(|check| check["name"] == "data-source").expect("a check");
    assert!(fetched["evidence"].as_str().expect("words").contains("fetched meta_data.json"), "{fetched}");
}

#[test]
fn a_config_drive_is_read_where_there_is_a_driver() {
    let on = |bus: &str| boot(Loader::Boots("fault=none"), &["--as", "openstack", "--cdrom", bus]);
    let Some((outcome, verdict)) = on("ide") else { return };
    let wanted = ["config-drive-ide-pc-scsi-bios", "config-drive-ide-pc-virtio-no-nic-bios"];
    assert_eq!(boots(&verdict), wanted.map(|name| (name, vec![])), "{}", outcome.snapshot());
    // Kernels for clouds have none for SATA.
    let Some((outcome, verdict)) = on("sata") else { return };
    assert_eq!(outcome.code, 1);
    assert!(trouble(&verdict).contains("does not run its user data"), "{}", outcome.snapshot());
}

#[test]
fn what_a_guest_does_not_take_from_openstack_is_found() {
    let arguments = ["--as", "openstack", "--source", "config-drive"];
    let Some((outcome, verdict)) = boot(Loader::Boots("fault=no-network-data"), &arguments) else { return };
    let checks = vec!["static-addresses", "routes", "mtu", "dns"];
    assert_eq!((outcome.code, not_passed(&verdict)), (1, checks), "{}", outcome.snapshot());

    let arguments = ["--as", "openstack", "--source", "metadata,config-drive"];
    let Some((outcome, verdict)) = boot(Loader::Boots("fault=same-duid"), &arguments) else { return };
    assert_eq!((outcome.code, not_passed(&verdict)), (1, vec![]), "{}", outcome.snapshot());
    let failed: Vec<_> =
        verdict["clones"].as_array().expect("clones").iter().map(|c| &c["verdict"]).collect();
    assert_eq!(failed, ["passed", "passed", "failed"], "{}", outcome.snapshot());
}

#[test]
fn two_boots_with_one_machine_id_are_found_out() {
    let Some((outcome, verdict)) = boot(Loader::Boots("fault=clone"), &["--firmware", "bios,bios"]) else {
        return;
    };
    assert_eq!((outcome.code, not_passed(&verdict)), (1, vec![]), "{}", outcome.snapshot());
    assert_eq!(verdict["clones"][0]["verdict"], "failed");
    assert_eq!(verdict["clones"][1]["verdict"], "passed");
    // It is what the DUID is made of.
    assert_eq!(verdict["clones"][2]["verdict"], "failed");
}

#[test]
fn trouble_ends_a_boot_long_before_its_time() {
    let asks = "the first boot asks a question on the console, and waits for an answer";
    for (loader, words) in [
        (Loader::Panics, "the kernel panics"),
        (Loader::Stops, "the boot loader stops at its prompt"),
        (Loader::Boots("fault=off"), "the guest switches itself off"),
        (Loader::Boots("fault=question"), asks),
    ] {
        let Some((outcome, verdict)) = boot(loader, &["--firmware", "bios"]) else { return };
        assert_eq!((outcome.code, trouble(&verdict)), (1, words), "{}", outcome.snapshot());
        let last = verdict["boots"][0]["last_words"].as_array().expect("last words");
        assert!(!last.is_empty(), "{}", outcome.snapshot());
    }
}

#[test]
fn a_disk_without_a_boot_loader_is_seen_with_both_kinds_of_firmware() {
    if peer("qemu-system-x86_64").is_none() {
        return;
    }
    let folder = folder();
    let image = folder.path().join("empty.raw");
    fs::File::create(&image).and_then(|file| file.set_len(4 << 20)).expect("an empty disk");
    for firmware in ["bios", "uefi"] {
        let (outcome, verdict) = test(&image, &["--firmware", firmware], |_| ());
        let words = "the firmware finds nothing to boot on the disk";
        assert_eq!((outcome.code, trouble(&verdict)), (1, words), "{}", outcome.snapshot());
    }
    // Without a table, for those who ask for quiet.
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let words = ["test", "-q", "--accelerator", "tcg", "--memory", "256", "--firmware", "bios", "empty.raw"];
    let outcome = goldimg(words).folder(folder.path()).env("TMPDIR", folder.path()).run();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{}", outcome.snapshot());
    assert!(outcome.stderr.starts_with("error: empty.raw did not pass"), "{}", outcome.snapshot());
}

/// Nothing is known of this image beforehand: its root filesystem is made at the boot.
#[test]
fn a_guest_that_rests_without_running_its_user_data_is_given_up_long_before_its_time() {
    let Some((outcome, verdict)) = boot(Loader::Boots("fault=no-seed"), &["--firmware", "bios"]) else {
        return;
    };
    assert_eq!(outcome.code, 1);
    let words =
        "it boots to a login prompt and rests there, but does not run its user data: is cloud-init enabled?";
    assert_eq!(trouble(&verdict), words, "{}", outcome.snapshot());
    // It waits for longer than half a minute, and says so.
    let line = "boot with bios: waiting for its user data to run (";
    assert!(outcome.stderr.contains(line), "{}", outcome.snapshot());
}

#[test]
fn an_image_without_cloud_init_is_told_before_it_boots_and_tried_as_far_as_it_goes() {
    let folder = folder();
    let image = folder.path().join("fixture.raw");
    if peer("qemu-system-x86_64").is_none() || !fixture::make(&image, Loader::Boots("fault=no-seed")) {
        return;
    }
    if !fixture::fill_root(&image, &["etc/debian_version"]) {
        return;
    }
    let (outcome, verdict) = test(&image, &["--firmware", "bios", "--grow", "0"], |_| ());
    let why = "/usr/bin/cloud-init: it is missing (install cloud-init)";
    let told = format!("warning: user data given as NoCloud will not be run: {why}");
    let (before, after) = outcome.stderr.split_once("boot with bios …").expect("a stage");
    assert!(before.contains(&told) && !after.contains(&told), "{}", outcome.snapshot());
    assert_eq!((outcome.code, trouble(&verdict).ends_with(why)), (1, true), "{}", outcome.snapshot());
    let with = |wanted: &str| -> Vec<&str> {
        let checks = verdict["boots"][0]["checks"].as_array().expect("checks").iter();
        checks.filter(|one| one["verdict"] == wanted).filter_map(|one| one["name"].as_str()).collect()
    };
    assert_eq!(with("failed"), ["cloud-init"], "{}", outcome.snapshot());
    assert_eq!(with("passed"), ["console", "no-failed-units", "power-button"], "{}", outcome.snapshot());
}

#[test]
fn a_unit_that_fails_is_seen_on_the_console_of_a_guest_without_data() {
    let arguments = ["--as", "openstack", "--source", "nothing"];
    let Some((outcome, verdict)) = boot(Loader::Boots("fault=failed-unit"), &arguments) else { return };
    assert_eq!((outcome.code, not_passed(&verdict)), (1, vec!["no-failed-units"]), "{}", outcome.snapshot());
    assert!(outcome.stdout.contains("lame.service"), "{}", outcome.snapshot());
}

#[test]
fn an_image_that_names_another_file_is_refused() {
    let Some(qemu_img) = peer("qemu-img") else { return };
    let folder = folder();
    let (base, image) = (folder.path().join("base.raw"), folder.path().join("overlay.qcow2"));
    fs::write(&base, vec![0; 1 << 20]).expect("a disk");
    let [base, image] = [&base, &image].map(|path| path.to_str().expect("a path that is text"));
    qemu_img.must(["create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image]);
    let outcome = goldimg(["test", image]).folder(folder.path()).run();
    assert_eq!(outcome.code, 1);
    insta::assert_snapshot!(outcome.snapshot());
}
