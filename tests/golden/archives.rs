//! Packages from elsewhere: further archives, files beside the recipe, answers for debconf; and what apt's solver says of
//! a recipe before anything is built.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BASE, build};
use crate::support::archive::{Archive, package, serve};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg, peer};

/// `ann:hush-hush`, as HTTP has it.
const AUTHORIZATION: &str = "YW5uOmh1c2gtaHVzaA==";
const PASSWORD: &str = "hush-hush";

/// A package that asks a question, and writes down the answer when it is configured.
const ASKING: &[(&str, &str)] = &[
    (
        "DEBIAN/templates",
        "Template: own-agent/colour\nType: string\nDefault: none\nDescription: The colour?\n",
    ),
    (
        "DEBIAN/config",
        "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_input high own-agent/colour || true\ndb_go\n",
    ),
    (
        "DEBIAN/postinst",
        "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get own-agent/colour\necho \"$RET\" > /etc/own-agent\n",
    ),
];

/// A folder with keys, packages and archives beside recipes.
struct Beside {
    folder: tempfile::TempDir,
    /// Both have `own-library`, on which the files beside the recipe depend.
    _archives: [Archive; 2],
    port: u16,
}

impl Beside {
    fn new() -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let library = package(&at("debs"), "own-library", "", &[("usr/share/own-library", "library\n")]);
        let private = package(&at("debs"), "own-private", "", &[("usr/share/own-private", "private\n")]);
        package(&at("pkgs"), "own-agent", "Depends: debconf, own-library\n", ASKING);
        package(
            &at("pkgs"),
            "own-late",
            "Depends: own-agent, own-library\n",
            &[("usr/share/own-late", "late\n")],
        );
        let archives = [Archive::new(&at("local"), &[library]), Archive::new(&at("private"), &[private])];
        archives[0].export(&at("keys/local.asc"), true);
        archives[1].export(&at("keys/private.gpg"), false);
        let port = serve(&at("private"), AUTHORIZATION);
        Self { folder, _archives: archives, port }
    }

    /// The rest of `[base]` with both archives.
    fn archives(&self) -> String {
        format!(
            "[[base.archives]]\nuri = \"file://{}\"\nsuites = \"stable\"\nsigned-by = \"keys/local.asc\"\n\
             [[base.archives]]\nuri = \"http://ann:{PASSWORD}@127.0.0.1:{}\"\nsuites = \"stable\"\n\
             signed-by = \"keys/private.gpg\"\nkeep = true\n",
            self.folder.path().join("local").display(),
            self.port
        )
    }

    /// The plan of a recipe whose `[base]` goes on with `rest`.
    fn plan(&self, rest: &str, options: &[&str]) -> Outcome {
        let recipe = self.folder.path().join("plan.toml");
        fs::write(&recipe, format!("name = \"planned\"\n{BASE}{rest}")).expect("a recipe");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let mut arguments: Vec<PathBuf> = vec!["plan".into(), "--cache-dir".into(), cache];
        arguments.extend(options.iter().map(PathBuf::from));
        arguments.push(recipe);
        goldimg(arguments).run()
    }
}

fn all_of(said: &Outcome) -> String {
    format!("{}{}", said.stdout, said.stderr)
}

