//! A stress test of an HTTP service: `cargo run --release --package steadfast-stress --example http_service -- standard`.
//!
//! The service, at the end of this file, is a counter behind `POST /increment` and `GET /count`, on a port of its own. It
//! answers `503` and when to try again when it has enough to do. What is of use for a service of yours is above that: connections
//! that are kept, tries that have an end, and a check of what the service says against what it has acknowledged.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use steadfast_stress::{Call, Checks, Context, Failure, Load, Reduction, Scenario, Suite, Tally};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct Increments;

/// The service, and connections that nobody uses just now: no more than there are operations in flight.
struct Service {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
    server: server::Server,
}

impl Scenario for Increments {
    type State = Service;

    fn name(&self) -> &'static str {
        "increments"
    }
    fn description(&self) -> &'static str {
        "500 requests a second, then a burst, over connections that are kept"
    }
    fn load(&self) -> Load {
        let steady = Load::rate(500.0).max_in_flight(64).lasting(Duration::from_secs(10)).named("steady");
        steady.then_burst(200, Duration::from_secs(1)).named("burst").timeout(Duration::from_secs(5))
    }
    fn smoke(&self) -> Reduction {
        Reduction::none().duration(5)
    }
    fn objectives(&self) -> Vec<&str> {
        vec!["success >= 99.9%", "timeouts <= 0%", "p95 in phase steady < 50ms", "value connections <= 64"]
    }
    async fn set_up(&self, _: &Context) -> Result<Service, Failure> {
        let server = server::Server::start().await?;
        Ok(Service { address: server.address(), idle: Mutex::default(), server })
    }
    async fn operation(&self, service: &Service, call: Call) -> Result<(), Failure> {
        const TRIES: u32 = 5;
        let mut random = call.rng();
        let mut last = String::new();
        for attempt in 0..TRIES {
            let answer = service.request("POST", "/increment").await?;
            match answer.status {
                200 => return Ok(()),
                503 => last = format!("busy, retry after {:?}", answer.retry_after),
                other => return Err(Failure::new("status", other)),
            }
            // As long as the service says, twice as long the next time, and a little at random: not all at once again.
            let wait = answer.retry_after.unwrap_or(Duration::from_millis(10)) * (1 << attempt);
            tokio::time::sleep(wait + wait.mul_f64(random.below(100) as f64 / 200.0)).await;
        }
        Err(Failure::new("busy", format!("{TRIES} tries, the last: {last}")))
    }
    async fn check(&self, service: &Service, tally: &Tally, checks: &mut Checks) -> Result<(), Failure> {
        let count: u64 = service.request("GET", "/count").await?.body.parse()?;
        // An operation that failed or was dropped may have been counted all the same.
        let is_right = (tally.succeeded..=tally.issued).contains(&count);
        checks.holds(
            "counted what was acknowledged",
            is_right,
            format!("{count}, {} acknowledged", tally.succeeded),
        );
        checks.value("connections", service.server.connections());
        checks.value("refusals", service.server.refusals());
        Ok(())
    }
}

fn main() -> ExitCode {
    steadfast_stress::main([Suite::new("http", "a counter behind HTTP").scenario(Increments)])
}

/// A connection that is used for one request after the other.
type Connection = BufReader<TcpStream>;

struct Response {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

impl Service {
    /// A request on an idle connection, or on a new one. A connection goes back only after a whole answer: one whose
    /// request was dropped half way, by a timeout, is dropped with it.
    async fn request(&self, method: &str, path: &str) -> Result<Response, Failure> {
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(self.address).await?),
        };
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.address);
        connection.write_all(request.as_bytes()).await?;
        let response = read_response(&mut connection).await?;
        self.idle().push(connection);
        Ok(response)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_response(connection: &mut Connection) -> Result<Response, Failure> {
    let malformed = || Failure::new("malformed", "no HTTP response");
    let status = read_line(connection).await?.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (mut length, mut retry_after) = (0, None);
    loop {
        let line = read_line(connection).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| malformed())?,
            // Of this service in milliseconds; of HTTP in seconds.
            "retry-after-ms" => retry_after = value.trim().parse().ok().map(Duration::from_millis),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let body = String::from_utf8(body)?;
    Ok(Response { status: status.ok_or_else(malformed)?, retry_after, body })
}

async fn read_line(connection: &mut Connection) -> Result<String, Failure> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(Failure::new("closed", "the service closed the connection"));
    }
    Ok(line.trim_end().to_owned())
}

/// What is tested. Yours is another process on another machine, best of all.
mod server {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    /// Requests that are worked on at one time; one more is refused.
    const BUSY: u64 = 32;
    const WORK: Duration = Duration::from_millis(2);

    pub(super) struct Server {
        address: SocketAddr,
        figures: Arc<Figures>,
        accepting: JoinHandle<()>,
    }

    #[derive(Default)]
    struct Figures {
        count: AtomicU64,
        at_work: AtomicU64,
        refusals: AtomicU64,
        connections: AtomicU64,
    }

    impl Server {
        pub(super) async fn start() -> io::Result<Self> {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let figures = Arc::<Figures>::default();
            let shared = Arc::clone(&figures);
            let accepting = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    shared.connections.fetch_add(1, Ordering::Relaxed);
                    let figures = Arc::clone(&shared);
                    // It ends when the client closes the connection, in good order or not.
                    tokio::spawn(async move { drop(serve(stream, &figures).await) });
                }
            });
            Ok(Self { address, figures, accepting })
        }

        pub(super) fn address(&self) -> SocketAddr {
            self.address
        }

        /// Connections that were ever opened.
        pub(super) fn connections(&self) -> u64 {
            self.figures.connections.load(Ordering::Relaxed)
        }

        pub(super) fn refusals(&self) -> u64 {
            self.figures.refusals.load(Ordering::Relaxed)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.accepting.abort();
        }
    }

    async fn serve(stream: TcpStream, figures: &Figures) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let is_increment = line.starts_with("POST /increment ");
            // The headers; no request has a body.
            while line.trim_end() != "" {
                line.clear();
                stream.read_line(&mut line).await?;
            }
            line.clear();
            let response = if is_increment { increment(figures).await } else { count(figures) };
            stream.write_all(response.as_bytes()).await?;
        }
        Ok(())
    }

    async fn increment(figures: &Figures) -> String {
        let at_work = figures.at_work.fetch_add(1, Ordering::Relaxed);
        if at_work < BUSY {
            tokio::time::sleep(WORK).await;
            figures.count.fetch_add(1, Ordering::Relaxed);
        } else {
            figures.refusals.fetch_add(1, Ordering::Relaxed);
        }
        figures.at_work.fetch_sub(1, Ordering::Relaxed);
        if at_work < BUSY {
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
        } else {
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After-Ms: 5\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
    }

    fn count(figures: &Figures) -> String {
        let body = figures.count.load(Ordering::Relaxed).to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}
