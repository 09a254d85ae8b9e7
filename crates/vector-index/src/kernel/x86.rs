//! The kernels of x86-64: AVX-512 with byte products (VNNI), and AVX2.

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_load_si256,
    _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_load_si512,
    _mm512_reduce_add_epi32, _mm512_setzero_si512,
};

use super::{Kernels, Line, lanes_distance, lanes_dot, quantise_lines};

/// Returns the best kernels that this processor has; none before AVX2.
pub(super) fn best() -> Option<&'static Kernels> {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
    {
        return Some(&AVX512);
    }
    is_x86_feature_detected!("avx2").then_some(&AVX2)
}

// Only `best` hands out a table, after it has checked the processor.
static AVX512: Kernels = Kernels {
    name: "avx512vnni",
    // SAFETY: the processor has the instructions, see `best`; the callers in `kernel` checked the
    // lengths.
    sequence: |query, rows, out| unsafe { sequence_512(query, rows, out) },
    // SAFETY: as above.
    gather: |query, rows, numbers, out| unsafe { gather_512(query, rows, numbers, out) },
    // SAFETY: the processor has the instructions.
    dot: |a, b| unsafe { dot_512(a, b) },
    // SAFETY: the processor has the instructions.
    distance: |a, b| unsafe { distance_512(a, b) },
    // SAFETY: the processor has the instructions.
    quantise: |values, largest, scale, codes, lost| unsafe {
        quantise_512(values, largest, scale, codes, lost);
    },
};

