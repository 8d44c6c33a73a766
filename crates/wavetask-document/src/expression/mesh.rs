//! Fields on unstructured meshes: what may be done with them, and how they come to have labels.
//!
//! Such a field is values at points, an array along `index` and perhaps other dimensions (a voltage, a time). What is
//! computed of each value is the same as for other arrays; what names x, y or z needs the mesh. The rules are those of
//! tidy3d's `TriangularGridDataset` and `TetrahedralGridDataset`: a selection along another dimension keeps it, with
//! one place; `interp` along x, y and z gives an array on a rectangular grid.

use std::sync::Arc;

use wavetask_protocol::Digest;

use super::infer::{Context, Inferred, Typed};
use super::plan::Sample;
use super::selection::Taken;
use super::{
    Coordinate, Dimension, ExpressionError, Field, Fill, InterpolationMethod, Label, Labels, Mirrors,
    Selector,
};

/// The dimension of a mesh's points.
pub(super) const INDEX: &str = "index";

/// The axes of space.
const AXES: [&str; 3] = ["x", "y", "z"];

/// A mesh, without its points and cells.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshType {
    /// What its cells are.
    pub kind: MeshKind,
    /// Number of points.
    pub points: u64,
    /// Number of cells.
    pub cells: u64,
    /// A digest of points and cells: fields on the same mesh can be added.
    pub identity: Digest,
    /// Bytes of points and cells.
    pub byte_length: u64,
    /// The field whose mesh it is, or from whose mesh it was cut.
    pub field: Field,
    /// What was made of the field's mesh, one after the other.
    pub edits: Vec<MeshEdit>,
}

/// What is made of a mesh. It depends on points and cells, and not on values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeshEdit {
    /// What a plane leaves of it: triangles of tetrahedra, a line of triangles.
    Cut {
        /// Across which axis.
        axis: usize,
        /// Where (µm).
        position: f64,
    },
    /// What it stands for in a simulation with planes of symmetry.
    Mirror(Mirrors),
    /// What lies on one side of a plane.
    Clip {
        /// Across which axis.
        axis: usize,
        /// Where (µm).
        position: f64,
        /// Whether what lies above remains, or below.
        above: bool,
    },
}

/// A mesh of which something was made.
#[derive(Clone, Debug)]
pub struct EditedMesh {
    /// Where each of its points lies between two of the mesh.
    pub points: Vec<EdgePoint>,
    /// What the points are of.
    pub shape: EditedShape,
    /// What is to be made of it next, one after the other, before it is what was asked for.
    pub next: Vec<MeshEdit>,
}

/// A point between two points of a mesh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdgePoint {
    /// The points between which it is.
    pub ends: [u32; 2],
    /// How far it is from the first to the second, from 0 to 1.
    pub share: f64,
}

/// What the points of an edited mesh are of.
#[derive(Clone, Debug)]
pub enum EditedShape {
    /// Of a line through triangles.
    Line {
        /// Along which axis.
        axis: usize,
        /// The point's coordinates along it, ascending.
        coordinates: Vec<f64>,
    },
    /// Of a mesh again.
    Mesh(Arc<MeshType>),
}

/// What the cells of a mesh are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeshKind {
    /// Triangles in a plane.
    Triangular {
        /// The axis along which the plane's normal points: 0, 1 or 2.
        normal_axis: usize,
        /// Where the plane is along it (µm).
        normal_position: f64,
    },
    /// Tetrahedra.
    Tetrahedral,
}

impl MeshType {
    /// Bytes of points and cells.
    pub(super) const fn bytes(&self) -> u64 {
        self.byte_length
    }

    /// The identity of what an edit makes of it.
    pub fn edited_identity(&self, edit: &MeshEdit) -> Digest {
        let mut bytes = self.identity.as_bytes().to_vec();
        let mut put = |numbers: &[f64]| {
            bytes.extend(numbers.iter().flat_map(|number| number.to_bits().to_le_bytes()));
        };
        #[expect(clippy::cast_precision_loss, reason = "an axis is 0, 1 or 2")]
        match *edit {
            MeshEdit::Cut { axis, position } => put(&[0.0, axis as f64, position]),
            MeshEdit::Clip { axis, position, above } => {
                put(&[1.0, axis as f64, position, f64::from(u8::from(above))]);
            }
            MeshEdit::Mirror(Mirrors { axes, center, monitor }) => {
                put(&[2.0]);
                for axis in 0..3 {
                    put(&[f64::from(u8::from(axes[axis])), center[axis], monitor[axis][0], monitor[axis][1]]);
                }
            }
        }
        Digest::of(&bytes)
    }
}

