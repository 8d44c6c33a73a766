//! Fields on unstructured meshes, brought to rectangular grids as tidy3d does.
//!
//! Linear: within the cell that holds the grid's point, by the weights of its corners. A point that misses a cell by a
//! millionth of its height counts as within. Outside of all cells it is the fill value, or what the nearest of the
//! mesh's points has. Nearest: what the nearest of the mesh's points has, wherever. A mesh of triangles is taken as
//! the same along its normal.
//!
//! Two differences are wanted. What tidy3d cuts off beyond a monitor in a symmetric simulation is cut in single precision by
//! VTK, and here in double; where two planes cut, which points are nearest outside of it depends on how that divides cells.
//! And in planes across x or y, tidy3d misses points on the very edge of the mesh, because it takes
//! the tolerance along another axis than the one it looks along. Here they are on the mesh.

mod cut;
mod edit;
mod mirror;
mod nearest;

use num_complex::Complex;
use rayon::prelude::*;
use wavetask_document::expression::{ExpressionError, InterpolationMethod, MeshKind, MeshType};
use wavetask_document::{Array, Values};
use wavetask_grid::mesh::{Facets, Locator, NONE, SimplexMesh};

pub use self::edit::WithMeshes;
pub(crate) use self::edit::geometry_of;
use self::nearest::NearestPoints;
use crate::{Numbers, Reader};

/// How far below zero the weight of a corner may be.
const WEIGHT_TOLERANCE: f64 = 1e-6;

/// How far from a cell a point may be that counts as within, in parts of the mesh's size.
const DISTANCE_TOLERANCE: f64 = 1e-6;

/// Points and cells of a mesh.
#[derive(Clone, Debug)]
pub struct MeshGeometry {
    points: Vec<[f64; 3]>,
    /// The points of each cell; triangles have [`NONE`] as their fourth.
    cells: Vec<[u32; 4]>,
    kind: MeshKind,
}

impl MeshGeometry {
    /// A mesh from the arrays in which tidy3d stores it: positions (µm), an array of points by 2 (in the plane of
    /// triangles) or 3, and the points of each cell, an array of cells by 3 or 4.
    ///
    /// # Errors
    /// `Invalid` if the arrays are of other shapes, a position is not finite, or a cell has a point that is not there.
    pub fn new(kind: MeshKind, points: &Array, cells: &Array) -> Result<Self, ExpressionError> {
        let refuse = |what: &str| Err(ExpressionError::invalid("mesh", what));
        let (dimensions, corners) = match kind {
            MeshKind::Triangular { normal_axis: 0..3, normal_position } if normal_position.is_finite() => {
                (2, 3)
            }
            MeshKind::Triangular { .. } => return refuse("the normal is not an axis, or nowhere"),
            MeshKind::Tetrahedral => (3, 4),
        };
        let (&[point_count, point_width], &[_, cell_width]) = (points.shape(), cells.shape()) else {
            return refuse("points and cells are arrays of two dimensions");
        };
        if (point_width, cell_width) != (dimensions, corners) {
            return refuse("points or cells have the wrong number of components");
        }
        if u32::try_from(point_count).is_err() {
            return refuse("there are too many points to number");
        }
        let (Some(positions), Some(numbers)) = (points.to_floats(), cells.to_floats()) else {
            return refuse("points or cells are not numbers");
        };
        if !positions.iter().all(|position| position.is_finite()) {
            return refuse("a position is not finite");
        }
        if !numbers.iter().all(|&number| number >= 0.0 && number < point_count as f64) {
            return refuse("a cell has a point that is not there");
        }
        let position = |components: &[f64]| match (kind, components) {
            (MeshKind::Triangular { normal_axis, normal_position }, &[a, b]) => match normal_axis {
                0 => [normal_position, a, b],
                1 => [a, normal_position, b],
                _ => [a, b, normal_position],
            },
            _ => std::array::from_fn(|axis| components[axis]),
        };
        let cell = |numbers: &[f64]| {
            // Below the number of points, which fits.
            let number = |corner: usize| numbers.get(corner).map_or(NONE, |&number| number as u32);
            std::array::from_fn(number)
        };
        Ok(Self {
            points: positions.chunks_exact(dimensions).map(position).collect(),
            cells: numbers.chunks_exact(corners).map(cell).collect(),
            kind,
        })
    }

    /// The mesh of a field, with all that was made of it.
    ///
    /// # Errors
    /// `Field` if the mesh cannot be read.
    pub fn edited_as(reader: &dyn Reader, mesh: &MeshType) -> Result<Self, ExpressionError> {
        geometry_of(reader, mesh)
    }

