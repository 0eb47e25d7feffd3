//! What apt of the image is told while steps run: to fetch and unpack as in a build, and whom the caller trusts.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::error::Context;
use crate::golden::bootstrap::DPKG_OPTIONS;
use crate::golden::tree::{Session, Tree};
use crate::variables::Variables;

/// Where the certificates are, while a session lasts.
const CERTIFICATES: &str = "/run/goldimg/certificates.pem";
/// Those of the image itself.
const OWN: &str = "/etc/ssl/certs/ca-certificates.crt";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Tells apt of the image, in a session.
///
/// # Errors
/// If the caller's certificates cannot be read, or a file cannot be written.
pub(in crate::golden) fn settle(session: &mut Session<'_>, variables: &Variables) -> crate::Result<()> {
    let mut settings = vec!["Acquire::Retries \"3\";", "Acquire::Languages \"none\";"];
    settings.extend(DPKG_OPTIONS);
    let trusted = format!("Acquire::https::CAInfo \"{CERTIFICATES}\";");
    if let Some(file) = variables.value("SSL_CERT_FILE").filter(|file| !file.is_empty()) {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading SSL_CERT_FILE, {}", file.display()))?;
        tell(session.tree(), &text)?;
        settings.push(&trusted);
    }
    session.settle_packages(&settings)
}

/// Shows it the certificates in `text` and the image's own.
fn tell(tree: &Tree, text: &str) -> crate::Result<()> {
    let own = tree.text(OWN)?.unwrap_or_default();
    tree.write(CERTIFICATES, certificates(text) + &certificates(&own), 0o644)
}

/// The certificates in `text`, and nothing else of it: a file of the caller's may have a key, too.
fn certificates(text: &str) -> String {
    let mut found = String::new();
    for block in text.split(BEGIN).skip(1) {
        if let Some((block, _)) = block.split_once(END) {
            found.push_str(&format!("{BEGIN}{block}{END}\n"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_and_keys_are_not() {
        let text = format!(
            "# ours\n{BEGIN}\nAA\n{END}\n-----BEGIN PRIVATE KEY-----\nBB\n-----END PRIVATE KEY-----\n{BEGIN}\nCC\n{END}"
        );
        assert_eq!(certificates(&text), format!("{BEGIN}\nAA\n{END}\n{BEGIN}\nCC\n{END}\n"));
        assert_eq!(certificates(BEGIN), "");
    }
}
