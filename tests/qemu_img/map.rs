//! `qemu-img map`.

use super::{Row, same, table, table_with};

const ROWS: &[Row] = &[
    same("map disk.raw"),
    same("map --output=json disk.raw"),
    same("map disk.qcow2"),
    same("map --output=json disk.qcow2"),
    same("map --output json empty.qcow2"),
    same("map empty.qcow2"),
    same("map packed.qcow2"),
    same("map --output=json packed.qcow2"),
    same("map --output=json v2.qcow2"),
    same("map --output=json subclusters.qcow2"),
    same("map subclusters.qcow2"),
    same("map overlay.qcow2"),
    same("map --output=json overlay.qcow2"),
    same("map top.qcow2"),
    same("map --output=json top.qcow2"),
    same("map sub/in.qcow2"),
    same("map --output=json sub/in.qcow2"),
    same("map ./sub/../top.qcow2"),
    same("map --output=json states.qcow2"),
    same("map outside.qcow2"),
    same("map --output=json outside.qcow2"),
    same("map -U disk.raw"),
    same("map -f raw disk.qcow2"),
    same("map -f qcow2 disk.qcow2"),
    same("map -f qcow2 disk.raw"),
    same("map --start-offset 1M disk.raw"),
    same("map --start-offset=1M --output=json disk.raw"),
    same("map -s 1000 -l 70000 --output=json disk.qcow2"),
    same("map --max-length 100k disk.raw"),
    same("map --start-offset 4M disk.raw"),
    same("map --start-offset 4M --output=json disk.raw"),
    same("map --start-offset 8M --output=json disk.raw"),
    same("map --max-length 0 --output=json disk.raw"),
    same("map --start-offset x disk.raw"),
    same("map --start-offset=-1 disk.raw"),
    same("map --start-offset 1.5 disk.raw"),
    same("map --start-offset 8E disk.raw"),
    same("map --max-length x disk.raw"),
    same("map --max-length ''  disk.raw"),
    same("map text"),
    same("map nofile"),
    same("map -f foo disk.raw"),
    same("map --output=xml disk.raw"),
    same("map"),
    same("map disk.raw disk.qcow2"),
    same("map -x"),
    same("map --image-opts driver=qcow2,file.filename=disk.qcow2"),
    same("map --image-opts --output=json driver=qcow2,file.filename=top.qcow2"),
    same("map --image-opts -f raw disk.raw"),
    same("map --object foo,id=x disk.raw"),
];

#[test]
fn maps_are_theirs() {
    table(ROWS);
}

#[test]
fn what_is_set_aside_is_mapped_as_theirs() {
    let rows = &[
        same("map --output=json metadata.qcow2"),
        same("map metadata.qcow2"),
        same("map --output=json falloc.qcow2"),
        same("map falloc.qcow2"),
        same("map --output=json zeroes.qcow2"),
        same("map zeroes.qcow2"),
        same("map --output=json mixed.qcow2"),
    ];
    table_with(rows, |prepared| {
        prepared.img("create -q -f qcow2 -o preallocation=metadata metadata.qcow2 4M");
        prepared.io("metadata.qcow2", "write -P 4 1M 100k");
        prepared.img("create -q -f qcow2 -o preallocation=falloc falloc.qcow2 4M");
        prepared.img("create -q -f qcow2 zeroes.qcow2 4M");
        prepared.io("zeroes.qcow2", "write -P 4 0 1M");
        prepared.io("zeroes.qcow2", "write -z 256k 256k");
        prepared.io("zeroes.qcow2", "write -z 2M 1M");
        prepared.img("create -q -f qcow2 -o extended_l2=on mixed.qcow2 1M");
        prepared.io("mixed.qcow2", "write -P 4 2k 6k");
        prepared.io("mixed.qcow2", "write -z 16k 4k");
        prepared.io("mixed.qcow2", "write -z 128k 4k");
    });
}

/// What a file lacks of its last sector are zeroes of that file, wherever in a chain it is.
#[test]
fn the_last_sector_is_whole_as_theirs() {
    let rows = &[
        same("map --output=json odd.raw"),
        same("map odd.raw"),
        same("map --output=json -f raw sparse.raw"),
        same("map --output=json -s 100 -l 100 odd.raw"),
        same("map --output=json -s 1000 -l 8 odd.raw"),
        same("map --output=json -s 1010 odd.raw"),
        same("map --output=json -s 2000 -l 8 odd.raw"),
        same("map --output=json over.qcow2"),
        same("map --output=json oversparse.qcow2"),
        same("map --output=json -s 1010 -l 10 over.qcow2"),
        same("map --output=json -s 70001 over.qcow2"),
        same("map --output=json --image-opts driver=raw,offset=512,file.driver=file,file.filename=odd.raw"),
        same("map --output=json --image-opts driver=file,filename=odd.raw"),
    ];
    table_with(rows, |prepared| {
        prepared.file("odd.raw", &[7; 1000]);
        let sparse = prepared.file("sparse.raw", &[]);
        std::fs::File::options()
            .write(true)
            .open(sparse)
            .and_then(|file| file.set_len(10_000))
            .expect("room");
        prepared.img("create -q -f qcow2 -b odd.raw -F raw over.qcow2 128k");
        prepared.img("create -q -f qcow2 -b sparse.raw -F raw oversparse.qcow2 128k");
    });
}
