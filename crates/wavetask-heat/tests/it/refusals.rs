//! What is not supported is refused by its name, all of it at once, before anything is meshed.

use std::time::Instant;

use serde_json::{Value, json};
use wavetask_heat::{Controls, SolveError, validate, validate_mesher};

use crate::common::{
    Arrays, boundary, cuboid, faces, fluid, monitor, push, simulation, solid, solve, source, structure,
    surface, temperature, uniform,
};

const INF: f64 = f64::INFINITY;

fn good() -> Value {
    let mut simulation = simulation([0.0; 3], [1.0, 0.0, 1.0], uniform(0.2));
    push(&mut simulation, "structures", structure("body", cuboid([-INF; 3], [INF; 3]), solid("solid", 1.0)));
    push(&mut simulation, "sources", source(&["body"], 1.0));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
    push(&mut simulation, "monitors", monitor("T", [0.0; 3], [INF; 3], true));
    simulation
}

fn refused(simulation: &Value) -> Vec<(String, String, String)> {
    let refused = validate(simulation, &Arrays::new()).expect_err("refused");
    let Err(SolveError::Refused(again)) = solve(simulation, &Arrays::new()) else { panic!("solved") };
    assert_eq!(refused, again);
    refused
        .refusals()
        .iter()
        .map(|refusal| (refusal.path.clone(), refusal.feature.clone(), refusal.message.clone()))
        .collect()
}

/// The change makes exactly one refusal, at this path and of this feature.
fn check(change: impl Fn(&mut Value), path: &str, feature: &str) {
    let mut simulation = good();
    change(&mut simulation);
    let refusals = refused(&simulation);
    assert!(
        refusals.iter().any(|refusal| refusal.0 == path && refusal.1 == feature && !refusal.2.is_empty()),
        "{path}, {feature}: {refusals:?}"
    );
}

#[test]
fn a_good_simulation_is_accepted_in_milliseconds_with_an_estimate() {
    let begin = Instant::now();
    let estimate = validate(&good(), &Arrays::new()).expect("accepted");
    assert!(begin.elapsed().as_millis() < 500);
    let solution = solve(&good(), &Arrays::new()).expect("solved");
    assert!(estimate.unknowns as usize >= solution.statistics.unknowns / 2);
    assert!(estimate.memory_bytes > 1_000_000 && estimate.cpu_seconds > 0.0);
}

#[test]
fn what_belongs_to_other_solvers_is_refused_by_name() {
    check(
        |s| s["analysis_spec"] = json!({"type": "UnsteadyHeatAnalysis", "initial_temperature": 300.0}),
        "analysis_spec",
        "UnsteadyHeatAnalysis",
    );
    check(
        |s| s["analysis_spec"] = json!({"type": "IsothermalSteadyChargeDCAnalysis"}),
        "analysis_spec",
        "IsothermalSteadyChargeDCAnalysis",
    );
    check(
        |s| push(s, "sources", json!({"type": "HeatFromElectricSource"})),
        "sources[1]",
        "HeatFromElectricSource",
    );
    for class in ["VoltageBC", "CurrentBC", "InsulatingBC", "SurfaceRecombinationBC", "RadiationBC"] {
        check(
            |s| push(s, "boundary_spec", boundary(faces(&["x+"]), json!({"type": class}))),
            "boundary_spec[1].condition",
            class,
        );
    }
    check(
        |s| push(s, "monitors", json!({"type": "SteadyPotentialMonitor", "name": "V", "size": [0, 0, 0]})),
        "monitors[1]",
        "SteadyPotentialMonitor",
    );
    check(|s| s["type"] = json!("Simulation"), "type", "Simulation");
}

#[test]
fn heat_features_that_are_missing_are_refused_by_name() {
    let natural = json!({"type": "VerticalNaturalConvectionCoeffModel", "plate_length": 1e5});
    check(
        |s| {
            let condition =
                json!({"type": "ConvectionBC", "ambient_temperature": 300.0, "transfer_coeff": natural});
            push(s, "boundary_spec", boundary(faces(&["x+"]), condition));
        },
        "boundary_spec[1].condition.transfer_coeff",
        "VerticalNaturalConvectionCoeffModel",
    );
    check(
        |s| {
            let condition = json!({"type": "ConvectionBC", "ambient_temperature": 300.0, "transfer_coeff": 1.0, "emissivity": 0.5});
            push(s, "boundary_spec", boundary(faces(&["x+"]), condition));
        },
        "boundary_spec[1].condition.emissivity",
        "ConvectionBC.emissivity",
    );
    check(
        |s| s["structures"][0]["medium"]["heat_spec"]["velocity"] = json!([1.0, 0.0, 0.0]),
        "structures[0].medium.heat_spec.velocity",
        "SolidMedium.velocity",
    );
    check(|s| s["structures"][0]["geometry"] = json!({"type": "Blob"}), "structures[0].geometry", "Blob");
    check(|s| s["grid_spec"] = json!({"type": "GridSpec"}), "grid_spec", "GridSpec");
    check(
        |s| {
            push(
                s,
                "boundary_spec",
                boundary(surface("body"), json!({"type": "ThermalContactResistance", "resistance": 1.0})),
            );
        },
        "boundary_spec[1].placement",
        "ThermalContactResistance",
    );
}

