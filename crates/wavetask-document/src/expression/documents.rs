//! Fields of documents: where a name leads in a document's JSON and arrays.
//!
//! A field of a result is named by its monitor and its member (`T`, `temperature`), or by keys where there are no
//! monitors (`n_complex` of a mode solver's, `outputs`, `0` of an evaluation's). In the place that the name leads to, the
//! JSON says which array is there: a class of labelled arrays, a set on a mesh, or an evaluation's output.
//!
//! Of a symmetric simulation a part is stored. As with tidy3d's objects, data that is asked for by its monitor is the
//! whole (see [`whole`]), and other data is what is stored, unless its name says `symmetry_expanded_copy`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use wavetask_protocol::Digest;

use super::flux::{FLUX, flux};
use super::{
    Coordinate, DataType, Dimension, ExpressionError, Field, FieldSource, FieldType, Flux, Labels, MeshKind,
    MeshType, Schema, Whole, whole,
};
use crate::{
    Array, ArrayDescriptor, BlockSource, Document, ElementType, VALUES_DATASET, Values, dimensions_of,
};

/// Bytes that the coordinates of one dimension may have.
const COORDINATE_BYTES: u64 = 64 << 20;

/// Names in the path of a field that stand for the whole of symmetric data.
const EXPANDED: [&str; 2] = ["symmetry_expanded_copy", "symmetry_expanded"];

/// Documents that expressions refer to by their digests, and where their blocks are.
#[derive(Debug)]
pub struct Documents<B> {
    documents: HashMap<Digest, Document>,
    blocks: B,
}

/// An array of a document, found by its name.
struct Located<'d> {
    values: &'d ArrayDescriptor,
    document: &'d Document,
    /// The group that the array and its coordinates are in.
    group: String,
    /// Its dimensions, outermost first.
    dimensions: Vec<Arc<str>>,
    /// The kind of mesh that it is on, and the group of that.
    mesh: Option<(MeshKind, String)>,
    /// The data that it belongs to, and its name there, if it is the whole of it that is asked for.
    of_data: Option<(String, Arc<str>)>,
}

/// What of an object's JSON says how it is to be read.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "type", default)]
    class: Option<String>,
    #[serde(default)]
    normal_axis: Option<usize>,
    #[serde(default)]
    normal_pos: Option<f64>,
    #[serde(default)]
    values: Option<serde_json::Value>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    dims: Option<Vec<Arc<str>>>,
}

#[derive(Deserialize)]
struct MonitorData {
    #[serde(default)]
    monitor: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: Option<String>,
}

impl<B: BlockSource> Documents<B> {
    /// No documents, whose blocks are here.
    pub fn new(blocks: B) -> Self {
        Self { documents: HashMap::new(), blocks }
    }

    /// Adds a document under its canonical digest.
    pub fn insert(&mut self, digest: Digest, document: Document) {
        self.documents.insert(digest, document);
    }

    /// Bytes of all arrays of all documents together.
    pub fn array_bytes(&self) -> u64 {
        self.documents.values().fold(0, |sum, document| sum.saturating_add(document.array_bytes()))
    }

    /// Where the blocks are.
    pub const fn blocks(&self) -> &B {
        &self.blocks
    }

