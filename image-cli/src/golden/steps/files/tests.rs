//! Files changed in scratch trees, and links that would lead out of them.

use std::os::unix::fs::symlink as link_to;

use super::*;
use crate::golden::recipe::Owner;
use crate::golden::tree::tests::scratch;

fn mode(path: &str, tree: &Tree) -> u32 {
    tree.path(path).unwrap().metadata().unwrap().permissions().mode() & 0o7777
}

fn me(tree: &Tree) -> Owner {
    let meta = tree.root().metadata().unwrap();
    Owner { user: meta.uid().to_string(), group: meta.gid().to_string() }
}

#[test]
fn a_text_is_edited_in_place_and_only_where_something_fits() {
    let (_dir, tree) = scratch();
    let step = |expressions: &[&str]| Edit {
        path: "/etc/ssh/sshd_config".into(),
        expressions: expressions.iter().map(|own| (*own).to_owned()).collect(),
    };
    let told = edit(&step(&["s/a/b/"]), &tree).unwrap_err().to_string();
    assert_eq!(told, "there is no /etc/ssh/sshd_config in the image");
    tree.write("/etc/ssh/sshd_config", "#Port 22\nUseDNS no\n", 0o600).unwrap();
    let put = edit(&step(&["s/^#?Port .*/Port 2222/", "s/no$/yes/"]), &tree).unwrap();
    assert_eq!(put, [PathBuf::from("/etc/ssh/sshd_config")]);
    let text = tree.text("/etc/ssh/sshd_config").unwrap().unwrap();
    assert_eq!((text.as_str(), mode("/etc/ssh/sshd_config", &tree)), ("Port 2222\nUseDNS yes\n", 0o600));
    assert!(edit(&step(&["s/none/x/"]), &tree).unwrap().is_empty());
    let folder = Edit { path: "/etc/ssh".into(), expressions: vec!["s/a/b/".into()] };
    assert_eq!(edit(&folder, &tree).unwrap_err().to_string(), "/etc/ssh in the image is no file");
}

#[test]
fn a_line_is_one_of_its_own() {
    let (_dir, tree) = scratch();
    let step = |line: &str| AppendLine { path: "/etc/hosts".into(), line: line.into() };
    assert_eq!(append_line(&step("a"), &tree).unwrap(), [PathBuf::from("/etc/hosts")]);
    append_line(&step("b"), &tree).unwrap();
    tree.write("/etc/hosts", "a\nb", 0o600).unwrap();
    append_line(&step("c"), &tree).unwrap();
    assert_eq!(tree.text("/etc/hosts").unwrap().as_deref(), Some("a\nb\nc\n"));
    assert_eq!(mode("/etc/hosts", &tree), 0o600);
}

#[test]
fn what_is_deleted_is_what_the_pattern_finds_and_a_link_is_itself() {
    let (dir, tree) = scratch();
    std::fs::write(dir.path().join("precious"), "host").unwrap();
    for path in ["/etc/a.conf", "/etc/b.conf", "/etc/c.cfg", "/srv/www/deep/file"] {
        tree.write(path, "x", 0o644).unwrap();
    }
    link_to(dir.path().join("precious"), tree.root().join("etc/l.conf")).unwrap();
    let step = |path: &str, missing| Delete { paths: vec![path.into()], missing };
    delete(&step("/etc/*.conf", Missing::Fail), &tree).unwrap();
    assert_eq!(tree.list("/etc").unwrap(), ["c.cfg"]);
    assert!(dir.path().join("precious").exists());
    delete(&step("/srv", Missing::Fail), &tree).unwrap();
    assert!(!tree.exists("/srv"));
    let told = crate::error::rendered(&delete(&step("/srv/*", Missing::Fail), &tree).unwrap_err());
    assert!(told.starts_with("there is no /srv/* in the image"), "{told}");
    assert!(told.contains("missing = \"ignore\""), "{told}");
    delete(&step("/srv", Missing::Ignore), &tree).unwrap();
}

#[test]
fn folders_are_made_with_their_parents_and_stay_as_they_are() {
    let (_dir, tree) = scratch();
    let owner = Some(me(&tree));
    let step = MakeDirectory { path: "/srv/own/data".into(), owner, mode: Some(0o2770) };
    assert_eq!(make_directory(&step, &tree).unwrap(), [PathBuf::from("/srv/own/data")]);
    assert_eq!((mode("/srv/own", &tree), mode("/srv/own/data", &tree)), (0o755, 0o2770));
    let again = MakeDirectory { owner: None, mode: None, ..step };
    assert!(make_directory(&again, &tree).unwrap().is_empty());
    assert_eq!(mode("/srv/own/data", &tree), 0o2770);
    tree.write("/srv/file", "", 0o644).unwrap();
    let file = MakeDirectory { path: "/srv/file".into(), owner: None, mode: None };
    assert!(make_directory(&file, &tree).is_err());
}

