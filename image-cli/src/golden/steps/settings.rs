//! Settings of the machine: its name, time zone and language (hostname(5), localtime(5), locale.conf(5)).

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::text::{put, text, with_line};
use crate::error::{Advise, Context, err};
use crate::golden::tree::Tree;

/// Where time zones are.
const ZONES: &str = "/usr/share/zoneinfo";
const LOCALTIME: &str = "/etc/localtime";
/// Where Debian has the language; others have it in the other file.
const DEBIAN_LOCALE: &str = "/etc/default/locale";
const LOCALE: &str = "/etc/locale.conf";
/// The languages that are made of their sources.
const LOCALES: &str = "/etc/locale.gen";

/// Sets the machine's name.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn hostname(name: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    put("/etc/hostname", &format!("{name}\n"), 0o644, tree)
}

/// Sets the time zone.
///
/// # Errors
/// If the image does not have it.
pub(super) fn timezone(zone: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    if !tree.path(format!("{ZONES}/{zone}"))?.is_file() {
        let hint = match tree.exists(format!("{ZONES}/UTC")) || tree.exists(format!("{ZONES}/Etc")) {
            true => "names are those of tzdata, such as Europe/Berlin or Etc/UTC; case counts",
            false => "a step before this one: install = \"tzdata\"",
        };
        return Err(err!("the image has no time zone {zone:?}")).hint(|| hint);
    }
    let place = tree.link_path(LOCALTIME)?;
    tree.make_dir("/etc")?;
    tree.remove(LOCALTIME)?;
    symlink(format!("..{ZONES}/{zone}"), &place).context("making the link /etc/localtime in the image")?;
    let mut written = vec![tree.inside(&place)];
    if tree.exists("/etc/timezone") {
        written.extend(put("/etc/timezone", &format!("{zone}\n"), 0o644, tree)?);
    }
    Ok(written)
}

/// Sets the language, and makes it where the image has only its source.
///
/// # Errors
/// If the image does not have it and cannot make it.
pub(super) fn locale(locale: &str, tree: &Tree) -> crate::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    if !is_built_in(locale) && !is_made(locale, tree)? {
        let can_make = ["/usr/sbin/locale-gen", "/usr/bin/locale-gen"].iter().any(|path| tree.exists(path));
        if !can_make {
            return Err(err!("the image has no locale {locale:?}")).hint(|| {
                let language = locale.split(['_', '.', '@']).next().unwrap_or(locale);
                format!(
                    "a step before this one: install = \"locales\" (Debian, Ubuntu), or \"glibc-langpack-{language}\" (Fedora, RHEL)"
                )
            });
        }
        let listed = listed(&text(LOCALES, tree)?.unwrap_or_default(), locale);
        written.extend(put(LOCALES, &listed, 0o644, tree)?);
        tree.run("locale-gen", &[])?;
        if !is_made(locale, tree)? {
            return Err(err!("the image's locale-gen does not know {locale:?}"))
                .hint(|| "/usr/share/i18n/SUPPORTED of the image lists all that there are");
        }
    }
    let is_debian = tree.exists(DEBIAN_LOCALE) || tree.exists("/var/lib/dpkg/status") && !tree.exists(LOCALE);
    let file = if is_debian { DEBIAN_LOCALE } else { LOCALE };
    let before = text(file, tree)?.unwrap_or_default();
    let after = with_line(&before, |line| line.starts_with("LANG="), &format!("LANG={locale}"));
    written.extend(put(file, &after, 0o644, tree)?);
    Ok(written)
}

/// Whether every C library has it.
fn is_built_in(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX" | "C.UTF-8" | "C.utf8")
}

/// Whether the image has it: in a folder of its own, or in the archive, where its name is as it was made.
fn is_made(locale: &str, tree: &Tree) -> crate::Result<bool> {
    let name = normal(locale);
    if [&name, locale].iter().any(|name| tree.exists(format!("/usr/lib/locale/{name}"))) {
        return Ok(true);
    }
    let archive = tree.path("/usr/lib/locale/locale-archive")?;
    if !archive.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(false);
    }
    let bytes = tree.read("/usr/lib/locale/locale-archive")?;
    // A table of strings, each with a NUL behind it (glibc, locale/locarchive.h).
    let wanted = [name.as_bytes(), b"\0"].concat();
    Ok(bytes.windows(wanted.len()).any(|window| window == wanted))
}

