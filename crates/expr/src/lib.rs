//! Expressions in the language of the Go library `expr`, version 1.17.
//!
//! [`parse`] makes a tree whose nodes have positions, for a compiler of one's own; [`Program`] evaluates such a tree over
//! values whose types are known only then. Operators, functions and errors are those of the library; what is left out of it
//! is refused with its position. Performs no IO. A text has at most 1000 words and symbols, and an evaluation at most
//! 100,000 steps.
#![forbid(unsafe_code)]

mod environment;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod signatures;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

pub use environment::Environment;
pub use evaluate::Program;
pub use parser::parse;
pub use syntax::{BinaryOperator, Node, NodeKind, UnaryOperator};
pub use value::{Key, Map, Value, View, key};
