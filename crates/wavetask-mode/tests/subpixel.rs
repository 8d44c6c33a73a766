//! Averaged permittivities in the solver, against guides whose indices are known exactly.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that states what it compared")]

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use num_complex::Complex;
use serde_json::{Value, json};
use wavetask_document::Array;
use wavetask_grid::media::SPEED_OF_LIGHT;
use wavetask_grid::permittivity::{Component, Scene};
use wavetask_grid::subpixel::{Cells, Coupling, Dielectric, Specification, on_grid};
use wavetask_mode::plane::{Controls, Direction, PlaneProblem, Precision, Symmetry, Tensor, solve};

/// Positions of the grid against a slab, in steps.
const SLAB_SHIFTS: [f64; 8] = [0.03, 0.17, 0.29, 0.41, 0.53, 0.66, 0.78, 0.9];

const WAVELENGTH: f64 = 1.55;

fn scene(background: f64, structures: &[(Value, f64)]) -> Scene {
    let medium = |index: f64| json!({"type": "Medium", "permittivity": index * index, "conductivity": 0.0});
    let structures: Vec<Value> = structures
        .iter()
        .map(|(geometry, index)| json!({"geometry": geometry, "medium": medium(*index)}))
        .collect();
    let simulation = json!({"type": "Simulation", "medium": medium(background), "structures": structures});
    Scene::read(&simulation, "", &BTreeMap::<String, Array>::new()).unwrap()
}

/// How the permittivity is averaged.
type Method = (Dielectric, Coupling);

const STAIRCASED: Method = (Dielectric::Staircase, Coupling::Diagonal);
const POLARIZED: Method = (Dielectric::Polarized, Coupling::Diagonal);
const CONTOUR: Method = (Dielectric::ContourPath, Coupling::Diagonal);

/// The index of a mode of the cross-section at z = 0.
fn index(scene: &Scene, boundaries: [Vec<f64>; 2], method: Method, target: f64, mode: usize) -> f64 {
    let mut specification = Specification::staircasing();
    specification.dielectric = method.0;
    let frequency = SPEED_OF_LIGHT / WAVELENGTH;
    let entry = |row: usize, column: usize| {
        let component = Component::Entry(row, column);
        let lines = [boundaries[0].as_slice(), &boundaries[1], &[0.0, 1.0]];
        let cells = Cells::of_yee(lines, component).unwrap().on_plane(2, 0.0);
        on_grid(scene, &specification, &cells, component, method.1, frequency).unwrap()
    };
    let permittivity = Tensor(std::array::from_fn(|place| entry(place / 3, place % 3)));
    let problem = PlaneProblem {
        boundaries,
        permittivity,
        permeability: None,
        frequency,
        num_modes: mode + 1,
        target_index: Some(target),
        num_pml: [0, 0],
        symmetry: [Symmetry::None; 2],
        bend: None,
        angle_theta: 0.0,
        angle_phi: 0.0,
        precision: Precision::Double,
        direction: Direction::Forward,
    };
    let solution = solve(&problem, &Controls::unlimited()).unwrap();
    let mut indices: Vec<Complex<f64>> = solution.modes.iter().map(|mode| mode.index).collect();
    indices.sort_by(|one, other| (one.re - target).abs().total_cmp(&(other.re - target).abs()));
    indices[0].re
}

/// Lines that are `step` apart over more than `[-half, half]`, moved by a part of the step.
fn lines(half: f64, step: f64, shift: f64) -> Vec<f64> {
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
    let count = (half / step).ceil() as i32 + 1;
    (-count..=count).map(|line| (f64::from(line) + shift) * step).collect()
}

/// The fundamental index of a slab between two half spaces, from its dispersion relation by bisection.
fn slab(film: f64, thickness: f64, [below, above]: [f64; 2], is_magnetic: bool) -> f64 {
    let k = TAU / WAVELENGTH;
    let residual = |index: f64| {
        let across = k * (film * film - index * index).sqrt();
        let phase = |outside: f64| {
            let decay = k * (index * index - outside * outside).max(0.0).sqrt();
            let weight = if is_magnetic { (film / outside).powi(2) } else { 1.0 };
            (weight * decay / across).atan()
        };
        across * thickness - phase(below) - phase(above)
    };
    let (mut low, mut high) = (below.max(above) + 1e-12, film - 1e-12);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if residual(middle) > 0.0 { low = middle } else { high = middle }
    }
    low
}

