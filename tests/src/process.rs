//! What this process uses, as the operating system tells it: resident memory, and processor time.
//!
//! Only Linux is asked, by `/proc`; elsewhere there are no figures, and whoever wants them says so in its report.

use std::fs;
use std::time::{Duration, Instant};

/// Less than so much of one processor is rest.
const REST: f64 = 0.1;
/// It must last for so long, twice: while the whole machine stands still nobody does anything either.
const REST_FOR: Duration = Duration::from_millis(300);
const RESTS: u32 = 2;

/// Resident memory in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Waits until the process does nothing, at most `longest`: until indexes are built and threads that idle are gone. Tells whether
/// it came to rest; without figures it waits a second and hopes so.
pub(crate) async fn rest(longest: Duration) -> bool {
    let began = Instant::now();
    let (mut since, mut used, mut rests) = (began, ticks(), 0);
    let Some(_) = used else {
        tokio::time::sleep(longest.min(Duration::from_secs(1))).await;
        return true;
    };
    while began.elapsed() < longest {
        tokio::time::sleep(REST_FOR).await;
        let now = ticks();
        // `/proc` counts in hundredths of a second wherever Linux runs.
        let busy = used.zip(now).map_or(0, |(before, now)| now - before) as f64 / 100.0;
        // Later than twice the time, so that nobody knows what it was spent with, says nothing.
        let slept = since.elapsed();
        if busy >= REST * slept.as_secs_f64() {
            rests = 0;
        } else if slept < 2 * REST_FOR {
            rests += 1;
        }
        if rests == RESTS {
            return true;
        }
        (since, used) = (Instant::now(), now);
    }
    false
}

fn ticks() -> Option<u64> {
    processor_ticks(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The line `VmRSS:  1234 kB`.
fn resident(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// User and system time: the 14th and 15th field. The second, a name, may hold spaces and parentheses.
fn processor_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        assert_eq!(resident("VmPeak:\t  9 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1_263_616));
        assert_eq!(resident("VmPeak:\t  9 kB\n"), None);
        let stat = "4242 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0 1 2 3";
        assert_eq!(processor_ticks(stat), Some(42));
        assert_eq!(processor_ticks("4242 (short) S 1"), None);
    }
}
