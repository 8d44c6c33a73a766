//! What of a factorisation depends on the places of the entries alone: elimination tree, supernodes, storage.
//!
//! The pattern of `A + Aᵀ` is analysed, because pivots are sought only inside a supernode's diagonal block; then the
//! factors of every matrix with this pattern have the same places, and a frequency sweep analyses once. Trees and
//! supernodes: T. A. Davis, *Direct Methods for Sparse Linear Systems* (SIAM 2006), chapters 4 and 6.

use std::ops::Range;

use super::matrix::SparseMatrix;
use super::scalar::Scalar;

/// No parent: a root of the tree.
const ROOT: u32 = u32::MAX;

/// Consecutive columns of the factors with the same rows below them.
#[derive(Clone, Debug)]
pub(super) struct Supernode {
    /// First column.
    pub(super) first: usize,
    /// Columns.
    pub(super) width: usize,
    /// Where its rows lie in the list of all rows.
    pub(super) rows: Range<usize>,
    /// The supernode that its update goes to.
    pub(super) parent: Option<usize>,
    /// Where its part of the lower factor begins.
    pub(super) lower: usize,
    /// Where its part of the upper factor begins, counted from the end.
    pub(super) upper_end: usize,
    /// Where the entries of the matrix that enter its front lie in the list of all.
    pub(super) entries: Range<usize>,
}

impl Supernode {
    /// Rows below the diagonal block.
    pub(super) fn below(&self) -> usize {
        self.rows.len()
    }

    /// Values in the front's lower panel, diagonal block included.
    pub(super) fn panel(&self) -> usize {
        (self.width + self.below()) * self.width
    }

    /// Values in the front: the lower panel, then the upper panel transposed.
    pub(super) fn front(&self) -> usize {
        self.panel() + self.below() * self.width
    }

    /// Values of the lower factor: below the diagonal, which is one.
    pub(super) fn lower_values(&self) -> usize {
        self.width * (self.width - 1) / 2 + self.below() * self.width
    }

    /// Values of the upper factor, diagonal included.
    pub(super) fn upper_values(&self) -> usize {
        self.width * (self.width + 1) / 2 + self.below() * self.width
    }
}

/// Where an entry of the matrix enters a front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Number of the entry.
    pub(super) entry: u32,
    /// Place in the front.
    pub(super) local: u32,
}

/// The plan of a factorisation.
#[derive(Clone, Debug)]
pub struct Symbolic {
    /// For every eliminated column the unknown of the matrix.
    pub(super) order: Vec<u32>,
    /// The supernodes, children before parents.
    pub(super) supernodes: Vec<Supernode>,
    /// Rows of all supernodes, ascending within each.
    pub(super) rows: Vec<u32>,
    /// For every entry of the matrix its place in a front, supernode by supernode.
    pub(super) places: Vec<Place>,
    /// Values of the lower and of the upper factor.
    pub(super) values: [usize; 2],
    /// Values of the largest front.
    pub(super) front: usize,
    /// Most values that updates occupy at one time.
    pub(super) stack: usize,
    /// Operations (multiplications with their additions) of a factorisation.
    pub(super) operations: f64,
}

impl Symbolic {
    /// Analyses a matrix, to be eliminated in the given order of its unknowns.
    ///
    /// # Panics
    /// If `order` is not a permutation of the unknowns.
    pub fn analyse<T: Scalar>(matrix: &SparseMatrix<T>, order: &[u32]) -> Self {
        let size = matrix.size();
        assert_eq!(order.len(), size, "every unknown is eliminated once");
        let neighbours = Lower::of(matrix, &positions(order));
        let parents = elimination_tree(&neighbours);
        let order: Vec<u32> = postorder(&parents).into_iter().map(|column| order[column as usize]).collect();
        let positions = positions(&order);
        let neighbours = Lower::of(matrix, &positions);
        let parents = elimination_tree(&neighbours);
        let counts = column_counts(&neighbours, &parents);
        let widths = supernode_widths(&parents, &counts);
        let (mut supernodes, rows) = structures(&neighbours, &widths);
        let places = assign(matrix, &positions, &mut supernodes, &rows);
        let values =
            supernodes.last().map_or([0, 0], |last| [last.lower + last.lower_values(), last.upper_end]);
        let front = supernodes.iter().map(Supernode::front).max().unwrap_or(0);
        let (stack, operations) = costs(&supernodes);
        Self { order, supernodes, rows, places, values, front, stack, operations }
    }

