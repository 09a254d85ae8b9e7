//! The reference: a queue, one thread, one write and one `fdatasync` a batch into a zero-filled file. Nothing is
//! checked, encoded, applied, indexed or published.
//!
//! It is built to be as fast as such a log can be: the queue is a vector under a mutex, swapped whole; answers are put down
//! together, in two groups; the first caller of each is woken by the log's thread and wakes the others from inside the runtime; the
//! file's blocks are written before the clock starts; batches are whole pages, written past the operating system's cache and synced by
//! the same call.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::load::{Rate, run};

const FILE_BYTES: usize = 1 << 30;
const COMMAND_BYTES: usize = 1024;
const PAGE_BYTES: usize = 4096;

#[derive(Default)]
struct Queue {
    waiting: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    commands: Vec<(Vec<u8>, Arc<Slot>)>,
    asleep: bool,
    closed: bool,
}

#[derive(Default)]
struct Slot {
    done: AtomicBool,
    waker: Mutex<(Option<Waker>, Option<WakeList>)>,
}

type WakeList = Arc<Mutex<Vec<Waker>>>;

struct Acknowledged(Arc<Slot>);

impl Future for Acknowledged {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = self.0.waker.lock().expect("no panic");
        if !self.0.done.load(Ordering::Relaxed) {
            waker.0 = Some(context.waker().clone());
            return Poll::Pending;
        }
        let rest = waker.1.take();
        drop(waker);
        if let Some(rest) = rest {
            let rest = std::mem::take(&mut *rest.lock().expect("no panic"));
            rest.into_iter().for_each(Waker::wake);
        }
        Poll::Ready(())
    }
}

impl Queue {
    fn append(&self, command: Vec<u8>) -> Acknowledged {
        let slot = Arc::new(Slot::default());
        let mut state = self.waiting.lock().expect("no panic");
        state.commands.push((command, Arc::clone(&slot)));
        let asleep = state.asleep;
        drop(state);
        if asleep {
            self.work.notify_one();
        }
        Acknowledged(slot)
    }

    /// Returns how many syncs it made.
    fn serve(&self, file: &File) -> usize {
        let (mut batch, mut offset, mut syncs) = (Vec::new(), 0, 0);
        // Large enough never to move, so that what is written begins at a page in memory as well.
        let mut buffer: Vec<u8> = Vec::with_capacity(4 << 20);
        let start = buffer.as_ptr().align_offset(PAGE_BYTES);
        buffer.resize(start, 0);
        loop {
            let mut state = self.waiting.lock().expect("no panic");
            while state.commands.is_empty() {
                if state.closed {
                    return syncs;
                }
                state.asleep = true;
                state = self.work.wait(state).expect("no panic");
                state.asleep = false;
            }
            std::mem::swap(&mut state.commands, &mut batch);
            drop(state);
            buffer.truncate(start);
            for (command, _) in &batch {
                buffer.extend(command);
            }
            buffer.resize(start + (buffer.len() - start).next_multiple_of(PAGE_BYTES), 0);
            if offset + buffer.len() > FILE_BYTES {
                offset = 0;
            }
            // Synced when it returns: the file is opened so.
            file.write_all_at(&buffer[start..], offset as u64).expect("written and synced");
            offset += buffer.len() - start;
            syncs += 1;
            let group = batch.len().div_ceil(2);
            while !batch.is_empty() {
                answer(batch.drain(batch.len().saturating_sub(group)..));
            }
        }
    }
}

/// Puts down the answers of a group and wakes its first caller, who wakes the others.
fn answer(group: impl ExactSizeIterator<Item = (Vec<u8>, Arc<Slot>)>) {
    let list = Arc::new(Mutex::new(Vec::with_capacity(group.len())));
    let mut wakers = list.lock().expect("no panic");
    for (_, slot) in group {
        let mut waker = slot.waker.lock().expect("no panic");
        slot.done.store(true, Ordering::Relaxed);
        waker.1 = Some(Arc::clone(&list));
        wakers.extend(waker.0.take());
    }
    let first = wakers.pop();
    drop(wakers);
    if let Some(first) = first {
        first.wake();
    }
}

/// Opens the file for synced writes past the cache; it is written all over with zeros the first time.
fn zeroed_file(dir: &Path) -> File {
    let path = dir.join("raw");
    if !path.exists() {
        let file = OpenOptions::new().create_new(true).write(true).open(&path).expect("a file");
        let zeros = vec![0; 1 << 20];
        (0..FILE_BYTES >> 20).for_each(|at| file.write_all_at(&zeros, (at << 20) as u64).expect("zeroed"));
        file.sync_all().expect("synced");
    }
    let mut options = OpenOptions::new();
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_DIRECT | libc::O_DSYNC);
    options
        .write(true)
        .open(path)
        .expect("a file system that writes past its cache, as the store's is to be compared with it")
}

/// Appends from `width` tasks for `time`.
pub(crate) fn measure(dir: &Path, width: usize, time: Duration) -> Rate {
    let file = zeroed_file(dir);
    let queue = Arc::new(Queue::default());
    let syncs = Arc::new(AtomicUsize::new(0));
    let log = {
        let (queue, syncs) = (Arc::clone(&queue), Arc::clone(&syncs));
        std::thread::spawn(move || syncs.store(queue.serve(&file), Ordering::Relaxed))
    };
    let load = run(width, time, |_| {
        let (queue, command) = (Arc::clone(&queue), vec![7; COMMAND_BYTES]);
        move |_| queue.append(command.clone())
    });
    queue.waiting.lock().expect("no panic").closed = true;
    queue.work.notify_one();
    log.join().expect("no panic");
    Rate::new(&load, syncs.load(Ordering::Relaxed) as u64)
}
