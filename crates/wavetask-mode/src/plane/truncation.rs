//! The index of a mode without the leading error of the grid.
//!
//! Averaged permittivities make the error of an index fall with the square of the step, but what is left is not
//! small: a silicon layer of ten cells, its faces on grid lines where every rule of averaging agrees, has 9e-3 (TM). That
//! part belongs to the differences and no permittivity removes it. It can be computed from the mode, though:
//!
//! If the unknowns are read as means of E and H along the edges of the grid, and D and B as means over the faces across
//! them, both of Maxwell's curl equations hold on the grid *exactly*. All of the error is in `D = ε E` and `B = μ H`,
//! which relate means over different sets:
//!
//! ```text
//! D = <ε E> over the face = ε (E + δ)        E = <D / ε> along the edge
//! ```
//!
//! The deviations `δ` follow from the slopes and curvatures of the mode's own fields within a cell: of first order in
//! the step where an interface cuts the cell (`E` along it has other slopes on both sides, `ε` another value), of
//! second order elsewhere. Perturbation theory turns them into the change of the index,
//!
//! ```text
//! 2 n δn ∫ (Ex Hy - Ey Hx) dS = n ∫ (E'·δD - H'·δB) dS        E' = (Ex, Ey, -Ez), H' = (-Hx, -Hy, Hz)
//! ```
//!
//! with the fields of the mode that runs the other way and no conjugation, so that it holds for lossy media, too (A. W.
//! Snyder and J. D. Love, *Optical Waveguide Theory*, chapter 31). Both sums run over the grid, in units in which the
//! impedance of vacuum is one. Deviations are taken by lines, along each axis of the plane in turn, with the
//! permittivity of half cells.
//!
//! Where an interface runs aslant, the averaged tensor has elements beside its diagonal. Equations without them have an
//! error of first order: what the fibre's TE01 sees, everywhere along its interface, is not the mean of the media. It is
//! of `δD` as well, but not small within its cells. There the perturbation is that of the quantities that are continuous, `F
//! = (E along, D across)`, whose product with the media is `Fᵀ τ F` with C. Kottke's `τ` (Physical Review E 77, 036611,
//! 2008): for it the difference between the tensor and the diagonal that was used instead enters once, in full.
//!
//! What is left is of second order at slanting interfaces and comes from corners, where fields are singular, elsewhere.
//! Fields stay those of the grid.

use std::f64::consts::FRAC_PI_2;

use num_complex::Complex;

use super::absorber::vacuum_impedance;
use super::medium::CONDUCTOR;
use super::problem::{Direction, PlaneProblem, Symmetry};
use super::transformation::{Field, Jacobians};
use super::{MediumCharacter, PlaneMode, PlaneSolution};

type C = Complex<f64>;

/// Neighbouring values that differ by a smaller share are equal.
const EQUAL: f64 = 1e-6;
/// A step of the permittivity at most this many times the smaller of its neighbours belongs to a gradual change.
const GRADUAL: f64 = 3.0;
/// A step by a smaller share is no interface. One that is read as a gradual change costs an index this share of the error
/// of the grid, a gradual change that is read as an interface its curvature, which is all of that error.
const SLIGHT: f64 = 3e-5;
/// Larger changes of the squared index, relative to it, are not perturbations.
const LARGEST_CHANGE: f64 = 0.2;
/// Modes whose flux is a smaller part of what their fields allow carry nothing that could be perturbed.
const SMALLEST_FLUX: f64 = 1e-3;

/// The permittivity within the cells of a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct WithinCells {
    /// The diagonal of the relative permittivity, averaged over each quarter of each cell: twice as many rows and
    /// columns as the plane has, row-major with the second axis running fastest.
    pub quarters: [Vec<C>; 3],
    /// Where interfaces run aslant: the elements `xx`, `xy` and `yy` of the averaged tensor of the cells around the crossings
    /// of grid lines, as many as the plane has cells.
    pub crossings: Option<[Vec<C>; 3]>,
}

