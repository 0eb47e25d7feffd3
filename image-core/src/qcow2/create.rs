//! Making an empty image: what its backing file has, or zeroes.
//!
//! ```text
//! an image without a cluster (Qcow2Sink) ─► preallocation (Qcow2Writer): every cluster gets a place, and perhaps storage
//! ```

use std::sync::Arc;

use super::header::Header;
use super::new_image::NewImage;
use super::sink::Qcow2Sink;
use super::write::Qcow2Writer;
use crate::block::{BlockWrite, ByteRange, Preallocation};
use crate::error::{Error, Result};

impl NewImage {
    /// Makes an empty image of this kind in `file`, which is empty or a block device. An image with a data file needs
    /// an empty one.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a preallocation that would hide the backing file, and if there is no
    /// data file where there should be one, or the reverse; whatever the storage says.
    pub fn create(
        &self,
        file: Arc<dyn BlockWrite>,
        data_file: Option<Arc<dyn BlockWrite>>,
        preallocation: Preallocation,
    ) -> Result<()> {
        // A cluster that is allocated hides the backing file; one with subclusters that are not does not.
        if self.is_backed() && preallocation != Preallocation::Off && !self.geometry().extended_l2() {
            return Err(Error::invalid(
                "preallocated clusters hide the backing file: only extended L2 entries allow both",
            ));
        }
        Qcow2Sink::new(&file, self.clone())?.complete()?;
        if let Some(data_file) = &data_file {
            data_file.resize(self.size())?;
        }
        // A raw data file is read by programs that see no difference between what is mapped and what is not.
        if preallocation == Preallocation::Off && !self.has_raw_data_file() {
            return file.flush();
        }
        let header = Header::read(&file)?;
        // QEMU guesses from what the filesystem has set aside whether an image is preallocated: its own writes this whole
        // cluster.
        let written = header.to_bytes_with_names()?.len() as u64;
        preallocation.set_aside(&file, ByteRange::between(written, self.geometry().cluster_size()))?;
        let writer = Qcow2Writer::new(file, header, None, data_file)?;
        writer.preallocate(ByteRange::whole(self.size()), preallocation)?;
        writer.close()
    }
}

#[cfg(test)]
mod tests;
