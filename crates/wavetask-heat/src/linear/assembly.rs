//! From elements to a sparse matrix, in two passes: the pattern, then the values.
//!
//! Both passes run over rows, not over elements, so no two threads ever write to the same place and no
//! colouring is needed. Rows are cut into blocks of a fixed size; each block visits the elements that touch
//! it, once each, in an order that depends on the mesh alone. An element whose nodes lie in several blocks is
//! computed once for each: with a mesh numbered with any locality that is a few per cent of extra work, and
//! it buys sums whose bits do not depend on the number of threads, without keeping element matrices.

use rayon::prelude::*;

use super::{CsrMatrix, LinearError};

/// Rows per block of work.
const BLOCK_ROWS: usize = 8192;

/// A list of elements, each coupling a few unknowns, indexed from both sides.
///
/// Elements are cells (tetrahedra, triangles, segments), boundary faces (for convection), or pairs of faces
/// across a thermal contact.
#[derive(Debug)]
pub struct Elements<'a> {
    nodes: &'a [u32],
    stride: usize,
    width: usize,
    unknowns: usize,
    /// `touching[touching_starts[i]..touching_starts[i + 1]]`: the elements of unknown `i`, ascending.
    touching_starts: Vec<usize>,
    touching: Vec<u32>,
}

impl<'a> Elements<'a> {
    /// Indexes elements of which the first `width` entries count, among `unknowns` unknowns.
    ///
    /// # Errors
    /// [`LinearError::SizeMismatch`] when `width` exceeds `STRIDE`, [`LinearError::UnknownOutOfRange`] when an
    /// element names an unknown that does not exist, [`LinearError::Structure`] when there are too many.
    pub fn new<const STRIDE: usize>(
        unknowns: usize,
        elements: &'a [[u32; STRIDE]],
        width: usize,
    ) -> Result<Self, LinearError> {
        if width == 0 || width > STRIDE {
            return Err(LinearError::SizeMismatch {
                what: "nodes per element",
                expected: STRIDE,
                found: width,
            });
        }
        if u32::try_from(unknowns).is_err() || u32::try_from(elements.len()).is_err() {
            return Err(LinearError::Structure { reason: "more than 2^32 unknowns or elements".into() });
        }
        let outside = |node: &&u32| **node as usize >= unknowns;
        if let Some(index) =
            elements.par_iter().position_first(|element| element[..width].iter().any(|node| outside(&node)))
            && let Some(&node) = elements[index][..width].iter().find(outside)
        {
            let unknown = node as usize;
            return Err(LinearError::UnknownOutOfRange { what: "element", index, unknown, unknowns });
        }
        let mut touching_starts = vec![0_usize; unknowns + 1];
        for element in elements {
            for_each_distinct(&element[..width], |node| touching_starts[node as usize + 1] += 1);
        }
        for node in 0..unknowns {
            touching_starts[node + 1] += touching_starts[node];
        }
        let mut touching = vec![0_u32; touching_starts[unknowns]];
        let mut next = touching_starts.clone();
        for (index, element) in elements.iter().enumerate() {
            for_each_distinct(&element[..width], |node| {
                touching[next[node as usize]] = index as u32;
                next[node as usize] += 1;
            });
        }
        let nodes = elements.as_flattened();
        Ok(Self { nodes, stride: STRIDE, width, unknowns, touching_starts, touching })
    }

    fn of(&self, element: usize) -> &[u32] {
        &self.nodes[element * self.stride..element * self.stride + self.width]
    }

    fn touching(&self, unknown: usize) -> &[u32] {
        &self.touching[self.touching_starts[unknown]..self.touching_starts[unknown + 1]]
    }

    /// Calls `visit(element)` once for each element that touches a row of `rows`.
    fn for_each_in(&self, rows: std::ops::Range<usize>, mut visit: impl FnMut(usize)) {
        let inside = |node: u32| rows.contains(&(node as usize));
        for row in rows.clone() {
            for &element in self.touching(row) {
                // Visited from the lowest of its nodes in this block, so exactly once.
                let lowest = self.of(element as usize).iter().copied().filter(|&node| inside(node)).min();
                if lowest == Some(row as u32) {
                    visit(element as usize);
                }
            }
        }
    }

