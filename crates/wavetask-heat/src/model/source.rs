//! Volumetric heat sources, constant or given on a grid of points.

use serde_json::Value;
use wavetask_document::{ArraySource, VALUES_DATASET};

use wavetask_solver::{LARGEST, Reader, class_of, join};

/// Heat released per volume in some structures.
#[derive(Clone, Debug)]
pub(crate) struct HeatSource {
    /// Names of the structures; the source acts where one of them owns the point.
    pub(crate) structures: Vec<String>,
    /// How much.
    pub(crate) rate: Rate,
}

/// A rate in W/µm³.
#[derive(Clone, Debug)]
pub(crate) enum Rate {
    /// The same everywhere.
    Constant(f64),
    /// Values at the points of a rectilinear grid, interpolated linearly; outside of the grid the value
    /// of the nearest face, along an axis with one coordinate the same everywhere.
    Sampled {
        /// Coordinates by axis, increasing.
        coordinates: [Vec<f64>; 3],
        /// Values with the last axis fastest.
        values: Vec<f64>,
    },
}

impl Rate {
    /// The rate at a point.
    pub(crate) fn at(&self, point: [f64; 3]) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::Sampled { coordinates, values } => {
                let brackets = [0, 1, 2].map(|axis| bracket(&coordinates[axis], point[axis]));
                let strides = [coordinates[1].len() * coordinates[2].len(), coordinates[2].len(), 1];
                let mut sum = 0.0;
                for corner in 0..8_usize {
                    let mut weight = 1.0;
                    let mut index = 0;
                    for axis in 0..3 {
                        let (low, fraction) = brackets[axis];
                        let upper = corner >> axis & 1;
                        weight *= if upper == 1 { fraction } else { 1.0 - fraction };
                        index += (low + upper).min(coordinates[axis].len() - 1) * strides[axis];
                    }
                    if weight != 0.0 {
                        sum += weight * values[index];
                    }
                }
                sum
            }
        }
    }
}

/// The interval that holds a coordinate and the fraction along it, clamped to the ends.
fn bracket(coordinates: &[f64], position: f64) -> (usize, f64) {
    if coordinates.len() < 2 || position <= coordinates[0] {
        return (0, 0.0);
    }
    let upper = coordinates.partition_point(|&coordinate| coordinate < position).min(coordinates.len() - 1);
    let low = upper - 1;
    let fraction = (position - coordinates[low]) / (coordinates[upper] - coordinates[low]);
    (low, fraction.clamp(0.0, 1.0))
}

pub(crate) fn read_sources(
    reader: &mut Reader,
    simulation: &Value,
    arrays: &dyn ArraySource,
) -> Vec<HeatSource> {
    let mut sources = Vec::new();
    for (index, value) in reader.list(simulation, "sources", "").iter().enumerate() {
        let path = format!("sources[{index}]");
        match class_of(value) {
            "HeatSource" | "UniformHeatSource" => {
                let structures = reader.text_list(value, "structures", &path);
                if structures.is_empty() {
                    reader.refuse(
                        join(&path, "structures"),
                        "missing field",
                        "a heat source names at least one structure",
                    );
                }
                let Some(rate) = reader.field(value, "rate", &path) else { continue };
                let rate = match rate {
                    Value::String(class) if class == "SpatialDataArray" => {
                        read_sampled(reader, arrays, &format!("sources/{index}/rate"), &join(&path, "rate"))
                    }
                    rate => reader.finite(rate, &join(&path, "rate")).map(Rate::Constant),
                };
                if let Some(rate) = rate {
                    sources.push(HeatSource { structures, rate });
                }
            }
            "HeatFromElectricSource" => reader.refuse(
                &path,
                "HeatFromElectricSource",
                "heat from an electric calculation (`HeatFromElectricSource`) is not supported: give the heat as `HeatSource`",
            ),
            other => reader.refuse(&path, other, format!("the source `{other}` is not supported")),
        }
    }
    sources
}

