//! Queues many heat tasks in a data folder that no server uses now, to see how fast a server with its workers
//! solves them: `queue_tasks DATA SIMULATION.json COUNT`. The simulation's text must hold the word `"rate":` with
//! a number; each task gets another one, so that no two tasks and no two results are the same.
//!
//! `bench/task_rate.py` drives it.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wavetask_core::{Command, NewTask, Timestamp};
use wavetask_document::Document;
use wavetask_protocol::{Estimate, TaskId, TaskKind};
use wavetask_store::{
    BlockStore, Done, KeyRole, LocalOptions, LocalStore, Operation, TaskRequest, TaskStore, put_document,
};

/// Tasks that are made in one transaction.
const AT_ONCE: usize = 250;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_milliseconds(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The text with another rate.
fn varied(text: &str, number: usize) -> Result<String, Box<dyn Error>> {
    const WORD: &str = "\"rate\":";
    let at = text.find(WORD).ok_or("there is no \"rate\" in the simulation")? + WORD.len();
    let end = text[at..].find([',', '}']).ok_or("the simulation is cut off")? + at;
    let rate: f64 = text[at..end].trim().parse()?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand tasks")]
    let rate = rate * (1.0 + 1e-6 * number as f64);
    Ok(format!("{}{rate}{}", &text[..at], &text[end..]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, simulation, count] = arguments.as_slice() else {
        return Err("queue_tasks DATA SIMULATION.json COUNT".into());
    };
    let (text, count) = (std::fs::read_to_string(simulation)?, count.parse::<usize>()?);
    let store = LocalStore::open(data.as_ref(), &LocalOptions::default())?;
    let keys = store.tasks.keys()?;
    let owner = keys
        .iter()
        .find(|key| key.role == KeyRole::Administrator)
        .or_else(|| keys.iter().find(|key| key.role == KeyRole::User));
    let owner = owner.ok_or("the data folder has no key: start its server once")?.id.clone();
    let folder = store.tasks.create_folder(&owner, &"folder-rate".parse()?, "rate", now())?.id;
    let started = Instant::now();
    for first in (0..count).step_by(AT_ONCE) {
        let mut session = store.blocks.session();
        let mut operations = Vec::new();
        for number in first..count.min(first + AT_ONCE) {
            let id: TaskId = format!("task-rate-{number:06}").parse()?;
            let document = Document { json: varied(&text, number)?.into(), arrays: BTreeMap::new() };
            let digest = document.digest()?;
            let stored = put_document(&mut *session, &document, digest)?;
            let task = NewTask {
                id: id.clone(),
                owner: owner.clone(),
                folder: folder.clone(),
                name: format!("task {number}"),
                kind: TaskKind::HeatCharge,
                dependencies: Vec::new(),
                callback: None,
                attributes: BTreeMap::new(),
            };
            let apply = |command, document| Operation::Apply { task: id.clone(), command, document };
            let estimate = Estimate { unknowns: 500, memory_bytes: 60 << 20, cpu_seconds: 0.02 };
            operations.push(Operation::Create(TaskRequest { task, idempotency_key: None }));
            operations.push(apply(Command::StartValidation, None));
            operations.push(apply(Command::AcceptUpload { estimate, input: digest }, Some(stored)));
            operations.push(apply(Command::Submit { priority: 0 }, None));
        }
        session.make_durable()?;
        for done in store.tasks.transact(&operations, now())? {
            if let Done::Members { .. } = done? {
                return Err("no members were set".into());
            }
        }
    }
    println!("{count} tasks queued in {:.3} s", started.elapsed().as_secs_f64());
    Ok(())
}