    /// Adds element vectors into `vector` (a load vector, say), in parallel, with the same bits on any number
    /// of threads. `element_vector(index, out)` fills a zeroed array in the order of the element's nodes.
    ///
    /// # Errors
    /// [`LinearError::SizeMismatch`] when `WIDTH` or the length of `vector` does not fit,
    /// [`LinearError::NotFinite`] naming the first element whose vector is not finite.
    pub fn add_to_vector<const WIDTH: usize>(
        &self,
        vector: &mut [f64],
        element_vector: impl Fn(usize, &mut [f64; WIDTH]) + Sync,
    ) -> Result<(), LinearError> {
        self.check_width(WIDTH)?;
        if vector.len() != self.unknowns {
            let (expected, found) = (self.unknowns, vector.len());
            return Err(LinearError::SizeMismatch { what: "vector", expected, found });
        }
        let bad = vector.par_chunks_mut(BLOCK_ROWS).enumerate().map(|(block, part)| {
            let first = block * BLOCK_ROWS;
            let mut bad = None;
            self.for_each_in(first..first + part.len(), |element| {
                let mut local = [0.0; WIDTH];
                element_vector(element, &mut local);
                note_if_not_finite(&mut bad, element, &local);
                for (&node, value) in self.of(element).iter().zip(local) {
                    if let Some(sum) =
                        (node as usize).checked_sub(first).and_then(|place| part.get_mut(place))
                    {
                        *sum += value;
                    }
                }
            });
            bad
        });
        refuse_not_finite("an element vector", bad)
    }

    fn check_width(&self, width: usize) -> Result<(), LinearError> {
        if width == self.width {
            Ok(())
        } else {
            Err(LinearError::SizeMismatch { what: "nodes per element", expected: self.width, found: width })
        }
    }
}

fn for_each_distinct(nodes: &[u32], mut visit: impl FnMut(u32)) {
    for (place, &node) in nodes.iter().enumerate() {
        if !nodes[..place].contains(&node) {
            visit(node);
        }
    }
}

fn note_if_not_finite(bad: &mut Option<usize>, element: usize, values: &[f64]) {
    if values.iter().any(|value| !value.is_finite()) {
        *bad = Some(bad.map_or(element, |known| known.min(element)));
    }
}

fn refuse_not_finite(
    what: &'static str,
    bad: impl ParallelIterator<Item = Option<usize>>,
) -> Result<(), LinearError> {
    match bad.flatten().min() {
        Some(index) => Err(LinearError::NotFinite { what, index }),
        None => Ok(()),
    }
}

/// Which entries of a matrix can be non-zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    row_starts: Vec<usize>,
    columns: Vec<u32>,
}

impl Pattern {
    /// The pattern of a mesh of `points` points and cells of `nodes_per_cell` nodes (4 for tetrahedra, 3 for
    /// triangles, 2 for segments: further entries of a cell are ignored).
    ///
    /// # Errors
    /// As [`Elements::new`].
    pub fn from_cells<const STRIDE: usize>(
        points: usize,
        cells: &[[u32; STRIDE]],
        nodes_per_cell: usize,
    ) -> Result<Self, LinearError> {
        Self::from_elements(&[&Elements::new(points, cells, nodes_per_cell)?])
    }

    /// The pattern of several lists of elements together. The diagonal always belongs to it.
    ///
    /// # Errors
    /// [`LinearError::SizeMismatch`] when the lists differ in the number of unknowns or there is none.
    pub fn from_elements(lists: &[&Elements<'_>]) -> Result<Self, LinearError> {
        let unknowns = lists.first().map_or(0, |list| list.unknowns);
        if lists.is_empty() {
            return Err(LinearError::SizeMismatch { what: "lists of elements", expected: 1, found: 0 });
        }
        if let Some(other) = lists.iter().find(|list| list.unknowns != unknowns) {
            let found = other.unknowns;
            return Err(LinearError::SizeMismatch {
                what: "unknowns of elements",
                expected: unknowns,
                found,
            });
        }
        let blocks: Vec<(Vec<usize>, Vec<u32>)> = (0..unknowns.div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                let rows = block * BLOCK_ROWS..unknowns.min((block + 1) * BLOCK_ROWS);
                let mut lengths = Vec::with_capacity(rows.len());
                let mut columns = Vec::new();
                let mut neighbours = Vec::new();
                for row in rows {
                    neighbours.clear();
                    neighbours.push(row as u32);
                    for list in lists {
                        for &element in list.touching(row) {
                            neighbours.extend_from_slice(list.of(element as usize));
                        }
                    }
                    neighbours.sort_unstable();
                    neighbours.dedup();
                    lengths.push(neighbours.len());
                    columns.extend_from_slice(&neighbours);
                }
                (lengths, columns)
            })
            .collect();
        let mut row_starts = Vec::with_capacity(unknowns + 1);
        let mut columns = Vec::with_capacity(blocks.iter().map(|block| block.1.len()).sum());
        row_starts.push(0);
        let mut end = 0;
        for (lengths, block_columns) in blocks {
            for length in lengths {
                end += length;
                row_starts.push(end);
            }
            columns.extend_from_slice(&block_columns);
        }
        Ok(Self { row_starts, columns })
    }

    /// The number of rows.
    pub fn unknowns(&self) -> usize {
        self.row_starts.len() - 1
    }

