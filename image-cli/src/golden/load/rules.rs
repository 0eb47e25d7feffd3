//! What the values of a recipe may be: names, paths, packages, modes, owners.
//!
//! Each rule is a function here and a pattern in the JSON Schema (`recipe/schema.rs`);
//! `tests/recipes.rs` holds them against each other on documents right and wrong.

use super::fields::{Value, Walk, number, text};
use super::problem::Problem;
use super::remark::Role;
use crate::golden::recipe::schema::LONGEST;
use crate::golden::recipe::{Base, Owner, Uri};
use crate::golden::secrets::is_name;

/// A string for which `rule` holds; `problem` is said otherwise.
fn word(
    walk: &Walk<'_>,
    value: &Value<'_>,
    rule: impl Fn(&str) -> bool,
    problem: &str,
    help: &str,
) -> Option<String> {
    let word = text(walk, value)?;
    if rule(word) {
        return Some(word.to_owned());
    }
    walk.refuse(Problem::error(value.span(), format!("{word:?} {problem}")).help(help))
}

fn made_of(word: &str, first: impl Fn(u8) -> bool, others: &[u8]) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(&first) && bytes.all(|byte| first(byte) || others.contains(&byte))
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// The name of an image, of which file names are made.
pub(super) fn image_name(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |name: &str| name.len() <= 128 && made_of(name, |byte| byte.is_ascii_alphanumeric(), b"._+-");
    word(
        walk,
        value,
        rule,
        "cannot be the name of a file",
        "use up to 128 letters and digits, and `.`, `_`, `+` or `-` between them",
    )
}

/// The version of an image, a part of file names as well.
pub(super) fn version(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |version: &str| {
        version.len() <= 64 && made_of(version, |byte| byte.is_ascii_alphanumeric(), b"._+~-")
    };
    word(
        walk,
        value,
        rule,
        "is not a version",
        "use up to 64 letters and digits, and `.`, `_`, `+`, `~` or `-` between them",
    )
}

/// A line of text.
pub(super) fn line(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |line: &str| !line.trim().is_empty() && !line.chars().any(char::is_control);
    word(walk, value, rule, "is not a line of text", "write one line, without control characters")
}

/// A package: `name`, and perhaps `:architecture`, and perhaps `=version` (Debian Policy, 5.6.7 and 5.6.12).
pub(super) fn package(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    if walk.any_system {
        let help = "one string for each package, as the image's package manager calls it";
        return word(walk, value, is_package_somewhere, "is not the name of a package", help);
    }
    let package = word(
        walk,
        value,
        is_package,
        "is not the name of a package",
        "names have small letters, digits, `+`, `-` and `.`; one string for each package; a version goes behind `=`",
    )?;
    walk.note(Role::Package, &package, value);
    Some(package)
}

fn is_package(package: &str) -> bool {
    let (name, version) = match package.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (package, None),
    };
    let (name, architecture) = match name.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (name, None),
    };
    is_package_name(name)
        && architecture.is_none_or(|architecture| made_of(architecture, lower, b"-"))
        && version.is_none_or(|version| made_of(version, |byte| byte.is_ascii_alphanumeric(), b".+:~-"))
}

/// Whether it can be a package's name on some system, a group (`@core`) or what one provides (`perl(Encode)`): no option, no path.
fn is_package_somewhere(package: &str) -> bool {
    package.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '@')
        && package.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@+._:~=()<>-^".contains(&byte))
}

/// The package, if it is of the image's architecture: while the base is made there are no others.
pub(super) fn of_own_architecture(walk: &Walk<'_>, value: &Value<'_>, package: String) -> Option<String> {
    let Some(other) = Base::foreign_architecture(&package) else { return Some(package) };
    let problem = Problem::error(value.span(), Base::words_on_architecture(&package));
    walk.refuse(problem.help(Base::remedy_of_architecture(&package, other)))
}

/// Whether this is a package's name alone.
pub(super) fn is_package_name(name: &str) -> bool {
    name.len() >= 2 && made_of(name, lower, b"+.-")
}

