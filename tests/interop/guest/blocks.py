"""What is in large files, wherever a filesystem has holes in them: blocks.py FOLDER. A line for each: its path, and a digest of all blocks
that are not zeroes, with their places."""

import errno
import hashlib
import os
import stat
import sys

LARGE = 64 << 20
BLOCK = 4096


def data(fd):
    at = 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield from range(start - start % BLOCK, at, BLOCK)


for folder, _, names in os.walk(sys.argv[1]):
    for path in (os.path.join(folder, name) for name in names):
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size <= LARGE:
            continue
        sha = hashlib.sha256()
        with open(path, "rb") as file:
            for at in data(file.fileno()):
                block = os.pread(file.fileno(), BLOCK, at)
                if block.strip(b"\0"):
                    sha.update(at.to_bytes(8, "little") + block)
        print(os.path.relpath(path, sys.argv[1]), sha.hexdigest())
