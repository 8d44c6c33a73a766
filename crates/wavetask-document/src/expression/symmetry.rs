//! Fields of symmetric simulations: what is stored of them is a part, and what they are is the whole.
//!
//! The data of a monitor says which planes of symmetry its simulation had, and where. tidy3d's data objects make the
//! whole of that when a result is asked for a monitor (`symmetry_expanded_copy`), and so does this: every label of the
//! whole is that of a stored place, perhaps on the other side of a plane, perhaps with the sign reversed. Nothing is
//! made of it in memory: a place of the whole that is read is a stored place that is read.
//!
//! There are two families of rules, as tidy3d's classes have them.
//!
//! - Electromagnetic fields, permittivities and the like ([`GRIDDED`]) are at places of a grid, which the data has for
//!   the whole (`grid_expanded`). Each of the grid's places takes what is stored at its mirror image. Components of E
//!   along the normal of a plane, and of H across it, change their sign with the symmetry's.
//! - Temperatures and other scalar fields ([`SCALAR`]) are where they were sampled. They are repeated on the other side
//!   of a plane where the monitor goes there, and what lies beyond the monitor is left out again.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::infer::{Context, Inferred, Typed};
use super::interpolation::{Rule, samples};
use super::plan::Sample;
use super::selection::{ByLabel, Taken};
use super::{
    BinaryFunction, Coordinate, DataType, Dimension, ExpressionError, Fill, InterpolationMethod, Labels,
    SelectionMethod,
};

/// The axes of space.
pub(super) const AXES: [&str; 3] = ["x", "y", "z"];

/// Classes of data on a grid, of which `grid_expanded` is the whole.
const GRIDDED: [&str; 7] = [
    "AuxFieldTimeData",
    "FieldData",
    "FieldTimeData",
    "MediumData",
    "ModeData",
    "ModeSolverData",
    "PermittivityData",
];

/// Those of them whose monitors may ask for values at the corners of cells.
const COLOCATED: [&str; 4] = ["FieldData", "FieldTimeData", "ModeData", "ModeSolverData"];

/// Classes of data that is repeated behind planes of symmetry.
const SCALAR: [&str; 8] = [
    "SteadyChargeResidualData",
    "SteadyCurrentDensityData",
    "SteadyElectricFieldData",
    "SteadyEnergyBandData",
    "SteadyFreeCarrierData",
    "SteadyPotentialData",
    "TemperatureData",
    "VolumeMeshData",
];

/// What a field stands for of which something is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Whole {
    /// What is stored.
    #[default]
    Stored,
    /// More along some dimensions.
    Labels(Vec<Mirror>),
    /// More of its mesh.
    Mesh(Mirrors),
}

/// How the labels along one dimension of the whole come from those that are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// The dimension's place.
    axis: usize,
    /// The labels of the whole.
    coordinate: Vec<f64>,
    /// Where the values at each of them are.
    from: Origin,
    /// What the values at each of them are multiplied by, if that is not one everywhere.
    signs: Option<Vec<f64>>,
}

impl Mirror {
    /// Values between stored ones along an axis, at these places.
    pub(super) const fn between(axis: usize, coordinate: Vec<f64>, samples: Vec<Sample>) -> Self {
        Self { axis, coordinate, from: Origin::Between(samples), signs: None }
    }
}

impl Whole {
    /// The labels of the whole, of those that are stored. A mesh has no others.
    pub fn labels(&self, mut stored: Labels) -> Labels {
        if let Self::Labels(mirrors) = self {
            for mirror in mirrors {
                let dimension = &mut stored.dimensions[mirror.axis];
                dimension.coordinate = Arc::new(Coordinate::Numbers(mirror.coordinate.clone()));
            }
        }
        stored
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// At stored places.
    Places(Vec<usize>),
    /// Between them.
    Between(Vec<Sample>),
}

/// The planes of symmetry of a field on a mesh or at places that were sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirrors {
    /// Across which axes there is a plane.
    pub axes: [bool; 3],
    /// Where (µm).
    pub center: [f64; 3],
    /// From where to where the monitor goes along each axis (µm), without end where it has none.
    pub monitor: [[f64; 2]; 3],
}