/// Refuses what needs labels for a field on a mesh.
pub(super) fn refuse(operation: &'static str, inferred: &Inferred) -> Result<(), ExpressionError> {
    if inferred.mesh.is_none() {
        return Ok(());
    }
    let what = "the field is on an unstructured mesh; interpolate it to a grid first";
    Err(ExpressionError::invalid(operation, what))
}

/// The mesh of the result of two operands: they are on the same one, or one is a number.
pub(super) fn common(left: &Inferred, right: &Inferred) -> Result<Option<Arc<MeshType>>, ExpressionError> {
    let refuse = |what: &str| Err(ExpressionError::invalid("binary", what));
    match (&left.mesh, &right.mesh) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) if a.identity == b.identity && a.kind == b.kind => Ok(Some(a.clone())),
        (Some(_), Some(_)) => refuse("the fields are on different meshes; interpolate them to a grid first"),
        (Some(mesh), None) if right.labels.dimensions.is_empty() => Ok(Some(mesh.clone())),
        (None, Some(mesh)) if left.labels.dimensions.is_empty() => Ok(Some(mesh.clone())),
        _ => refuse("a field on an unstructured mesh goes with numbers and fields on the same mesh only"),
    }
}

/// Refuses the mesh's own dimension, and keeps every other that a selection would drop.
pub(super) fn keep(operation: &'static str, name: &str, taken: Taken) -> Result<Taken, ExpressionError> {
    if name == INDEX {
        return Err(ExpressionError::invalid(operation, "the points of a mesh are not selected by index"));
    }
    Ok(match taken {
        Taken::One(place) => Taken::Places([place].into()),
        other => other,
    })
}

/// Whether a dimension is one of space.
pub(super) fn is_spatial(name: &str) -> bool {
    AXES.contains(&name)
}

/// The field on a rectangular grid. `places` has each of x, y and z once.
pub(super) fn resample(
    context: &mut Context<'_>,
    of: Inferred,
    mesh: Arc<MeshType>,
    places: &[(Arc<str>, Vec<f64>)],
    method: InterpolationMethod,
    fill: Option<Fill>,
) -> Result<Inferred, ExpressionError> {
    let mut dimensions = Vec::with_capacity(of.labels.dimensions.len() + 2);
    for name in AXES {
        let Some((_, values)) = places.iter().find(|(other, _)| &**other == name) else {
            let what = "a field on an unstructured mesh is interpolated along x, y and z together";
            return Err(ExpressionError::invalid("interp", what));
        };
        context.hold(values.len())?;
        dimensions.push(Dimension::new(name, Coordinate::Numbers(values.clone())));
    }
    dimensions.extend(of.labels.dimensions.iter().filter(|dimension| &*dimension.name != INDEX).cloned());
    let fill = match fill {
        None | Some(Fill::Extrapolate) => None,
        Some(Fill::Value(value)) => Some(value),
        Some(Fill::Nan) => Some(f64::NAN),
    };
    if mesh.points == 0 {
        return Err(ExpressionError::invalid("interp", "the mesh has no points"));
    }
    Ok(Inferred {
        labels: Labels { dimensions, scalars: of.labels.scalars.clone() },
        data_type: of.data_type,
        mesh: None,
        node: Typed::Resample { of: Box::new(of), mesh, method, fill },
    })
}

/// What is selected of a field at places in space, as tidy3d has it: one coordinate cuts the mesh by a plane, all of
/// them, or both of a plane, interpolate. `selectors` name axes of space only.
pub(super) fn sel(
    context: &mut Context<'_>,
    of: Inferred,
    mesh: &Arc<MeshType>,
    selectors: &[(Arc<str>, Selector)],
) -> Result<Inferred, ExpressionError> {
    let refuse = |what: String| Err(ExpressionError::invalid("sel", what));
    let mut places: [Option<Vec<f64>>; 3] = Default::default();
    let mut all_scalar = true;
    for (name, selector) in selectors {
        let Some(axis) = AXES.iter().position(|axis| *axis == &**name) else { continue };
        places[axis] = Some(match selector {
            Selector::Value(Label::Number(value)) => vec![*value],
            Selector::Values(Coordinate::Numbers(values)) => {
                all_scalar = false;
                values.clone()
            }
            _ => return refuse(format!("along {name} of a mesh places are numbers, one or several")),
        });
    }
    let mut named: Vec<usize> = (0..3).filter(|&axis| places[axis].is_some()).collect();
    if let MeshKind::Triangular { normal_axis, normal_position } = mesh.kind {
        if let Some(place) = &places[normal_axis] {
            if place[..] != [normal_position] {
                let name = AXES[normal_axis];
                return refuse(format!(
                    "no data at {name} = {place:?}; the mesh is at {name} = {normal_position}"
                ));
            }
            if named.len() < 3 {
                named.retain(|&axis| axis != normal_axis);
            }
        }
        places[normal_axis] = Some(vec![normal_position]);
    }
    let spatial = match mesh.kind {
        MeshKind::Triangular { .. } => 2,
        MeshKind::Tetrahedral => 3,
    };
    if named.len() >= spatial {
        let grid: Vec<(Arc<str>, Vec<f64>)> =
            AXES.iter().zip(places).filter_map(|(name, places)| Some((Arc::from(*name), places?))).collect();
        return resample(context, of, mesh.clone(), &grid, InterpolationMethod::Linear, None);
    }
    if !all_scalar {
        return refuse(
            "several places along an axis of a mesh go with places along the other axes".to_owned(),
        );
    }
    let mut result = of;
    for axis in named {
        if let (Some(mesh), Some([position])) = (result.mesh.clone(), places[axis].as_deref()) {
            result = cut(context, result, &mesh, axis, *position)?;
        }
    }
    Ok(result)
}

