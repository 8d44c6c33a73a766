//! The mesher on scenes whose areas and volumes are known.

mod scenes;

use scenes::{Case, conforming};
use wavetask_grid::mesh::Beyond;

#[test]
fn layers_are_exact_in_two_and_three_dimensions() {
    for flat in [true, false] {
        let mut case = Case::unit(if flat { 2 } else { 3 });
        case.planes[2] = vec![0.3, 0.3001, 0.7];
        case.region = Box::new(|p| u32::from(p[2] > 0.3) + u32::from(p[2] > 0.3001) + u32::from(p[2] > 0.7));
        case.size = Box::new(|p| 0.05 + 0.4 * (p[2] - 0.3).abs());
        let mesh = case.generate().unwrap();
        conforming(&mesh);
        for (region, thickness) in [(0, 0.3), (1, 0.0001), (2, 0.3999), (3, 0.3)] {
            let measure = scenes::measure_of(&mesh, region);
            assert!((measure - thickness).abs() < 1e-12, "region {region}: {measure} instead of {thickness}");
        }
        for cell in 0..mesh.cell_count() {
            let wanted = (case.size)(mesh.centroid(cell));
            assert!(mesh.longest_edge(cell) <= wanted * 1.35, "{} > {wanted}", mesh.longest_edge(cell));
        }
        let area: f64 = mesh
            .interfaces
            .iter()
            .filter(|facet| facet.beyond == Beyond::Domain { axis: 0, upper: true })
            .map(|facet| facet.measure(&mesh))
            .sum();
        assert!((area - 1.0).abs() < 1e-12);
    }
}
