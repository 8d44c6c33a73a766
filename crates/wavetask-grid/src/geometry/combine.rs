//! Groups, set operations and transformed copies of other geometries.
//!
//! Distances combine as signed distances do, negative inside: the least for a union, the greatest for an
//! intersection. The result never exceeds the true distance; it falls short only where the nearest piece
//! of an operand's surface is not part of the combined surface.

use std::sync::Arc;

use super::feature::{FeatureLength, Features};
use super::shape::Shape;
use super::transform::Transform;
use super::tree::{COSTLY, Tree};
use super::vector::Point3;
use super::{Bounds, Geometry};
use crate::reading::{Fields, Part, SceneError};

/// Groups of at most this many members are searched without an index.
const SMALL: usize = 8;

/// The union of its members.
#[derive(Debug)]
pub(super) struct Group {
    members: Vec<Geometry>,
    tree: Option<Tree>,
}

impl Group {
    /// A group of at least one member.
    pub(super) fn new(members: Vec<Geometry>) -> Self {
        let reaches: Vec<Bounds> = members.iter().map(|member| member.reach).collect();
        let tree = (members.len() > SMALL).then(|| Tree::new(&reaches, COSTLY));
        Self { members, tree }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.members
            .iter()
            .map(Geometry::bounds)
            .reduce(|one, other| hull(&one, &other))
            .unwrap_or([[0.0; 2]; 3])
    }

    pub(super) fn contains(&self, point: Point3) -> bool {
        self.any_at(point, |member| member.contains(point))
    }

    /// See [`Geometry::contains_on_grid`].
    pub(super) fn contains_on_grid(&self, point: Point3) -> bool {
        self.any_at(point, |member| member.contains_on_grid(point))
    }

    /// Whether a member holds, of those whose box has the point.
    fn any_at(&self, point: Point3, holds: impl Fn(&Geometry) -> bool) -> bool {
        match &self.tree {
            Some(tree) => tree.any_overlapping(&point.map(|coordinate| [coordinate; 2]), |member| {
                holds(&self.members[member])
            }),
            None => self.members.iter().any(holds),
        }
    }

    pub(super) fn distance(&self, point: Point3, limit: f64) -> f64 {
        let mut deepest: Option<f64> = None;
        let mut note = |member: &Geometry| {
            if member.contains(point) {
                let depth = member.distance_within(point, limit);
                deepest = Some(deepest.map_or(depth, |deepest| deepest.max(depth)));
            }
            false
        };
        match &self.tree {
            Some(tree) => {
                let query = point.map(|coordinate| [coordinate; 2]);
                tree.any_overlapping(&query, |member| note(&self.members[member]));
            }
            None => {
                self.members.iter().for_each(|member| {
                    note(member);
                });
            }
        }
        if let Some(depth) = deepest {
            return depth;
        }
        match &self.tree {
            Some(tree) => {
                let square = |member: usize, best: f64| {
                    self.members[member].distance_within(point, best.sqrt()).powi(2)
                };
                tree.nearest(point, limit * limit, square).sqrt()
            }
            None => self.members.iter().fold(limit, |nearest, member| member.distance_within(point, nearest)),
        }
    }

    pub(super) fn as_aligned_box(&self) -> Option<Bounds> {
        match self.members.as_slice() {
            [member] => member.as_aligned_box(),
            _ => None,
        }
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        self.members.iter().for_each(|member| member.shape.collect_planes(features));
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        self.members.iter().for_each(|member| member.shape.collect_sizes(features));
    }
}

/// A set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Union,
    Intersection,
    Difference,
    SymmetricDifference,
}

impl Operation {
    /// Whether a point is inside the result, from whether it is inside the operands.
    fn combine(self, a: bool, b: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Union => a || b(),
            Self::Intersection => a && b(),
            Self::Difference => a && !b(),
            Self::SymmetricDifference => a != b(),
        }
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, SceneError> {
        match fields.text("operation")? {
            "union" => Ok(Self::Union),
            "intersection" => Ok(Self::Intersection),
            "difference" => Ok(Self::Difference),
            "symmetric_difference" => Ok(Self::SymmetricDifference),
            _ => Err(Part::Geometry.invalid(
                fields.path_of("operation"),
                "an operation is `union`, `intersection`, `difference` or `symmetric_difference`",
            )),
        }
    }
}

/// Two geometries combined by a set operation.
#[derive(Debug)]
pub(super) struct Clip {
    pub(super) operation: Operation,
    pub(super) a: Geometry,
    pub(super) b: Geometry,
}

