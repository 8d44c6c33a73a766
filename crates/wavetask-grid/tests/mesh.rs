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

#[test]
fn thin_layers_have_no_flat_angles() {
    for dimension in [2, 3] {
        let mut case = Case::unit(dimension);
        case.planes[2] = vec![0.5, 0.51, 0.512, 0.53];
        case.planes[0] = vec![0.3, 0.4];
        case.region =
            Box::new(|p| [0.5, 0.51, 0.512, 0.53].iter().filter(|&&plane| p[2] > plane).count() as u32);
        case.size = Box::new(|p| {
            let off = ((p[0] - 0.35).abs() - 0.05).max(0.0).hypot(p[2] - 0.5);
            (0.05 + 0.5 * off).min(0.5)
        });
        let mesh = case.generate().unwrap();
        conforming(&mesh);
        assert!((scenes::measure_of(&mesh, 2) - 0.002).abs() < 1e-14);
        // Long cells in thin layers are right-angled, so linear elements do not suffer from them.
        let quality = mesh.quality();
        assert!(quality.largest_angle < 150.0, "{quality:?}");
    }
}

#[test]
fn cells_are_as_small_as_asked_and_not_much_smaller() {
    for dimension in [2, 3] {
        for size in [0.31, 0.1] {
            let centre = [0.5, 0.4, 0.5];
            let mut case = Case::unit(dimension);
            case.region = Box::new(move |p| u32::from(scenes::distance(p, centre) < 0.2));
            case.size = Box::new(move |_| size);
            let mesh = case.generate().unwrap();
            conforming(&mesh);
            let mut away = 0.0;
            for cell in 0..mesh.cell_count() {
                let longest = mesh.longest_edge(cell);
                let off = (scenes::distance(mesh.centroid(cell), centre) - 0.2).abs();
                // Vertices on the interface have moved by less than a third of an edge.
                let limit = if off > 1.5 * size { 1.0 + 1e-6 } else { 1.35 };
                assert!(
                    longest <= limit * size,
                    "{longest} where {size} was asked for, {off} from the sphere"
                );
                away += if off > 1.5 * size { mesh.cell_measure(cell) } else { 0.0 };
            }
            let side = size / (dimension as f64).sqrt();
            let fewest = side.powi(-(dimension as i32)) * if dimension == 2 { 2.0 } else { 6.0 };
            assert!(
                (mesh.cell_count() as f64) < 3.0 * fewest,
                "{} cells, {fewest} at least",
                mesh.cell_count()
            );
            assert!(size > 0.2 || away > 0.1);
        }
    }
}

/// The cross-section of a waveguide under a heater, sized by distance from interfaces.
#[test]
fn heater_over_a_waveguide() {
    let blocks = [
        ([-8.0, 8.0], [-0.25, 4.8]),
        ([-0.25, 0.25], [2.0, 2.22]),
        ([-1.0, 1.0], [4.22, 4.36]),
        ([-8.0, 8.0], [-0.5, 0.0]),
    ];
    let inside = |p: [f64; 3], (x, z): ([f64; 2], [f64; 2])| {
        x[0] <= p[0] && p[0] <= x[1] && z[0] <= p[2] && p[2] <= z[1]
    };
    let mut case = Case::unit(2);
    case.bounds = [[-8.0, 8.0], [0.0, 0.0], [-1.5, 5.8]];
    case.planes[0] = vec![-0.25, 0.25, -1.0, 1.0];
    case.planes[2] = vec![0.0, 4.8, 2.0, 2.22, 4.22, 4.36, -0.5];
    case.region =
        Box::new(move |p| blocks.iter().rposition(|block| inside(p, *block)).map_or(0, |n| n as u32 + 1));
    case.excluded = Box::new(|region| region == 0);
    let near = 0.14 / 3.0;
    case.size = Box::new(move |p| {
        let off = blocks[..3].iter().map(|&(x, z)| {
            let out = [(x[0] - p[0]).max(p[0] - x[1]), (z[0] - p[2]).max(p[2] - z[1])];
            if out[0] > 0.0 || out[1] > 0.0 {
                out[0].max(0.0).hypot(out[1].max(0.0))
            } else {
                out[0].max(out[1]).abs()
            }
        });
        let off = off.fold(f64::INFINITY, f64::min);
        near * (1.0 + 3.0 * ((off - 0.14) / 3.86).clamp(0.0, 1.0))
    });
    let mesh = case.generate().unwrap();
    conforming(&mesh);
    assert_eq!(mesh.normal, Some((1, 0.0)));
    for (region, area) in [(2, 0.5 * 0.22), (3, 2.0 * 0.14), (4, 16.0 * 0.5)] {
        assert!((scenes::measure_of(&mesh, region) - area).abs() < 1e-11 * area, "region {region}");
    }
    let top: f64 = mesh
        .interfaces
        .iter()
        .filter(|facet| facet.beyond == Beyond::Excluded(0) && facet.normal(&mesh)[2] > 0.5)
        .map(|facet| facet.measure(&mesh))
        .sum();
    assert!((top - 16.0).abs() < 1e-10);
    let quality = mesh.quality();
    assert!(quality.largest_angle < 137.0 && quality.largest_aspect < 8.0, "{quality:?}");
}
