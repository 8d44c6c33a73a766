//! What holds for the modes of a plane without an oracle: theory, rules, refusals.

use std::ops::ControlFlow;

use num_complex::Complex;
use wavetask_mode::plane::{
    Controls, ModeError, PlaneMode, PlaneProblem, PlaneWorkspace, Symmetry, Tensor, estimate, solve,
    solve_with,
};

type C = Complex<f64>;

/// A core in a cladding; `core` and `size` in micrometres, cells along both axes.
fn strip(shape: [usize; 2], size: [f64; 2], core: [f64; 2], indices: [f64; 2]) -> PlaneProblem {
    let boundaries = [0, 1].map(|axis| {
        (0..=shape[axis])
            .map(|line| size[axis] * (line as f64 / shape[axis] as f64 - 0.5))
            .collect::<Vec<f64>>()
    });
    let at = |shift: [f64; 2]| -> Vec<C> {
        (0..shape[0] * shape[1])
            .map(|cell| {
                let place = [cell / shape[1], cell % shape[1]];
                let share: f64 = [0, 1]
                    .map(|axis| {
                        let step = size[axis] / shape[axis] as f64;
                        let position = (place[axis] as f64 + shift[axis]) * step - size[axis] / 2.0;
                        ((core[axis] / 2.0 - position.abs()) / step + 0.5).clamp(0.0, 1.0)
                    })
                    .iter()
                    .product();
                C::from(share * indices[0].powi(2) + (1.0 - share) * indices[1].powi(2))
            })
            .collect()
    };
    let permittivity = Tensor::diagonal(at([0.5, 0.0]), at([0.0, 0.5]), at([0.0, 0.0]));
    PlaneProblem { num_modes: 2, ..PlaneProblem::new(boundaries, permittivity, 2.997_924_58e14 / 1.55) }
}

fn silicon() -> PlaneProblem {
    strip([48, 40], [2.4, 2.0], [0.5, 0.22], [3.48, 1.444])
}

fn modes(problem: &PlaneProblem) -> Vec<PlaneMode> {
    solve(problem, &Controls::unlimited()).expect("modes").modes
}