/// What is done with data along an axis of symmetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirroring {
    /// Whether the mirror image joins the data, or takes its place.
    pub joins: bool,
    /// Whether what lies below the monitor is left out.
    pub trims_below: bool,
    /// Whether what lies above the monitor is left out.
    pub trims_above: bool,
}

impl Mirrors {
    /// What is done along an axis with data that goes from `low` to `high`; `None` if nothing is.
    pub fn along(&self, axis: usize, [low, high]: [f64; 2]) -> Option<Mirroring> {
        let (center, [first, last]) = (self.center[axis], self.monitor[axis]);
        if !self.axes[axis] {
            None
        } else if last < low {
            Some(Mirroring { joins: false, trims_below: false, trims_above: false })
        } else if first < 2.0 * center - low {
            let trims_below = first > 2.0 * center - high;
            Some(Mirroring { joins: true, trims_below, trims_above: last < high })
        } else {
            None
        }
    }

    /// The box that data is cut to after it was mirrored so, if it is: where it is not to be, a little more than the
    /// monitor.
    pub fn trimmed(&self, done: &[Option<Mirroring>; 3]) -> Option<[[f64; 2]; 3]> {
        let any = done.iter().flatten().any(|done| done.trims_below || done.trims_above);
        let bounds = |axis: usize| {
            let [first, last] = self.monitor[axis];
            let exact = |trims: fn(&Mirroring) -> bool| done[axis].as_ref().is_some_and(trims);
            let low = if exact(|done| done.trims_below) { first } else { first - 1.0 };
            [low, if exact(|done| done.trims_above) { last } else { last + 1.0 }]
        };
        any.then(|| std::array::from_fn(bounds))
    }
}

/// What of a monitor data's JSON says what it stands for.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "type", default)]
    class: String,
    #[serde(default)]
    symmetry: Option<[i64; 3]>,
    #[serde(default)]
    symmetry_center: Option<[f64; 3]>,
    #[serde(default)]
    grid_expanded: Option<Grid>,
    #[serde(default)]
    monitor: Option<Monitor>,
}

/// The grid of the whole of some data.
#[derive(Deserialize)]
pub(super) struct Grid {
    boundaries: Boundaries,
}

impl Grid {
    /// The boundaries of its cells along an axis.
    pub(super) fn along(&self, axis: usize) -> &[f64] {
        let Boundaries { x, y, z } = &self.boundaries;
        [x, y, z][axis]
    }
}

#[derive(Deserialize)]
struct Boundaries {
    x: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
}

/// The monitor of some data.
#[derive(Deserialize)]
pub(super) struct Monitor {
    #[serde(default)]
    pub(super) center: Option<[Value; 3]>,
    #[serde(default)]
    pub(super) size: Option<[Value; 3]>,
    #[serde(default)]
    pub(super) colocate: Option<bool>,
    #[serde(default)]
    pub(super) use_colocated_integration: Option<bool>,
    #[serde(default)]
    pub(super) interval_space: Option<[usize; 3]>,
}

/// What a field of the data of a monitor stands for: `data` is the data's JSON, `name` the field's, and `labels` what is
/// stored of it along its dimensions.
///
/// # Errors
/// What is missing, or which data of symmetric simulations is not known here.
pub fn whole(data: &str, name: &str, labels: &Labels, on_mesh: bool) -> Result<Whole, String> {
    let spatial: Vec<usize> = AXES.iter().filter_map(|axis| labels.axis(axis)).collect();
    if spatial.is_empty() && !on_mesh {
        return Ok(Whole::Stored);
    }
    let outline: Outline =
        serde_json::from_str(data).map_err(|error| format!("its data is malformed: {error}"))?;
    let symmetry = outline.symmetry.unwrap_or_default();
    if symmetry == [0; 3] {
        return Ok(Whole::Stored);
    }
    let class = outline.class.as_str();
    let &[x, y, z] = &spatial[..] else {
        return if on_mesh && SCALAR.contains(&class) {
            mirrors(&outline, symmetry).map(Whole::Mesh)
        } else {
            Err(format!("what a `{class}` of a symmetric simulation stands for is not known here"))
        };
    };
    let axes = [x, y, z];
    let mut stored = Vec::with_capacity(3);
    for axis in axes {
        let numbers = labels.dimensions[axis].coordinate.numbers();
        stored.push(numbers.ok_or("its places are texts")?);
    }
    let stored = [stored[0], stored[1], stored[2]];
    if GRIDDED.contains(&class) {
        let Some(component) = Component::named(name) else {
            return Err(format!("what `{name}` of a symmetric simulation stands for is not known here"));
        };
        gridded(&outline, symmetry, component, axes, stored).map(Whole::Labels)
    } else if SCALAR.contains(&class) {
        let mirrors = mirrors(&outline, symmetry)?;
        Ok(Whole::Labels(sampled(&mirrors, axes, stored)?))
    } else {
        Err(format!("what a `{class}` of a symmetric simulation stands for is not known here"))
    }
}