/// A release's code name.
pub(super) fn release(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |release: &str| made_of(release, lower, b"-");
    word(walk, value, rule, "is not the code name of a release", "write it as in \"bookworm\" or \"noble\"")
}

/// A component of an archive.
pub(super) fn component(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |component: &str| made_of(component, lower, b"-/");
    word(walk, value, rule, "is not a component of an archive", "such as \"main\" or \"non-free-firmware\"")
}

/// An archive's address.
pub(super) fn mirror(walk: &Walk<'_>, value: &Value<'_>) -> Option<Uri> {
    const KINDS: [&str; 4] = ["http://", "https://", "file:///", "copy:///"];
    let behind = |mirror: &str| KINDS.iter().find_map(|kind| mirror.strip_prefix(kind)).map(str::to_owned);
    let rule = |mirror: &str| {
        behind(mirror).is_some_and(|rest| {
            !rest.is_empty()
                && !rest.starts_with('/')
                && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
        })
    };
    let help = match value.get_ref() {
        toml::de::DeValue::String(text) if behind(text).is_some() => {
            "a host or a path follows, without spaces and quotes, as in https://mirror.example/debian"
        }
        _ => "it begins with https://, http://, file:/// or copy:///",
    };
    let word = word(walk, value, rule, "is not the address of an archive", help)?;
    let address = Uri::new(&word);
    if !address.can_be_told() {
        let problem = Problem::error(value.span(), "apt cannot be told this name and password");
        return walk.refuse(problem.help("both are needed, without spaces, and do not begin with `#`"));
    }
    Some(address)
}

/// The address of a file on a server.
pub(super) fn web_address(walk: &Walk<'_>, value: &Value<'_>) -> Option<Uri> {
    let rule = |address: &str| {
        let rest = ["http://", "https://"].iter().find_map(|kind| address.strip_prefix(kind));
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(plain))
    };
    let help = "it begins with https:// or http://, without spaces and quotes; a file beside the recipe has no `://`";
    word(walk, value, rule, "is not the address of a file", help).map(|address| Uri::new(&address))
}

/// A suite of an archive, or the path to a flat archive's index (sources.list(5), "exact path").
pub(super) fn suite(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let part = |part: &str| made_of(part, |byte| byte.is_ascii_alphanumeric(), b".~_-");
    let rule = |suite: &str| match suite.strip_suffix('/').unwrap_or(suite) {
        "" => suite == "/",
        parts => {
            parts.split('/').all(part) || (suite.ends_with('/') && parts.split('/').all(|part| part == "."))
        }
    };
    word(
        walk,
        value,
        rule,
        "is not a suite",
        "such as \"bookworm-backports\"; an archive without suites: \"/\"",
    )
}

/// Packages by a name that may have `*` (apt_preferences(5)).
pub(super) fn pin(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let rule = |name: &str| {
        name.bytes().next().is_some_and(|first| is_plain(first) || first == b'*')
            && name.bytes().all(|byte| is_plain(byte) || b"+.*-".contains(&byte))
    };
    word(walk, value, rule, "is no package's name", "such as \"linux-image-*\"; `*` stands for any letters")
}

/// A time limit, in seconds: a number of them, or one with `s`, `m` or `h` behind it.
pub(super) fn duration(walk: &Walk<'_>, value: &Value<'_>) -> Option<u32> {
    const HELP: &str = "write a time such as \"90s\", \"10m\" or \"2h\"; a week is the longest";
    if let toml::de::DeValue::Integer(_) = value.get_ref() {
        return number(walk, value, 1..=LONGEST, "seconds");
    }
    let written = text(walk, value)?;
    let seconds = written.len().checked_sub(1).and_then(|end| written.split_at_checked(end)).and_then(
        |(digits, unit)| {
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                _ => return None,
            };
            let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            digits?.parse::<u32>().ok()?.checked_mul(unit)
        },
    );
    match seconds.filter(|seconds| (1..=LONGEST).contains(seconds)) {
        Some(seconds) => Some(seconds),
        None => {
            walk.refuse(Problem::error(value.span(), format!("{written:?} is not a time limit")).help(HELP))
        }
    }
}

