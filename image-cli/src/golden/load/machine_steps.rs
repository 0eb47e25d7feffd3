//! Steps that set up the machine: packages brought up to date, accounts, settings.

use toml::de::DeValue;

use super::beside::{file_or_text, text_of};
use super::fields::{Fields, Value, Walk, flag, number, text, texts};
use super::problem::Problem;
use super::rules::{self, path_in_image};
use crate::golden::recipe::{Credential, Password, SshKey, Update, User};

pub(super) use super::rules::{hostname, locale, timezone};

/// `update`: true, or a table.
pub(super) fn update(walk: &Walk<'_>, value: &Value<'_>) -> Option<Update> {
    match value.get_ref() {
        DeValue::Boolean(true) => return Some(Update { kernel: true }),
        DeValue::Boolean(false) => {
            let problem = Problem::error(value.span(), "an update that is none");
            return walk
                .refuse(problem.help("leave the step out, or kernels alone: update = { kernel = false }"));
        }
        _ => {}
    }
    let mut fields = Fields::of(walk, value, "`update`")?;
    let kernel = fields.required("kernel", "`kernel = false`", flag);
    fields.finish(|_| None);
    Some(Update { kernel: kernel? })
}

/// `password`: an account, and exactly one of what becomes of its password.
pub(super) fn password(walk: &Walk<'_>, value: &Value<'_>) -> Option<Password> {
    const WAYS: [&str; 4] = ["secret", "hash", "locked", "disabled"];
    const EXAMPLE: &str = "`secret = \"NAME\"`, `hash = \"$y$…\"`, `locked = true` or `disabled = true`";
    let mut fields = Fields::of(walk, value, "`password`")?;
    let user = fields.required("user", "`user = \"root\"`", rules::account);
    let mut present: Vec<_> = WAYS.iter().filter_map(|way| Some((fields.place_of(way)?, *way))).collect();
    present.sort_by_key(|(place, _)| place.start);
    let secret = fields.optional("secret", rules::secret).map(Credential::Secret);
    let hash = fields.optional("hash", rules::hash).map(Credential::Hash);
    let locked = fields.optional("locked", only_true).map(|()| Credential::Locked);
    let disabled = fields.optional("disabled", only_true).map(|()| Credential::Disabled);
    let span = fields.span();
    let plain = fields.has("password") || fields.has("plain");
    fields.finish(|key| {
        let is_plain = matches!(key, "password" | "plain" | "text");
        is_plain.then(|| {
            "a recipe has no password in it: write `secret = \"NAME\"`, and build with --secret NAME=FILE"
                .into()
        })
    });
    match present.as_slice() {
        [_] => {}
        [] if plain => return None,
        [] => {
            let problem = Problem::missing(span, "`password` does not say what becomes of it");
            return walk.refuse(problem.help(format!("add {EXAMPLE}")));
        }
        [(_, first), (second, other), ..] => {
            let problem =
                Problem::error(second.clone(), format!("a password with both `{first}` and `{other}`"));
            return walk.refuse(problem.help("leave one out"));
        }
    }
    Some(Password { user: user?, credential: secret.or(hash).or(locked).or(disabled)? })
}

/// What is said by being there.
fn only_true(walk: &Walk<'_>, value: &Value<'_>) -> Option<()> {
    match flag(walk, value)? {
        true => Some(()),
        false => walk.refuse(Problem::error(value.span(), "`false` says nothing").help("leave it out")),
    }
}

/// `user`: a name, or a table with it.
pub(super) fn user(walk: &Walk<'_>, value: &Value<'_>) -> Option<User> {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return Some(User { name: rules::account(walk, value)?, ..User::default() });
    }
    let mut fields = Fields::of(walk, value, "`user`")?;
    let name = fields.required("name", "`name = \"…\"`", rules::account);
    let groups = fields.optional("groups", |walk, value| texts(walk, value, rules::account));
    let shell = fields.optional("shell", path_in_image);
    let home = fields.optional("home", path_in_image);
    let uid = fields.optional("uid", |walk, value| number(walk, value, 0..=u32::MAX - 1, ""));
    let system = fields.optional("system", flag);
    let sudo = fields.optional("sudo", flag);
    let ssh_keys = fields.optional("ssh-keys", |walk, value| {
        texts(walk, value, |walk, value| rules::public_keys(walk, value, text(walk, value)?))
    });
    fields.finish(|key| {
        (key == "password")
            .then(|| "a step of its own: password = { user = \"…\", secret = \"NAME\" }".into())
    });
    Some(User {
        name: name?,
        groups: groups.unwrap_or_default(),
        shell,
        home,
        uid,
        system: system.unwrap_or_default(),
        sudo: sudo.unwrap_or_default(),
        ssh_keys: ssh_keys.unwrap_or_default(),
    })
}

/// `ssh-key`: an account, and a key or a file of keys.
pub(super) fn ssh_key(walk: &Walk<'_>, value: &Value<'_>) -> Option<SshKey> {
    const PLACE: &str = "`ssh-key`";
    let mut fields = Fields::of(walk, value, PLACE)?;
    let user = fields.required("user", "`user = \"…\"`", rules::account);
    let key = text_of(&mut fields, "key", PLACE);
    fields.finish(|_| None);
    let key = key.and_then(|key| rules::public_keys(walk, value, &key));
    Some(SshKey { user: user?, key: key? })
}

/// `firstboot`: a script, as text or in a file.
pub(super) fn first_boot(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let script = file_or_text(walk, value, "script", "`firstboot`")?;
    match script.trim().is_empty() || script.contains('\0') {
        true => walk
            .refuse(Problem::error(value.span(), "not a script").help("write the commands to run, as text")),
        false => Some(script),
    }
}

/// `kernel-argument`: words, one at least.
pub(super) fn kernel_arguments(walk: &Walk<'_>, value: &Value<'_>) -> Option<Vec<String>> {
    let words = texts(walk, value, rules::kernel_argument)?;
    match words.is_empty() {
        true => walk.refuse(Problem::error(value.span(), "no word").help("leave the step out")),
        false => Some(words),
    }
}
