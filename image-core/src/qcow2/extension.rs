//! Header extensions: optional sections between the header and the backing file's name.
//!
//! ```text
//! header │ kind len data pad │ kind len data pad │ … │ 0 0 │ backing file's name │ … end of the first cluster
//! ```
//!
//! Unknown ones are kept as they are, in their place, so that rewriting a header loses nothing.
//! Sections: "Header extensions", "Feature name table", "Bitmaps extension".

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use zerocopy::{FromBytes, IntoBytes};

use super::corrupt::Corrupt;
use super::layout::{
    AUTOCLEAR_BITMAPS, AUTOCLEAR_DATA_FILE_RAW, BitmapsExtension, COMPATIBLE_LAZY_REFCOUNTS,
    EXTENSION_BACKING_FORMAT, EXTENSION_BITMAPS, EXTENSION_DATA_FILE, EXTENSION_END, EXTENSION_FEATURE_NAMES,
    ExtensionHeader, FeatureNameEntry, HEADER_ALIGNMENT, INCOMPATIBLE_COMPRESSION, INCOMPATIBLE_CORRUPT,
    INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_DIRTY, INCOMPATIBLE_EXTENDED_L2,
};
use super::offset::HostOffset;

/// One header extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// The format of the backing file, such as `raw`.
    BackingFormat(Vec<u8>),
    /// Names of feature bits, for programs that do not know them.
    FeatureNames(Vec<FeatureName>),
    /// Where the persistent bitmaps are.
    Bitmaps(BitmapsPlace),
    /// The name of the data file.
    DataFile(Vec<u8>),
    /// Something else.
    Unknown {
        /// Its number.
        kind: u32,
        /// Its data.
        data: Vec<u8>,
    },
}

/// Where the bitmap directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitmapsPlace {
    /// How many bitmaps.
    pub count: u32,
    /// Where the directory starts.
    pub offset: HostOffset,
    /// Its length in bytes.
    pub len: u64,
}

/// Which of the three sets of features a bit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureKind {
    /// Must be known to open the image.
    Incompatible,
    /// May be ignored.
    Compatible,
    /// Is cleared by who writes without knowing it.
    Autoclear,
    /// A kind that is not defined.
    Unknown(u8),
}

impl FeatureKind {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Incompatible,
            1 => Self::Compatible,
            2 => Self::Autoclear,
            other => Self::Unknown(other),
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Incompatible => 0,
            Self::Compatible => 1,
            Self::Autoclear => 2,
            Self::Unknown(other) => other,
        }
    }
}

/// The name of a feature bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureName {
    /// Its set.
    pub kind: FeatureKind,
    /// Its number, 0 to 63.
    pub bit: u8,
    /// At most 46 bytes.
    pub name: Vec<u8>,
}

