//! Media that a document cannot have: refused by an error that names the place, never a panic or a wrong number.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wavetask_document::{Array, Values};
use wavetask_grid::SceneError;
use wavetask_grid::media::Medium;
use wavetask_grid::permittivity::{Component, PermittivityError, Scene, on_grid};

type Arrays = BTreeMap<String, Array>;

fn read(medium: &Value, arrays: &Arrays) -> Result<Medium, SceneError> {
    Medium::read(medium, "structures/3/medium", arrays)
}

/// The error of a medium without arrays.
fn refusal(medium: &Value) -> String {
    refusal_with(medium, &Arrays::new())
}

fn refusal_with(medium: &Value, arrays: &Arrays) -> String {
    let error = read(medium, arrays).expect_err("refused");
    assert!(error.path().starts_with("structures/3/medium"), "{error}");
    assert!(!error.hint().is_empty() && error.code().starts_with("medium-"));
    error.to_string()
}

fn place(arrays: &mut Arrays, name: &str, shape: &[usize], values: Values) {
    arrays.insert(format!("structures/3/medium/{name}"), Array::new(shape.to_vec(), values).unwrap());
}

/// A lattice of two samples along x.
fn lattice(name: &str, values: [f64; 2]) -> Arrays {
    let mut arrays = Arrays::new();
    place(&mut arrays, &format!("{name}/x"), &[2], Values::Float64(vec![0.0, 1.0]));
    for axis in ["y", "z"] {
        place(&mut arrays, &format!("{name}/{axis}"), &[1], Values::Float64(vec![0.0]));
    }
    let values = Values::Float64(values.to_vec());
    place(&mut arrays, &format!("{name}/__xarray_dataarray_variable__"), &[2, 1, 1], values);
    arrays
}

fn custom() -> Value {
    json!({"type": "CustomMedium", "permittivity": "SpatialDataArray", "interp_method": "linear"})
}

#[test]
fn homogeneous_media() {
    let cases = [
        (json!({"type": "Unobtainium"}), "the medium type `Unobtainium` is not supported"),
        (json!({"permittivity": 2.0}), "the field `type` is missing"),
        (json!(3), "an object is expected"),
        (json!({"type": "Medium", "permittivity": 0.5}), "medium/permittivity: a number of at least 1"),
        (json!({"type": "Medium", "permittivity": "NaN"}), "medium/permittivity: a finite number"),
        (json!({"type": "Medium", "permittivity": 1e300}), "no parameter may exceed"),
        (json!({"type": "Medium", "conductivity": -1.0}), "medium/conductivity: the conductivity is -1"),
        (
            json!({"type": "PoleResidue", "poles": [[{"real": 1.0, "imag": 0.0}, 1.0]]}),
            "medium/poles/0/0: the real part of a pole cannot be positive",
        ),
        (json!({"type": "PoleResidue", "poles": [[1.0]]}), "medium/poles/0: 2 elements are expected"),
        (json!({"type": "PoleResidue", "poles": [[{"real": -1.0}, 1.0]]}), "poles/0/0/imag: a part"),
        (json!({"type": "Sellmeier", "coeffs": [[-1.0, 0.1]]}), "medium/coeffs/0/0: `B` is -1"),
        (json!({"type": "Drude", "coeffs": [[1.0, 0.0]]}), "medium/coeffs/0/1: a number above zero"),
        (json!({"type": "Debye", "coeffs": [[1.0, -1e-15]]}), "medium/coeffs/0/1: a number above zero"),
        (
            json!({"type": "Medium", "nonlinear_spec": {"type": "NonlinearSpec"}}),
            "medium/nonlinear_spec: a nonlinear medium is not supported",
        ),
        (
            json!({"type": "Medium", "modulation_spec": {"type": "ModulationSpec"}}),
            "medium/modulation_spec: a medium that is modulated in time is not supported",
        ),
        (
            json!({"type": "MultiPhysicsMedium", "optical": null}),
            "medium/optical: a multiphysics medium without optical properties is not supported",
        ),
        (json!({"type": "AnisotropicMedium", "xx": {"type": "Medium"}}), "the field `yy` is missing"),
        (
            json!({"type": "FullyAnisotropicMedium", "permittivity": [[2, 1, 0], [0, 2, 0], [0, 0, 2]]}),
            "not symmetric",
        ),
        (
            json!({"type": "FullyAnisotropicMedium", "permittivity": [[2, 1.5, 0], [1.5, 2, 0], [0, 0, 2]]}),
            "at least",
        ),
        (
            json!({"type": "Medium2D", "ss": {"type": "PECMedium"}, "tt": {"type": "Medium"}}),
            "both perfect conductors or none",
        ),
        (
            json!({"type": "Medium2D", "ss": {"type": "Medium2D"}, "tt": {"type": "Medium"}}),
            "medium/ss: the medium type `Medium2D` is not supported",
        ),
    ];
    for (medium, expected) in cases {
        let message = refusal(&medium);
        assert!(message.contains(expected), "{medium}: {message}");
    }
    let gain = json!({"type": "Medium", "conductivity": -1.0, "allow_gain": true});
    assert!(read(&gain, &Arrays::new()).unwrap().tensor(2e14)[0][0].im < 0.0);
}

