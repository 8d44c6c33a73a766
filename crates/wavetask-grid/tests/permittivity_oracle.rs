//! Scenes with random media, as the tidy3d client writes them, against the permittivity that it gives them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that states what it compared")]

mod client;

use std::collections::BTreeMap;

use wavetask_grid::media::Complex64;
use wavetask_grid::permittivity::{Component, Scene, on_grid, on_points};

use client::{answers, arrays, floats, with_both_clients};

/// How many scenes each client makes up.
const CASES: &str = "320";

fn component(key: &str) -> Component {
    let axis = |letter: u8| usize::from(letter - b'x');
    match *key.as_bytes() {
        [b'E', row] => Component::diagonal(axis(row)),
        [b'E', row, column] => Component::Entry(axis(row), axis(column)),
        _ => Component::Mean,
    }
}

/// The client cuts a sheet into polygons at the edges of its neighbours, and rounding decides about the points
/// on these edges: the answer is one of those beside them.
fn around(point: [f64; 3]) -> impl Iterator<Item = [f64; 3]> {
    (0..27).map(move |code| {
        let step = |axis: u32| f64::from(code / 3_i32.pow(axis) % 3 - 1) * 1e-9;
        [point[0] + step(0), point[1] + step(1), point[2] + step(2)]
    })
}

fn compare_with(variable: &str) {
    let Some(document) = answers(variable, "permittivity", CASES) else { return };
    let cases = document["cases"].as_array().unwrap();
    let (mut compared, mut edges, mut different) = (0_usize, 0_usize, Vec::new());
    let mut media: BTreeMap<String, usize> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let arrays = arrays(&case["arrays"]);
        let mut scene = Scene::read(&case["simulation"], "", &arrays).unwrap_or_else(|error| {
            panic!("case {number}: {error}\n{:.3000}", case["simulation"].to_string())
        });
        let boundaries: Vec<Vec<f64>> = case["boundaries"].as_array().unwrap().iter().map(floats).collect();
        scene.place_sheets([&boundaries[0], &boundaries[1], &boundaries[2]]).unwrap();
        for (structure, index) in scene.structures().iter().zip(floats(&case["indices"])) {
            *media.entry(structure.medium["type"].as_str().unwrap().to_owned()).or_default() += 1;
            let place = scene.structures().iter().position(|other| std::ptr::eq(other, structure)).unwrap();
            let ours = scene.medium(place).refractive_index(2e14);
            assert!((ours - index).abs() <= 1e-9 * index, "case {number}: index {ours}, not {index}");
        }
        let frequency = case["frequency"].as_f64().unwrap_or(f64::INFINITY);
        for query in case["queries"].as_array().unwrap() {
            let key = query["key"].as_str().unwrap();
            let axes: Vec<Vec<f64>> = query["coordinates"].as_array().unwrap().iter().map(floats).collect();
            let coordinates = [axes[0].as_slice(), &axes[1], &axes[2]];
            let ours = on_grid(&scene, coordinates, component(key), frequency).unwrap();
            let (real, imag) = (floats(&query["real"]), floats(&query["imag"]));
            assert_eq!(ours.len(), real.len());
            let point = |index: usize| {
                let (row, k) = (index / axes[2].len(), index % axes[2].len());
                [axes[0][row / axes[1].len()], axes[1][row % axes[1].len()], axes[2][k]]
            };
            let points: Vec<[f64; 3]> = (0..ours.len()).map(point).collect();
            assert_eq!(on_points(&scene, &points, component(key), frequency).unwrap(), ours);
            for (index, ours) in ours.into_iter().enumerate() {
                compared += 1;
                let expected = Complex64::new(real[index], imag[index]);
                let agrees = |ours: Complex64| (ours - expected).norm() <= 1e-9 * expected.norm().max(1.0);
                if !agrees(ours) {
                    let owner = scene.owner(points[index]);
                    let is_sheet = owner.is_some_and(|owner| scene.medium(owner).is_sheet());
                    if is_sheet
                        && around(points[index]).any(|point| {
                            agrees(on_points(&scene, &[point], component(key), frequency).unwrap()[0])
                        })
                    {
                        edges += 1;
                        continue;
                    }
                    let what = owner.map_or_else(
                        || "background".to_owned(),
                        |owner| {
                            let structure = &scene.structures()[owner];
                            let text = case["simulation"]["structures"][owner]["geometry"].to_string();
                            format!(
                                "{} {:.60} {text:.700}",
                                structure.medium["type"],
                                structure.medium["interp_method"].to_string()
                            )
                        },
                    );
                    different.push(format!(
                        "case {number} {key} at {:?}: {ours}, not {expected}; {what}",
                        points[index]
                    ));
                }
            }
        }
    }
    println!(
        "tidy3d {}: {} scenes, {compared} values, {edges} on edges under sheets, {} different; media {media:?}; {} refused by the client",
        document["version"],
        cases.len(),
        different.len(),
        document["refused"].as_array().unwrap().len(),
    );
    for line in different.iter().take(12) {
        println!("{line}");
    }
    assert!(different.is_empty(), "{} of {compared} values differ", different.len());
    assert!(edges * 1000 < compared, "{edges} points on edges");
    assert!(media.len() >= 21, "only {} kinds of media were compared", media.len());
}

with_both_clients!(compare_with);
