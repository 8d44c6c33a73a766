//! Algebraic multigrid by aggregation, cycled by Krylov steps.
//!
//! Plain aggregation (piecewise constant interpolation) keeps coarse matrices as sparse as the fine one: the
//! whole hierarchy costs a fraction of the matrix in memory and set-up, where smoothed interpolation would
//! multiply the entries of a tetrahedral mesh's matrix. What it loses in a V-cycle the K-cycle regains (Notay
//! and Vassilevski, "Recursive Krylov-based multigrid cycles", Numer. Linear Algebra Appl. 15, 2008): each
//! coarse problem is solved by up to two conjugate gradient steps, each preconditioned by the next level.
//! With aggregates of up to eight the visits to a level shrink faster than they double.
//!
//! The smoother is one Gauss-Seidel sweep forward before and one backward after the coarse correction. Rows
//! are cut into a fixed number of blocks; within a block the newest values are used, between blocks the old
//! ones, so blocks run in parallel and the result does not depend on how many run at once. Adding half of the
//! magnitude of the couplings between blocks to the diagonal keeps the smoother convergent for any symmetric
//! positive definite matrix: with `M = D' + L_blocks` and `2 D' = 2 D + diag(|A_between| 1)` the matrix
//! `M + Mᵀ - A = D + diag(|A_between| 1) - A_between` is positive definite by Gershgorin's circles.

use std::borrow::Cow;
use std::time::Instant;

use rayon::prelude::*;

use super::aggregation::{self, Aggregation, LevelMatrix, NONE};
use super::conjugate_gradient::{Preconditioner, SetupStatistics, check_diagonal};
use super::dense::DenseCholesky;
use super::vector::{self, add_scaled, dot, dot_two, norm};
use super::{CsrMatrix, LinearError};

/// How a [`Multigrid`] hierarchy is built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MultigridOptions {
    /// The largest condition number that an aggregate may contribute: lower means smaller aggregates, fewer
    /// iterations and more memory.
    pub quality_bound: f64,
    /// Passes of pairing per level: aggregates have up to `2^passes` unknowns, at most 8.
    pub pairing_passes: usize,
    /// A level of at most this many unknowns is factored densely; more than 2000 are taken as 2000.
    pub coarsest_unknowns: usize,
}

impl Default for MultigridOptions {
    fn default() -> Self {
        Self { quality_bound: 8.0, pairing_passes: 3, coarsest_unknowns: 400 }
    }
}

/// The most unknowns to factor densely: 64 MB.
const LARGEST_DENSE: usize = 2000;

/// Levels at most, against hierarchies that hardly shrink.
const MAXIMUM_LEVELS: usize = 30;

/// A level that keeps no more than this share of the unknowns needs no second try.
const GOOD_COARSENING: f64 = 0.4;

/// A level that keeps more than this share of the unknowns is not worth having.
const SLOWEST_COARSENING: f64 = 0.9;

/// How often the quality bound may be doubled in search of a smaller level.
const LOOSENINGS: usize = 3;

/// When the first of the two Krylov steps on a coarse level has reduced the residual by this, one is enough.
const ONE_STEP_IS_ENOUGH: f64 = 0.25;

/// Blocks of the smoother on a large level: how many cores can share a sweep.
const SMOOTHER_BLOCKS: usize = 32;

/// The smallest block of the smoother.
const SMALLEST_BLOCK: usize = 2048;

/// A multigrid hierarchy for one symmetric positive definite matrix, which it borrows.
#[derive(Debug)]
pub struct Multigrid<'a> {
    levels: Vec<Level<'a>>,
    coarsest: Option<DenseCholesky>,
    setup: SetupStatistics,
}

#[derive(Debug)]
struct Level<'a> {
    matrix: LevelMatrix<'a>,
    /// The place of the diagonal within each row.
    diagonal_places: Vec<u32>,
    /// `D'` and its inverse.
    smoothing_diagonal: Vec<f64>,
    block_rows: usize,
    /// Whether this level may be solved by two Krylov steps for each visit.
    two_steps: bool,
    coarsening: Option<Coarsening>,
}

#[derive(Debug)]
struct Coarsening {
    aggregate_of: Vec<u32>,
    member_starts: Vec<u32>,
    members: Vec<u32>,
}