/// An account's name (shadow's `useradd`).
pub(super) fn account(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let help = "names have small letters, digits, `-` and `_`, begin with a letter or `_`, and have 32 characters at most";
    word(walk, value, is_account, "cannot be the name of an account", help)
}

fn is_account(name: &str) -> bool {
    name.len() <= 32
        && made_of(name, |byte| lower(byte) || byte == b'_', b"-")
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `user:group`, or `user` for both; names or numbers.
pub(super) fn owner(walk: &Walk<'_>, value: &Value<'_>) -> Option<Owner> {
    let rule =
        |who: &str| is_account(who) || (made_of(who, |byte| byte.is_ascii_digit(), b"") && who.len() <= 9);
    let owner = word(
        walk,
        value,
        |owner| owner.split_once(':').map_or(rule(owner), |(user, group)| rule(user) && rule(group)),
        "is not an owner",
        "write \"user:group\", by names or numbers, such as \"root:adm\"",
    )?;
    let (user, group) = owner.split_once(':').unwrap_or((&owner, &owner));
    Some(Owner { user: user.into(), group: group.into() })
}

/// Permission bits, in octal, as a string.
pub(super) fn mode(walk: &Walk<'_>, value: &Value<'_>) -> Option<u32> {
    const HELP: &str = "write the permission bits in octal, as a string: \"0644\", or \"0755\" for a program";
    if let toml::de::DeValue::Integer(integer) = value.get_ref() {
        // 0644 is no number in TOML, 644 is a decimal one, and 0o644 is right but easily lost in copying.
        let problem = Problem::error(value.span(), format!("the mode {integer} is a number"));
        return walk.refuse(problem.label("quotes are missing").help(HELP));
    }
    let mode =
        word(walk, value, |mode| (3..=5).contains(&mode.len()) && is_mode(mode), "is not a mode", HELP)?;
    u32::from_str_radix(&mode, 8).ok()
}

fn is_mode(mode: &str) -> bool {
    let digits = if mode.len() > 3 { mode.strip_prefix('0').unwrap_or(mode) } else { mode };
    (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
}

/// An absolute path in the image.
pub(super) fn path_in_image(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |path: &str| path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment));
    let help = "write an absolute path without `..`, `//` or a `/` at its end, such as \"/etc/motd\"";
    word(walk, value, rule, "is not a path in the image", help)
}

/// As [`path_in_image`], or the root itself.
pub(super) fn path_or_root(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    match text(walk, value)? {
        "/" => Some("/".into()),
        _ => path_in_image(walk, value),
    }
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.chars().any(|c| c.is_ascii_control())
}

/// The name of a fragment of cloud-init's configuration.
pub(super) fn is_fragment_name(name: &str) -> bool {
    name.len() <= 128
        && name
            .strip_suffix(".cfg")
            .is_some_and(|stem| made_of(stem, |byte| byte.is_ascii_alphanumeric(), b"._-"))
}

