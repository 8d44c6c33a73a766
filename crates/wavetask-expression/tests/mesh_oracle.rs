//! Fields on random meshes of triangles and tetrahedra, brought to rectangular grids here and by tidy3d.

mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use support::C;
use wavetask_document::expression::{
    Coordinate, DataType, Dimension, Expression, ExpressionError, ExpressionLimits, Field, FieldSource,
    FieldType, Labels, MeshKind, MeshType, Schema, infer,
};
use wavetask_document::{Array, Digest, Values};
use wavetask_expression::{Evaluated, MeshGeometry, Numbers, Reader, WithMeshes, evaluate};

/// A field on a mesh, in memory.
struct MeshField {
    field: FieldType,
    values: Array,
    geometry: MeshGeometry,
}

impl MeshField {
    fn new(description: &Value, numbers: &[C]) -> Self {
        let stored = |name: &str| {
            let place = &description[name];
            let shape: Vec<usize> = serde_json::from_value(place["shape"].clone()).expect("a shape");
            (shape, support::numbers(place, numbers))
        };
        let real = |name: &str| {
            let (shape, values) = stored(name);
            let values = Values::Float64(values.iter().map(|value| value.re).collect());
            Array::new(shape, values).expect("as many values as the shape says")
        };
        let kind = match serde_json::from_value(description["normal"].clone()).expect("a normal or none") {
            Some((normal_axis, normal_position)) => MeshKind::Triangular { normal_axis, normal_position },
            None => MeshKind::Tetrahedral,
        };
        let (points, cells) = (real("points"), real("cells"));
        let geometry = MeshGeometry::new(kind, &points, &cells).expect("a mesh");
        let complex = description["complex"].as_bool().expect("a truth");
        let values = if complex {
            let (shape, values) = stored("values");
            let values = Values::Complex128(values.iter().map(|value| [value.re, value.im]).collect());
            Array::new(shape, values).expect("as many values as the shape says")
        } else {
            real("values")
        };
        let index = (0..values.shape()[0]).map(|place| place as f64).collect();
        let mut dimensions = vec![Dimension::new("index", Coordinate::Numbers(index))];
        let voltage: Option<Vec<f64>> =
            serde_json::from_value(description["voltage"].clone()).expect("voltages or none");
        dimensions.extend(voltage.map(|voltage| Dimension::new("voltage", Coordinate::Numbers(voltage))));
        let source = FieldSource::Result(Digest::of(b"mesh"));
        let mesh = MeshType {
            kind,
            points: points.shape()[0] as u64,
            cells: cells.shape()[0] as u64,
            identity: Digest::of(b"mesh"),
            byte_length: 0,
            edits: Vec::new(),
            field: Field { source, part: Default::default(), path: vec!["mesh".into()] },
        };
        let field = FieldType {
            labels: Labels::new("field", dimensions).expect("different names"),
            data_type: if complex { DataType::Complex } else { DataType::Float },
            mesh: Some(Arc::new(mesh)),
            whole: Default::default(),
        };
        Self { field, values, geometry }
    }

    fn value(&self, expression: &Expression) -> Result<Evaluated, ExpressionError> {
        let limits = ExpressionLimits::default();
        let schema = WithMeshes { schema: self, reader: self };
        evaluate(&infer(expression, &schema, &limits)?.plan(&limits)?, self)
    }
}

impl Schema for MeshField {
    fn field(&self, _: &Field) -> Result<FieldType, ExpressionError> {
        Ok(self.field.clone())
    }
}

impl Reader for MeshField {
    fn shape(&self, _: &Field) -> Result<Vec<usize>, ExpressionError> {
        Ok(self.values.shape().to_vec())
    }

    fn read(&self, _: &Field, ranges: &[Range<u64>]) -> Result<Array, ExpressionError> {
        let whole =
            self.values.shape().iter().zip(ranges).all(|(&extent, range)| *range == (0..extent as u64));
        if whole {
            return Ok(self.values.clone());
        }
        let mut blocks = wavetask_document::MemoryBlocks::new();
        let descriptor = self.values.store(&mut blocks, 64).expect("memory takes blocks");
        Ok(descriptor.load_part(ranges, &blocks, 1 << 30).expect("the blocks are there"))
    }