impl<'a> Multigrid<'a> {
    /// Builds the hierarchy.
    ///
    /// # Errors
    /// - [`LinearError::NotFinite`], [`LinearError::NonPositiveDiagonal`]: by the first such entry or row.
    /// - [`LinearError::Singular`]: a connected set of unknowns floats (pure Neumann conditions).
    /// - [`LinearError::NotPositiveDefinite`]: found on a coarse level.
    pub fn new(matrix: &'a CsrMatrix, options: &MultigridOptions) -> Result<Self, LinearError> {
        let begin = Instant::now();
        let mut diagonal = matrix.diagonal();
        check_diagonal(&diagonal)?;
        if let Some(place) = vector::first_not_finite(&matrix.values) {
            let index = matrix.row_starts.partition_point(|&start| start <= place) - 1;
            return Err(LinearError::NotFinite { what: "the matrix, by row,", index });
        }
        if let Some((first_row, rows)) = aggregation::floating_component(matrix) {
            return Err(LinearError::Singular { rows, first_row });
        }

        let mut levels = Vec::new();
        let mut current: LevelMatrix<'a> = Cow::Borrowed(matrix);
        let coarsest = loop {
            let unknowns = current.unknowns();
            if unknowns <= options.coarsest_unknowns.min(LARGEST_DENSE) {
                let factor = DenseCholesky::new(&current)?;
                levels.push(Level::new(current, &diagonal, None));
                break Some(factor);
            }
            let coarse =
                if levels.len() < MAXIMUM_LEVELS { coarsen(&current, &diagonal, options) } else { None };
            let Some(Aggregation { aggregate_of, member_starts, members, matrix: coarse }) = coarse else {
                levels.push(Level::new(current, &diagonal, None));
                break None;
            };
            let coarsening = Coarsening { aggregate_of, member_starts, members };
            levels.push(Level::new(current, &diagonal, Some(coarsening)));
            diagonal = aggregation::sound_diagonal(&coarse)?;
            current = Cow::Owned(coarse);
        };

        limit_visits(&mut levels);
        let mut multigrid = Self { levels, coarsest, setup: SetupStatistics::default() };
        multigrid.setup = multigrid.statistics(matrix, begin);
        Ok(multigrid)
    }

    fn statistics(&self, matrix: &CsrMatrix, begin: Instant) -> SetupStatistics {
        let entries: usize = self.levels.iter().map(|level| level.matrix.entries()).sum();
        let unknowns: usize = self.levels.iter().map(|level| level.matrix.unknowns()).sum();
        let held: usize = self.levels.iter().map(Level::bytes).sum();
        let workspace = self.levels.iter().enumerate().map(|(depth, level)| {
            let vectors = if depth == 0 { 1 } else { 5 };
            vectors * level.matrix.unknowns() * size_of::<f64>()
        });
        SetupStatistics {
            levels: self.levels.len(),
            operator_complexity: entries as f64 / matrix.entries().max(1) as f64,
            grid_complexity: unknowns as f64 / matrix.unknowns().max(1) as f64,
            seconds: begin.elapsed().as_secs_f64(),
            bytes: held + workspace.sum::<usize>() + self.coarsest.as_ref().map_or(0, DenseCholesky::bytes),
        }
    }

    /// Unknowns and entries of each level, finest first.
    pub fn level_sizes(&self) -> Vec<(usize, usize)> {
        self.levels.iter().map(|level| (level.matrix.unknowns(), level.matrix.entries())).collect()
    }

    /// One cycle: `x ≈ A⁻¹ b` on the first of `levels`.
    fn cycle(
        &self,
        depth: usize,
        b: &[f64],
        x: &mut [f64],
        scratch: &mut [f64],
        below: &mut [LevelWorkspace],
    ) {
        let level = &self.levels[depth];
        let Some(coarsening) = &level.coarsening else {
            if let Some(factor) = &self.coarsest {
                factor.solve(b, x);
            } else {
                level.smooth_forward(b, x);
                scratch.copy_from_slice(x);
                level.smooth_backward(b, scratch, x);
            }
            return;
        };
        let Some((coarse, further)) = below.split_first_mut() else { return };
        level.smooth_forward(b, x);
        level.residual_after_forward(x, scratch);
        coarsening.restrict(scratch, &mut coarse.b);
        self.solve_coarse(depth + 1, coarse, further);
        coarsening.prolong(x, &coarse.x, scratch);
        level.smooth_backward(b, scratch, x);
    }

