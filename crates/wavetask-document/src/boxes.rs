//! Boxes of elements that are copied from one array in memory to another.

/// A box in two arrays: its extents, and in each array where it begins and how far it is from one element to the next
/// along each dimension, in bytes.
#[derive(Debug)]
pub(crate) struct BoxCopy {
    extents: Vec<usize>,
    from: usize,
    from_steps: Vec<usize>,
    to: usize,
    to_steps: Vec<usize>,
    /// Bytes that lie together in both.
    run: usize,
}

/// Where a box lies in an array in C order: the array's extents, and the box's first index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) shape: &'a [u64],
    pub(crate) first: &'a [u64],
}

impl Place<'_> {
    /// Where the box begins, and the steps along each dimension.
    fn steps(&self, size: usize) -> (usize, Vec<usize>) {
        let mut steps = vec![0; self.shape.len()];
        let (mut step, mut begin) = (size, 0);
        for axis in (0..self.shape.len()).rev() {
            steps[axis] = step;
            begin += step * self.first[axis] as usize;
            step *= self.shape[axis] as usize;
        }
        (begin, steps)
    }
}

impl BoxCopy {
    /// A box of elements of `size` bytes from one array to another. Both arrays are in memory, so their bytes can be
    /// counted.
    pub(crate) fn new(extents: &[u64], size: usize, from: Place<'_>, to: Place<'_>) -> Self {
        let mut extents: Vec<usize> = extents.iter().map(|&extent| extent as usize).collect();
        let ((from, mut from_steps), (to, mut to_steps)) = (from.steps(size), to.steps(size));
        let mut run = size;
        // What lies together in both arrays is one run.
        while let (Some(&extent), Some(&from), Some(&to)) =
            (extents.last(), from_steps.last(), to_steps.last())
            && (extent == 1 || (from == run && to == run))
        {
            run *= extent;
            extents.pop();
            from_steps.pop();
            to_steps.pop();
        }
        Self { extents, from, from_steps, to, to_steps, run }
    }

    /// Copies the box.
    ///
    /// # Panics
    /// If it does not lie within both.
    pub(crate) fn copy(&self, source: &[u8], target: &mut [u8]) {
        if self.extents.contains(&0) {
            return;
        }
        // Runs are mostly short: with a length that is known they are a move, not a call.
        match self.run {
            4 => self.rows(|from, to| target[to..to + 4].copy_from_slice(&source[from..from + 4])),
            8 => self.rows(|from, to| target[to..to + 8].copy_from_slice(&source[from..from + 8])),
            16 => self.rows(|from, to| target[to..to + 16].copy_from_slice(&source[from..from + 16])),
            run => self.rows(|from, to| target[to..to + run].copy_from_slice(&source[from..from + run])),
        }
    }

    fn rows(&self, mut each: impl FnMut(usize, usize)) {
        let Some((&count, outer)) = self.extents.split_last() else { return each(self.from, self.to) };
        let (from_step, to_step) = (self.from_steps[outer.len()], self.to_steps[outer.len()]);
        let mut at = vec![0; outer.len()];
        let (mut row_from, mut row_to) = (self.from, self.to);
        loop {
            let (mut from, mut to) = (row_from, row_to);
            for _ in 0..count {
                each(from, to);
                from += from_step;
                to += to_step;
            }
            let mut axis = outer.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                at[axis] += 1;
                row_from += self.from_steps[axis];
                row_to += self.to_steps[axis];
                if at[axis] < outer[axis] {
                    break;
                }
                row_from -= at[axis] * self.from_steps[axis];
                row_to -= at[axis] * self.to_steps[axis];
                at[axis] = 0;
            }
        }
    }
}
