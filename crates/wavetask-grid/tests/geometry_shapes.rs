//! Shapes against closed forms and against laws that hold for every shape.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use proptest::prelude::*;
use serde_json::{Value, json};
use wavetask_document::Array;
use wavetask_grid::geometry::{Domain, FeatureLength, Geometry, Scene, Structure};

fn read(value: &Value) -> Geometry {
    Geometry::from_json(value, "geometry", &BTreeMap::<String, Array>::new()).expect("a valid geometry")
}

fn boxed(center: [f64; 3], size: [f64; 3]) -> Value {
    json!({"type": "Box", "center": center, "size": size})
}

fn clip(operation: &str, a: &Value, b: &Value) -> Value {
    json!({"type": "ClipOperation", "operation": operation, "geometry_a": a, "geometry_b": b})
}

fn rectangle(axis: usize, angle: f64, dilation: f64, reference: &str) -> Value {
    json!({
        "type": "PolySlab", "axis": axis, "sidewall_angle": angle, "dilation": dilation,
        "reference_plane": reference, "slab_bounds": [0.0, 1.0],
        "vertices": [[-2.0, -1.0], [2.0, -1.0], [2.0, 1.0], [-2.0, 1.0]], "bulges": null,
    })
}

#[track_caller]
fn assert_close(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{value}, not {expected}");
}

#[test]
fn boxes_are_closed_and_may_be_flat_or_infinite() {
    let flat = read(&json!({"type": "Box", "center": [0, 0, 1], "size": ["Infinity", 2, 0]}));
    assert!(flat.contains([1e9, 1.0, 1.0]) && flat.contains([-1e9, -1.0, 1.0]));
    assert!(!flat.contains([0.0, 1.0 + 1e-12, 1.0]) && !flat.contains([0.0, 0.0, 1.0 + 1e-12]));
    assert_eq!(flat.bounds(), [[f64::NEG_INFINITY, f64::INFINITY], [-1.0, 1.0], [1.0, 1.0]]);
    assert_eq!(flat.feature_planes(0), Vec::<f64>::new());
    assert_eq!(flat.feature_planes(1), [-1.0, 1.0]);
    assert_eq!(flat.feature_planes(2), [1.0]);
    assert_close(flat.distance_to_surface([7.0, 0.5, 4.0]), 3.0);
    assert_close(flat.distance_to_surface([7.0, 4.0, 5.0]), 5.0);
    assert_eq!(flat.feature_sizes().len(), 1, "neither the flat nor the infinite side");

    let space = Geometry::from_bounds([[f64::NEG_INFINITY, f64::INFINITY]; 3]);
    assert!(space.contains([1e300, -1e300, 0.0]));
    assert_eq!(space.distance_to_surface([0.0; 3]), f64::INFINITY);
    let half_space = Geometry::from_bounds([[f64::NEG_INFINITY, 0.5], [-1.0, 1.0], [-1.0, 1.0]]);
    assert!(half_space.contains([-1e20, 0.0, 0.0]) && !half_space.contains([0.51, 0.0, 0.0]));
    assert_close(half_space.distance_to_surface([-5.0, 0.25, 0.0]), 0.75);
}

#[test]
fn a_sphere_in_closed_form() {
    let sphere = read(&json!({"type": "Sphere", "center": [1, 2, 3], "radius": 2}));
    assert_eq!(sphere.bounds(), [[-1.0, 3.0], [0.0, 4.0], [1.0, 5.0]]);
    assert!(sphere.contains([3.0, 2.0, 3.0]) && !sphere.contains([2.5, 3.5, 3.0]));
    assert_close(sphere.distance_to_surface([1.0, 2.0, 3.0]), 2.0);
    assert_close(sphere.distance_to_surface([1.0, 5.0, 7.0]), 3.0);
    assert!(matches!(sphere.feature_sizes()[0].length, FeatureLength::Circumference { radius: 2.0 }));
    assert!(sphere.feature_planes(2).is_empty());
}

