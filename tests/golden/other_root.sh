#!/bin/sh
# A bootable disk like another one, but for its root filesystem: XFS or Btrfs, with the same UUID and the same files.
#
#   other_root.sh KIND RAW ARCHIVE NEW     in a mount namespace of its own, as root
#
# RAW is a disk that goldimg has built: its partition "root" is the last one, "bios" has GRUB's core image. ARCHIVE has its files.
set -eu
kind=$1 raw=$2 archive=$3 new=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

place() {
  sfdisk -J "$1" | python3 -c 'import json, sys
for own in json.load(sys.stdin)["partitiontable"]["partitions"]:
    if own.get("name") == sys.argv[1]: print(own[sys.argv[2]] * 512)' "$2" "$3"
}

start=$(place "$raw" root start)
uuid=$(blkid -p -O "$start" -o value -s UUID "$raw")
cp --sparse=always "$raw" "$new"
truncate -s 2G "$new"
sfdisk -q -d "$raw" | sed -e '/^last-lba/d' -e '/name="root"/s/size= *[0-9]*, //' | sfdisk -q "$new"
size=$(place "$new" root size)
fallocate -p -o "$start" -l "$size" "$new"
truncate -s "$size" "$work/root"
case $kind in
  xfs) mkfs.xfs -q -m uuid="$uuid" "$work/root" ;;
  btrfs) mkfs.btrfs -q -U "$uuid" "$work/root" ;;
esac
mkdir "$work/tree"
mount -o loop "$work/root" "$work/tree"
tar -C "$work/tree" --xattrs --xattrs-include='*' --acls --numeric-owner -xf "$archive"
sed -i "/ \/ /s/ext4 [^ ]*/$kind defaults/" "$work/tree/etc/fstab"
# As the one that was there, with a module that reads the filesystem.
chroot "$work/tree" grub-mkimage -O i386-pc -p /boot/grub -c /boot/grub/i386-pc/load.cfg -o /boot/grub/i386-pc/core.img \
  biosdisk part_gpt "$kind" search_fs_uuid normal
python3 - "$new" "$(place "$new" bios start)" "$work/tree/boot/grub/i386-pc/core.img" <<'PYTHON'
import struct, sys
place = int(sys.argv[2])
core = bytearray(open(sys.argv[3], 'rb').read())
core += bytes(-len(core) % 512)
# Its first sector tells where the others are: grub-core/boot/i386/pc/diskboot.S.
struct.pack_into('<QHH', core, 0x1f4, place // 512 + 1, len(core) // 512 - 1, 0x820)
with open(sys.argv[1], 'r+b') as disk:
    disk.seek(place)
    disk.write(core)
PYTHON
umount "$work/tree"
dd if="$work/root" of="$new" bs=1M oflag=seek_bytes seek="$start" conv=sparse,notrunc status=none
