//! The raw format: the bytes of the file are the bytes of the disk.
//!
//! Nothing marks a raw image as one. Whether a caller said so or it was only taken for one because nothing else fits
//! makes a difference: what a guest writes to its first sector must not turn its disk into an image of another
//! format, that names other files. So a [`Raw`] remembers it ([`is_assumed`](Raw::is_assumed)).

use std::sync::Arc;

use crate::block::{BlockRead, read_as};

/// A raw image, open for reading.
#[derive(Clone)]
pub struct Raw {
    file: Arc<dyn BlockRead>,
    assumed: bool,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").field("size", &self.file.size()).field("assumed", &self.assumed).finish()
    }
}

impl Raw {
    /// The image in `file`, which the caller says is raw.
    pub fn new(file: Arc<dyn BlockRead>) -> Self {
        Self { file, assumed: false }
    }

    /// The image in `file`, which looks like nothing else.
    pub fn assumed(file: Arc<dyn BlockRead>) -> Self {
        Self { file, assumed: true }
    }

    /// Whether it was only taken for raw.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// The file that the image is.
    pub fn file(&self) -> &Arc<dyn BlockRead> {
        &self.file
    }
}

impl BlockRead for Raw {
    read_as!(self => self.file);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockWrite, ByteRange, ExtentKind, MemoryDisk};

    #[test]
    fn it_is_its_file() {
        let file = Arc::new(MemoryDisk::new(4096));
        file.write_at(&[3; 512], 1024).unwrap();
        let raw = Raw::new(file.clone());
        let mut buf = [0; 2];
        raw.read_at(&mut buf, 1535).unwrap();
        assert_eq!((buf, raw.size()), ([3, 0], 4096));
        assert_eq!(raw.extents(ByteRange::whole(4096)).unwrap().total(ExtentKind::Data), 512);
        assert!(raw.read_at(&mut buf, 4095).is_err());
        assert!(!raw.is_assumed() && Raw::assumed(file).is_assumed());
    }
}
