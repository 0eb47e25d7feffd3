//! What comes out of an image: unpacked by other programs, or copied, it is what the kernel's own mount has.
//!
//! ```text
//! image ─┬─ mounted: walk.py ────────────────────────────────────┐
//!        ├─ goldimg tar-out ─► GNU tar, bsdtar ─► walk.py ────────┼─► line by line
//!        ├─ goldimg copy-out --archive ─────────► walk.py ────────┤
//!        └─ goldimg ls, find, stat, cat, diff ────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::witness::{Judge, assert_same, say};
use crate::support::peer::peer;
use crate::support::program::Outcome;
use crate::support::{folder, goldimg};

/// What a file has whatever it was copied by; where it is on the disk is another matter, and so is when it was read.
const KEPT: [&str; 8] = ["mode=", "owner=", "size=", "links=", "modified=", "device=", "target=", "content="];

/// An image in which the kernel made files of every kind, and what it tells of them.
struct Bench {
    dir: TempDir,
    image: PathBuf,
    told: BTreeMap<String, String>,
    judge: Judge,
}

impl Bench {
    fn new(files: &[&str]) -> Option<Self> {
        let judge = Judge::find()?;
        let dir = folder();
        let image = dir.path().join("image");
        judge.make(&image, "400M", &["-t", "ext4", "-b", "4096"]);
        judge.fill_image(&image, "rw", files);
        // A system, so that what is in it is looked at as a whole.
        judge.with_mount(&image, "rw", "mkdir $M/etc; printf 'root:x:0:0::/root:/bin/sh\\n' > $M/etc/passwd");
        let told = judge.tell_image(&image, "ro");
        Some(Self { dir, image, told, judge })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The lines of what the kernel tells, with what archives keep: all but sockets.
    fn kept(&self, lines: &BTreeMap<String, String>, with_attributes: bool) -> BTreeMap<String, String> {
        let fact = |fact: &&str| {
            KEPT.iter().any(|own| fact.starts_with(own))
                || (with_attributes && fact.starts_with("attribute="))
        };
        let line = |(path, facts): (&String, &String)| {
            let (kind, facts) = facts.split_once(' ')?;
            // A directory's size is its filesystem's affair, and a link's time cannot be set everywhere.
            let own: Vec<&str> = facts
                .split(' ')
                .filter(fact)
                .filter(|fact| {
                    kind != "Directory" || !(fact.starts_with("size=") || fact.starts_with("links="))
                })
                .collect();
            (kind != "Socket" && path != "." && !path.starts_with("lost+found"))
                .then(|| (path.clone(), format!("{kind} {}", own.join(" "))))
        };
        lines.iter().filter_map(line).collect()
    }

    fn compare(&self, folder: &Path, with_attributes: bool, what: &str) {
        let (mut theirs, mut ours) =
            (self.kept(&self.told, with_attributes), self.kept(&self.judge.tell(folder), with_attributes));
        if what.contains("bsdtar") {
            // Fractions of seconds before 1970 are read by libarchive 3.6 as if they counted forwards; GNU tar reads them rightly.
            let is_read =
                |path: &String| !(path.starts_with("times/-1.") || path.starts_with("times/-1500000000."));
            theirs.retain(|path, _| is_read(path));
            ours.retain(|path, _| is_read(path));
        }
        assert_same(&theirs, &ours);
        say(ours.len(), what);
        assert!(ours.len() > 100, "{}", ours.len());
    }
}

/// What the program makes of these words.
pub(super) fn run<'a>(words: impl IntoIterator<Item = &'a str>) -> Outcome {
    goldimg(words).run()
}

impl Outcome {
    pub(super) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.snapshot());
        self
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn archives_of_an_image_hold_what_the_kernel_shows() {
    let Some(bench) = Bench::new(&["kinds", "times", "attributes", "stored"]) else { return };
    let archive = bench.path("all.tar");
    let told = run(["tar-out", text(&bench.image), text(&archive)]).succeeds();
    assert!(told.stderr.contains("archives have no sockets"), "{}", told.stderr);
    let again = bench.path("again.tar");
    run(["tar-out", text(&bench.image), "/", text(&again)]).succeeds();
    assert!(std::fs::read(&archive).unwrap() == std::fs::read(&again).unwrap(), "other bytes");
    // Of a sparse file only what is stored.
    assert!(std::fs::metadata(&archive).unwrap().len() < 200 << 20);
    let unpacked = bench.path("gnu");
    std::fs::create_dir(&unpacked).unwrap();
    let words = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-p", "-x", "-C"];
    if let Some(tar) = peer("tar") {
        tar.must([&words[..], &[text(&unpacked), "-f", text(&archive)]].concat());
        bench.compare(&unpacked, true, "unpacked by GNU tar");
    }
    let unpacked = bench.path("bsd");
    std::fs::create_dir(&unpacked).unwrap();
    if let Some(bsdtar) = peer("bsdtar") {
        bsdtar.must(["--numeric-owner", "-x", "-p", "-C", text(&unpacked), "-f", text(&archive)]);
        // It restores no attributes but those of users and capabilities.
        bench.compare(&unpacked, false, "unpacked by bsdtar");
    }
}

