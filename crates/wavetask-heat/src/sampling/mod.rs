//! The data of monitors.
//!
//! With `unstructured`, a volume gives the tetrahedra inside it and a plane the triangles in it, cut out of the
//! solver's own cells. Lines and points, and monitors with `unstructured = False`, give values on a regular
//! grid between the corners of the monitor, as fine as the smallest cells asked for but limited in number.
//! On a regular grid every point needs a value: points in fluids get the temperature of the nearest solid, as
//! the client itself extrapolates, because values that are not numbers would spoil the materials that
//! `perturbed_mediums_copy` makes of them. A monitor that meets no solid has no data.
//!
//! In domains with symmetry the data covers the whole monitor: the mirrored part is filled in here, so that reading
//! it needs no further package at the client.

mod simplices;

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Map, Value, json};
use wavetask_document::{Array, VALUES_DATASET, Values};
use wavetask_grid::geometry::Bounds;
use wavetask_grid::mesh::{Facets, Locator, NONE, SimplexMesh};

use crate::contact::Unknowns;
use crate::error::SolveError;
use crate::model::{Monitor, Problem};
use simplices::Simplices;

/// Most values on a regular grid.
const MAXIMUM_VALUES: f64 = 4e6;

/// Most coordinates along one axis of a regular grid.
const MAXIMUM_COORDINATES: f64 = 2000.0;

/// A solution that monitors look at.
pub(crate) struct Field<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) mesh: &'a SimplexMesh,
    pub(crate) unknowns: &'a Unknowns,
    /// Values of the unknowns.
    pub(crate) values: &'a [f64],
    /// Spacing of regular grids in µm.
    pub(crate) spacing: f64,
}

/// Data of one monitor: JSON of the field and its arrays by their path below it.
type Data = (Value, Vec<(String, Array)>);

