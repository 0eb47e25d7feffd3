//! Whom cloud-init lets in by itself: passwords, keys and accounts that are in its files, not in the cloud's data.
//!
//! ```text
//! cloud.cfg, cloud.cfg.d/*.cfg ─► password, chpasswd, users, system_info.default_user, ssh_authorized_keys, …
//!    └─ "#cloud-config …" in a text of theirs: the user data of an installer, which are looked at likewise
//! /var/lib/cloud/seed/*/user-data, vendor-data, meta-data, in their parts (parts.rs)
//! ```
//!
//! cloud-init's documentation, modules "Users and Groups", "Set Passwords", "SSH".

mod parts;

use std::path::Path;

use serde_json::{Map, Value};

use super::super::cloud_init::{FILES, Settings, is_off};
use super::super::rule::{Finding, Judgement};
use super::super::subject::Subject;
use super::super::view::LIMIT;
use crate::error::err;
use parts::Part;

const FIX: &str = "take it out: the cloud gives keys to each server; in a recipe, a step or cloud-init.config has it if it is meant to be there";
/// Texts within texts that are looked at.
const DEPTH: usize = 4;
/// Besides its settings.
const DATA: [&str; 5] = [
    "/var/lib/cloud/seed/*/user-data",
    "/var/lib/cloud/seed/*/vendor-data",
    "/var/lib/cloud/seed/*/vendor-data2",
    "/var/lib/cloud/seed/*/meta-data",
    "/var/lib/cloud/instances/*/user-data.txt",
];

pub(super) fn access(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let mut findings = Vec::new();
    for pattern in FILES.iter().chain(&DATA) {
        for path in subject.view.matches(pattern)? {
            if subject.is_asked_for(&path) {
                continue;
            }
            let bytes = subject.view.root().read(&path, LIMIT)?.unwrap_or_default();
            findings.extend(in_data(&path, &bytes)?);
        }
    }
    if Settings::read(subject.view)?.root_is_let_in() && !root_is_asked_for(subject)? {
        findings.push(Finding::new(
            "/etc/cloud",
            "disable_root: false",
            "leave it out: root logs in with the cloud's key then",
        ));
    }
    findings.dedup();
    Ok(Judgement::of(findings, "nobody"))
}

/// Whether the file that lets root in was asked for.
fn root_is_asked_for(subject: &Subject<'_>) -> crate::Result<bool> {
    let mut asked = false;
    for pattern in FILES {
        for path in subject.view.matches(pattern)? {
            let text = subject.view.text(&path)?.unwrap_or_default();
            asked |= text.contains("disable_root") && subject.is_asked_for(&path);
        }
    }
    Ok(asked)
}

/// What lets somebody in, in all parts of a file.
fn in_data(path: &Path, bytes: &[u8]) -> crate::Result<Vec<Finding>> {
    let place = path.display().to_string();
    let mut findings = Vec::new();
    for part in parts::parts(bytes).map_err(|why| err!("{place}: {why}"))? {
        match part {
            Part::Settings(text) => findings.extend(in_text(path, &text, 0)?),
            Part::Include(_) => {
                let found = "#include: settings are fetched that nobody here has seen";
                findings.push(Finding::new(&place, found, FIX));
            }
            // Whom they let in, only their text says.
            Part::Other(_) => {}
        }
    }
    Ok(findings)
}

fn in_text(path: &Path, text: &str, depth: usize) -> crate::Result<Vec<Finding>> {
    // Scripts and archives of several parts are no settings.
    let is_config = text.starts_with("#cloud-config") || !text.starts_with("#!");
    if !is_config || depth > DEPTH {
        return Ok(Vec::new());
    }
    let value: Option<Value> =
        serde_saphyr::from_str(text).map_err(|error| err!("{} is no YAML: {error}", path.display()))?;
    let mut told = Vec::new();
    if let Some(Value::Object(settings)) = &value {
        told.extend(of_settings(settings));
        if let Some(Value::Object(user)) =
            settings.get("system_info").and_then(|info| info.get("default_user"))
        {
            told.extend(of_user("the default user", user));
        }
        told.extend(
            settings.get("public-keys").and_then(is_set).map(|_| "public-keys: keys log in".to_owned()),
        );
    }
    let place = path.display().to_string();
    let mut findings: Vec<Finding> =
        told.into_iter().map(|found| Finding::new(place.clone(), found, FIX)).collect();
    for inner in value.iter().flat_map(texts) {
        findings.extend(in_text(path, inner, depth.saturating_add(1))?);
    }
    Ok(findings)
}

