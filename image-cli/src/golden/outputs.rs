//! The outputs: images, their checksums and the manifest, all or none.
//!
//! ```text
//! disk.raw ─ convert ─► .goldimg-… ─ verified ─► NAME-VERSION.qcow2, .raw    checksums of the files as they are
//!                                                NAME-VERSION.json           the manifest
//!                                                SHA256SUMS                  for `sha256sum -c`
//! ```
//!
//! Nothing has its name before everything is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::block::{BlockRead, BlockWrite};
use image_core::convert::{DiskSink, Options, Zeroes, convert};
use image_core::digest::{Algorithm, digests_of};
use image_core::free_space::{WithoutFreeSpace, find_free_space};
use image_core::new_file::{Existing, NewFile};
use image_core::qcow2::{self, Codec, Geometry, NewImage, Qcow2Sink};

use super::manifest::Origin;
use super::recipe::{Compression, Output, OutputFormat};
use super::request::{stem, version};
use crate::error::{Advise, Context};
use crate::manifest::ImageFile;
use crate::monitor::Monitor;
use crate::target_name::placed;

/// The file of checksums that `sha256sum -c` reads.
const SUMS: &str = "SHA256SUMS";
/// Width of refcounts in a qcow2, as a power of two of bits.
const REFCOUNT_ORDER: u32 = 4;

/// What was written, under names that do not count yet.
#[derive(Debug)]
pub(crate) struct Outputs {
    folder: PathBuf,
    images: Vec<(ImageFile, NewFile)>,
    manifest: (String, String),
}

/// Writes the images that the recipe asks for, from `disk`, into `folder`, which must exist.
/// With `force`, files of the same names are replaced in the end.
///
/// # Errors
/// If there is such a file already, or something cannot be written.
pub(crate) fn make(
    origin: Origin<'_>,
    disk: &Arc<dyn BlockRead>,
    folder: &Path,
    force: bool,
    monitor: Monitor<'_>,
) -> crate::Result<Outputs> {
    let recipe = origin.recipe;
    let (version, stem) = (version(recipe, origin.epoch), stem(recipe, origin.epoch));
    let mut images = Vec::new();
    // What was written while the filesystem was made, and is free in the end, is not for shipping.
    let source =
        WithoutFreeSpace::new(Arc::clone(disk), find_free_space(disk).context("looking for free blocks")?);
    for format in &recipe.output.formats {
        let name = match format {
            OutputFormat::Qcow2 => format!("{stem}.qcow2"),
            OutputFormat::Raw => format!("{stem}.raw"),
        };
        let new = begin(&folder.join(&name), force)?;
        images.push((image(*format, name, &recipe.output, &source, &new, monitor)?, new));
    }
    let files = images.iter().map(|(file, _)| file.clone()).collect();
    let manifest = origin.manifest(&version, disk.size(), files).to_json()?;
    Ok(Outputs { folder: folder.to_owned(), images, manifest: (format!("{stem}.json"), manifest) })
}

/// Begins an image. What is there stays without `force`, and with it where a program uses it.
fn begin(path: &Path, force: bool) -> crate::Result<NewFile> {
    let existing = if force { Existing::Replace } else { Existing::Refuse };
    match placed(NewFile::at(path, existing)) {
        Err(error) if !force && path.exists() => {
            Err(error).hint(|| "--force replaces it; another version is made with `version` in the recipe")
        }
        begun => begun,
    }
}

/// Writes one image beside its name.
fn image(
    format: OutputFormat,
    name: String,
    output: &Output,
    disk: &dyn BlockRead,
    new: &NewFile,
    monitor: Monitor<'_>,
) -> crate::Result<ImageFile> {
    let doing = || format!("writing {}", new.place().display());
    let target = new.disk();
    let watch = monitor.bytes(&name, disk.size());
    let mut digests = Vec::new();
    match format {
        OutputFormat::Raw => {
            target.resize(disk.size()).with_context(doing)?;
            let options = Options { digests: &Algorithm::ALL, progress: &watch, ..Options::default() };
            let mut sink = DiskSink::new(target, Zeroes::AlreadyThere);
            digests.extend(convert(disk, &mut sink, &options).with_context(doing)?.digests);
        }
        OutputFormat::Qcow2 => {
            let options = Options { progress: &watch, ..Options::default() };
            let mut sink = Qcow2Sink::new(target, new_image(output, disk.size())?)?;
            convert(disk, &mut sink, &options).with_context(doing)?;
        }
    }
    drop(watch);
    target.flush().with_context(doing)?;
    if digests.is_empty() {
        digests = digests_of(target, &Algorithm::ALL, &()).with_context(doing)?;
    }
    let format = match format {
        OutputFormat::Qcow2 => "qcow2",
        OutputFormat::Raw => "raw",
    };
    Ok(ImageFile::new(name, format, target.size(), &digests))
}

fn new_image(output: &Output, size: u64) -> crate::Result<NewImage> {
    let bits = output.cluster_size.0.checked_ilog2().context("a cluster size of zero")?;
    let image = NewImage::in_clusters(size, Geometry::new(bits, REFCOUNT_ORDER, false)?)?;
    let compression = match output.compression {
        Compression::None => return Ok(image),
        Compression::Deflate => qcow2::Compression::Deflate,
        Compression::Zstd => qcow2::Compression::Zstd,
    };
    Ok(image.with_codec(Codec::new(compression, output.level)?, true)?)
}

/// A text in place of the one that is there. No two builds wait for each other's.
fn text(path: &Path, text: &str) -> crate::Result<NewFile> {
    let new = placed(NewFile::at(path, Existing::ReplaceOwn))?;
    new.disk().resize(text.len() as u64)?;
    new.disk().write_at(text.as_bytes(), 0)?;
    Ok(new)
}

