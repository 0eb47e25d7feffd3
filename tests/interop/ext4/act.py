"""Does to a folder what a list says, as the kernel does it: act.py FOLDER LIST.

A line is an operation and its words, tabs between them; names and values in hexadecimal. For each a line is printed: `ok`, or the
error's name.
"""

import errno
import os
import shutil
import stat
import struct
import sys
import fcntl

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
KINDS = {"char": stat.S_IFCHR, "block": stat.S_IFBLK, "pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK}
top = os.fsencode(sys.argv[1])


def at(word):
    return top + b"/" + bytes.fromhex(word)


def content(seed, length):
    """As the other side makes it."""
    return bytes((seed + index * 7 + (index >> 8)) & 0xFF for index in range(length))


def own(path, mode, uid, gid):
    os.lchown(path, int(uid), int(gid))
    if not os.path.islink(path):
        os.chmod(path, int(mode, 8))


def make(path, mode, uid, gid):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    own(path, mode, uid, gid)


def mkdir(path, mode, uid, gid):
    os.mkdir(path)
    own(path, mode, uid, gid)


def mknod(path, kind, major, minor, mode, uid, gid):
    os.mknod(path, KINDS[kind] | 0o600, os.makedev(int(major), int(minor)))
    own(path, mode, uid, gid)


def write(path, flags, place, seed, length):
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no file")
        data = content(int(seed), int(length))
        if place is None:
            os.write(fd, data)
        else:
            os.pwrite(fd, data, int(place))
    finally:
        os.close(fd)


def truncate(path, size):
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.ftruncate(fd, int(size))
    finally:
        os.close(fd)


def chattr(path, mask, flags):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not (stat.S_ISREG(os.fstat(fd).st_mode) or stat.S_ISDIR(os.fstat(fd).st_mode)):
            raise OSError(errno.EINVAL, "no file")
        now = struct.unpack("=I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])[0]
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=Q", now & ~int(mask) | int(flags)))
    finally:
        os.close(fd)


def chmod(path, mode):
    if os.path.islink(path):
        raise OSError(errno.EINVAL, "a link")
    os.chmod(path, int(mode, 8))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def remove_tree(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def do(what, path, words):
    match what:
        case "make":
            make(path, *words)
        case "mkdir":
            mkdir(path, *words)
        case "symlink":
            os.symlink(bytes.fromhex(words[0]), path)
            os.lchown(path, int(words[1]), int(words[2]))
        case "mknod":
            mknod(path, *words)
        case "link":
            os.link(path, at(words[0]), follow_symlinks=False)
        case "rename":
            os.rename(path, at(words[0]))
        case "remove":
            remove(path)
        case "tree":
            remove_tree(path)
        case "chmod":
            chmod(path, *words)
        case "chown":
            os.lchown(path, int(words[0]), int(words[1]))
        case "times":
            os.utime(path, ns=(int(words[0]), int(words[1])), follow_symlinks=False)
        case "chattr":
            chattr(path, *words)
        case "set":
            os.setxattr(path, bytes.fromhex(words[0]), bytes.fromhex(words[1]), follow_symlinks=False)
        case "take":
            os.removexattr(path, bytes.fromhex(words[0]), follow_symlinks=False)
        case "write":
            write(path, 0, *words)
        case "append":
            write(path, os.O_APPEND, None, *words)
        case "replace":
            write(path, os.O_TRUNC, 0, *words)
        case "truncate":
            truncate(path, *words)
        case _:
            sys.exit(f"no operation: {what}")


os.umask(0)
for line in open(sys.argv[2]):
    what, path, *words = line.rstrip("\n").split("\t")
    try:
        do(what, at(path), words)
        print("ok")
    except OSError as error:
        print(errno.errorcode.get(error.errno, str(error.errno)))