impl Clip {
    /// Equal to the client's: the box of what could be left, not of what is.
    pub(super) fn bounds(&self) -> Bounds {
        let (a, b) = (self.a.bounds(), self.b.bounds());
        match self.operation {
            Operation::Difference => a,
            Operation::Intersection => {
                let common: Bounds =
                    std::array::from_fn(|axis| [a[axis][0].max(b[axis][0]), a[axis][1].min(b[axis][1])]);
                if common.iter().any(|[low, high]| low > high) { [[0.0; 2]; 3] } else { common }
            }
            Operation::Union | Operation::SymmetricDifference => hull(&a, &b),
        }
    }

    pub(super) fn contains(&self, point: Point3) -> bool {
        self.operation.combine(self.a.contains(point), || self.b.contains(point))
    }

    /// See [`Geometry::contains_on_grid`].
    pub(super) fn contains_on_grid(&self, point: Point3) -> bool {
        self.operation.combine(self.a.contains_on_grid(point), || self.b.contains_on_grid(point))
    }

    pub(super) fn distance(&self, point: Point3, limit: f64) -> f64 {
        let signed = |operand: &Geometry| {
            let distance = operand.distance_within(point, limit);
            if operand.contains(point) { -distance } else { distance }
        };
        let (a, b) = (signed(&self.a), signed(&self.b));
        match self.operation {
            Operation::Union => a.min(b).abs(),
            Operation::Intersection => a.max(b).abs(),
            Operation::Difference => a.max(-b).abs(),
            // Every piece of either surface separates inside from outside.
            Operation::SymmetricDifference => a.abs().min(b.abs()),
        }
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        let mut inner = Features::default();
        self.a.shape.collect_planes(&mut inner);
        self.b.shape.collect_planes(&mut inner);
        features.absorb_planes(&inner, &self.bounds());
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        self.a.shape.collect_sizes(features);
        self.b.shape.collect_sizes(features);
    }
}

/// A geometry moved, turned, mirrored, stretched or sheared. Copies share the geometry.
#[derive(Debug)]
pub(super) struct Transformed {
    geometry: Arc<Geometry>,
    transform: Transform,
}

impl Transformed {
    /// A transform of a transform is one: its bounds are tighter and its queries faster.
    pub(super) fn new(geometry: Arc<Geometry>, transform: Transform) -> Self {
        if let Shape::Transformed(inner) = &geometry.shape
            && let Some(transform) = transform.after(&inner.transform)
        {
            return Self { geometry: Arc::clone(&inner.geometry), transform };
        }
        Self { geometry, transform }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.transform.bounds_of(&self.geometry.bounds())
    }

    pub(super) fn contains(&self, point: Point3) -> bool {
        self.geometry.contains(self.transform.to_local(point))
    }

    pub(super) fn distance(&self, point: Point3, limit: f64) -> f64 {
        if self.transform.similarity().is_none()
            && let Some(bounds) = self.as_aligned_box()
        {
            return Geometry::from_bounds(bounds).distance_to_surface(point);
        }
        let local = self.transform.to_local(point);
        let [least, _] = self.transform.stretches();
        least * self.geometry.distance_within(local, limit / least)
    }

    pub(super) fn as_aligned_box(&self) -> Option<Bounds> {
        self.transform.aligned_box_of(&self.geometry.as_aligned_box()?)
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        let mut inner = Features::default();
        self.geometry.shape.collect_planes(&mut inner);
        for local_axis in 0..3 {
            if let Some((axis, factor, shift)) = self.transform.plane_of(local_axis) {
                for plane in inner.planes(local_axis) {
                    features.plane(axis, factor * plane + shift);
                }
            }
        }
    }

    /// Lengths scale with a similarity; otherwise a side or a radius may shrink by the least stretch.
    pub(super) fn collect_sizes(&self, features: &mut Features) {
        let factor = self.transform.similarity().unwrap_or(self.transform.stretches()[0]);
        for size in self.geometry.feature_sizes() {
            let bounds = self.transform.bounds_of(&size.bounds);
            match size.length {
                FeatureLength::Circumference { radius } => features.circumference(factor * radius, bounds),
                FeatureLength::Side { length } => features.side(factor * length, bounds),
            }
        }
    }
}

fn hull(one: &Bounds, other: &Bounds) -> Bounds {
    std::array::from_fn(|axis| [one[axis][0].min(other[axis][0]), one[axis][1].max(other[axis][1])])
}
