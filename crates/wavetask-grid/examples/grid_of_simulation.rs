//! The grid of a simulation in a JSON file, and how long it takes to make it.
//!
//! `cargo run --release -p wavetask-grid --example grid_of_simulation -- simulation.json [lines]`; the file is what
//! the client's `simulation.to_json` writes. With `lines`, the lines along every axis are printed, too.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeMap;
use std::time::Instant;

use wavetask_document::Array;
use wavetask_grid::boundaries::{Grid, SceneSource};

/// The least time of this many attempts counts.
const ATTEMPTS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: grid_of_simulation FILE.json [lines]")?;
    let simulation = serde_json::from_slice(&std::fs::read(file)?)?;
    let arrays = BTreeMap::<String, Array>::new();
    let source = SceneSource { simulation: &simulation, path: "", arrays: &arrays };
    let mut seconds = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        let started = Instant::now();
        Grid::of_simulation(&source)?;
        seconds = seconds.min(started.elapsed().as_secs_f64());
    }
    let grid = Grid::of_simulation(&source)?;
    println!("{:?} cells, {:.3} ms", grid.cells(), seconds * 1e3);
    if arguments.next().is_some() {
        for (axis, lines) in ["x", "y", "z"].iter().zip(grid.boundaries()) {
            println!("{axis}: {lines:?}");
        }
    }
    Ok(())
}
