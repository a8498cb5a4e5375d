//! `recombine`: joins consecutive entries of one source.
//!
//! Keeps the entries that have begun and not ended. Their number and their length are bounded.

use std::collections::BTreeMap;

use otelcore_expr::{Program, Value, View};

use crate::context::RunContext;
use crate::entry::{Entry, EntryEnvironment};
use crate::field::Field;
use crate::results::{OperatorName, Results};

/// The longest joined text, if the configuration sets no limit.
const MAX_JOINED_BYTES: usize = 16 << 20;
/// What all joined texts may take together: a source above it is sent.
const MAX_KEPT_BYTES: usize = 64 << 20;

const DEFAULT_SOURCE: &[u8] = b"DefaultSourceIdentifier";

/// The operator.
#[derive(Debug)]
pub(crate) struct Recombine {
    pub(crate) matches_first: bool,
    pub(crate) condition: Program,
    /// Zero disables each of these limits.
    pub(crate) max_batch_size: usize,
    pub(crate) max_unmatched_batch_size: usize,
    pub(crate) max_log_size: usize,
    pub(crate) max_sources: usize,
    pub(crate) overwrite_with_newest: bool,
    pub(crate) combine_field: Field,
    pub(crate) combine_with: Vec<u8>,
    pub(crate) source_identifier: Field,
    pub(crate) force_flush_nanos: u64,
    pub(crate) batches: BTreeMap<Vec<u8>, Batch>,
    /// Bytes of all joined texts.
    pub(crate) kept_bytes: usize,
}

/// Entries of one source that are being joined.
#[derive(Debug)]
pub(crate) struct Batch {
    base: Entry,
    count: usize,
    joined: Vec<u8>,
    begun_nanos: u64,
    has_matched: bool,
}

impl Recombine {
    pub(crate) fn process(
        &mut self,
        entry: Entry,
        name: &OperatorName<'_>,
        context: &RunContext<'_>,
        results: &mut Results,
    ) {
        let is_match = match self.condition.holds(&EntryEnvironment { entry: &entry, context }) {
            Ok(is_match) => is_match,
            Err(error) => return name.handle_error(entry, error, results),
        };
        let source = match self.source_identifier.get(&entry) {
            Some(View::String(source) | View::Bytes(source)) if !source.is_empty() => source,
            _ => DEFAULT_SOURCE,
        };
        let source = source.to_vec();
        if is_match && self.matches_first {
            self.flush(&source, results);
        }
        self.add(entry, &source, is_match, name, results);
        if is_match && !self.matches_first {
            self.flush(&source, results);
        }
    }

    fn add(&mut self, mut entry: Entry, source: &[u8], is_match: bool, name: &OperatorName<'_>, results: &mut Results) {
        let text = match self.combine_field.get(&entry) {
            Some(View::String(text) | View::Bytes(text)) => Some(text.to_vec()),
            _ => None,
        };
        match self.batches.get_mut(source) {
            None => {
                if self.batches.len() >= self.max_sources {
                    results.fail(
                        name,
                        "",
                        "Too many sources. Flushing all batched logs. Consider increasing max_sources parameter"
                            .to_owned(),
                    );
                    self.flush_all(results);
                }
                let begun_nanos = entry.observed_nanos;
                let batch = Batch { base: entry, count: 1, joined: Vec::new(), begun_nanos, has_matched: is_match };
                self.batches.insert(source.to_vec(), batch);
            }
            Some(batch) => {
                batch.count += 1;
                batch.has_matched |= is_match;
                if self.overwrite_with_newest {
                    std::mem::swap(&mut batch.base, &mut entry);
                }
                batch.base.take_origins(std::mem::take(&mut entry.origins));
            }
        }
        let Some(batch) = self.batches.get_mut(source) else { return };
        let Some(text) = text else {
            return results.fail(name, "", "entry does not contain the combine_field".to_owned());
        };
        let before = batch.joined.len();
        if before > 0 {
            batch.joined.extend_from_slice(&self.combine_with);
        }
        batch.joined.extend_from_slice(&text);
        self.kept_bytes += batch.joined.len() - before;
        let limit = |limit: usize, value: usize| limit > 0 && value >= limit;
        let most = if self.max_log_size == 0 { MAX_JOINED_BYTES } else { self.max_log_size };
        if batch.joined.len() > most
            || limit(self.max_batch_size, batch.count)
            || (!batch.has_matched && limit(self.max_unmatched_batch_size, batch.count))
            || self.kept_bytes > MAX_KEPT_BYTES
        {
            self.flush(source, results);
        }
    }

    /// Sends what a source has.
    fn flush(&mut self, source: &[u8], results: &mut Results) {
        let Some(mut batch) = self.batches.remove(source) else { return };
        self.kept_bytes = self.kept_bytes.saturating_sub(batch.joined.len());
        // A field that can't be written has no text either.
        let _ = self.combine_field.set(&mut batch.base, Value::String(batch.joined));
        results.entries.push(batch.base);
    }

    pub(crate) fn flush_all(&mut self, results: &mut Results) {
        let sources: Vec<Vec<u8>> = self.batches.keys().cloned().collect();
        sources.iter().for_each(|source| self.flush(source, results));
    }

    /// Sends groups that are too old.
    pub(crate) fn flush_old(&mut self, now_nanos: u64, results: &mut Results) {
        let due = |batch: &Batch| batch.begun_nanos.saturating_add(self.force_flush_nanos) <= now_nanos;
        let sources: Vec<Vec<u8>> =
            self.batches.iter().filter(|(_, batch)| due(batch)).map(|(source, _)| source.clone()).collect();
        sources.iter().for_each(|source| self.flush(source, results));
    }

    /// When the next group is too old.
    pub(crate) fn next_flush(&self) -> Option<u64> {
        self.batches.values().map(|batch| batch.begun_nanos.saturating_add(self.force_flush_nanos)).min()
    }

    pub(crate) fn held_entries(&self) -> u64 {
        self.batches.values().map(|batch| batch.count as u64).sum()
    }
}
