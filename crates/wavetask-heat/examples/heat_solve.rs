//! Solves a simulation from its JSON and writes the result file that the client loads.
//!
//! ```text
//! heat_solve SIMULATION.json RESULT.hdf5 [ARRAYS.json]
//! ```
//!
//! `ARRAYS.json` maps the paths of the simulation's arrays to `{"shape": […], "values": […]}`. A `VolumeMesher` is
//! meshed instead of solved. Statistics go to standard output as JSON, the log to standard error.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use wavetask_document::hdf5::FilePlan;
use wavetask_document::{Array, Document, MemoryBlocks, ResultBuilder, Values};
use wavetask_heat::{Controls, Progress, SolveError};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = arguments.as_slice() else {
        return Err("usage: heat_solve SIMULATION.json RESULT.hdf5 [ARRAYS.json]".into());
    };
    let text = fs::read_to_string(input)?;
    let simulation: Value = serde_json::from_str(&text)?;
    let arrays = match rest {
        [path, ..] => read_arrays(&fs::read_to_string(path)?)?,
        [] => BTreeMap::new(),
    };
    let controls = Controls {
        threads: 0,
        memory_limit: None,
        progress: &|progress: Progress| {
            let _ = progress;
            ControlFlow::Continue(())
        },
    };
    let mesher = simulation["type"] == "VolumeMesher";
    let solved = if mesher {
        wavetask_heat::mesh_data(&simulation, &arrays, &controls)
    } else {
        wavetask_heat::solve(&simulation, &arrays, &controls)
    };
    let mut standard_output = std::io::stdout();
    let begin = std::time::Instant::now();
    if !mesher && let Ok(estimate) = wavetask_heat::validate(&simulation, &arrays) {
        writeln!(std::io::stderr(), "validated in {:?}: {estimate:?}", begin.elapsed())?;
    }
    let solution = match solved {
        Ok(solution) => solution,
        Err(error) => {
            let refusals: Vec<Value> = match &error {
                SolveError::Refused(refused) => refused
                    .refusals()
                    .iter()
                    .map(|refusal| json!({"path": refusal.path, "feature": refusal.feature, "message": refusal.message}))
                    .collect(),
                _ => Vec::new(),
            };
            writeln!(
                standard_output,
                "{}",
                json!({"error": error.code(), "message": error.to_string(), "refusals": refusals})
            )?;
            return Ok(());
        }
    };
    let mut blocks = MemoryBlocks::new();
    let mut embedded = MemoryBlocks::new();
    let embedded_arrays = arrays
        .iter()
        .map(|(path, array)| Ok((path.clone(), array.store(&mut embedded, 1 << 20)?)))
        .collect::<Result<_, std::io::Error>>()?;
    for array in arrays.values() {
        array.store(&mut blocks, 1 << 20)?;
    }
    let kind = match simulation["type"].as_str() {
        Some("VolumeMesher") => "VolumeMesherData",
        Some("HeatSimulation") => "HeatSimulationData",
        _ => "HeatChargeSimulationData",
    };
    let mut result = ResultBuilder::new(kind, &mut blocks);
    if mesher {
        result.member("simulation", &simulation["simulation"])?;
        result.member("monitors", &simulation["monitors"])?;
    } else {
        result.embed("simulation", &Document { json: text.as_str().into(), arrays: embedded_arrays })?;
    }
    result.member("data", &solution.data)?;
    result.member("log", "")?;
    for (path, array) in &solution.arrays {
        result.array(path, array)?;
    }
    let document = result.finish()?;
    FilePlan::new(&document)?.write(&blocks, &mut fs::File::create(output)?)?;
    for line in &solution.log {
        writeln!(std::io::stderr(), "{line}")?;
    }
    let statistics = solution.statistics;
    writeln!(
        standard_output,
        "{}",
        json!({
            "unknowns": statistics.unknowns, "cells": statistics.cells, "iterations": statistics.iterations,
            "residual": statistics.residual, "lowest": statistics.lowest_temperature,
            "highest": statistics.highest_temperature, "source_power": statistics.source_power,
            "boundary_power": statistics.boundary_power,
        })
    )?;
    Ok(())
}

fn read_arrays(text: &str) -> Result<BTreeMap<String, Array>, Box<dyn Error>> {
    let Value::Object(entries) = serde_json::from_str(text)? else { return Err("arrays: an object".into()) };
    let mut arrays = BTreeMap::new();
    for (path, entry) in entries {
        let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone())?;
        let values: Vec<f64> = serde_json::from_value(entry["values"].clone())?;
        arrays.insert(path, Array::new(shape, Values::Float64(values))?);
    }
    Ok(arrays)
}
