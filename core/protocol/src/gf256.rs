//! The field GF(2^8) of the erasure code (spec §5.1): polynomial x⁸+x⁴+x³+x²+1 = 0x11D, generator
//! α = 2, addition is XOR.
//!
//! All the time goes into [`add_product`]. Multiplication by a constant is linear, so a product is the
//! sum of the products of its two nibbles, each looked up in a table of 16; and a table of 16 bytes is
//! what the byte-shuffle instruction of x86-64 and of ARM looks up, 16 or 32 bytes at a time. That is the
//! one reason for the `unsafe` code in this crate.

/// The product of two elements.
pub(crate) const fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    power(LOG[a as usize] as usize + LOG[b as usize] as usize)
}

/// α to the `exponent`.
pub(crate) const fn power(exponent: usize) -> u8 {
    POWER[exponent % ORDER]
}

/// The inverse of an element; that of zero, which has none, is given as zero.
pub(crate) const fn inverse(a: u8) -> u8 {
    if a == 0 { 0 } else { power(ORDER - LOG[a as usize] as usize) }
}

/// Adds `factor` times `input` to `output`, element by element, as far as both reach.
pub(crate) fn add_product(output: &mut [u8], factor: u8, input: &[u8]) {
    if factor == 0 {
        return;
    }
    let nibbles = &NIBBLES[factor as usize];
    let done = add_product_simd(output, nibbles, input);
    for (out, &byte) in output.iter_mut().zip(input).skip(done) {
        *out ^= nibbles.low[usize::from(byte & 15)] ^ nibbles.high[usize::from(byte >> 4)];
    }
}

/// The products of one factor with all low nibbles and with all high ones.
#[derive(Clone, Copy)]
struct Nibbles {
    low: [u8; 16],
    high: [u8; 16],
}

/// Does what the machine can do in vectors, from the start. Returns how many bytes that were.
#[cfg(target_arch = "x86_64")]
fn add_product_simd(output: &mut [u8], nibbles: &Nibbles, input: &[u8]) -> usize {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { x86::avx2(output, nibbles, input) }
    } else if std::arch::is_x86_feature_detected!("ssse3") {
        // SAFETY: the processor has SSSE3.
        unsafe { x86::ssse3(output, nibbles, input) }
    } else {
        0
    }
}

#[cfg(target_arch = "aarch64")]
fn add_product_simd(output: &mut [u8], nibbles: &Nibbles, input: &[u8]) -> usize {
    neon::add_product(output, nibbles, input)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn add_product_simd(_: &mut [u8], _: &Nibbles, _: &[u8]) -> usize {
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Nibbles;

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(output: &mut [u8], nibbles: &Nibbles, input: &[u8]) -> usize {
        const LANES: usize = 32;
        // SAFETY: both tables have the 16 bytes that are loaded.
        let [low, high] = [&nibbles.low, &nibbles.high]
            .map(|table| unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) });
        let mask = _mm256_set1_epi8(15);
        let mut done = 0;
        for (out, bytes) in output.chunks_exact_mut(LANES).zip(input.chunks_exact(LANES)) {
            // SAFETY: both chunks have the 32 bytes that are loaded and stored, at any alignment.
            let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
            let lows = _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, mask));
            let highs = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), mask));
            let product = _mm256_xor_si256(lows, highs);
            // SAFETY: as above.
            unsafe {
                let sum = _mm256_xor_si256(_mm256_loadu_si256(out.as_ptr().cast()), product);
                _mm256_storeu_si256(out.as_mut_ptr().cast(), sum);
            }
            done += LANES;
        }
        done
    }

    #[target_feature(enable = "ssse3")]
    pub(super) fn ssse3(output: &mut [u8], nibbles: &Nibbles, input: &[u8]) -> usize {
        const LANES: usize = 16;
        // SAFETY: both tables have the 16 bytes that are loaded.
        let [low, high] =
            [&nibbles.low, &nibbles.high].map(|table| unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
        let mask = _mm_set1_epi8(15);
        let mut done = 0;
        for (out, bytes) in output.chunks_exact_mut(LANES).zip(input.chunks_exact(LANES)) {
            // SAFETY: both chunks have the 16 bytes that are loaded and stored, at any alignment.
            let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            let lows = _mm_shuffle_epi8(low, _mm_and_si128(bytes, mask));
            let highs = _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi64::<4>(bytes), mask));
            let product = _mm_xor_si128(lows, highs);
            // SAFETY: as above.
            unsafe {
                let sum = _mm_xor_si128(_mm_loadu_si128(out.as_ptr().cast()), product);
                _mm_storeu_si128(out.as_mut_ptr().cast(), sum);
            }
            done += LANES;
        }
        done
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::Nibbles;

    pub(super) fn add_product(output: &mut [u8], nibbles: &Nibbles, input: &[u8]) -> usize {
        const LANES: usize = 16;
        let mut done = 0;
        for (out, bytes) in output.chunks_exact_mut(LANES).zip(input.chunks_exact(LANES)) {
            // SAFETY: every 64-bit ARM has NEON; tables and chunks have the 16 bytes that are loaded
            // and stored.
            unsafe {
                let (low, high) = (vld1q_u8(nibbles.low.as_ptr()), vld1q_u8(nibbles.high.as_ptr()));
                let bytes = vld1q_u8(bytes.as_ptr());
                let lows = vqtbl1q_u8(low, vandq_u8(bytes, vdupq_n_u8(15)));
                let highs = vqtbl1q_u8(high, vshrq_n_u8::<4>(bytes));
                let sum = veorq_u8(vld1q_u8(out.as_ptr()), veorq_u8(lows, highs));
                vst1q_u8(out.as_mut_ptr(), sum);
            }
            done += LANES;
        }
        done
    }
}

