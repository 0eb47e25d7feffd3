//! The table of an image's snapshots, as `info` and `snapshot -l` print it.

use std::fmt::Write;

use goldimg::facts;
use goldimg::printable::printable;
use image_core::qcow2::snapshot::Snapshot;
use jiff::tz::TimeZone;

use super::size;

/// The table, with its heading.
pub(super) fn of(snapshots: &[Snapshot]) -> String {
    let mut text = row(["ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT"].map(str::to_owned));
    for snapshot in snapshots {
        let name = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes));
        let icount = facts::icount(snapshot).map(|count| count.to_string()).unwrap_or_default();
        text.push_str(&row([
            name(&snapshot.id),
            name(&snapshot.name),
            size::for_people(snapshot.vm_state_size),
            date(snapshot.date.0),
            clock(snapshot.guest_clock_nanoseconds),
            icount,
        ]));
    }
    text
}

fn row([id, name, size, date, clock, icount]: [String; 6]) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{id:<7} {name:<16} {size:>8} {date:>19} {clock:>15} {icount:>10}");
    text
}

/// In the time zone of this machine, or of TZ.
fn date(seconds: u32) -> String {
    let time = jiff::Timestamp::from_second(seconds.into()).map(|time| time.to_zoned(TimeZone::system()));
    time.map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Hours, minutes, seconds and milliseconds that the guest had been running.
fn clock(nanoseconds: u64) -> String {
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (minutes, milliseconds) = (seconds / 60, rest / 1_000_000);
    format!("{:04}:{:02}:{:02}.{milliseconds:03}", minutes / 60, minutes % 60, seconds % 60)
}
