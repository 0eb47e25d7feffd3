#!/bin/sh
# Guess: a layer that `umoci insert` adds to an image of a container is a tar archive, as that of every other tool is (OCI Image Format
# Specification, "Image Layer Filesystem Changeset"). It ends with the last byte of its last file: neither that is padded to a block, nor is
# there an end of the archive. GNU tar and bsdtar name all files and then fail; only readers that stop where the bytes stop take it. Mended
# in umoci after 0.4.7, which both releases have.
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

seen=
look() {
    suite=$1 umoci=$2 tar=$3 libarchive=$4 gzip=$5
    unpack "$suite" "umoci=$umoci,tar=$tar,libarchive-tools=$libarchive,gzip=$gzip,dash,coreutils,base-files"
    told=$(chroot "$work/$suite" dash -c 'cd /w; mkdir own; echo of a layer >own/file
        umoci init --layout layout; umoci new --image layout:base; umoci insert --image layout:base own /etc/own
        for blob in layout/blobs/sha256/*; do gzip -dc "$blob" >layer.tar 2>/dev/null && break; done
        printf "%s bytes, " "$(wc -c <layer.tar)"
        tar -tf layer.tar >names 2>words && ended=$? || ended=$?
        printf "tar: %s names, ends with %s (%s), " "$(wc -l <names)" "$ended" "$(head -n 1 words)"
        bsdtar -tf layer.tar >names 2>words && ended=$? || ended=$?
        printf "bsdtar: %s names, ends with %s; " "$(wc -l <names)" "$ended"' 2>"$work/words")
    seen="$seen$suite: $told"
}
look bookworm 0.4.7+ds-3+b7 1.34+dfsg-1.2+deb12u1 3.6.2-1+deb12u5 1.12-1
look trixie 0.4.7+ds-4+b10 1.35+dfsg-3.1 3.7.4-4+deb13u1 1.13-1+deb13u1
both="1035 bytes, tar: 2 names, ends with 2 (tar: Unexpected EOF in archive), bsdtar: 2 names, ends with 1;"
known="bookworm: $both trixie: $both"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