#[test]
fn a_cone_ends_at_its_tip() {
    // Radius 1 at the bottom, falling by one per unit of height: the tip is at z = 1, half way up.
    let cone = read(&json!({
        "type": "Cylinder", "center": [0, 0, 1], "radius": 1, "length": 2, "axis": 2,
        "sidewall_angle": PI / 4.0, "reference_plane": "bottom",
    }));
    assert!(cone.contains([0.0, 0.0, 0.999]) && !cone.contains([0.0, 0.0, 1.001]));
    assert!(cone.contains([0.49, 0.0, 0.5]) && !cone.contains([0.51, 0.0, 0.5]));
    assert_close(cone.distance_to_surface([0.0, 0.0, 3.0]), 2.0);
    assert_close(cone.distance_to_surface([0.0, 0.0, -1.0]), 1.0);
    assert_close(cone.distance_to_surface([1.0, 0.0, 1.0]), 0.5_f64.sqrt());
    assert_close(cone.distance_to_surface([3.0, 0.0, 0.0]), 2.0);
    assert_close(cone.distance_to_surface([0.0, 0.0, 0.5]), 0.5 * 0.5_f64.sqrt());
    assert_eq!(cone.feature_planes(2), [0.0], "the tip is no face");
}

#[test]
fn an_infinite_cylinder_keeps_its_precision() {
    let rod =
        read(&json!({"type": "Cylinder", "center": [0, 0, 0], "radius": 1, "length": "Infinity", "axis": 1}));
    assert!(rod.contains([0.6, 1e9, 0.8]));
    assert_close(rod.distance_to_surface([3.0, 12345.0, 4.0]), 4.0);
    assert!(rod.feature_planes(1).is_empty());
    assert_eq!(rod.bounds()[1], [f64::NEG_INFINITY, f64::INFINITY]);
}

#[test]
fn walls_lean_from_the_reference_plane() {
    let angle = 0.25_f64.atan();
    for axis in 0..3 {
        let [first, second] = [[1, 2], [0, 2], [0, 1]][axis];
        let point = |one: f64, other: f64, height: f64| {
            let mut point = [height; 3];
            [point[first], point[second]] = [one, other];
            point
        };
        for (reference, height) in [("bottom", 0.0), ("middle", 0.5), ("top", 1.0)] {
            let slab = read(&rectangle(axis, angle, 0.0, reference));
            for at in [0.1, 0.5, 0.9] {
                let half = 2.0 - 0.25 * (at - height);
                assert!(slab.contains(point(half - 1e-6, 0.0, at)), "{reference} at {at}");
                assert!(!slab.contains(point(half + 1e-6, 0.0, at)), "{reference} at {at}");
                assert_close(slab.distance_to_surface(point(half, 0.0, at)), 0.0);
            }
            assert_close(slab.distance_to_surface(point(0.0, 0.0, -2.0)), 2.0);
            assert_eq!(slab.feature_planes(axis), [0.0, 1.0]);
            assert!(slab.feature_planes(first).is_empty());
            assert!(slab.as_aligned_box().is_none());
        }
    }
}

#[test]
fn a_slab_may_end_in_a_ridge_and_not_go_on() {
    let to_ridge = read(&rectangle(2, 1.0_f64.atan(), 0.0, "bottom"));
    assert!(to_ridge.contains([0.5, 0.0, 0.999]) && !to_ridge.contains([1.5, 0.0, 0.999]));
    let beyond = rectangle(2, 1.1_f64.atan(), 0.0, "bottom");
    let error =
        Geometry::from_json(&beyond, "geometry", &BTreeMap::<String, Array>::new()).expect_err("refused");
    assert_eq!(error.code(), "geometry-option-unsupported");
    assert_eq!(error.path(), "geometry/sidewall_angle");
}

#[test]
fn dilation_moves_walls_outwards() {
    let slab = read(&rectangle(2, 0.0, 0.5, "middle"));
    assert_eq!(slab.as_aligned_box(), Some([[-2.5, 2.5], [-1.5, 1.5], [0.0, 1.0]]));
    assert_eq!(slab.feature_planes(1), [-1.5, 1.5]);
    let lengths: Vec<_> = slab.feature_sizes().iter().map(|size| size.length).collect();
    for length in [1.0, 5.0, 3.0] {
        assert!(lengths.contains(&FeatureLength::Side { length }), "{lengths:?}");
    }
    let error =
        Geometry::from_json(&rectangle(2, 0.0, -1.2, "middle"), "g", &BTreeMap::<String, Array>::new());
    assert_eq!(error.expect_err("eroded").path(), "g/dilation");
}