#[test]
fn an_image_is_compared_with_archives_of_it() {
    let Some(bench) = Bench::new(&["kinds", "times", "attributes", "stored"]) else { return };
    let image = text(&bench.image);
    let archive = bench.path("all.tar");
    run(["tar-out", image, text(&archive)]).succeeds();
    // What an archive of GNU's has of times is to the second, and it leaves out what is older than 1970 there.
    let archives = [(Some(archive), &[][..]), (by_gnu_tar(&bench), &["--ignore", "times"][..])];
    for (archive, ignored) in archives.into_iter().filter_map(|(archive, more)| Some((archive?, more))) {
        let packed = archive.with_extension("tar.zst");
        let mut all = vec![archive.clone()];
        if let Some(zstd) = peer("zstd") {
            zstd.must(["-q", "-f", text(&archive), "-o", text(&packed)]);
            all.push(packed);
        }
        for archive in &all {
            let diff = |more: &[&str]| run([&["diff"], ignored, more, &[image, text(archive)]].concat());
            let told = diff(&["--json"]);
            let lines: Vec<serde_json::Value> =
                told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            // Archives have no sockets.
            assert!(lines.iter().all(|line| line["what"] == "removed"), "{}", told.snapshot());
            assert!(lines.len() < 3, "{}", told.snapshot());
            diff(&["--path", "/attributes"]).succeeds();
        }
    }
    // A folder that an archive has in paths alone is no difference; a file that is another is one.
    let tree = bench.path("tree");
    std::fs::create_dir_all(tree.join("kinds")).unwrap();
    std::fs::write(tree.join("kinds/file"), "other").unwrap();
    let part = bench.path("part.tar");
    if let Some(tar) = peer("tar") {
        tar.must(["-C", text(&tree), "-cf", text(&part), "kinds/file"]);
        let told = run(["diff", "--ignore", "times", "--ignore", "owners", text(&tree), text(&part)]);
        assert_eq!((told.code, told.stdout.as_str()), (0, ""), "{}", told.snapshot());
        std::fs::write(tree.join("kinds/file"), "another").unwrap();
        let told = run(["diff", "--ignore", "times", "--ignore", "owners", text(&tree), text(&part)]);
        assert!(told.code == 1 && told.stdout.contains("/kinds/file"), "{}", told.snapshot());
        let told = run(["diff", "--path", "/nowhere", text(&tree), text(&part)]);
        assert_eq!(told.code, 2, "{}", told.snapshot());
    }
}

#[test]
fn copies_of_an_image_are_what_the_kernel_shows() {
    let Some(bench) = Bench::new(&["kinds", "times", "attributes", "stored"]) else { return };
    let target = bench.path("copy");
    std::fs::create_dir(&target).unwrap();
    run(["copy-out", "--archive", text(&bench.image), "/", text(&target)]).succeeds();
    bench.compare(&target, true, "copied with all that they have");
    let words = ["diff", "-q", "--only", "files", "--ignore", "times"];
    // Sockets stay behind, and lost+found was not among what was compared.
    let told = run([&words[..], &[text(&bench.image), text(&target)]].concat());
    assert_eq!(told.code, 1, "{}", told.snapshot());
    let lines: Vec<&str> = told.stdout.lines().filter(|line| !line.contains("socket")).collect();
    assert_eq!(lines, Vec::<&str>::new());
}

