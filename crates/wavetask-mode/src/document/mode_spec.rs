//! The client's `ModeSpec`: what modes are wanted, and how they are put in order.

use serde_json::Value;
use wavetask_grid::boundaries::BoxRegion;
use wavetask_solver::{Reader, class_of, join, present};

/// Fractional step in frequency that the client means by `group_index_step: true`.
const GROUP_INDEX_STEP: f64 = 0.005;

/// Angles closer to a right angle than this leave no propagation along the normal, as the client has it.
const GLANCING: f64 = 0.1;

/// Most modes of one calculation.
const MAXIMUM_MODES: usize = 1000;

/// Which modes are wanted.
#[derive(Clone, Debug)]
pub(crate) struct ModeSpec {
    pub(crate) modes: usize,
    /// Where to look; `None` for the largest index in the plane.
    pub(crate) target: Option<f64>,
    /// Cells of absorber at both ends of the first and of the second tangential axis.
    pub(crate) absorber: [usize; 2],
    pub(crate) polarization: Option<Polarization>,
    /// Angle between the propagation axis and the normal, radians.
    pub(crate) theta: f64,
    /// Angle of the propagation axis around the normal, radians.
    pub(crate) phi: f64,
    /// Whether structures are turned until the propagation axis is normal to the plane; never without an angle.
    pub(crate) rotated: bool,
    /// Radius in µm, and which tangential axis is normal to the bend's plane.
    pub(crate) bend: Option<Bend>,
    pub(crate) precision: Precision,
    /// Frequency at which tracking begins; `None` leaves modes in their order at each frequency.
    pub(crate) track: Option<Track>,
    /// Fractional step in frequency for derivatives; `None` if they are not wanted.
    pub(crate) group_index_step: Option<f64>,
    pub(crate) sort: SortSpec,
    pub(crate) sampling: Option<Sampling>,
}

/// A bend of the waveguide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bend {
    /// From the plane's centre to the centre of curvature, in µm; may be negative.
    pub(crate) radius: f64,
    /// Index of the tangential axis that is normal to the bend's plane.
    pub(crate) axis: usize,
}

/// Which polarization comes first: the older way to sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polarization {
    Te,
    Tm,
}

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Single,
    Double,
    /// Double if there is a perfect conductor in the plane, single otherwise.
    Auto,
}

/// Where tracking begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Lowest,
    Central,
    Highest,
}

impl Track {
    /// Index of the first frequency among so many.
    pub(crate) const fn start(self, frequencies: usize) -> usize {
        match self {
            Self::Lowest => 0,
            Self::Central => frequencies / 2,
            Self::Highest => frequencies - 1,
        }
    }

    /// The client's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lowest => "lowest",
            Self::Central => "central",
            Self::Highest => "highest",
        }
    }
}

/// A property of modes by which they can be filtered and sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    EffectiveIndex,
    Attenuation,
    /// Share of the transverse electric field along the first tangential axis.
    TeFraction,
    TmFraction,
    /// One minus the share of the electric field along the propagation axis.
    WaveguideTeFraction,
    WaveguideTmFraction,
    Area,
    /// Share of the intensity within [`SortSpec::bounding_box`].
    FillFraction,
}

const QUANTITIES: [(&str, Quantity); 8] = [
    ("n_eff", Quantity::EffectiveIndex),
    ("k_eff", Quantity::Attenuation),
    ("TE_fraction", Quantity::TeFraction),
    ("TM_fraction", Quantity::TmFraction),
    ("wg_TE_fraction", Quantity::WaveguideTeFraction),
    ("wg_TM_fraction", Quantity::WaveguideTmFraction),
    ("mode_area", Quantity::Area),
    ("fill_fraction_box", Quantity::FillFraction),
];

impl Quantity {
    /// Whether large values come first where nothing else is said.
    const fn is_descending(self) -> bool {
        !matches!(self, Self::Attenuation | Self::Area)
    }
}

/// How modes are put in order at each frequency.
#[derive(Clone, Debug)]
pub(crate) struct SortSpec {
    pub(crate) filter: Option<Filter>,
    pub(crate) keep: Keep,
    /// `None` in documents of clients that did not sort unless they were asked to.
    pub(crate) key: Option<Quantity>,
    pub(crate) reference: Option<f64>,
    pub(crate) descending: bool,
    /// Bounds of the box of [`Quantity::FillFraction`].
    pub(crate) bounding_box: Option<[[f64; 2]; 3]>,
}

/// Modes on one side of a value come first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) key: Quantity,
    pub(crate) reference: f64,
    pub(crate) over: bool,
}

impl Filter {
    /// Whether a value passes.
    pub(crate) fn passes(&self, value: f64) -> bool {
        if self.over { value >= self.reference } else { value <= self.reference }
    }
}

/// How many modes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    All,
    Filtered,
    First(usize),
}

/// Modes are computed at few frequencies and interpolated to the others.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    pub(crate) points: Points,
    pub(crate) method: Method,
    /// Whether the result keeps the few frequencies only.
    pub(crate) reduce: bool,
}

