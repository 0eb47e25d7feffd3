//! Equal compressed clusters that are stored once: how many share, what ends it, and what becomes of them when they
//! are written.

use std::sync::Arc;

use super::*;
use crate::block::ZeroMode;
use crate::qcow2::check::check;
use crate::qcow2::write::Qcow2Writer;

const CLUSTER: usize = 65_536;

/// What the clusters of 512 bytes whose counts may change hold: a MiB of blocks of 64 counts each.
const OPEN_LEN: u64 = 1024 * 1024 / 512 * 64 * 512;

/// Clusters that each repeat a line of their own.
fn clusters(lines: &[u8]) -> Vec<u8> {
    let cluster =
        |line: &u8| format!("line {line} of a file\n").into_bytes().into_iter().cycle().take(CLUSTER);
    lines.iter().flat_map(cluster).collect()
}

fn image(bytes: &[u8], order: u32, method: Compression) -> NewImage {
    new_image(bytes.len(), 16, order, Some(method)).with_dedup(true)
}

#[test]
fn equal_clusters_are_stored_once() {
    let bytes = clusters(&[1, 2, 1, 1, 3, 2, 1].repeat(30));
    for method in [Compression::Deflate, Compression::Zstd] {
        let file = written(&bytes, &image(&bytes, 4, method), 2);
        let apart = take_apart(&file);
        assert!(apart.content == bytes);
        assert_eq!((apart.compressed, apart.places.len()), (210, 3));
        assert_eq!(file, written(&bytes, &image(&bytes, 4, method), 1));
    }
}

#[test]
fn plain_clusters_are_never_shared() {
    let noise = disk(&[(2, 1)], CLUSTER, 0);
    let bytes = [&noise[..], &noise, &noise].concat();
    let apart = take_apart(&written(&bytes, &image(&bytes, 4, Compression::Zstd), 2));
    assert_eq!((apart.plain, apart.compressed), (3, 0));
}

#[test]
fn no_more_share_than_the_refcount_has_room_for() {
    let bytes = clusters(&[7; 40]);
    // Counts up to 1, 3, 15, 255: so many in each cluster of the file.
    for (order, copies) in [(0, 40), (1, 14), (2, 3), (3, 1)] {
        let shared = written(&bytes, &image(&bytes, order, Compression::Deflate), 2);
        let apart = take_apart(&shared);
        assert!(apart.content == bytes);
        assert_eq!(apart.places.len(), copies, "order {order}");
        let each = written(&bytes, &image(&bytes, order, Compression::Deflate).with_dedup(false), 2);
        assert!(shared.len() <= each.len());
    }
}

#[test]
fn a_gap_whose_count_cannot_grow_is_not_filled() {
    // The second line leaves a gap behind it; sharing brings the count of both to 3, which is all that 2 bits hold.
    let bytes = clusters(&[1, 2, 2, 3, 3, 3, 1]);
    let apart = take_apart(&written(&bytes, &image(&bytes, 1, Compression::Deflate), 1));
    assert!(apart.content == bytes);
    assert_eq!(apart.places.len(), 4, "1 and 2, 3 in a cluster of its own, and 1 again");
}

#[test]
fn what_a_written_refcount_block_counts_is_stored_again() {
    // Clusters of 512 bytes and counts of 64 bits: a block counts 32 KiB, and 64 MiB of them stay open.
    let far = OPEN_LEN + 2 * 32_768;
    let file = MemoryDisk::new(0);
    let size = far + 3 * 512;
    let mut sink =
        Qcow2Sink::new(&file, new_image(size as usize, 9, 6, Some(Compression::Zstd)).with_dedup(true))
            .unwrap();
    let text = [b'x'; 512];
    let mut compressed = Vec::new();
    assert!(sink.encoder().unwrap().unwrap().encode(&text, &mut compressed).unwrap());
    let mut put = |offset: u64, len: u64, piece: Piece<'_>| {
        sink.put(ByteRange::new(offset, len).unwrap(), piece).unwrap();
        offset + len
    };
    let at = put(0, 512, Piece::Compressed(&compressed));
    let at = put(at, far, Piece::Plain(&vec![9; far as usize]));
    let at = put(at, 512, Piece::Compressed(&compressed));
    put(at, 512, Piece::Compressed(&compressed));
    sink.finish().unwrap();
    let apart = take_apart(&file.to_bytes());
    assert_eq!((apart.compressed, apart.places.len()), (3, 2));
    assert!(apart.content.starts_with(&text) && apart.content.ends_with(&[b'x'; 1024]));
}

#[test]
fn shared_clusters_that_are_written_part() {
    for method in [Compression::Deflate, Compression::Zstd] {
        let mut bytes = clusters(&[1, 1, 1, 2, 2, 1, 1, 2]);
        let file = Arc::new(MemoryDisk::from_bytes(written(&bytes, &image(&bytes, 4, method), 2)));
        let header = Header::read(&*file).unwrap();
        let writer = Qcow2Writer::new(Arc::clone(&file) as _, header, None, None).unwrap();
        writer.write_at(b"changed", 2 * CLUSTER as u64 + 100).unwrap();
        writer.write_at(&vec![7; CLUSTER], 4 * CLUSTER as u64).unwrap();
        writer.write_zeroes(ByteRange::new(0, CLUSTER as u64).unwrap(), ZeroMode::Punch).unwrap();
        writer.close().unwrap();
        bytes[2 * CLUSTER + 100..][..7].copy_from_slice(b"changed");
        bytes[4 * CLUSTER..5 * CLUSTER].fill(7);
        bytes[..CLUSTER].fill(0);
        let header = Header::read(&*file).unwrap();
        let mut findings = Vec::new();
        check(&*file, &header, &mut |finding| findings.push(finding.to_string())).unwrap();
        assert_eq!(findings, [""; 0]);
        let image = Qcow2Writer::new(Arc::clone(&file) as _, header, None, None).unwrap();
        let mut now = vec![0; bytes.len()];
        image.read_at(&mut now, 0).unwrap();
        assert!(now == bytes);
    }
}
