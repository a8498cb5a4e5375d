//! Tests of operators and pipelines.
