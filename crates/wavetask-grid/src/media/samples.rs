//! Reading the arrays of custom media: samples on a lattice, or on triangles and tetrahedra.

use std::sync::Arc;

use num_complex::Complex64;
use serde_json::Value;
use wavetask_document::{Array, ArraySource, VALUES_DATASET, Values};

use super::MAXIMUM_SAMPLES;
use super::cells::{Cells, Plane};
use super::fields::{LARGEST, number};
use super::lattice::{Interpolation, Lattice};
use crate::reading::{Fields, Part, SceneError, join};

/// Where samples are.
#[derive(Debug)]
pub(super) enum Support {
    Lattice(Lattice),
    Cells(Cells),
}

impl Support {
    pub(super) fn interpolate(&self, values: &[Complex64], point: [f64; 3], how: Interpolation) -> Complex64 {
        match self {
            Self::Lattice(lattice) => lattice.interpolate(values, point, how),
            Self::Cells(cells) => cells.interpolate(values, point, how),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Lattice(one), Self::Lattice(other)) => one == other,
            (Self::Cells(one), Self::Cells(other)) => one.is_same(other),
            _ => false,
        }
    }
}

/// One array of a custom medium.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) support: Arc<Support>,
    pub(super) values: Numbers,
    /// The frequency of a dataset that has one.
    pub(super) frequency: Option<f64>,
}

/// Sampled values, finite.
#[derive(Debug, PartialEq)]
pub(super) enum Numbers {
    Real(Vec<f64>),
    Complex(Vec<Complex64>),
}

impl Samples {
    /// The values as real numbers, of a parameter that cannot be complex.
    pub(super) fn into_real(self, path: &str) -> Result<Vec<f64>, SceneError> {
        match self.values {
            Numbers::Real(values) => Ok(values),
            Numbers::Complex(values) if values.iter().all(|value| value.im == 0.0) => {
                Ok(values.into_iter().map(|value| value.re).collect())
            }
            Numbers::Complex(_) => Err(Part::Medium.invalid(path, "real numbers are expected")),
        }
    }

    pub(super) fn into_complex(self) -> Vec<Complex64> {
        match self.values {
            Numbers::Real(values) => values.into_iter().map(Complex64::from).collect(),
            Numbers::Complex(values) => values,
        }
    }
}

/// Reads the arrays of one custom medium, all of which share one support.
pub(super) struct SampleReader<'a> {
    arrays: &'a dyn ArraySource,
    support: Option<Arc<Support>>,
}

impl<'a> SampleReader<'a> {
    pub(super) fn new(arrays: &'a dyn ArraySource) -> Self {
        Self { arrays, support: None }
    }

    /// The support of the arrays read so far; a single sample if there was none.
    pub(super) fn support(&self) -> Arc<Support> {
        self.support.clone().unwrap_or_else(|| Arc::new(Support::Lattice(Lattice::point())))
    }

    /// Reads the array that `value` stands for, beneath `path`.
    pub(super) fn read(&mut self, value: &Value, path: &str) -> Result<Samples, SceneError> {
        let mut samples = match value {
            Value::String(kind) if kind == "SpatialDataArray" || kind == "ScalarFieldDataArray" => {
                self.lattice(path, kind == "ScalarFieldDataArray")?
            }
            Value::Object(_) => self.cells(value, path)?,
            _ => return Err(Part::Medium.invalid(path, "spatial data is expected")),
        };
        match &self.support {
            Some(support) if support.is_same(&samples.support) => samples.support = Arc::clone(support),
            Some(_) => {
                return Err(
                    Part::Medium.invalid(path, "all arrays of a custom medium need the same coordinates")
                );
            }
            None => self.support = Some(Arc::clone(&samples.support)),
        }
        Ok(samples)
    }

    fn load(&self, path: &str, array: &str) -> Result<Array, SceneError> {
        Part::Medium.load(self.arrays, path, &join(path, array))
    }