#[test]
fn arcs_of_a_slab() {
    // Two half circles make a disc of radius 1.
    let disc = read(&json!({
        "type": "PolySlab", "axis": 2, "slab_bounds": [0, 1],
        "vertices": [[-1.0, 0.0], [1.0, 0.0]], "bulges": [1.0, 1.0],
    }));
    assert!(disc.contains([0.0, 0.999, 0.5]) && disc.contains([0.0, -0.999, 0.5]));
    assert!(!disc.contains([0.72, 0.72, 0.5]) && disc.contains([0.7, 0.7, 0.5]));
    for [low, high] in &disc.bounds()[..2] {
        assert_close(*low, -1.0);
        assert_close(*high, 1.0);
    }
    assert!(disc.feature_planes(0).is_empty());
    let is_circle = |size: &wavetask_grid::geometry::FeatureSize| matches!(size.length, FeatureLength::Circumference { radius } if (radius - 1.0).abs() < 1e-12);
    assert_eq!(disc.feature_sizes().iter().filter(|size| is_circle(size)).count(), 2);
}

#[test]
fn faces_are_found_through_clips_groups_and_quarter_turns() {
    let hole = clip("difference", &boxed([0.0; 3], [4.0, 4.0, 4.0]), &boxed([0.0; 3], [1.0, 2.0, 9.0]));
    let group =
        json!({"type": "GeometryGroup", "geometries": [hole, boxed([5.0, 0.0, 0.0], [1.0, 1.0, 1.0])]});
    let geometry = read(&group);
    assert_eq!(geometry.feature_planes(0), [-2.0, -0.5, 0.5, 2.0, 4.5, 5.5]);
    assert_eq!(geometry.feature_planes(2), [-2.0, -0.5, 0.5, 2.0], "the hole ends outside of the block");

    let (sine, cosine) = (PI / 2.0).sin_cos();
    let turn = json!([[cosine, -sine, 0, 10], [sine, cosine, 0, 20], [0, 0, 1, 0], [0, 0, 0, 1]]);
    let turned = read(
        &json!({"type": "Transformed", "geometry": boxed([0.0; 3], [2.0, 4.0, 6.0]), "transform": turn}),
    );
    let expected = [[8.0, 12.0], [19.0, 21.0], [-3.0, 3.0]];
    let found = turned.as_aligned_box().expect("still a box");
    for axis in 0..3 {
        let planes = turned.feature_planes(axis);
        assert_eq!(planes.len(), 2);
        for side in 0..2 {
            assert_close(planes[side], expected[axis][side]);
            assert_close(found[axis][side], expected[axis][side]);
        }
    }
    let (sine, cosine) = (PI / 6.0).sin_cos();
    let turn = json!([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]);
    let turned = read(
        &json!({"type": "Transformed", "geometry": boxed([0.0; 3], [2.0, 4.0, 6.0]), "transform": turn}),
    );
    assert!(turned.feature_planes(0).is_empty() && turned.feature_planes(2) == [-3.0, 3.0]);
    assert!(turned.as_aligned_box().is_none());
}