/// A field on what a plane leaves of its mesh: on triangles, or along a line, which then has labels.
fn cut(
    context: &mut Context<'_>,
    of: Inferred,
    mesh: &MeshType,
    axis: usize,
    position: f64,
) -> Result<Inferred, ExpressionError> {
    let edited = context.edited(mesh, &MeshEdit::Cut { axis, position })?;
    let from = mesh.kind;
    let cut = on_edited(context, of, edited)?;
    let MeshKind::Triangular { normal_axis, normal_position } = from else { return Ok(cut) };
    // A line has all three axes of space, two of them with one place.
    let mut dimensions = Vec::with_capacity(cut.labels.dimensions.len() + 2);
    for (number, name) in AXES.into_iter().enumerate() {
        dimensions.push(match number {
            _ if number == axis => Dimension::new(name, Coordinate::Numbers(vec![position])),
            _ if number == normal_axis => Dimension::new(name, Coordinate::Numbers(vec![normal_position])),
            _ => cut.labels.dimensions[0].clone(),
        });
    }
    dimensions.extend_from_slice(&cut.labels.dimensions[1..]);
    let labels = Labels { dimensions, scalars: cut.labels.scalars.clone() };
    let data_type = cut.data_type;
    Ok(Inferred { labels, data_type, mesh: None, node: Typed::Expand { of: Box::new(cut) } })
}

/// A field of a symmetric simulation on the whole of its mesh.
pub(super) fn whole(
    context: &mut Context<'_>,
    of: Inferred,
    mirrors: Mirrors,
) -> Result<Inferred, ExpressionError> {
    let mut result = of;
    let mut open = vec![MeshEdit::Mirror(mirrors)];
    while let (Some(edit), Some(mesh)) = (open.pop(), result.mesh.clone()) {
        let edited = context.edited(&mesh, &edit)?;
        open.extend(edited.next.iter().rev().copied());
        result = on_edited(context, result, edited)?;
    }
    Ok(result)
}

/// A field at the points of what was made of its mesh.
fn on_edited(
    context: &mut Context<'_>,
    of: Inferred,
    edited: EditedMesh,
) -> Result<Inferred, ExpressionError> {
    let EditedMesh { points, shape, next: _ } = edited;
    context.hold(points.len())?;
    let sample = |point: EdgePoint| match point {
        EdgePoint { ends: [only, _], share: 0.0 } => Sample::At(only as usize),
        EdgePoint { ends: [low, high], share } => Sample::Between {
            low: low as usize,
            high: high as usize,
            coordinates: [0.0, 1.0],
            target: share,
            either_end: false,
        },
    };
    let samples: Vec<Sample> = points.into_iter().map(sample).collect();
    let (name, coordinate, mesh) = match shape {
        #[expect(clippy::cast_precision_loss, reason = "no mesh has 2^53 points")]
        EditedShape::Mesh(mesh) => {
            (INDEX, (0..samples.len()).map(|place| place as f64).collect(), Some(mesh))
        }
        EditedShape::Line { axis: along, coordinates } => (AXES[along], coordinates, None),
    };
    let mut labels = of.labels.clone();
    labels.dimensions[0] = Dimension::new(name, Coordinate::Numbers(coordinate));
    let data_type = of.data_type.max(super::DataType::Float);
    let node = Typed::Interpolate { of: Box::new(of), axis: 0, samples, scalar: false };
    Ok(Inferred { labels, data_type, mesh, node })
}
