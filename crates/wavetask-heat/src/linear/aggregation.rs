//! Which unknowns become one on the next coarser level.
//!
//! Plain aggregation by repeated pairing, with the quality control of Napov and Notay ("An algebraic
//! multigrid method with guaranteed convergence rate", SIAM J. Sci. Comput. 34, 2012): an aggregate `G` is
//! accepted when
//!
//! ```text
//! sup over v of  vᵀ D (I - 1 (1ᵀ D 1)⁻¹ 1ᵀ D) v / vᵀ A_G v  ≤  quality bound
//! ```
//!
//! where `A_G` keeps the couplings inside `G` and `D` is the diagonal of the whole matrix. For diagonally
//! dominant matrices the bound carries over to the condition number of the two-level method. That is what
//! makes it indifferent to contrast and to anisotropy: in a thin layer or between two conductivities the test
//! refuses aggregates across the weak direction, and nothing has to be told which direction that is. Positive
//! off-diagonal entries, which flat tetrahedra produce, count against an aggregate; there the bound is a
//! guide and no longer a theorem.
//!
//! Three passes of pairing give aggregates of up to eight; unknowns left alone may then join a neighbour. The pairing is sequential and greedy in the order
//! of the unknowns (a fraction of the whole set-up); building the matrices of each pass is parallel.

use std::borrow::Cow;

use rayon::prelude::*;

use super::CsrMatrix;

/// The aggregate of an unknown that the coarse level does not see.
pub(super) const NONE: u32 = u32::MAX;

/// Unknowns in the largest aggregate.
const LARGEST: usize = 8;

/// How many partners are tried for a group before it stays alone.
const TRIES: usize = 6;

/// Rows per block of work when a coarse matrix is built.
const BLOCK_ROWS: usize = 4096;

/// A set of aggregates with its coarse matrix.
#[derive(Debug)]
pub(super) struct Aggregation {
    /// The aggregate of each unknown, or [`NONE`].
    pub(super) aggregate_of: Vec<u32>,
    /// `members[member_starts[g]..member_starts[g + 1]]`: the unknowns of aggregate `g`, ascending.
    pub(super) member_starts: Vec<u32>,
    pub(super) members: Vec<u32>,
    /// The coarse matrix `Pᵀ A P` with piecewise constant `P`.
    pub(super) matrix: CsrMatrix,
}

/// Aggregates the unknowns of `matrix`. `None` when no unknown needs a coarse level.
pub(super) fn aggregate(
    matrix: &CsrMatrix,
    diagonal: &[f64],
    quality_bound: f64,
    passes: usize,
) -> Option<Aggregation> {
    let mut aggregate_of = first_pairs(matrix, diagonal, quality_bound);
    let mut count = group_count(&aggregate_of);
    if count == 0 {
        return None;
    }
    let (mut member_starts, mut members) = list_members(&aggregate_of, count);
    let mut coarse = collapse(matrix, &aggregate_of, &member_starts, &members);
    for _ in 1..passes {
        let fine = Fine {
            matrix,
            diagonal,
            aggregate_of: &aggregate_of,
            member_starts: &member_starts,
            members: &members,
        };
        let merged = pair_groups(&fine, &coarse, quality_bound);
        let merged_count = group_count(&merged);
        if merged_count == count {
            break;
        }
        let (starts, list) = list_members(&merged, merged_count);
        coarse = collapse(&coarse, &merged, &starts, &list);
        rename(&mut aggregate_of, &merged);
        count = merged_count;
        (member_starts, members) = list_members(&aggregate_of, count);
    }
    if let Some(merged) = join_leaves(diagonal, &member_starts, &members, &coarse, quality_bound) {
        let (starts, list) = list_members(&merged, group_count(&merged));
        coarse = collapse(&coarse, &merged, &starts, &list);
        rename(&mut aggregate_of, &merged);
        (member_starts, members) = list_members(&aggregate_of, coarse.unknowns());
    }
    Some(Aggregation { aggregate_of, member_starts, members, matrix: coarse })
}

fn rename(aggregate_of: &mut [u32], merged: &[u32]) {
    aggregate_of.par_iter_mut().for_each(|group| {
        if *group != NONE {
            *group = merged[*group as usize];
        }
    });
}

