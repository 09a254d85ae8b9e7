//! A posting's class: the count and the document's length in one byte, as far as a score bound
//! needs them.
//!
//! BM25's weight of a term in a document is its idf times a *saturation* that rises with the count
//! and falls with the length. A class is a count (1 to 7, or more) and a range of lengths; its
//! bound is the saturation at the largest count and the least length. A query computes the 256
//! bounds once per segment, for the current mean length, so nothing stored depends on the mean.

/// Ranges of length; the low bits of a class are the number of its range.
const RANGES: usize = 32;
const RANGE_BITS: u32 = 5;
/// The last group of counts: this many or more.
pub(crate) const HIGH_COUNT: u8 = 8;

pub(crate) const K1: f64 = 1.2;
pub(crate) const B: f64 = 0.75;

/// Returns the length factor of BM25.
pub(crate) fn norm(length: u32, mean_length: f64) -> f64 {
    K1 * (1.0 - B + B * f64::from(length) / mean_length)
}

/// Returns the part of a term's score in (0, 1), written so that each floating-point operation is
/// monotone: a higher count or a lower norm never gives less.
pub(crate) fn saturation(count: u8, norm: f64) -> f64 {
    1.0 / (1.0 + norm * INVERSE[usize::from(count)])
}

/// 1 / count, falling.
const INVERSE: [f64; 256] = {
    let mut inverse = [f64::INFINITY; 256];
    let mut count = 1;
    while count < 256 {
        inverse[count] = 1.0 / count as f64;
        count += 1;
    }
    inverse
};

pub(crate) type Bounds = [f64; 256];

/// The ranges of length of one segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Classes {
    /// The least length of each range, ascending.
    floors: Vec<u32>,
    /// Whether each range is one length.
    exact: bool,
}

impl Classes {
    /// Ranges for these lengths: one a length if they are few, else as narrow as possible in
    /// proportion.
    pub(crate) fn new(mut lengths: Vec<u32>) -> Self {
        lengths.sort_unstable();
        lengths.dedup();
        if lengths.len() <= RANGES {
            return Self { floors: lengths, exact: true };
        }
        // The least ratio of a range's end to its beginning with which the ranges suffice.
        let (mut fails, mut suffices) = (1.0_f64, f64::from(u32::MAX));
        for _ in 0..40 {
            let ratio = (fails * suffices).sqrt();
            if ranges(&lengths, ratio).len() <= RANGES { suffices = ratio } else { fails = ratio }
        }
        Self { floors: ranges(&lengths, suffices), exact: false }
    }

    pub(crate) fn range(&self, length: u32) -> u8 {
        (self.floors.partition_point(|&floor| floor <= length).max(1) - 1) as u8
    }

    /// Returns, for each class of `other`, the class here, if the ranges there are of one length
    /// each; of classes with [`HIGH_COUNT`] only the range counts.
    pub(crate) fn translation_of(&self, there: &Self) -> Option<[u8; 256]> {
        let ranges: Vec<u8> = there.floors.iter().map(|&length| self.range(length)).collect();
        let here = |old: usize| {
            let range = ranges.get(usize::from(range_of(old as u8))).copied().unwrap_or(0);
            class(count_group(old as u8), range)
        };
        there.exact.then(|| std::array::from_fn(here))
    }

    /// Returns whether the bound of this class is the saturation itself.
    pub(crate) fn is_exact(&self, class: u8) -> bool {
        self.exact && count_group(class) < HIGH_COUNT
    }

    /// Returns the bound of each class for a mean length.
    pub(crate) fn bounds(&self, mean_length: f64) -> Bounds {
        let mut bounds = [0.0; 256];
        for (range, &floor) in self.floors.iter().enumerate() {
            let norm = norm(floor, mean_length);
            for count in 1..HIGH_COUNT {
                bounds[usize::from(class(count, range as u8))] = saturation(count, norm);
            }
            bounds[usize::from(class(HIGH_COUNT, range as u8))] = saturation(u8::MAX, norm);
        }
        bounds
    }
}

