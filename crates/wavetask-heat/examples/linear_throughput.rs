//! How fast and how large the heat solver's linear algebra is.
//!
//! ```sh
//! cargo run --release -p wavetask-heat --example linear_throughput [-- POINTS_PER_EDGE [TOLERANCE]]
//! ```
//!
//! Prints one line per problem: a 7-point Poisson problem on a cube, the same with the conductivity of random
//! blocks of cells 100 and 1e6 times larger, the P1 Laplacian of Kuhn's tetrahedra on a regular and on a
//! distorted cube (with and without contrast), and a thin-layer grid of cells 50 times longer than high.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use wavetask_heat::linear::{
    Assembler, CsrMatrix, Elements, LinearError, Multigrid, MultigridOptions, Options, Pattern,
    conjugate_gradient,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let edge = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100);
    let tolerance = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1e-10);
    println!("threads {}, tolerance {tolerance:e}", rayon::current_num_threads());
    println!(
        "{:<28} {:>9} {:>10} {:>4} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>6} {:>8} {:>9}",
        "problem",
        "unknowns",
        "entries",
        "iter",
        "asm s",
        "setup s",
        "solve s",
        "cpu s",
        "Mu/s",
        "B/unknown",
        "peak MB",
        "op.c.",
        "levels",
        "true res."
    );
    let problems: [(&str, &Maker<'_>); 9] = [
        ("7-point", &|| box_grid(edge, [1.0; 3], 1.0)),
        ("7-point, contrast 100", &|| box_grid(edge, [1.0; 3], 1e2)),
        ("7-point, contrast 1e6", &|| box_grid(edge, [1.0; 3], 1e6)),
        ("7-point, flat 50:1, 1e6", &|| box_grid(edge, [50.0, 50.0, 1.0], 1e6)),
        ("Kuhn P1", &|| kuhn(edge, 0.0, 1.0, false)),
        ("Kuhn P1, contrast 1e6", &|| kuhn(edge, 0.0, 1e6, false)),
        ("Kuhn P1, shuffled, 1e6", &|| kuhn(edge, 0.2, 1e6, true)),
        ("Kuhn P1, distorted", &|| kuhn(edge, 0.25, 1.0, false)),
        ("Kuhn P1, distorted, 1e6", &|| kuhn(edge, 0.25, 1e6, false)),
    ];
    for (name, problem) in problems {
        if let Err(error) = report(name, problem, tolerance) {
            println!("{name:<28} {error} ({})", error.hint());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Makes a problem.
type Maker<'a> = dyn Fn() -> Result<Problem, LinearError> + 'a;

struct Problem {
    matrix: CsrMatrix,
    right_hand_side: Vec<f64>,
}

fn report(name: &str, problem: &Maker<'_>, tolerance: f64) -> Result<(), LinearError> {
    let begin = Instant::now();
    let Problem { matrix, right_hand_side } = problem()?;
    let assembly_seconds = begin.elapsed().as_secs_f64();
    let cpu_begin = cpu_seconds();
    let multigrid = Multigrid::new(&matrix, &MultigridOptions::default())?;
    let mut x = vec![0.0; matrix.unknowns()];
    let options = Options { tolerance, ..Options::default() };
    let mut callback = |_, _| ControlFlow::Continue(());
    let statistics =
        conjugate_gradient(&matrix, &multigrid, &right_hand_side, &mut x, &options, &mut callback)?;
    let cpu = cpu_seconds() - cpu_begin;
    let unknowns = matrix.unknowns();
    println!(
        "{name:<28} {unknowns:>9} {:>10} {:>4} {assembly_seconds:>7.2} {:>7.2} {:>7.2} {cpu:>7.2} {:>7.2} {:>9.0} {:>9.0} {:>6.2} {:>8} {:>9.1e}",
        matrix.entries(),
        statistics.iterations,
        statistics.setup.seconds,
        statistics.seconds,
        unknowns as f64 / (statistics.setup.seconds + statistics.seconds) / 1e6,
        statistics.bytes as f64 / unknowns as f64,
        peak_megabytes(),
        statistics.setup.operator_complexity,
        statistics.setup.levels,
        statistics.relative_residual_euclidean,
    );
    Ok(())
}

/// User and system time of this process, from `/proc`; 0 where there is none.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The largest resident size of this process so far, from `/proc`.
fn peak_megabytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// A conductivity per cell: blocks of five cells a side that conduct `contrast` times better, in a scatter
/// that leaves some of them floating and others in touch.
fn conductivity(cell: [usize; 3], contrast: f64) -> f64 {
    let block = cell.map(|index| (index / 5) as u32);
    let mut hash = block[0].wrapping_mul(0x9E37_79B1)
        ^ block[1].wrapping_mul(0x85EB_CA77)
        ^ block[2].wrapping_mul(0xC2B2_AE3D);
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(0x2C1B_3C6D);
    hash ^= hash >> 13;
    if hash.is_multiple_of(3) { contrast } else { 1.0 }
}

/// Cell-centred finite volumes with harmonic means; the lower face in z is at 0, the others insulate.
fn box_grid(edge: usize, spacing: [f64; 3], contrast: f64) -> Result<Problem, LinearError> {
    let index = |cell: [usize; 3]| (cell[0] * edge + cell[1]) * edge + cell[2];
    let strides = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    let mut row_starts = vec![0];
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    let volume: f64 = spacing.iter().product();
    for x in 0..edge {
        for y in 0..edge {
            for z in 0..edge {
                let cell = [x, y, z];
                let own = conductivity(cell, contrast);
                let mut row = Vec::with_capacity(7);
                let mut diagonal = if z == 0 { 2.0 * own * volume / (spacing[2] * spacing[2]) } else { 0.0 };
                for axis in 0..3 {
                    for up in [false, true] {
                        let mut other = cell;
                        if up {
                            other[axis] += strides[axis][axis];
                            if other[axis] == edge {
                                continue;
                            }
                        } else if cell[axis] == 0 {
                            continue;
                        } else {
                            other[axis] -= 1;
                        }
                        let theirs = conductivity(other, contrast);
                        let face = volume / (spacing[axis] * spacing[axis]);
                        let conductance = 2.0 * own * theirs / (own + theirs) * face;
                        diagonal += conductance;
                        row.push((index(other) as u32, -conductance));
                    }
                }
                row.push((index(cell) as u32, diagonal));
                row.sort_unstable_by_key(|entry| entry.0);
                columns.extend(row.iter().map(|entry| entry.0));
                values.extend(row.iter().map(|entry| entry.1));
                row_starts.push(columns.len());
            }
        }
    }
    let matrix = CsrMatrix::from_parts(row_starts, columns, values)?;
    let right_hand_side = vec![1.0; matrix.unknowns()];
    Ok(Problem { matrix, right_hand_side })
}

/// First-order finite elements on six tetrahedra per cube, corners moved at random by `distortion` of an
/// edge; 0 on the lower face in z.
fn kuhn(edge: usize, distortion: f64, contrast: f64, shuffled: bool) -> Result<Problem, LinearError> {
    let cells_per_edge = edge - 1;
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut points = Vec::with_capacity(edge.pow(3));
    for x in 0..edge {
        for y in 0..edge {
            for z in 0..edge {
                points.push([x, y, z].map(|i| {
                    let shift = 2.0 * distortion * random();
                    i as f64 + if i == 0 || i == cells_per_edge { 0.0 } else { shift }
                }));
            }
        }
    }
    let mut numbers: Vec<u32> = (0..points.len() as u32).collect();
    if shuffled {
        for place in (1..numbers.len()).rev() {
            let other = ((random() + 0.5) * (place + 1) as f64) as usize;
            numbers.swap(place, other.min(place));
            points.swap(place, other.min(place));
        }
    }
    let mut number_of = vec![0_u32; numbers.len()];
    for (place, &number) in numbers.iter().enumerate() {
        number_of[number as usize] = place as u32;
    }
    let index = |p: [usize; 3]| number_of[(p[0] * edge + p[1]) * edge + p[2]];
    let paths = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut cells: Vec<[u32; 4]> = Vec::with_capacity(6 * cells_per_edge.pow(3));
    let mut conductivities = Vec::with_capacity(cells.capacity());
    for x in 0..cells_per_edge {
        for y in 0..cells_per_edge {
            for z in 0..cells_per_edge {
                for path in paths {
                    let mut corner = [x, y, z];
                    let mut cell = [index(corner); 4];
                    for (node, axis) in cell[1..].iter_mut().zip(path) {
                        corner[axis] += 1;
                        *node = index(corner);
                    }
                    cells.push(cell);
                    conductivities.push(conductivity([x, y, z], contrast));
                }
            }
        }
    }
    let elements = Elements::new(points.len(), &cells, 4)?;
    let mut assembler = Assembler::new(Pattern::from_elements(&[&elements])?);
    assembler.add::<4>(&elements, |cell, local| {
        let corners = cells[cell].map(|node| points[node as usize]);
        stiffness(&corners, conductivities[cell], local);
    })?;
    let mut right_hand_side = vec![0.0; points.len()];
    elements.add_to_vector::<4>(&mut right_hand_side, |_, local| *local = [1.0 / 24.0; 4])?;
    let mut matrix = assembler.finish();
    let fixed: Vec<Option<f64>> =
        numbers.iter().map(|&i| (i as usize).is_multiple_of(edge).then_some(0.0)).collect();
    matrix.fix_unknowns(&fixed, &mut right_hand_side)?;
    Ok(Problem { matrix, right_hand_side })
}

/// `conductivity · volume · ∇φ_i · ∇φ_j` of a tetrahedron.
fn stiffness(corners: &[[f64; 3]; 4], conductivity: f64, local: &mut [[f64; 4]; 4]) {
    let edge = |i: usize| [0, 1, 2].map(|axis| corners[i][axis] - corners[0][axis]);
    let cross = |a: [f64; 3], b: [f64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let (a, b, c) = (edge(1), edge(2), edge(3));
    let six_volumes = dot(a, cross(b, c));
    let [first, second, third] = [cross(b, c), cross(c, a), cross(a, b)];
    let origin = [0, 1, 2].map(|axis| -(first[axis] + second[axis] + third[axis]));
    let gradients = [origin, first, second, third];
    for i in 0..4 {
        for j in 0..4 {
            local[i][j] = conductivity * dot(gradients[i], gradients[j]) / (6.0 * six_volumes.abs());
        }
    }
}
