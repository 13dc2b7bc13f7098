//! The field GF(2^8) of the erasure code (spec §5.1): polynomial x⁸+x⁴+x³+x²+1 = 0x11D, generator
//! α = 2, addition is XOR.

/// The product of two elements.
pub(crate) fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    power(usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)]))
}

/// α to the `exponent`.
pub(crate) fn power(exponent: usize) -> u8 {
    POWER[exponent % ORDER]
}

/// The inverse of an element; that of zero, which has none, is given as zero.
pub(crate) fn inverse(a: u8) -> u8 {
    if a == 0 { 0 } else { power(ORDER - usize::from(LOG[usize::from(a)])) }
}

/// Adds `factor` times `input` to `output`, element by element. Both have the same length.
pub(crate) fn add_product(output: &mut [u8], factor: u8, input: &[u8]) {
    for (out, &byte) in output.iter_mut().zip(input) {
        *out ^= multiply(factor, byte);
    }
}

/// Non-zero elements, which are the powers of α.
const ORDER: usize = 255;
const POWER: [u8; ORDER] = powers();
const LOG: [u8; 256] = logarithms();

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
