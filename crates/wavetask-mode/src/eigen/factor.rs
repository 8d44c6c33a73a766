//! Numerical factorisation and the solution of triangular systems: a multifrontal LU.
//!
//! Each supernode gathers the matrix's entries and its children's updates in a dense front, eliminates its columns
//! there, and leaves a dense update to its parent (I. S. Duff and J. K. Reid, ACM TOMS 9, 302, 1983). Nearly all
//! arithmetic is then matrix products. Pivots are chosen inside the diagonal block of the front; one that is too
//! small there is replaced by a small number, as X. S. Li and J. W. Demmel do (ACM TOMS 29, 110, 2003): the
//! caller checks true residuals, so a replaced pivot can slow it down but not make it wrong.

use super::kernels::{add_columns, dot_plain};
use super::scalar::{Scalar, View, ViewMut};
use super::symbolic::{Supernode, Symbolic};

/// Columns eliminated together before the rest of the front is updated.
const BLOCK: usize = 32;

/// The factors of a matrix.
///
/// A solution reads all of the lower factor and then all of the upper one, and reading is what takes the time: so
/// each is stored as it is read, without gaps, the upper one from the last supernode to the first.
#[derive(Debug)]
pub struct Factor<T> {
    /// For each supernode the columns below the diagonal of its diagonal block, then the columns below that block.
    lower: Vec<T>,
    /// For each supernode the rows right of its diagonal block, then the columns of that block from the last, each with
    /// the inverse of its diagonal first.
    upper: Vec<T>,
    pivots: Vec<u32>,
    stack: Vec<T>,
    front: Vec<T>,
    positions: Vec<u32>,
    scratch: Vec<T>,
    replaced: usize,
}

impl<T: Scalar> Default for Factor<T> {
    fn default() -> Self {
        Self {
            lower: Vec::new(),
            upper: Vec::new(),
            pivots: Vec::new(),
            stack: Vec::new(),
            front: Vec::new(),
            positions: Vec::new(),
            scratch: Vec::new(),
            replaced: 0,
        }
    }
}

impl<T: Scalar> Factor<T> {
    /// Factorises the matrix whose entries, in the order of the analysed pattern, are `entries`; memory of an earlier
    /// factorisation is used again. The entries should be scaled so that the largest are about one.
    ///
    /// # Panics
    /// If there are not as many entries as the plan was made for.
    pub fn factorise(&mut self, plan: &Symbolic, entries: &[T]) {
        assert_eq!(entries.len(), plan.places.len(), "the pattern that was analysed");
        self.lower.clear();
        self.lower.reserve_exact(plan.values[0]);
        if self.upper.len() != plan.values[1] {
            self.upper = vec![T::default(); plan.values[1]];
        }
        self.pivots.resize(plan.size(), 0);
        self.positions.resize(plan.size(), 0);
        for (buffer, length) in [(&mut self.stack, plan.stack), (&mut self.front, plan.front)] {
            if buffer.len() < length {
                *buffer = vec![T::default(); length];
            }
        }
        self.replaced = 0;
        // Waiting updates: supernode and where its update begins on the stack.
        let mut waiting: Vec<(usize, usize)> = Vec::new();
        let mut top = 0;
        for (index, supernode) in plan.supernodes.iter().enumerate() {
            let below = supernode.below();
            let own = plan.rows[supernode.rows.clone()].iter();
            for (place, row) in own.enumerate() {
                self.positions[*row as usize] = (supernode.width + place) as u32;
            }
            let front = &mut self.front[..supernode.front()];
            front.fill(T::default());
            for place in &plan.places[supernode.entries.clone()] {
                front[place.local as usize] += entries[place.entry as usize];
            }
            let (panel, upper) = front.split_at_mut(supernode.panel());
            let (finished, free) = self.stack.split_at_mut(top);
            let update = &mut free[..below * below];
            update.fill(T::default());
            let mut base = top;
            while let Some((child, start)) =
                waiting.pop_if(|(child, _)| plan.supernodes[*child].parent == Some(index))
            {
                let child = &plan.supernodes[child];
                let rows = &plan.rows[child.rows.clone()];
                let given = &finished[start..start + rows.len() * rows.len()];
                let mut front = Front { supernode, panel, upper, update };
                front.add(rows, given, &self.positions);
                base = start;
            }
            let pivots = &mut self.pivots[supernode.first..supernode.first + supernode.width];
            self.replaced += eliminate(supernode, panel, upper, update, pivots, &mut self.scratch);
            self.stack.copy_within(top..top + below * below, base);
            waiting.push((index, base));
            top = base + below * below;
            let end = plan.values[1] - supernode.upper_end;
            let stored = &mut self.upper[end..end + supernode.upper_values()];
            store(supernode, panel, upper, &mut self.lower, stored);
        }
    }

