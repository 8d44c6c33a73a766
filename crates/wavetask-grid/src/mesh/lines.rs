//! The tensor grid of lines that the box tree starts from.
//!
//! Positions along an axis are integers: the number of a base interval, shifted up, plus a dyadic
//! fraction of that interval. So the corners of boxes are compared exactly, three of them fit one 64-bit key,
//! and feature planes keep the very floating-point value they were given.

use super::{MeshError, MeshRequest};

/// Bits of one coordinate in a key.
const COORDINATE_BITS: u32 = 21;

/// Lines along one axis.
#[derive(Debug)]
pub(super) struct Axis {
    /// Positions of the base lines, ascending (µm).
    positions: Vec<f64>,
    /// Whether the line is a bound or a feature plane, which vertices must not leave.
    feature: Vec<bool>,
    /// Bits of the dyadic fraction.
    pub(super) fraction_bits: u32,
}

impl Axis {
    /// Position of a coordinate (µm).
    pub(super) fn position(&self, coordinate: u32) -> f64 {
        let interval = (coordinate >> self.fraction_bits) as usize;
        let fraction = coordinate & ((1 << self.fraction_bits) - 1);
        if fraction == 0 {
            return self.positions[interval];
        }
        let share = f64::from(fraction) / f64::from(1_u32 << self.fraction_bits);
        self.positions[interval] + share * (self.positions[interval + 1] - self.positions[interval])
    }

    /// Length of the base interval that holds a coordinate (µm).
    pub(super) fn interval_length(&self, coordinate: u32) -> f64 {
        let interval = (coordinate >> self.fraction_bits) as usize;
        self.positions[interval + 1] - self.positions[interval]
    }

    /// Whether the coordinate is on a bound or a feature plane.
    fn is_feature(&self, coordinate: u32) -> bool {
        let fraction = coordinate & ((1 << self.fraction_bits) - 1);
        fraction == 0 && self.feature[(coordinate >> self.fraction_bits) as usize]
    }

    /// First and last line (µm).
    pub(super) fn ends(&self) -> [f64; 2] {
        [self.positions[0], self.positions[self.positions.len() - 1]]
    }

    /// Number of base intervals; none along the normal of a flat domain.
    pub(super) fn intervals(&self) -> usize {
        self.positions.len() - 1
    }
}

/// Lines along the three axes.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) axes: [Axis; 3],
    /// Axis without extent in a flat domain.
    pub(super) normal: Option<usize>,
    /// Axes with extent.
    pub(super) active: Vec<usize>,
}

/// Key of a grid point.
pub(super) fn key(coordinates: [u32; 3]) -> u64 {
    coordinates.iter().fold(0, |key, &coordinate| key << COORDINATE_BITS | u64::from(coordinate))
}

impl Lines {
    /// Fuses the planes and subdivides long intervals to about the largest cell that the size field wants.
    pub(super) fn new(request: &MeshRequest<'_>) -> Result<Self, MeshError> {
        let invalid = |reason: String| Err(MeshError::Invalid { reason });
        if !(request.fuse_tolerance >= 0.0 && request.fuse_tolerance.is_finite()) {
            return invalid("the fuse tolerance must be finite and not negative".to_owned());
        }
        for (axis, [low, high]) in request.bounds.iter().enumerate() {
            if !(low.is_finite() && high.is_finite() && low <= high) {
                return invalid(format!("bounds along axis {axis} are not an interval: {low} to {high}"));
            }
            if request.feature_planes[axis].iter().any(|plane| !plane.is_finite()) {
                return invalid(format!("a feature plane along axis {axis} is not finite"));
            }
        }
        let extent = |axis: usize| request.bounds[axis][1] - request.bounds[axis][0];
        let (active, flat): (Vec<usize>, Vec<usize>) =
            (0..3).partition(|&axis| extent(axis) > request.fuse_tolerance);
        if flat.len() > 1 {
            return invalid("the domain has extent along fewer than two axes".to_owned());
        }
        let largest = largest_size(request, &active)?;
        let side = largest / (active.len() as f64).sqrt();
        let mut base_cells = 1.0_f64;
        let mut axes = Vec::with_capacity(3);
        for axis in 0..3 {
            let built = build_axis(request, axis, side, active.contains(&axis))?;
            base_cells *= built.intervals().max(1) as f64;
            axes.push(built);
        }
        let per_box = if active.len() == 2 { 2.0 } else { 6.0 };
        if base_cells * per_box > request.maximum_cells as f64 {
            let planes: Vec<String> = axes.iter().map(|axis| axis.positions.len().to_string()).collect();
            return Err(MeshError::TooManyCells {
                needed: (base_cells * per_box) as usize,
                limit: request.maximum_cells,
                hint: format!(
                    "the base grid alone has {} lines; use larger cells or fewer distinct planes",
                    planes.join(" x ")
                ),
            });
        }
        let Ok(axes) = axes.try_into() else { unreachable!("three axes were built") };
        Ok(Self { axes, normal: flat.first().copied(), active })
    }