#[test]
fn the_solver_knows_a_recipes_mistakes_before_anything_is_built() {
    let beside = Beside::new();
    let archives = beside.archives();
    let good = beside.plan(
        &format!("packages = [\"htop\", \"./pkgs/own-agent_1.0_all.deb\", \"own-private\"]\n{archives}"),
        &["--json"],
    );
    assert_eq!(good.code, 0, "{}", good.snapshot());
    let json: serde_json::Value = serde_json::from_str(&good.stdout).expect("JSON");
    assert!(json["all-packages"]["packages"].as_u64() > Some(100), "{json}");
    assert!(json["all-packages"]["installed-size"].as_u64() > Some(300 << 20), "{json}");
    assert!(!all_of(&good).contains(PASSWORD), "{}", good.snapshot());

    let wrong = |rest: &str, parts: &[&str]| {
        let said = beside.plan(rest, &[]);
        assert_eq!(said.code, 64, "{}", said.snapshot());
        for part in parts {
            assert!(said.stderr.contains(part), "{part}: {}", said.snapshot());
        }
        assert!(!all_of(&said).contains(PASSWORD), "{}", said.snapshot());
    };
    wrong(
        &format!("packages = [\n  \"vim-tiny\",\n  \"htpo\",\n  \"own-libary\",\n]\n{archives}"),
        &[
            "the archive has no package \"htpo\"",
            "plan.toml:7:3",
            "did you mean \"htop\"?",
            "plan.toml:8:3",
            "did you mean \"own-library\"?",
        ],
    );
    wrong("packages = \"htop=99\"\n", &["does not have \"htop\" in version \"99\"", "plan.toml:5:12"]);
    wrong(
        "components = [\"mian\"]\n",
        &["has no component \"mian\"", "plan.toml:5:15", "did you mean \"main\"?", "it has main"],
    );
    wrong(
        &archives.replace("suites = \"stable\"", "suites = \"stabel\""),
        &["has no suite \"stabel\"", "did you mean \"stable\"?"],
    );
    wrong(
        &archives.replace("signed-by = \"keys/local.asc\"", "signed-by = \"keys/private.gpg\""),
        &["is not signed with the keys that are given", "plan.toml:6:7"],
    );
    wrong(&archives.replace("ann:hush-hush@", ""), &["wants a name and a password"]);
    // The two contradict each other.
    wrong(
        "packages = [\"systemd-sysv\", \"sysvinit-core\"]\n",
        &["cannot be installed together", "apt says: ", "Conflicts"],
    );
    // Where a step may make an archive known, its packages are only doubted; before, they are mistakes.
    let steps = "[[steps]]\nrun = \"true\"\n[[steps]]\ninstall = \"htpo\"\n";
    let doubted = beside.plan(steps, &[]);
    assert_eq!(doubted.code, 0, "{}", doubted.snapshot());
    assert!(doubted.stderr.contains("unless a step makes one known that has"), "{}", doubted.snapshot());
    wrong(
        "[[steps]]\nremove = \"nano\"\n[[steps]]\ninstall = \"htpo\"\n",
        &["has no package \"htpo\"", "plan.toml:8:11"],
    );
    // A disk that cannot hold the packages, and one that might not.
    wrong(
        "[disk]\nsize = \"200M\"\n",
        &[
            "the disk is too small: its packages alone need more than",
            "plan.toml:6:8",
            "size = \"1G\" in [disk]",
        ],
    );
}

#[test]
fn without_an_archive_to_ask_a_plan_says_so_and_goes_on() {
    let beside = Beside::new();
    let said = beside.plan("mirror = \"http://127.0.0.1:9/debian\"\n", &[]);
    assert_eq!(said.code, 0, "{}", said.snapshot());
    assert!(
        said.stderr.contains(
            "the archive http://127.0.0.1:9/debian does not answer: Could not connect to 127.0.0.1:9"
        ),
        "{}",
        said.snapshot()
    );
    let offline = beside.plan("packages = \"htpo\"\n", &["--offline"]);
    assert_eq!((offline.code, offline.stderr.as_str()), (0, ""), "{}", offline.snapshot());
}

