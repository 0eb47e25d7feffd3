//! What the values of options mean: paths in the image behind `:/`, files of this machine, passwords, keys.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use goldimg::golden::Asked;
use goldimg::golden::recipe::{Copy, Credential, Owner, Password, SshKey};

use crate::failure::Advise;

/// The largest script, key or fragment.
const LARGEST: u64 = 1 << 20;

/// What is before and behind the first `:` that a path in the image follows.
///
/// # Errors
/// If there is none.
pub(super) fn before_path<'t>(text: &'t str, form: &str) -> anyhow::Result<(&'t str, &'t str)> {
    match text.find(":/") {
        Some(at) if at > 0 => Ok((&text[..at], &text[at + 1..])),
        _ => Err(anyhow!("{text:?} is not {form}")).hint(|| "paths in the image begin with a /"),
    }
}

/// A path in the image, and what is behind the first `:`.
///
/// # Errors
/// If there is none.
pub(super) fn behind_path<'t>(text: &'t str, form: &str) -> anyhow::Result<(&'t str, &'t str)> {
    text.split_once(':')
        .filter(|(path, _)| path.starts_with('/'))
        .ok_or_else(|| anyhow!("{text:?} is not {form}"))
        .hint(|| "paths in the image begin with a /")
}

/// The words of a list with commas.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `USER[:GROUP]`.
pub(super) fn owner(text: &str) -> Owner {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    Owner { user: user.to_owned(), group: group.to_owned() }
}

/// The text of a file of this machine.
///
/// # Errors
/// If it cannot be read, is larger than such files are, or no text.
pub(super) fn file(path: &str) -> anyhow::Result<String> {
    let doing = || format!("reading {path}");
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text)).with_context(doing)?;
    if text.len() as u64 > LARGEST {
        return Err(anyhow!("{path} is larger than 1 MiB"))
            .hint(|| "--copy-in copies a file of any size, and --run-command starts it");
    }
    Ok(text)
}

/// A copy of `SOURCE:FOLDER`, into the folder and under its own name. What is copied is named from the root of this machine: where
/// its folder is, without links; only a link that is named itself is followed by the copy.
///
/// # Errors
/// If there is nothing to copy.
pub(super) fn copy_in(text: &str) -> anyhow::Result<Copy> {
    let Some((source, folder)) = text.rfind(":/").map(|at| (&text[..at], &text[at + 1..])) else {
        return Err(anyhow!("{text:?} is not SOURCE:FOLDER")).hint(|| "paths in the image begin with a /");
    };
    let doing = || format!("looking for {source}");
    let path = std::path::absolute(source).with_context(doing)?;
    let is_name = !matches!(source.trim_end_matches('/').rsplit('/').next(), Some("." | ".." | ""));
    let place = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if is_name => parent.canonicalize().with_context(doing)?.join(name),
        _ => path.canonicalize().with_context(doing)?,
    };
    place.symlink_metadata().with_context(doing)?;
    let name = place.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{source} has no name that can be used in the image"))?;
    Ok(Copy {
        to: format!("{}/{name}", folder.trim_end_matches('/')),
        from: place.strip_prefix("/").map(Path::to_owned).unwrap_or(place.clone()),
        owner: None,
        mode: None,
        folder_mode: None,
        preserve: Vec::new(),
        replace: false,
    })
}

/// What becomes of the password of `user`, and the secret that this needs.
///
/// # Errors
/// If a password itself is said: everybody on this machine sees the words of a command, and histories keep them. One that is
/// made at random would have to be told somewhere, too.
pub(super) fn password(user: &str, spec: &str) -> anyhow::Result<(Password, Option<Asked>)> {
    let password = |credential| Password { user: user.to_owned(), credential };
    let (kind, value) = spec.split_once(':').unwrap_or((spec, ""));
    Ok(match (kind, value) {
        ("file", file) if !file.is_empty() => {
            let name = format!("password-{user}");
            let asked = format!("{name}={file}").parse::<Asked>().map_err(|error| anyhow!("{error}"))?;
            (password(Credential::Secret(name)), Some(asked))
        }
        ("secret", name) if !name.is_empty() => (password(Credential::Secret(name.to_owned())), None),
        ("hash", hash) if !hash.is_empty() => (password(Credential::Hash(hash.to_owned())), None),
        ("locked", "") => (password(Credential::Locked), None),
        ("disabled", "") => (password(Credential::Disabled), None),
        ("password", _) => {
            return Err(anyhow!("a password among the options can be read by everybody on this machine"))
                .hint(|| "put it into a file that you alone can read, and say file:FILE, or hash:HASH");
        }
        ("random", _) => {
            return Err(anyhow!("a password made at random would have to be told in a log")).hint(
                || "make one: (umask 077; head -c 15 /dev/urandom | base64 > FILE), and say file:FILE",
            );
        }
        _ => {
            return Err(anyhow!("this does not say what becomes of the password of {user}"))
                .hint(|| "write file:FILE, secret:NAME, hash:HASH, locked or disabled");
        }
    })
}

