//! Private keys in files that are no texts, told by how they begin.
//!
//! ```text
//! DER       SEQUENCE, INTEGER 0, SEQUENCE, OID    PKCS #8 (RFC 5958)   SEQUENCE, INTEGER 0, INTEGER    RSA (RFC 8017)
//!           SEQUENCE, INTEGER 1, OCTET STRING     EC (RFC 5915)        SEQUENCE, INTEGER 3, SEQUENCE   PKCS #12 (RFC 7292)
//! JKS       fe ed fe ed │ version │ count │ entries: 1 is a key, 2 a certificate       JCEKS: ce ce ce ce, 3 is a secret key
//! dropbear  length, name of the algorithm, numbers: as SSH sends them (RFC 4253, 6.6)
//! ```
//! A file of certificates alone is no key, whatever it is packed in.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// So much of a file is looked at.
pub(super) const HEAD: usize = 64 << 10;

/// What kind of key a file that begins with `head`, and has `size` bytes, is.
pub(super) fn key(head: &[u8], size: u64) -> Option<&'static str> {
    match head {
        [0x30, ..] => der(head, size),
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => {
            java(head).then_some("a private key (Java keystore)")
        }
        [0, 0, 0, ..] => dropbear(head).then_some("a private key (dropbear)"),
        [0x05, 0x02, 0, 0, ..] => keytab(head, size).then_some("keys (Kerberos keytab)"),
        // The first packet of OpenPGP is a secret key (RFC 9580, 5.5.1.3): old and new form.
        [0x94 | 0x95 | 0xc5, ..] => open_pgp(head, size).then_some("a private key (OpenPGP)"),
        _ => None,
    }
}

/// An element of DER: its tag, what is in it, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (number, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (number.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        // Of unknown length (BER), as some programs write PKCS #12: all that is there.
        0x80 => (rest.len(), rest),
        _ => return None,
    };
    // What is cut off by the end of the head is as long as it is.
    let (content, behind) = rest.split_at(len.min(rest.len()));
    Some((tag, content, behind))
}

const INTEGER: u8 = 2;
const OCTETS: u8 = 4;
const OID: u8 = 6;
const SEQUENCE: u8 = 0x30;
/// pkcs-12 keyBag and pkcs8ShroudedKeyBag (RFC 7292, appendix D).
const KEY_BAGS: [&[u8]; 2] = [
    b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01",
    b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02",
];

fn der(head: &[u8], size: u64) -> Option<&'static str> {
    let (_, content, behind) = element(head)?;
    let (tag, version, rest) = element(content)?;
    let is_whole = size > HEAD as u64 || behind.len() < 16;
    if tag != INTEGER || !is_whole {
        return None;
    }
    let (next, inside, behind) = element(rest)?;
    match (version, next) {
        ([0 | 1], SEQUENCE) if element(inside)?.0 == OID && element(behind)?.0 == OCTETS => {
            Some("a private key (PKCS #8)")
        }
        // A modulus, and seven numbers behind it.
        ([0], INTEGER) if inside.len() >= 64 && element(behind)?.0 == INTEGER => Some("a private key (RSA)"),
        ([1], OCTETS) if (28..=66).contains(&inside.len()) && element(behind)?.0 == 0xa0 => {
            Some("a private key (EC)")
        }
        ([3], SEQUENCE) => {
            let has = KEY_BAGS.iter().any(|bag| head.windows(bag.len()).any(|window| window == *bag));
            has.then_some("a private key (PKCS #12)")
        }
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number) as usize, rest))
}

/// Whether one of its entries is a key.
fn java(head: &[u8]) -> bool {
    let text = |bytes: &[u8]| {
        let (len, rest) = bytes.split_first_chunk()?;
        rest.len()
            .checked_sub(usize::from(u16::from_be_bytes(*len)))
            .map(|left| rest.len().saturating_sub(left))
    };
    let mut rest = head.get(12..).unwrap_or_default();
    while let Some((kind, behind)) = number(rest) {
        if matches!(kind, 1 | 3) {
            return true;
        }
        // A certificate: alias, time, type, length, content.
        let next = text(behind).and_then(|len| {
            let behind = behind.get(len.checked_add(10)?..)?;
            let len = text(behind)?;
            let (len, behind) = number(behind.get(len.checked_add(2)?..)?)?;
            behind.get(len..)
        });
        match next {
            Some(next) if kind == 2 => rest = next,
            _ => return false,
        }
    }
    false
}

fn dropbear(head: &[u8]) -> bool {
    let Some((len, rest)) = number(head) else { return false };
    let Some((name, numbers)) = rest.split_at_checked(len) else { return false };
    let names: [&[u8]; 6] = [
        b"ssh-rsa",
        b"ssh-dss",
        b"ssh-ed25519",
        b"ecdsa-sha2-nistp256",
        b"ecdsa-sha2-nistp384",
        b"ecdsa-sha2-nistp521",
    ];
    // A public key ends behind its own numbers: two or less, but those of DSA.
    let mut rest = numbers;
    let mut count = 0_u8;
    while let Some((len, behind)) = number(rest)
        && let Some((_, behind)) = behind.split_at_checked(len)
        && count < 16
    {
        count = count.saturating_add(1);
        rest = behind;
    }
    let public = match name {
        b"ssh-rsa" => 2,
        b"ssh-dss" => 4,
        b"ssh-ed25519" => 1,
        _ => 2,
    };
    // Dropbear's Ed25519 has both halves in one.
    let is_long = name == b"ssh-ed25519" && number(numbers).is_some_and(|(len, _)| len == 64);
    names.contains(&name) && (count > public || is_long)
}

