//! What a step of a build can see of the machine that builds, and what its caller's circumstances change.
//!
//! ```text
//! Machine   things of this machine's that a step could find: a variable, a file and an open descriptor of the caller's,
//!           a service, an abstract socket, shared memory         ─► probes.pl, a step of the build ─► its log
//! Caller    who starts the build, and how: plainly; or as an ordinary user, with everything odd
//! judge()   all is denied, but for what is listed with its reason; and all that bwrap(1) denies is
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::support::peer::Peer;
use crate::support::program::Invocation;

const PROBES: &str = include_str!("probes.pl");
/// What is left of this machine, by nature, and why.
const ALLOWED: &[(&str, &str)] = &[];
/// The same, of root's steps only.
const ALLOWED_TO_ROOT: &[(&str, &str)] = &[(
    "namespace-user",
    "root needs no user namespace; capabilities, the filter and mounts without devices take its place",
)];

/// An ordinary user that a machine has meanwhile, if root runs the tests.
const USER: u32 = 54_321;
/// What the user's subordinate ids are: as for useradd, but far from anybody's.
const SUBORDINATE: &str = "1500000000:65536";

/// Starts a program with a descriptor of the caller's open, and as many files as it may have.
const PLAIN: &str = r#"ulimit -Sn "$(ulimit -Hn)"; exec 7<"$1"; shift; exec "$@""#;
/// Starts a program with all that a caller can change for it: umask, limits, files, standard input, nice level, signals,
/// personality.
const ODD: &str = r#"
umask 077
ulimit -Sn 256
ulimit -Ss "$(ulimit -Hs)"
exec 7<"$1" <&-
shift
exec setarch --addr-no-randomize perl -e '
    $SIG{$_} = "IGNORE" for grep { !/^(KILL|STOP|NUM32|NUM33|ZERO)$/ } keys %SIG, qw(HUP PIPE CHLD XFSZ RTMIN);
    setpriority 0, 0, 5;
    exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\n";
' "$@"
"#;
/// Variables that programs of a build would heed: each of them changes what one of them writes, or breaks it.
const VARIABLES: [(&str, &str); 22] = [
    ("TZ", "Asia/Tokyo"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LANG", "tr_TR.UTF-8"),
    ("LANGUAGE", "tr"),
    ("GREP_OPTIONS", "-v"),
    ("TAR_OPTIONS", "--mode=0777"),
    ("XZ_OPT", "-0"),
    ("XZ_DEFAULTS", "-0"),
    ("GZIP", "-1"),
    ("ZSTD_CLEVEL", "1"),
    ("MKE2FS_CONFIG", "/dev/null"),
    ("MKE2FS_DEVICE_SECTSIZE", "4096"),
    ("E2FSPROGS_FAKE_TIME", "1"),
    ("PERL5OPT", "-Mnonexistent"),
    ("PERL5LIB", "/nonexistent"),
    ("PYTHONPATH", "/nonexistent"),
    ("LD_LIBRARY_PATH", "/nonexistent"),
    ("POSIXLY_CORRECT", "1"),
    ("DPKG_FORCE", "all"),
    ("DPKG_ADMINDIR", "/nonexistent"),
    ("DEBCONF_DB_OVERRIDE", "/nonexistent"),
    ("CDPATH", "/"),
];
/// As another user, which this machine has only in a mount namespace of its own: accounts and ids are bound over its.
const AS_USER: &str = r#"
state=$1; shift
for file in passwd group subuid subgid; do mount --bind "$state/$file" "/etc/$file"; done
mount --bind "$1" "$state/program"
shift
exec setpriv --reuid "$(stat -c %u "$state")" --regid "$(stat -c %g "$state")" --groups 4 --inh-caps=-all "$@"
"#;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Who starts a build, besides the one who runs the tests.
pub(super) struct OrdinaryUser {
    folder: PathBuf,
}

impl OrdinaryUser {
    /// Another user with a home in `folder`, which is given to it, if this one is root.
    pub(super) fn new(folder: &Path) -> Self {
        let state = folder.join("user");
        fs::create_dir(&state).expect("a folder");
        if is_root() {
            for (file, line) in [
                ("passwd", format!("guest:x:{USER}:{USER}::{}:/bin/sh\n", state.display())),
                ("group", format!("guest:x:{USER}:\n")),
                ("subuid", format!("guest:{SUBORDINATE}\n")),
                ("subgid", format!("guest:{SUBORDINATE}\n")),
            ] {
                let mut text = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
                text.push_str(&line);
                fs::write(state.join(file), text).expect("a file");
            }
            fs::write(state.join("program"), "").expect("a file");
            chown(&state, Some(USER), Some(USER)).expect("a folder of the user's");
            chown(folder, Some(USER), Some(USER)).expect("a folder of the user's");
        }
        Self { folder: folder.to_owned() }
    }

    /// A folder of the user's.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).expect("a folder");
        if is_root() {
            chown(&path, Some(USER), Some(USER)).expect("a folder of the user's");
        }
        path
    }

    /// A copy of `cache`, the user's own.
    pub(super) fn cache(&self, cache: &Path) -> PathBuf {
        if !is_root() {
            return cache.to_owned();
        }
        let own = self.folder("cache");
        let status = Command::new("cp").arg("-r").arg(cache.join("debian-bookworm")).arg(&own).status();
        assert!(status.expect("cp runs").success(), "copying {}", cache.display());
        let status = Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(&own).status();
        assert!(status.expect("chown runs").success(), "{}", own.display());
        own
    }

    /// Starts `program` as this user, by the `way` that leads to it.
    pub(super) fn starts(
        &self,
        program: Invocation,
        way: impl FnOnce(Invocation) -> Invocation,
    ) -> Invocation {
        if !is_root() {
            return way(program);
        }
        let state = self.folder.join("user");
        let path = program.path();
        let program = way(program.at(&state.join("program")));
        let mut words = vec!["unshare", "--mount", "--propagation=private", "sh", "-euc", AS_USER, "sh"];
        words.extend([&state, &path].map(|path| path.to_str().expect("UTF-8")));
        program.by_way_of(&words)
    }

    /// Removes `folder`, in which others' files are: those of subordinate ids.
    pub(super) fn remove(folder: &Path) {
        if !is_root() {
            let mut remove = Command::new("unshare");
            remove.args(["--user", "--map-auto", "--map-root-user", "rm", "-rf"]).arg(folder);
            assert!(remove.status().expect("unshare runs").success(), "removing {}", folder.display());
        }
    }
}