    /// The elements of a field in a box of indices, one range per dimension.
    ///
    /// # Errors
    /// `Field` if there is no such field, or it cannot be read.
    pub fn load_part(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Array, ExpressionError> {
        let located = self.locate(field)?;
        let loaded = located.values.load_part(ranges, &self.blocks, u64::MAX);
        loaded.map_err(|error| unreadable(field, error))
    }

    /// The extent of each dimension of a field.
    ///
    /// # Errors
    /// `Field` if there is no such field.
    pub fn shape(&self, field: &Field) -> Result<Vec<usize>, ExpressionError> {
        self.locate(field)?.values.shape.iter().map(|&extent| to_size(field, extent)).collect()
    }

    /// The kind of a field's mesh, its points, and the points of its cells.
    ///
    /// # Errors
    /// `Field` if there is none, or it cannot be read.
    pub fn mesh_arrays(&self, field: &Field) -> Result<(MeshKind, Array, Array), ExpressionError> {
        let located = self.locate(field)?;
        let Some((kind, group)) = &located.mesh else { return Err(missing(field, "it is on no mesh")) };
        let [points, cells] = mesh_descriptors(field, located.document, group)?;
        let load = |array: &ArrayDescriptor| {
            array.load(&self.blocks, u64::MAX).map_err(|error| unreadable(field, error))
        };
        Ok((*kind, load(points)?, load(cells)?))
    }

    fn locate(&self, field: &Field) -> Result<Located<'_>, ExpressionError> {
        let FieldSource::Result(digest) = &field.source else {
            return Err(ExpressionError::NotKnown { what: format!("the result of {field}") });
        };
        let document =
            self.documents.get(digest).ok_or_else(|| missing(field, "its document is not here"))?;
        let malformed = |error: crate::DocumentError| unreadable(field, error);
        let (mut group, rest, mut expanded) = match monitor(document, field)? {
            Some(number) => (format!("data/{number}"), &field.path[1..], true),
            None => (String::new(), &field.path[..], false),
        };
        let mut holder = group.clone();
        for name in rest {
            if EXPANDED.contains(&&**name) {
                expanded = true;
                continue;
            }
            if name.is_empty() || name.contains('/') {
                return Err(missing(field, "a name is not one"));
            }
            holder.clone_from(&group);
            if !group.is_empty() {
                group.push('/');
            }
            group.push_str(name);
        }
        let of_data = rest.last().filter(|_| expanded).map(|name| (holder, Arc::clone(name)));
        let text = document.fragment(&group).map_err(malformed)?;
        let text = text.ok_or_else(|| missing(field, "there is nothing of that name"))?;
        let (dimensions, values, mesh) = if text.starts_with('"') {
            let class: String = serde_json::from_str(text).map_err(|error| unreadable(field, error))?;
            (of_class(field, &class)?, group.clone(), None)
        } else if text.starts_with('{') {
            let outline: Outline = serde_json::from_str(text).map_err(|error| unreadable(field, error))?;
            of_object(field, outline, &group)?
        } else {
            return Err(missing(field, "there is no array"));
        };
        let path = format!("{values}/{VALUES_DATASET}");
        let found = document.arrays.get(&path).ok_or_else(|| missing(field, "there is no data"))?;
        if found.shape.len() != dimensions.len() {
            let what = format!("it has {} dimensions, not {}", found.shape.len(), dimensions.len());
            return Err(missing(field, &what));
        }
        Ok(Located { values: found, document, group: values, dimensions, mesh, of_data })
    }

    fn dimension(
        &self,
        field: &Field,
        located: &Located<'_>,
        name: &Arc<str>,
        extent: u64,
    ) -> Result<Dimension, ExpressionError> {
        let coordinate = match located.document.arrays.get(&format!("{}/{name}", located.group)) {
            None => {
                #[expect(clippy::cast_precision_loss, reason = "places stay far below 2^53")]
                let places = (0..to_size(field, extent)?).map(|place| place as f64).collect();
                Coordinate::Numbers(places)
            }
            Some(array) => {
                let array = array.load(&self.blocks, COORDINATE_BYTES);
                let array = array.map_err(|error| unreadable(field, error))?;
                let count = array.values().len() as u64;
                match array.into_parts() {
                    _ if count != extent => {
                        return Err(missing(field, "a coordinate does not fit its dimension"));
                    }
                    (_, Values::Text(texts)) => Coordinate::Text(texts.into_iter().map(Arc::from).collect()),
                    (shape, values) => {
                        let numbers = Array::new(shape, values).ok().and_then(Array::into_floats);
                        let numbers = numbers.ok_or_else(|| missing(field, "a coordinate is complex"))?;
                        Coordinate::Numbers(numbers.1)
                    }
                }
            }
        };
        Ok(Dimension::new(Arc::clone(name), coordinate))
    }
}