#[test]
fn modes_and_owners_are_changed_within_the_tree() {
    let (dir, tree) = scratch();
    std::fs::write(dir.path().join("precious"), "host").unwrap();
    let outside = dir.path().join("precious").metadata().unwrap().mode();
    tree.write("/srv/program", "", 0o644).unwrap();
    link_to(dir.path().join("precious"), tree.root().join("srv/out")).unwrap();
    link_to("program", tree.root().join("srv/in")).unwrap();
    let step = |path: &str, mode: &str| ChangeMode { path: path.into(), mode: mode.into() };
    change_mode(&step("/srv/in", "u+xs"), &tree).unwrap();
    assert_eq!(mode("/srv/program", &tree), 0o4744);
    assert!(change_mode(&step("/srv/out", "0777"), &tree).is_err());
    assert_eq!(dir.path().join("precious").metadata().unwrap().mode(), outside);
    let step = ChangeOwner { path: "/srv".into(), owner: me(&tree), recursive: true };
    change_owner(&step, &tree).unwrap();
    assert_eq!(mode("/srv/program", &tree), 0o4744, "a change of the owner takes the bit away");
    let nobody = Owner { user: "ann".into(), group: "ann".into() };
    let told = change_owner(&ChangeOwner { owner: nobody, ..step }, &tree).unwrap_err().to_string();
    assert!(told.contains("no user \"ann\""), "{told}");
}

#[test]
fn what_is_moved_goes_into_a_folder_or_over_a_file() {
    let (_dir, tree) = scratch();
    tree.write("/etc/new.conf", "new", 0o600).unwrap();
    tree.write("/etc/own.conf", "old", 0o644).unwrap();
    let step = |from: &str, to: &str| Move { from: from.into(), to: to.into() };
    assert_eq!(
        rename(&step("/etc/new.conf", "/etc/own.conf"), &tree).unwrap(),
        [PathBuf::from("/etc/own.conf")]
    );
    assert_eq!(tree.text("/etc/own.conf").unwrap().as_deref(), Some("new"));
    tree.make_dir("/srv").unwrap();
    assert_eq!(rename(&step("/etc/own.conf", "/srv"), &tree).unwrap(), [PathBuf::from("/srv/own.conf")]);
    rename(&step("/srv", "/var/lib/own"), &tree).unwrap();
    assert!(tree.exists("/var/lib/own/own.conf") && !tree.exists("/srv"));
    tree.make_dir("/opt/own").unwrap();
    let told = crate::error::rendered(&rename(&step("/var/lib/own", "/opt"), &tree).unwrap_err());
    assert!(told.contains("/opt/own is in the way of /var/lib/own"), "{told}");
    assert!(told.contains("delete = \"/opt/own\""), "{told}");
    assert!(rename(&step("/var", "/var/lib/x"), &tree).unwrap_err().to_string().contains("into itself"));
    assert!(rename(&step("/none", "/x"), &tree).unwrap_err().to_string().contains("no /none"));
}

#[test]
fn links_are_made_and_hard_ones_stay_in_the_tree() {
    let (dir, tree) = scratch();
    std::fs::write(dir.path().join("precious"), "host").unwrap();
    tree.write("/etc/own", "x", 0o644).unwrap();
    let step = |target: &str, path: &str, hard| Link { target: target.into(), path: path.into(), hard };
    assert_eq!(
        link(&step("../etc/own", "/srv/deep/own", false), &tree).unwrap(),
        [PathBuf::from("/srv/deep/own")]
    );
    assert_eq!(std::fs::read_link(tree.root().join("srv/deep/own")).unwrap(), PathBuf::from("../etc/own"));
    // The link itself is replaced, and not what it leads to.
    link(&step("/etc/other", "/srv/deep/own", false), &tree).unwrap();
    assert_eq!(tree.text("/etc/own").unwrap().as_deref(), Some("x"));
    link(&step("/etc/own", "/srv/second", true), &tree).unwrap();
    assert_eq!(tree.root().join("etc/own").metadata().unwrap().nlink(), 2);
    link(&step("/srv/second", "/srv/second", true), &tree).unwrap();
    assert!(tree.exists("/srv/second"), "a link to itself takes nothing away");
    link_to(dir.path().join("precious"), tree.root().join("etc/out")).unwrap();
    assert!(link(&step("/etc/out", "/srv/third", true), &tree).is_err());
    let told = crate::error::rendered(&link(&step("x", "/srv/deep", false), &tree).unwrap_err());
    assert!(told.contains("/srv/deep in the image is a folder"), "{told}");
}

#[test]
fn files_are_touched_without_being_opened_and_emptied_only_if_they_are_files() {
    let (_dir, tree) = scratch();
    tree.write("/etc/own", "text", 0o600).unwrap();
    rustix::fs::mknodat(
        CWD,
        tree.root().join("etc/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let paths = ["/etc/own", "/srv/new", "/etc/pipe"].map(String::from);
    assert_eq!(touch(&paths, &tree).unwrap(), [PathBuf::from("/srv/new")]);
    let date = |path: &str| tree.path(path).unwrap().metadata().unwrap().mtime().cast_unsigned();
    assert_eq!([date("/etc/own"), date("/srv/new")], [tree.epoch().seconds(); 2]);
    truncate(&paths[..2], &tree).unwrap();
    assert_eq!(tree.text("/etc/own").unwrap().as_deref(), Some(""));
    assert_eq!(mode("/etc/own", &tree), 0o600);
    assert!(
        truncate(&paths[2..], &tree).unwrap_err().to_string().contains("/etc/pipe in the image is no file")
    );
    assert!(truncate(&["/none".into()], &tree).is_err());
}