    /// Pivots that were too small and were replaced.
    pub fn replaced_pivots(&self) -> usize {
        self.replaced
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let values = [&self.lower, &self.upper, &self.stack, &self.front, &self.scratch];
        values.iter().map(|values| values.capacity() * size_of::<T>()).sum::<usize>()
            + (self.pivots.capacity() + self.positions.capacity()) * size_of::<u32>()
    }

    /// Solves with several right-hand sides, each in the order of elimination, in place.
    ///
    /// The factors are read once for all of them.
    pub fn solve(&self, plan: &Symbolic, vectors: &mut [Vec<T>]) {
        let mut gathered = vec![Vec::new(); vectors.len()];
        for supernode in &plan.supernodes {
            let lower = &self.lower[supernode.lower..supernode.lower + supernode.lower_values()];
            self.forward(plan, supernode, lower, vectors, &mut gathered);
        }
        for supernode in plan.supernodes.iter().rev() {
            let start = plan.values[1] - supernode.upper_end;
            let upper = &self.upper[start..start + supernode.upper_values()];
            backward(plan, supernode, upper, vectors, &mut gathered);
        }
    }

    fn forward(
        &self,
        plan: &Symbolic,
        supernode: &Supernode,
        lower: &[T],
        vectors: &mut [Vec<T>],
        sums: &mut [Vec<T>],
    ) {
        let (width, below, first) = (supernode.width, supernode.below(), supernode.first);
        let (block, rest) = lower.split_at(width * (width - 1) / 2);
        for (vector, sum) in vectors.iter_mut().zip(sums.iter_mut()) {
            let own = &mut vector[first..first + width];
            for (index, pivot) in self.pivots[first..first + width].iter().enumerate() {
                own.swap(index, *pivot as usize);
            }
            let mut block = block;
            for column in 0..width {
                let (entries, others) = block.split_at(width - column - 1);
                let (done, open) = own.split_at_mut(column + 1);
                for (value, entry) in open.iter_mut().zip(entries) {
                    *value -= *entry * done[column];
                }
                block = others;
            }
            sum.clear();
            sum.resize(below, T::default());
        }
        if below == 0 {
            return;
        }
        let mut column = first;
        for columns in rest.chunks(4 * below) {
            let step = columns.len() / below;
            for (vector, sum) in vectors.iter().zip(sums.iter_mut()) {
                add_columns(sum, columns, &vector[column..column + step]);
            }
            column += step;
        }
        for (vector, sum) in vectors.iter_mut().zip(sums.iter()) {
            for (row, value) in plan.rows[supernode.rows.clone()].iter().zip(sum) {
                vector[*row as usize] -= *value;
            }
        }
    }
}

fn backward<T: Scalar>(
    plan: &Symbolic,
    supernode: &Supernode,
    upper: &[T],
    vectors: &mut [Vec<T>],
    gathered: &mut [Vec<T>],
) {
    let (width, below, first) = (supernode.width, supernode.below(), supernode.first);
    let (right, block) = upper.split_at(width * below);
    if below > 0 {
        let rows = &plan.rows[supernode.rows.clone()];
        for (vector, known) in vectors.iter().zip(gathered.iter_mut()) {
            known.clear();
            known.extend(rows.iter().map(|row| vector[*row as usize]));
        }
        let mut row = first;
        for rows in right.chunks(4 * below) {
            let step = rows.len() / below;
            for (vector, known) in vectors.iter_mut().zip(gathered.iter()) {
                for (value, entries) in vector[row..row + step].iter_mut().zip(rows.chunks_exact(below)) {
                    *value -= dot_plain(entries, known);
                }
            }
            row += step;
        }
    }
    for vector in vectors.iter_mut() {
        let own = &mut vector[first..first + width];
        let mut block = block;
        for column in (0..width).rev() {
            let (entries, others) = block.split_at(column + 1);
            let value = own[column] * entries[0];
            own[column] = value;
            for (other, entry) in own[..column].iter_mut().zip(&entries[1..]) {
                *other -= *entry * value;
            }
            block = others;
        }
    }
}

