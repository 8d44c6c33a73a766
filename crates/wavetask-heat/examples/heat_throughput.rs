//! How fast and how large the whole heat solver is: from a simulation's JSON to its monitors' data.
//!
//! ```sh
//! cargo run --release -p wavetask-heat --example heat_throughput [-- --unknowns N] [--json]
//! ```
//!
//! The problem is a cube of 1 µm with a heated cube of 0.5 µm inside, its surface at 300 K. Two monitors record the
//! temperature: everywhere, and at the centre. Without a number, three sizes run one after the other in processes
//! of their own, so that each peak of memory is its own.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use wavetask_document::{Array, VALUES_DATASET};
use wavetask_heat::Controls;

const SIZES: [usize; 3] = [100_000, 300_000, 1_000_000];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let place = arguments.iter().position(|argument| argument == "--unknowns");
    if let Some(number) = place.and_then(|place| arguments.get(place + 1)) {
        let figures = measure(number.parse()?)?;
        if as_json {
            println!("{figures}");
        } else {
            print_row(&figures);
        }
        return Ok(());
    }
    println!(
        "threads {}\n{:>9} {:>9} {:>7} {:>7} {:>7} {:>7} {:>7} {:>10} {:>8} {:>5} {:>12}",
        std::thread::available_parallelism()?,
        "unknowns",
        "cells",
        "mesh s",
        "asm s",
        "solve s",
        "data s",
        "total s",
        "unknowns/s",
        "peak MB",
        "iter",
        "rise K"
    );
    for size in SIZES {
        let output = Command::new(std::env::current_exe()?)
            .args(["--unknowns", &size.to_string(), "--json"])
            .output()?;
        print_row(&serde_json::from_slice(&output.stdout)?);
    }
    Ok(())
}

fn print_row(figures: &Value) {
    let number = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
    println!(
        "{:>9} {:>9} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>10.0} {:>8.0} {:>5} {:>12.6}",
        number("unknowns"),
        number("cells"),
        number("mesh"),
        number("assemble"),
        number("solve"),
        number("sample"),
        number("total"),
        number("unknowns") / number("total"),
        number("peak_memory") / 1e6,
        number("iterations"),
        number("rise"),
    );
}

fn measure(unknowns: usize) -> Result<Value, Box<dyn Error>> {
    // The longest edge of a cell is the diagonal of a cube between neighbouring grid points.
    let intervals = 4.0 * ((unknowns as f64).cbrt() / 4.0).round();
    let simulation = scene(1.000_001 * 3.0_f64.sqrt() / intervals);
    let controls = Controls { threads: 0, memory_limit: None, progress: &|_| ControlFlow::Continue(()) };
    let arrays: BTreeMap<String, Array> = BTreeMap::new();
    let begin = Instant::now();
    let solution = wavetask_heat::solve(&simulation, &arrays, &controls)?;
    let total = begin.elapsed().as_secs_f64();
    let statistics = solution.statistics;
    let center = solution.arrays[&format!("data/1/temperature/{VALUES_DATASET}")].to_floats();
    let rise = center.and_then(|values| values.first().copied()).map(|value| value - 300.0);
    Ok(json!({
        "unknowns": statistics.unknowns, "cells": statistics.cells, "mesh": statistics.meshing_seconds,
        "assemble": statistics.assembly_seconds, "solve": statistics.solving_seconds,
        "sample": statistics.sampling_seconds, "total": total, "iterations": statistics.iterations,
        "rise": rise, "peak_memory": peak_memory(),
    }))
}

fn scene(dl: f64) -> Value {
    let solid = json!({"type": "SolidMedium", "name": "solid", "conductivity": 2e-6});
    let body = |name: &str, size: f64| {
        json!({"type": "Structure", "name": name, "medium": solid,
            "geometry": {"type": "Box", "center": [0, 0, 0], "size": [size, size, size]}})
    };
    let monitor = |name: &str, size: Value| json!({"type": "TemperatureMonitor", "name": name, "center": [0, 0, 0], "size": size, "unstructured": true});
    json!({
        "type": "HeatChargeSimulation", "center": [0, 0, 0], "size": [1, 1, 1],
        "medium": {"type": "FluidMedium", "name": "outside"},
        "structures": [body("body", 3.0), body("heater", 0.5)],
        "sources": [{"type": "HeatSource", "structures": ["heater"], "rate": 1e-5}],
        "boundary_spec": [{"type": "HeatChargeBoundarySpec", "placement": {"type": "SimulationBoundary"},
            "condition": {"type": "TemperatureBC", "temperature": 300.0}}],
        "grid_spec": {"type": "UniformUnstructuredGrid", "dl": dl, "min_edges_per_circumference": 0,
            "min_edges_per_side": 0, "relative_min_dl": 0},
        "monitors": [monitor("everywhere", json!(["Infinity", "Infinity", "Infinity"])), monitor("center", json!([0, 0, 0]))],
    })
}

/// The largest resident memory of this process so far in bytes; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes =
        line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|text| text.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
