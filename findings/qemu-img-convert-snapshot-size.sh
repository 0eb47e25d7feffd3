#!/bin/sh
# Guess: `qemu-img convert -l SNAPSHOT` writes the disk as it was, with the size that it had.
# Instead the copy has the size that the disk has now, with zeroes at its end; `snapshot -a` of the same snapshot gives the old size.
# The same in 7.2.22, 10.0.13 and 11.1.3. A grown disk's snapshot does not fit into a volume of its own size.
# Read the size of a snapshot from the snapshot table, and resize the copy.
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
for release in bookworm=1:7.2+dfsg-7+deb12u18+b3 trixie=1:10.0.13+ds-0+deb13u1; do
    suite=${release%%=*}
    unpack "$suite" "qemu-utils=${release#*=},dash,coreutils,base-files"
    run "$suite" 'qemu-img create -q -f qcow2 a.qcow2 1M; qemu-img snapshot -c before a.qcow2; qemu-img resize -q a.qcow2 3M'
    size='qemu-img info out.qcow2 | while read -r key word rest; do [ "$key $word" != "virtual size:" ] || echo "$rest"; done'
    converted=$(run "$suite" "qemu-img convert -l snapshot.name=before -O qcow2 a.qcow2 out.qcow2; $size")
    applied=$(run "$suite" "cp a.qcow2 out.qcow2; qemu-img snapshot -a before out.qcow2; $size")
    seen="$seen$(run "$suite" 'qemu-img --version' | sed -n '1s/ (.*//p'):"
    seen="$seen snapshot of 1048576 bytes, disk grown since: convert -l: $converted; snapshot -a: $applied. "
done
facts='snapshot of 1048576 bytes, disk grown since: convert -l: 3 MiB (3145728 bytes); snapshot -a: 1 MiB (1048576 bytes)'
known="qemu-img version 7.2.22: $facts. qemu-img version 10.0.13: $facts. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
