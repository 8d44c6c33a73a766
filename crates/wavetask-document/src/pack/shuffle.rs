//! The byte shuffle: the first bytes of all numbers, then the second bytes, and so on; a rest that is no whole
//! number stays at the end.
//!
//! Eight numbers at a time are transposed as a matrix of bytes in eight machine words, which is several times faster
//! than moving single bytes.

/// The widths that are shuffled.
pub(super) const fn is_width(width: u8) -> bool {
    matches!(width, 2 | 4 | 8 | 16)
}

/// Transposes eight words as an 8 by 8 matrix of bytes: byte `i` of word `j` becomes byte `j` of word `i`.
#[inline(always)]
fn transpose(words: &mut [u64; 8]) {
    // Swap quarters, then sixteenths, then single bytes across the diagonal.
    for (distance, mask) in
        [(4, 0x0000_0000_ffff_ffff_u64), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)]
    {
        let bits = 8 * distance;
        for low in 0..8 {
            if low & distance == 0 {
                let high = low + distance;
                let swapped = ((words[low] >> bits) ^ words[high]) & mask;
                words[low] ^= swapped << bits;
                words[high] ^= swapped;
            }
        }
    }
}

/// Appends the shuffled bytes.
pub(super) fn shuffle(raw: &[u8], width: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + raw.len(), 0);
    let out = &mut out[start..];
    match width {
        2 => shuffle_width::<2>(raw, out),
        4 => shuffle_width::<4>(raw, out),
        8 => shuffle_width::<8>(raw, out),
        16 => shuffle_width::<16>(raw, out),
        _ => out.copy_from_slice(raw),
    }
}

/// Appends the bytes as they were before they were shuffled.
pub(super) fn unshuffle(shuffled: &[u8], width: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + shuffled.len(), 0);
    let out = &mut out[start..];
    match width {
        2 => unshuffle_width::<2>(shuffled, out),
        4 => unshuffle_width::<4>(shuffled, out),
        8 => unshuffle_width::<8>(shuffled, out),
        16 => unshuffle_width::<16>(shuffled, out),
        _ => out.copy_from_slice(shuffled),
    }
}

/// Bytes of a number that are moved together: eight, or all of a narrower number.
const fn lane(width: usize) -> usize {
    if width < 8 { width } else { 8 }
}

fn shuffle_width<const WIDTH: usize>(raw: &[u8], out: &mut [u8]) {
    let count = raw.len() / WIDTH;
    let (numbers, rest) = raw.split_at(count * WIDTH);
    let (planes, tail) = out.split_at_mut(count * WIDTH);
    tail.copy_from_slice(rest);
    let lane = lane(WIDTH);
    let whole = count - count % 8;
    for (group, eight) in numbers.chunks_exact(8 * WIDTH).enumerate() {
        for first in (0..WIDTH).step_by(lane) {
            let mut words = [0_u64; 8];
            for (word, number) in words.iter_mut().zip(eight.chunks_exact(WIDTH)) {
                let mut bytes = [0; 8];
                bytes[..lane].copy_from_slice(&number[first..first + lane]);
                *word = u64::from_le_bytes(bytes);
            }
            transpose(&mut words);
            for (plane, word) in words.iter().enumerate().take(lane) {
                let at = (first + plane) * count + 8 * group;
                planes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
    for index in whole..count {
        for byte in 0..WIDTH {
            planes[byte * count + index] = numbers[index * WIDTH + byte];
        }
    }
}

fn unshuffle_width<const WIDTH: usize>(shuffled: &[u8], out: &mut [u8]) {
    let count = shuffled.len() / WIDTH;
    let (planes, rest) = shuffled.split_at(count * WIDTH);
    let (numbers, tail) = out.split_at_mut(count * WIDTH);
    tail.copy_from_slice(rest);
    let lane = lane(WIDTH);
    let whole = count - count % 8;
    for (group, eight) in numbers.chunks_exact_mut(8 * WIDTH).enumerate() {
        for first in (0..WIDTH).step_by(lane) {
            let mut words = [0_u64; 8];
            for (plane, word) in words.iter_mut().enumerate().take(lane) {
                let at = (first + plane) * count + 8 * group;
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&planes[at..at + 8]);
                *word = u64::from_le_bytes(bytes);
            }
            transpose(&mut words);
            for (number, word) in eight.chunks_exact_mut(WIDTH).zip(&words) {
                number[first..first + lane].copy_from_slice(&word.to_le_bytes()[..lane]);
            }
        }
    }
    for index in whole..count {
        for byte in 0..WIDTH {
            numbers[index * WIDTH + byte] = planes[byte * count + index];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, byte by byte.
    fn by_definition(raw: &[u8], width: usize) -> Vec<u8> {
        let count = raw.len() / width;
        let mut out: Vec<u8> = (0..count * width).map(|at| raw[at % count * width + at / count]).collect();
        out.extend_from_slice(&raw[count * width..]);
        out
    }

    proptest! {
        #[test]
        fn moves_bytes_as_defined_and_back(
            raw in proptest::collection::vec(any::<u8>(), 0..700),
            width in prop_oneof![Just(2_u8), Just(4), Just(8), Just(16)],
        ) {
            let mut shuffled = vec![9];
            shuffle(&raw, width, &mut shuffled);
            prop_assert_eq!(&shuffled[1..], by_definition(&raw, usize::from(width)));
            let mut back = vec![7];
            unshuffle(&shuffled[1..], width, &mut back);
            prop_assert_eq!(&back[1..], raw);
        }
    }
}
