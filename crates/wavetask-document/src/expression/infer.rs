//! Inference: dimensions, coordinates and element type of an expression, from those of its fields.

use std::sync::Arc;

use super::alignment::taken;
use super::combine::{reduce, unary};
use super::error::within;
use super::interpolation::{Rule, samples};
use super::labels::Label;
use super::mesh::{self, EditedMesh, MeshEdit};
use super::plan::{Sample, elements};
use super::selection::{ByLabel, Taken, by_place};
use super::symmetry;
use super::{
    BinaryFunction, Coordinate, DataType, Dimension, Expression, ExpressionError, ExpressionLimits, Field,
    Fill, Flux, Indexer, InterpolationMethod, Labels, MeshType, Places, Plan, Reduction, SelectionMethod,
    Selector, UnaryFunction, Whole,
};

/// What is known of the fields.
pub trait Schema {
    /// Labels and element type of a field.
    ///
    /// # Errors
    /// `NotKnown` if they will be known later, `Field` if there is no such field.
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError>;

    /// How a field is computed of others that is no stored one but the power that they carry; `None` if it is another.
    ///
    /// # Errors
    /// `Invalid` if the others have none, otherwise as [`field`](Self::field).
    fn flux(&self, field: &Field) -> Result<Option<Flux>, ExpressionError> {
        let _ = field;
        Ok(None)
    }

    /// What an edit makes of a mesh. Where points and cells are not at hand, that is not known.
    ///
    /// # Errors
    /// `NotKnown` if it will be known later, `Invalid` if nothing of the mesh is left, `Field` if the mesh cannot be read.
    fn edited(&self, mesh: &MeshType, edit: &MeshEdit) -> Result<EditedMesh, ExpressionError> {
        let made = match edit {
            MeshEdit::Cut { .. } => "a plane leaves",
            MeshEdit::Mirror(_) | MeshEdit::Clip { .. } => "planes of symmetry make",
        };
        Err(ExpressionError::NotKnown { what: format!("what {made} of the mesh of {}", mesh.field) })
    }
}

/// What is known of a field without its values.
#[derive(Clone, Debug)]
pub struct FieldType {
    /// Its dimensions and coordinates. On a mesh the first dimension is `index`.
    pub labels: Labels,
    /// The type of its elements.
    pub data_type: DataType,
    /// The mesh at whose points it is; `None` for a field on a rectangular grid or none.
    pub mesh: Option<Arc<MeshType>>,
    /// What it stands for, if it is of a symmetric simulation, of which a part is stored. All of the above is of what is
    /// stored.
    pub whole: Whole,
}

/// An expression with its labels.
#[derive(Clone, Debug)]
pub struct Inferred {
    pub(super) labels: Labels,
    pub(super) data_type: DataType,
    pub(super) mesh: Option<Arc<MeshType>>,
    pub(super) node: Typed,
}

/// An expression whose operands have equal coordinates along equal dimensions.
#[derive(Clone, Debug)]
pub(super) enum Typed {
    Literal {
        values: Vec<f64>,
        imaginary: Option<Vec<f64>>,
    },
    Field(Field),
    Take {
        of: Box<Inferred>,
        taken: Vec<Taken>,
    },
    Interpolate {
        of: Box<Inferred>,
        axis: usize,
        samples: Vec<Sample>,
        scalar: bool,
    },
    Unary {
        function: UnaryFunction,
        of: Box<Inferred>,
    },
    Binary {
        function: BinaryFunction,
        left: Box<Inferred>,
        right: Box<Inferred>,
    },
    Reduce {
        function: Reduction,
        of: Box<Inferred>,
        axes: Vec<usize>,
        skip_nan: bool,
    },
    Where {
        of: Box<Inferred>,
        condition: Box<Inferred>,
        otherwise: Option<Box<Inferred>>,
    },
    Lookup {
        table: Box<Inferred>,
        /// Where along each dimension of the table, in their order.
        at: Vec<Inferred>,
        method: InterpolationMethod,
    },
    Concat {
        parts: Vec<Inferred>,
    },
    Transpose {
        of: Box<Inferred>,
        axes: Vec<usize>,
    },
    /// With further dimensions of one place.
    Expand {
        of: Box<Inferred>,
    },
    Resample {
        of: Box<Inferred>,
        mesh: Arc<MeshType>,
        method: InterpolationMethod,
        fill: Option<f64>,
    },
}

impl Inferred {
    /// Dimensions and coordinates. On a mesh, the first dimension is `index`, its points.
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The type of the elements.
    pub const fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The extent of each dimension.
    pub fn shape(&self) -> Vec<usize> {
        self.labels.shape()
    }

    /// Bytes of the values; saturates.
    pub fn byte_length(&self) -> u64 {
        elements(&self.labels.shape()).saturating_mul(self.data_type.size())
    }

