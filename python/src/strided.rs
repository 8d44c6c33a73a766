//! Copying an array that does not lie in memory as it is sent: other strides, or the other byte order.

/// Where an array's elements are.
#[derive(Clone, Debug)]
pub(crate) struct Strided<'a> {
    /// Extent of each dimension.
    pub(crate) shape: &'a [usize],
    /// Bytes from one element to the next along each dimension; may be negative or zero.
    pub(crate) strides: &'a [isize],
    /// Bytes per element.
    pub(crate) size: usize,
    /// Bytes per number within an element whose order is to be turned around; 1 for none. Complex numbers are two
    /// numbers.
    pub(crate) swap: usize,
}

/// The elements in C order, little-endian.
///
/// # Safety
/// `first` must point to the element with all indices zero, and every element that shape and strides lead to must
/// be readable for as long as this runs.
pub(crate) unsafe fn copy(first: *const u8, array: &Strided<'_>) -> Vec<u8> {
    let count: usize = array.shape.iter().product();
    let mut bytes = Vec::with_capacity(count * array.size);
    if count == 0 {
        return bytes;
    }
    let Some((&columns, rows)) = array.shape.split_last() else {
        // SAFETY: an array without dimensions has one element, which the caller vouches for.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(first, array.size) });
        swap(&mut bytes, array.swap);
        return bytes;
    };
    let step = array.strides[rows.len()];
    let mut index = vec![0_usize; rows.len()];
    loop {
        let offset: isize =
            index.iter().zip(array.strides).map(|(&index, &stride)| index as isize * stride).sum();
        // SAFETY: the indices are within the shape, so the caller vouches for these elements.
        unsafe {
            let row = first.offset(offset);
            if step == array.size as isize {
                bytes.extend_from_slice(std::slice::from_raw_parts(row, columns * array.size));
            } else {
                for column in 0..columns {
                    let element = row.offset(column as isize * step);
                    bytes.extend_from_slice(std::slice::from_raw_parts(element, array.size));
                }
            }
        }
        // The next row: count up like an odometer.
        let Some(dimension) = (0..rows.len()).rev().find(|&dimension| index[dimension] + 1 < rows[dimension])
        else {
            break;
        };
        index[dimension] += 1;
        index[dimension + 1..].fill(0);
    }
    swap(&mut bytes, array.swap);
    bytes
}

fn swap(bytes: &mut [u8], width: usize) {
    if width > 1 {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
}
