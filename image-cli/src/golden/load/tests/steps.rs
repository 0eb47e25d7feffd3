//! Steps, right and wrong: what is made of each, and what is said.

use super::{BASE, problems_in, told_of};
use crate::golden::load::parse;
use crate::golden::recipe::{Credential, Missing, Step, Update};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0 ann@example";

/// The steps of a recipe beside the files that these name.
fn steps(text: &str) -> Vec<Step> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ann.pub"), format!("# hers\n\n{KEY}\n")).unwrap();
    std::fs::write(folder.path().join("first.sh"), "#!/bin/sh\ntrue\n").unwrap();
    let text = format!("{BASE}{text}");
    assert_eq!(problems_in(folder.path(), &text), Vec::<String>::new());
    let (recipe, _, _) = parse(&text, &std::fs::canonicalize(folder.path()).unwrap());
    recipe.unwrap().steps
}

fn step(text: &str) -> Step {
    steps(&format!("[[steps]]\n{text}\n")).remove(0)
}

#[test]
fn steps_that_change_files_arrive_as_they_were_meant() {
    let Step::Edit(edit) = step("edit = { path = \"/etc/a\", expressions = \"s/a/b/g\" }") else { panic!() };
    assert_eq!((edit.path.as_str(), edit.expressions), ("/etc/a", vec!["s/a/b/g".to_owned()]));
    let line = step("append-line = { path = \"/etc/a\", line = \"b \\\"c\\\"\" }");
    assert!(matches!(line, Step::AppendLine(own) if own.line == "b \"c\""));
    let Step::Delete(delete) = step("delete = [\"/etc/*.conf\", \"/srv\"]") else { panic!() };
    assert_eq!((delete.paths.len(), delete.missing), (2, Missing::Fail));
    let Step::Delete(delete) = step("delete = { paths = \"/srv\", missing = \"ignore\" }") else { panic!() };
    assert_eq!(delete.missing, Missing::Ignore);
    let Step::MakeDirectory(folder) = step("mkdir = { path = \"/srv\", mode = \"0700\", owner = \"1\" }")
    else {
        panic!()
    };
    assert_eq!((folder.mode, folder.owner.unwrap().group.as_str()), (Some(0o700), "1"));
    assert!(matches!(step("mkdir = \"/srv\""), Step::MakeDirectory(folder) if folder.mode.is_none()));
    assert!(
        matches!(step("chmod = { path = \"/srv\", mode = \"u+x\" }"), Step::ChangeMode(own) if own.mode == "u+x")
    );
    let Step::ChangeOwner(owner) = step("chown = { path = \"/srv\", owner = \"a:b\", recursive = true }")
    else {
        panic!()
    };
    assert_eq!((owner.owner.group.as_str(), owner.recursive), ("b", true));
    assert!(matches!(step("move = { from = \"/a\", to = \"/b\" }"), Step::Move(own) if own.to == "/b"));
    assert!(matches!(step("link = { target = \"../a\", path = \"/b\" }"), Step::Link(link) if !link.hard));
    assert!(matches!(step("touch = \"/a\""), Step::Touch(paths) if paths == ["/a"]));
    assert!(matches!(step("truncate = [\"/a\"]"), Step::Truncate(paths) if paths == ["/a"]));
}

