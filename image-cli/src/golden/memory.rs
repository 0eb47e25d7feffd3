//! How much memory a build may take: what the machine has to spare, and what its control groups still allow.
//!
//! ```text
//! /proc/meminfo                              MemAvailable
//! /proc/self/cgroup + /proc/self/mountinfo   the group of this process ─► its parent ─► … ─► the mount
//!                                            each: limit − (in use − what is only cached)
//! ```
//!
//! A memory filesystem counts as memory in use, of the machine and of every group above. What a container's runtime has
//! set further up than the container sees cannot be known.

use std::fs;
use std::path::{Path, PathBuf};

/// What a group may still take: a version of control groups, and the names of its files (cgroups(7)).
struct Version {
    filesystem: &'static str,
    limits: &'static [&'static str],
    usage: &'static str,
    /// What can be dropped, in `memory.stat`.
    cached: &'static [&'static str],
}

const V1: Version = Version {
    filesystem: "cgroup",
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    cached: &["total_inactive_file", "total_active_file"],
};
const V2: Version = Version {
    filesystem: "cgroup2",
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    cached: &["inactive_file", "active_file"],
};

/// What could be taken without swapping and without being killed, in bytes; `None` if that cannot be known.
pub(crate) fn to_spare() -> Option<u64> {
    spare_beneath(Path::new("/"))
}

/// As [`to_spare`], of a machine whose files are beneath `root`.
fn spare_beneath(root: &Path) -> Option<u64> {
    let of_machine = meminfo(&fs::read_to_string(root.join("proc/meminfo")).ok()?)?;
    let text = |name: &str| fs::read_to_string(root.join("proc/self").join(name)).unwrap_or_default();
    let (groups, mounts) = (text("cgroup"), text("mountinfo"));
    let spare = |version: &Version| {
        let group = groups.lines().find_map(|line| group_of(line, version))?;
        let (mount, folder) = mounts.lines().find_map(|line| folder_of(line, group, version))?;
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
        let beneath = |folder: &Path| root.join(folder.strip_prefix("/").unwrap_or(folder));
        folders.filter_map(|folder| version.spare(&beneath(folder))).min()
    };
    [Some(of_machine), spare(&V1), spare(&V2)].into_iter().flatten().min()
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The group of a line of `/proc/self/cgroup` (`number:controllers:path`), if it is the one that limits memory.
fn group_of<'t>(line: &'t str, version: &Version) -> Option<&'t str> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let limits = match version.filesystem {
        "cgroup2" => number == "0" && controllers.is_empty(),
        _ => controllers.split(',').any(|controller| controller == "memory"),
    };
    limits.then_some(path)
}

/// Where a line of mountinfo (proc_pid_mountinfo(5)) shows the groups, and where `group` is in it.
fn folder_of(line: &str, group: &str, version: &Version) -> Option<(PathBuf, PathBuf)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut words = filesystem.split(' ');
    let is_it = words.next()? == version.filesystem
        && (version.filesystem == "cgroup2" || words.nth(1)?.split(',').any(|option| option == "memory"));
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let point = PathBuf::from(point);
    // A group outside of what is mounted: then the mount itself is the nearest that can be seen.
    let inside = Path::new(group).strip_prefix(&root).unwrap_or(Path::new(""));
    is_it.then(|| (point.clone(), point.join(inside)))
}

/// A path of mountinfo, in which a space is `\040`.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

impl Version {
    /// What the group in `folder` may still take, if it has a limit.
    fn spare(&self, folder: &Path) -> Option<u64> {
        let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
        // "max" is no number; nor is the largest one a limit.
        let limit = |name: &&str| text(name)?.trim().parse::<u64>().ok().filter(|limit| *limit < 1 << 60);
        let limit = self.limits.iter().filter_map(limit).min()?;
        let used: u64 = text(self.usage)?.trim().parse().ok()?;
        let stat = text("memory.stat").unwrap_or_default();
        let number = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            self.cached.contains(&name).then(|| number.trim().parse::<u64>().ok())?
        };
        let cached = stat.lines().filter_map(number).fold(0, u64::saturating_add);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine with 64 GiB to spare.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(cgroup: &str, mountinfo: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.file("proc/meminfo", "MemTotal: 99 kB\nMemAvailable:   67108864 kB\n");
            machine.file("proc/self/cgroup", cgroup);
            machine.file("proc/self/mountinfo", mountinfo);
            machine
        }