    /// The number of entries, both triangles and the diagonal.
    pub fn entries(&self) -> usize {
        self.columns.len()
    }
}

/// Adds up element matrices into a [`CsrMatrix`].
///
/// ```
/// use wavetask_heat::linear::{Assembler, Elements, Pattern};
///
/// // Two segments of unit conductance in a row.
/// let segments = Elements::new(3, &[[0_u32, 1], [1, 2]], 2)?;
/// let mut assembler = Assembler::new(Pattern::from_elements(&[&segments])?);
/// assembler.add::<2>(&segments, |_, local| *local = [[1.0, -1.0], [-1.0, 1.0]])?;
/// let matrix = assembler.finish();
/// assert_eq!(matrix.row(1), (&[0, 1, 2][..], &[-1.0, 2.0, -1.0][..]));
/// # Ok::<(), wavetask_heat::linear::LinearError>(())
/// ```
#[derive(Debug)]
pub struct Assembler {
    matrix: CsrMatrix,
}

impl Assembler {
    /// A matrix of zeros with this pattern.
    pub fn new(pattern: Pattern) -> Self {
        let values = vec![0.0; pattern.columns.len()];
        Self { matrix: CsrMatrix { row_starts: pattern.row_starts, columns: pattern.columns, values } }
    }

    /// Adds one symmetric matrix per element. `element_matrix(index, out)` fills a zeroed array whose rows and
    /// columns are in the order of the element's nodes; it may be called more than once for an element.
    ///
    /// # Errors
    /// [`LinearError::SizeMismatch`] when `WIDTH` or the number of unknowns does not fit,
    /// [`LinearError::NotFinite`] naming the first element whose matrix is not finite, and
    /// [`LinearError::Structure`] when an entry lies outside of the pattern. The matrix is of no use then.
    pub fn add<const WIDTH: usize>(
        &mut self,
        elements: &Elements<'_>,
        element_matrix: impl Fn(usize, &mut [[f64; WIDTH]; WIDTH]) + Sync,
    ) -> Result<(), LinearError> {
        elements.check_width(WIDTH)?;
        let CsrMatrix { row_starts, columns, values } = &mut self.matrix;
        let (row_starts, columns) = (&*row_starts, &*columns);
        let unknowns = row_starts.len() - 1;
        if elements.unknowns != unknowns {
            let found = elements.unknowns;
            return Err(LinearError::SizeMismatch {
                what: "unknowns of elements",
                expected: unknowns,
                found,
            });
        }
        let mut blocks = Vec::with_capacity(unknowns.div_ceil(BLOCK_ROWS));
        let mut rest = values.as_mut_slice();
        for first in (0..unknowns).step_by(BLOCK_ROWS) {
            let rows = first..unknowns.min(first + BLOCK_ROWS);
            let (part, tail) = rest.split_at_mut(row_starts[rows.end] - row_starts[rows.start]);
            blocks.push((rows, part));
            rest = tail;
        }
        let results: Vec<(Option<usize>, Option<usize>)> = blocks
            .into_par_iter()
            .map(|(rows, part)| {
                let (mut bad, mut outside) = (None, None);
                let origin = row_starts[rows.start];
                elements.for_each_in(rows.clone(), |element| {
                    let mut local = [[0.0; WIDTH]; WIDTH];
                    element_matrix(element, &mut local);
                    note_if_not_finite(&mut bad, element, local.as_flattened());
                    let nodes = elements.of(element);
                    for (&row_node, local_row) in nodes.iter().zip(&local) {
                        let row = row_node as usize;
                        if !rows.contains(&row) {
                            continue;
                        }
                        let row_columns = &columns[row_starts[row]..row_starts[row + 1]];
                        for (node, value) in nodes.iter().zip(local_row) {
                            match row_columns.binary_search(node) {
                                Ok(place) => part[row_starts[row] - origin + place] += value,
                                Err(_) => outside = outside.or(Some(element)),
                            }
                        }
                    }
                });
                (bad, outside)
            })
            .collect();
        refuse_not_finite("an element matrix", results.par_iter().map(|result| result.0))?;
        match results.iter().find_map(|result| result.1) {
            Some(element) => {
                let reason = format!("element {element} couples unknowns that the pattern does not").into();
                Err(LinearError::Structure { reason })
            }
            None => Ok(()),
        }
    }

    /// The sum so far.
    pub fn finish(self) -> CsrMatrix {
        self.matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random triangles over many blocks, so that elements straddle them.
    fn scattered_triangles(unknowns: u32, count: u32) -> Vec<[u32; 4]> {
        let mut state = 7_u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % unknowns
        };
        (0..count).map(|_| [next(), next(), next(), u32::MAX]).collect()
    }

