//! Private keys in texts, however they are written: as they are, indented, escaped in JSON, in base64.
//!
//! ```text
//! mark ─► is it a key? ─► what kind
//! -----BEGIN … PRIVATE KEY-----     60 letters of base64 follow: RFC 7468, RFC 4716, OpenSSH, OpenPGP (RFC 9580, 6.2)
//! LS0tLS1CRUdJTi                    the same, in base64: kubeconfig's client-key-data
//! PrivateKey, private-key           44 letters of base64 follow: wg(8), systemd.netdev(5), NetworkManager
//! ```
//! A program that only knows how such a key begins is none.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a key of texts is found.
pub(super) struct Mark {
    /// What stands in it.
    pub(super) text: &'static str,
    /// What it is, if it is one: of what stands before the mark and of what begins with it.
    pub(super) is: fn(before: &[u8], text: &[u8]) -> Option<&'static str>,
}

/// Every mark.
pub(super) const MARKS: &[Mark] = &[
    Mark { text: "PRIVATE KEY-----", is: armoured },
    Mark { text: "PRIVATE KEY BLOCK-----", is: open_pgp },
    Mark { text: "BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", is: ssh2 },
    Mark { text: "BEGIN OpenVPN Static key V1-----", is: open_vpn },
    Mark { text: "BEGIN OpenVPN tls-crypt-v2 ", is: tls_crypt },
    Mark { text: "PuTTY-User-Key-File-", is: putty },
    Mark { text: "AGE-SECRET-KEY-1", is: age },
    Mark { text: "LS0tLS1CRUdJTi", is: encoded },
    Mark { text: "PrivateKey", is: wireguard },
    Mark { text: "private-key", is: named },
    Mark { text: "Private-key-format: v1.", is: dnssec },
    Mark { text: "\"d\"", is: json_web_key },
    Mark { text: "minisign encrypted secret key", is: minisign },
    Mark { text: "signify secret key", is: minisign },
    Mark { text: "== ed25519v1-secret: type0 ==", is: tor },
];

/// So many letters of base64 are in the shortest key, a PKCS #8 of Ed25519.
const SHORTEST: usize = 60;
/// A key of Curve25519 in base64.
const CURVE_KEY: usize = 44;

/// How many letters of base64 follow, lines and however they are divided, indented and escaped, not counted. Headers of a key
/// (`Proc-Type:`, `Comment:`) are passed over.
fn letters(text: &[u8], enough: usize) -> usize {
    let text = text.get(..4096).unwrap_or(text);
    let mut count = 0_usize;
    // What stands behind the dashes in the line of the mark, and the lines behind that.
    let first = lines(text).next().unwrap_or_default();
    let dashes = first.windows(4).position(|window| window == b"----");
    let rest = dashes.and_then(|at| first.get(at..)).unwrap_or_default();
    let behind = rest.iter().position(|byte| *byte != b'-').and_then(|at| rest.get(at..)).unwrap_or_default();
    let behind = trimmed(behind);
    for line in std::iter::once(behind).chain(lines(text).skip(1)).take(24) {
        // A header, and the empty line behind all of them.
        if count == 0 && (line.is_empty() || line.contains(&b':')) {
            continue;
        }
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let part = line.iter().take_while(|byte| is_base64(byte)).count();
        count = count.saturating_add(part);
        if count >= enough || part < line.len() {
            break;
        }
    }
    count
}

/// The lines of a text, without what surrounds them: blanks, quotes, commas and comment signs.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    let mut ended = false;
    let next = move || {
        if ended {
            return None;
        }
        // A line's end, or how JSON and shells write one.
        let end =
            rest.iter().enumerate().find_map(|(at, byte)| match (*byte, rest.get(at.saturating_add(1))) {
                (b'\n', _) => Some((at, 1)),
                (b'\\', Some(b'n' | b'r')) => Some((at, 2)),
                _ => None,
            });
        let (at, len) = end.unwrap_or_else(|| {
            ended = true;
            (rest.len(), 0)
        });
        let line = rest.get(..at).unwrap_or_default();
        rest = rest.get(at.saturating_add(len)..).unwrap_or_default();
        Some(trimmed(line))
    };
    std::iter::from_fn(next)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let around = |byte: &u8| {
        byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b',' | b'>' | b'|' | b'#' | b'\\')
    };
    let start = line.iter().position(|byte| !around(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !around(byte)).map_or(start, |at| at.saturating_add(1));
    line.get(start..end).unwrap_or_default()
}

/// What stands in the line before a mark.
fn line_before(before: &[u8]) -> &[u8] {
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let line = before.get(start..).unwrap_or_default();
    line.get(line.len().saturating_sub(64)..).unwrap_or_default()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether the mark stands in a line that begins something.
fn begins(before: &[u8]) -> bool {
    let line = line_before(before);
    // Behind the last "END" there may be a "BEGIN" again, where lines are escaped.
    let last = |word: &[u8]| line.windows(word.len()).rposition(|window| window == word);
    last(b"-----BEGIN ") > last(b"-----END ")
}

fn armoured(before: &[u8], text: &[u8]) -> Option<&'static str> {
    let found = begins(before) && letters(text, SHORTEST) >= SHORTEST;
    let is_encrypted = line_before(before).ends_with(b"ENCRYPTED ");
    found.then_some(if is_encrypted { "a private key (behind a password)" } else { "a private key" })
}

