//! Wrong command lines, help, and the ways to be started.

use std::collections::BTreeSet;

use super::{Row, differs, same, table};
use crate::support::peer::qemu_10;
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
    differs("info -h -x", "", 0),
    same("info -x -h"),
    differs("info -U -h a b c", "", 0),
    same("info -- -x"),
    same("info disk.raw --output json -- "),
    same("info --image-opt --outp=json driver=raw,file.filename=disk.raw"),
];

#[test]
fn wrong_command_lines_are_theirs() {
    table(ROWS);
}

/// Words that are options: `-f`, `--format`.
fn options(help: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let options = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = options.flat_map(|line| line.trim_start().split("  ").next().unwrap_or_default().split(word));
    words.filter(|word| word.starts_with('-') && word.len() > 1).map(str::to_owned).collect()
}

/// The words of the help are our own; what it names is not.
#[test]
fn help_names_every_option_that_theirs_names() {
    let Some(theirs) = qemu_10("qemu-img") else { return };
    let subcommands =
        "amend bench bitmap check commit compare convert create dd info map measure rebase resize snapshot";
    for subcommand in subcommands.split(' ') {
        let expected = options(&theirs.must([subcommand, "--help"]));
        let help = goldimg(["qemu-img", subcommand, "--help"]).run();
        assert_eq!(help.code, 0, "{}", help.snapshot());
        let ours = options(&help.stdout);
        // Theirs has it misspelt.
        let missing: Vec<_> = expected.difference(&ours).filter(|word| *word != "--progres").collect();
        assert!(missing.is_empty() && !expected.is_empty(), "{subcommand}: {missing:?}\n{}", help.stdout);
    }
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
