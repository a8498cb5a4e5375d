//! What the writers of messages are made of.

use crate::wire_format::{put_bytes_field, put_fixed64_field, put_varint, put_varint_field};

/// Declares a writer: its scalars, its messages by the room for their length, its items, its attributes.
macro_rules! writer {
    ($(#[$doc:meta])* $type:ident in $module:ident {
        $( $(#[$fdoc:meta])* $number:ident $name:ident: $kind:ident, )*
        $( @message $(#[$mdoc:meta])* $mnumber:ident $mname:ident: $mtype:ident $width:ident, )*
        $( @item $(#[$idoc:meta])* $inumber:ident $iname:ident: $itype:ident, )*
        $( @attributes $(#[$adoc:meta])* $anumber:ident $aname:ident, )?
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $type<'a>(pub(in crate::build) $crate::build::Message<'a>);

        impl<'a> $type<'a> {
            /// Writes the content of such a message to the end of `body`, without tag and length.
            #[must_use]
            pub fn content(body: &'a mut $crate::build::Body) -> Self {
                Self($crate::build::Message::content(body))
            }

            $(
                $(#[$fdoc])*
                #[inline]
                pub fn $name(&mut self, v: crate::build::writer::argument!($kind)) -> &mut Self {
                    crate::build::writer::put!($kind, &mut self.0.body.out, $crate::schema::$module::$number, v);
                    self
                }
            )*
            $(
                $(#[$mdoc])*
                #[inline]
                pub fn $mname(&mut self) -> $mtype<'_> {
                    $mtype(self.0.nested($crate::schema::$module::$mnumber, $crate::build::$width))
                }
            )*
            $(
                $(#[$idoc])*
                #[inline]
                pub fn $iname(&mut self) -> $itype<'_> {
                    $itype(self.0.item($crate::schema::$module::$inumber))
                }
            )*
            $(
                $(#[$adoc])*
                #[inline]
                pub fn $aname(&mut self) -> $crate::build::AttributesWriter<'_> {
                    $crate::build::AttributesWriter::new(self.0.body, $crate::schema::$module::$anumber)
                }
            )?
        }
    };
}

pub(in crate::build) use writer;

macro_rules! argument {
    (text) => {
        &[u8]
    };
    (id16) => {
        &[u8; 16]
    };
    (id8) => {
        &[u8; 8]
    };
    (uint32) => {
        u32
    };
    (int32) => {
        i32
    };
    (sint32) => {
        i32
    };
    (bool) => {
        bool
    };
    (fixed64) => {
        u64
    };
    (varint64) => {
        u64
    };
    (fixed32) => {
        u32
    };
    (double) => {
        f64
    };
    // An element of a repeated field.
    (each_text) => {
        &[u8]
    };
    // Present even if it is zero.
    (some_double) => {
        f64
    };
    (some_sfixed64) => {
        i64
    };
    (packed_fixed64) => {
        &[u64]
    };
    (packed_double) => {
        &[f64]
    };
    (packed_varint) => {
        &[u64]
    };
}

pub(in crate::build) use argument;

macro_rules! put {
    (text, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_text($out, $number, $v)
    };
    (each_text, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_bytes_field($out, $number, $v)
    };
    (id16, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_bytes_field($out, $number, $v)
    };
    (id8, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_bytes_field($out, $number, $v)
    };
    (uint32, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain($out, $number, u64::from($v))
    };
    // An int32 is encoded with the sign in all 64 bits.
    (int32, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain($out, $number, i64::from($v).cast_unsigned())
    };
    (sint32, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain($out, $number, $crate::wire_format::encode_zigzag32($v))
    };
    (bool, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain($out, $number, u64::from($v))
    };
    (varint64, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain($out, $number, $v)
    };
    (fixed64, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain_fixed64($out, $number, $v)
    };
    (fixed32, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain_fixed32($out, $number, $v)
    };
    (double, $out:expr, $number:expr, $v:expr) => {
        $crate::build::writer::put_plain_fixed64($out, $number, $v.to_bits())
    };
    (some_double, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_fixed64_field($out, $number, $v.to_bits())
    };
    (some_sfixed64, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_fixed64_field($out, $number, $v.cast_unsigned())
    };
    (packed_fixed64, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_packed_fixed64($out, $number, $v, |v| *v)
    };
    (packed_double, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_packed_fixed64($out, $number, $v, |v| v.to_bits())
    };
    (packed_varint, $out:expr, $number:expr, $v:expr) => {
        $crate::wire_format::put_packed_varints($out, $number, $v)
    };
}

pub(in crate::build) use put;

#[inline]
pub(in crate::build) fn put_text(out: &mut Vec<u8>, number: u32, v: &[u8]) {
    if !v.is_empty() {
        put_bytes_field(out, number, v);
    }
}

#[inline]
pub(in crate::build) fn put_plain(out: &mut Vec<u8>, number: u32, v: u64) {
    if v != 0 {
        put_varint_field(out, number, v);
    }
}

#[inline]
pub(in crate::build) fn put_plain_fixed64(out: &mut Vec<u8>, number: u32, v: u64) {
    if v != 0 {
        put_fixed64_field(out, number, v);
    }
}

#[inline]
pub(in crate::build) fn put_plain_fixed32(out: &mut Vec<u8>, number: u32, v: u32) {
    if v != 0 {
        put_varint(out, u64::from(number) << 3 | 5);
        out.extend_from_slice(&v.to_le_bytes());
    }
}
