//! What the name of a new image says of its format, and that it says the truth.
//!
//! ```text
//! .qcow2                        qcow2
//! .raw                          raw, and nothing else unless that is said
//! .vmdk .vhd .vhdx .vdi         that format
//! .iso .gz .zip .ova …          a format that is not written here: refused, unless one is said
//! .img and all others           whatever is asked for, else raw
//! ```

use std::path::Path;

use image_core::ErrorKind;
use image_core::foreign::Kind;
use image_core::format::Format;

use crate::error::{Advise, err};
use crate::monitor::Monitor;
use crate::printable::printable;

/// Extensions of what is not written here, and what that is.
const FOREIGN: &[(&str, &str)] = &[
    ("avhdx", "VHDX"),
    ("qed", "QED"),
    ("qcow", "qcow version 1"),
    ("hdd", "Parallels"),
    ("hds", "Parallels"),
    ("parallels", "Parallels"),
    ("luks", "LUKS"),
    ("dmg", "DMG"),
    ("cloop", "cloop"),
    ("iso", "ISO 9660"),
    ("wim", "WIM"),
    ("gz", "gzip"),
    ("tgz", "gzip"),
    ("xz", "xz"),
    ("txz", "xz"),
    ("zst", "zstd"),
    ("zstd", "zstd"),
    ("tzst", "zstd"),
    ("bz2", "bzip2"),
    ("tbz2", "bzip2"),
    ("lz4", "lz4"),
    ("lz", "lzip"),
    ("lzma", "lzma"),
    ("lzo", "lzop"),
    ("br", "brotli"),
    ("z", "compress"),
    ("zip", "zip"),
    ("7z", "7z"),
    ("rar", "rar"),
    ("tar", "tar"),
    ("ova", "OVA"),
    ("ovf", "OVF"),
];

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    Format(Format),
    Foreign(&'static str),
}

fn says(path: &Path) -> Says {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "qcow2" => Says::Format(Format::Qcow2),
        "raw" => Says::Format(Format::Raw),
        "vmdk" => Says::Format(Format::Foreign(Kind::Vmdk)),
        "vhd" | "vpc" => Says::Format(Format::Foreign(Kind::Vpc)),
        "vhdx" => Says::Format(Format::Foreign(Kind::Vhdx)),
        "vdi" => Says::Format(Format::Foreign(Kind::Vdi)),
        other => match FOREIGN.iter().find(|(known, _)| *known == other) {
            Some((_, name)) => Says::Foreign(name),
            None => Says::Nothing,
        },
    }
}

/// Who wants which format.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The option that says a format, and what it says.
    pub option: &'static str,
    /// The format that was asked for.
    pub format: Option<Format>,
    /// Another option that only qcow2 has.
    pub needs_qcow2: Option<&'static str>,
}

impl Wish {
    /// As [`format_of`](Self::format_of); where neither the name nor anybody says one, `like`.
    ///
    /// # Errors
    /// As [`format_of`](Self::format_of).
    pub fn format_like(self, like: Format, path: &Path, monitor: Monitor<'_>) -> crate::Result<Format> {
        let is_said = self.format.is_some() || self.needs_qcow2.is_some() || says(path) != Says::Nothing;
        if is_said { self.format_of(path, monitor) } else { Ok(like) }
    }

