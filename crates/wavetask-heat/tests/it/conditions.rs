//! Where boundary conditions hold, and which one wins.

use serde_json::{Value, json};
use wavetask_heat::Solution;

use crate::common::{
    Arrays, boundary, cuboid, faces, fluid, monitor, push, samples, simulation, solid, solve, solved, source,
    spatial, structure, surface, temperature, uniform,
};

const INF: f64 = f64::INFINITY;

fn column(low: f64, high: f64) -> Value {
    cuboid([low, -INF, -INF], [high, INF, INF])
}

/// Columns along x in a fluid, watched along the middle.
fn columns(list: &[(&str, f64, f64, Value)]) -> Value {
    let mut simulation = simulation([2.0, 0.0, 0.5], [4.0, 0.0, 1.0], uniform(0.25));
    for (name, low, high, medium) in list {
        push(&mut simulation, "structures", structure(name, column(*low, *high), medium.clone()));
    }
    push(&mut simulation, "monitors", monitor("line", [0.0, 0.0, 0.5], [INF, 0.0, 0.0], false));
    simulation
}

fn at(solution: &Solution, x: f64) -> f64 {
    let samples = samples(solution, 0);
    samples.iter().min_by(|a, b| (a.0[0] - x).abs().total_cmp(&(b.0[0] - x).abs())).expect("samples").1
}

fn pair(class: &str, key: &str, names: [&str; 2]) -> Value {
    json!({"type": class, key: names})
}

#[test]
fn a_structures_surface_is_the_part_that_later_structures_leave() {
    // b covers a from 2 on: the interface at 2 is on b's surface, a keeps its end at 1.
    let list = [("a", 1.0, 3.0, solid("m", 1.0)), ("b", 2.0, 3.0, solid("n", 1.0))];
    let mut simulation = columns(&list);
    push(&mut simulation, "boundary_spec", boundary(surface("a"), temperature(300.0)));
    push(&mut simulation, "boundary_spec", boundary(surface("b"), temperature(310.0)));
    push(&mut simulation, "sources", source(&["a"], 0.0));
    let solution = solved(&simulation);
    assert!((at(&solution, 1.0) - 300.0).abs() < 1e-9);
    assert!((at(&solution, 1.5) - 305.0).abs() < 1e-6);
    assert!((at(&solution, 2.0) - 310.0).abs() < 1e-9);
    assert!((at(&solution, 2.5) - 310.0).abs() < 1e-6);

    // The other way round, a covers b whole: b has no surface left.
    let mut simulation = columns(&[list[1].clone(), list[0].clone()]);
    push(&mut simulation, "boundary_spec", boundary(surface("b"), temperature(310.0)));
    push(&mut simulation, "boundary_spec", boundary(surface("a"), temperature(300.0)));
    let solution = solved(&simulation);
    assert!((at(&solution, 2.5) - 300.0).abs() < 1e-6);
    assert!(solution.log.iter().any(|line| line.contains("boundary_spec[0] holds nowhere")));
}

#[test]
fn a_surface_counts_at_the_domains_face_only_where_the_structure_ends_there() {
    // The column ends exactly at the upper face and goes on through the lower one.
    let mut simulation = columns(&[("a", -1.0, 4.0, solid("m", 1.0))]);
    push(&mut simulation, "boundary_spec", boundary(surface("a"), temperature(310.0)));
    push(
        &mut simulation,
        "boundary_spec",
        boundary(
            json!({"type": "StructureSimulationBoundary", "structure": "a", "surfaces": ["x-"]}),
            json!({"type": "ConvectionBC", "ambient_temperature": 300.0, "transfer_coeff": 0.25}),
        ),
    );
    let solution = solved(&simulation);
    // Resistances 4 (convection) and 4 (conduction) share the 10 K.
    assert!((at(&solution, 4.0) - 310.0).abs() < 1e-9);
    assert!((at(&solution, 0.0) - 305.0).abs() < 1e-6, "{}", at(&solution, 0.0));
}

