//! Requests from a payload: one for each tenant, and several where one would be too long.

use otelcore_net::{BodyParts, EncodedBody};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{EncodeLimits, EncodedMessage, EncodedPiece, Piece};

use crate::hints::DefaultLabels;
use crate::tenants::Tenants;
use crate::translate::translate;

/// Bytes of a request, at most, unless it is of one record: Loki refuses requests above its burst size, 6 MB by default,
/// whenever they are sent.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// How many requests of the full length are made in one step, at least.
const MIN_REQUESTS: usize = 4;

/// The requests for a piece, or for its beginning. `now` is the time of records without one, in nanoseconds since the
/// epoch.
#[must_use]
pub fn encode_logs(defaults: DefaultLabels, now: u64, piece: Piece, limits: EncodeLimits) -> EncodedPiece<EncodedBody> {
    let max_bytes = MAX_REQUEST_BYTES.min(limits.message_bytes);
    let total_bytes = limits.total_bytes.max(max_bytes.saturating_mul(MIN_REQUESTS));
    let (mut messages, mut bytes) = (Vec::new(), 0);
    // The piece was refused for its size: it is divided, however long it is.
    let mut is_refused = piece.too_large;
    let mut bodies = vec![piece.body];
    while let Some(body) = bodies.pop() {
        if messages.len() >= limits.max_messages || bytes >= total_bytes {
            bodies.push(body);
            break;
        }
        let tenants = Tenants::new(&body);
        if let Some([first, second]) = tenants.divide(&body) {
            bodies.extend([second, first]);
            continue;
        }
        // A tenant that is no text can't be in a header field.
        let tenant = std::str::from_utf8(tenants.first).unwrap_or_default().to_owned();
        let max_bytes = if body.items() > 1 { max_bytes } else { usize::MAX };
        let is_divided = std::mem::take(&mut is_refused) && body.items() > 1;
        let translated = if is_divided { None } else { translate(defaults, &body, now, max_bytes).ok() };
        let Some((streams, mut left_out)) = translated else {
            bodies.extend(halves(body));
            continue;
        };
        if streams.is_empty() {
            // Without a stream there is no request.
            let Some(left_out) = &mut left_out else { continue };
            left_out.count = body.items();
        }
        let request = streams.finish();
        let request_bytes = request.len();
        bytes += request_bytes;
        let mut content = EncodedBody::from(BodyParts::from_iter([request.into()]));
        if !tenant.is_empty() {
            content.headers.push(("X-Scope-OrgID".into(), tenant.into()));
        }
        messages.push(EncodedMessage { content, bytes: request_bytes, body, left_out });
    }
    let mut rest = Rope::default();
    bodies.into_iter().rev().for_each(|body| rest.append(body));
    let rest = (!rest.is_empty()).then_some(Piece { body: rest, repaired: piece.repaired, too_large: false });
    EncodedPiece { messages, rest }
}

/// The halves of a body of more than one record, the second first.
fn halves(body: Rope) -> Vec<Rope> {
    let piece = Piece { body, too_large: true, ..Piece::default() };
    let (mut halves, rest) = piece.cut(Signal::Logs, usize::MAX, 2);
    halves.extend(rest.map(|rest| rest.body));
    halves.reverse();
    halves
}
