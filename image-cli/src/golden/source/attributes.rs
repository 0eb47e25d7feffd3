//! Extended attributes (xattr(7)): what they say, which of them belong to a machine, and whose ids they name.
//!
//! ```text
//! security.capability          rights that the program has: version 2, or 3 for the root of one user namespace
//! system.posix_acl_access      permissions of further users and groups
//! system.posix_acl_default     … that what is made in a folder gets
//! user.*                       whatever people and programs keep there
//! security.selinux and its kin labels of the machine that the file lies on: never an image's
//! ```
//!
//! The kernel shows ids to a process as its user namespace has them: an ordinary user's build sees another number than
//! root's does. Read and written here are the numbers of the machine, so that both make the same image.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

use crate::error::{Advise, Context, bail, err};
use crate::printable::printable;

const CAPABILITY: &str = "security.capability";
const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";
/// Attributes of the machine or the filesystem that a file lies on, not of the file.
const MACHINE: &[&str] = &[
    "security.selinux",
    "security.SMACK64",
    "security.apparmor",
    "security.ima",
    "security.evm",
    "system.nfs4_acl",
    "system.dos_attrib",
    "system.ntfs_",
    "system.cifs_",
    "trusted.overlay.",
    "user.overlay.",
    "user.fuseoverlayfs.",
    "btrfs.",
    "ceph.",
];
/// The longest list of names, and the longest value, that Linux has (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const LONGEST: usize = 64 << 10;

/// What an attribute is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Rights that a program has.
    Capability,
    /// Permissions besides owner, group and others.
    Acl,
    /// Whatever people keep there.
    User,
    /// What only this machine's root, or nobody, could carry into an image.
    Other,
}

/// An attribute of a file beside the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) topic: Topic,
}

/// The attributes of an open file or folder that are its own, in the order of their names.
///
/// # Errors
/// If they cannot be listed.
pub(crate) fn list(file: impl AsFd) -> crate::Result<Vec<Attribute>> {
    let mut names = vec![0; LONGEST];
    let length = match flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error).context("listing its extended attributes"),
    };
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    // A name that is no text is nothing that could be asked for by name: none of Linux's is.
    let names = names.filter_map(|name| std::str::from_utf8(name).ok().filter(|name| !name.is_empty()));
    let mut found: Vec<Attribute> = names
        .filter(|name| !MACHINE.iter().any(|label| name.starts_with(label)))
        .map(|name| Attribute { name: name.to_owned(), topic: topic(name) })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What the attributes of an open file or folder say.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn values(file: impl AsFd) -> crate::Result<Vec<Vec<u8>>> {
    let value = |attribute: Attribute| {
        let mut value = vec![0; LONGEST];
        let length = fgetxattr(&file, attribute.name.as_str(), &mut value)
            .with_context(|| format!("reading its attribute {}", printable(&attribute.name)))?;
        value.truncate(length);
        Ok(value)
    };
    list(&file)?.into_iter().map(value).collect()
}

fn topic(name: &str) -> Topic {
    match name {
        CAPABILITY => Topic::Capability,
        ACL_ACCESS | ACL_DEFAULT => Topic::Acl,
        _ if name.starts_with("user.") => Topic::User,
        _ => Topic::Other,
    }
}

/// Gives the open file `to` the attribute that `from` has, with the ids of the machine.
///
/// # Errors
/// If it names ids that cannot be seen or made here, or the filesystem refuses it.
pub(crate) fn copy(attribute: &Attribute, from: impl AsFd, to: impl AsFd) -> crate::Result<()> {
    let name = attribute.name.as_str();
    let doing = || format!("copying its attribute {}", printable(name));
    let mut value = vec![0; LONGEST];
    let length = fgetxattr(from, name, &mut value).with_context(doing)?;
    value.truncate(length);
    match attribute.topic {
        Topic::Capability => value = of_every_namespace(&value).with_context(doing)?,
        Topic::Acl => value = IdMap::of_this_process()?.acl(&value).with_context(doing)?,
        Topic::User | Topic::Other => {}
    }
    fsetxattr(to, name, &value, XattrFlags::empty()).with_context(doing)
}

/// The permissions of further users and groups that the open file `from` has, given to `to` as they are.
///
/// # Errors
/// If they cannot be read or written.
pub(crate) fn carry_acl(from: impl AsFd, to: impl AsFd) -> crate::Result<()> {
    let mut value = vec![0; LONGEST];
    match fgetxattr(from, ACL_ACCESS, &mut value) {
        Ok(length) => {
            value.truncate(length);
            fsetxattr(to, ACL_ACCESS, &value, XattrFlags::empty()).context("keeping its access control list")
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error).context("reading its access control list"),
    }
}

