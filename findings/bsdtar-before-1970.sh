#!/bin/sh
# Guess: a time before 1970 with a fraction of a second comes back from a pax archive as it was. bsdtar (libarchive) counts the fraction
# forwards from the whole second, also where that is less than zero: it writes -1499999999.25 as -1500000000.75, and reads so. GNU tar writes
# and reads the decimal number that POSIX has. Each restores its own archives, and moves these times by up to a second in the other's.
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
    suite=$1 libarchive=$2 library=$3 tar=$4
    unpack "$suite" "libarchive-tools=$libarchive,$library=$libarchive,tar=$tar,dash,coreutils,grep,base-files"
    told=$(chroot "$work/$suite" dash -c 'cd /w; touch -d @-1499999999.25 file; mkdir gnu bsd
        tar --format=posix -cf gnu.tar file; bsdtar --format=pax -cf bsd.tar file
        for maker in gnu bsd; do
            tar --warning=no-timestamp -xf $maker.tar -C gnu; bsdtar -xf $maker.tar -C bsd
            printf "%s.tar has %s: " $maker "$(grep -a -o "mtime=[-0-9.]*" $maker.tar | head -n 1)"
            printf "tar %s, bsdtar %s; " "$(stat -c %.2Y gnu/file)" "$(stat -c %.2Y bsd/file)"
        done' 2>&1)
    seen="$seen$suite: $told"
}
look bookworm 3.6.2-1+deb12u5 libarchive13 1.34+dfsg-1.2+deb12u1
look trixie 3.7.4-4+deb13u1 libarchive13t64 1.35+dfsg-3.1
both="gnu.tar has mtime=-1499999999.25: tar -1499999999.25, bsdtar -1499999998.75; bsd.tar has mtime=-1500000000.75: tar -1500000000.75, bsdtar -1499999999.25;"
known="bookworm: $both trixie: $both"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
