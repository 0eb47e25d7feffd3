//! Rock Ridge: names, modes, owners, links and times of POSIX in the system use area.
//!
//! ```text
//! PX 0 mode │ 8 links │ 16 user │ 24 group        PN 0 major │ 8 minor        NM 0 flags: 1 goes on │ 1 name
//! SL 0 flags: 1 goes on │ 1 components …          a component: flags: 1 goes on, 2 `.`, 4 `..`, 8 `/` │ length │ text
//! TF 0 flags: 1 made, 2 modified, 4 accessed, 8 attributes, 0x80 in the long form │ 1 times
//! CL 0 block of the directory that is elsewhere        RE hidden: it is in its place by a CL        ZF 4 … 8 compressed, and its size
//! ```
//! IEEE P1282 (Rock Ridge Interchange Protocol), draft 1.12. SF does not count: nobody writes it.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::Volume;
use super::record::Record;
use super::system_use::{Entry, each_entry};
use super::times;
use crate::error::Result;
use crate::fs::Time;
use crate::fs::field::{part, u8_at, u32_at};

/// The longest name, in bytes.
const NAME_MAX: usize = 255;
/// The longest target of a link, in bytes.
const LINK_MAX: usize = 4096;
/// Flags of names, links and components of links.
const GOES_ON: u8 = 1;

/// Mode, links and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posix {
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What Rock Ridge says of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RockRidge {
    pub(super) name: Option<Vec<u8>>,
    pub(super) posix: Option<Posix>,
    pub(super) device: Option<(u32, u32)>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) created: Option<Time>,
    pub(super) modified: Option<Time>,
    pub(super) accessed: Option<Time>,
    pub(super) changed: Option<Time>,
    /// The block of the directory that it stands for.
    pub(super) child: Option<u32>,
    /// Whether it is in its place by way of another record.
    pub(super) is_relocated: bool,
    /// The size that its content has when it is not compressed.
    pub(super) compressed: Option<u64>,
}

/// What is not over yet.
#[derive(Default)]
struct State {
    /// Whether the last name went on.
    name_goes_on: bool,
    /// Whether a slash is needed before the next component.
    needs_slash: bool,
}

impl RockRidge {
    /// Of `record`, whose first `skip` bytes are somebody else's.
    pub(super) fn read(volume: &Volume, record: &Record, skip: u8) -> Result<Self> {
        let mut found = Self::default();
        let mut state = State::default();
        each_entry(volume, record, skip, &mut |entry| found.add(entry, &mut state))?;
        Ok(found)
    }

