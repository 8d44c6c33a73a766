//! Averaged permittivities in the solver, against guides whose indices are known exactly.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that states what it compared")]

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use num_complex::Complex;
use serde_json::{Value, json};
use wavetask_document::{Array, Values};
use wavetask_grid::media::{SPEED_OF_LIGHT, VACUUM_PERMITTIVITY};
use wavetask_grid::permittivity::{Component, Scene};
use wavetask_grid::subpixel::{Cells, Coupling, Dielectric, Specification, on_grid};
use wavetask_mode::plane::{
    Bend, Controls, Direction, PlaneProblem, Symmetry, Tensor, WithinCells, remove_grid_error, solve,
};

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

/// The averaged permittivity of the cross-section at z = 0: an element of its tensor on cells of these boundaries.
fn average(
    scene: &Scene,
    boundaries: &[Vec<f64>; 2],
    cells: Component,
    element: Component,
    method: Method,
) -> Vec<Complex<f64>> {
    let mut specification = Specification::staircasing();
    specification.dielectric = method.0;
    let lines = [boundaries[0].as_slice(), &boundaries[1], &[0.0, 1.0]];
    let cells = Cells::of_yee(lines, cells).unwrap().on_plane(2, 0.0);
    on_grid(scene, &specification, &cells, element, method.1, SPEED_OF_LIGHT / WAVELENGTH).unwrap()
}

/// The plane at z = 0, with one mode near the target.
fn problem(scene: &Scene, boundaries: [Vec<f64>; 2], method: Method, target: f64) -> PlaneProblem {
    let entry = |place: usize| {
        let component = Component::Entry(place / 3, place % 3);
        average(scene, &boundaries, component, component, method)
    };
    let permittivity = Tensor(std::array::from_fn(entry));
    PlaneProblem {
        target_index: Some(target),
        ..PlaneProblem::new(boundaries, permittivity, SPEED_OF_LIGHT / WAVELENGTH)
    }
}

/// The index of the mode, and the one without the grid's error.
fn indices(scene: &Scene, problem: &PlaneProblem) -> [Complex<f64>; 2] {
    let mut solution = solve(problem, &Controls::unlimited()).unwrap();
    let raw = solution.modes[0].index;
    let full = (Dielectric::Polarized, Coupling::Full);
    let fine = problem.boundaries.each_ref().map(|lines| {
        let middles = lines.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        let mut all: Vec<f64> = lines.iter().copied().chain(middles).collect();
        all.sort_by(f64::total_cmp);
        all
    });
    let mean = average(scene, &fine, Component::Mean, Component::diagonal(2), full);
    let corner = Component::Entry(0, 1);
    let crossings = [Component::diagonal(0), corner, Component::diagonal(1)]
        .map(|element| average(scene, &problem.boundaries, corner, element, full));
    let within = WithinCells { quarters: [mean.clone(), mean.clone(), mean], crossings: Some(crossings) };
    remove_grid_error(problem, &within, &mut solution);
    [raw, solution.modes[0].index]
}

