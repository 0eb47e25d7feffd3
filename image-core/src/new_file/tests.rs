//! Files that are kept, and given up, in folders where other things happen.

use std::os::unix::fs::symlink;

use super::*;
use crate::ErrorKind as Kind;

fn rule(result: Result<NewFile>) -> PlaceRule {
    let error = result.unwrap_err();
    error.cause::<PlaceError>().unwrap_or_else(|| panic!("{error:?}")).rule
}

fn write(new: &NewFile, text: &[u8]) {
    new.disk().resize(text.len() as u64).unwrap();
    new.disk().write_at(text, 0).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_free_place_is_taken_at_the_end_and_only_if_it_still_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    drop(NewFile::at(&path, Existing::Refuse).unwrap());
    assert_eq!(names(folder.path()), Vec::<String>::new());
    let new = NewFile::at(&path, Existing::Refuse).unwrap();
    write(&new, b"new");
    assert!(!path.exists() && new.path().exists());
    fs::write(&path, "other").unwrap();
    let error = new.keep().unwrap_err();
    assert_eq!(error.to_string(), format!("{} exists", path.display()));
    assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"other".to_vec(), vec!["a".to_owned()]));
    assert_eq!(rule(NewFile::at(&path, Existing::Refuse)), PlaceRule::Exists);
}

#[test]
fn links_stay_and_what_they_name_is_replaced_with_its_rights() {
    for synced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/real"), "old").unwrap();
        fs::set_permissions(path("d/real"), Permissions::from_mode(0o604)).unwrap();
        symlink("d/real", path("link")).unwrap();
        symlink(path("link"), path("again")).unwrap();
        let new = NewFile::at(&path("again"), Existing::Replace).unwrap();
        assert_eq!((new.place(), new.folder()), (&*path("d/real"), &*path("d")));
        write(&new, b"new");
        assert_eq!(fs::read(path("d/real")).unwrap(), b"old");
        if synced {
            new.keep_synced().unwrap()
        } else {
            new.keep().unwrap()
        }
        assert_eq!(fs::read(path("again")).unwrap(), b"new");
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        assert_eq!(fs::metadata(path("d/real")).unwrap().mode() & 0o7777, 0o604);
        assert_eq!(
            (names(folder.path()), names(&path("d"))),
            (vec!["again".into(), "d".into(), "link".into()], vec!["real".into()])
        );
    }
}

#[test]
fn a_link_to_nothing_leads_to_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    symlink("real", path("link")).unwrap();
    let new = NewFile::at(&path("link"), Existing::Refuse).unwrap();
    write(&new, b"new");
    new.keep().unwrap();
    assert_eq!(fs::read(path("real")).unwrap(), b"new");
    assert_eq!(fs::read_link(path("link")).unwrap(), Path::new("real"));
    symlink("b", path("a")).unwrap();
    symlink("a", path("b")).unwrap();
    assert!(NewFile::at(&path("a"), Existing::Refuse).is_err());
    symlink("nowhere/b", path("c")).unwrap();
    assert_eq!(NewFile::at(&path("c"), Existing::Refuse).unwrap_err().kind(), Kind::Io);
}

#[test]
fn what_cannot_be_there_is_known_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let at = |name: &str| NewFile::at(&path(name), Existing::Replace);
    fs::create_dir(path("d")).unwrap();
    assert_eq!(rule(at("d")), PlaceRule::Folder);
    assert_eq!(rule(at("new/")), PlaceRule::Folder);
    assert_eq!(rule(at("..")), PlaceRule::Folder);
    assert_eq!(rule(NewFile::at("/dev/null".as_ref(), Existing::Replace)), PlaceRule::NoFile);
    assert_eq!(at("no/a").unwrap_err().kind(), Kind::Io);
    assert_eq!(at(&"n".repeat(300)).unwrap_err().kind(), Kind::Io);
    fs::write(path("used"), "old").unwrap();
    let user = FileDisk::open(path("used")).unwrap();
    user.lock(Access::WRITE).unwrap();
    assert_eq!(at("used").unwrap_err().kind(), Kind::InUse);
    assert_eq!(names(folder.path()), ["d", "used"]);
}

#[test]
fn what_was_put_there_meanwhile_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a"), "old").unwrap();
    let new = NewFile::at(&path("a"), Existing::Replace).unwrap();
    fs::write(path("b"), "theirs").unwrap();
    fs::rename(path("b"), path("a")).unwrap();
    let error = new.keep().unwrap_err();
    assert_eq!(error.cause::<PlaceError>().unwrap().rule, PlaceRule::Changed);
    assert_eq!(
        (fs::read(path("a")).unwrap(), names(folder.path())),
        (b"theirs".to_vec(), vec!["a".to_owned()])
    );
}

#[test]
fn nobody_begins_to_use_what_is_being_replaced_and_other_names_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a"), "old").unwrap();
    fs::hard_link(path("a"), path("b")).unwrap();
    let new = NewFile::at(&path("a"), Existing::Replace).unwrap();
    assert_eq!(new.other_names(), 1);
    assert_eq!(FileDisk::open(path("a")).unwrap().lock(Access::READ).unwrap_err().kind(), Kind::InUse);
    write(&new, b"new");
    new.keep().unwrap();
    assert_eq!(
        (fs::read(path("a")).unwrap(), fs::read(path("b")).unwrap()),
        (b"new".to_vec(), b"old".to_vec())
    );
}

#[test]
fn attributes_follow_and_what_a_folder_gives_unasked_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "old").unwrap();
    let set = |value: &[u8]| {
        let file = File::open(&path).unwrap();
        rustix::fs::fsetxattr(&file, c"user.origin", value, rustix::fs::XattrFlags::empty())
    };
    if set(b"there").is_err() {
        eprintln!("skipped: no attributes in the folder for temporary files");
        return;
    }
    let new = NewFile::at(&path, Existing::Replace).unwrap();
    write(&new, b"new");
    // Changed meanwhile: what counts is what it has in the end.
    set(b"then").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    new.keep().unwrap();
    let mut value = [0; 16];
    let len = rustix::fs::getxattr(&path, c"user.origin", &mut value[..]).unwrap();
    assert_eq!((&value[..len], fs::read(&path).unwrap()), (&b"then"[..], b"new".to_vec()));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}