/// The texts in a value that are settings themselves.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if text.starts_with("#cloud-config") => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn of_settings(settings: &Map<String, Value>) -> Vec<String> {
    let mut told = Vec::new();
    if settings.get("password").and_then(is_set).is_some() {
        told.push("password: the default user has one that all know".to_owned());
    }
    if let Some(Value::Object(chpasswd)) = settings.get("chpasswd")
        && (chpasswd.get("list").and_then(is_set).is_some()
            || chpasswd.get("users").and_then(is_set).is_some())
    {
        told.push("chpasswd: it gives passwords to accounts".to_owned());
    }
    if settings.get("ssh_authorized_keys").and_then(is_set).is_some() {
        told.push("ssh_authorized_keys: keys log in as the default user".to_owned());
    }
    if settings.get("ssh_import_id").and_then(is_set).is_some() {
        told.push("ssh_import_id: keys are fetched that log in as the default user".to_owned());
    }
    let users = match settings.get("users") {
        Some(Value::Array(users)) => users.iter().collect(),
        Some(user @ Value::Object(_)) => vec![user],
        _ => Vec::new(),
    };
    for user in users {
        let Value::Object(user) = user else { continue };
        let name = user.get("name").and_then(Value::as_str).unwrap_or("a user");
        told.extend(of_user(&format!("the user {name}"), user));
    }
    told
}

fn of_user(who: &str, user: &Map<String, Value>) -> Vec<String> {
    let mut told = Vec::new();
    for key in ["passwd", "hashed_passwd", "plain_text_passwd"] {
        let locked = user.get(key).and_then(Value::as_str).is_some_and(|hash| hash.starts_with(['!', '*']));
        if user.get(key).and_then(is_set).is_some() && !locked {
            told.push(format!("{key}: {who} has a password that all know"));
        }
    }
    if user.get("lock_passwd").is_some_and(is_off) || user.get("lock-passwd").is_some_and(is_off) {
        told.push(format!("lock_passwd: false: {who} may log in with a password"));
    }
    for key in ["ssh_authorized_keys", "ssh-authorized-keys", "ssh_import_id", "ssh-import-id"] {
        if user.get(key).and_then(is_set).is_some() {
            told.push(format!("{key}: keys log in as {who}"));
        }
    }
    told
}

/// The value, unless it says nothing.
fn is_set(value: &Value) -> Option<&Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    (!empty).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let found = in_data(Path::new("/x"), text.as_bytes()).unwrap();
        found.into_iter().map(|finding| finding.found.split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_lets_somebody_in_is_told() {
        for (text, words) in [
            ("password: hunter2\n", &["password"][..]),
            ("chpasswd: {list: ['root:x'], expire: false}\n", &["chpasswd"]),
            ("chpasswd: {users: [{name: root, password: x}]}\n", &["chpasswd"]),
            ("ssh_authorized_keys: [ssh-ed25519 AAAA]\n", &["ssh_authorized_keys"]),
            ("ssh_import_id: [gh:ann]\n", &["ssh_import_id"]),
            ("users:\n- default\n- {name: ann, passwd: $6$x, lock_passwd: no}\n", &["passwd", "lock_passwd"]),
            ("users: {name: ann, plain_text_passwd: x}\n", &["plain_text_passwd"]),
            ("system_info: {default_user: {hashed_passwd: $y$x}}\n", &["hashed_passwd"]),
            (
                "datasource:\n  None:\n    userdata_raw: |\n      #cloud-config\n      password: x\n",
                &["password"],
            ),
            ("public-keys: {ann: ssh-ed25519 AAAA}\n", &["public-keys"]),
            ("## template: jinja\n#cloud-config\npassword: x\n", &["password"]),
            ("#include\nhttps://example.com/\n", &["#include"]),
        ] {
            assert_eq!(told(text), words, "{text}");
        }
        for text in [
            "",
            "#!/bin/sh\npassword: x: y\n",
            "password:\nusers: [default]\nchpasswd: {expire: true}\n",
            "system_info: {default_user: {name: debian, lock_passwd: true, passwd: '*'}}\n",
        ] {
            assert!(told(text).is_empty(), "{text}");
        }
        assert!(in_text(Path::new("/x"), "a: [", 0).is_err());
    }
}
