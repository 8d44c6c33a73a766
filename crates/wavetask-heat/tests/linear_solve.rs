//! The sparse solver against dense solves, closed forms, and the matrices that break solvers.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first fault, as tests do")]

use std::ops::ControlFlow;

use proptest::prelude::*;
use wavetask_heat::linear::{
    Assembler, CsrMatrix, Elements, Jacobi, LinearError, Multigrid, MultigridOptions, Options, Pattern,
    Statistics, conjugate_gradient,
};

/// Of a cell, by its indices.
type Conductivity<'a> = dyn Fn([usize; 3]) -> f64 + 'a;

const CONTINUE: fn(usize, f64) -> ControlFlow<()> = |_, _| ControlFlow::Continue(());

fn solve_with(
    matrix: &CsrMatrix,
    right_hand_side: &[f64],
    tolerance: f64,
    multigrid: &MultigridOptions,
) -> Result<(Vec<f64>, Statistics), LinearError> {
    let multigrid = Multigrid::new(matrix, multigrid)?;
    let mut x = vec![0.0; matrix.unknowns()];
    let options = Options { tolerance, ..Options::default() };
    let statistics =
        conjugate_gradient(matrix, &multigrid, right_hand_side, &mut x, &options, &mut { CONTINUE })?;
    Ok((x, statistics))
}

fn solve(
    matrix: &CsrMatrix,
    right_hand_side: &[f64],
    tolerance: f64,
) -> Result<(Vec<f64>, Statistics), LinearError> {
    solve_with(matrix, right_hand_side, tolerance, &MultigridOptions::default())
}

/// Small enough that matrices of a few unknowns get a hierarchy.
fn tiny_coarsest() -> MultigridOptions {
    MultigridOptions { coarsest_unknowns: 4, ..MultigridOptions::default() }
}

/// Gaussian elimination with partial pivoting.
fn dense_solve(matrix: &CsrMatrix, right_hand_side: &[f64]) -> Vec<f64> {
    let size = matrix.unknowns();
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|row| {
            let mut dense = vec![0.0; size + 1];
            let (columns, values) = matrix.row(row);
            columns.iter().zip(values).for_each(|(&column, &value)| dense[column as usize] = value);
            dense[size] = right_hand_side[row];
            dense
        })
        .collect();
    for k in 0..size {
        let pivot = (k..size).max_by(|&a, &b| rows[a][k].abs().total_cmp(&rows[b][k].abs())).unwrap();
        rows.swap(k, pivot);
        let pivot_row = rows[k].clone();
        for row in &mut rows[k + 1..] {
            let factor = row[k] / pivot_row[k];
            row.iter_mut().zip(&pivot_row).skip(k).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut x = vec![0.0; size];
    for k in (0..size).rev() {
        let known: f64 = (k + 1..size).map(|j| rows[k][j] * x[j]).sum();
        x[k] = (rows[k][size] - known) / rows[k][k];
    }
    x
}

fn assert_close(x: &[f64], expected: &[f64], tolerance: f64) {
    let scale = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (value, wanted)) in x.iter().zip(expected).enumerate() {
        assert!((value - wanted).abs() <= tolerance * scale, "{index}: {value} instead of {wanted}");
    }
}

/// Cell-centred finite volumes on a tensor grid; `fixed_below` holds the lower z face at 0.
fn tensor_grid(
    widths: [&[f64]; 3],
    conductivity: impl Fn([usize; 3]) -> f64,
    fixed_below: bool,
) -> CsrMatrix {
    let counts = widths.map(<[f64]>::len);
    let index = |cell: [usize; 3]| (cell[0] * counts[1] + cell[1]) * counts[2] + cell[2];
    let mut triplets = Vec::new();
    for x in 0..counts[0] {
        for y in 0..counts[1] {
            for z in 0..counts[2] {
                let cell = [x, y, z];
                let size = [widths[0][x], widths[1][y], widths[2][z]];
                let volume: f64 = size.iter().product();
                let own = index(cell);
                if fixed_below && z == 0 {
                    triplets.push((own, own, 2.0 * conductivity(cell) * volume / (size[2] * size[2])));
                }
                for axis in 0..3 {
                    let mut other = cell;
                    other[axis] += 1;
                    if other[axis] == counts[axis] {
                        continue;
                    }
                    let resistance = 0.5 * size[axis] / conductivity(cell)
                        + 0.5 * widths[axis][other[axis]] / conductivity(other);
                    let conductance = volume / size[axis] / resistance;
                    let theirs = index(other);
                    triplets.extend([(own, own, conductance), (theirs, theirs, conductance)]);
                    triplets.extend([(own, theirs, -conductance), (theirs, own, -conductance)]);
                }
            }
        }
    }
    CsrMatrix::from_triplets(counts.iter().product(), &triplets).unwrap()
}

