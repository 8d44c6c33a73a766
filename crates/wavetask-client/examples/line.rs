//! How well the client fills a line, up and down: many arrays that do not compress, a real server, a shaped line.
//!
//! `cargo run --release -p wavetask-client --example line -- --rate 100 --round-trip 50`, and with
//! `--loss 1 --reset-every 5 --outage 10` what it does when much goes wrong. One line of JSON for each direction.

#[path = "../tests/http_support/real.rs"]
mod real;
#[path = "../tests/http_support/transfer.rs"]
mod transfer;

use std::time::Duration;

use clap::Parser;
use wavetask_client::http::{CompressionChoice, NativeServer, Tuning};
use wavetask_client::shaping::{Line, ShapingProxy};

/// Measures the line.
#[derive(Debug, Parser)]
struct Arguments {
    /// Mbit/s in each direction; 0 is unlimited.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Milliseconds there and back.
    #[arg(long, default_value_t = 50)]
    round_trip: u64,
    /// Per cent of segments lost.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Seconds between resets of all connections.
    #[arg(long)]
    reset_every: Option<f64>,
    /// Seconds of outage.
    #[arg(long)]
    outage: Option<f64>,
    /// Seconds from the start until the outage.
    #[arg(long, default_value_t = 4.0)]
    outage_after: f64,
    /// Tasks.
    #[arg(long, default_value_t = 50)]
    tasks: usize,
    /// Megabytes of each.
    #[arg(long, default_value_t = 20)]
    megabytes: usize,
    /// Fetch nothing back.
    #[arg(long)]
    up_only: bool,
    /// Always compress where it pays, instead of as measured.
    #[arg(long)]
    compress: bool,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let server = real::RealServer::start();
    let seconds = Duration::from_secs_f64;
    let mut line = Line::megabits(arguments.rate, Duration::from_millis(arguments.round_trip));
    if arguments.rate <= 0.0 {
        (line.up_bytes_per_second, line.down_bytes_per_second) = (None, None);
    }
    line.loss = arguments.loss / 100.0;
    line.reset_every = arguments.reset_every.map(seconds);
    line.outage = arguments.outage.map(|outage| (seconds(arguments.outage_after), seconds(outage)));
    let tasks = transfer::tasks(arguments.tasks, arguments.megabytes * 1_000_000, 1);
    let bytes = (arguments.tasks * arguments.megabytes * 1_000_000) as u64;

    let proxy = ShapingProxy::start(server.address, line).await?;
    let compression =
        if arguments.compress { CompressionChoice::Always } else { CompressionChoice::Measured };
    let tuning = Tuning { compression, ..Tuning::default() };
    let client = NativeServer::connect(&proxy.address().to_string(), &server.key, tuning)?;
    for direction in ["up", "down"] {
        let outcome = if direction == "up" {
            transfer::send(&client, &tasks, &proxy).await?
        } else if arguments.up_only {
            break;
        } else {
            transfer::fetch(&client, &tasks, &proxy).await?
        };
        let (before, after) = (outcome.before, outcome.after);
        let taken = match direction {
            "up" => after.up_taken - before.up_taken,
            _ => after.down_taken - before.down_taken,
        };
        let rate = bytes as f64 / outcome.seconds;
        let state = client.line();
        println!(
            "{}",
            serde_json::json!({
                "direction": direction,
                "bytes": bytes,
                "seconds": outcome.seconds,
                "megabits_per_second": rate / 125_000.0,
                "of_the_line": if arguments.rate > 0.0 { Some(rate / 125_000.0 / arguments.rate) } else { None },
                "first_task_seconds": outcome.first,
                "bytes_on_the_line": taken,
                "on_the_line_per_byte": taken as f64 / bytes as f64,
                "segments_lost": after.losses - before.losses,
                "connections": after.connections - before.connections,
                "most_connections": after.most_open,
                "connections_broken": after.resets - before.resets,
                "lanes": if direction == "up" { state.upload_lanes } else { state.download_lanes },
                "blocks_reported_twice": outcome.reports - outcome.blocks,
            })
        );
    }
    Ok(())
}
