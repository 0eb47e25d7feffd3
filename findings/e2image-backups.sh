#!/bin/sh
# Guess: `e2image -ra` ("all data") copies all of an ext4 but its free blocks, and its qcow2 (`-Qa`) is clean.
# Instead the copies of the superblock and of the group descriptors are left out: e2fsck -b finds nothing where dumpe2fs still lists
# them, and nobody says so until the first superblock is lost. In the qcow2 one cluster is leaked: `qemu-img check` ends with 3.
# The same in 1.47.0, 1.47.2 and 1.47.4. `e2fsck -fy` does not write the copies anew, `tune2fs -U UUID` and a resize do.
set -eu
export LC_ALL=C
work=$(mktemp -d)
trap 'code=$?; rm -rf "$work"; [ "$code" = 0 ] || echo "$0: ended with $code" >&2' EXIT
trap 'exit 1' HUP INT TERM

# Unpacks packages of a suite, with what they need, into a folder. Nothing is configured or installed.
unpack() {
    mmdebstrap --quiet --mode=root --variant=extract --include="$2" "$1" "$work/$1" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "$0: the archive no longer has, in $1: $2" >&2
        exit 2
    }
    mkdir "$work/$1/w"
}

# Runs a line of shell in such a folder.
run() {
    chroot "$work/$1" dash -c "cd /w; $2"
}

seen=
for release in bookworm=e2fsprogs=1.47.0-2+b2,libext2fs2=1.47.0-2+b2,qemu-utils=1:7.2+dfsg-7+deb12u18+b3 \
    trixie=e2fsprogs=1.47.2-3+b12,libext2fs2t64=1.47.2-3+b12,qemu-utils=1:10.0.13+ds-0+deb13u1; do
    suite=${release%%=*}
    unpack "$suite" "${release#*=},dash,coreutils,base-files"
    : >"$work/$suite/etc/mtab"
    run "$suite" 'mkdir tree; head -c 1M /dev/zero | tr "\0" x >tree/file; mke2fs -q -t ext4 -b 4096 -d tree a.img 300M
        e2image -ra a.img copy.img; e2image -Qa a.img copy.qcow2' >"$work/log" 2>&1 || cat "$work/log" >&2
    # 8 is "operational error": there is no superblock. 4 is "errors left": the copies are older than the first one.
    check() {
        code=0
        run "$suite" "e2fsck -fn $1 >said 2>&1" || code=$?
        echo "exit $code"
    }
    seen="$seen$(run "$suite" 'mke2fs -V 2>&1' | sed -n '1s/^mke2fs \([^ ]*\) .*/e2image \1/p'): e2fsck -fn of the copy: $(check copy.img);"
    seen="$seen with -b 32768: source $(check '-b 32768 -B 4096 a.img'), copy $(check '-b 32768 -B 4096 copy.img'),"
    seen="$seen \"$(sed -n 2p "$work/$suite/w/said")\"; qemu-img check of the qcow2:"
    code=0
    run "$suite" 'qemu-img check copy.qcow2 >said 2>&1' || code=$?
    seen="$seen exit $code, $(sed -n 's/ were found.*//p' "$work/$suite/w/said"). "
done
facts='e2fsck -fn of the copy: exit 0; with -b 32768: source exit 4, copy exit 8,'
facts="$facts \"e2fsck: Bad magic number in super-block while trying to open copy.img\"; qemu-img check of the qcow2: exit 3, 1 leaked clusters"
known="e2image 1.47.0: $facts. e2image 1.47.2: $facts. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