impl Field<'_> {
    /// The monitor's part of the field; `None` where it meets no solid. `locator` is asked for only if points have to
    /// be found.
    pub(crate) fn record<'l>(
        &self,
        monitor: &Monitor,
        locator: impl FnOnce() -> &'l Locator<'l>,
    ) -> Result<Option<Data>, SolveError> {
        let Some(part) = inside(self.problem, monitor) else { return Ok(None) };
        if is_on_cells(monitor, &part) {
            self.cells_in(&part).map(|cells| to_dataset(&cells)).transpose()
        } else {
            self.regular(&part, locator)
        }
    }

    /// The triangles or tetrahedra inside a monitor, for mesh monitors.
    pub(crate) fn record_mesh(&self, monitor: &Monitor) -> Result<Option<Data>, SolveError> {
        let Some(part) = inside(self.problem, monitor) else { return Ok(None) };
        self.cells_in(&part).map(|cells| to_dataset(&cells)).transpose()
    }

    /// Cells cut to a box or rectangle of the whole domain.
    fn cells_in(&self, part: &Bounds) -> Option<Simplices> {
        let problem = self.problem;
        let mut cells = Simplices::new(self.mesh, self.unknowns, self.values);
        let mirrored = |axis: usize| problem.symmetry[axis] && problem.size[axis] > 0.0;
        let thin = (0..3).find(|&axis| part[axis][0] == part[axis][1] && problem.size[axis] > 0.0);
        if let Some(axis) = thin {
            if self.mesh.normal.is_some() {
                return None;
            }
            let position = part[axis][0];
            let mirror = mirrored(axis) && position < problem.center[axis];
            let solved = if mirror { 2.0 * problem.center[axis] - position } else { position };
            cells = cells.slice(axis, solved);
            if mirror {
                cells = cells.mirror_image(axis, problem.center[axis]);
                cells.normal = Some((axis, position));
            }
        }
        for axis in (0..3).filter(|&axis| mirrored(axis) && Some(axis) != thin) {
            let center = problem.center[axis];
            let [low, high] = part[axis];
            if low < center && high > center {
                cells = cells.with_mirror_image(axis, center);
            } else if high <= center {
                cells = cells.mirror_image(axis, center);
            }
        }
        let domain = problem.bounds();
        for axis in (0..3).filter(|&axis| part[axis][0] < part[axis][1]) {
            if part[axis][0] > domain[axis][0] {
                cells = cells.clip(axis, part[axis][0], true);
            }
            if part[axis][1] < domain[axis][1] {
                cells = cells.clip(axis, part[axis][1], false);
            }
        }
        (!cells.cells.is_empty()).then_some(cells)
    }

    /// Values on a regular grid.
    fn regular<'l>(
        &self,
        part: &Bounds,
        locator: impl FnOnce() -> &'l Locator<'l>,
    ) -> Result<Option<Data>, SolveError> {
        let coordinates = regular_coordinates(part, self.spacing);
        let [nx, ny, nz] = coordinates.each_ref().map(Vec::len);
        let point = |index: usize| {
            let place = [index / (ny * nz), index / nz % ny, index % nz];
            self.mirrored_into_solved(std::array::from_fn(|axis| coordinates[axis][place[axis]]))
        };
        // A tree of all cells takes longer than the monitor if that is small, so first only near cells are searched.
        let near = self.cells_near(part);
        let mut values = vec![f64::NAN; nx * ny * nz];
        {
            let tree = Locator::new(&near.mesh);
            values.par_iter_mut().enumerate().for_each(|(index, value)| {
                if let Some(located) = tree.locate(point(index)) {
                    *value = self.value_in(near.numbers[located.cell], &located.weights);
                }
            });
        }
        let missing = values.iter().filter(|value| value.is_nan()).count();
        // A point on a curved surface may be just outside of the cells that follow the surface.
        if missing == values.len() && !(0..values.len()).any(|index| self.is_solid_at(point(index))) {
            return Ok(None);
        }
        if missing > 0 {
            let tree = locator();
            let extent = self.problem.size.iter().sum::<f64>();
            values.par_iter_mut().enumerate().filter(|(_, value)| value.is_nan()).for_each(
                |(index, value)| {
                    if let Some(located) = tree.nearest(point(index), extent) {
                        *value = self.value_in(located.cell, &located.weights);
                    }
                },
            );
        }
        let mut arrays = vec![(VALUES_DATASET.to_owned(), array(vec![nx, ny, nz], Values::Float64(values))?)];
        for (name, list) in ["x", "y", "z"].into_iter().zip(coordinates) {
            arrays.push((name.to_owned(), Array::from_floats(list)));
        }
        Ok(Some((Value::from("SpatialDataArray"), arrays)))
    }

    /// Whether a solid owns a point, whatever the mesh made of its surface.
    fn is_solid_at(&self, point: [f64; 3]) -> bool {
        self.problem.medium(self.problem.scene.owner(point)).is_solid()
    }

    /// The point of the solved part of the domain that a point mirrors.
    fn mirrored_into_solved(&self, mut point: [f64; 3]) -> [f64; 3] {
        for (axis, coordinate) in point.iter_mut().enumerate() {
            let center = self.problem.center[axis];
            if self.problem.symmetry[axis] && *coordinate < center {
                *coordinate = 2.0 * center - *coordinate;
            }
        }
        point
    }

    fn value_in(&self, cell: usize, weights: &[f64; 4]) -> f64 {
        let unknowns = &self.unknowns.cells[cell];
        (0..=self.mesh.dimension()).map(|place| weights[place] * self.values[unknowns[place] as usize]).sum()
    }

    /// The cells whose bounds meet a box of the whole domain, as a mesh of their own.
    fn cells_near(&self, part: &Bounds) -> Near {
        let corners = [0, 1].map(|end| self.mirrored_into_solved(part.map(|range| range[end])));
        let margin = 1e-6 * self.problem.size.iter().sum::<f64>();
        let bounds: Bounds = std::array::from_fn(|axis| {
            let mut low = corners[0][axis].min(corners[1][axis]);
            if part[axis][0] < self.problem.center[axis] && part[axis][1] > self.problem.center[axis] {
                low = low.min(self.problem.center[axis]);
            }
            [low - margin, corners[0][axis].max(corners[1][axis]) + margin]
        });
        let flat = self.problem.flat_axis();
        let numbers: Vec<usize> = (0..self.mesh.cell_count())
            .into_par_iter()
            .filter(|&cell| {
                let points = self.mesh.cell(cell);
                (0..3).filter(|&axis| Some(axis) != flat).all(|axis| {
                    let position = |point: &u32| self.mesh.points[*point as usize][axis];
                    points.iter().any(|point| position(point) >= bounds[axis][0])
                        && points.iter().any(|point| position(point) <= bounds[axis][1])
                })
            })
            .collect();
        let mut points = Vec::new();
        let mut renumbered = vec![NONE; self.mesh.points.len()];
        let cells = numbers
            .iter()
            .map(|&cell| {
                self.mesh.cells[cell].map(|point| {
                    if point == NONE {
                        return NONE;
                    }
                    let number = &mut renumbered[point as usize];
                    if *number == NONE {
                        *number = points.len() as u32;
                        points.push(self.mesh.points[point as usize]);
                    }
                    *number
                })
            })
            .collect();
        let mesh = SimplexMesh {
            points,
            cells,
            regions: vec![0; numbers.len()],
            normal: self.mesh.normal,
            bounds: self.mesh.bounds,
            interfaces: Facets::default(),
        };
        Near { mesh, numbers }
    }
}

