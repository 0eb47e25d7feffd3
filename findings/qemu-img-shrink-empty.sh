#!/bin/sh
# Guess: to shrink an empty qcow2 of 1 TiB to 1 MiB only the header and the L1 table change.
# Instead `resize --shrink` makes an L2 table for each 512 MiB of the cropped range, and frees them at the end: the file of 208 KiB
# needs 128 MiB while it runs, 64 KiB for each 512 MiB. A disk that is short of space (here a limit for the file's size) fails it.
# The same in 7.2.22, 10.0.13 and 11.1.3. Make a new small image and convert into it where the old one is huge and nearly empty.
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
for release in bookworm=1:7.2+dfsg-7+deb12u18+b3 trixie=1:10.0.13+ds-0+deb13u1; do
    suite=${release%%=*}
    unpack "$suite" "qemu-utils=${release#*=},dash,coreutils,base-files"
    # The limit is in blocks of 512 bytes. Over it a write fails as on a full disk.
    attempt() {
        run "$suite" "rm -f a.qcow2; qemu-img create -q -f qcow2 a.qcow2 1T; stat -c %s a.qcow2 >before
            trap '' XFSZ; ulimit -f $(($1 * 2048)); qemu-img resize -q --shrink a.qcow2 1M 2>/dev/null && echo done || echo failed"
    }
    seen="$seen$(run "$suite" 'qemu-img --version' | sed -n '1s/ (.*//p'): file of $(attempt 120 >"$work/120"; cat "$work/$suite/w/before") bytes;"
    seen="$seen with 120 MiB: $(cat "$work/120"); with 136 MiB: $(attempt 136), $(stat -c %s "$work/$suite/w/a.qcow2") bytes. "
done
facts='file of 212992 bytes; with 120 MiB: failed; with 136 MiB: done, 327680 bytes'
known="qemu-img version 7.2.22: $facts. qemu-img version 10.0.13: $facts. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
