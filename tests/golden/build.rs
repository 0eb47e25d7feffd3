//! A small build to its end, twice and by different callers, and one whose step fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::sandbox::{Machine, OrdinaryUser};
use super::{build, build_from, cache, secrets};
use crate::support::{folder, goldimg, peer};

/// A recipe with every kind of step. Sealed away: what the script leaves.
const STEPS: &str = r#"
[[steps]]
install = ["file"]
[[steps]]
write = { path = "/etc/motd", content = "golden\n" }
[[steps]]
copy = { from = "files", to = "/srv/files" }
[[steps]]
run = { script = "test \"$COLOUR\" = blue\ntest -z \"${GOLDIMG_WORK_DIR-}${CARGO-}\"\nsystemctl restart ssh\nudevadm settle\necho leftover > /root/.bash_history\nsleep 1000 &\necho ran > /srv/ran", environment = { COLOUR = "blue" } }
[[steps]]
remove = ["file"]
[output]
formats = ["qcow2", "raw"]
"#;

#[test]
fn two_builds_give_the_same_bytes_and_other_tools_like_them() {
    let folder = folder();
    fs::create_dir(folder.path().join("files")).unwrap();
    fs::write(folder.path().join("files/copied"), "copied\n").unwrap();
    let user = OrdinaryUser::new(folder.path());
    let machine = Machine::new(&user);
    let rest = format!("{}{}{STEPS}", machine.step(), secrets::STEPS);
    let [secret, token] = secrets::given(folder.path());
    let first = machine.plainly(build(folder.path(), "first", &rest, &[&secret, &token])).run();
    assert_eq!(first.code, 0, "{}", first.snapshot());
    secrets::judge(&folder.path().join("first"), &first);
    let qcow2 = folder.path().join("first/tiny-1.qcow2");
    let raw = folder.path().join("first/tiny-1.raw");
    if let Some(qemu_img) = peer::peer("qemu-img") {
        qemu_img.must(["check".as_ref(), qcow2.as_os_str()]);
        qemu_img.must(["compare".as_ref(), qcow2.as_os_str(), raw.as_os_str()]);
    }
    if let Some(sgdisk) = peer::peer("sgdisk") {
        let said = sgdisk.must(["-v".as_ref(), raw.as_os_str()]);
        assert!(said.contains("No problems found"), "{said}");
    }
    // What a recipe need not say is fit for a cloud: also what only OpenStack asks for, which is no failure of a build.
    let audited = goldimg(["audit".as_ref(), "--json".as_ref(), raw.as_os_str()]).run();
    assert_eq!(audited.code, 0, "{}", audited.snapshot());
    assert!(!first.stderr.contains("for OpenStack, the image lacks"), "{}", first.stderr);
    // By another caller, in whose circumstances nothing is as usual.
    let (own_cache, work) = (user.cache(&cache()), user.folder("work"));
    let options = ["--work-dir", work.to_str().unwrap(), "--keep", "-q", &secret, &token];
    let second = build_from(&own_cache, folder.path(), "second", &rest, &options).folder(folder.path());
    let second = user.starts(second, |build| machine.oddly(build, &user.folder("home"))).run();
    assert_eq!((second.code, second.stdout.as_str()), (0, ""), "{}", second.snapshot());
    assert!(!second.stderr.contains("tiny-1"), "only warnings: {}", second.snapshot());
    secrets::judge(&folder.path().join("second"), &second);
    for name in ["tiny-1.qcow2", "tiny-1.raw", "tiny-1.json", "SHA256SUMS"] {
        let read = |build: &str| fs::read(folder.path().join(build).join(name)).unwrap();
        assert!(read("first") == read("second"), "{name} differs between two builds");
    }
    // Neither has seen anything of this machine, nor left anything in the cache of packages.
    let kept = fs::read_dir(&work).unwrap().flatten().next().expect("the work directory that is kept").path();
    let bwrap = peer::peer("bwrap").map(|bwrap| machine.beneath_bwrap(&bwrap, &user, &kept.join("tree")));
    machine.judge(&folder.path().join("first/tiny-1.log"), true, bwrap.as_ref());
    machine.judge(&folder.path().join("second/tiny-1.log"), false, bwrap.as_ref());
    for cache in [&cache(), &own_cache] {
        assert!(!cache.join("debian-bookworm/probe_1_all.deb").exists(), "{}", cache.display());
    }
    OrdinaryUser::remove(&work);
    let image = fs::read(&qcow2).unwrap();
    layers_are_taken_and_verified(&own_cache, &|name| {
        let build =
            build_from(&own_cache, folder.path(), name, &rest, &[&secret, &token]).folder(folder.path());
        let done = user.starts(build, |build| machine.plainly(build)).run();
        assert_eq!(done.code, 0, "{}", done.snapshot());
        let own = fs::read(folder.path().join(name).join("tiny-1.qcow2")).unwrap();
        assert!(own == image, "{name}: another image");
        done.stderr
    });
    // What is the caller's has the caller's umask.
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("second/tiny-1.raw"), mode("second/tiny-1.log"), mode("first/tiny-1.log")], [0o600; 3]);
    // A plan names the stages as the build does.
    let recipe = folder.path().join("first.toml");
    let plan = goldimg(["plan".as_ref(), "--json".as_ref(), "--offline".as_ref(), recipe.as_os_str()]).run();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let log = fs::read_to_string(folder.path().join("first/tiny-1.log")).unwrap();
    let stages: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("# == ")).collect();
    assert_eq!(plan["stages"], serde_json::json!(stages));
    // What is there is not replaced unasked.
    let third = build(folder.path(), "first", &rest, &[&secret, &token]).run();
    assert_eq!(third.code, 1, "{}", third.snapshot());
    assert!(third.stderr.contains("tiny-1.qcow2 exists"), "{}", third.stderr);
}

/// The base that a build has kept in `cache` is taken by the next one, which gives the same image; one that is damaged is made anew.
fn layers_are_taken_and_verified(cache: &Path, build: &dyn Fn(&str) -> String) {
    let told = build("warm");
    assert!(told.contains("the base is a layer that was there"), "{told}");
    let mut files = fs::read_dir(cache.join("layers/1")).expect("layers").flatten().map(|entry| entry.path());
    let layer = files.find(|path| path.extension().is_some_and(|end| end == "zst")).expect("a layer");
    let mut bytes = fs::read(&layer).expect("a layer");
    *bytes.last_mut().expect("its last byte") ^= 1;
    fs::write(&layer, bytes).expect("a layer");
    let told = build("anew");
    assert!(told.contains("is of no use, and made anew"), "{told}");
}

#[test]
fn a_step_that_fails_is_named_with_its_last_words_and_the_log() {
    let folder = folder();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let steps = "[[steps]]\nrun = { script = \"echo some last words\\nexit 7\", timeout = \"1h\" }\n";
    let outcome = build(folder.path(), "failing", steps, &["--work-dir", work.to_str().unwrap()]).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    for part in ["step 1: run echo some last words", "exit status: 7", "| some last words", "tiny-1.log"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("more time"), "it had time: {}", outcome.stderr);
    let log = fs::read_to_string(folder.path().join("failing/tiny-1.log")).unwrap();
    assert!(log.contains("\nsome last words\n"), "{log}");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "the work directory stayed");
    let outputs: Vec<_> = fs::read_dir(folder.path().join("failing")).unwrap().flatten().collect();
    assert_eq!(outputs.len(), 1, "nothing but the log: {outputs:?}");
}