/// A key of `USER`, `USER:file:FILE` or `USER:string:KEY`; without any more the caller's own, beneath `home`.
///
/// # Errors
/// If there is none.
pub(super) fn ssh_key(text: &str, home: Option<&Path>) -> anyhow::Result<SshKey> {
    let (user, spec) = text.split_once(':').unwrap_or((text, ""));
    let key = match spec.split_once(':') {
        Some(("file", path)) => file(path)?,
        Some(("string", key)) => key.to_owned(),
        None if spec.is_empty() => file(&own_key(home)?.to_string_lossy())?,
        _ => return Err(anyhow!("{text:?} is not USER[:file:FILE|:string:KEY]")),
    };
    Ok(SshKey { user: user.to_owned(), key })
}

/// The caller's public key.
fn own_key(home: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = home.map(|home| home.join(".ssh"));
    let names = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
    let keys = names.iter().filter_map(|name| Some(folder.as_ref()?.join(name)));
    keys.into_iter()
        .find(|key| key.is_file())
        .ok_or_else(|| anyhow!("you have no public key in ~/.ssh"))
        .hint(|| "name one: --ssh-inject USER:file:FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_option() {
        let (word, asked) = password("root", "file:/tmp/x").unwrap();
        assert_eq!(word.credential, Credential::Secret("password-root".into()));
        assert_eq!(asked, Some("password-root=/tmp/x".parse().unwrap()));
        let of = |spec: &str| password("ann", spec).unwrap().0.credential;
        assert_eq!(of("hash:$6$a$b"), Credential::Hash("$6$a$b".into()));
        assert_eq!(of("secret:word"), Credential::Secret("word".into()));
        assert_eq!((of("locked"), of("disabled")), (Credential::Locked, Credential::Disabled));
        let told = |spec: &str| crate::failure::render(&password("ann", spec).unwrap_err());
        assert!(told("password:hunter2").contains("file:FILE"));
        assert!(!told("password:hunter2").contains("hunter2"));
        assert!(told("random").contains("/dev/urandom"));
        assert!(told("hunter2").contains("locked or disabled") && !told("hunter2").contains("hunter2"));
    }

    #[test]
    fn what_is_copied_is_named_from_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("site")).unwrap();
        std::os::unix::fs::symlink("site", root.join("link")).unwrap();
        let copy = |source: &str, into: &str| copy_in(&format!("{}{source}:{into}", root.display())).unwrap();
        let expected = root.join("site").strip_prefix("/").unwrap().to_owned();
        let plain = copy("/site", "/var/www");
        assert_eq!((plain.from, plain.to.as_str()), (expected.clone(), "/var/www/site"));
        assert_eq!(copy("/site/.", "/").to, "/site");
        assert_eq!(copy("/link/../site/", "/srv/").from, expected);
        // The link is followed by the copy, and keeps its name.
        assert_eq!(copy("/link", "/srv").to, "/srv/link");
        assert!(copy_in(&format!("{}/none:/srv", root.display())).is_err());
        assert!(copy_in("site").is_err());
    }

    #[test]
    fn a_key_is_a_string_a_file_or_ones_own() {
        let home = tempfile::tempdir().unwrap();
        let key = |text: &str| ssh_key(text, Some(home.path()));
        assert_eq!(key("ann:string:ssh-rsa AAAA a:b").unwrap().key, "ssh-rsa AAAA a:b");
        assert!(crate::failure::render(&key("ann").unwrap_err()).contains("--ssh-inject USER:file:FILE"));
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(home.path().join(".ssh/id_rsa.pub"), "ssh-rsa AAAA own\n").unwrap();
        assert_eq!(key("ann").unwrap(), SshKey { user: "ann".into(), key: "ssh-rsa AAAA own\n".into() });
        assert!(key("ann:none").is_err());
    }

    #[test]
    fn colons_part_what_is_named() {
        assert_eq!(before_path("u+x,g=u:/a:b", "MODE:PATH").unwrap(), ("u+x,g=u", "/a:b"));
        assert_eq!(before_path("1:2:/a", "OWNER:PATH").unwrap(), ("1:2", "/a"));
        assert_eq!(behind_path("/etc/a:s/a:b/c/", "PATH:EXPR").unwrap(), ("/etc/a", "s/a:b/c/"));
        assert!(before_path(":/a", "MODE:PATH").is_err() && before_path("/a", "MODE:PATH").is_err());
        assert!(behind_path("a:b", "PATH:TEXT").is_err());
        assert_eq!(words("a, b,,c"), ["a", "b", "c"]);
        assert_eq!(owner("0").group, "0");
    }
}