fn group_count(groups: &[u32]) -> usize {
    groups.par_iter().filter(|&&group| group != NONE).map(|&group| group as usize + 1).max().unwrap_or(0)
}

fn list_members(groups: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; count + 1];
    for &group in groups.iter().filter(|&&group| group != NONE) {
        starts[group as usize + 1] += 1;
    }
    for group in 0..count {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut members = vec![0_u32; starts[count] as usize];
    for (unknown, &group) in groups.iter().enumerate() {
        if group != NONE {
            members[next[group as usize] as usize] = unknown as u32;
            next[group as usize] += 1;
        }
    }
    (starts, members)
}

/// Pairs of unknowns. Unknowns whose diagonal outweighs the rest of their row are left out: the smoother
/// alone solves for them.
fn first_pairs(matrix: &CsrMatrix, diagonal: &[f64], quality_bound: f64) -> Vec<u32> {
    const OPEN: u32 = u32::MAX - 1;
    let keep = (1.0 - 2.0 / quality_bound).clamp(0.5, 0.8);
    let mut group_of: Vec<u32> = (0..matrix.unknowns())
        .into_par_iter()
        .map(|row| {
            let size: f64 = matrix.row(row).1.iter().map(|value| value.abs()).sum();
            if size - diagonal[row] <= keep * diagonal[row] { NONE } else { OPEN }
        })
        .collect();
    let mut count = 0;
    for row in 0..matrix.unknowns() {
        if group_of[row] != OPEN {
            continue;
        }
        let (columns, values) = matrix.row(row);
        let mut best = (quality_bound, None);
        for (&column, &value) in columns.iter().zip(values) {
            let other = column as usize;
            if value < 0.0 && other != row && group_of[other] == OPEN {
                let quality = pair_quality(diagonal[row], diagonal[other], value);
                if quality < best.0 {
                    best = (quality, Some(other));
                }
            }
        }
        group_of[row] = count;
        if let (_, Some(other)) = best {
            group_of[other] = count;
        }
        count += 1;
    }
    group_of
}

/// The quality of a pair with the coupling `coupling < 0` and the diagonals `a` and `b`.
fn pair_quality(a: f64, b: f64, coupling: f64) -> f64 {
    a * b / ((a + b) * -coupling)
}

struct Fine<'a> {
    matrix: &'a CsrMatrix,
    diagonal: &'a [f64],
    aggregate_of: &'a [u32],
    member_starts: &'a [u32],
    members: &'a [u32],
}

impl Fine<'_> {
    fn members(&self, group: usize) -> &[u32] {
        &self.members[self.member_starts[group] as usize..self.member_starts[group + 1] as usize]
    }

    /// Whether the union of two groups is good enough to be one aggregate.
    fn accepts(&self, first: usize, second: usize, quality_bound: f64) -> bool {
        let mut nodes = [0_u32; LARGEST];
        let mut size = 0;
        for &node in self.members(first).iter().chain(self.members(second)) {
            if size == LARGEST {
                return false;
            }
            nodes[size] = node;
            size += 1;
        }
        let nodes = &nodes[..size];
        let total: f64 = nodes.iter().map(|&node| self.diagonal[node as usize]).sum();
        // bound · A_G - D + D 1 1ᵀ D / (1ᵀ D 1). It has the null vector 1, so its last row and column may go.
        let mut test = [[0.0; LARGEST]; LARGEST];
        for (i, &node) in nodes.iter().enumerate() {
            let own = self.diagonal[node as usize];
            for (j, &other) in nodes.iter().enumerate() {
                test[i][j] += own * self.diagonal[other as usize] / total;
            }
            test[i][i] -= own;
            let (columns, values) = self.matrix.row(node as usize);
            for (&column, &value) in columns.iter().zip(values) {
                let group = self.aggregate_of[column as usize];
                if column != node
                    && (group == first as u32 || group == second as u32)
                    && let Some(j) = nodes.iter().position(|&other| other == column)
                {
                    test[i][j] += quality_bound * value;
                    test[i][i] -= quality_bound * value;
                }
            }
        }
        is_positive_definite(&mut test, size - 1)
    }
}

