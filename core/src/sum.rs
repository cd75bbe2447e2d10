//! Sums that do not depend on the order of adding.
//!
//! Floating-point addition is not associative, so workers merged in another order could give another `avg` and, at a
//! limit, another verdict. Values are therefore rounded once, each by itself, to a fixed point of 2⁻⁶⁴ and added as
//! integers: exact, commutative and associative.

use serde::{Deserialize, Serialize};

/// 2⁶⁴: how many units make 1.
const UNITS: f64 = 18_446_744_073_709_551_616.0;

/// Largest magnitude kept in fixed point, 2⁵³. Larger ones are counted in floating point beside it: a sum of 2⁹ and
/// more such values could leave the 128 bits.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// The sum of any number of samples.
///
/// Exact to 2⁻⁶⁵ per sample for magnitudes up to 2⁵³ (in k6's units: milliseconds, bytes, counts); samples beyond that,
/// and infinities, are added in floating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExactSum {
    units: i128,
    beyond: f64,
}

impl ExactSum {
    /// Adds one sample.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the magnitude was bounded to 2^53 · 2^64 < 2^127")]
    pub fn add(&mut self, value: f64) {
        if value.abs() <= LARGEST {
            self.units = self.units.saturating_add((value * UNITS) as i128);
        } else {
            self.beyond += value;
        }
    }

    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.units = self.units.saturating_add(other.units);
        self.beyond += other.beyond;
    }

    /// The sum, rounded once to the nearest float.
    #[expect(clippy::cast_precision_loss, reason = "this is the one rounding")]
    pub fn value(&self) -> f64 {
        self.units as f64 / UNITS + self.beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|v| sum.add(*v));
        sum
    }

    #[test]
    fn a_tenth_ten_times_is_one() {
        assert!((sum(&[0.1; 10]).value() - 1.0).abs() < f64::EPSILON);
        assert!((sum(&[1e15, 0.25, -1e15]).value() - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn infinity_is_kept() {
        assert!(sum(&[1.0, f64::INFINITY]).value().is_infinite());
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(values in prop::collection::vec(-1e9..1e9_f64, 0..200), cut in 0usize..200) {
            let cut = cut.min(values.len());
            let mut reversed: Vec<f64> = values.clone();
            reversed.reverse();
            prop_assert_eq!(sum(&values), sum(&reversed));
            let mut grouped = sum(&values[cut..]);
            grouped.merge(&sum(&values[..cut]));
            prop_assert_eq!(sum(&values), grouped);
        }

        #[test]
        fn close_to_the_float_sum(values in prop::collection::vec(0.0..1e6_f64, 1..200)) {
            let float: f64 = values.iter().sum();
            prop_assert!((sum(&values).value() - float).abs() <= float.abs() * 1e-12);
        }
    }
}
