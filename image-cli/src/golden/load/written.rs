//! A recipe that was made by calls, as TOML: read again like anybody's, it is held to the same rules, and its mistakes have
//! places.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::golden::recipe::{Base, Distribution, Recipe, Step};

/// Keys whose numbers recipes write as text in octal.
const MODES: [&str; 2] = ["mode", "folder-mode"];

/// Keys that every recipe says.
const NEEDED: [&str; 2] = ["distribution", "release"];

/// `recipe` as a file would say it, without what is the default anyway.
///
/// # Errors
/// If it cannot be told: never, as far as is known.
pub(super) fn toml(recipe: &Recipe) -> crate::Result<String> {
    let mut text = String::new();
    let Value::Object(document) = serde_json::to_value(recipe)? else { return Ok(text) };
    // What nobody has said is no mistake of his, and no two keys that do not go together.
    let Recipe { name, base, .. } = recipe;
    let usual = match base.distribution {
        Some(distribution) => Recipe::new(name, distribution, &base.release),
        None => Recipe {
            base: Base { existing: None, ..base.clone() },
            ..Recipe::new(name, Distribution::Debian, "")
        },
    };
    let usual = serde_json::to_value(usual)?;
    // Tables come behind the values that belong to no table.
    let (tables, values): (Vec<_>, Vec<_>) =
        document.iter().partition(|(_, value)| value.is_object() || value.is_array());
    for (key, value) in values {
        line(&mut text, key, value);
    }
    for (key, value) in tables {
        match value {
            Value::Object(table) => {
                let said = |inner: &str, value| {
                    NEEDED.contains(&inner)
                        || usual.get(key).and_then(|usual| usual.get(inner)) != Some(value)
                };
                let _ = writeln!(text, "\n[{key}]");
                let said = table.iter().filter(|(inner, value)| said(inner, value));
                said.for_each(|(key, value)| line(&mut text, key, value));
            }
            Value::Array(steps) => {
                for step in steps.iter().filter_map(Value::as_object) {
                    let _ = writeln!(text, "\n[[{key}]]");
                    step.iter().for_each(|(key, value)| line(&mut text, key, value));
                }
            }
            _ => {}
        }
    }
    Ok(text)
}

/// `step` alone, as a file would say it.
///
/// # Errors
/// As [`toml()`].
pub(super) fn step(step: &Step) -> crate::Result<String> {
    let mut text = "[[steps]]\n".to_owned();
    if let Value::Object(table) = serde_json::to_value(step)? {
        table.iter().for_each(|(key, value)| line(&mut text, key, value));
    }
    Ok(text)
}

/// `key = value`, unless there is none.
fn line(text: &mut String, key: &str, value: &Value) {
    if let Some(value) = written(key, value) {
        let _ = writeln!(text, "{} = {value}", quoted(key));
    }
}

/// The value as TOML writes it; none for null, which TOML does not have.
fn written(key: &str, value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Number(mode) if MODES.contains(&key) => quoted(&format!("{:04o}", mode.as_u64()?)),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().filter_map(|value| written("", value)).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(table) => match owner(table).filter(|_| key == "owner") {
            Some(owner) => quoted(&owner),
            None => {
                // An archive without suites has none.
                let said = table
                    .iter()
                    .filter(|(key, value)| *key != "components" || **value != Value::Array(Vec::new()));
                let pairs = said.filter_map(|(key, value)| Some((key, written(key, value)?)));
                let pairs: Vec<String> =
                    pairs.map(|(key, value)| format!("{} = {value}", quoted(key))).collect();
                format!("{{ {} }}", pairs.join(", "))
            }
        },
    })
}

/// `user:group`.
fn owner(table: &Map<String, Value>) -> Option<String> {
    Some(format!("{}:{}", table.get("user")?.as_str()?, table.get("group")?.as_str()?))
}

