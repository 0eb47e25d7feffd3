//! The JSON Schema of a recipe, as editors and other programs read it (draft 2020-12).
//!
//! It takes what the loader takes, but for what a schema cannot know: whether files exist, whether fragments are YAML,
//! sizes within their bounds. Patterns are in the common part of ECMA-262's and other regular expressions. The rules
//! behind them are functions in `load/rules.rs`; `tests/recipes.rs` holds the two against each other.

mod existing;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};

use super::{MakeDirectory, Recipe, User};
use existing::BESIDE;
pub(super) use existing::with_existing;

const IMAGE_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$";
const VERSION: &str = "^[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}$";
const LINE: &str = "^(?=.*\\S)[^\\u0000-\\u001f\\u007f-\\u009f]+$";
const RELEASE: &str = "^[a-z0-9][a-z0-9-]*$";
const COMPONENT: &str = "^[a-z0-9][a-z0-9/-]*$";
const MIRROR: &str = "^(https?://|(file|copy):///)[!#-.0-~][!#-~]*$";
const PACKAGE: &str = "^[a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?$";
/// A package, a group of them or what one provides, on some system.
const SOMEWHERE: &str = "^[A-Za-z0-9@][A-Za-z0-9@+._:~=()<>^-]*$";
/// A package, or a package's file beside the recipe: apt's way to tell them apart is the slash.
const INSTALLABLE: &str = "^([a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?|(?!/)(?!(.*/)?\\.\\.(/|$))(?=.*/)[^\\u0000-\\u001f\\u007f]+\\.deb)$";
/// A suite, or the path to a flat archive's index with a slash behind it.
const SUITE: &str = "^([A-Za-z0-9][A-Za-z0-9.~_-]*(/[A-Za-z0-9][A-Za-z0-9.~_-]*)*/?|(\\./)+|/)$";
/// A suite of an archive that has some.
const OWN_SUITE: &str = "^[A-Za-z0-9][A-Za-z0-9.~_-]*(/[A-Za-z0-9][A-Za-z0-9.~_-]*)*$";
/// Packages by a name that may have `*` (apt_preferences(5)).
const PIN: &str = "^[a-z0-9*][a-z0-9+.*-]*$";
/// `owner question type value`, as debconf-set-selections(1) reads it.
const DEBCONF: &str = "^[a-z0-9][a-z0-9+.-]+[ \\t]+[!-~]+[ \\t]+(string|boolean|select|multiselect|note|text|password|error|seen)([ \\t][^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*)?$";
const DURATION: &str = "^[0-9]{1,9}[smh]$";
const PATH: &str = "^(/(?!\\.{1,2}(/|$))[^/\\u0000-\\u001f\\u007f]+)+$";
const PATH_OR_ROOT: &str = "^(/|(/(?!\\.{1,2}(/|$))[^/\\u0000-\\u001f\\u007f]+)+)$";
const MODE: &str = "^0?[0-7]{3,4}$";
const OWNER: &str = "^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,9})(:([a-z_][a-z0-9_-]{0,31}|[0-9]{1,9}))?$";
const ACCOUNT: &str = "^[a-z_][a-z0-9_-]{0,31}$";
const DATASOURCE: &str = "^[A-Za-z0-9]+$";
const FRAGMENT: &str = "^(?=.{1,128}$)[A-Za-z0-9][A-Za-z0-9._-]*\\.cfg$";
const SECRET: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
const CONSOLE: &str = "^[A-Za-z0-9][A-Za-z0-9,]*$";
const KERNEL_WORD: &str = "^(?!root=|console=)[!#%()*+,\\-./0-9:=?@A-Z\\[\\]^_a-z~]+$";
const PROPERTY: &str = "^(?!os_glance_)[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}$";
const SIZE: &str = "^([0-9]+(\\.[0-9]{1,19})?[KMGTPEkmgtpe](iB)?|[0-9]+(\\.0{1,19})?[bB]?)$";
/// A size that begins with a digit, or "fit".
const DISK_SIZE: &str = "^(fit|[0-9]+(\\.[0-9]{1,19})?[KMGTPEkmgtpe](iB)?|[0-9]+(\\.0{1,19})?[bB]?)$";
/// Labels of host names (RFC 1123, 2.1), as many as Linux can hold (hostname(7)).
const HOSTNAME: &str = "^(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$";
const TIMEZONE: &str = "^[A-Za-z0-9][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*$";
const LOCALE: &str = "^[A-Za-z][A-Za-z0-9_.@-]*$";
const SUBSTITUTION: &str = "^s[^A-Za-z0-9\\\\].";
/// Octal digits, or clauses of chmod(1).
const MODE_CHANGE: &str =
    "^([0-7]{3,5}|[ugoa]*([-+=]([rwxXst]*|[ugo]))+(,[ugoa]*([-+=]([rwxXst]*|[ugo]))+)*)$";
