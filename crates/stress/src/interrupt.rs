//! Ctrl-C, SIGTERM, or a terminal that went away (SIGHUP): the first one stops the load, the second one ends the process.
//!
//! It is waited for on a thread with a runtime of its own: a target that blocks the load's runtime must not make the
//! run unstoppable.

use std::io;
use std::thread;

use tokio::sync::watch;

use crate::load::Stop;
use crate::progress::say;

/// What a shell reports of a program that Ctrl-C ended: 128 + SIGINT.
const ENDED_BY_INTERRUPT: i32 = 130;

/// From now on an interrupt stops the load instead of the process.
pub(crate) fn listen() -> io::Result<Stop> {
    let (request, requested) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Here, not in the thread, which may not have run yet when the load does. Without handlers the process ends as any other does.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    thread::Builder::new().name("stress-interrupt".to_owned()).spawn(move || {
        runtime.block_on(async {
            if !signals.interrupted().await {
                return;
            }
            say("\nstopping: tear-down and report follow; interrupt again to leave at once");
            request.send_replace(true);
            if signals.interrupted().await {
                std::process::exit(ENDED_BY_INTERRUPT);
            }
        });
        // Kept alive for as long as anybody asks whether to stop.
        drop(request);
    })?;
    Ok(Stop::new(requested))
}

/// What ends a process unless it is listened to.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one. False if none will come.
    async fn interrupted(&mut self) -> bool {
        let [interrupt, terminate, hang_up] = &mut self.0;
        let told = tokio::select! {
            told = interrupt.recv() => told,
            told = terminate.recv() => told,
            told = hang_up.recv() => told,
        };
        told.is_some()
    }
}

/// What ends a process unless it is listened to.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// Waits for the next one. False if none will come.
    async fn interrupted(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}