#[test]
fn packages_from_files_and_further_archives_are_installed_and_passwords_stay_out() {
    let Some(debugfs) = peer::peer("debugfs") else { return };
    let beside = Beside::new();
    let rest = format!(
        "packages = \"./pkgs/own-agent_1.0_all.deb\"\ndebconf = \"own-agent own-agent/colour string blue\"\n{}\
         [[steps]]\ninstall = \"own-private\"\n[[steps]]\nwrite = {{ path = \"/etc/motd\", content = \"x\\n\" }}\n\
         [[steps]]\ninstall = \"./pkgs/own-late_1.0_all.deb\"\n\
         [[steps]]\nrun = \"cat /etc/own-agent /usr/share/own-library /usr/share/own-private /usr/share/own-late\"\n\
         [output]\nformats = [\"raw\", \"qcow2\"]\n",
        beside.archives()
    );
    let built = build(beside.folder.path(), "first", &rest, &[]).run();
    assert_eq!(built.code, 0, "{}", built.snapshot());
    let out = beside.folder.path().join("first");
    let log = fs::read_to_string(out.join("tiny-1.log")).expect("a log");
    assert!(log.contains("\nblue\nlibrary\nprivate\nlate\n"), "the answer and all packages are there");
    let raw = fs::read(out.join("tiny-1.raw")).expect("an image");
    let manifest = fs::read_to_string(out.join("tiny-1.json")).expect("a manifest");
    let has = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(has(&raw, "own-private"), "what is looked for can be found");
    for (what, bytes) in [("log", log.as_bytes()), ("manifest", manifest.as_bytes()), ("image", &raw)] {
        assert!(!has(bytes, PASSWORD) && !has(bytes, AUTHORIZATION), "the {what} has the password");
    }
    assert!(!all_of(&built).contains(PASSWORD), "{}", built.snapshot());

    // The root partition begins at 68 MiB.
    let image = format!("{}?offset={}", out.join("tiny-1.raw").display(), 68 << 20);
    let look = |request: &str| debugfs.must(["-R", request, &image]);
    let sources = look(
        "cat /etc/apt/sources.list.d/127.0.0.1-PORT.sources"
            .replace("PORT", &beside.port.to_string())
            .as_str(),
    );
    let expected = format!(
        "Types: deb\nURIs: http://127.0.0.1:{0}\nSuites: stable\nComponents: main\nSigned-By: /etc/apt/keyrings/127.0.0.1-{0}.gpg\n",
        beside.port
    );
    assert_eq!(sources, expected);
    let (keyrings, lists) = (look("ls /etc/apt/keyrings"), look("ls /etc/apt/sources.list.d"));
    assert!(
        keyrings.contains(&format!("127.0.0.1-{}.gpg", beside.port)) && !keyrings.contains("local"),
        "{keyrings}"
    );
    assert!(!lists.contains("local"), "{lists}");
    assert!(!look("ls /etc/apt/auth.conf.d").contains("goldimg"), "the password's file is gone");

    let again = build(beside.folder.path(), "second", &rest, &["--work-dir", "/var/tmp"]).run();
    assert_eq!(again.code, 0, "{}", again.snapshot());
    assert!(
        fs::read(beside.folder.path().join("second/tiny-1.raw")).expect("an image") == raw,
        "two builds differ"
    );
}

#[test]
fn a_step_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let folder = folder();
    let steps = "[[steps]]\nrun = { script = \"sleep 1000 & echo waiting; sleep 1000; echo never\", timeout = \"2s\" }\n";
    let outcome = build(folder.path(), "slow", steps, &[]).run();
    assert_eq!(outcome.code, 1, "{}", outcome.snapshot());
    for part in
        ["step 1: run sleep 1000", "stopped after its time limit of 2 s", "give it more time with `timeout`"]
    {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    let log = fs::read_to_string(folder.path().join("slow/tiny-1.log")).expect("a log");
    assert!(log.contains("\nwaiting\n") && !log.contains("\nnever\n"), "{log}");
}

#[test]
fn a_disk_that_is_too_small_is_told_when_the_base_is_there() {
    let folder = folder();
    let steps = "[disk]\nsize = \"420M\"\n[[steps]]\nwrite = { path = \"/etc/motd\", content = \"never\" }\n";
    let outcome = build(folder.path(), "small", steps, &[]).run();
    assert_eq!(outcome.code, 64, "{}", outcome.snapshot());
    for part in
        ["the disk is too small: the base alone needs a disk of", "small.toml:7:8", "size = \"1G\" in [disk]"]
    {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    let log = fs::read_to_string(folder.path().join("small/tiny-1.log")).expect("a log");
    assert!(!log.contains("# == step 1"), "the step was done all the same");
}
