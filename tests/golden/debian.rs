//! The golden image of `recipes/debian-13.toml`: built, looked at by other tools, and booted as a cloud would.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::support::{folder, goldimg, peer, project};

/// What it may weigh, in bytes.
const LARGEST: u64 = 200_000_000;

#[test]
fn the_debian_image_is_sound_and_boots_to_the_end_of_cloud_init() {
    let peers = ["qemu-img", "qemu-system-x86_64", "sha256sum"].map(peer::peer);
    let [Some(qemu_img), Some(_), Some(sha256sum)] = peers else { return };
    let folder = folder();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let recipe = project().join("recipes/debian-13.toml");
    let built = goldimg([
        "build".as_ref(),
        "--progress=plain".as_ref(),
        "--cache-dir".as_ref(),
        cache.as_os_str(),
        recipe.as_os_str(),
        "-o".as_ref(),
        folder.path().as_os_str(),
    ])
    .run();
    assert_eq!(built.code, 0, "{}", built.snapshot());

    let outputs: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let with = |extension: &str| {
        outputs.iter().find(|path| path.extension() == Some(OsStr::new(extension))).expect("an output")
    };
    let image = with("qcow2");
    qemu_img.must(["check".as_ref(), image.as_os_str()]);
    let sums = sha256sum.command(["-c", "SHA256SUMS"]).folder(folder.path()).run();
    assert_eq!(sums.code, 0, "{}", sums.snapshot());
    let size = fs::metadata(image).unwrap().len();
    assert!(size <= LARGEST, "{size} bytes");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(with("json")).unwrap()).unwrap();
    assert_eq!(manifest["min_disk"], 1, "{manifest}");

    let before = fs::read(image).unwrap();
    let audited = goldimg(["audit".as_ref(), "--json".as_ref(), image.as_os_str()]).run();
    assert_eq!(audited.code, 0, "{}", audited.snapshot());
    let report: serde_json::Value = serde_json::from_str(&audited.stdout).unwrap();
    assert_eq!((&report["counts"]["problem"], &report["counts"]["not-checked"]), (&0.into(), &0.into()));
    // Its kernels for clouds have a driver for SATA; those of Debian 12 had none.
    assert_eq!(manifest["properties"]["hw_cdrom_bus"], serde_json::Value::Null, "{manifest}");

    let trial = goldimg(["test".as_ref(), "--firmware=bios".as_ref(), image.as_os_str()]).run();
    assert_eq!(trial.code, 0, "{}", trial.snapshot());
    assert!(fs::read(image).unwrap() == before, "the trial changed the image");

    // The menu is written anew by the image's own programs, which find the image's filesystems and not this machine's.
    let changed = folder.path().join("changed.qcow2");
    let words = ["--network=none", "--kernel-argument=goldimg.word=2", "--run-command"].map(OsStr::new);
    let probe = OsStr::new(
        "grub-probe --target=fs_uuid / > /etc/probed; test -e /dev/disk/by-uuid/$(cat /etc/probed)",
    );
    let mut arguments =
        vec![OsStr::new("customize"), image.as_os_str(), OsStr::new("-o"), changed.as_os_str()];
    arguments.extend(words.into_iter().chain([probe]));
    let customized = goldimg(arguments).run();
    assert_eq!(customized.code, 0, "{}", customized.snapshot());
    qemu_img.must(["check".as_ref(), changed.as_os_str()]);
    let read = |image: &Path, path: &str| {
        let read = goldimg(["cat".as_ref(), image.as_os_str(), OsStr::new(path)]).run();
        assert_eq!(read.code, 0, "{}", read.snapshot());
        read.stdout
    };
    let root = read(&changed, "/etc/probed");
    let menu = read(&changed, "/boot/grub/grub.cfg");
    let kernels: Vec<&str> = menu.lines().filter(|line| line.trim_start().starts_with("linux\t")).collect();
    assert!(!kernels.is_empty(), "{menu}");
    for line in kernels {
        assert!(line.contains(&format!(" root=UUID={} ", root.trim())), "{line}");
        assert!(line.trim_end().ends_with(" goldimg.word=2"), "{line}");
    }
    for path in ["/usr/sbin/grub-probe", "/var/lib/dpkg/diversions"] {
        assert!(read(&changed, path) == read(image, path), "{path}");
    }
    let audited = goldimg(["audit".as_ref(), "--json".as_ref(), changed.as_os_str()]).run();
    assert_eq!(audited.code, 0, "{}", audited.snapshot());
}
