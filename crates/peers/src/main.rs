//! Side-by-side benchmarks against other people's crates: `cargo xtask bench peers <what>`.
//!
//! Each part has a module, named as its first argument and as its feature; the rest of the arguments are the module's.
#![forbid(unsafe_code)]

#[cfg(feature = "breaker")]
mod breaker;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "text")]
mod text;
#[cfg(feature = "vector")]
mod vector;

use std::process::ExitCode;

/// What can be measured: its name, what it says of itself, and its entry.
type Part = (&'static str, &'static str, fn(&[String]) -> Result<(), String>);

const PARTS: &[Part] = &[
    #[cfg(feature = "breaker")]
    ("breaker", "guarded calls against recloser, failsafe and tower-resilience", breaker::run),
    #[cfg(feature = "metrics")]
    (
        "metrics",
        "recording against prometheus, prometheus-client, metrics, hdrhistogram and histogram",
        metrics::run,
    ),
    #[cfg(feature = "pool")]
    ("pool", "checking out and back against deadpool, bb8, r2d2, mobc and tokio's semaphore", pool::run),
    #[cfg(feature = "text")]
    ("text", "BM25 against tantivy and SQLite's FTS5", text::run),
    #[cfg(feature = "vector")]
    ("vector", "nearest vectors against usearch, hnsw_rs and plain scans", vector::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let part = arguments.first().and_then(|name| PARTS.iter().find(|(known, _, _)| known == name));
    let Some((_, _, run)) = part else {
        eprintln!("usage: steadfast-peers <what> [options]");
        for (name, about, _) in PARTS {
            eprintln!("  {name:<8}{about}");
        }
        return ExitCode::from(2);
    };
    match run(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