fn mirrors(outline: &Outline, symmetry: [i64; 3]) -> Result<Mirrors, String> {
    if symmetry.iter().any(|symmetry| ![0, 1].contains(symmetry)) {
        return Err(format!("a `{}` knows the symmetries 0 and 1", outline.class));
    }
    let monitor = outline.monitor.as_ref();
    let center = monitor.and_then(|monitor| numbers(&monitor.center));
    let size = monitor.and_then(|monitor| numbers(&monitor.size));
    let (Some(center), Some(size)) = (center, size) else {
        return Err("its monitor does not say where it is".to_owned());
    };
    let bounds = |axis: usize| [center[axis] - size[axis] / 2.0, center[axis] + size[axis] / 2.0];
    Ok(Mirrors {
        axes: symmetry.map(|symmetry| symmetry != 0),
        center: outline.symmetry_center.unwrap_or_default(),
        monitor: std::array::from_fn(bounds),
    })
}

/// Three numbers of a document, which may be infinite.
pub(super) fn numbers(values: &Option<[Value; 3]>) -> Option<[f64; 3]> {
    let mut numbers = [0.0; 3];
    for (number, value) in numbers.iter_mut().zip(values.as_ref()?) {
        *number = crate::number(value)?;
    }
    Some(numbers)
}

/// Places along an axis, with the stored places whose values are there.
struct Line {
    coordinates: Vec<f64>,
    places: Vec<usize>,
}

impl Line {
    fn sorted(mut self) -> Self {
        if self.coordinates.windows(2).any(|pair| pair[1] < pair[0]) {
            let mut order: Vec<usize> = (0..self.coordinates.len()).collect();
            order.sort_by(|&a, &b| self.coordinates[a].total_cmp(&self.coordinates[b]));
            self.coordinates = order.iter().map(|&place| self.coordinates[place]).collect();
            self.places = order.iter().map(|&place| self.places[place]).collect();
        }
        self
    }

    /// With its mirror image below it, or that alone.
    fn mirrored(self, center: f64, joins: bool) -> Self {
        let image: Vec<f64> = self.coordinates.iter().map(|coordinate| 2.0 * center - coordinate).collect();
        if !joins {
            return Self { coordinates: image, places: self.places }.sorted();
        }
        // What lies on the plane is there once.
        let shared = usize::from(self.coordinates.first().is_some_and(|&first| is_close(center, first)));
        let mut coordinates: Vec<f64> = image.into_iter().rev().collect();
        let mut places: Vec<usize> = self.places.iter().rev().copied().collect();
        coordinates.extend_from_slice(&self.coordinates[shared..]);
        places.extend_from_slice(&self.places[shared..]);
        Self { coordinates, places }
    }

    /// What covers an interval: one place more on each side of it.
    fn covering(self, [low, high]: [f64; 2]) -> Self {
        let count = self.coordinates.len();
        let (Some(&first), Some(&last)) = (self.coordinates.first(), self.coordinates.last()) else {
            return self;
        };
        if count == 1 || high < first || low > last {
            return self;
        }
        let place_of = |bound: f64| self.coordinates.iter().position(|&at| at >= bound).unwrap_or(0);
        let begin = if low < first { 0 } else { place_of(low).saturating_sub(1) };
        let end = if high > last { count - 1 } else { place_of(high) };
        let end = end.max(begin);
        Self {
            coordinates: self.coordinates[begin..=end].to_vec(),
            places: self.places[begin..=end].to_vec(),
        }
    }
}

