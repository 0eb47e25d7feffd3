//! Recipes, right and wrong: what is made of them, and what is said.

mod existing;
mod steps;

use std::fs;
use std::path::Path;

use super::*;
use crate::golden::recipe::{
    Access, Compression, DiskSize, Distribution, Firmware, OutputFormat, Owner, Preserve, Step,
};
use crate::size::Size;

/// What is wrong with `text`: line, column, message, label.
fn problems(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("files")).unwrap();
    fs::write(folder.path().join("files/motd"), "hello\n").unwrap();
    fs::write(folder.path().join("files/motd.deb"), "hello\n").unwrap();
    problems_in(folder.path(), text)
}

fn problems_in(folder: &Path, text: &str) -> Vec<String> {
    let (_, problems, _) = parse(text, &fs::canonicalize(folder).unwrap());
    let told = |problem: &Problem| {
        let record = serde_json::to_value(problem.mistake(Path::new("a.toml"), text)).unwrap();
        let label = record["label"].as_str().map(|label| format!(" [{label}]")).unwrap_or_default();
        let word = |name: &str| record[name].to_string().replace("\\\"", "'").replace('"', "");
        format!("{} {}:{} {}{label}", &word("severity")[..1], word("line"), word("column"), word("message"))
    };
    problems.iter().map(told).collect()
}

const BASE: &str = "name = \"a\"\n[base]\ndistribution = \"debian\"\nrelease = \"bookworm\"\n";

/// As [`problems`], of a recipe that is right but for `section`, which begins in line 1.
fn problems_of(section: &str) -> Vec<String> {
    let base = "distribution = \"debian\"\nrelease = \"bookworm\"\n";
    // A table that was made by its subtables cannot be written again, but in front of them.
    let text = match section.contains("[base.archives]") {
        true => format!("[base]\n{base}{section}\n"),
        false => format!("{section}\n[base]\n{base}"),
    };
    let text = if section.starts_with("name =") { text } else { format!("name = \"a\"\n{text}") };
    problems(&text)
}

#[test]
fn the_smallest_recipe_has_the_defaults() {
    let (recipe, problems, _) = parse(BASE, Path::new("/"));
    assert_eq!(problems, []);
    let recipe = recipe.unwrap();
    assert_eq!(recipe.base.distribution, Some(Distribution::Debian));
    assert_eq!(recipe.base.components, ["main"]);
    assert_eq!(recipe.cloud_init.datasources, ["ConfigDrive", "OpenStack", "NoCloud", "None"]);
    assert_eq!(recipe.boot.firmware, [Firmware::Bios, Firmware::Uefi]);
    assert_eq!((recipe.disk.size, recipe.disk.esp_size), (DiskSize::Fit, Size(64 << 20)));
    assert_eq!(recipe.output.formats, [OutputFormat::Qcow2]);
    assert_eq!(recipe.output.compression, Compression::Deflate);
    assert_eq!(recipe.build.network, Access::Full);
}