    /// The format of the new image `path`.
    ///
    /// # Errors
    /// If the name says another one than would be written, and nobody said that one; wrong usage.
    pub fn format_of(self, path: &Path, monitor: Monitor<'_>) -> crate::Result<Format> {
        let (name, said) = (printable(&path.display().to_string()), says(path));
        if let Some(format) = self.format {
            match said {
                Says::Format(named) if named != format => {
                    monitor.warning(&format!("{name} will be {format}, and its name says {named}"));
                }
                Says::Foreign(named) => {
                    monitor.warning(&format!("{name} will be {format}, and its name says {named}"));
                }
                _ => {}
            }
            return Ok(format);
        }
        let option = self.option;
        match (said, self.needs_qcow2) {
            (Says::Format(Format::Raw), Some(needs)) => {
                Err(err!("{needs} makes a qcow2 image, and {name} says raw"))
                    .hint(|| format!("call it {}, or say {option} qcow2", renamed(path, "qcow2")))
                    .invalid()
            }
            // Of this format, too, there are compressed images.
            (Says::Format(named @ Format::Foreign(Kind::Vmdk)), Some("-c")) => Ok(named),
            (Says::Format(named @ Format::Foreign(_)), Some(needs)) => {
                Err(err!("{needs} makes a qcow2 image, and {name} says {named}"))
                    .hint(|| format!("call it {}, or say {option} qcow2", renamed(path, "qcow2")))
                    .invalid()
            }
            (Says::Foreign(other), needs) => {
                let format = if needs.is_some() { Format::Qcow2 } else { Format::Raw };
                Err(err!("{name} is a name for {other}, which is not written here"))
                    .hint(|| {
                        format!(
                            "call it {}, or say {option} {format} to have that under this name",
                            renamed(path, "qcow2")
                        )
                    })
                    .invalid()
            }
            (Says::Format(format), _) => Ok(format),
            (Says::Nothing, Some(_)) => Ok(Format::Qcow2),
            (Says::Nothing, None) => Ok(Format::Raw),
        }
    }
}

/// Refuses a name that says something else than `format`, in which the image is and stays, unless `option` says another one.
///
/// # Errors
/// Then; wrong usage.
pub(crate) fn refuse_other(path: &Path, format: Format, option: Option<&str>) -> crate::Result<()> {
    let (other, chosen) = match says(path) {
        Says::Format(named) if named != format => (named.to_string(), option.map(|own| (own, named))),
        Says::Foreign(named) => (named.to_owned(), None),
        _ => return Ok(()),
    };
    let name = printable(&path.display().to_string());
    Err(err!("the image is {format}, and stays so: {name} says {other}"))
        .hint(|| {
            let call = format!("call it {}", renamed(path, &format.to_string()));
            match chosen {
                Some((option, named)) => format!("{call}, or say {option} {named}"),
                None => call,
            }
        })
        .invalid()
}

/// The name with this extension; without its last one, if that is it then.
fn renamed(path: &Path, extension: &str) -> String {
    let without = path.with_extension("");
    let is_it = without.extension().is_some_and(|own| own == extension);
    let renamed = if is_it { without } else { path.with_extension(extension) };
    printable(&renamed.display().to_string())
}

/// Adds what can be done where a new file cannot be begun.
///
/// # Errors
/// As `begun`.
pub fn placed<T>(begun: image_core::Result<T>) -> crate::Result<T> {
    match begun.as_ref().map_err(image_core::Error::kind) {
        Err(ErrorKind::InUse) => begun.hint(|| "stop the program that uses it"),
        Err(ErrorKind::Io) => {
            begun.hint(|| "the folder of the target must exist, with room and the right to write")
        }
        _ => Ok(begun?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_say_in_any_case() {
        for (name, expected) in [
            ("a.qcow2", Says::Format(Format::Qcow2)),
            ("A.QCOW2", Says::Format(Format::Qcow2)),
            ("a.raw", Says::Format(Format::Raw)),
            ("a.img", Says::Nothing),
            ("a", Says::Nothing),
            (".raw", Says::Nothing),
            ("a.qcow2.gz", Says::Foreign("gzip")),
            ("a.VMDK", Says::Format(Format::Foreign(Kind::Vmdk))),
            ("a.ova", Says::Foreign("OVA")),
        ] {
            assert_eq!(says(name.as_ref()), expected, "{name}");
        }
        let renamed = |name: &str| super::renamed(name.as_ref(), "qcow2");
        assert_eq!((renamed("a.vmdk"), renamed("a.qcow2.gz")), ("a.qcow2".to_owned(), "a.qcow2".to_owned()));
    }
}
