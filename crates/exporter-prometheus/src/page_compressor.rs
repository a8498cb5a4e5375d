//! Compresses a page piece by piece, in the coding that the scraper accepts.

use otelcore_exposition::PageEncoding;
use otelcore_http::coding::{GzipStream, ZstdStream};

/// A low level: pages compress well at any level, and each is read once.
const GZIP_LEVEL: u32 = 1;

/// The compressor of one page.
#[derive(Debug)]
pub(crate) enum PageCompressor {
    Gzip(GzipStream),
    Zstd(ZstdStream),
}

impl PageCompressor {
    /// None if the page is not compressed.
    pub(crate) fn new(encoding: PageEncoding) -> Option<Self> {
        match encoding {
            PageEncoding::Identity => None,
            PageEncoding::Gzip => Some(Self::Gzip(GzipStream::new(GZIP_LEVEL))),
            PageEncoding::Zstd => ZstdStream::new().map(Self::Zstd),
        }
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn coding(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::Gzip(_) => GzipStream::MEMORY,
            Self::Zstd(_) => ZstdStream::MEMORY,
        }
    }

    /// Compresses a piece. False if that failed.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Self::Gzip(stream) => {
                stream.push(piece, out);
                true
            }
            Self::Zstd(stream) => stream.push(piece, out),
        }
    }

    /// Appends the end. False if that failed.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Gzip(stream) => {
                stream.finish(out);
                true
            }
            Self::Zstd(stream) => stream.finish(out),
        }
    }
}
