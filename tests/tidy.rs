//! The rules of the source tree, executed: sizes, names, who may use whom, what may be written where.
//!
//! Each test collects every place that breaks its rule and shows them together. The rules themselves are explained in
//! ARCHITECTURE.md and CONTRIBUTING.md; a new module is entered in [`ARROWS`] here and in the drawing there.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::project;

/// Lines that a file of Rust may have: more is two rooms, fewer is a corner of another one.
const LINES: std::ops::RangeInclusive<usize> = 12..=600;

/// Who may use whom: a top-level module of a crate, and the modules of the same crate that it may name.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("image-core", "error", &[]),
    ("image-core", "block", &["error"]),
    ("image-core", "deflate", &[]),
    ("image-core", "progress", &[]),
    ("image-core", "digest", &["block", "error", "progress"]),
    ("image-core", "map", &["block", "error"]),
    ("image-core", "compare", &["block", "error", "map", "progress"]),
    ("image-core", "measure", &["block", "convert", "error", "foreign", "map", "qcow2"]),
    ("image-core", "bench", &["block", "error", "progress"]),
    ("image-core", "convert", &["block", "error", "digest", "progress"]),
    ("image-core", "qcow2", &["block", "deflate", "error"]),
    ("image-core", "raw", &["block", "error"]),
    ("image-core", "foreign", &["block", "convert", "error"]),
    ("image-core", "format", &["block", "error", "foreign", "nbd", "qcow2", "raw"]),
    ("image-core", "nbd", &["block", "error"]),
    ("image-core", "new_file", &["block", "error"]),
    ("image-core", "partition", &["block", "error"]),
    ("image-core", "fs", &["block", "error"]),
    ("image-core", "lvm", &["block", "error"]),
    ("image-core", "free_space", &["block", "error", "fs", "lvm", "partition"]),
    ("image-cli", "size", &[]),
    ("image-cli", "printable", &[]),
    ("image-cli", "links", &[]),
    ("image-cli", "name_pattern", &[]),
    ("image-cli", "mode_change", &[]),
    ("image-cli", "substitution", &["error"]),
    ("image-cli", "nearest", &[]),
    ("image-cli", "os_text", &[]),
    ("image-cli", "room", &[]),
    ("image-cli", "variables", &["error"]),
    ("image-cli", "mistake", &[]),
    ("image-cli", "properties", &[]),
    ("image-cli", "facts", &[]),
    ("image-cli", "error", &["size"]),
    ("image-cli", "monitor", &["error", "mistake"]),
    ("image-cli", "programs", &["error"]),
    ("image-cli", "kernel", &[]),
    ("image-cli", "qemu", &["error", "monitor", "printable", "programs"]),
    (
        "image-cli",
        "guest",
        &[
            "error",
            "files",
            "kernel",
            "monitor",
            "os_text",
            "printable",
            "programs",
            "qemu",
            "reexec",
            "system",
            "variables",
        ],
    ),
    ("image-cli", "reexec", &["error"]),
    ("image-cli", "entry", &["golden", "guest", "reexec", "trial"]),
    ("image-cli", "target_name", &["error", "monitor", "printable"]),
    ("image-cli", "glance", &["error", "monitor", "printable", "size", "variables"]),
    ("image-cli", "download", &["error", "glance", "monitor", "printable", "room"]),
    ("image-cli", "system", &["error", "links"]),
    ("image-cli", "packages", &[]),
    ("image-cli", "packed", &["error", "monitor", "room", "size"]),
    ("image-cli", "manifest", &["error"]),
    ("image-cli", "selinux", &["error"]),
    (
        "image-cli",
        "change",
        &["error", "files", "mode_change", "monitor", "printable", "selinux", "substitution", "system"],
    ),
    ("image-cli", "files", &["error", "monitor", "packed", "printable", "system"]),
    ("image-cli", "inspect", &["error", "links", "packages", "system"]),
    (
        "image-cli",
        "audit",
        &["error", "glance", "kernel", "links", "monitor", "name_pattern", "printable", "size", "system"],
    ),
    (
        "image-cli",
        "seal",
        &[
            "audit",
            "error",
            "files",
            "guest",
            "links",
            "monitor",
            "printable",
            "system",
            "target_name",
            "variables",
        ],
    ),
    (
        "image-cli",
        "golden",
        &[
            "audit",
            "change",
            "download",
            "error",
            "files",
            "guest",
            "glance",
            "inspect",
            "packages",
            "packed",
            "reexec",
            "links",
            "manifest",
            "mistake",
            "mode_change",
            "monitor",
            "name_pattern",
            "nearest",
            "os_text",
            "printable",
            "programs",
            "properties",
            "room",
            "seal",
            "selinux",
            "size",
            "substitution",
            "system",
            "target_name",
            "variables",
        ],
    ),
    (
        "image-cli",
        "trial",
        &["error", "reexec", "monitor", "printable", "programs", "qemu", "size", "variables"],
    ),
    ("image-cli", "upload", &["audit", "error", "glance", "manifest", "monitor", "properties", "variables"]),
    ("image-cli", "args", &["commands"]),
    ("image-cli", "interrupt", &[]),
    ("image-cli", "ui", &["args", "interrupt"]),
    ("image-cli", "failure", &["interrupt", "ui"]),
    ("image-cli", "qemu_img", &[]),
    ("image-cli", "commands", &["args", "failure", "interrupt", "ui"]),
];