    /// The mesh at whose points the values are, if they are on one.
    pub const fn mesh(&self) -> Option<&Arc<MeshType>> {
        self.mesh.as_ref()
    }

    /// What computing it comes to.
    ///
    /// # Errors
    /// `TooLarge` beyond the limits.
    pub fn plan(&self, limits: &ExpressionLimits) -> Result<Plan, ExpressionError> {
        Plan::new(super::narrow::narrow(self, limits)?, self.labels.clone(), limits)
    }

    /// This, of which a part is taken.
    pub(super) fn take(self, context: &mut Context<'_>, taken: Vec<Taken>) -> Result<Self, ExpressionError> {
        if taken.iter().all(|taken| *taken == Taken::All) {
            return Ok(self);
        }
        for taken in &taken {
            if let Taken::Places(places) = taken {
                context.hold(places.len())?;
            }
        }
        let labels = self::taken(&self.labels, &taken);
        let (data_type, mesh) = (self.data_type, self.mesh.clone());
        Ok(Self { labels, data_type, mesh, node: Typed::Take { of: Box::new(self), taken } })
    }

    /// This with its dimensions in the order of these axes.
    pub(super) fn transposed(self, axes: Vec<usize>) -> Self {
        if axes.iter().enumerate().all(|(at, &axis)| at == axis) {
            return self;
        }
        let dimensions = axes.iter().map(|&axis| self.labels.dimensions[axis].clone()).collect();
        let labels = Labels { dimensions, scalars: self.labels.scalars.clone() };
        let (data_type, mesh) = (self.data_type, self.mesh.clone());
        Self { labels, data_type, mesh, node: Typed::Transpose { of: Box::new(self), axes } }
    }
}

/// Finds dimensions, coordinates and element type of an expression, and whether it means anything.
///
/// # Errors
/// `Invalid` if it does not, `NotKnown` and `Field` as the schema says, `TooLarge` beyond the limits.
pub fn infer(
    expression: &Expression,
    schema: &dyn Schema,
    limits: &ExpressionLimits,
) -> Result<Inferred, ExpressionError> {
    expression.check(limits)?;
    Context { schema, limits, held: 0 }.infer(expression)
}

/// What inference goes by.
pub(super) struct Context<'a> {
    schema: &'a dyn Schema,
    limits: &'a ExpressionLimits,
    /// Labels and places that have been made.
    held: u64,
}

