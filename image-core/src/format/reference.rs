//! The gate: which of the files that an image names are opened.
//!
//! ```text
//! name in the image ─► (parsed)    ─► plain path? ─► beneath the folder? ─► new? ─► shallow? ─► regular file? ─► open
//!                      no "nbd:…",     resolved by the        not in   at most     no device,
//!                      no "json:…"     kernel, one step       the chain   64       no pipe
//! ```
//!
//! The folder is that of the image which the caller named, for the whole chain; a name is relative to the folder of the
//! image that has it, and may be absolute if it lies beneath. The kernel resolves it (`openat2(2)` with
//! `RESOLVE_BENEATH`), so that no symbolic link and no race leads out.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Format, NullDriver, Probing, ProtocolNode, References, Share};
use crate::block::{Access, BlockRead, FileDisk, NullDisk};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::foreign;
use crate::nbd::{Address, Export, ExportOptions};
use crate::qcow2::{Corrupt, Header};

/// How many images may stand one behind the other.
pub const MAX_CHAIN_DEPTH: usize = 64;

/// How many files one disk may be divided into.
pub const MAX_EXTENT_FILES: usize = 4096;

/// Why a file that an image names is not opened. Names are quoted and escaped: they are not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is; the fields are those of the message")]
pub enum ReferenceRule {
    #[error("it names the {what} {name:?}, and files named by an image are not opened unless allowed")]
    NotAllowed { what: &'static str, name: String },
    #[error("it names the {what} {name:?}, which is no plain path")]
    NotAPath { what: &'static str, name: String },
    #[error("it names the {what} {name:?}, which is not beneath the folder {folder:?}")]
    NotBeneath { what: &'static str, name: String, folder: PathBuf },
    #[error("it names the {what} {name:?}, an export of a server, and those are not opened unless allowed")]
    Export { what: &'static str, name: String },
    #[error("it names the {what} {name:?}, and lies in an export, which has no folder")]
    NoFolder { what: &'static str, name: String },
    #[error("it names the {what} {name:?}, which is not a regular file")]
    NotAFile { what: &'static str, name: String },
    #[error("it names the {what} {name:?}, which is already part of the chain")]
    Loop { what: &'static str, name: String, path: PathBuf },
    #[error("the chain of backing files is longer than {MAX_CHAIN_DEPTH}")]
    TooDeep,
    #[error("its disk is divided into more than {MAX_EXTENT_FILES} files")]
    TooManyExtents,
}

impl From<ReferenceRule> for Error {
    fn from(rule: ReferenceRule) -> Self {
        let kind = match rule {
            ReferenceRule::Loop { .. } | ReferenceRule::TooDeep | ReferenceRule::TooManyExtents => {
                ErrorKind::Corrupt
            }
            _ => ErrorKind::Refused,
        };
        Self::new(kind, rule)
    }
}

/// What a name means that is no path, if it means anything: the gate is the same for what it leads to.
pub type ParseFilename = fn(&[u8]) -> Option<ParsedFilename>;

/// What such a name means.
#[derive(Debug, Clone)]
pub enum ParsedFilename {
    /// A file.
    File {
        /// Its path, absolute.
        path: PathBuf,
        /// Its format, if that is said and the image records none.
        format: Option<Format>,
    },
    /// Nothing that has to be opened.
    Null(ProtocolNode),
}

/// A file that an image names.
#[derive(Debug, Clone)]
pub struct Reference {
    what: &'static str,
    name: Vec<u8>,
    format: Option<Format>,
    /// What the name means, where it is no path.
    parsed: Option<ParsedFilename>,
}

impl Reference {
    /// The backing file that a header names.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if its recorded format is not read here.
    pub fn to_backing_file(header: &Header) -> Result<Option<Self>> {
        let Some(name) = header.backing_name.clone() else { return Ok(None) };
        let format = match header.backing_format() {
            // QEMU's drivers for what an image may lie in: nothing but its bytes.
            Some(b"file" | b"host_device" | b"host_cdrom") => Some(Format::Raw),
            Some(b"null-co" | b"null-aio") if null_named(&name).is_some() || name.starts_with(b"json:") => {
                Some(Format::Raw)
            }
            Some(b"nbd") if std::str::from_utf8(&name).is_ok_and(Address::is_meant_by) => Some(Format::Raw),
            Some(format) => {
                Some(String::from_utf8_lossy(format).parse().doing(|| "reading the backing file's format")?)
            }
            None => None,
        };
        Ok(Some(Self { what: "backing file", name, format, parsed: None }))
    }

    /// The data file that a header names.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if it needs one and names none.
    pub fn to_data_file(header: &Header) -> Result<Option<Self>> {
        if !header.has_data_file() {
            return Ok(None);
        }
        let name = header.data_file_name().ok_or(Corrupt::NoDataFileName)?.to_vec();
        Ok(Some(Self { what: "data file", name, format: Some(Format::Raw), parsed: None }))
    }

    /// The file that an image of another program was made over.
    pub(super) fn to_parent(header: &foreign::Header) -> Option<Self> {
        let parent = header.parent()?;
        let format = match header.kind() {
            _ if parent.is_raw => Some(Format::Raw),
            kind @ foreign::Kind::Vmdk => Some(Format::Foreign(kind)),
            _ => None,
        };
        Some(Self { what: "parent", name: parent.name, format, parsed: None })
    }

    /// A file that holds a part of an image's disk.
    pub(super) fn to_extent(name: &[u8]) -> Self {
        Self { what: "extent", name: name.to_vec(), format: Some(Format::Raw), parsed: None }
    }

    /// The name, as it stands in the image.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its recorded format, if there is one.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    fn display_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// The address of an export that it is, if it is one.
    fn address(&self) -> Result<Option<Address>> {
        match std::str::from_utf8(&self.name).ok().filter(|text| Address::is_meant_by(text)) {
            Some(text) => Ok(Some(text.parse()?)),
            None => Ok(None),
        }
    }

    /// The name as a path; QEMU takes whatever has a colon before the first slash for a protocol.
    fn path(&self) -> Result<&Path, ReferenceRule> {
        if let Some(ParsedFilename::File { path, .. }) = &self.parsed {
            return Ok(path);
        }
        let before_slash = self.name.split(|&byte| byte == b'/').next().unwrap_or_default();
        let not_a_path = before_slash.contains(&b':') || self.name.contains(&0) || self.name.is_empty();
        if not_a_path {
            return Err(ReferenceRule::NotAPath { what: self.what, name: self.display_name() });
        }
        Ok(Path::new(OsStr::from_bytes(&self.name)))
    }
}

/// The driver of a disk that is not there, if a name means one.
fn null_named(name: &[u8]) -> Option<NullDriver> {
    [NullDriver::Co, NullDriver::Aio].into_iter().find(|driver| name == driver.file_name().as_bytes())
}

/// The images opened so far, each named by the one before.
#[derive(Debug)]
pub(super) struct ChainOpener {
    references: References,
    /// The folder of the first image, without symbolic links.
    folder: PathBuf,
    /// The names of the images so far that lie in exports.
    exports: Vec<PathBuf>,
    /// Device and inode of each.
    opened: Vec<(u64, u64)>,
    /// How many files hold parts of their disks.
    extents: usize,
    share: Share,
    parse_filename: Option<ParseFilename>,
    probing: Probing,
}

impl ChainOpener {
    /// A chain of one image.
    pub(super) fn starting_with(node: &ProtocolNode, references: References) -> Result<Self> {
        let probing = node.probing();
        let Some(file) = node.as_file() else {
            let (folder, exports) = (PathBuf::new(), vec![node.path().to_owned()]);
            return Ok(Self {
                references,
                folder,
                exports,
                opened: Vec::new(),
                extents: 0,
                share: Share::default(),
                parse_filename: None,
                probing,
            });
        };
        let folder = match references {
            References::Refuse | References::AllowAnywhere => PathBuf::new(),
            References::AllowBeneath => {
                let path = std::fs::canonicalize(file.path())
                    .doing(|| format!("looking for the folder of {}", file.path().display()))?;
                path.parent().unwrap_or(Path::new("/")).to_owned()
            }
        };
        let opened = vec![identity(file)?];
        Ok(Self {
            references,
            folder,
            exports: Vec::new(),
            opened,
            extents: 0,
            share: Share::default(),
            parse_filename: None,
            probing,
        })
    }

    /// With other programs that may do this with the images of the chain.
    pub(super) fn sharing(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// With a meaning for names that are no paths.
    pub(super) fn parsing_filenames(self, parse_filename: Option<ParseFilename>) -> Self {
        Self { parse_filename, ..self }
    }

    /// A backing file with what its name means: a description, or a disk that is not there.
    pub(super) fn parsed(&self, reference: Reference) -> Reference {
        let null = null_named(&reference.name).map(|driver| {
            ParsedFilename::Null(ProtocolNode::null(driver, NullDisk::default(), driver.file_name()))
        });
        let parsed =
            null.or_else(|| self.parse_filename.and_then(|parse_filename| parse_filename(&reference.name)));
        let format = reference.format.or(match &parsed {
            Some(ParsedFilename::File { format, .. }) => *format,
            _ => None,
        });
        Reference { parsed, format, ..reference }
    }

    /// What other programs may do with the images of the chain.
    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// Opens what the image at `image` names, if it may: for writing if `access` is that, else for reading. Another
    /// program that has it open may be in the way of `access`, unless all is shared.
    pub(super) fn open(
        &mut self,
        reference: &Reference,
        image: &Path,
        access: Access,
    ) -> Result<ProtocolNode> {
        let (what, name) = (reference.what, reference.display_name());
        if self.references == References::Refuse {
            return Err(ReferenceRule::NotAllowed { what, name }.into());
        }
        if self.opened.len().saturating_sub(self.extents).saturating_add(self.exports.len()) > MAX_CHAIN_DEPTH
        {
            return Err(ReferenceRule::TooDeep.into());
        }
        if let Some(ParsedFilename::Null(node)) = &reference.parsed {
            return Ok(node.clone());
        }
        if let Some(address) = reference.address()? {
            return self.open_export(reference, &address, access);
        }
        if self.has_no_folder(reference, image) {
            return Err(ReferenceRule::NoFolder { what, name }.into());
        }
        let (file, path) = match self.references {
            References::AllowAnywhere => open_anywhere(reference, image, access)?,
            _ => self.open_beneath(reference, image, access)?,
        };
        let metadata = file.metadata().doing(|| format!("looking at {name:?}"))?;
        if !metadata.is_file() {
            return Err(ReferenceRule::NotAFile { what, name }.into());
        }
        let disk = FileDisk::from_file(file, path)?;
        let identity = identity(&disk)?;
        if self.opened.contains(&identity) {
            return Err(ReferenceRule::Loop { what, name, path: disk.path().to_owned() }.into());
        }
        self.opened.push(identity);
        let access =
            if self.share == Share::Writers && access == Access::READ { Access::READ_SHARED } else { access };
        disk.lock(access)?;
        Ok(ProtocolNode::from(disk).with_probing(self.probing))
    }

    /// Opens a file that holds a part of the disk of the image at `image`.
    pub(super) fn open_extent(&mut self, name: &[u8], image: &Path) -> Result<ProtocolNode> {
        let extent = self.open(&Reference::to_extent(name), image, Access::READ)?;
        self.extents = self.extents.saturating_add(1);
        if self.extents > MAX_EXTENT_FILES { Err(ReferenceRule::TooManyExtents.into()) } else { Ok(extent) }
    }

    /// Opens an export: it is in no folder, and the host connects to whom an image says.
    fn open_export(
        &mut self,
        reference: &Reference,
        address: &Address,
        access: Access,
    ) -> Result<ProtocolNode> {
        let (what, name) = (reference.what, reference.display_name());
        if self.references != References::AllowAnywhere {
            return Err(ReferenceRule::Export { what, name }.into());
        }
        let shown = PathBuf::from(address.to_string());
        if self.exports.contains(&shown) {
            return Err(ReferenceRule::Loop { what, name, path: shown }.into());
        }
        let options = ExportOptions::default();
        let export = match access == Access::WRITE {
            true => Export::open_writable(address, &options)?,
            false => Export::open(address, &options)?,
        };
        self.exports.push(shown);
        Ok(ProtocolNode::from(Arc::new(export)).with_probing(self.probing))
    }

    /// Whether a name leads nowhere, since it starts at an export.
    fn has_no_folder(&self, reference: &Reference, image: &Path) -> bool {
        let absolute = reference.name.first() == Some(&b'/') || reference.parsed.is_some();
        match self.references {
            References::AllowAnywhere => !absolute && self.exports.iter().any(|export| export == image),
            References::Refuse | References::AllowBeneath => !self.exports.is_empty(),
        }
    }

    fn open_beneath(
        &self,
        reference: &Reference,
        image: &Path,
        access: Access,
    ) -> Result<(std::fs::File, PathBuf)> {
        let (what, name) = (reference.what, reference.display_name());
        let not_beneath =
            || ReferenceRule::NotBeneath { what, name: name.clone(), folder: self.folder.clone() };
        let doing = || format!("opening the {what} {name:?}");
        // Where a relative name starts: the folder of the image that has it, seen from the chain's folder.
        let image = std::fs::canonicalize(image).doing(doing)?;
        let start = image.parent().and_then(|folder| folder.strip_prefix(&self.folder).ok());
        let named = reference.path()?;
        let relative = match named.strip_prefix(&self.folder) {
            Ok(inner) => inner.to_owned(),
            Err(_) if named.is_absolute() => return Err(not_beneath().into()),
            Err(_) => start.ok_or_else(not_beneath)?.join(named),
        };
        let folder =
            rustix::fs::open(&self.folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .doing(doing)?;
        // A pipe opened so does not wait for its other end.
        let mode = if access == Access::WRITE { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened: OwnedFd = match rustix::fs::openat2(folder, &relative, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::XDEV) => return Err(not_beneath().into()),
            opened => opened.doing(doing)?,
        };
        Ok((opened.into(), self.folder.join(relative)))
    }
}

/// Opens a file wherever it is, for a caller who trusts whoever made the image.
fn open_anywhere(reference: &Reference, image: &Path, access: Access) -> Result<(std::fs::File, PathBuf)> {
    let path = image.parent().unwrap_or(Path::new("")).join(reference.path()?);
    let mode = if access == Access::WRITE { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(&path, flags, Mode::empty())
        .doing(|| format!("opening the {} {:?}", reference.what, reference.display_name()))?;
    Ok((opened.into(), path))
}

fn identity(file: &FileDisk) -> Result<(u64, u64)> {
    let metadata = file.file().metadata().doing(|| format!("looking at {}", file.path().display()))?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> Reference {
        Reference { what: "backing file", name: name.into(), format: None, parsed: None }
    }

    struct Folder {
        temporary: tempfile::TempDir,
    }

    impl Folder {
        /// `images/top`, `images/sub/base`, `images/out -> ../secret`, `images/in -> sub/base`, `secret`.
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let root = temporary.path();
            std::fs::create_dir_all(root.join("images/sub")).unwrap();
            for name in ["images/top", "images/sub/base", "secret"] {
                std::fs::write(root.join(name), name).unwrap();
            }
            std::os::unix::fs::symlink("../secret", root.join("images/out")).unwrap();
            std::os::unix::fs::symlink("sub/base", root.join("images/in")).unwrap();
            Self { temporary }
        }

        fn top(&self) -> PathBuf {
            self.temporary.path().join("images/top")
        }

        fn open(&self, name: &str) -> Result<ProtocolNode> {
            let top = ProtocolNode::open(&self.top()).unwrap();
            ChainOpener::starting_with(&top, References::AllowBeneath)?.open(
                &reference(name),
                &self.top(),
                Access::READ,
            )
        }

        fn rule(&self, name: &str) -> ReferenceRule {
            self.open(name).unwrap_err().cause::<ReferenceRule>().unwrap().clone()
        }
    }

    #[test]
    fn nothing_is_opened_unless_allowed() {
        let folder = Folder::new();
        let top = ProtocolNode::open(&folder.top()).unwrap();
        let mut chain = ChainOpener::starting_with(&top, References::Refuse).unwrap();
        let error = chain.open(&reference("sub/base"), &folder.top(), Access::READ).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(matches!(error.cause(), Some(ReferenceRule::NotAllowed { .. })));
    }

    #[test]
    fn names_beneath_the_folder_are_opened() {
        let folder = Folder::new();
        let absolute = std::fs::canonicalize(folder.temporary.path()).unwrap().join("images/sub/base");
        for name in ["sub/base", "./sub/../sub/base", "in", absolute.to_str().unwrap()] {
            assert!(folder.open(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let folder = Folder::new();
        let secret = folder.temporary.path().join("secret");
        for name in ["../secret", "out", "sub/../../secret", "/etc/hostname", secret.to_str().unwrap()] {
            assert!(matches!(folder.rule(name), ReferenceRule::NotBeneath { .. }), "{name}");
        }
        for name in ["nbd:localhost:10809", "nbd+unix:///x?socket=s"] {
            assert!(matches!(folder.rule(name), ReferenceRule::Export { .. }), "{name}");
        }
        for name in ["json:{}", "file:sub/base", "", "a\0b"] {
            assert!(matches!(folder.rule(name), ReferenceRule::NotAPath { .. }), "{name}");
        }
        assert!(matches!(folder.rule("sub"), ReferenceRule::NotAFile { .. }));
        assert!(matches!(folder.rule("top"), ReferenceRule::Loop { .. }));
    }

    #[test]
    fn a_caller_may_allow_every_folder_but_nothing_else_than_files() {
        let folder = Folder::new();
        let top = ProtocolNode::open(&folder.top()).unwrap();
        let mut chain = ChainOpener::starting_with(&top, References::AllowAnywhere).unwrap();
        let secret = chain.open(&reference("../secret"), &folder.top(), Access::READ).unwrap();
        assert_eq!(secret.size(), 6);
        let rule = |name: &str, chain: &mut ChainOpener| {
            let error = chain.open(&reference(name), &folder.top(), Access::READ).unwrap_err();
            error.cause::<ReferenceRule>().unwrap().clone()
        };
        assert!(matches!(rule("top", &mut chain), ReferenceRule::Loop { .. }));
        assert!(matches!(rule("sub", &mut chain), ReferenceRule::NotAFile { .. }));
        assert!(matches!(rule("ssh:localhost", &mut chain), ReferenceRule::NotAPath { .. }));
    }

    #[test]
    fn a_name_is_relative_to_the_image_that_has_it_but_the_folder_stays() {
        let folder = Folder::new();
        let top = ProtocolNode::open(&folder.top()).unwrap();
        let mut chain = ChainOpener::starting_with(&top, References::AllowBeneath).unwrap();
        let base = chain.open(&reference("sub/base"), &folder.top(), Access::READ).unwrap();
        std::fs::write(folder.temporary.path().join("images/other"), "x").unwrap();
        assert!(chain.open(&reference("../other"), base.path(), Access::READ).is_ok());
        let rule = chain.open(&reference("../../secret"), base.path(), Access::READ).unwrap_err();
        assert!(matches!(rule.cause(), Some(ReferenceRule::NotBeneath { .. })));
    }

    #[test]
    fn the_chain_has_an_end() {
        let folder = Folder::new();
        let top = ProtocolNode::open(&folder.top()).unwrap();
        let mut chain = ChainOpener::starting_with(&top, References::AllowBeneath).unwrap();
        for index in 0..MAX_CHAIN_DEPTH {
            let name = format!("base{index}");
            std::fs::write(folder.temporary.path().join("images").join(&name), "x").unwrap();
            chain.open(&reference(&name), &folder.top(), Access::READ).unwrap();
        }
        let error = chain.open(&reference("sub/base"), &folder.top(), Access::READ).unwrap_err();
        assert_eq!(error.cause(), Some(&ReferenceRule::TooDeep));
    }
}
