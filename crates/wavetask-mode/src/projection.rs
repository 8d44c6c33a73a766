//! From stored fields to fields at other points of the plane: mirrored, interpolated, weighted.
//!
//! Mirroring and linear interpolation act on each tangential axis by itself and are linear, so both together are, per
//! component and axis, a short list of at most two stored values and their weights for each point. One type serves for
//! interpolating fields to cell corners, and for the fields that integrals need.

use num_complex::Complex64;
use wavetask_grid::boundaries::middles;

use crate::document::{ModeTask, PlaneBox};
use crate::fields::ModeFields;
use crate::layout::{Boundaries, Layout, Span, component_coordinates};

/// At most two stored values and their weights.
type Taps = [(usize, f64); 2];

/// How values at the points of one axis follow from stored ones.
#[derive(Clone, Debug, PartialEq)]
struct AxisOperator {
    taps: Vec<Taps>,
    /// Whether it leaves everything as it is.
    is_identity: bool,
}

impl AxisOperator {
    fn identity(length: usize) -> Self {
        Self { taps: (0..length).map(|index| [(index, 1.0), (index, 0.0)]).collect(), is_identity: true }
    }

    /// Values on both sides of a mirror at `center`, from those on its upper side; those below are times `sign`.
    fn mirror(stored: &[f64], points: &[f64], center: f64, sign: f64) -> Self {
        let taps = points
            .iter()
            .map(|&point| {
                let flipped = point < center;
                let place = if flipped { 2.0 * center - point } else { point };
                let index = nearest(stored, place);
                [(index, if flipped { sign } else { 1.0 }), (index, 0.0)]
            })
            .collect();
        Self { taps, is_identity: false }
    }

    /// Linear interpolation that uses values within bounds only: beyond the last of them values are constant up to the
    /// bounds, and zero outside.
    fn interpolate(stored: &[f64], points: &[f64], span: Span) -> Self {
        let [low, high] = span.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        let first = stored.partition_point(|&coordinate| coordinate < low).min(stored.len() - 1);
        let last = stored.partition_point(|&coordinate| coordinate <= high).max(first + 1) - 1;
        let taps = points
            .iter()
            .map(|&point| {
                if point < low || point > high {
                    return [(0, 0.0), (0, 0.0)];
                }
                let place = point.clamp(stored[first], stored[last]);
                let after = first + stored[first..=last].partition_point(|&coordinate| coordinate <= place);
                if after > last {
                    return [(last, 1.0), (last, 0.0)];
                }
                let before = after - 1;
                let share = (place - stored[before]) / (stored[after] - stored[before]);
                [(before, 1.0 - share), (after, share)]
            })
            .collect();
        Self { taps, is_identity: false }
    }

    /// Linear interpolation that goes on with the last slope beyond the ends.
    fn extrapolate(stored: &[f64], points: &[f64]) -> Self {
        let taps = points
            .iter()
            .map(|&point| {
                if stored.len() == 1 {
                    return [(0, 1.0), (0, 0.0)];
                }
                let after =
                    stored.partition_point(|&coordinate| coordinate <= point).clamp(1, stored.len() - 1);
                let before = after - 1;
                let share = (point - stored[before]) / (stored[after] - stored[before]);
                [(before, 1.0 - share), (after, share)]
            })
            .collect();
        Self { taps, is_identity: false }
    }

    /// This operator after another that has one tap per point.
    fn after(&self, first: &Self) -> Self {
        if first.is_identity {
            return self.clone();
        }
        let taps = self
            .taps
            .iter()
            .map(|taps| {
                taps.map(|(index, weight)| {
                    let (source, sign) = first.taps[index][0];
                    (source, sign * weight)
                })
            })
            .collect();
        Self { taps, is_identity: false }
    }
}

fn nearest(sorted: &[f64], place: f64) -> usize {
    let after = sorted.partition_point(|&coordinate| coordinate < place);
    if after == 0 {
        0
    } else if after == sorted.len() || place - sorted[after - 1] <= sorted[after] - place {
        after - 1
    } else {
        after
    }
}

/// A change of points for all six components.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    operators: [[AxisOperator; 2]; 6],
    /// Factor from mirroring along the normal.
    signs: [f64; 6],
    /// Stored values along the second tangential axis, of each component.
    strides: [usize; 6],
}

impl Projection {
    /// One component at the new points.
    pub(crate) fn apply(&self, fields: &ModeFields, component: usize) -> Vec<Complex64> {
        let values = &fields.components[component];
        let [along, across] = &self.operators[component];
        let sign = self.signs[component];
        if along.is_identity && across.is_identity {
            return values.iter().map(|value| value * sign).collect();
        }
        at_points(values, self.strides[component], [along, across], sign)
    }

