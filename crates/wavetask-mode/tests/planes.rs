//! Planes solved by the client's own mode solver and by this one: indices and fields must agree.
//!
//! One Python process (`plane_cases.py`) solves all cases of a selection with the client installed beside it. The
//! fully tensorial solver is part of the older client only.

use std::path::PathBuf;

use num_complex::Complex;
use serde_json::Value;
use wavetask_mode::plane::{
    Bend, Controls, Direction, MediumCharacter, PlaneMode, PlaneProblem, Precision, Symmetry, Tensor, solve,
};

type C = Complex<f64>;

/// Cases and arrays of one selection; `None` with a notice if the Python to use is not named.
struct Oracle {
    cases: Vec<Value>,
    arrays: Vec<C>,
}

impl Oracle {
    fn run(variable: &str, selection: &str) -> Option<Self> {
        let folder = match std::env::var_os(format!("WAVETASK_MODE_CASES_{}", selection.to_uppercase())) {
            Some(folder) => PathBuf::from(folder),
            None => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plane_cases.py");
                let mut oracle = wavetask_oracle::command(variable, script)?;
                let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("planes-{selection}"));
                std::fs::create_dir_all(&folder).expect("a folder for the cases");
                wavetask_oracle::finish(oracle.arg(&folder).arg(selection), b"");
                folder
            }
        };
        let text = std::fs::read_to_string(folder.join("cases.json")).expect("cases");
        let bytes = std::fs::read(folder.join("arrays.bin")).expect("arrays");
        let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let arrays =
            bytes.chunks_exact(16).map(|pair| C::new(number(&pair[..8]), number(&pair[8..]))).collect();
        Some(Self { cases: serde_json::from_str(&text).expect("JSON"), arrays })
    }

    fn array(&self, place: &Value) -> &[C] {
        let numbers: Vec<usize> = place.as_array().expect("a place").iter().map(integer).collect();
        &self.arrays[numbers[0]..numbers[0] + numbers[1]]
    }

    fn tensor(&self, places: &Value) -> Option<Tensor> {
        let places = places.as_array()?;
        Some(Tensor(std::array::from_fn(|index| self.array(&places[index]).to_vec())))
    }

    fn problem(&self, case: &Value) -> PlaneProblem {
        let pair = |name: &str| [0, 1].map(|axis| case[name][axis].clone());
        let float = |value: &Value| value.as_f64().expect("a number");
        PlaneProblem {
            boundaries: pair("boundaries")
                .map(|line| line.as_array().expect("lines").iter().map(float).collect()),
            permittivity: self.tensor(&case["permittivity"]).expect("a permittivity"),
            permeability: self.tensor(&case["permeability"]),
            openings: None,
            frequency: float(&case["frequency"]),
            num_modes: integer(&case["num_modes"]),
            target_index: case["target"].as_f64(),
            num_pml: pair("num_pml").map(|value| integer(&value)),
            symmetry: pair("symmetry").map(|value| match value.as_i64() {
                Some(0) => Symmetry::None,
                Some(1) => Symmetry::Magnetic,
                _ => Symmetry::Electric,
            }),
            bend: case["bend_radius"].as_f64().map(|radius| Bend {
                radius,
                axis: integer(&case["bend_axis"]),
                center: pair("center").map(|value| float(&value)),
            }),
            angle_theta: float(&case["angle_theta"]),
            angle_phi: float(&case["angle_phi"]),
            precision: if case["precision"] == "double" { Precision::Double } else { Precision::Single },
            direction: if case["direction"] == "+" { Direction::Forward } else { Direction::Backward },
        }
    }

    /// The client's modes, in this crate's form.
    fn modes(&self, case: &Value) -> Vec<PlaneMode> {
        let indices = self.array(&case["index"]);
        let fields = self.array(&case["fields"]);
        let count = indices.len();
        let cells = fields.len() / (6 * count);
        indices
            .iter()
            .enumerate()
            .map(|(mode, index)| {
                let component = |field: usize, axis: usize| {
                    (0..cells)
                        .map(|cell| fields[((3 * field + axis) * cells + cell) * count + mode])
                        .collect()
                };
                PlaneMode {
                    index: *index,
                    e: [component(0, 0), component(0, 1), component(0, 2)],
                    h: [component(1, 0), component(1, 1), component(1, 2)],
                }
            })
            .collect()
    }
}

fn integer(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("an integer")).expect("a small one")
}

/// All six components as one vector of unit length, H times the vacuum impedance.
fn vector(mode: &PlaneMode) -> Vec<C> {
    let mut all: Vec<C> = mode.e.iter().flatten().copied().collect();
    all.extend(mode.h.iter().flatten().map(|value| value * 376.73));
    let length = all.iter().map(|value| value.norm_sqr()).sum::<f64>().sqrt();
    all.iter_mut().for_each(|value| *value /= length);
    all
}

