//! User data in its parts, as cloud-init takes them apart.
//!
//! ```text
//! gzip ─► unpacked ─┬─ Content-Type: multipart/… ─► each part, by its type or its first line
//!                   ├─ #cloud-config-archive     ─► each entry's content
//!                   ├─ ## template: jinja        ─► what is behind that line
//!                   └─ by its first line: #cloud-config, #include, #!, …
//! ```
//! cloud-init's documentation, "User-data formats"; RFC 2045 and 2046.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::Value;

/// What is packed may unpack to so much.
const UNPACKED_LIMIT: u64 = 16 << 20;
/// Parts within parts, and in all.
const DEPTH: usize = 4;
const PARTS: usize = 256;

/// A part of user data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Settings, as YAML.
    Settings(String),
    /// Addresses that more is fetched from.
    Include(String),
    /// Scripts and the like, which may do anything; what kind.
    Other(&'static str),
}

/// The parts of `bytes`.
///
/// # Errors
/// In words, if there are too many of them or they cannot be unpacked.
pub(super) fn parts(bytes: &[u8]) -> Result<Vec<Part>, String> {
    let mut found = Vec::new();
    take_apart(bytes, None, 0, &mut found)?;
    Ok(found)
}

fn take_apart(bytes: &[u8], kind: Option<&str>, depth: usize, found: &mut Vec<Part>) -> Result<(), String> {
    if depth > DEPTH || found.len() > PARTS {
        return Err("it has too many parts".to_owned());
    }
    let depth = depth.saturating_add(1);
    if bytes.starts_with(b"\x1f\x8b") {
        let mut unpacked = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(bytes).take(UNPACKED_LIMIT).read_to_end(&mut unpacked);
        read.map_err(|error| format!("it cannot be unpacked: {error}"))?;
        return take_apart(&unpacked, kind, depth, found);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(boundary) = boundary(&text) {
        for (headers, body) in bodies(&text, &boundary) {
            let decoded = decoded(&headers, body);
            let kind = header(&headers, "content-type").map(|kind| media_type(&kind));
            take_apart(&decoded, kind.as_deref(), depth, found)?;
        }
        return Ok(());
    }
    let text = match text.trim_start().strip_prefix("## template: jinja") {
        // What it is, the next line says. Places to be filled in are no YAML everywhere; texts of them are.
        Some(rest) => rest.split_once('\n').map_or("", |(_, rest)| rest).to_owned(),
        None => text.into_owned(),
    };
    let first = text.trim_start().lines().next().unwrap_or_default();
    let is = |start: &str, media: &str| {
        first.starts_with(start) || (!first.starts_with('#') && kind == Some(media))
    };
    if is("#cloud-config-archive", "text/cloud-config-archive") {
        for (kind, content) in archive(&text)? {
            take_apart(content.as_bytes(), kind.as_deref(), depth, found)?;
        }
        return Ok(());
    }
    found.push(match () {
        () if is("#include", "text/x-include-url") || kind == Some("text/x-include-once-url") => {
            Part::Include(text)
        }
        () if is("#!", "text/x-shellscript") => Part::Other("a script"),
        () if is("#cloud-boothook", "text/cloud-boothook") => Part::Other("a boothook"),
        () if is("#part-handler", "text/part-handler") => Part::Other("a part handler"),
        () if first.starts_with("#upstart-job") => Part::Other("a job of upstart"),
        () => Part::Settings(text),
    });
    Ok(())
}

/// The entries of an archive: their types and contents.
fn archive(text: &str) -> Result<Vec<(Option<String>, String)>, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| format!("it is no YAML: {error}"))?;
    let entry = |entry: &Value| match entry {
        Value::String(content) => Some((None, content.clone())),
        _ => {
            let kind = entry.get("type").and_then(Value::as_str).map(str::to_owned);
            Some((kind, entry.get("content")?.as_str()?.to_owned()))
        }
    };
    Ok(value.as_array().map(|entries| entries.iter().filter_map(entry).collect()).unwrap_or_default())
}

/// The boundary between parts, if a text is one of several.
fn boundary(text: &str) -> Option<String> {
    let (headers, _) = split(text);
    let kind = header(&headers, "content-type")?;
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let (_, value) = kind.split_once("boundary=")?;
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([';', ' ', '\t']).next(),
    };
    value.map(str::to_owned).filter(|boundary| !boundary.is_empty())
}

