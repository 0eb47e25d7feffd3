//! Names of files, as QEMU reads them: what stands before a colon is a protocol.

use image_core::format::ProtocolNode;

use super::null::Null;
use super::remote::Remote;
use crate::qemu_img::failure::Failure;
use crate::qemu_img::words;

/// The path to a backing file for who opened `image`: from the folder of the image, unless it is absolute or no path.
pub(in crate::qemu_img) fn backing_path(image: &str, name: &str) -> String {
    if name.starts_with('/') || has_protocol(name) {
        return name.to_owned();
    }
    let folder = image.rfind('/').map_or("", |slash| &image[..=slash]);
    format!("{folder}{name}")
}

/// Whether a name is no path: a colon stands before its first slash.
pub(in crate::qemu_img) fn has_protocol(name: &str) -> bool {
    name.split('/').next().unwrap_or_default().contains(':')
}

/// The path that a file name is, without a protocol in front.
pub(in crate::qemu_img) fn plain_path(name: &str) -> Result<&str, Failure> {
    let path = match name.find([':', '/']) {
        Some(at) if name[at..].starts_with(':') => match &name[..at] {
            "file" => &name[at + 1..],
            protocol => return Err(Failure::new(format!("Unknown protocol '{protocol}'"))),
        },
        _ => name,
    };
    match path {
        "" => Err(Failure::new("The 'file' block driver requires a file name")),
        path => Ok(path),
    }
}

/// Whether the name of a new image can be one: that of a file, or of an export.
pub(in crate::qemu_img) fn check_name(name: &str) -> Result<(), Failure> {
    let scheme = name.split_once(':').map(|(scheme, _)| scheme).and_then(Null::driver);
    if let Some(driver) = scheme {
        let driver = driver.name();
        return Err(Failure::new(format!("Protocol driver '{driver}' does not support image creation")));
    }
    match Remote::parse(name) {
        Some(export) => export.map(drop),
        None => plain_path(name).map(drop),
    }
}

/// The export that a name means, for writing, if it means one.
pub(in crate::qemu_img) fn export_to_write(name: &str) -> Result<Option<ProtocolNode>, Failure> {
    let Some(export) = Remote::parse(name).transpose()? else { return Ok(None) };
    let failed = |error| {
        Failure::new(words::of_opening(&error)).hint(&words::hint_of(&error, name)).context(
            "Protocol driver 'nbd' does not support creating new images, so an existing image must be selected as the \
             target; however, opening the given target as an existing image failed",
        )
    };
    export.medium_to_write().map(Some).map_err(failed)
}
