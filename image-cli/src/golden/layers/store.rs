//! Where layers are kept.
//!
//! ```text
//! CACHE/layers/1/  DIGEST.tar.zst   the archive        written beside, and renamed
//!                  DIGEST.json      its key, size, SHA-256: the last to come, its time is that of the last use
//!                  lock             shared by who reads or writes, held alone by who removes
//! ```
//!
//! A layer is believed when its bytes have the digest that its description says; else it is none.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::Key;
use crate::error::{Context, err};
use crate::golden::identity::hex;
use crate::size::Size;

/// Of this form; another has another folder.
const FOLDER: &str = "layers/1";
/// Together they take no more, in bytes, unless asked for.
const LIMIT: u64 = 10 << 30;
/// A description is no larger, in bytes.
const DESCRIPTION_MAX: u64 = 1 << 20;
/// Quick to pack, and to unpack.
const LEVEL: i32 = 1;
const BUFFER: usize = 1 << 20;

/// The layers that are kept in a cache.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Layer {
    /// The digest of all that it is made of, in hexadecimal digits.
    pub digest: String,
    /// The recipe that it was made for first.
    pub name: String,
    /// How many bytes it takes.
    pub size: u64,
    /// Of its file, in hexadecimal digits.
    pub sha256: String,
    #[serde(rename = "parts")]
    pub(crate) key: Key,
}

impl Layer {
    /// The first digits of its digest.
    pub fn short(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }
}

/// What there is for a key.
#[derive(Debug)]
pub(crate) enum Found {
    Layer(Layer),
    /// Not this one; but one that has the most in common with it.
    Nearest(Layer),
    Nothing,
}

impl Layers {
    /// Those in the folder `cache`.
    ///
    /// # Errors
    /// If their folder cannot be made.
    pub fn open(cache: &Path) -> crate::Result<Self> {
        let folder = cache.join(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// All of them, the last used first, each with the time of that.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> crate::Result<Vec<(Layer, SystemTime)>> {
        let doing = || format!("reading {}", self.folder.display());
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder).with_context(doing)? {
            let path = entry.with_context(doing)?.path();
            if path.extension().is_some_and(|end| end == "json") {
                // What another program is removing, or has damaged, is none.
                all.extend(read_description(&path));
            }
        }
        all.sort_by(|(one, used), (other, also)| also.cmp(used).then_with(|| one.digest.cmp(&other.digest)));
        Ok(all)
    }