/// Whether the leading `size` rows and columns are positive definite; destroys `matrix`.
fn is_positive_definite(matrix: &mut [[f64; LARGEST]; LARGEST], size: usize) -> bool {
    for k in 0..size {
        let pivot = matrix[k][k];
        if pivot <= 0.0 {
            return false;
        }
        let pivot_row = matrix[k];
        for row in matrix.iter_mut().take(size).skip(k + 1) {
            let factor = row[k] / pivot;
            for j in k + 1..size {
                row[j] -= factor * pivot_row[j];
            }
        }
    }
    true
}

/// Pairs groups of the last pass; `coarse` is their matrix.
fn pair_groups(fine: &Fine<'_>, coarse: &CsrMatrix, quality_bound: f64) -> Vec<u32> {
    let count = coarse.unknowns();
    let weights: Vec<f64> = (0..count)
        .into_par_iter()
        .map(|group| fine.members(group).iter().map(|&node| fine.diagonal[node as usize]).sum())
        .collect();
    let mut merged = vec![NONE; count];
    let mut merged_count = 0;
    let mut candidates: Vec<(f64, u32)> = Vec::new();
    for group in 0..count {
        if merged[group] != NONE {
            continue;
        }
        let (columns, values) = coarse.row(group);
        candidates.clear();
        for (&column, &value) in columns.iter().zip(values) {
            let other = column as usize;
            if other != group && value < 0.0 && merged[other] == NONE {
                candidates.push((pair_quality(weights[group], weights[other], value), column));
            }
        }
        candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let partner = candidates
            .iter()
            .take(TRIES)
            .find(|(_, other)| fine.accepts(group, *other as usize, quality_bound));
        merged[group] = merged_count;
        if let Some(&(_, other)) = partner {
            merged[other as usize] = merged_count;
        }
        merged_count += 1;
    }
    merged
}

/// Lets unknowns that found no partner join an aggregate beside them, whatever its size.
///
/// Around a well conducting inclusion the poorly conducting unknowns see little but the inclusion, and
/// pairing takes up only one of them in each pass. A leaf `l` with the diagonal `d` and the coupling `c` to
/// an aggregate costs at most `d / |c|` in quality, no matter how many there are: in the star of one rigid
/// hub `Σ |c_l| (v_l - v_hub)² ≥ Σ d_l (v_l - v_hub)² / max(d_l / |c_l|)`.
fn join_leaves(
    diagonal: &[f64],
    member_starts: &[u32],
    members: &[u32],
    coarse: &CsrMatrix,
    quality_bound: f64,
) -> Option<Vec<u32>> {
    let count = coarse.unknowns();
    let alone = |group: usize| member_starts[group + 1] - member_starts[group] == 1;
    let target = |group: usize| {
        let weight = diagonal[members[member_starts[group] as usize] as usize];
        let (columns, values) = coarse.row(group);
        let mut best = (-weight / (0.5 * quality_bound), None);
        for (&column, &value) in columns.iter().zip(values) {
            if column as usize != group && value < best.0 && !alone(column as usize) {
                best = (value, Some(column));
            }
        }
        best.1
    };
    let targets: Vec<Option<u32>> =
        (0..count).into_par_iter().map(|group| if alone(group) { target(group) } else { None }).collect();
    if targets.iter().all(Option::is_none) {
        return None;
    }
    let mut merged = vec![NONE; count];
    let mut next = 0;
    for group in 0..count {
        if targets[group].is_none() {
            merged[group] = next;
            next += 1;
        }
    }
    for group in 0..count {
        if let Some(target) = targets[group] {
            merged[group] = merged[target as usize];
        }
    }
    Some(merged)
}