fn open_pgp(before: &[u8], text: &[u8]) -> Option<&'static str> {
    (begins(before) && letters(text, SHORTEST) >= SHORTEST).then_some("a private key (OpenPGP)")
}

fn ssh2(_: &[u8], text: &[u8]) -> Option<&'static str> {
    (letters(text, SHORTEST) >= SHORTEST).then_some("a private key (SSH2)")
}

fn open_vpn(before: &[u8], text: &[u8]) -> Option<&'static str> {
    let is_key = line_before(before).ends_with(b"-----") && letters(text, SHORTEST) >= SHORTEST;
    is_key.then_some("a static key of OpenVPN")
}

fn tls_crypt(before: &[u8], text: &[u8]) -> Option<&'static str> {
    open_vpn(before, text).map(|_| "a tls-crypt key of OpenVPN")
}

fn putty(_: &[u8], text: &[u8]) -> Option<&'static str> {
    contains(text.get(..4096).unwrap_or(text), b"Private-Lines:").then_some("a private key (PuTTY)")
}

fn age(before: &[u8], text: &[u8]) -> Option<&'static str> {
    // Bech32: 58 letters follow the "1".
    let letters = text.iter().skip(16).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let is_alone = !before.last().is_some_and(u8::is_ascii_alphanumeric);
    (letters == 58 && is_alone).then_some("a private key (age)")
}

fn encoded(before: &[u8], text: &[u8]) -> Option<&'static str> {
    if before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')) {
        return None;
    }
    let start = text.get(..200)?;
    let decoded = STANDARD.decode(start).ok()?;
    let header = decoded.get(..48)?;
    let is_key = header.starts_with(b"-----BEGIN ") && contains(header, b"PRIVATE KEY-----");
    is_key.then_some("a private key (in base64)")
}

/// The value behind `=` or `:` has so many letters of base64, and they are 32 bytes.
fn is_curve_key(text: &[u8]) -> bool {
    let line = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let Some(at) = line.iter().position(|byte| matches!(byte, b'=' | b':')) else { return false };
    let value = trimmed(line.get(at.saturating_add(1)..).unwrap_or_default());
    value.len() == CURVE_KEY && STANDARD.decode(value).is_ok_and(|key| key.len() == 32)
}

/// wg(8) and systemd.netdev(5).
fn wireguard(_: &[u8], text: &[u8]) -> Option<&'static str> {
    is_curve_key(text).then_some("a private key (WireGuard)")
}

/// NetworkManager's for WireGuard, and the keys of GnuPG (libgcrypt's S-expressions).
fn named(before: &[u8], text: &[u8]) -> Option<&'static str> {
    let is_expression =
        |with: &[u8]| before.ends_with(with) || before.ends_with([with, b"protected-"].concat().as_slice());
    if is_expression(b"(") && contains(text.get(..256).unwrap_or(text), b"(") {
        return Some("a private key (GnuPG)");
    }
    let counted = before.ends_with(b"(11:")
        || before.ends_with(b"(21:protected-")
        || before.ends_with(b"(20:shadowed-");
    if counted {
        return Some("a private key (GnuPG)");
    }
    wireguard(before, text)
}

/// BIND's K*.private.
fn dnssec(before: &[u8], text: &[u8]) -> Option<&'static str> {
    let is_key = before.is_empty() && contains(text.get(..4096).unwrap_or(text), b"\nAlgorithm: ");
    is_key.then_some("a private key (DNSSEC)")
}

/// RFC 7517 and 7518: `kty` says what it is, and `d` is its private part.
fn json_web_key(before: &[u8], text: &[u8]) -> Option<&'static str> {
    let value = trimmed(text.get(3..)?.trim_ascii_start().strip_prefix(b":")?.get(..200)?);
    let is_url_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'_');
    let is_long = value.iter().take_while(is_url_base64).count() >= 42;
    let around = [
        before.get(before.len().saturating_sub(2048)..).unwrap_or_default(),
        text.get(..2048).unwrap_or(text),
    ];
    let is_key = is_long && around.iter().any(|part| contains(part, b"\"kty\""));
    is_key.then_some("a private key (JSON Web Key)")
}

fn minisign(before: &[u8], text: &[u8]) -> Option<&'static str> {
    let is_comment = line_before(before).starts_with(b"untrusted comment:");
    (is_comment && letters(text, SHORTEST) >= SHORTEST).then_some("a private key (minisign, signify)")
}

