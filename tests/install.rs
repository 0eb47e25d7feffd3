//! What `make install` and `make deb` put where, of the program under test: nothing is built here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::subcommands;
use crate::support::peer::{Peer, peer};
use crate::support::program::Invocation;
use crate::support::{folder, goldimg, project};

/// The time of packages: 2025-10-09.
const EPOCH: &str = "1760000000";

/// A target of the Makefile, called by somebody whose files are private, and by no other make.
fn make(peer: &Peer, target: &str, words: &[&str]) -> Invocation {
    let program = format!("GOLDIMG={}", goldimg([""; 0]).path().display());
    let script = "umask 077; exec \"$@\"";
    let own = ["-c", script, "sh", peer.path(), "--no-print-directory", target, &program];
    let sh = Path::new("/bin/sh");
    Invocation::new(sh, own.iter().chain(words)).folder(&project()).env("MAKEFLAGS", "")
}

/// The modes of all files and links beneath `folder`, which has folders for everybody only.
fn installed(folder: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(next) = ahead.pop() {
        for entry in fs::read_dir(&next).expect("a folder").map(|entry| entry.expect("an entry")) {
            let metadata = entry.metadata().expect("an entry's metadata");
            let mode = metadata.permissions().mode();
            let name = entry.path().strip_prefix(folder).expect("beneath it").display().to_string();
            if metadata.is_dir() {
                assert_eq!(mode & 0o7777, 0o755, "{name}");
                ahead.push(entry.path());
            } else {
                found.insert(name, mode & 0o177_777);
            }
        }
    }
    found
}

/// What is installed beneath the prefix, with completions of zsh in `zsh`, all links left out.
fn expected(zsh: &str) -> BTreeMap<String, u32> {
    let mut files = vec![
        "share/bash-completion/completions/goldimg".to_owned(),
        "share/fish/vendor_completions.d/goldimg.fish".to_owned(),
        "share/man/man1/goldimg.1".to_owned(),
        format!("share/zsh/{zsh}/_goldimg"),
    ];
    files.extend(subcommands().iter().map(|name| format!("share/man/man1/goldimg-{name}.1")));
    let top = ["README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "GLOSSARY", "findings/README"];
    let top = top
        .map(|name| format!("{name}.md"))
        .into_iter()
        .chain(["run", "test"].map(|it| format!("packages/{it}.txt")));
    files.extend(top.map(|name| format!("share/doc/goldimg/{name}")));
    for (from, ends) in [("docs", ".md"), ("recipes", "")] {
        let names = fs::read_dir(project().join(from)).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        files.extend(
            names.filter(|name| name.ends_with(ends)).map(|name| format!("share/doc/goldimg/{from}/{name}")),
        );
    }
    let mut expected: BTreeMap<_, _> = files.into_iter().map(|file| (file, 0o100_644)).collect();
    expected.insert("bin/goldimg".to_owned(), 0o100_755);
    expected
}

/// Links of the guides beneath `folder` to what is not there.
fn dead_links(folder: &Path) -> Vec<String> {
    let mut dead = Vec::new();
    let (mut seen, names) = (0, installed(folder).into_keys());
    for guide in names.filter(|name| name.ends_with(".md")) {
        let text = fs::read_to_string(folder.join(&guide)).expect("a guide");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            seen += 1;
            let beside = folder.join(&guide).with_file_name(target);
            if !beside.exists() {
                dead.push(format!("{guide}: {target}"));
            }
        }
    }
    assert!(seen > 10, "{seen} links");
    dead
}