/// The largest error over positions of the grid, at each step.
fn errors(steps: &[f64], shifts: &[f64], exact: f64, solved: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    steps
        .iter()
        .map(|&step| shifts.iter().map(|&shift| (solved(step, shift) - exact).abs()).fold(0.0, f64::max))
        .collect()
}

fn print(name: &str, steps: &[f64], table: &[(&str, Vec<f64>)]) {
    println!("{name}");
    for (method, errors) in table {
        let cells: Vec<String> =
            steps.iter().zip(errors).map(|(step, error)| format!("{step:.4}: {error:.2e}")).collect();
        println!("  {method:<12} {}", cells.join("   "));
    }
}

#[test]
fn slabs_converge_with_the_square_of_the_step() {
    let film = 2.0;
    let thickness = 0.4;
    let geometry =
        json!({"type": "Box", "center": [0, 0.0137, 0], "size": ["Infinity", thickness, "Infinity"]});
    let substrate =
        json!({"type": "Box", "center": [0, -50.0 + 0.0137, 0], "size": ["Infinity", 100, "Infinity"]});
    // Twenty and forty steps per wavelength in the film are 0.03875 and 0.019375.
    let steps = [0.03875, 0.019_375, 0.009_687_5];
    for outside in [[1.444, 1.444], [1.444, 1.0]] {
        let scene = scene(outside[1], &[(substrate.clone(), outside[0]), (geometry.clone(), film)]);
        for is_magnetic in [false, true] {
            let exact = slab(film, thickness, outside, is_magnetic);
            let solved = |method: Method| {
                errors(&steps, &SLAB_SHIFTS, exact, |step, shift| {
                    index(&scene, [vec![-0.1, 0.1], lines(3.0, step, shift)], method, exact, 1)
                })
            };
            let table = [
                ("staircased", solved(STAIRCASED)),
                ("polarized", solved(POLARIZED)),
                ("contour path", solved(CONTOUR)),
            ];
            print(&format!("slab between {outside:?}, TM {is_magnetic}, exact {exact:.8}"), &steps, &table);
            let staircased = &table[0].1;
            for (_, errors) in &table[1..] {
                for (index, error) in errors.iter().enumerate() {
                    assert!(*error <= 0.5 * staircased[index], "{table:?}");
                }
                // Twice a half of the step: a sixteenth, if the order is the second.
                assert!(errors[2] < 1.3 / 16.0 * errors[0], "not second order: {table:?}");
            }
        }
    }
}

#[test]
fn fibres_converge() {
    // HE11 of step-index fibres from the characteristic equation of the hybrid modes (Snyder and Love, table
    // 12-4), solved with Bessel functions to ten digits: radius, core, cladding, index.
    let cases = [(0.5, 2.0, 1.0, 1.718_610_838_7, 1.6), (0.25, 3.4777, 1.444, 2.801_648_130_7, 0.9)];
    for (radius, core, cladding, exact, half) in cases {
        let cylinder = json!({"type": "Cylinder", "center": [0.0071, -0.0113, 0], "radius": radius,
            "length": "Infinity", "axis": 2, "sidewall_angle": 0.0, "reference_plane": "middle"});
        let scene = scene(cladding, &[(cylinder, core)]);
        let steps = [14.0, 20.0, 28.0].map(|count| WAVELENGTH / core / count);
        let solved = |method: Method| {
            errors(&steps, &[0.13, 0.62], exact, |step, shift| {
                let [x, y] = [lines(half, step, shift), lines(half, step, 0.5 * shift)];
                index(&scene, [x, y], method, exact, 1)
            })
        };
        let table = [
            ("staircased", solved(STAIRCASED)),
            ("polarized", solved(POLARIZED)),
            ("contour path", solved(CONTOUR)),
            ("full tensor", solved((Dielectric::Polarized, Coupling::Full))),
        ];
        print(&format!("fibre {core} in {cladding}, radius {radius}, exact {exact}"), &steps, &table);
        // Staircased errors are erratic, so sums over the steps are compared.
        let sum = |place: usize| table[place].1.iter().sum::<f64>();
        for place in 1..table.len() {
            assert!(sum(place) < 0.3 * sum(0), "{table:?}");
        }
        let tensor = &table[3].1;
        assert!(tensor[2] < 1.3 / 4.0 * tensor[0], "not second order: {table:?}");
    }
}
