//! Solutions against closed forms: on simplices, across contrasts, on graded grids.

use wavetask_heat::linear::{Assembler, Elements, Pattern};

use crate::common::{Conductivity, solve, tensor_grid};
use crate::simplices::{stiffness, unit_mesh};

/// Solves `-Δu = f` with `u = Π sin(π x)` and returns the largest nodal error and the iterations.
fn manufactured<const D: usize, const N: usize>(edge: usize) -> (f64, usize) {
    let mesh = unit_mesh::<D>(edge);
    let exact = |point: &[f64; D]| point.iter().map(|x| (std::f64::consts::PI * x).sin()).product::<f64>();
    let corners =
        |cell: usize| -> [[f64; D]; N] { std::array::from_fn(|i| mesh.points[mesh.cells[cell][i] as usize]) };
    let elements = Elements::new(mesh.points.len(), &mesh.cells, N).unwrap();
    let mut assembler = Assembler::new(Pattern::from_cells(mesh.points.len(), &mesh.cells, N).unwrap());
    assembler.add::<N>(&elements, |cell, local| _ = stiffness(&corners(cell), local)).unwrap();
    let mut rhs = vec![0.0; mesh.points.len()];
    let source = |point: &[f64; D]| D as f64 * std::f64::consts::PI.powi(2) * exact(point);
    elements
        .add_to_vector::<N>(&mut rhs, |cell, local| {
            // The P1 mass matrix times the nodal source.
            let corners = corners(cell);
            let volume = stiffness(&corners, &mut [[0.0; N]; N]);
            let total: f64 = corners.iter().map(source).sum();
            for (value, corner) in local.iter_mut().zip(&corners) {
                *value = volume * (total + source(corner)) / (N * (N + 1)) as f64;
            }
        })
        .unwrap();
    let mut matrix = assembler.finish();
    let fixed: Vec<_> = mesh.boundary.iter().map(|&on| on.then_some(0.0)).collect();
    matrix.fix_unknowns(&fixed, &mut rhs).unwrap();
    let (x, statistics) = solve(&matrix, &rhs, 1e-10).unwrap();
    let error =
        mesh.points.iter().zip(&x).map(|(point, value)| (exact(point) - value).abs()).fold(0.0, f64::max);
    (error, statistics.iterations)
}

#[test]
fn triangles_converge_with_the_square_of_the_mesh() {
    let (coarse, _) = manufactured::<2, 3>(40);
    let (fine, iterations) = manufactured::<2, 3>(80);
    assert!(fine < 2e-3 && coarse / fine > 3.3 && coarse / fine < 4.7, "{coarse} {fine}");
    assert!(iterations < 30, "{iterations}");
}

#[test]
fn tetrahedra_converge_with_the_square_of_the_mesh() {
    let (coarse, _) = manufactured::<3, 4>(12);
    let (fine, iterations) = manufactured::<3, 4>(24);
    assert!(fine < 1.5e-2 && coarse / fine > 3.3 && coarse / fine < 4.7, "{coarse} {fine}");
    assert!(iterations < 30, "{iterations}");
}

#[test]
fn contrast_does_not_matter() {
    let ones = [1.0; 28];
    for contrast in [1e-6, 1e-3, 1e3, 1e6] {
        let checkerboard = |cell: [usize; 3]| {
            if (cell[0] / 2 + cell[1] / 2 + cell[2] / 2).is_multiple_of(2) { contrast } else { 1.0 }
        };
        let fine_checkerboard =
            |cell: [usize; 3]| if cell.iter().sum::<usize>().is_multiple_of(2) { contrast } else { 1.0 };
        let layers = |cell: [usize; 3]| if cell[2] % 3 == 1 { contrast } else { 1.0 };
        let walls = |cell: [usize; 3]| if cell[0] == 9 || cell[0] == 10 { contrast } else { 1.0 };
        let island = |cell: [usize; 3]| if cell.iter().all(|i| (8..20).contains(i)) { contrast } else { 1.0 };
        let scenes: [(&str, &Conductivity<'_>); 5] = [
            ("checkerboard", &checkerboard),
            ("fine checkerboard", &fine_checkerboard),
            ("layers", &layers),
            ("walls", &walls),
            ("island", &island),
        ];
        for (name, scene) in scenes {
            let matrix = tensor_grid([&ones, &ones, &ones], scene, true);
            let (x, statistics) = solve(&matrix, &vec![1.0; matrix.unknowns()], 1e-10).unwrap();
            println!("{name} {contrast:e}: {} iterations", statistics.iterations);
            assert!(statistics.iterations < 50, "{name} {contrast:e}: {}", statistics.iterations);
            assert!(statistics.relative_residual <= 1e-10 || statistics.limited_by_rounding);
            // All heat leaves through the lower face: Σ rhs = Σ a_D x over its cells.
            let out: f64 = (0..28 * 28)
                .map(|column| {
                    let cell = [column / 28, column % 28, 0];
                    2.0 * scene(cell) * x[column * 28]
                })
                .sum();
            let wanted = matrix.unknowns() as f64;
            assert!((out - wanted).abs() < 1e-6 * wanted, "{name} {contrast:e}: {out} of {wanted}");
        }
    }
}

#[test]
fn graded_grids_with_aspect_ratios_of_a_thousand() {
    let graded: Vec<f64> = (0..40).map(|i| 1.41_f64.powi(i % 20)).collect();
    let thin: Vec<f64> = (0..30).map(|i| if (10..16).contains(&i) { 1e-3 } else { 1.0 }).collect();
    let ones = [1.0; 24];
    let contrast = |cell: [usize; 3]| if (cell[0] / 4 + cell[1] / 3).is_multiple_of(2) { 1e6 } else { 1.0 };
    for (name, widths) in [
        ("graded in x", [&graded[..], &ones, &ones]),
        ("graded everywhere", [&graded[..], &graded, &graded]),
        ("thin layer", [&ones[..], &ones, &thin]),
        ("thin crossing layers", [&thin[..], &thin, &thin]),
    ] {
        for (material, conductivity) in
            [("uniform", &(|_| 1.0) as &Conductivity<'_>), ("contrast", &contrast)]
        {
            let matrix = tensor_grid(widths, conductivity, true);
            let (_, statistics) = solve(&matrix, &vec![1.0; matrix.unknowns()], 1e-10).unwrap();
            println!("{name}, {material}: {} iterations, {:?}", statistics.iterations, statistics.setup);
            assert!(statistics.iterations < 80, "{name}, {material}: {}", statistics.iterations);
        }
    }
}
