//! Round trips against the oracles: h5py, and tidy3d's own classes in two versions.
//!
//! Python (`oracle.py`) writes files with the client, this side takes them apart and puts them
//! together, Python compares. Needs `WAVETASK_TEST_PYTHON` and `WAVETASK_TEST_PYTHON_OLD`.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use wavetask_document::{
    Array, ArraySource, Document, DocumentArrays, Limits, MemoryBlocks, ResultBuilder, Values, hdf5, unpack,
};

#[test]
fn newest_client() {
    run("WAVETASK_TEST_PYTHON");
}

#[test]
fn older_client() {
    run("WAVETASK_TEST_PYTHON_OLD");
}

fn run(variable: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle.py");
    let oracle = |verb: &str| -> Option<()> {
        let mut command = wavetask_oracle::command(variable, script)?;
        command.arg(verb).arg(folder.path()).env("TIDY3D_BASE_DIR", folder.path());
        eprintln!("{}", wavetask_oracle::finish(&mut command, b""));
        Some(())
    };
    if oracle("make").is_none() {
        return;
    }
    translate(folder.path());
    oracle("check");
}

fn translate(folder: &Path) {
    // Small enough that arrays have several blocks and metadata several pages.
    let limits = Limits { block_bytes: 64, ..Limits::default() };
    let out = folder.join("out");
    std::fs::create_dir(&out).unwrap();
    let mut blocks = MemoryBlocks::new();
    let mut same = Vec::new();
    let mut inputs: Vec<PathBuf> =
        std::fs::read_dir(folder.join("in")).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 15, "{inputs:?}");
    for input in &inputs {
        let name = input.file_name().unwrap().to_str().unwrap();
        let plain = unpack::open(input, folder, &limits).unwrap();
        let document =
            hdf5::read_file(&plain, &limits, &mut blocks).unwrap_or_else(|error| panic!("{name}: {error}"));
        let stem = name.trim_end_matches(".gz");
        write(&document, &blocks, &out.join(stem));
        if name.starts_with("same_") {
            same.push((name.to_owned(), document.digest().unwrap()));
        }
        if let Some(stem) = stem.strip_prefix("td_").and_then(|stem| stem.strip_suffix(".hdf5")) {
            let plan = hdf5::FilePlan::with_json_parts(&document, 777).unwrap();
            let mut file = BufWriter::new(File::create(out.join(format!("td_{stem}_split.hdf5"))).unwrap());
            plan.write(&blocks, &mut file).unwrap();
        }
    }
    assert!(same.len() > 6);
    assert!(same.iter().all(|(_, digest)| *digest == same[0].1), "one content, several digests: {same:#?}");

    let document = |name: &str, blocks: &mut MemoryBlocks| {
        let file = File::open(folder.join("in").join(name)).unwrap();
        hdf5::read_file(&file, &limits, blocks).unwrap()
    };
    let heat = document("td_heat.hdf5", &mut blocks);
    let result = heat_result(&heat, &mut blocks);
    write(&result, &blocks, &out.join("heat_result.hdf5"));
    let mesher = document("td_mesher.hdf5", &mut blocks);
    let simulation = mesher.subdocument("simulation").unwrap().unwrap();
    assert_eq!(simulation.digest().unwrap(), heat.digest().unwrap());
    let arrays = DocumentArrays { document: &simulation, blocks: &blocks, array_bytes: 1 << 20 };
    let x = arrays.load("structures/1/medium/permittivity/x").unwrap().unwrap();
    assert_eq!(x.to_floats().unwrap(), [0.0, 0.5, 1.0]);
    write(&simulation, &blocks, &out.join("mesher_simulation.hdf5"));
    let mut builder = ResultBuilder::new("VolumeMesherData", &mut blocks);
    builder.embed("simulation", &simulation).unwrap();
    builder
        .member("monitors", &[(); 0])
        .unwrap()
        .member("data", &[(); 0])
        .unwrap()
        .member("log", "")
        .unwrap();
    let data = builder.finish().unwrap();
    write(&data, &blocks, &out.join("mesher_data.hdf5"));
}

/// What a heat solver makes: one monitor on a grid, one on triangles, one without data.
fn heat_result(upload: &Document, blocks: &mut MemoryBlocks) -> Document {
    let monitor = |index: usize| upload.fragment(&format!("monitors/{index}")).unwrap().unwrap().to_owned();
    let data = format!(
        r#"[{{"type":"TemperatureData","monitor":{},"temperature":"SpatialDataArray"}},
            {{"type":"TemperatureData","monitor":{},"temperature":{{"type":"TriangularGridDataset","normal_axis":1,
              "normal_pos":0.0,"points":"PointDataArray","cells":"CellDataArray","values":"IndexedDataArray"}}}},
            {{"type":"TemperatureData","monitor":{},"temperature":null}}]"#,
        monitor(0),
        monitor(1),
        monitor(2)
    );
    let mut builder = ResultBuilder::new("HeatChargeSimulationData", blocks).block_bytes(64);
    builder.embed("simulation", upload).unwrap();
    builder.member("log", "solved").unwrap().verbatim("data", &data).unwrap();
    let axis = |count: u32| Array::from_floats((0..count).map(f64::from).collect());
    let integers =
        |count: i64| Array::new(vec![count as usize], Values::Int64((0..count).collect())).unwrap();
    let values =
        Array::new(vec![2, 3, 4], Values::Float64((0..24).map(|n| f64::from(n) + 300.0).collect())).unwrap();
    let coordinates = [("x", &axis(2)), ("y", &axis(3)), ("z", &axis(4))];
    builder.labelled_array("data/0/temperature", &values, &coordinates).unwrap();
    let points = Array::new(vec![3, 2], Values::Float64(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0])).unwrap();
    let cells = Array::new(vec![1, 3], Values::Int32(vec![0, 1, 2])).unwrap();
    let path = |name: &str| format!("data/1/temperature/{name}");
    builder
        .labelled_array(&path("points"), &points, &[("index", &integers(3)), ("axis", &integers(2))])
        .unwrap()
        .labelled_array(
            &path("cells"),
            &cells,
            &[("cell_index", &integers(1)), ("vertex_index", &integers(3))],
        )
        .unwrap()
        .labelled_array(&path("values"), &axis(3), &[("index", &integers(3))])
        .unwrap();
    builder.finish().unwrap()
}

fn write(document: &Document, blocks: &MemoryBlocks, path: &Path) {
    // Through the stored form, as a server keeps documents.
    let stored = serde_json::to_string(document).unwrap();
    let restored: Document = serde_json::from_str(&stored).unwrap();
    assert_eq!(restored, *document);
    let mut file = BufWriter::new(File::create(path).unwrap());
    hdf5::write(&restored, blocks, &mut file).unwrap();
}
