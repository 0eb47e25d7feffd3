"""Fills a folder with every kind of file that a filesystem may have: fill.py FOLDER WORD…

Each word is a set of files. What a filesystem cannot have (attributes that are too long, files that are too large) is left out.
"""

import os
import random
import socket
import subprocess
import sys

top = sys.argv[1]
os.umask(0)
noise = random.Random(13)


def at(*names):
    path = os.path.join(top, *names)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
    return path


def attempt(what, *words, **named):
    try:
        what(*words, **named)
        return True
    except OSError as error:
        print(f"left out: {error}", file=sys.stderr)
        return False


def kinds():
    """Files of every kind and size, names of every byte, links of every length."""
    for size in (0, 1, 59, 60, 61, 100, 130, 156, 160, 161, 200, 1000, 1023, 1024, 4095, 4096, 5000, 65536, 300_000):
        write(at("kinds", f"size-{size}"), noise.randbytes(size))
    for length in (1, 20, 58, 59, 60, 61, 100, 159, 160, 900, 1023, 4000):
        attempt(os.symlink, "t" * length, at("kinds", f"link-{length}"))
    os.symlink("../kinds/./size-61", at("kinds", "relative"))
    os.symlink("/kinds", at("kinds", "absolute"))
    os.link(at("kinds", "size-1000"), at("kinds", "second-name"))
    for name, kind, major, minor in (("tty", 0o020000, 5, 0), ("disk", 0o060000, 8, 17), ("far", 0o060000, 259, 65537), ("old", 0o020000, 255, 255)):
        os.mknod(at("kinds", name), kind | 0o640, os.makedev(major, minor))
    os.mkfifo(at("kinds", "pipe"))
    os.chdir(at("kinds", ""))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    os.chdir("/")
    folder = os.fsencode(at("kinds", "names", ""))
    for name in (b"new\nline", b"\xff\xfe", b"\xc3\xa4\xc3\xb6", b"quote\"'`$ \\", b"-rf", b"a" * 255, b" ", b"\x01"):
        write(folder + name, name)
    for mode in (0o4755, 0o2755, 0o1777, 0, 0o7777):
        os.chmod(write(at("kinds", f"mode-{mode:o}"), b"x"), mode)
    for uid, gid in ((0, 1), (65534, 65534), (70000, 80000), (4294967294, 4294967290)):
        os.chown(write(at("kinds", f"owner-{uid}"), b"x"), uid, gid)
    at("kinds", "deep", *"abcdefghijklmnopqrstuvwxyz" * 4, "")
    os.mkdir(at("kinds", "empty"))
    for count in range(3, 12):
        for index in range(count):
            write(at("kinds", f"few-{count}", f"n{index}"), b"")


def times():
    """From 1901 to 2446, to the nanosecond."""
    for second in (-2_147_483_648, -1_500_000_000, -1, 0, 1, 2_147_483_647, 2_147_483_648, 4_294_967_296, 7_000_000_000, 15_032_385_535):
        for nanosecond in (0, 1, 999_999_999):
            path = write(at("times", f"{second}.{nanosecond}"), b"")
            os.utime(path, ns=(second * 10**9 + nanosecond, (second + 1) * 10**9 - nanosecond))


def attributes():
    """Of every namespace and length, and access control lists."""
    for length in (0, 1, 10, 60, 100, 400, 900, 1500, 3000, 5000, 20_000, 65_000):
        path = write(at("attributes", f"value-{length}"), b"x" * (length % 200))
        attempt(os.setxattr, path, "user.value", noise.randbytes(length))
    path = write(at("attributes", "many"), b"many")
    for index in range(30):
        attempt(os.setxattr, path, f"user.number{index}", noise.randbytes(index * 7))
    path = write(at("attributes", "spaces"), b"")
    for space in ("user.x", "trusted.x", "security.x"):
        os.setxattr(path, space, space.encode())
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    folder = at("attributes", "folder", "")
    for index in range(5):
        write(at("attributes", "folder", f"in-{index}"), b"in a folder with attributes")
    attempt(os.setxattr, folder, "user.folder", b"f" * 50)
    attempt(os.symlink, "somewhere", at("attributes", "link"))
    attempt(os.setxattr, at("attributes", "link"), "trusted.link", b"l" * 30, follow_symlinks=False)
    attempt(os.symlink, "s" * 100, at("attributes", "long-link"))
    attempt(os.setxattr, at("attributes", "long-link"), "trusted.link", b"l" * 300, follow_symlinks=False)
    for words in (["-m", "u:1000:rw,u:70000:r,g:5:x,m::rx", at("attributes", "spaces")], ["-d", "-m", "u:33:rwx,g:33:r", folder], ["-m", "g:1:r", folder]):
        subprocess.run(["setfacl", *words], check=True)
    # Two that share one block.
    for index in range(4):
        attempt(os.setxattr, write(at("attributes", f"shared-{index}"), b"s"), "user.shared", b"v" * 700)


