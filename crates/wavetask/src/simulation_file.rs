//! Simulation files as tidy3d writes them, ready to be sent: `.json`, `.hdf5` and `.hdf5.gz`.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use wavetask_client::member::BlockPlace;
use wavetask_client::{ArrayBytes, ClientError, ErrorGroup, PackedSimulation};
use wavetask_document::{BlockSink, Digest, Document, DocumentError, Limits, hdf5, unpack};
use wavetask_protocol::TaskKind;

/// Reads a file and takes it apart. Its arrays are in memory then, equal blocks once.
pub(crate) fn read(path: &Path) -> Result<PackedSimulation, ClientError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut blocks = HeldBlocks::default();
    let document = if name.ends_with(".json") {
        read_json(path)?
    } else if name.ends_with(".hdf5") || name.ends_with(".h5") || name.ends_with(".hdf5.gz") {
        read_hdf5(path, &mut blocks).map_err(|error| refused(path, error))?
    } else {
        return Err(ClientError::new(
            ErrorGroup::Usage,
            "file.unknown_format",
            format!("{}: not a file that tidy3d writes a simulation to", path.display()),
        )
        .hint(
            "save the simulation with simulation.to_file(\"name.hdf5\"); .json, .hdf5 and .hdf5.gz are read",
        ));
    };
    let kind = kind_of(&document, path)?;
    let digest = document.digest().map_err(|error| refused(path, error))?;
    let array_bytes = document.array_bytes();
    let widths: HashMap<Digest, u8> = document
        .arrays
        .values()
        .flat_map(|array| array.blocks.iter().map(|block| (*block, array.element_type.width())))
        .collect();
    let blocks = blocks
        .0
        .into_iter()
        .map(|(digest, array)| {
            let length = array.bytes().len();
            let width = widths.get(&digest).copied().unwrap_or(1);
            (digest, BlockPlace { array, offset: 0, length, width })
        })
        .collect();
    Ok(PackedSimulation { kind, document, digest, blocks, array_bytes, inputs: Vec::new() })
}

/// The simulation's file name without what says its format.
pub(crate) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lower = name.to_lowercase();
    let ending = [".hdf5.gz", ".hdf5", ".h5", ".json"].into_iter().find(|ending| lower.ends_with(ending));
    name[..name.len() - ending.map_or(0, str::len)].to_owned()
}

fn read_json(path: &Path) -> Result<Document, ClientError> {
    let allowed = Limits::default().json_bytes;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, error))?;
    file.take(allowed + 1).read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    if text.len() as u64 > allowed {
        let error = DocumentError::TooLarge { limit: "json_bytes", allowed, found: text.len() as u64 };
        return Err(refused(path, error));
    }
    Ok(Document { json: text.into(), arrays: Default::default() })
}

fn read_hdf5(path: &Path, blocks: &mut HeldBlocks) -> Result<Document, DocumentError> {
    let limits = Limits::default();
    let plain = unpack::open(path, &std::env::temp_dir(), &limits)?;
    hdf5::read_file(&plain, &limits, blocks)
}

fn kind_of(document: &Document, path: &Path) -> Result<TaskKind, ClientError> {
    let class = document.fragment("type").map_err(|error| refused(path, error))?;
    let class: String = class.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    TaskKind::of_class(&class).ok_or_else(|| {
        let what =
            if class.is_empty() { "nothing that tidy3d runs".to_owned() } else { format!("a {class}") };
        ClientError::new(
            ErrorGroup::InvalidSimulation,
            "file.no_simulation",
            format!("{}: it holds {what}, not a simulation", path.display()),
        )
        .hint("save the simulation itself with simulation.to_file(\"name.hdf5\")")
    })
}

fn unreadable(path: &Path, error: io::Error) -> ClientError {
    ClientError::new(ErrorGroup::Usage, "file.unreadable", format!("cannot read {}: {error}", path.display()))
        .caused_by(error)
}

fn refused(path: &Path, error: DocumentError) -> ClientError {
    if let DocumentError::Io { source, .. } = &error {
        return ClientError::new(
            ErrorGroup::Usage,
            "file.unreadable",
            format!("cannot read {}: {source}", path.display()),
        );
    }
    ClientError::new(ErrorGroup::InvalidSimulation, error.code(), format!("{}: {error}", path.display()))
        .hint(error.hint())
        .caused_by(error)
}

/// Blocks in memory, each in a piece that can be shared.
#[derive(Default)]
struct HeldBlocks(HashMap<Digest, Arc<dyn ArrayBytes>>);

impl BlockSink for HeldBlocks {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        self.0.entry(digest).or_insert_with(|| Arc::new(bytes.to_vec()));
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_what_stands_before_their_format() {
        for (path, expected) in
            [("a/b/scan_1.hdf5", "scan_1"), ("scan.1.HDF5.GZ", "scan.1"), ("x.json", "x"), ("plain", "plain")]
        {
            assert_eq!(stem(Path::new(path)), expected);
        }
    }

    #[test]
    fn what_is_no_simulation_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let told = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err()
        };
        assert_eq!(told("a.txt", "{}").code, "file.unknown_format");
        assert!(told("a.json", r#"{"type":"Box"}"#).message.contains("it holds a Box"));
        assert_eq!(told("b.json", "{").group, ErrorGroup::InvalidSimulation);
        assert_eq!(told("c.hdf5", "not one").group, ErrorGroup::InvalidSimulation);
        assert_eq!(read(&folder.path().join("d.hdf5")).unwrap_err().code, "file.unreadable");
        let path = folder.path().join("good.json");
        std::fs::write(&path, r#"{"type":"HeatChargeSimulation"}"#).unwrap();
        assert_eq!(read(&path).unwrap().kind, TaskKind::HeatCharge);
    }
}