#[test]
fn exactly_these_files_are_installed_and_taken_away_again() {
    let Some(gnu) = peer("make") else { return };
    let folder = folder();
    let destination = format!("DESTDIR={}", folder.path().display());
    let run =
        |target: &str, words: &[&str]| make(&gnu, target, &[&[destination.as_str()], words].concat()).run();
    let outcome = run("install", &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    let local = folder.path().join("usr/local");
    assert_eq!(installed(&local), expected("site-functions"));
    assert_eq!(installed(folder.path()).len(), expected("site-functions").len(), "all is in /usr/local");
    assert_eq!(dead_links(&local.join("share/doc/goldimg")), [""; 0]);
    let program = fs::read(local.join("bin/goldimg")).expect("the program");
    assert!(program == fs::read(goldimg([""; 0]).path()).expect("the program"));
    let outcome = run("uninstall", &[]);
    assert_eq!((outcome.code, installed(folder.path())), (0, BTreeMap::new()), "{}", outcome.snapshot());

    // Under the other name too, elsewhere; and again over itself.
    for _ in 0..2 {
        let outcome = run("install", &["PREFIX=/opt/g", "QEMU_IMG=yes"]);
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
    }
    let bin = folder.path().join("opt/g/bin");
    let help = Invocation::new(&bin.join("qemu-img"), ["--help"]).run();
    assert!(help.stdout.starts_with("qemu-img version 10"), "{}", help.snapshot());
    run("uninstall", &["PREFIX=/opt/g"]);
    assert_eq!(installed(folder.path()), BTreeMap::new());

    // QEMU's own stays, whatever is asked for.
    fs::write(bin.join("qemu-img"), "theirs").expect("room");
    let outcome = run("install", &["PREFIX=/opt/g", "QEMU_IMG=yes"]);
    assert_eq!(outcome.code, 2, "{}", outcome.snapshot());
    assert!(outcome.stderr.contains("bin/qemu-img is there already"), "{}", outcome.snapshot());
    run("uninstall", &["PREFIX=/opt/g"]);
    let left: Vec<_> = installed(folder.path()).into_keys().collect();
    assert_eq!(left, ["opt/g/bin/qemu-img"]);
}

#[test]
fn bash_completes_what_is_installed() {
    let Some(bash) = peer("bash") else { return };
    let folder = folder();
    goldimg(["completions", "bash", "--into", "share/completions"]).folder(folder.path()).run();
    let completed = |words: &str, last: usize| {
        let script = format!(
            "source share/completions/goldimg; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _goldimg goldimg \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo ${{COMPREPLY[@]}}"
        );
        bash.command(["-c", &script]).folder(folder.path()).run().stdout
    };
    let checks = completed("goldimg check", 1);
    let mut checks: Vec<_> = checks.split_whitespace().collect();
    checks.sort_unstable();
    assert_eq!(checks, ["check", "check-recipe"]);
    assert_eq!(completed("goldimg check --rep", 2), "--repair\n");
    assert_eq!(completed("goldimg completions --into x fi", 4), "fish\n");
}

#[test]
fn man_pages_are_well_formed_and_keep_the_lines_of_examples() {
    let (Some(mandoc), Some(man)) = (peer("mandoc"), peer("man")) else { return };
    let folder = folder();
    let written = goldimg(["completions", "man", "--into", "."]).folder(folder.path()).run();
    assert_eq!((written.code, written.stdout.as_str()), (0, ""), "{}", written.snapshot());
    let names = subcommands().into_iter().map(|name| format!("goldimg-{name}"));
    for name in names.chain(["goldimg".to_owned()]) {
        let page = folder.path().join(format!("{name}.1")).display().to_string();
        // A page of what has no date has none.
        let judged = mandoc.run(["-T", "lint", "-W", "warning", &page]);
        let complaints: Vec<_> =
            judged.stdout.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let shown = man.command(["--warnings", "-E", "UTF-8", "-l", &page]).env("MANWIDTH", "250");
        let shown = shown.env("LC_ALL", "C.UTF-8").run();
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{}", shown.snapshot());
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(shown.stdout.lines().any(|line| line == section), "{name}: no {section}");
        }
        let words = name.strip_prefix("goldimg-").into_iter().chain(["--help"]);
        let help = goldimg(words).run().stdout;
        let examples = help.split_once("Examples:\n").map(|(_, text)| text).unwrap_or_default();
        for example in examples.lines().take_while(|line| line.starts_with("  ")) {
            assert!(shown.stdout.contains(example.trim()), "{name}: {example:?} is not in\n{}", shown.stdout);
        }
        for section in ["EXIT STATUS", "ENVIRONMENT", "FILES", "SUBCOMMANDS"] {
            let there = shown.stdout.lines().any(|line| line == section);
            assert!(there || name != "goldimg", "no {section}");
        }
    }
}

