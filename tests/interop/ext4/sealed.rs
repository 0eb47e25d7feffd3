//! A whole disk that was lived in, through a kernel: everything that was removed before, and everything that sealing removes, is
//! looked for in the bytes of the sealed image. Nothing of it is left, and what was to stay is as it was.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::changed::assert_clean;
use super::witness::{Judge, say};
use crate::support::peer::peer;
use crate::support::{folder, goldimg};

/// What all secrets have; a number follows.
const SECRET: &str = "SECRET-OF-ROW-";

/// A system that served for a while. Each secret is written once, and then removed where it says so; those of `later` are for
/// sealing. The number of secrets is printed.
const LIVE: &str = r#"
import os, sys, subprocess
os.chdir(sys.argv[1])
count = 0
def secret():
    global count
    count += 1
    return 'SECRET-OF-ROW-%03d-END' % count
def write(path, content):
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'w') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path
def run(*words):
    subprocess.run(words, check=True)
def settle():
    os.sync()

write('etc/fstab', 'LABEL=root / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n')
write('srv/kept', 'kept\n' * 3000)
write('srv/small', 'kept')

# Removed while the system lived.
gone = []
for size in (10, 130, 3000, 20000):
    gone.append(write('srv/gone-%d' % size, secret() + 'x' * size))
gone.append(write('journalled', secret() * 50))
for length in (0, 100, 900):
    path = 'srv/link-%d' % length; os.symlink(secret() + 't' * length, path); gone.append(path)
for length in (1, 60, 200):
    gone.append(write('srv/' + secret() + 'n' * length, 'named'))
for length in (20, 300, 3000, 20000):
    path = write('srv/attribute-%d' % length, ''); os.setxattr(path, 'user.a', (secret() + 'v' * length).encode()); gone.append(path)
path = write('srv/named-attribute', ''); os.setxattr(path, 'user.' + secret(), b'v'); gone.append(path)
path = write('srv/group', ''); run('setfacl', '-m', 'u:1234:rw', path); gone.append(path)
settle()
for path in gone:
    os.unlink(path)
os.makedirs('srv/tree/' + secret() + '/below'); write('srv/tree/file', secret()); settle(); run('rm', '-r', 'srv/tree')
for index in range(1500):
    write('srv/many/%d-%s' % (index, secret() if index % 300 == 0 else 'n' * 30), '')
settle(); run('rm', '-r', 'srv/many')
write('srv/many-left/' + secret(), ''); write('srv/many-left/stays', ''); settle(); os.unlink('srv/many-left/' + 'SECRET-OF-ROW-%03d-END' % count)

# Of files that stay.
path = write('srv/renamed-' + secret(), 'stays'); settle(); os.rename(path, 'srv/renamed')
path = write('srv/shorter', 'stays' + 'x' * 500 + secret()); settle(); os.truncate(path, 5)
path = write('srv/much-shorter', 'stays' + 'x' * 30000 + secret()); settle(); os.truncate(path, 5)
path = write('srv/rewritten', secret() * 300); settle(); os.unlink(path); write(path, 'stays')
path = write('srv/punched', secret() + 'x' * 20000); settle(); run('fallocate', '-p', '-o', '0', '-l', '16384', path)
path = write('srv/zeroed', secret() + 'x' * 20000); settle(); run('fallocate', '-z', '-o', '0', '-l', '16384', path)
path = write('srv/without-attribute', 'stays')
for length in (20, 2000, 20000):
    os.setxattr(path, 'user.a', (secret() + 'v' * length).encode()); settle(); os.removexattr(path, 'user.a')
os.setxattr(path, 'user.b', b'stays')
os.symlink(secret(), 'srv/link'); settle(); os.unlink('srv/link'); os.symlink('kept', 'srv/link')

# For sealing.
def later(path, content='%s\n'):
    write(path, content % secret())
key = '-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n'
for name in ('rsa', 'ecdsa', 'ed25519'):
    later('etc/ssh/ssh_host_%s_key' % name, key)