    /// Up to two conjugate gradient steps on a coarse level: `w.x ≈ A⁻¹ w.b`. Destroys `w.b`.
    fn solve_coarse(&self, depth: usize, w: &mut LevelWorkspace, below: &mut [LevelWorkspace]) {
        let level = &self.levels[depth];
        self.cycle(depth, &w.b, &mut w.x, &mut w.scratch, below);
        if !level.two_steps || (level.coarsening.is_none() && self.coarsest.is_some()) {
            return;
        }
        level.matrix.multiply(&w.x, &mut w.image);
        let [energy, slope] = dot_two(&w.x, &w.image, &w.b);
        // A zero right-hand side, or one lost in rounding: the cycle's own answer stands.
        if energy.is_nan() || energy <= 0.0 {
            return;
        }
        let step = slope / energy;
        let size = norm(&w.b);
        add_scaled(&mut w.b, -step, &w.image);
        if norm(&w.b) <= ONE_STEP_IS_ENOUGH * size {
            vector::for_each_chunk(&mut w.x, |_, part| part.iter_mut().for_each(|value| *value *= step));
            return;
        }
        self.cycle(depth, &w.b, &mut w.second, &mut w.scratch, below);
        // image = A x is still needed for one product only; then it holds A second.
        let coupling = dot(&w.second, &w.image);
        level.matrix.multiply(&w.second, &mut w.image);
        let [second_energy, second_slope] = dot_two(&w.second, &w.image, &w.b);
        let conjugate_energy = second_energy - coupling * coupling / energy;
        let (first_factor, second_factor) = if conjugate_energy > 0.0 {
            let factor = second_slope / conjugate_energy;
            (step - coupling * factor / energy, factor)
        } else {
            (step, 0.0)
        };
        let second = &w.second;
        vector::for_each_chunk(&mut w.x, |first, part| {
            for (value, other) in part.iter_mut().zip(&second[first..]) {
                *value = first_factor * *value + second_factor * other;
            }
        });
    }
}

/// Allows two steps per visit only on levels whose visits together cost no more than the finest level, so
/// that a cycle stays in proportion to the unknowns even where coarsening is slow.
fn limit_visits(levels: &mut [Level<'_>]) {
    let budget = levels[0].matrix.entries();
    let mut visits = 1_usize;
    for level in &mut levels[1..] {
        level.two_steps = 2 * visits * level.matrix.entries() <= budget;
        if level.two_steps {
            visits *= 2;
        }
    }
}

/// Aggregates; loosens the quality bound when that barely coarsens.
fn coarsen(matrix: &CsrMatrix, diagonal: &[f64], options: &MultigridOptions) -> Option<Aggregation> {
    let passes = options.pairing_passes.clamp(1, 3);
    let unknowns = matrix.unknowns() as f64;
    let mut bound = options.quality_bound;
    let mut smallest: Option<Aggregation> = None;
    for _ in 0..LOOSENINGS {
        let aggregation = aggregation::aggregate(matrix, diagonal, bound, passes)?;
        let coarse = aggregation.matrix.unknowns();
        if smallest.as_ref().is_none_or(|known| coarse < known.matrix.unknowns()) {
            smallest = Some(aggregation);
        }
        if coarse as f64 <= GOOD_COARSENING * unknowns {
            break;
        }
        bound *= 2.0;
    }
    smallest.filter(|aggregation| aggregation.matrix.unknowns() as f64 <= SLOWEST_COARSENING * unknowns)
}

impl<'a> Level<'a> {
    fn new(matrix: LevelMatrix<'a>, diagonal: &[f64], coarsening: Option<Coarsening>) -> Self {
        let unknowns = matrix.unknowns();
        let block_rows = unknowns.div_ceil(SMOOTHER_BLOCKS).max(SMALLEST_BLOCK);
        let (diagonal_places, smoothing_diagonal) = (0..unknowns)
            .into_par_iter()
            .map(|row| {
                let (columns, values) = matrix.row(row);
                let block = row / block_rows * block_rows..(row / block_rows + 1) * block_rows;
                let between =
                    columns.iter().zip(values).filter(|(column, _)| !block.contains(&(**column as usize)));
                let between: f64 = between.map(|(_, value)| value.abs()).sum();
                let place = columns.partition_point(|&column| (column as usize) < row);
                (place as u32, diagonal[row] + 0.5 * between)
            })
            .unzip();
        Self { matrix, diagonal_places, smoothing_diagonal, block_rows, two_steps: true, coarsening }
    }

    fn bytes(&self) -> usize {
        let own = match &self.matrix {
            Cow::Borrowed(_) => 0,
            Cow::Owned(matrix) => matrix.bytes(),
        };
        let coarsening = self.coarsening.as_ref().map_or(0, |coarsening| {
            coarsening.aggregate_of.capacity()
                + coarsening.member_starts.capacity()
                + coarsening.members.capacity()
        });
        own + (coarsening + self.diagonal_places.capacity()) * size_of::<u32>()
            + self.smoothing_diagonal.capacity() * size_of::<f64>()
    }

    /// Calls `work(first row, block of x)` for each block of the smoother.
    fn for_each_block(&self, x: &mut [f64], work: impl Fn(usize, &mut [f64]) + Sync) {
        let rows = self.block_rows;
        if x.len() < vector::SEQUENTIAL_BELOW {
            x.chunks_mut(rows).enumerate().for_each(|(block, part)| work(block * rows, part));
        } else {
            x.par_chunks_mut(rows).enumerate().for_each(|(block, part)| work(block * rows, part));
        }
    }

    /// `M x = b` with the lower triangles of the blocks: a forward sweep from zero.
    fn smooth_forward(&self, b: &[f64], x: &mut [f64]) {
        self.for_each_block(x, |first, part| {
            for offset in 0..part.len() {
                let row = first + offset;
                let (columns, values) = self.matrix.row(row);
                let diagonal = self.diagonal_places[row] as usize;
                let mut sum = b[row];
                for (&column, value) in columns[..diagonal].iter().zip(&values[..diagonal]).rev() {
                    let Some(place) = (column as usize).checked_sub(first) else { break };
                    sum -= value * part[place];
                }
                part[offset] = sum / self.smoothing_diagonal[row];
            }
        });
    }

    /// `residual = b - A x` for the `x` that [`smooth_forward`](Self::smooth_forward) just made: as `M x = b`,
    /// it is `(M - A) x`, which needs neither `b` nor the lower triangles of the blocks.
    fn residual_after_forward(&self, x: &[f64], residual: &mut [f64]) {
        self.for_each_block(residual, |first, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                let row = first + offset;
                let (columns, values) = self.matrix.row(row);
                let diagonal = self.diagonal_places[row] as usize;
                let mut sum = (self.smoothing_diagonal[row] - values[diagonal]) * x[row];
                for (&column, entry) in columns[diagonal + 1..].iter().zip(&values[diagonal + 1..]) {
                    sum -= entry * x[column as usize];
                }
                for (&column, entry) in columns[..diagonal].iter().zip(values) {
                    if column as usize >= first {
                        break;
                    }
                    sum -= entry * x[column as usize];
                }
                *value = sum;
            }
        });
    }

    /// `x = old + M⁻ᵀ (b - A old)`: a backward sweep.
    fn smooth_backward(&self, b: &[f64], old: &[f64], x: &mut [f64]) {
        self.for_each_block(x, |first, part| {
            for offset in (0..part.len()).rev() {
                let row = first + offset;
                let (columns, values) = self.matrix.row(row);
                let diagonal = self.diagonal_places[row] as usize;
                let mut sum = b[row];
                for (&column, value) in columns[..=diagonal].iter().zip(values) {
                    sum -= value * old[column as usize];
                }
                for (&column, value) in columns[diagonal + 1..].iter().zip(&values[diagonal + 1..]) {
                    let column = column as usize;
                    sum -= value * part.get(column - first).copied().unwrap_or_else(|| old[column]);
                }
                part[offset] = old[row] + sum / self.smoothing_diagonal[row];
            }
        });
    }
}