#[test]
fn custom_arrays() {
    let values = "permittivity/__xarray_dataarray_variable__";
    assert!(read(&custom(), &lattice("permittivity", [2.0, 3.0])).is_ok());
    let message = refusal_with(&custom(), &Arrays::new());
    assert!(message.contains("holds no array at `structures/3/medium/permittivity/x`"), "{message}");

    for (bad, expected) in [
        ([2.0, f64::NAN], "variable__: the element number 1 is not a finite number"),
        ([f64::INFINITY, 2.0], "variable__: the element number 0 is not a finite number"),
        ([2.0, 1e39], "the element number 1"),
        ([2.0, 0.9], "permittivity: a number of at least 1 is expected, not 0.9"),
    ] {
        let message = refusal_with(&custom(), &lattice("permittivity", bad));
        assert!(message.contains(expected), "{message}");
    }

    let mut arrays = lattice("permittivity", [2.0, 3.0]);
    place(&mut arrays, "permittivity/x", &[2], Values::Float64(vec![0.5, 0.5]));
    assert!(refusal_with(&custom(), &arrays).contains("a coordinate repeats"));
    place(&mut arrays, "permittivity/x", &[2], Values::Float64(vec![0.5, f64::NAN]));
    assert!(refusal_with(&custom(), &arrays).contains("permittivity/x: the element number 1"));
    place(&mut arrays, "permittivity/x", &[0], Values::Float64(vec![]));
    assert!(refusal_with(&custom(), &arrays).contains("permittivity/x: there are no coordinates"));
    place(&mut arrays, "permittivity/x", &[3], Values::Float64(vec![0.0, 1.0, 2.0]));
    assert!(
        refusal_with(&custom(), &arrays).contains("the shape [3, 1, 1] of their coordinates, not [2, 1, 1]")
    );
    let mut arrays = lattice("permittivity", [2.0, 3.0]);
    place(&mut arrays, values, &[2, 1, 1], Values::Text(vec!["a".into(), "b".into()]));
    assert!(refusal_with(&custom(), &arrays).contains("numbers are expected"));
    place(&mut arrays, values, &[2, 1, 1], Values::Complex128(vec![[2.0, 0.0], [2.0, 1.0]]));
    assert!(refusal_with(&custom(), &arrays).contains("real numbers are expected"));

    let mut lossy = custom();
    lossy["conductivity"] = json!("SpatialDataArray");
    let mut arrays = lattice("permittivity", [2.0, 3.0]);
    arrays.extend(lattice("conductivity", [0.1, 0.2]));
    assert!(read(&lossy, &arrays).is_ok());
    place(&mut arrays, "conductivity/x", &[2], Values::Float64(vec![0.0, 1.5]));
    assert!(
        refusal_with(&lossy, &arrays).contains("all arrays of a custom medium need the same coordinates")
    );

    let mut unknown = custom();
    unknown["interp_method"] = json!("cubic");
    let message = refusal_with(&unknown, &lattice("permittivity", [2.0, 3.0]));
    assert!(
        message.contains("medium/interp_method: this interpolation method is not supported"),
        "{message}"
    );
}

