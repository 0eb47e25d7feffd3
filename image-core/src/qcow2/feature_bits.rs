//! The bits of the header that say how an image is to be treated: dirty, corrupt, and what follows it automatically.
//!
//! They are changed where they stand, one number at a time. Section: "Feature bits" of the header.

use super::extension::Extension;
use super::header::{Header, Version};
use super::layout;
use crate::block::BlockWrite;
use crate::error::{Doing, Error, Result};

/// Refuses to change an image whose refcounts or tables may be wrong.
pub(super) fn refuse_unsound(header: &Header) -> Result<()> {
    if header.is_corrupt() {
        return Err(Error::refused("the image is marked corrupt: repair it before writing"));
    }
    if header.is_dirty() {
        return Err(Error::refused(
            "the image is marked dirty, its refcounts may be wrong: repair it before writing",
        ));
    }
    Ok(())
}

/// Clears the autoclear bits but `kept`: what they say of the file is not kept up to date.
pub(super) fn keep_autoclear(file: &dyn BlockWrite, header: &mut Header, kept: u64) -> Result<()> {
    let kept = header.features.autoclear & kept;
    if header.version == Version::V3 && kept != header.features.autoclear {
        header.features.autoclear = kept;
        file.write_at(&kept.to_be_bytes(), layout::AUTOCLEAR_FEATURES_OFFSET)
            .doing(|| "clearing the autoclear features")?;
        file.flush()?;
    }
    Ok(())
}

/// Writes the header, its extensions and the backing file's name: the first cluster.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) if they do not fit into it; whatever the storage says.
pub(super) fn update_header(file: &dyn BlockWrite, header: &Header) -> Result<()> {
    let named = header.extensions.iter().any(|extension| matches!(extension, Extension::FeatureNames(_)));
    // Names that another program gave are kept, where there is room.
    let mut bytes = match header.version == Version::V3 && named {
        true => header.to_bytes().or_else(|_| header.to_bytes_with_names())?,
        false => header.to_bytes_with_names()?,
    };
    bytes.resize(header.geometry.cluster_size().min(file.size()) as usize, 0);
    file.write_at(&bytes, 0).doing(|| "writing the header")?;
    file.flush()
}

/// Sets the dirty bit: the refcounts on disk are not right from now on.
pub(super) fn mark_dirty(file: &dyn BlockWrite, header: &mut Header) -> Result<()> {
    let features = header.features.incompatible | layout::INCOMPATIBLE_DIRTY;
    file.write_at(&features.to_be_bytes(), layout::INCOMPATIBLE_FEATURES_OFFSET)
        .doing(|| "marking the image dirty")?;
    file.flush()?;
    header.features.incompatible = features;
    Ok(())
}

/// Clears the dirty and the corrupt bit of an image that was found to be consistent.
pub(super) fn mark_consistent(file: &dyn BlockWrite, header: &mut Header) -> Result<()> {
    let marks = layout::INCOMPATIBLE_DIRTY | layout::INCOMPATIBLE_CORRUPT;
    let features = header.features.incompatible & !marks;
    if header.version == Version::V3 && features != header.features.incompatible {
        header.features.incompatible = features;
        file.flush()?;
        file.write_at(&features.to_be_bytes(), layout::INCOMPATIBLE_FEATURES_OFFSET)
            .doing(|| "marking the image consistent")?;
        file.flush()?;
    }
    Ok(())
}
