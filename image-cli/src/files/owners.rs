//! Users and groups by the names that the image has for them (passwd(5), group(5)).

use std::collections::HashMap;
use std::path::Path;

use image_core::fs::Files;

/// No file of accounts is larger, in bytes.
const LIMIT: u64 = 16 << 20;

/// Names for user and group numbers.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Those of a system with these files; without accounts, numbers have no names.
    pub fn of(files: &dyn Files) -> Self {
        let read = |path: &str| {
            let bytes = files.read(Path::new(path), LIMIT).ok().flatten().unwrap_or_default();
            names(&String::from_utf8_lossy(&bytes))
        };
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// Those of these texts (passwd(5), group(5)).
    pub fn from_texts(passwd: &str, group: &str) -> Self {
        Self { users: names(passwd), groups: names(group) }
    }

    /// These; for what has no name here, those of `others`.
    #[must_use]
    pub fn completed_by(mut self, others: Self) -> Self {
        let add = |own: &mut HashMap<u32, String>, others: HashMap<u32, String>| {
            let known: Vec<String> = own.values().cloned().collect();
            for (number, name) in others {
                if !known.contains(&name) {
                    own.entry(number).or_insert(name);
                }
            }
        };
        add(&mut self.users, others.users);
        add(&mut self.groups, others.groups);
        self
    }

    /// The name of user `uid`.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// The name of group `gid`.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }

    /// The number of the user `name`, or that itself if it is a number.
    pub fn uid(&self, name: &str) -> Option<u32> {
        number(&self.users, name)
    }

    /// The number of the group `name`, or that itself if it is a number.
    pub fn gid(&self, name: &str) -> Option<u32> {
        number(&self.groups, name)
    }
}

fn number(names: &HashMap<u32, String>, name: &str) -> Option<u32> {
    let found = names.iter().filter(|(_, own)| *own == name).map(|(number, _)| *number).min();
    found.or_else(|| name.parse().ok())
}

/// The third field of each line, and the first: the first to have a number names it.
fn names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_first_name() {
        let names = names("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad\nx:y:z\nnobody:*:65534:\n");
        assert_eq!(names.len(), 2);
        let owners = Owners { users: names, groups: HashMap::new() };
        assert_eq!(
            (owners.user(0), owners.user(65534), owners.group(0)),
            (Some("root"), Some("nobody"), None)
        );
        assert_eq!(
            (owners.uid("nobody"), owners.uid("1000"), owners.uid("who")),
            (Some(65534), Some(1000), None)
        );
    }
}
