//! Which image is meant: a file name, `json:{…}`, or with `--image-opts` a whole description.
//!
//! ```text
//! disk.qcow2                                   file ◄─ probed
//! -f raw disk.qcow2                            file ◄─ raw
//! driver=raw,offset=1M,file.filename=disk.raw  file ◄─ raw, from 1 MiB on
//! driver=file,filename=disk.raw                file
//! nbd:unix:/run/s, driver=nbd,path=/run/s      export: in place of a file in all of these
//! ```

mod description;
pub(super) mod json_text;
mod named;
mod names;
mod null;
mod remote;
mod unclosed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{Access, BlockRead, ByteRange, FileDisk, FileInUse, Window};
use image_core::format::{
    Format, FormatNode, Image, ImageWriter, OpenOptions, Probing, ProtocolNode, ReferenceRule, References,
    Share, WriteOptions,
};
use image_core::nbd::Address;
use image_core::qcow2::{Header, Qcow2};

use super::failure::Failure;
use super::options::Given;
use super::{Call, bytes, drivers, words};
use description::Description;
pub(super) use names::{backing_path, check_name, export_to_write, has_protocol, plain_path};
use null::Null;
use remote::Remote;

/// What the command line says about an image.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// `-f`.
    pub(super) format: Option<String>,
    /// `--image-opts`.
    pub(super) image_opts: bool,
    /// `-U`.
    pub(super) force_share: bool,
}

impl Wanted {
    /// Takes one of the options `-f`, `--image-opts` and `-U`.
    pub(super) fn take(&mut self, option: Given) {
        match option.name {
            "format" => self.format = Some(option.value),
            "image-opts" => self.image_opts = true,
            "force-share" => self.force_share = true,
            _ => {}
        }
    }

    /// A description has its own format.
    fn check(&self) -> Result<(), Failure> {
        match self.image_opts && self.format.is_some() {
            true => Err(Failure::new("--image-opts and --format are mutually exclusive")),
            false => Ok(()),
        }
    }
}

/// Files are counted in units of so many bytes.
const SECTOR: u64 = 512;

/// Set to `anywhere` where images may name backing files and data files in other folders than their own.
const ALLOW: &str = "GOLDIMG_ALLOW_BACKING";

/// Which of the files that an image names are opened.
fn references() -> References {
    match std::env::var_os(ALLOW).is_some_and(|value| value == "anywhere") {
        true => References::AllowAnywhere,
        false => References::AllowBeneath,
    }
}

/// An image as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// What a failure begins with: the name as it was given; nothing where another name is said already.
    name: Option<String>,
    /// The name as QEMU shows it.
    shown: String,
    /// The file; where it is an export, its name.
    path: String,
    export: Option<Remote>,
    /// It is not there at all.
    null: Option<Null>,
    layer: Layer,
    share: Share,
    /// What is wrong with it, noticed when it is open.
    late: Option<String>,
}

/// What a file is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// What it looks like.
    Probed,
    /// The file itself.
    File,
    /// A format.
    Format(Format),
    /// Some of its bytes.
    Part {
        /// From here on, in bytes.
        offset: u64,
        /// So many bytes; to the end if there is no number.
        size: Option<u64>,
    },
}

