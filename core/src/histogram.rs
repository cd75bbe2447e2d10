//! HDR histograms with three significant digits, kept sparse.
//!
//! The layout is that of `HdrHistogram` with 1,024 linear sub-buckets per power of two, but indexed straight from the bits
//! of the floating-point value: the upper 22 bits of an IEEE-754 double are its sign, its exponent and the first ten bits
//! of its mantissa, which *is* (power of two, linear sub-bucket). So there is no unit to choose and no range to overflow:
//! nanoseconds, bytes and negative custom trends keep the same relative width, and finding a bucket is one shift.
//!
//! Only buckets that hold something are stored, sorted by value; merging is a merge of two sorted lists.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{SeqAccess, Visitor},
};

/// Bits of mantissa that tell the linear sub-bucket: 2¹⁰ per power of two.
const SUB_BUCKET_BITS: u32 = 10;

/// What is cut off a double's 64 bits to get its bucket.
const SHIFT: u32 = 52 - SUB_BUCKET_BITS;

/// The sign bit of a bucket's raw 22 bits.
const SIGN: u32 = 1 << 21;

/// Largest relative error of a value read back from a bucket's middle: half of 2⁻¹⁰ (0.0488 %), for normal doubles.
/// It holds for every percentile that [`Histogram::value_at`] gives.
pub const RELATIVE_ERROR: f64 = 0.5 / 1024.0;

/// The bucket of one value. Buckets sort as their values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(u32);

impl Bucket {
    /// The bucket that holds `value`. Both zeroes share one; NaN does not reach us (k6 refuses it).
    #[inline]
    pub fn of(value: f64) -> Self {
        // Adding positive zero turns -0.0 into 0.0.
        let raw = ((value + 0.0).to_bits() >> SHIFT) as u32;
        // Positive values sort as their bits do; negative ones the other way round and below.
        Self(if raw & SIGN == 0 { raw | SIGN } else { !raw & (SIGN | (SIGN - 1)) })
    }

    /// The middle of the bucket.
    pub fn middle(self) -> f64 {
        let (near, far) = self.edges();
        if near.is_infinite() || far.is_infinite() || near == 0.0 { near } else { near + (far - near) / 2.0 }
    }

    /// Buckets on one page: those of one power of two.
    pub(crate) const PAGE: usize = 1 << SUB_BUCKET_BITS;

    /// The page that it is on. Pages rise as values do.
    #[inline]
    pub(crate) fn page(self) -> usize {
        (self.0 >> SUB_BUCKET_BITS) as usize
    }

    /// Its place on its page.
    #[inline]
    pub(crate) fn on_page(self) -> usize {
        self.0 as usize % Self::PAGE
    }

    /// The bucket at this place of a page.
    #[expect(clippy::cast_possible_truncation, reason = "a bucket has 22 bits")]
    pub(crate) fn at(page: usize, place: usize) -> Self {
        Self((page << SUB_BUCKET_BITS | place) as u32)
    }

    /// The edge nearest to zero, which belongs to the bucket, and the edge away from zero, which does not.
    fn edges(self) -> (f64, f64) {
        let raw = if self.0 & SIGN == 0 { !self.0 & (SIGN | (SIGN - 1)) } else { self.0 & !SIGN };
        let near = u64::from(raw) << SHIFT;
        (f64::from_bits(near), f64::from_bits(near + (1 << SHIFT)))
    }
}

/// How many samples fell into which bucket: sorted by bucket, no empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<(Bucket, u64)>,
}

impl Histogram {
    /// A histogram of the given buckets; they may come in any order and repeat.
    pub fn from_buckets(mut buckets: Vec<(Bucket, u64)>) -> Self {
        buckets.sort_unstable_by_key(|(bucket, _)| *bucket);
        buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        buckets.retain(|(_, count)| *count > 0);
        Self { buckets }
    }

    /// The buckets that hold something, by rising value.
    pub fn buckets(&self) -> &[(Bucket, u64)] {
        &self.buckets
    }

