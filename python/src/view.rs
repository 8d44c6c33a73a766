//! Arrays of NumPy as the engine reads them: their own memory where it is as it is sent, a copy where it is not.

use std::fmt;
use std::sync::Arc;

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use wavetask_client::ArrayBytes;
use wavetask_document::{ElementType, text_bytes};

use crate::strided::{self, Strided};

/// One array of a simulation: what it is, and where its bytes are.
pub(crate) struct View {
    /// Type of the elements.
    pub(crate) element_type: ElementType,
    /// Extent of each dimension.
    pub(crate) shape: Vec<u64>,
    /// Little-endian in C order.
    pub(crate) bytes: Arc<dyn ArrayBytes>,
}

impl fmt::Debug for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("View")
            .field("element_type", &self.element_type)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

/// The memory of a NumPy array, which its owner keeps alive.
///
/// Dropping one on an engine thread does not touch Python: `pyo3` notes the reference and gives it back the next
/// time that a Python thread comes by, which a waiting one does every 100 ms.
struct Borrowed {
    first: *const u8,
    length: usize,
    _owner: Py<PyUntypedArray>,
}

// SAFETY: the memory is only read, and lives as long as the owner. Somebody who writes into an array while it is
// being sent is found out by the digests, which are checked where the bytes arrive.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl ArrayBytes for Borrowed {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `first` points to `length` bytes that the owner keeps alive and in place.
        unsafe { std::slice::from_raw_parts(self.first, self.length) }
    }
}

/// What is still to be done without the interpreter lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Nothing.
    Ready(View),
    /// The elements lie elsewhere in memory than they are sent: copy them.
    Scattered(Scattered),
}

/// An array whose bytes have to be copied.
pub(crate) struct Scattered {
    element_type: ElementType,
    shape: Vec<usize>,
    strides: Vec<isize>,
    swap: usize,
    first: *const u8,
    _owner: Py<PyUntypedArray>,
}

// SAFETY: as for `Borrowed`.
unsafe impl Send for Scattered {}

impl fmt::Debug for Scattered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Scattered").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Taken {
    /// The view; copies if it must. Call it with the interpreter lock released.
    pub(crate) fn into_view(self) -> View {
        match self {
            Self::Ready(view) => view,
            Self::Scattered(array) => {
                let size = array.element_type.size().unwrap_or(1);
                let strided =
                    Strided { shape: &array.shape, strides: &array.strides, size, swap: array.swap };
                // SAFETY: shape, strides and pointer are those of an array that `_owner` keeps alive.
                let bytes = unsafe { strided::copy(array.first, &strided) };
                let shape = array.shape.iter().map(|&extent| extent as u64).collect();
                View { element_type: array.element_type, shape, bytes: Arc::new(bytes) }
            }
        }
    }
}

/// Takes an array of NumPy, or a list of texts.
///
/// # Errors
/// `TypeError` if it is neither, `ValueError` for an element type that no document holds; both name the path.
pub(crate) fn take(path: &str, value: &Bound<'_, PyAny>) -> PyResult<Taken> {
    if let Ok(texts) = value.cast::<PyList>() {
        return texts_of(path, texts).map(Taken::Ready);
    }
    let Ok(array) = value.cast::<PyUntypedArray>() else {
        return Err(PyTypeError::new_err(format!(
            "`{path}` is a {}, neither an array of NumPy nor a list of texts",
            value.get_type().name()?
        )));
    };
    let dtype = array.dtype();
    let element_type = match (dtype.kind(), dtype.itemsize()) {
        (b'f', 8) => ElementType::Float64,
        (b'f', 4) => ElementType::Float32,
        (b'i', 8) => ElementType::Int64,
        (b'i', 4) => ElementType::Int32,
        (b'u' | b'b', 1) => ElementType::Uint8,
        (b'c', 16) => ElementType::Complex128,
        (b'c', 8) => ElementType::Complex64,
        _ => {
            return Err(PyValueError::new_err(format!(
                "`{path}` has elements of type {dtype}, which no simulation file holds; \
                 convert them to a 64-bit float or integer"
            )));
        }
    };
    let number = match element_type {
        ElementType::Complex128 => 8,
        ElementType::Complex64 => 4,
        other => other.size().unwrap_or(1),
    };
    let foreign = match dtype.byteorder() {
        b'<' | b'|' => false,
        b'>' => true,
        // The machine's own.
        _ => cfg!(target_endian = "big"),
    };
    // SAFETY: the pointer is that of a live array.
    let first = unsafe { (*array.as_array_ptr()).fields.data }.cast_const().cast::<u8>();
    let shape = array.shape().to_vec();
    let length = array.len() * dtype.itemsize();
    if array.is_c_contiguous() && !foreign {
        let bytes: Arc<dyn ArrayBytes> = if length == 0 {
            Arc::new(Vec::new())
        } else {
            Arc::new(Borrowed { first, length, _owner: array.clone().unbind() })
        };
        let shape = shape.iter().map(|&extent| extent as u64).collect();
        return Ok(Taken::Ready(View { element_type, shape, bytes }));
    }
    Ok(Taken::Scattered(Scattered {
        element_type,
        strides: array.strides().to_vec(),
        shape,
        swap: if foreign { number } else { 1 },
        first,
        _owner: array.clone().unbind(),
    }))
}

/// A list of texts as documents hold them.
fn texts_of(path: &str, texts: &Bound<'_, PyList>) -> PyResult<View> {
    let mut own = Vec::with_capacity(texts.len());
    for text in texts {
        let Ok(text) = text.extract::<String>() else {
            return Err(PyTypeError::new_err(format!("`{path}` is a list of something other than texts")));
        };
        own.push(text);
    }
    let bytes = text_bytes(own.iter().map(String::as_str))
        .map_err(|error| PyValueError::new_err(format!("`{path}`: {error}")))?;
    Ok(View { element_type: ElementType::Text, shape: vec![texts.len() as u64], bytes: Arc::new(bytes) })
}
