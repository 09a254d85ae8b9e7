//! From text to vectors.

use steadfast_memory_api::{Limits, MemoryError, Problem};
use steadfast_text_index::for_each_token;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes vectors of texts, so that texts that mean alike lie near each other.
///
/// **Synchronous**, and it can't fail: it is for models that run in this process, on the caller's
/// thread. Whoever asks a service for vectors waits for it and handles its errors before the memory
/// is asked, and gives the vector to [`Allocate::vector`](crate::Allocate::vector) or
/// [`Search::vector`](crate::Search::vector); so no write ever waits for a network.
///
/// An implementation promises: as many components as [`dimensions`](Self::dimensions) tells, all
/// finite, not all 0 (cosine needs a direction), also for the empty text; and the same vector for
/// the same text, or what is stored can't be compared with what is looked for.
///
/// ```
/// use steadfast_graph_memory::{Allocate, Embedder, Lexical};
///
/// let embedder: &dyn Embedder = &Lexical::default();
/// let text = "Customers prefer invoices by e-mail";
/// let request = Allocate::new(text).vector(embedder.embed(text));
/// assert_eq!(request.vector.map(|vector| vector.len()), Some(embedder.dimensions()));
/// ```
pub trait Embedder: Send + Sync {
    /// How many components every vector has.
    fn dimensions(&self) -> usize;

    /// The vector of `text`.
    fn embed(&self, text: &str) -> Vec<f32>;
}

/// An embedder for tests and demonstrations: it knows how words are **written**, not what they
/// mean.
///
/// It is no neural model. Texts that share words, or words that share three characters in a row,
/// come near each other (`invoice` and `invoices`); synonyms don't. Whoever wants meaning brings a
/// model of their own.
///
/// The features of a text are its words, as the text index cuts them, and the runs of three
/// characters of each word with its ends marked. A feature's hash chooses a component and a sign
/// (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009); a feature
/// counts by the square root of how often it occurs, a run a quarter of a word. The vector is
/// brought to length 1. Features are summed in the order of their hashes by plain IEEE arithmetic:
/// equal texts have equal bits on every machine. The order of words doesn't count.
///
/// A text without words, the empty one too, gets the unit vector of a feature of its own, far from
/// all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lexical {
    dimensions: usize,
}

/// Seeds of the hashes of words, of runs of characters, and of no words. A change of these changes
/// every vector.
const WORD: u64 = u64::from_le_bytes(*b"lex:word");
const RUN: u64 = u64::from_le_bytes(*b"lex:run3");
const NOTHING: u64 = u64::from_le_bytes(*b"lex:none");

const RUN_CHARS: usize = 3;
const WORD_WEIGHT: f64 = 1.0;
const RUN_WEIGHT: f64 = 0.25;

impl Lexical {
    /// An embedder that makes vectors of so many dimensions, from 1 to 4096 (the default limit). A
    /// few hundred keep features apart.
    ///
    /// # Errors
    /// `Invalid`, with `dimensions`, for any other number.
    pub fn new(dimensions: usize) -> Result<Self, MemoryError> {
        let max = Limits::default().vector_dimensions;
        if (1..=max).contains(&dimensions) {
            return Ok(Self { dimensions });
        }
        let problem = Problem::OutOfRange { found: dimensions as f64, min: 1.0, max: max as f64 };
        Err(MemoryError::invalid("dimensions", problem))
    }

    /// The component that a feature falls on, and its sign there.
    fn place(self, feature: u64) -> (usize, f64) {
        // The high bits choose the component, the lowest the sign.
        let at = (u128::from(feature >> 1) * self.dimensions as u128) >> 63;
        (at as usize, if feature & 1 == 0 { 1.0 } else { -1.0 })
    }
}

/// 384 dimensions.
impl Default for Lexical {
    fn default() -> Self {
        Self { dimensions: 384 }
    }
}

impl Embedder for Lexical {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, text: &str) -> Vec<f32> {
        let (mut words, mut runs) = (Vec::new(), Vec::new());
        let mut marked = String::new();
        for_each_token(text, &mut |token: &str| {
            words.push(xxh3_64_with_seed(token.as_bytes(), WORD));
            marked.clear();
            // No token holds these.
            marked.push('<');
            marked.push_str(token);
            marked.push('>');
            for_each_run(&marked, &mut |run| runs.push(xxh3_64_with_seed(run.as_bytes(), RUN)));
        });
        let mut sums = vec![0.0; self.dimensions];
        self.add(&mut words, WORD_WEIGHT, &mut sums);
        self.add(&mut runs, RUN_WEIGHT, &mut sums);
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        if length > 0.0 {
            return sums.into_iter().map(|sum| (sum / length) as f32).collect();
        }
        // No words; or, in very few dimensions, words that cancel each other.
        let (at, sign) = self.place(xxh3_64_with_seed(&[], NOTHING));
        let mut unit = vec![0.0; self.dimensions];
        unit[at] = sign as f32;
        unit
    }
}

impl Lexical {
    /// Adds features, each weighted by the root of how often it occurs.
    fn add(self, features: &mut [u64], weight: f64, sums: &mut [f64]) {
        features.sort_unstable();
        for same in features.chunk_by(|a, b| a == b) {
            let (at, sign) = self.place(same[0]);
            sums[at] += sign * weight * (same.len() as f64).sqrt();
        }
    }
}

/// Calls `emit` with each run of [`RUN_CHARS`] characters of `text`.
fn for_each_run(text: &str, emit: &mut impl FnMut(&str)) {
    let starts = text.char_indices().map(|(at, _)| at);
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8()).skip(RUN_CHARS - 1);
    for (start, end) in starts.zip(ends) {
        emit(&text[start..end]);
    }
}

#[cfg(test)]
mod tests;
