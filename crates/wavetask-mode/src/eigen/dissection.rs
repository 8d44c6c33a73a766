//! The order of elimination: nested dissection of the plane's grid.
//!
//! How much a sparse factorisation fills in is decided by the order alone. Orders for general matrices have to guess
//! separators; on a grid they are its lines (A. George, *Nested dissection of a regular finite element mesh*, SIAM J.
//! Numer. Anal. 10, 345, 1973). Every equation couples a cell with the eight around it, so one line separates.

/// A rectangle of cells, upper bounds excluded.
#[derive(Clone, Copy, Debug)]
struct Rectangle {
    low: [usize; 2],
    high: [usize; 2],
}

impl Rectangle {
    fn extent(&self, axis: usize) -> usize {
        self.high[axis] - self.low[axis]
    }
}

/// Rectangles with at most this many cells are not divided further: smaller fronts cost more bookkeeping than
/// arithmetic.
const LEAF_CELLS: usize = 8;

/// Orders unknowns that belong to the cells of a grid; returns unknowns in the order of elimination.
///
/// `shape` is the number of cells along the two axes; `cells` has for every unknown its cell, numbered with the second
/// axis running fastest. Unknowns of one separator are ordered by `kinds` first, so that fields which do not see each
/// other stay apart.
///
/// # Panics
/// If a cell lies outside the grid or the slices differ in length.
pub fn order(shape: [usize; 2], cells: &[u32], kinds: &[u8]) -> Vec<u32> {
    assert_eq!(cells.len(), kinds.len(), "a cell and a kind for every unknown");
    let count = shape[0] * shape[1];
    let mut starts = vec![0_u32; count + 1];
    for cell in cells {
        starts[*cell as usize + 1] += 1;
    }
    for cell in 0..count {
        starts[cell + 1] += starts[cell];
    }
    let mut next = starts.clone();
    let mut unknowns = vec![0_u32; cells.len()];
    for (unknown, cell) in cells.iter().enumerate() {
        let place = &mut next[*cell as usize];
        unknowns[*place as usize] = unknown as u32;
        *place += 1;
    }

    let mut result = Vec::with_capacity(cells.len());
    let mut emit = |rectangle: Rectangle| {
        let begin = result.len();
        for first in rectangle.low[0]..rectangle.high[0] {
            for second in rectangle.low[1]..rectangle.high[1] {
                let cell = first * shape[1] + second;
                result.extend_from_slice(&unknowns[starts[cell] as usize..starts[cell + 1] as usize]);
            }
        }
        result[begin..].sort_by_key(|unknown| kinds[*unknown as usize]);
    };
    divide(Rectangle { low: [0, 0], high: shape }, &mut emit);
    result
}

/// Emits the two halves of a rectangle, then the line between them.
fn divide(rectangle: Rectangle, emit: &mut impl FnMut(Rectangle)) {
    let axis = usize::from(rectangle.extent(1) > rectangle.extent(0));
    let cells = rectangle.extent(0) * rectangle.extent(1);
    if cells == 0 {
        return;
    }
    if cells <= LEAF_CELLS || rectangle.extent(axis) < 3 {
        emit(rectangle);
        return;
    }
    let middle = rectangle.low[axis] + rectangle.extent(axis) / 2;
    let (mut below, mut line, mut above) = (rectangle, rectangle, rectangle);
    below.high[axis] = middle;
    line.low[axis] = middle;
    line.high[axis] = middle + 1;
    above.low[axis] = middle + 1;
    divide(below, emit);
    divide(above, emit);
    emit(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unknown_is_eliminated_once() {
        for shape in [[1, 1], [1, 40], [37, 1], [13, 29]] {
            let count = shape[0] * shape[1];
            let cells: Vec<u32> = (0..2 * count as u32).map(|unknown| unknown % count as u32).collect();
            let kinds: Vec<u8> = (0..2 * count).map(|unknown| u8::from(unknown >= count)).collect();
            let mut order = order(shape, &cells, &kinds);
            order.sort_unstable();
            assert_eq!(order, (0..2 * count as u32).collect::<Vec<_>>());
        }
    }
}
