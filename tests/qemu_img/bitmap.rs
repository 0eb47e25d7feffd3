//! `qemu-img bitmap`.

use super::prepared::Prepared;
use super::{Row, differs, same, table_with};

const ROWS: &[Row] = &[
    same("bitmap"),
    same("bitmap --foo"),
    same("bitmap disk.qcow2"),
    same("bitmap disk.qcow2 b"),
    same("bitmap --add disk.qcow2"),
    same("bitmap --add disk.qcow2 b c"),
    same("bitmap --add disk.qcow2 b"),
    same("bitmap --add -f qcow2 disk.qcow2 b"),
    same("bitmap --add --disable disk.qcow2 b"),
    same("bitmap --add --enable disk.qcow2 b"),
    same("bitmap --add --remove disk.qcow2 b"),
    same("bitmap --add --add disk.qcow2 b"),
    same("bitmap --add disk.qcow2 ''"),
    same("bitmap --add -g 4k disk.qcow2 b"),
    same("bitmap --add -g 512 disk.qcow2 b"),
    same("bitmap --add --granularity=2G disk.qcow2 b"),
    same("bitmap --add -g 0 disk.qcow2 b"),
    same("bitmap --add -g 100 disk.qcow2 b"),
    same("bitmap --add -g 256 disk.qcow2 b"),
    same("bitmap --add -g 4G disk.qcow2 b"),
    same("bitmap --add -g x disk.qcow2 b"),
    same("bitmap --clear -g 64k states.qcow2 b0"),
    same("bitmap --add subclusters.qcow2 b"),
    same("bitmap --add packed.qcow2 b"),
    same("bitmap --add top.qcow2 b"),
    same("bitmap --add nofile b"),
    same("bitmap --image-opts --add driver=qcow2,file.filename=disk.qcow2 b"),
    same("bitmap --image-opts -f qcow2 --add disk.qcow2 b"),
    same("bitmap --add states.qcow2 b0"),
    same("bitmap --remove states.qcow2 b0"),
    same("bitmap --remove states.qcow2 b0 && bitmap --remove states.qcow2 b1"),
    same("bitmap --remove states.qcow2 nope"),
    same("bitmap --clear states.qcow2 b0"),
    same("bitmap --clear states.qcow2 nope"),
    same("bitmap --enable states.qcow2 b1"),
    same("bitmap --enable states.qcow2 nope"),
    same("bitmap --disable states.qcow2 b0"),
    same("bitmap --enable --disable states.qcow2 b0"),
    same("bitmap --disable states.qcow2 nope"),
    same("bitmap --merge b0 states.qcow2 b1"),
    same("bitmap --merge b0 states.qcow2 nope"),
    same("bitmap --merge nope states.qcow2 b0"),
    same("bitmap --add --merge b0 --merge b1 states.qcow2 all"),
    same("bitmap -b marked.qcow2 --merge m states.qcow2 b0"),
    same("bitmap -b marked.qcow2 -F qcow2 --add -g 4k --merge m states.qcow2 fine"),
    same("bitmap -b marked.qcow2 -F raw --merge m states.qcow2 b0"),
    same("bitmap -b marked.qcow2 --merge nope states.qcow2 b0"),
    same("bitmap -b nofile --merge m states.qcow2 b0"),
    same("bitmap -b marked.qcow2 --clear states.qcow2 b0"),
    same("bitmap -F qcow2 --merge m states.qcow2 b0"),
    same("bitmap --merge m marked.qcow2 m"),
    same("bitmap --remove marked.qcow2 m"),
    same("bitmap --clear --remove marked.qcow2 m"),
    same("bitmap --remove --clear marked.qcow2 m"),
    same("bitmap --clear torn.qcow2 t"),
    same("bitmap --enable torn.qcow2 t"),
    same("bitmap --merge t torn.qcow2 u"),
    same("bitmap --remove torn.qcow2 t"),
    same("bitmap --clear disk.raw b"),
    // QEMU names the node inside it, by a number that differs from run to run.
    differs(
        "bitmap --add v2.qcow2 b",
        "qemu-img: Operation add on bitmap b failed: Cannot store dirty bitmaps in qcow2 v2 files\n",
        1,
    ),
    differs(
        "bitmap --add -f raw disk.raw b",
        "qemu-img: Operation add on bitmap b failed: the image format has no persistent bitmaps: Operation not \
         supported\n",
        1,
    ),
];

/// Images with a bitmap that marks something, and with one that was not saved properly.
pub(super) fn prepare(prepared: &Prepared) {
    prepared.img("convert -f raw -O qcow2 disk.raw marked.qcow2");
    prepared.img("bitmap --add -g 32k marked.qcow2 m");
    prepared.io("marked.qcow2", "write -P 8 1M 100k");
    prepared.img("convert -f raw -O qcow2 disk.raw torn.qcow2");
    prepared.img("bitmap --add torn.qcow2 t");
    prepared.img("bitmap --add torn.qcow2 u");
    // The flags of the first bitmap of the directory: in use, and enabled.
    let directory = prepared.number("torn.qcow2", 0x210);
    prepared.patch("torn.qcow2", directory + 12, &3_u32.to_be_bytes());
}

#[test]
fn bitmaps_are_theirs() {
    table_with(ROWS, prepare);
}
