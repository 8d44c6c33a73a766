//! Point location, inside, on and outside meshes.

mod scenes;

use scenes::{Case, distance};
use wavetask_grid::mesh::{Located, Locator, SimplexMesh};

fn graded(dimension: usize) -> SimplexMesh {
    let mut case = Case::unit(dimension);
    let centre = [0.3, 0.25, 0.6];
    case.region = Box::new(move |p| u32::from(distance(p, centre) < 0.2));
    case.size = Box::new(move |p| (0.03 + 0.5 * (distance(p, centre) - 0.2).abs()).min(0.3));
    case.excluded = Box::new(|region| region == 1);
    case.generate().expect("a small mesh")
}

fn position(mesh: &SimplexMesh, located: &Located) -> [f64; 3] {
    let mut point = [0.0; 3];
    for (&corner, weight) in mesh.cell(located.cell).iter().zip(located.weights) {
        for (value, position) in point.iter_mut().zip(mesh.points[corner as usize]) {
            *value += weight * position;
        }
    }
    point
}

#[test]
fn every_corner_and_every_interior_point_is_found() {
    for dimension in [2, 3] {
        let mesh = graded(dimension);
        let locator = Locator::new(&mesh);
        for cell in 0..mesh.cell_count() {
            let centroid = mesh.centroid(cell);
            let located = locator.locate(centroid).unwrap();
            assert_eq!(located.cell, cell);
            assert!(distance(position(&mesh, &located), centroid) < 1e-12);
        }
        for point in &mesh.points {
            let located = locator.locate(*point).unwrap();
            assert!(distance(position(&mesh, &located), *point) < 1e-9);
            assert!(located.weights.iter().all(|weight| (-1e-9..=1.0 + 1e-9).contains(weight)));
            let weight = located.weights.iter().copied().fold(0.0, f64::max);
            assert!((weight - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn points_outside_find_the_nearest_cell_only_when_asked() {
    for dimension in [2, 3] {
        let mesh = graded(dimension);
        let locator = Locator::new(&mesh);
        // In the hole, off the domain, and a rounding error off the domain.
        let hole = [0.3, 0.25, 0.65];
        assert_eq!(locator.locate(hole), None);
        assert_eq!(locator.nearest(hole, 0.1), None);
        let nearest = locator.nearest(hole, 0.2).unwrap();
        let away = distance(position(&mesh, &nearest), hole);
        assert!((away - 0.15).abs() < 0.002, "{away}");
        let outside = [1.5, 0.25, 0.5];
        assert_eq!(locator.locate(outside), None);
        let nearest = locator.nearest(outside, 1.0).unwrap();
        assert!(distance(position(&mesh, &nearest), [1.0, 0.25, 0.5]) < 1e-9);
        assert!(locator.locate([1.0 + 1e-13, 0.25, 0.5]).is_some());
        // Brute force agrees on the distance.
        for point in [[0.25, 0.3, 0.55], [-0.2, 0.25, 1.3]] {
            let found = distance(position(&mesh, &locator.nearest(point, 9.0).unwrap()), flat(&mesh, point));
            let brute = mesh
                .points
                .iter()
                .map(|vertex| distance(*vertex, flat(&mesh, point)))
                .fold(f64::INFINITY, f64::min);
            assert!(found <= brute + 1e-12 && found > brute - 0.05, "{found} {brute}");
        }
    }
}

fn flat(mesh: &SimplexMesh, mut point: [f64; 3]) -> [f64; 3] {
    if let Some((axis, position)) = mesh.normal {
        point[axis] = position;
    }
    point
}