    /// How many samples are in it.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Adds all that `other` holds. Costs the buckets that hold something, not the range.
    pub fn merge(&mut self, other: &Self) {
        if other.buckets.is_empty() {
            return;
        }
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        let (ours, theirs) = (&self.buckets[..], &other.buckets[..]);
        let mut merged = Vec::with_capacity(ours.len() + theirs.len());
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (ours.get(i), theirs.get(j)) {
            let (is_first, is_same) = (a.0 <= b.0, a.0 == b.0);
            let count = if is_same { a.1.saturating_add(b.1) } else { [b.1, a.1][usize::from(is_first)] };
            merged.push((a.0.min(b.0), count));
            i += usize::from(is_first);
            j += usize::from(is_same || !is_first);
        }
        merged.extend_from_slice(&ours[i..]);
        merged.extend_from_slice(&theirs[j..]);
        self.buckets = merged;
    }

    /// The sample of the given rank (from 0, by rising value), to within [`RELATIVE_ERROR`]; `None` when there are not
    /// that many.
    pub fn value_at_rank(&self, rank: u64) -> Option<f64> {
        let mut seen = 0u64;
        for (bucket, count) in &self.buckets {
            seen = seen.saturating_add(*count);
            if seen > rank {
                return Some(bucket.middle());
            }
        }
        None
    }

    /// The percentile `quantile` (0 to 1) as k6 defines it, linear between the two nearest ranks
    /// (`i = quantile · (count − 1)`), each read from its bucket; `None` without samples.
    pub fn value_at(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        let rank = Rank::of(quantile, count)?;
        let low = self.value_at_rank(rank.low)?;
        let high = self.value_at_rank(rank.high)?;
        Some(rank.between(low, high))
    }
}

/// The two ranks between which k6 interpolates a percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// The lower rank, from 0.
    pub low: u64,
    /// The upper rank: the lower one or the next.
    pub high: u64,
    /// How far between them, from 0 up to but not including 1.
    pub fraction: f64,
    /// Whether there is but one sample.
    pub only: bool,
}

impl Rank {
    /// Where `quantile` (0 to 1; beyond is clamped) falls among `count` samples; `None` without samples.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=count-1 first")]
    pub fn of(quantile: f64, count: u64) -> Option<Self> {
        let last = count.checked_sub(1)? as f64;
        let index = (quantile * last).clamp(0.0, last);
        let (low, high) = (index.floor() as u64, index.ceil() as u64);
        Some(Self { low, high, fraction: index - index.floor(), only: count == 1 })
    }

    /// k6's interpolation between the samples at the two ranks, to the bit: between infinite ones it is no number.
    pub fn between(&self, low: f64, high: f64) -> f64 {
        if self.only { low } else { low + (high - low) * self.fraction }
    }
}

/// Buckets of samples that are still coming in: appended unsorted, folded now and then.
///
/// Recording is a push; memory is bounded by the buckets that hold something plus [`FOLD_AT`] entries.
#[derive(Clone, Debug, Default)]
pub struct OpenHistogram {
    unsorted: Vec<u32>,
    folded: Histogram,
}

/// After how many samples an open histogram is folded: small enough to stay in the first-level cache (4 KiB).
const FOLD_AT: usize = 1024;

impl OpenHistogram {
    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value: f64) {
        self.unsorted.push(Bucket::of(value).0);
        if self.unsorted.len() >= FOLD_AT {
            self.fold();
        }
    }

    /// Hands out all that was recorded and starts anew, keeping its memory.
    pub fn take(&mut self) -> Histogram {
        self.fold();
        std::mem::take(&mut self.folded)
    }

    fn fold(&mut self) {
        self.unsorted.sort_unstable();
        let mut runs: Vec<(Bucket, u64)> = Vec::with_capacity(self.unsorted.len().min(64));
        for bucket in self.unsorted.drain(..) {
            match runs.last_mut() {
                Some((last, count)) if last.0 == bucket => *count += 1,
                _ => runs.push((Bucket(bucket), 1)),
            }
        }
        let runs = Histogram { buckets: runs };
        if self.folded.buckets.is_empty() {
            self.folded = runs;
        } else {
            self.folded.merge(&runs);
        }
    }
}