    /// Removes the layers that were not used for longest, until the others take no more than `limit` bytes. Answers with what is gone.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn prune(&self, limit: u64) -> crate::Result<Vec<Layer>> {
        let _alone = self.lock(FlockOperation::LockExclusive)?;
        self.remove_oldest(limit)
    }

    /// Nobody else reads or writes meanwhile.
    fn remove_oldest(&self, limit: u64) -> crate::Result<Vec<Layer>> {
        let (mut taken, mut removed) = (0_u64, Vec::new());
        for (layer, _) in self.list()? {
            taken = taken.saturating_add(layer.size);
            if taken > limit {
                self.remove(&layer).with_context(|| format!("removing layer {}", layer.short()))?;
                removed.push(layer);
            }
        }
        self.sweep().context("removing what was left over")?;
        Ok(removed)
    }

    /// Removes files that belong to no layer: nobody writes meanwhile.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_layer = read_description(&path.with_extension("").with_extension("json")).is_some();
            let is_lock = path.file_name().is_some_and(|name| name == "lock");
            if !is_layer && !is_lock {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Reads each layer as a build would; answers with those that are damaged, and why.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn verify(&self) -> crate::Result<Vec<(Layer, String)>> {
        let mut broken = Vec::new();
        for (layer, _) in self.list()? {
            let read = self.read(&layer, |content| {
                io::copy(content, &mut io::sink()).context("reading it")?;
                Ok(())
            });
            broken.extend(read.err().map(|error| (layer, format!("{error:#}"))));
        }
        Ok(broken)
    }

    /// Removes `layer`, which is damaged.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_broken(&self, layer: &Layer) -> crate::Result<()> {
        let _alone = self.lock(FlockOperation::LockExclusive)?;
        self.remove(layer).with_context(|| format!("removing layer {}", layer.short()))
    }

    /// What there is for `key`.
    pub(crate) fn find(&self, key: &Key) -> crate::Result<Found> {
        let digest = key.digest();
        if let Some((layer, _)) = read_description(&self.description(&digest))
            && layer.key == *key
        {
            return Ok(Found::Layer(layer));
        }
        let all = self.list()?.into_iter().map(|(layer, _)| layer);
        Ok(all.min_by_key(|layer| key.distance(&layer.key)).map_or(Found::Nothing, Found::Nearest))
    }

    /// Gives what is in `layer` to `take`, and verifies it.
    ///
    /// # Errors
    /// If it is damaged; those of `take`.
    pub(crate) fn read(
        &self,
        layer: &Layer,
        take: impl FnOnce(&mut dyn Read) -> crate::Result<()>,
    ) -> crate::Result<()> {
        let _shared = self.lock(FlockOperation::LockShared)?;
        let path = self.content(&layer.digest);
        let doing = || format!("reading {}", path.display());
        let file = File::open(&path).with_context(doing)?;
        let mut hashed = Hashed { file, hasher: Sha256::new() };
        {
            let packed = BufReader::with_capacity(BUFFER, &mut hashed);
            let mut content = zstd::Decoder::with_buffer(packed).with_context(doing)?;
            take(&mut content)?;
        }
        // What is behind the end of the archive, and in the buffer that was read ahead.
        io::copy(&mut hashed, &mut io::sink()).with_context(doing)?;
        if hex(&hashed.hasher.finalize()) != layer.sha256 {
            return Err(err!("{} is damaged", path.display()));
        }
        // It was used.
        let now = SystemTime::now();
        let _ = File::options()
            .append(true)
            .open(self.description(&layer.digest))
            .map(|file| file.set_modified(now));
        Ok(())
    }

    /// Keeps what `pack` writes for `key`, of a recipe called `name`; nothing if it answers with `false`.
    ///
    /// # Errors
    /// Those of `pack`, and if it cannot be written.
    pub(crate) fn write(
        &self,
        key: &Key,
        name: &str,
        pack: impl FnOnce(&mut dyn Write) -> crate::Result<bool>,
    ) -> crate::Result<()> {
        let _shared = self.lock(FlockOperation::LockShared)?;
        let doing = || format!("writing into {}", self.folder.display());
        let beside =
            tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder).with_context(doing)?;
        let hashed = Hashed { file: beside.as_file(), hasher: Sha256::new() };
        let mut packed = zstd::Encoder::new(hashed, LEVEL).with_context(doing)?;
        {
            let mut out = BufWriter::with_capacity(BUFFER, &mut packed);
            if !pack(&mut out)? {
                return Ok(());
            }
            out.flush().with_context(doing)?;
        }
        let hashed = packed.finish().with_context(doing)?;
        let sha256 = hex(&hashed.hasher.finalize());
        let digest = key.digest();
        let size = beside.as_file().metadata().with_context(doing)?.len();
        beside.persist(self.content(&digest)).map_err(|error| error.error).with_context(doing)?;
        let layer = Layer { digest, name: name.to_owned(), size, sha256, key: key.clone() };
        let mut described =
            tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder).with_context(doing)?;
        described.write_all(&serde_json::to_vec_pretty(&layer)?).with_context(doing)?;
        described
            .persist(self.description(&layer.digest))
            .map_err(|error| error.error)
            .with_context(doing)?;
        Ok(())
    }

    /// Removes what is beyond the usual limit, and what killed builds have left; answers with the layers that are gone. Nothing where
    /// others are at work.
    pub(crate) fn make_room(&self) -> crate::Result<Vec<Layer>> {
        self.make_room_within(LIMIT)
    }

    fn make_room_within(&self, limit: u64) -> crate::Result<Vec<Layer>> {
        match self.lock(FlockOperation::NonBlockingLockExclusive) {
            Ok(_alone) => self.remove_oldest(limit),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Removes `layer`, which is of no use.
    pub(crate) fn forget(&self, layer: &Layer) {
        // If it stays, it is found to be of no use again.
        if let Ok(_alone) = self.lock(FlockOperation::NonBlockingLockExclusive) {
            let _ = self.remove(layer);
        }
    }

    fn remove(&self, layer: &Layer) -> io::Result<()> {
        fs::remove_file(self.description(&layer.digest))?;
        fs::remove_file(self.content(&layer.digest))
    }

    /// Held until it is dropped.
    fn lock(&self, how: FlockOperation) -> crate::Result<File> {
        let path = self.folder.join("lock");
        let doing = || format!("locking {}", path.display());
        let file = File::options().create(true).append(true).open(&path).with_context(doing)?;
        flock(&file, how).with_context(doing)?;
        Ok(file)
    }

    fn description(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.json"))
    }

    fn content(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.tar.zst"))
    }
}

/// The usual limit of all layers, for people.
pub fn usual_limit() -> Size {
    Size(LIMIT)
}

fn read_description(path: &Path) -> Option<(Layer, SystemTime)> {
    let file = File::open(path).ok()?;
    let used = file.metadata().ok()?.modified().ok()?;
    let layer: Layer = serde_json::from_reader(file.take(DESCRIPTION_MAX)).ok()?;
    // It is called what it is made of, and its content is there.
    let is_its_own = path.file_stem().is_some_and(|stem| stem == layer.digest.as_str())
        && layer.key.digest() == layer.digest
        && path.with_extension("tar.zst").metadata().is_ok_and(|content| content.len() == layer.size);
    is_its_own.then_some((layer, used))
}

/// A file whose bytes are hashed on their way.
struct Hashed<F> {
    file: F,
    hasher: Sha256,
}

impl<F: Read> Read for Hashed<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buf)?;
        self.hasher.update(buf.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<F: Write> Write for Hashed<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buf)?;
        self.hasher.update(buf.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;

    fn put(layers: &Layers, key: &Key, content: &[u8]) {
        layers.write(key, "own", |out| Ok(out.write_all(content).map(|()| true)?)).unwrap();
    }

    fn layer(layers: &Layers, key: &Key) -> Layer {
        match layers.find(key).unwrap() {
            Found::Layer(layer) => layer,
            other => panic!("{other:?}"),
        }
    }

    fn content(layers: &Layers, layer: &Layer) -> crate::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        layers.read(layer, |content| Ok(content.read_to_end(&mut bytes).map(drop)?))?;
        Ok(bytes)
    }

    #[test]
    fn what_was_kept_is_found_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path()).unwrap();
        let (one, other) = (key(|_, _| ()), key(|recipe, _| recipe.base.packages.push("htop".into())));
        assert!(matches!(layers.find(&one).unwrap(), Found::Nothing));
        put(&layers, &one, &vec![7; 3 << 20]);
        let kept = layer(&layers, &one);
        assert_eq!(content(&layers, &kept).unwrap(), vec![7; 3 << 20]);
        assert!(matches!(layers.find(&other).unwrap(), Found::Nearest(near) if near == kept));
        // Nothing is kept that was not packed as a whole.
        layers.write(&other, "own", |_| Ok(false)).unwrap();
        assert!(layers.write(&other, "own", |_| Err(err!("no"))).is_err());
        assert_eq!(layers.list().unwrap().len(), 1);
        let path = layers.content(&kept.digest);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(content(&layers, &kept).is_err());
        assert_eq!(layers.verify().unwrap().len(), 1);
        // One that was cut is none.
        fs::write(&path, &bytes[..9]).unwrap();
        assert!(matches!(layers.find(&one).unwrap(), Found::Nothing));
    }

    #[test]
    fn the_last_used_stay() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path()).unwrap();
        let keys = ["a", "b", "c"].map(|name| key(|recipe, _| recipe.base.packages.push(name.into())));
        for (key, age) in keys.iter().zip([10, 20, 30]) {
            put(&layers, key, name_of(key).as_bytes());
            let used = SystemTime::now() - std::time::Duration::from_secs(age);
            let description = layers.description(&key.digest());
            File::options().append(true).open(description).unwrap().set_modified(used).unwrap();
        }
        // The oldest is used again.
        content(&layers, &layer(&layers, &keys[2])).unwrap();
        fs::write(layers.folder.join(".new-left"), "x").unwrap();
        let size = layer(&layers, &keys[0]).size;
        let gone = layers.prune(size * 2).unwrap();
        assert_eq!(gone.iter().map(|layer| &layer.digest).collect::<Vec<_>>(), [&keys[1].digest()]);
        let mut left: Vec<String> = fs::read_dir(&layers.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left.len(), 5, "{left:?}");
        assert_eq!(layers.make_room_within(size * 2).unwrap().len(), 0);
        let reader = layers.lock(FlockOperation::LockShared).unwrap();
        assert_eq!(layers.make_room_within(size).unwrap().len(), 0, "somebody reads");
        drop(reader);
        assert_eq!(layers.make_room_within(size).unwrap().len(), 1);
        assert_eq!(layers.prune(0).unwrap().len(), 1);
        assert!(layers.list().unwrap().is_empty());
    }

    fn name_of(key: &Key) -> String {
        key.digest()
    }
}
