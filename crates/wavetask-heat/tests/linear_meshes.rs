//! The sparse solver on meshes as the mesher makes them: graded, cut by curved interfaces, with thin layers.

use std::ops::ControlFlow;

use wavetask_grid::mesh::{CellSize, MeshRequest, Scene, SimplexMesh, generate};
use wavetask_heat::linear::{
    Assembler, CsrMatrix, Elements, LinearError, Multigrid, MultigridOptions, Options, Pattern, Statistics,
    conjugate_gradient,
};

/// A heater strip (3) above a wire (2) and a ball (1) in glass (0), a thin film (4), on a wafer (5).
struct Device {
    finest: f64,
    flat: bool,
}

impl Device {
    fn distance(point: [f64; 3], centre: [f64; 3]) -> f64 {
        (0..3).map(|axis| (point[axis] - centre[axis]).powi(2)).sum::<f64>().sqrt()
    }
}

impl Scene for Device {
    fn region(&self, point: [f64; 3]) -> u32 {
        let [x, y, z] = point;
        if z < 0.4 {
            5
        } else if (1.00..1.02).contains(&z) {
            4
        } else if Self::distance(point, [0.7, 1.0, 1.6]) < 0.25 {
            1
        } else if (x - 1.4).hypot(z - 1.5) < 0.17 + 0.02 * (3.0 * y).sin() {
            2
        } else if (1.1..1.9).contains(&x) && (2.2..2.3).contains(&z) {
            3
        } else {
            0
        }
    }
}

impl CellSize for Device {
    fn at(&self, point: [f64; 3]) -> f64 {
        let [x, _, z] = point;
        let wire = ((x - 1.4).hypot(z - 1.5) - 0.17).abs();
        let ball = (Self::distance(point, [0.7, 1.0, 1.6]) - 0.25).abs();
        let strip = (z - 2.25).abs().max((x - 1.5).abs() - 0.4);
        let film = if self.flat { (z - 1.01).abs() } else { f64::INFINITY };
        let nearest = wire.min(ball).min(strip).min(film);
        self.finest + 0.3 * (nearest - self.finest).clamp(0.0, 1.0)
    }
}

fn mesh(finest: f64, flat: bool) -> SimplexMesh {
    let device = Device { finest, flat };
    let y = if flat { [1.0, 1.0] } else { [0.0, 2.0] };
    let request = MeshRequest {
        bounds: [[0.0, 2.5], y, [0.0, 3.0]],
        feature_planes: [vec![1.1, 1.9], vec![], vec![0.4, 1.0, 1.02, 2.2, 2.3]],
        fuse_tolerance: 1e-9,
        scene: &device,
        size: &device,
        excluded: &|_| false,
        maximum_cells: 4_000_000,
        keep_going: &|| true,
    };
    generate(&request).expect("a mesh of the device")
}