def stored():
    """Fragments, holes, blocks that were never written, and more blocks than the size says."""
    block = os.statvfs(top).f_bsize
    for name, count in (("fragments-9", 18), ("fragments-300", 600), ("fragments-1500", 3000)):
        path = write(at("stored", name), noise.randbytes(block) * count)
        with open(path, "r+b") as file:
            os.fsync(file.fileno())
            for index in range(1, count, 2):
                if not attempt(punch, path, index * block, block):
                    break
    for size in (10**9, 2**31 + 5, 2**38, 2**43):
        path = at("stored", f"sparse-{size}")
        with open(path, "wb") as file:
            if attempt(os.truncate, path, size):
                for place in (0, block * 13, 5_000_000, size // 3, size - 7):
                    attempt(os.pwrite, file.fileno(), noise.randbytes(7), place)
            else:
                os.unlink(path)
    path = at("stored", "unwritten")
    if attempt(allocate, path, 40 * block):
        with open(path, "r+b") as file:
            os.pwrite(file.fileno(), noise.randbytes(3 * block), 11 * block)
            os.pwrite(file.fileno(), b"end", 39 * block)
    path = write(at("stored", "beyond"), b"short")
    attempt(allocate, path, 100 * block, "--keep-size")
    write(at("stored", "large"), noise.randbytes(1 << 20) * 9)
    with open(at("stored", "holes-by-seeking"), "wb") as file:
        for index in range(0, 700, 3):
            os.pwrite(file.fileno(), noise.randbytes(block), index * block)


def punch(path, offset, length):
    if subprocess.run(["fallocate", "--punch-hole", "-o", str(offset), "-l", str(length), path], stderr=subprocess.DEVNULL).returncode:
        raise OSError("no holes can be punched")


def allocate(path, length, *words):
    if subprocess.run(["fallocate", *words, "-l", str(length), path], stderr=subprocess.DEVNULL).returncode:
        raise OSError("no blocks can be set aside")


def many():
    """Folders with an index, of which names were removed."""
    for folder, count in (("thousands", 20_000), ("hundreds", 700)):
        for index in range(count):
            write(at(folder, f"{index}-{noise.getrandbits(40):x}-a-file-of-many"), b"")
        for index, name in enumerate(sorted(os.listdir(at(folder, "")))):
            if index % 3 == 0:
                os.unlink(at(folder, name))
    for index in range(300):
        at("folders", f"folder-{index}", "")


def encrypted():
    """In a folder whose policy is set already."""
    for name in ("short", "b", "long" * 12, "x" * 200):
        write(at("encrypted", name), name.encode() * 300)
    at("encrypted", "folder", "inside", "")
    os.symlink("a target", at("encrypted", "link"))
    for index in range(400):
        write(at("encrypted", "many", f"name number {index}"), b"")


def small():
    """A little of everything, in a megabyte."""
    for size in (0, 1, 100, 200, 3000):
        path = write(at("small", f"size-{size}"), noise.randbytes(size))
        attempt(os.setxattr, path, "user.value", noise.randbytes(size))
    for length in (10, 100, 700):
        os.symlink("t" * length, at("small", f"link-{length}"))
    os.symlink("../small", at("small", "again"))
    os.symlink("round", at("small", "round"))
    os.mknod(at("small", "tty"), 0o020640, os.makedev(5, 0))
    for index in range(60):
        write(at("small", "index", f"{index}-{'n' * 60}"), b"")
    for index in range(4):
        write(at("small", f"folder-{index}", "inside", "file"), b"inside")
    block = os.statvfs(top).f_bsize
    for name, step in (("fragments", 2), ("sparse", 300)):
        with open(at("small", name), "wb") as file:
            for index in range(0, 60 * step // 2, step):
                os.pwrite(file.fileno(), b"x" * block, index * block)
    subprocess.run(["setfacl", "-m", "u:1000:rw", at("small", "size-1")], check=True)


def changes():
    """What is done to what is there, and stays in the journal."""
    for index in range(200):
        write(at("changes", f"new-{index}"), noise.randbytes(index * 40))
    for index in range(0, 200, 4):
        os.unlink(at("changes", f"new-{index}"))
    for index in range(1, 200, 4):
        os.rename(at("changes", f"new-{index}"), at("changes", f"moved-{index}"))
    os.symlink("z" * 200, at("changes", "link"))
    # A block that begins as the journal's own do.
    write(at("changes", "escaped"), bytes.fromhex("c03b3998") * 5000)
    if os.path.exists(at("kinds", "size-300000")):
        os.truncate(at("kinds", "size-300000"), 70_000)
        os.unlink(at("kinds", "size-5000"))
        os.unlink(at("kinds", "second-name"))


if __name__ == "__main__":
    for word in sys.argv[2:]:
        globals()[word]()
