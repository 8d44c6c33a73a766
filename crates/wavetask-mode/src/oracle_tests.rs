//! Against the client's local solver: its eigensolver's output goes in, its finished data must come out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use num_complex::Complex64;
use serde_json::Value;
use wavetask_document::{Array, Values};
use wavetask_grid::boundaries::{Grid, SceneSource};

use crate::Controls;
use crate::document::ModeTask;
use crate::fields::{FrequencyModes, MaterialCharacter, Mode};
use crate::gauge::{SolverFields, to_output};
use crate::layout::Layout;
use crate::postprocess::{finish, sampled_frequencies};
use crate::publish::{is_single, publish};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|item| item.as_f64().unwrap_or(f64::NAN)).collect()
}

fn complex(value: &Value) -> Vec<Complex64> {
    numbers(&value["re"])
        .into_iter()
        .zip(numbers(&value["im"]))
        .map(|(re, im)| Complex64::new(re, im))
        .collect()
}

/// The modes that the client's eigensolver found, as ours hands them over.
fn solved(line: &Value, layout: &Layout) -> Vec<FrequencyModes> {
    line["solved"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| {
            let shape: Vec<usize> =
                numbers(&at["fields"]["shape"]).into_iter().map(|extent| extent as usize).collect();
            let (points, count) = (shape[2] * shape[3], shape[5]);
            let values = complex(&at["fields"]);
            let modes = complex(&at["n_complex"])
                .into_iter()
                .enumerate()
                .map(|(number, index)| {
                    let field = |kind: usize| {
                        std::array::from_fn(|component| {
                            let begin = (kind * 3 + component) * points * count;
                            (0..points).map(|point| values[begin + point * count + number]).collect()
                        })
                    };
                    let fields = SolverFields { electric: field(0), magnetic: field(1) };
                    Mode { index, fields: to_output(fields, layout) }
                })
                .collect();
            let character = match at["eps_spec"].as_str().unwrap() {
                "diagonal" => MaterialCharacter::Diagonal,
                "tensorial_real" => MaterialCharacter::TensorialReal,
                _ => MaterialCharacter::TensorialComplex,
            };
            FrequencyModes {
                frequency: at["frequency"].as_f64().unwrap(),
                modes,
                character,
                derivatives: None,
            }
        })
        .collect()
}

fn as_complex(array: &Array) -> Vec<Complex64> {
    match array.values() {
        Values::Complex128(values) => values.iter().map(|[re, im]| Complex64::new(*re, *im)).collect(),
        Values::Complex64(values) => {
            values.iter().map(|[re, im]| Complex64::new(f64::from(*re), f64::from(*im))).collect()
        }
        _ => array.to_floats().unwrap().into_iter().map(|re| Complex64::new(re, 0.0)).collect(),
    }
}

fn assert_close(name: &str, ours: &[Complex64], theirs: &[Complex64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{name}: number of values");
    let scale = theirs.iter().map(|value| value.norm()).fold(0.0, f64::max).max(1e-300);
    // Rounding makes the client drop the field at the plane's end now and then: its bounds go through a centre and a
    // size. Ours keeps it.
    let dropped = |theirs: &Complex64| *theirs == Complex64::default();
    let error = ours
        .iter()
        .zip(theirs)
        .filter(|(_, theirs)| !dropped(theirs))
        .map(|(a, b)| (a - b).norm())
        .fold(0.0, f64::max)
        / scale;
    if error > tolerance {
        let worst = (0..ours.len())
            .max_by(|&a, &b| (ours[a] - theirs[a]).norm().total_cmp(&(ours[b] - theirs[b]).norm()))
            .unwrap();
        panic!("{name}: relative error {error:e}, at {worst}: {} for {}", ours[worst], theirs[worst]);
    }
}

fn compare(line: &Value) {
    let name = line["name"].as_str().unwrap();
    let document = &line["document"];
    let task = ModeTask::read(document).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    let arrays = BTreeMap::<String, Array>::new();
    let scene = SceneSource { simulation: task.scene(document), path: task.scene_prefix(), arrays: &arrays };
    let grid = Grid::of_simulation(&scene).unwrap();
    let layout = Layout::new(&task, &grid).unwrap();
    for axis in 0..3 {
        let (ours, theirs) = (&grid.boundaries()[axis], numbers(&line["grid"][axis]));
        assert_eq!(ours.len(), theirs.len(), "{name}: grid along {axis}");
        let error = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-12, "{name}: grid along {axis} is off by {error:e}");
        let theirs = numbers(&line["material_grid"][axis]);
        assert_eq!(layout.solver[axis].len(), theirs.len(), "{name}: solver grid along {axis}");
        let error = layout.solver[axis].iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-12, "{name}: solver grid along {axis} is off by {error:e}");
    }
    let first = &line["solved"][0];
    let symmetry = numbers(&first["symmetry"]).into_iter().map(|sign| sign as i8).collect::<Vec<_>>();
    assert_eq!(layout.solver_symmetry.to_vec(), symmetry, "{name}: symmetry of the eigenproblem");
    let modes = solved(line, &layout);
    for (ours, theirs) in sampled_frequencies(&task).into_iter().zip(&modes) {
        assert!((ours / theirs.frequency - 1.0).abs() < 1e-14, "{name}: sampled frequencies");
    }
    let finished = finish(&task, &layout, modes).unwrap();
    let (data, arrays) = publish(document, &task, &layout, &finished, is_single(&task), "").unwrap();
    compare_data(name, &data, &line["data"]);
    compare_arrays(name, &arrays, &line["arrays"], if is_single(&task) { 1e-5 } else { 1e-9 });
}

