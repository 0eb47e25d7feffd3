//! Bases that are there already, and what does not go with them.

use super::*;
use crate::golden::recipe::{Existing, Location};

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is wrong with a recipe that has this in `[base]`, and `rest` behind it; `files/base.raw` is beside it.
fn told(base: &str, rest: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("files")).unwrap();
    fs::write(folder.path().join("files/base.raw"), "").unwrap();
    problems_in(folder.path(), &format!("name = \"a\"\n[base]\n{base}\n{rest}\n"))
}

fn recipe(base: &str, rest: &str) -> Recipe {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("base.raw"), "").unwrap();
    let text = format!("name = \"a\"\n[base]\n{base}\n{rest}\n");
    let (recipe, problems, _) = parse(&text, &fs::canonicalize(folder.path()).unwrap());
    assert_eq!(problems, []);
    recipe.unwrap()
}

#[test]
fn an_image_is_a_file_an_address_or_a_clouds() {
    let image = |text: &str| match recipe(text, "").base.existing {
        Some(Existing::Image(file)) => (file.image, file.proof),
        other => panic!("{other:?}"),
    };
    assert_eq!(image("image = \"./base.raw\"").0, Location::Beside("base.raw".into()));
    assert_eq!(image("image = \"glance:web 1\"").0, Location::Glance("web 1".into()));
    let (address, proof) =
        image(&format!("image = \"https://ann:secret@a.example/b\"\nsha256 = \"{}\"", DIGEST.to_uppercase()));
    assert_eq!(
        (address.to_string().as_str(), proof.sha256.as_deref()),
        ("https://a.example/b", Some(DIGEST))
    );
    let recipe = recipe("image = \"base.raw\"", "[[steps]]\ninstall = \"perl(Encode)\"");
    assert!(recipe.base.is_image() && recipe.base.distribution.is_none());
    let json = serde_json::to_value(&recipe.base).unwrap();
    assert_eq!((&json["image"], json.get("distribution")), (&"base.raw".into(), None));
    assert_eq!(serde_json::from_value::<crate::golden::recipe::Base>(json).unwrap(), recipe.base);
}

#[test]
fn what_says_nothing_of_an_image_is_told_at_its_line() {
    let image = "image = \"files/base.raw\"";
    assert_eq!(told(image, ""), [""; 0]);
    assert_eq!(
        told(
            &format!("{image}\nrelease = \"bookworm\"\npackages = []"),
            "[boot]\ntimeout = 1\n[disk]\nfree = \"1G\""
        ),
        [
            "e 4:1 `release` is about bases from packages, and this one is an image",
            "e 5:1 `packages` is about bases from packages, and this one is an image",
            "e 6:2 [boot] is about bases from packages, and this one is an image",
            "e 9:1 `free` is about bases from packages, and this one is an image",
        ]
    );
    assert_eq!(
        told(image, "[[steps]]\ninstall = \"./files/own.deb\""),
        ["e 5:11 ./files/own.deb is a file, and packages are installed by their names here"]
    );
    assert_eq!(told("image = \"files/bse.raw\"", "").len(), 1);
    assert_eq!(told("image = \"files\"", ""), ["e 3:9 'files' is no file"]);
    assert_eq!(told("image = \"ftp://a/b\"", ""), ["e 3:9 'ftp://a/b' is not the address of a file"]);
    assert!(
        told("image = \"https://a.example/b\"", "")[0]
            .contains("nothing says what the file at this image's address is")
    );
    let wrong = told(&format!("image = \"glance:web\"\nsha256 = \"{DIGEST}\""), "");
    assert_eq!(wrong, ["e 4:1 the cloud itself says what its image's digest is"]);
    assert!(
        told(&format!("{image}\nsha512 = \"{DIGEST}\""), "")[0]
            .starts_with("e 4:10 a digest of 64 characters")
    );
    assert!(told(&format!("{image}\ntar = \"files/base.raw\""), "")[0].contains("both `image` and `tar`"));
}

#[test]
fn files_of_a_system_are_of_a_release_and_know_their_archives() {
    let system = "distribution = \"debian\"\nrelease = \"bookworm\"";
    let recipe =
        recipe(&format!("tar = \"base.raw\"\n{system}\npackages = [\"htop\"]"), "[boot]\ntimeout = 1");
    assert_eq!(recipe.base.existing, Some(Existing::tar("base.raw", Default::default())));
    assert_eq!((recipe.base.release.as_str(), recipe.boot.timeout), ("bookworm", 1));
    assert_eq!(told("tar = \"files/base.raw\"", "").len(), 2, "distribution and release are needed");
    let wrong = told(&format!("tar = \"files/base.raw\"\n{system}\nmirror = \"https://a.example/b\""), "");
    assert_eq!(wrong, ["e 6:1 `mirror` is about bases from packages"]);
    let wrong = told(&format!("oci = \"files\"\n{system}"), "");
    assert_eq!(wrong, ["e 3:7 this folder is no image of a container: it has no index.json"]);
    assert!(
        told(&format!("oci = \"files/base.raw\"\ntar = \"files/base.raw\"\n{system}"), "")[0]
            .contains("both")
    );
    let wrong = told(&format!("tar = \"files/base.raw\"\n{system}\npackages = [\"./files/own.deb\"]"), "");
    assert_eq!(wrong, ["e 6:13 ./files/own.deb is a file, and packages are installed by their names here"]);
    let wrong = told(&format!("sha256 = \"{DIGEST}\"\n{system}"), "");
    assert_eq!(wrong, ["e 3:1 unknown key `sha256` in [base] [this belongs to `image`]"]);
}

#[test]
fn signed_digests_need_the_keys_of_who_signs() {
    let of = |rest: &str| told(&format!("image = \"https://a.example/b\"\n{rest}"), "");
    assert_eq!(of("sums = \"https://a.example/S\""), ["e 4:1 nothing says whose signature these sums have"]);
    assert_eq!(
        of("sums = \"https://a.example/S\"\nsigned-by = \"files/base.raw\""),
        ["e 5:13 this is not a file of public OpenPGP keys"]
    );
    let lone = of(&format!("sha256 = \"{DIGEST}\"\nsignature = \"https://a.example/S.gpg\""));
    assert_eq!(lone, ["e 5:1 nothing says what is signed"]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.asc"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n").unwrap();
    let text = "name = \"a\"\n[base]\nimage = \"https://a.example/b\"\nsums = \"https://a.example/S\"\nsigned-by = \"keys.asc\"\n";
    let (recipe, problems, _) = parse(text, &fs::canonicalize(folder.path()).unwrap());
    assert_eq!(problems, []);
    let base = recipe.unwrap().base;
    let json = serde_json::to_value(&base).unwrap();
    assert_eq!(json["signed-by"], "keys.asc");
    assert_eq!(serde_json::from_value::<crate::golden::recipe::Base>(json).unwrap(), base);
}
