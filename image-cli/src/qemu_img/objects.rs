//! `--object`: what a guest or an encrypted image would need. Nothing here needs one; they are looked at and forgotten.

use super::failure::Failure;
use super::key_values;

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

/// Checks an object's kind and that it has an id.
pub(super) fn accept(text: &str) -> Result<(), Failure> {
    if text.starts_with('{') {
        return Ok(());
    }
    if key_values::asks_for_help(text) {
        return Err(Failure::answer(LIST));
    }
    let pairs = key_values::parse(text, Some("qom-type"));
    let value = |key: &str| pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    match value("qom-type") {
        None => Err(Failure::new("Parameter 'qom-type' is missing")),
        Some(kind) if !KINDS.contains(&kind) => {
            Err(Failure::new(format!("Parameter 'qom-type' does not accept value '{kind}'")))
        }
        Some(_) if value("id").is_none() => Err(Failure::new("Parameter 'id' is missing")),
        Some(_) => Ok(()),
    }
}