/// MIT Kerberos, "The Keytab Binary File Format": entries, each with its length.
fn keytab(head: &[u8], size: u64) -> bool {
    let Some((len, rest)) = head.get(2..).and_then(number) else { return false };
    let parts = rest.split_first_chunk().map_or(0, |(parts, _)| u16::from_be_bytes(*parts));
    (16..4096).contains(&len) && (len as u64) < size && (1..16).contains(&parts)
}

/// A packet whose first byte in it is the version of a key.
fn open_pgp(head: &[u8], size: u64) -> bool {
    let (len, version) = match head {
        [0x94, len, version, ..] => (u64::from(*len), *version),
        [0x95, high, low, version, ..] => (u64::from(u16::from_be_bytes([*high, *low])), *version),
        [0xc5, len @ 0..=191, version, ..] => (u64::from(*len), *version),
        [0xc5, high @ 192..=223, low, version, ..] => (
            u64::from(*high)
                .saturating_sub(192)
                .saturating_mul(256)
                .saturating_add(u64::from(*low))
                .saturating_add(192),
            *version,
        ),
        _ => return false,
    };
    matches!(version, 3..=6) && (32..8192).contains(&len) && len < size
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `openssl` writes, with these arguments.
    fn openssl(folder: &std::path::Path, arguments: &str) -> Vec<u8> {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::read(folder.join("out")).unwrap()
    }

    #[test]
    fn what_openssl_writes_is_a_key_if_it_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let make = |arguments: &str| {
            let bytes = openssl(folder.path(), arguments);
            key(&bytes[..bytes.len().min(HEAD)], bytes.len() as u64)
        };
        let pkcs8 = Some("a private key (PKCS #8)");
        assert_eq!(make("genpkey -algorithm ED25519 -outform DER -out out"), pkcs8);
        openssl(folder.path(), "genrsa -traditional -out out 1024");
        std::fs::rename(folder.path().join("out"), folder.path().join("rsa")).unwrap();
        assert_eq!(make("pkcs8 -topk8 -nocrypt -in rsa -outform DER -out out"), pkcs8);
        assert_eq!(make("rsa -in rsa -traditional -outform DER -out out"), Some("a private key (RSA)"));
        assert_eq!(make("rsa -in rsa -pubout -outform DER -out out"), None);
        assert_eq!(
            make("ecparam -name prime256v1 -genkey -noout -outform DER -out out"),
            Some("a private key (EC)")
        );
        openssl(folder.path(), "req -x509 -key rsa -subj /CN=x -days 9 -out out");
        std::fs::rename(folder.path().join("out"), folder.path().join("crt")).unwrap();
        assert_eq!(make("x509 -in crt -outform DER -out out"), None);
        let with = make("pkcs12 -export -inkey rsa -in crt -passout pass:x -out out");
        assert_eq!(with, Some("a private key (PKCS #12)"));
        assert_eq!(make("pkcs12 -export -nokeys -in crt -passout pass:x -out out"), None);
    }

    #[test]
    fn stores_of_java_have_keys_or_certificates() {
        let certificate = b"\0\0\0\x02\0\x01a\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03abc";
        let key_entry = b"\0\0\0\x01\0\x01k";
        let store = |entries: &[&[u8]]| {
            [b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x02".as_slice(), &entries.concat()].concat()
        };
        assert!(java(&store(&[certificate, key_entry])));
        assert!(!java(&store(&[certificate, certificate])));
        assert!(!java(&store(&[certificate, b"\0\0\0\x09"])));
    }

    #[test]
    fn keys_of_ssh_are_told_from_their_public_halves() {
        let field = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let joined = |parts: &[&[u8]]| parts.iter().flat_map(|part| field(part)).collect::<Vec<u8>>();
        assert!(dropbear(&joined(&[b"ssh-rsa", b"\x01\0\x01", &[1; 129], &[2; 128], &[3; 64], &[4; 64]])));
        assert!(!dropbear(&joined(&[b"ssh-rsa", b"\x01\0\x01", &[1; 129]])));
        assert!(dropbear(&joined(&[b"ssh-ed25519", &[1; 64]])));
        assert!(!dropbear(&joined(&[b"ssh-ed25519", &[1; 32]])));
        assert!(dropbear(&joined(&[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 65], &[1; 32]])));
        assert!(!dropbear(&joined(&[b"other", &[4; 65], &[1; 32], &[1; 32]])));
        assert!(!dropbear(&[0; 4096]));
    }

    #[test]
    fn whatever_the_bytes_nothing_breaks() {
        let mut state = 1_u64;
        for start in [
            &[0x30][..],
            &[0x30, 0x84],
            b"\xfe\xed\xfe\xed",
            &[0, 0, 0, 7],
            &[5, 2, 0, 0],
            &[0x95],
            &[0xc5, 200],
        ] {
            for len in 0..200 {
                let mut bytes = start.to_vec();
                bytes.extend((0..len).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                }));
                let _ = key(&bytes, len);
            }
        }
    }
}