/// Removes the leading error of the grid from the indices of a solution of this problem.
///
/// Indices stay as they are where the theory does not apply: media with elements beside the diagonal (also by an
/// angle), permeabilities, metals and perfect conductors, and modes that carry no power. Absorbers are left out
/// of the sums.
pub fn remove_grid_error(problem: &PlaneProblem, within: &WithinCells, solution: &mut PlaneSolution) {
    let applies = solution.character == MediumCharacter::Diagonal
        && problem.permeability.is_none()
        && problem.openings.is_none()
        && !problem.permittivity.0.iter().flatten().any(|value| value.norm() >= CONDUCTOR)
        && within.quarters.iter().flatten().all(|value| value.re > 1.0 - EQUAL && value.is_finite());
    if !applies {
        return;
    }
    let jacobians = Jacobians::of(problem);
    for mode in &mut solution.modes {
        if let Some(change) = change_of_square(problem, within, &jacobians, mode) {
            let square = mode.index * mode.index;
            let change = if mode.index.im == 0.0 { C::from(change.re) } else { change };
            if change.norm() <= LARGEST_CHANGE * square.norm() {
                let better = (square + change).sqrt();
                mode.index = if (better / mode.index).re < 0.0 { -better } else { better };
            }
        }
    }
    solution.modes.sort_by(|one, other| other.index.re.total_cmp(&one.index.re));
}

/// E or H along one of the three axes.
#[derive(Clone, Copy)]
struct Component {
    field: Field,
    axis: usize,
}

impl Component {
    fn all() -> impl Iterator<Item = Self> {
        [Field::Electric, Field::Magnetic]
            .into_iter()
            .flat_map(|field| (0..3).map(move |axis| Self { field, axis }))
    }

    /// Whether it lies at the middle of cells along an axis of the plane, not on grid lines.
    fn is_centred(self, axis: usize) -> bool {
        (self.axis == axis) == (self.field == Field::Electric)
    }

    /// Sign of its square in the perturbation.
    fn sign(self) -> f64 {
        match (self.field, self.axis) {
            (Field::Electric, 2) | (Field::Magnetic, 2) => -1.0,
            _ => 1.0,
        }
    }
}

/// The change of the squared index by the deviations.
fn change_of_square(
    problem: &PlaneProblem,
    within: &WithinCells,
    jacobians: &Jacobians,
    mode: &PlaneMode,
) -> Option<C> {
    let shape = problem.shape();
    let lines = [0, 1].map(|axis| [false, true].map(|centred| Reach::of(&problem.boundaries[axis], centred)));
    let kept = [0, 1].map(|axis| inside(problem, axis));
    let impedance = vacuum_impedance();
    let (mut change, mut flux, mut bound) = (C::default(), C::default(), 0.0);
    for component in Component::all() {
        let reach = [0, 1].map(|axis| &lines[axis][usize::from(component.is_centred(axis))]);
        let centred = [0, 1].map(|axis| component.is_centred(axis));
        let area = |cell: usize| area(problem, &lines, centred, cell);
        let values: Vec<C> = match component.field {
            Field::Electric => mode.e[component.axis].clone(),
            Field::Magnetic => mode.h[component.axis].iter().map(|value| value * impedance).collect(),
        };
        let mut deviation = vec![C::default(); values.len()];
        for axis in [0, 1] {
            if shape[axis] > 1 {
                add_deviation(problem, within, component, axis, reach[axis], &values, &mut deviation);
            }
        }
        for (cell, (&value, deviation)) in values.iter().zip(deviation).enumerate() {
            if !(kept[0].contains(&(cell / shape[1])) && kept[1].contains(&(cell % shape[1]))) {
                continue;
            }
            let mut factor = component.sign();
            if !jacobians.are_identity() {
                // Along the normal fields are stretched, and so are the media.
                let stretch = jacobians.at(component.field, cell)[8];
                factor /= stretch;
            }
            change += value * deviation * (factor * area(cell));
            bound += value.norm_sqr() * area(cell);
        }
        if component.field == Field::Electric && component.axis < 2 {
            let across = &mode.h[1 - component.axis];
            let sign = if component.axis == 0 { impedance } else { -impedance };
            flux +=
                (0..values.len()).map(|cell| values[cell] * across[cell] * (sign * area(cell))).sum::<C>();
        }
    }
    if let Some(crossings) = &within.crossings {
        let area = |cell: usize| area(problem, &lines, [false; 2], cell);
        for (cell, term) in slanting(problem, crossings, mode) {
            if kept[0].contains(&(cell / shape[1])) && kept[1].contains(&(cell % shape[1])) {
                let stretch =
                    if jacobians.are_identity() { 1.0 } else { jacobians.at(Field::Electric, cell)[8] };
                change += term * (area(cell) / stretch);
            }
        }
    }
    let flux = if problem.direction == Direction::Backward { -flux } else { flux };
    (flux.norm() > SMALLEST_FLUX * bound).then(|| mode.index * change / flux)
}

