//! Options in whatever order, and each spelling of them.

use goldimg::CancellationToken;
use goldimg::golden::recipe::Credential;
use goldimg::monitor::Silent;

use super::*;

fn of(words: &[&str], home: Option<&Path>) -> anyhow::Result<(Vec<Step>, Vec<Secret>)> {
    let command = augment(Command::new("customize").no_binary_name(true));
    let matches = command.try_get_matches_from(words)?;
    steps(&asked(&matches), home, Monitor::new(&Silent, &CancellationToken::new()))
}

/// The steps of these words.
fn made_of(words: &[&str]) -> Vec<Step> {
    of(words, None).unwrap_or_else(|error| panic!("{}", crate::failure::render(&error))).0
}

fn one(words: &[&str]) -> Step {
    let mut steps = made_of(words);
    assert_eq!(steps.len(), 1, "{words:?}");
    steps.remove(0)
}

fn refused(words: &[&str]) -> String {
    crate::failure::render(&of(words, None).expect_err("it was taken"))
}

#[test]
fn the_order_is_that_of_the_command_line() {
    let words = [
        "--run-command",
        "one",
        "--install",
        "a1,b1",
        "--run-command=two",
        "--update",
        "--install",
        "c1",
        "--no-kernel-update",
        "--hostname",
        "web",
        "--run-command",
        "three",
    ];
    let run = |script: &str| Step::Run(Run { script: script.into(), ..Run::default() });
    let install = |names: &[&str]| Step::Install(names.iter().map(|name| (*name).to_owned()).collect());
    let expected = [
        run("one"),
        install(&["a1", "b1"]),
        run("two"),
        Step::Update(Update { kernel: false }),
        install(&["c1"]),
        Step::Hostname("web".into()),
        run("three"),
    ];
    assert_eq!(made_of(&words), expected);
    assert_eq!(made_of(&[]), []);
    assert_eq!(one(&["--update"]), Step::Update(Update { kernel: true }));
}

#[test]
fn packages_are_those_of_any_system() {
    assert_eq!(
        one(&["--install", "NetworkManager,@core"]),
        Step::Install(vec!["NetworkManager".into(), "@core".into()])
    );
    assert_eq!(one(&["--remove", "nano"]), Step::Remove(vec!["nano".into()]));
    let told = refused(&["--install", "./own_1.deb"]);
    assert!(told.starts_with("--install ./own_1.deb: ./own_1.deb is a file"), "{told}");
    assert!(refused(&["--install", "-y"]).contains("\"-y\" is not the name of a package"));
    assert!(refused(&["--install", ","]).contains("no package"));
}

#[test]
fn files_of_the_image_are_named_behind_colons() {
    let Step::Write(write) = one(&["--write", "/etc/motd:a:b"]) else { panic!() };
    assert_eq!((write.path.as_str(), write.content.as_str(), write.append), ("/etc/motd", "a:b", false));
    assert!(
        matches!(one(&["--append-line", "/etc/hosts:::1 a"]), Step::AppendLine(own) if own.line == "::1 a")
    );
    assert!(
        matches!(one(&["--edit", "/a:s/a:b/c/g"]), Step::Edit(edit) if edit.expressions == ["s/a:b/c/g"])
    );
    assert!(matches!(one(&["--delete", "/a/*"]), Step::Delete(own) if own.paths == ["/a/*"]));
    assert!(matches!(one(&["--mkdir", "/a/b"]), Step::MakeDirectory(own) if own.path == "/a/b"));
    assert!(
        matches!(one(&["--chmod", "u+x:/a:b"]), Step::ChangeMode(own) if own.mode == "u+x" && own.path == "/a:b")
    );
    let Step::ChangeOwner(own) = one(&["--chown", "www-data:adm:/srv"]) else { panic!() };
    assert_eq!(
        (own.owner.user.as_str(), own.owner.group.as_str(), own.path.as_str()),
        ("www-data", "adm", "/srv")
    );
    assert!(matches!(one(&["--chown", "1000:/srv"]), Step::ChangeOwner(own) if own.owner.group == "1000"));
    assert!(matches!(one(&["--move", "/a:/b"]), Step::Move(own) if own.from == "/a" && own.to == "/b"));
    assert!(
        matches!(one(&["--link", "../a:/b"]), Step::Link(own) if own.target == "../a" && own.path == "/b")
    );
    assert_eq!(one(&["--touch", "/a"]), Step::Touch(vec!["/a".into()]));
    assert_eq!(one(&["--truncate", "/a"]), Step::Truncate(vec!["/a".into()]));
    for (words, told) in [
        (["--write", "motd:a"], "--write motd:a: \"motd:a\" is not PATH:TEXT"),
        (["--chmod", "9:/a"], "--chmod 9:/a: \"9\" is not a mode"),
        (["--edit", "/a:y/a/b/"], "--edit /a:y/a/b/: \"y/a/b/\" is no substitution"),
        (["--delete", "/"], "--delete /: \"/\" is not a path in the image"),
        (["--move", "/a"], "--move /a: \"/a\" is not FROM:TO"),
        (["--chown", "Ann:/a"], "--chown Ann:/a: \"Ann:Ann\" is not an owner"),
    ] {
        let said = refused(&words);
        assert!(said.starts_with(told), "{said}");
    }
}