impl Node {
    /// What `name` means.
    pub(super) fn parse(name: &str, wanted: &Wanted) -> Result<Self, Failure> {
        wanted.check()?;
        let failed = |fault: Failure| fault.context(&format!("Could not open '{name}'"));
        let described = match (wanted.image_opts, name.strip_prefix("json:")) {
            (true, _) => Some(Description::from_options(name)),
            (false, Some(text)) => Some(Description::from_json(text).map_err(failed)?),
            (false, None) => None,
        };
        if let Some(mut described) = described {
            if let Some(format) = &wanted.format {
                described.set_driver(format);
            }
            let node = described.node(name).map_err(failed)?;
            let share = if wanted.force_share { Share::Writers } else { node.share };
            return Ok(Self { share, ..node });
        }
        let layer = match &wanted.format {
            None => Layer::Probed,
            Some(driver) => layer_of(driver).map_err(failed)?,
        };
        let null = match wanted.format.as_deref() {
            Some("file" | "host_device" | "nbd") => None,
            Some(driver) if let Some(driver) = Null::driver(driver) => Some(Null::named(driver, name)),
            _ => Null::parse(name),
        };
        if let Some(null) = null.transpose().map_err(failed)? {
            let node = Self::of_null(null, name.to_owned(), layer);
            return Ok(Self { name: Some(name.to_owned()), share: share_of(wanted), ..node });
        }
        let export = match wanted.format.as_deref() {
            Some("nbd") => Some(Remote::named(name)),
            Some("file" | "host_device") => None,
            _ => Remote::parse(name),
        };
        let export = export.transpose().map_err(failed)?;
        let path = match &export {
            Some(export) => export.shown(),
            // The driver for files takes every name as it is.
            None if wanted.format.is_some() && Address::is_meant_by(name) => name.to_owned(),
            None => match plain_path(name).map_err(failed)? {
                // What is left must not be read as a protocol once more.
                path if path.split('/').next().is_some_and(|first| first.contains(':')) => {
                    format!("./{path}")
                }
                path => path.to_owned(),
            },
        };
        let (name, shown) = (Some(name.to_owned()), path.clone());
        let is_device = wanted.format.as_deref() == Some("host_device");
        let late = (is_device && bytes::path(&path).is_file()).then(|| words::no_device(&path));
        Ok(Self { name, shown, path, export, null: None, layer, share: share_of(wanted), late })
    }

    /// A disk that is not there, whose file name this is.
    fn of_null(null: Null, shown: String, layer: Layer) -> Self {
        let (path, share) = (shown.clone(), Share::RawWriters);
        Self { name: None, shown, path, export: None, null: Some(null), layer, share, late: None }
    }

    /// What another image names as its backing file; failures do not begin with its name.
    pub(super) fn backing(path: &str, format: Option<&str>) -> Result<Self, Failure> {
        let wanted = Wanted { format: format.map(str::to_owned), ..Wanted::default() };
        if let Some(text) = path.strip_prefix(named::DESCRIPTION) {
            let mut described = Description::from_json(text)?;
            if let Some(format) = format {
                described.set_driver(format);
            }
            return Ok(Self { name: None, ..described.node(path)? });
        }
        let layer = format.map_or(Ok(Layer::Probed), layer_of)?;
        if let Some(null) = Null::parse(path).transpose()? {
            return Ok(Self::of_null(null, path.to_owned(), layer));
        }
        let export = Remote::parse(path).transpose()?;
        let path = match &export {
            Some(export) => export.shown(),
            None => plain_path(path)?.to_owned(),
        };
        let (shown, share) = (path.clone(), share_of(&wanted));
        Ok(Self { name: None, shown, path, export, null: None, layer, share, late: None })
    }

    /// The name as QEMU shows it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// What the file is taken for.
    pub(super) fn layer(&self) -> Layer {
        self.layer
    }

    /// The path of the file, as text.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of the file, to open it.
    pub(super) fn file_path(&self) -> PathBuf {
        bytes::path(&self.path)
    }

    /// Puts the name in front of what is wrong with it.
    pub(super) fn failed(&self, why: impl Into<String>) -> Failure {
        match &self.name {
            Some(name) => Failure::new(why).context(&format!("Could not open '{name}'")),
            None => Failure::new(why),
        }
    }

    /// The format to open the file as, where that is settled.
    pub(super) fn format(&self) -> Option<Format> {
        match self.layer {
            Layer::Probed => None,
            Layer::File | Layer::Part { .. } => Some(Format::Raw),
            Layer::Format(format) => Some(format),
        }
    }

    /// How to open it and what it names.
    pub(super) fn options(&self) -> OpenOptions {
        OpenOptions {
            format: self.format(),
            references: references(),
            share: self.share,
            parse_filename: Some(named::describe),
            size_from: None,
        }
    }

    /// How to open it for writing, and what it names.
    pub(super) fn write_options(&self) -> WriteOptions {
        let OpenOptions { format, references, share, parse_filename, .. } = self.options();
        WriteOptions { format, references, share, parse_filename }
    }

    /// Puts the name in front of what kept it from being opened.
    pub(super) fn failed_to_open(&self, error: &image_core::Error) -> Failure {
        let words = words::of_opening(error);
        match self.other_in_use(error) {
            Some(path) => self
                .failed(format!("Could not open backing file: {words}"))
                .hint(&words::hint_of(error, &path)),
            None => self.failed(words).hint(&words::hint_of(error, &self.path)),
        }
    }

