//! Memory in large pages: a walk reads another page with every row, and its misses in the
//! translation buffer would cost more than the row.

/// Bytes of an allocation from which on large pages are requested.
const LARGE: usize = 4 << 20;

/// Creates a vector with capacity for `count` elements, in large pages if the system has some.
pub(crate) fn with_capacity<T>(count: usize) -> Vec<T> {
    let vector: Vec<T> = Vec::with_capacity(count);
    let bytes = vector.capacity() * size_of::<T>();
    if bytes >= LARGE {
        request_large_pages(vector.as_ptr().addr(), bytes);
    }
    vector
}

#[cfg(target_os = "linux")]
fn request_large_pages(address: usize, bytes: usize) {
    const PAGE: usize = 4096;
    let start = address.next_multiple_of(PAGE);
    let length = (address + bytes - start) / PAGE * PAGE;
    // SAFETY: the range is inside an allocation of ours, and the advice changes no contents. It
    // only affects speed, so the result is ignored.
    unsafe {
        libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn request_large_pages(_: usize, _: usize) {}
