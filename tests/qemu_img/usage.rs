//! Wrong command lines, help, and the ways to be started.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

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
fn help_fits_a_terminal() {
    for subcommand in
        ["", "amend", "bench", "bitmap", "check", "commit", "compare", "convert", "create", "dd"]
            .into_iter()
            .chain(["info", "map", "measure", "rebase", "resize", "snapshot"])
    {
        let words = ["qemu-img", subcommand, "--help"];
        let help = goldimg(words.into_iter().filter(|word| !word.is_empty())).run();
        let long: Vec<_> = help.stdout.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty() && !help.stdout.is_empty(), "{subcommand}: {long:#?}");
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

/// Names of files are bytes, and so is what is said of them. "@" is a byte that is not UTF-8.
const LINES: &[&str] = &[
    "info n@",
    "create -f qcow2 n@ 1M",
    "info n@",
    "info --output=json n@",
    "info --image-opts driver=qcow2,file.filename=n@",
    "create -f qcow2 -b n@ -F qcow2 o@",
    "info --backing-chain o@",
    "info --output=json o@",
    "map o@",
    "map --output=json o@",
    "convert -O qcow2 o@ p@",
    "convert -n -O qcow2 o@ p@",
    "bitmap --add p@ b@",
    "bitmap --add p@ b@",
    "bitmap --remove p@ x@",
    "bitmap --clear p@ b@",
    "convert --bitmaps -O qcow2 p@ q@",
    "snapshot -d s@ o@",
    "snapshot -c s@ o@",
    "snapshot -a s@ o@",
    "convert -l s@ o@ r@",
    "dd if=p@ of=d@ bs=1k count=3",
    "resize -f raw d@ 2M",
    "rebase -u -b d@ -F raw o@",
    "commit o@",
    "compare n@ nofile@",
    "convert nofile@ x",
    "convert n@ nofolder@/x",
    "check -q p@",
    "check nofile@",
    "foo@",
    "info --@",
    "create -o @=1 -f qcow2 x 1M",
];

#[test]
fn names_that_are_not_utf_8_are_names() {
    let Some(theirs) = qemu_10("qemu-img") else { return };
    let (their_folder, our_folder) = (folder(), folder());
    let (theirs, ours) = (theirs.command([""; 0]), goldimg([""; 0]));
    for line in LINES {
        let word = |word: &str| {
            OsString::from_vec(word.bytes().map(|byte| if byte == b'@' { 0xe9 } else { byte }).collect())
        };
        let words: Vec<OsString> = line.split(' ').map(word).collect();
        // Not by way of `Outcome`, in which texts are UTF-8.
        let run = |program: &Path, folder: &Path| {
            let mut command = std::process::Command::new(program);
            command.arg0("qemu-img").args(&words).current_dir(folder);
            let output = command.output().expect("it runs");
            let entries = std::fs::read_dir(folder).expect("a folder");
            let names: BTreeSet<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            // How much of a new file is set aside is up to the filesystem.
            let is_size = |line: &String| line.contains("disk size: ") || line.contains("actual-size");
            let shown = |bytes: &[u8]| -> Vec<String> {
                let lines = bytes.split(|&byte| byte == b'\n');
                lines.map(|line| line.escape_ascii().to_string()).filter(|line| !is_size(line)).collect()
            };
            (output.status.code(), shown(&output.stdout), shown(&output.stderr), names)
        };
        let expected = run(&theirs.path(), their_folder.path());
        assert_eq!(run(&ours.path(), our_folder.path()), expected, "{line}");
    }
}
