//! Chunks: what a worker closed since its last one, as immutable bytes in the store.
//!
//! A chunk stands alone: it names its series itself, so chunks can be merged in any order and one that is missing spoils
//! no other. Windows of the same second may come in several chunks; they add.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Attempt, RunId, WorkerIndex},
    seal::{Seal, SealError},
    series::SeriesId,
    stats::Stats,
    threshold::LimitCount,
};

/// One chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Whose it is.
    pub key: ChunkKey,
    /// What it holds.
    pub series: Vec<ChunkSeries>,
}

/// What makes a chunk unique; merging it twice is merging it once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkKey {
    /// The run.
    pub run: RunId,
    /// The worker.
    pub worker: WorkerIndex,
    /// The worker's attempt.
    pub attempt: Attempt,
    /// Its number within the attempt, from 1 and without gaps.
    pub sequence: u32,
}

/// What one series got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkSeries {
    /// The series.
    pub id: SeriesId,
    /// How many series the worker had met before this one: people are shown checks in the order of the script.
    pub ordinal: u32,
    /// Its windows; [`crate::series::Rollup::window_seconds`] is their width.
    pub windows: Vec<Window>,
    /// The samples of these windows around the limits of the series' percentile thresholds.
    pub limits: Vec<LimitCount>,
}

/// The samples of one stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its start, in seconds since the Unix epoch.
    pub start: i64,
    /// Its samples.
    pub stats: Stats,
}

/// Bytes that are no chunk of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Too short or without our mark.
    #[error("not a lambdaload chunk")]
    Foreign,
    /// Of a format this program cannot read.
    #[error("chunk format {found}: this lambdaload reads format {FORMAT}; use the version that wrote it")]
    Format {
        /// The format it says it has.
        found: u16,
    },
    /// Larger than any chunk may be.
    #[error("a chunk of {0} bytes: at most {MAX_BYTES} are read")]
    Oversized(usize),
    /// Cut off or changed on the way.
    #[error("the chunk is damaged: its checksum does not fit its contents")]
    Damaged,
    /// A right checksum over contents that make no sense.
    #[error("the chunk's contents cannot be read: {0}")]
    Malformed(String),
}

/// The format this program writes and reads. Any change of [`Chunk`] or of what it holds needs a new number.
const FORMAT: u16 = 1;

/// No honest chunk comes near; a larger object is refused before it is decoded.
pub const MAX_BYTES: usize = 64 << 20;

const SEAL: Seal = Seal { mark: *b"LLch", format: FORMAT, max_bytes: MAX_BYTES };

impl From<SealError> for ChunkError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Foreign => Self::Foreign,
            SealError::Format { found } => Self::Format { found },
            SealError::Oversized(bytes) => Self::Oversized(bytes),
            SealError::Damaged => Self::Damaged,
        }
    }
}

impl Chunk {
    /// The chunk's bytes: mark, format, CRC-32 of the contents, contents.
    pub fn encode(&self) -> Result<Vec<u8>, ChunkError> {
        let contents = postcard::to_stdvec(self).map_err(|error| ChunkError::Malformed(error.to_string()))?;
        Ok(SEAL.seal(&contents)?)
    }

    /// Reads a chunk's bytes. Never panics, and allocates no more than the bytes account for.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChunkError> {
        match Self::take_from_bytes(SEAL.open(bytes)?) {
            Ok((chunk, [])) => Ok(chunk),
            Ok(_) => Err(ChunkError::Malformed("bytes are left over".into())),
            Err(error) => Err(ChunkError::Malformed(error.to_string())),
        }
    }

    /// What postcard reads from the beginning of these bytes, and the rest of them, field by field.
    fn take_from_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        let ((key, count), mut rest) = postcard::take_from_bytes::<(ChunkKey, usize)>(bytes)?;
        let mut all = Vec::with_capacity(count.min(RESERVED));
        for _ in 0..count {
            let series;
            (series, rest) = ChunkSeries::take_from_bytes(rest)?;
            all.push(series);
        }
        Ok((Self { key, series: all }, rest))
    }
}

