//! Copies, seen in the finished image by the program of those who maintain ext4.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::build;
use crate::support::peer::{Peer, peer};
use crate::support::{folder, goldimg};

const STEPS: &str = r#"
[[steps]]
copy = { from = "over", to = "/", owner = "www-data" }
[[steps]]
copy = { from = "own-motd", to = "/etc" }
[[steps]]
copy = { from = "hardened", to = "/root" }
[[steps]]
copy = { from = "kept", to = "/srv/kept", preserve = ["mode", "timestamps", "xattr"] }
[[steps]]
write = { path = "/etc/shadow", content = "", append = true }
[[steps]]
run = "echo leftover > /etc/hostname; echo leftover > /root/.bash_history"
[output]
formats = ["raw"]
"#;

/// What attributes a file may have: a list of permissions with a further user, capabilities (cap_net_raw=ep), a note.
const ATTRIBUTES: &str = "
import os, struct, sys
kept = sys.argv[1]
acl = struct.pack('<I', 2)
for tag, bits, who in [(1, 6, -1), (2, 4, os.getuid()), (4, 4, -1), (16, 4, -1), (32, 0, -1)]:
    acl += struct.pack('<HHi', tag, bits, who)
os.setxattr(kept + '/listed', 'system.posix_acl_access', acl)
os.setxattr(kept + '/listed', 'user.note', b'kept')
try:
    os.setxattr(kept + '/tool', 'security.capability', struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0))
    print('capable')
except PermissionError:
    pass
";

fn put(path: PathBuf, content: &str, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(&path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Fills the recipe's folder as a checkout under umask 077 would; answers whether there are capabilities.
fn fill(folder: &Path, python: &Peer) -> io::Result<bool> {
    for (path, mode) in [
        ("over/etc/own/config", 0o600),
        ("over/usr/bin/own-tool", 0o700),
        ("over/bin/through-link", 0o700),
        ("over/tmp/x", 0o600),
        ("own-motd", 0o600),
        ("hardened/.ssh/authorized_keys", 0o600),
        ("kept/tool", 0o755),
        ("kept/listed", 0o640),
        ("kept/setuid", 0o755),
    ] {
        put(folder.join(path), "content\n", mode)?;
    }
    for path in ["over", "over/etc", "over/usr", "over/usr/bin", "over/tmp", "hardened", "hardened/.ssh"] {
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(0o700))?;
    }
    fs::set_permissions(folder.join("kept/setuid"), fs::Permissions::from_mode(0o4755))?;
    fs::hard_link(folder.join("kept/tool"), folder.join("kept/same-tool"))?;
    symlink("tool", folder.join("kept/link"))?;
    let sparse = fs::File::create(folder.join("kept/sparse"))?;
    sparse.write_all_at(b"end", (1 << 30) - 3)?;
    let said = python.must(["-c".into(), OsString::from(ATTRIBUTES), folder.join("kept").into()]);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for name in ["kept/tool", "kept/listed"] {
        fs::File::open(folder.join(name))?.set_modified(old)?;
    }
    Ok(said.contains("capable"))
}

/// The root filesystem of an image, by what debugfs says of it.
struct Root<'a> {
    debugfs: &'a Peer,
    place: String,
}

impl Root<'_> {
    fn ask(&self, request: &str) -> String {
        self.debugfs.must(["-R", request, &self.place])
    }

    /// "0755 0 0": mode, owner and group.
    #[track_caller]
    fn check(&self, path: &str, expected: &str) {
        let said = self.ask(&format!("stat {path}"));
        let word = |name: &str| {
            let rest = said.split(name).nth(1).unwrap_or_else(|| panic!("{path}: {said}"));
            rest.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let found = format!("{} {} {}", word("Mode:"), word("User:"), word("Group:"));
        assert_eq!(found, expected, "{path}: {said}");
    }
}