/// On the wire: the first bucket, then the distance to each next one, so that most entries take two or three bytes.
impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0;
        serializer.collect_seq(self.buckets.iter().map(|(bucket, count)| {
            let distance = bucket.0 - before;
            before = bucket.0;
            (distance, *count)
        }))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Distances)
    }
}

/// No more is reserved for what only claims to come.
const RESERVED: usize = 4096;

struct Distances;

impl<'de> Visitor<'de> for Distances {
    type Value = Histogram;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("distances of buckets, each with a count")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut distances: A) -> Result<Histogram, A::Error> {
        let mut buckets: Vec<(Bucket, u64)> = Vec::with_capacity(distances.size_hint().unwrap_or(0).min(RESERVED));
        while let Some((distance, count)) = distances.next_element()? {
            buckets.push(next_bucket(buckets.last(), distance, count).ok_or_else(|| {
                serde::de::Error::custom("histogram buckets must rise, hold something and fit 22 bits")
            })?);
        }
        Ok(Histogram { buckets })
    }
}

/// Appends entries up to the first that is longer than two bytes or makes no sense, at most so many; returns the number of
/// the last bucket, which may be none. Apart from its only caller, whose many values would push these out of registers.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the caller refuses what does not fit")]
fn take_short(bytes: &[u8], most: usize, mut last: u64, buckets: &mut Vec<(Bucket, u64)>) -> u64 {
    for entry in bytes.chunks_exact(2).take(most) {
        let (distance, count) = (entry[0], entry[1]);
        // Neither is zero or goes on in a further byte.
        if (distance | count | distance.wrapping_sub(1) | count.wrapping_sub(1)) & 0x80 != 0 {
            break;
        }
        last += u64::from(distance);
        buckets.push((Bucket(last as u32), u64::from(count)));
    }
    last
}

/// The bucket at a distance from the last one; none if there can be no such.
#[inline]
fn next_bucket(last: Option<&(Bucket, u64)>, distance: u32, count: u64) -> Option<(Bucket, u64)> {
    let next = match last {
        Some((last, _)) if distance > 0 => last.0.checked_add(distance)?,
        Some(_) => return None,
        None => distance,
    };
    (next >> 22 == 0 && count > 0).then_some((Bucket(next), count))
}