/// No more is reserved for what only claims to come.
const RESERVED: usize = 1024;

impl ChunkSeries {
    fn take_from_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        let ((id, ordinal, count), mut rest) = postcard::take_from_bytes::<(SeriesId, u32, usize)>(bytes)?;
        let mut windows = Vec::with_capacity(count.min(RESERVED));
        for _ in 0..count {
            let (start, stats);
            (start, rest) = postcard::take_from_bytes(rest)?;
            (stats, rest) = Stats::take_from_bytes(rest)?;
            windows.push(Window { start, stats });
        }
        let (limits, rest) = postcard::take_from_bytes(rest)?;
        Ok((Self { id, ordinal, windows, limits }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        series::{Contains, Metric, MetricKind, Rollup},
        stats::tests::{any_kind, stats},
    };
    use proptest::prelude::*;

    fn chunk(kind: MetricKind, values: &[f64], sequence: u32) -> Chunk {
        let metric = Metric { name: "m1".into(), kind, contains: Contains::Time };
        let mut limit = LimitCount::new(3.5);
        values.iter().for_each(|v| limit.add(*v));
        Chunk {
            key: ChunkKey {
                run: RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id"),
                worker: WorkerIndex(3),
                attempt: Attempt(1),
                sequence,
            },
            series: vec![ChunkSeries {
                id: SeriesId { metric, rollup: Rollup::Selector, tags: [("name", "é,😀")].into_iter().collect() },
                ordinal: 5,
                windows: vec![Window { start: 1_795_348_801, stats: stats(kind, values, 7) }],
                limits: vec![limit],
            }],
        }
    }

    /// Chunks of format 1 must be readable for as long as the number stands.
    #[test]
    fn format_1_is_what_it_was() {
        let bytes = chunk(MetricKind::Trend, &[1.0, 2.5, -3.0, 1e9], 2).encode().expect("encodes");
        let golden = include_bytes!("../golden/chunk-1.bin");
        assert_eq!(bytes, golden, "a change of format needs a new number and a new golden file");
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let bytes = chunk(MetricKind::Trend, &[1.0, 2.0], 1).encode().expect("encodes");
        assert_eq!(Chunk::decode(b""), Err(ChunkError::Foreign));
        assert_eq!(Chunk::decode(b"PK\x03\x04 some zip"), Err(ChunkError::Foreign));
        let mut newer = bytes.clone();
        newer[4] = 9;
        assert_eq!(Chunk::decode(&newer), Err(ChunkError::Format { found: 9 }));
        assert_eq!(Chunk::decode(&vec![0; MAX_BYTES + 1]), Err(ChunkError::Oversized(MAX_BYTES + 1)));
        for end in 6..bytes.len() {
            assert_eq!(Chunk::decode(&bytes[..end]), Err(ChunkError::Damaged), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn decode_gives_back_what_encode_took(kind in any_kind(), values in prop::collection::vec(-1e6..1e6_f64, 1..200), sequence in 1u32..) {
            let chunk = chunk(kind, &values, sequence);
            let bytes = chunk.encode().expect("encodes");
            prop_assert_eq!(&Chunk::decode(&bytes).expect("decodes"), &chunk);
            prop_assert_eq!(postcard::from_bytes::<Chunk>(SEAL.open(&bytes).expect("opens")).expect("decodes"), chunk);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..200, change in 1u8..) {
            let mut bytes = chunk(MetricKind::Trend, &[1.0, 2.0, 3.0], 1).encode().expect("encodes");
            let at = at % bytes.len();
            bytes[at] ^= change;
            prop_assert!(Chunk::decode(&bytes).is_err());
        }

        /// Contents that a right checksum covers may still be nonsense.
        #[test]
        fn no_contents_make_it_panic(contents in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Chunk::decode(&SEAL.seal(&contents).expect("seals"));
        }
    }
}