/// The crates in which no file uses one that leads back to it.
const WITHOUT_CIRCLES: [&str; 2] = ["image-core", "image-cli"];

/// Files that may name one module more than their own may.
const EXCEPTIONS: &[(&str, &str)] =
    &[("image-core/src/qcow2/sink.rs", "convert"), ("image-core/src/qcow2/write/compressed.rs", "convert")];

/// The files with unsafe code, one system call each for which no crate has a safe wrapper: the holes of host files, and a
/// filter of system calls without PR_SET_NO_NEW_PRIVS.
const UNSAFE: [&str; 2] = ["image-core/src/block/fiemap.rs", "image-cli/src/golden/sandbox/syscalls.rs"];

/// A file of this project that people wrote.
struct Source {
    /// Its path from the top of the project, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate and the modules of the file: `image-core`, [`block`, `extent`].
    fn module(&self) -> Option<(&str, Vec<&str>)> {
        let (package, file) = self.path.strip_suffix(".rs")?.split_once("/src/")?;
        Some((package, file.split('/').collect()))
    }

    /// Numbered lines of code: no comments, nothing from the module of unit tests on.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let begins =
            ["mod ", "pub(crate) mod ", "pub(super) mod "].map(|word| format!("\n#[cfg(test)]\n{word}"));
        let tests = begins.iter().filter_map(|begin| self.text.find(begin)).min();
        let own = tests.map_or(self.text.as_str(), |at| &self.text[..at]);
        let lines = own.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Every text file of the project, in the order of their paths.
fn sources() -> Vec<Source> {
    let top = project();
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "out" | "corpus" | "artifacts") {
                    folders.push(path);
                }
            } else if name != "Cargo.lock"
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path =
                    path.strip_prefix(&top).expect("beneath the project").to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Fails with every place that breaks a rule.
