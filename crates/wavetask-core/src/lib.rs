//! The pure state machine of a task's life: no sockets, databases or clocks.
//!
//! ```text
//!                      receive upload
//!                     ┌──────────────────────┐
//!                     ▼                      │
//!   create ─────► DRAFT ──start──► VALIDATING ──accept──► VALIDATED ──submit──► QUEUED ◄───────────────┐
//!                     ▲  validation   │  │                    │  submit, already   │ waits for its      │
//!                     └───cut off─────┘  │ refuse             │  solved            │ inputs; then       │
//!                                        ▼                    │                    │ a worker leases it │
//!                                      ERROR                  │                    ▼                    │
//!                                   (validation)              │    ┌────────── RUNNING ──lease lost,────┤
//!                                                             │    │ ▲            │      killed, given  │
//!            an input failed: QUEUED ─► ERROR (dependency)    │    │ │ cut off    │      back           │
//!            too large:       QUEUED ─► ERROR (resources)     │    │ │            ▼                     │
//!                                                             │    │ └────── PUBLISHING ────────────────┤
//!                                                             ▼    │            │ publish               │
//!                                     SUCCESS, DIVERGED ◄─────┴────│────────────┘                       │
//!                                        solver, resources, or too ▼ many lost attempts                 │
//!                                                                ERROR, ABORTED, DIVERGED ────retry─────┘
//!
//!   with a template: VALIDATING ─accept─► VALIDATED ─submit─► QUEUED ─inputs there, resolve─► QUEUED (ready),
//!                    SUCCESS (the resolved input is solved already) or ERROR (it cannot be run)
//!
//!   abort: DRAFT, VALIDATING, VALIDATED, QUEUED ─► ABORTED at once
//!          RUNNING, PUBLISHING ─► ABORTING ─ worker confirms, fails or is lost ─► ABORTED
//!   delete: any state ─► DELETED (a worker that has it is told that its lease is lost)
//! ```
//!
//! One function decides: [`decide`] takes the [record](TaskRecord), a [`Command`] and a [`Context`] (the
//! time, the [rules](Policy), the states of the task's dependencies) and answers with the new record, the
//! [events](Event) that lead to it and the [effects](Effect) that somebody has to carry out, or with a
//! [`Refusal`] that is named after what the caller should do next. Whoever stores tasks reads the record,
//! decides, and writes record and events in one transaction; there is no other way for a task to change.
//!
//! # Why events and not just a new record
//! The record is the fold of its events ([`TaskRecord::evolve`]), so the log is the truth that a live stream
//! can send and that a test can replay; a record that the log does not explain is a bug that tests find.
//! Heartbeats are the exception ([`Event::is_logged`]): they come every second and mean nothing afterwards.
//!
//! # Templates
//! A task's input may be made of other tasks' results: its [`Template`] is there from the beginning, its input is not.
//! It waits for its dependencies as any task does; when the last has succeeded, [`Effect::Resolve`] asks for its input
//! to be made, which reads documents and is therefore somebody else's work. That ends in [`Command::Resolve`] (a worker
//! may have it now), [`Command::ResolveSolved`] (a task with this very input has been solved) or
//! [`Command::RefuseResolution`]. If the work is lost, the record still says that it is to be done
//! ([`TaskRecord::awaits_resolution`]). A template refers only to tasks that its own was created to depend on, and
//! those were there before it ([`Command::AcceptTemplate`]): references cannot go round in circles.
//!
//! # Leases
//! A worker owns an attempt through a lease and nothing else. All its reports name the lease; a report under
//! another lease than the current one is refused ([`Refusal::LeaseLost`]), so two workers can never publish
//! the same task, however late a message comes. A report that is repeated under the lease that ended the
//! task is answered as it was the first time. Aborting waits for the worker, because a solver that still
//! runs still uses memory that the scheduler must not hand out twice.
//!
//! # Attempts
//! Faults of the infrastructure (a lost worker, a solver killed from outside) are tried again, ten
//! attempts in all by default; faults of the simulation, of the solver or of its size are final at once,
//! because they would happen again. [`SolverExit`] holds the rule for solver processes. A task that a
//! worker gives back when it is shut down has lost nothing, and the attempt does not count.

mod command;
mod decide;
mod event;
mod exit;
mod record;
pub mod schedule;
mod time;

pub use command::{Command, Context, Decision, Effect, Input, InputOutcome, Policy, Refusal};
pub use decide::{decide, verdict};
pub use event::Event;
pub use exit::SolverExit;
pub use record::{Lease, NewTask, TaskRecord, Template};
pub use time::Timestamp;