/// A recipe with every key.
const EVERYTHING: &str = r##"
name = "debian-12"
version = "1.0~rc1"
description = "for everyone"
[base]
distribution = "ubuntu"
release = "noble"
components = "main"
mirror = "https://mirror.example/ubuntu"
packages = ["htop", "libc6:amd64=2.36-9+deb12u4", "pkgs/own_1_all.deb"]
debconf = ["tzdata tzdata/Areas select Europe", "\tlocales locales/default_environment_locale  select C.UTF-8 "]
[[base.archives]]
uri = "https://ann:secret@packages.example/apt"
suites = ["noble", "noble-extra"]
components = "stable"
signed-by = "keys/theirs.asc"
[[base.archives]]
suites = "noble-backports"
[[base.archives]]
uri = "file:///srv/flat"
suites = "./"
signed-by = "keys/theirs.asc"
keep = false
[[steps]]
install = ["htop", "./pkgs/own_1_all.deb"]
[[steps]]
remove = ["nano", "vim-tiny"]
[[steps]]
copy = { from = "motd", to = "/etc/motd", owner = "0:adm", mode = "0640", folder-mode = "0750", preserve = ["timestamps", "xattr"], replace = true }
[[steps]]
write = { path = "/etc/a", content = "b\n", mode = "4755", owner = "www-data", append = true }
[[steps]]
run = "echo hello"
[[steps]]
run = { file = "setup.sh", environment = { A = "b", _C1 = "" } }
[[steps]]
run = { script = "true", network = false, timeout = "10m" }
[build]
network = "packages"
[cloud-init]
datasources = ["NoCloud"]
default-user = "me"
[cloud-init.config]
"90-a.cfg" = "a: b"
"90-b.cfg" = { file = "90-b.cfg" }
[boot]
kernel = "linux-image-amd64"
firmware = "uefi"
console = ["ttyS0,115200n8"]
command-line = ["quiet", "net.ifnames=0"]
timeout = 3
[disk]
size = "2G"
esp-size = 134_217_728
[seal]
keep = ["/etc/ssh/ssh_host_ed25519_key"]
keep-passwords = true
[output]
formats = ["qcow2", "raw"]
compression = "zstd"
level = 19
cluster-size = "128K"
min-ram-mib = 1024
"##;

#[test]
fn every_key_arrives_where_it_belongs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("motd"), "hello\n").unwrap();
    fs::write(folder.path().join("setup.sh"), "#!/bin/sh\ntrue\n").unwrap();
    fs::write(folder.path().join("90-b.cfg"), "locale: C.UTF-8\n").unwrap();
    fs::create_dir(folder.path().join("pkgs")).unwrap();
    fs::write(folder.path().join("pkgs/own_1_all.deb"), "!<arch>\ndebian-binary   ").unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("keys/theirs.asc"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n").unwrap();
    let (recipe, problems, _) = parse(EVERYTHING, &fs::canonicalize(folder.path()).unwrap());
    assert_eq!(problems, []);
    let recipe = recipe.unwrap();
    assert_eq!(recipe.base.packages, ["htop", "libc6:amd64=2.36-9+deb12u4", "./pkgs/own_1_all.deb"]);
    assert_eq!(recipe.base.debconf[1], "locales locales/default_environment_locale  select C.UTF-8");
    let [private, backports, flat] = recipe.base.archives.as_slice() else { panic!("{recipe:?}") };
    assert_eq!(private.uri.as_ref().unwrap().as_str(), "https://packages.example/apt");
    assert_eq!((private.suites.len(), private.components.as_slice()), (2, &["stable".to_owned()][..]));
    assert_eq!((&backports.uri, &backports.signed_by, backports.keep), (&None, &None, true));
    assert_eq!((backports.components.as_slice(), flat.components.len()), (&["main".to_owned()][..], 0));
    assert_eq!((private.keep, flat.keep), (false, false), "an image cannot reach them");
    let [
        Step::Install(install),
        Step::Remove(_),
        Step::Copy(copy),
        Step::Write(write),
        Step::Run(run),
        Step::Run(file),
        Step::Run(dotted),
    ] = recipe.steps.as_slice()
    else {
        panic!("{:?}", recipe.steps)
    };
    assert_eq!(install, &["htop", "./pkgs/own_1_all.deb"]);
    assert_eq!(
        (copy.from.as_path(), copy.to.as_str(), copy.mode),
        (Path::new("motd"), "/etc/motd", Some(0o640))
    );
    assert_eq!(copy.owner, Some(Owner { user: "0".into(), group: "adm".into() }));
    assert_eq!((copy.folder_mode, copy.replace), (Some(0o750), true));
    assert_eq!(copy.preserve, [Preserve::Timestamps, Preserve::Xattr]);
    let owner = write.owner.as_ref().unwrap();
    assert_eq!((write.mode, write.append, owner.group.as_str()), (Some(0o4755), true, "www-data"));
    assert_eq!((run.script.as_str(), run.environment.len()), ("echo hello", 0));
    assert_eq!((file.script.as_str(), file.environment["A"].as_str()), ("#!/bin/sh\ntrue\n", "b"));
    assert_eq!((dotted.script.as_str(), dotted.network), ("true", Some(Access::None)));
    assert_eq!((run.network, recipe.build.network), (None, Access::Packages));
    assert_eq!((dotted.timeout, run.timeout), (Some(600), None));
    assert_eq!(recipe.cloud_init.config["90-b.cfg"], "locale: C.UTF-8\n");
    assert_eq!(recipe.disk.size, DiskSize::Bytes(Size(2 << 30)));
    assert_eq!(recipe.disk.esp_size, Size(128 << 20));
    assert_eq!((recipe.output.level, recipe.output.cluster_size), (Some(19), Size(128 << 10)));
    assert_eq!(recipe.seal.keep, ["/etc/ssh/ssh_host_ed25519_key"]);
}