fn none(rule: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

#[test]
fn files_have_the_size_of_a_room() {
    let places = sources().into_iter().filter(Source::is_rust).filter_map(|source| {
        let lines = source.text.lines().count();
        // The door of a folder may be short.
        let door = project().join(source.path.trim_end_matches(".rs")).is_dir();
        let smallest = if door { 1 } else { *LINES.start() };
        let fits = (smallest..=*LINES.end()).contains(&lines);
        (!fits).then(|| format!("{}: {lines} lines, not {LINES:?}", source.path))
    });
    none("a file is split or joined by meaning", places.collect());
}

#[test]
fn files_say_what_they_are() {
    let silent = |source: &Source| {
        let first = source.text.lines().find(|line| !line.starts_with("#!"));
        source.is_rust() && !first.is_some_and(|line| line.starts_with("//! "))
    };
    let places = sources().into_iter().filter(silent).map(|source| source.path);
    none("a file begins with its documentation (//!)", places.collect());
}

#[test]
fn names_say_what_a_thing_is() {
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let stems = source.path.split(['/', '.', '_']);
        let vague = ["util", "utils", "helper", "helpers", "manager", "common", "misc"];
        if stems.into_iter().any(|stem| vague.contains(&stem)) || source.path.ends_with("/mod.rs") {
            places.push(source.path.clone());
        }
        let getters = source.code().filter(|(_, line)| line.contains(concat!("fn ", "get_")));
        places.extend(getters.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
    }
    none("no mod.rs, no vague names, no get_", places);
}

/// The modules of the same crate that a line names: by `crate::…`, or by enough `super::`.
fn named<'a>(line: &'a str, depth: usize) -> Vec<&'a str> {
    let up = "super::".repeat(depth);
    let mut names = Vec::new();
    for start in ["crate::", up.as_str()] {
        for (at, _) in line.match_indices(start) {
            // `$crate` and deeper chains of `super` are found by themselves.
            let before = &line[..at];
            if start != "crate::" && before.ends_with("super::") {
                continue;
            }
            let rest = &line[at + start.len()..];
            let group = rest.strip_prefix('{').map(|group| group.split('}').next().unwrap_or(group));
            let paths: Vec<&str> = group.map_or(vec![rest], |group| group.split(',').collect());
            let word = |path: &'a str| {
                let path = path.trim();
                let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
                &path[..end]
            };
            names.extend(paths.into_iter().map(word).filter(|word| !word.is_empty()));
        }
    }
    names
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut places = Vec::new();
    for source in &sources() {
        let Some((package, modules)) = source.module() else { continue };
        let top = modules[0];
        if matches!(top, "lib" | "main") || modules.last() == Some(&"tests") {
            continue;
        }
        let Some((_, _, allowed)) = ARROWS.iter().find(|(of, module, _)| (*of, *module) == (package, top))
        else {
            places.push(format!("{}: module {top} has no line in ARROWS (tests/tidy.rs)", source.path));
            continue;
        };
        for (number, line) in source.code() {
            for name in named(line, modules.len()) {
                let modular = ARROWS.iter().any(|(of, module, _)| (*of, *module) == (package, name));
                let excepted = EXCEPTIONS.contains(&(source.path.as_str(), name));
                if modular && name != top && !allowed.contains(&name) && !excepted {
                    places.push(format!("{}:{number}: {top} must not use {name}", source.path));
                }
            }
        }
    }
    none("who may use whom", places);
}

/// The modules of image-cli that are the program; all others are the engine, the library `goldimg`.
const PROGRAM: &[&str] = &["args", "commands", "failure", "interrupt", "main", "qemu_img", "ui"];

/// What the engine knows nothing of: the terminal and the command line, the process's environment, signals and exit.
const OUTSIDE: &[&str] = &[
    "anstream",
    "anyhow",
    "clap",
    "indicatif",
    "signal_hook",
    "args_os(",
    "env::args",
    "env::var",
    "env::home_dir",
    // What reads the environment by itself: `TMPDIR`, proxies, certificates.
    "env::temp_dir",
    "tempdir()",
    "tempfile()",
    "TempDir::new()",
    "NamedTempFile::new()",
    "::try_from_env",
    "load_native_certs",
    "Agent::new_with_defaults",
    "ureq::get(",
    "current_dir().context",
    "env::current_dir",
    "IsTerminal",
    "stdin()",
    "stdout()",
    "stderr()",
    "process::exit",
];

/// Files of helper processes, which are the engine's own: with what of the above.
const HELPERS: &[(&str, &[&str])] = &[
    ("image-cli/src/entry.rs", &["env::args", "args_os("]),
    ("image-cli/src/reexec.rs", &["stdin()"]),
    ("image-cli/src/golden/inner.rs", &["signal_hook", "process::exit"]),
    ("image-cli/src/trial/metadata.rs", &["stdin()", "stdout()"]),
];