    /// The same where each image of the chain is opened by itself.
    pub(super) fn failed_to_open_chain(&self, error: &image_core::Error) -> Failure {
        if let Some(ReferenceRule::Loop { path, .. }) = error.cause() {
            return Failure::new(words::of_loop(&self.as_named(path)));
        }
        if let Some(ReferenceRule::NotAPath { name, .. }) = error.cause()
            && let Some(Err(why)) = Null::parse(name)
        {
            return why.context(&format!("Could not open '{name}'"));
        }
        match self.other_in_use(error) {
            Some(path) => self.failed_beneath(error, &path).context(&format!("Could not open '{path}'")),
            None => self.failed_to_open(error),
        }
    }

    /// The same for who opened it before, and now what it names.
    pub(super) fn failed_beneath(&self, error: &image_core::Error, path: &str) -> Failure {
        Failure::new(words::of_opening(error)).hint(&words::hint_of(error, path))
    }

    /// Which file of its chain, other than its own, is in use, as who opens it calls that.
    pub(super) fn other_in_use(&self, error: &image_core::Error) -> Option<String> {
        let FileInUse { path, .. } = error.cause()?;
        (*path != self.file_path()).then(|| self.as_named(path))
    }

    /// The path of a file of its chain as who opens the image calls it.
    fn as_named(&self, path: &Path) -> String {
        let own = self.file_path();
        let folder = own.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize();
        let named = folder.ok().and_then(|folder| path.strip_prefix(folder).ok().map(Path::to_path_buf));
        match named.as_deref().and_then(Path::to_str) {
            Some(name) => backing_path(&self.path, name),
            None => path.display().to_string(),
        }
    }

    /// The same, to be read while nobody writes it, raw or not.
    pub(super) fn undisturbed(self) -> Self {
        let share = if self.share == Share::RawWriters { Share::Readers } else { self.share };
        Self { share, ..self }
    }

    /// Opens the file and reads its header; what it names is not opened.
    pub(super) fn member(&self) -> Result<FormatNode, Failure> {
        self.member_by(FormatNode::open_node, self.share)
    }

    /// The same, whoever writes it meanwhile: for what does not depend on it, or opens it anew.
    pub(super) fn glance(&self) -> Result<FormatNode, Failure> {
        self.member_by(FormatNode::open_node, Share::Writers)
    }

    /// The same for a check: its header may be without a refcount table.
    pub(super) fn member_to_check(&self) -> Result<FormatNode, Failure> {
        self.member_by(FormatNode::open_node_to_check, self.share)
    }

    fn member_by(
        &self,
        open: fn(ProtocolNode, Option<Format>, Share) -> image_core::Result<FormatNode>,
        share: Share,
    ) -> Result<FormatNode, Failure> {
        let member = open(self.medium()?, self.format(), share);
        let member = member.map_err(|error| self.failed_to_open(&error))?;
        if let Some(fault) = &self.late {
            return Err(self.failed(fault.clone()));
        }
        if let Layer::Part { offset, size } = self.layer {
            self.part(offset, size, member.file.size().next_multiple_of(SECTOR))?;
        }
        Ok(member)
    }

    /// The size of a part of a file of `file_size` bytes, which must be in it.
    pub(super) fn part(&self, offset: u64, size: Option<u64>, file_size: u64) -> Result<u64, Failure> {
        if offset > file_size {
            return Err(self.failed(format!(
                "Offset ({offset}) cannot be greater than size of the containing file ({file_size})"
            )));
        }
        let Some(size) = size else { return Ok(file_size - offset) };
        if file_size - offset < size {
            return Err(self.failed(format!(
                "The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the  actual size of the \
                 containing file ({file_size})"
            )));
        }
        if !size.is_multiple_of(SECTOR) {
            return Err(self.failed("Specified size is not multiple of 512"));
        }
        Ok(size)
    }

    /// Opens a part of a file for writing, if it is one.
    pub(super) fn part_to_write(&self) -> Result<Option<Window<ProtocolNode>>, Failure> {
        let Layer::Part { offset, size } = self.layer else { return Ok(None) };
        let file = self.file_to_write()?;
        let size = self.part(offset, size, file.size())?;
        let part = ByteRange::new(offset, size).and_then(|range| Window::new(file, range));
        part.map(Some).map_err(|error| self.failed_to_open(&error))
    }

