//! Header extensions as no program of today writes them: twice, and with names of features that nobody knows.

use super::prepared::Prepared;
use super::{Row, same, table_with};

const FEATURE_NAMES: u32 = 0x6803_f857;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const BITMAPS: u32 = 0x2385_2875;
/// Not one that means anything.
const UNKNOWN: u32 = 0x1234_5678;

/// An entry of a table of features: the set, the bit, the name.
fn name(set: u8, bit: u8, name: &str) -> Vec<u8> {
    let mut entry = vec![set, bit];
    entry.extend_from_slice(name.as_bytes());
    entry.resize(48, 0);
    entry
}

/// Puts `extensions` into the header of a version 3 image, with the backing file `disk.qcow2` behind them.
fn put(prepared: &Prepared, image: &str, extensions: &[(u32, Vec<u8>)], with_end: bool) {
    let mut area = Vec::new();
    for (kind, data) in extensions {
        area.extend_from_slice(&kind.to_be_bytes());
        area.extend_from_slice(&(data.len() as u32).to_be_bytes());
        area.extend_from_slice(data);
        area.resize(area.len().next_multiple_of(8), 0);
    }
    if with_end {
        area.extend_from_slice(&[0; 8]);
    }
    area.resize(3000, if with_end { 0 } else { 0xff });
    prepared.img(&format!("create -q -f qcow2 -b disk.qcow2 -F qcow2 {image}"));
    prepared.patch(image, 112, &area);
    prepared.patch(image, 8, &4096_u64.to_be_bytes());
    prepared.patch(image, 4096, b"disk.qcow2");
}

fn incompatible(
    prepared: &Prepared,
    image: &str,
    bits: &[u32],
    extensions: &[(u32, Vec<u8>)],
    with_end: bool,
) {
    put(prepared, image, extensions, with_end);
    let features = bits.iter().fold(0_u64, |all, bit| all | 1 << bit);
    prepared.patch(image, 72, &features.to_be_bytes());
}

const FEATURES: &[Row] = &[
    same("info named.qcow2"),
    same("check named.qcow2"),
    same("check -r all named.qcow2"),
    same("convert named.qcow2 out"),
    same("resize named.qcow2 8M"),
    same("rebase -u -b '' named.qcow2"),
    same("info tables.qcow2"),
    same("info ended.qcow2"),
    same("info cut.qcow2"),
    same("info endless.qcow2"),
    same("info nameless.qcow2"),
    same("info over.qcow2"),
    same("create -q -f qcow2 -b named.qcow2 -F qcow2 new"),
];

#[test]
fn unknown_features_are_called_what_the_image_calls_them() {
    table_with(FEATURES, |prepared| {
        // In the order of the table; of the other sets none.
        let names =
            [name(0, 63, "last one"), name(1, 9, "compatible"), name(0, 9, "a \"b\""), name(0, 0, "dirty")];
        incompatible(prepared, "named.qcow2", &[9, 21, 63], &[(FEATURE_NAMES, names.concat())], true);
        let (one, two) = (name(0, 9, "one"), [name(0, 9, "two"), name(0, 9, "three")].concat());
        let tables = [(FEATURE_NAMES, one.clone()), (UNKNOWN, vec![1]), (FEATURE_NAMES, two)];
        incompatible(prepared, "tables.qcow2", &[9], &tables, true);
        // A name of no bytes ends a table.
        let ended = [name(0, 9, ""), name(0, 9, "nine")].concat();
        incompatible(prepared, "ended.qcow2", &[9], &[(FEATURE_NAMES, ended)], true);
        // Bitmaps that nobody can read stand behind the table, and something that has no end.
        let cut = [(FEATURE_NAMES, one.clone()), (BITMAPS, vec![1])];
        incompatible(prepared, "cut.qcow2", &[9], &cut, true);
        incompatible(prepared, "endless.qcow2", &[9], &[(FEATURE_NAMES, one)], false);
        incompatible(prepared, "nameless.qcow2", &[9, 63], &[], true);
        // A bit that there is not.
        incompatible(prepared, "over.qcow2", &[9], &[(FEATURE_NAMES, name(0, 200, "no bit"))], true);
    });
}

const TWICE: &[Row] = &[
    same("info formats.qcow2"),
    same("info --backing-chain formats.qcow2"),
    same("convert formats.qcow2 out"),
    same("map --output=json formats.qcow2"),
    same("snapshot -c s formats.qcow2 && convert formats.qcow2 out"),
    same("rebase -u -b disk.raw -F raw formats.qcow2 && info formats.qcow2"),
    same("amend -o lazy_refcounts=on formats.qcow2 && convert formats.qcow2 out"),
    same("info wrong.qcow2"),
    same("convert wrong.qcow2 out"),
    same("info unknown.qcow2"),
    same("bitmap --add unknown.qcow2 b && bitmap --remove unknown.qcow2 b"),
    same("info bitmaps.qcow2"),
    same("bitmap --add bitmaps.qcow2 more && bitmap --remove bitmaps.qcow2 own"),
    same("check bitmaps.qcow2"),
];

#[test]
fn of_extensions_that_stand_twice_the_last_one_counts() {
    table_with(TWICE, |prepared| {
        let formats = |first: &str, second: &str| {
            [(BACKING_FORMAT, first.as_bytes().to_vec()), (BACKING_FORMAT, second.as_bytes().to_vec())]
        };
        put(prepared, "formats.qcow2", &formats("raw", "qcow2"), true);
        put(prepared, "wrong.qcow2", &formats("qcow2", "raw"), true);
        put(prepared, "unknown.qcow2", &[(UNKNOWN, vec![1]), (UNKNOWN, vec![2; 9])], true);
        // The bitmaps of another image that are not there, then its own.
        prepared.img("create -q -f qcow2 bitmaps.qcow2 1M");
        prepared.img("bitmap --add bitmaps.qcow2 own");
        let header = std::fs::read(prepared.path().join("bitmaps.qcow2")).expect("an image");
        let at = header.windows(4).position(|bytes| bytes == BITMAPS.to_be_bytes()).expect("an extension");
        let own = header[at + 8..at + 32].to_vec();
        let mut other = own.clone();
        other[15] = 32;
        let head = |kind: u32, data: &[u8]| {
            [&kind.to_be_bytes()[..], &(data.len() as u32).to_be_bytes(), data].concat()
        };
        let area = [head(BITMAPS, &other), head(BITMAPS, &own), head(0, &[])].concat();
        prepared.patch("bitmaps.qcow2", 112, &area);
    });
}
