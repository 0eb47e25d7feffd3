//! What goes wrong, in QEMU's words where it knows the same rule.

use goldimg::printable::printable;
use image_core::Error;
use image_core::block::InUse;
use image_core::format::ReferenceRule;
use image_core::nbd::{NotConnected, Refusal};
use image_core::qcow2::{Corrupt, Region, UnknownFeatures, Unsupported};
use rustls::CertificateError;

use super::bytes;

/// The operating system's words for an error, as `strerror(3)` has them.
pub(super) fn of_system(error: &std::io::Error) -> String {
    let words = error.to_string();
    match error.raw_os_error() {
        Some(code) => words.trim_end_matches(&format!(" (os error {code})")).to_owned(),
        None => words,
    }
}

/// What to do where an image names a file outside of its folder.
const HOW_TO_ALLOW: &str = "set GOLDIMG_ALLOW_BACKING=anywhere in the environment to open it";

/// Why an image could not be opened.
pub(super) fn of_opening(error: &Error) -> String {
    if let Some(ReferenceRule::NotBeneath { what, name, .. }) = error.cause::<ReferenceRule>() {
        return format!("The {what} {name:?} is outside of the image's folder: {HOW_TO_ALLOW}");
    }
    if let Some(ReferenceRule::Export { what, name }) = error.cause() {
        return format!("The {what} {name:?} is an export, which an image must not choose: {HOW_TO_ALLOW}");
    }
    if let Some(ReferenceRule::Loop { name, .. }) = error.cause() {
        return of_loop(name);
    }
    if let Some(words) = of_server(error) {
        return words;
    }
    match error.cause::<InUse>() {
        Some(InUse::Taken(deed)) => return format!("Failed to get shared \"{deed}\" lock"),
        Some(InUse::Unshared(deed)) => return format!("Failed to get \"{deed}\" lock"),
        None => {}
    }
    let known = match (error.cause::<Corrupt>(), error.cause::<Unsupported>()) {
        (Some(rule), _) => of_corrupt(rule),
        (None, Some(rule)) => of_unsupported(rule),
        (None, None) => None,
    };
    known.unwrap_or_else(|| of_chain(error))
}

/// A chain that comes back to where it was.
pub(super) fn of_loop(name: &str) -> String {
    format!("Backing file '{}' creates an infinite loop.", printable(name))
}

/// The line below, if there is one.
pub(super) fn hint_of(error: &Error, path: &str) -> String {
    let reported = |words: &String| match words.as_str() {
        "" => String::new(),
        words => format!("server reported: {}\n", printable(words)),
    };
    match error.cause() {
        Some(Refusal::OnlyEncrypted { words }) => {
            return format!("Did you forget a valid tls-creds?\n{}", reported(words));
        }
        Some(Refusal::NoExport { words, .. } | Refusal::NeverEncrypted { words, .. }) => {
            return reported(words);
        }
        _ => {}
    }
    match error.cause::<InUse>() {
        Some(_) => format!("Is another process using the image [{path}]?\n"),
        None => String::new(),
    }
}

/// Why there is no export.
fn of_server(error: &Error) -> Option<String> {
    match (error.cause(), error.cause()) {
        (Some(NotConnected::Failed { server, source }), _) => {
            Some(format!("Failed to connect to '{server}': {}", of_system(source)))
        }
        (_, Some(Refusal::NoExport { .. })) => Some("Requested export not available".to_owned()),
        (Some(NotConnected::NotEncrypted(why)), _) => Some(of_encryption(why)),
        (_, Some(Refusal::OnlyEncrypted { .. })) => {
            Some("TLS negotiation required before option 7 (go)".to_owned())
        }
        (_, Some(Refusal::NeverEncrypted { code: NOT_ALLOWED, .. })) => {
            Some("Denied by server for option 5 (starttls)".to_owned())
        }
        (_, Some(Refusal::NeverEncrypted { .. })) => Some("Server don't support STARTTLS option".to_owned()),
        (_, Some(Refusal::NoContext { .. })) => Some("Could not open image: Invalid argument".to_owned()),
        (_, Some(Refusal::ReadOnly)) => Some("Could not open image: Permission denied".to_owned()),
        _ => None,
    }
}

