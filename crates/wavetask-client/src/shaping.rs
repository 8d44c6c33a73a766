//! A line that is slow, far and unreliable, as a proxy in this process: for tests and benchmarks.
//!
//! ```text
//!  client ──► accept ──► window ──► line (rate, fair) ──► delay, losses ──► server
//!         ◄── the same the other way round, with its own rate ◄──
//! ```
//!
//! Both directions have a rate of their own, shared fairly by all connections (they take turns by pieces of 16 KiB),
//! and half the round trip as delay. A new connection waits one round trip, as its handshake would.
//!
//! # What is real and what is imitated
//!
//! Bytes, sockets, resets and refusals are real. The behaviour of TCP over the line is imitated, because a proxy sees
//! two connections over loopback that never lose anything: each direction of a connection has a congestion window
//! that begins with ten segments, doubles each round trip until a loss, then shrinks to 0.7 and grows by a segment
//! each round trip (Reno's growth with CUBIC's decrease; no decay when idle). A **loss** is drawn for each segment: the
//! piece that holds it and all behind it come one round trip later, the segment takes the line a second time, and
//! with a window below four segments it takes a retransmission timeout instead. So `loss` limits each connection
//! about as Mathis' formula says, MSS/RTT · 1.2/√p. An **outage** lets nothing through in either direction;
//! connections survive it, and each comes back at the first retransmission after its end, as TCP's doubling timeouts
//! would have it: up to as late again as the outage was long. A **reset** breaks all connections at once, with what
//! is on the line.
//!
//! The real thing, network namespaces with `tc netem`, needs a kernel module and rights that test machines often
//! lack; it also cannot tell how many bytes were taken, which is what [`Counts`] are for.
//!
//! Draws come from seeds, so the losses of the n-th connection are the same each time; when its pieces are cut
//! differently, by the scheduler's whim, so are they.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Bytes of a segment of TCP.
const SEGMENT: usize = 1448;

/// Bytes that a connection puts on the line at a turn.
const PIECE: usize = 16 << 10;

/// The largest window: what a receiver offers at most.
const LARGEST_WINDOW: f64 = 4e6;

/// The shortest retransmission timeout, as in Linux.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(200);

/// The line may be this far behind its own clock before it has lost the time: timers are not exact.
const SLACK: Duration = Duration::from_millis(5);

/// What the line is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Bytes a second from clients to the server; `None` is unlimited.
    pub up_bytes_per_second: Option<f64>,
    /// Bytes a second from the server to clients.
    pub down_bytes_per_second: Option<f64>,
    /// Time for there and back.
    pub round_trip: Duration,
    /// Probability of each segment to be lost.
    pub loss: f64,
    /// Break all connections so often.
    pub reset_every: Option<Duration>,
    /// Let nothing through from this time after the start on, for that long.
    pub outage: Option<(Duration, Duration)>,
    /// For the losses.
    pub seed: u64,
}

impl Line {
    /// Equal rates both ways, in Mbit/s, and nothing goes wrong.
    pub fn megabits(rate: f64, round_trip: Duration) -> Self {
        let rate = Some(rate * 125_000.0);
        Self {
            up_bytes_per_second: rate,
            down_bytes_per_second: rate,
            round_trip,
            loss: 0.0,
            reset_every: None,
            outage: None,
            seed: 1,
        }
    }
}

/// What has gone over the line so far, bytes of HTTP and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that the line took from clients.
    pub up_taken: u64,
    /// Bytes that it brought to the server.
    pub up_delivered: u64,
    /// Bytes that it took from the server.
    pub down_taken: u64,
    /// Bytes that it brought to clients.
    pub down_delivered: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Most connections open at once.
    pub most_open: u64,
    /// Connections that were broken.
    pub resets: u64,
    /// Losses drawn.
    pub losses: u64,
}

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct ShapingProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for ShapingProxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

#[derive(Debug)]
struct Shared {
    line: Line,
    origin: Instant,
    up: Direction,
    down: Direction,
    /// Grows when all connections break.
    generation: watch::Sender<u64>,
    connections: AtomicU64,
    open: AtomicU64,
    most_open: AtomicU64,
    resets: AtomicU64,
    losses: AtomicU64,
}

/// One direction of the line, shared by all connections.
#[derive(Debug)]
struct Direction {
    bytes_per_second: Option<f64>,
    /// When the line is free again. Connections queue for it in turn.
    free: tokio::sync::Mutex<Instant>,
    taken: AtomicU64,
    delivered: AtomicU64,
}

