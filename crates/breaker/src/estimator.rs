//! What a call will cost: a price table, then what the operation has really cost, then a default.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use crate::config::{InvalidConfig, ensure};
use crate::ledger::NANO_MAX;

const PER_MILLION: u128 = 1_000_000;
/// Observations until the mean is trusted.
const LEARNED_FROM: u64 = 5;
/// Deviations above the mean that are held.
const DEVIATIONS: f64 = 2.0;

/// What tokens cost, in nano-units for a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    input_nano: u64,
    output_nano: u64,
}

impl Price {
    /// A price in units (dollars, say) for a million tokens, each rounded up to a nano-unit.
    ///
    /// # Errors
    /// A price that is negative, not a number, or above nine million units.
    pub fn per_million_tokens(input_units: f64, output_units: f64) -> Result<Self, InvalidConfig> {
        let nano = |units: f64, field| {
            let nano = (units * 1e9).ceil();
            ensure(units >= 0.0 && nano <= NANO_MAX as f64, field, "from 0 to nine million units")?;
            Ok(nano as u64)
        };
        Ok(Self {
            input_nano: nano(input_units, "input_units")?,
            output_nano: nano(output_units, "output_units")?,
        })
    }

    /// What so many tokens cost, rounded up, at most [`NANO_MAX`].
    pub fn cost_nano(&self, input: u64, output: u64) -> u64 {
        let of_input = u128::from(self.input_nano) * u128::from(input);
        let of_output = u128::from(self.output_nano) * u128::from(output);
        let sum = of_input.saturating_add(of_output);
        u64::try_from(sum.div_ceil(PER_MILLION)).map_or(NANO_MAX, |cost| cost.min(NANO_MAX))
    }
}

/// Where an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The price table: an upper bound, if the tokens are.
    Price,
    /// The mean of what the operation has cost and two deviations.
    Learned,
    /// The default.
    Default,
}

/// What a call will cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// In nano-units, rounded up.
    pub nano: u64,
    /// Where it comes from.
    pub source: Source,
    /// How much to trust it, 0 to 1: 1 for a price, below 1 and growing with what was learned, 0 for the default.
    pub confidence: f64,
}

/// Running mean and squared deviations (Welford, 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Learned {
    calls: u64,
    mean: f64,
    squares: f64,
}

/// Estimates costs, and learns from what is settled exactly, once a call.
#[derive(Debug, Default)]
pub struct Estimator {
    prices: HashMap<Box<str>, Price>,
    default_nano: Option<u64>,
    learned: RwLock<HashMap<Box<str>, Mutex<Learned>>>,
    operations_max: usize,
}

impl Estimator {
    /// An estimator without prices or a default, which learns up to 10 000 operations.
    pub fn new() -> Self {
        Self { operations_max: 10_000, ..Self::default() }
    }

    /// Gives an operation a price.
    #[must_use]
    pub fn price(mut self, operation: &str, price: Price) -> Self {
        self.prices.insert(operation.into(), price);
        self
    }

    /// What an operation without a price or a past is taken to cost, in nano-units.
    #[must_use]
    pub fn default_nano(mut self, nano: u64) -> Self {
        self.default_nano = Some(nano.min(NANO_MAX));
        self
    }

    /// What the operation will cost with so many tokens; `None` if nobody knows.
    pub fn estimate(&self, operation: &str, input: u64, output_max: u64) -> Option<Estimate> {
        if let Some(price) = self.prices.get(operation) {
            let nano = price.cost_nano(input, output_max);
            return Some(Estimate { nano, source: Source::Price, confidence: 1.0 });
        }
        self.learned_estimate(operation).or_else(|| {
            let nano = self.default_nano?;
            Some(Estimate { nano, source: Source::Default, confidence: 0.0 })
        })
    }

    fn learned_estimate(&self, operation: &str) -> Option<Estimate> {
        let all = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let learned = *all.get(operation)?.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.calls < LEARNED_FROM {
            return None;
        }
        let deviation = (learned.squares / (learned.calls - 1) as f64).max(0.0).sqrt();
        let nano = (learned.mean + DEVIATIONS * deviation).ceil().clamp(0.0, NANO_MAX as f64) as u64;
        // Wide costs are trusted less, and few calls.
        let spread = deviation / learned.mean.max(1.0);
        let confidence = (learned.calls as f64 / (learned.calls + LEARNED_FROM) as f64) / (1.0 + spread);
        Some(Estimate { nano, source: Source::Learned, confidence })
    }

    /// Learns what a call of the operation really cost. Permits do it when they are settled exactly.
    pub fn learn(&self, operation: &str, actual_nano: u64) {
        {
            let all = self.learned.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(learned) = all.get(operation) {
                return learned.lock().unwrap_or_else(PoisonError::into_inner).add(actual_nano);
            }
        }
        let mut all = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < self.operations_max {
            let learned = all.entry(operation.into()).or_default();
            learned.get_mut().unwrap_or_else(PoisonError::into_inner).add(actual_nano);
        }
    }
}

impl Learned {
    fn add(&mut self, nano: u64) {
        self.calls += 1;
        let off = nano as f64 - self.mean;
        self.mean += off / self.calls as f64;
        self.squares += off * (nano as f64 - self.mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_rounds_up_and_refuses_what_is_no_price() {
        let price = Price::per_million_tokens(3.0, 15.0).unwrap();
        assert_eq!(price.cost_nano(1, 0), 3_000);
        assert_eq!(
            Price::per_million_tokens(0.000_000_001, 0.0).unwrap().cost_nano(1, 0),
            1,
            "never rounded to free"
        );
        assert_eq!(price.cost_nano(u64::MAX, u64::MAX), NANO_MAX);
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(Price::per_million_tokens(bad, 0.0).unwrap_err().field, "input_units");
            assert_eq!(Price::per_million_tokens(0.0, bad).unwrap_err().field, "output_units");
        }
    }

    #[test]
    fn a_price_comes_before_the_past_and_the_past_before_the_default() {
        let price = Price::per_million_tokens(1.0, 1.0).unwrap();
        let estimator = Estimator::new().price("priced", price).default_nano(77);
        assert_eq!(estimator.estimate("priced", 10, 0).unwrap().source, Source::Price);
        assert_eq!(estimator.estimate("new", 10, 0).unwrap().nano, 77);
        for actual in [90, 110, 90, 110] {
            estimator.learn("new", actual);
        }
        assert_eq!(estimator.estimate("new", 1, 1).unwrap().source, Source::Default, "too few");
        estimator.learn("new", 100);
        let learned = estimator.estimate("new", 1, 1).unwrap();
        // Mean 100, deviation 10.
        assert_eq!((learned.source, learned.nano), (Source::Learned, 120));
        assert!(learned.confidence > 0.0 && learned.confidence < 1.0);
        assert_eq!(Estimator::new().estimate("new", 1, 1), None);
    }
}
