//! A file as a value: what stat(2) tells of it, for people and as JSON.

use std::borrow::Cow;

use image_core::fs::{Node, NodeKind, Time};
use serde::Serialize;

use super::Owners;
use crate::system::{Step, System};

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// Its path in the image; what is no UTF-8 in it is replaced.
    pub path: String,
    /// The bytes of its path in hexadecimal digits, where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// What it is: `file`, `directory`, `link`, `character device`, `block device`, `pipe` or `socket`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its permissions in octal digits, with set-user-ID and its kin: `0755`.
    pub mode: String,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The name that the image has for its owner.
    pub user: Option<String>,
    /// The name that the image has for its group.
    pub group: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// What is set aside for it, in bytes.
    pub allocated: u64,
    /// How many names it has.
    pub links: u32,
    /// The number of its inode, or what stands for it.
    pub inode: u64,
    /// The subvolume that it is in, where there are several.
    #[serde(skip_serializing_if = "is_zero")]
    pub subvolume: u64,
    /// What its filesystem is called: `partition 1`.
    pub volume: String,
    /// When its content was last changed (RFC 3339, UTC, to the nanosecond).
    pub modified: String,
    /// When anything of it was last changed.
    pub changed: String,
    /// When it was last read.
    pub accessed: String,
    /// When it was made, where that is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Of a device: its major and minor number, as `8:1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Of a link: where it points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its flags, by the letters of lsattr(1).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub flags: String,
    /// Its extended attributes, values in hexadecimal digits where they are no text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// An extended attribute of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attribute {
    /// Its name, as `user.mime_type`.
    pub name: String,
    /// Its value as text, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its value in hexadecimal digits, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

// serde asks with a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// Of `step`, which is `node` and has the absolute path `path`.
    ///
    /// # Errors
    /// If the target of a link cannot be read.
    pub fn of(
        system: &System,
        owners: &Owners,
        step: &Step<'_>,
        node: &Node,
        path: &[u8],
    ) -> crate::Result<Self> {
        let target = match node.kind {
            NodeKind::Link => Some(text(&step.fs.read_link(node)?).into_owned()),
            _ => None,
        };
        Ok(Self {
            path: text(path).into_owned(),
            path_hex: std::str::from_utf8(path).is_err().then(|| hex(path)),
            kind: word(node.kind),
            mode: format!("{:04o}", node.mode),
            uid: node.uid,
            gid: node.gid,
            user: owners.user(node.uid).map(str::to_owned),
            group: owners.group(node.gid).map(str::to_owned),
            size: node.size,
            allocated: node.allocated,
            links: node.links,
            inode: node.id.number,
            subvolume: node.id.subvolume,
            volume: system.volumes().get(step.volume).map(|volume| volume.name()).unwrap_or_default(),
            modified: time(node.modified),
            changed: time(node.changed),
            accessed: time(node.accessed),
            created: node.created.map(time),
            device: node.device.map(|(major, minor)| format!("{major}:{minor}")),
            target,
            flags: flag_letters(node.flags),
            attributes: Vec::new(),
        })
    }

    /// With the extended attributes of `node`, which it is of.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn with_attributes(mut self, step: &Step<'_>, node: &Node) -> crate::Result<Self> {
        for own in step.fs.attributes(node)? {
            let (text_of, hex_of) = match is_text(&own.value) {
                true => (Some(text(&own.value).into_owned()), None),
                false => (None, Some(hex(&own.value))),
            };
            self.attributes.push(Attribute {
                name: text(&own.name).into_owned(),
                text: text_of,
                hex: hex_of,
            });
        }
        Ok(self)
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// The value of an attribute: as text, or in hexadecimal digits.
pub(super) fn value(bytes: &[u8]) -> String {
    match is_text(bytes) {
        true => text(bytes).into_owned(),
        false => format!("0x{}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The word for a kind.
pub(super) fn word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Link => "link",
        NodeKind::CharacterDevice => "character device",
        NodeKind::BlockDevice => "block device",
        NodeKind::Pipe => "pipe",
        NodeKind::Socket => "socket",
    }
}

/// `time` in UTC; beyond the years that a calendar has here, the seconds.
pub(super) fn time(time: Time) -> String {
    let nanoseconds = time.nanoseconds.min(999_999_999) as i32;
    match jiff::Timestamp::new(time.seconds, 0) {
        Ok(stamp) => format!("{}.{nanoseconds:09}Z", stamp.strftime("%Y-%m-%dT%H:%M:%S")),
        Err(_) => format!("@{}.{nanoseconds:09}", time.seconds),
    }
}

/// What `ls -l` shows first: kind and permissions.
pub fn permissions(node: &Node) -> String {
    let kind = match node.kind {
        NodeKind::File => '-',
        NodeKind::Directory => 'd',
        NodeKind::Link => 'l',
        NodeKind::CharacterDevice => 'c',
        NodeKind::BlockDevice => 'b',
        NodeKind::Pipe => 'p',
        NodeKind::Socket => 's',
    };
    let mut shown = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = node.mode >> shift;
        shown.push(if bits & 4 != 0 { 'r' } else { '-' });
        shown.push(if bits & 2 != 0 { 'w' } else { '-' });
        shown.push(match (node.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    shown
}

/// Flags by the letters of lsattr(1), as far as people set them.
fn flag_letters(flags: u32) -> String {
    const LETTERS: [(u32, char); 14] = [
        (0x0000_0001, 's'),
        (0x0000_0002, 'u'),
        (0x0000_0008, 'S'),
        (0x0001_0000, 'D'),
        (0x0000_0010, 'i'),
        (0x0000_0020, 'a'),
        (0x0000_0040, 'd'),
        (0x0000_0080, 'A'),
        (0x0000_0004, 'c'),
        (0x0000_0800, 'E'),
        (0x0000_4000, 'j'),
        (0x0010_0000, 'V'),
        (0x0080_0000, 'C'),
        (0x4000_0000, 'F'),
    ];
    LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use image_core::fs::NodeId;

    use super::*;

    fn node(kind: NodeKind, mode: u32) -> Node {
        let time = Time::default();
        Node {
            id: NodeId::new(12),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            allocated: 0,
            links: 1,
            flags: 0,
            accessed: time,
            changed: time,
            modified: time,
            created: None,
            device: None,
        }
    }

    #[test]
    fn permissions_are_those_of_ls() {
        for (kind, mode, shown) in [
            (NodeKind::File, 0o644, "-rw-r--r--"),
            (NodeKind::Directory, 0o1777, "drwxrwxrwt"),
            (NodeKind::File, 0o4755, "-rwsr-xr-x"),
            (NodeKind::File, 0o6644, "-rwSr-Sr--"),
            (NodeKind::Directory, 0o1770, "drwxrwx--T"),
            (NodeKind::CharacterDevice, 0o600, "crw-------"),
            (NodeKind::Link, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(permissions(&node(kind, mode)), shown);
        }
    }

    #[test]
    fn times_are_told_to_the_nanosecond() {
        let shown = |seconds, nanoseconds| time(Time { seconds, nanoseconds });
        assert_eq!(shown(0, 1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(shown(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(shown(i64::MAX, 0), "@9223372036854775807.000000000");
    }

    #[test]
    fn flags_are_letters() {
        assert_eq!(flag_letters(0x8_0000 | 0x10 | 0x40), "id");
        assert_eq!(flag_letters(0x8_1000), "");
    }
}
