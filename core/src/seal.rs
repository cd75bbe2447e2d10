//! Bytes that say what they are: a mark, the number of their format, a CRC-32 of the contents, the contents.

/// What some kind of bytes begins with.
pub(crate) struct Seal {
    /// The first bytes of every one.
    pub(crate) mark: [u8; 4],
    /// The format that this program writes and reads.
    pub(crate) format: u16,
    /// No honest one comes near; what is larger is refused before anything else.
    pub(crate) max_bytes: usize,
}

/// Bytes that are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SealError {
    /// Too short or without the mark.
    Foreign,
    /// Of another format.
    Format {
        /// The format it says it has.
        found: u16,
    },
    /// So many bytes are too many.
    Oversized(usize),
    /// Cut off or changed on the way.
    Damaged,
}

/// Mark, format, checksum.
const HEADER: usize = 4 + 2 + 4;

impl Seal {
    /// The contents with all that goes before them.
    pub(crate) fn seal(&self, contents: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut bytes = Vec::with_capacity(HEADER + contents.len());
        bytes.extend_from_slice(&self.mark);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(contents).to_le_bytes());
        bytes.extend_from_slice(contents);
        if bytes.len() > self.max_bytes { Err(SealError::Oversized(bytes.len())) } else { Ok(bytes) }
    }

    /// The contents.
    pub(crate) fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], SealError> {
        if bytes.len() > self.max_bytes {
            return Err(SealError::Oversized(bytes.len()));
        }
        let rest = bytes.strip_prefix(&self.mark).ok_or(SealError::Foreign)?;
        let (format, rest) = rest.split_first_chunk::<2>().ok_or(SealError::Foreign)?;
        let found = u16::from_le_bytes(*format);
        if found != self.format {
            return Err(SealError::Format { found });
        }
        let (checksum, contents) = rest.split_first_chunk::<4>().ok_or(SealError::Damaged)?;
        if crc32fast::hash(contents) == u32::from_le_bytes(*checksum) { Ok(contents) } else { Err(SealError::Damaged) }
    }
}
