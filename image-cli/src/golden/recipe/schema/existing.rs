//! What a schema says of bases that are there already, and of what does not go with them.

use schemars::Schema;
use serde_json::{Value, json};

const SHA256: &str = "^[0-9A-Fa-f]{64}$";
const SHA512: &str = "^[0-9A-Fa-f]{128}$";
/// An address without a name and a password.
const WEB: &str = "^https?://[!#-.0-?A-~][!#-?A-~]*$";
/// A file beside the recipe, or its address.
const LOCATION: &str = "^(glance:[^\\u0000-\\u001f\\u007f]+|https?://[!#-.0-~][!#-~]*|(?!/)(?!glance:)(?!.*://)(?!(.*/)?\\.\\.(/|$))[^\\u0000-\\u001f\\u007f]+)$";
pub(super) const BESIDE: &str = "^(?!/)(?!(.*/)?\\.\\.(/|$))[^\\u0000-\\u001f\\u007f]+$";

/// The keys, each with what it is.
fn properties() -> [(&'static str, Value); 8] {
    let text =
        |pattern: &str, says: &str| json!({ "description": says, "type": "string", "pattern": pattern });
    [
        (
            "image",
            text(
                LOCATION,
                "A disk image, compressed or not: a file beside the recipe, an address, or `glance:NAME`.",
            ),
        ),
        (
            "tar",
            text(LOCATION, "The files of a system as a tar archive, compressed or not: as with `image`."),
        ),
        (
            "oci",
            text(
                BESIDE,
                "A container's image beside the recipe: a folder or an archive in OCI's layout, or what `docker save` wrote.",
            ),
        ),
        ("sha256", text(SHA256, "The SHA-256 of the file, in hexadecimal digits.")),
        ("sha512", text(SHA512, "The SHA-512 of the file, in hexadecimal digits.")),
        ("sums", text(WEB, "The address of a file of digests that is signed.")),
        ("signature", text(WEB, "The address of its signature; default: it is in its own text.")),
        (
            "signed-by",
            text(BESIDE, "The public keys that it is signed with one of, a file beside the recipe."),
        ),
    ]
}

/// `[base]` with what may be there already, and what goes together.
pub(in crate::golden::recipe) fn with_existing(base: &mut Schema) {
    let own = properties();
    let known: Vec<String> = base
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default();
    let need = |key: &str| json!({ "required": [key] });
    let none_of =
        |keys: &[String]| json!({ "not": { "anyOf": keys.iter().map(|key| need(key)).collect::<Vec<_>>() } });
    let proofs = ["sha256", "sha512", "sums"].map(need);
    let (remote, cloud) = ("^https?://", "^glance:");
    let existing: Vec<String> = own.iter().map(|(key, _)| (*key).to_owned()).collect();
    if let Some(properties) = base.get_mut("properties").and_then(Value::as_object_mut) {
        properties.extend(own.map(|(key, schema)| (key.to_owned(), schema)));
    }
    let from_packages = json!({ "required": ["distribution", "release"], "allOf": [none_of(&existing)] });
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
    let no_sums = none_of(&words(&["sums", "signature", "signed-by"]));
    let digests = none_of(&words(&["sha256", "sha512"]));
    let file = |key: &str, not: &[String]| {
        let is = |pattern: &str| json!({ "properties": { key: { "pattern": pattern } } });
        json!({
            "required": [key],
            "allOf": [
                none_of(not),
                { "if": is(remote), "then": { "anyOf": proofs } },
                { "if": is(cloud), "then": digests },
                { "if": is(remote), "then": {}, "else": no_sums },
            ],
        })
    };
    let image = file("image", &[known, words(&["tar", "oci"])].concat());
    let archives = words(&["suites", "components", "mirror", "archives", "image"]);
    let from = |file: Value| json!({ "required": ["distribution", "release"], "allOf": [file] });
    let tar = from(file("tar", &[archives.clone(), words(&["oci"])].concat()));
    let oci = from(
        json!({ "required": ["oci"], "allOf": [none_of(&[archives, words(&["tar"])].concat()), digests, no_sums] }),
    );
    base.remove("required");
    let together = json!({ "sums": ["signed-by"], "signature": ["sums"], "signed-by": ["sums"] });
    base.insert("dependentRequired".into(), together);
    base.insert("anyOf".into(), json!([from_packages, image, tar, oci]));
}
