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
    thread::Builder::new().name("stress-interrupt".to_owned()).spawn(move || {
        runtime.block_on(async {
            if interrupted().await.is_err() {
                // Without a handler the process ends as any other does.
                return;
            }
            say("\nstopping: tear-down and report follow; interrupt again to leave at once");
            request.send_replace(true);
            if interrupted().await.is_ok() {
                std::process::exit(ENDED_BY_INTERRUPT);
            }
        });
        // Kept alive for as long as anybody asks whether to stop.
        drop(request);
    })?;
    Ok(Stop::new(requested))
}

#[cfg(unix)]
async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