const ANY_LINE: &str = "^[^\\u0000\\n\\r]*$";
const LINK_TARGET: &str = "^[^\\u0000-\\u001f\\u007f]+$";
/// Hashes of crypt(5) that are still made today.
const HASH: &str = "^\\$(y|gy|7|2[abxy]|6|5)\\$[!-9;-~]+$";
/// A key's type and itself, somewhere in a line of authorized_keys (sshd(8)).
const SSH_KEY: &str = "(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh.com) AAAA[A-Za-z0-9+/]+=*";
/// A word of the kernel's command line, or one that goes.
const KERNEL_ARGUMENT: &str = "^(?!-?root=)[!#%()*+,\\-./0-9:=?@A-Z\\[\\]^_a-z~]+$";
/// Some word, and no NUL.
const SCRIPT: &str = "^(?=[^\\u0000]*[^\\s\\u0000])[^\\u0000]*$";
const NO_NUL: &str = "^[^\\u0000]*$";

/// The longest time limit, in seconds: a week.
pub(crate) const LONGEST: u32 = 7 * 24 * 60 * 60;

/// The whole schema.
pub fn document() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Recipe>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes out what says nothing: defaults that are none, and formats of numbers that JSON does not know.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            // The defaults of a section are those of its keys.
            if object.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
                object.remove("default");
            }
            if object
                .get("format")
                .is_some_and(|format| format.as_str().is_some_and(|f| f.starts_with("uint")))
            {
                object.remove("format");
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn pattern(pattern: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern })
}

/// One of what `item` describes, or a list of at least `fewest`.
fn list(item: Schema, fewest: u32) -> Schema {
    json_schema!({ "anyOf": [item, { "type": "array", "items": item, "minItems": fewest }] })
}

/// Text, as a string, as `{ KEY = "…" }`, or as `{ file = "…" }`.
fn text_or_file(key: &str, text: Schema, also: &Value) -> Schema {
    let form = |name: &str, value: &Schema| {
        let mut properties = also.clone();
        properties[name] = value.clone().to_value();
        json!({ "type": "object", "properties": properties, "required": [name], "additionalProperties": false })
    };
    json_schema!({ "anyOf": [text, form(key, &text), form("file", &pattern(BESIDE))] })
}

