//! What both versions have in JSON: lists of spans, strings without copies, bounded lists, endpoints.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::decode_error::{DecodeError, MAX_PER_SPAN};

/// Calls `add` with each element of a list. Null is an empty list, and nothing as an element.
pub(crate) fn read_list<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    add: impl FnMut(T) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let visitor = ListVisitor { add, failure: &mut failure, element: PhantomData };
    let result = deserializer.deserialize_any(visitor).and_then(|()| deserializer.end());
    match (failure, result) {
        (Some(failure), _) => Err(failure),
        (None, Err(e)) => Err(DecodeError::invalid(e)),
        (None, Ok(())) => Ok(()),
    }
}

struct ListVisitor<'f, T, F> {
    add: F,
    failure: &'f mut Option<DecodeError>,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), DecodeError>> Visitor<'de> for ListVisitor<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<Option<T>>()? {
            if let Some(element) = element
                && let Err(failure) = (self.add)(element)
            {
                *self.failure = Some(failure);
                return Err(A::Error::custom("a span is not accepted"));
            }
        }
        Ok(())
    }
}

/// A string, without a copy where it has no escapes. Null is an empty one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'a> Text<'a> {
    pub(crate) fn into_bytes(self) -> Cow<'a, [u8]> {
        match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// At most [`MAX_PER_SPAN`] elements. Null is none of them.
#[derive(Debug)]
pub(crate) struct BoundedList<T>(pub(crate) Vec<T>);

impl<T> Default for BoundedList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for BoundedList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundedVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
            type Value = BoundedList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<BoundedList<T>, E> {
                Ok(BoundedList::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<BoundedList<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX_PER_SPAN {
                        return Err(A::Error::custom(format_args!("a span has more than {MAX_PER_SPAN} annotations")));
                    }
                    elements.push(element);
                }
                Ok(BoundedList(elements))
            }
        }
        deserializer.deserialize_any(BoundedVisitor(PhantomData))
    }
}

/// Where something happened. Ports are 16 bits in version 2, and 32 bits with a sign in version 1.
#[derive(serde::Deserialize, Default, Debug)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct JsonEndpoint<'a, P> {
    #[serde(borrow)]
    pub(crate) service_name: Text<'a>,
    #[serde(borrow)]
    pub(crate) ipv4: Text<'a>,
    #[serde(borrow)]
    pub(crate) ipv6: Text<'a>,
    pub(crate) port: Option<P>,
}
