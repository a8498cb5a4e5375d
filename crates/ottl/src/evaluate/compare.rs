//! Comparison of two values by the rules of the Go collector.
//!
//! Values of different types are not equal, except for an integer beside a double, and except that `nil` equals empty
//! bytes. Only numbers, strings, bytes, booleans, times and durations have an order.

use otelcore_pdata::Value as Tree;

use super::math::as_double;
use crate::value::{List, ListElements, ListKind, Map, MapEntries, MapKind, Value};

/// An operator between two values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds for two values that have an order.
    #[inline]
    pub(crate) fn of<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
        }
    }

    /// The result for values of which only equality is known.
    fn of_equality(self, are_equal: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Equal => are_equal(),
            Self::NotEqual => !are_equal(),
            _ => false,
        }
    }
}

/// Whether `a operator b` holds.
#[must_use]
pub fn compare(a: &Value<'_>, operator: Comparison, b: &Value<'_>) -> bool {
    use Comparison::{Equal, GreaterOrEqual, LessOrEqual, NotEqual};
    match (a, b) {
        (Value::String(a), Value::String(b)) => operator.of(&a[..], &b[..]),
        (Value::Int(a), Value::Int(b)) => operator.of(a, b),
        (Value::Int(a), Value::Double(b)) => operator.of(as_double(*a), *b),
        (Value::Double(a), Value::Int(b)) => operator.of(*a, as_double(*b)),
        (Value::Double(a), Value::Double(b)) => operator.of(a, b),
        (Value::Bool(a), Value::Bool(b)) => operator.of(a, b),
        // Empty bytes of pdata are a nil slice in Go, which equals nil.
        (a, b) if is_nothing(a) && is_nothing(b) => matches!(operator, Equal | LessOrEqual | GreaterOrEqual),
        (a, b) if is_nothing(a) || is_nothing(b) => operator == NotEqual,
        (Value::Bytes(a), Value::Bytes(b)) => operator.of(&a[..], &b[..]),
        (Value::Duration(a), Value::Duration(b)) => operator.of(a, b),
        (Value::Time(a), Value::Time(b)) => operator.of(a.instant(), b.instant()),
        (Value::TraceId(a), Value::TraceId(b)) | (Value::ProfileId(a), Value::ProfileId(b)) => {
            operator.of_equality(|| a == b)
        }
        (Value::SpanId(a), Value::SpanId(b)) => operator.of_equality(|| a == b),
        (Value::Map(a), Value::Map(b)) => operator.of_equality(|| maps_are_equal(a, b)),
        (Value::List(a), Value::List(b)) => operator.of_equality(|| lists_are_equal(a, b)),
        (Value::Messages(kind, a), Value::Messages(other, b)) => operator.of_equality(|| kind == other && a == b),
        _ => operator == NotEqual,
    }
}

fn is_nothing(value: &Value<'_>) -> bool {
    match value {
        Value::Nil => true,
        Value::Bytes(bytes) => bytes.is_empty(),
        _ => false,
    }
}

fn maps_are_equal(a: &Map<'_>, b: &Map<'_>) -> bool {
    let is_pdata = a.kind == MapKind::Pdata && b.kind == MapKind::Pdata;
    with_tree(a, |a| with_tree(b, |b| entries_are_equal(a, b, is_pdata)))
}

fn with_tree<R>(map: &Map<'_>, body: impl FnOnce(&[(Vec<u8>, Tree)]) -> R) -> R {
    match &map.entries {
        MapEntries::Tree(tree) => body(tree),
        MapEntries::Raw(..) => body(&map.to_tree()),
    }
}

