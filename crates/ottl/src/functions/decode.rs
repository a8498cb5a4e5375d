//! `Decode`, `Base64Decode` and `Base64Encode`.

use std::borrow::Cow;

use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};

use super::common::{error, optional, optional_text, required, take, text, type_verb};
use super::encodings::Encoding;
use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Callable, Function, ParameterKind as Kind};
use crate::value::Value;

const fn base64_config(has_padding: bool) -> GeneralPurposeConfig {
    GeneralPurposeConfig::new()
        .with_encode_padding(has_padding)
        // Go does not look at the bits that are left over.
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(if has_padding {
            DecodePaddingMode::RequireCanonical
        } else {
            DecodePaddingMode::RequireNone
        })
}

static BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, base64_config(true));
static BASE64_RAW: GeneralPurpose = GeneralPurpose::new(&STANDARD, base64_config(false));
static BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, base64_config(true));
static BASE64_RAW_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, base64_config(false));

/// The variant of base64 of a name.
fn base64_variant(name: &[u8]) -> Option<&'static GeneralPurpose> {
    Some(match name {
        b"base64" => &BASE64,
        b"base64-raw" => &BASE64_RAW,
        b"base64-url" => &BASE64_URL,
        b"base64-raw-url" => &BASE64_RAW_URL,
        _ => return None,
    })
}

fn decode_base64(engine: &GeneralPurpose, text: &[u8]) -> Result<Vec<u8>, String> {
    // Go skips the ends of lines.
    let without_lines: Cow<'_, [u8]> = if text.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        Cow::Owned(text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
    } else {
        Cow::Borrowed(text)
    };
    engine
        .decode(&without_lines)
        .map_err(|_| format!("illegal base64 data at input byte {}", first_illegal(engine, text)))
}

/// The position that Go names in its error. Go reads four digits at a time.
fn first_illegal(engine: &GeneralPurpose, text: &[u8]) -> usize {
    let is_url = std::ptr::eq(engine, &raw const BASE64_URL) || std::ptr::eq(engine, &raw const BASE64_RAW_URL);
    let has_padding = std::ptr::eq(engine, &raw const BASE64) || std::ptr::eq(engine, &raw const BASE64_URL);
    let is_digit =
        |b: u8| b.is_ascii_alphanumeric() || if is_url { matches!(b, b'-' | b'_') } else { matches!(b, b'+' | b'/') };
    let is_line_end = |at: usize| matches!(text.get(at), Some(b'\r' | b'\n'));
    let (mut at, mut in_block) = (0, 0);
    while let Some(b) = text.get(at) {
        at += 1;
        if is_digit(*b) {
            in_block = (in_block + 1) % 4;
            continue;
        }
        if matches!(b, b'\r' | b'\n') {
            continue;
        }
        if *b != b'=' || !has_padding || in_block < 2 {
            return at - 1;
        }
        while is_line_end(at) {
            at += 1;
        }
        if in_block == 2 {
            if text.get(at) != Some(&b'=') {
                return at;
            }
            at += 1;
            while is_line_end(at) {
                at += 1;
            }
        }
        // What follows the padding.
        return at;
    }
    text.len().saturating_sub(in_block)
}

pub(super) const BASE64_DECODE: Function = Function {
    name: "Base64Decode",
    parameters: &[required("Target", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| decode_base64(&BASE64, text(arguments, 0)).map(Value::string).map_err(error)))
    },
};

pub(super) const BASE64_ENCODE: Function = Function {
    name: "Base64Encode",
    parameters: &[required("Target", Kind::String), optional("Variant", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let variant = optional_text(arguments, 1).unwrap_or(b"base64");
            match base64_variant(variant) {
                Some(engine) => Ok(Value::string(engine.encode(text(arguments, 0)))),
                None => {
                    let variant = String::from_utf8_lossy(variant);
                    Err(error(format!("unsupported base64 variant: {variant}")))
                }
            }
        }))
    },
};

/// What decodes.
enum Decoder {
    Base64(&'static GeneralPurpose),
    Text(Encoding),
}

impl Decoder {
    fn of(name: &[u8]) -> Result<Self, String> {
        if let Some(engine) = base64_variant(name) {
            return Ok(Self::Base64(engine));
        }
        Encoding::of(name).map(Self::Text)
    }

    fn decode(&self, text: &[u8]) -> Result<Vec<u8>, EvalError> {
        match self {
            Self::Base64(engine) => {
                decode_base64(engine, text).map_err(|reason| error(format!("could not decode: {reason}")))
            }
            Self::Text(encoding) => Ok(encoding.decode(text)),
        }
    }
}

pub(super) const DECODE: Function = Function {
    name: "Decode",
    parameters: &[required("Target", Kind::Any), required("Encoding", Kind::String)],
    build: build_decode,
};

fn build_decode(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let known = match arguments.literal_of(1) {
        Some(Value::String(name)) => Some(Decoder::of(name).map_err(BuildError::new)?),
        _ => None,
    };
    Ok(Callable::pure(move |arguments| {
        let named;
        let decoder = match &known {
            Some(decoder) => decoder,
            None => {
                named = Decoder::of(text(arguments, 1)).map_err(error)?;
                &named
            }
        };
        match take(arguments, 0) {
            Value::String(text) | Value::Bytes(text) => decoder.decode(&text).map(Value::string),
            other => Err(error(format!("unsupported type provided to Decode function: {}", type_verb(&other)))),
        }
    }))
}