macro_rules! patterns {
    ($($(#[$doc:meta])* $name:ident = $pattern:expr;)*) => {
        $($(#[$doc])* pub(super) fn $name(_: &mut SchemaGenerator) -> Schema { pattern($pattern) })*
    };
}

patterns! {
    image_name = IMAGE_NAME;
    version = VERSION;
    line = LINE;
    release = RELEASE;
    mirror = MIRROR;
    package = PACKAGE;
    path = PATH;
    path_or_root = PATH_OR_ROOT;
    beside = BESIDE;
    mode = MODE;
    owner = OWNER;
    account = ACCOUNT;
    hostname = HOSTNAME;
    timezone = TIMEZONE;
    locale = LOCALE;
    mode_change = MODE_CHANGE;
    any_line = ANY_LINE;
    link_target = LINK_TARGET;
}

pub(super) fn components(_: &mut SchemaGenerator) -> Schema {
    list(pattern(COMPONENT), 1)
}

pub(super) fn installable(_: &mut SchemaGenerator) -> Schema {
    list(pattern(INSTALLABLE), 0)
}

/// What an `install` step may name depends on the base: [`of_bases`].
pub(super) fn some_installable(_: &mut SchemaGenerator) -> Schema {
    list(json_schema!({ "type": "string", "minLength": 1 }), 1)
}

pub(super) fn own_suites(_: &mut SchemaGenerator) -> Schema {
    list(pattern(OWN_SUITE), 1)
}

pub(super) fn suites(_: &mut SchemaGenerator) -> Schema {
    list(pattern(SUITE), 1)
}

pub(super) fn pins(_: &mut SchemaGenerator) -> Schema {
    list(pattern(PIN), 1)
}

pub(super) fn debconf(_: &mut SchemaGenerator) -> Schema {
    list(pattern(DEBCONF), 0)
}

/// An archive with a path in place of a suite has no components; packages are pinned to some priority.
pub(super) fn flat_archives() -> Value {
    let flat = json!({ "type": "string", "pattern": "/$" });
    let suites = json!({ "anyOf": [flat, { "type": "array", "contains": flat }] });
    json!([{
        "if": { "properties": { "suites": suites }, "required": ["suites"] },
        "then": { "not": { "required": ["components"] } },
    }, {
        "if": { "required": ["pin"] },
        "then": { "required": ["priority"] },
    }])
}

/// As [`some_installable`], of a `remove` step.
pub(super) fn some_packages(generator: &mut SchemaGenerator) -> Schema {
    some_installable(generator)
}

/// What goes with which base: packages by their names on some system in an image, by Debian's elsewhere, and files of packages where all
/// comes from packages; and no word about how an image would have been made.
pub(super) fn of_bases() -> Value {
    let need = |key: &str| json!({ "required": [key] });
    let has = |key: &str| json!({ "properties": { "base": need(key) }, "required": ["base"] });
    let none_of = |keys: [&str; 2]| json!({ "not": { "anyOf": keys.map(need) } });
    let steps = |install: &str, remove: &str| {
        let steps = json!({ "install": list(pattern(install), 1), "remove": list(pattern(remove), 1) });
        json!({ "properties": { "steps": { "items": { "properties": steps } } } })
    };
    let disk = json!({ "properties": { "disk": none_of(["free", "esp-size"]) } });
    let image = json!({ "allOf": [none_of(["boot", "cloud-init"]), disk, steps(SOMEWHERE, SOMEWHERE)] });
    let base =
        json!({ "properties": { "base": { "properties": { "packages": list(pattern(PACKAGE), 0) } } } });
    let files = json!({ "allOf": [steps(PACKAGE, PACKAGE), base] });
    json!([
        { "if": has("image"), "then": image },
        { "if": { "anyOf": [has("tar"), has("oci")] }, "then": files },
        { "if": { "anyOf": [has("image"), has("tar"), has("oci")] }, "then": {}, "else": steps(INSTALLABLE, PACKAGE) },
    ])
}

pub(super) fn datasources(_: &mut SchemaGenerator) -> Schema {
    list(pattern(DATASOURCE), 1)
}

pub(super) fn consoles(_: &mut SchemaGenerator) -> Schema {
    list(pattern(CONSOLE), 0)
}

pub(super) fn kernel_words(_: &mut SchemaGenerator) -> Schema {
    list(pattern(KERNEL_WORD), 0)
}

pub(super) fn paths(_: &mut SchemaGenerator) -> Schema {
    list(pattern(PATH), 0)
}

pub(super) fn some_paths(_: &mut SchemaGenerator) -> Schema {
    list(pattern(PATH), 1)
}

pub(super) fn accounts(_: &mut SchemaGenerator) -> Schema {
    list(pattern(ACCOUNT), 0)
}

pub(super) fn ssh_keys(_: &mut SchemaGenerator) -> Schema {
    list(pattern(SSH_KEY), 0)
}

pub(super) fn substitutions(_: &mut SchemaGenerator) -> Schema {
    list(pattern(SUBSTITUTION), 1)
}

pub(super) fn kernel_arguments(_: &mut SchemaGenerator) -> Schema {
    list(pattern(KERNEL_ARGUMENT), 1)
}

/// A table with all of these keys, which are needed, and no others.
fn table(properties: Value) -> Value {
    let needed: Vec<&String> = properties.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    json!({ "type": "object", "required": needed, "properties": properties, "additionalProperties": false })
}

pub(super) fn update(_: &mut SchemaGenerator) -> Schema {
    let kernel = json!({ "kernel": { "type": "boolean" } });
    json_schema!({ "anyOf": [{ "const": true }, table(kernel)] })
}

pub(super) fn delete(_: &mut SchemaGenerator) -> Schema {
    let paths = list(pattern(PATH), 1);
    let missing = json!({ "enum": ["fail", "ignore"] });
    let with_paths = json!({ "paths": paths, "missing": missing });
    let keys = json!({ "type": "object", "required": ["paths"], "properties": with_paths, "additionalProperties": false });
    json_schema!({ "anyOf": [paths, keys] })
}

/// A path alone, or with what the folder is to be.
pub(super) fn make_directory(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [pattern(PATH), generator.subschema_for::<MakeDirectory>()] })
}

/// A name alone, or with what the account is to be.
pub(super) fn user(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [pattern(ACCOUNT), generator.subschema_for::<User>()] })
}