        fn file(&self, path: &str, content: impl ToString) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content.to_string()).unwrap();
        }

        fn spare(&self) -> u64 {
            spare_beneath(self.0.path()).unwrap()
        }
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let machine = Machine::new(
            "0::/system.slice/ci.service/job\n",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(machine.spare(), 64 * GIB, "no limit anywhere");
        let group = |folder: &str, limit: &str, high: &str, used: u64, stat: &str| {
            for (name, content) in
                [("max", limit), ("high", high), ("current", &used.to_string()), ("stat", stat)]
            {
                machine.file(&format!("sys/fs/cgroup/{folder}/memory.{name}"), content);
            }
        };
        group("system.slice/ci.service/job", "max\n", "max\n", GIB, "");
        group(
            "system.slice",
            "8589934592\n",
            "max",
            3 * GIB,
            "anon 1\ninactive_file 1073741824\nactive_file 0\n",
        );
        assert_eq!(machine.spare(), 6 * GIB, "what is only cached is not taken");
        group("system.slice/ci.service", "max", "2147483648", GIB, "inactive_file 0\n");
        assert_eq!(machine.spare(), GIB, "beyond the high mark everything is slow");
        group("system.slice/ci.service", "1", "2", GIB, "");
        assert_eq!(machine.spare(), 0);
        group("other", "1", "1", 1, "");
    }

    #[test]
    fn in_a_container_the_mount_is_the_group() {
        for (cgroup, root) in [
            ("0::/\n", "/"),
            ("0::/docker/abc\n", "/docker/abc"),
            ("0::/../job\n", "/"),
            ("0::/\n", "/../.."),
        ] {
            let mounts = format!("30 23 0:26 {root} /sys/fs/c\\040g ro - cgroup2 cgroup rw\n");
            let machine = Machine::new(cgroup, &mounts);
            machine.file("sys/fs/c g/memory.max", 4 * GIB);
            machine.file("sys/fs/c g/memory.current", GIB);
            assert_eq!(machine.spare(), 3 * GIB, "{cgroup} {root}");
        }
    }

    #[test]
    fn the_first_version_has_limits_too() {
        let machine = Machine::new(
            "11:cpu,cpuacct:/x\n10:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n",
            "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 23 0:28 /docker /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        );
        machine.file("sys/fs/cgroup/cpu/x/memory.limit_in_bytes", 1);
        machine.file("sys/fs/cgroup/memory/memory.limit_in_bytes", 9_223_372_036_854_771_712_u64);
        machine.file("sys/fs/cgroup/memory/memory.usage_in_bytes", 5 * GIB);
        assert_eq!(machine.spare(), 64 * GIB);
        machine.file("sys/fs/cgroup/memory/abc/memory.limit_in_bytes", 6 * GIB);
        machine.file("sys/fs/cgroup/memory/abc/memory.usage_in_bytes", 3 * GIB);
        machine.file("sys/fs/cgroup/memory/abc/memory.stat", "cache 1\ntotal_inactive_file 1073741824\n");
        assert_eq!(machine.spare(), 4 * GIB);
    }

    #[test]
    fn what_is_no_group_changes_nothing() {
        for (cgroup, mounts) in
            [("", ""), ("nonsense\n0::\n", "a b c\n - cgroup2\n"), ("0::/x\n", "1 2 3 / /x rw - ext4 a b")]
        {
            assert_eq!(Machine::new(cgroup, mounts).spare(), 64 * GIB);
        }
        assert_eq!(spare_beneath(Path::new("/nowhere")), None);
        assert!(to_spare().is_some());
    }
}