impl<B: BlockSource> Schema for Documents<B> {
    fn flux(&self, field: &Field) -> Result<Option<Flux>, ExpressionError> {
        let [prefix @ .., last] = &field.path[..] else { return Ok(None) };
        let FieldSource::Result(digest) = &field.source else { return Ok(None) };
        let Some(document) = self.documents.get(digest).filter(|_| &**last == FLUX) else { return Ok(None) };
        let (holder, prefix) = match prefix {
            [] => (String::new(), vec![Arc::from(EXPANDED[0])]),
            [name] if EXPANDED.contains(&&**name) => (String::new(), prefix.to_vec()),
            [_] => match monitor(document, field)? {
                Some(number) => (format!("data/{number}"), prefix.to_vec()),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let data = document.fragment(&holder).map_err(|error| unreadable(field, error))?;
        let Some(data) = data.filter(|data| data.starts_with('{')) else { return Ok(None) };
        let field_of = |name: &str| {
            let path = prefix.iter().cloned().chain([Arc::from(name)]).collect();
            Field { path, ..field.clone() }
        };
        flux(data, field_of, |field| {
            let FieldType { labels, whole, .. } = self.field(field)?;
            Ok(whole.labels(labels))
        })
    }

    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        let located = self.locate(field)?;
        let named = located.dimensions.iter().zip(&located.values.shape);
        let dimensions = named.map(|(name, &extent)| self.dimension(field, &located, name, extent));
        let labels = Labels::new("field", dimensions.collect::<Result<_, _>>()?)?;
        let data_type = match located.values.element_type {
            ElementType::Complex128 | ElementType::Complex64 => DataType::Complex,
            ElementType::Int64 | ElementType::Int32 => DataType::Integer,
            ElementType::Uint8 => DataType::Boolean,
            ElementType::Float64 | ElementType::Float32 => DataType::Float,
            ElementType::Text => return Err(missing(field, "its elements are texts")),
        };
        let mesh = match &located.mesh {
            Some((kind, group)) => Some(Arc::new(mesh_type(field, located.document, *kind, group)?)),
            None => None,
        };
        let whole = match &located.of_data {
            Some((holder, name)) => {
                let data = located.document.fragment(holder).map_err(|error| unreadable(field, error))?;
                let data = data.ok_or_else(|| missing(field, "its data is not there"))?;
                whole(data, name, &labels, mesh.is_some()).map_err(|what| missing(field, &what))?
            }
            None => Whole::Stored,
        };
        Ok(FieldType { labels, data_type, mesh, whole })
    }
}

/// The number of the monitor's data that a name begins with; `None` if it does not.
fn monitor(document: &Document, field: &Field) -> Result<Option<usize>, ExpressionError> {
    let Some(first) = field.path.first() else { return Err(missing(field, "its name is empty")) };
    let data = document.fragment("data").map_err(|error| unreadable(field, error))?;
    let Some(data) = data.filter(|text| text.starts_with('[')) else { return Ok(None) };
    let all: Vec<MonitorData> = serde_json::from_str(data).map_err(|error| unreadable(field, error))?;
    let name = |data: &MonitorData| data.monitor.as_ref().and_then(|monitor| monitor.name.clone());
    Ok(all.iter().position(|data| name(data).as_deref() == Some(&**first)))
}

fn of_class(field: &Field, class: &str) -> Result<Vec<Arc<str>>, ExpressionError> {
    let dimensions = dimensions_of(class);
    let dimensions =
        dimensions.ok_or_else(|| missing(field, &format!("`{class}` is no array known here")))?;
    Ok(dimensions.iter().copied().map(Arc::from).collect())
}

type Found = (Vec<Arc<str>>, String, Option<(MeshKind, String)>);

fn of_object(field: &Field, outline: Outline, group: &str) -> Result<Found, ExpressionError> {
    if let (Some("array"), Some(dimensions)) = (outline.kind.as_deref(), &outline.dims) {
        return Ok((dimensions.clone(), group.to_owned(), None));
    }
    let kind = match (outline.class.as_deref(), outline.normal_axis, outline.normal_pos) {
        (Some("TetrahedralGridDataset"), ..) => MeshKind::Tetrahedral,
        (Some("TriangularGridDataset"), Some(normal_axis), Some(normal_position)) => {
            MeshKind::Triangular { normal_axis, normal_position }
        }
        _ => return Err(missing(field, "there is no array")),
    };
    let class = outline.values.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok((of_class(field, class)?, format!("{group}/values"), Some((kind, group.to_owned()))))
}

fn mesh_descriptors<'d>(
    field: &Field,
    document: &'d Document,
    group: &str,
) -> Result<[&'d ArrayDescriptor; 2], ExpressionError> {
    let find = |name: &str| {
        let found = document.arrays.get(&format!("{group}/{name}/{VALUES_DATASET}"));
        found.ok_or_else(|| missing(field, "its mesh is incomplete"))
    };
    Ok([find("points")?, find("cells")?])
}

fn mesh_type(
    field: &Field,
    document: &Document,
    kind: MeshKind,
    group: &str,
) -> Result<MeshType, ExpressionError> {
    let [points, cells] = mesh_descriptors(field, document, group)?;
    let identity = [*points.digest.as_bytes(), *cells.digest.as_bytes()].concat();
    Ok(MeshType {
        kind,
        points: points.shape.first().copied().unwrap_or(0),
        cells: cells.shape.first().copied().unwrap_or(0),
        identity: Digest::of(&identity),
        byte_length: points.byte_length.saturating_add(cells.byte_length),
        field: field.clone(),
        edits: Vec::new(),
    })
}