/// Gradients of the shape functions times the volume of a simplex, and the volume; `D + 1` corners.
fn stiffness<const D: usize, const N: usize>(corners: &[[f64; D]; N], local: &mut [[f64; N]; N]) -> f64 {
    // Inverse of the edge matrix by Gauss-Jordan.
    let mut edges = [[0.0; D]; D];
    let mut inverse = [[0.0; D]; D];
    for i in 0..D {
        inverse[i][i] = 1.0;
        for j in 0..D {
            edges[i][j] = corners[i + 1][j] - corners[0][j];
        }
    }
    let mut determinant = 1.0;
    for k in 0..D {
        let pivot = (k..D).max_by(|&a, &b| edges[a][k].abs().total_cmp(&edges[b][k].abs())).unwrap();
        if pivot != k {
            edges.swap(k, pivot);
            inverse.swap(k, pivot);
            determinant = -determinant;
        }
        determinant *= edges[k][k];
        let scale = 1.0 / edges[k][k];
        for j in 0..D {
            edges[k][j] *= scale;
            inverse[k][j] *= scale;
        }
        for row in 0..D {
            if row != k {
                let factor = edges[row][k];
                for j in 0..D {
                    edges[row][j] -= factor * edges[k][j];
                    inverse[row][j] -= factor * inverse[k][j];
                }
            }
        }
    }
    let factorial: usize = (1..=D).product();
    let volume = determinant.abs() / factorial as f64;
    let mut gradients = [[0.0; D]; N];
    for i in 0..D {
        for axis in 0..D {
            gradients[i + 1][axis] = inverse[axis][i];
            gradients[0][axis] -= inverse[axis][i];
        }
    }
    for i in 0..N {
        for j in 0..N {
            local[i][j] = volume * (0..D).map(|axis| gradients[i][axis] * gradients[j][axis]).sum::<f64>();
        }
    }
    volume
}

struct Mesh<const D: usize> {
    points: Vec<[f64; D]>,
    cells: Vec<[u32; 4]>,
    boundary: Vec<bool>,
}

/// The unit square or cube, in simplices along the diagonals, interior points moved by a tenth of an edge.
fn unit_mesh<const D: usize>(edge: usize) -> Mesh<D> {
    let count = edge + 1;
    let (mut points, mut boundary) = (Vec::new(), Vec::new());
    for number in 0..count.pow(D as u32) {
        let mut rest = number;
        let mut point = [0.0; D];
        let mut on_boundary = false;
        for (axis, value) in point.iter_mut().enumerate() {
            let i = rest % count;
            rest /= count;
            on_boundary |= i == 0 || i == edge;
            let shift = if i == 0 || i == edge { 0.0 } else { 0.1 * ((number * 7 + axis * 3) as f64).sin() };
            *value = (i as f64 + shift) / edge as f64;
        }
        points.push(point);
        boundary.push(on_boundary);
    }
    let orders: &[&[usize]] = if D == 2 {
        &[&[0, 1], &[1, 0]]
    } else {
        &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2], &[1, 2, 0], &[2, 0, 1], &[2, 1, 0]]
    };
    let mut cells = Vec::new();
    for number in 0..edge.pow(D as u32) {
        let mut rest = number;
        let mut corner = 0;
        for axis in 0..D {
            corner += (rest % edge) * count.pow(axis as u32);
            rest /= edge;
        }
        for order in orders {
            let mut node = corner;
            let mut cell = [node as u32; 4];
            for (place, &axis) in order.iter().enumerate() {
                node += count.pow(axis as u32);
                cell[place + 1] = node as u32;
            }
            cells.push(cell);
        }
    }
    Mesh { points, cells, boundary }
}

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