    fn coordinates(&self, path: &str, name: &str) -> Result<Vec<f64>, SceneError> {
        let place = join(path, name);
        let array = self.load(path, name)?;
        let [count] = *array.shape() else {
            return Err(Part::Medium.invalid(place, "coordinates are a list of numbers"));
        };
        if count == 0 {
            return Err(Part::Medium.invalid(place, "there are no coordinates"));
        }
        within_limit(count, &place)?;
        let (_, values) = array
            .into_floats()
            .ok_or_else(|| Part::Medium.invalid(place.as_str(), "coordinates are real numbers"))?;
        refuse_unusable(values.iter().copied(), &place)?;
        Ok(values)
    }

    fn lattice(&self, path: &str, has_frequency: bool) -> Result<Samples, SceneError> {
        let values_path = join(path, VALUES_DATASET);
        let axes = [self.coordinates(path, "x")?, self.coordinates(path, "y")?, self.coordinates(path, "z")?];
        let frequency = if has_frequency {
            let frequencies = self.coordinates(path, "f")?;
            let [frequency] = frequencies[..] else {
                return Err(Part::Medium.invalid(path, "permittivity data has a single frequency"));
            };
            super::dispersion::positive(frequency, &join(path, "f"))?;
            Some(frequency)
        } else {
            None
        };
        let array = self.load(path, VALUES_DATASET)?;
        let mut expected = axes.iter().map(Vec::len).collect::<Vec<_>>();
        expected.extend(has_frequency.then_some(1));
        if array.shape() != expected {
            return Err(Part::Medium.invalid(
                values_path,
                format!("values have the shape {expected:?} of their coordinates, not {:?}", array.shape()),
            ));
        }
        within_limit(array.values().len(), &values_path)?;
        let (lattice, orders) = Lattice::new(axes)
            .ok_or_else(|| Part::Medium.invalid(path, "a coordinate repeats along an axis"))?;
        let values = match numbers(array, &values_path)? {
            Numbers::Real(values) => Numbers::Real(sorted(values, &orders)),
            Numbers::Complex(values) => Numbers::Complex(sorted(values, &orders)),
        };
        Ok(Samples { support: Arc::new(Support::Lattice(lattice)), values, frequency })
    }

    fn cells(&self, value: &Value, path: &str) -> Result<Samples, SceneError> {
        let fields = Fields::of(Part::Medium, value, path)?;
        let (dimensions, plane) = match fields.text("type")? {
            "TriangularGridDataset" => {
                let axis = match fields.required("normal_axis")?.as_u64() {
                    Some(axis @ 0..=2) => usize::try_from(axis).unwrap_or(2),
                    _ => {
                        return Err(
                            Part::Medium.invalid(fields.path_of("normal_axis"), "an axis is 0, 1 or 2")
                        );
                    }
                };
                let position = number(fields.required("normal_pos")?, &fields.path_of("normal_pos"))?;
                (2, Some(Plane { axis, position }))
            }
            "TetrahedralGridDataset" => (3, None),
            kind => return Err(Part::Medium.unknown_type(path, kind)),
        };
        let points_path = join(path, "points");
        let array = self.load(&points_path, VALUES_DATASET)?;
        let count = match *array.shape() {
            [count, extent] if extent == dimensions && count > 0 => count,
            _ => {
                let found = array.shape();
                let reason = format!("points have the shape (n, {dimensions}) with n > 0, not {found:?}");
                return Err(Part::Medium.invalid(points_path, reason));
            }
        };
        within_limit(count, &points_path)?;
        let coordinates = array
            .to_floats()
            .ok_or_else(|| Part::Medium.invalid(points_path.as_str(), "coordinates are real numbers"))?;
        refuse_unusable(coordinates.iter().copied(), &points_path)?;
        let points: Vec<[f64; 3]> = coordinates
            .chunks_exact(dimensions)
            .map(|point| [point[0], point[1], point.get(2).copied().unwrap_or(0.0)])
            .collect();
        let cells = self.connections(&join(path, "cells"), dimensions + 1, count)?;

        let values_path = join(path, "values");
        let array = self.load(&values_path, VALUES_DATASET)?;
        if *array.shape() != [count] {
            return Err(Part::Medium.invalid(
                values_path,
                format!("one value per point is expected: [{count}], not {:?}", array.shape()),
            ));
        }
        let values = numbers(array, &values_path)?;
        Ok(Samples {
            support: Arc::new(Support::Cells(Cells::new(points, cells, plane))),
            values,
            frequency: None,
        })
    }