/// The name of a variable of an environment (POSIX, Base Definitions, 8.1).
pub(super) fn is_variable(name: &str) -> bool {
    made_of(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_', b"")
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// A word of the kernel's command line.
pub(super) fn kernel_word(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |word: &str| {
        // The boot loader's language gives these a meaning of their own.
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\$`;&|<>{}".contains(&byte))
    };
    let word = word(
        walk,
        value,
        rule,
        "is not a word of the kernel's command line",
        "one string for each word, without quotes",
    )?;
    for (prefix, instead) in
        [("root=", "it is this image's own"), ("console=", "write `console = [\"…\"]` in [boot]")]
    {
        if word.starts_with(prefix) {
            return walk
                .refuse(Problem::error(value.span(), format!("{prefix} is set by goldimg")).help(instead));
        }
    }
    Some(word)
}

/// A word of the kernel's command line that is added, or one behind a `-` that goes.
pub(super) fn kernel_argument(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |word: &str| {
        !word.is_empty()
            && word != "-"
            && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\$`;&|<>{}".contains(&byte))
    };
    let help = "one string for each word, without quotes; behind a `-` one that goes";
    let word = word(walk, value, rule, "is not a word of the kernel's command line", help)?;
    if word.trim_start_matches('-').starts_with("root=") {
        let problem = Problem::error(value.span(), "where the root filesystem is, the image knows itself");
        return walk.refuse(problem.help("leave it out"));
    }
    Some(word)
}

/// The name of a secret.
pub(super) fn secret(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let help = "write its name, which `--secret NAME=FILE` gives: letters, digits, `_`, `-` and `.`";
    word(walk, value, is_name, "cannot name a secret", help)
}

/// A host's name (RFC 1123, 2.1; hostname(7)).
pub(super) fn hostname(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let label = |label: &str| {
        label.len() <= 63
            && made_of(label, |byte| byte.is_ascii_alphanumeric(), b"-")
            && !label.ends_with('-')
    };
    let rule = |name: &str| name.len() <= 64 && name.split('.').all(label);
    let help = "letters, digits and `-`, with `.` between labels, 64 at most: \"web\", \"web.example.org\"";
    word(walk, value, rule, "cannot be the name of a host", help)
}

/// A time zone of tzdata.
pub(super) fn timezone(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let part = |part: &str| made_of(part, |byte| byte.is_ascii_alphanumeric(), b"_+-");
    let rule = |zone: &str| zone.split('/').all(part);
    word(walk, value, rule, "is not a time zone", "such as \"Europe/Berlin\" or \"Etc/UTC\"")
}

/// A locale (locale(7)).
pub(super) fn locale(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |locale: &str| {
        locale.starts_with(|c: char| c.is_ascii_alphabetic())
            && made_of(locale, |byte| byte.is_ascii_alphanumeric(), b"_.@-")
    };
    word(walk, value, rule, "is not a locale", "such as \"de_DE.UTF-8\" or \"C.UTF-8\"")
}

/// The hash of a password, of a kind that is still made today (crypt(5)).
pub(super) fn hash(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    const KINDS: [&str; 9] = ["$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2x$", "$2y$", "$6$", "$5$"];
    let rest = |hash: &str| KINDS.iter().find_map(|kind| hash.strip_prefix(kind)).map(str::to_owned);
    let rule = |hash: &str| {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        rest(hash).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
    };
    let hash = text(walk, value)?;
    if rule(hash) {
        return Some(hash.to_owned());
    }
    // Not shown: it may be the password itself.
    let problem = Problem::error(value.span(), "this is not the hash of a password");
    walk.refuse(
        problem.help(
            "`mkpasswd --method=yescrypt` or `openssl passwd -6` makes one, which begins with $y$ or $6$",
        ),
    )
}

/// Types of SSH's public keys (sshd(8)).
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key for SSH, or several lines of them; without lines that say nothing.
pub(super) fn public_keys(walk: &Walk<'_>, value: &Value<'_>, keys: &str) -> Option<String> {
    let wrong = |message: &str, help: &str| Problem::error(value.span(), message).help(help.to_owned());
    if keys.contains("PRIVATE KEY-----") {
        return walk
            .refuse(wrong("this is a private key", "the public one is beside it: its file ends in .pub"));
    }
    let lines = keys.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    if lines.is_empty() || !lines.iter().all(|line| is_public_key(line)) {
        return walk.refuse(wrong(
            "this is not a public key for SSH",
            "a line such as \"ssh-ed25519 AAAA… ann@example\", as `ssh-keygen` writes it into a file that ends in .pub",
        ));
    }
    Some(lines.join("\n"))
}

/// Whether `line` is one of authorized_keys with a key: a type, and base64 behind it.
fn is_public_key(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let is_base64 = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        word.starts_with("AAAA") && word.trim_end_matches('=').bytes().all(plain) && word.len() > 4
    };
    let is_key = |pair: &[&str]| matches!(pair, [kind, key] if KEY_TYPES.contains(kind) && is_base64(key));
    !line.chars().any(char::is_control) && words.windows(2).any(is_key)
}

/// A console, as behind `console=`.
pub(super) fn console(walk: &Walk<'_>, value: &Value<'_>) -> Option<String> {
    let rule = |console: &str| made_of(console, |byte| byte.is_ascii_alphanumeric(), b",");
    word(walk, value, rule, "is not a console", "such as \"tty0\" or \"ttyS0,115200n8\"")
}
