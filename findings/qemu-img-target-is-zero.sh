#!/bin/sh
# Guess: a conversion that qemu-img refuses with an error ends with an exit code other than 0.
# Instead `convert -n -B BACKING --target-is-zero` prints the refusal, copies nothing and ends with 0.
# The same in 7.2.22, 10.0.13 and 11.1.3. Each of the options is valid alone, and the line works without --target-is-zero.
# A builder that writes overlays must compare afterwards: "exit 0" leaves the old contents of the target.
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
    run "$suite" 'truncate -s 1M base.raw source.raw; printf data | dd of=source.raw conv=notrunc status=none
        qemu-img create -q -f qcow2 -b base.raw -F raw target.qcow2'
    convert='qemu-img convert -n -B base.raw -F raw -O qcow2'
    code=0
    said=$(run "$suite" "$convert --target-is-zero source.raw target.qcow2" 2>&1) || code=$?
    compare='qemu-img compare source.raw target.qcow2 >/dev/null && echo copied || echo "not copied"'
    refused=$(run "$suite" "$compare")
    run "$suite" "$convert source.raw target.qcow2"
    seen="$seen$(run "$suite" 'qemu-img --version' | sed -n '1s/ (.*//p'): exit $code, $refused, \"$said\";"
    seen="$seen without --target-is-zero: $(run "$suite" "$compare"). "
done
said='"qemu-img: Cannot use --target-is-zero when the destination image has a backing file"'
known="qemu-img version 7.2.22: exit 0, not copied, $said; without --target-is-zero: copied. "
known="${known}qemu-img version 10.0.13: exit 0, not copied, $said; without --target-is-zero: copied. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