fn product(left: &[C], right: &[C]) -> C {
    left.iter().zip(right).map(|(a, b)| a.conj() * b).sum()
}

/// How much of a vector lies in the span of others.
fn share_in_span(vector: &[C], span: &[Vec<C>]) -> f64 {
    let mut basis: Vec<Vec<C>> = Vec::new();
    for member in span {
        let mut rest = member.clone();
        for _ in 0..2 {
            for direction in &basis {
                let part = product(direction, &rest);
                rest.iter_mut().zip(direction).for_each(|(value, entry)| *value -= entry * part);
            }
        }
        let length = product(&rest, &rest).re.sqrt();
        if length > 1e-6 {
            rest.iter_mut().for_each(|value| *value /= length);
            basis.push(rest);
        }
    }
    basis.iter().map(|direction| product(direction, vector).norm_sqr()).sum()
}

/// The worst disagreement of a case, in words; `None` if all is well.
fn compare(ours: &[PlaneMode], theirs: &[PlaneMode], index_accuracy: f64) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} modes, the client has {}", ours.len(), theirs.len()));
    }
    let expected: Vec<Vec<C>> = theirs.iter().map(vector).collect();
    for (place, own) in ours.iter().enumerate() {
        let nearest = theirs.iter().map(|mode| (mode.index - own.index).norm()).fold(f64::INFINITY, f64::min);
        let same_place = (theirs[place].index - own.index).norm();
        let scale = own.index.norm().max(0.1);
        // Equal real parts leave the order open.
        let tie = theirs.iter().any(|mode| {
            mode.index != theirs[place].index && (mode.index.re - theirs[place].index.re).abs() < 1e-6
        });
        let error = if tie { nearest } else { same_place } / scale;
        if error.is_nan() || error > index_accuracy {
            return Some(format!(
                "mode {place}: index {} against {} ({error:.1e})",
                own.index, theirs[place].index
            ));
        }
        // Modes whose indices agree to 1e-4 may be mixed with each other.
        let group: Vec<Vec<C>> = theirs
            .iter()
            .zip(&expected)
            .filter(|(mode, _)| (mode.index - own.index).norm() < 1e-4 * scale)
            .map(|(_, vector)| vector.clone())
            .collect();
        let share = share_in_span(&vector(own), &group);
        if share.is_nan() || share <= 0.999_99 {
            return Some(format!("mode {place} (index {}): overlap {share}", own.index));
        }
    }
    None
}

/// Seconds that this thread has been on a processor, where the system tells.
fn thread_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Solves every case and reports all that disagree.
fn check(oracle: &Oracle, at_least: usize) {
    let only = std::env::var("WAVETASK_MODE_ONLY").ok();
    let mut failures = Vec::new();
    let mut seen = 0;
    for case in &oracle.cases {
        let name = case["name"].as_str().expect("a name");
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        seen += 1;
        let problem = oracle.problem(case);
        let started = thread_seconds();
        let result = solve(&problem, &Controls::unlimited());
        let seconds = thread_seconds() - started;
        match result {
            Err(error) => failures.push(format!("{name}: {error}")),
            Ok(solution) => {
                let character = match solution.character {
                    MediumCharacter::Diagonal => "diagonal",
                    MediumCharacter::TensorialReal => "tensorial_real",
                    MediumCharacter::TensorialComplex => "tensorial_complex",
                };
                if character != case["character"] {
                    failures.push(format!("{name}: character {character}"));
                }
                // The client's single precision is not the measure of this solver's.
                let accuracy = if problem.precision == Precision::Double { 1e-6 } else { 2e-5 };
                let complaint = compare(&solution.modes, &oracle.modes(case), accuracy);
                eprintln!(
                    "{name}: {seconds:.3} s against {:.3} s, {} solutions, {}",
                    case["seconds"].as_f64().unwrap_or(0.0),
                    solution.solutions,
                    complaint.as_deref().unwrap_or("equal")
                );
                failures.extend(complaint.map(|complaint| format!("{name}: {complaint}")));
            }
        }
    }
    assert!(only.is_some() || seen >= at_least, "{seen} cases");
    assert!(failures.is_empty(), "{} of {seen} disagree:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn planes_with_diagonal_media_agree_with_the_client() {
    if let Some(oracle) = Oracle::run("WAVETASK_TEST_PYTHON", "diagonal") {
        check(&oracle, 60);
    }
}

#[test]
fn planes_with_full_tensors_agree_with_the_client() {
    if let Some(oracle) = Oracle::run("WAVETASK_TEST_PYTHON_OLD", "tensorial") {
        check(&oracle, 20);
    }
}