impl Direction {
    fn new(bytes_per_second: Option<f64>, origin: Instant) -> Self {
        let free = tokio::sync::Mutex::new(origin);
        Self { bytes_per_second, free, taken: AtomicU64::new(0), delivered: AtomicU64::new(0) }
    }
}

impl ShapingProxy {
    /// Listens on a free port of the loopback, in front of `to`.
    ///
    /// # Errors
    /// If no socket can be had.
    pub async fn start(to: SocketAddr, line: Line) -> io::Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), to, line).await
    }

    /// Listens on this address.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn listen(address: SocketAddr, to: SocketAddr, line: Line) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let origin = Instant::now();
        let shared = Arc::new(Shared {
            line,
            origin,
            up: Direction::new(line.up_bytes_per_second, origin),
            down: Direction::new(line.down_bytes_per_second, origin),
            generation: watch::Sender::new(0),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            most_open: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        });
        let mut tasks = vec![tokio::spawn(accept(listener, to, Arc::clone(&shared)))];
        if let Some(every) = line.reset_every {
            let shared = Arc::clone(&shared);
            tasks.push(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    shared.generation.send_modify(|generation| *generation += 1);
                }
            }));
        }
        Ok(Self { address, shared, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has gone over it.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Counts {
            up_taken: read(&shared.up.taken),
            up_delivered: read(&shared.up.delivered),
            down_taken: read(&shared.down.taken),
            down_delivered: read(&shared.down.delivered),
            connections: read(&shared.connections),
            most_open: read(&shared.most_open),
            resets: read(&shared.resets),
            losses: read(&shared.losses),
        }
    }

    /// Breaks all connections now.
    pub fn reset(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

/// A listener whose connections buffer little, so that what a client has sent is what the line has taken.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(64 << 10)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, to: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(serve(client, to, Arc::clone(&shared)));
    }
}