#[test]
fn stretched_shapes_bound_the_distance_from_below() {
    let stretch = json!([[3, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]);
    let block = read(
        &json!({"type": "Transformed", "geometry": boxed([0.0; 3], [2.0, 2.0, 2.0]), "transform": stretch}),
    );
    assert_close(block.distance_to_surface([5.0, 0.0, 0.0]), 2.0);
    let sphere = json!({"type": "Sphere", "center": [0, 0, 0], "radius": 1});
    let ellipsoid = read(&json!({"type": "Transformed", "geometry": sphere, "transform": stretch}));
    let distance = ellipsoid.distance_to_surface([6.0, 0.0, 0.0]);
    assert!(distance > 0.0 && distance <= 3.0, "{distance}");
    assert_close(ellipsoid.distance_to_surface([0.0, 3.0, 0.0]), 2.0);
    assert_close(ellipsoid.distance_to_surface([3.0, 0.0, 0.0]), 0.0);
}

fn structure(geometry: &Value, priority: Option<i64>, medium: &str) -> Value {
    json!({"type": "Structure", "geometry": geometry, "medium": {"type": medium}, "priority": priority, "name": null})
}

#[test]
fn the_last_structure_owns_a_point_unless_priorities_say_otherwise() {
    let (large, small) = (boxed([0.0; 3], [4.0, 4.0, 4.0]), boxed([0.0; 3], [2.0, 2.0, 2.0]));
    let arrays = BTreeMap::<String, Array>::new();
    let owner = |structures: Value, mode: &str, point| {
        let scene = json!({"structures": structures, "structure_priority_mode": mode});
        Scene::from_json(&scene, "", &arrays).expect("a scene").owner(point)
    };
    let both = json!([structure(&large, None, "Medium"), structure(&small, None, "Medium")]);
    assert_eq!(owner(both.clone(), "equal", [0.0; 3]), Some(1));
    assert_eq!(owner(both.clone(), "equal", [1.5, 0.0, 0.0]), Some(0));
    assert_eq!(owner(both, "equal", [2.5, 0.0, 0.0]), None);
    let first_wins = json!([structure(&large, Some(1), "Medium"), structure(&small, None, "Medium")]);
    assert_eq!(owner(first_wins, "equal", [0.0; 3]), Some(0));
    let metal = json!([structure(&small, None, "PECMedium"), structure(&large, None, "Medium")]);
    assert_eq!(owner(metal.clone(), "equal", [0.0; 3]), Some(1));
    assert_eq!(owner(metal, "conductor", [0.0; 3]), Some(0));
    assert_eq!(Scene::new(Vec::new()).owner([0.0; 3]), None);
}

#[test]
fn a_flat_domain_lifts_and_projects_points() {
    let domain = Domain::from_json(&json!({"center": [1, 2, 3], "size": [4, 0, 6]}), "").expect("a domain");
    assert_eq!((domain.dimension(), domain.axes(), domain.normal_axis()), (2, [0, 2].as_slice(), Some(1)));
    assert_eq!(domain.lift(&[7.0, 8.0]), [7.0, 2.0, 8.0]);
    assert_eq!(domain.project([7.0, 2.0, 8.0]), [7.0, 8.0, 0.0]);
    assert_eq!(domain.bounds(), [[-1.0, 3.0], [2.0, 2.0], [0.0, 6.0]]);
    let error = Domain::from_json(&json!({"size": [4, "Infinity", 6]}), "").expect_err("infinite");
    assert_eq!(error.path(), "size/1");
}

/// Some shape of every class that fits into the cube from -3 to 3, by number.
fn shape(kind: usize, size: f64) -> Value {
    let l_shape = json!([[-1.0, -1.0], [2.0, -1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 2.0], [-1.0, 2.0]]);
    let slab = |angle: f64| {
        json!({"type": "PolySlab", "axis": 2, "slab_bounds": [-size, size], "vertices": l_shape,
               "sidewall_angle": angle, "reference_plane": "middle"})
    };
    match kind {
        0 => boxed([0.2, -0.3, 0.4], [size, 2.0 * size, 0.7]),
        1 => json!({"type": "Sphere", "center": [0.1, 0.2, -0.3], "radius": size}),
        2 => json!({"type": "Cylinder", "center": [0.1, 0.2, 0.3], "radius": size, "length": 1.5, "axis": 0}),
        3 => json!({"type": "Cylinder", "center": [0, 0, 0], "radius": size, "length": 2.5, "axis": 1,
                    "sidewall_angle": 0.7, "reference_plane": "top"}),
        4 => slab(0.0),
        5 => slab(0.3 / size),
        6 => clip("difference", &shape(1, size), &shape(0, size)),
        _ => json!({"type": "Transformed", "geometry": shape(4, size),
                    "transform": [[0.6, -0.8, 0, 0.5], [0.8, 0.6, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]]}),
    }
}

fn coordinates() -> impl Strategy<Value = [f64; 3]> {
    prop::array::uniform3(-3.5..3.5)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, max_global_rejects: 50_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_inside_is_inside_of_the_bounds(kind in 0..8_usize, size in 0.5..1.2, point in coordinates()) {
        let geometry = read(&shape(kind, size));
        if geometry.contains(point) {
            for (axis, [low, high]) in geometry.bounds().into_iter().enumerate() {
                prop_assert!(low - 1e-6 <= point[axis] && point[axis] <= high + 1e-6);
            }
        }
    }

    /// Between two points of which one is inside there is surface; bisection finds it, and its distance is zero.
    #[test]
    fn the_distance_is_zero_where_inside_meets_outside(
        kind in 0..8_usize, size in 0.5..1.2, one in prop::array::uniform3(-0.9..0.9), other in coordinates(),
    ) {
        let geometry = read(&shape(kind, size));
        let (mut inside, mut outside) = if geometry.contains(one) { (one, other) } else { (other, one) };
        prop_assume!(geometry.contains(inside) && !geometry.contains(outside));
        for _ in 0..60 {
            let middle = std::array::from_fn(|axis| f64::midpoint(inside[axis], outside[axis]));
            if geometry.contains(middle) { inside = middle } else { outside = middle }
        }
        // Polygons reach out by their tolerance.
        prop_assert!(geometry.distance_to_surface(inside) < 3e-7, "{}", geometry.distance_to_surface(inside));
    }

    /// Within the distance to the surface nothing changes: it never overestimates.
    #[test]
    fn nothing_changes_within_the_distance(
        kind in 0..8_usize, size in 0.5..1.2, point in coordinates(), toward in prop::array::uniform3(-1.0..1.0),
    ) {
        let geometry = read(&shape(kind, size));
        let length = toward.iter().map(|component: &f64| component * component).sum::<f64>().sqrt();
        prop_assume!(length > 0.1);
        let reach = geometry.distance_to_surface(point) - 3e-7;
        let moved: [f64; 3] = std::array::from_fn(|axis| point[axis] + reach.max(0.0) * toward[axis] / length);
        prop_assert_eq!(geometry.contains(point), geometry.contains(moved));
        for limit in [0.0, 0.3, 1.0] {
            let bounded = geometry.distance_within(point, limit);
            let expected = geometry.distance_to_surface(point).min(limit);
            // Far outside of a stretched shape or a clip the box is a better bound than the shape.
            prop_assert!(expected - 1e-12 <= bounded && bounded <= limit, "{bounded}, not {expected}");
        }
    }

    #[test]
    fn set_operations_obey_their_laws(
        one in 0..6_usize, other in 0..8_usize, size in 0.5..1.2, point in coordinates(),
    ) {
        let (a, b) = (shape(one, size), shape(other, 1.7 - size));
        let holds = |value: &Value| read(value).contains(point);
        let (in_a, in_b) = (holds(&a), holds(&b));
        prop_assert_eq!(holds(&clip("union", &a, &b)), in_a || in_b);
        prop_assert_eq!(holds(&clip("intersection", &a, &b)), in_a && in_b);
        prop_assert_eq!(holds(&clip("difference", &a, &b)), in_a && !in_b);
        prop_assert_eq!(holds(&clip("symmetric_difference", &a, &b)), in_a != in_b);
        prop_assert_eq!(holds(&clip("symmetric_difference", &a, &a)), false);
        prop_assert_eq!(holds(&json!({"type": "GeometryGroup", "geometries": [a, b]})), in_a || in_b);
    }

    #[test]
    fn the_owner_is_the_last_that_contains_the_point(
        sizes in prop::collection::vec((0..8_usize, 0.5..1.2), 1..40), point in coordinates(),
    ) {
        let structures: Vec<Structure> = sizes
            .iter()
            .map(|&(kind, size)| Structure {
                geometry: read(&shape(kind, size)), name: None, medium: Value::Null, priority: 0,
            })
            .collect();
        let expected = structures.iter().rposition(|structure| structure.geometry.contains(point));
        prop_assert_eq!(Scene::new(structures).owner(point), expected);
    }
}