    fn mesh(&self, _: &MeshType) -> Result<MeshGeometry, ExpressionError> {
        Ok(self.geometry.clone())
    }
}

/// The values of an expression, whatever their width.
fn complex(evaluated: Evaluated) -> Vec<C> {
    match evaluated.values {
        Numbers::Real(values) => values.into_iter().map(|value| C::new(value, 0.0)).collect(),
        Numbers::Complex(values) => values,
    }
}

/// A plane through tetrahedra: its triangles have the values that the tetrahedra have there, and nothing more. Gives
/// the number of places within.
fn check_plane(field: &MeshField, largest: f64) -> usize {
    let mesh = "{\"field\": {\"source\": {\"task\": \"task-1\"}, \"path\": [\"mesh\"]}}";
    let cut = format!("{{\"sel\": {{\"of\": {mesh}, \"selectors\": [[\"y\", {{\"value\": 0.45}}]]}}}}");
    let along = "[0.11, 0.23, 0.37, 0.52, 0.68, 0.79, 0.91]";
    let on = |of: &str| {
        let text = format!(
            "{{\"interp\": {{\"of\": {of}, \"fill\": {{\"value\": 300}}, \"places\": [[\"x\", {{\"values\": {along}}}], \
             [\"y\", {{\"value\": 0.45}}], [\"z\", {{\"values\": {along}}}]]}}}}"
        );
        complex(field.value(&serde_json::from_str(&text).expect("an expression")).expect("a value"))
    };
    let (volume, plane) = (on(mesh), on(&cut));
    assert_eq!(
        support::first_difference(&volume, &plane, largest),
        None,
        "{volume:?}, on the plane {plane:?}"
    );
    volume.iter().filter(|value| **value != C::new(300.0, 0.0)).count()
}

/// Whether coordinates are equal within rounding: where a line crosses an edge is computed.
fn coordinates_agree(ours: &Coordinate, theirs: &Coordinate) -> bool {
    match (ours, theirs) {
        (Coordinate::Numbers(ours), Coordinate::Numbers(theirs)) => {
            let [ours, theirs]: [Vec<C>; 2] =
                [ours, theirs].map(|numbers| numbers.iter().map(C::from).collect());
            support::first_difference(&ours, &theirs, 1.0).is_none()
        }
        _ => ours == theirs,
    }
}

#[test]
fn meshes_are_sampled_as_tidy3d_samples_them() {
    let Some((cases, numbers)) = support::answers("mesh_cases.py", &support::folder("mesh")) else { return };
    assert!(cases.len() >= 1000, "{} cases", cases.len());
    let mut differing = Vec::new();
    let mut within = 0;
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        let field = MeshField::new(&case["field"], &numbers);
        let expression: Expression =
            serde_json::from_value(case["expression"].clone()).expect("an expression");
        let ours = field.value(&expression).unwrap_or_else(|error| panic!("{error}: {expression:?}"));
        let theirs = support::numbers(&case["value"], &numbers);
        let dimensions = support::dimensions(case);
        if !support::are_named(&ours.labels, &dimensions, coordinates_agree) {
            differing.push(format!("{expression:?}\n {:?}, there {dimensions:?}", ours.labels.dimensions));
            continue;
        }
        let largest = support::numbers(&case["field"]["values"], &numbers).iter().map(|value| value.norm());
        // Weights of the flattest cells lose two digits.
        let largest = 300.0 * largest.fold(1.0, f64::max);
        let values = complex(ours);
        if !field.geometry_is_flat() {
            within += check_plane(&field, largest);
        }
        *found.entry(if field.geometry_is_flat() { "triangles" } else { "tetrahedra" }).or_default() += 1;
        if let Some(at) = support::first_difference(&values, theirs, largest) {
            differing.push(format!(
                "{expression:?}\n at {at}: {:?}, there {:?}",
                values.get(at),
                theirs.get(at)
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {}:\n{}",
        differing.len(),
        cases.len(),
        differing[..differing.len().min(5)].join("\n")
    );
    assert!(within > 1000, "{within} places within planes");
    assert!(found.values().all(|&count| count > 300), "{found:?}");
}

impl MeshField {
    fn geometry_is_flat(&self) -> bool {
        self.field.mesh.as_ref().is_some_and(|mesh| matches!(mesh.kind, MeshKind::Triangular { .. }))
    }
}