impl Coarsening {
    /// `coarse = Pᵀ fine`.
    fn restrict(&self, fine: &[f64], coarse: &mut [f64]) {
        vector::for_each_chunk(coarse, |first, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                let group = first + offset;
                let range = self.member_starts[group] as usize..self.member_starts[group + 1] as usize;
                *value = self.members[range].iter().map(|&member| fine[member as usize]).sum();
            }
        });
    }

    /// `sum = x + P coarse`.
    fn prolong(&self, x: &[f64], coarse: &[f64], sum: &mut [f64]) {
        vector::for_each_chunk(sum, |first, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                let group = self.aggregate_of[first + offset];
                *value = x[first + offset] + if group == NONE { 0.0 } else { coarse[group as usize] };
            }
        });
    }
}

/// The scratch vectors of one solve with a [`Multigrid`] preconditioner.
#[derive(Debug)]
pub struct MultigridWorkspace {
    scratch: Vec<f64>,
    coarse: Vec<LevelWorkspace>,
}

#[derive(Debug)]
struct LevelWorkspace {
    b: Vec<f64>,
    x: Vec<f64>,
    second: Vec<f64>,
    image: Vec<f64>,
    scratch: Vec<f64>,
}

impl Preconditioner for Multigrid<'_> {
    type Workspace = MultigridWorkspace;

    fn unknowns(&self) -> usize {
        self.levels[0].matrix.unknowns()
    }

    fn workspace(&self) -> MultigridWorkspace {
        let zeros = |level: &Level<'_>| vec![0.0; level.matrix.unknowns()];
        let coarse = self.levels[1..].iter().map(|level| LevelWorkspace {
            b: zeros(level),
            x: zeros(level),
            second: zeros(level),
            image: zeros(level),
            scratch: zeros(level),
        });
        MultigridWorkspace { scratch: zeros(&self.levels[0]), coarse: coarse.collect() }
    }

    fn apply(&self, residual: &[f64], correction: &mut [f64], workspace: &mut MultigridWorkspace) {
        self.cycle(0, residual, correction, &mut workspace.scratch, &mut workspace.coarse);
    }

    fn setup(&self) -> SetupStatistics {
        self.setup
    }
}
