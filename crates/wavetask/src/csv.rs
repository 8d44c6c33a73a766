//! Fields as comma-separated values: a column per coordinate, one for the value (two if it is complex), a line per
//! point, numbers in full.
//!
//! Only fields whose dimensions are certain are written: HDF5 files hold coordinates by name but not the order of
//! the dimensions, which the class of the field says.

use std::fmt::Write;

use wavetask_document::{
    Array, ArraySource, BlockSource, Document, DocumentArrays, VALUES_DATASET, Values, dimensions_of,
};
use wavetask_protocol::chain;

/// A field cannot be a CSV file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CsvError {
    /// Its dimensions are not known.
    #[error("a field of class {class} cannot be written as CSV")]
    Class {
        /// The class.
        class: String,
    },
    /// Something is missing or does not fit.
    #[error("the field cannot be written as CSV: {0}")]
    Content(String),
}

/// The field of a document that is nothing else.
pub(crate) fn write(document: &Document, blocks: &dyn BlockSource) -> Result<String, CsvError> {
    let json: serde_json::Value =
        serde_json::from_str(&document.json).map_err(|error| CsvError::Content(error.to_string()))?;
    let arrays = DocumentArrays { document, blocks, array_bytes: u64::MAX };
    match json {
        serde_json::Value::String(class) => labelled(&class, &arrays),
        serde_json::Value::Object(members) => {
            let class = members.get("type").and_then(|class| class.as_str()).unwrap_or_default();
            match class {
                "TetrahedralGridDataset" => points(&["x", "y", "z"], None, &arrays),
                "TriangularGridDataset" => {
                    let normal = members.get("normal_axis").and_then(serde_json::Value::as_u64).unwrap_or(2);
                    let position =
                        members.get("normal_pos").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
                    let normal =
                        ["x", "y", "z"].get(usize::try_from(normal).unwrap_or(2)).copied().unwrap_or("z");
                    let plane: Vec<&str> =
                        ["x", "y", "z"].into_iter().filter(|axis| *axis != normal).collect();
                    points(&plane, Some((normal, position)), &arrays)
                }
                other => Err(CsvError::Class { class: other.to_owned() }),
            }
        }
        _ => Err(CsvError::Class { class: "null".to_owned() }),
    }
}

fn load(arrays: &DocumentArrays<'_>, path: &str) -> Result<Array, CsvError> {
    match arrays.load(path) {
        Ok(Some(array)) => Ok(array),
        Ok(None) => Err(CsvError::Content(format!("it has no {path}"))),
        Err(error) => Err(CsvError::Content(chain(&error))),
    }
}

/// Values on a grid of coordinates.
fn labelled(class: &str, arrays: &DocumentArrays<'_>) -> Result<String, CsvError> {
    let dimensions = dimensions_of(class).ok_or_else(|| CsvError::Class { class: class.to_owned() })?;
    let values = load(arrays, VALUES_DATASET)?;
    let coordinates = dimensions
        .iter()
        .map(|name| load(arrays, name).and_then(|array| labels(&array)))
        .collect::<Result<Vec<_>, _>>()?;
    let extents: Vec<usize> = coordinates.iter().map(Vec::len).collect();
    if extents != values.shape() {
        return Err(CsvError::Content(format!("its shape is {:?}, not {extents:?}", values.shape())));
    }
    let (heads, numbers) = numbers(&values)?;
    let mut text = head(dimensions, heads);
    for (index, number) in numbers.iter().enumerate() {
        let mut rest = index;
        let mut places = vec![0; extents.len()];
        for (place, extent) in places.iter_mut().zip(&extents).rev() {
            *place = rest % extent;
            rest /= extent;
        }
        for (labels, place) in coordinates.iter().zip(places) {
            text.push_str(&labels[place]);
            text.push(',');
        }
        text.push_str(number);
        text.push('\n');
    }
    Ok(text)
}

