//! `qemu-img measure`.

use super::{Row, differs, same, table};

const ARGUMENTS: &[Row] = &[
    same("measure"),
    same("measure disk.raw text"),
    same("measure --size"),
    same("measure --size ''"),
    same("measure --size x"),
    same("measure --size -1"),
    same("measure --size 20E"),
    same("measure --size 1G disk.raw"),
    same("measure -s 1G"),
    same("measure -x"),
    same("measure --o json"),
    same("measure --t qcow2"),
    same("measure --output xml"),
    same("measure --object foo,id=s"),
    same("measure --object help"),
    same("measure -f raw"),
    same("measure -f raw --size 1G"),
    same("measure -l first --size 1G"),
    same("measure --image-opts --size 1G"),
    same("measure --image-opts -f raw --size 1G"),
    same("measure --image-opts -f raw disk.raw"),
    same("measure -O foo --size 1G"),
    same("measure -O '' --size 1G"),
    same("measure -O foo nofile"),
    same("measure -O file --size 1G"),
    same("measure -O file disk.raw"),
    same("measure -O file -o foo=1 disk.raw"),
    same("measure nofile"),
    same("measure sub"),
    same("measure -f foo disk.raw"),
    same("measure -f qcow2 disk.raw"),
    same("measure 'json:{'"),
    same("measure -l '' disk.raw"),
    same("measure -l nope states.qcow2"),
    same("measure -l snapshot.id=1,snapshot.name=second states.qcow2"),
    same("measure -O qcow2 -o '' disk.raw"),
    same("measure -O qcow2 -o , disk.raw"),
    same("measure -O qcow2 -o help"),
    same("measure -O qcow2 -o help disk.raw"),
    same("measure -O qcow2 -o foo=1 nofile"),
    same("measure -O qcow2 -o foo=1 --size 1G"),
    same("measure -O raw -o cluster_size=4k --size 1G"),
    same("measure -O qcow2 -o cluster_size=x --size 1G"),
    same("measure -O qcow2 -o cluster_size=7 --size 1G"),
    same("measure -O qcow2 -o compat=foo,cluster_size=7 --size 1G"),
    same("measure -O qcow2 -o compat=foo,preallocation=foo --size 1G"),
    same("measure -O qcow2 -o compat=v3 --size 1G"),
    same("measure -O qcow2 -o refcount_bits=x --size 1G"),
    same("measure -O qcow2 -o refcount_bits=3 --size 1G"),
    same("measure -O qcow2 -o compat=0.10,refcount_bits=1 --size 1G"),
    same("measure -O qcow2 -o preallocation=foo --size 1G"),
    same("measure -O qcow2 -o preallocation=foo,refcount_bits=3 --size 1G"),
    same("measure -O qcow2 -o extended_l2=on,cluster_size=4k --size 1G"),
    same("measure -O qcow2 -o encryption=foo --size 1G"),
    same("measure -O qcow2 -o encrypt.format=luks --size 1G"),
    same("measure -O qcow2 --size 1E"),
    same("measure -O qcow2 --size 9223372036854775807"),
    same("measure -O qcow2 -o cluster_size=512 --size 100T"),
    differs(
        "measure sub/out.qcow2",
        "qemu-img: Could not open 'sub/out.qcow2': The backing file \"../disk.raw\" is outside of the image's folder: \
         set GOLDIMG_ALLOW_BACKING=anywhere in the environment to open it\n",
        1,
    ),
];

#[test]
fn wrong_command_lines_are_theirs() {
    table(ARGUMENTS);
}

