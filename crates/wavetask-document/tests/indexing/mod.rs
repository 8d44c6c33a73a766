//! What a part of an array is, however it is cut into blocks.

use std::ops::Range;

/// The part by going through all indices one by one.
pub(crate) fn by_index(bytes: &[u8], size: usize, shape: &[usize], ranges: &[Range<u64>]) -> Vec<u8> {
    let mut found = Vec::new();
    for (element, index) in bytes.chunks(size).zip(0_usize..) {
        let mut rest = index;
        let mut inside = true;
        for (axis, &extent) in shape.iter().enumerate().rev() {
            let at = (rest % extent) as u64;
            rest /= extent;
            inside &= ranges.get(axis).is_none_or(|range| range.contains(&at));
        }
        if inside {
            found.extend_from_slice(element);
        }
    }
    found
}
