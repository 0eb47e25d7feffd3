//! Steps that set up the machine: its packages, accounts and settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::schema;

/// How packages are brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Update {
    /// Whether kernels are, too.
    pub kernel: bool,
}

/// An account, and what becomes of its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PasswordKeys", into = "PasswordKeys")]
pub struct Password {
    /// The account's name.
    pub user: String,
    /// Its password.
    pub credential: Credential,
}

/// How one logs in with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Credential {
    /// With the secret of this name, which who builds gives (`--secret NAME=FILE`).
    Secret(String),
    /// With the password whose hash this is, in the words of crypt(5).
    Hash(String),
    /// Not at all until it is unlocked: the password is kept behind a `!`.
    Locked,
    /// Not at all: there is no password.
    Disabled,
}

/// A password as a recipe writes it: exactly one of them besides the user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct PasswordKeys {
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled: Option<bool>,
}

impl From<Password> for PasswordKeys {
    fn from(Password { user, credential }: Password) -> Self {
        let keys = Self { user, ..Self::default() };
        match credential {
            Credential::Secret(name) => Self { secret: Some(name), ..keys },
            Credential::Hash(hash) => Self { hash: Some(hash), ..keys },
            Credential::Locked => Self { locked: Some(true), ..keys },
            Credential::Disabled => Self { disabled: Some(true), ..keys },
        }
    }
}

impl TryFrom<PasswordKeys> for Password {
    type Error = &'static str;

    fn try_from(keys: PasswordKeys) -> Result<Self, Self::Error> {
        let PasswordKeys { user, secret, hash, locked, disabled } = keys;
        let credential = match (secret, hash, locked, disabled) {
            (Some(name), None, None, None) => Credential::Secret(name),
            (None, Some(hash), None, None) => Credential::Hash(hash),
            (None, None, Some(true), None) => Credential::Locked,
            (None, None, None, Some(true)) => Credential::Disabled,
            _ => return Err("neither a secret nor a hash, nor locked or disabled"),
        };
        Ok(Self { user, credential })
    }
}

/// An account to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct User {
    /// Its name.
    #[schemars(schema_with = "schema::account")]
    pub name: String,
    /// Groups that it belongs to besides its own; they must be there.
    #[schemars(default, schema_with = "schema::accounts")]
    pub groups: Vec<String>,
    /// Its shell; default: `/bin/bash`, or `/bin/sh` without that, and none for a system's account.
    #[schemars(default, schema_with = "schema::path")]
    pub shell: Option<String>,
    /// Its home; default: `/home/NAME`.
    #[schemars(default, schema_with = "schema::path")]
    pub home: Option<String>,
    /// Its number; default: the next one.
    #[schemars(default, range(max = 4_294_967_294_u32))]
    pub uid: Option<u32>,
    /// Whether it is a service's and no person's: a small number, no home, no shell.
    #[schemars(default)]
    pub system: bool,
    /// Whether it may become root without a password.
    #[schemars(default)]
    pub sudo: bool,
    /// Public keys with which one logs in to it.
    #[schemars(default, schema_with = "schema::ssh_keys")]
    pub ssh_keys: Vec<String>,
}

/// A public key for an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SshKey {
    /// The account's name.
    pub user: String,
    /// The key, as a line of authorized_keys (sshd(8)); or several lines.
    pub key: String,
}

/// A file of cloud-init's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CloudConfig {
    /// Its name, ending in `.cfg`.
    pub name: String,
    /// What is in it: a mapping in YAML.
    pub content: String,
}
