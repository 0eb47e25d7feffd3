//! Copies into trees, as any user: what is made is given to whoever runs the tests.

use std::io::{Seek, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::golden::recipe::Owner;
use crate::golden::tree::tests::scratch;

/// This process's own ids, so that any user can run these tests.
pub(crate) fn me() -> Owner {
    Owner {
        user: rustix::process::getuid().as_raw().to_string(),
        group: rustix::process::getgid().as_raw().to_string(),
    }
}

pub(crate) fn step(from: &str, to: &str) -> Copy {
    Copy {
        from: from.into(),
        to: to.into(),
        owner: Some(me()),
        mode: None,
        folder_mode: None,
        preserve: Vec::new(),
        replace: false,
    }
}

/// A recipe's folder and a tree.
struct Bench {
    dir: tempfile::TempDir,
    tree: Tree,
}

impl Bench {
    fn new() -> Self {
        let (dir, tree) = scratch();
        fs::create_dir(dir.path().join("recipe")).unwrap();
        Self { dir, tree }
    }

    /// A path in the recipe's folder, whose parents exist.
    fn source(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join("recipe").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, content: &str, mode: u32) {
        let path = self.source(path);
        fs::write(&path, content).unwrap();
        chmod(&path, mode);
    }

    fn copy(&self, step: &Copy) -> crate::Result<Vec<PathBuf>> {
        copy(step, &self.dir.path().join("recipe"), &self.tree)
    }

    fn refusal(&self, step: &Copy) -> String {
        crate::error::rendered(&self.copy(step).unwrap_err())
    }

    fn mode(&self, inside: &str) -> u32 {
        self.tree.root().join(inside).symlink_metadata().unwrap().permissions().mode() & 0o7777
    }

    fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.tree.root().join(inside)).unwrap()
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn folders_are_merged_and_links_stay_links() {
    let bench = Bench::new();
    bench.file("files/app/bin/run", "new", 0o755);
    symlink("/etc/passwd", bench.source("files/app/link")).unwrap();
    bench.tree.write("/opt/app/bin/other", "kept", 0o644).unwrap();
    // What is a link in the image is replaced, not written through.
    fs::write(bench.dir.path().join("outside"), "host").unwrap();
    symlink(bench.dir.path().join("outside"), bench.tree.root().join("opt/app/bin/run")).unwrap();
    let put = bench.copy(&step("files/app", "/opt/app")).unwrap();
    assert_eq!(put, ["/opt/app/bin/run", "/opt/app/link"].map(PathBuf::from));
    assert_eq!(
        (bench.read("opt/app/bin/run"), bench.read("opt/app/bin/other")),
        ("new".into(), "kept".into())
    );
    assert_eq!(fs::read(bench.dir.path().join("outside")).unwrap(), b"host");
    assert_eq!(fs::read_link(bench.tree.root().join("opt/app/link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(bench.mode("opt/app/bin/run"), 0o755);
    // A file goes into a folder, or becomes what it is to be called.
    let exact = |to: &str| Copy { mode: Some(0o600), ..step("files/app/bin/run", to) };
    bench.tree.make_dir("/srv").unwrap();
    assert_eq!(bench.copy(&exact("/srv")).unwrap(), [Path::new("/srv/run")]);
    assert_eq!(bench.copy(&exact("/srv/renamed")).unwrap(), [Path::new("/srv/renamed")]);
    assert_eq!(bench.tree.list("/srv").unwrap(), ["renamed", "run"]);
}

#[test]
fn nothing_is_copied_from_outside_the_recipes_folder() {
    let bench = Bench::new();
    fs::write(bench.dir.path().join("secret"), "").unwrap();
    symlink("../secret", bench.source("link")).unwrap();
    for from in ["../secret", "link", "/etc/passwd"] {
        let error = bench.refusal(&step(from, "/x"));
        assert!(error.contains("leads out of the recipe's folder"), "{error}");
    }
    // One that stays beneath it is followed, with its own name.
    bench.file("real", "content", 0o644);
    symlink("real", bench.source("alias")).unwrap();
    bench.tree.make_dir("/srv").unwrap();
    assert_eq!(bench.copy(&step("alias", "/srv")).unwrap(), [Path::new("/srv/alias")]);
    assert_eq!(bench.read("srv/alias"), "content");
}

#[test]
fn folders_that_are_there_keep_their_mode_whatever_the_checkouts_umask() {
    let bench = Bench::new();
    for umask in [0o022, 0o002, 0o077] {
        let (file, folder) = (0o666 & !umask, 0o777 & !umask);
        for (path, mode) in
            [("over/etc/motd", file), ("over/usr/bin/tool", folder), ("over/new/deep/x", file)]
        {
            bench.file(path, "x", mode);
        }
        for path in ["over", "over/etc", "over/usr", "over/usr/bin", "over/new", "over/new/deep", "over/tmp"]
        {
            fs::create_dir_all(bench.source(path)).unwrap();
            chmod(&bench.source(path), folder);
        }
        for (path, mode) in [("/etc", 0o755), ("/tmp", 0o1777), ("/usr/bin", 0o2711)] {
            let path = bench.tree.make_dir(path).unwrap();
            chmod(&path, mode);
        }
        chmod(bench.tree.root(), 0o751);
        bench.tree.write("/etc/motd", "old", 0o640).unwrap();
        let step = Copy { folder_mode: Some(0o700), ..step("over", "/") };
        let put = bench.copy(&step).unwrap();
        let modes =
            ["", "etc", "tmp", "usr/bin", "new", "new/deep", "new/deep/x", "usr/bin/tool", "etc/motd"]
                .map(|path| bench.mode(path));
        let expected = [0o751, 0o755, 0o1777, 0o2711, 0o700, 0o700, 0o644, 0o755, 0o640];
        assert_eq!(modes, expected, "{umask:o}");
        let expected = ["/etc/motd", "/new", "/new/deep", "/new/deep/x", "/usr/bin/tool"].map(PathBuf::from);
        assert_eq!(put, expected, "what was there was not asked for");
        bench.tree.remove("/new").unwrap();
    }
}

#[test]
fn what_stands_in_the_way_is_a_mistake_that_is_found_before_anything_is_done() {
    let bench = Bench::new();
    bench.file("over/a-first", "x", 0o644);
    let over = |name: &str| bench.source(&format!("over/{name}"));
    symlink("elsewhere", over("link")).unwrap();
    bench.tree.write("/link/precious", "x", 0o644).unwrap();
    let told = |part: &str| {
        let error = bench.refusal(&step("over", "/"));
        assert!(error.contains(part), "{part}: {error}");
        assert!(error.contains("hint: copy to another place, or write `replace = true`"), "{error}");
        assert!(!bench.tree.exists("/a-first"), "part of it was done");
    };
    told(
        "over/link is a link, but /link in the image is a folder, which would be lost with all that is in it",
    );
    fs::remove_file(over("link")).unwrap();
    bench.file("over/link", "", 0o644);
    told("over/link is a file, but /link in the image is a folder, which");
    fs::remove_file(over("link")).unwrap();
    bench.file("over/folder/x", "", 0o644);
    bench.tree.write("/folder", "", 0o644).unwrap();
    told("over/folder is a folder, but /folder in the image is a file");
    bench.tree.remove("/folder").unwrap();
    symlink("/link/precious", bench.tree.root().join("folder")).unwrap();
    told("over/folder is a folder, but /folder in the image is a link to /link/precious, which is no folder");
    bench.tree.remove("/folder").unwrap();
    bench.file("over/bin", "", 0o644);
    bench.tree.make_dir("/usr/bin").unwrap();
    symlink("usr/bin", bench.tree.root().join("bin")).unwrap();
    told("over/bin is a file, but /bin in the image is a link to the folder usr/bin");
    // All of them at once, if that is meant.
    symlink("/link/precious", bench.tree.root().join("folder")).unwrap();
    fs::remove_dir_all(bench.source("over/folder")).unwrap();
    bench.file("over/folder/x", "", 0o644);
    symlink("elsewhere", over("link")).unwrap();
    bench.copy(&Copy { replace: true, ..step("over", "/") }).unwrap();
    assert_eq!(fs::read_link(bench.tree.root().join("link")).unwrap(), Path::new("elsewhere"));
    assert_eq!(bench.tree.list("/folder").unwrap(), ["x"]);
    assert!(bench.tree.root().join("bin").symlink_metadata().unwrap().is_file());
    assert!(bench.tree.exists("/usr/bin"));
}

#[test]
fn a_folder_goes_through_a_link_to_a_folder() {
    let bench = Bench::new();
    bench.file("over/bin/tool", "x", 0o755);
    bench.tree.write("/usr/bin/sh", "", 0o755).unwrap();
    symlink("usr/bin", bench.tree.root().join("bin")).unwrap();
    assert_eq!(bench.copy(&step("over", "/")).unwrap(), [Path::new("/usr/bin/tool")]);
    assert_eq!(bench.copy(&step("over/bin", "/bin")).unwrap(), [Path::new("/usr/bin/tool")]);
    assert!(bench.tree.root().join("bin").is_symlink());
    assert_eq!(bench.tree.list("/usr/bin").unwrap(), ["sh", "tool"]);
    // And a link through it leads nowhere outside of the tree.
    fs::create_dir(bench.dir.path().join("host")).unwrap();
    symlink(bench.dir.path().join("host"), bench.tree.root().join("etc")).unwrap();
    bench.file("over/etc/x", "x", 0o644);
    assert!(bench.copy(&step("over", "/")).is_err());
    assert_eq!(fs::read_dir(bench.dir.path().join("host")).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_is_refused_before_anything_is_done() {
    let bench = Bench::new();
    bench.file("over/a", "", 0o644);
    let pipe = bench.source("over/pipe");
    rustix::fs::mkfifoat(CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let error = bench.refusal(&step("over", "/srv"));
    assert!(error.contains("over/pipe is a named pipe: only files, folders and links are copied"), "{error}");
    assert!(!bench.tree.exists("/srv"));
    // Where the build works.
    let tree = Tree::new(bench.source("work"), bench.tree.log().clone(), bench.tree.epoch());
    fs::create_dir(bench.source("work")).unwrap();
    fs::remove_file(pipe).unwrap();
    let error = copy(&step(".", "/srv"), &bench.dir.path().join("recipe"), &tree).unwrap_err();
    assert!(format!("{error:#}").contains("work is where this build works"), "{error:#}");
}

#[test]
fn names_of_the_same_file_stay_so() {
    let bench = Bench::new();
    bench.file("over/one", "x", 0o755);
    fs::create_dir(bench.source("over/deep")).unwrap();
    for other in ["over/two", "over/deep/three", "outside"] {
        fs::hard_link(bench.source("over/one"), bench.source(other)).unwrap();
    }
    bench.tree.write("/srv/two", "old", 0o600).unwrap();
    let put = bench.copy(&step("over", "/srv")).unwrap();
    assert_eq!(put.len(), 4, "{put:?}");
    let meta = |path: &str| bench.tree.root().join(path).metadata().unwrap();
    assert_eq!((meta("srv/one").nlink(), meta("srv/two").ino()), (3, meta("srv/deep/three").ino()));
    assert_eq!(bench.mode("srv/two"), 0o755);
}

#[test]
fn times_are_kept_where_that_is_asked_for() {
    let bench = Bench::new();
    bench.file("over/deep/x", "x", 0o644);
    symlink("x", bench.source("over/deep/link")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let times = Timestamps {
        last_access: Timespec { tv_sec: 1, tv_nsec: 0 },
        last_modification: Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 },
    };
    for path in ["over/deep/x", "over/deep/link", "over/deep"] {
        utimensat(CWD, bench.source(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    bench.copy(&Copy { preserve: vec![Preserve::Timestamps], ..step("over", "/kept") }).unwrap();
    bench.copy(&step("over", "/now")).unwrap();
    let time = |path: &str| bench.tree.root().join(path).symlink_metadata().unwrap().modified().unwrap();
    for path in ["deep", "deep/x", "deep/link"] {
        assert_eq!(time(&format!("kept/{path}")), old, "{path}");
        assert_ne!(time(&format!("now/{path}")), old, "{path}");
    }
}

#[test]
fn attributes_are_kept_where_that_is_asked_for() {
    // In memory there are none before Linux 6.6.
    let Ok(dir) = tempfile::tempdir_in("/var/tmp") else { return };
    let log = crate::golden::log::Log::create(&dir.path().join("log")).unwrap();
    let (recipe, root) = (dir.path().join("recipe"), dir.path().join("tree"));
    fs::create_dir_all(recipe.join("over")).unwrap();
    fs::create_dir(&root).unwrap();
    let tree = Tree::new(&root, log, crate::golden::epoch::Epoch::new(0).unwrap());
    fs::write(recipe.join("over/x"), "x").unwrap();
    chmod(&recipe.join("over/x"), 0o640);
    let me = rustix::process::getuid().as_raw();
    let acl = [(1_u16, 6_u16, u32::MAX), (2, 6, me), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let entries = acl.iter().flat_map(|(tag, bits, id)| {
        [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    let acl: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(entries).collect();
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(recipe.join(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("over/x", "user.note", b"kept");
    set("over/x", "system.posix_acl_access", &acl);
    set("over", "system.posix_acl_default", &acl);
    let read = |path: &str, name: &str| {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(root.join(path), name, &mut value).ok()?;
        value.truncate(length);
        Some(value)
    };
    let preserving = |preserve: &[Preserve], to: &str| {
        let step = Copy { preserve: preserve.to_vec(), ..step("over", to) };
        copy(&step, &recipe, &tree).unwrap();
    };
    preserving(&[], "/none");
    assert_eq!((read("none/x", "user.note"), read("none/x", "system.posix_acl_access")), (None, None));
    preserving(&[Preserve::Xattr, Preserve::Mode], "/all");
    assert_eq!(read("all/x", "user.note").unwrap(), b"kept");
    assert_eq!(read("all/x", "system.posix_acl_access").unwrap(), acl);
    assert_eq!(read("all", "system.posix_acl_default").unwrap(), acl);
    assert_eq!(root.join("all/x").metadata().unwrap().permissions().mode() & 0o777, 0o660);
    // In place of a file with a list, that list counts as its mode does.
    fs::remove_file(recipe.join("over/x")).unwrap();
    fs::write(recipe.join("over/x"), "new").unwrap();
    preserving(&[], "/all");
    assert_eq!(fs::read(root.join("all/x")).unwrap(), b"new");
    assert_eq!(read("all/x", "system.posix_acl_access").unwrap(), acl);
    assert_eq!(read("all/x", "user.note"), None);
}

#[test]
fn names_need_not_be_text() {
    let bench = Bench::new();
    let name = std::ffi::OsStr::from_bytes(b"a\nb\xff\x1b[2J");
    let folder = bench.source("over/x").with_file_name(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(name), "x").unwrap();
    bench.copy(&step("over", "/srv")).unwrap();
    assert_eq!(fs::read(bench.tree.root().join("srv").join(name).join(name)).unwrap(), b"x");
    fs::remove_file(folder.join(name)).unwrap();
    rustix::fs::mkfifoat(CWD, folder.join(name), rustix::fs::Mode::RUSR).unwrap();
    let error = bench.refusal(&step("over", "/srv"));
    assert!(!error.lines().next().unwrap().contains(|c: char| c.is_control()), "{error:?}");
}

#[test]
fn a_gibibyte_of_holes_takes_no_room_and_stays_itself() {
    let bench = Bench::new();
    let path = bench.source("sparse");
    let mut file = File::create(&path).unwrap();
    for (at, byte) in [(5 << 20, 1), ((1 << 30) - 1, 2)] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte]).unwrap();
    }
    // A block of zeroes that was written is a hole too: where the source lies makes no difference.
    file.write_all_at_zeroes(100 << 20, 4 << 20);
    file.set_len((1 << 30) + 12_345).unwrap();
    bench.copy(&step("sparse", "/sparse")).unwrap();
    let made = bench.tree.root().join("sparse").metadata().unwrap();
    assert_eq!(made.len(), (1 << 30) + 12_345);
    assert!(made.blocks() * 512 <= 64 << 10, "{} bytes", made.blocks() * 512);
    let copied = File::open(bench.tree.root().join("sparse")).unwrap();
    for (at, byte) in [(5 << 20, 1), ((1 << 30) - 1, 2), (100 << 20, 0)] {
        let mut read = [9];
        std::os::unix::fs::FileExt::read_exact_at(&copied, &mut read, at).unwrap();
        assert_eq!(read, [byte], "{at}");
    }
}

trait WriteZeroes {
    fn write_all_at_zeroes(&self, at: u64, length: usize);
}

impl WriteZeroes for File {
    fn write_all_at_zeroes(&self, at: u64, length: usize) {
        std::os::unix::fs::FileExt::write_all_at(self, &vec![0; length], at).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn contents_are_the_same_byte_by_byte(
        pieces in prop::collection::vec((0_u64..3 << 20, 1_usize..20_000, any::<bool>()), 0..8),
        length in 0_u64..4 << 20,
    ) {
        let bench = Bench::new();
        let path = bench.source("x");
        let file = File::create(&path).unwrap();
        for (at, size, zeroes) in pieces {
            let data: Vec<u8> = (0..size).map(|n| if zeroes || n % 9000 < 4500 { 0 } else { n as u8 }).collect();
            std::os::unix::fs::FileExt::write_all_at(&file, &data, at).unwrap();
        }
        file.set_len(length).unwrap();
        bench.copy(&step("x", "/x")).unwrap();
        prop_assert!(fs::read(&path).unwrap() == fs::read(bench.tree.root().join("x")).unwrap());
    }
}