/// Whether numbers are equal as NumPy's `isclose` has it.
fn is_close(number: f64, reference: f64) -> bool {
    (number - reference).abs() <= 1e-8 + 1e-5 * reference.abs()
}

/// The labels of values at places that were sampled.
fn sampled(mirrors: &Mirrors, axes: [usize; 3], stored: [&[f64]; 3]) -> Result<Vec<Mirror>, String> {
    let extent = |axis: usize| {
        let along = stored[axis].iter().copied();
        [along.clone().fold(f64::INFINITY, f64::min), along.fold(f64::NEG_INFINITY, f64::max)]
    };
    let done: [Option<Mirroring>; 3] = std::array::from_fn(|axis| mirrors.along(axis, extent(axis)));
    if done.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let trimmed = mirrors.trimmed(&done);
    let mut found = Vec::with_capacity(3);
    for axis in 0..3 {
        let coordinates = stored[axis].to_vec();
        let mut line = Line { places: (0..coordinates.len()).collect(), coordinates }.sorted();
        if let Some(done) = done[axis] {
            let center = mirrors.center[axis];
            let first = line.coordinates.first().copied().unwrap_or(center);
            if center > first && !is_close(center, first) {
                return Err(format!(
                    "its data begins at {} = {first}, below the plane of symmetry at {center}",
                    AXES[axis]
                ));
            }
            line = line.mirrored(center, done.joins);
        }
        if let Some(bounds) = trimmed {
            line = line.covering(bounds[axis]);
        }
        if line.coordinates != stored[axis] {
            let from = Origin::Places(line.places);
            found.push(Mirror { axis: axes[axis], coordinate: line.coordinates, from, signs: None });
        }
    }
    Ok(found)
}

/// A component of a field on a grid: where in a cell it is, and how it is mirrored.
#[derive(Clone, Copy)]
struct Component {
    axis: usize,
    /// Whether it is on edges of cells, as those of E are, or on faces.
    on_edges: bool,
    /// What its sign changes by: that of a polar vector, an axial one, or nothing.
    parity: Parity,
}

#[derive(Clone, Copy)]
enum Parity {
    Polar,
    Axial,
    Even,
    /// It is of no vector, so that the symmetry's own sign has no meaning for it.
    Scalar,
}

impl Component {
    fn named(name: &str) -> Option<Self> {
        let (start, end) = name.split_at_checked(name.len().checked_sub(1)?)?;
        let axis = AXES.iter().position(|axis| *axis == end)?;
        let (on_edges, parity) = match start {
            "E" => (true, Parity::Polar),
            "H" => (false, Parity::Axial),
            "Nf" => (true, Parity::Even),
            _ if start == format!("eps_{end}") => (true, Parity::Scalar),
            _ if start == format!("mu_{end}") => (false, Parity::Scalar),
            _ => return None,
        };
        Some(Self { axis, on_edges, parity })
    }

    /// What values behind a plane of this symmetry across an axis are multiplied by.
    fn sign(self, symmetry: i64, axis: usize) -> f64 {
        let along = self.axis == axis;
        let own = match self.parity {
            Parity::Polar if along => -1,
            Parity::Axial if !along => -1,
            Parity::Polar | Parity::Axial | Parity::Even => 1,
            Parity::Scalar => return 1.0,
        };
        if symmetry * own < 0 { -1.0 } else { 1.0 }
    }

    /// Its places along an axis of a grid.
    fn places(self, boundaries: &[f64], axis: usize) -> Vec<f64> {
        if (self.axis == axis) == self.on_edges {
            boundaries.windows(2).map(|pair| f64::midpoint(pair[1], pair[0])).collect()
        } else {
            boundaries[..boundaries.len().saturating_sub(1)].to_vec()
        }
    }
}