#[test]
fn mistakes_are_all_told_at_once_in_the_order_of_their_places() {
    let text = r#"name = "de bian"
nmae = 1
packages = ["x"]
[base]
distribution = "debain"
releas = "bookworm"
[[steps]]
install = "htop vim"
[[steps]]
instal = ["htop"]
[[steps]]
write = { path = "etc/motd", mode = 0o644 }
[[steps]]
run = "true"
copy = { from = "files/modt", to = "/etc/motd" }
[disk]
esp_size = "64M"
size = "10X"
[output]
level = 12
"#;
    insta::assert_snapshot!(problems(text).join("\n"));
}

#[test]
fn several_lines_that_are_not_toml_are_all_told() {
    let text = "name = \"a\"\nversion = \n[base]\ndistribution = \"debian\nrelease = \"bookworm\"\n[[steps]]\ninstall = [\"a\" \"b\"]\n[disk\nsize: 3\n";
    insta::assert_snapshot!(problems(text).join("\n"));
    insta::assert_snapshot!(
        "duplicates",
        problems("name = \"a\"\nname = \"b\"\n[base]\n[base]\n").join("\n")
    );
}

/// Each of `sections` with what is wrong with it, which is something.
fn told_of(sections: &[&str]) -> String {
    let told: Vec<String> = sections
        .iter()
        .map(|section| format!("{section}\n    {}", problems_of(section).join("\n    ")))
        .collect();
    assert!(told.iter().all(|told| told.contains("\n    ")));
    told.join("\n")
}