/// Copies an eliminated front to where solutions read it.
fn store<T: Scalar>(supernode: &Supernode, panel: &[T], right: &[T], lower: &mut Vec<T>, upper: &mut [T]) {
    let (width, below) = (supernode.width, supernode.below());
    let height = width + below;
    for column in 0..width {
        lower.extend_from_slice(&panel[column * height + column + 1..column * height + width]);
    }
    for column in panel.chunks_exact(height) {
        lower.extend_from_slice(&column[width..]);
    }
    let (rows, mut block) = upper.split_at_mut(right.len());
    rows.copy_from_slice(right);
    for column in (0..width).rev() {
        let (entries, others) = block.split_at_mut(column + 1);
        let from = &panel[column * height..column * height + column + 1];
        entries[0] = from[column];
        entries[1..].copy_from_slice(&from[..column]);
        block = others;
    }
}

/// The dense front of a supernode in its three parts.
struct Front<'a, T> {
    supernode: &'a Supernode,
    panel: &'a mut [T],
    upper: &'a mut [T],
    update: &'a mut [T],
}

impl<T: Scalar> Front<'_, T> {
    /// Adds a child's update.
    fn add(&mut self, rows: &[u32], given: &[T], positions: &[u32]) {
        let (width, below) = (self.supernode.width, self.supernode.below());
        let height = width + below;
        let (first, end) = (self.supernode.first, self.supernode.first + width);
        let inside = rows.partition_point(|row| (*row as usize) < end);
        let (eliminated, kept) = rows.split_at(inside);
        for (column, name) in rows.iter().enumerate() {
            let given = &given[column * rows.len()..(column + 1) * rows.len()];
            let (top, bottom) = given.split_at(inside);
            if column < inside {
                let target = &mut self.panel[(*name as usize - first) * height..][..height];
                for (row, value) in eliminated.iter().zip(top) {
                    target[*row as usize - first] += *value;
                }
                for (row, value) in kept.iter().zip(bottom) {
                    target[positions[*row as usize] as usize] += *value;
                }
            } else {
                let place = positions[*name as usize] as usize - width;
                for (row, value) in eliminated.iter().zip(top) {
                    self.upper[(*row as usize - first) * below + place] += *value;
                }
                let target = &mut self.update[place * below..(place + 1) * below];
                for (row, value) in kept.iter().zip(bottom) {
                    target[positions[*row as usize] as usize - width] += *value;
                }
            }
        }
    }
}

/// Eliminates a front's columns; returns how many pivots were replaced. Diagonals are stored inverted.
fn eliminate<T: Scalar>(
    supernode: &Supernode,
    panel: &mut [T],
    upper: &mut [T],
    update: &mut [T],
    pivots: &mut [u32],
    scratch: &mut Vec<T>,
) -> usize {
    let (width, below) = (supernode.width, supernode.below());
    let height = width + below;
    let mut replaced = 0;
    for start in (0..width).step_by(BLOCK) {
        let end = (start + BLOCK).min(width);
        for column in start..end {
            replaced += usize::from(pivot(panel, upper, pivots, [width, below], column));
            let (left, right) = panel.split_at_mut((column + 1) * height);
            let own = &mut left[column * height..];
            let inverse = own[column].reciprocal();
            own[column] = inverse;
            for value in &mut own[column + 1..] {
                *value *= inverse;
            }
            for other in right[..(end - column - 1) * height].chunks_exact_mut(height) {
                let factor = other[column];
                if factor != T::default() {
                    for (value, entry) in other[column + 1..].iter_mut().zip(&own[column + 1..]) {
                        *value -= *entry * factor;
                    }
                }
            }
        }
        if end < width {
            update_panel(panel, [start, end, width, height], scratch);
        }
    }
    if below > 0 {
        solve_upper(panel, upper, [width, below]);
        T::subtract_product(
            View { data: &panel[width..], rows: below, columns: width, row_stride: 1, column_stride: height },
            View { data: upper, rows: width, columns: below, row_stride: below, column_stride: 1 },
            ViewMut { data: update, rows: below, columns: below, row_stride: 1, column_stride: below },
        );
    }
    replaced
}

