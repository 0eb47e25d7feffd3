//! Small physical volumes made by hand, whole and broken.

use super::label::checksum;
use super::*;
use crate::ErrorKind;
use crate::block::{ByteRange, ExtentKind, Extents, MemoryDisk};

const AREA: usize = 4096;
const AREA_LEN: usize = 8192;
const DATA: usize = 16 << 10;
/// Eight extents of 4 KiB.
const SIZE: usize = DATA + 8 * 4096;

fn uuid(letter: u8) -> String {
    let mut uuid = String::new();
    for len in [6, 4, 4, 4, 4, 4, 6] {
        uuid += &format!(
            "{}{}",
            if uuid.is_empty() { "" } else { "-" },
            char::from(letter).to_string().repeat(len)
        );
    }
    uuid
}

/// A physical volume with `text` in its ring at `at`, and extents that are filled with their number and `letter`.
fn volume(letter: u8, text: &str, at: usize) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    let put = |bytes: &mut [u8], at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let label = &mut bytes[512..1024];
    put(label, 0, b"LABELONE\x01\0\0\0\0\0\0\0");
    put(label, 20, b"\x20\0\0\0LVM2 001");
    put(label, 32, &[letter; 32]);
    put(label, 64, &(SIZE as u64).to_le_bytes());
    put(label, 72, &(DATA as u64).to_le_bytes());
    put(label, 104, &(AREA as u64).to_le_bytes());
    put(label, 112, &(AREA_LEN as u64).to_le_bytes());
    let sum = checksum(&[&label[20..]]);
    put(label, 16, &sum.to_le_bytes());
    let area = &mut bytes[AREA..AREA + AREA_LEN];
    for (index, byte) in text.bytes().enumerate() {
        let place = at + index;
        area[if place < AREA_LEN { place } else { place - AREA_LEN + 512 }] = byte;
    }
    put(area, 4, b" LVM2 x[5A%r0N*>\x01\0\0\0");
    put(area, 24, &(AREA as u64).to_le_bytes());
    put(area, 32, &(AREA_LEN as u64).to_le_bytes());
    if !text.is_empty() {
        put(area, 40, &(at as u64).to_le_bytes());
        put(area, 48, &(text.len() as u64).to_le_bytes());
        put(area, 56, &checksum(&[text.as_bytes()]).to_le_bytes());
    }
    let sum = checksum(&[&area[4..512]]);
    put(area, 0, &sum.to_le_bytes());
    for extent in 0..8 {
        bytes[DATA + extent * 4096..][..4096].fill(letter + extent as u8);
    }
    bytes
}

fn text(sequence: u32, volumes: &str) -> String {
    let physical = |name: &str, letter| {
        format!("{name} {{ id = \"{}\" pe_start = {} pe_count = 8 }}\n", uuid(letter), DATA / 512)
    };
    let (first, second) = (physical("pv0", b'A'), physical("pv1", b'a'));
    format!(
        "vg {{ id = \"{}\" seqno = {sequence} extent_size = 8\nphysical_volumes {{ {first}{second} }}\n\
         logical_volumes {{ {volumes} }} }}\nversion = 1\n\0",
        uuid(b'G')
    )
}

fn logical(name: &str, segments: &[&str]) -> String {
    let mut text = format!(
        "{name} {{ id = \"{}\" status = [\"READ\", \"VISIBLE\"] segment_count = {} ",
        uuid(b'L'),
        segments.len()
    );
    for (index, segment) in segments.iter().enumerate() {
        text += &format!("segment{} {{ {segment} }} ", index + 1);
    }
    text + "}\n"
}

fn sample() -> String {
    let linear = logical(
        "linear",
        &[
            "start_extent = 0 extent_count = 2 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 6]",
            "start_extent = 2 extent_count = 1 type = \"zero\"",
            "start_extent = 3 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv1\", 0]",
        ],
    );
    let striped = "start_extent = 0 extent_count = 4 type = \"striped\" stripe_count = 2 stripe_size = 2 \
                   stripes = [\"pv0\", 1, \"pv1\", 3]";
    let thin = "start_extent = 0 extent_count = 4 type = \"thin\" device_id = 1";
    let store =
        "start_extent = 0 extent_count = 1 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 5]";
    let snapshot = "start_extent = 0 extent_count = 2 type = \"snapshot\" chunk_size = 8 origin = \"linear\" \
                    cow_store = \"snap\"";
    let rest = [logical("snap", &[store]), logical("snapshot0", &[snapshot])].concat();
    text(7, &[linear, logical("striped", &[striped]), logical("thin", &[thin]), rest].concat())
}

fn disk(bytes: Vec<u8>) -> Arc<dyn BlockRead> {
    Arc::new(MemoryDisk::from_bytes(bytes))
}

