//! Digests that a publisher signs: a file of them, its signature, and the keys beside the recipe.
//!
//! ```text
//! SHA256SUMS, SHA256SUMS.gpg ─► gpgv, with these keys alone ─► the line of the file that is fetched ─► its digest
//! CHECKSUM, signed in its own text ─┘
//! ```
//! What is read is what was signed: of a text that has its signature in it, gpgv's own output.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use image_core::digest::{Algorithm, Digest};

use crate::download::fetch_text;
use crate::error::{Advise, Context, ErrorKind, bail, err};
use crate::glance::http::Http;
use crate::golden::load::read_keys;
use crate::golden::recipe::Sums;
use crate::monitor::Monitor;
use crate::printable::printable;
use crate::variables::Variables;

/// A file of sums, or a signature, has no more bytes.
const LIMIT: u64 = 4 << 20;

/// What `sums` say of the file that `address` leads to. The keys are named from `folder`.
///
/// # Errors
/// If they cannot be fetched, are not signed with the keys, or do not name the file.
pub(super) fn digest(
    sums: &Sums,
    address: &str,
    folder: &Path,
    (http, variables): (&Http, &Variables),
    monitor: Monitor<'_>,
) -> crate::Result<Digest> {
    let own = fetch_text(sums.sums.as_str(), LIMIT, http, monitor)?;
    let signature = sums.signature.as_ref().map(|uri| fetch_text(uri.as_str(), LIMIT, http, monitor));
    let (keys, kind) = read_keys(&folder.join(&sums.signed_by))?;
    let keys = if kind == "asc" { binary(&keys)? } else { keys };
    let text = signed(&own, signature.transpose()?.as_deref(), &keys, variables)
        .with_context(|| format!("verifying {}", sums.sums))?;
    let name = address.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    of_file(&String::from_utf8_lossy(&text), name)
        .ok_or_else(|| err!("{} says nothing of {:?}", sums.sums, printable(name)))
        .hint(|| "the last part of the address is the name that is looked for")
}

/// The part of `text` that is signed with one of `keys`: by a detached `signature`, or one in the text itself.
fn signed(
    text: &[u8],
    signature: Option<&[u8]>,
    keys: &[u8],
    variables: &Variables,
) -> crate::Result<Vec<u8>> {
    let doing = "making a folder for gpgv";
    let folder = tempfile::tempdir_in(variables.temporary_folder()).context(doing)?;
    let write = |name: &str, bytes: &[u8]| -> crate::Result<PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, bytes).context(doing)?;
        Ok(path)
    };
    let keyring = write("keys.gpg", keys)?;
    let sums = write("sums", text)?;
    let out = folder.path().join("signed");
    let mut command = Command::new("gpgv");
    command.env("PATH", variables.path()).env("LC_ALL", "C").arg("--homedir").arg(folder.path());
    command.args(["--status-fd", "1", "--keyring"]).arg(&keyring);
    match signature {
        Some(signature) => command.arg(write("signature", signature)?).arg(&sums),
        None => command.arg("--output").arg(&out).arg(&sums),
    };
    let output = command.output().context("starting gpgv").of_kind(ErrorKind::Missing);
    let output = output.hint(|| "sudo apt-get install gpgv")?;
    judge(&String::from_utf8_lossy(&output.stdout))?;
    match signature {
        Some(_) => Ok(text.to_vec()),
        None => fs::read(&out).context("reading what gpgv has verified"),
    }
}

/// Whether what gpgv says of its status (GnuPG's doc/DETAILS, "Format of the --status-fd output") is one good signature at least, and
/// none that is not.
fn judge(status: &str) -> crate::Result<()> {
    let words = |line: &str| {
        line.strip_prefix("[GNUPG:] ").and_then(|rest| rest.split(' ').next()).map(str::to_owned)
    };
    let said: Vec<String> = status.lines().filter_map(words).collect();
    let has = |word: &str| said.iter().any(|own| own == word);
    for (word, what) in [
        ("BADSIG", "its signature is not of this text"),
        ("EXPSIG", "its signature has expired"),
        ("EXPKEYSIG", "the key of its signature has expired"),
        ("REVKEYSIG", "the key of its signature was revoked"),
    ] {
        if has(word) {
            bail!("{what}");
        }
    }
    match has("GOODSIG") && has("VALIDSIG") {
        true => Ok(()),
        false if has("NO_PUBKEY") => Err(err!("it is signed with a key that is not in `signed-by`"))
            .hint(|| "its publisher tells where the keys are: compare their fingerprints"),
        false => Err(err!("it has no signature that gpgv knows"))
            .hint(|| "a signature in a file of its own is `signature = \"https://…\"`"),
    }
}

