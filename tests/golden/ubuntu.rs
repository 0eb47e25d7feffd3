//! Ubuntu, of whose archive the tests see none: what a build would ask of it is asked of one that they make, with packages of the same
//! names that are empty, signed with a key that stands where Ubuntu's would.

use std::fs;
use std::path::Path;

use crate::support::archive::{Archive, package};
use crate::support::program::Outcome;
use crate::support::{folder, goldimg, peer};

/// What every release has, whatever is asked for.
const ESSENTIAL: [(&str, &str); 3] =
    [("base-files", "Essential: yes\n"), ("apt", "Priority: important\n"), ("mawk", "Priority: required\n")];

/// The plan of a recipe of Ubuntu in `folder`, with what is in the archive there and its key.
fn plan(folder: &Path, rest: &str, options: &[&str]) -> Option<Outcome> {
    let unshare = peer::peer("unshare")?;
    let mirror = folder.join("ubuntu");
    let text = format!(
        "name = \"own\"\n[base]\ndistribution = \"ubuntu\"\nrelease = \"noble\"\nmirror = \"file://{}\"\n{rest}",
        mirror.display()
    );
    let recipe = folder.join("own.toml");
    fs::write(&recipe, text).expect("a recipe");
    let script = "mount --bind \"$0\" /usr/share/keyrings && exec \"$@\"";
    let keyrings = folder.join("keyrings").display().to_string();
    let beneath =
        [unshare.path(), "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, keyrings.as_str()];
    let cache = format!("--cache-dir={}", folder.join("cache").display());
    let recipe = recipe.display().to_string();
    let words = ["plan", cache.as_str()].into_iter().chain(options.iter().copied()).chain([recipe.as_str()]);
    Some(goldimg(words).by_way_of(&beneath).run())
}

fn json(said: &Outcome) -> serde_json::Value {
    assert_eq!(said.code, 0, "{}", said.snapshot());
    serde_json::from_str(&said.stdout).expect("JSON")
}

#[test]
fn a_recipe_of_ubuntu_asks_for_what_ubuntu_has() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("keyrings")).expect("a folder");
    let Some(offline) = plan(folder.path(), "", &["--offline", "--json"]) else { return };
    let offline = json(&offline);
    let names: Vec<&str> =
        offline["packages"].as_array().expect("packages").iter().filter_map(|name| name.as_str()).collect();
    for name in
        ["linux-image-virtual", "dhcpcd-base", "systemd-resolved", "grub-efi-amd64-signed", "shim-signed"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("cloud-amd64")), "Debian's: {names:?}");
    let own = names.iter().map(|&name| (name, "Installed-Size: 1\n")).chain(ESSENTIAL);
    let debs: Vec<_> = own.map(|(name, fields)| package(&at("debs"), name, fields, &[])).collect();
    let suites = ["noble", "noble-updates", "noble-security"];
    let archive = Archive::with_suites(&at("ubuntu"), &suites, &["main", "universe"], &debs);
    archive.export(&at("keyrings/ubuntu-archive-keyring.gpg"), false);
    let said = plan(folder.path(), "", &["--json"]).expect("unshare");
    let asked = json(&said);
    assert_eq!(asked["all-packages"]["packages"], names.len() + ESSENTIAL.len(), "{}", said.stderr);

    // A release to come has neither updates nor security updates.
    for suite in &suites[1..] {
        fs::remove_dir_all(at("ubuntu/dists").join(suite)).expect("a suite");
    }
    let refused = plan(folder.path(), "", &[]).expect("unshare");
    assert_eq!(refused.code, 64, "{}", refused.snapshot());
    assert!(refused.stderr.contains("`suites = [\"noble\"]` in [base]"), "{}", refused.snapshot());
    let named = json(&plan(folder.path(), "suites = \"noble\"\n", &["--json"]).expect("unshare"));
    assert_eq!(named["all-packages"]["packages"], names.len() + ESSENTIAL.len(), "{named}");
}
