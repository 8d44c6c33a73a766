//! The sign and phase of modes, and their way from the solver's axes to the simulation's.
//!
//! A mode is known up to a complex factor. The client chooses the phase that makes the strongest transverse electric
//! field real, and the sign that makes the field positive in the lower corner of the plane: a choice that depends
//! little on the grid, so that modes of neighbouring simulations look alike.

use num_complex::Complex64;

use crate::fields::ModeFields;
use crate::layout::Layout;

/// Fields of one mode on the solver grid, along the solver's axes: tangential, tangential, normal.
#[derive(Clone, Debug)]
pub(crate) struct SolverFields {
    pub(crate) electric: [Vec<Complex64>; 3],
    pub(crate) magnetic: [Vec<Complex64>; 3],
}

/// Chooses phase and sign, turns the fields to the simulation's axes and puts them on the output grid.
pub(crate) fn to_output(mut fields: SolverFields, layout: &Layout) -> ModeFields {
    let phase = phase(&fields.electric);
    let factor = Complex64::from_polar(1.0, -phase);
    let components = fields.electric.iter_mut().chain(&mut fields.magnetic);
    components.flatten().for_each(|value| *value *= factor);
    let sizes = layout
        .tangential
        .map(|axis| layout.solver[axis].windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<f64>>());
    let sign = if is_inverted(&fields.electric, &sizes) { -1.0 } else { 1.0 };
    // Exchanging the axes of a plane along y is a reflection, which magnetic fields answer with their sign.
    let magnetic_sign = if layout.normal == 1 { -sign } else { sign };
    let axes = [layout.tangential[0], layout.tangential[1], layout.normal];
    let mut components: [Vec<Complex64>; 6] = Default::default();
    for (index, axis) in axes.into_iter().enumerate() {
        components[axis] = padded(&fields.electric[index], sign, layout);
        components[3 + axis] = padded(&fields.magnetic[index], magnetic_sign, layout);
    }
    ModeFields { components }
}

/// The phase of the strongest transverse electric field.
fn phase(electric: &[Vec<Complex64>; 3]) -> f64 {
    let mut strongest = Complex64::default();
    let mut square = -1.0;
    for value in electric[0].iter().chain(&electric[1]) {
        if value.norm_sqr() > square {
            square = value.norm_sqr();
            strongest = *value;
        }
    }
    strongest.arg()
}

/// Whether the field is negative in the lower corner of the plane: the corner is made smaller until the field there has
/// one sign, or its centre of intensity has a strong field.
fn is_inverted(electric: &[Vec<Complex64>; 3], sizes: &[Vec<f64>; 2]) -> bool {
    let peak = |component: &[Complex64]| component.iter().map(|value| value.re.abs()).fold(0.0, f64::max);
    let field = if peak(&electric[0]) > peak(&electric[1]) { &electric[0] } else { &electric[1] };
    let [rows, columns] = [sizes[0].len(), sizes[1].len()];
    let at = |i: usize, j: usize| field[i * columns + j].re;
    let (mut i, mut j) = (rows, columns);
    while i > 0 && j > 0 {
        let window = || (0..i).flat_map(move |row| (0..j).map(move |column| (row, column)));
        if window().all(|(row, column)| at(row, column) > 0.0) {
            return false;
        }
        if window().all(|(row, column)| at(row, column) < 0.0) {
            return true;
        }
        let threshold = window().map(|(row, column)| at(row, column).abs()).fold(0.0, f64::max) * 0.5;
        let mut sums = [[0.0_f64; 2]; 2];
        for (row, column) in window() {
            let intensity = at(row, column).powi(2);
            sums[0][0] += intensity * sizes[0][row];
            sums[0][1] += intensity * sizes[0][row] * row as f64;
            sums[1][0] += intensity * sizes[1][column];
            sums[1][1] += intensity * sizes[1][column] * column as f64;
        }
        if sums.iter().flatten().any(|sum| !sum.is_finite()) {
            return at(0, 0) < 0.0;
        }
        [i, j] =
            sums.map(|[total, weighted]| if total == 0.0 { 0 } else { (0.5 + weighted / total) as usize });
        if at(i, j).abs() >= threshold {
            return at(i, j) < 0.0;
        }
        if rows == 1 {
            i = 1;
        } else if columns == 1 {
            j = 1;
        }
    }
    false
}

/// Values on the output grid: zero around the solver grid.
fn padded(values: &[Complex64], sign: f64, layout: &Layout) -> Vec<Complex64> {
    let [rows, columns] = layout.output_cells();
    let [solver_rows, solver_columns] = layout.solver_cells();
    let [[first_row, _], [first_column, _]] = layout.padding;
    let mut output = vec![Complex64::default(); rows * columns];
    for row in 0..solver_rows {
        let from = &values[row * solver_columns..(row + 1) * solver_columns];
        let begin = (first_row + row) * columns + first_column;
        for (value, from) in output[begin..begin + solver_columns].iter_mut().zip(from) {
            *value = from * sign;
        }
    }
    output
}
