//! Wrong command lines, help, and the ways to be started.

use super::{Row, differs, same, table};
use crate::support::{folder, goldimg};

/// What our version is, instead of theirs.
const ROWS: &[Row] = &[
    same(""),
    same("foo"),
    same("--foo"),
    same("-x"),
    same("-T"),
    same("--trace"),
    same("--help=x"),
    same("-- foo"),
    same("-- "),
    differs("--version", "", 0),
    differs("--vers extra", "", 0),
    differs("-V", "", 0),
    differs("--help", "", 0),
    differs("-h foo", "", 0),
    same("info"),
    same("info a b"),
    same("info -x"),
    same("info -Ux"),
    same("info --foo"),
    same("info --f x"),
    same("info --o json"),
    same("info --o=json"),
    same("info -f"),
    same("info --format"),
    same("info --output"),
    same("info --output xml a"),
    same("info --output=xm"),
    same("info --help=3"),
    same("info --help"),
    same("info -h -x"),
    same("info -x -h"),
    same("info -U -h a b c"),
    same("info -- -x"),
    same("info disk.raw --output json -- "),
    same("info --image-opt --outp=json driver=raw,file.filename=disk.raw"),
];

#[test]
fn wrong_command_lines_are_theirs() {
    table(ROWS);
}

#[test]
fn it_is_started_under_its_name_or_as_a_subcommand() {
    let folder = folder();
    let link = folder.path().join("qemu-img");
    std::os::unix::fs::symlink(goldimg([""; 0]).path(), &link).expect("a link");
    let by_name = crate::support::program::Invocation::new(&link, ["info", "-x"]).run();
    let link = link.to_string_lossy();
    let expected = format!("{link} info: invalid option -- 'x'\nTry '{link} info --help' for more info\n");
    assert_eq!((by_name.code, by_name.stderr), (1, expected));
    let as_subcommand = goldimg(["qemu-img", "info", "nofile"]).folder(folder.path()).run();
    let expected = "qemu-img: Could not open 'nofile': Could not open 'nofile': No such file or directory\n";
    assert_eq!((as_subcommand.code, as_subcommand.stderr.as_str()), (1, expected));
    let version = goldimg(["qemu-img", "--version"]).run();
    assert!(version.stdout.starts_with("qemu-img version 10.0.2 (goldimg "), "{}", version.stdout);
}
