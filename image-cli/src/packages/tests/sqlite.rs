//! SQLite files and their logs.

use super::{Files, key, numbered};

const PATH: &str = "/usr/lib/sysimage/rpm/rpmdb.sqlite";
const LOG: &str = "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal";
const PAGE: usize = 512;
const SQL: &str = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)";

fn varint(number: usize) -> Vec<u8> {
    let mut bytes = vec![(number & 0x7f) as u8];
    let mut rest = number >> 7;
    while rest != 0 {
        bytes.insert(0, (rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes
}

/// Puts cells into a page of `kind` at byte `start` of it.
fn fill(page: &mut [u8], start: usize, kind: u8, last: u32, cells: &[Vec<u8>]) {
    page[start] = kind;
    page[start + 3..start + 5].copy_from_slice(&(cells.len() as u16).to_be_bytes());
    let places = start + if kind == 5 { 12 } else { 8 };
    if kind == 5 {
        page[start + 8..start + 12].copy_from_slice(&last.to_be_bytes());
    }
    let mut end = page.len();
    for (index, cell) in cells.iter().enumerate() {
        end -= cell.len();
        page[end..end + cell.len()].copy_from_slice(cell);
        page[places + 2 * index..places + 2 * index + 2].copy_from_slice(&(end as u16).to_be_bytes());
    }
}

/// A file whose table has a row for each header, on a page of its own, beneath two levels: page 2, then 3, 4 ….
fn file(headers: &[Vec<u8>]) -> Vec<u8> {
    let row_kinds = |header: &[u8]| [&[0][..], &varint(header.len() * 2 + 12)].concat();
    let mut pages = vec![vec![0; PAGE]; 2];
    let groups: Vec<_> = headers.chunks(10).collect();
    pages.resize(2 + groups.len(), vec![0; PAGE]);
    let mut middles = Vec::new();
    let mut number = 0;
    for (index, group) in groups.iter().enumerate() {
        let mut leaves = Vec::new();
        for header in *group {
            number += 1;
            let kinds = row_kinds(header);
            let row = [&varint(kinds.len() + 1), &kinds[..], header].concat();
            let start = [varint(row.len()), varint(number)].concat();
            let least = (PAGE - 12) * 32 / 255 - 23;
            let filled = least + (row.len().max(least) - least) % (PAGE - 4);
            let here = match row.len() <= PAGE - 35 {
                true => row.len(),
                false if filled <= PAGE - 35 => filled,
                false => least,
            };
            let mut cell = [&start, &row[..here]].concat();
            let leaf = pages.len();
            pages.push(vec![0; PAGE]);
            if here < row.len() {
                cell.extend((leaf as u32 + 2).to_be_bytes());
            }
            fill(&mut pages[leaf], 0, 13, 0, &[cell]);
            for chunk in row[here..].chunks(PAGE - 4) {
                let is_last = chunk.as_ptr_range().end == row.as_ptr_range().end;
                let next = if is_last { 0 } else { pages.len() as u32 + 2 };
                pages.push([&next.to_be_bytes()[..], chunk, &vec![0; PAGE - 4 - chunk.len()]].concat());
            }
            leaves.push((leaf as u32 + 1, number));
        }
        middles.push((index as u32 + 3, number));
        fill_leading(&mut pages[2 + index], &leaves);
    }
    fill_leading(&mut pages[1], &middles);
    pages[0] = first_page(pages.len() as u32);
    pages.concat()
}

fn fill_leading(page: &mut [u8], beneath: &[(u32, usize)]) {
    let (last, others) = beneath.split_last().unwrap();
    let cell = |(page, number): &(u32, usize)| [&page.to_be_bytes()[..], &varint(*number)].concat();
    fill(page, 0, 5, last.0, &others.iter().map(cell).collect::<Vec<_>>());
}

/// The header, and the table of tables.
fn first_page(count: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..24].copy_from_slice(&[2, 0, 2, 2, 0, 64, 32, 32]);
    page[28..32].copy_from_slice(&count.to_be_bytes());
    page[56..60].copy_from_slice(&1_u32.to_be_bytes());
    let text = |text: &str| varint(text.len() * 2 + 13);
    let kinds = [text("table"), text("Packages"), text("Packages"), vec![1], text(SQL)].concat();
    let mut row = [varint(kinds.len() + 1), kinds, b"tablePackagesPackages\x02".to_vec()].concat();
    row.extend(SQL.bytes());
    fill(&mut page, 100, 13, 0, &[[varint(row.len()), varint(1), row].concat()]);
    page
}

/// A log of frames: a page's number, how many pages there are then or 0, the page.
fn log(order: u32, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut sums = (0_u32, 0_u32);
    let mut add = |bytes: &[u8]| {
        for pair in bytes.chunks(8) {
            let word = |at: usize| {
                let bytes = pair[at..at + 4].try_into().unwrap();
                if order == 0 { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
            };
            sums.0 = sums.0.wrapping_add(word(0)).wrapping_add(sums.1);
            sums.1 = sums.1.wrapping_add(word(4)).wrapping_add(sums.0);
        }
        [sums.0, sums.1].map(u32::to_be_bytes).concat()
    };
    let mut bytes = [0x377f_0682 | order, 3_007_000, PAGE as u32, 1, 77, 78].map(u32::to_be_bytes).concat();
    bytes.extend(add(&bytes));
    for (number, count, page) in frames {
        let start = [*number, *count].map(u32::to_be_bytes).concat();
        add(&start);
        let sums = add(page);
        bytes.extend([start, [77_u32, 78].map(u32::to_be_bytes).concat(), sums, page.to_vec()].concat());
    }
    bytes
}

#[test]
fn every_row_is_read() {
    let (mut headers, told): (Vec<_>, Vec<_>) =
        (0..60).map(|number| numbered(number, number as usize * 50)).unzip();
    headers.insert(30, key());
    let files = Files::default().with(PATH, file(&headers));
    assert_eq!(files.told(), told);
    // An empty log, and one of an older round.
    let files = files.with(LOG, "");
    assert_eq!(files.told(), told);
    files.survive(3000, 3);
}

#[test]
fn the_log_counts_up_to_its_last_finished_transaction() {
    let told: Vec<_> = (1..=2).map(|number| numbered(number, 0).1).collect();
    let old = file(&[numbered(1, 0).0]);
    let new = file(&[numbered(1, 0).0, numbered(2, 0).0]);
    let count = (new.len() / PAGE) as u32;
    let pages: Vec<_> = new.chunks(PAGE).collect();
    let frame = |number: u32, count| (number, count, pages[number as usize - 1]);
    let mut frames: Vec<_> = (1..count).map(|number| frame(number, 0)).collect();
    frames.push(frame(count, count));
    for order in [0, 1] {
        let whole = log(order, &frames);
        let with = |log: &[u8]| Files::default().with(PATH, old.clone()).with(LOG, log);
        assert_eq!(with(&whole).told(), told);
        // Not written whole, changed, or never finished.
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        frames.last_mut().unwrap().1 = 0;
        let unfinished = log(order, &frames);
        frames.last_mut().unwrap().1 = count;
        for log in [&whole[..whole.len() - 1], &changed, &unfinished, &whole[..31]] {
            assert_eq!(with(log).told(), told[..1]);
        }
        // What is behind the last transaction.
        let nothing = vec![0; PAGE];
        let behind: Vec<_> = frames.iter().copied().chain([(2, 0, &nothing[..])]).collect();
        assert_eq!(with(&log(order, &behind)).told(), told);
        with(&whole).survive(300, 4);
    }
}

#[test]
fn pages_that_lead_back_end() {
    let good = file(&[numbered(1, 2000).0, numbered(2, 0).0]);
    let error = |changes: &[(usize, &[u8])]| {
        let mut bytes = good.clone();
        for (at, new) in changes {
            bytes[*at..*at + new.len()].copy_from_slice(new);
        }
        Files::default().with(PATH, bytes).error()
    };
    // Page 2 leads to itself; page 5, the first that is the rest of a row, to page 4.
    assert!(error(&[(PAGE + 8, &[0, 0, 0, 2])]).contains("more than one place"));
    assert!(error(&[(4 * PAGE, &[0, 0, 0, 5])]).contains("the header of record 1"));
    assert!(
        error(&[(4 * PAGE, &[0, 0, 0, 0])])
            .contains("page 0 of the SQLite file has a number outside the file")
    );
    assert!(error(&[(0, b"x")]).contains("no mark"));
    assert!(error(&[(19, &[3])]).contains("unknown version"));
    assert!(error(&[(56, &[0, 0, 0, 2])]).contains("UTF-16"));
    assert!(error(&[(PAGE, &[10])]).contains("page 2 of the SQLite file has another kind"));
    let files = Files::default().with(PATH, good.clone()).with(&format!("{PATH}-journal"), [0; 512]);
    assert_eq!(files.told().len(), 2);
    let mark = [0xd9, 0xd5, 5, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let error = files.with(&format!("{PATH}-journal"), mark).error();
    assert!(
        error.ends_with("-journal: it uses the journal of an unfinished transaction, which is not supported")
    );
}
