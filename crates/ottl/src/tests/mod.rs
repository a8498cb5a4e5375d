//! Tests of the language, on a context in memory.

mod conditions;
mod errors;
mod inference;
mod sequences;
mod statements;
mod syntax;