pub(super) static AVX2: Kernels = Kernels {
    name: "avx2",
    // SAFETY: the processor has the instructions, see `best`; the callers in `kernel` checked the
    // lengths.
    sequence: |query, rows, out| unsafe { sequence_256(query, rows, out) },
    // SAFETY: as above.
    gather: |query, rows, numbers, out| unsafe { gather_256(query, rows, numbers, out) },
    // SAFETY: the processor has the instructions.
    dot: |a, b| unsafe { dot_256(a, b) },
    // SAFETY: the processor has the instructions.
    distance: |a, b| unsafe { distance_256(a, b) },
    // SAFETY: the processor has the instructions.
    quantise: |values, largest, scale, codes, lost| unsafe {
        quantise_256(values, largest, scale, codes, lost);
    },
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn dot_512(a: &[f32], b: &[f32]) -> f64 {
    lanes_dot(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn distance_512(a: &[f32], b: &[f32]) -> f64 {
    lanes_distance(a, b)
}

#[target_feature(enable = "avx2")]
fn dot_256(a: &[f32], b: &[f32]) -> f64 {
    lanes_dot(a, b)
}

#[target_feature(enable = "avx2")]
fn distance_256(a: &[f32], b: &[f32]) -> f64 {
    lanes_distance(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quantise_512(values: &[f32], largest: f32, scale: f32, codes: &mut [Line], differences: &mut [f32]) {
    quantise_lines(values, largest, scale, codes, differences);
}

#[target_feature(enable = "avx2")]
fn quantise_256(values: &[f32], largest: f32, scale: f32, codes: &mut [Line], differences: &mut [f32]) {
    quantise_lines(values, largest, scale, codes, differences);
}

/// Rows in flight: their loads overlap, and each load of the query serves them all.
const ROWS: usize = 4;

/// Lines that a sequential scan prefetches: two pages, because the processor's own prefetcher stops
/// at the end of a page.
const AHEAD: usize = 96;

/// # Safety
/// Each of the pointers has `query.len()` lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn products_512<const N: usize, const AHEAD: usize>(
    query: &[Line],
    rows: [*const Line; N],
) -> [i32; N] {
    let mut sums = [_mm512_setzero_si512(); N];
    let mut more = [_mm512_setzero_si512(); N];
    let mut at = 0;
    while at + 2 <= query.len() {
        // SAFETY: `at + 1` is inside the query and, by the caller's promise, inside each row; lines
        // are aligned.
        unsafe {
            let first = _mm512_load_si512(query.as_ptr().add(at).cast::<__m512i>());
            let second = _mm512_load_si512(query.as_ptr().add(at + 1).cast::<__m512i>());
            for row in 0..N {
                if AHEAD > 0 {
                    _mm_prefetch::<_MM_HINT_T0>(rows[row].wrapping_add(at + AHEAD).cast());
                    _mm_prefetch::<_MM_HINT_T0>(rows[row].wrapping_add(at + AHEAD + 1).cast());
                }
                let codes = _mm512_load_si512(rows[row].add(at).cast::<__m512i>());
                sums[row] = _mm512_dpbusd_epi32(sums[row], codes, first);
                let codes = _mm512_load_si512(rows[row].add(at + 1).cast::<__m512i>());
                more[row] = _mm512_dpbusd_epi32(more[row], codes, second);
            }
        }
        at += 2;
    }
    if at < query.len() {
        // SAFETY: as above.
        unsafe {
            let first = _mm512_load_si512(query.as_ptr().add(at).cast::<__m512i>());
            for row in 0..N {
                let codes = _mm512_load_si512(rows[row].add(at).cast::<__m512i>());
                sums[row] = _mm512_dpbusd_epi32(sums[row], codes, first);
            }
        }
    }
    let mut out = [0; N];
    for row in 0..N {
        out[row] = _mm512_reduce_add_epi32(std::arch::x86_64::_mm512_add_epi32(sums[row], more[row]));
    }
    out
}

/// # Safety
/// `rows` has `query.len() * out.len()` lines.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn sequence_512(query: &[Line], rows: &[Line], out: &mut [i32]) {
    let lines = query.len();
    let (fours, rest) = out.as_chunks_mut::<ROWS>();
    let done = fours.len() * ROWS;
    for (four, out) in fours.iter_mut().enumerate() {
        // SAFETY: rows up to `out.len()` are inside by the caller's promise; a prefetch may point
        // anywhere.
        unsafe {
            let at = rows.as_ptr().add(four * ROWS * lines);
            *out =
                products_512::<ROWS, AHEAD>(query, [at, at.add(lines), at.add(2 * lines), at.add(3 * lines)]);
        }
    }
    for (row, out) in rest.iter_mut().enumerate() {
        // SAFETY: as above.
        [*out] = unsafe { products_512::<1, 0>(query, [rows.as_ptr().add((done + row) * lines)]) };
    }
}

/// # Safety
/// Each of the numbers is that of a row inside `rows`; there are as many as `out` has elements.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn gather_512(query: &[Line], rows: &[Line], numbers: &[u32], out: &mut [i32]) {
    // SAFETY: the rows are inside by the caller's promise.
    let at = |number: u32| unsafe { rows.as_ptr().add(number as usize * query.len()) };
    let (fours, rest) = out.as_chunks_mut::<ROWS>();
    let (four_numbers, rest_numbers) = numbers.as_chunks::<ROWS>();
    for (numbers, out) in four_numbers.iter().zip(fours) {
        // SAFETY: each pointer is that of a whole row.
        *out = unsafe { products_512::<ROWS, 0>(query, numbers.map(at)) };
    }
    for (&number, out) in rest_numbers.iter().zip(rest) {
        // SAFETY: as above.
        [*out] = unsafe { products_512::<1, 0>(query, [at(number)]) };
    }
}

/// # Safety
/// The pointer has `query.len()` lines.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn product_256(query: &[Line], row: *const Line) -> i32 {
    let mut sums = [_mm256_setzero_si256(); 2];
    for at in 0..query.len() {
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `at` is inside the query and the row; a line is two halves of 32 bytes, each
            // aligned.
            let (query, codes) = unsafe {
                let query = _mm256_load_si256(query.as_ptr().add(at).cast::<__m256i>().add(half));
                (query, _mm256_load_si256(row.add(at).cast::<__m256i>().add(half)))
            };
            let low = _mm256_madd_epi16(
                _mm256_cvtepi8_epi16(_mm256_castsi256_si128(query)),
                _mm256_cvtepu8_epi16(_mm256_castsi256_si128(codes)),
            );
            let high = _mm256_madd_epi16(
                _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(query)),
                _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(codes)),
            );
            *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(low, high));
        }
    }
    let mut lanes = [0i32; 8];
    // SAFETY: the array has the 32 bytes that are written; no alignment is required.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), _mm256_add_epi32(sums[0], sums[1])) };
    lanes.iter().sum()
}

/// # Safety
/// `rows` has `query.len() * out.len()` lines.
#[target_feature(enable = "avx2")]
unsafe fn sequence_256(query: &[Line], rows: &[Line], out: &mut [i32]) {
    for (row, out) in out.iter_mut().enumerate() {
        // SAFETY: the row is inside by the caller's promise.
        *out = unsafe { product_256(query, rows.as_ptr().add(row * query.len())) };
    }
}

/// # Safety
/// Each of the numbers is that of a row inside `rows`; there are as many as `out` has elements.
#[target_feature(enable = "avx2")]
unsafe fn gather_256(query: &[Line], rows: &[Line], numbers: &[u32], out: &mut [i32]) {
    for (&number, out) in numbers.iter().zip(out) {
        // SAFETY: the row is inside by the caller's promise.
        *out = unsafe { product_256(query, rows.as_ptr().add(number as usize * query.len())) };
    }
}