/// `Pᵀ A P` for the piecewise constant `P` of the groups.
fn collapse(matrix: &CsrMatrix, groups: &[u32], member_starts: &[u32], members: &[u32]) -> CsrMatrix {
    let count = member_starts.len() - 1;
    let blocks: Vec<(Vec<u32>, Vec<u32>, Vec<f64>)> = (0..count.div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .map(|block| {
            let rows = block * BLOCK_ROWS..count.min((block + 1) * BLOCK_ROWS);
            let mut lengths = Vec::with_capacity(rows.len());
            let (mut columns, mut values) = (Vec::new(), Vec::new());
            let mut entries: Vec<(u32, f64)> = Vec::new();
            for row in rows {
                entries.clear();
                for &member in &members[member_starts[row] as usize..member_starts[row + 1] as usize] {
                    let (fine_columns, fine_values) = matrix.row(member as usize);
                    for (&column, &value) in fine_columns.iter().zip(fine_values) {
                        let group = groups[column as usize];
                        if group != NONE {
                            entries.push((group, value));
                        }
                    }
                }
                entries.sort_by_key(|entry| entry.0);
                let start = columns.len();
                for &(column, value) in &entries {
                    if columns.len() > start && columns.last() == Some(&column) {
                        if let Some(sum) = values.last_mut() {
                            *sum += value;
                        }
                    } else {
                        columns.push(column);
                        values.push(value);
                    }
                }
                lengths.push((columns.len() - start) as u32);
            }
            (lengths, columns, values)
        })
        .collect();
    let entries = blocks.iter().map(|block| block.1.len()).sum();
    let mut row_starts = Vec::with_capacity(count + 1);
    let mut columns = Vec::with_capacity(entries);
    let mut values = Vec::with_capacity(entries);
    row_starts.push(0);
    let mut end = 0;
    for (lengths, block_columns, block_values) in blocks {
        for length in lengths {
            end += length as usize;
            row_starts.push(end);
        }
        columns.extend_from_slice(&block_columns);
        values.extend_from_slice(&block_values);
    }
    CsrMatrix { row_starts, columns, values }
}

/// A set of connected unknowns that nothing holds: the first of them and their number.
///
/// The energy of the indicator of a component is the sum of its entries. Each row of a pure Neumann problem
/// sums to zero up to rounding; the roundings are independent, so their sum is compared with the root of the
/// sum of squares.
pub(super) fn floating_component(matrix: &CsrMatrix) -> Option<(usize, usize)> {
    let unknowns = matrix.unknowns();
    let mut parent: Vec<u32> = (0..unknowns as u32).collect();
    fn root(parent: &mut [u32], mut node: u32) -> u32 {
        while parent[node as usize] != node {
            parent[node as usize] = parent[parent[node as usize] as usize];
            node = parent[node as usize];
        }
        node
    }
    for row in 0..unknowns {
        let mut own = root(&mut parent, row as u32);
        let (columns, values) = matrix.row(row);
        for (&column, &value) in columns.iter().zip(values) {
            if (column as usize) < row && value != 0.0 {
                let other = root(&mut parent, column);
                // The lowest unknown names the component.
                let (low, high) = (own.min(other), own.max(other));
                parent[high as usize] = low;
                own = low;
            }
        }
    }
    let mut sums = vec![(0.0_f64, 0.0_f64); unknowns];
    for row in 0..unknowns {
        let component = root(&mut parent, row as u32) as usize;
        let (mut sum, mut size) = (0.0, 0.0);
        for value in matrix.row(row).1 {
            sum += value;
            size += value.abs();
        }
        sums[component].0 += sum;
        sums[component].1 += size * size;
    }
    let first = (0..unknowns)
        .find(|&row| parent[row] == row as u32 && sums[row].0 <= 32.0 * f64::EPSILON * sums[row].1.sqrt())?;
    let size = (first..unknowns).filter(|&row| root(&mut parent, row as u32) == first as u32).count();
    Some((first, size))
}

/// The diagonal of a coarse matrix, and whether it can be smoothed.
pub(super) fn sound_diagonal(matrix: &CsrMatrix) -> Result<Vec<f64>, super::LinearError> {
    let diagonal = matrix.diagonal();
    match diagonal.par_iter().position_first(|value| !(value.is_finite() && *value > 0.0)) {
        Some(row) => {
            Err(super::LinearError::NotPositiveDefinite { stage: "a coarse level", energy: diagonal[row] })
        }
        None => Ok(diagonal),
    }
}

/// A matrix that is the caller's on the finest level and the hierarchy's own below.
pub(super) type LevelMatrix<'a> = Cow<'a, CsrMatrix>;
