//! Over real loopback sockets: a peer that is killed and comes back, resets, answers late, not at all, or refuses. Bounds are counts and deadlines, not speeds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use steadfast_pool::{
    Connector, DialBudget, DialError, GetError, KeyedError, KeyedPool, KeyedStage, KeyedStatus, Manager,
    Pool, Stage, Tcp,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::scripted::assert_balanced;

/// Long enough for the slowest machine; nothing waits for it in vain.
const LONG: Duration = Duration::from_secs(60);

/// Waits until it is so; fails with what isn't.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waits).await.is_ok(), "not within {LONG:?}: {what}");
}

/// How a server treats whoever connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Echo,
    /// Echoes the first byte, then closes with bytes unread, which resets.
    Reset,
    /// As a proxy before a host that is gone: accepts, and is silent.
    Silent,
    Late(Duration),
}

/// A server that can be killed with all its connections.
struct Server {
    address: SocketAddr,
    tasks: Option<JoinSet<()>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn listen(at: SocketAddr) -> TcpListener {
    // A port that was in use a moment ago may take a moment.
    for _ in 0..600 {
        if let Ok(listener) = TcpListener::bind(at).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{at} can't be listened on");
}

impl Server {
    async fn start(at: SocketAddr, manner: Manner) -> Self {
        let listener = listen(at).await;
        let address = listener.local_addr().unwrap();
        let (open, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let (counted, numbered) = (Arc::clone(&open), Arc::clone(&accepted));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                numbered.fetch_add(1, Ordering::SeqCst);
                let open = Open(Arc::clone(&counted));
                connections.spawn(async move {
                    let _ = serve(stream, manner).await;
                    drop(open);
                });
            }
        });
        Self { address, tasks: Some(tasks), open, accepted }
    }

    async fn any(manner: Manner) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), manner).await
    }

    /// Until no connection of it is served any more: what the listener's task leaves behind ends a little later.
    async fn kill(&mut self) {
        if let Some(mut tasks) = self.tasks.take() {
            tasks.shutdown().await;
        }
        self.empty().await;
    }

    /// Waits until nobody is connected: what the clients closed has been seen by the server.
    async fn empty(&self) {
        until("all sockets are closed", || self.open.load(Ordering::SeqCst) == 0).await;
    }
}

async fn serve(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut byte = [0; 1];
    loop {
        if manner == Manner::Silent {
            // Until the client hangs up.
            while stream.read(&mut byte).await? > 0 {}
            return Ok(());
        }
        stream.read_exact(&mut byte).await?;
        if let Manner::Late(time) = manner {
            tokio::time::sleep(time).await;
        }
        stream.write_all(&byte).await?;
        if manner == Manner::Reset {
            // One more byte must have come, and stays unread.
            stream.peek(&mut byte).await?;
            return Ok(());
        }
    }
}

/// Streams that were greeted: who only accepts isn't connected to.
struct Greeted(Tcp);

async fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"!").await?;
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.map(drop)
}

impl Manager for Greeted {
    type Resource = TcpStream;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut stream = Manager::connect(&self.0).await?;
        ping(&mut stream).await?;
        Ok(stream)
    }

    async fn check(&self, stream: &mut TcpStream) -> io::Result<()> {
        self.0.check(stream).await?;
        ping(stream).await
    }

    fn has_broken(&self, stream: &mut TcpStream) -> bool {
        Manager::has_broken(&self.0, stream)
    }
}

fn pool(address: SocketAddr, budget: &DialBudget) -> Pool<Greeted> {
    Pool::builder(Greeted(Tcp::new(address.to_string())))
        .max(8)
        .timeout(LONG)
        .check_after(Duration::ZERO)
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .dial_budget(budget.clone())
        .build()
        .unwrap()
}

