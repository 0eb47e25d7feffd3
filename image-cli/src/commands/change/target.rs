//! The image that is changed: itself, in place, or a copy that is complete or not there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use goldimg::Variables;
use goldimg::change::Editor;
use image_core::block::{BlockWrite, FileDisk};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::format::{Format, Image, ImageWriter, OpenOptions, References, Share, WriteOptions};
use image_core::new_file::{Existing, NewFile};

use super::super::image::{Unclosed, advised, unless_shared};
use crate::failure::Advise;
use crate::ui::Ui;

/// The image, and where the changed one goes.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The format: raw or qcow2 [default: what it looks like]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Leave the image as it is, and make this a changed copy
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    /// Only this filesystem, whose root is / then: a partition's number, a label, a UUID
    #[arg(long, visible_alias = "partition", value_name = "NAME")]
    volume: Option<String>,
    /// Open the files that the image names, beneath its own folder
    #[arg(long)]
    allow_backing: bool,
    /// Replace NEW if it is there
    #[arg(long, requires = "output")]
    force: bool,
}

/// An image that is being changed.
pub(super) struct Open {
    editor: Editor,
    disk: Arc<ImageWriter>,
    /// The file that becomes the copy.
    copy: Option<NewFile>,
}

impl Target {
    /// The image.
    pub(super) fn path(&self) -> &Path {
        &self.image
    }

    /// Opens the image, or a copy of it.
    pub(super) fn open(&self, ui: &Ui) -> anyhow::Result<Open> {
        let variables: Variables = std::env::vars_os().collect();
        let time = variables.time()?;
        let copy = self.output.as_deref().map(|output| self.copied(output)).transpose()?;
        let path = copy.as_ref().map_or(self.image.as_path(), NewFile::path);
        let references = if self.allow_backing { References::AllowBeneath } else { References::Refuse };
        let options =
            WriteOptions { format: self.format, references, share: Share::RawWriters, parse_filename: None };
        let unclosed = Unclosed::look(path, self.format);
        let disk = Arc::new(advised(ImageWriter::open(path, options))?);
        unclosed.tell(ui);
        let editor = Editor::open(Arc::clone(&disk) as Arc<dyn BlockWrite>, self.volume.as_deref(), time)
            .with_context(|| format!("looking into {}", self.image.display()))?;
        Ok(Open { editor, disk, copy })
    }

    /// A copy of the image's file, which gets its name at the end.
    fn copied(&self, output: &Path) -> anyhow::Result<NewFile> {
        let references = if self.allow_backing { References::AllowBeneath } else { References::Refuse };
        let options =
            OpenOptions { format: self.format, references, share: Share::Readers, ..OpenOptions::default() };
        // Nobody writes it meanwhile.
        let image = unless_shared(Image::open(&self.image, options))?;
        let folder =
            |path: &Path| std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
        let has_backing = image.as_qcow2().is_some_and(|own| own.header().backing_name.is_some());
        if has_backing && folder(&self.image) != folder(output) {
            let name = self.image.display();
            return Err(anyhow::anyhow!(
                "{name} reads through another image, which a copy elsewhere would not find"
            ))
            .hint(|| "put NEW into the folder of IMAGE, or goldimg convert it first");
        }
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        let source = FileDisk::open(&self.image)?;
        let new = NewFile::at(output, existing)?;
        let doing = || format!("copying {}", self.image.display());
        new.disk().resize(image_core::block::BlockRead::size(&source)).with_context(doing)?;
        let mut sink = DiskSink::new(new.disk(), Zeroes::AlreadyThere);
        convert(&source, &mut sink, &Options::default()).with_context(doing)?;
        Ok(new)
    }
}

impl Open {
    pub(super) fn editor(&mut self) -> &mut Editor {
        &mut self.editor
    }

    /// Writes all changes.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        match &self.copy {
            None => self.editor.finish()?,
            Some(_) => self.editor.finish_copy()?,
        }
        // Whoever holds it besides is the editor.
        drop(self.editor);
        if let Ok(disk) = Arc::try_unwrap(self.disk) {
            disk.close()?;
        }
        if let Some(copy) = self.copy {
            copy.keep_synced()?;
        }
        Ok(())
    }
}
