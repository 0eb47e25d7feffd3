//! Debian's kernel for clouds, fetched by apt and unpacked without being installed: once for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::peer::peer;

/// What names the kernel of the day.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel and its modules.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) version: String,
    /// Its file.
    pub(crate) image: PathBuf,
    /// The folder of its modules, without what depmod makes.
    pub(crate) modules: PathBuf,
}

/// The kernel; `None` after saying aloud that something is missing.
///
/// # Panics
/// If it cannot be fetched.
pub(crate) fn kernel() -> Option<Kernel> {
    static KERNEL: OnceLock<Option<Kernel>> = OnceLock::new();
    KERNEL.get_or_init(fetch).clone()
}

fn fetch() -> Option<Kernel> {
    let (apt, cache, unpack) = (peer("apt-get")?, peer("apt-cache")?, peer("dpkg-deb")?);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel");
    fs::create_dir_all(&folder).expect("a folder");
    // Tests are processes of their own, side by side: the first one fetches.
    let lock = fs::File::create(folder.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    let depends = cache.must(["depends", PACKAGE]);
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).expect("a kernel");
    let tree = folder.join(package);
    if !tree.exists() {
        let packed = tempfile::tempdir_in(&folder).expect("a folder");
        let outcome = apt.command(["download", package]).folder(packed.path()).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        let package = only(packed.path());
        let new = packed.path().join("tree");
        unpack.must(["-x".as_ref(), package.as_os_str(), new.as_os_str()]);
        fs::rename(new, &tree).expect("the place of the kernel");
    }
    let modules = only(&tree.join("lib/modules"));
    let version = modules.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let image = tree.join("boot").join(format!("vmlinuz-{version}"));
    assert!(image.is_file(), "{}", image.display());
    Some(Kernel { version, image, modules })
}

/// The one entry of a folder.
fn only(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let entry = entries.next().expect("an entry").expect("an entry").path();
    assert!(entries.next().is_none(), "{} has one entry", folder.display());
    entry
}