/// Returns the least lengths of ranges, none of which extends beyond `ratio` times its least
/// length.
fn ranges(lengths: &[u32], ratio: f64) -> Vec<u32> {
    let mut floors: Vec<u32> = Vec::new();
    for &length in lengths {
        if floors.last().is_none_or(|&floor| f64::from(length) > f64::from(floor.max(1)) * ratio) {
            floors.push(length);
            if floors.len() > RANGES {
                break;
            }
        }
    }
    floors
}

pub(crate) fn class(count: u8, range: u8) -> u8 {
    (count.min(HIGH_COUNT) - 1) << RANGE_BITS | range
}

/// Returns the count of a class; [`HIGH_COUNT`] means that or more.
pub(crate) fn count_group(class: u8) -> u8 {
    (class >> RANGE_BITS) + 1
}

fn range_of(class: u8) -> u8 {
    class & (RANGES as u8 - 1)
}

/// At most four classes that bound all of some postings: none of these has both a greater count and
/// a lesser length than each.
pub(crate) type Front = [u8; 4];

/// Collects the front of some postings.
pub(crate) struct FrontBuilder {
    /// The least range of each group of counts; [`RANGES`] for none.
    least: [u8; HIGH_COUNT as usize],
}

impl FrontBuilder {
    pub(crate) fn new() -> Self {
        Self { least: [RANGES as u8; HIGH_COUNT as usize] }
    }

    pub(crate) fn add(&mut self, class: u8) {
        let group = usize::from(count_group(class) - 1);
        self.least[group] = self.least[group].min(range_of(class));
    }

    pub(crate) fn finish(&self) -> Front {
        // From the highest count down: lower counts matter only with shorter documents.
        let mut corners = [(0_u8, 0_u8); HIGH_COUNT as usize];
        let (mut count, mut least) = (0, RANGES as u8);
        for (group, &range) in self.least.iter().enumerate().rev() {
            if range < least {
                corners[count] = (group as u8 + 1, range);
                (count, least) = (count + 1, range);
            }
        }
        while count > 4 {
            // Two neighbours become one that bounds both; the loss is least where the lengths are
            // nearest.
            let at = (1..count).min_by_key(|&at| corners[at - 1].1 - corners[at].1).unwrap_or(1);
            corners[at - 1].1 = corners[at].1;
            corners.copy_within(at + 1..count, at);
            count -= 1;
        }
        let last = corners[..count].last().map_or(0, |&(count, range)| class(count, range));
        let mut front = [last; 4];
        for (to, &(count, range)) in front.iter_mut().zip(&corners[..count]) {
            *to = class(count, range);
        }
        front
    }
}

/// Returns the greatest bound of a front's classes.
pub(crate) fn front_bound(front: Front, bounds: &Bounds) -> f64 {
    let [a, b, c, d] = front.map(|class| bounds[usize::from(class)]);
    a.max(b).max(c.max(d))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
            #[test]
            fn a_front_bounds_all_its_classes(classes in prop::collection::vec(any::<u8>(), 1..200), lengths in prop::collection::vec(1_u32..100_000, 1..100), mean in 1_f64..10_000.0) {
                let ranges = Classes::new(lengths.clone());
                let bounds = ranges.bounds(mean);
                let mut front = FrontBuilder::new();
                let present: Vec<u8> = classes.into_iter().filter(|&class| usize::from(range_of(class)) < ranges.floors.len()).collect();
                for &class in &present {
    front.add(class);
    }
                for &class in &present {
                    prop_assert!(bounds[usize::from(class)] <= front_bound(front.finish(), &bounds), "{class} {:?} {:?}", front.finish(), front.least);
                }
                for length in lengths {
                    for count in [1, 2, 7, 8, 9, 255] {
                        let class = class(count, ranges.range(length));
                        let own = saturation(count, norm(length, mean));
                        prop_assert!(own <= bounds[usize::from(class)]);
                        prop_assert!(!ranges.is_exact(class) || own == bounds[usize::from(class)]);
                    }
                }
            }
        }
}