impl Outputs {
    /// The first image, where it is now, and its format: the one to verify.
    pub(crate) fn first_image(&self) -> Option<&Path> {
        self.images.first().map(|(_, new)| new.path())
    }

    /// Gives everything its name. Answers with the files, images first.
    ///
    /// # Errors
    /// If something else came to be where one goes, or a file cannot be written or renamed; those that were renamed before are complete.
    pub(crate) fn keep(self) -> crate::Result<Vec<PathBuf>> {
        let Self { folder, images, manifest: (manifest_name, manifest) } = self;
        let sums = self::sums(&fs::read_to_string(folder.join(SUMS)).unwrap_or_default(), &images);
        let texts = [(manifest_name, manifest), (SUMS.to_owned(), sums)];
        let texts = texts.map(|(name, content)| text(&folder.join(&name), &content).map(|new| (name, new)));
        let mut kept = Vec::new();
        let images = images.into_iter().map(|(image, new)| Ok((image.name, new)));
        for named in images.chain(texts) {
            let (name, new) = named?;
            new.keep_synced()?;
            kept.push(folder.join(name));
        }
        Ok(kept)
    }
}

/// The checksums in `old`, with those of `images` in place of what it says of files of these names.
fn sums(old: &str, images: &[(ImageFile, NewFile)]) -> String {
    let is_ours = |line: &&str| images.iter().any(|(image, _)| line.get(66..) == Some(&image.name));
    let mut lines: Vec<String> = old.lines().filter(|line| !is_ours(line)).map(String::from).collect();
    let own =
        images.iter().filter_map(|(image, _)| Some(format!("{}  {}", image.digest("sha256")?, image.name)));
    lines.extend(own);
    lines.sort_by(|one, other| one.get(66..).cmp(&other.get(66..)));
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use image_core::block::{Access, FileDisk};

    use super::*;
    use crate::golden::manifest::tests::with_origin;
    use crate::golden::recipe::example;

    const TEXT: &[u8] = b"a disk";

    /// Makes the outputs of a small disk with [`TEXT`] in it, and what was there before.
    fn build(folder: &Path, force: bool) -> crate::Result<Outputs> {
        let mut recipe = example();
        recipe.output.formats = vec![OutputFormat::Qcow2, OutputFormat::Raw];
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("disk.raw");
        let disk = FileDisk::create_new(&path, 3 << 20).unwrap();
        disk.write_at(TEXT, 1 << 20).unwrap();
        let disk: Arc<dyn BlockRead> = Arc::new(disk);
        with_origin(&recipe, 1 << 20, |origin| make(origin, &disk, folder, force, crate::monitor::silent()))
    }

    #[test]
    fn an_image_in_use_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("example-1.qcow2");
        let image = FileDisk::create_new(&path, 1 << 20).unwrap();
        let earlier = build(folder.path(), true).unwrap();
        // A virtual machine that is started before the outputs are complete: it would lose what it writes.
        assert_eq!(image.lock(Access::WRITE).unwrap_err().kind(), image_core::ErrorKind::InUse);
        drop(earlier);
        image.lock(Access::WRITE).unwrap();
        let in_use = |result: crate::Result<()>| format!("{:#}", result.unwrap_err()).contains("in use");
        assert!(in_use(build(folder.path(), true).map(drop)));
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        drop(image);
        build(folder.path(), true).unwrap().keep().unwrap();
        assert_ne!(fs::metadata(&path).unwrap().len(), 1 << 20);
    }

    #[test]
    fn everything_appears_at_once_and_the_checksums_are_those_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let other = format!("{}  other.qcow2\n", "0".repeat(64));
        fs::write(folder.path().join(SUMS), format!("{other}{}  example-1.raw\n", "1".repeat(64))).unwrap();
        let outputs = build(folder.path(), false).unwrap();
        assert!(outputs.first_image().unwrap().exists());
        assert!(!folder.path().join("example-1.qcow2").exists());
        let kept = outputs.keep().unwrap();
        let names: Vec<_> = kept.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["example-1.qcow2", "example-1.raw", "example-1.json", "SHA256SUMS"]);

        let raw = fs::read(folder.path().join("example-1.raw")).unwrap();
        assert_eq!((raw.len(), &raw[1 << 20..][..TEXT.len()]), (3 << 20, TEXT));
        let sums = fs::read_to_string(folder.path().join(SUMS)).unwrap();
        let lines: Vec<&str> = sums.lines().collect();
        assert_eq!(lines.len(), 3, "{sums}");
        assert_eq!(format!("{}\n", lines[2]), other);
        for line in &lines[..2] {
            let (sum, name) = line.split_once("  ").unwrap();
            let file = FileDisk::open(folder.path().join(name)).unwrap();
            assert_eq!(digests_of(&file, &[Algorithm::Sha256], &()).unwrap()[0].hex, sum);
        }
        let manifest = fs::read_to_string(folder.path().join("example-1.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["virtual_size"], 3 << 20);
        assert_eq!(manifest["files"][1]["sha256"], lines[1][..64]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn nothing_is_left_of_outputs_that_are_not_kept_and_nothing_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        drop(build(folder.path(), false).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("example-1.raw"), "old").unwrap();
        let error = build(folder.path(), false).unwrap_err().to_string();
        assert!(error.ends_with("example-1.raw exists"), "{error}");
        build(folder.path(), true).unwrap().keep().unwrap();
        assert_eq!(fs::metadata(folder.path().join("example-1.raw")).unwrap().len(), 3 << 20);
    }
}