/// This machine's things that a step could find.
pub(super) struct Machine {
    /// What none of them may be known by.
    secret: String,
    file: PathBuf,
    service: TcpListener,
    abstract_name: String,
    _abstract: UnixListener,
    segment: Option<Segment>,
}

/// Shared memory; dropped: gone.
struct Segment {
    key: String,
    id: String,
}

impl Machine {
    /// Prepares them; the files in `folder`, which is to be `user`'s.
    pub(super) fn new(user: &OrdinaryUser) -> Self {
        let secret = format!("secret-of-{}", std::process::id());
        let file = user.folder("private").join("secret");
        fs::write(&file, &secret).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a file of one's own");
        if is_root() {
            chown(&file, Some(USER), Some(USER)).expect("a file of the user's");
        }
        let service = TcpListener::bind("0.0.0.0:0").expect("a port");
        let (served, word) = (service.try_clone().expect("a socket"), secret.clone());
        thread::spawn(move || {
            for mut client in served.incoming().flatten() {
                // One that has gone away again has not been served.
                let _ = client.write_all(word.as_bytes());
            }
        });
        let abstract_name = format!("goldimg-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let _abstract = UnixListener::bind_addr(&address).expect("a socket");
        Self { secret, file, service, abstract_name, _abstract, segment: Segment::new() }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let backwards = |text: &str| text.chars().rev().collect::<String>();
        let path = |path: &Path| backwards(path.to_str().expect("UTF-8"));
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let spaces = ["mnt", "pid", "ipc", "uts", "cgroup", "time", "net", "user"];
        let space = |name| fs::read_link(Path::new("/proc/self/ns").join(name)).unwrap_or_default();
        let spaces = spaces.map(|name| space(name).to_string_lossy().into_owned()).join(" ");
        let (disk, disk_name) = disk();
        // A socket that has sent nothing knows the address that it would send from.
        let own = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let route = own.connect("192.0.2.1:9").and_then(|()| own.local_addr());
        let address = route.map_or("127.0.0.2".to_owned(), |address| address.ip().to_string());
        let port = self.service.local_addr().expect("a port").port().to_string();
        vec![
            ("PROBE_SECRET", backwards(&self.secret)),
            ("PROBE_FILE", path(&self.file)),
            ("PROBE_FOLDER", path(self.file.parent().expect("a folder"))),
            ("PROBE_BOOT_ID", read("/proc/sys/kernel/random/boot_id")),
            (
                "PROBE_MACHINE_ID",
                Some(read("/etc/machine-id")).filter(|id| !id.is_empty()).unwrap_or("none".into()),
            ),
            ("PROBE_NAMESPACES", spaces),
            ("PROBE_DISK", disk),
            ("PROBE_DISK_NAME", backwards(&disk_name)),
            ("PROBE_PORT", port),
            ("PROBE_ADDRESS", address),
            ("PROBE_ABSTRACT", self.abstract_name.clone()),
            ("PROBE_SEGMENT", self.segment.as_ref().map_or("1".to_owned(), |segment| segment.key.clone())),
        ]
    }

    /// The step that probes, for a recipe.
    pub(super) fn step(&self) -> String {
        let variables: Vec<_> =
            self.variables().into_iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        assert!(!PROBES.contains("'''"), "the probes are a literal of TOML");
        format!(
            "[[steps]]\nrun = {{ script = '''\n{PROBES}''', environment = {{ {} }} }}\n",
            variables.join(", ")
        )
    }

    /// Gives `program` the caller's secrets, plainly.
    pub(super) fn plainly(&self, program: Invocation) -> Invocation {
        self.started(program, PLAIN)
    }

    /// Gives `program` the caller's secrets, and everything odd. `folder` is the caller's, too.
    pub(super) fn oddly(&self, program: Invocation, folder: &Path) -> Invocation {
        let variables = VARIABLES.map(|(name, value)| format!("{name}={value}"));
        let folders = ["TMPDIR", "HOME"].map(|name| format!("{name}={}", folder.display()));
        let variables = variables.iter().chain(&folders).map(String::as_str);
        let program = program.by_way_of(&std::iter::once("env").chain(variables).collect::<Vec<_>>());
        self.started(program, ODD)
    }

    fn started(&self, program: Invocation, way: &str) -> Invocation {
        let file = self.file.to_str().expect("UTF-8");
        program.env("CI_TOKEN", &self.secret).by_way_of(&["sh", "-euc", way, "sh", file])
    }

    /// What bwrap lets through, for the user.
    pub(super) fn beneath_bwrap(
        &self,
        bwrap: &Peer,
        user: &OrdinaryUser,
        tree: &Path,
    ) -> BTreeMap<String, String> {
        let script = user.folder("user").join("probes.pl");
        fs::write(&script, PROBES).expect("a file");
        let mut words: Vec<String> =
            ["--unshare-all", "--clearenv", "--die-with-parent", "--new-session"].map(str::to_owned).into();
        let mut add = |parts: &[&str]| words.extend(parts.iter().map(|part| (*part).to_owned()));
        add(&["--uid", "0", "--gid", "0", "--bind", tree.to_str().expect("UTF-8"), "/"]);
        add(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]);
        add(&["--ro-bind", script.to_str().expect("UTF-8"), "/tmp/probes.pl"]);
        for (name, value) in self.variables() {
            add(&["--setenv", name, &value]);
        }
        add(&["perl", "/tmp/probes.pl"]);
        let outcome = user.starts(bwrap.command(words), |program| program).run();
        assert_eq!(outcome.code, 0, "{}", outcome.snapshot());
        let allowed = allowed(&outcome.stdout);
        // It shows of this machine what it does: a probe that sees nothing anywhere is none.
        for name in ["process-1-maps", "boot-id", "unshare-user", "call-keyctl"] {
            assert!(allowed.contains_key(name), "{name} is denied by bwrap: {}", outcome.stdout);
        }
        allowed
    }