    fn local_matrix(element: usize, out: &mut [[f64; 3]; 3]) {
        let weight = 1.0 + (element as f64 * 0.7).sin();
        for (i, row) in out.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = weight * if i == j { 2.0 } else { -1.0 / (1.0 + (i + j) as f64) };
            }
        }
    }

    fn assemble(threads: usize, cells: &[[u32; 4]], unknowns: usize) -> (CsrMatrix, Vec<f64>) {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let elements = Elements::new(unknowns, cells, 3).unwrap();
            let pattern = Pattern::from_elements(&[&elements]).unwrap();
            assert_eq!(pattern, Pattern::from_cells(unknowns, cells, 3).unwrap());
            let mut assembler = Assembler::new(pattern);
            assembler.add::<3>(&elements, local_matrix).unwrap();
            let mut vector = vec![0.0; unknowns];
            elements
                .add_to_vector::<3>(&mut vector, |element, out| *out = [1.0, element as f64 * 0.1, -0.3])
                .unwrap();
            (assembler.finish(), vector)
        })
    }

    #[test]
    fn agrees_with_triplets_and_with_itself_on_any_number_of_threads() {
        let unknowns = 3 * BLOCK_ROWS + 17;
        let cells = scattered_triangles(unknowns as u32, 40_000);
        let (matrix, vector) = assemble(1, &cells, unknowns);
        assert_eq!((&matrix, &vector), (&assemble(2, &cells, unknowns).0, &assemble(3, &cells, unknowns).1));

        let mut triplets = Vec::new();
        let mut expected_vector = vec![0.0; unknowns];
        for (element, cell) in cells.iter().enumerate() {
            let mut local = [[0.0; 3]; 3];
            local_matrix(element, &mut local);
            for i in 0..3 {
                expected_vector[cell[i] as usize] += [1.0, element as f64 * 0.1, -0.3][i];
                for j in 0..3 {
                    triplets.push((cell[i] as usize, cell[j] as usize, local[i][j]));
                }
            }
        }
        let expected = CsrMatrix::from_triplets(unknowns, &triplets).unwrap();
        assert_eq!(matrix.row_starts, expected.row_starts);
        assert_eq!(matrix.columns, expected.columns);
        let close =
            |a: &[f64], b: &[f64], scale: f64| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-13 * scale);
        assert!(close(&matrix.values, &expected.values, 100.0));
        assert!(close(&vector, &expected_vector, 1e5));
        assert_eq!(matrix.asymmetry(), 0.0);
    }

    #[test]
    fn several_lists_share_a_pattern() {
        let cells = Elements::new(5, &[[0_u32, 1, 2]], 3).unwrap();
        let contacts = Elements::new(5, &[[2_u32, 3]], 2).unwrap();
        let mut assembler = Assembler::new(Pattern::from_elements(&[&cells, &contacts]).unwrap());
        assembler.add::<3>(&cells, |_, out| *out = [[1.0; 3]; 3]).unwrap();
        assembler.add::<2>(&contacts, |_, out| *out = [[5.0, -5.0], [-5.0, 5.0]]).unwrap();
        let matrix = assembler.finish();
        assert_eq!(matrix.row(2), (&[0, 1, 2, 3][..], &[1.0, 1.0, 6.0, -5.0][..]));
        assert_eq!(matrix.row(4), (&[4][..], &[0.0][..]));
    }

    #[test]
    fn wrong_input_is_named() {
        let outside = Elements::new(3, &[[0_u32, 1], [1, 3]], 2).unwrap_err();
        assert_eq!(
            outside,
            LinearError::UnknownOutOfRange { what: "element", index: 1, unknown: 3, unknowns: 3 }
        );
        assert_eq!(Elements::new(3, &[[0_u32, 1]], 3).unwrap_err().code(), "linear.size_mismatch");
        let elements = Elements::new(3, &[[0_u32, 1], [1, 2]], 2).unwrap();
        let mut assembler = Assembler::new(Pattern::from_elements(&[&elements]).unwrap());
        assert_eq!(assembler.add::<3>(&elements, |_, _| ()).unwrap_err().code(), "linear.size_mismatch");
        let nan = assembler
            .add::<2>(&elements, |element, out| out[0][1] = if element == 1 { f64::NAN } else { 0.0 });
        assert_eq!(nan.unwrap_err(), LinearError::NotFinite { what: "an element matrix", index: 1 });
        let foreign = Elements::new(3, &[[0_u32, 2]], 2).unwrap();
        let outside = assembler.add::<2>(&foreign, |_, out| *out = [[1.0; 2]; 2]).unwrap_err();
        assert_eq!(outside.code(), "linear.structure");
        assert_eq!(Pattern::from_elements(&[]).unwrap_err().code(), "linear.size_mismatch");
    }
}
