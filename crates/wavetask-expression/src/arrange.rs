//! Elements in another order: repeated along axes, and with axes exchanged.

/// The distance in elements from one place to the next along each axis, in C order.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The elements of a shape in C order, each at `start` plus its indices times these strides.
pub(crate) fn gather<T: Copy>(values: &[T], start: usize, strides: &[usize], shape: &[usize]) -> Vec<T> {
    let mut gathered = Vec::with_capacity(shape.iter().product());
    each_row(shape, &[start], &[strides], |places, count| {
        let (first, step) = (places[0], strides.last().copied().unwrap_or(1));
        if step == 1 {
            gathered.extend_from_slice(&values[first..first + count]);
        } else {
            gathered.extend((0..count).map(|index| values[first + index * step]));
        }
    });
    gathered
}

/// Calls a function for each row, which is the innermost axis of a shape, with the row's first place in several arrays
/// and its length. An array without axes is one row of one element; of an empty one there is none.
pub(crate) fn each_row(
    shape: &[usize],
    starts: &[usize],
    strides: &[&[usize]],
    mut row: impl FnMut(&[usize], usize),
) {
    if shape.contains(&0) {
        return;
    }
    let Some((&count, outer)) = shape.split_last() else {
        row(starts, 1);
        return;
    };
    let mut places = starts.to_vec();
    let mut counters = vec![0_usize; outer.len()];
    loop {
        row(&places, count);
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            counters[axis] += 1;
            if counters[axis] < outer[axis] {
                for (place, strides) in places.iter_mut().zip(strides) {
                    *place += strides[axis];
                }
                break;
            }
            counters[axis] = 0;
            for (place, strides) in places.iter_mut().zip(strides) {
                *place -= strides[axis] * (outer[axis] - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_transposed_and_repeated() {
        let values: Vec<i32> = (0..6).collect();
        assert_eq!(strides(&[2, 3]), [3, 1]);
        assert_eq!(gather(&values, 0, &[1, 3], &[3, 2]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(&values, 1, &[0, 3], &[2, 2]), [1, 4, 1, 4]);
        assert_eq!(gather(&values, 4, &[], &[]), [4]);
        assert!(gather(&values, 0, &[3, 1], &[0, 3]).is_empty());
        assert_eq!(gather(&values, 0, &[0, 0, 1], &[2, 1, 3]), [0, 1, 2, 0, 1, 2]);
    }
}
