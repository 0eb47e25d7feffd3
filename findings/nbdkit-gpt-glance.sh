#!/bin/sh
# Guess: a GPT disk that nbdkit's partitioning plugin (or linuxdisk) makes is taken wherever one of sgdisk and sfdisk is.
# Instead its protective MBR starts at CHS fe ff ff, where UEFI (5.2.3) wants 00 02 00. sgdisk and sfdisk do not look, the inspector of
# OpenStack does (oslo.utils, in Glance and Nova): "GPT MBR has invalid start CHS". nbdkit 1.42.3 and 1.48.1, oslo.utils 8.2.0.
# A disk for OpenStack wants its partition table written by another tool.
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

unpack trixie nbdkit=1.42.3-1,libnbd-bin=1.22.2-1+b1,gdisk=1.0.10-2,fdisk=2.41.5-0+deb13u1,python3-oslo.utils=8.2.0-4,dash,coreutils,base-files
run trixie 'truncate -s 10M content; nbdkit -U - partitioning content partition-type=gpt --run "nbdcopy \"\$uri\" nbdkit.img"
    truncate -s 12M sgdisk.img sfdisk.img; sgdisk -n 1:2048:+10M sgdisk.img; echo "size=10M" | sfdisk -q -X gpt sfdisk.img' >"$work/log" 2>&1
cat >"$work/trixie/w/ask.py" <<'END'
import sys
from oslo_utils.imageutils import format_inspector
image = format_inspector.detect_file_format(sys.argv[1])
try:
    image.safety_check()
    print(f"{image} accepted")
except format_inspector.SafetyCheckFailed as refused:
    print(f"{image} refused, {refused.failures['mbr']}")
END
seen='nbdkit 1.42.3, oslo.utils 8.2.0:'
for tool in sgdisk sfdisk nbdkit; do
    verified=$(run trixie "sgdisk -v $tool.img" | sed -n 's/^No problems found.*/no problems/p')
    starts=$(od -An -tx1 -j447 -N3 "$work/trixie/w/$tool.img")
    seen="$seen disk by $tool: starts at CHS$starts, sgdisk -v: $verified, oslo.utils: $(run trixie "python3 ask.py $tool.img 2>/dev/null");"
done
known='nbdkit 1.42.3, oslo.utils 8.2.0:'
for tool in sgdisk sfdisk; do
    known="$known disk by $tool: starts at CHS 00 02 00, sgdisk -v: no problems, oslo.utils: gpt accepted;"
done
known="$known disk by nbdkit: starts at CHS fe ff ff, sgdisk -v: no problems, oslo.utils: gpt refused, GPT MBR has invalid start CHS;"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
