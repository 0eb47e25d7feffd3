#!/bin/sh
# Guess: `qemu-img dd skip=1 count=1` copies one block, the second, as dd(1) does.
# Instead count is counted from the start of the image, not from skip: it copies what lies between the two. Where that is nothing it says
# "cannot skip to specified offset", makes an empty image, and ends with 0. No other count says anything.
# The same in 7.2.22, 10.0.13 and 11.1.3. To cut a partition out of an image, give skip + count as count, or use dd(1) on a raw image.
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
    run "$suite" 'for block in 1 2 3 4; do head -c 1M /dev/zero | tr "\\0" $block; done >a.raw'
    seen="$seen$(run "$suite" 'qemu-img --version' | sed -n '1s/ (.*//p'):"
    for count in 1 2 3; do
        code=0
        run "$suite" "qemu-img dd -f raw -O raw bs=1M skip=1 count=$count if=a.raw of=out.raw" >"$work/log" 2>&1 || code=$?
        blocks=$(run "$suite" 'tr -s 1234 <out.raw')
        seen="$seen skip=1 count=$count: blocks ${blocks:-none}, exit $code;"
    done
    seen="$seen "
done
facts='skip=1 count=1: blocks none, exit 0; skip=1 count=2: blocks 2, exit 0; skip=1 count=3: blocks 23, exit 0;'
known="qemu-img version 7.2.22: $facts qemu-img version 10.0.13: $facts "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