pub(super) fn password(_: &mut SchemaGenerator) -> Schema {
    let account = pattern(ACCOUNT);
    let forms = [
        json!({ "user": account, "secret": pattern(SECRET) }),
        json!({ "user": account, "hash": pattern(HASH) }),
        json!({ "user": account, "locked": { "const": true } }),
        json!({ "user": account, "disabled": { "const": true } }),
    ];
    json_schema!({ "anyOf": forms.map(table) })
}

pub(super) fn ssh_key(_: &mut SchemaGenerator) -> Schema {
    let forms = [
        json!({ "user": pattern(ACCOUNT), "key": pattern(SSH_KEY) }),
        json!({ "user": pattern(ACCOUNT), "file": pattern(BESIDE) }),
    ];
    json_schema!({ "anyOf": forms.map(table) })
}

pub(super) fn first_boot(_: &mut SchemaGenerator) -> Schema {
    text_or_file("script", pattern(SCRIPT), &json!({}))
}

pub(super) fn cloud_config(_: &mut SchemaGenerator) -> Schema {
    let forms = [
        json!({ "name": pattern(FRAGMENT), "content": { "type": "string" } }),
        json!({ "name": pattern(FRAGMENT), "file": pattern(BESIDE) }),
    ];
    json_schema!({ "anyOf": forms.map(table) })
}

pub(super) fn firmware(_: &mut SchemaGenerator) -> Schema {
    list(json_schema!({ "enum": ["bios", "uefi"] }), 1)
}

pub(super) fn initramfs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["initramfs-tools", "dracut"] })
}

pub(super) fn formats(_: &mut SchemaGenerator) -> Schema {
    list(json_schema!({ "enum": ["qcow2", "raw"] }), 1)
}

pub(super) fn preserve(_: &mut SchemaGenerator) -> Schema {
    list(json_schema!({ "enum": ["mode", "timestamps", "xattr"] }), 0)
}

pub(super) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [pattern(SIZE), { "type": "integer", "minimum": 0, "multipleOf": 1 << 20 }] })
}

pub(super) fn esp_size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [pattern(SIZE), { "type": "integer", "minimum": 33 << 20, "multipleOf": 1 << 20 }] })
}

pub(super) fn disk_size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [pattern(DISK_SIZE), { "type": "integer", "minimum": 1 << 20, "multipleOf": 1 << 20 }] })
}

pub(super) fn cluster_size(_: &mut SchemaGenerator) -> Schema {
    let powers: Vec<u32> = (9..=21).map(|bits| 1 << bits).collect();
    json_schema!({ "anyOf": [pattern(SIZE), { "enum": powers }] })
}

pub(super) fn access(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["full", "packages", false] })
}

pub(super) fn script(generator: &mut SchemaGenerator) -> Schema {
    let also = json!({
        "environment": {
            "type": "object",
            "propertyNames": { "pattern": VARIABLE },
            "additionalProperties": { "type": "string", "pattern": NO_NUL },
        },
        "network": access(generator),
        "secrets": { "type": "array", "items": pattern(SECRET) },
        "timeout": { "anyOf": [pattern(DURATION), { "type": "integer", "minimum": 1, "maximum": LONGEST }] },
    });
    text_or_file("script", pattern(SCRIPT), &also)
}

pub(super) fn fragments(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": FRAGMENT },
        "additionalProperties": text_or_file("text", json_schema!({ "type": "string" }), &json!({})),
    })
}

pub(super) fn properties(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": PROPERTY },
        "additionalProperties": { "type": "string", "pattern": NO_NUL },
    })
}

/// Levels that a codec has.
pub(super) fn levels() -> Value {
    let packed =
        |how: &str| json!({ "properties": { "compression": { "const": how } }, "required": ["compression"] });
    json!([{
        "if": packed("zstd"),
        "then": {},
        "else": {
            "if": packed("none"),
            "then": { "not": { "required": ["level"] } },
            "else": { "properties": { "level": { "maximum": 9 } } },
        },
    }])
}
