//! Building documents: results that echo an upload verbatim beside what a solver found.

use std::collections::BTreeMap;
use std::fmt;

use crate::descriptor::check_path;
use crate::error::within;
use crate::{
    Array, ArrayDescriptor, BLOCK_BYTES, BlockSink, Document, DocumentError, Limits, VALUES_DATASET, json,
};

/// Builds a document member by member.
///
/// The uploaded simulation goes in with [`embed`](Self::embed): its JSON byte for byte, its arrays
/// by descriptor under the member's name, so that no block is copied. What the solver found goes in
/// as JSON members and arrays at the paths where the client looks for them:
///
/// ```
/// use wavetask_document::{Array, Document, MemoryBlocks, ResultBuilder};
///
/// let upload = Document { json: r#"{"type":"Simulation","monitors":[{"name":"T"}]}"#.into(), arrays: Default::default() };
/// let mut blocks = MemoryBlocks::new();
/// let mut result = ResultBuilder::new("HeatChargeSimulationData", &mut blocks);
/// result.embed("simulation", &upload)?;
/// let monitor = upload.fragment("monitors/0")?.unwrap_or("null");
/// result.verbatim("data", &format!(r#"[{{"type":"TemperatureData","monitor":{monitor},"temperature":"SpatialDataArray"}}]"#))?;
/// result.member("log", "")?;
/// let x = Array::from_floats(vec![0.0, 1.0]);
/// result.labelled_array("data/0/temperature", &Array::from_floats(vec![300.0, 301.0]), &[("x", &x)])?;
/// let document = result.finish()?;
/// assert_eq!(document.fragment("simulation")?, Some(&*upload.json));
/// # Ok::<(), wavetask_document::DocumentError>(())
/// ```
pub struct ResultBuilder<'s> {
    members: Vec<(String, String)>,
    arrays: BTreeMap<String, ArrayDescriptor>,
    sink: &'s mut dyn BlockSink,
    block_bytes: u64,
}

impl fmt::Debug for ResultBuilder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<&str> = self.members.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("ResultBuilder")
            .field("members", &members)
            .field("arrays", &self.arrays.len())
            .finish_non_exhaustive()
    }
}

impl<'s> ResultBuilder<'s> {
    /// A document whose member `type` is `kind`; blocks of new arrays go to `sink`.
    pub fn new(kind: &str, sink: &'s mut dyn BlockSink) -> Self {
        let kind = serde_json::Value::from(kind).to_string();
        Self {
            members: vec![("type".to_owned(), kind)],
            arrays: BTreeMap::new(),
            sink,
            block_bytes: BLOCK_BYTES,
        }
    }

    /// Cuts new arrays into blocks of this many bytes, a positive multiple of 16.
    #[must_use]
    pub fn block_bytes(mut self, block_bytes: u64) -> Self {
        self.block_bytes = block_bytes;
        self
    }

    /// Adds a JSON member from any serialisable value.
    ///
    /// # Errors
    /// `Malformed` if the value cannot be JSON or the member is there already.
    pub fn member<T: serde::Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<&mut Self, DocumentError> {
        let text = serde_json::to_string(value)
            .map_err(|error| DocumentError::malformed(format!("not representable as JSON: {error}"), name))?;
        self.push(name, text)
    }

    /// Adds a member whose JSON text is used byte for byte.
    ///
    /// # Errors
    /// `Malformed` if the text is not strict JSON or the member is there already.
    pub fn verbatim(&mut self, name: &str, text: &str) -> Result<&mut Self, DocumentError> {
        json::digest(text, Limits::default().json_depth)?;
        self.push(name, text.to_owned())
    }

    /// Adds another document as a member: its JSON byte for byte, its arrays under `name/`.
    ///
    /// # Errors
    /// `Malformed` if the member or one of the paths is there already.
    pub fn embed(&mut self, name: &str, document: &Document) -> Result<&mut Self, DocumentError> {
        for (path, array) in &document.arrays {
            self.descriptor(&format!("{name}/{path}"), array.clone())?;
        }
        self.push(name, document.json.to_string())
    }

    /// Stores an array at a path (`data/0/temperature/x`).
    ///
    /// # Errors
    /// `Io` if the sink fails, `Malformed` if the path is taken or cannot be one.
    pub fn array(&mut self, path: &str, array: &Array) -> Result<&mut Self, DocumentError> {
        let stored = array
            .store(self.sink, self.block_bytes)
            .map_err(DocumentError::io("storing an array's blocks"))?;
        self.descriptor(path, stored)
    }

    /// Stores values and their coordinates in a group, as the client lays out a labelled array.
    ///
    /// # Errors
    /// As [`array`](Self::array).
    pub fn labelled_array(
        &mut self,
        group: &str,
        values: &Array,
        coordinates: &[(&str, &Array)],
    ) -> Result<&mut Self, DocumentError> {
        self.array(&format!("{group}/{VALUES_DATASET}"), values)?;
        for (name, coordinate) in coordinates {
            self.array(&format!("{group}/{name}"), coordinate)?;
        }
        Ok(self)
    }

    /// Adds an array whose blocks are stored already.
    ///
    /// # Errors
    /// `Malformed` if the path is taken or cannot be one.
    pub fn descriptor(&mut self, path: &str, array: ArrayDescriptor) -> Result<&mut Self, DocumentError> {
        check_path(path)?;
        if self.arrays.insert(path.to_owned(), array).is_some() {
            return Err(DocumentError::malformed("two arrays at one path", path));
        }
        Ok(self)
    }

    /// The sink, for arrays that are too large to be in memory at once
    /// ([`ArrayWriter`](crate::ArrayWriter), then [`descriptor`](Self::descriptor)).
    pub fn sink(&mut self) -> &mut dyn BlockSink {
        self.sink
    }

    fn push(&mut self, name: &str, text: String) -> Result<&mut Self, DocumentError> {
        if self.members.iter().any(|(taken, _)| taken == name) {
            return Err(DocumentError::malformed("two members of one name", name));
        }
        self.members.push((name.to_owned(), text));
        Ok(self)
    }

    /// The document; members are in the order in which they were added.
    ///
    /// # Errors
    /// `Malformed` if a path is both an array and a group, `TooLarge` beyond the default limit of JSON.
    pub fn finish(self) -> Result<Document, DocumentError> {
        let length = self.members.iter().map(|(name, text)| name.len() + text.len() + 4).sum::<usize>() + 2;
        within("json_bytes", Limits::default().json_bytes, length as u64)?;
        let mut text = String::with_capacity(length);
        for (name, value) in &self.members {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&serde_json::Value::from(name.as_str()).to_string());
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        let document = Document { json: text.into(), arrays: self.arrays };
        document.check()?;
        Ok(document)
    }
}
