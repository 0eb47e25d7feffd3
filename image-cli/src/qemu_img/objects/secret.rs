//! Secrets, which encrypted images would need: looked at, as QEMU does, and forgotten.

use super::{Object, Properties};
use crate::qemu_img::failure::Failure;
use crate::qemu_img::{bytes, words};

/// The answer to `--object secret,help`.
pub(super) const HELP: &str = "\
secret options:
  data=<string>
  file=<string>
  format=<QCryptoSecretFormat>
  iv=<string>
  keyid=<string>
";

const KNOWN: [&str; 7] = ["qom-type", "id", "data", "file", "format", "iv", "keyid"];

/// Checks what a secret is made with: it is in a file, or right here.
pub(super) fn check(properties: &Properties) -> Result<Object, Failure> {
    if let Some(unknown) = properties.pairs.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(Failure::new(format!("Parameter '{unknown}' is unexpected")));
    }
    match (properties.text("data"), properties.text("file")) {
        (Some(_), Some(_)) => Err(Failure::new("'file' and 'data' are mutually exclusive")),
        (None, None) => Err(Failure::new("Either 'file' or 'data' must be provided")),
        (Some(_), None) => Ok(Object::Other),
        (None, Some(file)) => match std::fs::File::open(bytes::path(file)) {
            Ok(_) => Ok(Object::Other),
            Err(error) => {
                let why = words::of_system(&error);
                let message =
                    format!("Unable to read {file}: Failed to open file \u{201c}{file}\u{201d}: {why}");
                Err(Failure::new(message))
            }
        },
    }
}
