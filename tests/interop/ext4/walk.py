"""Every file beneath a folder as a line, as the kernel tells it: walk.py FOLDER."""

import errno
import fcntl
import hashlib
import os
import stat
import struct
import sys

KINDS = {
    stat.S_IFREG: "File",
    stat.S_IFDIR: "Directory",
    stat.S_IFLNK: "Link",
    stat.S_IFCHR: "CharacterDevice",
    stat.S_IFBLK: "BlockDevice",
    stat.S_IFIFO: "Pipe",
    stat.S_IFSOCK: "Socket",
}
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_GETVERSION = 0x80087601
# What is hashed as a whole; of larger files only what is stored.
WHOLE = 64 << 20


def text(name):
    return "".join(chr(b) if 32 < b < 127 and b != 92 else f"\\x{b:02x}" for b in name)


def digest(pieces):
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


def read(fd, offset, length):
    while length > 0:
        piece = os.pread(fd, min(length, 1 << 20), offset)
        if not piece:
            break
        yield piece
        offset += len(piece)
        length -= len(piece)


def ranges(fd, size):
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at - start


def content(path, size):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        return [f"content=E{error.errno}"]
    try:
        stored = list(ranges(fd, size))
        listed = ",".join(f"{start}+{length}" for start, length in stored)
        pieces = read(fd, 0, size) if size <= WHOLE else (p for s, n in stored for p in read(fd, s, n))
        return [f"stored={hashlib.sha256(listed.encode()).hexdigest()[:16]}:{len(stored)}", f"content={digest(pieces)}"]
    finally:
        os.close(fd)


def ioctls(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        both = [struct.unpack("=I", fcntl.ioctl(fd, code, bytes(8))[:4])[0] for code in (FS_IOC_GETFLAGS, FS_IOC_GETVERSION)]
        return [f"flags={both[0]:x}", f"generation={both[1]}"]
    except OSError:
        return []
    finally:
        os.close(fd)


def line(path, shown):
    s = os.lstat(path)
    kind = KINDS[stat.S_IFMT(s.st_mode)]
    out = [text(shown) or ".", kind, f"mode={stat.S_IMODE(s.st_mode):o}", f"owner={s.st_uid}:{s.st_gid}", f"size={s.st_size}"]
    out += [f"links={s.st_nlink}", f"inode={s.st_ino}", f"sectors={s.st_blocks}"]
    out += [f"accessed={s.st_atime_ns}", f"modified={s.st_mtime_ns}", f"changed={s.st_ctime_ns}"]
    if kind.endswith("Device"):
        out.append(f"device={os.major(s.st_rdev)}:{os.minor(s.st_rdev)}")
    if kind == "Link":
        try:
            out.append("target=" + text(os.readlink(path)))
        except OSError as error:
            out.append(f"target=E{error.errno}")
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, name, follow_symlinks=False)
        out.append(f"attribute={text(os.fsencode(name))}:{len(value)}:{digest([value])[:16]}")
    if kind in ("File", "Directory"):
        try:
            out += ioctls(path)
        except OSError:
            pass
    if kind == "File":
        out += content(path, s.st_size)
    return " ".join(out)


def walk(path, shown):
    print(line(path, shown))
    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            walk(path + b"/" + name, shown + b"/" + name if shown else name)


sys.setrecursionlimit(100_000)
walk(os.fsencode(sys.argv[1]), b"")
