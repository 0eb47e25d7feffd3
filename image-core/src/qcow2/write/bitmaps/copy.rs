//! Bitmaps of one image, copied into another of the same virtual size: names, granularities, bits, and whether they follow
//! writes.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::{BitmapChange, change_bitmaps, table_range};
use crate::block::{BlockRead, BlockWrite};
use crate::error::{Doing, Error, Result};
use crate::qcow2::bitmap::{Bitmap, Bits};
use crate::qcow2::header::Header;

/// Adds `bitmaps` of the image in `source`, one after the other, to the image in `file`. Returns its new header.
///
/// # Errors
/// As [`change_bitmaps`] and [`Bits::read`]; [`Invalid`](crate::ErrorKind::Invalid) where the virtual sizes differ;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for bitmaps of the source that share a table. Those that were copied before
/// stay.
pub fn copy_bitmaps(
    source: (&dyn BlockRead, &Header),
    bitmaps: &[Bitmap],
    file: &dyn BlockWrite,
    header: Header,
) -> Result<Header> {
    refuse_shared_tables(bitmaps)?;
    let mut header = header;
    for bitmap in bitmaps {
        let doing = || format!("copying the bitmap {:?}", String::from_utf8_lossy(&bitmap.name));
        // The bits of one can be half a gigabyte: no more than one is in memory.
        let bits = Bits::read(source.0, source.1, bitmap).doing(doing)?;
        let name = bitmap.name.clone();
        let granularity_bits = Some(bitmap.granularity_bits);
        let mut changes = vec![
            BitmapChange::Add { name: name.clone(), granularity_bits },
            BitmapChange::Merge { name: name.clone(), source: bits },
        ];
        if !bitmap.is_enabled() {
            changes.push(BitmapChange::Disable(name));
        }
        header = change_bitmaps(file, &header, &changes).doing(doing)?;
    }
    Ok(header)
}

/// A small file could name thousands of large bitmaps that way.
fn refuse_shared_tables(bitmaps: &[Bitmap]) -> Result<()> {
    let mut tables = bitmaps.iter().map(|bitmap| table_range(bitmap.table)).collect::<Result<Vec<_>>>()?;
    tables.retain(|table| !table.is_empty());
    tables.sort_unstable_by_key(|table| table.offset());
    let mut neighbours = tables.iter().zip(tables.iter().skip(1));
    match neighbours.find(|(first, second)| first.end() > second.offset()) {
        Some((_, second)) => {
            Err(Error::corrupt(format!("two bitmaps have one table, at {:#x}", second.offset())))
        }
        None => Ok(()),
    }
}