    /// Position of a grid point (µm).
    pub(super) fn point(&self, coordinates: [u32; 3]) -> [f64; 3] {
        std::array::from_fn(|axis| self.axes[axis].position(coordinates[axis]))
    }

    /// Bit per axis along which the grid point must not move.
    pub(super) fn fixed_axes(&self, coordinates: [u32; 3]) -> u8 {
        (0..3).fold(0, |mask, axis| {
            let fixed = Some(axis) == self.normal || self.axes[axis].is_feature(coordinates[axis]);
            mask | u8::from(fixed) << axis
        })
    }
}

/// Largest value of the size field over a lattice of the domain.
fn largest_size(request: &MeshRequest<'_>, active: &[usize]) -> Result<f64, MeshError> {
    const SAMPLES: usize = 12;
    let mut largest = 0.0_f64;
    for sample in 0..SAMPLES.pow(active.len() as u32) {
        let mut rest = sample;
        let mut point = [request.bounds[0][0], request.bounds[1][0], request.bounds[2][0]];
        for &axis in active {
            let share = ((rest % SAMPLES) as f64 + 0.5) / SAMPLES as f64;
            point[axis] += share * (request.bounds[axis][1] - request.bounds[axis][0]);
            rest /= SAMPLES;
        }
        let size = request.size.at(point);
        if size.is_nan() || size <= 0.0 {
            let reason = format!("the wanted cell size at {point:?} is {size}");
            return Err(MeshError::Invalid { reason });
        }
        largest = largest.max(size);
    }
    let longest = active.iter().map(|&axis| request.bounds[axis][1] - request.bounds[axis][0]);
    Ok(largest.min(longest.fold(0.0, f64::max) * 2.0))
}

/// Pieces of an interval that should end up as at least `wanted` cells.
///
/// The tree halves pieces anyway, and leaves those large that nobody needs small (excluded regions), so pieces
/// are as many halvings larger than the wanted cells as costs no more than a few percent of rounding up.
fn pieces(wanted: f64) -> f64 {
    const WASTE: f64 = 1.06;
    let mut pieces = wanted.ceil().max(1.0);
    let most = pieces * WASTE;
    let mut halvings = 1.0;
    while pieces > 1.0 {
        halvings *= 2.0;
        let fewer = (wanted / halvings).ceil();
        if fewer * halvings <= most {
            pieces = fewer;
        } else if halvings > most {
            break;
        }
    }
    pieces
}

fn build_axis(
    request: &MeshRequest<'_>,
    axis: usize,
    side: f64,
    has_extent: bool,
) -> Result<Axis, MeshError> {
    let [low, high] = request.bounds[axis];
    if !has_extent {
        return Ok(Axis { positions: vec![low], feature: vec![true], fraction_bits: COORDINATE_BITS - 1 });
    }
    let tolerance = request.fuse_tolerance;
    let mut planes: Vec<f64> = request.feature_planes[axis]
        .iter()
        .copied()
        .filter(|&plane| plane - low > tolerance && high - plane > tolerance)
        .collect();
    planes.sort_unstable_by(f64::total_cmp);
    planes.dedup_by(|next, kept| *next - *kept <= tolerance);
    planes.push(high);
    let mut positions = vec![low];
    let mut feature = vec![true];
    let mut start = low;
    for plane in planes {
        let count = pieces((plane - start) / side * (1.0 - 1e-9));
        if positions.len() as f64 + count > f64::from(1_u32 << (COORDINATE_BITS - 8)) {
            return Err(MeshError::TooManyCells {
                needed: ((positions.len() as f64 + count) * 2.0) as usize,
                limit: request.maximum_cells,
                hint: format!(
                    "these are lines along axis {axis} alone; use larger cells or fewer distinct planes"
                ),
            });
        }
        for step in 1..count as usize {
            positions.push(start + (plane - start) * (step as f64 / count));
            feature.push(false);
        }
        positions.push(plane);
        feature.push(true);
        start = plane;
    }
    let bits = usize::BITS - positions.len().leading_zeros();
    Ok(Axis { positions, feature, fraction_bits: COORDINATE_BITS - bits })
}