#[test]
fn what_is_copied_is_in_the_image_and_all_else_is_as_it_was() {
    let (Some(debugfs), Some(python), Some(e2fsck)) = (peer("debugfs"), peer("python3"), peer("e2fsck"))
    else {
        return;
    };
    let folder = folder();
    let has_capabilities = fill(folder.path(), &python).unwrap();
    let built = build(folder.path(), "copies", STEPS, &[]).run();
    assert_eq!(built.code, 0, "{}", built.snapshot());
    let recipe = folder.path().join("copies.toml");
    let plan = goldimg(["plan".as_ref(), "--json".as_ref(), recipe.as_os_str()]).run();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let partitions = plan["partitions"].as_array().unwrap();
    let root = partitions.iter().find(|partition| partition["number"] == 1).unwrap();
    let image = folder.path().join("copies/tiny-1.raw");
    let place = format!("{}?offset={}", image.display(), root["start"]);
    e2fsck.must(["-fn", &place]);
    let root = Root { debugfs: &debugfs, place };

    // Folders that were there, though the source's are 0700 and the owner is to be another.
    for (path, expected) in [
        ("/", "0755 0 0"),
        ("/etc", "0755 0 0"),
        ("/tmp", "01777 0 0"),
        ("/usr/bin", "0755 0 0"),
        ("/root", "0700 0 0"),
        ("/etc/own", "0755 33 33"),
        ("/etc/own/config", "0644 33 33"),
        ("/usr/bin/own-tool", "0755 33 33"),
        ("/usr/bin/through-link", "0755 33 33"),
        ("/etc/own-motd", "0644 0 0"),
        ("/etc/shadow", "0640 0 42"),
        ("/srv/kept/setuid", "04755 0 0"),
        ("/srv/kept/listed", "0640 0 0"),
    ] {
        root.check(path, expected);
    }
    assert!(root.ask("stat /bin").contains("Type: symlink"));
    // What was copied beside it exempts nothing from sealing.
    assert!(root.ask("stat /root/.ssh/authorized_keys").contains("Inode:"));
    for gone in ["/etc/hostname", "/root/.bash_history", "/tmp/x"] {
        assert!(!root.ask(&format!("stat {gone}")).contains("Inode:"), "{gone}");
    }
    let tool = root.ask("stat /srv/kept/tool");
    assert!(tool.contains("Links: 2") && tool.contains("mtime: 0x3b9aca00"), "{tool}");
    assert!(root.ask("stat /srv/kept/sparse").contains("Size: 1073741824"));
    assert!(fs::metadata(&image).unwrap().len() < 1 << 30, "the holes have room of their own");
    let attributes = root.ask("ea_list /srv/kept/listed");
    assert!(attributes.contains("user.note (4)"), "{attributes}");
    assert!(attributes.contains("system.posix_acl_access (28)"), "{attributes}");
    if has_capabilities {
        // Version 2: for whoever is root where the image runs.
        let value = root.ask("ea_get -x /srv/kept/tool security.capability");
        assert!(value.contains("01 00 00 02 00 20 00 00"), "{value}");
    }

    let about = |step: usize| {
        let remarks = plan["copies"][step]["remarks"].as_array().unwrap();
        remarks.iter().map(|one| one["about"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((plan["copies"][0]["files"].as_u64(), about(0)), (Some(4), vec!["wider"]));
    assert_eq!(plan["copies"][1]["remarks"][0]["paths"], serde_json::json!(["own-motd"]));
    let kept = if has_capabilities { vec!["set-id", "capabilities"] } else { vec!["set-id"] };
    assert_eq!(about(3), kept);
}

#[test]
fn a_copy_over_what_is_something_else_ends_the_build_with_both_paths() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("over/usr")).unwrap();
    symlink("elsewhere", folder.path().join("over/usr/lib")).unwrap();
    let steps = "[[steps]]\ncopy = { from = \"over\", to = \"/\" }\n";
    let outcome = build(folder.path(), "clash", steps, &[]).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    for part in ["step 1", "over/usr/lib is a link, but /usr/lib in the image is a folder", "replace = true"]
    {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn what_cannot_be_copied_is_told_before_anything_is_built() {
    let Some(mkfifo) = peer("mkfifo") else { return };
    let folder = folder();
    fs::create_dir(folder.path().join("over")).unwrap();
    put(folder.path().join("over/setuid"), "", 0o755).unwrap();
    fs::set_permissions(folder.path().join("over/setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    mkfifo.must([folder.path().join("over/pipe")]);
    let steps = "[[steps]]\ncopy = { from = \"over\", to = \"/srv/over\" }\n";
    let outcome = build(folder.path(), "special", steps, &[]).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("step 1: over/pipe is neither a file nor a folder nor a link"));
    assert!(!folder.path().join("special/tiny-1.log").exists(), "it was begun");
    let plan = goldimg(["plan".as_ref(), folder.path().join("special.toml").as_os_str()]).run();
    for part in [
        "step 1: over to /srv/over: 1 file, 1 folder, 0 B",
        "over/pipe: neither file nor folder nor link",
        "over/setuid: its set-user-ID, set-group-ID or sticky bit is not kept (preserve = [\"mode\"])",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {}", plan.snapshot());
    }
}

#[test]
fn a_step_that_makes_a_file_immutable_ends_the_build_with_the_file_and_what_to_do() {
    let folder = folder();
    let steps = "[[steps]]\nrun = \"echo fixed > /srv/fixed; chattr +i /srv/fixed\"\n";
    let outcome = build(folder.path(), "fixed", steps, &[]).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    for part in ["step 1", "while setting flags on /srv/fixed", "hint: let systemd do it at boot"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}
