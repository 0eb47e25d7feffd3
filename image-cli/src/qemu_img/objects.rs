//! `--object`: what an image's options name by its id. Credentials are used; of all else only the name is looked at.
//!
//! ```text
//! --object tls-creds-x509,id=t,dir=D,endpoint=client ─► x509: D's files ─► a configuration of TLS
//! driver=nbd,host=h,tls-creds=t[,tls-hostname=n] ─────────────────────────► with a host's name ─► cipher
//! ```
//!
//! A command line has one set of objects, whichever of its words names one.

mod cipher;
mod secret;
mod validity;
mod x509;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use image_core::nbd::TlsCredentials;

use super::failure::Failure;
use super::key_values;
use super::node::json_text;
use x509::X509;

/// The kinds of object that can be made on a command line.
const KINDS: [&str; 12] = [
    "authz-list",
    "authz-list-file",
    "authz-simple",
    "main-loop",
    "pr-manager-helper",
    "secret",
    "secret_keyring",
    "thread-context",
    "throttle-group",
    "tls-creds-anon",
    "tls-creds-psk",
    "tls-creds-x509",
];

/// The answer to `--object help`.
const LIST: &str = "\
List of user creatable objects:
  authz-list
  authz-list-file
  authz-simple
  main-loop
  pr-manager-helper
  secret
  secret_keyring
  thread-context
  throttle-group
  tls-creds-anon
  tls-creds-psk
  tls-creds-x509
";

/// Kinds that a machine has, and nothing else.
const OF_MACHINES: [&str; 4] =
    ["memory-backend-epc", "memory-backend-file", "memory-backend-memfd", "memory-backend-ram"];

/// Below what is said of an id.
const ID_HINT: &str = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n";

/// The objects so far, by id.
static OBJECTS: Mutex<BTreeMap<String, Object>> = Mutex::new(BTreeMap::new());

/// An object.
#[derive(Debug, Clone)]
enum Object {
    TlsCredentials(Arc<X509>),
    /// Credentials for a server.
    OfServer,
    /// Credentials that are not used here, by their kind.
    Unused(String),
    Other,
}

/// Makes the object that `text` describes.
pub(super) fn accept(text: &str) -> Result<(), Failure> {
    if key_values::asks_for_help(text) {
        let of_secret = text.starts_with("secret,") || text.starts_with("qom-type=secret,");
        return Err(Failure::answer(if of_secret { secret::HELP } else { LIST }));
    }
    let properties = Properties::parse(text)?;
    let kind = match properties.text("qom-type") {
        None => return Err(Failure::new("Parameter 'qom-type' is missing")),
        Some(kind) if OF_MACHINES.contains(&kind) => {
            return Err(Failure::new(format!("invalid object type: {kind}")));
        }
        Some(kind) if !KINDS.contains(&kind) => {
            return Err(Failure::new(format!("Parameter 'qom-type' does not accept value '{kind}'")));
        }
        Some(kind) => kind,
    };
    let id = properties.text("id").ok_or_else(|| Failure::new("Parameter 'id' is missing"))?;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(fine) {
        return Err(Failure::new("Parameter 'id' expects an identifier").hint(ID_HINT));
    }
    let object = match kind {
        "tls-creds-x509" => x509(&properties)?,
        "secret" => secret::check(&properties)?,
        "tls-creds-anon" | "tls-creds-psk" => Object::Unused(kind.to_owned()),
        _ => Object::Other,
    };
    match objects().insert(id.to_owned(), object) {
        None => Ok(()),
        Some(_) => {
            let message = format!("attempt to add duplicate property '{id}' to object (type 'container')");
            Err(Failure::new(message))
        }
    }
}

/// Nothing is left half done by a thread that panics: an object is there or not.
fn objects() -> std::sync::MutexGuard<'static, BTreeMap<String, Object>> {
    OBJECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The credentials called `id`, for a server that is to be `host`.
pub(super) fn credentials(id: &str, host: Option<&str>) -> Result<Arc<dyn TlsCredentials>, Failure> {
    match objects().get(id) {
        Some(Object::TlsCredentials(x509)) => Ok(x509.for_host(host)),
        Some(Object::OfServer) => Err(Failure::new("Expected TLS credentials for a client endpoint")),
        Some(Object::Unused(kind)) => {
            Err(Failure::new(format!("goldimg does not use '{kind}': make credentials of 'tls-creds-x509'")))
        }
        Some(Object::Other) => Err(Failure::new(format!("Object with id '{id}' is not TLS credentials"))),
        None => Err(Failure::new(format!("No TLS credentials with id '{id}'"))),
    }
}

/// What `tls-creds-x509` makes of its properties.
fn x509(properties: &Properties) -> Result<Object, Failure> {
    const KNOWN: [&str; 8] =
        ["qom-type", "id", "dir", "endpoint", "verify-peer", "sanity-check", "priority", "passwordid"];
    if let Some(unknown) = properties.pairs.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(Failure::new(format!("Parameter '{unknown}' is unexpected")));
    }
    let (verify, sane) = (properties.switch("verify-peer")?, properties.switch("sanity-check")?);
    let of_server = match properties.text("endpoint") {
        None | Some("client") => false,
        Some("server") => true,
        Some(other) => {
            return Err(Failure::new(format!("Parameter 'endpoint' does not accept value '{other}'")));
        }
    };
    if properties.text("passwordid").is_some() {
        return Err(Failure::new("goldimg does not read encrypted keys: leave out 'passwordid'"));
    }
    // What a string of GnuTLS allows and forbids is not known here, and is not to be guessed.
    if properties.text("priority").is_some_and(|priority| priority != "NORMAL") {
        return Err(Failure::new("goldimg does not read priorities of GnuTLS: leave out 'priority'"));
    }
    let folder = properties.text("dir").ok_or_else(|| Failure::new("Missing 'dir' property value"))?;
    match of_server {
        true => Ok(Object::OfServer),
        false => X509::load(folder, verify, sane).map(|x509| Object::TlsCredentials(Arc::new(x509))),
    }
}

/// What an object is made with.
#[derive(Debug)]
struct Properties {
    pairs: BTreeMap<String, String>,
}

impl Properties {
    /// `kind,key=value,…`, or an object of JSON.
    fn parse(text: &str) -> Result<Self, Failure> {
        if !text.starts_with('{') {
            return Ok(Self { pairs: key_values::parse(text, Some("qom-type")).into_iter().collect() });
        }
        let object = match json_text::parse(text).map_err(Failure::new)? {
            serde_json::Value::Object(object) => object,
            _ => serde_json::Map::new(),
        };
        let value = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Self { pairs: object.into_iter().map(|(key, given)| (key, value(given))).collect() })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// A switch that is on where it is not given.
    fn switch(&self, key: &str) -> Result<bool, Failure> {
        match self.text(key) {
            None | Some("on" | "yes" | "true" | "y") => Ok(true),
            Some("off" | "no" | "false" | "n") => Ok(false),
            Some(_) => Err(Failure::new(format!("Parameter '{key}' expects 'on' or 'off'"))),
        }
    }
}
