//! LZO1X streams, unpacked into as many bytes as there is room for.
//!
//! ```text
//! 0000LLLL               after a match     literals, L + 3
//! 0000DDSS H             after 1 to 3 literals: 2 bytes from (H << 2) + D + 1 back; after 4: 3 bytes from 2048 further
//! 0001HLLL DDDDDDSS D…   L + 2 bytes from 16384 + (H << 14) + D back; from 16384: the end
//! 001LLLLL DDDDDDSS D…   L + 2 bytes from D + 1 back
//! 01LDDDSS H             L + 3 bytes from (H << 3) + D + 1 back
//! 1LLDDDSS H             L + 5 bytes from (H << 3) + D + 1 back
//! ```
//! S literals follow a match. A length whose bits are all 0 goes on: 255 for each zero byte, then the next byte, and what its
//! bits could hold. Linux kernel documentation, "LZO stream format as understood by Linux's LZO decompressor".
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// A stream that is being unpacked.
struct Unpacking<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    room: usize,
}

impl Unpacking<'_> {
    fn byte(&mut self) -> Option<usize> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(usize::from(*byte))
    }

    /// A length of which `bits`, at most `most`, are known.
    fn len(&mut self, bits: usize, most: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut len = most;
        loop {
            match self.byte()? {
                0 => len = len.checked_add(255)?,
                byte => return len.checked_add(byte),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Option<()> {
        let (literals, rest) = self.rest.split_at_checked(count)?;
        if self.out.len().checked_add(count)? > self.room {
            return None;
        }
        self.out.extend_from_slice(literals);
        self.rest = rest;
        Some(())
    }

    /// What is `distance` back, `len` bytes, which may be among them.
    fn again(&mut self, distance: usize, len: usize) -> Option<()> {
        let start = self.out.len().checked_sub(distance).filter(|_| distance > 0)?;
        if self.out.len().checked_add(len)? > self.room {
            return None;
        }
        if distance >= len {
            self.out.extend_from_within(start..start.checked_add(len)?);
            return Some(());
        }
        for at in start..start.checked_add(len)? {
            let byte = *self.out.get(at)?;
            self.out.push(byte);
        }
        Some(())
    }
}

/// A match as an instruction tells it: its length, its distance, and how many literals follow.
struct Match {
    len: usize,
    distance: usize,
    literals: usize,
}

impl Unpacking<'_> {
    /// The match of `code`, which came behind `state` literals; `None` for the end.
    fn find(&mut self, code: usize, state: usize) -> Option<Option<Match>> {
        let (len, distance, literals) = match code {
            0..16 => {
                let (len, further) = if state == 4 { (3, 2049) } else { (2, 1) };
                (len, (self.byte()? << 2).checked_add(code >> 2)?.checked_add(further)?, code & 3)
            }
            16..32 => {
                let len = self.len(code & 7, 7)?.checked_add(2)?;
                let low = self.byte()? | self.byte()? << 8;
                let distance = (low >> 2 | (code & 8) << 11).checked_add(16384)?;
                if distance == 16384 {
                    return Some(None);
                }
                (len, distance, low & 3)
            }
            32..64 => {
                let len = self.len(code & 31, 31)?.checked_add(2)?;
                let low = self.byte()? | self.byte()? << 8;
                (len, (low >> 2).checked_add(1)?, low & 3)
            }
            _ => {
                let len =
                    if code < 128 { (code >> 5 & 1).checked_add(3) } else { (code >> 5 & 3).checked_add(5) };
                let distance = (self.byte()? << 3 | code >> 2 & 7).checked_add(1)?;
                (len?, distance, code & 3)
            }
        };
        Some(Some(Match { len, distance, literals }))
    }
}

/// What `stream` unpacks to, `room` bytes at most; `None` if it is broken.
pub(super) fn unpack(stream: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut unpacking = Unpacking { rest: stream, out: Vec::new(), room };
    // How many literals came last: none, 1 to 3 behind a match, or 4 for more.
    let mut state = 0;
    if let Some(first) = stream.first().filter(|first| **first > 17) {
        let count = usize::from(*first).checked_sub(17)?;
        unpacking.byte()?;
        unpacking.literals(count)?;
        state = count.min(4);
    }
    loop {
        let code = unpacking.byte()?;
        if code < 16 && state == 0 {
            let count = unpacking.len(code, 15)?.checked_add(3)?;
            unpacking.literals(count)?;
            state = 4;
            continue;
        }
        let Some(Match { len, distance, literals }) = unpacking.find(code, state)? else {
            return Some(unpacking.out);
        };
        unpacking.again(distance, len)?;
        unpacking.literals(literals)?;
        state = literals;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixty lines, as a kernel packed them.
    const LINES: &str = "0c6c696e652030206f66206d616e790a9901312c3900322c3900332c3900342c3900352c3900362c3900372c39\
         00382c3900392c3900312e58022d5d02312d6102312d6502312d6902312d6d02312d7102312d7502312d790231\
         2d7d02322d7d02322d7d02322d7d02322d7d02322d7d02322d7d02322d7d02322d7d02322d7d02322d7d02332d\
         7d02332d7d02332d7d02332d7d02332d7d02332d7d02332d7d02332d7d02332d7d02332d7d02342d7d02342d7d\
         02342d7d02342d7d02342d7d02342d7d02342d7d02342d7d02342d7d02342d7d02352d7d02352d7d02352d7d02\
         352d7d02352d7d02352d7d02352d7d02352d7d02352a7c020b6e65203539206f66206d616e790a110000";

    #[test]
    fn what_a_kernel_packed_is_unpacked() {
        let byte = |at: usize| u8::from_str_radix(&LINES[at..at + 2], 16).unwrap();
        let stream: Vec<u8> = (0..LINES.len()).step_by(2).map(byte).collect();
        let lines: String = (0..60).map(|number| format!("line {number} of many\n")).collect();
        assert_eq!(unpack(&stream, 4096).unwrap(), lines.as_bytes());
        assert_eq!(unpack(&stream, lines.len() - 1), None);
    }

    #[test]
    fn streams_end_where_they_say() {
        let end = [0x11, 0, 0];
        assert_eq!(unpack(&end, 10).unwrap(), b"");
        // Four literals, then seven bytes from four back.
        let stream = [&[21][..], b"abcd", &[0xcc, 0], &end].concat();
        assert_eq!(unpack(&stream, 100).unwrap(), b"abcdabcdabc");
        assert_eq!(unpack(&stream, 11).unwrap().len(), 11);
        assert_eq!(unpack(&stream, 10), None);
        for len in 0..stream.len() {
            assert_eq!(unpack(&stream[..len], 100), None, "{len}");
        }
        // From before the first byte.
        assert_eq!(unpack(&[21, b'a', b'b', b'c', b'd', 0xd0, 0, 0x11, 0, 0], 100), None);
    }

    #[test]
    fn long_lengths_go_on() {
        let mut stream = vec![0, 0, 1];
        stream.extend([7; 3 + 15 + 255 + 1]);
        stream.extend([0x20, 0, 9, 0, 0, 0x11, 0, 0]);
        assert_eq!(unpack(&stream, 1000).unwrap(), vec![7; 274 + 2 + 31 + 255 + 9]);
    }
}