    fn connections(&self, path: &str, corners: usize, points: usize) -> Result<Vec<[u32; 4]>, SceneError> {
        let array = self.load(path, VALUES_DATASET)?;
        match *array.shape() {
            [count, extent] if extent == corners && count > 0 => within_limit(count, path)?,
            _ => {
                let found = array.shape();
                let reason = format!("cells have the shape (n, {corners}) with n > 0, not {found:?}");
                return Err(Part::Medium.invalid(path, reason));
            }
        }
        let vertices: Vec<Option<u32>> = match array.values() {
            Values::Int64(values) => values.iter().map(|&value| u32::try_from(value).ok()).collect(),
            Values::Int32(values) => values.iter().map(|&value| u32::try_from(value).ok()).collect(),
            _ => return Err(Part::Medium.invalid(path, "vertices are integers")),
        };
        let in_range = |vertex: &u32| usize::try_from(*vertex).is_ok_and(|vertex| vertex < points);
        vertices
            .chunks_exact(corners)
            .map(|cell| {
                let mut filled = [0; 4];
                for (place, vertex) in filled.iter_mut().zip(cell) {
                    *place = (*vertex).filter(in_range)?;
                }
                Some(filled)
            })
            .collect::<Option<_>>()
            .ok_or_else(|| Part::Medium.invalid(path, "a cell names a point that does not exist"))
    }
}

fn within_limit(count: usize, path: &str) -> Result<(), SceneError> {
    if count <= MAXIMUM_SAMPLES {
        return Ok(());
    }
    Err(Part::Medium.too_many(path, "samples of one array", MAXIMUM_SAMPLES))
}

/// Refuses what is not a number, infinite or absurdly large.
fn refuse_unusable(mut values: impl Iterator<Item = f64>, path: &str) -> Result<(), SceneError> {
    match values.position(|value| value.is_nan() || value.abs() > LARGEST) {
        None => Ok(()),
        Some(index) => Err(Part::Medium
            .invalid(path, format!("the element number {index} is not a finite number within {LARGEST:e}"))),
    }
}

fn numbers(array: Array, path: &str) -> Result<Numbers, SceneError> {
    let not_numbers = || Part::Medium.invalid(path, "numbers are expected");
    let pairs: Vec<Complex64> = match array.values() {
        Values::Complex128(values) => values.iter().map(|&[re, im]| Complex64::new(re, im)).collect(),
        Values::Complex64(values) => {
            values.iter().map(|&[re, im]| Complex64::new(re.into(), im.into())).collect()
        }
        _ => {
            let (_, values) = array.into_floats().ok_or_else(not_numbers)?;
            refuse_unusable(values.iter().copied(), path)?;
            return Ok(Numbers::Real(values));
        }
    };
    refuse_unusable(pairs.iter().map(|value| if value.re.is_nan() { value.re } else { value.im }), path)?;
    refuse_unusable(pairs.iter().map(|value| value.re), path)?;
    Ok(Numbers::Complex(pairs))
}

/// The values in the order of sorted coordinates.
fn sorted<T: Copy>(values: Vec<T>, orders: &[Vec<usize>; 3]) -> Vec<T> {
    if orders.iter().all(|order| order.iter().enumerate().all(|(place, &index)| place == index)) {
        return values;
    }
    let [x, y, z] = orders;
    let mut sorted = Vec::with_capacity(values.len());
    for i in x {
        for j in y {
            sorted.extend(z.iter().map(|k| values[(i * y.len() + j) * z.len() + k]));
        }
    }
    sorted
}