/// A server's answer to an option: it could, and will not.
const NOT_ALLOWED: u32 = 1 << 31 | 2;

/// Why a connection is not encrypted.
fn of_encryption(why: &std::io::Error) -> String {
    let rule = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match rule {
        None => why.to_string(),
        Some(rustls::Error::InvalidCertificate(rule)) => of_certificate(rule),
        Some(rule) => format!("TLS handshake failed: {rule}"),
    }
}

/// What is wrong with the certificate of a server.
fn of_certificate(rule: &CertificateError) -> String {
    match rule {
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("Certificate does not match the hostname {}", expected.to_str())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "The certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "The certificate is not yet activated".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "The certificate hasn't got a known issuer".to_owned()
        }
        CertificateError::Revoked => "The certificate has been revoked".to_owned(),
        rule => format!("The certificate is not trusted: {rule}"),
    }
}

/// What is said of what is opened as a device and is none.
pub(super) fn no_device(name: &str) -> String {
    format!("'host_device' driver requires '{name}' to be either a character or block device")
}

/// Why a part of a disk could not be read: what is no failure of the system is a failure of the disk for QEMU.
pub(super) fn of_reading(error: &Error) -> String {
    match error.cause::<std::io::Error>() {
        Some(io) => of_system(io),
        None => "Input/output error".to_owned(),
    }
}

/// The operating system's words if it was it, else all that the library says.
pub(super) fn of_chain(error: &Error) -> String {
    if let Some(io) = error.cause::<std::io::Error>() {
        return of_system(io);
    }
    let mut words: Vec<String> = Vec::new();
    let mut link: Option<&dyn std::error::Error> = Some(error);
    while let Some(here) = link {
        words.push(here.to_string());
        link = here.source();
    }
    words.join(": ")
}

fn of_corrupt(rule: &Corrupt) -> Option<String> {
    Some(match rule {
        Corrupt::Magic { .. } => "Image is not in qcow2 format".to_owned(),
        // What is missing of the first bytes is zeroes.
        Corrupt::HeaderCut { file_size: 0..4 } => "Image is not in qcow2 format".to_owned(),
        Corrupt::HeaderCut { .. } => "qcow2 header too short".to_owned(),
        Corrupt::CompressionBit { bit, .. } => {
            let must = if *bit { "must not" } else { "must" };
            format!("qcow2: Compression type incompatible feature bit {must} be set")
        }
        Corrupt::RefcountOrder { .. } => {
            "Reference count entry width too large; may not exceed 64 bits".to_owned()
        }
        Corrupt::L1TooShort { .. } => "L1 table is too small".to_owned(),
        Corrupt::NoDataFileName => "'data-file' is required for this image".to_owned(),
        Corrupt::RegionTooLong { region: Region::L1Table, .. } => "Active L1 table too large".to_owned(),
        Corrupt::RegionTooLong { region: Region::RefcountTable, .. } => {
            "Reference count table too large".to_owned()
        }
        Corrupt::ClusterBits { bits } => format!("Unsupported cluster size: 2^{bits}"),
        _ => return None,
    })
}

fn of_unsupported(rule: &Unsupported) -> Option<String> {
    Some(match rule {
        Unsupported::Version { version } => format!("Unsupported qcow2 version {version}"),
        Unsupported::ClusterBits { bits } => format!("Unsupported cluster size: 2^{bits}"),
        Unsupported::Compression { kind } => format!("qcow2: unknown compression type: {kind}"),
        Unsupported::VirtualSize { .. } => "Image is too big".to_owned(),
        Unsupported::Features(unknown) => format!("Unsupported qcow2 feature(s): {}", features(unknown)),
        _ => return None,
    })
}

/// Features that the image has names for, in its own order, and the bits of the others as one number.
fn features(unknown: &UnknownFeatures) -> String {
    let mut words: Vec<String> =
        unknown.names.iter().map(|(_, name)| printable(&bytes::to_text(name))).collect();
    if unknown.nameless() != 0 {
        words.push(format!("Unknown incompatible feature: {:x}", unknown.nameless()));
    }
    words.join(", ")
}
