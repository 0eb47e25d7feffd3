//! Backing files in other folders: refused, unless the environment says that they may be opened.

use super::prepared::Prepared;
use super::{Row, allowed, table_with};
use crate::support::goldimg;

const ALLOWED: &[Row] = &[
    allowed("info sub/out.qcow2"),
    allowed("info --backing-chain sub/out.qcow2"),
    allowed("info --backing-chain --output json sub/out.qcow2"),
    allowed("check sub/out.qcow2"),
    allowed("map sub/out.qcow2"),
    allowed("map --output json sub/out.qcow2"),
    allowed("compare sub/out.qcow2 disk.raw"),
    allowed("compare -f qcow2 -F qcow2 sub/out.qcow2 disk.qcow2"),
    allowed("measure -O qcow2 sub/out.qcow2"),
    allowed("dd if=sub/out.qcow2 of=out bs=64k count=20 skip=3"),
    allowed("convert sub/out.qcow2 out"),
    allowed("convert -O qcow2 sub/out.qcow2 out"),
    allowed("convert -c -O qcow2 sub/out.qcow2 sub/packed.qcow2"),
    allowed("convert -n -O raw sub/out.qcow2 disk.raw"),
    allowed("create -q -f qcow2 -b ../disk.raw -F raw sub/new.qcow2 && convert sub/new.qcow2 out"),
    allowed("rebase -u -b ../disk.qcow2 -F qcow2 sub/out.qcow2 && convert sub/out.qcow2 out"),
    allowed("commit sub/out.qcow2"),
    allowed("resize sub/out.qcow2 8M"),
    allowed("snapshot -c s sub/out.qcow2"),
    allowed("convert sub/nowhere.qcow2 out"),
];

#[test]
fn allowed_they_are_opened_as_theirs() {
    table_with(ALLOWED, |prepared| {
        prepared.img("create -q -f qcow2 -u -b ../nowhere/disk.raw -F raw sub/nowhere.qcow2 1M");
    });
}

/// What is said, behind the program's name and what it was doing.
const REFUSED: &str = "The backing file \"../disk.raw\" is outside of the image's folder: \
                       set GOLDIMG_ALLOW_BACKING=anywhere in the environment to open it\n";

#[test]
fn otherwise_no_command_opens_them() {
    let Some(prepared) = Prepared::new() else { return };
    for words in [
        "info --backing-chain sub/out.qcow2",
        "map sub/out.qcow2",
        "compare sub/out.qcow2 disk.raw",
        "measure -O qcow2 sub/out.qcow2",
        "dd if=sub/out.qcow2 of=out",
        "convert sub/out.qcow2 out",
        "commit sub/out.qcow2",
    ] {
        let words = words.split(' ');
        let run = goldimg(["qemu-img"].into_iter().chain(words)).folder(prepared.path()).run();
        assert_ne!(run.code, 0, "{}", run.snapshot());
        assert!(run.stderr.starts_with("qemu-img: ") && run.stderr.ends_with(REFUSED), "{}", run.snapshot());
        assert!(!prepared.path().join("out").exists());
    }
}
