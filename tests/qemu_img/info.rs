//! `qemu-img info`.

use super::{Row, differs, same, table, table_with};

const ROWS: &[Row] = &[
    same("info disk.raw"),
    same("info disk.qcow2"),
    same("info --output=json disk.raw"),
    same("info --output json disk.qcow2"),
    same("info --output=human disk.qcow2"),
    same("info -f raw disk.qcow2"),
    same("info -fqcow2 disk.qcow2"),
    same("info --format=qcow2 disk.qcow2"),
    same("info -f qcow2 disk.raw"),
    same("info -f foo disk.raw"),
    same("info -U disk.raw"),
    same("info --force-share disk.raw"),
    same("info empty.qcow2 -f qcow2"),
    same("info packed.qcow2"),
    same("info v2.qcow2"),
    same("info --output=json v2.qcow2"),
    same("info subclusters.qcow2"),
    same("info --output=json subclusters.qcow2"),
    same("info overlay.qcow2"),
    same("info --output=json overlay.qcow2"),
    same("info -b overlay.qcow2"),
    same("info --backing-chain top.qcow2"),
    same("info --backing-chain --output=json top.qcow2"),
    same("info --backing-chain disk.raw"),
    same("info --backing-chain --output=json disk.raw"),
    same("info sub/in.qcow2"),
    same("info -b sub/in.qcow2"),
    same("info --output=json -b sub/in.qcow2"),
    same("info sub/out.qcow2"),
    same("info ./sub/../disk.qcow2"),
    same("info states.qcow2"),
    same("info --output=json states.qcow2"),
    same("info outside.qcow2"),
    same("info --output=json outside.qcow2"),
    same("info text"),
    same("info file:disk.raw"),
    same("info nofile"),
    same("info -b nofile"),
    same("info -f qcow2 nofile"),
    same("info sub"),
    same("info sub/nofile"),
    same("info disk.raw/x"),
    same("info foo:bar"),
    same("info ''"),
    same("info --object secret,id=s0,data=abc disk.raw"),
    same("info --object secret disk.raw"),
    same("info --object foo,id=x disk.raw"),
    same("info --object help disk.raw"),
];

#[test]
fn info_is_theirs() {
    table(ROWS);
}

const DESCRIBED: &[Row] = &[
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2"),
    same("info --image-opts --output=json driver=qcow2,file.driver=file,file.filename=disk.qcow2"),
    same("info --image-opts file.filename=disk.qcow2"),
    same("info --image-opts driver=raw,file.filename=disk.qcow2"),
    same("info --image-opts driver=file,filename=disk.raw"),
    same("info --image-opts driver=file,filename=disk.raw --output=json"),
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2,cache-size=1M,read-only=on"),
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2,cache.direct=on"),
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2,read-only=x"),
    same("info --image-opts driver=raw,file.filename=disk.raw,offset=1M"),
    same("info --image-opts driver=raw,file.filename=disk.raw,offset=1M,size=64k"),
    same("info --image-opts driver=raw,file.filename=disk.raw,offset=x"),
    same("info --image-opts driver=raw,file.filename=disk.raw,offset=20M"),
    same("info --image-opts driver=raw,file.filename=disk.raw,size=20M"),
    same("info --image-opts driver=raw,file.filename=disk.raw,size=5"),
    same("info --image-opts driver=qcow2,file.filename=disk.raw"),
    same("info --image-opts driver=qcow2,file.filename=nofile"),
    same("info --image-opts driver=qcow2,file.driver=foo,file.filename=disk.qcow2"),
    same("info --image-opts driver=qcow2,file=disk.qcow2"),
    same("info --image-opts driver=qcow2,filename=disk.qcow2"),
    same("info --image-opts driver=qcow2,,x,file.filename=disk.qcow2"),
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2,driver=raw"),
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2,foo=1"),
    same("info --image-opts driver=qcow2,file.filename=disk.qcow2,file.foo=1"),
    same("info --image-opts disk.raw"),
    same("info --image-opts foo=bar"),
    same("info --image-opts driver=foo"),
    same("info --image-opts driver=qcow2"),
    same("info --image-opts ''"),
    same("info --image-opts -f raw disk.raw"),
    same(r#"info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.qcow2"}}'"#),
    same(r#"info --output=json 'json:{"driver":"qcow2","file.filename":"disk.qcow2"}'"#),
    same(r#"info 'json:{"file":{"driver":"file","filename":"disk.qcow2"}}'"#),
    same(r#"info 'json:{"driver":"raw","offset":65536,"file":{"driver":"file","filename":"disk.raw"}}'"#),
    same(r#"info 'json:{"driver":"raw","size":"65536","file.filename":"disk.raw"}'"#),
    same(r#"info 'json:{"driver":"foo","file":{"driver":"file","filename":"disk.raw"}}'"#),
    same(r#"info 'json:{"driver":"qcow2"}'"#),
    same(r#"info 'json:{"driver":"qcow2","file":{"driver":"file"}}'"#),
    same(r#"info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.qcow2","foo":"x"}}'"#),
    same(r#"info 'json:{"driver":"qcow2","foo":3,"file":{"driver":"file","filename":"disk.qcow2"}}'"#),
    same("info json:{}"),
    same("info json:[]"),
    same("info json:{"),
    same("info json:x"),
];

#[test]
fn described_images_are_theirs() {
    table(DESCRIBED);
}

#[test]
fn damaged_headers_are_theirs() {
    let rows = &[
        same("info short.qcow2"),
        same("info version.qcow2"),
        same("info clusters.qcow2"),
        same("info features.qcow2"),
        same("info dirty.qcow2"),
        same("info --output=json dirty.qcow2"),
        same("info huge.qcow2"),
        // It has a data file, and does not say which.
        same("info nameless.qcow2"),
        same("info --output=json nameless.qcow2"),
    ];
    table_with(rows, |prepared| {
        let whole = std::fs::read(prepared.path().join("empty.qcow2")).expect("an image");
        prepared.file("short.qcow2", &whole[..60]);
        for name in ["version", "clusters", "features", "dirty", "huge"] {
            prepared.file(&format!("{name}.qcow2"), &whole);
        }
        let outside = std::fs::read(prepared.path().join("outside.qcow2")).expect("an image");
        prepared.file("nameless.qcow2", &outside);
        let name = outside.windows(4).position(|bytes| bytes == b"DATA").expect("an extension");
        prepared.patch("nameless.qcow2", name as u64, b"Data");
        prepared.patch("version.qcow2", 4, &4_u32.to_be_bytes());
        prepared.patch("clusters.qcow2", 20, &64_u32.to_be_bytes());
        prepared.patch("features.qcow2", 72, &0x80_u64.to_be_bytes());
        prepared.patch("dirty.qcow2", 72, &3_u64.to_be_bytes());
        prepared.patch("huge.qcow2", 24, &(i64::MAX as u64).to_be_bytes());
    });
}

#[test]
fn a_chain_stays_in_its_folder() {
    table(&[differs(
        "info --backing-chain sub/out.qcow2",
        "qemu-img: Could not open 'sub/out.qcow2': The backing file \"../disk.raw\" is outside of the image's folder: \
         set GOLDIMG_ALLOW_BACKING=anywhere in the environment to open it\n",
        1,
    )]);
}