/// The area of a location's cell; half of that of a location on a mirror belongs to the plane.
fn area(problem: &PlaneProblem, lines: &[[Reach; 2]; 2], centred: [bool; 2], cell: usize) -> f64 {
    let columns = problem.shape()[1];
    let places = [cell / columns, cell % columns];
    let size = |axis: usize| {
        let is_halved = places[axis] == 0 && problem.symmetry[axis] == Symmetry::Magnetic && !centred[axis];
        lines[axis][usize::from(centred[axis])].size(places[axis]) * if is_halved { 0.5 } else { 1.0 }
    };
    size(0) * size(1)
}

/// The cells of crossings that an interface cuts aslant, and `Fᵀ δτ F` there.
fn slanting(
    problem: &PlaneProblem,
    [xx, xy, yy]: &[Vec<C>; 3],
    mode: &PlaneMode,
) -> impl Iterator<Item = (usize, C)> {
    let shape = problem.shape();
    let at_crossing = move |axis: usize, cell: usize| {
        let (index, stride) = if axis == 0 { (cell / shape[1], shape[1]) } else { (cell % shape[1], 1) };
        let values = |cell: usize| {
            let electric = mode.e[axis][cell];
            [electric, electric * problem.permittivity.0[4 * axis][cell]]
        };
        if index == 0 {
            return values(cell);
        }
        let lines = &problem.boundaries[axis];
        let [below, above] = [lines[index] - lines[index - 1], lines[index + 1] - lines[index]];
        let (before, after) = (values(cell - stride), values(cell));
        [0, 1].map(|kind| (before[kind] * above + after[kind] * below) / (below + above))
    };
    (0..xx.len()).filter(|&cell| xy[cell].norm() > EQUAL * xx[cell].norm()).map(move |cell| {
        let [[ex, dx], [ey, dy]] = [at_crossing(0, cell), at_crossing(1, cell)];
        // Across the interface the permittivity is the smallest.
        let angle = 0.5 * (2.0 * xy[cell].re).atan2((xx[cell] - yy[cell]).re) + FRAC_PI_2;
        let (y, x) = angle.sin_cos();
        let (along, across) = (ey * x - ex * y, dx * x + dy * y);
        let tau = |xx: C, xy: C, yy: C| {
            let normal = xx * (x * x) + xy * (2.0 * x * y) + yy * (y * y);
            let mixed = (yy - xx) * (x * y) + xy * (x * x - y * y);
            let tangential = xx * (y * y) - xy * (2.0 * x * y) + yy * (x * x);
            [tangential - mixed * mixed / normal, mixed / normal, -normal.inv()]
        };
        let determinant = xx[cell] * yy[cell] - xy[cell] * xy[cell];
        let whole = tau(xx[cell], xy[cell], yy[cell]);
        let used = tau(determinant / yy[cell], C::default(), determinant / xx[cell]);
        let [a, b, c] = [0, 1, 2].map(|entry| whole[entry] - used[entry]);
        (cell, a * along * along + b * along * across * 2.0 + c * across * across)
    })
}

/// The rows or columns outside of absorbers.
fn inside(problem: &PlaneProblem, axis: usize) -> std::ops::Range<usize> {
    let (count, depth) = (problem.shape()[axis], problem.num_pml[axis]);
    let begin = if problem.symmetry[axis] == Symmetry::None { depth } else { 0 };
    begin..count.saturating_sub(depth).max(begin)
}