/// As the C library calls it: `de_DE.UTF-8` is `de_DE.utf8` (glibc, _nl_normalize_codeset).
fn normal(locale: &str) -> String {
    let (rest, modifier) = match locale.split_once('@') {
        Some((rest, modifier)) => (rest, format!("@{modifier}")),
        None => (locale, String::new()),
    };
    match rest.split_once('.') {
        Some((language, codeset)) => {
            let codeset: String = codeset.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("{language}.{}{modifier}", codeset.to_ascii_lowercase())
        }
        None => locale.to_owned(),
    }
}

/// The list of languages to make, with `locale` in it (locale.gen(5)).
fn listed(list: &str, locale: &str) -> String {
    let codeset = locale.split('@').next().and_then(|rest| rest.split_once('.')).map(|(_, codeset)| codeset);
    let line = format!("{locale} {}", codeset.unwrap_or("ISO-8859-1"));
    let is_own = |own: &str| {
        let own = own.trim_start_matches(['#', ' ']);
        own.split_whitespace().next() == Some(locale)
    };
    with_line(list, is_own, &line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::tree::tests::scratch;

    #[test]
    fn a_time_zone_is_one_that_the_image_has() {
        let (_dir, tree) = scratch();
        let told = crate::error::rendered(&timezone("Europe/Berlin", &tree).unwrap_err());
        assert!(told.contains("no time zone \"Europe/Berlin\""), "{told}");
        assert!(told.contains("install = \"tzdata\""), "{told}");
        for zone in ["UTC", "Europe/Berlin", "Europe/Paris"] {
            tree.write(format!("{ZONES}/{zone}"), "TZif", 0o644).unwrap();
        }
        assert_eq!(timezone("Europe/Berlin", &tree).unwrap(), [PathBuf::from(LOCALTIME)]);
        let link = std::fs::read_link(tree.root().join("etc/localtime")).unwrap();
        assert_eq!(link, PathBuf::from("../usr/share/zoneinfo/Europe/Berlin"));
        assert!(!tree.exists("/etc/timezone"));
        tree.write("/etc/timezone", "Etc/UTC\n", 0o644).unwrap();
        timezone("Europe/Paris", &tree).unwrap();
        assert_eq!(tree.text("/etc/timezone").unwrap().as_deref(), Some("Europe/Paris\n"));
        // A folder of zones is none.
        assert!(timezone("Europe", &tree).is_err());
    }

    #[test]
    fn a_language_is_written_where_its_system_looks() {
        let (_dir, tree) = scratch();
        assert_eq!(locale("C.UTF-8", &tree).unwrap(), [PathBuf::from(LOCALE)]);
        tree.write(DEBIAN_LOCALE, "LANG=C\nLC_TIME=C\n", 0o644).unwrap();
        locale("C.UTF-8", &tree).unwrap();
        assert_eq!(tree.text(DEBIAN_LOCALE).unwrap().as_deref(), Some("LANG=C.UTF-8\nLC_TIME=C\n"));
        let told = crate::error::rendered(&locale("de_DE.UTF-8", &tree).unwrap_err());
        assert!(told.contains("no locale \"de_DE.UTF-8\"") && told.contains("glibc-langpack-de"), "{told}");
        tree.write("/usr/lib/locale/locale-archive", b"\0de_DE.utf8\0", 0o644).unwrap();
        locale("de_DE.UTF-8", &tree).unwrap();
        assert!(locale("de_AT.UTF-8", &tree).is_err());
    }

    #[test]
    fn what_is_to_be_made_is_listed_once() {
        let list = "# en_US.UTF-8 UTF-8\n# de_DE.UTF-8 UTF-8\n# de_DE@euro ISO-8859-15\n";
        let expected = "# en_US.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n# de_DE@euro ISO-8859-15\n";
        assert_eq!(listed(list, "de_DE.UTF-8"), expected);
        assert_eq!(listed("", "de_DE"), "de_DE ISO-8859-1\n");
        assert_eq!(normal("de_DE.ISO-8859-15@euro"), "de_DE.iso885915@euro");
    }
}