/// The part of the monitor that lies in the domain; `None` if there is none.
pub(crate) fn inside(problem: &Problem, monitor: &Monitor) -> Option<Bounds> {
    let domain = problem.bounds();
    let extent = problem.size.iter().fold(0.0_f64, |largest, &size| largest.max(size));
    let tolerance = 1e-9 * extent;
    let bounds = monitor.bounds();
    let mut part = domain;
    for axis in 0..3 {
        let [low, high] = domain[axis];
        if bounds[axis][0] > high + tolerance || bounds[axis][1] < low - tolerance {
            return None;
        }
        let clamp = |value: f64| {
            if value < low {
                low
            } else if value > high {
                high
            } else {
                value
            }
        };
        part[axis] = bounds[axis].map(clamp);
    }
    Some(part)
}

/// Whether a monitor records cells in this part of the domain, rather than a regular grid.
pub(crate) fn is_on_cells(monitor: &Monitor, part: &Bounds) -> bool {
    monitor.unstructured && part.iter().filter(|[low, high]| low < high).count() >= 2
}

/// Number of values on the regular grid of a part of the domain.
pub(crate) fn regular_values(problem: &Problem, part: &Bounds) -> f64 {
    regular_coordinates(part, spacing(problem)).iter().map(|list| list.len() as f64).product()
}

/// Spacing of regular grids in µm: the smallest cell size that the grid specification names.
pub(crate) fn spacing(problem: &Problem) -> f64 {
    problem.grid.named_size().max(problem.smallest_cell())
}

/// A part of a mesh, and the numbers of its cells in the whole.
struct Near {
    mesh: SimplexMesh,
    numbers: Vec<usize>,
}

/// Equally spaced coordinates along each axis, both ends included.
fn regular_coordinates(part: &Bounds, spacing: f64) -> [Vec<f64>; 3] {
    let steps = |axis: usize, spacing: f64| {
        let extent = part[axis][1] - part[axis][0];
        if extent > 0.0 { (extent / spacing).ceil().clamp(1.0, MAXIMUM_COORDINATES) } else { 0.0 }
    };
    let mut spacing = spacing;
    while (0..3).map(|axis| steps(axis, spacing) + 1.0).product::<f64>() > MAXIMUM_VALUES {
        spacing *= 1.05;
    }
    std::array::from_fn(|axis| {
        let [low, high] = part[axis];
        let steps = steps(axis, spacing) as usize;
        (0..=steps)
            .map(|step| match step {
                0 => low,
                step if step == steps => high,
                step => low + (high - low) * step as f64 / steps as f64,
            })
            .collect()
    })
}

fn array(shape: Vec<usize>, values: Values) -> Result<Array, SolveError> {
    Array::new(shape, values).map_err(|error| SolveError::Internal(error.to_string()))
}

/// The client's `TriangularGridDataset` or `TetrahedralGridDataset`.
fn to_dataset(cells: &Simplices) -> Result<Data, SolveError> {
    let axes: Vec<usize> =
        (0..3).filter(|&axis| cells.normal.is_none_or(|(normal, _)| normal != axis)).collect();
    let width = axes.len() + 1;
    let points = cells.points.iter().flat_map(|point| axes.iter().map(|&axis| point[axis])).collect();
    let corners =
        cells.cells.iter().flat_map(|cell| cell[..width].iter().map(|&point| point as i32)).collect();
    if i32::try_from(cells.points.len()).is_err() {
        return Err(SolveError::TooLarge {
            needed: format!("{} points in one monitor", cells.points.len()),
            allowed: format!("{}", i32::MAX),
        });
    }
    let mut dataset = Map::new();
    dataset.insert(
        "type".into(),
        if width == 3 { "TriangularGridDataset" } else { "TetrahedralGridDataset" }.into(),
    );
    dataset.insert("points".into(), "PointDataArray".into());
    dataset.insert("values".into(), "IndexedDataArray".into());
    dataset.insert("cells".into(), "CellDataArray".into());
    if let Some((axis, position)) = cells.normal {
        dataset.insert("normal_axis".into(), axis.into());
        dataset.insert("normal_pos".into(), position.into());
    }
    let arrays = vec![
        (
            format!("points/{VALUES_DATASET}"),
            array(vec![cells.points.len(), axes.len()], Values::Float64(points))?,
        ),
        (format!("cells/{VALUES_DATASET}"), array(vec![cells.cells.len(), width], Values::Int32(corners))?),
        (format!("values/{VALUES_DATASET}"), Array::from_floats(cells.values.clone())),
    ];
    Ok((Value::Object(dataset), arrays))
}

/// Puts the data of a monitor into the result's list and arrays.
pub(crate) fn publish(
    class: &str,
    field: &str,
    monitor: &Monitor,
    recorded: Option<Data>,
    data: &mut Vec<Value>,
    arrays: &mut BTreeMap<String, Array>,
) {
    let index = data.len();
    let value = match recorded {
        None => Value::Null,
        Some((value, parts)) => {
            for (path, part) in parts {
                arrays.insert(format!("data/{index}/{field}/{path}"), part);
            }
            value
        }
    };
    data.push(json!({"type": class, "monitor": monitor.json, field: value}));
}