/// Whether both have the same keys with equal values, in any order. Between pdata maps, the first of equal keys counts,
/// and the numbers of entries must be equal; between Go maps, the last one.
fn entries_are_equal(a: &[(Vec<u8>, Tree)], b: &[(Vec<u8>, Tree)], is_pdata: bool) -> bool {
    if is_pdata && a.len() != b.len() {
        return false;
    }
    let sorted = |entries: &'_ [(Vec<u8>, Tree)]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&x, &y| entries[x].0.cmp(&entries[y].0));
        order
    };
    // The positions of the entries that count, in the order of their keys.
    let distinct = |entries: &'_ [(Vec<u8>, Tree)]| -> Vec<usize> {
        let mut order = sorted(entries);
        if is_pdata {
            order.dedup_by(|later, first| entries[*later].0 == entries[*first].0);
        } else {
            order.reverse();
            order.dedup_by(|earlier, last| entries[*earlier].0 == entries[*last].0);
            order.reverse();
        }
        order
    };
    let (first, second) = (distinct(a), distinct(b));
    first.len() == second.len()
        && first.iter().zip(&second).all(|(&x, &y)| {
            let ((key, value), (other_key, other)) = (&a[x], &b[y]);
            key == other_key && trees_are_equal(value, other, is_pdata)
        })
}

fn trees_are_equal(a: &Tree, b: &Tree, is_pdata: bool) -> bool {
    match (a, b) {
        (Tree::Empty, Tree::Empty) => true,
        (Tree::String(a), Tree::String(b)) | (Tree::Bytes(a), Tree::Bytes(b)) => a == b,
        (Tree::Bool(a), Tree::Bool(b)) => a == b,
        (Tree::Int(a), Tree::Int(b)) => a == b,
        (Tree::Double(a), Tree::Double(b)) => a == b,
        (Tree::Array(a), Tree::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| trees_are_equal(a, b, is_pdata))
        }
        (Tree::Map(a), Tree::Map(b)) => entries_are_equal(a, b, is_pdata),
        _ => false,
    }
}

fn lists_are_equal(a: &List<'_>, b: &List<'_>) -> bool {
    let are_comparable = |kind| matches!(kind, ListKind::Pdata | ListKind::Any);
    if a.kind != b.kind && !(are_comparable(a.kind) && are_comparable(b.kind)) {
        return false;
    }
    let is_pdata = a.kind == ListKind::Pdata && b.kind == ListKind::Pdata;
    let (mut left, mut right) = (a.iter(), b.iter());
    let (a_is_any, b_is_any) = (is_any(a), is_any(b));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if elements_are_equal(&a, a_is_any, &b, b_is_any, is_pdata) => {}
            _ => return false,
        }
    }
}

/// Whether the elements are Go values that are not converted from pdata.
fn is_any(list: &List<'_>) -> bool {
    matches!(list.elements, ListElements::Values(_) | ListElements::Literal(_))
}

/// Go's deep equality: types must be the same. A pdata map in a list literal stays one, while the elements of a pdata
/// list are converted, so that the two never are equal.
fn elements_are_equal(a: &Value<'_>, a_is_any: bool, b: &Value<'_>, b_is_any: bool, is_pdata: bool) -> bool {
    match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::String(a), Value::String(b)) | (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Double(a), Value::Double(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::TraceId(a), Value::TraceId(b)) | (Value::ProfileId(a), Value::ProfileId(b)) => a == b,
        (Value::SpanId(a), Value::SpanId(b)) => a == b,
        (Value::Map(a), Value::Map(b)) => {
            let keeps_pdata = |map: &Map<'_>, is_any| is_any && map.kind == MapKind::Pdata;
            let (left, right) = (keeps_pdata(a, a_is_any), keeps_pdata(b, b_is_any));
            if left != right {
                return false;
            }
            with_tree(a, |a| with_tree(b, |b| if left { a == b } else { entries_are_equal(a, b, is_pdata) }))
        }
        (Value::List(a), Value::List(b)) => {
            let keeps_pdata = |list: &List<'_>, is_any| is_any && list.kind == ListKind::Pdata;
            keeps_pdata(a, a_is_any) == keeps_pdata(b, b_is_any) && lists_are_equal(a, b)
        }
        _ => false,
    }
}