const SIZES: &[Row] = &[
    same("measure --size 0"),
    same("measure --size 100"),
    same("measure --size 1.5k --output json"),
    same("measure --size 1G --size 2G"),
    same("measure -U --size 1G -O raw --output=json"),
    same("measure --size 7E"),
    same("measure --size 9223372036854775807"),
    same("measure -O raw -o size=1,preallocation=metadata --size 1G"),
    same("measure --object secret,id=x,data=y --size 1"),
    same("measure -O qcow2 --size 0"),
    same("measure -O qcow2 --size 1k"),
    same("measure -O qcow2 --size 1G --output json"),
    same("measure -O qcow2 -o size=7G --size 1G"),
    same("measure -O qcow2 -o cluster_size=4k -o cluster_size=8k --size 1G"),
    same("measure -O qcow2 -o cluster_size=2M --size 100T"),
    same("measure -O qcow2 -o extended_l2=on --size 100T"),
    same("measure -O qcow2 -o extended_l2=on,cluster_size=16k --size 100G"),
    same("measure -O qcow2 -o extended_l2=on,compat=0.10 --size 1G"),
    same("measure -O qcow2 -o refcount_bits=1 --size 10G"),
    same("measure -O qcow2 -o refcount_bits=64 --size 10G"),
    same("measure -O qcow2 -o preallocation=metadata --size 1G"),
    same("measure -O qcow2 -o preallocation=falloc --size 1G"),
    same("measure -O qcow2 -o preallocation=full --size 1G"),
    same("measure -O qcow2 -o lazy_refcounts=on,compat=0.10 --size 1G"),
    same("measure -O qcow2 -o encrypt.format=aes --size 1G"),
    same("measure -O qcow2 -o data_file=x,data_file_raw=on --size 1G"),
    same("measure -O qcow2 -o backing_file=x --size 1G"),
];

#[test]
fn sizes_are_theirs() {
    table(SIZES);
}

const IMAGES: &[Row] = &[
    same("measure text"),
    same("measure -O qcow2 text"),
    same("measure disk.raw"),
    same("measure -O qcow2 disk.raw"),
    same("measure -O qcow2 -o cluster_size=512 disk.raw"),
    same("measure -O qcow2 -o preallocation=full disk.qcow2"),
    same("measure -O qcow2 -o backing_file=x disk.qcow2"),
    same("measure -O qcow2 -o backing_fmt=raw disk.qcow2"),
    same("measure -O qcow2 -o compression_type=foo disk.qcow2"),
    same("measure -O qcow2 empty.qcow2"),
    same("measure -O qcow2 packed.qcow2"),
    same("measure -O qcow2 v2.qcow2"),
    same("measure -O qcow2 --output json v2.qcow2"),
    same("measure -O qcow2 -o extended_l2=on,cluster_size=16k subclusters.qcow2"),
    same("measure -O qcow2 subclusters.qcow2"),
    same("measure -O qcow2 overlay.qcow2"),
    same("measure -O qcow2 --output json top.qcow2"),
    same("measure -O qcow2 outside.qcow2"),
    same("measure -O raw --output json states.qcow2"),
    same("measure -O qcow2 states.qcow2"),
    same("measure -O qcow2 --output json states.qcow2"),
    same("measure -O qcow2 -o cluster_size=4k states.qcow2"),
    same("measure -O qcow2 -o compat=0.10 states.qcow2"),
    same("measure -O qcow2 -l first states.qcow2"),
    same("measure -O qcow2 -l snapshot.name=first states.qcow2"),
    same("measure --target-format qcow2 --snapshot 2 --force-share states.qcow2"),
    same("measure -f raw -O qcow2 states.qcow2"),
    same("measure -O qcow2 --image-opts driver=qcow2,file.filename=states.qcow2"),
    same("measure -O qcow2 'json:{\"driver\":\"qcow2\",\"file.filename\":\"disk.qcow2\"}'"),
    same("measure --image-opts driver=raw,offset=1M,size=64k,file.filename=disk.raw"),
    // Large, with a bitmap; what is left is small, since qemu-img takes long for its map.
    same(
        "create -q -f qcow2 new 256T && bitmap --add -g 2G new x && measure -O qcow2 new && create -q -f qcow2 new 1M",
    ),
    same(
        "create -q -f qcow2 -o cluster_size=2M new 8P && bitmap --add -g 2G new x && \
          measure --output=json -O qcow2 -o cluster_size=1M,extended_l2=on new && create -q -f qcow2 new 1M",
    ),
    // Theirs measures what it refuses to create, unless the size is given as a number.
    same("measure -O qcow2 --size 3P"),
    differs(
        "measure -O qcow2 'json:{\"driver\":\"null-co\",\"size\":\"3P\"}'",
        "qemu-img: The image size is too large (try using a larger cluster size)\n",
        1,
    ),
];

#[test]
fn images_are_measured_as_they_do() {
    table(IMAGES);
}
