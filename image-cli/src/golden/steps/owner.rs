//! Who owns a file: names are those of the image's passwd(5) and group(5), not of this machine's.

use crate::error::{Advise, Context, err};
use crate::golden::recipe::Owner;
use crate::golden::tree::Tree;

/// A user and a group as the filesystem knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Ids {
    /// Whoever owns what nobody else is named for.
    pub(super) const ROOT: Self = Self { user: 0, group: 0 };

    /// The ids of `owner` in `tree`.
    ///
    /// # Errors
    /// If the image has no such user or group.
    pub(super) fn find(owner: &Owner, tree: &Tree) -> crate::Result<Self> {
        Ok(Self {
            user: id(&owner.user, "user", "/etc/passwd", tree)?,
            group: id(&owner.group, "group", "/etc/group", tree)?,
        })
    }
}

fn id(name: &str, what: &str, file: &str, tree: &Tree) -> crate::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let lines = tree.text(file)?.unwrap_or_default();
    let found = lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1).map(str::parse))?
    });
    match found {
        Some(id) => id.with_context(|| format!("reading the {what} {name} in {file} of the image")),
        // An empty tree has root all the same.
        None if name == "root" => Ok(0),
        None => Err(err!("the image has no {what} {name:?} (in {file})"))
            .hint(|| format!("put a step before this one that makes the {what}, or write its number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn names_are_looked_up_in_the_image() {
        let (_dir, tree) = scratch();
        tree.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1234:99::/:/bin/sh\n", 0o644).unwrap();
        tree.write("/etc/group", "root:x:0:\nstaff:x:50:ann\nbad:x:many:\n", 0o644).unwrap();
        let find =
            |user: &str, group: &str| Ids::find(&Owner { user: user.into(), group: group.into() }, &tree);
        assert_eq!(find("ann", "staff").unwrap(), Ids { user: 1234, group: 50 });
        assert_eq!(find("7", "8").unwrap(), Ids { user: 7, group: 8 });
        assert!(find("bob", "staff").unwrap_err().to_string().contains("no user \"bob\""));
        assert!(find("ann", "bad").is_err());
    }
}
