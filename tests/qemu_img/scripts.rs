//! Command lines as programs and scripts have them that start qemu-img: what they ask, in their order, with their options.
//!
//! Paths are those of this folder; all else is what they write.

use super::{Row, mapped_otherwise, same, table, table_with};

/// Compute, image and volume services of OpenStack, its deployment and its image builder.
const OPENSTACK: &[Row] = &[
    same("info disk.qcow2 --force-share --output=json"),
    same("info overlay.qcow2 --force-share --output=json"),
    same("info -f raw --output=json disk.raw"),
    same("info -f qcow2 --force-share --output=json disk.qcow2"),
    same("info -f qcow2 --backing-chain --output=json top.qcow2"),
    same("info --output=json -U text"),
    same("convert -t none -O qcow2 -f raw disk.raw out.part"),
    same("convert -t none -O qcow2 -f raw -c disk.raw out.part"),
    same("convert -t writeback -O raw -f qcow2 overlay.qcow2 out.part"),
    same("convert -f qcow2 -O raw disk.qcow2 out"),
    same("convert -O raw -t none -f qcow2 disk.qcow2 out"),
    same("convert -O raw -T none -t none -f qcow2 -W disk.qcow2 out"),
    same("convert -O raw -t directsync -S 0 -W disk.qcow2 out"),
    same("convert -t directsync -S 0 -O host_device -W disk.qcow2 out"),
    same("convert -f qcow2 -O qcow2 -c packed.qcow2 out"),
    same("convert -f qcow2 -O qcow2 -l snapshot.name=first states.qcow2 out"),
    same("create -f qcow2 -o backing_file=disk.raw,backing_fmt=raw out"),
    same("create -f qcow2 -o backing_file=disk.raw,backing_fmt=raw,size=8388608 out"),
    same("create -f qcow2 -o backing_file=disk.qcow2,backing_fmt=qcow2 out 20G"),
    same("create -f qcow2 -o preallocation=metadata out 1M"),
    same("create -f qcow2 -o preallocation=off,cluster_size=65536 out 1G"),
    same("create -f raw out 1073741824"),
    same("resize -f raw disk.raw 8388608"),
    same("resize -f qcow2 disk.qcow2 8388608"),
    same("resize disk.qcow2 2G"),
    same("rebase -b disk.raw -F raw -f qcow2 overlay.qcow2"),
    same("rebase -u -b disk.raw -F raw overlay.qcow2"),
    same("rebase -b '' overlay.qcow2"),
    same("commit -f qcow2 overlay.qcow2"),
    same("snapshot -c nova states.qcow2"),
    same("snapshot -d first states.qcow2"),
    same("measure --output=json -O qcow2 -f raw disk.raw"),
    same("measure -O raw -f qcow2 --output json disk.qcow2"),
    same("convert -c -f raw -O qcow2 disk.raw out"),
    same("convert -c -f raw -O qcow2 -o compat=0.10 disk.raw out"),
    same("convert -c -f raw -O qcow2 -o cluster_size=2M disk.raw out"),
    same("convert -f raw -O qcow2 -o preallocation=metadata disk.raw out"),
];

#[test]
fn openstack_does_not_notice() {
    table(OPENSTACK);
}

/// libguestfs and its tools, libvirt, oVirt and Proxmox.
const VIRTUALISATION: &[Row] = &[
    same("info --output json disk.qcow2"),
    same("info -U --output json disk.raw"),
    same("info --output json -f qcow2 -U top.qcow2"),
    same("info --output=json disk.raw"),
    same("create -q -f qcow2 -b disk.qcow2 -F qcow2 -o compat=1.1 out"),
    same("create -q -f qcow2 -o backing_file=disk.raw,backing_fmt=raw -- out"),
    same("create -f qcow2 -o preallocation=metadata,compat=1.1,lazy_refcounts=on out 4M"),
    same("create -f qcow2 -o compat=1.1,cluster_size=131072 -- out 1073741824"),
    same("create -f qcow2 -F qcow2 -b disk.qcow2 -o compat=1.1,lazy_refcounts out 8192K"),
    same("create -f qcow2 -u -o compat=1.1 -b later.qcow2 -F qcow2 out 8388608"),
    same("create -f raw -o preallocation=falloc out 1048576"),
    same("convert -f qcow2 -O qcow2 -c overlay.qcow2 out"),
    same("convert -f qcow2 -O qcow2 -o compat=1.1 -c -o compression_type=zstd overlay.qcow2 out"),
    same("convert -p -t none -T none -f raw -O qcow2 -o compat=1.1 -W disk.raw out"),
    same("convert -p -t none -T none -f qcow2 -O raw -n -W disk.qcow2 disk.raw"),
    same("convert -p -n --target-is-zero -W -f raw -O qcow2 disk.raw empty.qcow2"),
    mapped_otherwise("convert -p -n -W -f raw -O qcow2 disk.raw empty.qcow2"),
    same("convert -t none -T none -f qcow2 -O qcow2 -o compat=1.1 -B disk.qcow2 -F qcow2 overlay.qcow2 out"),
    same("convert --bitmaps -f qcow2 -O qcow2 states.qcow2 out"),
    same("measure --output json -O qcow2 -f qcow2 top.qcow2"),
    same("measure -f qcow2 -O qcow2 --output=json states.qcow2"),
    same("check --output json -f qcow2 disk.qcow2"),
    same("check --output json -f qcow2 -T none top.qcow2"),
    same("check -r leaks -f qcow2 disk.qcow2"),
    same("map --output json -f qcow2 -U top.qcow2"),
    same("map -f raw --output=json disk.raw"),
    same("compare -p -f qcow2 -F raw disk.qcow2 disk.raw"),
    same("compare -U -s disk.raw disk.qcow2"),
    same("amend -f qcow2 -o compat=1.1 v2.qcow2"),
    same("amend -o compat=0.10 disk.qcow2"),
    same("bitmap --add --enable -f qcow2 disk.qcow2 0c1d"),
    same("bitmap --add --disable disk.qcow2 0c1d"),
    same("bitmap --remove states.qcow2 b0"),
    same("bitmap --merge b1 -F qcow2 -b states.qcow2 states.qcow2 b0"),
    same("rebase -t none -T none -f qcow2 -u -b disk.raw -F raw overlay.qcow2"),
    // Where theirs writes zeroes out, ours only marks them.
    mapped_otherwise("rebase -p -t none -T none -f qcow2 -b disk.qcow2 -F qcow2 top.qcow2"),
    mapped_otherwise("commit -p -t none -b disk.qcow2 -f qcow2 -d top.qcow2"),
    same("commit -p overlay.qcow2"),
    same("create -o preallocation=metadata -f qcow2 vm-100-disk-0.qcow2 32M"),
    same("create -f qcow2 -o preallocation=off vm-100-disk-0.qcow2 4194304K"),
    same("create -F qcow2 -b disk.qcow2 -f qcow2 vm-101-disk-0.qcow2"),
    same("convert -p -n -f qcow2 -O raw disk.qcow2 disk.raw"),
    same("convert -p -f raw -O qcow2 disk.raw vm-100-disk-0.qcow2"),
    same("snapshot -c before states.qcow2"),
    same("snapshot -l states.qcow2"),
    same("snapshot -l -U states.qcow2"),
    mapped_otherwise("rebase -b disk.qcow2 -F qcow2 -f qcow2 top.qcow2"),
    same("resize -f raw --shrink disk.raw 1048576"),
    same("dd -f qcow2 -O raw if=disk.qcow2 of=out bs=1M count=1"),
];

