//! The result as the client reads it: a `ModeSolverData`, and its arrays.
//!
//! Fields are stored on the part of the plane that was solved; the client mirrors them, which is why symmetry, its
//! centre and the expanded grid come along. What describes the request is echoed from the document, so that a client
//! of any version finds the fields that it knows and no others.

use std::collections::BTreeMap;

use num_complex::Complex64;
use serde_json::{Value, json};
use wavetask_document::{Array, VALUES_DATASET, Values};

use crate::document::{COMPONENTS, ModeTask, Precision};
use crate::error::SolveError;
use crate::fields::FrequencyModes;
use crate::layout::Layout;
use crate::postprocess::{Correction, FinishedModes, is_resampled};
use crate::projection::{Storage, stored_coordinates};

/// Name of the monitor that the client gives to the data of a mode solver.
const MONITOR_NAME: &str = "<<<MODE_SOLVER_MONITOR>>>";

/// The data, and its arrays by their path below `prefix`.
pub(crate) fn publish(
    document: &Value,
    task: &ModeTask,
    layout: &Layout,
    finished: &FinishedModes,
    single: bool,
    prefix: &str,
) -> Result<(Value, BTreeMap<String, Array>), SolveError> {
    let modes = &finished.frequencies;
    let mut writer = Writer { arrays: BTreeMap::new(), prefix };
    let frequencies: Vec<f64> = modes.iter().map(|at| at.frequency).collect();
    let count = modes.first().map_or(0, |at| at.modes.len());
    let numbers: Vec<i64> = (0..count).map(usize::cast_signed).map(|number| number as i64).collect();
    let table =
        |values: Values| -> Result<Array, SolveError> { array(vec![frequencies.len(), count], values) };
    let table_coordinates = [
        ("f", Array::from_floats(frequencies.clone())),
        ("mode_index", array(vec![count], Values::Int64(numbers.clone()))?),
    ];
    let each = |value: &dyn Fn(&FrequencyModes, usize) -> Complex64| {
        modes.iter().flat_map(|at| (0..count).map(|number| pair(value(at, number)))).collect::<Vec<_>>()
    };

    let mut data = json!({
        "type": "ModeSolverData",
        "monitor": monitor(document, task, count, modes.len()),
        "symmetry": layout.symmetry,
        "symmetry_center": layout.center,
        "grid_expanded": grid(match finished.storage {
            Storage::Staggered => &layout.expanded,
            Storage::Colocated => &layout.expanded_colocated,
        }),
        "grid_distances_primal": layout.distances_primal,
        "grid_distances_dual": layout.distances_dual,
        "eps_spec": modes.iter().map(|at| at.character.as_str()).collect::<Vec<_>>(),
        "n_complex": "ModeIndexDataArray",
        "grid_primal_correction": "FreqModeDataArray",
        "grid_dual_correction": "FreqModeDataArray",
    });
    writer.labelled(
        "n_complex",
        table(Values::Complex128(each(&|at, number| at.modes[number].index)))?,
        &table_coordinates,
    );
    let correction = |at: &FrequencyModes, number: usize| {
        Correction::of(task, layout, at.frequency, at.modes[number].index)
    };
    writer.labelled(
        "grid_primal_correction",
        table(Values::Complex128(each(&|at, number| correction(at, number).primal)))?,
        &table_coordinates,
    );
    writer.labelled(
        "grid_dual_correction",
        table(Values::Complex128(each(&|at, number| correction(at, number).dual)))?,
        &table_coordinates,
    );
    if modes.iter().all(|at| at.derivatives.is_some()) {
        let derivatives = || modes.iter().filter_map(|at| at.derivatives.as_ref()).flatten();
        let group = derivatives().map(|of| of.group_index).collect();
        let dispersion = derivatives().map(|of| of.dispersion).collect();
        data["n_group_raw"] = "GroupIndexDataArray".into();
        writer.labelled("n_group_raw", table(Values::Float64(group))?, &table_coordinates);
        data["dispersion_raw"] = "ModeDispersionDataArray".into();
        writer.labelled("dispersion_raw", table(Values::Float64(dispersion))?, &table_coordinates);
    }
    for (component, name) in COMPONENTS.into_iter().enumerate() {
        if !task.components[component] {
            data[name] = Value::Null;
            continue;
        }
        data[name] = "ScalarModeFieldDataArray".into();
        let coordinates = stored_coordinates(layout, finished.storage, component);
        let mut shape: Vec<usize> = coordinates.iter().map(Vec::len).collect();
        shape.extend([frequencies.len(), count]);
        let values = array(shape, interleaved(modes, component, single))?;
        let [x, y, z] = coordinates.map(Array::from_floats);
        let [f, mode_index] = table_coordinates.clone();
        writer.labelled(name, values, &[("x", x), ("y", y), ("z", z), f, mode_index]);
    }
    Ok((data, writer.arrays))
}

