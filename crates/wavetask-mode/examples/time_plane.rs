//! Times the modes of a silicon strip: `time_plane [CELLS_X] [CELLS_Y] [MODES] [FREQUENCIES] [real|lossy|tensor]`.
//!
//! Prints seconds of processor time of the calling thread, which other load on the machine does not change much, for a
//! sweep on one thread, with what one frequency leaves for the next.

use std::io::Write;

use num_complex::Complex;
use wavetask_mode::plane::{Controls, PlaneProblem, PlaneWorkspace, Tensor, solve_with};

/// Seconds that this thread has been on a processor, as Linux counts them.
fn thread_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |place: usize, default: usize| arguments.get(place).map_or(Ok(default), |text| text.parse::<usize>());
    let shape = [number(0, 150)?, number(1, 110)?];
    let (modes, frequencies) = (number(2, 4)?, number(3, 1)?);
    let kind = arguments.get(4).map_or("real", String::as_str);
    let size = [3.0, 2.2];
    let boundaries = [0, 1].map(|axis| {
        let step = size[axis] / shape[axis] as f64;
        (0..=shape[axis]).map(|line| line as f64 * step - size[axis] / 2.0).collect::<Vec<f64>>()
    });
    let core = if kind == "lossy" { Complex::new(12.11, 0.14) } else { Complex::new(12.11, 0.0) };
    let at = |shift: [f64; 2]| -> Vec<Complex<f64>> {
        let inside = |position: f64, half: f64, axis: usize| {
            let step = size[axis] / shape[axis] as f64;
            ((half - position.abs()) / step + 0.5).clamp(0.0, 1.0)
        };
        (0..shape[0] * shape[1])
            .map(|cell| {
                let place = [cell / shape[1], cell % shape[1]];
                let [x, y] = [0, 1].map(|axis| {
                    (place[axis] as f64 + shift[axis]) * size[axis] / shape[axis] as f64 - size[axis] / 2.0
                });
                let share = inside(x, 0.25, 0) * inside(y, 0.11, 1);
                core * share + 2.085 * (1.0 - share)
            })
            .collect()
    };
    let permittivity = Tensor::diagonal(at([0.5, 0.0]), at([0.0, 0.5]), at([0.0, 0.0]));
    let mut workspace = PlaneWorkspace::new();
    let mut out = std::io::stdout();
    let whole = (thread_seconds(), std::time::Instant::now());
    for step in 0..frequencies {
        let frequency = 1.934e14 * (1.0 + 0.005 * step as f64);
        let problem = PlaneProblem {
            num_modes: modes,
            angle_theta: if kind == "tensor" { 0.2 } else { 0.0 },
            ..PlaneProblem::new(boundaries.clone(), permittivity.clone(), frequency)
        };
        let started = thread_seconds();
        let solution = solve_with(&problem, &mut workspace, &Controls::unlimited())?;
        let seconds = thread_seconds() - started;
        let indices: Vec<String> = solution.modes.iter().map(|mode| format!("{:.10}", mode.index)).collect();
        writeln!(out, "{seconds:.3} s, {} solutions: {}", solution.solutions, indices.join(" "))?;
    }
    writeln!(
        out,
        "in all {:.3} s, wall {:.3} s",
        thread_seconds() - whole.0,
        whole.1.elapsed().as_secs_f64()
    )?;
    Ok(())
}
