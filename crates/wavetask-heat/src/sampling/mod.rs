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
use wavetask_grid::mesh::{Locator, SimplexMesh};

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
    /// The monitor's part of the field; `None` where it meets no solid.
    pub(crate) fn record(
        &self,
        monitor: &Monitor,
        locator: &Locator<'_>,
    ) -> Result<Option<Data>, SolveError> {
        let Some(part) = self.inside(monitor) else { return Ok(None) };
        let extended = (0..3).filter(|&axis| part[axis][0] < part[axis][1]).count();
        if monitor.unstructured && extended >= 2 {
            self.cells_in(&part).map(|cells| to_dataset(&cells)).transpose()
        } else {
            self.regular(&part, locator)
        }
    }

    /// The triangles or tetrahedra inside a monitor, for mesh monitors.
    pub(crate) fn record_mesh(&self, monitor: &Monitor) -> Result<Option<Data>, SolveError> {
        let Some(part) = self.inside(monitor) else { return Ok(None) };
        self.cells_in(&part).map(|cells| to_dataset(&cells)).transpose()
    }

    /// The part of the monitor that lies in the domain; `None` if there is none.
    fn inside(&self, monitor: &Monitor) -> Option<Bounds> {
        let domain = self.problem.bounds();
        let extent = self.problem.size.iter().fold(0.0_f64, |largest, &size| largest.max(size));
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
    fn regular(&self, part: &Bounds, locator: &Locator<'_>) -> Result<Option<Data>, SolveError> {
        let coordinates = regular_coordinates(part, self.spacing);
        let [nx, ny, nz] = coordinates.each_ref().map(Vec::len);
        let extent = self.problem.size.iter().sum::<f64>();
        let found: Vec<(f64, bool)> = (0..nx * ny)
            .into_par_iter()
            .flat_map_iter(|row| {
                let coordinates = &coordinates;
                (0..nz).map(move |k| {
                    let point = [coordinates[0][row / ny], coordinates[1][row % ny], coordinates[2][k]];
                    self.value_at(point, locator, extent)
                })
            })
            .collect();
        if !found.iter().any(|(_, solid)| *solid) {
            return Ok(None);
        }
        let values = found.into_iter().map(|(value, _)| value).collect();
        let mut arrays = vec![(VALUES_DATASET.to_owned(), array(vec![nx, ny, nz], Values::Float64(values))?)];
        for (name, list) in ["x", "y", "z"].into_iter().zip(coordinates) {
            arrays.push((name.to_owned(), Array::from_floats(list)));
        }
        Ok(Some((Value::from("SpatialDataArray"), arrays)))
    }

    /// The value at a point of the whole domain, or at the nearest point of a solid; and whether the point is in one.
    fn value_at(&self, mut point: [f64; 3], locator: &Locator<'_>, extent: f64) -> (f64, bool) {
        for (axis, coordinate) in point.iter_mut().enumerate() {
            let center = self.problem.center[axis];
            if self.problem.symmetry[axis] && *coordinate < center {
                *coordinate = 2.0 * center - *coordinate;
            }
        }
        let inside = locator.locate(point);
        match inside.or_else(|| locator.nearest(point, extent)) {
            None => (f64::NAN, false),
            Some(located) => {
                let unknowns = &self.unknowns.cells[located.cell];
                let value = (0..=self.mesh.dimension())
                    .map(|place| located.weights[place] * self.values[unknowns[place] as usize])
                    .sum();
                (value, inside.is_some())
            }
        }
    }
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