#[test]
fn impossible_values_are_refused_each_with_its_remedy() {
    let sections = [
        "[disk]\nsize = \"1.5M\"",
        "[disk]\nsize = \"2000000001\"",
        "[disk]\nsize = \"Fit\"",
        "[disk]\nsize = \"20T\"",
        "[disk]\nesp-size = \"32M\"",
        "[disk]\nfree = -1",
        "[disk]\nsize = true",
        "[disk]\nsize = \"10G\"\nfree = \"1G\"",
        "[output]\ncluster-size = \"48K\"",
        "[output]\ncluster-size = 256",
        "[output]\ncluster-size = \"4M\"",
        "[output]\nlevel = 10",
        "[output]\ncompression = \"zstd\"\nlevel = 20",
        "[output]\ncompression = \"none\"\nlevel = 1",
        "[output]\nlevel = 0",
        "[output]\nlevel = \"9\"",
        "[output]\nformats = []",
        "[output]\nformats = [\"raw\"]\nlevel = 3",
        "[output]\nmin-ram-mib = 1.5",
        "[output]\ncompression = \"zstd\"\ncluster-size = \"1M\"",
        "[boot]\nfirmware = []",
        "[boot]\nfirmware = [\"bois\"]",
        "[boot]\ntimeout = -1",
        "[boot]\nconsole = [\"tty0\"]",
        "[boot]\ncommand-line = [\"root=/dev/sda1\"]",
        "[boot]\ncommand-line = [\"a b\"]",
        "[boot]\nkernel = \"Linux\"",
        "[cloud-init]\ndatasources = [\"Openstack\"]",
        "[cloud-init]\ndatasources = []",
        "[cloud-init]\ndefault-user = \"Me\"",
        "[cloud-init.config]\n\"a\" = \"b: c\"",
        "[cloud-init.config]\n\"a.cfg\" = \"- b\"",
        "[cloud-init.config]\n\"../a.cfg\" = \"b: c\"",
        "[cloud-init.config]\n\"a.cfg\" = \"\"\"\nb: c\nb: d\n\"\"\"",
        "[seal]\nkeep = [\"etc\"]",
        "[seal]\nkeep = [\"/etc/../root\"]",
        "[seal]\nkeep = \"/\"",
        "[seal]\nkeep-passwords = \"true\"",
        "[[steps]]",
        "[steps]\nrun = \"x\"",
        "[[steps]]\nrun = \"\"",
        "[[steps]]\nrun = { script = \"a\", file = \"files/motd\" }",
        "[[steps]]\nrun = { environment = { A = \"1\" } }",
        "[[steps]]\nrun = \"a\"\nenvironment = { A = \"1\" }",
        "[[steps]]\nrun = { script = \"a\", environment = { \"1A\" = \"1\", B = 2 } }",
        "[[steps]]\ncopy = { from = \"../a\", to = \"/a\" }",
        "[[steps]]\ncopy = { from = \"/etc/passwd\", to = \"/a\" }",
        "[[steps]]\ncopy = { from = \"files/motd\", to = \"/\" }",
        "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a/\" }",
        "[[steps]]\ncopy = { to = \"/a\", owner = \"a:b:c\" }",
        "[[steps]]\ncopy = { from = \"files\", to = \"/a\", mode = 644 }",
        "[[steps]]\ncopy = { from = \"files\", to = \"/a\", preserve = \"mode\", mode = \"0644\" }",
        "[[steps]]\ncopy = { from = \"files\", to = \"/a\", folder-mode = 755, preserve = \"xatr\" }",
        "[[steps]]\nwrite = { path = \"/a\", content = \"\", mode = \"0999\" }",
        "[[steps]]\ninstall = []",
        "[[steps]]\ninstall = [\"Htop\", \"a\", \"bb\", \"bb\"]",
        "name = \"\"",
        "name = \"../x\"",
        "name = \".x\"",
        "name = 5",
        "name = \"a\"\nversion = 1.0",
        "name = \"a\"\ndescription = \"two\\nlines\"",
    ];
    insta::assert_snapshot!(told_of(&sections));
}

#[test]
fn what_a_step_may_reach_is_a_word_or_false() {
    let told = |section: &str| problems_of(section).join("\n");
    let build = |value: &str| told(&format!("[build]\nnetwork = {value}"));
    for sound in ["\"full\"", "\"packages\"", "false"] {
        assert_eq!(build(sound), "", "{sound}");
    }
    assert_eq!(build("true"), "e 3:11 `true` does not say what may be reached");
    assert_eq!(build("\"fulll\""), "e 3:11 'fulll' is not known here [did you mean \"full\"?]");
    assert_eq!(build("\"none\""), "e 3:11 'none' is not known here [did you mean false, without quotes?]");
    assert_eq!(build("1"), "e 3:11 not what a step may reach");
    assert_eq!(
        told("[build]\nnetwrok = false"),
        "e 3:1 unknown key `netwrok` in [build] [did you mean `network`?]"
    );
    assert_eq!(
        told("network = false"),
        "e 2:1 unknown key `network` in the recipe [this belongs into [build]]"
    );
    let beside = told("[[steps]]\nrun = \"a\"\nnetwork = false");
    assert!(beside.starts_with("e 4:1 unknown key `network` in a step [write `run = { script"), "{beside}");
    let within = told("[[steps]]\nrun = { script = \"a\", network = \"apt\" }");
    assert_eq!(within, "e 3:33 'apt' is not known here");
}

