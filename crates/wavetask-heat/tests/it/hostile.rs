//! Whatever a simulation's JSON holds, the answer is a result or a clear error, in bounded time and memory.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use wavetask_heat::Controls;

use crate::common::{
    Arrays, boundary, cuboid, faces, fluid, monitor, push, simulation, solid, source, structure, surface,
    temperature, uniform,
};

const INF: f64 = f64::INFINITY;

fn scene() -> Value {
    let mut simulation = simulation([0.0; 3], [2.0, 0.0, 1.0], uniform(0.3));
    simulation["grid_spec"] = json!({"type": "DistanceUnstructuredGrid", "dl_interface": 0.1, "dl_bulk": 0.3,
        "distance_interface": 0.1, "distance_bulk": 0.5, "relative_min_dl": 0.001, "mesh_refinements": [
            {"type": "GridRefinementLine", "r1": [0.0, 0.0, 0.0], "r2": [1.0, 0.0, 0.0], "dl_near": 0.1,
                "distance_near": 0.1, "distance_bulk": 0.2}]});
    push(&mut simulation, "structures", structure("a", cuboid([-INF; 3], [INF; 3]), solid("m", 1.0)));
    let disc = json!({"type": "Cylinder", "axis": 1, "radius": 0.3, "center": [0.2, 0.0, 0.0], "length": "Infinity"});
    push(&mut simulation, "structures", structure("b", disc, solid("n", 5.0)));
    push(
        &mut simulation,
        "structures",
        structure("c", cuboid([-0.8, -INF, -0.2], [-0.4, INF, 0.2]), fluid("f")),
    );
    push(&mut simulation, "sources", source(&["b"], 3.0));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-", "x+"]), temperature(300.0)));
    push(
        &mut simulation,
        "boundary_spec",
        boundary(surface("c"), json!({"type": "HeatFluxBC", "flux": 1.0})),
    );
    push(
        &mut simulation,
        "boundary_spec",
        boundary(
            json!({"type": "MediumMediumInterface", "mediums": ["m", "n"]}),
            json!({"type": "ThermalContactResistance", "resistance": 0.5}),
        ),
    );
    push(&mut simulation, "monitors", monitor("T", [0.0; 3], [INF, 0.0, INF], true));
    push(&mut simulation, "monitors", monitor("L", [0.0, 0.0, 0.1], [1.0, 0.0, 0.0], false));
    simulation
}

/// Paths to everything inside a JSON value.
fn places(value: &Value, path: String, out: &mut Vec<String>) {
    out.push(path.clone());
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                places(member, format!("{path}/{key}"), out);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, format!("{path}/{index}"), out);
            }
        }
        _ => {}
    }
}

fn strange() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(0)),
        Just(json!(-1.0)),
        Just(json!(1e308)),
        Just(json!(-1e300)),
        Just(json!(1e-300)),
        Just(json!("Infinity")),
        Just(json!("-Infinity")),
        Just(json!("NaN")),
        Just(json!("a")),
        Just(json!([])),
        Just(json!({})),
        Just(json!(true)),
        Just(json!(u64::MAX)),
        Just(json!([[[[1]]]])),
        Just(json!({"type": "Box"})),
        (-3.0..3.0).prop_map(|number| json!(number)),
    ]
}

fn try_it(simulation: &Value) -> Result<(), String> {
    let begin = Instant::now();
    let stop = || {
        if begin.elapsed() > Duration::from_secs(3) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let controls = Controls { threads: 1, memory_limit: Some(100_000_000), progress: &|_| stop() };
    let validated = wavetask_heat::validate(simulation, &Arrays::new());
    let checked = begin.elapsed();
    if checked > Duration::from_secs(2) {
        return Err(format!("validation took {checked:?}"));
    }
    match wavetask_heat::solve(simulation, &Arrays::new(), &controls) {
        Ok(solution) => {
            let monitors = simulation["monitors"].as_array().map_or(0, Vec::len);
            if solution.data.len() != monitors {
                return Err("not one set of data per monitor".into());
            }
            if !solution.statistics.highest_temperature.is_finite() {
                return Err("a temperature that is not finite".into());
            }
        }
        Err(error) => {
            if error.code() == "heat/internal" {
                return Err(format!("internal: {error}"));
            }
            if validated.is_err() != (error.code() == "heat/refused") && validated.is_err() {
                return Err("refused and tried".into());
            }
        }
    }
    if begin.elapsed() > Duration::from_secs(20) {
        return Err(format!("took {:?}", begin.elapsed()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn strange_values_anywhere_give_a_result_or_a_clear_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), strange()), 1..4),
    ) {
        let mut simulation = scene();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&simulation, String::new(), &mut all);
            all.remove(0);
            if let Some(target) = simulation.pointer_mut(place.get::<String>(&all)) {
                *target = value;
            }
        }
        if let Err(fault) = try_it(&simulation) {
            prop_assert!(false, "{fault}: {simulation}");
        }
    }
}

#[test]
fn the_unchanged_scene_is_solved() {
    let solution = crate::common::solved(&scene());
    assert!(solution.statistics.highest_temperature > 300.0);
}