/// A basic string of TOML (1.0, "String"), which escapes as JSON does, and one character more.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::golden::recipe::{
        Access, AppendLine, ChangeMode, ChangeOwner, CloudConfig, Copy, Credential, Delete, DiskSize, Edit,
        Firmware, FurtherArchive, Link, MakeDirectory, Missing, Move, Owner, Password, Preserve, Run, SshKey,
        Update, User, Write,
    };
    use crate::golden::{Loaded, recipe::uri::Uri};
    use crate::monitor::silent;
    use crate::size::Size;

    fn loaded(recipe: &Recipe, folder: &Path) -> crate::Result<Loaded> {
        Loaded::new(recipe, folder, silent())
    }

    /// One of each other kind, with what is no default.
    fn further_steps() -> Vec<Step> {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ann".to_owned();
        let owner = Owner { user: "1".into(), group: "adm".into() };
        let password = |credential| Step::Password(Password { user: "ann".into(), credential });
        vec![
            Step::Update(Update { kernel: false }),
            Step::Edit(Edit {
                path: "/a".into(),
                expressions: vec!["s/\"a\\\\/\\t/".into(), "s/b/c/g".into()],
            }),
            Step::AppendLine(AppendLine { path: "/a".into(), line: "it's".into() }),
            Step::Delete(Delete { paths: vec!["/a/*".into()], missing: Missing::Ignore }),
            Step::MakeDirectory(MakeDirectory {
                path: "/a".into(),
                owner: Some(owner.clone()),
                mode: Some(0o2750),
            }),
            Step::ChangeMode(ChangeMode { path: "/a".into(), mode: "u+x".into() }),
            Step::ChangeOwner(ChangeOwner { path: "/a".into(), owner, recursive: true }),
            Step::Move(Move { from: "/a".into(), to: "/b".into() }),
            Step::Link(Link { target: "/a".into(), path: "/b".into(), hard: true }),
            Step::Touch(vec!["/a".into()]),
            Step::Truncate(vec!["/a".into(), "/b".into()]),
            Step::Hostname("web".into()),
            Step::Timezone("Etc/UTC".into()),
            Step::Locale("C.UTF-8".into()),
            password(Credential::Secret("word".into())),
            password(Credential::Hash("$6$a$b".into())),
            password(Credential::Locked),
            password(Credential::Disabled),
            Step::User(User {
                name: "ann".into(),
                uid: Some(7),
                sudo: true,
                ssh_keys: vec![key.clone()],
                ..User::default()
            }),
            Step::SshKey(SshKey { user: "ann".into(), key: format!("{key}\n{key}2") }),
            Step::FirstBoot("echo \"a\"\n".into()),
            Step::KernelArgument(vec!["-quiet".into(), "a=b".into()]),
            Step::CloudInitConfig(CloudConfig { name: "a.cfg".into(), content: "a: b\n".into() }),
            Step::Datasources(vec!["None".into()]),
        ]
    }

    #[test]
    fn a_recipe_that_was_made_by_calls_is_the_one_that_is_built() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("motd"), "hello\n").unwrap();
        let owner = Some(Owner { user: "root".into(), group: "adm".into() });
        let mut recipe = Recipe::new("web", Distribution::Debian, "bookworm")
            .step(Step::Install(vec!["nginx-light".into()]))
            .step(Step::Remove(vec!["nano".into()]))
            .step(Step::Copy(Copy {
                from: "motd".into(),
                to: "/etc/motd".into(),
                owner: owner.clone(),
                mode: None,
                folder_mode: None,
                preserve: vec![Preserve::Mode],
                replace: true,
            }))
            .step(Step::Write(Write {
                path: "/etc/issue".into(),
                content: "\"quoted\" \\ \t \u{7f} \u{1b} ü\nnext\n".into(),
                owner,
                mode: Some(0o640),
                append: true,
            }))
            .step(Step::Run(Run {
                script: "#!/bin/sh\ntrue\n".into(),
                environment: [("A".to_owned(), "1".to_owned())].into(),
                network: Some(Access::None),
                timeout: Some(60),
                secrets: vec!["token".into()],
            }));
        recipe.steps.extend(further_steps());
        recipe.version = Some("1.2".into());
        recipe.build.network = Access::Packages;
        recipe.base.mirror = Some(Uri::new("https://ann:secret@packages.example/debian"));
        recipe.cloud_init.config.insert("10-own.cfg".into(), "timezone: UTC\n".into());
        recipe.boot.firmware = vec![Firmware::Uefi];
        recipe.disk.size = DiskSize::Bytes(Size(4 << 30));
        recipe.seal.keep = vec!["/etc/machine-id".into()];
        recipe.openstack.properties.insert("hw_disk_bus".into(), "scsi".into());
        assert_eq!(loaded(&recipe, folder.path()).unwrap().recipe, recipe);
        recipe.base.archives.push(FurtherArchive {
            uri: Some(Uri::new("https://packages.example/flat")),
            suites: vec!["/".into()],
            components: Vec::new(),
            signed_by: None,
            priority: None,
            pin: Vec::new(),
            keep: false,
        });
        let again = loaded(&recipe, folder.path()).unwrap();
        assert_eq!(again.recipe, recipe);
        assert!(!format!("{again:?}").contains("ann:"), "{again:?}");
        let plain = Recipe::new("web", Distribution::Ubuntu, "noble");
        assert_eq!(loaded(&plain, folder.path()).unwrap().recipe, plain);
    }

    #[test]
    fn its_mistakes_are_those_of_any_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |recipe: &Recipe| format!("{:#}", loaded(recipe, folder.path()).unwrap_err());
        let mut recipe = Recipe::new("a name", Distribution::Debian, "bookworm");
        recipe.disk.esp_size = Size(1 << 20);
        assert_eq!(refused(&recipe), "a name.toml has 2 mistakes");
        let copy = Copy {
            from: PathBuf::from("../etc/passwd"),
            to: "/etc/passwd".into(),
            owner: None,
            mode: None,
            folder_mode: None,
            preserve: Vec::new(),
            replace: false,
        };
        let recipe = Recipe::new("web", Distribution::Debian, "bookworm").step(Step::Copy(copy));
        assert_eq!(refused(&recipe), "web.toml has 1 mistake");
        let mut recipe = Recipe::new("web", Distribution::Debian, "bookworm");
        recipe.base.mirror = Some(Uri::new("https://ann@packages.example/debian"));
        assert!(
            refused(&recipe)
                .starts_with("apt cannot be told the name and password for https://packages.example")
        );
        recipe.base.mirror = None;
        recipe.base.archives.push(FurtherArchive {
            uri: Some(Uri::new("https://packages.example/debian")),
            suites: Vec::new(),
            components: vec!["main".into()],
            signed_by: None,
            priority: None,
            pin: Vec::new(),
            keep: false,
        });
        assert!(loaded(&recipe, folder.path()).is_err());
    }
}
