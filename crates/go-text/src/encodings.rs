//! Encodings of text by their IANA names.
//!
//! Those with one byte for a character come from `data/charsets.tsv`: names, a tab, and the characters of the upper 128
//! bytes (or of all 256), one after the other, `<a0>` for one that is not visible. Bytes without a character have U+FFFD.

/// How bytes become text.
#[derive(Clone, Debug)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// UTF-8, with U+FFFD for what is none.
    Utf8,
    /// ASCII, with U+FFFD for every other byte.
    Ascii,
    /// UTF-16.
    Utf16 {
        /// The higher byte comes first.
        is_big_endian: bool,
        /// A byte order mark at the beginning decides, and is left out.
        reads_mark: bool,
    },
    /// The characters of the last bytes, up to 255; those of the bytes before are ASCII.
    Table(Vec<char>),
    /// One of the multi-byte encodings of East Asia.
    MultiByte(&'static encoding_rs::Encoding),
}

const CHARSETS: &str = include_str!("data/charsets.tsv");

impl Encoding {
    /// The encoding of a name, in any case.
    ///
    /// # Errors
    /// The sentence of the Go collector: there is none.
    pub fn of(name: &[u8]) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        let big_endian = |reads_mark| Self::Utf16 { is_big_endian: true, reads_mark };
        let little_endian = Self::Utf16 { is_big_endian: false, reads_mark: false };
        Ok(match &lower[..] {
            b"" | b"utf-8" | b"utf8" | b"csutf8" | b"ascii" | b"us-ascii" => Self::Utf8,
            b"utf-8-raw" | b"utf8-raw" | b"nop" => Self::Raw,
            b"utf-16" | b"utf16" | b"utf-16le" | b"csutf16le" => little_endian,
            b"utf-16be" | b"csutf16be" => big_endian(false),
            b"csutf16" => big_endian(true),
            b"ansi_x3.4-1968" | b"ansi_x3.4-1986" | b"cp367" | b"csascii" | b"ibm367" | b"iso-ir-6" | b"iso646-us"
            | b"iso_646.irv:1991" | b"us" => Self::Ascii,
            b"gbk" | b"cp936" | b"csgbk" | b"ms936" | b"windows-936" => Self::MultiByte(encoding_rs::GBK),
            b"gb18030" | b"csgb18030" => Self::MultiByte(encoding_rs::GB18030),
            b"big5" | b"csbig5" => Self::MultiByte(encoding_rs::BIG5),
            b"euc-kr" | b"cseuckr" => Self::MultiByte(encoding_rs::EUC_KR),
            b"euc-jp" | b"cseucpkdfmtjapanese" | b"extended_unix_code_packed_format_for_japanese" => {
                Self::MultiByte(encoding_rs::EUC_JP)
            }
            b"iso-2022-jp" | b"csiso2022jp" => Self::MultiByte(encoding_rs::ISO_2022_JP),
            b"shift_jis" | b"csshiftjis" | b"ms_kanji" => Self::MultiByte(encoding_rs::SHIFT_JIS),
            // The variants of which only the direction of the text differs.
            b"iso-8859-6-e" | b"iso_8859-6-e" | b"csiso88596e" | b"iso-8859-6-i" | b"iso_8859-6-i" | b"csiso88596i" => {
                return Self::of(b"iso-8859-6");
            }
            b"iso-8859-8-e" | b"iso_8859-8-e" | b"csiso88598e" | b"iso-8859-8-i" | b"iso_8859-8-i" | b"csiso88598i" => {
                return Self::of(b"iso-8859-8");
            }
            lower => {
                let has_name = |names: &str| names.split(' ').any(|found| found.as_bytes() == lower);
                let found =
                    CHARSETS.lines().filter_map(|line| line.split_once('\t')).find(|(names, _)| has_name(names));
                match found {
                    Some((_, characters)) => Self::Table(table_of(characters)),
                    None => return Err(format!("unsupported encoding '{}'", String::from_utf8_lossy(name))),
                }
            }
        })
    }

    /// The text that bytes stand for. Bytes that don't fit become U+FFFD.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => bytes.to_vec(),
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
            Self::Ascii => {
                bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }).collect::<String>().into()
            }
            Self::Utf16 { is_big_endian, reads_mark } => decode_utf16(bytes, *is_big_endian, *reads_mark),
            Self::Table(table) => decode_by_table(bytes, table),
            Self::MultiByte(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned().into_bytes(),
        }
    }
}

fn decode_utf16(bytes: &[u8], is_big_endian: bool, reads_mark: bool) -> Vec<u8> {
    let (mut bytes, mut is_big_endian) = (bytes, is_big_endian);
    if reads_mark {
        match bytes {
            [0xfe, 0xff, rest @ ..] => bytes = rest,
            [0xff, 0xfe, rest @ ..] => (bytes, is_big_endian) = (rest, false),
            _ => {}
        }
    }
    let (units, odd) = bytes.as_chunks::<2>();
    let unit = |bytes: &[u8; 2]| if is_big_endian { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) };
    let chars = char::decode_utf16(units.iter().map(unit)).map(|c| c.unwrap_or('\u{fffd}'));
    let text: String = chars.chain(odd.iter().map(|_| '\u{fffd}')).collect();
    text.into_bytes()
}

fn decode_by_table(bytes: &[u8], table: &[char]) -> Vec<u8> {
    let first = 256 - table.len().min(256);
    let mut out = Vec::with_capacity(bytes.len());
    for b in bytes {
        let c = match usize::from(*b).checked_sub(first) {
            Some(at) => table.get(at).copied().unwrap_or('\u{fffd}'),
            None => char::from(*b),
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out
}

fn table_of(characters: &str) -> Vec<char> {
    let (mut table, mut rest) = (Vec::with_capacity(256), characters);
    while let Some(c) = rest.chars().next() {
        if let Some((digits, after)) = rest.strip_prefix('<').and_then(|inner| inner.split_once('>')) {
            table.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
            rest = after;
        } else {
            table.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_charset_of_the_file_has_all_of_its_bytes() {
        for line in CHARSETS.lines() {
            let (names, characters) = line.split_once('\t').expect("a tab");
            let len = table_of(characters).len();
            assert!(len == 128 || len == 256, "{names}: {len}");
        }
    }
}
