//! From what the Python side takes apart to what the engine sends: hashed on all cores, nothing copied.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use wavetask_client::member::BlockPlace;
use wavetask_client::{ClientError, ErrorGroup, PackedSimulation};
use wavetask_document::{ArrayView, describe};
use wavetask_protocol::TaskKind;

use crate::failure;
use crate::view::{self, Taken, View};

/// A simulation, described and hashed, with views of its arrays.
#[pyclass(frozen, module = "wavetask._native")]
#[derive(Debug)]
pub(crate) struct Packed {
    digest: String,
    array_bytes: u64,
    simulation: Mutex<Option<PackedSimulation>>,
}

impl Packed {
    /// Hands the simulation over, once.
    pub(crate) fn take(&self) -> PyResult<PackedSimulation> {
        self.simulation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or_else(|| PyValueError::new_err("this simulation has been submitted already"))
    }
}

#[pymethods]
impl Packed {
    /// The canonical digest of the document.
    #[getter]
    fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes of all arrays together.
    #[getter]
    const fn array_bytes(&self) -> u64 {
        self.array_bytes
    }
}

/// Describes and hashes a simulation with the interpreter lock released.
#[pyfunction]
pub(crate) fn pack(
    py: Python<'_>,
    kind: &str,
    json: String,
    arrays: Vec<(String, Bound<'_, PyAny>)>,
) -> PyResult<Packed> {
    let Some(kind) = kind.parse().ok().or_else(|| TaskKind::of_class(kind)) else {
        return Err(PyValueError::new_err(format!("there is no task of the kind `{kind}`")));
    };
    let taken = arrays
        .iter()
        .map(|(path, value)| Ok((path.clone(), view::take(path, value)?)))
        .collect::<PyResult<Vec<(String, Taken)>>>()?;
    let simulation = py.detach(|| describe_taken(kind, json, taken));
    let simulation = simulation.map_err(|error| failure::raise(py, &error))?;
    Ok(Packed {
        digest: simulation.digest.to_string(),
        array_bytes: simulation.array_bytes,
        simulation: Mutex::new(Some(simulation)),
    })
}

fn describe_taken(
    kind: TaskKind,
    json: String,
    taken: Vec<(String, Taken)>,
) -> Result<PackedSimulation, ClientError> {
    let arrays: Vec<(String, View)> =
        taken.into_iter().map(|(path, taken)| (path, taken.into_view())).collect();
    let views: Vec<ArrayView<'_>> = arrays
        .iter()
        .map(|(path, view)| ArrayView {
            path,
            element_type: view.element_type,
            shape: &view.shape,
            bytes: view.bytes.bytes(),
        })
        .collect();
    let refused = |error: wavetask_document::DocumentError| {
        ClientError::new(ErrorGroup::InvalidSimulation, "document.malformed", error.to_string())
            .caused_by(error)
    };
    let document = describe(json, &views).map_err(refused)?;
    let digest = document.digest().map_err(refused)?;
    let mut blocks = HashMap::new();
    for (path, view) in &arrays {
        let Some(descriptor) = document.arrays.get(path) else { continue };
        for (digest, range) in descriptor.block_ranges() {
            blocks.entry(digest).or_insert_with(|| BlockPlace {
                array: Arc::clone(&view.bytes),
                // A block lies in memory, so its place fits.
                offset: usize::try_from(range.start).unwrap_or(usize::MAX),
                length: usize::try_from(range.end - range.start).unwrap_or(usize::MAX),
                width: view.element_type.width(),
            });
        }
    }
    let array_bytes = document.array_bytes();
    Ok(PackedSimulation { kind, document, digest, blocks, array_bytes, inputs: Vec::new() })
}
