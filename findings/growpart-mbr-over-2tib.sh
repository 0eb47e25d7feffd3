#!/bin/sh
# Guess: on an MBR disk of more than 2 TiB growpart grows the partition to 2 TiB: "Additional space will go unused", it says.
# Instead it asks sfdisk for two sectors too many, sfdisk finds "No free sectors", and growpart ends with 2: the partition stays as small as
# in the image. Up to 2 TiB all is well. The same with growpart 0.33 and 0.34 and util-linux 2.38, 2.41 and 2.42.
# An image that may meet a volume of more than 2 TiB needs GPT: with MBR its root does not grow at all.
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
for release in bookworm=cloud-guest-utils=0.33-1,fdisk=2.38.1-5+deb12u3 trixie=cloud-guest-utils=0.33-1,fdisk=2.41.5-0+deb13u1; do
    suite=${release%%=*}
    unpack "$suite" "${release#*=},dash,coreutils,base-files,util-linux,mawk,grep,sed"
    # Maintainer scripts make these names; they are not run here.
    ln -sf dash "$work/$suite/bin/sh"
    ln -sf mawk "$work/$suite/usr/bin/awk"
    seen="$seen$(run "$suite" 'sfdisk --version'): 500 MiB on a disk of"
    for size in 2048 2049; do
        run "$suite" "rm -f a.img; truncate -s 1G a.img; echo 'label: dos
            size=500MiB' | sfdisk -q a.img; truncate -s ${size}G a.img"
        code=0
        run "$suite" 'growpart a.img 1 >said 2>&1' || code=$?
        said=$(sed -n 's/^WARNING: //p; s/^| a.img1: //p' "$work/$suite/w/said" | tr '\n' ' ')
        sectors=$(run "$suite" 'sfdisk -d a.img 2>/dev/null' | sed -n 's/.*size= *\([0-9]*\).*/\1/p')
        seen="$seen $size GiB: exit $code,${said:+ \"$said\",} $sectors sectors;"
    done
    seen="$seen "
done
facts='500 MiB on a disk of 2048 GiB: exit 0, 4294965215 sectors; 2049 GiB: exit 2,'
facts="$facts \"MBR/dos partitioned disk is larger than 2TB. Additional space will go unused. No free sectors available. \", 1024000 sectors;"
known="sfdisk from util-linux 2.38.1: $facts sfdisk from util-linux 2.41.5: $facts "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