impl Context<'_> {
    /// Counts labels or places that are kept.
    pub(super) fn hold(&mut self, count: usize) -> Result<(), ExpressionError> {
        self.held = self.held.saturating_add(count as u64);
        within("labels", self.limits.labels, self.held)
    }

    /// What an edit makes of a mesh.
    pub(super) fn edited(&self, mesh: &MeshType, edit: &MeshEdit) -> Result<EditedMesh, ExpressionError> {
        self.schema.edited(mesh, edit)
    }

    pub(super) fn infer(&mut self, expression: &Expression) -> Result<Inferred, ExpressionError> {
        match expression {
            Expression::Number { value, imaginary } => {
                Ok(literal(Labels::default(), vec![*value], imaginary.map(|imaginary| vec![imaginary])))
            }
            Expression::Array { dimensions, values, imaginary } => {
                let labels = Labels::new("array", dimensions.clone())?;
                let count = labels.elements(self.limits)?;
                let wrong = |values: &Vec<f64>| values.len() as u64 != count;
                if wrong(values) || imaginary.as_ref().is_some_and(wrong) {
                    let what = format!("{} values for a shape of {count}", values.len());
                    return Err(ExpressionError::invalid("array", what));
                }
                Ok(literal(labels, values.clone(), imaginary.clone()))
            }
            Expression::Field(field) => {
                if let Some(flux) = self.schema.flux(field)? {
                    return self.flux(flux);
                }
                let FieldType { labels, data_type, mesh, whole } = self.schema.field(field)?;
                self.hold(labels.shape().iter().sum())?;
                let stored = Inferred { labels, data_type, mesh, node: Typed::Field(field.clone()) };
                match whole {
                    Whole::Stored => Ok(stored),
                    Whole::Labels(mirrors) => mirrors
                        .into_iter()
                        .try_fold(stored, |of, mirror| symmetry::mirrored(self, of, mirror)),
                    Whole::Mesh(mirrors) => mesh::whole(self, stored, mirrors),
                }
            }
            Expression::Sel { of, selectors, method } => {
                let of = self.infer(of)?;
                self.sel(of, selectors, *method)
            }
            Expression::Isel { of, indexers } => {
                let of = self.infer(of)?;
                self.isel(of, indexers)
            }
            Expression::Interp { of, places, method, fill } => {
                let of = self.infer(of)?;
                self.interp(of, places, *method, *fill)
            }
            Expression::Unary { function, of } => {
                let of = self.infer(of)?;
                unary(*function, of)
            }
            Expression::Binary { function, left, right } => {
                let (left, right) = (self.infer(left)?, self.infer(right)?);
                self.binary(*function, left, right)
            }
            Expression::Reduce { function, of, dimensions, skip_nan } => {
                let of = self.infer(of)?;
                reduce(*function, of, dimensions.as_deref(), *skip_nan)
            }
            Expression::Where { of, condition, otherwise } => {
                let (of, condition) = (self.infer(of)?, self.infer(condition)?);
                let otherwise = otherwise.as_ref().map(|otherwise| self.infer(otherwise)).transpose()?;
                self.choose(of, condition, otherwise)
            }
            Expression::Lookup { table, at, method } => {
                let table = self.infer(table)?;
                let at = at.iter().map(|(name, at)| Ok((name.clone(), self.infer(at)?))).collect::<Result<
                    Vec<_>,
                    ExpressionError,
                >>(
                )?;
                self.lookup(table, at, *method)
            }
            Expression::Concat { parts, dimension, coordinate } => {
                let parts = parts.iter().map(|part| self.infer(part)).collect::<Result<Vec<_>, _>>()?;
                self.concat(parts, dimension, coordinate.as_ref())
            }
            Expression::Transpose { of, dimensions } => {
                let of = self.infer(of)?;
                mesh::refuse("transpose", &of)?;
                let axes = axes_of("transpose", &of.labels, dimensions)?;
                if axes.len() != of.labels.dimensions.len() {
                    return Err(ExpressionError::invalid("transpose", "not all dimensions are named"));
                }
                Ok(of.transposed(axes))
            }
            Expression::Squeeze { of, dimensions } => {
                let of = self.infer(of)?;
                self.squeeze(of, dimensions.as_deref())
            }
        }
    }

    fn sel(
        &mut self,
        of: Inferred,
        selectors: &[(Arc<str>, Selector)],
        method: Option<SelectionMethod>,
    ) -> Result<Inferred, ExpressionError> {
        distinct("sel", selectors.iter().map(|(name, _)| name))?;
        let mut spatial = Vec::new();
        let mut taken = vec![Taken::All; of.labels.dimensions.len()];
        for (name, selector) in selectors {
            if of.mesh.is_some() && mesh::is_spatial(name) {
                spatial.push((name.clone(), selector.clone()));
                continue;
            }
            let axis = of.labels.expect_axis("sel", name)?;
            let coordinate = &of.labels.dimensions[axis].coordinate;
            let by_label = ByLabel { name, coordinate, method };
            let places = |places| Taken::of_places(places, coordinate.len());
            let selected = match selector {
                Selector::Value(label) => Taken::One(by_label.value(label)?),
                Selector::Values(labels) => places(by_label.values(labels)?),
                Selector::Slice { start, stop, step } => places(by_label.slice(*start, *stop, *step)?),
                Selector::CoordinateOf { expression, dimension } => {
                    places(by_label.values(&*self.coordinate_of("sel", expression, dimension)?)?)
                }
            };
            taken[axis] = if of.mesh.is_some() { mesh::keep("sel", name, selected)? } else { selected };
        }
        let of = of.take(self, taken)?;
        match of.mesh.clone() {
            Some(mesh) if !spatial.is_empty() => mesh::sel(self, of, &mesh, &spatial),
            _ => Ok(of),
        }
    }

    fn isel(&mut self, of: Inferred, indexers: &[(Arc<str>, Indexer)]) -> Result<Inferred, ExpressionError> {
        distinct("isel", indexers.iter().map(|(name, _)| name))?;
        let mut taken = vec![Taken::All; of.labels.dimensions.len()];
        for (name, indexer) in indexers {
            let axis = of.labels.expect_axis("isel", name)?;
            let selected = by_place(name, of.labels.dimensions[axis].coordinate.len(), indexer)?;
            taken[axis] = if of.mesh.is_some() { mesh::keep("isel", name, selected)? } else { selected };
        }
        of.take(self, taken)
    }

    /// The labels of another expression along a dimension, or the one at which it was selected.
    fn coordinate_of(
        &mut self,
        operation: &'static str,
        expression: &Expression,
        dimension: &str,
    ) -> Result<Arc<Coordinate>, ExpressionError> {
        let labels = self.infer(expression)?.labels;
        let axis = labels.expect_axis(operation, dimension)?;
        Ok(labels.dimensions[axis].coordinate.clone())
    }

    fn interp(
        &mut self,
        of: Inferred,
        places: &[(Arc<str>, Places)],
        method: InterpolationMethod,
        fill: Option<Fill>,
    ) -> Result<Inferred, ExpressionError> {
        distinct("interp", places.iter().map(|(name, _)| name))?;
        if of.data_type == DataType::Boolean {
            return Err(ExpressionError::invalid("interp", "there is nothing between true and false"));
        }
        let mut spatial = Vec::new();
        let mesh = of.mesh.clone();
        let mut result = of;
        for (name, places) in places {
            let (targets, scalar) = match places {
                Places::Value(value) => (vec![*value], true),
                Places::Values(values) => (values.clone(), false),
                Places::CoordinateOf { expression, dimension } => {
                    let coordinate = self.coordinate_of("interp", expression, dimension)?;
                    match coordinate.numbers() {
                        Some(numbers) => (numbers.to_vec(), false),
                        None => return Err(ExpressionError::invalid("interp", "the places are texts")),
                    }
                }
            };
            match &mesh {
                Some(_) if mesh::is_spatial(name) => spatial.push((name.clone(), targets)),
                Some(_) if &**name == mesh::INDEX => {
                    let what = "the points of a mesh have no order to interpolate along";
                    return Err(ExpressionError::invalid("interp", what));
                }
                Some(_) => {
                    let fill = Some(fill.unwrap_or(Fill::Extrapolate));
                    result = self.along(result, name, targets, false, method, fill)?;
                }
                None => result = self.along(result, name, targets, scalar, method, fill)?,
            }
        }
        match mesh {
            Some(mesh) if !spatial.is_empty() => mesh::resample(self, result, mesh, &spatial, method, fill),
            _ => Ok(result),
        }
    }

    /// Interpolation along one dimension.
    fn along(
        &mut self,
        of: Inferred,
        name: &Arc<str>,
        targets: Vec<f64>,
        scalar: bool,
        method: InterpolationMethod,
        fill: Option<Fill>,
    ) -> Result<Inferred, ExpressionError> {
        let axis = of.labels.expect_axis("interp", name)?;
        let coordinate = of.labels.dimensions[axis].coordinate.clone();
        let Some(numbers) = coordinate.numbers() else {
            return Err(ExpressionError::invalid(
                "interp",
                format!("along {name}: there is nothing between texts"),
            ));
        };
        self.hold(targets.len())?;
        let only_dimension = of.labels.dimensions.len() == 1 && of.data_type != DataType::Complex;
        let samples = samples(name, numbers, &targets, Rule { method, fill, only_dimension })?;
        let mut labels = of.labels.clone();
        if scalar {
            labels.dimensions.remove(axis);
            labels.scalars.extend(targets.first().map(|&target| (name.clone(), Label::Number(target))));
        } else {
            labels.dimensions[axis] = Dimension::new(name.clone(), Coordinate::Numbers(targets));
        }
        let data_type = of.data_type.max(DataType::Float);
        let mesh = of.mesh.clone();
        Ok(Inferred {
            labels,
            data_type,
            mesh,
            node: Typed::Interpolate { of: Box::new(of), axis, samples, scalar },
        })
    }

    fn squeeze(
        &mut self,
        of: Inferred,
        dimensions: Option<&[Arc<str>]>,
    ) -> Result<Inferred, ExpressionError> {
        mesh::refuse("squeeze", &of)?;
        let extents = of.labels.shape();
        let axes = match dimensions {
            Some(names) => axes_of("squeeze", &of.labels, names)?,
            None => (0..extents.len()).filter(|&axis| extents[axis] == 1).collect(),
        };
        let mut taken = vec![Taken::All; extents.len()];
        for axis in axes {
            if extents[axis] != 1 {
                let what = format!("{} has {} places", of.labels.dimensions[axis].name, extents[axis]);
                return Err(ExpressionError::invalid("squeeze", what));
            }
            taken[axis] = Taken::One(0);
        }
        of.take(self, taken)
    }
}

fn literal(labels: Labels, values: Vec<f64>, imaginary: Option<Vec<f64>>) -> Inferred {
    let data_type = if imaginary.is_some() { DataType::Complex } else { DataType::Float };
    Inferred { labels, data_type, mesh: None, node: Typed::Literal { values, imaginary } }
}

/// The axes of these dimensions, all of which must be there, once.
pub(super) fn axes_of(
    operation: &'static str,
    labels: &Labels,
    names: &[Arc<str>],
) -> Result<Vec<usize>, ExpressionError> {
    distinct(operation, names.iter())?;
    names.iter().map(|name| labels.expect_axis(operation, name)).collect()
}

/// Refuses a name that is there twice.
pub(super) fn distinct<'a>(
    operation: &'static str,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> Result<(), ExpressionError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ExpressionError::invalid(operation, format!("{name} is named twice")));
        }
    }
    Ok(())
}