/// The TE index of a slab by its dispersion relation: `tan(κ d / 2) = γ / κ` for the even modes.
fn slab_index(thickness: f64, indices: [f64; 2], wavelength: f64) -> f64 {
    let wave_number = 2.0 * std::f64::consts::PI / wavelength;
    let excess = |index: f64| {
        let inside = wave_number * (indices[0].powi(2) - index.powi(2)).sqrt();
        let outside = wave_number * (index.powi(2) - indices[1].powi(2)).sqrt();
        (inside * thickness / 2.0).tan() - outside / inside
    };
    // Above the cut-off of the second mode the tangent has no pole.
    let (mut low, mut high) = (indices[1] + 1e-9, indices[0] - 1e-9);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[test]
fn a_slab_has_the_index_of_its_dispersion_relation_to_second_order() {
    let exact = slab_index(0.3, [2.0, 1.444], 1.55);
    let error = |cells: usize| {
        let mut problem = strip([cells, 1], [4.0, 0.1], [0.3, 10.0], [2.0, 1.444]);
        problem.num_modes = 1;
        (modes(&problem)[0].index.re - exact).abs()
    };
    let (coarse, fine) = (error(200), error(400));
    assert!(fine < 1e-4, "{fine:.1e}");
    assert!(coarse > 3.0 * fine, "{coarse:.1e} and {fine:.1e}");
}

#[test]
fn modes_are_orthonormal_without_conjugation() {
    let mut problem = silicon();
    problem.num_modes = 4;
    problem.num_pml = [6, 6];
    let found = modes(&problem);
    let step = 0.05 * 0.05;
    for (i, a) in found.iter().enumerate() {
        for (j, b) in found.iter().enumerate() {
            let product: C = (0..a.e[0].len())
                .map(|cell| {
                    a.e[0][cell] * b.h[1][cell] + b.e[0][cell] * a.h[1][cell]
                        - a.e[1][cell] * b.h[0][cell]
                        - b.e[1][cell] * a.h[0][cell]
                })
                .sum::<C>()
                * (0.25 * step);
            let expected = if i == j { 1.0 } else { 0.0 };
            // Absorbers stretch areas, which the product leaves out: only modes that do not reach them are orthogonal.
            let limit = if i == j { 1e-9 } else { 0.05 };
            assert!((product - expected).norm() < limit, "{i} {j}: {product}");
        }
    }
}

#[test]
fn symmetries_pick_from_the_modes_of_the_whole() {
    let mut whole = silicon();
    whole.num_modes = 6;
    let all: Vec<C> = modes(&whole).iter().map(|mode| mode.index).collect();
    let tensor = |problem: &PlaneProblem| {
        let columns = problem.shape()[1];
        Tensor(std::array::from_fn(|index| problem.permittivity.0[index][24 * columns..].to_vec()))
    };
    for symmetry in [Symmetry::Electric, Symmetry::Magnetic] {
        let mut half = silicon();
        half.permittivity = tensor(&half);
        half.boundaries[0].drain(..24);
        half.symmetry[0] = symmetry;
        half.num_modes = 1;
        let index = modes(&half)[0].index;
        let nearest = all.iter().map(|other| (other - index).norm()).fold(f64::INFINITY, f64::min);
        assert!(nearest < 2e-3, "{symmetry:?}: {index} is not among {all:?}");
    }
}

#[test]
fn a_sweep_with_a_workspace_finds_what_each_frequency_finds_alone() {
    // Wide steps, so that modes of one symmetry overtake those of another between two frequencies.
    let mut workspace = PlaneWorkspace::new();
    for step in 0..12 {
        let mut problem = silicon();
        problem.num_modes = 3;
        problem.frequency *= 0.6 + 0.08 * f64::from(step);
        let carried = solve_with(&problem, &mut workspace, &Controls::unlimited()).expect("modes").modes;
        for (carried, alone) in carried.iter().zip(modes(&problem)) {
            let difference = (carried.index - alone.index).norm();
            assert!(difference < 1e-7, "step {step}: {} and {}", carried.index, alone.index);
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut PlaneProblem)| {
        let mut problem = silicon();
        change(&mut problem);
        match solve(&problem, &Controls::unlimited()) {
            Err(ModeError::Refused { feature, .. }) => feature,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|problem| problem.num_modes = 0), "num_modes");
    assert_eq!(refused(&|problem| problem.num_modes = 100_000), "num_modes");
    assert_eq!(refused(&|problem| problem.boundaries[0] = vec![0.0]), "plane");
    assert_eq!(refused(&|problem| problem.boundaries[1].swap(3, 4)), "grid");
    assert_eq!(refused(&|problem| problem.frequency = f64::NAN), "frequency");
    assert_eq!(refused(&|problem| problem.permittivity.0[4][17].im = f64::NAN), "permittivity");
    assert_eq!(refused(&|problem| problem.permittivity.0[8][17] = C::default()), "permittivity");
    assert_eq!(refused(&|problem| problem.permittivity.0[1].truncate(5)), "permittivity");
    assert_eq!(refused(&|problem| problem.target_index = Some(f64::INFINITY)), "target_neff");
    assert_eq!(refused(&|problem| problem.angle_theta = 1.6), "angle_theta");
    let bend = wavetask_mode::plane::Bend { radius: 1.0, axis: 1, center: [0.0, 0.0] };
    assert_eq!(refused(&|problem| problem.bend = Some(bend)), "bend_radius");
}

#[test]
fn limits_and_cancellation_are_obeyed() {
    let problem = silicon();
    let cost = estimate(48, 40, false, 1.0);
    assert_eq!(cost.unknowns, 2 * 48 * 40);
    let limited = Controls { memory_limit: Some(cost.bytes - 1), ..Controls::unlimited() };
    assert!(matches!(solve(&problem, &limited), Err(ModeError::TooLarge { .. })));
    let cancelling = Controls { memory_limit: Some(cost.bytes), proceed: &|| ControlFlow::Break(()) };
    assert!(matches!(solve(&problem, &cancelling), Err(ModeError::Cancelled)));
}
