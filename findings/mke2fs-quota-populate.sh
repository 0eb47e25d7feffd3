#!/bin/sh
# Guess: a filesystem that `mke2fs -O quota -d FOLDER` has just made is clean for e2fsck.
# Instead the quota files are written before the folder is copied in: they count the empty filesystem, and `e2fsck -fn` ends with 4.
# The same in 1.47.0, 1.47.2 and 1.47.4, for project quotas too; the other features tried (bigalloc, casefold, verity, inline_data, mmp)
# are clean. Run `e2fsck -fp` over the new filesystem (it ends with 1, "corrected"), or turn quota on with tune2fs afterwards.
set -eu
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
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
for release in bookworm=e2fsprogs=1.47.0-2+b2,libext2fs2=1.47.0-2+b2 trixie=e2fsprogs=1.47.2-3+b12,libext2fs2t64=1.47.2-3+b12; do
    suite=${release%%=*}
    unpack "$suite" "${release#*=},dash,coreutils,base-files"
    : >"$work/$suite/etc/mtab"
    run "$suite" 'mkdir tree; head -c 1M /dev/zero | tr "\0" x >tree/file
        mke2fs -q -t ext4 -d tree plain.img 64M; mke2fs -q -t ext4 -O quota -d tree quota.img 64M' >/dev/null
    check() {
        code=0
        run "$suite" "e2fsck -fn $1.img 2>&1" >"$work/said" || code=$?
        echo "exit $code"
    }
    seen="$seen$(run "$suite" 'mke2fs -V 2>&1' | sed -n '1s/ (.*//p'): e2fsck -fn without quota: $(check plain); with quota: $(check quota),"
    seen="$seen \"$(sed -n '/QUOTA/{p;q}' "$work/said")\"; e2fsck -fp:"
    code=0
    run "$suite" 'e2fsck -fp quota.img >/dev/null 2>&1' || code=$?
    seen="$seen exit $code; again -fn: $(check quota). "
done
facts='e2fsck -fn without quota: exit 0; with quota: exit 4,'
facts="$facts \"[QUOTA WARNING] Usage inconsistent for ID 0:actual (1061888, 3) != expected (13312, 2)\"; e2fsck -fp: exit 1; again -fn: exit 0"
known="mke2fs 1.47.0: $facts. mke2fs 1.47.2: $facts. "

echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
