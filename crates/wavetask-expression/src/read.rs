//! Reading parts of fields: which boxes of indices hold what is wanted.

use std::ops::Range;

use wavetask_document::Array;
use wavetask_document::expression::{ExpressionError, Field, MeshType, Taken};

use crate::arrange::{gather, strides};
use crate::{MeshGeometry, Numbers};

/// Boxes that one field is read in at most; beyond, gaps between places are read, too.
const BOXES: usize = 64;

/// Where fields are read from.
pub trait Reader {
    /// The extent of each dimension of a field.
    ///
    /// # Errors
    /// `Field` if there is no such field.
    fn shape(&self, field: &Field) -> Result<Vec<usize>, ExpressionError>;

    /// The elements of a field in a box of indices, one range per dimension.
    ///
    /// # Errors
    /// `Field` if the field cannot be read.
    fn read(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Array, ExpressionError>;

    /// Points and cells of a field's mesh, before any cut. Where no field is on one, there is nothing to say.
    ///
    /// # Errors
    /// `Field` if the mesh cannot be read.
    fn mesh(&self, mesh: &MeshType) -> Result<MeshGeometry, ExpressionError> {
        Err(ExpressionError::Field {
            field: mesh.field.to_string(),
            source: "no field is on a mesh here".into(),
        })
    }
}

/// The places of a field that are taken, in their order, with the dimensions of which one place is taken gone.
pub(crate) fn read(reader: &dyn Reader, field: &Field, taken: &[Taken]) -> Result<Numbers, ExpressionError> {
    let extents = reader.shape(field)?;
    if extents.len() != taken.len() {
        let source = format!("it has {} dimensions, not {}", extents.len(), taken.len()).into();
        return Err(ExpressionError::Field { field: field.to_string(), source });
    }
    let places: Vec<Vec<usize>> = taken
        .iter()
        .zip(&extents)
        .map(|(taken, &extent)| match taken {
            Taken::All => (0..extent).collect(),
            Taken::One(place) => vec![*place],
            Taken::Places(places) => places.to_vec(),
        })
        .collect();
    let shape: Vec<usize> = places.iter().map(Vec::len).collect();
    let runs = runs(&places);
    let mut assembled: Option<Numbers> = None;
    let mut at = vec![0_usize; runs.len()];
    if shape.contains(&0) {
        return Ok(Numbers::Real(Vec::new()));
    }
    loop {
        let boxed: Vec<&Range<usize>> = runs.iter().zip(&at).map(|(runs, &at)| &runs[at]).collect();
        let ranges: Vec<Range<u64>> =
            boxed.iter().map(|range| range.start as u64..range.end as u64).collect();
        let array = reader.read(field, &ranges)?;
        let found: Vec<usize> = boxed.iter().map(|range| range.len()).collect();
        let array = Some(array).filter(|array| array.shape() == found).and_then(Numbers::of_array);
        let Some(numbers) = array else {
            let source = "what was read is not the numbers that were asked for".into();
            return Err(ExpressionError::Field { field: field.to_string(), source });
        };
        let whole = found == shape
            && places.iter().zip(&boxed).all(|(places, range)| places.iter().copied().eq((*range).clone()));
        if whole {
            return Ok(numbers);
        }
        place(&mut assembled, &numbers, &boxed, &places, &shape);
        // The next box.
        let mut axis = runs.len();
        loop {
            if axis == 0 {
                return Ok(assembled.unwrap_or_else(|| Numbers::Real(Vec::new())));
            }
            axis -= 1;
            at[axis] += 1;
            if at[axis] < runs[axis].len() {
                break;
            }
            at[axis] = 0;
        }
    }
}

/// Ascending runs of places along each axis that cover all that are wanted, in at most [`BOXES`] boxes.
fn runs(places: &[Vec<usize>]) -> Vec<Vec<Range<usize>>> {
    let sorted: Vec<Vec<usize>> = places
        .iter()
        .map(|places| {
            let mut places = places.clone();
            places.sort_unstable();
            places.dedup();
            places
        })
        .collect();
    let mut gap = 0;
    loop {
        let runs: Vec<Vec<Range<usize>>> = sorted.iter().map(|places| joined(places, gap)).collect();
        let boxes = runs.iter().fold(1_usize, |product, runs| product.saturating_mul(runs.len()));
        if boxes <= BOXES {
            return runs;
        }
        gap = 2 * gap + 1;
    }
}

/// Runs of ascending places; gaps of at most so many places do not end one.
fn joined(places: &[usize], gap: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &place in places {
        match runs.last_mut() {
            Some(run) if place - run.end <= gap => run.end = place + 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

/// Puts what a box holds of the wanted places where it belongs.
fn place(
    assembled: &mut Option<Numbers>,
    numbers: &Numbers,
    boxed: &[&Range<usize>],
    places: &[Vec<usize>],
    shape: &[usize],
) {
    // Along each axis: the places of the result that this box has, and where in the box.
    let (targets, sources): (Vec<Vec<usize>>, Vec<Vec<usize>>) = places
        .iter()
        .zip(boxed)
        .map(|(places, range)| {
            let inside = places.iter().enumerate().filter(|(_, place)| range.contains(place));
            inside.map(|(target, place)| (target, place - range.start)).unzip::<_, _, Vec<_>, Vec<_>>()
        })
        .unzip();
    let extents: Vec<usize> = boxed.iter().map(|range| range.len()).collect();
    let count = shape.iter().product();
    let (to, from) = (offsets(&targets, shape), offsets(&sources, &extents));
    match numbers {
        Numbers::Real(values) => {
            let assembled = assembled.get_or_insert_with(|| Numbers::Real(vec![0.0; count]));
            if let Numbers::Real(assembled) = assembled {
                scatter(assembled, values, &to, &from);
            }
        }
        Numbers::Complex(values) => {
            let zero = num_complex::Complex::new(0.0, 0.0);
            let assembled = assembled.get_or_insert_with(|| Numbers::Complex(vec![zero; count]));
            if let Numbers::Complex(assembled) = assembled {
                scatter(assembled, values, &to, &from);
            }
        }
    }
}

/// Places in two arrays, row by row: where rows begin, and the places within each.
type Rows = (Vec<usize>, Vec<usize>);

fn scatter<T: Copy>(target: &mut [T], source: &[T], to: &Rows, from: &Rows) {
    for (row, other) in to.0.iter().zip(&from.0) {
        for (place, from) in to.1.iter().zip(&from.1) {
            target[row + place] = source[other + from];
        }
    }
}

/// Where the rows of an array of this shape begin that these places along its axes meet, and the places within a row.
fn offsets(places: &[Vec<usize>], shape: &[usize]) -> Rows {
    let mut rows = vec![0];
    let Some((within, outer)) = places.split_last() else { return (rows, vec![0]) };
    for (places, stride) in outer.iter().zip(strides(shape)) {
        rows = rows.iter().flat_map(|&row| places.iter().map(move |&place| row + place * stride)).collect();
    }
    (rows, within.clone())
}

/// The numbers with their axes in another order: the operand's axis for each of the result.
pub(crate) fn transpose(of: &Numbers, shape: &[usize], axes: &[usize]) -> Numbers {
    let own = strides(shape);
    let strides: Vec<usize> = axes.iter().map(|&axis| own[axis]).collect();
    let shape: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    match of {
        Numbers::Real(values) => Numbers::Real(gather(values, 0, &strides, &shape)),
        Numbers::Complex(values) => Numbers::Complex(gather(values, 0, &strides, &shape)),
    }
}
