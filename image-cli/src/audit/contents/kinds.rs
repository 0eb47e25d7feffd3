//! What is worth looking into: by where a file lies, and by its first bytes.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// Folders of documentation, of what is shown, and of code for kernels and hardware: thousands of files that are everybody's.
const PUBLIC: [&str; 13] = [
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/info/",
    "/usr/share/locale/",
    "/usr/share/i18n/",
    "/usr/share/zoneinfo/",
    "/usr/share/icons/",
    "/usr/share/fonts/",
    "/usr/share/help/",
    "/usr/lib/modules/",
    "/lib/modules/",
    "/usr/lib/firmware/",
    "/lib/firmware/",
];
/// Where the packages of programming languages are.
const LIBRARIES: [&str; 6] =
    ["site-packages", "dist-packages", "node_modules", "gems", "perl5", "vendor_ruby"];
/// What libraries call their tests and examples.
const TESTS: [&str; 14] = [
    "test",
    "tests",
    "testing",
    "testdata",
    "test-data",
    "test_data",
    "testsuite",
    "fixtures",
    "spec",
    "specs",
    "example",
    "examples",
    "doc",
    "docs",
];

/// Whether the file `path` belongs to the documentation or the tests of what is installed: keys in there are everybody's.
pub(super) fn is_public(path: &[u8]) -> bool {
    if PUBLIC.iter().any(|folder| path.starts_with(folder.as_bytes())) {
        return true;
    }
    let is_packaged = path.starts_with(b"/usr/") && !path.starts_with(b"/usr/local/");
    let mut is_library = is_packaged;
    for name in path.split(|byte| *byte == b'/') {
        if is_library && TESTS.iter().any(|test| name == test.as_bytes()) {
            return true;
        }
        is_library |= LIBRARIES.iter().any(|library| name == library.as_bytes());
    }
    false
}

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Looked into as it is.
    Plain,
    /// An archive of cpio, packed or not, or something else that is packed and can be unpacked.
    Packed,
    /// Nothing that keys are kept in: programs, pictures, fonts.
    Harmless,
    /// It may have files in it, and is not unpacked here.
    Closed,
}

/// How files begin that keep no keys: ELF, PNG, JPEG, GIF, fonts, catalogues of messages, time zones.
const HARMLESS: [&[u8]; 11] = [
    b"\x7fELF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"wOFF",
    b"wOF2",
    b"OTTO",
    b"\0\x01\0\0\0",
    b"\xde\x12\x04\x95",
    b"\x95\x04\x12\xde",
    b"TZif",
];
/// How archives begin that are unpacked: cpio, gzip, xz, zstd, lz4 (legacy).
const PACKED: [&[u8]; 5] =
    [b"07070", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18"];
/// How others begin: zip, bzip2, 7z, squashfs, qcow2, LUKS.
const CLOSED: [&[u8]; 6] =
    [b"PK\x03\x04", b"BZh", b"7z\xbc\xaf\x27\x1c", b"hsqs", b"QFI\xfb", b"LUKS\xba\xbe"];

/// What a file with these first bytes is.
pub(super) fn kind(head: &[u8]) -> Kind {
    let begins = |with: &[&[u8]]| with.iter().any(|start| head.starts_with(start));
    // Byte code of Python: a number and the end of a line.
    let is_byte_code =
        head.get(2..4) == Some(b"\r\n") && head.get(..2).is_some_and(|number| !number.is_ascii());
    match head {
        _ if begins(&HARMLESS) || is_byte_code => Kind::Harmless,
        _ if begins(&PACKED) => Kind::Packed,
        _ if begins(&CLOSED) => Kind::Closed,
        _ => Kind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_and_the_tests_of_libraries_are_everybodys() {
        for path in [
            "/usr/share/doc/openvpn/examples/sample-keys/client.key",
            "/usr/lib/python3/dist-packages/twisted/test/server.pem",
            "/usr/local/lib/python3.11/site-packages/x/tests/key.pem",
            "/opt/app/node_modules/https/test/fixtures/key.pem",
            "/usr/lib/ruby/gems/3.1.0/gems/x/spec/k.pem",
        ] {
            assert!(is_public(path.as_bytes()), "{path}");
        }
        for path in [
            "/etc/ssl/private/test.key",
            "/opt/app/test/key.pem",
            "/srv/docs/key.pem",
            "/usr/local/tests/key.pem",
            "/usr/share/documents/key",
            "/home/ann/examples/id_rsa",
        ] {
            assert!(!is_public(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn first_bytes_tell_what_is_looked_into() {
        for (head, what) in [
            (&b"\x7fELF\x02"[..], Kind::Harmless),
            (b"\xa7\x0d\r\n\0\0", Kind::Harmless),
            (b"ab\r\ncd", Kind::Plain),
            (b"", Kind::Plain),
            (b"\xff\xfeb\0", Kind::Plain),
            (b"070701000", Kind::Packed),
            (b"\x1f\x8b\x08\0", Kind::Packed),
            (b"PK\x03\x04", Kind::Closed),
        ] {
            assert_eq!(kind(head), what, "{head:?}");
        }
    }
}