/// The index of the mode nearest to a target.
fn index(scene: &Scene, boundaries: [Vec<f64>; 2], method: Method, target: f64) -> f64 {
    let solution = solve(&problem(scene, boundaries, method, target), &Controls::unlimited()).unwrap();
    solution.modes[0].index.re
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
                    index(&scene, [vec![-0.1, 0.1], lines(3.0, step, shift)], method, exact)
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
                index(&scene, [x, y], method, exact)
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

/// A silicon strip of 500 x 220 nm in glass, about the middle.
fn strip() -> Scene {
    let core = json!({"type": "Box", "center": [0, 0, 0], "size": [0.5, 0.22, "Infinity"]});
    scene(1.444, &[(core, 3.4777)])
}

/// Lines from `-half` to `half`, with some on the faces of the strip.
fn lines_of_strip(extent: f64, steps_within: i32, half: f64) -> Vec<f64> {
    let step = extent / f64::from(steps_within);
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
    let beyond = ((half - extent / 2.0) / step).round() as i32;
    (-beyond..=steps_within + beyond).map(|line| f64::from(line) * step - extent / 2.0).collect()
}

fn plane_of_strip() -> [Vec<f64>; 2] {
    [lines_of_strip(0.5, 22, 1.1), lines_of_strip(0.22, 10, 1.0)]
}

#[test]
fn the_grids_error_comes_off_where_averages_cannot_help() {
    let scene = strip();
    for converged in [2.4472, 1.7712] {
        let problem = problem(&scene, plane_of_strip(), POLARIZED, converged);
        let [raw, better] = indices(&scene, &problem);
        println!("{converged}: {raw}, without the grid's error {better}");
        assert_eq!(better.im, 0.0);
        let [raw, better] = [raw, better].map(|index| (index.re - converged).abs());
        assert!(raw > 1.5e-3 && better < 0.2 * raw, "{raw:e} {better:e}");
    }
}

#[test]
fn it_does_not_depend_on_how_the_plane_is_described() {
    let scene = strip();
    let whole = problem(&scene, plane_of_strip(), POLARIZED, 2.4472);
    let [_, expected] = indices(&scene, &whole);

    let mut backward = whole.clone();
    backward.direction = Direction::Backward;
    assert!((indices(&scene, &backward)[1] - expected).norm() < 1e-10);

    let upper = plane_of_strip().map(|lines| lines[lines.len() / 2..].to_vec());
    let mut quarter = problem(&scene, upper, POLARIZED, 2.4472);
    quarter.symmetry = [Symmetry::Electric, Symmetry::Magnetic];
    let found = indices(&scene, &quarter);
    // Beside a mirror curvatures are those of the next cell.
    assert!((found[1] - expected).norm() < 1e-5, "{found:?} {expected}");

    let mut bent = whole.clone();
    bent.bend = Some(Bend { radius: 1e4, axis: 1, center: [0.0; 2] });
    let [raw, better] = indices(&scene, &bent);
    let straight = indices(&scene, &whole);
    assert!((better - raw - straight[1] + straight[0]).norm() < 1e-6, "{raw} {better} {straight:?}");

    let mut absorbing = whole;
    absorbing.num_pml = [8, 8];
    assert!((indices(&scene, &absorbing)[1] - expected).norm() < 1e-6);
}

#[test]
fn lossy_slabs_lose_what_the_dispersion_relation_says() {
    let (film, outside, thickness) = (Complex::new(3.0, 0.02), 1.444, 0.3);
    let k = TAU / WAVELENGTH;
    let residual = |index: Complex<f64>| {
        let across = (film * film - index * index).sqrt() * k;
        let decay = (index * index - outside * outside).sqrt() * k;
        (across * (thickness / 2.0)).tan() * across - decay * (film / outside).powi(2)
    };
    // Newton's method from the index without loss.
    let mut exact = Complex::from(slab(film.re, thickness, [outside; 2], true));
    for _ in 0..20 {
        let step = Complex::new(1e-7, 0.0);
        let slope = (residual(exact + step) - residual(exact - step)) / (step * 2.0);
        exact -= residual(exact) / slope;
    }
    let conductivity = 2.0 * film.re * film.im * TAU * SPEED_OF_LIGHT / WAVELENGTH * VACUUM_PERMITTIVITY;
    let medium = json!({"type": "Medium", "permittivity": (film * film).re, "conductivity": conductivity});
    let geometry =
        json!({"type": "Box", "center": [0, 0.0137, 0], "size": ["Infinity", thickness, "Infinity"]});
    let background = json!({"type": "Medium", "permittivity": outside * outside, "conductivity": 0.0});
    let simulation = json!({"type": "Simulation", "medium": background,
        "structures": [{"geometry": geometry, "medium": medium}]});
    let scene = Scene::read(&simulation, "", &BTreeMap::<String, Array>::new()).unwrap();
    let (mut worst, mut worst_raw) = ([0.0_f64; 2], [0.0_f64; 2]);
    for shift in SLAB_SHIFTS {
        let boundaries = [vec![-0.1, 0.1], lines(2.0, WAVELENGTH / 3.0 / 20.0, shift)];
        let errors = indices(&scene, &problem(&scene, boundaries, POLARIZED, exact.re)).map(|it| it - exact);
        println!("{shift}: {exact}, on the grid {:.1e}, without its error {:.1e}", errors[0], errors[1]);
        for (worst, error) in [&mut worst_raw, &mut worst].into_iter().zip(errors) {
            *worst = [worst[0].max(error.re.abs()), worst[1].max(error.im.abs())];
        }
    }
    assert!(worst[0] < 0.5 * worst_raw[0] && worst[1] < 0.5 * worst_raw[1], "{worst:?} {worst_raw:?}");
}

/// The strip with its permittivity, and that of the glass, raised by at most this share: most in the middle, and linear
/// between points that are a tenth of a micrometre apart, as a temperature makes it.
fn heated_strip(share: f64) -> Scene {
    let places: Vec<f64> = (-12..=12).map(|place| f64::from(place) * 0.1).collect();
    let raised = |index: f64| {
        let values = places.iter().flat_map(|x| {
            places.iter().map(move |y| index * index * (1.0 + share * (1.0 - (x * x + y * y) / 5.0)))
        });
        Array::new(vec![places.len(), places.len(), 1], Values::Float64(values.collect())).unwrap()
    };
    let mut arrays = BTreeMap::new();
    for (place, index) in [("medium", 1.444), ("structures/0/medium", 3.4777)] {
        let path = |name: &str| format!("{place}/permittivity/{name}");
        arrays.insert(path("__xarray_dataarray_variable__"), raised(index));
        arrays.insert(path("x"), Array::from_floats(places.clone()));
        arrays.insert(path("y"), Array::from_floats(places.clone()));
        arrays.insert(path("z"), Array::from_floats(vec![0.0]));
    }
    let medium =
        json!({"type": "CustomMedium", "permittivity": "SpatialDataArray", "interp_method": "linear"});
    let core = json!({"type": "Box", "center": [0, 0, 0], "size": [0.5, 0.22, "Infinity"]});
    let structures = json!([{"geometry": core, "medium": medium}]);
    let simulation = json!({"type": "Simulation", "medium": medium, "structures": structures});
    Scene::read(&simulation, "", &arrays).unwrap()
}

#[test]
fn slopes_within_media_are_no_interfaces() {
    let solved = |share: f64| {
        let scene = heated_strip(share);
        indices(&scene, &problem(&scene, plane_of_strip(), POLARIZED, 2.4472)).map(|index| index.re)
    };
    let cold = solved(0.0);
    for share in [1e-6, 1e-5, 1e-4, 1e-3, 1e-2] {
        let hot = solved(share);
        let [raw, better] = [0, 1].map(|which| hot[which] - cold[which]);
        println!("raised by {raw:.3e}, without the grid's error by {better:.3e}");
        assert!((better - raw).abs() < 0.02 * raw + 1e-7, "{raw:e} {better:e}");
    }
}