fn tor(before: &[u8], _: &[u8]) -> Option<&'static str> {
    before.is_empty().then_some("a private key (Tor)")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn told(text: &str) -> Option<&'static str> {
        MARKS.iter().find_map(|mark| {
            text.match_indices(mark.text).find_map(|(at, _)| {
                let (before, rest) = text.split_at(at);
                (mark.is)(before.as_bytes(), rest.as_bytes())
            })
        })
    }

    /// A text that has the shape of a key and is none.
    pub(in super::super) fn shaped(header: &str) -> String {
        let line = "goldimg0".repeat(8);
        format!("-----BEGIN {header}-----\n{line}\n{line}\ngold\n-----END {header}-----\n")
    }

    #[test]
    fn keys_are_known_in_every_shape() {
        let plain = shaped("PRIVATE KEY");
        let with_headers = shaped("RSA PRIVATE KEY").replacen(
            '\n',
            "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n",
            1,
        );
        let indented = plain.replace('\n', "\n      ");
        let in_json = format!("{{\"private_key\": \"{}\"}}", plain.replace('\n', "\\n"));
        let windows = plain.replace('\n', "\r\n");
        let encoded = STANDARD.encode(shaped("EC PRIVATE KEY"));
        let curve = STANDARD.encode([7; 32]);
        for (text, what) in [
            (plain, "a private key"),
            (shaped("OPENSSH PRIVATE KEY"), "a private key"),
            (shaped("ENCRYPTED PRIVATE KEY"), "a private key (behind a password)"),
            (with_headers, "a private key"),
            (format!("key: |\n  {indented}"), "a private key"),
            (in_json, "a private key"),
            (windows, "a private key"),
            (shaped("PRIVATE KEY").replace('\n', " "), "a private key"),
            (format!("{} {}", shaped("CERTIFICATE"), shaped("PRIVATE KEY")), "a private key"),
            (shaped("PGP PRIVATE KEY BLOCK"), "a private key (OpenPGP)"),
            (
                shaped("SSH2 ENCRYPTED PRIVATE KEY")
                    .replace("-----", "----")
                    .replace("----BEGIN", "---- BEGIN")
                    .replace("KEY----", "KEY ----"),
                "a private key (SSH2)",
            ),
            (shaped("OpenVPN Static key V1"), "a static key of OpenVPN"),
            (shaped("OpenVPN tls-crypt-v2 client key"), "a tls-crypt key of OpenVPN"),
            (
                "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAA\n".into(),
                "a private key (PuTTY)",
            ),
            (format!("AGE-SECRET-KEY-1{}\n", "Q".repeat(58)), "a private key (age)"),
            (format!("    client-key-data: {encoded}\n"), "a private key (in base64)"),
            (format!("[Interface]\nPrivateKey = {curve}\n"), "a private key (WireGuard)"),
            (format!("[wireguard]\nprivate-key={curve}\n"), "a private key (WireGuard)"),
            (
                "Created: 20260101T000000\nKey: (private-key (ecc (curve Ed25519)))\n".into(),
                "a private key (GnuPG)",
            ),
            ("(21:protected-private-key(3:ecc(5:curve".into(), "a private key (GnuPG)"),
            (
                "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: AAAA\n".into(),
                "a private key (DNSSEC)",
            ),
            (
                format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\": \"{}\"}}{:200}", "a".repeat(43), ""),
                "a private key (JSON Web Key)",
            ),
            (
                format!("untrusted comment: minisign encrypted secret key\n{}\n", "R".repeat(64)),
                "a private key (minisign, signify)",
            ),
            ("== ed25519v1-secret: type0 ==\0\0\0".into(), "a private key (Tor)"),
        ] {
            assert_eq!(told(&text), Some(what), "{text}");
        }
    }

    #[test]
    fn what_only_speaks_of_keys_is_none() {
        let curve = STANDARD.encode([7; 31]);
        for text in [
            shaped("CERTIFICATE"),
            shaped("PUBLIC KEY"),
            "if text.startswith('-----BEGIN RSA PRIVATE KEY-----'):\n    return load(text)\n".into(),
            "BEGIN = \"-----BEGIN PRIVATE KEY-----\"\nEND = \"-----END PRIVATE KEY-----\"\n".into(),
            "-----BEGIN PRIVATE KEY-----\n(your key here)\n-----END PRIVATE KEY-----\n".into(),
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\nlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong\n".into(),
            format!("client-certificate-data: {}\n", STANDARD.encode(shaped("CERTIFICATE"))),
            format!("PrivateKey = {curve}\nPrivateKeyFile=/etc/x\n"),
            "the option --private-key FILE (required)\n".into(),
            "PuTTY-User-Key-File-2 is how such a file begins\n".into(),
            format!("{{\"d\": \"{}\"}}{:200}", "a".repeat(43), ""),
            "AGE-SECRET-KEY-1 and 58 letters\n".into(),
            format!("AGE-SECRET-KEY-1{}\n", "Q".repeat(57)),
        ] {
            assert_eq!(told(&text), None, "{text}");
        }
    }
}