#[test]
fn nothing_that_an_image_says_leads_out_of_the_folder() {
    let Some(bench) = Bench::new(&["kinds"]) else { return };
    bench.judge.with_mount(
        &bench.image,
        "rw",
        "mkdir $M/way; ln -s /etc $M/way/out; ln -s ../../.. $M/way/up; echo x > $M/way/file; \
         chmod 4755 $M/way/file; mknod $M/way/null c 1 3",
    );
    let target = bench.path("copy");
    std::fs::create_dir_all(target.join("way")).unwrap();
    let outside = bench.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("kinds")).unwrap();
    let told = run(["copy-out", text(&bench.image), "/way", "/kinds", text(&target)]);
    // A link has the name of a folder: it is not followed, and the other folder was copied all the same.
    assert_eq!(told.code, 1, "{}", told.snapshot());
    assert!(told.stderr.contains("something that is no folder has its name there"), "{}", told.stderr);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(std::fs::read_link(target.join("way/out")).unwrap(), Path::new("/etc"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(target.join("way/file")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o755);
    assert!(!target.join("way/null").exists());
    // What is there stays, unless it is to be replaced.
    std::fs::write(target.join("way/file"), "mine").unwrap();
    let told = run(["copy-out", text(&bench.image), "/way", text(&target)]);
    assert!(told.code == 1 && told.stderr.contains("--force replaces"), "{}", told.snapshot());
    assert_eq!(std::fs::read(target.join("way/file")).unwrap(), b"mine");
    run(["copy-out", "--force", text(&bench.image), "/way", text(&target)]).succeeds();
    assert_eq!(std::fs::read(target.join("way/file")).unwrap(), b"x\n");
}

#[test]
fn files_are_listed_found_and_shown_as_the_kernel_has_them() {
    let Some(bench) = Bench::new(&["kinds", "attributes", "many"]) else { return };
    let image = text(&bench.image);
    let listed = run(["ls", "-R", "--json", image]).succeeds().stdout;
    assert_eq!(listed.lines().count() + 1, bench.told.len());
    let found = run(["find", "-0", image]).succeeds();
    assert_eq!(found.stdout.matches('\0').count(), bench.told.len());
    for (words, kind) in
        [(["--type", "l"], " Link"), (["--type", "p"], " Pipe"), (["--type", "c"], " CharacterDevice")]
    {
        let found = run(["find", image, words[0], words[1]]).succeeds().stdout;
        let theirs = bench.told.values().filter(|facts| format!(" {facts}").starts_with(kind)).count();
        assert_eq!(found.lines().count(), theirs, "{words:?}");
    }
    let found = run(["find", image, "/kinds", "--perm", "/6000", "--name", "mode-*"]).succeeds().stdout;
    assert_eq!(
        found.lines().collect::<Vec<_>>(),
        ["/kinds/mode-2755", "/kinds/mode-4755", "/kinds/mode-7777"]
    );
    let found = run(["find", image, "/kinds", "--size", "+60K", "--maxdepth", "1"]).succeeds().stdout;
    assert_eq!(found.lines().collect::<Vec<_>>(), ["/kinds/size-300000", "/kinds/size-65536"]);
    // A name never reaches a terminal as it is.
    let names = run(["ls", image, "/kinds/names"]).succeeds().stdout;
    assert!(names.contains("new\\nline") && !names.contains('\x01'), "{names}");
    let told = run(["stat", "--json", image, "/kinds/size-61"]).succeeds().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["size"], &told["type"], &told["user"]), (&61.into(), &"file".into(), &"root".into()));
    let bytes = run(["cat", image, "/kinds/absolute/size-1000"]).succeeds().stdout;
    assert!(!bytes.is_empty());
    let told = run(["cat", image, "/kinds/none"]);
    assert!(
        told.code == 1 && told.stderr.contains("/kinds/none: there is no such file in the image"),
        "{}",
        told.snapshot()
    );
}

#[test]
fn archives_are_unpacked_into_an_image_as_the_kernel_would() {
    let Some(bench) = Bench::new(&["kinds", "times", "attributes", "stored"]) else { return };
    let archive = bench.path("all.tar");
    run(["tar-out", text(&bench.image), text(&archive)]).succeeds();
    let archives = [Some(archive.clone()), by_gnu_tar(&bench)];
    for archive in archives.into_iter().flatten() {
        let image = bench.path("into");
        bench.judge.make(&image, "400M", &["-t", "ext4", "-b", "4096"]);
        // Names in access control lists are those of the image.
        bench.judge.with_mount(&image, "rw", "mkdir $M/to $M/etc; cp /etc/passwd /etc/group $M/etc");
        run(["tar-in", text(&image), text(&archive), "/to"]).succeeds();
        super::changed::assert_clean(&image, "after it was unpacked into");
        let told = bench.judge.tell_image(&image, "ro");
        let told: BTreeMap<String, String> = told
            .into_iter()
            .filter_map(|(path, facts)| Some((path.strip_prefix("to/")?.to_owned(), facts)))
            .collect();
        let (theirs, ours) = (bench.kept(&bench.told, true), bench.kept(&told, true));
        assert_same(&theirs, &ours);
        say(ours.len(), "unpacked into an image");
        // Holes stay holes.
        assert!(std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&image).unwrap()) < 300 << 11);
    }
    let told = run(["tar-in", text(&bench.image), "/etc/passwd", "/"]);
    assert!(told.code == 1 && told.stderr.contains("no tar archive"), "{}", told.snapshot());
}

/// An archive of the mounted image that GNU tar made.
fn by_gnu_tar(bench: &Bench) -> Option<PathBuf> {
    peer("tar")?;
    let archive = bench.path("gnu.tar");
    let words = format!(
        "tar --format=posix --numeric-owner --xattrs --xattrs-include='*' --acls --sparse --exclude=./lost+found -cf {} -C $M .",
        text(&archive)
    );
    bench.judge.with_mount(&bench.image, "ro", &words);
    Some(archive)
}