/// The same from the document on, with our own grid, materials and eigensolver.
fn compare_solution(line: &Value) {
    let name = &format!("{} (whole)", line["name"].as_str().unwrap());
    let arrays = BTreeMap::<String, Array>::new();
    let controls = Controls { threads: 1, memory_limit: None, progress: &|_| ControlFlow::Continue(()) };
    let estimate =
        crate::validate(&line["document"], &arrays).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    assert!(estimate.unknowns > 0 && estimate.cpu_seconds > 0.0, "{name}: {estimate:?}");
    let solution =
        crate::solve(&line["document"], &arrays, &controls).unwrap_or_else(|error| panic!("{name}: {error}"));
    compare_data(name, &solution.data, &line["data"]);
    let ours: BTreeMap<String, Array> = solution
        .arrays
        .into_iter()
        .map(|(path, array)| (path.strip_prefix(crate::Solution::DATA_PATH).unwrap().to_owned(), array))
        .collect();
    let index = |array: &Array| as_complex(array);
    let theirs = complex(&line["arrays"]["n_complex"]["values"]);
    let tolerance = if name.starts_with("single") { 1e-5 } else { 1e-7 };
    assert_close(
        &format!("{name}: n_complex"),
        &index(&ours["n_complex/__xarray_dataarray_variable__"]),
        &theirs,
        tolerance,
    );
    compare_arrays(name, &ours, &line["arrays"], if name.starts_with("single") { 1e-3 } else { 1e-5 });
}

fn compare_data(name: &str, ours: &Value, theirs: &Value) {
    assert_eq!(ours["symmetry"], theirs["symmetry"], "{name}: symmetry");
    for axis in 0..3 {
        if theirs["symmetry"][axis] != 0 {
            let [a, b] = [ours, theirs].map(|data| data["symmetry_center"][axis].as_f64().unwrap());
            assert!((a - b).abs() < 1e-12, "{name}: centre of symmetry");
        }
    }
    for key in ["x", "y", "z"] {
        let [a, b] = [ours, theirs].map(|data| numbers(&data["grid_expanded"]["boundaries"][key]));
        assert_eq!(a.len(), b.len(), "{name}: expanded grid along {key}");
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{name}: expanded grid along {key}");
    }
    for key in ["grid_distances_primal", "grid_distances_dual"] {
        let [a, b] = [ours, theirs].map(|data| numbers(&data[key]));
        assert_eq!(a.len(), b.len(), "{name}: {key}");
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{name}: {key} {a:?} {b:?}");
    }
    assert_eq!(ours["eps_spec"], theirs["eps_spec"], "{name}: eps_spec");
    for key in [
        "colocate",
        "direction",
        "size",
        "center",
        "conjugated_dot_product",
        "store_fields_direction",
        "name",
    ] {
        assert_eq!(ours["monitor"][key], theirs["monitor"][key], "{name}: monitor.{key}");
    }
    for key in ["num_modes", "track_freq", "interp_spec"] {
        assert_eq!(
            ours["monitor"]["mode_spec"][key], theirs["monitor"]["mode_spec"][key],
            "{name}: monitor.mode_spec.{key}"
        );
    }
}

fn compare_arrays(name: &str, ours: &BTreeMap<String, Array>, theirs: &Value, tolerance: f64) {
    for (key, value) in theirs.as_object().unwrap() {
        for (dimension, coordinate) in value.as_object().unwrap() {
            if dimension == "values" {
                let Some(array) = ours.get(&format!("{key}/__xarray_dataarray_variable__")) else {
                    panic!("{name}: there is no {key}");
                };
                let shape: Vec<usize> =
                    numbers(&coordinate["shape"]).into_iter().map(|extent| extent as usize).collect();
                assert_eq!(array.shape(), shape, "{name}: shape of {key}");
                // Derivatives are differences of indices that are known to a few times the machine's precision.
                let tolerance = if key == "dispersion_raw" { 1e3 * tolerance.max(1e-8) } else { tolerance };
                assert_close(&format!("{name}: {key}"), &as_complex(array), &complex(coordinate), tolerance);
            } else {
                let array = ours[&format!("{key}/{dimension}")].to_floats().unwrap();
                let theirs = numbers(coordinate);
                assert_eq!(array.len(), theirs.len(), "{name}: {key}/{dimension}");
                let scale = theirs.iter().map(|value| value.abs()).fold(1.0, f64::max);
                assert!(
                    array.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-12 * scale),
                    "{name}: {key}/{dimension}"
                );
            }
        }
    }
    let fields = |key: &&String| key.ends_with("/__xarray_dataarray_variable__");
    let count = ours.keys().filter(fields).count();
    assert!(count >= theirs.as_object().unwrap().len(), "{name}: {count} arrays");
}

#[test]
fn modes_are_finished_as_the_client_does() {
    compare_with(wavetask_oracle::NEWEST, 65);
}

#[test]
fn modes_are_finished_as_the_older_client_does() {
    compare_with(wavetask_oracle::OLDER, 60);
}

/// Compares with the client of the Python that a variable names, in at least so many cases.
fn compare_with(variable: &str, at_least: usize) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postprocess.py");
    let Some(mut oracle) = wavetask_oracle::command(variable, script) else { return };
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines");
    wavetask_oracle::finish(oracle.arg(&lines), b"");
    let text = std::fs::read_to_string(lines).unwrap();
    let failures: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            std::panic::catch_unwind(|| {
                // The eigensolver of a turned scene knows another plane than the one of the result.
                if line["turned"] == false {
                    compare(&line);
                }
                compare_solution(&line);
            })
            .err()
            .map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(text.lines().count() >= at_least);
}