#[test]
fn later_entries_win_and_faces_of_the_domain_yield() {
    let mut simulation = columns(&[("a", -1.0, 3.0, solid("m", 1.0))]);
    let all = json!({"type": "SimulationBoundary"});
    let left = json!({"type": "StructureSimulationBoundary", "structure": "a", "surfaces": ["x-"]});
    let interface = pair("MediumMediumInterface", "mediums", ["outside", "m"]);
    push(&mut simulation, "boundary_spec", boundary(left, temperature(301.0)));
    // Listed later, but any other placement comes before it.
    push(&mut simulation, "boundary_spec", boundary(all, json!({"type": "HeatFluxBC", "flux": 0.0})));
    push(&mut simulation, "boundary_spec", boundary(interface.clone(), temperature(305.0)));
    push(&mut simulation, "boundary_spec", boundary(surface("a"), temperature(309.0)));
    let solution = solved(&simulation);
    assert!((at(&solution, 0.0) - 301.0).abs() < 1e-9);
    assert!((at(&solution, 3.0) - 309.0).abs() < 1e-9);
    let list = simulation["boundary_spec"].as_array_mut().expect("a list");
    list.swap(2, 3);
    assert!((at(&solved(&simulation), 3.0) - 305.0).abs() < 1e-9);
    // Without the domain's condition, entry by entry, the same.
    simulation["boundary_spec"].as_array_mut().expect("a list").remove(1);
    assert!((at(&solved(&simulation), 3.0) - 305.0).abs() < 1e-9);
}

#[test]
fn interfaces_between_structures_and_between_media() {
    let list = [
        ("a", 0.0, 2.0, solid("m", 1.0)),
        ("b", 2.0, 3.0, solid("n", 1.0)),
        ("c", 3.0, 4.0, solid("n", 1.0)),
    ];
    for placement in [
        pair("StructureStructureInterface", "structures", ["a", "b"]),
        pair("StructureStructureInterface", "structures", ["b", "a"]),
        pair("MediumMediumInterface", "mediums", ["n", "m"]),
        surface("b"),
    ] {
        let mut simulation = columns(&list);
        push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
        push(&mut simulation, "boundary_spec", boundary(placement.clone(), temperature(308.0)));
        let solution = solved(&simulation);
        assert!((at(&solution, 1.0) - 304.0).abs() < 1e-6, "{placement}");
        assert!((at(&solution, 2.0) - 308.0).abs() < 1e-9, "{placement}");
        // Nothing cools beyond.
        assert!((at(&solution, 4.0) - 308.0).abs() < 1e-6, "{placement}");
    }
}

#[test]
fn flux_and_convection_do_nothing_between_solids_and_say_so() {
    let list = [("a", 0.0, 2.0, solid("m", 1.0)), ("b", 2.0, 5.0, solid("n", 1.0))];
    let mut simulation = columns(&list);
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x+"]), temperature(304.0)));
    push(
        &mut simulation,
        "boundary_spec",
        boundary(surface("b"), json!({"type": "HeatFluxBC", "flux": 7.0})),
    );
    let solution = solved(&simulation);
    assert!((at(&solution, 2.0) - 302.0).abs() < 1e-6);
    assert!(solution.log.iter().any(|line| line.contains("WARNING: boundary_spec[2]")), "{:?}", solution.log);
}

#[test]
fn a_contact_resistance_gives_a_jump_even_where_the_interface_ends_inside() {
    for (dimension, size) in [(2, [4.0, 0.0, 1.0]), (3, [4.0, 0.5, 1.0])] {
        let list = [("a", 0.0, 2.0, solid("m", 1.0)), ("b", 2.0, 4.0, solid("n", 1.0))];
        let mut simulation = columns(&list);
        simulation["size"] = json!(size);
        simulation["monitors"] = json!([monitor("left", [1.0, 0.0, 0.5], [1.99, INF, INF], true)]);
        push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
        push(&mut simulation, "boundary_spec", boundary(faces(&["x+"]), temperature(310.0)));
        let resistance = json!({"type": "ThermalContactResistance", "resistance": 6.0});
        push(
            &mut simulation,
            "boundary_spec",
            boundary(pair("MediumMediumInterface", "mediums", ["m", "n"]), resistance),
        );
        // 2 + 6 + 2 K µm²/W: a flux of 1 W/µm².
        for (point, value) in samples(&solved(&simulation), 0) {
            assert!((value - 300.0 - point[0]).abs() < 1e-6, "{dimension}-D {point:?}: {value}");
        }
        // A plug between the layers, over half of the height, lets heat round the interface's rim.
        push(
            &mut simulation,
            "structures",
            structure("plug", cuboid([1.5, -INF, 0.5], [2.5, INF, 9.0]), solid("p", 1.0)),
        );
        let solution = solved(&simulation);
        let statistics = solution.statistics;
        assert!(statistics.boundary_power.abs() < 1e-6);
        let end = samples(&solution, 0).into_iter().filter(|(point, _)| point[0] > 1.98);
        let (low, high): (Vec<_>, Vec<_>) = end.partition(|(point, _)| point[2] < 0.4);
        let mean =
            |list: &[([f64; 3], f64)]| list.iter().map(|sample| sample.1).sum::<f64>() / list.len() as f64;
        assert!(mean(&high) > mean(&low) + 0.3, "{dimension}-D {} {}", mean(&high), mean(&low));
    }
}

