//! Fields of protobuf messages that have not been checked before.

use otelcore_pdata::wire_format::{MessageFields, WireValue};

use crate::decode_error::DecodeError;

/// Calls `read` with each field of a message, which must be well-formed to its end.
pub(crate) fn for_each_field<'a>(
    message: &'a [u8],
    mut read: impl FnMut(u32, WireValue<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut fields = MessageFields::new(message);
    for (number, value) in fields.by_ref() {
        read(number, value)?;
    }
    if fields.rest().is_empty() {
        Ok(())
    } else {
        Err(DecodeError::invalid("proto: cannot parse invalid wire-format data"))
    }
}
