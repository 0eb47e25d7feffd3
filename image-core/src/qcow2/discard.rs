//! Places of the file that nothing uses any more, on their way back to the filesystem.

use super::geometry::Geometry;
use crate::block::{BlockWrite, ByteRange};
use crate::error::Result;

/// Clusters that nothing refers to, neighbours joined.
#[derive(Debug, Default)]
pub(super) struct Discards {
    places: Vec<ByteRange>,
}

impl Discards {
    /// Adds a cluster by its number.
    pub(super) fn add(&mut self, cluster: u64, geometry: Geometry) {
        let start = cluster.saturating_mul(geometry.cluster_size());
        let end = start.saturating_add(geometry.cluster_size());
        match self.places.last_mut() {
            Some(last) if last.end() == start => *last = ByteRange::between(last.offset(), end),
            _ => self.places.push(ByteRange::between(start, end)),
        }
    }

    /// Gives all of them back, as far as they are in the file. Nothing on disk may refer to them by now.
    pub(super) fn process(&self, file: &dyn BlockWrite) -> Result<()> {
        for place in &self.places {
            if let Some(there) = place.intersection(ByteRange::whole(file.size())) {
                file.discard(there)?;
            }
        }
        Ok(())
    }
}
