//! The rows of the eigenproblem.
//!
//! With derivatives divided by the vacuum wave number, fields varying as `exp(i n k₀ z)` and `H = -(i/η₀) h`, Maxwell's
//! curl equations are
//!
//! ```text
//! i n Ex = (μ h)y + ∂x Ez        i n hx = (ε E)y + ∂x hz        hz = (∂x Ey - ∂y Ex - μzx hx - μzy hy) / μzz
//! i n Ey = -(μ h)x + ∂y Ez       i n hy = -(ε E)x + ∂y hz       Ez = (∂x hy - ∂y hx - εzx Ex - εzy Ey) / εzz
//! ```
//!
//! Diagonal media: applying the two left equations after the two in the middle gives `-n² E = A E` for the two
//! components of E in the plane; `∂` applied twice around the normal components cancels and is left out. Other media:
//! the four equations as they are, with the eigenvalue `n` after a division by i. What a grid that conforms to conductors
//! changes in either is in [`super::conductors`]. (Z. Zhu and T. G. Brown, Opt. Express
//! 10, 853, 2002; A. B. Fallahkhair et al., J. Lightwave Technol. 26, 1423, 2008.)

use num_complex::Complex;

use super::conductors::Conductors;
use super::differences::Differences;
use super::medium::Media;
use crate::eigen::{Scalar, SparseMatrix};

type C = Complex<f64>;

/// The problem in transformed coordinates.
#[derive(Clone, Debug)]
pub(super) struct Equations {
    pub(super) differences: Differences,
    pub(super) media: Media,
    /// Whether h is eliminated.
    pub(super) diagonal: bool,
    /// Factor of the four-component matrix: `-i` forwards, `i` backwards.
    pub(super) factor: C,
    /// Conductors that the grid conforms to.
    pub(super) conductors: Option<Conductors>,
}

/// The matrix over those unknowns that are not zero from the outset.
#[derive(Debug)]
pub(super) struct System<T> {
    pub(super) matrix: SparseMatrix<T>,
    /// For every unknown its number among all: component times cells plus cell.
    pub(super) unknowns: Vec<u32>,
}

/// Terms of a row: number of the unknown and factor.
type Row = Vec<(u32, C)>;

impl Equations {
    fn cells(&self) -> usize {
        self.media.permittivity.len()
    }

    /// Components of an eigenvector.
    pub(super) fn components(&self) -> usize {
        if self.diagonal { 2 } else { 4 }
    }

    /// Adds `factor` times a component (0 to 3: Ex, Ey, hx, hy) at a cell.
    fn add(&self, row: &mut Row, component: usize, cell: usize, factor: C) {
        if factor != C::default() {
            row.push(((component * self.cells() + cell) as u32, factor));
        }
    }

    /// The open part of an edge.
    fn open(&self, axis: usize, cell: usize) -> f64 {
        self.conductors.as_ref().map_or(1.0, |conductors| conductors.edges[axis][cell])
    }

    /// Whether an unknown lies in a conductor that the grid conforms to.
    fn is_closed(&self, component: usize, cell: usize) -> bool {
        self.conductors.as_ref().is_some_and(|conductors| conductors.is_closed(component, cell))
    }

    /// Calls `term` with the terms of `factor (∂x Ey - ∂y Ex)` at a cell: axis of the component, cell and factor.
    fn circulation(&self, cell: usize, factor: C, mut term: impl FnMut(usize, usize, C)) {
        let factor = match &self.conductors {
            Some(conductors) if conductors.flux[cell] == 0.0 => return,
            Some(conductors) => factor * conductors.flux[cell],
            None => factor,
        };
        for (axis, factor) in [(0, factor), (1, -factor)] {
            let along = 1 - axis;
            self.differences.forward(axis, cell, factor, |cell, factor| {
                term(along, cell, factor * self.open(along, cell));
            });
        }
    }

    /// Calls `term` with the terms of `factor` times the difference of Ez along an edge that is not closed: cell and factor.
    fn slope(&self, axis: usize, cell: usize, factor: C, mut term: impl FnMut(usize, C)) {
        let closed = self.conductors.as_ref().map(|conductors| &conductors.closed);
        self.differences.forward(axis, cell, factor / self.open(axis, cell), |cell, factor| {
            if closed.is_none_or(|closed| !closed[cell]) {
                term(cell, factor);
            }
        });
    }

