//! Work on many things, as many at the same time as there are processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many things are worked on at the same time.
pub(crate) fn width() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Calls `work` once with each item, and returns when all calls have. They begin in the order of the items.
pub(crate) fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..width() {
            scope.spawn(|| {
                // Relaxed: each index is taken once, and the items don't change.
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once() {
        let items: Vec<AtomicUsize> = (0..100).map(AtomicUsize::new).collect();
        for_each(&items, |item| {
            item.fetch_add(1_000, Ordering::Relaxed);
        });
        let expected: Vec<usize> = (1_000..1_100).collect();
        let found: Vec<usize> = items.into_iter().map(AtomicUsize::into_inner).collect();
        assert_eq!(found, expected);
    }
}
