//! How many bits an ideal code needs: an estimate that is cheap enough to be asked often.

/// The bits that an ideal code needs for symbols that occur so often, and how many of them occur at all.
///
/// `sum log2(sum) - Σ count log2(count)`, in lanes that a compiler can put into vector registers. The lanes fix the
/// order of the additions, so the result is the same on every machine. The sum must be below 2^24.
pub(super) fn entropy_bits<const N: usize>(counts: &[u32; N]) -> (f32, u32) {
    const LANES: usize = 8;
    let mut products = [0f32; LANES];
    let mut sums = [0u32; LANES];
    let mut used = [0u32; LANES];
    let mut lanes = counts.chunks_exact(LANES);
    for chunk in &mut lanes {
        for lane in 0..LANES {
            let count = chunk[lane];
            products[lane] += count as i32 as f32 * log2(count);
            sums[lane] += count;
            used[lane] += u32::from(count != 0);
        }
    }
    for (lane, &count) in lanes.remainder().iter().enumerate() {
        products[lane] += count as i32 as f32 * log2(count);
        sums[lane] += count;
        used[lane] += u32::from(count != 0);
    }
    let sum: u32 = sums.iter().sum();
    let bits = sum as f32 * log2(sum) - products.iter().sum::<f32>();
    (bits.max(0.0), used.iter().sum())
}

/// The binary logarithm, to 0.00013; finite for zero.
#[inline(always)]
pub(super) fn log2(count: u32) -> f32 {
    let bits = (count as i32 as f32).to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let x = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000) - 1.0;
    // log2(1 + x) for x in 0 … 1: exact at both ends, least squares between.
    exponent as f32 + x + x * (x - 1.0) * (-0.438_379_33 + x * (0.237_501_3 - 0.080_653_16 * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_as_exact_as_promised() {
        for count in 1..100_000u32 {
            let error = f64::from(log2(count)) - f64::from(count).log2();
            assert!(error.abs() < 0.000_14, "log2({count}) is wrong by {error}");
        }
        assert!(log2(0).is_finite());
    }

    #[test]
    fn entropy_of_known_distributions() {
        assert_eq!(entropy_bits(&[256; 256]), (65536.0 * 8.0, 256));
        assert_eq!(entropy_bits(&[0, 0, 77, 0, 0]), (0.0, 1));
        assert_eq!(entropy_bits(&[0; 24]), (0.0, 0));
        let (bits, used) = entropy_bits(&[512, 256, 128, 128, 0, 0, 0, 0, 0, 0]);
        assert_eq!((bits.round(), used), (512.0 + 256.0 * 2.0 + 256.0 * 3.0, 4));
    }
}