#[test]
fn virtualisation_does_not_notice() {
    table(VIRTUALISATION);
}

/// Going back to a snapshot; an image with bitmaps is refused by both.
#[test]
fn snapshots_are_gone_back_to() {
    table_with(&[same("snapshot -a first old.qcow2"), same("snapshot -a first states.qcow2")], |prepared| {
        prepared.img("convert -f raw -O qcow2 disk.raw old.qcow2");
        prepared.img("snapshot -c first old.qcow2");
        prepared.io("old.qcow2", "write -P 5 1M 64k");
    });
}

/// Packer, Vagrant, KubeVirt's importer, makers of operating system images, and who has a virtual machine on a laptop.
const BUILDERS: &[Row] = &[
    same("create -f qcow2 packer 40960M"),
    same("create -f qcow2 -b disk.qcow2 -F qcow2 packer"),
    same("convert -c -O qcow2 disk.qcow2 disk.qcow2.convert"),
    same("convert -O qcow2 disk.raw packer"),
    same("convert -o compat=0.10 -O qcow2 -c disk.qcow2 compressed"),
    same("resize -f qcow2 disk.qcow2 40960M"),
    same("resize -f raw disk.raw 64M"),
    same("info --output=json disk.raw"),
    same("info --output=json --backing-chain top.qcow2"),
    same("info -f raw --output json disk.raw"),
    same("convert -t writeback -p -O raw disk.qcow2 disk.img"),
    same("convert -t none -p -O raw packed.qcow2 disk.img"),
    same("resize -f raw disk.raw 8388608 --preallocation=falloc"),
    same("resize -f raw --preallocation=off disk.raw 8388608"),
    same("create -f raw disk.img 8388608"),
    same("rebase -p -u -F raw -b disk.raw overlay.qcow2"),
    same("rebase -p -b '' overlay.qcow2"),
    same("commit -p top.qcow2"),
    same("convert -c -S 16k -O qcow2 overlay.qcow2 out"),
    same("convert -p -O qcow2 -c -m 16 -W disk.raw out"),
    same("convert -f raw -O qcow2 -c -o compression_type=zstd disk.raw out"),
    same("convert -O qcow2 -c -f raw -o compat=1.1 disk.raw out"),
    same("convert -f raw -O raw -S 4k disk.raw out"),
    same("create -f qcow2 -F qcow2 -b disk.qcow2 diffdisk 107374182400"),
    same("create -q -f qcow2 -b disk.qcow2 -F qcow2 seed.qcow2 20G"),
    same("resize disk.qcow2 +10G"),
    same("resize disk.qcow2 5368709120"),
    same("resize --shrink disk.qcow2 1M"),
    same("amend -o compat=1.1 v2.qcow2"),
    same("snapshot -l disk.qcow2"),
    same("check disk.qcow2"),
    same("check -q disk.qcow2"),
    same("check -f qcow2 -r all disk.qcow2"),
    same("check --output=json disk.raw"),
    same("map disk.raw"),
    same("map --output=json top.qcow2"),
    same("compare disk.raw disk.qcow2"),
    same("compare -q disk.raw text"),
    same("measure --size 10G -O qcow2 --output json"),
    same("dd if=disk.qcow2 of=out bs=1M"),
    same("dd -O qcow2 if=disk.raw of=out bs=512 count=100 skip=4"),
    same(
        "convert 'json:{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"disk.qcow2\"}}' out",
    ),
    same("convert --image-opts driver=qcow2,file.driver=file,file.filename=disk.qcow2 -O raw out"),
    same("convert -n --target-image-opts disk.qcow2 driver=raw,file.driver=file,file.filename=disk.raw"),
    same("info --image-opts driver=qcow2,file.driver=file,file.filename=disk.qcow2,file.locking=off"),
];

#[test]
fn builders_do_not_notice() {
    table(BUILDERS);
}