#[test]
fn impossible_archives_and_packages_are_refused_each_with_its_remedy() {
    let sections = [
        "[[steps]]\ninstall = [\"own.deb\", \"./own\", \"../own.deb\", \"files/motd.deb\", \"./none.deb\"]",
        "[[steps]]\nremove = \"./own.deb\"",
        "[[steps]]\nrun = { script = \"a\", timeout = \"0s\" }",
        "[[steps]]\nrun = { script = \"a\", timeout = \"8d\" }",
        "[[steps]]\nrun = { script = \"a\", timeout = 0 }",
        "[[steps]]\nrun = \"a\"\ntimeout = \"1m\"",
        "[[base.archives]]\nuri = \"https://a/b\"",
        "[base.archives]\nsuites = \"x\"",
        "[[base.archives]]\nsuites = []",
        "[[base.archives]]\nsuites = \"a b\"",
        "[[base.archives]]\nsuites = \"/\"\ncomponents = \"main\"",
        "[[base.archives]]\nsuites = \"x\"\nuri = \"https://ann@a/b\"",
        "[[base.archives]]\nsuites = \"x\"\nuri = \"ftp://ann:secret@a/b\"",
        "[[base.archives]]\nsuites = \"x\"\nuri = \"file:///srv/a\"\nkeep = true",
        "[[base.archives]]\nsuites = \"x\"\nsigned-by = \"files/motd\"",
        "[[base.archives]]\nsuites = \"x\"\nkeyring = \"a\"",
        "[[steps]]\ndebconf = [\"a\"]",
    ];
    insta::assert_snapshot!(told_of(&sections));
}

#[test]
fn packages_of_another_architecture_are_told_apart_from_those_that_are_missing() {
    let told = |lines: &str| problems(&format!("{BASE}{lines}\n")).join("\n");
    let words = "is of another architecture than the image, which is amd64";
    assert_eq!(told("packages = [\"libc6:i386\"]"), format!("e 5:13 'libc6:i386' {words}"));
    assert_eq!(told("packages = [\"libc6:armhf=1\"]"), format!("e 5:13 'libc6:armhf=1' {words}"));
    assert_eq!(told("[boot]\nkernel = \"linux-image:arm64\""), format!("e 6:10 'linux-image:arm64' {words}"));
    assert_eq!(told("packages = [\"a1:amd64\", \"b1:all\", \"c1:any\", \"d1:native\"]"), "");
    // A script before it may have made that architecture known.
    assert_eq!(told("[[steps]]\ninstall = \"libc6:i386\""), "");
}

#[test]
fn an_address_needs_a_host_or_a_path() {
    let told = |mirror: &str| problems(&format!("{BASE}mirror = {mirror:?}\n")).join("\n");
    for sound in ["http://x", "https://x/debian", "file:///x", "copy:///srv/debian"] {
        assert_eq!(told(sound), "", "{sound}");
    }
    for wrong in ["http://", "https:///debian", "http://a b", "file:///", "file:////", "ftp://x", "x"] {
        assert_eq!(told(wrong), format!("e 5:10 '{wrong}' is not the address of an archive"), "{wrong}");
    }
}

