//! The client's `ModeSolver` and `ModeSimulation`: what is to be computed, apart from grid and materials.
//!
//! The two classes say the same in two ways: a `ModeSolver` holds a time-domain `Simulation` and a plane in it, a
//! `ModeSimulation` is the scene and the plane at once. Below this module there is no difference any more.

mod mode_spec;

use serde_json::Value;
use wavetask_grid::boundaries::{BoxRegion, is_before_2_12};
use wavetask_solver::{Reader, Refused, class_of, join, present};

pub(crate) use mode_spec::{Keep, Method, ModeSpec, Polarization, Precision, Quantity, Track};

use crate::error::SUBJECT;

/// Most frequencies of one calculation.
const MAXIMUM_FREQUENCIES: usize = 10_000;

/// Names of the field components, in the order in which they are kept everywhere in this crate.
pub(crate) const COMPONENTS: [&str; 6] = ["Ex", "Ey", "Ez", "Hx", "Hy", "Hz"];

/// Which class the document is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    ModeSolver,
    ModeSimulation,
}

/// What is to be computed.
#[derive(Clone, Debug)]
pub(crate) struct ModeTask {
    pub(crate) kind: DocumentKind,
    pub(crate) plane: PlaneBox,
    pub(crate) spec: ModeSpec,
    /// Frequencies in hertz.
    pub(crate) frequencies: Vec<f64>,
    /// Whether modes go along the normal; otherwise against it.
    pub(crate) forward: bool,
    /// Whether fields are interpolated to the cells' corners.
    pub(crate) colocate: bool,
    /// Whether integrals are of interpolated fields, if the fields themselves are not.
    pub(crate) colocated_integration: bool,
    /// Whether overlaps conjugate the first mode.
    pub(crate) conjugated: bool,
    /// Which of [`COMPONENTS`] the result has.
    pub(crate) components: [bool; 6],
    /// The simulation's domain, without its grid.
    pub(crate) domain: BoxRegion,
    /// Whether a client before 2.12 wrote the document. Its planes have a cell more at each end, and its modes carry a
    /// power of one, whatever overlaps conjugate.
    pub(crate) before_2_12: bool,
}

/// The plane as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PlaneBox {
    pub(crate) center: [f64; 3],
    pub(crate) size: [f64; 3],
    pub(crate) normal: usize,
}

impl PlaneBox {
    /// The two tangential axes, ascending.
    pub(crate) const fn tangential(&self) -> [usize; 2] {
        match self.normal {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        }
    }

    /// The plane without its normal.
    pub(crate) const fn region(&self) -> BoxRegion {
        BoxRegion { center: self.center, size: self.size }
    }

    /// Lower and upper end along each axis.
    pub(crate) fn bounds(&self) -> [[f64; 2]; 3] {
        self.region().bounds()
    }
}

impl ModeTask {
    /// Where the scene stands in the document: `simulation` of a `ModeSolver`, the root of a `ModeSimulation`.
    pub(crate) const fn scene_prefix(&self) -> &'static str {
        match self.kind {
            DocumentKind::ModeSolver => "simulation",
            DocumentKind::ModeSimulation => "",
        }
    }

    /// The scene within the document.
    pub(crate) fn scene<'d>(&self, document: &'d Value) -> &'d Value {
        match self.kind {
            DocumentKind::ModeSolver => &document["simulation"],
            DocumentKind::ModeSimulation => document,
        }
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// Every reason why it cannot be computed.
    pub(crate) fn read(document: &Value) -> Result<Self, Refused> {
        let mut reader = Reader::default();
        let task = read(&mut reader, document);
        reader.finish(SUBJECT, task, "the mode solver could not be read")
    }
}

fn read(reader: &mut Reader, document: &Value) -> Option<ModeTask> {
    let (kind, scene, scene_path) = match class_of(document) {
        "ModeSolver" => (DocumentKind::ModeSolver, reader.field(document, "simulation", "")?, "simulation"),
        "ModeSimulation" => (DocumentKind::ModeSimulation, document, ""),
        class => {
            reader.refuse(
                "type",
                class,
                format!("a `ModeSolver` or a `ModeSimulation` is expected, not `{class}`"),
            );
            return None;
        }
    };
    if kind == DocumentKind::ModeSolver && class_of(scene) != "Simulation" {
        let class = class_of(scene);
        reader.refuse(
            "simulation",
            class,
            format!(
                "the modes of a plane in a `Simulation` can be computed, not in `{class}`; \
                 `ModeSolver.to_fdtd_mode_solver` turns an `EMESimulation` into one"
            ),
        );
        return None;
    }
    let domain = read_domain(reader, scene, scene_path);
    if present(document, "monitors").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        reader.refuse(
            "monitors",
            "monitors of a ModeSimulation",
            "monitors of a `ModeSimulation` are not supported: leave them out",
        );
    }
    if present(scene, "lumped_elements").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        reader.refuse(
            join(scene_path, "lumped_elements"),
            "lumped_elements",
            "lumped elements are not supported in mode solving: leave them out",
        );
    }
    let plane = match present(document, "plane") {
        Some(plane) => read_plane(reader, plane, "plane"),
        None => read_plane(reader, document, ""),
    };
    let frequencies = read_frequencies(reader, document);
    let spec = reader.field(document, "mode_spec", "")?;
    let spec = mode_spec::read(reader, spec, "mode_spec");
    let colocate = reader.flag_or(document, "colocate", true, "");
    let task = ModeTask {
        kind,
        plane: plane?,
        spec: spec?,
        frequencies: frequencies?,
        forward: reader.choice(document, "direction", "", &[("+", true), ("-", false)], true),
        colocate,
        // Clients that do not know the option always interpolate before they integrate.
        colocated_integration: colocate
            || match document.get("use_colocated_integration") {
                None => true,
                Some(_) => reader.flag_or(document, "use_colocated_integration", true, ""),
            },
        conjugated: reader.flag_or(document, "conjugated_dot_product", true, ""),
        components: read_components(reader, document),
        domain: domain?,
        before_2_12: is_before_2_12(scene),
    };
    check_place(reader, &task);
    check_bend(reader, &task);
    Some(task)
}