    /// All components at the new points.
    pub(crate) fn apply_all(&self, fields: &ModeFields) -> ModeFields {
        ModeFields { components: std::array::from_fn(|component| self.apply(fields, component)) }
    }
}

/// Values at new points along both axes, times a sign; `stride` values are stored along the second axis.
fn at_points(
    values: &[Complex64],
    stride: usize,
    [along, across]: [&AxisOperator; 2],
    sign: f64,
) -> Vec<Complex64> {
    let mut row = vec![Complex64::default(); stride];
    let mut projected = Vec::with_capacity(along.taps.len() * across.taps.len());
    for &[(first, first_weight), (second, second_weight)] in &along.taps {
        let first = &values[first * stride..(first + 1) * stride];
        let second = &values[second * stride..(second + 1) * stride];
        for ((value, a), b) in row.iter_mut().zip(first).zip(second) {
            *value = (a * first_weight + b * second_weight) * sign;
        }
        projected.extend(
            across.taps.iter().map(|&[(a, weight_a), (b, weight_b)]| row[a] * weight_a + row[b] * weight_b),
        );
    }
    projected
}

/// Values of one component at any points, inside or outside of where they are known.
#[derive(Clone, Debug)]
pub(crate) struct Continuation {
    operators: [AxisOperator; 2],
    /// Known values along the second axis.
    stride: usize,
}

impl Continuation {
    /// From the coordinates at which values are known, to those at which they are wanted.
    pub(crate) fn new(known: [&[f64]; 2], wanted: [&[f64]; 2]) -> Self {
        let operators = std::array::from_fn(|axis| AxisOperator::extrapolate(known[axis], wanted[axis]));
        Self { operators, stride: known[1].len() }
    }

    /// Points along the second axis.
    pub(crate) fn columns(&self) -> usize {
        self.operators[1].taps.len()
    }

    /// The values at the new points.
    pub(crate) fn apply(&self, values: &[Complex64]) -> Vec<Complex64> {
        at_points(values, self.stride, self.operators.each_ref(), 1.0)
    }
}

/// Where stored fields lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// On the Yee locations of the output grid.
    Staggered,
    /// At the corners between the plane's ends.
    Colocated,
}

/// Coordinates of a stored component along the three axes.
pub(crate) fn stored_coordinates(layout: &Layout, storage: Storage, component: usize) -> [Vec<f64>; 3] {
    let mut coordinates = component_coordinates(&layout.output, component);
    if storage == Storage::Colocated {
        for (axis, corners) in layout.tangential.into_iter().zip(layout.colocation()) {
            if let Some(corners) = corners {
                coordinates[axis] = corners;
            }
        }
    }
    coordinates
}

/// Coordinates of a component on the expanded grid, as the client mirrors it.
fn expanded_coordinates(layout: &Layout, storage: Storage, component: usize) -> [Vec<f64>; 3] {
    match storage {
        Storage::Staggered => component_coordinates(&layout.expanded, component),
        Storage::Colocated => std::array::from_fn(|axis| {
            let boundaries = &layout.expanded_colocated[axis];
            boundaries[..boundaries.len() - 1].to_vec()
        }),
    }
}

/// The sign that a component takes when it is mirrored along an axis, for symmetry +1.
fn parity(component: usize, axis: usize) -> f64 {
    let along = component % 3 == axis;
    if (component < 3) == along { -1.0 } else { 1.0 }
}

/// Points to which all components are interpolated along one tangential axis; `None` leaves them where they are.
type Targets = [Option<Vec<f64>>; 2];

fn projection(layout: &Layout, storage: Storage, targets: &Targets, spans: &[Span; 3]) -> Projection {
    let mut signs = [1.0; 6];
    let mut strides = [0; 6];
    let operators: [[AxisOperator; 2]; 6] = std::array::from_fn(|component| {
        let stored = stored_coordinates(layout, storage, component);
        let expanded = expanded_coordinates(layout, storage, component);
        strides[component] = stored[layout.tangential[1]].len();
        let symmetry = layout.symmetry[layout.normal];
        if symmetry != 0 && stored[layout.normal][0] < layout.center[layout.normal] {
            signs[component] = f64::from(symmetry) * parity(component, layout.normal);
        }
        std::array::from_fn(|index| {
            let axis = layout.tangential[index];
            let symmetry = layout.symmetry[axis];
            let mirrored = if symmetry == 0 {
                AxisOperator::identity(stored[axis].len())
            } else {
                let sign = f64::from(symmetry) * parity(component, axis);
                AxisOperator::mirror(&stored[axis], &expanded[axis], layout.center[axis], sign)
            };
            let from = if symmetry == 0 { &stored[axis] } else { &expanded[axis] };
            match &targets[index] {
                None => mirrored,
                Some(points) => AxisOperator::interpolate(from, points, spans[axis]).after(&mirrored),
            }
        })
    });
    Projection { operators, signs, strides }
}

