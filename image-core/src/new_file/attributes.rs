//! What a file has besides its content, given to the one that replaces it.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{
    Gid, IFlags, Uid, XattrFlags, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr, ioctl_getflags,
    ioctl_setflags,
};
use rustix::io::Errno;

use super::place::{PlaceError, PlaceRule};
use crate::error::{Doing, Result};

/// The most that names, or a value, may take (xattr(7)).
const XATTR_MAX: usize = 64 << 10;

/// An access control list, which a new file may also inherit from its folder.
const ACL: &[u8] = b"system.posix_acl_access";

/// Digests of the content, which is another one.
const OF_CONTENT: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// The flags of chattr(1) that a user sets, and that do not forbid to write.
const FLAGS: IFlags =
    IFlags::NOCOW.union(IFlags::COMPRESSED).union(IFlags::NOATIME).union(IFlags::NODUMP).union(IFlags::SYNC);

/// Gives `new`, which will be `path`, the owner, group, mode, ACL, extended attributes and flags of `old`, as far as they
/// differ.
///
/// # Errors
/// [`PlaceRule::Owner`] or [`PlaceRule::Attribute`] if it may not have them; whatever the system says.
pub(super) fn adopt(old: &File, new: &File, path: &Path) -> Result<()> {
    let doing = || format!("giving the new {} the rights of the old one", path.display());
    let (was, is) = (old.metadata().doing(doing)?, new.metadata().doing(doing)?);
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        let owner = (was.uid() != is.uid()).then(|| Uid::from_raw(was.uid()));
        let group = (was.gid() != is.gid()).then(|| Gid::from_raw(was.gid()));
        match fchown(new, owner, group) {
            Err(Errno::PERM) => {
                let rule = PlaceRule::Owner { uid: was.uid(), gid: was.gid() };
                return Err(PlaceError { path: path.to_owned(), rule }.into());
            }
            done => done.doing(doing)?,
        }
    }
    adopt_flags(old, new);
    match adopt_xattrs(old, new) {
        Err(Errno::PERM | Errno::ACCESS) => {
            return Err(PlaceError { path: path.to_owned(), rule: PlaceRule::Attribute }.into());
        }
        done => done.doing(doing)?,
    }
    let mode = was.mode() & 0o7777;
    // Last: a change of the owner, and writing, take bits away. With an ACL the group's are its mask.
    if new.metadata().doing(doing)?.mode() & 0o7777 != mode {
        new.set_permissions(Permissions::from_mode(mode)).doing(doing)?;
    }
    Ok(())
}

/// Hints for the filesystem, not rights: what cannot be had is left out.
fn adopt_flags(old: &File, new: &File) {
    let (Ok(was), Ok(is)) = (ioctl_getflags(old), ioctl_getflags(new)) else { return };
    let wanted = is.difference(FLAGS).union(was.intersection(FLAGS));
    if wanted != is {
        let _ = ioctl_setflags(new, wanted);
    }
}

fn adopt_xattrs(old: &File, new: &File) -> Result<(), Errno> {
    let (was, is) = (names(old)?, names(new)?);
    for name in is.difference(&was).filter(|name| name.as_bytes() == ACL) {
        fremovexattr(new, name.as_c_str())?;
    }
    for name in &was {
        if OF_CONTENT.contains(&name.as_bytes()) {
            continue;
        }
        let Some(value) = value(old, name)? else { continue };
        if self::value(new, name)?.as_ref() == Some(&value) {
            continue;
        }
        match fsetxattr(new, name.as_c_str(), &value, XattrFlags::empty()) {
            // Another view of the mode, as network filesystems have them.
            Err(_) if name.as_bytes().starts_with(b"system.") && name.as_bytes() != ACL => {}
            done => done?,
        }
    }
    Ok(())
}

/// The names of the extended attributes of `file`; none where its filesystem has none.
fn names(file: &File) -> Result<BTreeSet<CString>, Errno> {
    let mut list = vec![0_u8; XATTR_MAX];
    let len = match flistxattr(file, &mut list[..]) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        listed => listed?,
    };
    list.truncate(len);
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

/// The value of an extended attribute, if there is one.
fn value(file: &File, name: &CString) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0_u8; XATTR_MAX];
    match fgetxattr(file, name.as_c_str(), &mut value[..]) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        read => {
            value.truncate(read?);
            Ok(Some(value))
        }
    }
}