/// Adds what the deviations along one axis contribute to D or B.
fn add_deviation(
    problem: &PlaneProblem,
    within: &WithinCells,
    component: Component,
    axis: usize,
    reach: &Reach,
    values: &[C],
    deviation: &mut [C],
) {
    let shape = problem.shape();
    let other = 1 - axis;
    let is_along = component.axis == axis;
    let electric = component.field == Field::Electric;
    // Deviations of H need to know only where interfaces are.
    let fine = &within.quarters[if electric { component.axis } else { 2 }];
    let coarse = &problem.permittivity.0[4 * component.axis];
    let weight = match (component.field, is_along) {
        (Field::Magnetic, _) => Weight::One,
        (Field::Electric, false) => Weight::Permittivity,
        (Field::Electric, true) => Weight::Reciprocal,
    };
    let cell = |along: usize, across: usize| {
        if axis == 0 { along * shape[1] + across } else { across * shape[1] + along }
    };
    let mut halves = vec![C::default(); 2 * shape[axis]];
    let mut line = vec![C::default(); shape[axis]];
    for across in 0..shape[other] {
        let pair = neighbours(across, component.is_centred(other));
        for (half, value) in halves.iter_mut().enumerate() {
            let place = neighbours_of_half(half, component.is_centred(axis));
            *value = pair
                .map(|side| {
                    let [row, column] = if axis == 0 { [place, side] } else { [side, place] };
                    fine[row * 2 * shape[1] + column]
                })
                .iter()
                .sum::<C>()
                / 2.0;
        }
        for (along, value) in line.iter_mut().enumerate() {
            let cell = cell(along, across);
            // Across an interface D is continuous, not E.
            *value = if electric && is_along { values[cell] * coarse[cell] } else { values[cell] };
        }
        for (along, mean) in deviations(&line, &halves, reach, weight).into_iter().enumerate() {
            let cell = cell(along, across);
            deviation[cell] += match (is_along, electric) {
                (false, _) => mean,
                (true, true) => -coarse[cell] * mean,
                (true, false) => -mean,
            };
        }
    }
}

/// The two quarters beside a location along an axis.
fn neighbours(index: usize, centred: bool) -> [usize; 2] {
    [0, 1].map(|side| neighbours_of_half(2 * index + side, centred))
}

/// The quarter that is the given half of the cells around locations; beyond the first grid line its mirror image.
fn neighbours_of_half(half: usize, centred: bool) -> usize {
    if centred { half } else { half.saturating_sub(1) }
}

/// How far the cells of locations reach to both sides, in micrometres.
struct Reach {
    sides: Vec<[f64; 2]>,
}

impl Reach {
    fn of(boundaries: &[f64], centred: bool) -> Self {
        let halves: Vec<f64> = boundaries.windows(2).map(|pair| (pair[1] - pair[0]) / 2.0).collect();
        let side = |index: usize| {
            if centred { [halves[index]; 2] } else { [halves[index.saturating_sub(1)], halves[index]] }
        };
        Self { sides: (0..halves.len()).map(side).collect() }
    }

    fn size(&self, index: usize) -> f64 {
        self.sides[index][0] + self.sides[index][1]
    }
}

/// What a field is multiplied by in the mean.
#[derive(Clone, Copy)]
enum Weight {
    One,
    Permittivity,
    Reciprocal,
}

impl Weight {
    fn of(self, permittivity: C) -> C {
        match self {
            Self::One => C::new(1.0, 0.0),
            Self::Permittivity => permittivity,
            Self::Reciprocal => permittivity.inv(),
        }
    }
}

/// The part of the first of two media in a half cell, whose plain mean is `mixed`.
fn share(mixed: C, [first, second]: [C; 2]) -> f64 {
    ((mixed - second) / (first - second)).re
}

/// For each location on a line, the mean of weight times field over its cell less what the field at the location gives.
fn deviations(field: &[C], halves: &[C], reach: &Reach, weight: Weight) -> Vec<C> {
    let upper = Profile::new(field.to_vec(), halves.to_vec(), reach.sides.clone()).upper_halves(weight);
    let reversed = |values: &[C]| values.iter().rev().copied().collect::<Vec<C>>();
    let sides = reach.sides.iter().rev().map(|[low, high]| [*high, *low]).collect();
    let lower = Profile::new(reversed(field), reversed(halves), sides).upper_halves(weight);
    let count = field.len();
    (0..count).map(|index| (upper[index] + lower[count - 1 - index]) / reach.size(index)).collect()
}

/// A field along a line and the permittivity of the halves of its cells.
struct Profile {
    field: Vec<C>,
    halves: Vec<C>,
    sides: Vec<[f64; 2]>,
    /// Between each half and the next: whether no interface lies there.
    is_gradual: Vec<bool>,
    /// From each location to the next: distance and slope.
    slopes: Vec<(f64, C)>,
    /// At locations without interfaces up to both neighbours.
    curvatures: Vec<Option<C>>,
}