fn corner_gradients(corners: &[[f64; 3]; 4]) -> ([[f64; 3]; 4], f64) {
    let edge = |i: usize| [0, 1, 2].map(|axis| corners[i][axis] - corners[0][axis]);
    let cross = |a: [f64; 3], b: [f64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let (a, b, c) = (edge(1), edge(2), edge(3));
    let normal = cross(b, c);
    let six_volumes = a[0] * normal[0] + a[1] * normal[1] + a[2] * normal[2];
    let [first, second, third] =
        [normal, cross(c, a), cross(a, b)].map(|g| g.map(|value| value / six_volumes));
    let origin = [0, 1, 2].map(|axis| -(first[axis] + second[axis] + third[axis]));
    ([origin, first, second, third], six_volumes.abs() / 6.0)
}

/// Held at 0 on the lower face; a source in the strip.
fn equations(mesh: &SimplexMesh, conductivities: [f64; 6]) -> Result<(CsrMatrix, Vec<f64>), LinearError> {
    let unknowns = mesh.points.len();
    let mut rhs = vec![0.0; unknowns];
    let conductivity = |cell: usize| conductivities[mesh.regions[cell] as usize];
    let source = |cell: usize| f64::from(mesh.regions[cell] == 3);
    let mut matrix;
    if mesh.dimension() == 3 {
        let elements = Elements::new(unknowns, &mesh.cells, 4)?;
        let mut assembler = Assembler::new(Pattern::from_elements(&[&elements])?);
        assembler.add::<4>(&elements, |cell, local| {
            let (gradients, volume) = corner_gradients(&mesh.corners(cell));
            for (row, g) in local.iter_mut().zip(&gradients) {
                for (value, h) in row.iter_mut().zip(&gradients) {
                    *value = conductivity(cell) * volume * (g[0] * h[0] + g[1] * h[1] + g[2] * h[2]);
                }
            }
        })?;
        elements.add_to_vector::<4>(&mut rhs, |cell, local| {
            *local = [source(cell) * mesh.cell_measure(cell) / 4.0; 4]
        })?;
        matrix = assembler.finish();
    } else {
        let elements = Elements::new(unknowns, &mesh.cells, 3)?;
        let mut assembler = Assembler::new(Pattern::from_elements(&[&elements])?);
        assembler.add::<3>(&elements, |cell, local| {
            // Edges opposite to the corners: ∇φ_i · ∇φ_j = e_i · e_j / (4 area²).
            let corners = mesh.corners(cell);
            let opposite = [[1, 2], [2, 0], [0, 1]]
                .map(|[from, to]| [0, 1, 2].map(|axis| corners[to][axis] - corners[from][axis]));
            let scale = conductivity(cell) / (4.0 * mesh.cell_measure(cell));
            for (row, g) in local.iter_mut().zip(&opposite) {
                for (value, h) in row.iter_mut().zip(&opposite) {
                    *value = scale * (g[0] * h[0] + g[1] * h[1] + g[2] * h[2]);
                }
            }
        })?;
        elements.add_to_vector::<3>(&mut rhs, |cell, local| {
            *local = [source(cell) * mesh.cell_measure(cell) / 3.0; 3]
        })?;
        matrix = assembler.finish();
    }
    let fixed: Vec<_> = mesh.points.iter().map(|point| (point[2] == 0.0).then_some(0.0)).collect();
    matrix.fix_unknowns(&fixed, &mut rhs)?;
    Ok((matrix, rhs))
}

fn solve(matrix: &CsrMatrix, rhs: &[f64]) -> Result<Statistics, LinearError> {
    let multigrid = Multigrid::new(matrix, &MultigridOptions::default())?;
    let mut x = vec![0.0; rhs.len()];
    let options = Options { tolerance: 1e-10, ..Options::default() };
    conjugate_gradient(matrix, &multigrid, rhs, &mut x, &options, &mut |_, _| ControlFlow::Continue(()))
}

#[test]
fn iterations_stay_bounded_on_meshes_of_devices() -> Result<(), LinearError> {
    let like_silicon = [1.38e-6, 148e-6, 148e-6, 28e-6, 10e-6, 148e-6];
    let extreme = [1.0, 1e6, 1e6, 1e3, 1e-3, 1e6];
    let insulating = [1.0, 1e-6, 1e-6, 1.0, 1e-6, 1.0];
    for (finest, flat) in [(0.1, false), (0.07, false), (0.02, true), (0.005, true)] {
        let mesh = mesh(finest, flat);
        let quality = mesh.quality();
        println!(
            "{} points, {} cells, angles {:.2} to {:.2} degrees, aspect {:.0} (mean {:.1})",
            mesh.points.len(),
            mesh.cell_count(),
            quality.smallest_angle,
            quality.largest_angle,
            quality.largest_aspect,
            quality.mean_aspect,
        );
        for (name, conductivities) in [
            ("uniform", [1.0; 6]),
            ("device", like_silicon),
            ("extreme", extreme),
            ("insulating", insulating),
        ] {
            let (matrix, rhs) = equations(&mesh, conductivities)?;
            let statistics = solve(&matrix, &rhs)?;
            println!("  {name}: {} iterations, {:?}", statistics.iterations, statistics.setup);
            assert!(statistics.iterations < 80, "{name}: {}", statistics.iterations);
        }
    }
    Ok(())
}