#[test]
fn sources_act_only_where_their_structure_owns_the_point() {
    // Half of the source's column is covered by another solid.
    let list = [("a", 0.0, 4.0, solid("m", 1.0)), ("b", 2.0, 4.0, solid("m", 1.0))];
    let mut simulation = columns(&list);
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
    push(&mut simulation, "sources", source(&["a"], 3.0));
    assert!((solved(&simulation).statistics.source_power - 6.0).abs() < 1e-9);
    // Sources add up, also of the older class.
    let mut more = source(&["a", "b"], 1.0);
    more["type"] = json!("UniformHeatSource");
    push(&mut simulation, "sources", more);
    assert!((solved(&simulation).statistics.source_power - 10.0).abs() < 1e-9);
}

#[test]
fn a_rates_coordinates_may_come_in_any_order() {
    let solve_with = |x: Vec<f64>, z: Vec<f64>| {
        let mut simulation = columns(&[("a", 0.0, 4.0, solid("m", 1.0))]);
        push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
        push(&mut simulation, "sources", source(&["a"], 0.0));
        simulation["sources"][0]["rate"] = json!("SpatialDataArray");
        let mut arrays = Arrays::new();
        // Beyond the ends, at 1 and 3, the rate stays what it is there.
        spatial(&mut arrays, "sources/0/rate", [x, vec![0.3], z], |[x, _, z]| x * x + z);
        solve(&simulation, &arrays)
    };
    let ascending = solve_with(vec![1.0, 2.0, 3.0], vec![0.0, 1.0]).expect("solved");
    // Over 1, 2, 1 µm: constant 1, from 1 to 4 and on to 9, constant 9; and 0.5 on average for z.
    let power = 1.0 + 2.5 + 6.5 + 9.0 + 4.0 * 0.5;
    assert!((ascending.statistics.source_power - power).abs() < 1e-9);
    for (x, z) in [(vec![3.0, 2.0, 1.0], vec![1.0, 0.0]), (vec![2.0, 3.0, 1.0], vec![0.0, 1.0])] {
        let other = solve_with(x, z).expect("solved");
        assert_eq!(samples(&ascending, 0), samples(&other, 0));
    }
    assert!(solve_with(vec![1.0, 2.0, 2.0], vec![0.0, 1.0]).is_err());
}

#[test]
fn anisotropic_conductivity_is_taken_along_its_axes() {
    let mut tensor = solid("m", 1.0);
    tensor["heat_spec"]["conductivity"] = json!({"type": "AnisotropicConductivity", "xx": 100.0, "yy": 50.0, "zz": 2.0,
        "rotation": {"type": "RotationAroundAxis", "axis": 1, "angle": std::f64::consts::FRAC_PI_2}});
    let mut simulation = columns(&[("a", -1.0, 5.0, tensor)]);
    push(&mut simulation, "sources", source(&["a"], 1.0));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-", "x+"]), temperature(300.0)));
    // Turned by a quarter about y, the axis of conductivity 2 lies along x.
    assert!((at(&solved(&simulation), 2.0) - 300.0 - 4.0 * 4.0 / (8.0 * 2.0)).abs() < 1e-6);
}

#[test]
fn the_background_may_be_the_solid() {
    let mut simulation = columns(&[("hole", 1.0, 3.0, fluid("f"))]);
    simulation["medium"] = solid("m", 1.0);
    push(&mut simulation, "boundary_spec", boundary(surface("hole"), temperature(320.0)));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-", "x+"]), temperature(300.0)));
    let solution = solved(&simulation);
    assert!((at(&solution, 0.5) - 310.0).abs() < 1e-6);
    assert!((at(&solution, 3.5) - 310.0).abs() < 1e-6);
}
