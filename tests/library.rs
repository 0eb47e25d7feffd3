//! The examples of docs/library.md do what they say: here those that need nothing, in `trial` the one that boots an image, in
//! `openstack` the one that builds and uploads one. `make test-library` runs the first of all, which does the same without a cloud.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::folder;
use crate::support::peer::peer;

/// An example, which cargo builds with the tests.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the path of this test");
    let path: PathBuf =
        test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").join("examples").join(name);
    assert!(path.is_file(), "{} is not built: cargo build --workspace --examples", path.display());
    Command::new(path)
}

#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> Output {
    let output = command.output().expect("an example starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn an_example_converts_with_progress_and_digests() {
    let (Some(qemu_img), Some(sha256sum)) = (peer("qemu-img"), peer("sha256sum")) else { return };
    let folder = folder();
    let (source, target) = (folder.path().join("a.raw"), folder.path().join("a.qcow2"));
    let content: Vec<u8> = (0..3_u32 << 20).flat_map(|number| (number / 7).to_le_bytes()).collect();
    std::fs::write(&source, &content).expect("a disk");
    let told = succeeds(example("convert").args([&source, &target]));
    let stdout = String::from_utf8_lossy(&told.stdout).into_owned();
    let expected = sha256sum.must([&source]);
    let digest = expected.split_whitespace().next().expect("a digest");
    assert!(stdout.starts_with(digest), "{stdout:?}, not {digest}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("of 12582912 bytes"));
    qemu_img.must(["compare".as_ref(), source.as_os_str(), target.as_os_str()]);
    assert!(target.metadata().expect("an image").len() < content.len() as u64 / 2, "it is compressed");
    let again = example("convert").args([&source, &target]).output().expect("it starts");
    assert!(!again.status.success(), "an image that is there was replaced");
}

#[test]
fn an_example_reads_a_file_out_of_an_image() {
    let Some(mke2fs) = peer("mke2fs") else { return };
    let folder = folder();
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("etc")).expect("a tree");
    std::fs::write(tree.join("etc/motd"), "hello\n").expect("a file");
    let image = folder.path().join("a.raw");
    mke2fs.must([
        "-q".as_ref(),
        "-t".as_ref(),
        "ext4".as_ref(),
        "-d".as_ref(),
        tree.as_os_str(),
        image.as_os_str(),
        "16M".as_ref(),
    ]);
    let told = succeeds(example("read_file").arg(&image).arg("/etc/motd"));
    assert_eq!(told.stdout, b"hello\n");
    let none = example("read_file").arg(&image).arg("/etc/nothing").output().expect("it starts");
    assert!(!none.status.success() && none.stdout.is_empty());
    assert!(String::from_utf8_lossy(&none.stderr).contains("has no file /etc/nothing"));
}

#[test]
fn an_example_without_its_arguments_says_so() {
    for (name, asks) in [("golden", "a folder and the name of a cloud, please"), ("boot", "an image, please")]
    {
        let told = example(name).output().expect("it starts");
        assert!(!told.status.success() && String::from_utf8_lossy(&told.stderr).contains(asks), "{told:?}");
    }
}
