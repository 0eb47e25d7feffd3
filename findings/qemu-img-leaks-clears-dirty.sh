#!/bin/sh
# Guess: `qemu-img check -r leaks` that fails on an image with lazy refcounts leaves the image marked dirty, as it was.
# Instead it says "Check failed", repairs nothing and clears the dirty bit (header byte 79, bit 0).
# The same in 7.2.22, 10.0.13 and 11.1.3. The image is an ordinary one whose writer ended without closing it.
# The mark is what makes the next writer rebuild the refcounts. Use `-r all` on a dirty image, never `-r leaks`.
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
    run "$suite" 'qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 10M
        qemu-io -c "write -q -P 1 0 1M" -c flush -c "sigraise 9" a.qcow2 >said 2>&1 || :
        cp a.qcow2 b.qcow2'
    dirty='od -An -tu1 -j79 -N1 a.qcow2 | tr -d " "'
    errors() {
        run "$suite" 'qemu-img check a.qcow2 2>&1 || :' | sed -n 's/ errors were found.*//p'
    }
    before="dirty $(run "$suite" "$dirty"), errors $(errors)"
    code=0
    run "$suite" 'qemu-img check -r leaks a.qcow2 >said 2>&1' || code=$?
    said=$(tail -n 1 "$work/$suite/w/said")
    after="dirty $(run "$suite" "$dirty"), errors $(errors)"
    all=0
    run "$suite" 'qemu-img check -r all b.qcow2 >said 2>&1' || all=$?
    seen="$seen$(run "$suite" 'qemu-img --version' | sed -n '1s/ (.*//p'): $before;"
    seen="$seen -r leaks: exit $code, \"$said\", $after; -r all: exit $all. "
done
facts='dirty 1, errors 32; -r leaks: exit 1, "qemu-img: Check failed: Input/output error", dirty 0, errors 32; -r all: exit 0'
known="qemu-img version 7.2.22: $facts. qemu-img version 10.0.13: $facts. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