/// The labels of values at places of a grid.
fn gridded(
    outline: &Outline,
    symmetry: [i64; 3],
    component: Component,
    axes: [usize; 3],
    stored: [&[f64]; 3],
) -> Result<Vec<Mirror>, String> {
    let (Some(grid), Some(center), Some(monitor)) =
        (&outline.grid_expanded, outline.symmetry_center, &outline.monitor)
    else {
        return Err("its data lacks the grid, the centre of symmetry or the monitor".to_owned());
    };
    let colocated = COLOCATED.contains(&outline.class.as_str())
        && monitor.colocate.ok_or("its monitor does not say whether values are at the corners of cells")?;
    let intervals = monitor.interval_space.unwrap_or([1; 3]);
    let mut found = Vec::with_capacity(3);
    for axis in (0..3).filter(|&axis| symmetry[axis] != 0) {
        let boundaries = grid.along(axis);
        let places = if colocated {
            boundaries[..boundaries.len().saturating_sub(1)].to_vec()
        } else {
            component.places(boundaries, axis)
        };
        let coordinate = thinned(places, intervals[axis]);
        let middle = center[axis];
        let image: Vec<f64> =
            coordinate.iter().map(|&at| if at < middle { 2.0 * middle - at } else { at }).collect();
        let Some(&outermost) = image.last() else {
            return Err(format!("its grid has no cell along {}", AXES[axis]));
        };
        let numbers = stored[axis];
        let from = if numbers.len() == 1 || numbers.contains(&outermost) {
            let known = Coordinate::Numbers(numbers.to_vec());
            let by_label =
                ByLabel { name: AXES[axis], coordinate: &known, method: Some(SelectionMethod::Nearest) };
            Origin::Places(by_label.values(&Coordinate::Numbers(image)).map_err(|error| error.to_string())?)
        } else {
            let rule = Rule {
                method: InterpolationMethod::Linear,
                fill: Some(Fill::Extrapolate),
                only_dimension: false,
            };
            Origin::Between(samples(AXES[axis], numbers, &image, rule).map_err(|error| error.to_string())?)
        };
        let sign = component.sign(symmetry[axis], axis);
        let reversed = sign < 0.0 && coordinate.iter().any(|&at| at < middle);
        let signs =
            reversed.then(|| coordinate.iter().map(|&at| if at < middle { sign } else { 1.0 }).collect());
        found.push(Mirror { axis: axes[axis], coordinate, from, signs });
    }
    Ok(found)
}

/// Every how many-th place a monitor has, the first and the last among them.
fn thinned(places: Vec<f64>, interval: usize) -> Vec<f64> {
    let last = places.len().saturating_sub(1);
    if places.len() < 4 || last <= interval || interval == 0 {
        return places;
    }
    let taken = |place: usize| place.is_multiple_of(interval) || place == last;
    places.iter().enumerate().filter(|(place, _)| taken(*place)).map(|(_, &at)| at).collect()
}

/// A stored field with the labels of the whole along one dimension.
pub(super) fn mirrored(
    context: &mut Context<'_>,
    of: Inferred,
    mirror: Mirror,
) -> Result<Inferred, ExpressionError> {
    let Mirror { axis, coordinate, from, signs } = mirror;
    context.hold(coordinate.len())?;
    let dimension = Dimension {
        name: of.labels.dimensions[axis].name.clone(),
        coordinate: Arc::new(Coordinate::Numbers(coordinate)),
    };
    let mut whole = match from {
        Origin::Places(places) => {
            let mut taken = vec![Taken::All; of.labels.dimensions.len()];
            taken[axis] = Taken::of_places(places, of.labels.dimensions[axis].coordinate.len());
            of.take(context, taken)?
        }
        Origin::Between(samples) => {
            let labels = of.labels.clone();
            let data_type = of.data_type.max(DataType::Float);
            let node = Typed::Interpolate { of: Box::new(of), axis, samples, scalar: false };
            Inferred { labels, data_type, mesh: None, node }
        }
    };
    whole.labels.dimensions[axis] = dimension.clone();
    let Some(signs) = signs else { return Ok(whole) };
    let literal = Inferred {
        labels: Labels { dimensions: vec![dimension], scalars: Default::default() },
        data_type: DataType::Float,
        mesh: None,
        node: Typed::Literal { values: signs, imaginary: None },
    };
    let labels = whole.labels.clone();
    let data_type = whole.data_type.max(DataType::Float);
    let (left, right) = (Box::new(whole), Box::new(literal));
    Ok(Inferred {
        labels,
        data_type,
        mesh: None,
        node: Typed::Binary { function: BinaryFunction::Multiply, left, right },
    })
}