/// Interpolates fields on the Yee locations to the corners, mirroring them as needed.
pub(crate) fn colocation(layout: &Layout, plane: &PlaneBox) -> Projection {
    let spans = layout.meaningful_bounds(plane, false);
    projection(layout, Storage::Staggered, &layout.colocation(), &spans)
}

/// The whole plane at its corners, with the area around each: for integrals of intensities.
#[derive(Clone, Debug)]
pub(crate) struct CornerSurface {
    pub(crate) projection: Projection,
    /// Area of each corner, row-major.
    pub(crate) areas: Vec<f64>,
    /// Coordinates of the corners along the tangential axes.
    pub(crate) coordinates: [Vec<f64>; 2],
}

impl CornerSurface {
    pub(crate) fn new(task: &ModeTask, layout: &Layout, storage: Storage) -> Self {
        let bounds = task.plane.bounds();
        let coordinates = layout.tangential.map(|axis| corner_coordinates(layout, storage, axis));
        let targets = std::array::from_fn(|index: usize| {
            let corners: &Vec<f64> = &coordinates[index];
            (storage == Storage::Staggered && corners.len() > 1).then(|| corners.clone())
        });
        let spans = layout.meaningful_bounds(&task.plane, false);
        let projection = projection(layout, storage, &targets, &spans);
        let [along, across] =
            [0, 1].map(|index| corner_widths(&coordinates[index], bounds[layout.tangential[index]]));
        Self { projection, areas: product(&along, &across), coordinates }
    }
}

/// The tangential fields of overlaps, with the area that belongs to each product.
#[derive(Clone, Debug)]
pub(crate) struct OverlapSurface {
    pub(crate) projection: Projection,
    /// Areas for the product of the first electric and the second magnetic component, and the other way round.
    pub(crate) areas: [Vec<f64>; 2],
}

impl OverlapSurface {
    pub(crate) fn new(task: &ModeTask, layout: &Layout, storage: Storage) -> Self {
        if task.colocated_integration || storage == Storage::Colocated {
            let corners = CornerSurface::new(task, layout, storage);
            return Self { projection: corners.projection, areas: [corners.areas.clone(), corners.areas] };
        }
        let projection = projection(layout, storage, &[None, None], &[None; 3]);
        let [(cells, duals), (cells_across, duals_across)] =
            layout.tangential.map(|axis| cell_widths(&layout.expanded[axis]));
        Self { projection, areas: [product(&cells, &duals_across), product(&duals, &cells_across)] }
    }
}

/// The corners of the expanded grid at which integrals are taken.
fn corner_coordinates(layout: &Layout, storage: Storage, axis: usize) -> Vec<f64> {
    let expanded: &Boundaries = match storage {
        Storage::Staggered => &layout.expanded,
        Storage::Colocated => &layout.expanded_colocated,
    };
    let corners = &expanded[axis][..expanded[axis].len() - 1];
    // Fields on the Yee locations cannot be interpolated to the first corner.
    let first = usize::from(storage == Storage::Staggered && corners.len() > 1);
    corners[first..].to_vec()
}

/// Width around each corner: up to the middle between neighbours, and within bounds. One corner has a width of one, so
/// that integrals are per micrometre there.
fn corner_widths(corners: &[f64], bounds: [f64; 2]) -> Vec<f64> {
    if corners.len() <= 1 {
        return vec![1.0];
    }
    let mut edges = Vec::with_capacity(corners.len() + 1);
    edges.push(corners[0]);
    edges.extend(middles(corners));
    edges.push(corners[corners.len() - 1]);
    differences(edges.iter().map(|edge| edge.clamp(bounds[0], bounds[1])))
}

/// Widths of cells, and widths between the centres of cells, each as many as there are cells.
fn cell_widths(boundaries: &[f64]) -> (Vec<f64>, Vec<f64>) {
    if boundaries.len() == 2 {
        return (vec![1.0], vec![1.0]);
    }
    let cells = differences(boundaries.iter().copied());
    let duals = differences(std::iter::once(boundaries[0]).chain(middles(boundaries)));
    (cells, duals)
}

fn differences(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    values.clone().skip(1).zip(values).map(|(after, before)| after - before).collect()
}

fn product(along: &[f64], across: &[f64]) -> Vec<f64> {
    along.iter().flat_map(|a| across.iter().map(move |b| a * b)).collect()
}