/// So many tasks, each so many exchanges; each failed exchange is one with a connection that died in it.
async fn exchange(pool: &Pool<Greeted>, tasks: usize, each: usize) -> usize {
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let pool = pool.clone();
        all.spawn(async move {
            let mut failed = 0;
            for _ in 0..each {
                let mut stream = pool.get().await.expect("the peer is there");
                if ping(&mut stream).await.is_err() {
                    stream.mark_broken();
                    failed += 1;
                }
            }
            failed
        });
    }
    all.join_all().await.iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_killed_and_restarted_is_found_again() {
    let budget = DialBudget::new(2);
    let mut server = Server::any(Manner::Echo).await;
    let pool = pool(server.address, &budget);
    assert_eq!(exchange(&pool, 32, 10).await, 0);
    assert!(server.accepted.load(Ordering::SeqCst) <= 8, "P1");
    server.kill().await;
    // While it is gone, requests wait and dials are refused, one at a time.
    let other = pool.clone();
    let waits = tokio::spawn(async move { exchange(&other, 32, 1).await });
    until("dials are refused", || pool.last_dial_error().is_some()).await;
    let server = Server::start(server.address, Manner::Echo).await;
    assert_eq!(waits.await.unwrap(), 0, "what was handed out had been checked");
    assert_eq!(exchange(&pool, 32, 10).await, 0);
    assert!(budget.most() <= 2, "{} dials at a time", budget.most());
    assert!(pool.close(LONG).await.drained);
    server.empty().await;
    assert_balanced(&pool.status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_are_replaced() {
    let budget = DialBudget::new(4);
    let server = Server::any(Manner::Reset).await;
    let pool = Pool::builder(Greeted(Tcp::new(server.address.to_string())))
        .max(2)
        .timeout(LONG)
        .check_after(LONG)
        .dial_budget(budget.clone())
        .build()
        .unwrap();
    // Each connection lives for its greeting only.
    for _ in 0..10 {
        let mut stream = pool.get().await.expect("it greets");
        assert!(ping(&mut stream).await.is_err());
        stream.mark_broken();
    }
    assert!(server.accepted.load(Ordering::SeqCst) >= 10);
    let status = pool.status();
    assert!(status.size <= status.max && budget.most() <= 4);
    assert!(pool.close(LONG).await.drained);
    server.empty().await;
    assert_balanced(&pool.status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_proxy_costs_its_time_and_no_room() {
    let budget = DialBudget::new(2);
    let server = Server::any(Manner::Silent).await;
    let pool = Pool::builder(Greeted(Tcp::new(server.address.to_string())))
        .max(2)
        .timeout(Duration::from_millis(300))
        .connect_timeout(Duration::from_millis(100))
        .backoff(Duration::from_millis(5), Duration::from_millis(20))
        .dial_budget(budget.clone())
        .build()
        .unwrap();
    let mut all = JoinSet::new();
    for _ in 0..16 {
        let pool = pool.clone();
        all.spawn(async move { pool.get().await.map(drop) });
    }
    for ended in all.join_all().await {
        let Err(GetError::Timeout(autopsy)) = ended else { panic!("nobody greets") };
        assert!(autopsy.waited >= Duration::from_millis(300));
        assert!(matches!(autopsy.stage, Stage::Dialling | Stage::BackingOff | Stage::Queued));
    }
    let told = async {
        while pool.last_dial_error().is_none() {
            assert!(pool.get().await.is_err(), "nobody greets");
        }
    };
    tokio::time::timeout(LONG, told).await.expect("each dial is bounded");
    assert!(matches!(pool.last_dial_error().as_deref(), Some(DialError::TimedOut(_))));
    assert!(budget.most() <= 2);
    assert!(pool.close(LONG).await.drained);
    assert_eq!((pool.status().size, budget.under_way()), (0, 0));
    server.empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_peer_only_takes_longer() {
    let budget = DialBudget::new(8);
    let server = Server::any(Manner::Late(Duration::from_millis(20))).await;
    let pool = pool(server.address, &budget);
    assert_eq!(exchange(&pool, 24, 3).await, 0);
    let status = pool.status();
    assert_eq!((status.ok, status.timeout, status.error), (72, 0, 0));
    assert!(status.dials <= 8);
    assert!(pool.close(LONG).await.drained);
    server.empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_peer_is_told_with_its_error() {
    let budget = DialBudget::new(2);
    let mut server = Server::any(Manner::Echo).await;
    server.kill().await;
    let pool = pool(server.address, &budget);
    let refused = async {
        while pool.last_dial_error().is_none() {
            drop(pool.get_timeout(Duration::from_millis(20)).await);
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("each dial is refused at once");
    let ended = pool.get_timeout(Duration::from_millis(200)).await;
    let Err(GetError::Timeout(autopsy)) = ended else { panic!("nobody listens") };
    let Some(DialError::Failed(error)) = autopsy.last_dial_error.as_deref() else { panic!("{autopsy}") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let status = pool.status();
    assert_eq!(status.size, status.connecting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_streams_follow_their_addresses() {
    let servers = [Server::any(Manner::Echo).await, Server::any(Manner::Echo).await];
    let pool = KeyedPool::builder(Tcp::new("")).timeout(LONG).build().unwrap();
    for server in &servers {
        pool.add(&server.address.to_string()).unwrap();
    }
    let started = Instant::now();
    for server in &servers {
        let handles: Vec<_> =
            [pool.get(&server.address.to_string()).await, pool.get(&server.address.to_string()).await].into();
        assert!(handles.iter().all(Result::is_ok));
    }
    // An order that isn't begun within a second goes to who asks next.
    let (status, late) = (pool.status(), started.elapsed().as_secs());
    assert!(status.withdrawn <= late && status.dials == 2 + status.withdrawn, "{status:?}");
    let removal = pool.remove(&servers[0].address.to_string()).unwrap();
    assert!(removal.drain(LONG).await.drained);
    servers[0].empty().await;
    for _ in 0..4 {
        assert_eq!(pool.pick().await.unwrap().address(), servers[1].address.to_string());
    }
    drop(pool);
    servers[1].empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_stream_that_its_peer_closed_is_dialled_again() {
    let mut server = Server::any(Manner::Echo).await;
    let address = server.address.to_string();
    let pool = KeyedPool::builder(Tcp::new(""))
        .timeout(LONG)
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .build()
        .unwrap();
    pool.add(&address).unwrap();
    let before = pool.get(&address).await.unwrap();
    server.kill().await;
    // The runtime hears of it when it asks the system: a reader is told at once.
    let mut byte = [0; 1];
    assert!(!matches!(before.peek(&mut byte).await, Ok(1..)), "nobody sends");
    let _server = Server::start(server.address, Manner::Echo).await;
    let again = loop {
        match pool.get(&address).await {
            Ok(handle) => break handle,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(!std::ptr::eq(&raw const *before, &raw const *again), "the closed stream isn't handed out again");
    assert_eq!(pool.status().dialling, 0);
}

/// Shared streams, of addresses where whoever listens answers; who only accepts isn't connected to.
struct GreetedByAddress(Tcp);

impl Connector for GreetedByAddress {
    type Connection = TcpStream;
    type Error = io::Error;

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let mut stream = Connector::connect(&self.0, address).await?;
        ping(&mut stream).await?;
        Ok(stream)
    }

    fn has_broken(&self, stream: &TcpStream) -> bool {
        Connector::has_broken(&self.0, stream)
    }
}

/// Each dial has `connect_timeout`: short only where a peer is to use it up.
fn keyed(servers: &[&Server], budget: &DialBudget, connect_timeout: Duration) -> KeyedPool<GreetedByAddress> {
    let pool = KeyedPool::builder(GreetedByAddress(Tcp::new("")))
        .timeout(LONG)
        .connect_timeout(connect_timeout)
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .dial_budget(budget.clone())
        .build()
        .unwrap();
    for server in servers {
        pool.add(&server.address.to_string()).unwrap();
    }
    pool
}

/// Whether the other side of a shared stream has gone, as a reader of it hears.
async fn until_closed(stream: &TcpStream) {
    let mut byte = [0; 1];
    let closed = async { while matches!(stream.peek(&mut byte).await, Ok(1..)) {} };
    tokio::time::timeout(LONG, closed).await.expect("the peer was killed");
}

/// Asks until the address is connected again; all that is heard meanwhile is that it fails.
async fn until_back(
    pool: &KeyedPool<GreetedByAddress>,
    address: &str,
) -> steadfast_pool::Handle<GreetedByAddress> {
    let back = async {
        loop {
            match pool.get(address).await {
                Ok(handle) => return handle,
                Err(KeyedError::Connect(_) | KeyedError::Failing(..) | KeyedError::ShortLived { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LONG, back).await.expect("it is there again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_whose_peer_was_killed_comes_back_with_it() {
    let budget = DialBudget::new(2);
    let (mut comes_back, stays) = (Server::any(Manner::Echo).await, Server::any(Manner::Echo).await);
    let pool = keyed(&[&comes_back, &stays], &budget, LONG);
    let address = comes_back.address.to_string();
    let before = pool.get(&address).await.unwrap();
    drop(pool.get(&stays.address.to_string()).await.unwrap());
    comes_back.kill().await;
    until_closed(&before).await;
    drop(before);
    // Refused now: requests for it are told, and choices leave it out.
    let told = async {
        loop {
            match pool.get(&address).await {
                Err(KeyedError::Connect(error) | KeyedError::Failing(error, _)) => return error,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let error = tokio::time::timeout(LONG, told).await.expect("it is refused");
    assert!(matches!(&*error, DialError::Failed(_)), "{error}");
    for _ in 0..10 {
        assert_eq!(pool.pick().await.unwrap().address(), stays.address.to_string());
    }
    let (started, dials) = (Instant::now(), pool.status().dials);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let dials = pool.status().dials - dials;
    // About one in 25 ms, however late this thread looks.
    let most = 100 + started.elapsed().as_millis() as u64 / 10;
    assert!(dials < most, "{dials} dials in {:?} with up to 50 ms between them", started.elapsed());
    let server = Server::start(comes_back.address, Manner::Echo).await;
    drop(until_back(&pool, &address).await);
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1, "P7: one connection an address");
    assert!(budget.most() <= 2, "{} dials at a time", budget.most());
    assert_keyed_balanced(&pool.status());
    assert!(pool.close(LONG).await.drained);
    server.empty().await;
    stays.empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_costs_its_own_requests_and_nobody_elses() {
    let budget = DialBudget::new(2);
    let (hole, echo) = (Server::any(Manner::Silent).await, Server::any(Manner::Echo).await);
    let pool = keyed(&[&hole, &echo], &budget, LONG);
    // The dial is under way before they ask, and has more time than they.
    let nothing = pool.get_timeout(&hole.address.to_string(), Duration::ZERO).await;
    assert!(matches!(nothing, Err(KeyedError::Timeout(_))), "{nothing:?}");
    until("it is dialled", || hole.accepted.load(Ordering::SeqCst) > 0).await;
    let mut all = JoinSet::new();
    for _ in 0..16 {
        let (pool, address) = (pool.clone(), hole.address.to_string());
        all.spawn(async move { pool.get_timeout(&address, Duration::from_millis(50)).await.map(drop) });
    }
    for ended in all.join_all().await {
        let Err(KeyedError::Timeout(autopsy)) = ended else { panic!("nobody greets: {ended:?}") };
        assert!(
            autopsy.waited >= Duration::from_millis(50) && autopsy.stage == KeyedStage::Dialling,
            "{autopsy}"
        );
    }
    for _ in 0..20 {
        let handle = pool.pick().await.unwrap();
        assert_eq!(handle.address(), echo.address.to_string());
    }
    // Removed while the dial hangs: that ends it.
    drop(pool.remove(&hole.address.to_string()).unwrap());
    hole.empty().await;
    assert_eq!(pool.status().dialling, 0);
    assert!(budget.most() <= 2);
    assert_keyed_balanced(&pool.status());
    drop(pool);
    echo.empty().await;
    // Its turn goes back after its stream.
    until("its turn is given back", || budget.under_way() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_into_a_black_hole_ends_with_its_time() {
    let budget = DialBudget::new(2);
    let hole = Server::any(Manner::Silent).await;
    let pool = keyed(&[&hole], &budget, Duration::from_millis(100));
    let hung = async {
        loop {
            match pool.get(&hole.address.to_string()).await {
                Err(KeyedError::Connect(error) | KeyedError::Failing(error, _)) => return error,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let error = tokio::time::timeout(LONG, hung).await.expect("each dial is bounded");
    assert!(matches!(&*error, DialError::TimedOut(_)), "{error}");
    drop(pool);
    hole.empty().await;
    until("its turn is given back", || budget.under_way() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_streams_that_are_reset_at_once_are_no_storm() {
    let budget = DialBudget::new(2);
    let server = Server::any(Manner::Reset).await;
    let pool = keyed(&[&server], &budget, LONG);
    let address = server.address.to_string();
    let started = Instant::now();
    // The second byte that it gets makes the peer reset.
    while started.elapsed() < Duration::from_millis(600) || server.accepted.load(Ordering::SeqCst) < 3 {
        match pool.get(&address).await {
            Ok(handle) => {
                let _ = handle.try_write(b"!");
                until_closed(&handle).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    let accepted = server.accepted.load(Ordering::SeqCst);
    assert!(accepted < 200, "{accepted} connections in 0.6 s");
    assert_keyed_balanced(&pool.status());
    assert!(pool.close(LONG).await.drained);
    server.empty().await;
}

#[track_caller]
fn assert_keyed_balanced(status: &KeyedStatus) {
    let ended = status.dial_failures + status.connected + status.withdrawn;
    assert_eq!(status.dials, ended + status.dialling as u64, "{status:?}");
}

#[tokio::test]
async fn bytes_that_nobody_read_are_seen_at_the_end_of_a_tasks_turn() {
    let server = Server::any(Manner::Echo).await;
    let pool = Pool::builder(Tcp::new(server.address.to_string())).max(1).timeout(LONG).build().unwrap();
    let mut stream = pool.get().await.unwrap();
    stream.write_all(b"!").await.unwrap();
    let mut byte = [0; 1];
    assert_eq!(stream.peek(&mut byte).await.unwrap(), 1, "the answer is there");
    std::future::poll_fn(|context| {
        // Uses up what a task may do in one turn: from then on everything is pending.
        while let std::task::Poll::Ready(()) = std::pin::pin!(tokio::task::consume_budget()).poll(context) {}
        std::task::Poll::Ready(())
    })
    .await;
    drop(stream);
    assert_eq!(pool.status().idle, 0, "its answer would be the next request's");
}