    /// Its kind, and the arrays in which tidy3d stores it.
    pub fn into_arrays(self) -> (MeshKind, Array, Array) {
        let dimensions: &[usize] = match self.kind {
            MeshKind::Triangular { normal_axis: 0, .. } => &[1, 2],
            MeshKind::Triangular { normal_axis: 1, .. } => &[0, 2],
            MeshKind::Triangular { .. } => &[0, 1],
            MeshKind::Tetrahedral => &[0, 1, 2],
        };
        let positions = self.points.iter().flat_map(|point| dimensions.iter().map(|&axis| point[axis]));
        let corners = self.cells.iter().flat_map(|cell| cell[..=dimensions.len()].iter().copied());
        let points = table(dimensions.len(), Values::Float64(positions.collect()));
        let cells = table(dimensions.len() + 1, Values::Int64(corners.map(i64::from).collect()));
        (self.kind, points, cells)
    }

    /// Number of points.
    pub(crate) const fn point_count(&self) -> usize {
        self.points.len()
    }

    /// The mesh without cells of no measure, ready to be searched.
    fn searchable(&self) -> SimplexMesh {
        let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        for point in &self.points {
            for ([low, high], &at) in bounds.iter_mut().zip(point) {
                (*low, *high) = (low.min(at), high.max(at));
            }
        }
        let normal = match self.kind {
            MeshKind::Triangular { normal_axis, normal_position } => Some((normal_axis, normal_position)),
            MeshKind::Tetrahedral => None,
        };
        let (points, interfaces) = (self.points.clone(), Facets::default());
        let cells = self.cells.clone();
        let mut mesh = SimplexMesh { points, cells, regions: Vec::new(), normal, bounds, interfaces };
        let solid: Vec<[u32; 4]> = (0..mesh.cells.len())
            .filter(|&cell| mesh.cell_measure(cell) != 0.0)
            .map(|cell| mesh.cells[cell])
            .collect();
        mesh.regions = vec![0; solid.len()];
        mesh.cells = solid;
        mesh
    }
}

/// An array of rows of this width.
fn table(width: usize, values: Values) -> Array {
    let count = values.len();
    Array::new(vec![count / width, width], values)
        .unwrap_or_else(|_| unreachable!("{count} in rows of {width}"))
}

/// Where a grid's point gets its value from.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Corners of a cell with their weights, and the nearest point for where these have no value.
    Cell([u32; 4], [f64; 4], [f64; 3]),
    /// A point of the mesh.
    Point(u32),
    /// Outside of the mesh.
    Outside,
}

/// Where values are wanted, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling<'a> {
    /// Coordinates along x, y and z.
    pub(crate) grid: &'a [Vec<f64>; 3],
    /// Linear or nearest.
    pub(crate) method: InterpolationMethod,
    /// What lies outside; without it what the nearest point has.
    pub(crate) fill: Option<f64>,
}

/// Values at a mesh's points on a rectangular grid. Of each point there are `width` values beside one another.
pub(crate) fn resample(
    geometry: &MeshGeometry,
    values: &Numbers,
    width: usize,
    sampling: Sampling<'_>,
) -> Numbers {
    let mut grid = sampling.grid.clone();
    let mut strides = crate::arrange::strides(&grid.each_ref().map(Vec::len));
    if let MeshKind::Triangular { normal_axis, normal_position } = geometry.kind {
        grid[normal_axis] = vec![normal_position];
        strides = crate::arrange::strides(&grid.each_ref().map(Vec::len));
        strides[normal_axis] = 0;
    }
    let nearest = NearestPoints::new(&geometry.points);
    let places = places(geometry, &grid, sampling, &nearest);
    let shape = sampling.grid.each_ref().map(Vec::len);
    match values {
        Numbers::Real(values) => {
            let at = |place: Place, field: usize| value(values, width, place, field, sampling.fill, &nearest);
            Numbers::Real(spread(&places, &strides, &shape, width, at))
        }
        Numbers::Complex(values) => {
            let at = |place: Place, field: usize| value(values, width, place, field, sampling.fill, &nearest);
            Numbers::Complex(spread(&places, &strides, &shape, width, at))
        }
    }
}

/// Where each point of a grid gets its value from.
fn places(
    geometry: &MeshGeometry,
    grid: &[Vec<f64>; 3],
    sampling: Sampling<'_>,
    nearest: &NearestPoints<'_>,
) -> Vec<Place> {
    let [_, rows, columns] = grid.each_ref().map(Vec::len);
    let count = grid.iter().map(Vec::len).product::<usize>();
    let position = |place: usize| {
        [grid[0][place / (rows * columns)], grid[1][place / columns % rows], grid[2][place % columns]]
    };
    let point = |position| nearest.find(position).map_or(Place::Outside, Place::Point);
    if sampling.method == InterpolationMethod::Nearest {
        return (0..count).into_par_iter().map(|place| point(position(place))).collect();
    }
    let mesh = geometry.searchable();
    let locator = Locator::new(&mesh);
    let size = mesh.bounds.iter().map(|[low, high]| (high - low).powi(2)).sum::<f64>().sqrt();
    let cell = |position| {
        let found = locator.nearest(position, DISTANCE_TOLERANCE * size)?;
        let weights = locator.weights(found.cell, position);
        let within =
            weights.iter().all(|weight| (-WEIGHT_TOLERANCE..=1.0 + WEIGHT_TOLERANCE).contains(weight));
        within.then(|| Place::Cell(mesh.cells[found.cell], weights, position))
    };
    let each = |place: usize| {
        let position = position(place);
        cell(position)
            .unwrap_or_else(|| if sampling.fill.is_some() { Place::Outside } else { point(position) })
    };
    (0..count).into_par_iter().map(each).collect()
}

