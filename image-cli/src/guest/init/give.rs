//! What an archive says of a file besides its content, given to it in the order in which nothing takes away another.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use image_core::fs::Time;
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, llistxattr, lremovexattr,
    lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::tree::way_to;
use crate::files::{Entry, Kind};

/// What XFS shows access control lists as besides: the lists are what is given and taken away (fs/xfs/xfs_xattr.c).
const OTHER_NAMES: [&[u8]; 2] = [b"trusted.SGI_ACL_FILE", b"trusted.SGI_ACL_DEFAULT"];
/// What one file's names of attributes have at most, in bytes (xattr(7)).
const NAMES_MAX: usize = 64 << 10;

/// Gives `name` in `folder` the owner, attributes, mode and times that `entry` has.
pub(super) fn give(folder: &OwnedFd, name: &[u8], entry: &Entry) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    // Takes away what raises privileges: so it comes first.
    chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    give_attributes(folder, name, entry)?;
    if entry.kind != Kind::Link {
        chmodat(folder, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    give_times(folder, name, entry.modified)
}

/// Gives `name` in `folder` its time.
pub(super) fn give_times(folder: impl AsFd, name: &[u8], modified: Time) -> rustix::io::Result<()> {
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Exactly those that `entry` has: a new file may have got others by the directory that it is in.
fn give_attributes(folder: &OwnedFd, name: &[u8], entry: &Entry) -> rustix::io::Result<()> {
    // A link, a device or a pipe cannot be opened for that.
    let path = [way_to(folder).as_bytes(), b"/", name].concat();
    let mut wanted = BTreeSet::new();
    for attribute in entry.attributes.iter().filter(|own| !OTHER_NAMES.contains(&own.name.as_slice())) {
        let own = CString::new(attribute.name.clone()).map_err(|_| Errno::INVAL)?;
        lsetxattr(&path, &own, &attribute.value, XattrFlags::empty())?;
        wanted.insert(own);
    }
    let is_other = |own: &CString| !wanted.contains(own) && !OTHER_NAMES.contains(&own.as_bytes());
    for other in attributes(&path)?.into_iter().filter(is_other) {
        match lremovexattr(&path, &other) {
            // Some are made up by the filesystem.
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn attributes(path: &[u8]) -> rustix::io::Result<Vec<CString>> {
    let mut names = vec![0; NAMES_MAX];
    let len = match llistxattr(path, &mut names) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        len => len?,
    };
    let names = names[..len].split_inclusive(|byte| *byte == 0);
    Ok(names.filter_map(|name| CStr::from_bytes_with_nul(name).ok().map(CStr::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use image_core::fs::Attribute;

    use super::*;

    #[test]
    fn a_file_has_what_is_said_of_it_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "").unwrap();
        // Attributes of users are not everywhere.
        if rustix::fs::setxattr(&file, "user.old", b"1", XattrFlags::empty()).is_err() {
            return;
        }
        let open = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let own = std::fs::metadata(&file).unwrap();
        let entry = Entry {
            path: b"a".to_vec(),
            kind: Kind::File,
            mode: 0o640,
            uid: std::os::unix::fs::MetadataExt::uid(&own),
            gid: std::os::unix::fs::MetadataExt::gid(&own),
            modified: Time { seconds: -1, nanoseconds: 500 },
            link: Vec::new(),
            device: (0, 0),
            attributes: vec![Attribute { name: b"user.new".to_vec(), value: b"2".to_vec() }],
            size: 0,
            data: Vec::new(),
        };
        give(&open, b"a", &entry).unwrap();
        let own = rustix::fs::stat(&file).unwrap();
        assert_eq!((own.st_mode & 0o7777, own.st_mtime, own.st_mtime_nsec), (0o640, -1, 500));
        assert_eq!(attributes(file.to_str().unwrap().as_bytes()).unwrap(), [c"user.new".to_owned()]);
    }
}