impl Histogram {
    /// What postcard reads from the beginning of these bytes, and the rest of them, some times as fast: chunks are
    /// histograms for the most part, and most distances and counts in them are one byte each.
    pub(crate) fn take_from_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        let (entries, mut rest) = postcard::take_from_bytes::<usize>(bytes)?;
        // Each takes two bytes at least.
        if entries > rest.len() / 2 {
            return Err(postcard::Error::DeserializeUnexpectedEnd);
        }
        let mut buckets: Vec<(Bucket, u64)> = Vec::with_capacity(entries);
        let mut last = 0u64;
        while buckets.len() < entries {
            let before = buckets.len();
            last = take_short(rest, entries - before, last, &mut buckets);
            rest = rest.get((buckets.len() - before) * 2..).unwrap_or_default();
            if last >> 22 != 0 {
                return Err(postcard::Error::SerdeDeCustom);
            }
            if buckets.len() < entries {
                let (distance, count);
                ((distance, count), rest) = postcard::take_from_bytes(rest)?;
                let bucket = next_bucket(buckets.last(), distance, count).ok_or(postcard::Error::SerdeDeCustom)?;
                last = u64::from(bucket.0.0);
                buckets.push(bucket);
            }
        }
        Ok((Self { buckets }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(values: &[f64]) -> Histogram {
        let mut open = OpenHistogram::default();
        values.iter().for_each(|v| open.record(*v));
        open.take()
    }

    /// k6's own definition on the raw samples.
    fn k6_percentile(values: &[f64], quantile: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let i = quantile * (sorted.len() as f64 - 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let (j, k) = (sorted[i.floor() as usize], sorted[i.ceil() as usize]);
        j + (k - j) * (i - i.floor())
    }

    #[test]
    fn buckets_sort_as_values_do() {
        let values = [f64::NEG_INFINITY, -1e9, -3.0, -1e-9, 0.0, 1e-9, 0.001, 1.0, 1.001, 2.0, 1e21, f64::INFINITY];
        for pair in values.windows(2) {
            assert!(Bucket::of(pair[0]) < Bucket::of(pair[1]), "{pair:?}");
        }
        assert_eq!(Bucket::of(-0.0), Bucket::of(0.0));
    }

    #[test]
    fn zero_and_infinity_read_back_as_themselves() {
        for value in [0.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Bucket::of(value).middle().to_bits(), value.to_bits(), "{value}");
        }
    }

    #[test]
    fn no_samples_no_percentile() {
        assert_eq!(Histogram::default().value_at(0.95), None);
    }

    #[test]
    fn foreign_buckets_are_refused() {
        for bad in [vec![(1, 0)], vec![(5, 1), (0, 1)], vec![(1 << 22, 1)], vec![(u32::MAX, 1), (u32::MAX, 1)]] {
            let bytes = postcard::to_stdvec(&bad).expect("encodes");
            assert!(postcard::from_bytes::<Histogram>(&bytes).is_err(), "{bad:?}");
            assert!(Histogram::take_from_bytes(&bytes).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_bucket_is_within_the_error_of_each_of_its_values(value in prop_oneof![-1e12..1e12_f64, -1.0..1.0_f64, 1e-6..1e-3_f64]) {
            prop_assume!(value.abs() > f64::MIN_POSITIVE);
            prop_assert!((Bucket::of(value).middle() - value).abs() <= value.abs() * RELATIVE_ERROR);
        }

        #[test]
        fn percentiles_are_within_the_error_of_k6s(
            values in prop::collection::vec(0.0001..100_000.0_f64, 1..500),
            quantile in 0.0..=1.0_f64,
        ) {
            let exact = k6_percentile(&values, quantile);
            let ours = histogram(&values).value_at(quantile).expect("has samples");
            prop_assert!((ours - exact).abs() <= exact.abs() * RELATIVE_ERROR * 1.000_001, "{} against {}", ours, exact);
        }

        #[test]
        fn merge_is_commutative_and_associative(
            a in prop::collection::vec(-1e6..1e6_f64, 0..100),
            b in prop::collection::vec(-1e6..1e6_f64, 0..100),
            c in prop::collection::vec(0.0..1.0_f64, 0..2000),
        ) {
            let (a, b, c) = (histogram(&a), histogram(&b), histogram(&c));
            let merged = |parts: &[&Histogram]| {
                let mut all = Histogram::default();
                parts.iter().for_each(|p| all.merge(p));
                all
            };
            prop_assert_eq!(merged(&[&a, &b, &c]), merged(&[&c, &b, &a]));
            prop_assert_eq!(merged(&[&merged(&[&a, &b]), &c]), merged(&[&a, &merged(&[&b, &c])]));
            prop_assert_eq!(merged(&[&a, &b, &c]).count(), a.count() + b.count() + c.count());
        }

        #[test]
        fn the_wire_gives_back_what_it_took(
            values in prop::collection::vec(prop_oneof![-1e6..1e6_f64, 1.0..1.1_f64], 0..2_000),
        ) {
            let histogram = histogram(&values);
            let bytes = postcard::to_stdvec(&histogram).expect("encodes");
            prop_assert_eq!(&postcard::from_bytes::<Histogram>(&bytes).expect("decodes"), &histogram);
            let bytes = [&bytes[..], b"rest"].concat();
            prop_assert_eq!(Histogram::take_from_bytes(&bytes).expect("decodes"), (histogram, &b"rest"[..]));
        }
    }
}