#[test]
fn rows_without_couplings_are_solved_beside_the_others() {
    let ones = [1.0; 12];
    let grid = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let mut triplets = Vec::new();
    for row in 0..grid.unknowns() {
        let (columns, values) = grid.row(row);
        triplets.extend(
            columns.iter().zip(values).map(|(&column, &value)| (2 * row, 2 * column as usize, value)),
        );
        triplets.push((2 * row + 1, 2 * row + 1, 10_f64.powi(row as i32 % 13 - 6)));
    }
    let matrix = CsrMatrix::from_triplets(2 * grid.unknowns(), &triplets).unwrap();
    let rhs: Vec<f64> = (0..matrix.unknowns()).map(|i| (i as f64).cos()).collect();
    let (x, statistics) = solve(&matrix, &rhs, 1e-12).unwrap();
    assert!(statistics.iterations < 40, "{}", statistics.iterations);
    let (grid_x, _) = solve(&grid, &rhs.iter().copied().step_by(2).collect::<Vec<_>>(), 1e-12).unwrap();
    assert_close(&x.iter().copied().step_by(2).collect::<Vec<_>>(), &grid_x, 1e-8);
    let mut diagonal_only = Vec::new();
    for row in 0..5000 {
        diagonal_only.push((row, row, 1.0 + row as f64));
    }
    let diagonal_only = CsrMatrix::from_triplets(5000, &diagonal_only).unwrap();
    let (x, statistics) = solve(&diagonal_only, &vec![1.0; 5000], 1e-12).unwrap();
    assert!(statistics.iterations <= 1);
    assert!(x.iter().enumerate().all(|(row, value)| (value * (1.0 + row as f64) - 1.0).abs() < 1e-14));
}

#[test]
fn components_must_each_be_held() {
    let ones = [1.0; 14];
    let held = tensor_grid([&ones, &ones, &ones], |cell| 1.0 + cell[0] as f64, true);
    let free = tensor_grid([&ones, &ones, &ones[..5]], |cell| 1e3 + cell[1] as f64 / 3.0, false);
    let put = |parts: &[&CsrMatrix]| {
        let mut triplets = Vec::new();
        let mut first = 0;
        for part in parts {
            for row in 0..part.unknowns() {
                let (columns, values) = part.row(row);
                let entries = columns.iter().zip(values);
                triplets
                    .extend(entries.map(|(&column, &value)| (first + row, first + column as usize, value)));
            }
            first += part.unknowns();
        }
        CsrMatrix::from_triplets(first, &triplets).unwrap()
    };
    let both_held = put(&[&held, &held]);
    let rhs: Vec<f64> =
        (0..both_held.unknowns()).map(|i| if i < held.unknowns() { 1.0 } else { -2.0 }).collect();
    let (x, statistics) = solve(&both_held, &rhs, 1e-11).unwrap();
    assert!(statistics.iterations < 40);
    let (upper, lower) = x.split_at(held.unknowns());
    assert_close(lower, &upper.iter().map(|value| -2.0 * value).collect::<Vec<_>>(), 1e-9);

    let singular = Multigrid::new(&free, &MultigridOptions::default()).unwrap_err();
    assert_eq!(singular, LinearError::Singular { rows: 14 * 14 * 5, first_row: 0 });
    assert!(singular.to_string().contains("float"), "{singular}");
    let one_free = put(&[&held, &free]);
    let singular = Multigrid::new(&one_free, &MultigridOptions::default()).unwrap_err();
    assert_eq!(singular, LinearError::Singular { rows: 14 * 14 * 5, first_row: held.unknowns() });
}

