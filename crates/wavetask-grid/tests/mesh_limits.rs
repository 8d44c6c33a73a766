//! Requests that cannot be met, and what must not change the result.

mod scenes;

use std::f64::consts::PI;
use std::sync::atomic::{AtomicUsize, Ordering};

use scenes::{Case, conforming, distance, measure_of};
use wavetask_grid::mesh::{MeshError, VOID};

fn shells() -> Case {
    let mut case = Case::unit(3);
    case.region = Box::new(|p| u32::from(distance(p, [0.5; 3]) < 0.3) + u32::from(p[2] > 0.6));
    case.planes[2] = vec![0.6];
    case.size = Box::new(|p| 0.04 + 0.3 * (distance(p, [0.5; 3]) - 0.3).abs());
    case
}

#[test]
fn one_thread_and_two_make_the_same_mesh() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| shells().generate().unwrap())
    };
    let (one, two) = (with(1), with(2));
    assert_eq!(one.points, two.points);
    assert_eq!(one.cells, two.cells);
    assert_eq!(one.regions, two.regions);
    assert_eq!(one.interfaces.facets, two.interfaces.facets);
}

#[test]
fn too_many_cells_are_refused_with_an_estimate_before_the_work_is_done() {
    let mut case = shells();
    let cells = case.generate().unwrap().cell_count();
    case.maximum_cells = cells / 4;
    match case.generate() {
        Err(MeshError::TooManyCells { needed, limit, hint }) => {
            assert_eq!(limit, cells / 4);
            assert!(needed > cells / 3 && needed < cells * 3, "{needed} estimated, {cells} made");
            assert!(!hint.is_empty());
        }
        other => panic!("{other:?}"),
    }
    // An absurd wish: 10^24 cells. The field must not be asked anywhere near that often.
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    case.size = Box::new(move |p| {
        counter.fetch_add(1, Ordering::Relaxed);
        if p[0] < 0.9 { 1e-8 } else { 0.1 }
    });
    case.maximum_cells = 100_000;
    assert!(matches!(case.generate(), Err(MeshError::TooManyCells { .. })));
    assert!(asked.load(Ordering::Relaxed) < 2_000_000, "{asked:?}");
    case.size = Box::new(|_| 1e-9);
    assert!(matches!(case.generate(), Err(MeshError::TooManyCells { .. })));
}

#[test]
fn too_many_planes_are_refused() {
    let mut case = Case::unit(3);
    case.planes = std::array::from_fn(|_| (1..400).map(|n| f64::from(n) / 400.0).collect());
    assert!(matches!(case.generate(), Err(MeshError::TooManyCells { needed, .. }) if needed > 300_000_000));
}

#[test]
fn cancelling_stops_at_any_stage() {
    let questions = AtomicUsize::new(0);
    shells()
        .generate_while(&|| {
            questions.fetch_add(1, Ordering::Relaxed);
            true
        })
        .unwrap();
    let total = questions.load(Ordering::Relaxed);
    assert!(total > 32, "asked only {total} times");
    for stop in (0..total.min(4)).chain((4..total).step_by(total / 16)).chain(total - 8..total) {
        let left = AtomicUsize::new(stop);
        let answer = shells().generate_while(&|| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        });
        assert_eq!(answer.err(), Some(MeshError::Cancelled), "stopping after {stop} of {total} questions");
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::unit(3);
        change(&mut case);
        match case.generate() {
            Err(error @ MeshError::Invalid { .. }) => assert_eq!(error.code(), "MESH_INVALID"),
            other => panic!("{other:?}"),
        }
    };
    refused(&|case| case.bounds[1] = [1.0, 0.0]);
    refused(&|case| case.bounds[0][1] = f64::INFINITY);
    refused(&|case| case.bounds[2][0] = f64::NAN);
    refused(&|case| (case.bounds[0], case.bounds[1]) = ([0.0; 2], [0.0; 2]));
    refused(&|case| case.planes[0].push(f64::NAN));
    refused(&|case| case.size = Box::new(|_| 0.0));
    refused(&|case| case.size = Box::new(|p| if p == [0.0; 3] { 1e-12 } else { 0.5 }));
    refused(&|case| case.size = Box::new(|_| f64::NAN));
    refused(&|case| case.size = Box::new(|_| -1.0));
}

#[test]
fn a_domain_without_meshed_regions_is_empty() {
    let mut case = Case::unit(2);
    case.region = Box::new(|_| VOID);
    assert_eq!(case.generate().err(), Some(MeshError::Empty));
    case.region = Box::new(|_| 3);
    case.excluded = Box::new(|region| region == 3);
    assert_eq!(case.generate().err(), Some(MeshError::Empty));
}

#[test]
fn excluded_regions_are_refined_only_for_their_neighbours() {
    let mut case = Case::unit(3);
    case.planes[2] = vec![0.1];
    case.region = Box::new(|p| u32::from(p[2] > 0.1));
    case.size = Box::new(|_| 0.05);
    let all = case.generate().unwrap().cell_count();
    case.excluded = Box::new(|region| region == 1);
    // Cells of the excluded part count against the limit while meshing: a limit a little above the kept cells holds.
    let kept = all / 9;
    case.maximum_cells = all / 3;
    let mesh = case.generate().unwrap();
    conforming(&mesh);
    assert!(mesh.cell_count() < 2 * kept, "{} cells, {all} with the excluded part", mesh.cell_count());
    assert!((measure_of(&mesh, 0) - 0.1).abs() < 1e-12);
}

#[test]
fn a_small_solid_in_a_large_excluded_region_is_found() {
    for dimension in [2, 3] {
        let centre = [0.313, 0.25, 0.689];
        let mut case = Case::unit(dimension);
        case.region = Box::new(move |p| u32::from(distance(p, centre) < 0.02));
        case.size = Box::new(move |p| 0.004 + 0.8 * (distance(p, centre) - 0.02).abs());
        case.excluded = Box::new(|region| region == 0);
        let mesh = case.generate().unwrap();
        conforming(&mesh);
        let exact = if dimension == 2 { PI * 4e-4 } else { 4.0 / 3.0 * PI * 8e-6 };
        let measure = mesh.measure();
        assert!((measure / exact - 1.0).abs() < 0.03, "{measure} instead of {exact}");
    }
}

#[test]
fn nearly_coincident_planes_are_one() {
    let mut case = Case::unit(2);
    case.planes[0] = vec![0.5, 0.5 + 5e-10, 1e-10, 1.0 - 1e-10, 2.0, -1.0];
    case.region = Box::new(|p| u32::from(p[0] > 0.5));
    case.size = Box::new(|_| 0.3);
    let mesh = case.generate().unwrap();
    conforming(&mesh);
    assert!(mesh.quality().largest_aspect < 4.0, "{:?}", mesh.quality());
    assert!((measure_of(&mesh, 0) - 0.5).abs() < 1e-12);
}