fn read_domain(reader: &mut Reader, scene: &Value, path: &str) -> Option<BoxRegion> {
    let center = reader.extended_triple_or(scene, "center", [0.0; 3], path);
    let size = reader.extended_triple(scene, "size", path);
    let symmetry = reader.extended_triple_or(scene, "symmetry", [0.0; 3], path)?;
    for (axis, value) in symmetry.into_iter().enumerate() {
        if ![-1.0, 0.0, 1.0].contains(&value) {
            reader.refuse(
                join(path, &format!("symmetry[{axis}]")),
                "symmetry",
                format!("symmetries are -1, 0 and 1, not {value}"),
            );
        }
    }
    let (center, size) = (center?, size?);
    if center.iter().chain(&size).any(|value| !value.is_finite()) || size.iter().any(|&extent| extent < 0.0) {
        reader.refuse(join(path, "size"), "domain", "the domain must be finite");
        return None;
    }
    Some(BoxRegion { center, size })
}

fn read_plane(reader: &mut Reader, plane: &Value, path: &str) -> Option<PlaneBox> {
    let center = reader.extended_triple_or(plane, "center", [0.0; 3], path)?;
    let size = reader.extended_triple(plane, "size", path)?;
    let flat: Vec<usize> = (0..3).filter(|&axis| size[axis] == 0.0).collect();
    if flat.len() != 1 || size.iter().any(|&extent| extent < 0.0) || !center.iter().all(|x| x.is_finite()) {
        reader.refuse(
            if path.is_empty() { "size" } else { path },
            "plane",
            "the plane of the modes has a size of zero along one axis and above zero along the others",
        );
        return None;
    }
    Some(PlaneBox { center, size, normal: flat[0] })
}

fn read_frequencies(reader: &mut Reader, document: &Value) -> Option<Vec<f64>> {
    let frequencies = reader.numbers(document, "freqs", "")?;
    if frequencies.is_empty() || frequencies.len() > MAXIMUM_FREQUENCIES {
        reader.refuse(
            "freqs",
            "number of frequencies",
            format!("between 1 and {MAXIMUM_FREQUENCIES} frequencies can be asked for"),
        );
        return None;
    }
    if frequencies.iter().any(|&frequency| frequency < 1e3) {
        reader.refuse("freqs", "frequency", "frequencies are in hertz and at least 1000");
        return None;
    }
    Some(frequencies)
}

fn read_components(reader: &mut Reader, document: &Value) -> [bool; 6] {
    let Some(Value::Array(names)) = present(document, "fields") else { return [true; 6] };
    let mut components = [false; 6];
    for (index, name) in names.iter().enumerate() {
        match COMPONENTS.iter().position(|component| name.as_str() == Some(component)) {
            Some(component) => components[component] = true,
            None => {
                reader.refuse(
                    format!("fields[{index}]"),
                    "field",
                    format!("there is no field component {name}"),
                );
            }
        }
    }
    components
}

/// The plane and the domain must have points in common.
fn check_place(reader: &mut Reader, task: &ModeTask) {
    let plane = task.plane.bounds();
    let domain = task.domain.bounds();
    if (0..3).any(|axis| plane[axis][0] > domain[axis][1] || plane[axis][1] < domain[axis][0]) {
        reader.refuse(
            "plane",
            "plane outside",
            "the plane of the modes lies outside of the simulation's domain",
        );
    }
}

/// A bend's centre must lie outside of the plane.
fn check_bend(reader: &mut Reader, task: &ModeTask) {
    let Some(bend) = task.spec.bend else { return };
    let axis = task.plane.tangential()[1 - bend.axis];
    let plane = task.plane.bounds()[axis];
    let domain = task.domain.bounds()[axis];
    let extent = plane[1].min(domain[1]) - plane[0].max(domain[0]);
    if bend.radius.abs() <= extent / 2.0 {
        reader.refuse(
            "mode_spec.bend_radius",
            "bend_radius",
            format!(
                "the bend's radius of {} µm must be larger than half of the plane's extent along it, {} µm",
                bend.radius.abs(),
                extent / 2.0
            ),
        );
    }
}