/// The field of a package's control file.
fn field(dpkg: &Peer, package: &str, name: &str) -> String {
    dpkg.must(["--field", package, name]).trim_end().to_owned()
}

/// The packages below a heading of packages/run.txt.
fn listed(heading: &str) -> Vec<String> {
    let text = fs::read_to_string(project().join("packages/run.txt")).expect("a list");
    let part = text.split_once(&format!("# {heading}:")).expect("a heading").1;
    let lines = part.lines().skip(1).take_while(|line| !line.is_empty());
    lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn the_debian_package_is_whole_and_the_same_again() {
    let peers = ["make", "dpkg-deb", "dpkg-shlibdeps", "strip", "python3", "lintian"].map(peer);
    let [Some(gnu), Some(dpkg), Some(_), Some(_), Some(_), Some(lintian)] = peers else { return };
    let folder = folder();
    let package = |name: &str| {
        let out = folder.path().join(name);
        let temporary = folder.path().join(format!("temporary-{name}"));
        fs::create_dir(&temporary).expect("a folder");
        let made = make(&gnu, "deb", &[&format!("OUT={}", out.display()), "BINDIR=/wrong", "QEMU_IMG=yes"])
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .env("TMPDIR", &temporary)
            .run();
        assert_eq!(made.code, 0, "{}", made.snapshot());
        assert_eq!(fs::read_dir(&temporary).expect("a folder").count(), 0, "nothing is left behind");
        let files: Vec<_> =
            fs::read_dir(&out).expect("a folder").map(|entry| entry.expect("one").path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        file.display().to_string()
    };
    let first = package("first");
    let version = format!("{}-1", env!("CARGO_PKG_VERSION"));
    let architecture = peer("dpkg").expect("dpkg").must(["--print-architecture"]);
    let architecture = architecture.trim_end();
    assert!(first.ends_with(&format!("/goldimg_{version}_{architecture}.deb")), "{first}");
    assert_eq!(field(&dpkg, &first, "Version"), version);
    assert_eq!(field(&dpkg, &first, "Architecture"), architecture);
    let depends = field(&dpkg, &first, "Depends");
    let depends: Vec<&str> = depends.split(", ").collect();
    assert!(depends.iter().any(|name| name.starts_with("libc6 (>= ")), "{depends:?}");
    assert!(
        depends.ends_with(&listed("Depends").iter().map(String::as_str).collect::<Vec<_>>()),
        "{depends:?}"
    );
    assert_eq!(field(&dpkg, &first, "Recommends"), listed("Recommends").join(", "));
    assert_eq!(field(&dpkg, &first, "Suggests"), listed("Suggests").join(", "));

    let tree = folder.path().join("tree");
    dpkg.must(["-x", &first, &tree.display().to_string()]);
    let packed = |name: &String| match name.contains("/man/") {
        true => format!("{name}.gz"),
        false => name.clone(),
    };
    let mut files: BTreeMap<_, _> =
        expected("vendor-completions").iter().map(|(name, mode)| (packed(name), *mode)).collect();
    for name in ["changelog.Debian.gz", "changelog.gz", "copyright", "third-party-notices.gz"] {
        files.insert(format!("share/doc/goldimg/{name}"), 0o100_644);
    }
    files.insert("share/lintian/overrides/goldimg".to_owned(), 0o100_644);
    assert_eq!(installed(&tree.join("usr")), files);
    assert_eq!(dead_links(&tree.join("usr/share/doc/goldimg")), [""; 0]);
    let owners = dpkg.must(["--contents", &first]);
    assert!(owners.lines().all(|line| line.contains(" root/root ")), "{owners}");
    let told = Invocation::new(&tree.join("usr/bin/goldimg"), ["--version"]).run();
    assert_eq!(told.stdout, format!("goldimg {}\n", env!("CARGO_PKG_VERSION")));

    let judged = lintian.run(["--allow-root", "--fail-on", "error,warning,info", "--info", &first]);
    assert_eq!((judged.code, judged.stdout.as_str()), (0, ""), "{}", judged.snapshot());
    let again = package("again");
    assert!(fs::read(&first).expect("a package") == fs::read(&again).expect("a package"), "other bytes");
}