fn read(volume: &LogicalVolume) -> Vec<u8> {
    let disk = volume.open().unwrap();
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    // In other pieces, the same.
    let mut again = vec![0; bytes.len()];
    again
        .chunks_mut(1000)
        .enumerate()
        .for_each(|(index, part)| disk.read_at(part, index as u64 * 1000).unwrap());
    assert!(bytes == again);
    bytes
}

#[test]
fn linear_and_striped_volumes_are_read() {
    // The text of the first goes round the end of its ring; that of the second is older.
    let first = volume(b'A', &sample(), AREA_LEN - 100);
    let second = volume(b'a', &text(6, ""), 512);
    let groups = open(vec![disk(second), disk(first)]).unwrap();
    let [group] = &groups[..] else { panic!("another number of groups") };
    assert_eq!((group.name.as_str(), group.sequence, group.extent_size), ("vg", 7, 4096));
    let [linear, striped, thin, snap, _] = &group.logical_volumes[..] else {
        panic!("another number of volumes")
    };
    assert_eq!((linear.size, linear.is_visible, linear.is_writable), (16384, true, false));
    let whole = |letter: u8| vec![letter; 4096];
    assert_eq!(read(linear), [whole(b'G'), whole(b'H'), whole(0), whole(b'a')].concat());
    let mut expected = Vec::new();
    for extent in 0..2 {
        (0..4).for_each(|_| expected.extend([[b'B' + extent; 1024], [b'd' + extent; 1024]].concat()));
    }
    assert_eq!(read(striped), expected);
    for (volume, kind) in [(thin, "thin"), (snap, "snapshot")] {
        let error = volume.open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(format!("{error:?}").contains(kind));
    }
    assert!(linear.open().unwrap().read_at(&mut [0; 2], 16383).is_err());
}

#[test]
fn what_is_missing_is_named_and_a_broken_copy_does_no_harm() {
    let first = volume(b'A', &sample(), 512);
    let groups = open(vec![disk(first.clone())]).unwrap();
    assert_eq!(groups[0].missing_volumes, [uuid(b'a')]);
    let error = groups[0].logical_volumes[1].open().unwrap_err();
    let Some(LvmRule::NoPhysicalVolume { name, .. }) = error.cause() else { panic!("{error:?}") };
    assert_eq!((error.kind(), name.as_str()), (ErrorKind::Invalid, "pv1"));

    let mut second = volume(b'a', &sample(), 512);
    second[AREA + 600] ^= 1;
    let error = open(vec![disk(second.clone())]).unwrap_err();
    assert!(matches!(error.cause(), Some(LvmRule::Checksum { .. })), "{error:?}");
    assert_eq!(open(vec![disk(first.clone()), disk(second.clone())]).unwrap()[0].missing_volumes.len(), 0);
    let twice = open(vec![disk(first.clone()), disk(first.clone())]).unwrap_err();
    assert!(matches!(twice.cause(), Some(LvmRule::SamePhysicalVolume(_))));
    assert!(open(vec![disk(volume(b'A', "", 512))]).unwrap().is_empty());
    for (at, rule) in [(0x200, LvmRule::NoLabel), (0x230, LvmRule::Checksum { what: "label" })] {
        let mut broken = first.clone();
        broken[at] ^= 1;
        assert_eq!(open(vec![disk(broken)]).unwrap_err().cause(), Some(&rule));
    }
    let mut short = first;
    short.truncate(DATA + 4096);
    let groups = open(vec![disk(short), disk(second)]).unwrap();
    let striped = groups[0].logical_volumes[1].open().unwrap();
    let error = striped.read_at(&mut [0; 16], 0).unwrap_err();
    assert!(matches!(error.cause(), Some(LvmRule::OutsideDisk { .. })), "{error:?}");
}

/// A disk with a hole in every other KiB.
struct Holes(MemoryDisk);

impl BlockRead for Holes {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_at(buf, offset)
    }

    fn extents(&self, range: ByteRange) -> Result<Extents> {
        range.check_within(self.size())?;
        let mut extents = Extents::starting_at(range.offset());
        while extents.range().end() < range.end() {
            let at = extents.range().end();
            let kind = if (at / 1024).is_multiple_of(2) { ExtentKind::Data } else { ExtentKind::Hole };
            extents.push_until(((at / 1024 + 1) * 1024).min(range.end()), kind);
        }
        Ok(extents)
    }
}