async fn serve(client: TcpStream, to: SocketAddr, shared: Arc<Shared>) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let mut generation = shared.generation.subscribe();
    let Ok(server) = TcpStream::connect(to).await else { return };
    for stream in [&client, &server] {
        // What makes the streams end with a reset when they are dropped; a proper end is told by `shutdown`.
        _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        _ = stream.set_nodelay(true);
    }
    let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
    shared.most_open.fetch_max(open, Ordering::Relaxed);
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let both = async {
        let up = carry(client_read, server_write, &shared, &shared.up, 2 * number);
        let down = carry(server_read, client_write, &shared, &shared.down, 2 * number + 1);
        tokio::join!(up, down)
    };
    tokio::select! {
        _ = both => {}
        _ = generation.changed() => {
            shared.resets.fetch_add(1, Ordering::Relaxed);
        }
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

/// One direction of one connection, until its end; the halves come back so that nothing is reset before both ended.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    direction: &Direction,
    number: u64,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let line = &shared.line;
    // The handshake takes a round trip before the first byte can leave.
    tokio::time::sleep(line.round_trip).await;
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let window = Mutex::new(Window::new(line, number));
    let arrived = tokio::sync::Notify::new();
    let sending = async {
        loop {
            let mut piece = vec![0; PIECE];
            let room = loop {
                let (room, wait) = {
                    let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
                    (window.room(Instant::now()), window.next_acknowledgement())
                };
                match (room, wait) {
                    (0, Some(at)) => sleep_until(at).await,
                    (0, None) => tokio::select! {
                        () = arrived.notified() => {}
                        () = send.closed() => return,
                    },
                    (room, _) => break room,
                }
            };
            let length = match from.read(&mut piece[..room.min(PIECE)]).await {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            piece.truncate(length);
            let (lost, segments) =
                window.lock().unwrap_or_else(PoisonError::into_inner).draw(length, &shared.losses);
            let through = shared.transmit(direction, length + lost * SEGMENT, Instant::now()).await;
            let arrival = {
                let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
                window.sent(through, length, lost, segments, line, shared.origin)
            };
            if send.send((arrival, piece)).is_err() {
                break;
            }
        }
        // The end of the channel is the end that the other side is told.
        drop(send);
    };
    let receiving = async {
        while let Some((at, piece)) = receive.recv().await {
            sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
            direction.delivered.fetch_add(piece.len() as u64, Ordering::Relaxed);
            window.lock().unwrap_or_else(PoisonError::into_inner).delivered(piece.len());
            arrived.notify_one();
        }
        drop(receive);
        _ = to.shutdown().await;
    };
    tokio::join!(sending, receiving);
    (from, to)
}

impl Shared {
    /// Waits for this connection's turn and until the line has taken so many bytes; answers when that is.
    async fn transmit(&self, direction: &Direction, length: usize, ready: Instant) -> Instant {
        let through = {
            let mut free = direction.free.lock().await;
            // What was ready when the line became free follows without a gap, however late this is told.
            let mut begin = (*free).max(ready - SLACK);
            if let Some((after, long)) = self.line.outage {
                let (down, up) = (self.origin + after, self.origin + after + long);
                if (down..up).contains(&begin) {
                    begin = up;
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a piece")]
            let takes = direction.bytes_per_second.map_or(0.0, |rate| length as f64 / rate);
            *free = begin + Duration::from_secs_f64(takes);
            // Waiting with the lock held is what makes others queue behind, in the order in which they came.
            if *free > Instant::now() + SLACK / 2 {
                sleep_until(*free - SLACK / 2).await;
            }
            *free
        };
        direction.taken.fetch_add(length as u64, Ordering::Relaxed);
        through
    }
}

/// The congestion window of one direction of a connection.
#[derive(Debug)]
struct Window {
    bytes: f64,
    /// Above it the window grows by a segment each round trip, below it doubles.
    threshold: f64,
    /// Pieces whose acknowledgements are under way: when they come, and for how many bytes.
    flying: VecDeque<(Instant, usize)>,
    in_flight: usize,
    /// Bytes that arrived and were not yet taken by the other end.
    undelivered: usize,
    /// Nothing arrives before what was sent before it.
    last_arrival: Instant,
    round_trip: Duration,
    loss: f64,
    random: fastrand::Rng,
}

impl Window {
    #[expect(clippy::cast_precision_loss, reason = "a few segments")]
    fn new(line: &Line, number: u64) -> Self {
        Self {
            bytes: 10.0 * SEGMENT as f64,
            threshold: LARGEST_WINDOW,
            flying: VecDeque::new(),
            in_flight: 0,
            undelivered: 0,
            last_arrival: Instant::now(),
            round_trip: line.round_trip,
            loss: line.loss,
            random: fastrand::Rng::with_seed(
                line.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number),
            ),
        }
    }

    /// How many bytes may be sent now.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a window of a few megabytes"
    )]
    fn room(&mut self, now: Instant) -> usize {
        while let Some(&(at, bytes)) = self.flying.front()
            && at <= now
        {
            self.flying.pop_front();
            self.in_flight -= bytes;
            let bytes = bytes as f64;
            let growth =
                if self.bytes < self.threshold { bytes } else { SEGMENT as f64 * bytes / self.bytes };
            self.bytes = (self.bytes + growth).min(LARGEST_WINDOW);
        }
        let limit = self.bytes as usize;
        // What the other end does not take fills its buffer and closes the window.
        let room = limit
            .saturating_sub(self.in_flight)
            .min((LARGEST_WINDOW as usize).saturating_sub(self.undelivered));
        if room >= SEGMENT || self.in_flight == 0 && room > 0 { room } else { 0 }
    }

    fn next_acknowledgement(&self) -> Option<Instant> {
        self.flying.front().map(|(at, _)| *at)
    }

    /// How many of a piece's segments are lost, and how many it has.
    fn draw(&mut self, length: usize, losses: &AtomicU64) -> (usize, usize) {
        let segments = length.div_ceil(SEGMENT);
        if self.loss <= 0.0 {
            return (0, segments);
        }
        let lost = (0..segments).filter(|_| self.random.f64() < self.loss).count();
        losses.fetch_add(lost as u64, Ordering::Relaxed);
        (lost, segments)
    }

    /// A piece has been taken by the line at this time; answers when it arrives.
    #[expect(clippy::cast_precision_loss, reason = "a few segments")]
    fn sent(
        &mut self,
        through: Instant,
        length: usize,
        lost: usize,
        segments: usize,
        line: &Line,
        origin: Instant,
    ) -> Instant {
        let segment = SEGMENT as f64;
        let mut arrival = through + self.round_trip / 2;
        if lost > 0 {
            let timeout = self.bytes < 4.0 * segment || lost == segments;
            arrival += if timeout { SHORTEST_TIMEOUT.max(2 * self.round_trip) } else { self.round_trip };
            self.bytes = if timeout { segment } else { (self.bytes * 0.7).max(2.0 * segment) };
            self.threshold = self.bytes.max(2.0 * segment);
        }
        if let Some((after, long)) = line.outage {
            let (down, up) = (origin + after, origin + after + long);
            if (down..up).contains(&arrival) {
                arrival = recovery(arrival, up, SHORTEST_TIMEOUT.max(2 * self.round_trip));
            }
        }
        self.last_arrival = self.last_arrival.max(arrival);
        self.flying.push_back((self.last_arrival + self.round_trip / 2, length));
        self.in_flight += length;
        self.undelivered += length;
        self.last_arrival
    }

    fn delivered(&mut self, length: usize) {
        self.undelivered -= length;
    }
}