#[test]
fn pure_neumann_is_singular_and_the_weakest_hold_is_not() {
    // Assembled from elements, so that row sums carry the roundings of real meshes.
    let mesh = unit_mesh::<3>(20);
    let elements = Elements::new(mesh.points.len(), &mesh.cells, 4).unwrap();
    let mut assembler = Assembler::new(Pattern::from_elements(&[&elements]).unwrap());
    assembler
        .add::<4>(&elements, |cell, local| {
            let corners: [_; 4] = std::array::from_fn(|i| mesh.points[mesh.cells[cell][i] as usize]);
            stiffness(&corners, local);
            let conductivity = if cell % 3 == 0 { 148.0 } else { 0.026 };
            local.as_flattened_mut().iter_mut().for_each(|value| *value *= conductivity);
        })
        .unwrap();
    let matrix = assembler.finish();
    let error = Multigrid::new(&matrix, &MultigridOptions::default()).unwrap_err();
    assert_eq!(error, LinearError::Singular { rows: mesh.points.len(), first_row: 0 });
    // Natural convection on one point in nine thousand.
    let mut triplets = vec![(0, 0, 1e-8)];
    for row in 0..matrix.unknowns() {
        let (columns, values) = matrix.row(row);
        triplets.extend(columns.iter().zip(values).map(|(&column, &value)| (row, column as usize, value)));
    }
    let matrix = CsrMatrix::from_triplets(matrix.unknowns(), &triplets).unwrap();
    let mut rhs = vec![0.0; matrix.unknowns()];
    rhs[0] = 1e-8;
    let (x, _) = solve(&matrix, &rhs, 1e-9).unwrap();
    assert_close(&x, &vec![1.0; x.len()], 1e-3);
}