    /// Holds what the step found, by its `log`, against what it may find.
    pub(super) fn judge(&self, log: &Path, root: bool, bwrap: Option<&BTreeMap<String, String>>) {
        let text = fs::read_to_string(log).expect("a log");
        assert!(!text.contains(&self.secret), "the secret is in the log");
        let mut found = allowed(&text);
        let listed = ALLOWED.iter().chain(ALLOWED_TO_ROOT.iter().filter(|_| root && is_root()));
        for (name, why) in listed {
            assert!(found.remove(*name).is_some(), "{name} is not allowed any more, though {why}");
        }
        let beyond = |name: &String| bwrap.is_some_and(|bwrap| !bwrap.contains_key(name));
        let lines: Vec<String> = found
            .iter()
            .map(|(name, what)| {
                format!("{name}: {what}{}", if beyond(name) { " (bwrap denies it)" } else { "" })
            })
            .collect();
        assert!(lines.is_empty(), "a step of {} can:\n{}", log.display(), lines.join("\n"));
    }
}

/// What is allowed, by the probes' `text`, all of them.
fn allowed(text: &str) -> BTreeMap<String, String> {
    let said = |line: &str| {
        let (name, answer) = line.strip_prefix("probe ")?.split_once('=')?;
        Some((name.to_owned(), answer.to_owned()))
    };
    let all: BTreeMap<String, String> = text.lines().filter_map(said).collect();
    assert!(all.contains_key("end") && all.len() > 100, "the probes did not come to their end: {text}");
    all.into_iter()
        .filter_map(|(name, answer)| Some((name, answer.strip_prefix("allowed ")?.to_owned())))
        .collect()
}

/// The device of the disk that this machine's files are on, and its name.
fn disk() -> (String, String) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let on_disk = |line: &str| {
        let (fields, source) = line.split_once(" - ")?;
        let source = source.split_whitespace().nth(1)?.strip_prefix("/dev/")?;
        Some((fields.split_whitespace().nth(2)?.to_owned(), source.to_owned()))
    };
    // Without a disk, one that is not there.
    mounts.lines().find_map(on_disk).unwrap_or(("254:0".to_owned(), "no-disk".to_owned()))
}

impl Segment {
    fn new() -> Option<Self> {
        let output = Command::new("ipcmk").args(["-M", "4096", "-p", "0666"]).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        let id = said.trim().rsplit(' ').next()?.to_owned();
        let all = fs::read_to_string("/proc/sysvipc/shm").ok()?;
        let fields = |line: &str| {
            let mut fields = line.split_whitespace().map(str::to_owned);
            Some((fields.next()?, fields.next()?))
        };
        let (key, _) = all.lines().filter_map(fields).find(|(_, found)| *found == id)?;
        Some(Self { key, id })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // What stays is 4 KiB of memory.
        let _ = Command::new("ipcrm").args(["-m", &self.id]).status();
    }
}
