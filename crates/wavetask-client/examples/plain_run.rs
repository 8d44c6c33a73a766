//! Runs simulation files over the plain tidy3d protocol: `plain_run URL KEY DATA OUTPUT FILE…`.
//!
//! Each FILE is what tidy3d's `to_file` wrote (`.hdf5` or `.hdf5.gz`) and becomes a member of one batch. Results are
//! written into the folder OUTPUT as HDF5 files that tidy3d reads. A line of JSON says how long it took, how many HTTP
//! requests it took in all, and what became of each member. `PLAIN_HEAT=one` or `two` says how heat is run.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use wavetask_client::member::{BlockPlace, PackedSimulation};
use wavetask_client::plain::{HeatTasks, PlainServer, PlainSettings};
use wavetask_client::{Client, MemberOptions, Settings, SubmissionOptions};
use wavetask_document::{BlockSource, Limits, MemoryBlocks, hdf5, unpack};
use wavetask_protocol::TaskKind;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &'static str| arguments.next().ok_or_else(|| format!("{name} is missing"));
    let (url, key, data, output) = (next("URL")?, next("KEY")?, next("DATA")?, next("OUTPUT")?);
    let files: Vec<String> = arguments.collect();
    let mut simulations = Vec::new();
    for file in &files {
        simulations.push(pack(Path::new(file))?);
    }
    let mut plain = PlainSettings::new(&url, &key, Path::new(&data).join("client"));
    plain.heat = match std::env::var("PLAIN_HEAT").as_deref() {
        Ok("one") => HeatTasks::One,
        Ok("two") => HeatTasks::Two,
        _ => HeatTasks::Auto,
    };
    // Connections belong to the runtime that they are made in, so it stays until the end.
    let runtime = tokio::runtime::Runtime::new()?;
    let begun = Instant::now();
    let server = Arc::new(runtime.block_on(PlainServer::connect(plain))?);
    let settings = Settings { url: Some(url), key: Some(key), data: data.into(), ..Settings::default() };
    let client = Client::with_server(settings, server.clone())?;
    let options = SubmissionOptions { name: Some("plain run".to_owned()), ..SubmissionOptions::default() };
    let submission = client.submit(options)?;
    for (position, simulation) in simulations.into_iter().enumerate() {
        let options = MemberOptions { key: position.to_string(), ..MemberOptions::default() };
        submission.push(options, Ok(simulation))?;
    }
    let batch = submission.finish();
    let mut members = Vec::new();
    let mut completed = batch.as_completed();
    let mut first = None;
    while let Some(task) = completed.next(None)? {
        first.get_or_insert_with(|| begun.elapsed().as_secs_f64());
        let result = match task.result(None) {
            Ok(_) => {
                let path = Path::new(&output).join(format!("{}.hdf5", task.key()));
                task.save(&path, None)?;
                serde_json::json!({ "file": path })
            }
            Err(error) => serde_json::json!({ "group": error.group.as_str(), "error": error.to_string() }),
        };
        members.push(serde_json::json!({ "key": task.key(), "id": task.id(), "result": result }));
    }
    let line = serde_json::json!({
        "seconds": begun.elapsed().as_secs_f64(),
        "first_seconds": first,
        "requests": server.requests(),
        "members": members,
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// A simulation from a file; its blocks are held in memory.
fn pack(path: &Path) -> Result<PackedSimulation, Failure> {
    let limits = Limits::default();
    let file = unpack::open(path, &std::env::temp_dir(), &limits)?;
    let mut store = MemoryBlocks::new();
    let document = hdf5::read_file(&file, &limits, &mut store)?;
    let class: String = serde_json::from_str(document.fragment("type")?.ok_or("no `type`")?)?;
    let kind = TaskKind::of_class(&class).ok_or("not a simulation")?;
    let mut blocks = HashMap::new();
    for array in document.arrays.values() {
        for digest in &array.blocks {
            let mut bytes = Vec::new();
            store.get(digest, &mut bytes)?;
            let length = bytes.len();
            let width = u8::try_from(array.element_type.size().unwrap_or(1)).unwrap_or(1);
            blocks.insert(*digest, BlockPlace { array: Arc::new(bytes), offset: 0, length, width });
        }
    }
    let digest = document.digest()?;
    let array_bytes = document.array_bytes();
    Ok(PackedSimulation { kind, document, digest, blocks, array_bytes, inputs: Vec::new() })
}
