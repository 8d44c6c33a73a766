//! Scenes made of closures, and the checks that every mesh must pass.

#![allow(dead_code, reason = "each test file uses some of it")]

use wavetask_grid::mesh::{Beyond, CellSize, MeshError, MeshRequest, NONE, Scene, SimplexMesh, generate};

pub(crate) type Region = Box<dyn Fn([f64; 3]) -> u32 + Sync>;
pub(crate) type Size = Box<dyn Fn([f64; 3]) -> f64 + Sync>;

pub(crate) struct Case {
    pub(crate) bounds: [[f64; 2]; 3],
    pub(crate) planes: [Vec<f64>; 3],
    pub(crate) region: Region,
    pub(crate) size: Size,
    pub(crate) excluded: Box<dyn Fn(u32) -> bool + Sync>,
    pub(crate) maximum_cells: usize,
}

struct FromClosure<'a, F: ?Sized>(&'a F);

impl Scene for FromClosure<'_, dyn Fn([f64; 3]) -> u32 + Sync> {
    fn region(&self, point: [f64; 3]) -> u32 {
        (self.0)(point)
    }
}

impl CellSize for FromClosure<'_, dyn Fn([f64; 3]) -> f64 + Sync> {
    fn at(&self, point: [f64; 3]) -> f64 {
        (self.0)(point)
    }
}

impl Case {
    /// The unit cube, or the unit square in the plane y = 0.25.
    pub(crate) fn unit(dimension: usize) -> Self {
        let y = if dimension == 2 { [0.25, 0.25] } else { [0.0, 1.0] };
        Self {
            bounds: [[0.0, 1.0], y, [0.0, 1.0]],
            planes: [vec![], vec![], vec![]],
            region: Box::new(|_| 0),
            size: Box::new(|_| 0.2),
            excluded: Box::new(|_| false),
            maximum_cells: 10_000_000,
        }
    }

    pub(crate) fn generate(&self) -> Result<SimplexMesh, MeshError> {
        self.generate_while(&|| true)
    }

    pub(crate) fn generate_while(
        &self,
        keep_going: &(dyn Fn() -> bool + Sync),
    ) -> Result<SimplexMesh, MeshError> {
        generate(&MeshRequest {
            bounds: self.bounds,
            feature_planes: self.planes.clone(),
            fuse_tolerance: 1e-9,
            scene: &FromClosure(self.region.as_ref()),
            size: &FromClosure(self.size.as_ref()),
            excluded: self.excluded.as_ref(),
            maximum_cells: self.maximum_cells,
            keep_going,
        })
    }
}

/// Area or volume of a region.
pub(crate) fn measure_of(mesh: &SimplexMesh, region: u32) -> f64 {
    (0..mesh.cell_count())
        .filter(|&cell| mesh.regions[cell] == region)
        .map(|cell| mesh.cell_measure(cell))
        .sum()
}

/// Panics unless measures are positive, facets are shared properly, and the surface closes.
pub(crate) fn conforming(mesh: &SimplexMesh) {
    let dimension = mesh.dimension();
    for cell in 0..mesh.cell_count() {
        assert!(mesh.cell_measure(cell) > 0.0, "cell {cell} has measure {}", mesh.cell_measure(cell));
    }
    let facets = mesh.facets();
    let mut sides = 0;
    let mut flow = 0.0;
    for facet in &facets {
        sides += if matches!(facet.beyond, Beyond::Cell(_)) { 2 } else { 1 };
        assert_eq!(facet.points[2] == NONE, dimension == 2);
        if !matches!(facet.beyond, Beyond::Cell(_)) {
            // Divergence theorem with the field r / dimension: the closed surface gives the measure back.
            let (centre, normal) = (facet.centroid(mesh), facet.normal(mesh));
            let along: f64 = (0..3)
                .filter(|&axis| mesh.normal.is_none_or(|(flat, _)| flat != axis))
                .map(|axis| centre[axis] * normal[axis])
                .sum();
            flow += along * facet.measure(mesh) / dimension as f64;
        }
    }
    assert_eq!(sides, mesh.cell_count() * (dimension + 1), "each side of each cell is in one facet");
    let measure = mesh.measure();
    assert!((flow - measure).abs() < 1e-9 * measure, "the surface encloses {flow}, the cells fill {measure}");
    for facet in &mesh.interfaces {
        if let Beyond::Domain { axis, upper } = facet.beyond {
            let bound = mesh.bounds[axis as usize][usize::from(upper)];
            assert!(facet.corners().iter().all(|&point| mesh.points[point as usize][axis as usize] == bound));
        }
    }
}

/// Volume of the cells' parts that random interior points say belong to another region.
pub(crate) fn misfit(case: &Case, mesh: &SimplexMesh) -> f64 {
    const SAMPLES: u32 = 4;
    let corners = mesh.dimension() + 1;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut misfit = 0.0;
    for cell in 0..mesh.cell_count() {
        for _ in 0..SAMPLES {
            let weights: Vec<f64> = (0..corners).map(|_| -random().max(1e-12).ln()).collect();
            let sum: f64 = weights.iter().sum();
            let mut point = [0.0; 3];
            for (&corner, weight) in mesh.cell(cell).iter().zip(weights) {
                for (value, position) in point.iter_mut().zip(mesh.points[corner as usize]) {
                    *value += weight / sum * position;
                }
            }
            if let Some((axis, position)) = mesh.normal {
                point[axis] = position;
            }
            if (case.region)(point) != mesh.regions[cell] {
                misfit += mesh.cell_measure(cell) / f64::from(SAMPLES);
            }
        }
    }
    misfit
}

pub(crate) fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
}
