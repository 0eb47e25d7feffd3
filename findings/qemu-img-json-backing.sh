#!/bin/sh
# Guess: a relative name of a backing file is meant from the folder of the image, however it is written.
# Instead only a plain name is. A name as json:{...} (or file:NAME) is meant from the folder where qemu-img runs: from another folder
# the image does not open, or opens on another file that has the same name there, without a word.
# The same in 7.2.22, 10.0.13 and 11.1.3. Write plain names into overlays; take json: names only if they are absolute.
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
    run "$suite" 'mkdir images; cd images; printf right >base.raw; truncate -s 1M base.raw
        qemu-img create -q -f qcow2 -b base.raw -F raw plain.qcow2
        name="{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"base.raw\"}}"
        qemu-img create -q -f qcow2 -b "json:$name" -F raw json.qcow2'
    content() {
        run "$suite" "qemu-img convert -O raw images/$1.qcow2 out.raw 2>/dev/null && head -c 5 out.raw || echo 'does not open'"
    }
    plain=$(content plain)
    json=$(content json)
    run "$suite" 'printf wrong >base.raw; truncate -s 1M base.raw'
    seen="$seen$(run "$suite" 'qemu-img --version' | sed -n '1s/ (.*//p'), from the folder above:"
    seen="$seen plain name: $plain; json: name: $json; with another base.raw there: $(content plain), $(content json). "
done
facts='from the folder above: plain name: right; json: name: does not open; with another base.raw there: right, wrong'
known="qemu-img version 7.2.22, $facts. qemu-img version 10.0.13, $facts. "

echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