#[test]
fn files_of_this_machine_may_lie_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().canonicalize().unwrap().join(name).display().to_string();
    std::fs::write(path("run.sh"), "#!/bin/sh\ntrue\n").unwrap();
    for name in ["95-own.cfg", "own.yaml"] {
        std::fs::write(path(name), "timezone: UTC\n").unwrap();
    }
    let Step::Run(run) = one(&["--run", &path("run.sh")]) else { panic!() };
    assert_eq!(run.script, "#!/bin/sh\ntrue\n");
    assert_eq!(one(&["--firstboot", &path("run.sh")]), Step::FirstBoot(run.script));
    assert_eq!(one(&["--firstboot-command", "a b"]), Step::FirstBoot("a b".into()));
    let config = one(&["--cloud-init-config", &path("95-own.cfg")]);
    assert!(matches!(config, Step::CloudInitConfig(own) if own.name == "95-own.cfg"));
    let Step::Copy(copy) = one(&["--copy-in", &format!("{}:/usr/local/bin", path("run.sh"))]) else {
        panic!()
    };
    assert_eq!(Path::new("/").join(copy.from), Path::new(&path("run.sh")));
    assert_eq!(copy.to, "/usr/local/bin/run.sh");
    assert!(refused(&["--run", &path("none")]).contains("reading"));
    assert!(
        refused(&["--cloud-init-config", &path("own.yaml")])
            .contains("cloud-init would not read a file called")
    );
    // A file of steps has names of its own.
    std::fs::write(
        path("own.toml"),
        "[[steps]]\nupdate = true\n[[steps]]\ncopy = { from = \"run.sh\", to = \"/r\" }\n",
    )
    .unwrap();
    let steps = made_of(&["--hostname", "a", "--steps", &path("own.toml"), "--hostname", "b"]);
    assert_eq!(
        (steps.len(), &steps[0], &steps[3]),
        (4, &Step::Hostname("a".into()), &Step::Hostname("b".into()))
    );
    assert!(
        matches!(&steps[2], Step::Copy(copy) if Path::new("/").join(&copy.from) == Path::new(&path("run.sh")))
    );
    std::fs::write(path("wrong.toml"), "name = \"a\"\n").unwrap();
    assert!(refused(&["--steps", &path("wrong.toml")]).contains("wrong.toml has 2 mistakes"));
}

#[test]
fn settings_and_accounts_are_those_of_recipes() {
    assert_eq!(one(&["--timezone", "Etc/UTC"]), Step::Timezone("Etc/UTC".into()));
    assert_eq!(one(&["--locale", "C.UTF-8"]), Step::Locale("C.UTF-8".into()));
    assert_eq!(
        one(&["--datasources", "NoCloud,None"]),
        Step::Datasources(vec!["NoCloud".into(), "None".into()])
    );
    assert_eq!(one(&["--kernel-argument", "-quiet"]), Step::KernelArgument(vec!["-quiet".into()]));
    assert!(matches!(one(&["--user", "ann"]), Step::User(own) if own.name == "ann"));
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ann";
    let step = one(&["--ssh-inject", &format!("ann:string:{key}")]);
    assert!(matches!(step, Step::SshKey(own) if own.key == key));
    let (steps, secrets) =
        of(&["--root-password", "file:/a", "--password", "ann:locked", "--password", "bob:file:/b"], None)
            .unwrap();
    let credentials: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Step::Password(own) => (own.user.as_str(), own.credential.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let secret = |name: &str| Credential::Secret(name.into());
    let expected =
        [("root", secret("password-root")), ("ann", Credential::Locked), ("bob", secret("password-bob"))];
    assert_eq!(credentials, expected);
    assert_eq!(secrets, ["password-root=/a".parse().unwrap(), "password-bob=/b".parse().unwrap()]);
    let told = refused(&["--root-password", "password:hunter2"]);
    assert!(told.starts_with("--root-password: a password among the options"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(refused(&["--password", "ann:hash:hunter2"]).contains("not the hash of a password"));
    assert!(refused(&["--hostname", "a_b"]).contains("cannot be the name of a host"));
}

#[test]
fn a_file_of_options_stands_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("options");
    let file = path.display().to_string();
    let with = |text: &str| {
        std::fs::write(&path, text).unwrap();
        ["--hostname", "a", "--commands-from-file", &file, "--update"].map(str::to_owned)
    };
    let words = with("# one\ninstall a1,b1\nno-kernel-update\nrun-command echo 'c  d'\n");
    let steps = made_of(&words.each_ref().map(String::as_str));
    assert_eq!(steps.len(), 4);
    assert!(matches!(&steps[2], Step::Run(run) if run.script == "echo 'c  d'"));
    assert_eq!(steps[3], Step::Update(Update { kernel: false }), "wherever it is said");
    for (text, told) in [
        ("instal a\n", ":1: there is no option \"instal\": did you mean install?"),
        ("update now\n", ":1: update takes no value"),
        ("\nhostname\n", ":2: hostname needs NAME"),
        ("hostname a_b\n", ":1: --hostname a_b: \"a_b\" cannot be"),
        ("commands-from-file x\n", ":1: there is no option \"commands-from-file\""),
    ] {
        let words = with(text);
        let said = refused(&words.each_ref().map(String::as_str));
        assert!(said.contains(told), "{said}");
    }
}