    /// Unknowns.
    pub fn size(&self) -> usize {
        self.order.len()
    }

    /// Values that both factors store.
    pub fn factor_values(&self) -> usize {
        self.values[0] + self.values[1]
    }

    /// Values in memory while factorising: the factors, the stack of updates, the largest front.
    pub fn peak_values(&self) -> usize {
        self.factor_values() + self.stack + self.front
    }

    /// Multiplications, each with its addition, of one factorisation.
    pub fn operations(&self) -> f64 {
        self.operations
    }
}

/// Assigns the entries of a matrix to the fronts that they enter.
fn assign<T: Scalar>(
    matrix: &SparseMatrix<T>,
    positions: &[u32],
    supernodes: &mut [Supernode],
    rows: &[u32],
) -> Vec<Place> {
    let mut owner = vec![0_u32; matrix.size()];
    for (index, supernode) in supernodes.iter().enumerate() {
        owner[supernode.first..supernode.first + supernode.width].fill(index as u32);
    }
    let mut counts = vec![0_usize; supernodes.len() + 1];
    let entries = |row: usize| {
        let own = positions[row] as usize;
        matrix.row(row).map(move |entry| (entry, own))
    };
    let target = |entry: usize, row: usize| {
        let column = positions[matrix.columns()[entry] as usize] as usize;
        (owner[row.min(column)] as usize, column)
    };
    for (entry, row) in (0..matrix.size()).flat_map(entries) {
        counts[target(entry, row).0 + 1] += 1;
    }
    for index in 0..supernodes.len() {
        counts[index + 1] += counts[index];
        supernodes[index].entries = counts[index]..counts[index + 1];
    }
    let mut places = vec![Place { entry: 0, local: 0 }; matrix.entries()];
    for (entry, row) in (0..matrix.size()).flat_map(entries) {
        let (owner, column) = target(entry, row);
        let local = place(&supernodes[owner], rows, row, column) as u32;
        places[counts[owner]] = Place { entry: entry as u32, local };
        counts[owner] += 1;
    }
    places
}

/// Where in its front an entry of the reordered matrix is.
fn place(supernode: &Supernode, rows: &[u32], row: usize, column: usize) -> usize {
    let end = supernode.first + supernode.width;
    let below = &rows[supernode.rows.clone()];
    let local = |index: usize| below.partition_point(|other| (*other as usize) < index);
    if column < end {
        let inside = if row < end { row - supernode.first } else { supernode.width + local(row) };
        (column - supernode.first) * (supernode.width + below.len()) + inside
    } else {
        supernode.panel() + (row - supernode.first) * below.len() + local(column)
    }
}

/// The inverse of a permutation.
fn positions(order: &[u32]) -> Vec<u32> {
    let mut positions = vec![0; order.len()];
    for (position, unknown) in order.iter().enumerate() {
        positions[*unknown as usize] = position as u32;
    }
    positions
}

/// The strictly lower part of the pattern of `A + Aᵀ` after reordering, by rows.
struct Lower {
    starts: Vec<usize>,
    columns: Vec<u32>,
}