/// The headers of a part, lines that go on joined, and what is behind them. None, if it does not begin with one.
fn split(text: &str) -> (Vec<String>, &str) {
    let mut headers: Vec<String> = Vec::new();
    let mut rest =
        text.strip_prefix("From ").map_or(text, |rest| rest.split_once('\n').map_or("", |(_, rest)| rest));
    while let Some((line, behind)) = rest.split_once('\n') {
        let line = line.trim_end_matches('\r');
        let is_header = line.split_once(':').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
        match headers.last_mut() {
            _ if line.is_empty() => {
                rest = behind;
                break;
            }
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ if is_header => headers.push(line.to_owned()),
            _ => return (headers, rest),
        }
        rest = behind;
    }
    (headers, rest)
}

fn header(headers: &[String], name: &str) -> Option<String> {
    headers.iter().find_map(|header| {
        let (own, value) = header.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn media_type(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What lies between the boundaries.
fn bodies<'a>(text: &'a str, boundary: &str) -> Vec<(Vec<String>, &'a str)> {
    let mark = format!("--{boundary}");
    let parts = text.split(mark.as_str()).skip(1).take(PARTS);
    let whole = parts.take_while(|part| !part.starts_with("--"));
    whole.map(|part| split(part.trim_start_matches('\r').strip_prefix('\n').unwrap_or(part))).collect()
}

fn decoded(headers: &[String], body: &str) -> Vec<u8> {
    let encoding = header(headers, "content-transfer-encoding").unwrap_or_default().to_ascii_lowercase();
    match encoding.as_str() {
        "base64" => {
            let letters: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
            GeneralPurpose::new(&base64::alphabet::STANDARD, lenient)
                .decode(&letters)
                .or_else(|_| STANDARD.decode(&letters))
                .unwrap_or_else(|_| body.as_bytes().to_vec())
        }
        "quoted-printable" => unquoted(body),
        _ => body.as_bytes().to_vec(),
    }
}

/// Quoted-printable (RFC 2045, 6.7).
fn unquoted(body: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'=', [b'\n', left @ ..] | [b'\r', b'\n', left @ ..]) => rest = left,
            (b'=', [high, low, left @ ..]) => {
                let digits = [*high, *low];
                let number =
                    std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                match number {
                    Some(number) => {
                        bytes.push(number);
                        rest = left;
                    }
                    None => bytes.push(byte),
                }
            }
            _ => bytes.push(byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn settings(text: &str) -> Part {
        Part::Settings(text.into())
    }

    #[test]
    fn user_data_are_taken_apart() {
        let many = "Content-Type: multipart/mixed;\n boundary=\"=1=\"\nMIME-Version: 1.0\n\n--=1=\nContent-Type: text/cloud-config; charset=\"us-ascii\"\n\n\
                    password: x\n--=1=\r\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--=1=\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n\
                    I2Nsb3VkLWNvbmZpZwphOiAx\n--=1=\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config\nb: =\n=32\n--=1=--\nmore\n";
        assert_eq!(
            parts(many.as_bytes()).unwrap(),
            [
                settings("password: x\n"),
                Part::Other("a script"),
                settings("#cloud-config\na: 1"),
                settings("#cloud-config\nb: 2\n")
            ]
        );
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"#cloud-config\na: 1\n").unwrap();
        assert_eq!(parts(&gzip.finish().unwrap()).unwrap(), [settings("#cloud-config\na: 1\n")]);
        let archive = "#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    password: x\n- '#!/bin/sh'\n- \"#cloud-config\\na: 1\"\n";
        assert_eq!(
            parts(archive.as_bytes()).unwrap(),
            [settings("password: x\n"), Part::Other("a script"), settings("#cloud-config\na: 1")]
        );
        assert_eq!(
            parts(b"## template: jinja\n#cloud-config\na: 1\n").unwrap(),
            [settings("#cloud-config\na: 1\n")]
        );
        assert_eq!(
            parts(b"#include\nhttps://example.com/x\n").unwrap(),
            [Part::Include("#include\nhttps://example.com/x\n".into())]
        );
        assert_eq!(parts(b"").unwrap(), [settings("")]);
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut text = String::from("a: 1\n");
        for _ in 0..DEPTH + 2 {
            let indented = text.replace('\n', "\n    ");
            text = format!("#cloud-config-archive\n- content: |\n    {indented}\n");
        }
        assert!(parts(text.as_bytes()).is_err());
        assert!(parts(b"\x1f\x8b\x08\0").is_err());
    }
}