fn read_sampled(reader: &mut Reader, arrays: &dyn ArraySource, group: &str, path: &str) -> Option<Rate> {
    let mut coordinates = [Vec::new(), Vec::new(), Vec::new()];
    let mut orders = [Vec::new(), Vec::new(), Vec::new()];
    for (axis, name) in ["x", "y", "z"].iter().enumerate() {
        let given = load(reader, arrays, &format!("{group}/{name}"), path)?.1;
        // The client writes coordinates in the user's order and sorts them itself wherever it interpolates.
        let mut order: Vec<usize> = (0..given.len()).collect();
        order.sort_by(|&a, &b| given[a].total_cmp(&given[b]));
        coordinates[axis] = order.iter().map(|&place| given[place]).collect();
        orders[axis] = order;
        if coordinates[axis].windows(2).any(|pair| pair[0] == pair[1]) || given.is_empty() {
            reader.refuse(
                path,
                "repeated coordinates",
                format!("the coordinates `{name}` of the rate must be there and differ from each other"),
            );
            return None;
        }
    }
    let (shape, values) = load(reader, arrays, &format!("{group}/{VALUES_DATASET}"), path)?;
    if shape != coordinates.each_ref().map(Vec::len) {
        reader.refuse(
            path,
            "malformed input",
            format!(
                "the rate has the shape {shape:?}, but its coordinates have the lengths {:?}",
                coordinates.each_ref().map(Vec::len)
            ),
        );
        return None;
    }
    Some(Rate::Sampled { values: in_order(&orders, values), coordinates })
}

/// Values of a grid, the last axis fastest, with the places along each axis taken in these orders.
fn in_order(orders: &[Vec<usize>; 3], values: Vec<f64>) -> Vec<f64> {
    if orders.iter().all(|order| order.is_sorted()) {
        return values;
    }
    let [_, ny, nz] = orders.each_ref().map(Vec::len);
    let mut sorted = Vec::with_capacity(values.len());
    for &x in &orders[0] {
        for &y in &orders[1] {
            sorted.extend(orders[2].iter().map(|&z| values[(x * ny + y) * nz + z]));
        }
    }
    sorted
}

fn load(
    reader: &mut Reader,
    arrays: &dyn ArraySource,
    dataset: &str,
    path: &str,
) -> Option<(Vec<usize>, Vec<f64>)> {
    let array = match arrays.load(dataset) {
        Ok(Some(array)) => array,
        Ok(None) => {
            reader.refuse(path, "missing array", format!("the array `{dataset}` is missing from the upload"));
            return None;
        }
        Err(error) => {
            reader.refuse(path, "unreadable array", error.to_string());
            return None;
        }
    };
    let Some((shape, values)) = array.into_floats() else {
        reader.refuse(path, "malformed input", format!("the array `{dataset}` must hold real numbers"));
        return None;
    };
    if values.iter().any(|value| value.is_nan() || value.abs() > LARGEST) {
        reader.refuse(
            path,
            "not a number",
            format!("the array `{dataset}` holds values that are not finite, or beyond {LARGEST:e}"),
        );
        return None;
    }
    Some((shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_rates_are_linear_between_points_and_constant_outside() {
        let rate = Rate::Sampled {
            coordinates: [vec![0.0, 2.0], vec![5.0], vec![-1.0, 0.0, 3.0]],
            values: vec![0.0, 1.0, 4.0, 10.0, 11.0, 14.0],
        };
        // value = 5 x + z + 1
        for point in [[0.0, 0.0, -1.0], [1.0, 9.0, 0.5], [2.0, 5.0, 3.0], [0.5, 5.0, 2.0]] {
            assert!((rate.at(point) - (5.0 * point[0] + point[2] + 1.0)).abs() < 1e-12, "{point:?}");
        }
        assert!((rate.at([9.0, 0.0, 9.0]) - 14.0).abs() < 1e-12);
        assert!((rate.at([-9.0, 0.0, -9.0]) - 0.0).abs() < 1e-12);
    }
}
