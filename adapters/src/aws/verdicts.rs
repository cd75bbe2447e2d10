//! How a verdict is kept: as text in its item, or, if it is larger than an item may be, compressed and in pieces.
//!
//! The pieces are written first, under a name that nobody else has, and the item that names them last: whoever finds it
//! finds them all, and of any number of writers one has its item there.

use std::io::{Read as _, Write as _};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lambdaload_core::{
    ids::RunId,
    ports::{Cause, LedgerError},
    verdict::Verdict,
};

use super::table::{Item, NOTHING_THERE, Order, Table, Written, json, key, number, number_in, record, text};

/// A verdict of more bytes is kept in pieces. An item may have 400 kB, names and everything else included.
const WHOLE: usize = 300_000;

/// The size of a piece.
const PIECE: usize = 350_000;

/// Pieces that are written at once.
const AT_ONCE: usize = 4;

/// The most that pieces are unpacked to: a damaged one must not fill the memory.
const LARGEST: u64 = 512 * 1024 * 1024;

/// The keys of a run's verdict.
pub(super) fn verdict_key(run: &RunId) -> Item {
    key(partition(run), "verdict")
}

fn partition(run: &RunId) -> String {
    format!("run#{run}")
}

/// Writes the verdict if there is none. Whether it was written, or what is there instead.
pub(super) async fn write(
    table: &Table,
    operation: &'static str,
    run: &RunId,
    verdict: &Verdict,
    expires: AttributeValue,
) -> Result<Written, LedgerError> {
    let text_of_it = json(operation, verdict)?;
    let mut item = verdict_key(run);
    item.insert("expires".to_owned(), expires.clone());
    if text_of_it.len() < WHOLE {
        item.insert("record".to_owned(), text(text_of_it));
    } else {
        let packed = pack(&text_of_it).map_err(|error| damaged(operation, error))?;
        let writer = format!("{:016x}", fastrand::u64(..));
        let pieces: Vec<Item> = packed
            .chunks(PIECE)
            .enumerate()
            .map(|(i, piece)| {
                let mut item = key(partition(run), piece_name(&writer, i));
                item.insert("piece".to_owned(), AttributeValue::B(Blob::new(piece)));
                item.insert("expires".to_owned(), expires.clone());
                item
            })
            .collect();
        item.insert("pieces".to_owned(), number(pieces.len() as u64));
        let new = NOTHING_THERE;
        stream::iter(pieces)
            .map(|piece| table.put(operation, piece, &new))
            .buffer_unordered(AT_ONCE)
            // Refused: an earlier try, whose answer was lost, has written it.
            .try_for_each(|(Written::Done | Written::Refused(_))| std::future::ready(Ok(())))
            .await?;
        item.insert("writer".to_owned(), text(writer));
    }
    table.put(operation, item, &NOTHING_THERE).await
}

/// The verdict in an item, of which the pieces are fetched.
pub(super) async fn read(
    table: &Table,
    operation: &'static str,
    run: &RunId,
    item: &Item,
) -> Result<Verdict, LedgerError> {
    let Some(pieces) = number_in(item, "pieces") else {
        return record(operation, item);
    };
    let writer = item.get("writer").and_then(|writer| writer.as_s().ok()).map_or("", String::as_str);
    let prefix = format!("verdict#{writer}#");
    let found = table.query(operation, &partition(run), &prefix, Order::Ascending, usize::MAX).await?;
    let packed: Vec<&[u8]> =
        found.iter().filter_map(|item| item.get("piece")?.as_b().ok()).map(AsRef::as_ref).collect();
    if packed.len() as u64 != pieces {
        let lost = format!("the verdict of run {run} is in {pieces} pieces, of which {} are there", packed.len());
        return Err(damaged(operation, lost));
    }
    let text = unpack(&packed.concat()).map_err(|error| damaged(operation, error))?;
    serde_json::from_str(&text).map_err(|error| damaged(operation, error))
}

fn piece_name(writer: &str, index: usize) -> String {
    format!("verdict#{writer}#{:05}", index + 1)
}

fn pack(text: &str) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(text.as_bytes())?;
    packer.finish()
}

fn unpack(packed: &[u8]) -> std::io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(packed).take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn damaged(operation: &'static str, cause: impl Into<Cause>) -> LedgerError {
    LedgerError::Unavailable { operation, cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_smaller() {
        let text = "{\"name\":\"ümläut\",\"count\":12345},".repeat(20_000);
        let packed = pack(&text).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(unpack(&packed).unwrap(), text);
        assert!(unpack(&packed[..packed.len() / 2]).is_err(), "half of it is no text");
    }

    #[test]
    fn pieces_are_found_in_their_order() {
        let names: Vec<String> = (0..2000).map(|i| piece_name("0123456789abcdef", i)).collect();
        assert!(names.is_sorted());
    }
}
