//! A decoder for tests: slow, by the letter of RFC 1951, and stricter than others.
//!
//! It takes only complete codes, so a bit pattern without meaning cannot hide; it wants the stream to end where the last
//! block ends; and it tells how far back the farthest match lay and which blocks there were.

/// What a stream holds.
#[derive(Debug, Default)]
pub(super) struct Inflated {
    pub(super) bytes: Vec<u8>,
    pub(super) max_distance: usize,
    /// Blocks of each type: stored, fixed, dynamic.
    pub(super) blocks: [usize; 3],
}

struct Bits<'a> {
    stream: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Result<usize, String> {
        let byte = self.stream.get(self.at / 8).ok_or("the stream ends in the middle of a block")?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Ok(usize::from(bit))
    }

    fn number(&mut self, bits: usize) -> Result<usize, String> {
        (0..bits).try_fold(0, |sum, bit| Ok(sum | self.bit()? << bit))
    }

    fn align(&mut self) -> Result<(), String> {
        while !self.at.is_multiple_of(8) {
            if self.bit()? != 0 {
                return Err("padding is not zero".into());
            }
        }
        Ok(())
    }
}

/// A code as (length, value, symbol), to be searched.
struct Code(std::collections::HashMap<(usize, usize), usize>);

impl Code {
    fn new(lengths: &[usize]) -> Result<Self, String> {
        let mut map = std::collections::HashMap::new();
        let mut value = 0;
        for length in 1..=15 {
            value <<= 1;
            for (symbol, _) in lengths.iter().enumerate().filter(|&(_, &own)| own == length) {
                map.insert((length, value), symbol);
                value += 1;
            }
        }
        if value != 1 << 15 {
            return Err(format!("a code that is not complete: {value} of 32768, lengths {lengths:?}"));
        }
        Ok(Self(map))
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Result<usize, String> {
        let mut value = 0;
        for length in 1..=15 {
            value = value << 1 | bits.bit()?;
            if let Some(&symbol) = self.0.get(&(length, value)) {
                return Ok(symbol);
            }
        }
        Err("a bit pattern without meaning".into())
    }
}

/// Decodes one stream.
pub(super) fn inflate(stream: &[u8]) -> Result<Inflated, String> {
    let mut bits = Bits { stream, at: 0 };
    let mut out = Inflated::default();
    loop {
        let last = bits.bit()? == 1;
        let kind = bits.number(2)?;
        match kind {
            0 => stored(&mut bits, &mut out)?,
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                symbols(&mut bits, &mut out, &Code::new(&lengths)?, &Code::new(&[5; 32])?)?;
            }
            2 => {
                let (litlen, distance) = header(&mut bits)?;
                symbols(&mut bits, &mut out, &litlen, &distance)?;
            }
            _ => return Err("block type 3".into()),
        }
        out.blocks[kind] += 1;
        if last {
            bits.align()?;
            let rest = stream.len() - bits.at / 8;
            return if rest == 0 { Ok(out) } else { Err(format!("{rest} bytes behind the last block")) };
        }
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Inflated) -> Result<(), String> {
    bits.align()?;
    let length = bits.number(16)?;
    if bits.number(16)? != length ^ 0xffff {
        return Err("a length that does not match its complement".into());
    }
    for _ in 0..length {
        out.bytes.push(bits.number(8)? as u8);
    }
    Ok(())
}

fn header(bits: &mut Bits<'_>) -> Result<(Code, Code), String> {
    let litlen = bits.number(5)? + 257;
    let distance = bits.number(5)? + 1;
    let count = bits.number(4)? + 4;
    if litlen > 286 || distance > 30 {
        return Err(format!("{litlen} literal/length and {distance} distance codes"));
    }
    let mut lengths = [0; 19];
    for &symbol in &[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15][..count] {
        lengths[symbol] = bits.number(3)?;
    }
    let code = Code::new(&lengths)?;
    let mut lengths = Vec::new();
    while lengths.len() < litlen + distance {
        let symbol = code.symbol(bits)?;
        let (length, times) = match symbol {
            16 => (*lengths.last().ok_or("a repetition of nothing")?, 3 + bits.number(2)?),
            17 => (0, 3 + bits.number(3)?),
            18 => (0, 11 + bits.number(7)?),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times));
    }
    if lengths.len() != litlen + distance {
        return Err("a repetition that goes beyond the last length".into());
    }
    Ok((Code::new(&lengths[..litlen])?, Code::new(&lengths[litlen..])?))
}

fn symbols(bits: &mut Bits<'_>, out: &mut Inflated, litlen: &Code, distance: &Code) -> Result<(), String> {
    loop {
        let length = match litlen.symbol(bits)? {
            byte @ 0..=255 => {
                out.bytes.push(byte as u8);
                continue;
            }
            256 => return Ok(()),
            symbol @ 257..=264 => symbol - 254,
            symbol @ 265..=284 => {
                let extra = (symbol - 261) / 4;
                (1 << (extra + 2)) + (((symbol - 1) % 4) << extra) + 3 + bits.number(extra)?
            }
            285 => 258,
            symbol => return Err(format!("literal/length symbol {symbol}")),
        };
        let distance = match distance.symbol(bits)? {
            symbol @ 0..=3 => symbol + 1,
            symbol @ 4..=29 => {
                let extra = symbol / 2 - 1;
                (1 << (extra + 1)) + ((symbol % 2) << extra) + 1 + bits.number(extra)?
            }
            symbol => return Err(format!("distance symbol {symbol}")),
        };
        if distance > out.bytes.len() {
            return Err(format!("a distance of {distance} at offset {}", out.bytes.len()));
        }
        out.max_distance = out.max_distance.max(distance);
        for _ in 0..length {
            out.bytes.push(out.bytes[out.bytes.len() - distance]);
        }
    }
}
