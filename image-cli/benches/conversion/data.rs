//! What is converted: made once, kept for the next run.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The sources.
pub(crate) struct Data {
    /// Files of this machine's /usr one behind the other, each from a multiple of 4 KiB on, with holes between.
    pub(crate) tree: PathBuf,
    /// Nothing that packs.
    pub(crate) random: PathBuf,
    /// 64 GiB, 1 % of it data in runs of 1 MiB.
    pub(crate) sparse: PathBuf,
    /// 1 GiB, every second 4 KiB a hole.
    pub(crate) holes: PathBuf,
    /// 4 GiB of nothing.
    pub(crate) empty: PathBuf,
    /// An image that the user gave.
    pub(crate) image: Option<PathBuf>,
}

impl Data {
    /// In `folder`, with `size` bytes in each corpus.
    pub(crate) fn make(folder: &Path, size: u64, image: Option<&Path>) -> Self {
        let data = Self {
            tree: folder.join(format!("tree-{size}.raw")),
            random: folder.join(format!("random-{size}.raw")),
            sparse: folder.join("sparse.raw"),
            holes: folder.join("holes.raw"),
            empty: folder.join("empty.raw"),
            image: image.map(Path::to_owned),
        };
        once(&data.tree, |file| tree(file, size));
        once(&data.random, |file| {
            let mut noise = Noise(1);
            (0..size / MIB).for_each(|at| file.write_all_at(&noise.bytes(MIB), at * MIB).unwrap());
        });
        let text = File::open(&data.tree).unwrap();
        once(&data.sparse, |file| {
            file.set_len(64 * GIB).unwrap();
            copy_runs(&text, file, size, MIB, 100 * MIB, 64 * GIB / 100);
        });
        once(&data.holes, |file| {
            file.set_len(GIB).unwrap();
            copy_runs(&text, file, size, 4096, 8192, GIB / 2);
        });
        once(&data.empty, |file| file.set_len(4 * GIB).unwrap());
        data
    }
}

/// Makes a file under another name first, so that a stopped run leaves no half corpus.
fn once(path: &Path, make: impl FnOnce(&File)) {
    if path.exists() {
        return;
    }
    let unfinished = path.with_extension("unfinished");
    make(&File::create(&unfinished).unwrap());
    fs::rename(unfinished, path).unwrap();
}

/// Runs of `len` bytes of `from`'s `size`, one every `step` bytes of `to`, `total` in all.
fn copy_runs(from: &File, to: &File, size: u64, len: u64, step: u64, total: u64) {
    let mut buffer = vec![0; len as usize];
    for run in 0..total / len {
        from.read_at(&mut buffer, run * len % (size - len)).unwrap();
        // A zero would be one hole more.
        buffer[0] |= 1;
        to.write_all_at(&buffer, run * step).unwrap();
    }
}

/// Files of /usr up to `size` bytes; after every 64 MiB a hole of 32 MiB.
fn tree(to: &File, size: u64) {
    let mut folders = vec![PathBuf::from("/usr/share"), PathBuf::from("/usr/lib"), PathBuf::from("/usr/bin")];
    let (mut at, mut written, mut since_hole) = (0, 0, 0);
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && metadata.len() < 64 * MIB && written < size {
                let mut bytes = Vec::new();
                let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
                if read.is_ok() {
                    to.write_all_at(&bytes, at).unwrap();
                }
                let len = (bytes.len() as u64).next_multiple_of(4096);
                (at, written, since_hole) = (at + len, written + len, since_hole + len);
                if since_hole >= 64 * MIB {
                    (at, since_hole) = (at + 32 * MIB, 0);
                }
            }
        }
    }
    to.set_len(at).unwrap();
}

/// The same noise each time.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len as usize);
        while (bytes.len() as u64) < len {
            // xorshift64*
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            bytes.extend(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        bytes
    }
}