os.link('etc/ssh/ssh_host_rsa_key', 'srv/another-name-of-a-key')
for path in ('root/.bash_history', 'home/ann/.bash_history', 'home/ann/.zsh_history', 'root/.viminfo', 'root/.lesshst',
             'root/.python_history', 'root/.aws/credentials', 'home/ann/.netrc', 'home/ann/.git-credentials',
             'home/ann/.docker/config.json', 'home/ann/.kube/config', 'var/log/syslog', 'var/log/app/deep.log',
             'var/log/journal/0123/system.journal', 'var/tmp/file', 'tmp/file', 'var/lib/systemd/random-seed',
             'var/lib/cloud/instances/i-1/user-data.txt', 'var/lib/dhcp/dhclient.eth0.leases',
             'var/lib/NetworkManager/secret_key', 'var/lib/dbus/machine-id', 'var/cache/apt/archives/x.deb',
             'var/lib/apt/lists/x_Packages', 'var/mail/root', 'var/spool/exim4/input/x-D',
             'var/lib/systemd/coredump/core.x'):
    later(path)
write('etc/machine-id', '0123456789abcdef0123456789abcdef\n')
later('etc/shadow', 'root:$y$j9T$%s:1:0:99999:7:::\n'); os.chmod('etc/shadow', 0o640)
write('etc/passwd', 'root:x:0:0::/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n')
run('fallocate', '-l', '1M', 'swapfile'); 
with open('swapfile', 'r+b') as file:
    file.write(b'\0' * (1 << 20)); file.flush(); os.fsync(file.fileno())
os.chmod('swapfile', 0o600); run('mkswap', 'swapfile')
with open('swapfile', 'r+b') as file:
    file.seek(70000); file.write(secret().encode())
settle()
print('rows=%d' % count)
"#;

/// The numbers of the secrets that are somewhere in `bytes`.
fn rows(bytes: &[u8]) -> Vec<u32> {
    let mark = SECRET.as_bytes();
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == mark[0]);
    let number = |at: usize| {
        let rest = bytes.get(at..)?.strip_prefix(mark)?;
        std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
    };
    let mut rows: Vec<u32> = starts.filter_map(|(at, _)| number(at)).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// A disk with an EFI system partition, swap space and the filesystem `root`; gaps are between them and behind.
fn disk(path: &Path, root: &Path, first_row: u32) -> u64 {
    const MIB: u64 = 1 << 20;
    let root = fs::read(root).unwrap();
    let root_end = 60 * MIB + root.len() as u64;
    fs::File::create(path).unwrap().set_len(root_end + 8 * MIB).unwrap();
    let text = path.to_str().expect("UTF-8");
    let sectors = |from: u64, end: u64| format!("{}:{}", from / 512, end / 512 - 1);
    let parts = [(MIB, 41 * MIB, "ef00"), (42 * MIB, 50 * MIB, "8200"), (60 * MIB, root_end, "8300")];
    for (number, (from, end, kind)) in (1..).zip(parts) {
        let (range, kind) = (format!("{number}:{}", sectors(from, end)), format!("{number}:{kind}"));
        peer("sgdisk").expect("sgdisk").must(["-n", &range, "-t", &kind, text]);
    }
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    file.write_all_at(&root, 60 * MIB).unwrap();

    let esp = path.with_extension("esp");
    let esp_text = esp.to_str().expect("UTF-8");
    fs::File::create(&esp).unwrap().set_len(40 * MIB).unwrap();
    peer("mkfs.fat").expect("mkfs.fat").must(["-F", "32", esp_text]);
    let secret = |row: u32| format!("{SECRET}{:03}-END", first_row + row);
    let source = path.with_extension("source");
    for (row, name) in [(0, "::/KEPT"), (1, "::/gone with a long name"), (2, "::/SHORT")] {
        fs::write(&source, if row == 0 { "kept".to_owned() } else { secret(row).repeat(200) }).unwrap();
        peer("mcopy").expect("mcopy").must(["-i", esp_text, source.to_str().unwrap(), name]);
        if row > 0 {
            peer("mdel").expect("mdel").must(["-i", esp_text, name]);
        }
    }
    file.write_all_at(&fs::read(&esp).unwrap(), MIB).unwrap();
    let swap = path.with_extension("swap");
    fs::File::create(&swap).unwrap().set_len(8 * MIB).unwrap();
    peer("mkswap").expect("mkswap").must([swap.to_str().unwrap()]);
    file.write_all_at(&fs::read(&swap).unwrap(), 42 * MIB).unwrap();
    for (row, at) in
        [(3, 42 * MIB + 65_536), (4, 50 * MIB - 30), (5, 41 * MIB + 9), (6, 55 * MIB), (7, root_end + MIB)]
    {
        file.write_all_at(secret(row).as_bytes(), at).unwrap();
    }
    for beside in [esp, source, swap] {
        fs::remove_file(beside).unwrap();
    }
    root_end
}

