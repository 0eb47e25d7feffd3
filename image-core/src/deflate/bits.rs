//! Bits into bytes: the first bit written is the lowest bit of the first byte (RFC 1951, 3.1.1).

/// How many bits can be put between flushes.
pub(super) const MOST_BITS: u32 = 56;

/// Appends bits to a vector, whole bytes at a time.
///
/// Room is made once for each block ([`BitWriter::reserve`]), because the size of a block is known before it is
/// written; so no single write has to ask.
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Bytes of `out` that are final; those behind are room.
    len: usize,
    /// Bits that wait for their byte to fill, lowest first.
    bits: u64,
    /// How many bits wait.
    count: u32,
}

impl<'a> BitWriter<'a> {
    /// Writes behind what `out` already holds.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let len = out.len();
        Self { out, len, bits: 0, count: 0 }
    }

    /// Bits written so far, those before this writer was made included.
    pub(super) fn position(&self) -> u64 {
        self.len as u64 * 8 + u64::from(self.count)
    }

    /// Makes room for `bits` more.
    pub(super) fn reserve(&mut self, bits: u64) {
        let room = self.len + (bits / 8) as usize + 16;
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
    }

    /// Adds the lowest `count` bits of `bits`; the others must be zero. Between flushes there is room for [`MOST_BITS`].
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        debug_assert!(count == 64 || bits >> count == 0, "bits beyond the count");
        self.bits |= bits << self.count;
        self.count += count;
        debug_assert!(self.count < 64, "too many bits between flushes");
    }

    /// Moves full bytes out; afterwards fewer than eight bits wait.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        let full = (self.count >> 3) as usize;
        self.out[self.len..self.len + 8].copy_from_slice(&self.bits.to_le_bytes());
        self.len += full;
        self.bits >>= self.count & !7;
        self.count &= 7;
    }

    /// Fills the last byte with zero bits.
    pub(super) fn align(&mut self) {
        self.count = self.count.next_multiple_of(8);
        self.flush();
    }

    /// Adds whole bytes; the writer must be [aligned](Self::align).
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0, "not aligned");
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Ends the stream: the last byte is filled with zero bits, room that was not used is given back.
    pub(super) fn finish(mut self) {
        self.reserve(0);
        self.align();
        self.out.truncate(self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_fill_bytes_from_the_lowest() {
        let mut out = vec![0xee];
        let mut bits = BitWriter::new(&mut out);
        bits.reserve(64);
        bits.put(0b1, 1);
        bits.put(0b10, 2);
        bits.put(0x155, 9);
        bits.flush();
        assert_eq!(bits.position(), 8 + 12);
        bits.align();
        bits.bytes(b"ab");
        bits.put(1, 1);
        bits.finish();
        assert_eq!(out, [0xee, 0b1010_1101, 0b0000_1010, b'a', b'b', 1]);
    }

    #[test]
    fn as_many_bits_as_promised_fit_between_flushes() {
        let mut out = Vec::new();
        let mut bits = BitWriter::new(&mut out);
        bits.reserve(128);
        bits.put(0x7f, 7);
        bits.flush();
        bits.put((1 << 56) - 1, 56);
        bits.flush();
        bits.put(1, 1);
        bits.finish();
        assert_eq!(out, [0xff; 8]);
    }
}