    /// `i n hx` (`which` 0) or `i n hy` (1) of diagonal media, from E.
    fn magnetic_of_electric(&self, row: &mut Row, which: usize, cell: usize, factor: C) {
        let permittivity = &self.media.permittivity[cell];
        if which == 0 {
            self.add(row, 1, cell, factor * permittivity[4]);
        } else {
            self.add(row, 0, cell, -factor * permittivity[0]);
        }
        self.differences.backward(which, cell, factor, |cell, factor| {
            let factor = factor / self.media.permeability[cell][8];
            self.circulation(cell, factor, |component, cell, factor| self.add(row, component, cell, factor));
        });
    }

    /// A row of the two-component matrix.
    fn diagonal_row(&self, row: &mut Row, component: usize, cell: usize) {
        let permeability = &self.media.permeability[cell];
        let (which, factor) = if component == 0 { (1, permeability[4]) } else { (0, -permeability[0]) };
        self.magnetic_of_electric(row, which, cell, factor);
        self.slope(component, cell, C::new(1.0, 0.0), |cell, factor| {
            let factor = factor / self.media.permittivity[cell][8];
            self.differences.backward(0, cell, factor, |cell, factor| {
                self.add(row, 0, cell, -factor * self.media.permittivity[cell][0]);
            });
            self.differences.backward(1, cell, -factor, |cell, factor| {
                self.add(row, 1, cell, factor * self.media.permittivity[cell][4]);
            });
        });
    }

    /// A row of the four-component matrix.
    fn tensor_row(&self, row: &mut Row, component: usize, cell: usize) {
        let electric = component < 2;
        // The equation of a component in the plane contains the other one's product with the medium.
        let axis = component % 2;
        let sign = if axis == 0 { self.factor } else { -self.factor };
        let other = 1 - axis;
        let (own, crossing) =
            if electric { (&self.media.permeability, 2) } else { (&self.media.permittivity, 0) };
        let tensor = &own[cell];
        for column in [0, 1] {
            self.add(row, crossing + column, cell, sign * tensor[3 * other + column]);
        }
        self.normal(row, !electric, cell, sign * tensor[3 * other + 2]);
        if electric {
            self.slope(axis, cell, self.factor, |cell, factor| self.normal(row, true, cell, factor));
        } else {
            self.differences
                .backward(axis, cell, self.factor, |cell, factor| self.normal(row, false, cell, factor));
        }
    }

    /// Adds a multiple of Ez or of hz.
    fn normal(&self, row: &mut Row, electric: bool, cell: usize, factor: C) {
        let is_closed =
            electric && self.conductors.as_ref().is_some_and(|conductors| conductors.closed[cell]);
        if factor == C::default() || is_closed {
            return;
        }
        let (tensor, own) =
            if electric { (&self.media.permittivity[cell], 0) } else { (&self.media.permeability[cell], 2) };
        let factor = factor / tensor[8];
        for column in [0, 1] {
            self.add(row, own + column, cell, -factor * tensor[6 + column]);
        }
        if electric {
            for (axis, factor) in [(0, factor), (1, -factor)] {
                let component = 3 - axis;
                self.differences
                    .backward(axis, cell, factor, |cell, factor| self.add(row, component, cell, factor));
            }
        } else {
            self.circulation(cell, factor, |component, cell, factor| self.add(row, component, cell, factor));
        }
    }

