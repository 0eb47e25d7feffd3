//! The steps of a recipe: what each one says, with its defaults.
//!
//! Those of every build are here; what changes files that are there is in `step/files.rs`, what sets up the machine in
//! `step/machine.rs`.

mod files;
mod machine;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::files::{
    AppendLine, ChangeMode, ChangeOwner, Delete, Edit, Link, MakeDirectory, Missing, Move,
};
pub use self::machine::{CloudConfig, Credential, Password, SshKey, Update, User};
use super::{Access, schema};

/// One change to the tree. In a recipe: a table with exactly one of these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Packages to install, without recommended ones: names, or files beside the recipe (`./name.deb`).
    Install(#[schemars(schema_with = "schema::some_installable")] Vec<String>),
    /// Packages to purge, with what only they needed.
    Remove(#[schemars(schema_with = "schema::some_packages")] Vec<String>),
    /// A file or folder beside the recipe, copied into the image.
    Copy(Copy),
    /// A file with this content.
    Write(Write),
    /// A script, run as root in the image.
    Run(#[schemars(schema_with = "schema::script")] Run),
    /// All packages brought up to date: `true`, or `{ kernel = false }`.
    Update(#[schemars(schema_with = "schema::update")] Update),
    /// A text file changed by substitutions.
    Edit(Edit),
    /// A line behind those of a text file.
    AppendLine(AppendLine),
    /// Files and folders removed: paths whose names may have `*`.
    Delete(#[schemars(schema_with = "schema::delete")] Delete),
    /// A folder, and its parents.
    #[serde(rename = "mkdir")]
    MakeDirectory(#[schemars(schema_with = "schema::make_directory")] MakeDirectory),
    /// Permissions changed.
    #[serde(rename = "chmod")]
    ChangeMode(ChangeMode),
    /// Owner and group changed.
    #[serde(rename = "chown")]
    ChangeOwner(ChangeOwner),
    /// Another name for what is there.
    Move(Move),
    /// A link.
    Link(Link),
    /// Files made if they are not there, and given the build's date.
    Touch(#[schemars(schema_with = "schema::some_paths")] Vec<String>),
    /// Files made empty.
    Truncate(#[schemars(schema_with = "schema::some_paths")] Vec<String>),
    /// The machine's name, until a cloud gives it one.
    Hostname(#[schemars(schema_with = "schema::hostname")] String),
    /// The time zone, such as `Europe/Berlin`.
    Timezone(#[schemars(schema_with = "schema::timezone")] String),
    /// The language and its encoding, such as `de_DE.UTF-8`.
    Locale(#[schemars(schema_with = "schema::locale")] String),
    /// An account's password.
    Password(#[schemars(schema_with = "schema::password")] Password),
    /// A new account.
    User(#[schemars(schema_with = "schema::user")] User),
    /// A public key with which an account is logged in to.
    SshKey(#[schemars(schema_with = "schema::ssh_key")] SshKey),
    /// A script that runs once, at the first boot, as root.
    #[serde(rename = "firstboot")]
    FirstBoot(#[schemars(schema_with = "schema::first_boot")] String),
    /// Words for the kernel's command line; behind a `-` those that go.
    KernelArgument(#[schemars(schema_with = "schema::kernel_arguments")] Vec<String>),
    /// A file of cloud-init's configuration.
    CloudInitConfig(#[schemars(schema_with = "schema::cloud_config")] CloudConfig),
    /// Where cloud-init looks for its data, in this order.
    Datasources(#[schemars(schema_with = "schema::datasources")] Vec<String>),
}

impl Step {
    /// What a script of it may reach, where `usual` is what others may.
    pub(crate) fn access(&self, usual: Access) -> Access {
        match self {
            Self::Run(run) => run.network.unwrap_or(usual),
            _ => Access::None,
        }
    }

    /// Whether one of `steps` is a script that may reach all of the network, where `usual` is what others may.
    pub(crate) fn any_has_full_network(steps: &[Self], usual: Access) -> bool {
        steps.iter().any(|step| step.access(usual) == Access::Full)
    }

    /// The secrets that it is shown, by their names.
    pub(crate) fn secrets(&self) -> &[String] {
        match self {
            Self::Run(run) => &run.secrets,
            Self::Password(Password { credential: Credential::Secret(name), .. }) => {
                std::slice::from_ref(name)
            }
            _ => &[],
        }
    }

    /// The account that has a password by it.
    pub(crate) fn gives_password_to(&self) -> Option<&str> {
        match self {
            Self::Password(Password { user, credential: Credential::Secret(_) | Credential::Hash(_) }) => {
                Some(user)
            }
            _ => None,
        }
    }

    /// The account that it makes.
    pub(crate) fn makes_account(&self) -> Option<&str> {
        match self {
            Self::User(user) => Some(&user.name),
            _ => None,
        }
    }
}

/// A file or folder to copy into the image. A folder's content is merged into an existing folder, which stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct Copy {
    /// What, relative to the recipe's folder and beneath it.
    #[schemars(schema_with = "schema::beside")]
    pub from: PathBuf,
    /// Where to, an absolute path in the image.
    #[schemars(schema_with = "schema::path_or_root")]
    pub to: String,
    /// Owner and group of what is made; default: `root:root`, and for a file that is replaced the one it had.
    #[schemars(default, schema_with = "schema::owner")]
    pub owner: Option<Owner>,
    /// Permission bits of files, in octal, such as `"0640"`; default: `"0755"` for files that their owner may execute,
    /// else `"0644"`, and for a file that is replaced those it had.
    #[schemars(default, schema_with = "schema::mode")]
    pub mode: Option<u32>,
    /// Permission bits of folders that are made, in octal; default `"0755"`.
    #[schemars(default, schema_with = "schema::mode", extend("default" = "0755"))]
    pub folder_mode: Option<u32>,
    /// What is kept of the source besides contents, links, holes and who may execute it.
    #[schemars(schema_with = "schema::preserve", default)]
    pub preserve: Vec<Preserve>,
    /// Whether what is in the way is removed, with all in it: a folder where a file or link is to be, and the reverse.
    #[schemars(default)]
    pub replace: bool,
}

impl Copy {
    /// Whether `what` of the source is kept.
    pub(crate) fn preserves(&self, what: Preserve) -> bool {
        self.preserve.contains(&what)
    }
}

/// What a copy can keep, in the words of cp(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preserve {
    /// Permission bits, set-user-ID and its kin, and access control lists.
    Mode,
    /// When it was changed last, if that is before the build.
    Timestamps,
    /// Capabilities, and attributes whose names begin with `user.`.
    Xattr,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct Write {
    /// Where, an absolute path in the image.
    #[schemars(schema_with = "schema::path")]
    pub path: String,
    /// What.
    pub content: String,
    /// Owner and group; default: `root:root`, and for a file that is there the one it has.
    #[schemars(default, schema_with = "schema::owner")]
    pub owner: Option<Owner>,
    /// Permission bits in octal; default: `"0644"`, and for a file that is there those it has.
    #[schemars(default, schema_with = "schema::mode")]
    pub mode: Option<u32>,
    /// Whether it goes behind what the file has already.
    #[schemars(default)]
    pub append: bool,
}

/// A script to run in the image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// The script: run by its `#!` line, or `/bin/sh -eu` without one.
    pub script: String,
    /// Its environment, besides PATH, HOME, LANG and DEBIAN_FRONTEND. Nothing of the caller's is passed on.
    pub environment: BTreeMap<String, String>,
    /// What it may reach, if not what `[build]` says.
    pub network: Option<Access>,
    /// How long it may take, in seconds; default: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// The secrets that it finds in `/run/secrets`, by their names; who builds gives them (`--secret NAME=FILE`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Who owns a file: names or numbers, `user:group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// A user's name in the image, or a number.
    pub user: String,
    /// A group's name in the image, or a number.
    pub group: String,
}
