#!/bin/sh
# Guess: nbdkit's qcow2dec filter serves every qcow2 that has no backing file, no extended L2 entries and no external data.
# Instead it also refuses valid images: it compares the place of the L1 table in the file with the size of the disk inside, not with the
# size of the file. Where the table lies behind that number ("L1 table outside the file") it gives up.
# The same in 1.42.3 and 1.48.1. Small disks with large clusters are hit, and full disks whose writer puts the L1 table last.
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

unpack trixie nbdkit=1.42.3-1,libnbd-bin=1.22.2-1+b1,qemu-utils=1:10.0.13+ds-0+deb13u1,dash,coreutils,base-files
seen="$(run trixie 'nbdkit --version'):"
for size in 5M 7M; do
    run trixie "qemu-img create -q -f qcow2 -o cluster_size=2M a.qcow2 $size; qemu-img check a.qcow2 >/dev/null 2>&1"
    # The place of the L1 table: bytes 40 to 47 of the header.
    table=$((0x$(od -An -tx1 -j40 -N8 "$work/trixie/w/a.qcow2" | tr -d ' ')))
    run trixie 'nbdkit -U - file a.qcow2 --filter=qcow2dec --run "nbdinfo --size \"\$uri\""' >"$work/log" 2>&1 || :
    said=$(sed -n 's/.*plugin contains \(.*\)/refused, \1/p' "$work/log" | sed 's/: No such.*//' | head -n 1)
    seen="$seen disk of $size, L1 table at $table, qemu-img check clean: ${said:-opened};"
done
known='nbdkit 1.42.3: disk of 5M, L1 table at 6291456, qemu-img check clean: refused, qcow2 file with L1 table outside the file, refusing to load it;'
known="$known disk of 7M, L1 table at 6291456, qemu-img check clean: opened;"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
