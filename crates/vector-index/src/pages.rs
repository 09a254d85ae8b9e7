//! Memory in large pages: a walk goes to a new page with every row, and looking these up would cost more than the row.

/// From here on large pages are asked for.
const LARGE: usize = 4 << 20;

/// A vector with room for `count` elements, in large pages where the system has them to give.
pub(crate) fn with_capacity<T>(count: usize) -> Vec<T> {
    let room: Vec<T> = Vec::with_capacity(count);
    let bytes = room.capacity() * size_of::<T>();
    if bytes >= LARGE {
        ask_for_large_pages(room.as_ptr().addr(), bytes);
    }
    room
}

#[cfg(target_os = "linux")]
fn ask_for_large_pages(address: usize, bytes: usize) {
    const PAGE: usize = 4096;
    let start = address.next_multiple_of(PAGE);
    let length = (address + bytes - start) / PAGE * PAGE;
    // SAFETY: the range is inside an allocation of ours, and the advice changes no contents. Whether it is taken makes
    // no difference but in speed, so the answer is of no interest.
    unsafe {
        libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: usize, _: usize) {}