/// Values at points of a mesh; `plane` is the axis normal to a mesh of triangles, and where on it the mesh lies.
fn points(
    axes: &[&str],
    plane: Option<(&str, f64)>,
    arrays: &DocumentArrays<'_>,
) -> Result<String, CsvError> {
    let points = load(arrays, &format!("points/{VALUES_DATASET}"))?;
    let values = load(arrays, &format!("values/{VALUES_DATASET}"))?;
    let (heads, numbers) = numbers(&values)?;
    if points.shape() != [numbers.len(), axes.len()] {
        return Err(CsvError::Content(format!(
            "it has {:?} points and {:?} values",
            points.shape(),
            values.shape()
        )));
    }
    let places = labels(&points)?;
    let names: Vec<&str> = axes.iter().copied().chain(plane.map(|(name, _)| name)).collect();
    let mut text = head(&names, heads);
    for (place, number) in places.chunks(axes.len()).zip(&numbers) {
        for label in place {
            text.push_str(label);
            text.push(',');
        }
        if let Some((_, position)) = plane {
            // Writing to a text cannot fail.
            let _ = write!(text, "{position},");
        }
        text.push_str(number);
        text.push('\n');
    }
    Ok(text)
}

fn head(names: &[&str], values: &str) -> String {
    format!("{},{values}\n", names.join(","))
}

/// Coordinates as text.
fn labels(array: &Array) -> Result<Vec<String>, CsvError> {
    match array.values() {
        Values::Text(texts) => {
            Ok(texts.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect())
        }
        Values::Int64(values) => Ok(values.iter().map(ToString::to_string).collect()),
        _ => match array.to_floats() {
            Some(values) => Ok(values.iter().map(ToString::to_string).collect()),
            None => Err(CsvError::Content("a coordinate is complex".to_owned())),
        },
    }
}

/// Values as text, and the heads of their columns.
fn numbers(array: &Array) -> Result<(&'static str, Vec<String>), CsvError> {
    const COMPLEX: &str = "real,imaginary";
    match array.values() {
        Values::Complex128(values) => {
            Ok((COMPLEX, values.iter().map(|[re, im]| format!("{re},{im}")).collect()))
        }
        Values::Complex64(values) => {
            Ok((COMPLEX, values.iter().map(|[re, im]| format!("{re},{im}")).collect()))
        }
        _ => Ok(("value", labels(array)?)),
    }
}

#[cfg(test)]
mod tests {
    use wavetask_document::{MemoryBlocks, ResultBuilder};

    use super::*;

    fn document(json: &str, arrays: &[(&str, Array)]) -> (Document, MemoryBlocks) {
        let mut blocks = MemoryBlocks::new();
        let mut builder = ResultBuilder::new("x", &mut blocks);
        for (path, array) in arrays {
            builder.array(path, array).unwrap();
        }
        let mut document = builder.finish().unwrap();
        document.json = json.into();
        (document, blocks)
    }

    fn floats(shape: &[usize], values: &[f64]) -> Array {
        Array::new(shape.to_vec(), Values::Float64(values.to_vec())).unwrap()
    }

    #[test]
    fn a_grid_is_written_point_by_point_with_the_last_dimension_fastest() {
        let arrays = [
            (VALUES_DATASET, floats(&[1, 2, 2], &[300.0, 300.5, 301.25, 1e-7])),
            ("x", floats(&[1], &[0.0])),
            ("y", floats(&[2], &[1.0, 2.0])),
            ("z", floats(&[2], &[-0.5, 0.1])),
        ];
        let (document, blocks) = document("\"SpatialDataArray\"", &arrays);
        assert_eq!(
            write(&document, &blocks).unwrap(),
            "x,y,z,value\n0,1,-0.5,300\n0,1,0.1,300.5\n0,2,-0.5,301.25\n0,2,0.1,0.0000001\n"
        );
    }

    #[test]
    fn a_mesh_is_written_point_by_point() {
        let arrays = [
            ("points/__xarray_dataarray_variable__", floats(&[2, 2], &[0.0, 1.0, 2.0, 3.0])),
            ("values/__xarray_dataarray_variable__", floats(&[2], &[300.0, 301.0])),
        ];
        let json = r#"{"type":"TriangularGridDataset","normal_axis":1,"normal_pos":0.25}"#;
        let (document, blocks) = document(json, &arrays);
        assert_eq!(write(&document, &blocks).unwrap(), "x,z,y,value\n0,1,0.25,300\n2,3,0.25,301\n");
    }

    #[test]
    fn what_is_uncertain_is_refused() {
        let arrays = [(VALUES_DATASET, floats(&[1], &[1.0]))];
        let (unknown, blocks) = document("\"SomeNewDataArray\"", &arrays);
        assert!(write(&unknown, &blocks).unwrap_err().to_string().contains("SomeNewDataArray"));
        let (incomplete, blocks) = document("\"FluxDataArray\"", &arrays);
        assert!(write(&incomplete, &blocks).unwrap_err().to_string().contains("it has no f"));
    }
}
