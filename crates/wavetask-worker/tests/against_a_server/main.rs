//! The whole worker against a server that says what each test wants to hear, with shell scripts as solvers:
//! what is tested is who is told what, when, and that no process is left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod one_task;
mod scripted_server;
mod small_tasks;
mod worker_life;
