//! Temperature monitors: where the solution is recorded, and in which form.

use serde_json::Value;
use wavetask_grid::geometry::Bounds;

use super::box_bounds;
use wavetask_solver::{Reader, class_of};

/// A box, rectangle, line or point where temperature is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    /// The monitor's JSON, returned unchanged with its data.
    pub(crate) json: Value,
    /// Centre.
    pub(crate) center: [f64; 3],
    /// Size; infinite along an axis means the whole domain.
    pub(crate) size: [f64; 3],
    /// Whether the client wants the solver's own triangles or tetrahedra.
    pub(crate) unstructured: bool,
    /// Whether the mesh must have faces on the monitor (older clients).
    pub(crate) conformal: bool,
}

impl Monitor {
    /// Bounds along each axis; infinite where the size is.
    pub(crate) fn bounds(&self) -> Bounds {
        box_bounds(self.center, self.size)
    }
}

pub(crate) fn read_monitors(reader: &mut Reader, simulation: &Value) -> Vec<Monitor> {
    let mut monitors = Vec::new();
    for (index, value) in reader.list(simulation, "monitors", "").iter().enumerate() {
        let path = format!("monitors[{index}]");
        match class_of(value) {
            "TemperatureMonitor" => monitors.extend(read_monitor(reader, value, &path)),
            other => reader.refuse(
                &path,
                other,
                format!(
                    "the monitor `{other}` is not supported: the heat solver records `TemperatureMonitor`"
                ),
            ),
        }
    }
    monitors
}

/// The place and form of a monitor of any class.
pub(crate) fn read_monitor(reader: &mut Reader, value: &Value, path: &str) -> Option<Monitor> {
    let center =
        if value.get("center").is_some() { reader.finite_triple(value, "center", path)? } else { [0.0; 3] };
    let size = reader.extended_triple(value, "size", path)?;
    if size.iter().any(|&extent| extent < 0.0) {
        reader.refuse(format!("{path}.size"), "negative value", "the size of a monitor must not be negative");
        return None;
    }
    let conformal = value.get("conformal").and_then(Value::as_bool);
    // The default changed with the field `conformal`: clients that know it default to a regular grid.
    let unstructured = value.get("unstructured").and_then(Value::as_bool).unwrap_or(conformal.is_none());
    Some(Monitor { json: value.clone(), center, size, unstructured, conformal: conformal.unwrap_or(false) })
}
