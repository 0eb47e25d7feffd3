//! Format nodes: the images of a chain, as they are, and what is named by what, without opening any of them as a disk.

use std::path::{Path, PathBuf};

use super::ambiguity::refuse_ambiguous;
use super::reference::ChainOpener;
use super::{Format, OpenOptions, ProtocolNode, Reference, Share, probe};
use crate::block::{Access, BlockRead};
use crate::error::{Doing, Result};
use crate::foreign;
use crate::qcow2::Header;

/// An image, alone or in a chain, with its header: QEMU's format node.
#[derive(Debug)]
pub struct FormatNode {
    /// What it lies in: its file.
    pub file: ProtocolNode,
    /// Its format.
    pub format: Format,
    /// Whether the format was probed, not chosen by the caller or recorded by the image before.
    pub probed: bool,
    /// The header of a qcow2 image.
    pub header: Option<Header>,
    /// What an image of another program says of itself.
    pub foreign: Option<foreign::Header>,
}

impl FormatNode {
    /// Opens the image at `path` (or the address of an export: [`ProtocolNode::open`]) and reads its header; what it names is not opened, whatever `options` allow.
    ///
    /// # Errors
    /// As [`Image::open`](super::Image::open), but never [`Refused`](crate::ErrorKind::Refused).
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self> {
        let mut node = Self::open_node(ProtocolNode::open(path.as_ref())?, options.format, options.share)?;
        if let (Some(header), Some(_)) = (&node.foreign, options.size_from) {
            node.foreign = Some(foreign::Header::read(&node.file, header.kind(), options.size_from)?);
        }
        Ok(node)
    }

    /// Opens the file at `path` for changing what it says of itself: its snapshots, its bitmaps, its refcounts. What it
    /// names is not opened, and nobody else may write it meanwhile.
    ///
    /// # Errors
    /// As [`ImageWriter::open`](super::ImageWriter::open), but names of other files are no reason to refuse it.
    pub fn open_writable(path: impl AsRef<Path>, format: Option<Format>) -> Result<Self> {
        Self::open_node_to_write(ProtocolNode::open_writable(path.as_ref())?, format)
    }