/// The first retransmission after `up` of what was lost at `lost`: timeouts double.
fn recovery(lost: Instant, up: Instant, timeout: Duration) -> Instant {
    let (mut at, mut wait) = (lost + timeout, timeout);
    while at < up {
        wait = wait.saturating_mul(2);
        at += wait;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that counts what it is sent, answers each connection's end with so many bytes, and ends.
    async fn counting_server(answer: usize) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut all = Vec::new();
                    if stream.read_to_end(&mut all).await.is_ok() {
                        _ = stream.write_all(&vec![7; answer]).await;
                    }
                });
            }
        });
        address
    }

    async fn exchange(address: SocketAddr, length: usize) -> io::Result<usize> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&vec![1; length]).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await
    }

    #[tokio::test]
    async fn rate_and_round_trip_are_kept_in_both_directions() {
        let server = counting_server(1_000_000).await;
        let line = Line::megabits(80.0, Duration::from_millis(40));
        let proxy = ShapingProxy::start(server, line).await.unwrap();
        let began = Instant::now();
        let answers = futures::future::join_all((0..2).map(|_| exchange(proxy.address(), 1_000_000))).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == 1_000_000));
        let seconds = began.elapsed().as_secs_f64();
        // 0.2 s each way, the handshake, one round trip more and two slow starts.
        assert!(seconds > 0.48, "{seconds}");
        assert!(seconds < 3.0, "{seconds}");
        let counts = proxy.counts();
        assert_eq!((counts.up_delivered, counts.down_delivered), (2_000_000, 2_000_000));
        assert_eq!((counts.connections, counts.most_open, counts.resets), (2, 2, 0));
    }

    #[tokio::test]
    async fn losses_slow_a_connection_and_lose_nothing() {
        let server = counting_server(10).await;
        let mut line = Line::megabits(800.0, Duration::from_millis(10));
        line.loss = 0.02;
        let proxy = ShapingProxy::start(server, line).await.unwrap();
        let began = Instant::now();
        assert_eq!(exchange(proxy.address(), 1_000_000).await.unwrap(), 10);
        let counts = proxy.counts();
        assert!(counts.losses > 2, "{counts:?}");
        assert_eq!(counts.up_delivered, 1_000_000);
        assert!(counts.up_taken > 1_000_000, "what is lost takes the line twice");
        // Without losses it would take a twentieth of this.
        assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn resets_break_connections_and_outages_only_delay_them() {
        let server = counting_server(10).await;
        let mut line = Line::megabits(8.0, Duration::from_millis(10));
        line.outage = Some((Duration::from_millis(100), Duration::from_millis(500)));
        let proxy = ShapingProxy::start(server, line).await.unwrap();
        let began = Instant::now();
        assert_eq!(exchange(proxy.address(), 300_000).await.unwrap(), 10);
        assert!(began.elapsed() > Duration::from_millis(750), "{:?}", began.elapsed());
        let broken = tokio::spawn(exchange(proxy.address(), 10_000_000));
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.reset();
        assert!(broken.await.unwrap().is_err());
        assert_eq!(proxy.counts().resets, 1);
    }

    #[test]
    fn tcp_comes_back_from_an_outage_with_its_next_timeout() {
        let lost = Instant::now();
        let seconds = |at: Instant| (at - lost).as_secs_f64();
        let timeout = Duration::from_millis(200);
        assert!((seconds(recovery(lost, lost + Duration::from_secs(10), timeout)) - 12.6).abs() < 1e-6);
        assert!((seconds(recovery(lost, lost + Duration::from_millis(50), timeout)) - 0.2).abs() < 1e-6);
    }
}