/// The places where the engine's `source` knows of something outside.
fn outside_of_the_engine(source: &Source) -> Vec<String> {
    let allowed = HELPERS.iter().find(|(path, _)| *path == source.path).map_or(&[][..], |(_, words)| words);
    let known = |line: &str| {
        OUTSIDE
            .iter()
            .find(|word| line.contains(*word) && !allowed.contains(word))
            .map(|word| (*word).to_owned())
    };
    let told = |(number, line): (usize, &str)| Some(format!("{}:{number}: {}", source.path, known(line)?));
    let mut places: Vec<String> = source.code().filter_map(told).collect();
    // HTTP goes through the proxy of the environment, unless it is told another one, or none.
    let has = |word: &str| source.code().any(|(_, line)| line.contains(word));
    if has("config_builder()") && !has(".proxy(") {
        places.push(format!("{}: config_builder() without proxy()", source.path));
    }
    places
}

#[test]
fn the_engine_knows_no_terminal() {
    let places = sources().into_iter().filter(|source| {
        let Some(("image-cli", modules)) = source.module() else { return false };
        !PROGRAM.contains(&modules[0]) && !modules.contains(&"tests")
    });
    none(
        "what the engine needs of the process it is in, its caller gives",
        places.flat_map(|source| outside_of_the_engine(&source)).collect(),
    );
}

#[test]
fn a_terminal_in_the_engine_is_found() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let found = |path, text| outside_of_the_engine(&source(path, text)).len();
    assert_eq!(found("image-cli/src/seal.rs", "use std::env;\nlet a = std::env::var_os(\"A\");\n"), 1);
    assert_eq!(found("image-cli/src/golden/inner.rs", "use signal_hook::flag;\nuse clap::Parser;\n"), 1);
    let (folder, agent) = ("Builder::new().tempdir().context(doing)?", "Agent::config_builder().build()");
    assert_eq!(
        (found("image-cli/src/trial.rs", folder), found("image-cli/src/glance/http.rs", agent)),
        (1, 1)
    );
    assert_eq!(found("image-cli/src/trial.rs", "Builder::new().tempdir_in(folder).context(doing)?"), 0);
    assert_eq!(
        found("image-cli/src/trial.rs", "// anstream\n#[cfg(test)]\nmod tests {\n    use clap;\n}\n"),
        0
    );
}

#[test]
fn the_arrows_are_found_in_every_spelling() {
    assert_eq!(named("use crate::block::{BlockRead, ByteRange};", 2), ["block"]);
    assert_eq!(named("use crate::{block::file, error};", 2), ["block", "error"]);
    assert_eq!(named("use super::super::convert::Sink;", 2), ["convert"]);
    assert_eq!(named("use super::header::Header;", 2), Vec::<&str>::new());
    assert_eq!(named("    ) -> crate::error::Result<()> {", 1), ["error"]);
}

/// What a use is, and between which files it counts: see `tidy/circles.rs`.
#[test]
fn no_files_go_in_a_circle() {
    let mut places = Vec::new();
    for package in WITHOUT_CIRCLES {
        let (uses, faults) = circles::Crate::read(&project().join(package).join("src")).uses();
        assert!(!uses.is_empty(), "{package} has files that use each other");
        places.extend(faults.into_iter().map(|fault| format!("{package}: {fault}")));
        places.extend(circles::circles(&uses).into_iter().map(|circle| format!("{package}:\n    {circle}")));
    }
    none("what two files need from each other belongs into one that both use", places);
}

