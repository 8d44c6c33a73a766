//! Reading parts of fields: which boxes of indices hold what is wanted.

use std::ops::Range;

use wavetask_document::Array;
use wavetask_document::expression::{ExpressionError, Field, MeshType, Taken};

use crate::arrange::{gather, strides};
use crate::{MeshGeometry, Numbers};

/// Between places of which so many elements are not wanted there may be a block that need not be read, which costs more
/// than another box.
const GAP: u128 = 1 << 12;

/// Of a box of more than [`SMALL`] elements at least one in so many is wanted.
const SPARSE: u128 = 4;

/// Smaller boxes would cost more than what they leave out.
const SMALL: u128 = 1 << 10;

/// Elements of a box of which not all are wanted: they are held at once.
const LARGE: u128 = 1 << 22;

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
    if shape.contains(&0) {
        return Ok(Numbers::Real(Vec::new()));
    }
    let axes: Vec<Axis> = places.iter().map(|places| Axis::new(places)).collect();
    let mut assembled: Option<Numbers> = None;
    let mut open: Vec<Group> = vec![axes.iter().map(|axis| 0..axis.places.len()).collect()];
    while let Some(group) = open.pop() {
        let spans: Vec<Range<usize>> =
            axes.iter().zip(&group).map(|(axis, part)| axis.span(part.clone())).collect();
        if let Some((along, at)) = split(&axes, &group, &spans) {
            let (mut before, mut behind) = (group.clone(), group);
            before[along].end = at;
            behind[along].start = at;
            open.extend([behind, before]);
            continue;
        }
        let ranges: Vec<Range<u64>> = spans.iter().map(|span| span.start as u64..span.end as u64).collect();
        let array = reader.read(field, &ranges)?;
        let found: Vec<usize> = spans.iter().map(Range::len).collect();
        let array = Some(array).filter(|array| array.shape() == found).and_then(Numbers::of_array);
        let Some(numbers) = array else {
            let source = "what was read is not the numbers that were asked for".into();
            return Err(ExpressionError::Field { field: field.to_string(), source });
        };
        let whole = found == shape
            && places.iter().zip(&spans).all(|(places, span)| places.iter().copied().eq(span.clone()));
        if whole {
            return Ok(numbers);
        }
        place(&mut assembled, &numbers, &spans, &axes, &group, &shape);
    }
    Ok(assembled.unwrap_or_else(|| Numbers::Real(Vec::new())))
}

/// The wanted places along an axis.
struct Axis {
    /// Places in ascending order, and where in the result each belongs.
    places: Vec<(usize, usize)>,
    /// How many different places there are up to each.
    different: Vec<usize>,
}

/// A part of the wanted places along each axis.
type Group = Vec<Range<usize>>;

impl Axis {
    fn new(places: &[usize]) -> Self {
        let mut places: Vec<(usize, usize)> =
            places.iter().enumerate().map(|(target, &place)| (place, target)).collect();
        places.sort_unstable();
        let mut different = Vec::with_capacity(places.len());
        for (at, (place, _)) in places.iter().enumerate() {
            let before = different.last().copied().unwrap_or(0);
            different.push(before + usize::from(at == 0 || places[at - 1].0 != *place));
        }
        Self { places, different }
    }

    /// How many different places a part has, which is not empty.
    fn distinct(&self, part: &Range<usize>) -> usize {
        self.different[part.end - 1] - self.different[part.start] + 1
    }

    /// From the first place of a part to the last.
    fn span(&self, part: Range<usize>) -> Range<usize> {
        let part = &self.places[part];
        part.first().map_or(0, |first| first.0)..part.last().map_or(0, |last| last.0 + 1)
    }

    /// The widest gap within a part, of several that in the middle: what lies in it, and where it ends.
    fn widest_gap(&self, part: &Range<usize>) -> Option<(usize, usize)> {
        let gap = |at: usize| (self.places[at].0 - self.places[at - 1].0).saturating_sub(1);
        let middle = part.start.midpoint(part.end);
        let from_middle = |at: usize| std::cmp::Reverse(at.abs_diff(middle));
        let widest = (part.start + 1..part.end).max_by_key(|&at| (gap(at), from_middle(at)))?;
        Some((gap(widest), widest))
    }
}

/// Along which axis, and where, a group is to be read in two boxes; `None` if it is read in one.
fn split(axes: &[Axis], group: &Group, spans: &[Range<usize>]) -> Option<(usize, usize)> {
    let product = |extents: &mut dyn Iterator<Item = usize>| {
        extents.fold(1_u128, |product, extent| product.saturating_mul(extent as u128))
    };
    let read = product(&mut spans.iter().map(Range::len));
    let wanted = product(&mut axes.iter().zip(group).map(|(axis, part)| axis.distinct(part)));
    if read <= wanted {
        return None;
    }
    // The cut that leaves out most.
    let cuts = axes.iter().zip(group).zip(spans).enumerate().filter_map(|(along, ((axis, part), span))| {
        let (gap, at) = axis.widest_gap(part)?;
        Some((read / span.len() as u128 * gap as u128, along, at))
    });
    let (left_out, along, at) = cuts.max().filter(|cut| cut.0 > 0)?;
    let sparse = read > SMALL && read > wanted.saturating_mul(SPARSE);
    (left_out >= GAP || sparse || read > LARGE).then_some((along, at))
}

/// Puts what a box holds of the wanted places where it belongs.
fn place(
    assembled: &mut Option<Numbers>,
    numbers: &Numbers,
    spans: &[Range<usize>],
    axes: &[Axis],
    group: &Group,
    shape: &[usize],
) {
    // Along each axis: the places of the result that this box has, and where in the box.
    let (targets, sources): (Vec<Vec<usize>>, Vec<Vec<usize>>) = axes
        .iter()
        .zip(group)
        .zip(spans)
        .map(|((axis, part), span)| {
            let inside = axis.places[part.clone()].iter();
            inside.map(|(place, target)| (*target, place - span.start)).unzip::<_, _, Vec<_>, Vec<_>>()
        })
        .unzip();
    let extents: Vec<usize> = spans.iter().map(Range::len).collect();
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
