//! What a calculation returns.

use std::collections::BTreeMap;

use serde_json::Value;
use wavetask_document::Array;

/// The data of all monitors, ready to be put into a result document.
#[derive(Clone, Debug)]
pub struct Solution {
    /// One `TemperatureData` (or `VolumeMeshData`) per monitor, in the order of the simulation. Where an array
    /// belongs stands the class name that the client expects there, as in its files.
    pub data: Vec<Value>,
    /// The arrays by their path in the result, such as
    /// `data/0/temperature/values/__xarray_dataarray_variable__`.
    pub arrays: BTreeMap<String, Array>,
    /// Lines for the task's log.
    pub log: Vec<String>,
    /// Figures of the calculation.
    pub statistics: Statistics,
}

/// Figures of a calculation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Mesh points at which the temperature was computed.
    pub unknowns: usize,
    /// Triangles or tetrahedra.
    pub cells: usize,
    /// Iterations of the linear solver.
    pub iterations: usize,
    /// Residual of the linear equations relative to the right-hand side.
    pub residual: f64,
    /// Seconds spent meshing.
    pub meshing_seconds: f64,
    /// Seconds spent computing the equations.
    pub assembly_seconds: f64,
    /// Seconds spent solving them.
    pub solving_seconds: f64,
    /// Seconds spent recording the monitors.
    pub sampling_seconds: f64,
    /// Lowest temperature in kelvin.
    pub lowest_temperature: f64,
    /// Highest temperature in kelvin.
    pub highest_temperature: f64,
    /// Heat released by the sources in the solved part of the domain, in W (W/µm in two dimensions).
    pub source_power: f64,
    /// Heat that leaves through boundaries of given temperature and by convection, less what given fluxes bring
    /// in; equal to `source_power` up to the residual.
    pub boundary_power: f64,
}