#[test]
fn answers_for_debconf_are_read_as_it_reads_them() {
    let told = |line: &str| problems(&format!("{BASE}debconf = {line:?}\n")).join("\n");
    for sound in ["a1 a/b boolean true", "a1\ta/b  select  x, y", "a1 a/b string", "a1 a/b seen false"] {
        assert_eq!(told(sound), "", "{sound}");
    }
    assert_eq!(told("a1 a/b bolean true"), "e 5:11 debconf has no type 'bolean' [did you mean \"boolean\"?]");
    assert_eq!(told("a1 a/b boolean yes"), "e 5:11 'yes' does not answer yes or no");
    assert_eq!(told("a1 a/b"), "e 5:11 this does not answer a question of debconf's");
    assert_eq!(told("A a/b string x"), "e 5:11 this does not answer a question of debconf's");
    assert_eq!(told("a1 a/b string x\na1 a/c string y"), "e 5:11 several answers in one string");
    assert!(told("a1 a/b password x").starts_with("w 5:11 this password is in the recipe"));
}

#[test]
fn a_release_of_the_other_distribution_is_doubted() {
    let base = |distribution: &str, release: &str| {
        problems(&format!(
            "name = \"a\"\nbase = {{ distribution = \"{distribution}\", release = \"{release}\" }}"
        ))
    };
    assert_eq!(
        base("debian", "noble"),
        ["w 2:45 'noble' is no release that is known here [a release of Ubuntu]"]
    );
    assert_eq!(
        base("ubuntu", "nobel"),
        ["w 2:45 'nobel' is no release that is known here [did you mean \"noble\"?]"]
    );
    assert_eq!(base("ubuntu", "noble"), Vec::<String>::new());
}

#[test]
fn files_outside_the_recipes_folder_are_not_read() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("away")).unwrap();
    fs::write(folder.path().join("own"), "o").unwrap();
    std::os::unix::fs::symlink("own", folder.path().join("inner")).unwrap();
    let copy = |from: &str| {
        problems_in(folder.path(), &format!("{BASE}[[steps]]\ncopy = {{ from = {from:?}, to = \"/a\" }}\n"))
    };
    assert_eq!(copy("inner"), Vec::<String>::new());
    assert_eq!(copy("link"), ["e 6:17 'link' leads out of the recipe's folder [a symbolic link]"]);
    assert_eq!(
        copy("away/secret"),
        ["e 6:17 'away/secret' leads out of the recipe's folder [a symbolic link]"]
    );
    let run = problems_in(folder.path(), &format!("{BASE}[[steps]]\nrun = {{ file = \"link\" }}\n"));
    assert_eq!(run, ["e 6:16 'link' leads out of the recipe's folder [a symbolic link]"]);
}

#[test]
fn a_recipe_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, content: &[u8]| {
        fs::write(folder.path().join(name), content).unwrap();
        examine(&folder.path().join(name)).unwrap_err().root_cause()
    };
    assert_eq!(told("latin1.toml", b"name = \"a\"\n# \xfc\n"), "line 2 is not UTF-8");
    assert_eq!(told("huge.toml", &vec![b'#'; (1 << 20) + 1]), "it is larger than 1 MiB");
    let missing = examine(&folder.path().join("huge")).unwrap_err();
    assert!(missing.to_string().contains("huge"), "{missing}");
}

proptest::proptest! {
    /// Whatever the text, nothing panics, and every place lies within it.
    #[test]
    fn any_text_is_survived(parts in proptest::collection::vec(proptest::sample::select(vec![
        "name", "=", "\"a\"", "\n", "[base]", "[[steps]]", "run", "{", "}", "[", "]", ",", "'", "\"\"\"", "ü", "\u{0}",
        "copy", "from", ".", "1", "-", "0x", "[disk]\nsize=", "#", "é\u{301}", "\r\n", "\u{feff}", "mode=0o",
    ]), 0..40)) {
        let text = parts.concat();
        let (recipe, problems, _) = parse(&text, Path::new("/nonexistent"));
        for problem in &problems {
            proptest::prop_assert!(problem.span.end <= text.len());
            let _ = problem.mistake(Path::new("a.toml"), &text);
        }
        proptest::prop_assert!(recipe.is_some() || !problems.is_empty());
    }
}
