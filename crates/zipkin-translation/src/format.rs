//! The formats of bodies, and what each of them writes. Writes nothing itself.

use otelcore_config::config_enum;

use crate::span::ZipkinSpan;

config_enum! {
    /// The format of bodies.
    #[config(unknown = "{word} is not one of json or proto", hint = "write json or proto")]
    pub enum Format {
        /// JSON.
        Json = "json",
        /// Protobuf.
        Proto = "proto",
    }
}

/// Writes spans of one format into a body.
pub(crate) trait SpanWriter {
    fn begin(out: &mut Vec<u8>);
    fn put_span(&mut self, out: &mut Vec<u8>, span: &ZipkinSpan<'_, '_>);
    fn end(out: &mut Vec<u8>);
}
