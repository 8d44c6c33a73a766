//! Geometries that are wrong, absurd or made to hurt: refused with the path of the fault, in bounded time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wavetask_document::{Array, ArrayError, ArraySource, Values};
use wavetask_grid::geometry::{Geometry, MAXIMUM_DEPTH, MAXIMUM_SHAPES, MAXIMUM_VERTICES, Scene};
use wavetask_grid::{Fault, SceneError};

fn refuse_with(value: &Value, arrays: &dyn ArraySource) -> SceneError {
    match Geometry::from_json(value, "structures/7/geometry", arrays) {
        Ok(_) => panic!("accepted: {:.200}", value.to_string()),
        Err(error) => {
            assert!(!error.hint().is_empty() && error.to_string().contains(error.path()));
            error
        }
    }
}

fn refuse(value: &Value) -> (&'static str, String) {
    let error = refuse_with(value, &BTreeMap::<String, Array>::new());
    (error.code(), error.path().strip_prefix("structures/7/geometry").expect("the path").to_owned())
}

fn unit_box() -> Value {
    json!({"type": "Box", "center": [0, 0, 0], "size": [1, 1, 1]})
}

#[test]
fn malformed_values_are_refused_with_their_path() {
    let slab = |field: &str, value: Value| {
        let mut slab = json!({"type": "PolySlab", "axis": 2, "slab_bounds": [0, 1],
                              "vertices": [[0, 0], [1, 0], [1, 1]]});
        slab[field] = value;
        slab
    };
    let cases = [
        (json!(null), ""),
        (json!([1, 2]), ""),
        (json!({}), ""),
        (json!({"type": 7}), "/type"),
        (json!({"type": "Box"}), ""),
        (json!({"type": "Box", "size": [1, 1]}), "/size"),
        (json!({"type": "Box", "size": [1, "one", 1]}), "/size/1"),
        (json!({"type": "Box", "size": [1, "NaN", 1]}), "/size/1"),
        (json!({"type": "Box", "size": [1, -1, 1]}), "/size/1"),
        (json!({"type": "Box", "size": [1, 1, 1], "center": [0, 0, "Infinity"]}), "/center/2"),
        (json!({"type": "Sphere", "radius": -1}), "/radius"),
        (json!({"type": "Sphere", "radius": "Infinity"}), "/radius"),
        (json!({"type": "Sphere"}), ""),
        (json!({"type": "Cylinder", "radius": 1, "length": 1, "axis": 3}), "/axis"),
        (json!({"type": "Cylinder", "radius": 1, "length": 1, "axis": -1}), "/axis"),
        (json!({"type": "Cylinder", "radius": 1, "length": 1, "sidewall_angle": 1.6}), "/sidewall_angle"),
        (
            json!({"type": "Cylinder", "radius": 1, "length": 1, "reference_plane": "side"}),
            "/reference_plane",
        ),
        (
            json!({"type": "Cylinder", "radius": 1, "length": "Infinity", "sidewall_angle": 0.1,
                   "reference_plane": "top"}),
            "/reference_plane",
        ),
        (slab("slab_bounds", json!([1, 0])), "/slab_bounds"),
        (slab("slab_bounds", json!(["Infinity", "Infinity"])), "/slab_bounds"),
        (slab("vertices", json!([[0, 0], [1, 0]])), "/vertices"),
        (slab("vertices", json!([[0, 0], [1, 0], [2, 0]])), "/vertices"),
        (slab("vertices", json!([[0, 0], [1, 0], [1, "Infinity"]])), "/vertices/2/1"),
        (slab("vertices", json!([[0, 0], [1, 0], 3])), "/vertices/2"),
        (slab("vertices", json!("PolySlabVertices")), "/vertices"),
        (slab("bulges", json!([0, 0])), "/bulges"),
        (slab("dilation", json!("Infinity")), "/dilation"),
        (json!({"type": "GeometryGroup", "geometries": []}), "/geometries"),
        (json!({"type": "GeometryGroup", "geometries": [unit_box(), {"type": "Box"}]}), "/geometries/1"),
        (json!({"type": "GeometryArray", "geometry": unit_box(), "offsets": []}), "/offsets"),
        (
            json!({"type": "GeometryArray", "geometry": unit_box(), "offsets": [[0, 0, 0]],
                   "transforms": [[[1, 0, 0, 0]], []]}),
            "/transforms",
        ),
        (
            json!({"type": "ClipOperation", "operation": "xor", "geometry_a": unit_box(), "geometry_b": unit_box()}),
            "/operation",
        ),
        (json!({"type": "ClipOperation", "operation": "union", "geometry_a": unit_box()}), ""),
        (
            json!({"type": "Transformed", "geometry": unit_box(),
                   "transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]}),
            "/transform",
        ),
        (json!({"type": "Transformed", "geometry": unit_box(), "transform": [[1]]}), "/transform"),
        (
            json!({"type": "Transformed", "geometry": {"type": "Box", "size": ["Infinity", 1, 1]}}),
            "/geometry",
        ),
        (json!({"type": "TriangleMesh", "mesh_dataset": null}), ""),
    ];
    for (value, path) in cases {
        assert_eq!(refuse(&value), ("geometry-invalid", path.to_owned()), "{value}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let error = refuse_with(&json!({"type": "Gyroid"}), &BTreeMap::<String, Array>::new());
    assert!(matches!(error.fault(), Fault::UnsupportedType { kind } if kind == "Gyroid"));
    let (code, path) = refuse(&json!({"type": "Transformed", "geometry": unit_box(),
        "transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 1]]}));
    assert_eq!((code, path.as_str()), ("geometry-option-unsupported", "/transform"));
    let (code, path) =
        refuse(&json!({"type": "PolySlab", "slab_bounds": [0, "Infinity"], "sidewall_angle": 0.1,
        "vertices": [[0, 0], [1, 0], [1, 1]]}));
    assert_eq!((code, path.as_str()), ("geometry-option-unsupported", "/slab_bounds"));
    // Both teeth of a comb dilated until the gap between them closes.
    let (code, path) = refuse(
        &json!({"type": "PolySlab", "slab_bounds": [0, 1], "dilation": 0.3, "vertices":
        [[0, 0], [3, 0], [3, 2], [2, 2], [2, 1.9], [2.9, 1.9], [2.9, 1], [2, 1], [2, 1.4], [1.8, 1.4], [1.8, 2], [0, 2]]}),
    );
    assert_eq!((code, path.as_str()), ("geometry-option-unsupported", "/dilation"));
}

fn mesh_arrays(shape: Vec<usize>, values: Values) -> BTreeMap<String, Array> {
    let path = "structures/7/geometry/mesh_dataset/surface_mesh/__xarray_dataarray_variable__";
    BTreeMap::from([(path.to_owned(), Array::new(shape, values).expect("consistent"))])
}

#[test]
fn meshes_need_their_array_in_shape() {
    struct Broken;
    impl ArraySource for Broken {
        fn load(&self, path: &str) -> Result<Option<Array>, ArrayError> {
            Err(ArrayError { path: path.into(), source: "the disk is gone".into() })
        }
    }
    let mesh = json!({"type": "TriangleMesh", "mesh_dataset": {"surface_mesh": "TriangleMeshDataArray"}});
    assert_eq!(refuse(&mesh).0, "geometry-array-missing");
    assert_eq!(refuse_with(&mesh, &Broken).code(), "geometry-array-unreadable");
    let wrong = [
        mesh_arrays(vec![3, 3], Values::Float64(vec![0.0; 9])),
        mesh_arrays(vec![0, 3, 3], Values::Float64(vec![])),
        mesh_arrays(vec![1, 3, 3], Values::Float64(vec![f64::NAN; 9])),
        mesh_arrays(vec![1, 3, 3], Values::Float64(vec![1.0; 9])),
        mesh_arrays(vec![1, 3, 3], Values::Complex128(vec![[0.0; 2]; 9])),
    ];
    for arrays in wrong {
        assert_eq!(refuse_with(&mesh, &arrays).code(), "geometry-invalid");
    }
}

#[test]
fn a_mesh_with_a_hole_still_has_an_inside() {
    // A cube without one of its twelve triangles.
    let mut triangles = Vec::new();
    for axis in 0..3 {
        for side in [0.0, 1.0] {
            let corner = |one: f64, other: f64| {
                let mut corner = [side; 3];
                [corner[(axis + 1) % 3], corner[(axis + 2) % 3]] = [one, other];
                corner
            };
            triangles.extend([corner(0.0, 0.0), corner(1.0, 0.0), corner(1.0, 1.0)]);
            triangles.extend([corner(0.0, 0.0), corner(1.0, 1.0), corner(0.0, 1.0)]);
        }
    }
    triangles.truncate(33);
    let values = triangles.into_iter().flatten().collect();
    let mesh = json!({"type": "TriangleMesh", "mesh_dataset": {}});
    let geometry = Geometry::from_json(
        &mesh,
        "structures/7/geometry",
        &mesh_arrays(vec![11, 3, 3], Values::Float64(values)),
    )
    .expect("accepted, as the client does");
    for step in 1..10 {
        let t = f64::from(step) / 10.0;
        assert!(geometry.contains([t, 0.3, 0.61]), "{t}");
        assert!(!geometry.contains([t, 0.3, 1.61]) && !geometry.contains([-t, 0.3, 0.61]), "{t}");
    }
    assert_eq!(geometry.feature_planes(0), [0.0, 1.0]);
}

fn nest(depth: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(unit_box(), |inner, _| wrap(inner))
}

#[test]
fn nesting_is_limited() {
    let group = |inner| json!({"type": "GeometryGroup", "geometries": [inner]});
    let clip = |inner| json!({"type": "ClipOperation", "operation": "union", "geometry_a": unit_box(), "geometry_b": inner});
    let turn = |inner| json!({"type": "Transformed", "geometry": inner});
    let arrays = BTreeMap::<String, Array>::new();
    for wrap in [&group as &dyn Fn(Value) -> Value, &clip, &turn] {
        assert!(Geometry::from_json(&nest(MAXIMUM_DEPTH, wrap), "", &arrays).is_ok());
        assert_eq!(refuse(&nest(MAXIMUM_DEPTH + 1, wrap)).0, "geometry-limit-exceeded");
        assert_eq!(refuse(&nest(1000, wrap)).0, "geometry-limit-exceeded");
    }
}

#[test]
fn counts_are_limited_even_when_they_multiply() {
    let twice =
        |inner| json!({"type": "GeometryArray", "geometry": inner, "offsets": [[0, 0, 0], [0, 0, 0]]});
    assert_eq!(refuse(&nest(30, twice)).0, "geometry-limit-exceeded");
    let many: Vec<Value> = (0..=MAXIMUM_SHAPES).map(|_| unit_box()).collect();
    assert_eq!(refuse(&json!({"type": "GeometryGroup", "geometries": many})).0, "geometry-limit-exceeded");
    let vertices: Vec<Value> = (0..=MAXIMUM_VERTICES).map(|_| json!([0, 0])).collect();
    let slab = json!({"type": "PolySlab", "slab_bounds": [0, 1], "vertices": vertices});
    assert_eq!(refuse(&slab), ("geometry-limit-exceeded", "/vertices".into()));
}

#[test]
fn queries_stay_fast_on_shapes_made_to_be_slow() {
    let arrays = BTreeMap::<String, Array>::new();
    let start = Instant::now();
    // Deep chains of everything, in which each level could ask its operand twice.
    let mixed = (0..MAXIMUM_DEPTH).fold(unit_box(), |inner, level| match level % 3 {
        0 => json!({"type": "ClipOperation", "operation": "symmetric_difference", "geometry_a": inner,
                    "geometry_b": {"type": "Sphere", "radius": 0.01 * f64::from(u8::try_from(level).unwrap_or(0))}}),
        1 => json!({"type": "Transformed", "geometry": inner,
                    "transform": [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.01], [0, 0, 0, 1]]}),
        _ => json!({"type": "GeometryGroup", "geometries": [inner]}),
    });
    let geometry = Geometry::from_json(&mixed, "", &arrays).expect("within the limits");
    for step in 0..1000 {
        let point = [f64::from(step) * 1e-3 - 0.5, 0.1, 0.2];
        assert!(geometry.distance_to_surface(point).is_finite());
        geometry.contains(point);
    }
    assert!(!geometry.feature_sizes().is_empty() && geometry.feature_planes(2).len() < 1000);

    // A star of needles: each edge's box overlaps all others.
    let needles: Vec<[f64; 2]> = (0..20_000_u32)
        .map(|index| {
            let angle = f64::from(index) * std::f64::consts::TAU / 20_000.0;
            let radius = if index % 2 == 0 { 100.0 } else { 0.5 };
            [radius * angle.cos(), radius * angle.sin()]
        })
        .collect();
    let star =
        json!({"type": "PolySlab", "slab_bounds": [0, 1], "vertices": needles, "sidewall_angle": 1e-9});
    let outcome = Geometry::from_json(&star, "", &arrays);
    assert!(outcome.as_ref().map_or_else(|error| error.code() == "geometry-option-unsupported", |_| true));

    // The same box, many times over.
    let structures: Vec<Value> =
        (0..5000).map(|_| json!({"geometry": unit_box(), "medium": {"type": "Medium"}})).collect();
    let scene = Scene::from_json(&json!({"structures": structures}), "", &arrays).expect("a scene");
    for _ in 0..10_000 {
        assert_eq!(scene.owner([0.1, 0.2, 0.3]), Some(4999));
    }
    assert!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
}

#[test]
fn extreme_coordinates_do_no_harm() {
    let arrays = BTreeMap::<String, Array>::new();
    let shapes = [
        json!({"type": "Box", "center": [1e300, 0, 0], "size": [1e308, 1e308, 1e308]}),
        json!({"type": "Sphere", "center": [1e200, 0, 0], "radius": 1e200}),
        json!({"type": "Cylinder", "center": [0, 0, 0], "radius": 1e300, "length": 1e300, "sidewall_angle": 1.5}),
        json!({"type": "Cylinder", "center": [0, 0, 0], "radius": 0, "length": 0}),
        json!({"type": "PolySlab", "slab_bounds": [0, 0], "vertices": [[0, 0], [1e150, 0], [0, 1e150]]}),
        json!({"type": "PolySlab", "slab_bounds": ["-Infinity", "Infinity"], "vertices": [[0, 0], [1e9, 0], [0, 1e9]]}),
    ];
    for shape in shapes {
        let geometry = Geometry::from_json(&shape, "", &arrays).expect("representable");
        for point in [[0.0; 3], [1e300; 3], [-1e300; 3], [f64::INFINITY; 3], [f64::NAN; 3]] {
            geometry.contains(point);
            geometry.distance_to_surface(point);
        }
        assert!(!geometry.contains([f64::NAN; 3]));
        geometry.feature_sizes();
        for axis in 0..3 {
            assert!(geometry.feature_planes(axis).iter().all(|plane| plane.is_finite()));
        }
    }
}