/// What is at a place.
fn value<T>(
    values: &[T],
    width: usize,
    place: Place,
    field: usize,
    fill: Option<f64>,
    nearest: &NearestPoints<'_>,
) -> T
where
    T: Element,
{
    let at = |point: u32| values[point as usize * width + field];
    match place {
        Place::Outside => T::from_real(fill.unwrap_or(f64::NAN)),
        Place::Point(point) => at(point),
        Place::Cell(corners, weights, position) => {
            let corners = corners.iter().zip(weights).filter(|(corner, _)| **corner != NONE);
            let sum = corners.fold(T::from_real(0.0), |sum, (&corner, weight)| sum.plus(at(corner), weight));
            if sum.is_missing() && fill.is_none() { nearest.find(position).map_or(sum, at) } else { sum }
        }
    }
}

/// The values of a grid's points, of which some share a place.
fn spread<T: Send>(
    places: &[Place],
    strides: &[usize],
    shape: &[usize; 3],
    width: usize,
    at: impl Fn(Place, usize) -> T + Sync,
) -> Vec<T> {
    let [_, rows, columns] = *shape;
    let count = shape.iter().product::<usize>() * width;
    let each = |element: usize| {
        let (point, field) = (element / width, element % width);
        let place = point / (rows * columns) * strides[0]
            + point / columns % rows * strides[1]
            + point % columns * strides[2];
        at(places[place], field)
    };
    (0..count).into_par_iter().map(each).collect()
}

/// What weights make sums of.
trait Element: Copy + Send + Sync {
    fn from_real(value: f64) -> Self;
    fn plus(self, value: Self, weight: f64) -> Self;
    fn is_missing(self) -> bool;
}

impl Element for f64 {
    fn from_real(value: f64) -> Self {
        value
    }

    fn plus(self, value: Self, weight: f64) -> Self {
        self + value * weight
    }

    fn is_missing(self) -> bool {
        self.is_nan()
    }
}

impl Element for Complex<f64> {
    fn from_real(value: f64) -> Self {
        Self::new(value, 0.0)
    }

    fn plus(self, value: Self, weight: f64) -> Self {
        self + value * weight
    }

    fn is_missing(self) -> bool {
        self.is_nan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mesh_is_refused() {
        let array = |shape: &[usize], values: &[f64]| {
            Array::new(shape.to_vec(), Values::Float64(values.to_vec())).expect("as many as the shape says")
        };
        let corners = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let (points, cells) = (array(&[3, 2], &corners), array(&[1, 3], &[0.0, 1.0, 2.0]));
        let plane = |normal_axis, normal_position| MeshKind::Triangular { normal_axis, normal_position };
        let refusal = |kind, points: &Array, cells: &Array| match MeshGeometry::new(kind, points, cells) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(refusal(plane(1, 0.5), &points, &cells), "");
        let mut elsewhere = corners;
        elsewhere[3] = f64::NAN;
        let cases = [
            (plane(3, 0.0), points.clone(), cells.clone(), "normal"),
            (plane(1, f64::INFINITY), points.clone(), cells.clone(), "normal"),
            (MeshKind::Tetrahedral, points.clone(), cells.clone(), "components"),
            (plane(1, 0.0), points.clone(), array(&[1, 2], &[0.0, 1.0]), "components"),
            (plane(1, 0.0), array(&[6], &corners), cells.clone(), "two dimensions"),
            (plane(1, 0.0), array(&[3, 2], &elsewhere), cells, "finite"),
            (plane(1, 0.0), points.clone(), array(&[1, 3], &[0.0, 1.0, 3.0]), "not there"),
            (plane(1, 0.0), points.clone(), array(&[1, 3], &[0.0, 1.0, -1.0]), "not there"),
            (plane(1, 0.0), points, array(&[1, 3], &[0.0, 1.0, f64::NAN]), "not there"),
        ];
        for (kind, points, cells, what) in cases {
            let refusal = refusal(kind, &points, &cells);
            assert!(refusal.contains(what), "{what}: {refusal}");
        }
    }
}