/// Brings the largest element of a column's diagonal block to the diagonal; true if it had to be replaced.
fn pivot<T: Scalar>(
    panel: &mut [T],
    upper: &mut [T],
    pivots: &mut [u32],
    [width, below]: [usize; 2],
    column: usize,
) -> bool {
    let height = width + below;
    let candidates = &panel[column * height + column..column * height + width];
    let mut best = 0;
    let mut largest = candidates[0].magnitude();
    for (index, value) in candidates.iter().enumerate().skip(1) {
        let magnitude = value.magnitude();
        if magnitude > largest {
            (best, largest) = (index, magnitude);
        }
    }
    let chosen = column + best;
    pivots[column] = chosen as u32;
    if best > 0 {
        for other in panel.chunks_exact_mut(height) {
            other.swap(column, chosen);
        }
        let (left, right) = upper.split_at_mut(chosen * below);
        left[column * below..(column + 1) * below].swap_with_slice(&mut right[..below]);
    }
    let least = T::EPSILON.sqrt();
    let small = largest.is_nan() || largest < least * 1e-2;
    if small {
        panel[column * height + column] = T::ONE.scaled(least);
    }
    small
}

/// Updates the panel's columns right of an eliminated block.
fn update_panel<T: Scalar>(panel: &mut [T], [start, end, width, height]: [usize; 4], scratch: &mut Vec<T>) {
    let count = end - start;
    let (left, right) = panel.split_at_mut(end * height);
    let left = &left[start * height..];
    scratch.clear();
    for other in right.chunks_exact_mut(height) {
        for column in 0..count {
            let factor = other[start + column];
            let lower = &left[column * height + start + column + 1..column * height + end];
            for (value, entry) in other[start + column + 1..end].iter_mut().zip(lower) {
                *value -= *entry * factor;
            }
        }
        scratch.extend_from_slice(&other[start..end]);
    }
    let (rows, columns) = (height - end, width - end);
    T::subtract_product(
        View { data: &left[end..], rows, columns: count, row_stride: 1, column_stride: height },
        View { data: scratch, rows: count, columns, row_stride: 1, column_stride: count },
        ViewMut { data: &mut right[end..], rows, columns, row_stride: 1, column_stride: height },
    );
}

/// The rows of the upper factor right of the diagonal block, stored transposed.
fn solve_upper<T: Scalar>(panel: &[T], upper: &mut [T], [width, below]: [usize; 2]) {
    let height = width + below;
    for start in (0..width).step_by(BLOCK) {
        let end = (start + BLOCK).min(width);
        for row in start..end {
            let (left, right) = upper.split_at_mut((row + 1) * below);
            let own = &left[row * below..];
            for (offset, other) in right[..(end - row - 1) * below].chunks_exact_mut(below).enumerate() {
                let factor = panel[row * height + row + 1 + offset];
                for (value, entry) in other.iter_mut().zip(own) {
                    *value -= *entry * factor;
                }
            }
        }
        if end < width {
            let (left, right) = upper.split_at_mut(end * below);
            let (rows, columns) = (below, width - end);
            T::subtract_product(
                View {
                    data: &left[start * below..],
                    rows,
                    columns: end - start,
                    row_stride: 1,
                    column_stride: below,
                },
                View {
                    data: &panel[start * height + end..],
                    rows: end - start,
                    columns,
                    row_stride: height,
                    column_stride: 1,
                },
                ViewMut { data: right, rows, columns, row_stride: 1, column_stride: below },
            );
        }
    }
}
