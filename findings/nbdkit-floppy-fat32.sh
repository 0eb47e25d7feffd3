#!/bin/sh
# Guess: the disk that nbdkit's floppy plugin makes of a folder is a FAT filesystem that FAT tools read, fit for a seed or an ESP.
# Instead it is called FAT32 however few clusters it has (a reader that counts them, as UEFI does, takes it for FAT12), has no geometry, which
# mtools refuse, and ".." of a folder in / names cluster 2 where FAT wants 0. The same in 1.32.5, 1.42.3 and 1.48.1.
# Make seeds and ESPs with mkfs.fat and mcopy.
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
for release in bookworm=nbdkit=1.32.5-1,libnbd-bin=1.14.2-1,dosfstools=4.2-1,mtools=4.0.33-1+really4.0.32-1 \
    trixie=nbdkit=1.42.3-1,libnbd-bin=1.22.2-1+b1,dosfstools=4.2-1.2,mtools=4.0.48-1; do
    suite=${release%%=*}
    unpack "$suite" "${release#*=},dash,coreutils,base-files"
    # Behind the first MiB is the only partition.
    run "$suite" 'mkdir -p seed/sub; echo x >seed/sub/file; nbdkit -U - floppy seed label=CIDATA --run "nbdcopy \"\$uri\" disk.img"
        tail -c +1048577 disk.img >fat.img'
    code=0
    run "$suite" 'fsck.fat -n fat.img' >"$work/said" 2>&1 || code=$?
    clusters=$(sed -n 's/.*but has only \([0-9]*\) clusters.*/\1/p' "$work/said")
    parent=$(sed -n "s/^ *\(Invalid '..' entry\).*/\1/p" "$work/said")
    seen="$seen$(run "$suite" 'nbdkit --version' | sed 's/ (.*//'): FAT32 of $clusters clusters; fsck.fat -n: exit $code, $parent;"
    code=0
    run "$suite" 'mdir -i fat.img ::/' >"$work/said" 2>&1 || code=$?
    seen="$seen mdir: exit $code, $(sed -n 's/.*: \(zero number.*\)/\1/p' "$work/said"). "
done
facts="FAT32 of 3 clusters; fsck.fat -n: exit 1, Invalid '..' entry; mdir: exit 1, zero number of heads or sectors"
known="nbdkit 1.32.5: $facts. nbdkit 1.42.3: $facts. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