#[test]
fn unsafe_code_lives_where_it_is_expected() {
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        // Tests and benchmarks may call judges that are written in C.
        let judging = ["tests/", "/tests/", "/benches/"].iter().any(|folder| source.path.contains(folder));
        if UNSAFE.contains(&source.path.as_str()) || judging {
            continue;
        }
        let keyword = concat!("un", "safe");
        for (number, line) in source.code() {
            // The keyword stands before one of these; the word may stand in a text.
            let starts = |rest: &str| {
                ["{", "fn ", "impl ", "impl<", "trait ", "extern "].iter().any(|s| rest.starts_with(s))
            };
            if line.split(keyword).skip(1).any(|rest| rest.strip_prefix(' ').is_some_and(starts)) {
                places.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none(&format!("{} code lives in {UNSAFE:?}", concat!("un", "safe")), places);
}

#[test]
fn nothing_names_this_machine_or_unfinished_work() {
    let checkout = project().to_string_lossy().into_owned();
    let forbidden = [
        (concat!("TO", "DO"), "work is done or an issue, not a remark"),
        (concat!("FIX", "ME"), "work is done or an issue, not a remark"),
        (concat!("deb.", "debian.org"), "an archive's host: the machine's own is used"),
        (concat!("security.", "debian.org"), "an archive's host: the machine's own is used"),
        (concat!("archive.", "ubuntu.com"), "an archive's host: the machine's own is used"),
        (concat!("pypi.", "org"), "a package host: the machine's own is used"),
        (checkout.as_str(), "a path of this machine"),
    ];
    let mut places = Vec::new();
    for source in &sources() {
        for (number, line) in source.text.lines().enumerate() {
            for (word, why) in forbidden.iter().filter(|(word, _)| line.contains(word)) {
                places.push(format!("{}:{}: {word}: {why}", source.path, number + 1));
            }
        }
    }
    none("no remarks, hosts or paths of one machine", places);
}

/// The names that a Cargo.toml takes from the workspace, and the lines that are not so.
fn dependencies(manifest: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut names, mut others) = (BTreeSet::new(), Vec::new());
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let (name, rest) = line.split_once(['.', ' ', '=']).unwrap_or((line, ""));
            names.insert(name.to_owned());
            if !rest.contains("workspace = true") {
                others.push(line.to_owned());
            }
        }
    }
    (names, others)
}

#[test]
fn each_dependency_has_its_reason() {
    let read = |path: &str| fs::read_to_string(project().join(path)).expect("a file of the project");
    let reasons = read("ARCHITECTURE.md");
    let first_cells = reasons.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let explained: BTreeSet<&str> = first_cells
        .flat_map(|cell| cell.split(','))
        .filter_map(|name| name.split_whitespace().next())
        .collect();
    let mut places = Vec::new();
    for package in ["image-core", "image-cli", "tests"] {
        let (names, others) = dependencies(&read(&format!("{package}/Cargo.toml")));
        places.extend(others.iter().map(|line| format!("{package}: not from the workspace: {line}")));
        let silent = names.iter().filter(|name| *name != "image-core" && !explained.contains(name.as_str()));
        places.extend(silent.map(|name| format!("{package}: {name}")));
    }
    none("ARCHITECTURE.md, \"Dependencies\", has a line for each", places);
}

#[test]
fn package_lists_say_why() {
    let mut places = Vec::new();
    for file in ["run", "test", "bench", "deb"].map(|name| format!("packages/{name}.txt")) {
        let text = fs::read_to_string(project().join(&file)).expect("a list of packages");
        let lines = text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (name, reason) = line.split_once('#').unwrap_or((line, ""));
            let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
            let name = name.trim_end();
            if name.is_empty() || !name.chars().all(known) || reason.trim().is_empty() {
                places.push(format!("{file}:{}: {line:?}", number + 1));
            }
        }
    }
    none("one package a line, with the reason behind a #", places);
}

#[test]
fn every_test_file_is_part_of_a_test() {
    let tests = project().join("tests");
    let targets = fs::read_to_string(tests.join("Cargo.toml")).expect("the tests' Cargo.toml");
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("tests/") && source.is_rust()) {
        let path = Path::new(&source.path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().unwrap_or(Path::new("tests"));
        let parent = if folder == Path::new("tests") {
            tests.join("suite.rs")
        } else {
            project().join(folder).with_extension("rs")
        };
        let declared = fs::read_to_string(&parent).is_ok_and(|text| {
            text.lines().any(|line| line.trim_start_matches("pub(crate) ") == format!("mod {stem};"))
        });
        let begins = targets.contains(&format!("path = \"{stem}.rs\""));
        if !begins && !declared {
            places.push(format!("{} is not declared in {}", source.path, parent.display()));
        }
    }
    none("a file that nobody names is never compiled", places);
}