/// Capabilities of version 2, which count wherever the file is (linux/capability.h, `vfs_cap_data`).
fn of_every_namespace(value: &[u8]) -> crate::Result<Vec<u8>> {
    const VERSION_2: u32 = 0x0200_0000;
    const VERSION_3: u32 = 0x0300_0000;
    const REVISION: u32 = 0xff00_0000;
    let (head, rest) = value.split_first_chunk::<4>().context("it is cut off")?;
    let head = u32::from_le_bytes(*head);
    match (head & REVISION, rest.len()) {
        (VERSION_2, 16) => Ok(value.to_owned()),
        // Four numbers, and the id of the root that it is for: in the image that is the image's.
        (VERSION_3, 20) => {
            let version_2 = (head & !REVISION | VERSION_2).to_le_bytes();
            Ok([version_2.as_slice(), rest.get(..16).unwrap_or_default()].concat())
        }
        _ => bail!("it is of a version that is not known"),
    }
}

/// Which ids of this process's user namespace are which of the machine (user_namespaces(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct IdMap {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    fn of_this_process() -> crate::Result<Self> {
        let read = |name: &str| -> crate::Result<Vec<Range>> {
            let path = format!("/proc/self/{name}");
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            Ok(text.lines().filter_map(Range::parse).collect())
        };
        Ok(Self { users: read("uid_map")?, groups: read("gid_map")? })
    }

    /// A list with the machine's ids in place of this namespace's (linux/posix_acl_xattr.h).
    fn acl(&self, value: &[u8]) -> crate::Result<Vec<u8>> {
        const VERSION: u32 = 2;
        const USER: u16 = 0x02;
        const GROUP: u16 = 0x08;
        let (head, entries) = value.split_first_chunk::<4>().context("it is cut off")?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*head) != VERSION || !rest.is_empty() {
            bail!("it is of a version that is not known");
        }
        let mut acl = head.to_vec();
        for [tag_low, tag_high, low, high, id @ ..] in entries {
            let tag = u16::from_le_bytes([*tag_low, *tag_high]);
            let seen = u32::from_le_bytes(*id);
            let id = match tag {
                USER => outside(&self.users, seen, "user")?,
                GROUP => outside(&self.groups, seen, "group")?,
                _ => seen,
            };
            acl.extend([*tag_low, *tag_high, *low, *high]);
            acl.extend(id.to_le_bytes());
        }
        Ok(acl)
    }
}

impl Range {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        Some(Self { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? })
    }
}

/// The machine's id for the id `inside`.
fn outside(map: &[Range], inside: u32, what: &str) -> crate::Result<u32> {
    let of = |range: &Range| {
        let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
        range.outside.checked_add(offset)
    };
    match map.iter().find_map(of) {
        Some(id) if id != u32::MAX => Ok(id),
        _ => Err(err!("it names a {what} that an ordinary user's build cannot see"))
            .hint(|| "build as root, or leave \"mode\" out of `preserve`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_machine_are_no_attributes_of_a_file() {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        for name in ["user.overlay.opaque", "user.origin"] {
            fsetxattr(&file, name, b"y", XattrFlags::empty()).unwrap();
        }
        let listed = list(&file).unwrap();
        assert_eq!(listed, [Attribute { name: "user.origin".into(), topic: Topic::User }]);
        let copied = tempfile::tempfile_in("/var/tmp").unwrap();
        copy(&listed[0], &file, &copied).unwrap();
        let mut value = [0; 8];
        assert_eq!(fgetxattr(&copied, "user.origin", &mut value).unwrap(), 1);
        assert_eq!(value[0], b'y');
    }

    #[test]
    fn capabilities_are_for_the_images_root() {
        // cap_net_raw=ep: effective, permitted 1 << 13.
        let numbers = [[0, 0x20, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
        let second = [&[1, 0, 0, 2], numbers.as_slice()].concat();
        let third = [&[1, 0, 0, 3], numbers.as_slice(), &1000_u32.to_le_bytes()].concat();
        assert_eq!(of_every_namespace(&second).unwrap(), second);
        assert_eq!(of_every_namespace(&third).unwrap(), second);
        for wrong in [&[][..], &[1, 0, 0], &second[..19], &third[..23], &[1, 0, 0, 9]] {
            assert!(of_every_namespace(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lists_name_the_machines_ids_whoever_reads_them() {
        let entry =
            |tag: u16, id: u32| [&tag.to_le_bytes()[..], &6_u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let acl = |user, group| {
            let entries = [entry(1, u32::MAX), entry(2, user), entry(8, group), entry(32, u32::MAX)];
            [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
        };
        let parse = |text: &str| text.lines().filter_map(Range::parse).collect::<Vec<_>>();
        let map = IdMap { users: parse("0 1000 1\n1 100000 65536\n"), groups: parse("0 0 4294967295\n") };
        assert_eq!(map.acl(&acl(0, 33)).unwrap(), acl(1000, 33));
        assert_eq!(map.acl(&acl(65536, 33)).unwrap(), acl(165_535, 33));
        assert!(map.acl(&acl(65537, 33)).unwrap_err().to_string().contains("a user that an ordinary"));
        assert!(map.acl(&acl(u32::MAX, 33)).is_err());
        assert!(map.acl(&acl(0, 33)[..7]).is_err());
    }
}
