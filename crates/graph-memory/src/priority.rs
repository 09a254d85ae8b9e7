//! Threads that work in the background give way to those that somebody waits for.
//!
//! A processor that is shared by a search and a build would else be the build's for as long as the
//! system lets a thread run in one piece, which is milliseconds.

/// How far a background thread steps back: a "nice" value, which gives it about a tenth of what any
/// other thread gets of a processor that both want. All of one that nobody else wants is still its
/// own.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the priority of the calling thread. Where the system doesn't know or doesn't allow that,
/// nothing happens, and nothing but speed depends on it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "there is no safe way in the standard library")]
pub(crate) fn step_back() {
    // SAFETY: a system call without pointers. On Linux a priority belongs to a thread, and 0 is the
    // one that calls.
    let _refused = unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, NICE) };
}

/// Elsewhere a priority belongs to all of a process.
#[cfg(not(target_os = "linux"))]
pub(crate) fn step_back() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The "nice" value of the calling thread, as the system tells it.
    fn nice() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // Behind the name, which may hold anything, it is the 17th field.
        stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_steps_back_alone() {
        let before = nice();
        let after = std::thread::spawn(|| {
            step_back();
            nice()
        });
        assert_eq!(after.join().unwrap(), before.max(NICE));
        assert_eq!(nice(), before, "other threads stay as they are");
    }
}