/// Non-zero elements, which are the powers of α.
const ORDER: usize = 255;
static POWER: [u8; ORDER] = powers();
static LOG: [u8; 256] = logarithms();
static NIBBLES: [Nibbles; 256] = nibbles();

const fn powers() -> [u8; ORDER] {
    let mut table = [1; ORDER];
    let mut i = 1;
    while i < ORDER {
        let doubled = (table[i - 1] as u16) << 1;
        table[i] = if doubled > 255 { (doubled ^ 0x11d) as u8 } else { doubled as u8 };
        i += 1;
    }
    table
}

const fn logarithms() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < ORDER {
        table[POWER[i] as usize] = i as u8;
        i += 1;
    }
    table
}

const fn nibbles() -> [Nibbles; 256] {
    let mut tables = [Nibbles { low: [0; 16], high: [0; 16] }; 256];
    let mut factor = 0;
    while factor < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            tables[factor].low[nibble] = multiply(factor as u8, nibble as u8);
            tables[factor].high[nibble] = multiply(factor as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        factor += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schoolbook multiplication of polynomials over GF(2).
    fn naive(mut a: u8, b: u8) -> u8 {
        let mut product = 0;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= a;
            }
            a = a << 1 ^ if a & 128 == 0 { 0 } else { 0x1d };
        }
        product
    }

    #[test]
    fn every_product_and_inverse() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), naive(a, b), "{a} × {b}");
            }
            assert_eq!(multiply(a, inverse(a)), u8::from(a != 0), "{a}");
        }
    }

    #[test]
    fn known_answers() {
        let powers = [1, 2, 4, 8, 16, 32, 64, 128, 29, 58, 116, 232, 205, 135, 19, 38];
        assert_eq!(std::array::from_fn(power), powers);
        assert_eq!((power(254), inverse(2), inverse(3), LOG[3]), (142, 142, 244, 25));
    }

    /// Every factor on every byte, over lengths on both sides of each vector width.
    #[test]
    fn add_product_agrees_with_the_naive_product() {
        type Kernel = unsafe fn(&mut [u8], &Nibbles, &[u8]) -> usize;
        let mut kernels: Vec<(&str, Kernel)> = vec![("best", add_product_simd)];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("ssse3") {
            kernels.push(("ssse3", x86::ssse3));
        }
        kernels.push(("none", |_, _, _| 0));

        let input: Vec<u8> = (0..=255).cycle().take(300).collect();
        let before: Vec<u8> = input.iter().map(|byte| byte.wrapping_mul(113) ^ 0x5a).collect();
        for factor in 0..=255 {
            let expected: Vec<u8> =
                before.iter().zip(&input).map(|(out, &byte)| out ^ naive(factor, byte)).collect();
            for len in [0, 1, 15, 16, 17, 31, 32, 33, 300] {
                let mut out = before.clone();
                add_product(&mut out[..len], factor, &input[..len]);
                assert_eq!(out[..len], expected[..len], "{factor} over {len}");
                assert_eq!(out[len..], before[len..], "{factor} over {len}: wrote too far");
            }
            for (name, kernel) in &kernels {
                let mut out = before.clone();
                // SAFETY: only kernels for this machine are in the list.
                let done = unsafe { kernel(&mut out, &NIBBLES[factor as usize], &input) };
                assert_eq!(out[..done], expected[..done], "{name}, {factor}");
                assert_eq!(out[done..], before[done..], "{name}, {factor}: wrote too far");
            }
        }
    }
}
