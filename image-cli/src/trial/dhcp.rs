//! What a guest calls itself when it asks for an address, read from what went over its network.
//!
//! ```text
//! capture   24 bytes │ 16 bytes: … length at 8 │ frame │ …
//! frame     Ethernet 14 ─┬ IPv4 ─ UDP to port 67  ─ DHCP: client identifier (61) = ff, IAID, DUID │ 01, MAC address
//!                        └ IPv6 ─ UDP to port 547 ─ DHCPv6: client identifier (1) = DUID
//! ```
//! The capture's format is that of libpcap (draft-ietf-opsawg-pcap), as QEMU's `filter-dump` writes it; RFC 2131, 2132
//! (9.14), 4361 (6.1) and 8415 (21.2). Two clones that call themselves the same get each other's addresses.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Context;

/// How much of a capture is read: requests for addresses come first.
const LIMIT: u64 = 64 << 20;

/// The identities in the capture at `path`: DUIDs, or where there are none, the hardware addresses that asked.
///
/// # Errors
/// If it cannot be read.
pub(super) fn identities(path: &Path) -> crate::Result<Vec<String>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    read.context("reading what the guest sent")?;
    let found: BTreeSet<Identity> = frames(&bytes).into_iter().filter_map(identity).collect();
    let of = |wanted: fn(&Identity) -> Option<&Vec<u8>>, word: &str| -> Vec<String> {
        let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut words: Vec<String> =
            found.iter().filter_map(wanted).map(|id| format!("{word} {}", hex(id))).collect();
        words.dedup();
        words
    };
    let duids = of(|one| if let Identity::Duid(id) = one { Some(id) } else { None }, "DUID");
    if !duids.is_empty() {
        return Ok(duids);
    }
    Ok(of(|one| if let Identity::Hardware(id) = one { Some(id) } else { None }, "MAC address"))
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    Duid(Vec<u8>),
    Hardware(Vec<u8>),
}

/// The frames of a capture, up to its first unreadable one.
fn frames(capture: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    // A capture in the other byte order, or finer times, is none of QEMU's.
    let Some((header, mut rest)) = capture.split_at_checked(24) else { return frames };
    if !header.starts_with(&0xa1b2_c3d4_u32.to_le_bytes()) {
        return frames;
    }
    while let Some((record, behind)) = rest.split_at_checked(16) {
        let len = record.get(8..).and_then(|from| from.first_chunk()).copied().map_or(0, u32::from_le_bytes);
        let Some((frame, next)) = behind.split_at_checked(len as usize) else { break };
        frames.push(frame);
        rest = next;
    }
    frames
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// Who asks, if the frame asks for an address.
fn identity(frame: &[u8]) -> Option<Identity> {
    let packet = frame.get(14..)?;
    let (udp, port) = match word(frame, 12)? {
        0x0800 => {
            let words = usize::from(packet.first()? & 0xf);
            (packet.get(words.checked_mul(4)?..)?, 67)
        }
        0x86dd => (packet.get(40..)?, 547),
        _ => return None,
    };
    let protocol = if port == 67 { packet.get(9)? } else { packet.get(6)? };
    if *protocol != 17 || word(udp, 2)? != port {
        return None;
    }
    let message = udp.get(8..)?;
    if port == 547 { client_of_dhcp6(message) } else { client_of_dhcp4(message) }
}

fn client_of_dhcp4(message: &[u8]) -> Option<Identity> {
    let hardware_len = usize::from(*message.get(2)?).min(16);
    let hardware = message.get(28..)?.get(..hardware_len)?.to_vec();
    let mut options = message.get(236..)?.strip_prefix(&[0x63, 0x82, 0x53, 0x63])?;
    while let Some((code, rest)) = options.split_first() {
        match code {
            0 => options = rest,
            0xff => break,
            _ => {
                let (len, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*len))?;
                // The interface's own number (IAID) stands before the DUID.
                if let (61, [0xff, _, _, _, _, duid @ ..]) = (code, value) {
                    return Some(Identity::Duid(duid.to_vec()));
                }
                options = rest;
            }
        }
    }
    Some(Identity::Hardware(hardware))
}

fn client_of_dhcp6(message: &[u8]) -> Option<Identity> {
    let mut options = message.get(4..)?;
    loop {
        let (code, len) = (word(options, 0)?, word(options, 2)?);
        let (value, rest) = options.get(4..)?.split_at_checked(usize::from(len))?;
        if code == 1 {
            return Some(Identity::Duid(value.to_vec()));
        }
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.resize(24, 0);
        for frame in frames {
            bytes.extend([0; 8]);
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend(frame);
        }
        bytes
    }

    fn udp(port: u16, message: &[u8]) -> Vec<u8> {
        [&[0, 68], &port.to_be_bytes()[..], &(message.len() as u16 + 8).to_be_bytes(), &[0, 0], message]
            .concat()
    }

    fn dhcp4(options: &[u8]) -> Vec<u8> {
        let mut message = vec![1, 1, 6, 0];
        message.resize(28, 0);
        message.extend([0x52, 0x54, 0, 1, 2, 3]);
        message.resize(236, 0);
        message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 0]);
        message.extend(options);
        let mut ip = vec![0x45; 20];
        ip[9] = 17;
        [vec![0; 12], vec![8, 0], ip, udp(67, &message)].concat()
    }

    fn dhcp6(options: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x60; 40];
        ip[6] = 17;
        [vec![0; 12], vec![0x86, 0xdd], ip, udp(547, &[&[11, 1, 2, 3], options].concat())].concat()
    }

    fn seen(frames: &[Vec<u8>]) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), capture(frames)).unwrap();
        identities(file.path()).unwrap()
    }

    #[test]
    fn duids_are_found_in_both_protocols_without_the_interfaces_number() {
        let duid = [0, 2, 0, 0, 0xab, 0x11, 7, 7];
        let four = [&[61, 13, 0xff, 9, 9, 9, 9][..], &duid, &[0xff]].concat();
        let six = [&[0, 8, 0, 2, 0, 0, 0, 1, 0, 8][..], &duid].concat();
        let same = ["DUID 00020000ab110707"];
        assert_eq!(seen(&[dhcp4(&four)]), same);
        assert_eq!(seen(&[dhcp6(&six)]), same);
        // What asked without one before, such as cloud-init itself, does not count then.
        assert_eq!(seen(&[dhcp4(&[0xff]), dhcp4(&four), dhcp6(&six)]), same);
    }

    #[test]
    fn without_a_duid_it_is_the_hardware_address() {
        let same = ["MAC address 525400010203"];
        assert_eq!(seen(&[dhcp4(&[61, 7, 1, 0x52, 0x54, 0, 1, 2, 3, 0xff])]), same);
        assert_eq!(seen(&[dhcp4(&[])]), same);
        assert_eq!(seen(&[vec![0; 60], udp(67, &[])]), Vec::<String>::new());
    }

    #[test]
    fn what_is_cut_off_says_nothing() {
        let whole = dhcp4(&[61, 13, 0xff, 9, 9, 9, 9, 0, 2, 0, 0, 0xab, 0x11, 7, 7, 0xff]);
        for len in 0..whole.len() {
            let _ = seen(&[whole[..len].to_vec()]);
        }
        let capture = capture(&[whole]);
        for len in 0..capture.len() {
            assert!(frames(&capture[..len]).is_empty());
        }
    }
}