    /// As [`open`](Self::open), for a check: the header may lack a refcount table, and its L1 table may lie past the end
    /// of the file ([`Header::read_to_check`]).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_check(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self> {
        Self::open_node_to_check(ProtocolNode::open(path.as_ref())?, options.format, options.share)
    }

    /// As [`open_to_check`](Self::open_to_check), in a node that is open already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_node_to_check(node: ProtocolNode, format: Option<Format>, share: Share) -> Result<Self> {
        Self::open_shared(node, format, share, |file| Ok(Header::read_to_check(file)?.0))
    }

    /// As [`open_writable`](Self::open_writable), in a node that is open for writing.
    ///
    /// # Errors
    /// As [`open_writable`](Self::open_writable).
    pub fn open_node_to_write(node: ProtocolNode, format: Option<Format>) -> Result<Self> {
        Self::open_alone(node, format, Header::read)
    }

    /// As [`open_node_to_write`](Self::open_node_to_write), for a repair: the header may lack a refcount table
    /// ([`Header::read_to_repair`]).
    ///
    /// # Errors
    /// As [`open_writable`](Self::open_writable).
    pub fn open_node_to_repair(node: ProtocolNode, format: Option<Format>) -> Result<Self> {
        Self::open_alone(node, format, |file| Ok(Header::read_to_repair(file)?.0))
    }

    fn open_alone(
        node: ProtocolNode,
        format: Option<Format>,
        read: impl FnOnce(&dyn BlockRead) -> Result<Header>,
    ) -> Result<Self> {
        node.lock(Access::WRITE)?;
        let node = Self::parse(node, format, read)?;
        if node.probed && node.format != Format::Raw {
            let doing = || format!("opening {}", node.file.path().display());
            refuse_ambiguous(&node.file, node.format).doing(doing)?;
        }
        Ok(node)
    }

    /// The image at `path` and the backing files below it, which must be beneath its folder unless `options` allow all.
    ///
    /// # Errors
    /// As [`Image::open`](super::Image::open).
    pub fn backing_chain(path: impl AsRef<Path>, options: OpenOptions) -> Result<Vec<Self>> {
        Self::open(path, options)?.with_backing_chain(options)
    }

    /// This image, as [`backing_chain`](Self::backing_chain).
    ///
    /// # Errors
    /// As [`Image::open`](super::Image::open).
    pub fn with_backing_chain(self, options: OpenOptions) -> Result<Vec<Self>> {
        let first = self;
        let chain = ChainOpener::starting_with(&first.file, options.references.at_least_beneath())?;
        let mut chain = chain.parsing_filenames(options.parse_filename);
        let mut nodes = vec![first];
        while let Some(reference) = nodes.last().map(Self::reference).transpose()?.flatten() {
            let reference = chain.parsed(reference);
            let image = nodes.last().map(|node| node.file.path().to_owned()).unwrap_or_default();
            let file = chain
                .open(&reference, &image, Access::READ_SHARED)
                .doing(|| format!("opening {}", image.display()))?;
            nodes.push(Self::open_node(file, reference.format(), options.share)?);
        }
        Ok(nodes)
    }

    /// As [`open`](Self::open), in a node that is open already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_node(node: ProtocolNode, format: Option<Format>, share: Share) -> Result<Self> {
        Self::open_shared(node, format, share, Header::read)
    }

    fn open_shared(
        file: ProtocolNode,
        format: Option<Format>,
        share: Share,
        read: impl FnOnce(&dyn BlockRead) -> Result<Header>,
    ) -> Result<Self> {
        let doing = || format!("opening {}", file.path().display());
        let found = match format {
            Some(format) => format,
            None => probe(&file, file.probing()).doing(doing)?,
        };
        file.lock(share.access(found))?;
        let mut node = Self::parse(file, Some(found), read)?;
        node.probed = format.is_none();
        Ok(node)
    }

    /// Reads the header of a file that is locked.
    fn parse(
        file: ProtocolNode,
        format: Option<Format>,
        read: impl FnOnce(&dyn BlockRead) -> Result<Header>,
    ) -> Result<Self> {
        let doing = || format!("opening {}", file.path().display());
        let found = match format {
            Some(format) => format,
            None => probe(&file, file.probing()).doing(doing)?,
        };
        let (header, foreign) = match found {
            Format::Raw => (None, None),
            Format::Qcow2 => (Some(read(&file).doing(doing)?), None),
            Format::Foreign(kind) => (None, Some(foreign::Header::read(&file, kind, None).doing(doing)?)),
        };
        Ok(Self { format: found, probed: format.is_none(), header, foreign, file })
    }

    /// What it was made over.
    fn reference(&self) -> Result<Option<Reference>> {
        match (&self.header, &self.foreign) {
            (Some(header), _) => Reference::to_backing_file(header),
            (None, Some(header)) => Ok(Reference::to_parent(header)),
            (None, None) => Ok(None),
        }
    }

    /// The virtual size in bytes.
    pub fn virtual_size(&self) -> u64 {
        let own = self.header.as_ref().map(|header| header.size);
        let foreign = || self.foreign.as_ref().map(foreign::Header::size);
        own.or_else(foreign).unwrap_or_else(|| self.file.size())
    }

    /// Where the name of its backing file leads, read as a path; it may not exist, and is not opened.
    pub fn backing_path(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let own = self.header.as_ref().and_then(|header| header.backing_name.clone());
        let foreign = || self.foreign.as_ref().and_then(foreign::Header::parent).map(|parent| parent.name);
        let name = own.or_else(foreign)?;
        let folder = self.file.path().parent().unwrap_or(Path::new(""));
        Some(folder.join(std::ffi::OsStr::from_bytes(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::qcow2::{Compression, Features, Geometry, HostOffset, TablePlace, Version};

    fn image(path: &Path, backing: Option<&str>) {
        let header = Header {
            version: Version::V3,
            geometry: Geometry::new(9, 4, false).unwrap(),
            size: 4096,
            l1: TablePlace { offset: HostOffset(1024), count: 1 },
            refcount_table: TablePlace { offset: HostOffset(512), count: 1 },
            snapshots: TablePlace::default(),
            features: Features::default(),
            compression: Compression::Deflate,
            unknown_fields: Vec::new(),
            extensions: Vec::new(),
            backing_name: backing.map(|name| name.as_bytes().to_vec()),
        };
        let mut bytes = header.to_bytes().unwrap();
        bytes.resize(1536, 0);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_chain_is_followed_and_its_loops_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        image(&path("top"), Some("middle"));
        image(&path("middle"), Some("bottom"));
        std::fs::write(path("bottom"), [0; 100]).unwrap();
        let chain = FormatNode::backing_chain(path("top"), OpenOptions::default()).unwrap();
        let formats: Vec<_> = chain.iter().map(|node| (node.format, node.virtual_size())).collect();
        assert_eq!(formats, [(Format::Qcow2, 4096), (Format::Qcow2, 4096), (Format::Raw, 100)]);
        assert_eq!(chain[0].backing_path(), Some(path("middle")));
        image(&path("bottom"), Some("top"));
        assert_eq!(
            FormatNode::backing_chain(path("top"), OpenOptions::default()).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let raw = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
        assert!(FormatNode::open(path("top"), OpenOptions::default()).unwrap().header.is_some());
        assert!(FormatNode::open(path("top"), raw).unwrap().header.is_none());
    }
}