    /// Opens it as a disk, with all that it names.
    pub(super) fn disk(&self) -> Result<Box<dyn BlockRead>, Failure> {
        // What a look at the file alone finds wrong is told first.
        let member = self.member()?;
        self.look_for_backing(&member)?;
        let image = Image::open_node(member.file, self.options());
        let image = image.map_err(|error| self.failed_to_open(&error))?;
        let Layer::Part { offset, size } = self.layer else { return Ok(Box::new(image)) };
        let len = size.unwrap_or_else(|| image.size().saturating_sub(offset));
        let part = ByteRange::new(offset, len).and_then(|range| Window::new(image, range));
        Ok(Box::new(part.map_err(|error| self.failed_to_open(&error))?))
    }

    /// Opens what a snapshot holds, whose header is `header`.
    pub(super) fn snapshot_disk(&self, header: &Header) -> Result<Box<dyn BlockRead>, Failure> {
        let failed = |error| self.failed_to_open(&error);
        let image = Image::open_node(self.medium()?, self.options()).map_err(failed)?;
        let Some(qcow2) = image.as_qcow2() else { return Ok(Box::new(image)) };
        let (file, backing) = (Arc::clone(qcow2.file()), qcow2.backing().cloned());
        Ok(Box::new(Qcow2::new(file, header.clone(), backing, None).map_err(failed)?))
    }

    /// Opens the image for writing, with what it names.
    pub(super) fn writer(&self) -> Result<ImageWriter, Failure> {
        self.check_writable()?;
        let member = self.glance()?;
        self.refuse_corrupt(&member)?;
        self.look_for_backing(&member)?;
        self.refuse_part()?;
        self.repair_unclosed(&member)?;
        drop(member);
        ImageWriter::open_node(self.medium_to_write()?, self.write_options())
            .map_err(|error| self.failed_to_open(&error))
    }

    /// Whether the backing file is there, in the words for that; all else is told by who opens it.
    fn look_for_backing(&self, member: &FormatNode) -> Result<(), Failure> {
        let Some(name) = member.header.as_ref().and_then(|header| header.backing_name.as_ref()) else {
            return Ok(());
        };
        if self.export.is_some() {
            return Ok(());
        }
        let name = bytes::to_text(name);
        if Address::is_meant_by(&name) {
            return Ok(());
        }
        let format = member.header.as_ref().and_then(Header::backing_format).map(bytes::to_text);
        let path = match Self::backing(&name, format.as_deref()) {
            Ok(described) if described.null.is_some() => return Ok(()),
            Ok(described) if name.starts_with(named::DESCRIPTION) => described.path,
            Err(why) if name.starts_with(named::DESCRIPTION) || Null::parse(&name).is_some() => {
                return Err(self.failed(format!("Could not open backing file: {}", why.message)));
            }
            _ => backing_path(&self.path, &name),
        };
        match std::fs::metadata(bytes::path(&path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let words = words::of_system(&error);
                Err(self.failed(format!("Could not open backing file: Could not open '{path}': {words}")))
            }
            _ => Ok(()),
        }
    }

    /// Opens what the image lies in.
    pub(super) fn medium(&self) -> Result<ProtocolNode, Failure> {
        if let Some(null) = &self.null {
            return Ok(null.medium(&self.path));
        }
        match &self.export {
            Some(export) => export.medium().map_err(|error| self.failed_to_open(&error)),
            None => self.file().map(ProtocolNode::from),
        }
        .map(as_qemu)
    }

    /// The same, for writing too.
    pub(super) fn medium_to_write(&self) -> Result<ProtocolNode, Failure> {
        if let Some(null) = &self.null {
            return Ok(null.medium(&self.path));
        }
        if let Some(export) = &self.export {
            return export.medium_to_write().map(as_qemu).map_err(|error| self.failed_to_open(&error));
        }
        let file = FileDisk::open_writable(self.file_path()).map(|file| as_qemu(file.into()));
        file.map_err(|error| {
            self.failed(format!("Could not open '{}': {}", self.path, words::of_chain(&error)))
        })
    }

