//! Where the keys of a recipe live: for those that are written in the wrong place.

/// Each place with its keys. Places within a step's values are not here: their keys are told by the step.
const PLACES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "name",
            "version",
            "description",
            "base",
            "build",
            "steps",
            "cloud-init",
            "boot",
            "disk",
            "seal",
            "openstack",
            "output",
        ],
    ),
    (
        "[base]",
        &[
            "distribution",
            "release",
            "suites",
            "components",
            "mirror",
            "packages",
            "archives",
            "debconf",
            "image",
            "tar",
            "oci",
            "sha256",
            "sha512",
            "sums",
            "signature",
        ],
    ),
    ("[[base.archives]]", &["uri", "signed-by", "priority", "pin"]),
    ("[build]", &["network"]),
    (
        "[[steps]]",
        &[
            "install",
            "remove",
            "copy",
            "write",
            "run",
            "update",
            "edit",
            "append-line",
            "delete",
            "mkdir",
            "chmod",
            "chown",
            "move",
            "link",
            "touch",
            "truncate",
            "hostname",
            "timezone",
            "locale",
            "password",
            "user",
            "ssh-key",
            "firstboot",
            "kernel-argument",
            "cloud-init-config",
        ],
    ),
    ("[cloud-init]", &["datasources", "default-user", "config"]),
    ("[boot]", &["kernel", "initramfs", "firmware", "console", "command-line", "timeout"]),
    ("[disk]", &["size", "free", "esp-size"]),
    ("[seal]", &["keep", "keep-passwords"]),
    ("[openstack]", &["properties"]),
    ("[output]", &["formats", "compression", "level", "cluster-size", "min-ram-mib"]),
];

/// Words from other builders, and what they are called here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("preseed", "`debconf = [\"…\"]` in [base]"),
    ("repositories", "`[[base.archives]]`"),
    ("sources", "`[[base.archives]]`"),
    ("suite", "`release` in [base]"),
    ("codename", "`release` in [base]"),
    ("distro", "`distribution` in [base]"),
    ("include", "`packages` in [base]"),
    ("arch", "left out: images are made for this machine's architecture"),
    ("architecture", "left out: images are made for this machine's architecture"),
    ("scripts", "`run = \"…\"` in [[steps]]"),
    ("files", "`copy = { from = \"…\", to = \"…\" }` in [[steps]]"),
    ("users", "`user = { name = \"…\" }` in [[steps]]"),
    ("rename", "`move = { from = \"/…\", to = \"/…\" }` in [[steps]]"),
    ("symlink", "`link = { target = \"…\", path = \"/…\" }` in [[steps]]"),
    ("upgrade", "`update = true` in [[steps]]"),
    ("sed", "`edit = { path = \"/…\", expressions = [\"s/…/…/\"] }` in [[steps]]"),
    ("format", "`formats` in [output]"),
];

/// What to say of `key`, unknown in `place`, if it has its home elsewhere.
pub(super) fn home(key: &str, place: &str) -> Option<String> {
    let homes = PLACES.iter().filter(|(other, keys)| *other != place && keys.contains(&key));
    if let Some((home, _)) = homes.map(|(home, keys)| (home, keys)).next() {
        return Some(match *home {
            "" => "this belongs to the top of the recipe".into(),
            home => format!("this belongs into {home}"),
        });
    }
    OTHER_WORDS.iter().find(|(word, _)| *word == key).map(|(_, ours)| format!("here it is {ours}"))
}

#[cfg(test)]
mod tests {
    use super::home;

    #[test]
    fn a_key_in_the_wrong_place_is_sent_home() {
        assert_eq!(home("packages", "").as_deref(), Some("this belongs into [base]"));
        assert_eq!(home("name", "[base]").as_deref(), Some("this belongs to the top of the recipe"));
        assert_eq!(home("suite", "[base]").as_deref(), Some("here it is `release` in [base]"));
        assert_eq!(home("colour", ""), None);
    }
}
