//! Requests from a payload: one, or several with different series if one would be too long.

use otelcore_net::{BodyParts, EncodedBody};
use otelcore_pdata::Rope;
use otelcore_pipeline::{EncodeLimits, EncodedMessage, EncodedPiece, Piece};

use crate::format::RemoteWriteFormat;
use crate::shards::Shard;
use crate::translate::{Translated, translate};

/// How many requests of the full length are made in one step, at least.
const MIN_REQUESTS: usize = 8;

/// What a call of [`encode_requests`] has translated.
#[derive(Clone, Copy, Default, Debug)]
pub struct TranslationCounts {
    /// Series.
    pub series: usize,
    /// Requests with points that could not be translated.
    pub failed: usize,
}

/// The requests for a piece, or for its beginning, each of at most `max_bytes` unless it is of one series.
pub fn encode_requests(
    format: &RemoteWriteFormat,
    max_bytes: usize,
    piece: Piece,
    limits: EncodeLimits,
) -> (EncodedPiece<EncodedBody>, TranslationCounts) {
    let max_bytes = max_bytes.min(limits.message_bytes);
    let total_bytes = limits.total_bytes.max(max_bytes.saturating_mul(MIN_REQUESTS));
    let mut counts = TranslationCounts::default();
    let (mut messages, mut bytes) = (Vec::new(), 0);
    // The piece was refused for its size: it is divided, however long it is.
    let mut is_refused = piece.too_large;
    let mut shards = vec![Shard::whole(piece.body)];
    while let Some(shard) = shards.pop() {
        if messages.len() >= limits.max_messages || bytes >= total_bytes {
            shards.push(shard);
            break;
        }
        let translated = if is_refused { None } else { translate(format, &shard, max_bytes).ok() };
        let translated = match translated {
            Some(translated) => translated,
            None => match shard.divide(format) {
                Some([first, second]) => {
                    is_refused = false;
                    shards.extend([second, first]);
                    continue;
                }
                None => match translate(format, &shard, usize::MAX) {
                    Ok(translated) => translated,
                    // Without a limit nothing is too long.
                    Err(_) => continue,
                },
            },
        };
        is_refused = false;
        // What has no series and was not left out needs no request.
        if let Some(message) = message(translated, shard.body, &mut counts) {
            bytes += message.bytes;
            messages.push(message);
        }
    }
    let mut rest = Rope::default();
    shards.into_iter().rev().for_each(|shard| rest.append(shard.body));
    let rest = (!rest.is_empty()).then_some(Piece { body: rest, repaired: piece.repaired, too_large: false });
    (EncodedPiece { messages, rest }, counts)
}

fn message(translated: Translated, body: Rope, counts: &mut TranslationCounts) -> Option<EncodedMessage<EncodedBody>> {
    let Translated { table, metadata, mut left_out } = translated;
    let contained = table.counts();
    if contained.series == 0 {
        // Without a series there is no request.
        left_out.as_mut()?.count = body.items();
    }
    counts.series += contained.series;
    counts.failed += usize::from(left_out.is_some());
    let units = u32::try_from(contained.samples + contained.histograms).unwrap_or(u32::MAX);
    let request = table.finish(metadata.fields());
    let bytes = request.len();
    let content = EncodedBody { units, ..BodyParts::from_iter([request.into()]).into() };
    Some(EncodedMessage { content, bytes, body, left_out })
}
