//! CRC-64 with the polynomial of ECMA-182, bits reflected, all ones before and after (the variant
//! known as CRC-64/XZ): the checksum of a key and its value that clients compare.
//!
//! **Not here.** Anything fast: it runs over the rows of one scan, which cost far more.

/// ECMA-182's polynomial, reflected.
const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The checksum of the parts, one after the other.
pub(crate) fn crc64(parts: &[&[u8]]) -> u64 {
    let step = |crc: u64, byte: &u8| TABLE[((crc ^ u64::from(*byte)) & 0xff) as usize] ^ (crc >> 8);
    !parts.iter().flat_map(|part| part.iter()).fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(crc64(&[b"123456789"]), 0x995d_c9bb_df19_39fa);
    }

    #[test]
    fn parts_count_as_one_text() {
        assert_eq!(crc64(&[b"1234", b"", b"56789"]), crc64(&[b"123456789"]));
        assert_eq!(crc64(&[]), 0);
    }
}