#[test]
fn contradictions_are_refused() {
    check(|s| s["boundary_spec"] = json!([]), "boundary_spec", "no condition fixes the temperature");
    check(
        |s| s["boundary_spec"][0]["condition"] = json!({"type": "HeatFluxBC", "flux": 1.0}),
        "boundary_spec",
        "no condition fixes the temperature",
    );
    check(
        |s| push(s, "boundary_spec", boundary(surface("nobody"), temperature(300.0))),
        "boundary_spec[1].placement",
        "unknown structure",
    );
    check(
        |s| s["sources"][0]["structures"] = json!(["nobody"]),
        "sources[0].structures",
        "unknown structure",
    );
    check(|s| s["structures"][0]["medium"] = fluid("f"), "structures", "no solid");
    check(|s| s["size"] = json!([1.0, 0.0, 0.0]), "size", "one-dimensional domain");
    check(|s| s["size"] = json!([1.0, -1.0, 1.0]), "size", "negative value");
    check(|s| s["size"] = json!([1.0, "Infinity", 1.0]), "size", "infinite value");
    check(|s| s["grid_spec"]["dl"] = json!(0.0), "grid_spec.dl", "value not positive");
    check(|s| s["grid_spec"]["dl"] = json!("NaN"), "grid_spec.dl", "not a number");
    check(|s| s["sources"][0]["rate"] = json!(null), "sources[0].rate", "missing field");
    check(|s| s["sources"][0]["rate"] = json!("SpatialDataArray"), "sources[0].rate", "missing array");
    check(|s| s["symmetry"] = json!([-1, 0, 0]), "symmetry[0]", "symmetry");
    check(
        |s| s["structures"][0]["medium"]["heat_spec"]["conductivity"] = json!(-1.0),
        "structures[0].medium.heat_spec.conductivity",
        "value not positive",
    );
}

#[test]
fn everything_is_listed_at_once() {
    let mut simulation = good();
    simulation["analysis_spec"] = json!({"type": "UnsteadyHeatAnalysis"});
    simulation["sources"][0]["structures"] = json!(["a", "b"]);
    simulation["grid_spec"]["dl"] = json!(-1.0);
    push(&mut simulation, "monitors", json!({"type": "SteadyPotentialMonitor", "name": "V"}));
    let refused = validate(&simulation, &Arrays::new()).expect_err("refused");
    assert!(refused.refusals().len() >= 3, "{refused}");
    assert!(refused.to_string().contains("SteadyPotentialMonitor"));
}

#[test]
fn a_solid_that_nothing_holds_is_named() {
    let mut simulation = good();
    simulation["structures"] = json!([]);
    let side = |low: f64, high: f64| cuboid([low, -INF, -INF], [high, INF, INF]);
    push(&mut simulation, "structures", structure("body", side(-1.0, -0.1), solid("solid", 1.0)));
    push(&mut simulation, "structures", structure("island", side(0.1, 1.0), solid("solid", 1.0)));
    let Err(SolveError::Refused(refused)) = solve(&simulation, &Arrays::new()) else { panic!("solved") };
    assert!(refused.to_string().contains("`island`"), "{refused}");
}

#[test]
fn a_problem_beyond_the_memory_limit_is_refused_and_a_break_stops() {
    let mut simulation = good();
    simulation["size"] = json!([10.0, 10.0, 10.0]);
    simulation["grid_spec"]["dl"] = json!(0.01);
    let go = |_| std::ops::ControlFlow::Continue(());
    let controls = Controls { threads: 1, memory_limit: Some(100_000_000), progress: &go };
    let error = wavetask_heat::solve(&simulation, &Arrays::new(), &controls).expect_err("too large");
    assert_eq!(error.code(), "heat/too-large", "{error}");
    assert!(!error.hint().is_empty());
    let stop = |_| std::ops::ControlFlow::Break(());
    let controls = Controls { threads: 1, memory_limit: None, progress: &stop };
    let error = wavetask_heat::solve(&good(), &Arrays::new(), &controls).expect_err("cancelled");
    assert_eq!(error.code(), "heat/cancelled");
}

#[test]
fn meshers_are_checked_too() {
    let mut mesher = json!({"type": "VolumeMesher", "simulation": good(),
        "monitors": [{"type": "VolumeMeshMonitor", "name": "m", "size": ["Infinity", 0.0, "Infinity"], "unstructured": true}]});
    assert!(validate_mesher(&mesher, &Arrays::new()).is_ok());
    mesher["simulation"]["type"] = json!("HeatSimulation");
    assert!(validate_mesher(&mesher, &Arrays::new()).is_ok());
    mesher["monitors"][0]["type"] = json!("TemperatureMonitor");
    let refused = validate_mesher(&mesher, &Arrays::new()).expect_err("refused");
    assert_eq!(refused.refusals()[0].feature, "TemperatureMonitor");
}