impl Extension {
    /// The number of its kind.
    pub fn kind(&self) -> u32 {
        match self {
            Self::BackingFormat(_) => EXTENSION_BACKING_FORMAT,
            Self::FeatureNames(_) => EXTENSION_FEATURE_NAMES,
            Self::Bitmaps(_) => EXTENSION_BITMAPS,
            Self::DataFile(_) => EXTENSION_DATA_FILE,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// The feature names that QEMU writes and that are written here.
    pub fn known_feature_names() -> Self {
        use FeatureKind::{Autoclear, Compatible, Incompatible};
        let names: [(FeatureKind, u64, &str); 8] = [
            (Incompatible, INCOMPATIBLE_DIRTY, "dirty bit"),
            (Incompatible, INCOMPATIBLE_CORRUPT, "corrupt bit"),
            (Incompatible, INCOMPATIBLE_DATA_FILE, "external data file"),
            (Incompatible, INCOMPATIBLE_COMPRESSION, "compression type"),
            (Incompatible, INCOMPATIBLE_EXTENDED_L2, "extended L2 entries"),
            (Compatible, COMPATIBLE_LAZY_REFCOUNTS, "lazy refcounts"),
            (Autoclear, AUTOCLEAR_BITMAPS, "bitmaps"),
            (Autoclear, AUTOCLEAR_DATA_FILE_RAW, "raw external data"),
        ];
        let name = |(kind, mask, name): (FeatureKind, u64, &str)| FeatureName {
            kind,
            bit: mask.trailing_zeros() as u8,
            name: name.into(),
        };
        Self::FeatureNames(names.into_iter().map(name).collect())
    }

    fn from_data(kind: u32, data: &[u8]) -> Result<Self, Corrupt> {
        Ok(match kind {
            EXTENSION_BACKING_FORMAT => Self::BackingFormat(data.to_vec()),
            EXTENSION_DATA_FILE => Self::DataFile(data.to_vec()),
            EXTENSION_FEATURE_NAMES => Self::FeatureNames(feature_names(data)),
            EXTENSION_BITMAPS => {
                let raw = BitmapsExtension::read_from_bytes(data).map_err(|_| Corrupt::ExtensionLen {
                    kind,
                    len: data.len() as u32,
                    expected: size_of::<BitmapsExtension>() as u32,
                })?;
                Self::Bitmaps(BitmapsPlace {
                    count: raw.count.get(),
                    offset: HostOffset(raw.directory_offset.get()),
                    len: raw.directory_len.get(),
                })
            }
            _ => Self::Unknown { kind, data: data.to_vec() },
        })
    }

    fn to_data(&self) -> Vec<u8> {
        match self {
            Self::BackingFormat(data) | Self::DataFile(data) | Self::Unknown { data, .. } => data.clone(),
            Self::FeatureNames(names) => names.iter().flat_map(feature_name_bytes).collect(),
            Self::Bitmaps(place) => BitmapsExtension {
                count: place.count.into(),
                reserved: 0.into(),
                directory_len: place.len.into(),
                directory_offset: place.offset.0.into(),
            }
            .as_bytes()
            .to_vec(),
        }
    }
}

fn feature_names(data: &[u8]) -> Vec<FeatureName> {
    let (entries, _incomplete) = data.as_chunks::<{ size_of::<FeatureNameEntry>() }>();
    let name = |[kind, bit, name @ ..]: &[u8; size_of::<FeatureNameEntry>()]| FeatureName {
        kind: FeatureKind::from_byte(*kind),
        bit: *bit,
        name: name.iter().copied().take_while(|&byte| byte != 0).collect(),
    };
    entries.iter().map(name).collect()
}

fn feature_name_bytes(feature: &FeatureName) -> [u8; size_of::<FeatureNameEntry>()] {
    let mut entry = FeatureNameEntry { kind: feature.kind.to_byte(), bit: feature.bit, name: [0; 46] };
    for (to, from) in entry.name.iter_mut().zip(&feature.name) {
        *to = *from;
    }
    zerocopy::transmute!(entry)
}

/// Reads the extensions in `area`, which starts at `offset` of the file and ends where the backing file's name or
/// the first cluster does. A missing end mark is tolerated where the area ends. Of a known kind the last one counts, as
/// it does for QEMU; of an unknown one all are kept.
///
/// # Errors
/// An extension that ends past the area or has the wrong length.
pub(super) fn parse(area: &[u8], offset: u64) -> Result<Vec<Extension>, Corrupt> {
    let mut extensions: Vec<Extension> = Vec::new();
    for found in each(area, offset) {
        let (kind, data) = found?;
        let extension = Extension::from_data(kind, data)?;
        let is_known = !matches!(extension, Extension::Unknown { .. });
        match extensions.iter_mut().find(|earlier| is_known && earlier.kind() == kind) {
            Some(earlier) => *earlier = extension,
            None => extensions.push(extension),
        }
    }
    Ok(extensions)
}

/// The last table of feature names in `area`, whatever else is wrong behind it.
pub(super) fn parse_feature_names(area: &[u8]) -> Vec<FeatureName> {
    let sound = each(area, 0).map_while(std::result::Result::ok);
    let tables = sound.filter(|&(kind, _)| kind == EXTENSION_FEATURE_NAMES);
    tables.last().map(|(_, data)| feature_names(data)).unwrap_or_default()
}

/// The kind and the data of each extension in `area`; an error is the last.
fn each(area: &[u8], offset: u64) -> impl Iterator<Item = Result<(u32, &[u8]), Corrupt>> {
    let mut rest = area;
    std::iter::from_fn(move || {
        let (head, behind) = ExtensionHeader::read_from_prefix(rest).ok()?;
        let (kind, len) = (head.kind.get(), head.len.get());
        if kind == EXTENSION_END {
            return None;
        }
        let at = offset.saturating_add((area.len() as u64).saturating_sub(rest.len() as u64));
        let Some((data, padded)) = behind.split_at_checked(len as usize) else {
            rest = &[];
            return Some(Err(Corrupt::ExtensionCut { kind, offset: at, len }));
        };
        rest = padded.get(padding(data.len())..).unwrap_or_default();
        Some(Ok((kind, data)))
    })
}

/// The bytes of `extensions` with the end mark.
pub(super) fn to_bytes(extensions: &[Extension]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extension in extensions {
        let data = extension.to_data();
        let head = ExtensionHeader { kind: extension.kind().into(), len: (data.len() as u32).into() };
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&data);
        bytes.resize(bytes.len().saturating_add(padding(data.len())), 0);
    }
    bytes.extend_from_slice(ExtensionHeader { kind: EXTENSION_END.into(), len: 0.into() }.as_bytes());
    bytes
}

fn padding(len: usize) -> usize {
    len.wrapping_neg() % HEADER_ALIGNMENT
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_feature_names_are_the_bytes_that_qemu_writes() {
        let bytes = to_bytes(&[Extension::known_feature_names()]);
        assert_eq!(bytes.len(), 8 + 8 * 48 + 8);
        assert_eq!(bytes[..8], [0x68, 0x03, 0xf8, 0x57, 0, 0, 0x01, 0x80]);
        assert_eq!(&bytes[8..20], b"\0\0dirty bit\0");
        assert_eq!(&bytes[8 + 48..8 + 48 + 14], b"\0\x01corrupt bit\0");
        assert_eq!(&bytes[8 + 5 * 48..8 + 5 * 48 + 17], b"\x01\0lazy refcounts\0");
        assert_eq!(&bytes[8 + 7 * 48..8 + 7 * 48 + 20], b"\x02\x01raw external data\0");
    }

    #[test]
    fn unknown_ones_are_kept_and_padding_is_skipped() {
        let extensions = [
            Extension::Unknown { kind: 0x1234_5678, data: vec![1, 2, 3] },
            Extension::BackingFormat(b"qcow2".to_vec()),
            Extension::Bitmaps(BitmapsPlace { count: 2, offset: HostOffset(0x70000), len: 64 }),
            Extension::DataFile(b"12345678".to_vec()),
            Extension::known_feature_names(),
        ];
        let bytes = to_bytes(&extensions);
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(parse(&bytes, 104).unwrap(), extensions);
        // Without the end mark, and with less than a head left.
        assert_eq!(parse(&bytes[..bytes.len() - 8], 104).unwrap(), extensions);
        assert_eq!(parse(&bytes[..bytes.len() - 3], 104).unwrap(), extensions);
    }

    #[test]
    fn of_a_known_kind_the_last_one_counts_and_of_others_all() {
        let unknown = |byte: u8| Extension::Unknown { kind: 7, data: vec![byte] };
        let format = |name: &[u8]| Extension::BackingFormat(name.to_vec());
        let twice = [format(b"raw"), unknown(1), format(b"qcow2"), unknown(2)];
        let bytes = to_bytes(&twice);
        assert_eq!(parse(&bytes, 0).unwrap(), [format(b"qcow2"), unknown(1), unknown(2)]);
    }

    #[test]
    fn the_last_table_of_names_counts_whatever_stands_behind_it() {
        let table = |name: &[u8]| {
            let name = FeatureName { kind: FeatureKind::Incompatible, bit: 9, name: name.to_vec() };
            Extension::FeatureNames(vec![name])
        };
        let mut bytes = to_bytes(&[table(b"one"), table(b"two")]);
        let end = bytes.len() - 8;
        bytes[end..].copy_from_slice(&[0xff; 8]);
        assert!(parse(&bytes, 0).is_err());
        assert_eq!(parse_feature_names(&bytes)[0].name, b"two");
        assert!(parse_feature_names(&[]).is_empty());
    }

    #[test]
    fn lengths_that_lie_are_found() {
        let head = |kind: u32, len: u32| [kind.to_be_bytes(), len.to_be_bytes()].concat();
        let cut = parse(&head(7, 1), 112);
        assert_eq!(cut, Err(Corrupt::ExtensionCut { kind: 7, offset: 112, len: 1 }));
        assert!(parse(&head(7, u32::MAX), 112).is_err());
        let short = [head(EXTENSION_BITMAPS, 8), vec![0; 8]].concat();
        let expected = Corrupt::ExtensionLen { kind: EXTENSION_BITMAPS, len: 8, expected: 24 };
        assert_eq!(parse(&short, 0), Err(expected));
    }
}