/// Keys without their armor (RFC 9580, 6.2).
fn binary(armored: &[u8]) -> crate::Result<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let text = String::from_utf8_lossy(armored);
    let mut keys = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let block = block.split("-----END").next().unwrap_or_default();
        let lines = block.lines().map(str::trim).skip(1);
        // Headers, and behind them an empty line; at the end a checksum.
        let lines = lines.skip_while(|line| line.contains(": "));
        let body: String = lines.filter(|line| !line.starts_with('=')).collect();
        let bytes = base64::engine::general_purpose::STANDARD.decode(body);
        keys.extend(bytes.map_err(|error| err!("the keys in `signed-by` are damaged: {error}"))?);
    }
    Ok(keys)
}

/// What `text` says of the file `name`, as `sha256sum` writes it, with `--tag` or without.
fn of_file(text: &str, name: &str) -> Option<Digest> {
    let digest = |hex: &str| {
        let algorithm = match hex.len() {
            64 => Algorithm::Sha256,
            128 => Algorithm::Sha512,
            _ => return None,
        };
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Digest { algorithm, hex: hex.to_ascii_lowercase() })
    };
    text.lines().map(str::trim_end).find_map(|line| {
        if let Some((_, rest)) = line.split_once(" (") {
            let (own, hex) = rest.rsplit_once(") = ")?;
            return digest(hex).filter(|_| own.trim_start_matches("./") == name);
        }
        let (hex, own) = line.split_once([' ', '\t'])?;
        let own = own.trim_start().trim_start_matches('*').trim_start_matches("./");
        digest(hex).filter(|_| own == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn sums_are_read_as_they_are_written() {
        let found = |line: &str| of_file(&format!("# sums\n{line}\n"), "a.img").map(|digest| digest.hex);
        for line in ["HEX  a.img", "HEX *a.img", "HEX  ./a.img", "SHA256 (a.img) = HEX", "HEX\ta.img\r"] {
            assert_eq!(found(&line.replace("HEX", HEX)).as_deref(), Some(HEX), "{line}");
        }
        for line in ["HEX  b/a.img", "HEX  a.img.xz", "SHA256 (b.img) = HEX", "a.img  HEX", "0123  a.img"] {
            assert_eq!(found(&line.replace("HEX", HEX)), None, "{line}");
        }
        assert_eq!(of_file(&format!("{HEX}{HEX}  a"), "a").map(|one| one.algorithm), Some(Algorithm::Sha512));
    }

    #[test]
    fn only_a_good_signature_is_one() {
        let said = |words: &[&str]| {
            let status: String = words.iter().map(|word| format!("[GNUPG:] {word} 1 2\n")).collect();
            judge(&status).map_err(|error| error.to_string())
        };
        assert_eq!(said(&["NEWSIG", "GOODSIG", "VALIDSIG"]), Ok(()));
        assert!(said(&["NEWSIG", "BADSIG", "GOODSIG", "VALIDSIG"]).is_err());
        assert!(said(&["EXPKEYSIG", "VALIDSIG"]).unwrap_err().contains("expired"));
        assert!(said(&["ERRSIG", "NO_PUBKEY"]).unwrap_err().contains("not in `signed-by`"));
        assert!(said(&[]).unwrap_err().contains("no signature"));
    }

    /// A key of a test's own in a folder; nothing where there is no gpg.
    fn gpg(folder: &Path, words: &[&str]) -> Option<Vec<u8>> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(folder).args(["--quiet", "--batch", "--yes", "--passphrase", ""]);
        let output = command.args(words).current_dir(folder).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    #[test]
    fn what_is_signed_is_what_is_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        let Some(_) = gpg(folder, &["--quick-generate-key", "a@example.org", "ed25519", "sign"]) else {
            return;
        };
        let text = format!("{HEX}  a.img\n");
        fs::write(folder.join("sums"), &text).unwrap();
        gpg(folder, &["--detach-sign", "sums"]).unwrap();
        gpg(folder, &["--clearsign", "sums"]).unwrap();
        let armored = gpg(folder, &["--armor", "--export"]).unwrap();
        let keys = gpg(folder, &["--export"]).unwrap();
        assert!(binary(&armored).unwrap() == keys);
        let variables = Variables::of_tests();
        let (detached, clear) =
            (fs::read(folder.join("sums.sig")).unwrap(), fs::read(folder.join("sums.asc")).unwrap());
        assert_eq!(signed(text.as_bytes(), Some(&detached), &keys, &variables).unwrap(), text.as_bytes());
        // What stands around it is not signed.
        let around = [b"0000  a.img\n", clear.as_slice(), b"\n1111  a.img\n"].concat();
        if let Ok(read) = signed(&around, None, &keys, &variables) {
            assert_eq!(String::from_utf8(read).unwrap(), text);
        }
        assert_eq!(String::from_utf8(signed(&clear, None, &keys, &variables).unwrap()).unwrap(), text);
        let changed = text.replace('0', "1");
        assert!(signed(changed.as_bytes(), Some(&detached), &keys, &variables).is_err());
        let other = String::from_utf8(clear.clone()).unwrap().replace("  a.img", "  b.img");
        assert!(signed(other.as_bytes(), None, &keys, &variables).is_err());
        let _ = Command::new("gpgconf").arg("--homedir").arg(folder).args(["--kill", "all"]).output();
    }
}