#[test]
fn extents_are_those_of_the_disks() {
    let holes = |bytes| Arc::new(Holes(MemoryDisk::from_bytes(bytes))) as Arc<dyn BlockRead>;
    let disks = [volume(b'A', &sample(), 512), volume(b'a', "", 512)].map(holes);
    let groups = open(disks.into()).unwrap();
    for (index, ranges) in
        [(0, [(0, 16384), (100, 9000), (8191, 8193)]), (1, [(0, 16384), (1, 2), (1500, 15000)])]
    {
        let disk = groups[0].logical_volumes[index].open().unwrap();
        for (start, end) in ranges {
            let range = ByteRange::between(start, end);
            let extents = disk.extents(range).unwrap();
            assert_eq!(extents.range(), range);
            for extent in extents.iter() {
                for at in extent.range.offset()..extent.range.end() {
                    // Linear: as it is on the disk, but for zeroes. Striped: two by two.
                    let is_hole = match index {
                        0 => at / 1024 % 2 == 1 || (8192..12288).contains(&at),
                        _ => at / 2048 % 2 == 1,
                    };
                    assert_eq!(extent.kind == ExtentKind::Hole, is_hole, "{index} {at}");
                }
            }
        }
    }
}

#[test]
fn no_volume_makes_it_panic() {
    let whole = sample();
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for round in 0..6000 {
        // Metadata that is broken but has the right checksum, and disks that are broken as a whole.
        let mut broken = whole.clone().into_bytes();
        for _ in 0..random(4) {
            let at = random(broken.len());
            match random(4) {
                0 => broken[at] = b"{}[]=\"#09"[random(9)],
                1 => drop(broken.remove(at)),
                2 => broken.insert(at, b'9'),
                _ => broken[at] = random(256) as u8,
            }
        }
        let text = String::from_utf8_lossy(&broken).into_owned();
        let mut first = volume(b'A', &text, AREA_LEN - 300);
        let second = volume(b'a', "", 512);
        for _ in 0..random(3) * (round % 2) {
            let at = [512 + random(256), AREA + random(64), random(SIZE)][random(3)];
            first[at] = random(256) as u8;
        }
        if round % 8 == 0 {
            first.truncate(random(SIZE));
        }
        let Ok(groups) = open(vec![disk(first), disk(second)]) else { continue };
        for volume in groups.iter().flat_map(|group| &group.logical_volumes) {
            let Ok(disk) = volume.open() else { continue };
            let mut buf = [0; 5000];
            for offset in [0, 1, disk.size() / 2, disk.size().saturating_sub(5000)] {
                let _ = disk.read_at(&mut buf, offset);
            }
            let _ = disk.extents(ByteRange::between(disk.size() / 3, disk.size().min(1 << 20)));
        }
    }
}

#[test]
fn what_nobody_has_is_told_only_if_it_is_known_who_has_the_rest() {
    let group = |text: &str, both: bool| {
        let disks = [disk(volume(b'A', text, 512)), disk(volume(b'a', text, 512))];
        open(disks.into_iter().take(1 + usize::from(both)).collect()).unwrap().remove(0)
    };
    let free = |text: &str| -> Result<Vec<Vec<u64>>, String> {
        let group = group(text, true);
        let extents = |range: &ByteRange| {
            let first = (range.offset() - DATA as u64) / 4096;
            first..first + range.len() / 4096
        };
        let all = group.unallocated().map_err(str::to_owned)?.iter();
        Ok(all.map(|free| free.ranges.iter().flat_map(extents).collect()).collect())
    };
    // The store of a snapshot, whose extents do not show in its volume, is not free.
    assert_eq!(free(&sample()), Ok(vec![vec![0, 3, 4], vec![1, 2, 5, 6, 7]]));
    let named: Vec<_> =
        group(&sample(), true).logical_volumes.iter().map(|volume| volume.is_read_through).collect();
    assert_eq!(named, [true, false, false, true, false], "the origin and the store of a snapshot");
    assert!(group(&sample(), false).unallocated().unwrap_err().contains("pv1"));
    let own = "start_extent = 0 extent_count = 2 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 3]";
    let other =
        "start_extent = 0 extent_count = 2 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 4]";
    let same = text(1, &[logical("one", &[own]), logical("two", &[other])].concat());
    assert_eq!(free(&same), Err("two segments have the same place on pv0".into()));
    let moving = "start_extent = 0 extent_count = 2 type = \"mirror\" mirror_count = 2 mirrors = [\"pv0\", 0, \"pv1\", 0]";
    let told = free(&text(1, &logical("pvmove0", &[moving]))).unwrap_err();
    assert!(told.contains("a segment that is mirror lies on pv0"), "{told}");
    // One disk by two names, each of which leaves to the other what it does not have.
    let twice = sample().replace(&uuid(b'a'), &uuid(b'A'));
    assert_eq!(free(&twice), Err("two of its physical volumes are the same disk".into()));
    // Extents over the metadata itself.
    let early = sample().replace(&format!("pe_start = {}", DATA / 512), "pe_start = 16");
    assert!(free(&early).unwrap_err().contains("lie where they cannot be"));
}
