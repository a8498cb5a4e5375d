//! Evaluation of compiled expressions and execution of compiled editors on one item.

mod compare;
mod convert;
mod expression;
mod math;
mod parameter_kind;

pub use compare::{Comparison, compare};
pub use expression::{Argument, Converter, Expression, FunctionArgument, PathExpression, PureFunction};
pub use math::MathOperator;
pub use parameter_kind::ParameterKind;

#[cfg(test)]
pub(crate) use convert::put_go_json;
pub(crate) use convert::{convert, map_literal_value};
pub(crate) use expression::{BoolNode, Call, Callee, KeyExpression, Keys, MathChain, Node};
pub(crate) use math::negate;

use std::cell::Cell;
use std::fmt;

use crate::contexts::{ContextMut, ContextView, Field, MapMut};
use crate::error::EvalError;
use crate::index;
pub use crate::index::Key;
use crate::value::{Map, TreeMap, Value};

/// What functions may know of the world: the time and random numbers. Both are handed in, so that a run can be repeated.
pub trait Environment {
    /// Nanoseconds since the epoch.
    fn unix_nanos(&self) -> i64;

    /// A random number, another one with each call.
    fn random(&self) -> u64;
}

/// Always the same time, and pseudorandom numbers from a seed.
#[derive(Clone, Debug)]
pub struct FixedEnvironment {
    /// Nanoseconds since the epoch.
    pub unix_nanos: i64,
    state: Cell<u64>,
}

impl FixedEnvironment {
    /// An environment at this time.
    #[must_use]
    pub fn new(unix_nanos: i64, seed: u64) -> Self {
        Self { unix_nanos, state: Cell::new(seed) }
    }
}

impl Environment for FixedEnvironment {
    fn unix_nanos(&self) -> i64 {
        self.unix_nanos
    }

    fn random(&self) -> u64 {
        // SplitMix64.
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What is kept from one item to the next: the `cache` of statements, and buffers that are used again.
#[derive(Debug, Default)]
pub struct State {
    /// The value of the path `cache`.
    pub cache: TreeMap,
    scratch: Vec<u8>,
}

impl State {
    /// Begins another item, with an empty cache.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }
}

/// One item to evaluate expressions on.
#[derive(Clone, Copy)]
pub struct Evaluation<'c> {
    context: &'c dyn ContextView,
    cache: &'c [(Vec<u8>, otelcore_pdata::Value)],
    environment: &'c dyn Environment,
    /// What [`FunctionArgument::call`] passes to its converter.
    input: Option<&'c [u8]>,
}

impl fmt::Debug for Evaluation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluation").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl<'c> Evaluation<'c> {
    /// Evaluates on `context`.
    #[must_use]
    pub fn new(context: &'c dyn ContextView, state: &'c State, environment: &'c dyn Environment) -> Self {
        Self { context, cache: &state.cache, environment, input: None }
    }

    /// The time and random numbers.
    #[must_use]
    pub fn environment(&self) -> &'c dyn Environment {
        self.environment
    }

    /// The item.
    #[must_use]
    pub fn context(&self) -> &'c dyn ContextView {
        self.context
    }

    /// Reads a path.
    #[inline]
    fn field(&self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        match (field, keys) {
            (Field::Cache, []) => Ok(Value::Map(Map::borrowed(self.cache))),
            (Field::Cache, _) => index::map_value_at(Map::borrowed(self.cache), keys),
            _ => self.context.get(field, keys),
        }
    }
}

/// One item to execute editors on.
pub struct Execution<'e> {
    context: &'e mut (dyn ContextMut + 'e),
    state: &'e mut State,
    environment: &'e dyn Environment,
}

impl fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<'e> Execution<'e> {
    /// Executes on `context`.
    pub fn new(context: &'e mut (dyn ContextMut + 'e), state: &'e mut State, environment: &'e dyn Environment) -> Self {
        Self { context, state, environment }
    }

    /// The item, to evaluate expressions on it.
    #[must_use]
    #[inline]
    pub fn view(&self) -> Evaluation<'_> {
        Evaluation { context: &*self.context, cache: &self.state.cache, environment: self.environment, input: None }
    }

    /// The item, for functions of one context.
    pub fn context_mut(&mut self) -> &mut (dyn ContextMut + 'e) {
        self.context
    }

    /// Sets a path to a value that is not `nil`. The value borrows nothing from the item: see [`Value::detach`].
    ///
    /// # Errors
    /// The path does not accept the value.
    pub fn set(&mut self, path: &PathExpression, value: &Value<'_>) -> Result<(), EvalError> {
        match &path.keys {
            Keys::Literal(keys) => self.set_field(path.field, keys, value),
            Keys::Evaluated(_) => {
                let keys = path.keys.resolve_owned(&self.view());
                self.set_field(path.field, &keys, value)
            }
        }
    }

    #[inline]
    fn set_field(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        match (field, keys) {
            (Field::Cache, []) => {
                self.state.cache = index::to_map(value)?;
                Ok(())
            }
            (Field::Cache, _) => index::set_in_map(&mut self.state.cache, keys, value),
            _ => self.context.set(field, keys, value),
        }
    }

    /// Sets a path to the value of an expression, unless that is `nil`. Allocates nothing if the value is a scalar, a
    /// string, or in the payload.
    ///
    /// # Errors
    /// The expression can't be evaluated, or the path does not accept the value.
    pub fn set_to(&mut self, path: &PathExpression, expression: &Expression) -> Result<(), EvalError> {
        if let Some(value) = expression.literal() {
            return if value.is_nil() { Ok(()) } else { self.set(path, value) };
        }
        let mut scratch = std::mem::take(&mut self.state.scratch);
        let value = expression.get(&self.view()).map(|value| value.detach(&mut scratch));
        let result = match value {
            Ok(Value::Nil) => Ok(()),
            Ok(value) => self.set(path, &value),
            Err(error) => Err(error),
        };
        self.state.scratch = scratch;
        result
    }

    /// Changes the map of a path in place.
    ///
    /// # Errors
    /// The value of the path is not a map, or what `change` returns.
    pub fn edit_map(
        &mut self,
        path: &PathExpression,
        change: &mut dyn FnMut(&mut MapMut<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        match &path.keys {
            Keys::Literal(keys) => self.edit_field(path.field, keys, change),
            Keys::Evaluated(_) => {
                let keys = path.keys.resolve_owned(&self.view());
                self.edit_field(path.field, &keys, change)
            }
        }
    }

    fn edit_field(
        &mut self,
        field: Field,
        keys: &[Key<'_>],
        change: &mut dyn FnMut(&mut MapMut<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        match field {
            Field::Cache => change(&mut MapMut::Tree(index::map_at_mut(&mut self.state.cache, keys)?)),
            _ => self.context.edit_map(field, keys, change),
        }
    }
}