/// The few frequencies.
#[derive(Clone, Debug)]
pub(crate) enum Points {
    Uniform(usize),
    Chebyshev(usize),
    Custom(Vec<f64>),
}

/// How values are interpolated in frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Linear,
    Cubic,
    Polynomial,
}

impl Points {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Uniform(count) | Self::Chebyshev(count) => *count,
            Self::Custom(list) => list.len(),
        }
    }

    /// The frequencies, given those that are wanted.
    pub(crate) fn frequencies(&self, wanted: &[f64]) -> Vec<f64> {
        let lowest = wanted.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self {
            Self::Uniform(count) => {
                let step = (highest - lowest) / (count - 1) as f64;
                (0..*count)
                    .map(|index| if index + 1 == *count { highest } else { lowest + index as f64 * step })
                    .collect()
            }
            Self::Chebyshev(count) => (0..*count)
                .rev()
                .map(|index| {
                    let angle = index as f64 * std::f64::consts::PI / (count - 1) as f64;
                    0.5 * (lowest + highest) + 0.5 * (highest - lowest) * angle.cos()
                })
                .collect(),
            Self::Custom(list) => list.clone(),
        }
    }
}

/// Reads a `ModeSpec`; of what is wrong the reader hears.
pub(super) fn read(reader: &mut Reader, spec: &Value, path: &str) -> Option<ModeSpec> {
    match class_of(spec) {
        "ModeSpec" => {}
        class => {
            reader.refuse(
                path,
                class,
                format!("modes are specified by a `ModeSpec`; `{class}` is not supported"),
            );
            return None;
        }
    }
    let modes = reader.count_or(spec, "num_modes", 1, path);
    if modes == 0 || modes > MAXIMUM_MODES {
        reader.refuse(
            join(path, "num_modes"),
            "number of modes",
            format!("between 1 and {MAXIMUM_MODES} modes can be asked for, not {modes}"),
        );
    }
    let theta = reader.finite_or(spec, "angle_theta", 0.0, path);
    if (theta.abs() - std::f64::consts::FRAC_PI_2).abs() < GLANCING
        || theta.abs() > std::f64::consts::FRAC_PI_2
    {
        reader.refuse(
            join(path, "angle_theta"),
            "glancing angle",
            "the propagation axis is too close to the plane of the modes: take a plane along another axis",
        );
    }
    let phi = reader.finite_or(spec, "angle_phi", 0.0, path);
    let rotated = theta != 0.0 && reader.flag_or(spec, "angle_rotation", false, path);
    let quarters = phi / std::f64::consts::FRAC_PI_2;
    if rotated && (quarters - quarters.round()).abs() > 1e-6 {
        reader.refuse(
            join(path, "angle_phi"),
            "angle_rotation",
            "with `angle_rotation`, `angle_phi` must be a multiple of a right angle",
        );
    }
    let tracks = [
        ("lowest", Some(Track::Lowest)),
        ("central", Some(Track::Central)),
        ("highest", Some(Track::Highest)),
    ];
    let empty = Value::Object(serde_json::Map::new());
    let sort_value = present(spec, "sort_spec").unwrap_or(&empty);
    let sort_path = join(path, "sort_spec");
    let mut track = reader.choice(spec, "track_freq", path, &tracks, None);
    if track.is_none() {
        // Without the field the client tracks from the middle; `null` says not to.
        let default = if sort_value.get("track_freq").is_some() { None } else { Some(Track::Central) };
        track = reader.choice(sort_value, "track_freq", &sort_path, &tracks, default);
    }
    let sort = read_sort(reader, sort_value, &sort_path, modes);
    let polarizations = [("te", Some(Polarization::Te)), ("tm", Some(Polarization::Tm))];
    let precisions =
        [("single", Precision::Single), ("double", Precision::Double), ("auto", Precision::Auto)];
    let polarization = reader.choice(spec, "filter_pol", path, &polarizations, None);
    let precision = reader.choice(spec, "precision", path, &precisions, Precision::Double);
    let target = reader.optional(spec, "target_neff", path);
    if target.is_some_and(|target| target <= 0.0) {
        reader.refuse(join(path, "target_neff"), "target_neff", "`target_neff` must be above zero");
    }
    Some(ModeSpec {
        modes,
        target,
        absorber: read_absorber(reader, spec, path),
        polarization,
        theta,
        phi,
        rotated,
        bend: read_bend(reader, spec, path),
        precision,
        track,
        group_index_step: read_step(reader, spec, path),
        sort,
        sampling: present(spec, "interp_spec")
            .and_then(|value| read_sampling(reader, value, &join(path, "interp_spec"))),
    })
}

fn read_absorber(reader: &mut Reader, spec: &Value, path: &str) -> [usize; 2] {
    let path = join(path, "num_pml");
    match present(spec, "num_pml") {
        None => [0, 0],
        Some(Value::Array(items)) if items.len() == 2 => {
            std::array::from_fn(|index| reader.count(&items[index], &path).unwrap_or(0))
        }
        Some(_) => {
            reader.refuse(path, "malformed input", "two numbers of cells are expected here");
            [0, 0]
        }
    }
}