#[test]
fn unstructured_arrays() {
    let medium = json!({"type": "CustomMedium", "permittivity": {"type": "TriangularGridDataset", "normal_axis": 2,
        "normal_pos": 0.0, "points": "PointDataArray", "cells": "CellDataArray", "values": "IndexedDataArray"}});
    let name = |part: &str| format!("permittivity/{part}/__xarray_dataarray_variable__");
    let mut arrays = Arrays::new();
    place(&mut arrays, &name("points"), &[3, 2], Values::Float64(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0]));
    place(&mut arrays, &name("cells"), &[1, 3], Values::Int64(vec![0, 1, 2]));
    place(&mut arrays, &name("values"), &[3], Values::Float64(vec![2.0, 3.0, 4.0]));
    assert!(read(&medium, &arrays).is_ok());
    let cases: [(&str, &[usize], Values, &str); 7] = [
        ("cells", &[1, 3], Values::Int64(vec![0, 1, 3]), "a cell names a point that does not exist"),
        ("cells", &[1, 3], Values::Int64(vec![0, -1, 2]), "a cell names a point that does not exist"),
        ("cells", &[0, 3], Values::Int64(vec![]), "with n > 0, not [0, 3]"),
        ("cells", &[1, 4], Values::Int64(vec![0, 1, 2, 0]), "cells have the shape (n, 3)"),
        ("values", &[2], Values::Float64(vec![2.0, 3.0]), "one value per point is expected: [3], not [2]"),
        ("points", &[0, 2], Values::Float64(vec![]), "points have the shape (n, 2) with n > 0"),
        ("points", &[3, 2], Values::Float64(vec![f64::NAN; 6]), "the element number 0"),
    ];
    for (part, shape, values, expected) in cases {
        let mut damaged = arrays.clone();
        place(&mut damaged, &name(part), shape, values);
        let message = refusal_with(&medium, &damaged);
        assert!(message.contains(expected), "{part}: {message}");
    }
    // Degenerate cells hold nothing; the nearest vertex answers.
    place(&mut arrays, &name("cells"), &[1, 3], Values::Int64(vec![0, 0, 1]));
    let degenerate = read(&medium, &arrays).unwrap();
    assert_eq!(degenerate.at(2e14).entry(0, 0, [0.1, 0.9, 5.0]).re, 4.0);
}

#[test]
fn questions_that_have_no_answer() {
    let read = |simulation: &Value| Scene::read(simulation, "simulation", &Arrays::new());
    let scene = read(&json!({"type": "Simulation"})).unwrap();
    let line = [0.0, 1.0];
    let ask = |xs: &[f64], frequency| on_grid(&scene, [xs, &line, &line], Component::Mean, frequency);
    assert_eq!(ask(&line, 1e14).unwrap(), vec![1.0.into(); 8]);
    assert_eq!(ask(&[], 1e14).unwrap(), vec![]);
    for frequency in [0.0, -1.0, f64::NAN] {
        assert!(matches!(ask(&line, frequency), Err(PermittivityError::Frequency { .. })));
    }
    assert!(matches!(ask(&[1.0, 0.0], 1e14), Err(PermittivityError::Coordinates { axis: 'x' })));
    assert!(matches!(ask(&[f64::NAN], 1e14), Err(PermittivityError::Coordinates { axis: 'x' })));
    let long = vec![0.0; 100_000];
    let error = on_grid(&scene, [&long, &long, &long], Component::Mean, 1e14).unwrap_err();
    assert_eq!(error.code(), "permittivity-too-many-points");

    let sheet = json!({"type": "Medium2D", "ss": {"type": "Medium"}, "tt": {"type": "Medium"}});
    let with = |size: Value| {
        json!({"type": "Simulation", "structures": [
            {"geometry": {"type": "Box", "center": [0, 0, 0], "size": size}, "medium": sheet}]})
    };
    let error = read(&with(json!([1, 1, 1]))).unwrap_err();
    assert!(
        error.to_string().starts_with("simulation/structures/0: a two-dimensional medium needs"),
        "{error}"
    );
    let mut scene = read(&with(json!([1, 1, 0]))).unwrap();
    let error = on_grid(&scene, [&line; 3], Component::Mean, 1e14).unwrap_err();
    assert!(error.to_string().starts_with("simulation/structures/0: "), "{error}");
    assert!(scene.place_sheets([&line, &line, &line]).is_err());
    assert!(scene.place_sheets([&line, &line, &[-1.0, 0.1, 1.0]]).is_ok());
    assert!(on_grid(&scene, [&line; 3], Component::Mean, 1e14).is_ok());

    let lumped = json!({"type": "Simulation", "lumped_elements": [{"type": "LumpedResistor"}]});
    assert!(read(&lumped).unwrap_err().to_string().contains("a lumped element is not supported"));
    let nested = json!({"type": "Simulation", "medium": {"type": "Medium", "permittivity": 0}});
    assert!(read(&nested).unwrap_err().to_string().starts_with("simulation/medium/permittivity"));
}