impl Profile {
    fn new(field: Vec<C>, halves: Vec<C>, sides: Vec<[f64; 2]>) -> Self {
        let steps: Vec<f64> = halves.windows(2).map(|pair| (pair[1] - pair[0]).norm()).collect();
        let is_gradual: Vec<bool> = (0..steps.len())
            .map(|place| {
                let beside = |other: Option<usize>| other.and_then(|other| steps.get(other)).copied();
                let [before, after] =
                    [beside(place.checked_sub(1)), beside(Some(place + 1))].map(|step| step.unwrap_or(0.0));
                steps[place] <= SLIGHT * halves[place].norm() || steps[place] <= GRADUAL * before.min(after)
            })
            .collect();
        let slopes: Vec<(f64, C)> = (1..field.len())
            .map(|next| {
                let distance = sides[next - 1][1] + sides[next][0];
                (distance, (field[next] - field[next - 1]) / distance)
            })
            .collect();
        let curvatures = (0..field.len())
            .map(|index| {
                let is_inner = index > 0 && index + 1 < field.len();
                let is_free = is_inner && is_gradual[2 * index - 1..=2 * index + 1].iter().all(|free| *free);
                is_free.then(|| {
                    let ((before, left), (after, right)) = (slopes[index - 1], slopes[index]);
                    (right - left) * (2.0 / (before + after))
                })
            })
            .collect();
        Self { field, halves, sides, is_gradual, slopes, curvatures }
    }

    /// Slope at a location and curvature as the side of the next (`upper`) or the last location has them; `None` if an
    /// interface lies between.
    fn expansion(&self, index: usize, upper: bool) -> Option<(C, C)> {
        let neighbour = if upper { index + 1 } else { index.checked_sub(1)? };
        let interval = index.min(neighbour);
        if neighbour >= self.field.len() || !self.is_gradual[2 * interval + 1] {
            return None;
        }
        let (distance, slope) = self.slopes[interval];
        let curvature = match (self.curvatures[index], self.curvatures[neighbour]) {
            (Some(own), Some(other)) => (own + other) / 2.0,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => C::default(),
        };
        let half = if upper { -distance / 2.0 } else { distance / 2.0 };
        Some((slope + curvature * half, curvature))
    }

    /// The integrals of weight times (field less its value at the location) over the upper halves of all cells.
    fn upper_halves(&self, weight: Weight) -> Vec<C> {
        (0..self.field.len()).map(|index| self.upper_half(index, weight)).collect()
    }

    fn upper_half(&self, index: usize, weight: Weight) -> C {
        let [lower, upper] = [self.halves[2 * index], self.halves[2 * index + 1]];
        let depth = self.sides[index][1];
        let integral = |(slope, curvature): (C, C)| {
            slope * (depth * depth / 2.0) + curvature * (depth * depth * depth / 6.0)
        };
        let is_inner_gradual = self.is_gradual[2 * index];
        if let Some(expansion) = self.expansion(index, true) {
            let mut sum = weight.of(upper) * integral(expansion);
            if is_inner_gradual {
                // What a medium that changes gradually does beyond its means over halves.
                sum += (weight.of(upper) - weight.of(lower)) * expansion.0 * (depth * depth / 12.0);
                if self.curvatures[index].is_some() {
                    let around = &self.halves[2 * index - 1..=2 * index + 2];
                    let [a, b, c, d] = [0, 1, 2, 3].map(|half| weight.of(around[half]));
                    sum += self.field[index] * (d - c - b + a) * (depth / 12.0);
                }
            }
            return sum;
        }
        if is_inner_gradual {
            // The next interface lies beyond the cell: the field goes on as it comes.
            return self
                .expansion(index, false)
                .map_or_else(C::default, |it| weight.of(upper) * integral(it));
        }
        let Some(&(_, secant)) = self.slopes.get(index) else { return C::default() };
        // The interface lies in this half.
        let media = [lower, self.halves[2 * index + 2]];
        let share = share(upper, media);
        if !(share > 0.0 && share < 1.0) {
            return weight.of(upper) * secant * (depth * depth / 2.0);
        }
        let beyond = match self.slopes.get(index + 1) {
            Some(&(_, slope)) if self.is_gradual[2 * index + 3] => slope,
            _ => secant,
        };
        let before = self.expansion(index, false).map_or(beyond, |(slope, _)| slope);
        let (near, far) = (share * depth, (1.0 - share) * depth);
        weight.of(media[0]) * before * (near * near / 2.0)
            + weight.of(media[1]) * (before * (near * far) + beyond * (far * far / 2.0))
    }
}
