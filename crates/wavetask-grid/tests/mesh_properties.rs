//! Random scenes of boxes and spheres: whatever they are, the mesh conforms and regions have their volumes.

mod scenes;

use proptest::prelude::*;
use scenes::{Case, conforming, distance, misfit};

#[derive(Debug, Clone)]
enum Shape {
    Block { low: [f64; 3], high: [f64; 3] },
    Ball { centre: [f64; 3], radius: f64 },
}

impl Shape {
    fn holds(&self, p: [f64; 3]) -> bool {
        match self {
            Self::Block { low, high } => (0..3).all(|axis| low[axis] <= p[axis] && p[axis] <= high[axis]),
            Self::Ball { centre, radius } => distance(p, *centre) <= *radius,
        }
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    let point = || prop::array::uniform3(-0.1..1.1);
    prop_oneof![
        (point(), point()).prop_map(|(a, b): ([f64; 3], [f64; 3])| Shape::Block {
            low: std::array::from_fn(|axis| a[axis].min(b[axis])),
            high: std::array::from_fn(|axis| a[axis].max(b[axis])),
        }),
        (point(), 0.1..0.5).prop_map(|(centre, radius)| Shape::Ball { centre, radius }),
    ]
}

fn case_of(shapes: &[Shape], dimension: usize, size: f64, excluded: u32) -> Case {
    let mut case = Case::unit(dimension);
    for shape in shapes {
        if let Shape::Block { low, high } = shape {
            for axis in 0..3 {
                case.planes[axis].extend([low[axis], high[axis]]);
            }
        }
    }
    let owners = shapes.to_vec();
    case.region = Box::new(move |p| {
        owners.iter().rposition(|shape| shape.holds(p)).map_or(0, |place| place as u32 + 1)
    });
    case.size = Box::new(move |_| size);
    case.excluded = Box::new(move |region| region == excluded);
    case
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_scenes(
        shapes in prop::collection::vec(shape(), 1..5),
        dimension in 2_usize..=3,
        excluded in 0_u32..6,
    ) {
        let size = if dimension == 2 { 0.04 } else { 0.12 };
        let case = case_of(&shapes, dimension, size, excluded);
        let Ok(mesh) = case.generate() else { return Ok(()) };
        conforming(&mesh);
        let missed = misfit(&case, &mesh);
        // Interfaces have at most a few units of length or area; what is missed next to them is of second order.
        prop_assert!(missed < 2.0 * size * size, "{missed}");
        if (1..=shapes.len() as u32).all(|region| region != excluded) && excluded != 0 {
            prop_assert!((mesh.measure() - 1.0).abs() < 1e-9);
        }
        // Cells have the region of their centre, but for slivers of balls too small for the mesh to see.
        let wrong: f64 = (0..mesh.cell_count())
            .filter(|&cell| (case.region)(mesh.centroid(cell)) != mesh.regions[cell])
            .map(|cell| mesh.cell_measure(cell))
            .sum();
        prop_assert!(wrong < 0.01 * size * size, "{wrong}");
    }
}
