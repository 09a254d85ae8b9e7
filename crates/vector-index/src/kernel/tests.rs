//! Every kernel that this machine can run gives the portable one's bits.

use steadfast_testkit::TestRng;

use super::*;

fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = TestRng::new(seed);
    (0..count).map(|_| 3.0 * rng.signed_unit()).collect()
}

fn rows(lines: usize) -> Vec<Line> {
    let mut rng = TestRng::new(7);
    // A stored code is never 0.
    (0..lines).map(|_| Line(std::array::from_fn(|_| rng.below(255) as u8 + 1))).collect()
}

fn available() -> Vec<&'static Kernels> {
    let mut all = vec![kernels()];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        all.push(&x86::AVX2);
    }
    all
}

#[test]
fn products_of_codes_are_those_of_the_portable_kernel() {
    for kernels in available() {
        for lines in [1, 2, 3, 24] {
            let rows = rows(lines * 11);
            let mut query = Signed::of(&rows[..lines]);
            query.lines[0].0[5] = 0x81; // -127
            let mut expected = [0; 11];
            (PORTABLE.sequence)(&query.lines, &rows, &mut expected);
            let mut found = [0; 11];
            (kernels.sequence)(&query.lines, &rows, &mut found);
            assert_eq!(found, expected, "{} {lines}", kernels.name);
            let order = [10u32, 0, 3, 3, 7, 1, 2];
            let mut found = [0; 7];
            (kernels.gather)(&query.lines, &rows, &order, &mut found);
            assert_eq!(found, order.map(|row| expected[row as usize]), "{} {lines}", kernels.name);
        }
    }
}

#[test]
fn exact_scores_are_the_same_bits_on_every_instruction_set() {
    for kernels in available() {
        for length in [1, 2, 31, 32, 33, 128, 1536] {
            let (a, b) = (floats(1, length), floats(2, length));
            assert_eq!((kernels.dot)(&a, &b).to_bits(), lanes_dot(&a, &b).to_bits(), "{length}");
            assert_eq!((kernels.distance)(&a, &b).to_bits(), lanes_distance(&a, &b).to_bits(), "{length}");
        }
    }
}

#[test]
fn codes_are_the_same_on_every_instruction_set() {
    for kernels in available() {
        for length in [1, 63, 64, 65, 1536] {
            let values = floats(3, length);
            let made = |quantise: Quantise| {
                let mut codes = vec![ZERO_LINE; length.div_ceil(LINE)];
                let mut differences = vec![0.0; length];
                quantise(&values, 3.0, 3.0 / 127.0, &mut codes, &mut differences);
                (codes, differences)
            };
            assert_eq!(made(kernels.quantise), made(quantise_lines), "{} {length}", kernels.name);
        }
    }
}

#[test]
fn the_offset_is_taken_off_and_padding_counts_nothing() {
    let mut row = ZERO_LINE;
    (row.0[0], row.0[1]) = (OFFSET + 3, OFFSET - 5);
    let mut other = ZERO_LINE;
    (other.0[0], other.0[1]) = (OFFSET - 127, OFFSET + 127);
    let mut out = [0];
    dots_in_sequence(&Signed::of(&[row]), &[other], &mut out);
    assert_eq!(out, [3 * -127 - 5 * 127]);
    dots_of(&Signed::of(&[row]), &[ZERO_LINE, row], &[1], &mut out);
    assert_eq!(out, [9 + 25]);
}