    fn add(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), &'static str> {
        let data = entry.data;
        match &entry.mark {
            b"PX" if data.len() >= 32 => {
                let [mode, links, uid, gid] = [0, 8, 16, 24].map(|at| u32_at(data, at));
                self.posix = Some(Posix { mode, links, uid, gid });
            }
            b"PX" => return Err("length of PX"),
            b"PN" => self.device = Some(device(u32_at(data, 0), u32_at(data, 8))),
            b"NM" => self.add_name(data, state)?,
            b"SL" => self.add_link(data, state)?,
            b"TF" => self.add_times(data)?,
            b"CL" => self.child = Some(u32_at(data, 0)),
            b"RE" => self.is_relocated = true,
            b"ZF" => self.compressed = Some(u64::from(u32_at(data, 4))),
            _ => (),
        }
        Ok(())
    }

    fn add_name(&mut self, data: &[u8], state: &mut State) -> Result<(), &'static str> {
        let flags = u8_at(data, 0);
        // The directory's own and its parent's have no name.
        if flags & !GOES_ON != 0 || (self.name.is_some() && !state.name_goes_on) {
            return Ok(());
        }
        let name = self.name.get_or_insert_default();
        name.extend(data.get(1..).unwrap_or_default());
        state.name_goes_on = flags & GOES_ON != 0;
        if name.len() > NAME_MAX { Err("name") } else { Ok(()) }
    }

    fn add_link(&mut self, data: &[u8], state: &mut State) -> Result<(), &'static str> {
        let link = self.link.get_or_insert_default();
        let mut rest = data.get(1..).unwrap_or_default();
        while let [flags, len, behind @ ..] = rest {
            let text = behind.get(..usize::from(*len)).ok_or("component of a link")?;
            rest = behind.get(usize::from(*len)..).unwrap_or_default();
            if state.needs_slash {
                link.push(b'/');
            }
            let text = match flags & !GOES_ON {
                0 => text,
                2 => b".",
                4 => b"..",
                8 => b"/",
                _ => return Err("component of a link"),
            };
            link.extend(text);
            state.needs_slash = flags & GOES_ON == 0 && flags & 8 == 0;
            if link.len() > LINK_MAX {
                return Err("length of a link");
            }
        }
        Ok(())
    }

    fn add_times(&mut self, data: &[u8]) -> Result<(), &'static str> {
        let flags = u8_at(data, 0);
        let is_long = flags & 0x80 != 0;
        let len = if is_long { times::LONG } else { times::SHORT };
        let mut rest = data.get(1..).unwrap_or_default();
        let targets = [&mut self.created, &mut self.modified, &mut self.accessed, &mut self.changed];
        for (bit, target) in targets.into_iter().enumerate() {
            if flags >> bit & 1 == 0 {
                continue;
            }
            let mut bytes = part(rest, 0, len).to_vec();
            // makefs(8) leaves out the last byte of the last one, which is its time zone.
            if bytes.len() < len.saturating_sub(1) {
                return Err("length of TF");
            }
            bytes.resize(len, 0);
            *target = if is_long { times::long(&bytes) } else { times::short(&bytes) };
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Major and minor number. Some have put both into the lower half, as Linux has them in 32 bits.
fn device(high: u32, low: u32) -> (u32, u32) {
    match high {
        0 if low > 0xff => (low >> 8 & 0xfff, low & 0xff | low >> 12 & 0xf_ff00),
        _ => (high, low),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&[u8; 2], &[u8])]) -> Result<RockRidge, &'static str> {
        let (mut found, mut state) = (RockRidge::default(), State::default());
        for (mark, data) in entries {
            found.add(&Entry { mark: **mark, data }, &mut state)?;
        }
        Ok(found)
    }

    #[test]
    fn names_and_links_are_joined() {
        let found = of(&[(b"NM", b"\x01long "), (b"NM", b"\x00name"), (b"NM", b"\x00other")]).unwrap();
        assert_eq!(found.name.unwrap(), b"long name");
        assert_eq!(of(&[(b"NM", b"\x02")]).unwrap().name, None);
        for (entries, link) in [
            (&[(b"SL", &b"\x00\x08\x00\x00\x03usr\x00\x03lib"[..])][..], "/usr/lib"),
            (&[(b"SL", b"\x01\x04\x00\x04\x00\x00\x01a"), (b"SL", b"\x00\x00\x01b")], "../../a/b"),
            (&[(b"SL", b"\x01\x01\x03abc"), (b"SL", b"\x00\x00\x03def\x02\x00")], "abcdef/."),
            (&[(b"SL", b"\x00\x08\x00")], "/"),
        ] {
            assert_eq!(String::from_utf8(of(entries).unwrap().link.unwrap()).unwrap(), link);
        }
        assert_eq!(of(&[(b"SL", b"\x00\x00\x09abc")]), Err("component of a link"));
        assert_eq!(of(&[(b"NM", &[b'a'; 300])]), Ok(RockRidge::default()), "flags that are not known");
        assert_eq!(of(&[(b"NM", &[&[0][..], &[b'a'; 300]].concat())]), Err("name"));
    }

    #[test]
    fn times_are_in_the_order_of_their_flags() {
        let found = of(&[(b"TF", &[0x0a, 70, 1, 1, 0, 0, 1, 0, 70, 1, 1, 0, 0, 2, 0])]).unwrap();
        let seconds = |time: Option<Time>| time.map(|time| time.seconds);
        assert_eq!((seconds(found.modified), seconds(found.changed)), (Some(1), Some(2)));
        assert_eq!((found.created, found.accessed), (None, None));
        let long = [&[0x81][..], b"1970010100000350\0"].concat();
        assert_eq!(
            of(&[(b"TF", &long)]).unwrap().created,
            Some(Time { seconds: 3, nanoseconds: 500_000_000 })
        );
        let without_zone = of(&[(b"TF", &[0x0a, 70, 1, 1, 0, 0, 1, 0, 70, 1, 1, 0, 0, 2])]).unwrap();
        assert_eq!(without_zone.changed, found.changed);
        assert_eq!(of(&[(b"TF", &[0x0a, 70, 1, 1, 0, 0, 1, 0])]), Err("length of TF"));
        assert_eq!(of(&[(b"TF", &[0x02, 70, 1, 1, 0, 0])]), Err("length of TF"));
        assert_eq!((device(0, 0x0801), device(8, 1), device(0, 5)), ((8, 1), (8, 1), (0, 5)));
        assert_eq!(device(0, 0xfff1_03ff), (259, 0xf_ffff));
    }
}