fn read_bend(reader: &mut Reader, spec: &Value, path: &str) -> Option<Bend> {
    let radius = reader.optional(spec, "bend_radius", path)?;
    let axis = present(spec, "bend_axis").and_then(Value::as_u64).filter(|&axis| axis < 2);
    match axis {
        Some(axis) if radius != 0.0 => Some(Bend { radius, axis: usize::from(axis == 1) }),
        _ => {
            reader.refuse(
                join(path, "bend_radius"),
                "bend_radius",
                "a bend has a radius other than zero and a `bend_axis` of 0 or 1",
            );
            None
        }
    }
}

fn read_step(reader: &mut Reader, spec: &Value, path: &str) -> Option<f64> {
    let step = match present(spec, "group_index_step")? {
        Value::Bool(false) => return None,
        Value::Bool(true) => GROUP_INDEX_STEP,
        value => reader.finite(value, &join(path, "group_index_step"))?,
    };
    if step == 0.0 {
        return None;
    }
    if !(0.0..1.0).contains(&step) {
        reader.refuse(
            join(path, "group_index_step"),
            "group_index_step",
            format!("`group_index_step` is a fraction between 0 and 1, not {step}"),
        );
    }
    Some(step)
}

fn read_sort(reader: &mut Reader, sort: &Value, path: &str, modes: usize) -> SortSpec {
    let keys: Vec<(&str, Option<Quantity>)> =
        QUANTITIES.iter().map(|&(word, quantity)| (word, Some(quantity))).collect();
    let filter_key = reader.choice(sort, "filter_key", path, &keys, None);
    let default = if sort.get("sort_key").is_some() { None } else { Some(Quantity::EffectiveIndex) };
    let key = reader.choice(sort, "sort_key", path, &keys, default);
    let reference = reader.optional(sort, "sort_reference", path);
    let natural = reference.is_none() && key.is_some_and(Quantity::is_descending);
    let descending =
        reader.choice(sort, "sort_order", path, &[("ascending", false), ("descending", true)], natural);
    let filter = filter_key.map(|key| Filter {
        key,
        reference: reader.finite_or(sort, "filter_reference", 0.0, path),
        over: reader.choice(sort, "filter_order", path, &[("over", true), ("under", false)], true),
    });
    let keep = match present(sort, "keep_modes") {
        None => Keep::All,
        Some(Value::String(word)) if word == "all" => Keep::All,
        Some(Value::String(word)) if word == "filtered" && filter.is_some() => Keep::Filtered,
        Some(value) => match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if (1..=modes).contains(&count) => Keep::First(count),
            _ => {
                reader.refuse(
                    join(path, "keep_modes"),
                    "keep_modes",
                    "`keep_modes` is `all`, `filtered` with a `filter_key`, or a number up to `num_modes`",
                );
                Keep::All
            }
        },
    };
    let bounding_box = present(sort, "bounding_box").and_then(|value| {
        let path = join(path, "bounding_box");
        let center = reader.extended_triple_or(value, "center", [0.0; 3], &path)?;
        let size = reader.extended_triple(value, "size", &path)?;
        Some(BoxRegion { center, size }.bounds())
    });
    let uses_box = [filter_key, key].contains(&Some(Quantity::FillFraction));
    if uses_box && bounding_box.is_none() {
        reader.refuse(
            join(path, "bounding_box"),
            "bounding_box",
            "`fill_fraction_box` needs a `bounding_box`",
        );
    }
    SortSpec { filter, keep, key, reference, descending, bounding_box }
}

fn read_sampling(reader: &mut Reader, spec: &Value, path: &str) -> Option<Sampling> {
    let methods = [("linear", Method::Linear), ("cubic", Method::Cubic), ("poly", Method::Polynomial)];
    let method = reader.choice(spec, "method", path, &methods, Method::Linear);
    let reduce = reader.flag_or(spec, "reduce_data", false, path);
    let sampling = reader.field(spec, "sampling_spec", path)?;
    let path = join(path, "sampling_spec");
    let points = match class_of(sampling) {
        "UniformSampling" => Points::Uniform(reader.count_or(sampling, "num_points", 0, &path)),
        "ChebSampling" => Points::Chebyshev(reader.count_or(sampling, "num_points", 0, &path)),
        "CustomSampling" => Points::Custom(reader.numbers(sampling, "freqs", &path)?),
        class => {
            reader.refuse(&path, class, format!("the sampling `{class}` is not supported"));
            return None;
        }
    };
    let least = match (method, &points) {
        (Method::Cubic, _) => 4,
        (Method::Polynomial, _) | (_, Points::Chebyshev(_)) => 3,
        (Method::Linear, _) => 2,
    };
    let ordered = match &points {
        Points::Custom(list) => {
            list.first().is_some_and(|&first| first > 0.0) && list.windows(2).all(|pair| pair[0] < pair[1])
        }
        _ => true,
    };
    if points.len() < least || !ordered {
        reader.refuse(
            path,
            "interp_spec",
            format!("at least {least} ascending frequencies are needed to interpolate in this way"),
        );
        return None;
    }
    Some(Sampling { points, method, reduce })
}
