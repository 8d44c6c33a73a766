//! A result as it is stored: its text, and its arrays as NumPy's when they are asked for.

use std::ops::Range;

use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use wavetask_client::{ArrayData, ResultDocument};
use wavetask_document::ElementType;

use crate::{failure, process, waiting};

/// A result; see the stub.
#[pyclass(frozen, module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct Document {
    result: ResultDocument,
    process: u32,
}

impl Document {
    pub(crate) fn new(result: ResultDocument) -> Self {
        Self { result, process: std::process::id() }
    }
}

#[pymethods]
impl Document {
    /// The JSON text; class names stand where arrays belong.
    #[getter]
    fn json(&self) -> &str {
        &self.result.document().json
    }

    /// Whether the solution diverged.
    #[getter]
    const fn diverged(&self) -> bool {
        self.result.diverged()
    }

    /// The id of the task.
    #[getter]
    fn task(&self) -> String {
        self.result.task().to_string()
    }

    /// The paths of the arrays.
    fn paths(&self) -> Vec<&str> {
        self.result.document().arrays.keys().map(String::as_str).collect()
    }

    /// The shape of an array, without fetching it.
    fn shape(&self, path: &str) -> PyResult<Vec<u64>> {
        match self.result.document().arrays.get(path) {
            Some(array) => Ok(array.shape.clone()),
            None => Err(pyo3::exceptions::PyKeyError::new_err(path.to_owned())),
        }
    }

    /// The array at a path, or the part of it within a range of indices along each dimension.
    #[pyo3(signature = (path, ranges=None))]
    fn array<'py>(
        &self,
        py: Python<'py>,
        path: String,
        ranges: Option<Vec<(u64, u64)>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::check(self.process)?;
        let result = self.result.clone();
        let ranges: Option<Vec<Range<u64>>> =
            ranges.map(|ranges| ranges.into_iter().map(|(start, end)| start..end).collect());
        let read = move || match ranges {
            Some(ranges) => result.slice(&path, &ranges),
            None => result.array(&path),
        };
        // What is in memory already needs no thread that could be waited for.
        let here = self.result.document().array_bytes() < (1 << 20) && self.result.is_here(&[]);
        let data = if here { py.detach(read) } else { waiting::on_thread(py, read)? };
        to_python(py, data.map_err(|error| failure::raise(py, &error))?)
    }

    /// Fetches the arrays below these paths, all without any, so that they are in memory.
    #[pyo3(signature = (prefixes=Vec::new()))]
    fn fetch(&self, py: Python<'_>, prefixes: Vec<String>) -> PyResult<()> {
        process::check(self.process)?;
        let result = self.result.clone();
        waiting::on_thread(py, move || {
            let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            result.fetch(&prefixes)
        })?
        .map_err(|error| failure::raise(py, &error))
    }
}

/// An array of NumPy over the bytes themselves, or a list of texts.
fn to_python(py: Python<'_>, data: ArrayData) -> PyResult<Bound<'_, PyAny>> {
    let dtype = match data.element_type {
        ElementType::Float64 => "<f8",
        ElementType::Float32 => "<f4",
        ElementType::Int64 => "<i8",
        ElementType::Int32 => "<i4",
        ElementType::Uint8 => "|u1",
        ElementType::Complex128 => "<c16",
        ElementType::Complex64 => "<c8",
        ElementType::Text => return Ok(PyList::new(py, texts(&data.bytes)?)?.into_any()),
        other => return Err(PyValueError::new_err(format!("arrays of {other:?} are not known here"))),
    };
    let bytes = PyArray1::from_vec(py, data.bytes);
    let shape: Vec<isize> = data.shape.iter().map(|&extent| extent.cast_signed() as isize).collect();
    if bytes.len()? == 0 {
        // NumPy gives no view of nothing.
        return py.import("numpy")?.getattr("zeros")?.call1((shape, dtype));
    }
    bytes.call_method1("view", (dtype,))?.call_method1("reshape", (shape,))
}

/// The texts of an array of texts.
fn texts(mut bytes: &[u8]) -> PyResult<Vec<&str>> {
    let malformed = || PyValueError::new_err("an array of texts is malformed");
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
        texts.push(std::str::from_utf8(text).map_err(|_| malformed())?);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(texts) } else { Err(malformed()) }
}
