//! Sources that change while they are read.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn what_is_put_there_after_the_look_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, host) = (dir.path().join("recipe"), dir.path().join("host"));
    fs::create_dir_all(recipe.join("over/folder")).unwrap();
    fs::create_dir(&host).unwrap();
    fs::write(host.join("secret"), "secret").unwrap();
    fs::write(recipe.join("over/file"), "x").unwrap();
    let source = Source::open(&recipe, Path::new("over")).unwrap();
    let over = source.entry().unwrap().open_folder().unwrap();
    assert_eq!(over.names().unwrap(), ["file", "folder"]);
    let (file, folder) = (over.entry("file".into()).unwrap(), over.entry("folder".into()).unwrap());
    fs::remove_file(recipe.join("over/file")).unwrap();
    fs::remove_dir(recipe.join("over/folder")).unwrap();
    symlink(host.join("secret"), recipe.join("over/file")).unwrap();
    symlink(&host, recipe.join("over/folder")).unwrap();
    assert!(file.open_file().is_err());
    assert!(folder.open_folder().is_err());
    // Another file under the same name is not the one that was looked at.
    fs::remove_file(recipe.join("over/file")).unwrap();
    fs::copy(host.join("secret"), recipe.join("other")).unwrap();
    fs::hard_link(recipe.join("other"), recipe.join("over/file")).unwrap();
    let error = file.open_file().unwrap_err();
    assert_eq!(error.to_string(), "over/file was changed while it was copied");
    // What was opened stays the folder that it was, whatever the path to it has become.
    fs::rename(recipe.join("over"), recipe.join("was")).unwrap();
    symlink(&host, recipe.join("over")).unwrap();
    assert_eq!(over.names().unwrap(), ["file", "folder"]);
}

#[test]
fn a_file_that_is_written_to_meanwhile_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), "one").unwrap();
    let source = Source::open(dir.path(), Path::new("x")).unwrap();
    let entry = source.entry().unwrap();
    let file = entry.open_file().unwrap();
    entry.unchanged(&file).unwrap();
    fs::write(dir.path().join("x"), "more").unwrap();
    assert!(entry.unchanged(&file).unwrap_err().to_string().contains("was changed while"));
}