fn to_size(field: &Field, extent: u64) -> Result<usize, ExpressionError> {
    usize::try_from(extent).map_err(|error| unreadable(field, error))
}

fn missing(field: &Field, what: &str) -> ExpressionError {
    ExpressionError::Field { field: field.to_string(), source: what.into() }
}

fn unreadable(field: &Field, error: impl std::error::Error + Send + Sync + 'static) -> ExpressionError {
    ExpressionError::Field { field: field.to_string(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::{Expression, ExpressionLimits, Label, Operation, Part, Taken, infer};
    use crate::{MemoryBlocks, ResultBuilder};

    fn documents() -> (Documents<MemoryBlocks>, Digest) {
        let mut blocks = MemoryBlocks::new();
        let mut result = ResultBuilder::new("HeatChargeSimulationData", &mut blocks);
        let data = r#"[
            {"type":"TemperatureData","monitor":{"name":"T"},"temperature":"SpatialDataArray","symmetry":[0,0,0]},
            {"type":"TemperatureData","monitor":{"name":"half","center":[0,5,0],"size":["Infinity",8,"Infinity"]},
                "temperature":"SpatialDataArray","symmetry":[0,1,0],"symmetry_center":[0,4,0]},
            {"type":"TemperatureData","monitor":{"name":"mesh"},"temperature":
                {"type":"TriangularGridDataset","normal_axis":1,"normal_pos":0.5,"values":"IndexedDataArray"}},
            {"type":"ModeData","monitor":{"name":"odd"},"temperature":"NoSuchDataArray","none":null},
            {"type":"SurfaceFieldData","monitor":{"name":"skin"},"temperature":"SpatialDataArray","symmetry":[0,0,1]}
        ]"#;
        result.verbatim("data", data).unwrap();
        let [x, y] = [vec![0.0, 1.0, 2.0], vec![5.0]].map(Array::from_floats);
        let values = Array::new(vec![3, 1, 1], Values::Float64(vec![300.0, 301.0, 302.0])).unwrap();
        for group in ["data/0/temperature", "data/1/temperature", "data/4/temperature"] {
            result.labelled_array(group, &values, &[("x", &x), ("y", &y), ("z", &y)]).unwrap();
        }
        let mesh = "data/2/temperature";
        let points = Array::new(vec![3, 2], Values::Float64(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0])).unwrap();
        let cells = Array::new(vec![1, 3], Values::Int32(vec![0, 1, 2])).unwrap();
        result.labelled_array(&format!("{mesh}/points"), &points, &[]).unwrap();
        result.labelled_array(&format!("{mesh}/cells"), &cells, &[]).unwrap();
        result.labelled_array(&format!("{mesh}/values"), &x, &[]).unwrap();
        let document = result.finish().unwrap();
        let digest = document.digest().unwrap();
        let mut documents = Documents::new(blocks);
        documents.insert(digest, document);
        (documents, digest)
    }

    fn field(digest: Digest, path: &[&str]) -> Field {
        let path = path.iter().copied().map(Arc::from).collect();
        Field { source: FieldSource::Result(digest), part: Part::Result, path }
    }

    #[test]
    fn a_monitors_field_has_the_labels_of_its_class() {
        let (documents, digest) = documents();
        let field = field(digest, &["T", "temperature"]);
        let inferred = infer(&Expression::Field(field.clone()), &documents, &ExpressionLimits::default());
        let inferred = inferred.unwrap();
        assert_eq!(inferred.shape(), [3, 1, 1]);
        assert_eq!(inferred.labels().dimensions[0].coordinate.label(2), Some(Label::Number(2.0)));
        assert_eq!(inferred.data_type(), DataType::Float);
        let part = documents.load_part(&field, &[1..3, 0..1, 0..1]).unwrap();
        assert_eq!(part.to_floats().unwrap(), [301.0, 302.0]);
    }

    #[test]
    fn a_symmetric_field_is_the_whole_and_is_read_from_what_is_stored() {
        let (documents, digest) = documents();
        let field = field(digest, &["half", "temperature"]);
        let limits = ExpressionLimits::default();
        let inferred = infer(&Expression::Field(field.clone()), &documents, &limits).unwrap();
        assert_eq!(inferred.shape(), [3, 2, 1]);
        let across = &inferred.labels().dimensions[1].coordinate;
        assert_eq!([across.label(0), across.label(1)], [3.0, 5.0].map(|at| Some(Label::Number(at))));
        let Operation::Read { taken, .. } = inferred.plan(&limits).unwrap().step.operation else {
            panic!("nothing is computed")
        };
        assert_eq!(taken, [Taken::All, Taken::Places([0, 0].into()), Taken::All]);
        assert_eq!(documents.shape(&field).unwrap(), [3, 1, 1]);
    }

    #[test]
    fn a_field_on_a_mesh_has_its_points() {
        let (documents, digest) = documents();
        let field = field(digest, &["mesh", "temperature"]);
        let found = documents.field(&field).unwrap();
        let mesh = found.mesh.unwrap();
        assert_eq!((mesh.points, mesh.cells, mesh.byte_length), (3, 1, 60));
        assert_eq!(mesh.kind, MeshKind::Triangular { normal_axis: 1, normal_position: 0.5 });
        assert_eq!(&*found.labels.dimensions[0].name, "index");
        let (_, points, cells) = documents.mesh_arrays(&field).unwrap();
        assert_eq!((points.shape(), cells.shape()), (&[3, 2][..], &[1, 3][..]));
    }

    #[test]
    fn arrays_of_a_symmetric_simulation_are_whole() {
        let mut blocks = MemoryBlocks::new();
        let mut simulation = ResultBuilder::new("Simulation", &mut blocks);
        simulation.verbatim("symmetry", "[0,1,0]").unwrap();
        simulation.verbatim("structures", r#"[{"medium":{"permittivity":"SpatialDataArray"}}]"#).unwrap();
        let place = Array::from_floats(vec![0.0]);
        let values = Array::new(vec![1, 1, 1], Values::Float64(vec![12.0])).unwrap();
        let group = "structures/0/medium/permittivity";
        simulation.labelled_array(group, &values, &[("x", &place), ("y", &place), ("z", &place)]).unwrap();
        let document = simulation.finish().unwrap();
        let digest = document.digest().unwrap();
        let mut documents = Documents::new(blocks);
        documents.insert(digest, document);
        let own =
            Field { part: Part::Simulation, ..field(digest, &["structures", "0", "medium", "permittivity"]) };
        assert_eq!(documents.load_part(&own, &[0..1, 0..1, 0..1]).unwrap().to_floats().unwrap(), [12.0]);
    }

    #[test]
    fn labels_that_are_no_finite_numbers_are_refused() {
        for label in [f64::NAN, f64::INFINITY] {
            let mut blocks = MemoryBlocks::new();
            let mut result = ResultBuilder::new("HeatChargeSimulationData", &mut blocks);
            result
                .verbatim("data", r#"[{"monitor":{"name":"T"},"temperature":"SpatialDataArray"}]"#)
                .unwrap();
            let [x, y] = [vec![0.0, label], vec![5.0]].map(Array::from_floats);
            let values = Array::new(vec![2, 1, 1], Values::Float64(vec![f64::NAN, f64::INFINITY])).unwrap();
            let labels = [("x", &x), ("y", &y), ("z", &y)];
            result.labelled_array("data/0/temperature", &values, &labels).unwrap();
            let document = result.finish().unwrap();
            let digest = document.digest().unwrap();
            let mut documents = Documents::new(blocks);
            documents.insert(digest, document);
            let error = documents.field(&field(digest, &["T", "temperature"])).err().unwrap();
            assert!(error.to_string().contains("a coordinate of x is not a finite number"), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let (documents, digest) = documents();
        for (path, why) in [
            (&["T", "pressure"][..], "nothing of that name"),
            (&["nobody", "temperature"], "nothing of that name"),
            (&[], "empty"),
            (&["data/0", "temperature"], "not one"),
            (&["T", ""], "not one"),
            (&["T"], "no array"),
            (&["odd", "none"], "no array"),
            (&["odd", "temperature"], "NoSuchDataArray"),
            (&["skin", "temperature"], "`SurfaceFieldData` of a symmetric simulation"),
        ] {
            let error = documents.field(&field(digest, path)).err().unwrap();
            let ExpressionError::Field { source, .. } = &error else { panic!("{error}") };
            assert!(source.to_string().contains(why), "{path:?}: {source}");
        }
        let unknown = documents.field(&field(Digest::of(b"other"), &["T", "temperature"]));
        assert!(matches!(unknown, Err(ExpressionError::Field { .. })));
    }
}
