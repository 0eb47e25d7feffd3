//! The files of an image, for those who read the databases of packages.

use std::path::Path;

use image_core::block::BlockRead;
use image_core::fs::Files;

use crate::packages::{Cause, Content, Source};

/// A tree of files.
pub(super) struct Tree<'a> {
    files: &'a dyn Files,
}

impl<'a> Tree<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Self {
        Self { files }
    }
}

/// A file that is read in parts.
struct File(Box<dyn BlockRead>);

impl Content for File {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Cause> {
        Ok(self.0.read_at(buf, offset)?)
    }
}

impl Source for Tree<'_> {
    fn open(&self, path: &str) -> Result<Option<Box<dyn Content + '_>>, Cause> {
        let content = self.files.content(Path::new(path))?;
        Ok(content.map(|content| Box::new(File(content)) as Box<dyn Content>))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Cause> {
        let entries = self.files.list(Path::new(path))?.unwrap_or_default();
        Ok(entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
    }
}