impl Lower {
    fn of<T: Scalar>(matrix: &SparseMatrix<T>, positions: &[u32]) -> Self {
        let size = matrix.size();
        let mut starts = vec![0; size + 1];
        let pairs = || {
            (0..size).flat_map(|row| {
                let from = positions[row];
                matrix.columns()[matrix.row(row)].iter().filter_map(move |column| {
                    let to = positions[*column as usize];
                    (from != to).then(|| (from.max(to), from.min(to)))
                })
            })
        };
        for (row, _) in pairs() {
            starts[row as usize + 1] += 1;
        }
        for row in 0..size {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut doubled = vec![0_u32; starts[size]];
        for (row, column) in pairs() {
            doubled[next[row as usize]] = column;
            next[row as usize] += 1;
        }
        let mut columns = Vec::with_capacity(doubled.len());
        let mut compact = Vec::with_capacity(size + 1);
        compact.push(0);
        for row in 0..size {
            let list = &mut doubled[starts[row]..starts[row + 1]];
            list.sort_unstable();
            let begin = columns.len();
            for column in list.iter() {
                if columns.len() == begin || columns.last() != Some(column) {
                    columns.push(*column);
                }
            }
            compact.push(columns.len());
        }
        Self { starts: compact, columns }
    }

    fn size(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, row: usize) -> &[u32] {
        &self.columns[self.starts[row]..self.starts[row + 1]]
    }

    /// The same places by columns.
    fn transposed(&self) -> Self {
        let size = self.size();
        let mut starts = vec![0; size + 1];
        for column in &self.columns {
            starts[*column as usize + 1] += 1;
        }
        for column in 0..size {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; self.columns.len()];
        for row in 0..size {
            for column in self.row(row) {
                rows[next[*column as usize]] = row as u32;
                next[*column as usize] += 1;
            }
        }
        Self { starts, columns: rows }
    }
}

/// Liu's algorithm with path compression: the parent of a column is the first row below its diagonal.
fn elimination_tree(neighbours: &Lower) -> Vec<u32> {
    let size = neighbours.size();
    let mut parents = vec![ROOT; size];
    let mut ancestors = vec![ROOT; size];
    for row in 0..size {
        for column in neighbours.row(row) {
            let mut node = *column as usize;
            while node != row {
                let next = ancestors[node];
                ancestors[node] = row as u32;
                if next == ROOT {
                    parents[node] = row as u32;
                    break;
                }
                node = next as usize;
            }
        }
    }
    parents
}

/// Columns so that every subtree is contiguous and children come before parents.
fn postorder(parents: &[u32]) -> Vec<u32> {
    let size = parents.len();
    let mut first_child = vec![ROOT; size];
    let mut sibling = vec![ROOT; size];
    for column in (0..size).rev() {
        let parent = parents[column];
        if parent != ROOT {
            sibling[column] = first_child[parent as usize];
            first_child[parent as usize] = column as u32;
        }
    }
    let mut order = Vec::with_capacity(size);
    let mut path = Vec::new();
    for root in (0..size).filter(|column| parents[*column] == ROOT) {
        path.push(root as u32);
        while let Some(node) = path.last().copied() {
            let child = first_child[node as usize];
            if child == ROOT {
                order.push(node);
                path.pop();
            } else {
                first_child[node as usize] = sibling[child as usize];
                path.push(child);
            }
        }
    }
    order
}

/// Entries of every column of the lower factor, diagonal included.
fn column_counts(neighbours: &Lower, parents: &[u32]) -> Vec<usize> {
    let size = neighbours.size();
    let mut counts = vec![1; size];
    let mut seen = vec![ROOT; size];
    for row in 0..size {
        seen[row] = row as u32;
        for column in neighbours.row(row) {
            let mut node = *column as usize;
            while seen[node] != row as u32 {
                counts[node] += 1;
                seen[node] = row as u32;
                node = parents[node] as usize;
            }
        }
    }
    counts
}

/// A supernode while supernodes are being joined.
struct Candidate {
    first: usize,
    width: usize,
    below: usize,
    zeros: usize,
}

/// Widths of the supernodes in order: columns of equal structure, and small neighbours in the tree joined although
/// that stores zeros, since wider blocks are faster. The bounds on the zeros are those of CHOLMOD.
fn supernode_widths(parents: &[u32], counts: &[usize]) -> Vec<usize> {
    let mut exact: Vec<Candidate> = Vec::new();
    for (column, count) in counts.iter().enumerate() {
        if let Some(last) = exact.last_mut()
            && parents[column - 1] == column as u32
            && counts[column - 1] == count + 1
        {
            last.width += 1;
            last.below = count - 1;
        } else {
            exact.push(Candidate { first: column, width: 1, below: count - 1, zeros: 0 });
        }
    }
    let mut joined: Vec<Candidate> = Vec::with_capacity(exact.len());
    for mut node in exact {
        while let Some(child) = joined.last() {
            let last_column = child.first + child.width - 1;
            let parent = parents[last_column] as usize;
            if parents[last_column] == ROOT || parent < node.first || parent >= node.first + node.width {
                break;
            }
            let width = child.width + node.width;
            let zeros = child.zeros + node.zeros + child.width * (node.width + node.below - child.below);
            let total = width * (width + 1) / 2 + width * node.below;
            let share = zeros as f64 / total as f64;
            let limit = match width {
                ..=4 => 1.0,
                5..=16 => 0.5,
                17..=48 => 0.12,
                _ => 0.05,
            };
            if share > limit {
                break;
            }
            node = Candidate { first: child.first, width, below: node.below, zeros };
            joined.pop();
        }
        joined.push(node);
    }
    joined.into_iter().map(|node| node.width).collect()
}

/// The rows of every supernode: those of the matrix and those of its children's updates.
fn structures(neighbours: &Lower, widths: &[usize]) -> (Vec<Supernode>, Vec<u32>) {
    let size = neighbours.size();
    let by_column = neighbours.transposed();
    let mut owner = vec![0_u32; size];
    let mut first = 0;
    for (index, width) in widths.iter().enumerate() {
        owner[first..first + width].fill(index as u32);
        first += width;
    }
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); widths.len()];
    let mut seen = vec![ROOT; size];
    let mut supernodes: Vec<Supernode> = Vec::with_capacity(widths.len());
    let mut rows: Vec<u32> = Vec::new();
    let (mut first, mut lower, mut upper_end) = (0, 0, 0);
    for (index, width) in widths.iter().copied().enumerate() {
        let end = first + width;
        let begin = rows.len();
        for child in std::mem::take(&mut children[index]) {
            for place in supernodes[child as usize].rows.clone() {
                let row = rows[place];
                if row as usize >= end && seen[row as usize] != index as u32 {
                    seen[row as usize] = index as u32;
                    rows.push(row);
                }
            }
        }
        for column in first..end {
            for row in by_column.row(column) {
                if *row as usize >= end && seen[*row as usize] != index as u32 {
                    seen[*row as usize] = index as u32;
                    rows.push(*row);
                }
            }
        }
        rows[begin..].sort_unstable();
        let parent = rows.get(begin).map(|row| owner[*row as usize] as usize);
        if let Some(parent) = parent {
            children[parent].push(index as u32);
        }
        let mut supernode =
            Supernode { first, width, rows: begin..rows.len(), parent, lower, upper_end, entries: 0..0 };
        lower += supernode.lower_values();
        upper_end += supernode.upper_values();
        supernode.upper_end = upper_end;
        supernodes.push(supernode);
        first = end;
    }
    (supernodes, rows)
}

/// The highest stack of updates, and the operations.
fn costs(supernodes: &[Supernode]) -> (usize, f64) {
    let mut stack: Vec<(Option<usize>, usize)> = Vec::new();
    let (mut height, mut peak, mut operations) = (0, 0, 0.0);
    for (index, supernode) in supernodes.iter().enumerate() {
        let (width, below) = (supernode.width as f64, supernode.below() as f64);
        operations += width.powi(3) / 3.0 + width * width * below + width * below * below;
        let update = supernode.below() * supernode.below();
        peak = peak.max(height + update);
        while let Some((_, size)) = stack.pop_if(|(parent, _)| *parent == Some(index)) {
            height -= size;
        }
        height += update;
        stack.push((supernode.parent, update));
    }
    (peak, operations)
}