    /// Assembles the matrix.
    ///
    /// Tangential fields on the lower edges obey equations of their own where nothing else enters; on electric
    /// conductors they are zero, so the largest set of such unknowns that see only each other is left out. Without
    /// that, the edges carry modes that no waveguide has. What lies in a conductor that the grid conforms to is left out,
    /// too.
    pub(super) fn assemble<T: Scalar>(&self) -> System<T> {
        let (cells, size) = (self.cells(), self.components() * self.cells());
        let mut starts = Vec::with_capacity(size + 1);
        let mut entries: Vec<(u32, T)> = Vec::with_capacity(size * 9);
        let mut row = Row::new();
        starts.push(0);
        for component in 0..self.components() {
            for cell in 0..cells {
                row.clear();
                if self.is_closed(component, cell) {
                    starts.push(entries.len());
                    continue;
                }
                if self.diagonal {
                    self.diagonal_row(&mut row, component, cell);
                } else {
                    self.tensor_row(&mut row, component, cell);
                }
                let own = (component * cells + cell) as u32;
                row.push((own, C::default()));
                row.sort_by_key(|(column, _)| *column);
                for terms in row.chunk_by(|left, right| left.0 == right.0) {
                    let sum: C = terms.iter().map(|(_, factor)| factor).sum();
                    let largest = terms.iter().map(|(_, factor)| factor.norm_sqr()).fold(0.0, f64::max);
                    // What cancels in uniform media is zero, not rounding: it would couple what is apart.
                    let cancelled = sum.norm_sqr() <= largest * (16.0 * f64::EPSILON).powi(2);
                    if !cancelled || terms[0].0 == own {
                        entries.push((terms[0].0, T::narrow(sum)));
                    }
                }
                starts.push(entries.len());
            }
        }
        let zero = self.zero_unknowns(&starts, &entries);
        let unknowns: Vec<u32> = (0..size as u32).filter(|unknown| !zero[*unknown as usize]).collect();
        let mut numbers = vec![u32::MAX; size];
        for (number, unknown) in unknowns.iter().enumerate() {
            numbers[*unknown as usize] = number as u32;
        }
        let mut matrix = SparseMatrix::with_capacity(unknowns.len(), entries.len());
        for unknown in &unknowns {
            let range = starts[*unknown as usize]..starts[*unknown as usize + 1];
            let kept = entries[range].iter().filter(|(column, _)| !zero[*column as usize]);
            matrix.push_row(kept.map(|(column, value)| (numbers[*column as usize], *value)));
        }
        System { matrix, unknowns }
    }

    /// The closed unknowns, and the largest set of unknowns on the lower edges whose rows have entries in both alone.
    fn zero_unknowns<T: Scalar>(&self, starts: &[usize], entries: &[(u32, T)]) -> Vec<bool> {
        let [rows, columns] = self.differences.shape;
        let size = starts.len() - 1;
        let mut zero: Vec<bool> = (0..size)
            .map(|unknown| {
                let (component, cell) = (unknown / (rows * columns), unknown % (rows * columns));
                rows > 1 && cell < columns
                    || columns > 1 && cell % columns == 0
                    || self.is_closed(component, cell)
            })
            .collect();
        let mut candidates: Vec<usize> = (0..size).filter(|unknown| zero[*unknown]).collect();
        loop {
            let before = candidates.len();
            candidates.retain(|unknown| {
                let row = &entries[starts[*unknown]..starts[*unknown + 1]];
                zero[*unknown] =
                    row.iter().all(|(column, value)| zero[*column as usize] || *value == T::default());
                zero[*unknown]
            });
            if candidates.len() == before {
                return zero;
            }
        }
    }

    /// The six components from an eigenvector of the two-component matrix and the index it belongs to.
    ///
    /// Ez is derived from `ε E` alone: the other part of h has no curl along the normal.
    pub(super) fn diagonal_fields(&self, vector: &[C], index: C) -> [[Vec<C>; 3]; 2] {
        let cells = self.cells();
        let (ex, ey) = (vector[..cells].to_vec(), vector[cells..].to_vec());
        let propagation = C::i() * index;
        let mut row = Row::new();
        let [hx, hy] = [0, 1].map(|which| {
            (0..cells)
                .map(|cell| {
                    if self.is_closed(2 + which, cell) {
                        return C::default();
                    }
                    row.clear();
                    self.magnetic_of_electric(&mut row, which, cell, propagation.inv());
                    row.iter().map(|(unknown, factor)| vector[*unknown as usize] * factor).sum()
                })
                .collect::<Vec<C>>()
        });
        let permittivity = &self.media.permittivity;
        let driven_x: Vec<C> =
            (0..cells).map(|cell| permittivity[cell][4] * ey[cell] / propagation).collect();
        let driven_y: Vec<C> =
            (0..cells).map(|cell| -permittivity[cell][0] * ex[cell] / propagation).collect();
        let ez = self.normal_field(true, [&driven_x, &driven_y], [&ex, &ey]);
        let hz = self.normal_field(false, [&ex, &ey], [&hx, &hy]);
        [[ex, ey, ez], [hx, hy, hz]]
    }