    /// Opens the file.
    fn file(&self) -> Result<FileDisk, Failure> {
        let path = &self.path;
        if std::fs::metadata(self.file_path()).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(self.failed(format!("'file' driver requires '{path}' to be a regular file")));
        }
        FileDisk::open(self.file_path()).map_err(|error| {
            let why = words::of_chain(&error);
            self.failed(format!("Could not open '{path}': {why}"))
        })
    }

    /// What is written is shared with no other writer, and is no folder.
    pub(super) fn check_writable(&self) -> Result<(), Failure> {
        if self.share == Share::Writers {
            return Err(self.failed("force-share=on can only be used with read-only images"));
        }
        match self.export.is_none() && self.null.is_none() && self.file_path().is_dir() {
            true => Err(self.failed(format!("Could not open '{}': Is a directory", self.path))),
            false => Ok(()),
        }
    }

    /// An image that is marked corrupt is not written.
    pub(super) fn refuse_corrupt(&self, member: &FormatNode) -> Result<(), Failure> {
        match member.header.as_ref().is_some_and(Header::is_corrupt) {
            true => Err(self.failed("qcow2: Image is corrupt; cannot be opened read/write")),
            false => Ok(()),
        }
    }

    /// What writes whole images does not write a part of a file.
    pub(super) fn refuse_part(&self) -> Result<(), Failure> {
        match self.layer {
            Layer::Part { offset: 0, size: None } => Ok(()),
            Layer::Part { .. } => {
                Err(self.failed("a part of a file is written by goldimg as the target of 'convert -n' alone"))
            }
            _ => Ok(()),
        }
    }

    /// What is said of a raw image that is written though nobody called it raw.
    pub(super) fn warning_of_probing(&self) -> String {
        if self.layer != Layer::Probed {
            return String::new();
        }
        format!(
            "WARNING: Image format was not specified for '{}' and probing guessed raw.\n         \
             Automatically detecting the format is dangerous for raw images, write operations on block 0 will be \
             restricted.\n         Specify the 'raw' format explicitly to remove the restrictions.\n",
            self.path
        )
    }

    /// Opens it for changing what it says of itself, alone; what it names is not opened.
    pub(super) fn member_to_write(&self, call: &Call) -> Result<FormatNode, Failure> {
        self.check_writable()?;
        self.repair_unclosed(&self.glance()?)?;
        let member = FormatNode::open_node_to_write(self.medium_to_write()?, self.format());
        let member = member.map_err(|error| self.failed_to_open(&error))?;
        self.refuse_corrupt(&member)?;
        if member.header.is_none() {
            call.talk.say(&self.warning_of_probing());
        }
        Ok(member)
    }

    /// Opens it for a repair, alone: its header may be without a refcount table.
    pub(super) fn member_to_repair(&self) -> Result<FormatNode, Failure> {
        self.check_writable()?;
        drop(self.medium()?);
        let member = FormatNode::open_node_to_repair(self.medium_to_write()?, self.format());
        member.map_err(|error| self.failed_to_open(&error))
    }

    /// Opens the file for writing, alone.
    pub(super) fn file_to_write(&self) -> Result<ProtocolNode, Failure> {
        self.check_writable()?;
        drop(self.medium()?);
        let medium = self.medium_to_write()?;
        let locked = medium.as_file().map_or(Ok(()), |file| file.lock(Access::WRITE));
        locked.map(|()| medium).map_err(|error| self.failed_to_open(&error))
    }
}

/// What it is, where nobody says so, is what QEMU takes it for.
fn as_qemu(medium: ProtocolNode) -> ProtocolNode {
    medium.with_probing(Probing::AsQemu)
}

fn share_of(wanted: &Wanted) -> Share {
    match wanted.force_share {
        true => Share::Writers,
        // What is raw cannot be torn: QEMU refuses it to conversions alone.
        false => Share::RawWriters,
    }
}

/// What a driver's name means.
fn layer_of(driver: &str) -> Result<Layer, Failure> {
    match driver {
        "raw" => Ok(Layer::Format(Format::Raw)),
        "qcow2" => Ok(Layer::Format(Format::Qcow2)),
        "file" | "host_device" | "nbd" | "null-co" | "null-aio" => Ok(Layer::File),
        _ => Err(drivers::not_opened(driver)),
    }
}
