//! Families whose names can't be on one page, and which of them is shown: the oldest.

use otelcore_exposition::MetricType;
use otelcore_pipeline::LogLevel;

use crate::dropped_points::{DropReason, DroppedPoints};
use crate::families::{Families, Family};
use crate::series::TARGET_HELP;
use crate::step_budget::StepBudget;

impl Families {
    /// Checks a family for collisions. Names that differ only in the suffixes of histograms and summaries can't be on
    /// one page; the oldest family is shown. Younger families that are affected are put on the list.
    pub(crate) fn check_collisions(
        &mut self,
        id: usize,
        targets: Option<&[u8]>,
        dropped: &mut DroppedPoints,
        budget: &mut StepBudget,
    ) {
        let Some(family) = self.families.get(id) else { return };
        let name = family.name.clone();
        budget.charge(500 + 4 * name.len() as u64);
        let other = if !family.is_shown() {
            None
        } else if targets == Some(&*name) && !(family.kind == MetricType::Gauge && &*family.help == TARGET_HELP) {
            Some(name.to_vec())
        } else {
            self.colliding_name(family)
        };
        let seq = family.seq;
        let checked_kind = (family.is_shown() && other.is_none()).then_some(family.kind);
        if let Some(other) = &other {
            dropped.log_once(DropReason::NameCollision, LogLevel::Error, &name, || {
                let (name, other) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(other));
                format!(
                    "error gathering metrics: collected metric named {name:?} collides with previously collected \
                     metric named {other:?}"
                )
            });
        }
        let Some(family) = self.families.get_mut(id) else { return };
        family.hidden = other.is_some();
        if std::mem::replace(&mut family.checked_kind, checked_kind) == checked_kind {
            return;
        }
        self.recheck_younger(&name, seq);
    }

    /// Puts the younger families whose names could collide with this one on the list to be checked.
    pub(crate) fn recheck_younger(&mut self, name: &[u8], seq: u64) {
        for suffix in [&b"_count"[..], b"_sum", b"_bucket"] {
            let stem = name.strip_suffix(suffix).and_then(|stem| self.by_name.get(stem));
            let added = self.by_name.get([name, suffix].concat().as_slice());
            for id in [stem, added].into_iter().flatten() {
                if let Some(younger) = self.families.get(*id).filter(|f| f.seq > seq) {
                    self.to_check.insert((younger.seq, *id));
                }
            }
        }
    }

    /// The name of the older family that collides with this one.
    fn colliding_name(&self, family: &Family) -> Option<Vec<u8>> {
        find_collision(&family.name, family.kind, |name| {
            let other = self.find_by_name(name)?;
            other.checked_kind.filter(|_| other.seq < family.seq)
        })
    }

    /// Whether pages without UTF-8 names leave a family out: it collides there with a family whose name is not escaped,
    /// with an older one whose name is, or with `target_info`, if there is any.
    pub(crate) fn is_hidden_when_escaped(
        &self,
        family: &Family,
        targets: Option<(&[u8], &[u8])>,
        dropped: &mut DroppedPoints,
    ) -> bool {
        let Some(escaped_name) = &family.escaped_name else { return false };
        let shown = |other: &Family| Some(other.kind).filter(|_| other.is_shown() && !other.hidden);
        let shown_kind = |name: &[u8]| {
            let unescaped = self.find_by_name(name).filter(|other| other.escaped_name.is_none()).and_then(shown);
            let older = || {
                let same = self.by_escaped_name.get(name)?.iter().filter_map(|id| self.families.get(*id));
                same.filter(|other| other.seq < family.seq).find_map(shown)
            };
            unescaped.or_else(older)
        };
        let is_target = targets.is_some_and(|(name, escaped)| escaped == &**escaped_name && name != &*family.name);
        let other = if is_target || shown_kind(escaped_name).is_some() {
            Some(escaped_name.to_vec())
        } else {
            find_collision(escaped_name, family.kind, shown_kind)
        };
        if let Some(other) = &other {
            dropped.log_once(DropReason::NameCollision, LogLevel::Warn, &family.name, || {
                let (name, other) = (String::from_utf8_lossy(&family.name), String::from_utf8_lossy(other));
                format!(
                    "metric {name:?} is left out of pages without UTF-8 names: escaped, its name collides with {other:?}"
                )
            });
        }
        other.is_some()
    }
}

/// The name of another family with which a family collides by client_golang's rule: one has lines with the name of the
/// other. `shown_kind` returns the type of another family on the page.
fn find_collision(name: &[u8], kind: MetricType, shown_kind: impl Fn(&[u8]) -> Option<MetricType>) -> Option<Vec<u8>> {
    for (suffix, summaries) in [(&b"_count"[..], true), (b"_sum", true), (b"_bucket", false)] {
        if let Some(stem) = name.strip_suffix(suffix) {
            match shown_kind(stem) {
                Some(MetricType::Histogram) => return Some(stem.to_vec()),
                Some(MetricType::Summary) if summaries => return Some(stem.to_vec()),
                _ => {}
            }
        }
        let adds = kind == MetricType::Histogram || (kind == MetricType::Summary && summaries);
        let added = [name, suffix].concat();
        if adds && shown_kind(&added).is_some() {
            return Some(added);
        }
    }
    None
}
