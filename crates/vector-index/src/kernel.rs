//! The arithmetic: dot products of codes, and exact scores of the originals.
//!
//! Codes are whole numbers from -127 to 127, stored with 128 added: the fast instruction multiplies
//! unsigned by signed bytes. A query keeps its codes signed, and 128 times their sum is subtracted
//! again. Sums of codes are exact.
//!
//! Scores of the originals are the same bits on every machine: products and sums are plain `f64`
//! operations in a fixed number of lanes, added up in a fixed order; the instruction set only says
//! how many lanes go at once.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod x86;

/// Bytes of a cache line; a row of codes is a whole number of these.
pub(crate) const LINE: usize = 64;

/// Sixty-four codes, aligned to a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; LINE]);

/// The offset of a stored code.
pub(crate) const OFFSET: u8 = 128;

/// A line of zero codes.
pub(crate) const ZERO_LINE: Line = Line([OFFSET; LINE]);

/// One side of a dot product: signed codes, and their sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signed {
    lines: Vec<Line>,
    sum: i32,
}

impl Signed {
    /// Copies the codes of a stored row.
    pub(crate) fn set(&mut self, row: &[Line]) {
        self.lines.clear();
        let mut sum = 0;
        for line in row {
            let signed = line.0.map(|code| code ^ OFFSET);
            sum += signed.iter().map(|&code| i32::from(code.cast_signed())).sum::<i32>();
            self.lines.push(Line(signed));
        }
        self.sum = sum;
    }

    pub(crate) fn of(row: &[Line]) -> Self {
        let mut signed = Self::default();
        signed.set(row);
        signed
    }
}

/// The fastest kernels that this processor runs.
struct Kernels {
    name: &'static str,
    /// Raw products of the signed codes with `out.len()` rows in sequence.
    sequence: fn(&[Line], &[Line], &mut [i32]),
    /// The same with the rows of these numbers.
    gather: Gather,
    dot: fn(&[f32], &[f32]) -> f64,
    distance: fn(&[f32], &[f32]) -> f64,
    quantise: Quantise,
}

/// Arguments: the signed codes, all rows, the numbers of the rows to multiply, and their products.
type Gather = fn(&[Line], &[Line], &[u32], &mut [i32]);

/// Arguments: values, the largest absolute value, the value of code 1, the codes, and the
/// differences that they make.
type Quantise = fn(&[f32], f32, f32, &mut [Line], &mut [f32]);

fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<&'static Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernels) = x86::best() {
            return kernels;
        }
        &PORTABLE
    })
}

/// Returns the name of the instruction set that is used on this machine.
pub fn instruction_set() -> &'static str {
    kernels().name
}

/// Computes the dot products of `query` with consecutive rows, the first of which begins at
/// `rows[0]`.
pub(crate) fn dots_in_sequence(query: &Signed, rows: &[Line], out: &mut [i32]) {
    assert!(rows.len() >= query.lines.len() * out.len(), "rows end before the last product");
    (kernels().sequence)(&query.lines, rows, out);
    take_offset_off(query, out);
}

/// Computes the dot products of `query` with the rows of these numbers, in this order.
pub(crate) fn dots_of(query: &Signed, rows: &[Line], numbers: &[u32], out: &mut [i32]) {
    assert_eq!(numbers.len(), out.len());
    let held = rows.len() / query.lines.len();
    assert!(numbers.iter().all(|&row| (row as usize) < held), "a row past the end");
    (kernels().gather)(&query.lines, rows, numbers, out);
    take_offset_off(query, out);
}

fn take_offset_off(query: &Signed, out: &mut [i32]) {
    let offset = query.sum * i32::from(OFFSET);
    for dot in out {
        *dot -= offset;
    }
}

/// Returns the dot product of two vectors of equal length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    (kernels().dot)(a, b)
}

/// Returns the squared Euclidean distance of two vectors of equal length.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    (kernels().distance)(a, b)
}

/// Writes the code of each value, and the difference that it makes. `scale` is `largest / 127`,
/// rounded.
pub(crate) fn quantise(
    values: &[f32],
    largest: f32,
    scale: f32,
    codes: &mut [Line],
    differences: &mut [f32],
) {
    (kernels().quantise)(values, largest, scale, codes, differences);
}

/// Prefetches the line that holds an element.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if at < slice.len() {
        // SAFETY: the address is inside the slice, and a prefetch reads nothing that the program
        // could see.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().add(at).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at);
}

static PORTABLE: Kernels = Kernels {
    name: "portable",
    sequence: |query, rows, out| {
        for (row, out) in rows.chunks_exact(query.len()).zip(out) {
            *out = raw_dot(query, row);
        }
    },
    gather: |query, rows, numbers, out| {
        for (&number, out) in numbers.iter().zip(out) {
            *out = raw_dot(query, &rows[number as usize * query.len()..][..query.len()]);
        }
    },
    dot: lanes_dot,
    distance: lanes_distance,
    quantise: quantise_lines,
};

fn raw_dot(query: &[Line], row: &[Line]) -> i32 {
    let pairs = query.iter().zip(row).flat_map(|(query, row)| query.0.iter().zip(&row.0));
    pairs.map(|(&query, &code)| i32::from(query.cast_signed()) * i32::from(code)).sum()
}

/// Lanes of a sum: enough to keep several vector units busy.
const LANES: usize = 32;

/// The body of `dot` for every instruction set. The product of two `f32` is exact in `f64`.
#[expect(clippy::inline_always, reason = "compiled once for each instruction set, inside its function")]
#[inline(always)]
fn lanes_dot(a: &[f32], b: &[f32]) -> f64 {
    lanes(a, b, |a, b| a * b)
}

/// The body of `distance` for every instruction set.
#[expect(clippy::inline_always, reason = "compiled once for each instruction set, inside its function")]
#[inline(always)]
fn lanes_distance(a: &[f32], b: &[f32]) -> f64 {
    lanes(a, b, |a, b| (a - b) * (a - b))
}

#[expect(clippy::inline_always, reason = "compiled once for each instruction set, inside its function")]
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] += term(f64::from(a[lane]), f64::from(b[lane]));
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += term(f64::from(a), f64::from(b));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The body of `quantise` for every instruction set.
#[expect(clippy::inline_always, reason = "compiled once for each instruction set, inside its function")]
#[inline(always)]
fn quantise_lines(values: &[f32], largest: f32, scale: f32, codes: &mut [Line], differences: &mut [f32]) {
    let inverse = if largest > 0.0 { 127.0 / f64::from(largest) } else { 0.0 };
    let scale = f64::from(scale);
    let lines = values.chunks(LINE).zip(codes).zip(differences.chunks_mut(LINE));
    for ((values, codes), differences) in lines {
        for ((&value, code), difference) in values.iter().zip(&mut codes.0).zip(differences) {
            // Half away from zero; at most 127, since no value is larger than the largest.
            let scaled = f64::from(value) * inverse;
            let rounded = (scaled + 0.5f64.copysign(scaled)).clamp(-127.0, 127.0);
            // SAFETY: the clamp has left a number that fits, for no value is NaN.
            let rounded: i32 = unsafe { rounded.to_int_unchecked() };
            *code = (rounded + i32::from(OFFSET)) as u8;
            *difference = (f64::from(value) - scale * f64::from(rounded)) as f32;
        }
    }
}

#[cfg(test)]
mod tests;