#[test]
fn steps_that_set_up_the_machine_arrive_as_they_were_meant() {
    assert_eq!(step("update = true"), Step::Update(Update { kernel: true }));
    assert_eq!(step("update = { kernel = false }"), Step::Update(Update { kernel: false }));
    assert_eq!(step("hostname = \"web.example.org\""), Step::Hostname("web.example.org".into()));
    assert_eq!(step("timezone = \"America/Argentina/Buenos_Aires\"").secrets(), [""; 0]);
    assert_eq!(step("locale = \"de_DE.UTF-8@euro\""), Step::Locale("de_DE.UTF-8@euro".into()));
    let password = |text: &str| match step(&format!("password = {{ user = \"root\", {text} }}")) {
        Step::Password(password) => password.credential,
        other => panic!("{other:?}"),
    };
    assert_eq!(password("secret = \"word\""), Credential::Secret("word".into()));
    assert_eq!(password("hash = \"$6$a$b/c.d\""), Credential::Hash("$6$a$b/c.d".into()));
    assert_eq!(password("locked = true"), Credential::Locked);
    assert_eq!(password("disabled = true"), Credential::Disabled);
    let all = format!(
        "user = {{ name = \"ann\", groups = [\"adm\"], shell = \"/bin/sh\", home = \"/srv/ann\", uid = 1234, sudo = true, ssh-keys = [\"{KEY}\"] }}"
    );
    let Step::User(user) = step(&all) else { panic!() };
    assert_eq!(
        (user.uid, user.sudo, user.system, user.ssh_keys.as_slice()),
        (Some(1234), true, false, &[KEY.to_owned()][..])
    );
    assert!(matches!(step("user = \"ann\""), Step::User(user) if user.name == "ann"));
    assert!(
        matches!(step("ssh-key = { user = \"ann\", file = \"ann.pub\" }"), Step::SshKey(own) if own.key == KEY)
    );
    assert_eq!(step("firstboot = { file = \"first.sh\" }"), Step::FirstBoot("#!/bin/sh\ntrue\n".into()));
    assert_eq!(
        step("kernel-argument = [\"a=b\", \"-quiet\"]"),
        Step::KernelArgument(vec!["a=b".into(), "-quiet".into()])
    );
    let config = step("cloud-init-config = { name = \"95-own.cfg\", content = \"timezone: UTC\" }");
    assert!(matches!(config, Step::CloudInitConfig(config) if config.name == "95-own.cfg"));
    assert_eq!(
        step("datasources = [\"NoCloud\", \"None\"]"),
        Step::Datasources(vec!["NoCloud".into(), "None".into()])
    );
}

#[test]
fn impossible_steps_are_refused_each_with_its_remedy() {
    let sections = [
        "update = false",
        "update = { kernels = false }",
        "edit = { path = \"/etc/a\", expressions = [\"s/(/x/\", \"y/a/b/\"] }",
        "edit = { path = \"/etc/a\", expression = \"s/a/b/\" }",
        "append-line = { path = \"/etc/a\", line = \"b\\nc\" }",
        "delete = \"/\"",
        "delete = [\"etc/*\"]",
        "delete = { paths = \"/a\", missing = \"ingore\" }",
        "mkdir = { path = \"/a\", mode = 755 }",
        "chmod = { path = \"/a\", mode = 644 }",
        "chmod = { path = \"/a\", mode = \"u+q\" }",
        "chown = { path = \"/a\" }",
        "chown = { path = \"/a\", owner = \":b\" }",
        "move = { from = \"/a\", to = \"b\" }",
        "link = { target = \"\", path = \"/a\" }",
        "link = { target = \"a\", path = \"/b\", hard = true }",
        "touch = []",
        "hostname = \"my_host\"",
        "hostname = \"-a\"",
        "timezone = \"../UTC\"",
        "locale = \"de DE\"",
        "password = { user = \"root\" }",
        "password = { user = \"root\", locked = true, disabled = true }",
        "password = { user = \"root\", locked = false }",
        "password = { user = \"root\", password = \"hunter2\" }",
        "password = { user = \"root\", hash = \"hunter2\" }",
        "password = { user = \"root\", hash = \"$1$a$b\" }",
        "user = { name = \"Ann\" }",
        "user = { name = \"ann\", uid = -1 }",
        "user = { name = \"ann\", password = \"x\" }",
        "ssh-key = { user = \"ann\", key = \"AAAA\" }",
        "ssh-key = { user = \"ann\", key = \"-----BEGIN OPENSSH PRIVATE KEY-----\" }",
        "ssh-key = { user = \"ann\" }",
        "firstboot = \" \"",
        "kernel-argument = [\"a b\", \"-\", \"-root=/dev/sda\"]",
        "cloud-init-config = { name = \"own\", content = \"a: b\" }",
        "cloud-init-config = { name = \"91_goldimg.cfg\", content = \"- a\" }",
        "cloud-init-config = { name = \"a.cfg\" }",
        "datasources = []",
        "delte = \"/a\"",
        "symlink = \"/a\"",
        "hostname = \"a\"\ntimezone = \"UTC\"",
    ];
    let sections: Vec<String> = sections.iter().map(|step| format!("[[steps]]\n{step}")).collect();
    let told = told_of(&sections.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(!told.contains("'hunter2'"), "a password is shown");
    insta::assert_snapshot!(told);
}
