//! A line that is slow, far and unreliable, in front of a server: `--to 127.0.0.1:8080 --rate 100 --round-trip 50`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use wavetask_client::shaping::{Line, ShapingProxy};

/// Imitates a line between clients and a server; ends with Ctrl-C and tells what it carried.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    #[command(flatten)]
    line: LineArguments,
}

/// What the line is like.
#[derive(Debug, clap::Args)]
struct LineArguments {
    /// Mbit/s in each direction.
    #[arg(long)]
    rate: Option<f64>,
    /// Mbit/s to the server, if not `--rate`.
    #[arg(long)]
    rate_up: Option<f64>,
    /// Mbit/s from the server, if not `--rate`.
    #[arg(long)]
    rate_down: Option<f64>,
    /// Milliseconds there and back.
    #[arg(long, default_value_t = 0)]
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
    /// For the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl LineArguments {
    fn line(&self) -> Line {
        let seconds = Duration::from_secs_f64;
        Line {
            up_bytes_per_second: self.rate_up.or(self.rate).map(|rate| rate * 125_000.0),
            down_bytes_per_second: self.rate_down.or(self.rate).map(|rate| rate * 125_000.0),
            round_trip: Duration::from_millis(self.round_trip),
            loss: self.loss / 100.0,
            reset_every: self.reset_every.map(seconds),
            outage: self.outage.map(|outage| (seconds(self.outage_after), seconds(outage))),
            seed: self.seed,
        }
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let proxy = ShapingProxy::listen(arguments.listen, arguments.to, arguments.line.line()).await?;
    println!("{}", proxy.address());
    tokio::signal::ctrl_c().await?;
    println!("{:?}", proxy.counts());
    Ok(())
}