#[test]
fn ext4_of_a_whole_disk_has_nothing_left_of_what_was_removed() {
    let Some(judge) = Judge::find() else { return };
    for name in ["sgdisk", "mkfs.fat", "fsck.fat", "mcopy", "mdel", "mtype", "mkswap"] {
        let Some(_) = peer(name) else { return };
    }
    let mut kinds = 0;
    for (options, words) in [
        ("data=journal", "-t ext4 -b 1024 -I 256 -O inline_data,ea_inode"),
        ("data=ordered", "-t ext4 -b 4096 -I 256 -O ea_inode,bigalloc -C 16384"),
        ("data=journal", "-t ext4 -b 4096 -I 128 -O ^metadata_csum,^64bit,ea_inode"),
    ] {
        let dir = folder();
        let [root, image, live] = ["root", "disk.raw", "live.py"].map(|name| dir.path().join(name));
        let list: Vec<&str> = words.split(' ').chain(["-L", "root", "-E", "lazy_itable_init=0"]).collect();
        judge.make(&root, "96M", &list);
        fs::write(&live, LIVE).unwrap();
        // A file whose content goes through the journal, however it is mounted: chattr +j needs a right that containers lack.
        let write = format!("write {} journalled", live.display());
        for request in [write.as_str(), "set_inode_field journalled flags 0x84000"] {
            judge.debugfs.must(["-w", "-R", request, root.to_str().expect("UTF-8")]);
        }
        let said = judge.with_mount(&root, options, &format!("python3 {} $M", live.display()));
        let told = said.lines().find_map(|line| line.strip_prefix("rows=")).expect("the number of rows");
        let lived: u32 = told.parse().expect("a number");
        let root_end = disk(&image, &root, lived);
        let planted = rows(&fs::read(&image).unwrap());
        // What a kernel wrote over already is gone, and that is little.
        let left = planted.iter().filter(|row| **row <= lived).count() as u32;
        assert!(left > lived / 2, "{left} of {lived}: {words}");
        kinds += planted.len();

        let sealed = goldimg(["seal", "--profile", "any", image.to_str().expect("UTF-8")]).run();
        // It does not boot, which sealing does not repair.
        assert_eq!(sealed.code, 1, "{}", sealed.snapshot());
        let bytes = fs::read(&image).unwrap();
        assert_eq!(rows(&bytes), Vec::<u32>::new(), "{words}\n{}", sealed.snapshot());
        fs::write(&root, &bytes[60 << 20..root_end as usize]).unwrap();
        assert_clean(&root, words);
        let script = "(cd $M/srv; cat small renamed shorter much-shorter rewritten without-attribute link; \
             python3 -c 'import os; print(os.getxattr(\"without-attribute\", \"user.b\").decode())'; ls many-left)";
        let left = judge.with_mount(&root, "ro", script);
        let kept = format!("kept{}{}stays\nstays\n", "stays".repeat(5), "kept\n".repeat(3000));
        assert_eq!(left, kept, "{words}");
        fs::write(&root, &bytes[1 << 20..41 << 20]).unwrap();
        let esp = root.to_str().expect("UTF-8");
        assert_eq!(peer("mtype").expect("mtype").must(["-i", esp, "::/KEPT"]), "kept");
        assert_eq!(peer("fsck.fat").expect("fsck.fat").run(["-n", esp]).code, 0);
    }
    say(kinds, "secrets of a whole disk are gone");
    assert!(kinds >= 120, "{kinds}");
}