    /// The six components from an eigenvector of the four-component matrix.
    pub(super) fn tensor_fields(&self, vector: &[C]) -> [[Vec<C>; 3]; 2] {
        let cells = self.cells();
        let mut parts = vector.chunks_exact(cells).map(<[C]>::to_vec);
        let mut next = || parts.next().unwrap_or_default();
        let (ex, ey, hx, hy) = (next(), next(), next(), next());
        let ez = self.normal_field(true, [&hx, &hy], [&ex, &ey]);
        let hz = self.normal_field(false, [&ex, &ey], [&hx, &hy]);
        [[ex, ey, ez], [hx, hy, hz]]
    }

    /// The eigenvalue of an approximate eigenvector of the two-component matrix to second order in its error.
    ///
    /// Differences forwards and backwards are each other's transposes but for the cell sizes. Therefore the left
    /// eigenvector is `(hy, -hx)` of the mode times the open areas of Yee's grid, and the quotient of both with the matrix has
    /// no error of first order (A. M. Ostrowski, Arch. Ration. Mech. Anal. 3, 472, 1959). `None` if both are orthogonal,
    /// or if the quotient differs from `value` so much that it does not belong to it.
    pub(super) fn two_sided_quotient<T: Scalar>(
        &self,
        matrix: &SparseMatrix<T>,
        unknowns: &[u32],
        vector: &[C],
        value: C,
    ) -> Option<C> {
        let cells = self.cells();
        let mut full = vec![C::default(); 2 * cells];
        for (unknown, value) in unknowns.iter().zip(vector) {
            full[*unknown as usize] = *value;
        }
        let [dual, primal] = self.differences.sizes();
        let columns = self.differences.shape[1];
        let mut row = Row::new();
        let (mut above, mut below, mut bound) = (C::default(), C::default(), 0.0);
        for (place, unknown) in unknowns.iter().enumerate() {
            let (component, cell) = (*unknown as usize / cells, *unknown as usize % cells);
            let (first, second) = (cell / columns, cell % columns);
            row.clear();
            self.magnetic_of_electric(&mut row, 1 - component, cell, C::new(1.0, 0.0));
            let field: C = row.iter().map(|(unknown, factor)| full[*unknown as usize] * factor).sum();
            let left = if component == 0 {
                field * primal[0][first] * dual[1][second]
            } else {
                -field * dual[0][first] * primal[1][second]
            } * self.open(component, cell);
            let range = matrix.row(place);
            let entries = matrix.columns()[range.clone()].iter().zip(&matrix.values()[range]);
            let image: C = entries.map(|(column, entry)| entry.widen() * vector[*column as usize]).sum();
            above += left * image;
            below += left * vector[place];
            bound += left.norm() * vector[place].norm();
        }
        if below.norm() < 1e-3 * bound {
            return None;
        }
        let quotient = above / below;
        ((quotient - value).norm() <= 1e-3 * value.norm().max(1e-3)).then_some(quotient)
    }

    /// Ez or hz from the components in the plane of the other field and of its own.
    fn normal_field(&self, electric: bool, other: [&[C]; 2], own: [&[C]; 2]) -> Vec<C> {
        let media = if electric { &self.media.permittivity } else { &self.media.permeability };
        let curl: Vec<C> = if electric {
            let differences = &self.differences;
            let (left, right) = (differences.backward_of(0, other[1]), differences.backward_of(1, other[0]));
            left.iter().zip(right).map(|(left, right)| left - right).collect()
        } else {
            (0..self.cells())
                .map(|cell| {
                    let mut sum = C::default();
                    self.circulation(cell, C::new(1.0, 0.0), |component, cell, factor| {
                        sum += other[component][cell] * factor;
                    });
                    sum
                })
                .collect()
        };
        let vanishes = |cell: usize| match &self.conductors {
            Some(conductors) if electric => conductors.closed[cell],
            Some(conductors) => conductors.flux[cell] == 0.0,
            None => false,
        };
        (0..curl.len())
            .map(|cell| {
                if vanishes(cell) {
                    return C::default();
                }
                let tensor = &media[cell];
                (curl[cell] - tensor[6] * own[0][cell] - tensor[7] * own[1][cell]) / tensor[8]
            })
            .collect()
    }
}