struct Writer<'p> {
    arrays: BTreeMap<String, Array>,
    prefix: &'p str,
}

impl Writer<'_> {
    fn labelled(&mut self, name: &str, values: Array, coordinates: &[(&str, Array)]) {
        self.arrays.insert(format!("{}{name}/{VALUES_DATASET}", self.prefix), values);
        for (dimension, coordinate) in coordinates {
            self.arrays.insert(format!("{}{name}/{dimension}", self.prefix), coordinate.clone());
        }
    }
}

/// The values of a component with frequency and mode as the last dimensions.
fn interleaved(modes: &[FrequencyModes], component: usize, single: bool) -> Values {
    let columns: Vec<&[Complex64]> = modes
        .iter()
        .flat_map(|at| at.modes.iter().map(|mode| mode.fields.components[component].as_slice()))
        .collect();
    let points = columns.first().map_or(0, |column| column.len());
    let values = (0..points).flat_map(|point| columns.iter().map(move |column| column[point]));
    if single {
        #[expect(clippy::cast_possible_truncation, reason = "single precision was asked for")]
        Values::Complex64(values.map(|value| [value.re as f32, value.im as f32]).collect())
    } else {
        Values::Complex128(values.map(pair).collect())
    }
}

fn pair(value: Complex64) -> [f64; 2] {
    [value.re, value.im]
}

fn array(shape: Vec<usize>, values: Values) -> Result<Array, SolveError> {
    Array::new(shape, values).map_err(|error| SolveError::Internal(error.to_string()))
}

/// Whether fields are kept in single precision.
pub(crate) fn is_single(task: &ModeTask) -> bool {
    task.spec.precision == Precision::Single
}

fn grid(boundaries: &[Vec<f64>; 3]) -> Value {
    json!({
        "type": "Grid",
        "boundaries": { "type": "Coords", "x": boundaries[0], "y": boundaries[1], "z": boundaries[2] },
    })
}

/// The monitor that the client would have made of the mode solver.
fn monitor(document: &Value, task: &ModeTask, count: usize, frequencies: usize) -> Value {
    let mut spec = document["mode_spec"].clone();
    if let Some(track) = task.spec.track
        && frequencies > 1
    {
        spec["track_freq"] = Value::Null;
        if spec["sort_spec"].is_object() {
            spec["sort_spec"]["track_freq"] = track.as_str().into();
        }
    }
    if count < task.spec.modes {
        spec["num_modes"] = count.into();
        if spec["sort_spec"]["keep_modes"].is_u64() {
            spec["sort_spec"]["keep_modes"] = "all".into();
        }
    }
    if is_resampled(task) && task.spec.sampling.as_ref().is_some_and(|sampling| !sampling.reduce) {
        spec["interp_spec"] = Value::Null;
    }
    let direction = if task.forward { "+" } else { "-" };
    let mut monitor = json!({
        "type": "ModeSolverMonitor",
        "center": task.plane.center,
        "size": task.plane.size.map(extended),
        "name": MONITOR_NAME,
        "freqs": task.frequencies,
        "mode_spec": spec,
        "direction": direction,
        "store_fields_direction": direction,
        "colocate": task.colocate,
        "conjugated_dot_product": task.conjugated,
    });
    if let Some(choice) = document.get("use_colocated_integration") {
        monitor["use_colocated_integration"] = choice.clone();
    }
    monitor
}

/// A number as the client writes it.
fn extended(value: f64) -> Value {
    if value.is_infinite() { "Infinity".into() } else { value.into() }
}