#[test]
fn numbering_hardly_matters() {
    let ones = [1.0; 30];
    let ordered = tensor_grid(
        [&ones, &ones, &ones],
        |cell| if (cell[0] / 3).is_multiple_of(2) { 1e6 } else { 1.0 },
        true,
    );
    let unknowns = ordered.unknowns();
    // A permutation without locality: 7919 is prime to 27000.
    let place = |row: usize| row * 7919 % unknowns;
    let mut triplets = Vec::new();
    for row in 0..unknowns {
        let (columns, values) = ordered.row(row);
        triplets.extend(
            columns.iter().zip(values).map(|(&column, &value)| (place(row), place(column as usize), value)),
        );
    }
    let shuffled = CsrMatrix::from_triplets(unknowns, &triplets).unwrap();
    let (x, first) = solve(&ordered, &vec![1.0; unknowns], 1e-10).unwrap();
    let (y, second) = solve(&shuffled, &vec![1.0; unknowns], 1e-10).unwrap();
    assert!(second.iterations <= 2 * first.iterations, "{} {}", first.iterations, second.iterations);
    assert_close(&(0..unknowns).map(|row| y[place(row)]).collect::<Vec<_>>(), &x, 1e-6);
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let ones = [1.0; 40];
    let matrix = tensor_grid(
        [&ones, &ones, &ones],
        |cell| if (cell[0] + cell[1]).is_multiple_of(5) { 1e4 } else { 1.0 },
        true,
    );
    let rhs: Vec<f64> = (0..matrix.unknowns()).map(|i| (i as f64 * 0.01).sin()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (x, statistics) = solve(&matrix, &rhs, 1e-10).unwrap();
            (x, statistics.iterations, statistics.relative_residual)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn the_callback_sees_progress_and_can_cancel() {
    let ones = [1.0; 20];
    let matrix = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let multigrid = Multigrid::new(&matrix, &MultigridOptions::default()).unwrap();
    let rhs = vec![1.0; matrix.unknowns()];
    let mut x = vec![0.0; matrix.unknowns()];
    let mut seen = Vec::new();
    let options = Options { tolerance: 1e-10, ..Options::default() };
    let statistics =
        conjugate_gradient(&matrix, &multigrid, &rhs, &mut x, &options, &mut |iteration, residual| {
            seen.push((iteration, residual));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen.len(), statistics.iterations + 1);
    assert!(seen.iter().enumerate().all(|(place, (iteration, _))| place == *iteration));
    assert!((seen[0].1 - 1.0).abs() < 1e-12 && seen.last().unwrap().1 <= 1e-10);

    // From the solution nothing is left to do.
    let again = conjugate_gradient(&matrix, &multigrid, &rhs, &mut x, &options, &mut { CONTINUE }).unwrap();
    assert_eq!(again.iterations, 0);

    x.fill(0.0);
    let cancelled = conjugate_gradient(&matrix, &multigrid, &rhs, &mut x, &options, &mut |iteration, _| {
        if iteration == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(cancelled.unwrap_err(), LinearError::Cancelled { iteration: 3 });
}

#[test]
fn bad_input_is_named() {
    let ones = [1.0; 10];
    let matrix = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let mut rhs = vec![1.0; 1000];
    rhs[321] = f64::NAN;
    let error = solve(&matrix, &rhs, 1e-9).unwrap_err();
    assert_eq!(error, LinearError::NotFinite { what: "the right-hand side", index: 321 });
    assert_eq!(solve(&matrix, &rhs[..999], 1e-9).unwrap_err().code(), "linear.size_mismatch");

    let with = |entries: &[(usize, usize, f64)]| {
        let mut triplets = entries.to_vec();
        for row in 0..1000 {
            let (columns, values) = matrix.row(row);
            triplets
                .extend(columns.iter().zip(values).map(|(&column, &value)| (row, column as usize, value)));
        }
        CsrMatrix::from_triplets(1000, &triplets).unwrap()
    };
    let nan = Multigrid::new(&with(&[(7, 8, f64::NAN)]), &MultigridOptions::default()).unwrap_err();
    assert!(matches!(nan, LinearError::NotFinite { index: 7, .. }), "{nan}");
    let negative = Multigrid::new(&with(&[(55, 55, -100.0)]), &MultigridOptions::default()).unwrap_err();
    assert!(matches!(negative, LinearError::NonPositiveDiagonal { row: 55, .. }), "{negative}");
    // Indefinite without any sign of it on the diagonal.
    let indefinite = with(&[(500, 501, 40.0), (501, 500, 40.0)]);
    let error = solve(&indefinite, &vec![1.0; 1000], 1e-9).unwrap_err();
    assert!(
        matches!(
            error,
            LinearError::NotPositiveDefinite { .. } | LinearError::PreconditionerNotPositive { .. }
        ),
        "{error}"
    );
    let few = Options { tolerance: 1e-12, maximum_iterations: 5 };
    let jacobi = Jacobi::new(&matrix).unwrap();
    let mut x = vec![0.0; 1000];
    let error =
        conjugate_gradient(&matrix, &jacobi, &vec![1.0; 1000], &mut x, &few, &mut { CONTINUE }).unwrap_err();
    assert!(matches!(error, LinearError::NotConverged { iterations: 5, .. }), "{error}");
    assert!(x.iter().any(|&value| value > 0.0), "the last iterate is kept");
    let (zero, statistics) = solve(&matrix, &vec![0.0; 1000], 1e-9).unwrap();
    assert!(statistics.iterations == 0 && zero.iter().all(|&value| value == 0.0));
    assert!(!error.hint().is_empty() && error.code() == "linear.not_converged");
}

#[test]
fn an_unsolvable_system_never_passes_as_solved() {
    // Floating, with more heat coming in than going out. The diagonal preconditioner does not look for that.
    let ones = [1.0; 12];
    let floating = tensor_grid([&ones, &ones, &ones], |_| 1.0, false);
    let jacobi = Jacobi::new(&floating).unwrap();
    let rhs: Vec<f64> = (0..floating.unknowns()).map(|i| 1.0 + (i as f64).sin()).collect();
    let mut x = vec![0.0; rhs.len()];
    let error = conjugate_gradient(&floating, &jacobi, &rhs, &mut x, &Options::default(), &mut { CONTINUE });
    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            LinearError::Stagnated { .. }
                | LinearError::NotPositiveDefinite { .. }
                | LinearError::NotConverged { .. }
        ),
        "{error}"
    );
    // So small that squares vanish: refused rather than answered with zeros.
    let held = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let error = solve(&held, &vec![1e-200; held.unknowns()], 1e-9).unwrap_err();
    assert_eq!(error.code(), "linear.preconditioner_not_positive");
    let error = solve(&held, &vec![1e200; held.unknowns()], 1e-9).unwrap_err();
    assert_eq!(error.code(), "linear.not_finite");
}

#[test]
fn a_tolerance_below_rounding_ends_at_rounding() {
    let ones = [1.0; 24];
    let conductivity = |cell: [usize; 3]| if cell[2] > 8 { 1e6 } else { 1.0 };
    let matrix = tensor_grid([&ones, &ones, &ones], conductivity, true);
    // Hundreds of kelvin that hardly vary.
    let mut rhs = vec![0.0; matrix.unknowns()];
    for column in 0..24 * 24 {
        rhs[column * 24] = 2.0 * 300.0;
    }
    let (x, statistics) = solve(&matrix, &rhs, 1e-15).unwrap();
    assert!(statistics.limited_by_rounding, "{statistics:?}");
    assert_close(&x, &vec![300.0; x.len()], 1e-8);
}

/// Symmetric positive definite: a weighted graph, with couplings of both signs and over twelve decades, and
/// a diagonal that just dominates.
fn graph_matrix() -> impl Strategy<Value = (CsrMatrix, Vec<f64>)> {
    (2_usize..60)
        .prop_flat_map(|size| {
            let coupling = (0..size, 0..size, -3.0..3.0_f64, prop::bool::weighted(0.2));
            (
                Just(size),
                prop::collection::vec(coupling, size..4 * size),
                prop::collection::vec(0.01..1.0_f64, size),
                prop::collection::vec(-1.0..1.0_f64, size),
            )
        })
        .prop_map(|(size, couplings, holds, rhs)| {
            let mut triplets = Vec::new();
            for (i, j, decade, positive) in couplings {
                if i != j {
                    let weight = 10_f64.powf(decade);
                    let sign = if positive { 1.0 } else { -1.0 };
                    triplets.extend([
                        (i, i, weight),
                        (j, j, weight),
                        (i, j, sign * weight),
                        (j, i, sign * weight),
                    ]);
                }
            }
            triplets.extend(holds.iter().enumerate().map(|(i, &hold)| (i, i, hold)));
            (CsrMatrix::from_triplets(size, &triplets).unwrap(), rhs)
        })
}

/// Symmetric positive definite without diagonal dominance: `Bᵀ B + I / 10` with a sparse `B`.
fn gram_matrix() -> impl Strategy<Value = (CsrMatrix, Vec<f64>)> {
    (2_usize..40)
        .prop_flat_map(|size| {
            let row = prop::collection::vec((0..size, -2.0..2.0_f64), 1..4);
            (Just(size), prop::collection::vec(row, size), prop::collection::vec(-1.0..1.0_f64, size))
        })
        .prop_map(|(size, rows, rhs)| {
            let mut triplets: Vec<_> = (0..size).map(|i| (i, i, 0.1)).collect();
            for row in rows {
                for &(i, a) in &row {
                    triplets.extend(row.iter().map(|&(j, b)| (i, j, a * b)));
                }
            }
            (CsrMatrix::from_triplets(size, &triplets).unwrap(), rhs)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_dense_solves((matrix, rhs) in prop_oneof![graph_matrix(), gram_matrix()]) {
        let expected = dense_solve(&matrix, &rhs);
        let (x, statistics) = solve_with(&matrix, &rhs, 1e-12, &tiny_coarsest()).unwrap();
        prop_assert!(statistics.iterations <= 200);
        let scale = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (value, wanted) in x.iter().zip(&expected) {
            prop_assert!((value - wanted).abs() <= 1e-7 * scale, "{} instead of {}", value, wanted);
        }
    }
}
