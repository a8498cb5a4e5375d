//! Sets of labels: one that is kept and compared, and one that relabelling works on.
//!
//! Knows names and values, and nothing of what they mean. Performs no IO.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A set of labels, sorted by name; names are unique. Copying one is copying a reference.
///
/// A value may be empty in the labels of a group. What relabelling returns has no empty values.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct LabelSet(Arc<Texts>);

/// All names and values, one after another.
#[derive(PartialEq, Eq, Hash, Default)]
struct Texts {
    text: Box<str>,
    ends: Box<[Ends]>,
}

/// Where a name and the value behind it end in the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    name: usize,
    value: usize,
}

impl LabelSet {
    /// The set of these labels. The last of several with the same name is in it.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        Self::from_unsorted(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect())
    }

    fn from_unsorted(mut pairs: Vec<(&str, &str)>) -> Self {
        pairs.sort_by_key(|(name, _)| *name);
        let is_followed = |index: usize| {
            let name = |index: usize| pairs.get(index).map(|(name, _)| *name);
            name(index) == name(index + 1)
        };
        let last = (0..pairs.len()).filter(|index| !is_followed(*index));
        Self::from_sorted(last.filter_map(|index| pairs.get(index)).copied())
    }

    /// The set of labels that are sorted already and have unique names.
    fn from_sorted<'t>(pairs: impl Iterator<Item = (&'t str, &'t str)>) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for (name, value) in pairs {
            text.push_str(name);
            let name = text.len();
            text.push_str(value);
            ends.push(Ends { name, value: text.len() });
        }
        Self(Arc::new(Texts { text: text.into(), ends: ends.into() }))
    }

    fn pair(&self, index: usize) -> Option<(&str, &str)> {
        let Texts { text, ends } = &*self.0;
        let at = ends.get(index)?;
        let begin = index.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |before| before.value);
        Some((text.get(begin..at.name)?, text.get(at.name..at.value)?))
    }

    fn find(&self, name: &str) -> Option<&str> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, value) = self.pair(middle)?;
            match found.cmp(name) {
                Ordering::Equal => return Some(value),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The value of a label; empty without it.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// Whether there is a label of that name, even if its value is empty.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        (0..self.len()).filter_map(|index| self.pair(index))
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// Without labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The labels whose names do not begin with `__`: those that a target's series have.
    #[must_use]
    pub fn public(&self) -> Self {
        Self::from_sorted(self.iter().filter(|(name, _)| !name.starts_with("__")))
    }

    /// About the bytes that it takes, if it is the only copy.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.text.len() + size_of::<Ends>() * self.len() + 64
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A part of the text of a builder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    begin: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    value: Span,
    /// It is not as in the base.
    is_set: bool,
}

/// Labels that relabelling changes. It is made to be used again: once its memory has grown, nothing allocates.
///
/// Its order is that of Prometheus: first the labels of the base that have not been set since, by name, then the others as
/// they were set. It matters where `labelmap` gives two labels the same name: the last one is kept.
#[derive(Default, Debug)]
pub struct LabelBuilder {
    text: String,
    entries: Vec<Entry>,
    is_changed: bool,
    /// Memory of `relabel`.
    pub(crate) scratch: String,
    pub(crate) expanded: [Vec<u8>; 2],
}

/// From this many comparisons of names on, labels that are set together are found by a tree.
const MAX_COMPARISONS: usize = 4096;

impl LabelBuilder {
    /// Without labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all labels.
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.is_changed = false;
    }

    pub(crate) fn span_text(&self, span: Span) -> &str {
        self.text.get(span.begin..span.end).unwrap_or_default()
    }

    pub(crate) fn push_text(&mut self, text: &str) -> Span {
        let begin = self.text.len();
        self.text.push_str(text);
        Span { begin, end: self.text.len() }
    }

    /// Adds a label to the base. They are added by name, before anything is set. One without a value is left out.
    pub fn add_base(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let (name, value) = (self.push_text(name), self.push_text(value));
        self.entries.push(Entry { name, value, is_set: false });
    }

    /// Sets the base to a set of labels.
    pub fn reset(&mut self, base: &LabelSet) {
        self.clear();
        for (name, value) in base.iter() {
            self.add_base(name, value);
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| self.span_text(entry.name) == name)
    }

    /// The value of a label; empty without it.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.position(name).and_then(|index| self.entries.get(index));
        found.map_or("", |entry| self.span_text(entry.value))
    }

    /// Sets a label. An empty value deletes it.
    pub fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return self.delete(name);
        }
        let value = self.push_text(value);
        let at = self.position(name);
        self.is_changed = true;
        match at.and_then(|index| self.entries.get_mut(index)) {
            Some(entry) if entry.is_set => entry.value = value,
            Some(entry) => {
                let name = entry.name;
                at.map(|index| self.entries.remove(index));
                self.entries.push(Entry { name, value, is_set: true });
            }
            None => {
                let name = self.push_text(name);
                self.entries.push(Entry { name, value, is_set: true });
            }
        }
    }

    /// Deletes a label.
    pub fn delete(&mut self, name: &str) {
        if let Some(index) = self.position(name) {
            self.entries.remove(index);
            self.is_changed = true;
        }
    }

    /// Sets labels in this order, of which none has an empty value, in n log n steps.
    pub(crate) fn set_all(&mut self, labels: &[(Span, Span)]) {
        if labels.is_empty() {
            return;
        }
        self.is_changed = true;
        let (text, entries) = (&self.text, &mut self.entries);
        let text_of = |span: Span| text.get(span.begin..span.end).unwrap_or_default();
        if labels.len().saturating_mul(entries.len()) <= MAX_COMPARISONS {
            for (name, value) in labels {
                let at = entries.iter().position(|entry| text_of(entry.name) == text_of(*name));
                match at.and_then(|index| entries.get_mut(index)) {
                    Some(entry) if entry.is_set => {
                        entry.value = *value;
                        continue;
                    }
                    Some(_) => drop(at.map(|index| entries.remove(index))),
                    None => {}
                }
                entries.push(Entry { name: *name, value: *value, is_set: true });
            }
            return;
        }
        let mut kept: Vec<Option<Entry>> = entries.drain(..).map(Some).collect();
        let by_name = kept.iter().flatten().enumerate().map(|(index, entry)| (text_of(entry.name), index));
        let mut by_name: BTreeMap<&str, usize> = by_name.collect();
        for (name, value) in labels {
            let at = by_name.get(text_of(*name)).and_then(|index| kept.get_mut(*index));
            match at {
                Some(Some(entry)) if entry.is_set => {
                    entry.value = *value;
                    continue;
                }
                Some(slot) => *slot = None,
                None => {}
            }
            by_name.insert(text_of(*name), kept.len());
            kept.push(Some(Entry { name: *name, value: *value, is_set: true }));
        }
        entries.extend(kept.into_iter().flatten());
    }

    /// Keeps the labels for whose names this is true.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        let (text, before) = (&self.text, self.entries.len());
        self.entries.retain(|entry| is_kept(text.get(entry.name.begin..entry.name.end).unwrap_or_default()));
        self.is_changed |= self.entries.len() != before;
    }

    /// Names and values, in the order of the builder.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (Span, Span)> + '_ {
        self.entries.iter().map(|entry| (entry.name, entry.value))
    }

    /// Names and values, in the order of the builder.
    pub fn for_each(&self, mut each: impl FnMut(&str, &str)) {
        self.spans().for_each(|(name, value)| each(self.span_text(name), self.span_text(value)));
    }

    /// Whether a label has been set or deleted since the base was made.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Without labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values, by name.
    pub fn sorted(&mut self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let text = &self.text;
        let text_of = move |span: Span| text.get(span.begin..span.end).unwrap_or_default();
        self.entries.sort_unstable_by(|a, b| text_of(a.name).cmp(text_of(b.name)));
        self.entries.iter().map(move |entry| (text_of(entry.name), text_of(entry.value)))
    }

    /// The labels as a set.
    pub fn to_label_set(&mut self) -> LabelSet {
        LabelSet::from_sorted(self.sorted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_is_sorted_and_has_the_last_of_equal_names() {
        let set = LabelSet::from_pairs([("b", "1"), ("a", ""), ("b", "2"), ("__c", "3")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("__c", "3"), ("a", ""), ("b", "2")]);
        assert_eq!((set.get("b"), set.get("a"), set.get("x"), set.len()), ("2", "", "", 3));
        assert!(set.contains("a") && !set.contains("x") && LabelSet::default().is_empty());
        assert_eq!(set.public(), LabelSet::from_pairs([("a", ""), ("b", "2")]));
        assert!(LabelSet::from_pairs([("a", "b")]) < LabelSet::from_pairs([("ab", "")]));
        assert_ne!(LabelSet::from_pairs([("a", "b")]), LabelSet::from_pairs([("ab", "")]));
    }

    #[test]
    fn builder_has_labels_of_the_base_first_and_deletes_what_is_set_to_nothing() {
        let mut builder = LabelBuilder::new();
        builder.reset(&LabelSet::from_pairs([("a", "1"), ("b", ""), ("c", "3")]));
        assert!(!builder.is_changed());
        builder.set("a", "x");
        builder.set("b", "2");
        builder.set("a", "y");
        let order = |builder: &LabelBuilder| {
            let mut found = Vec::new();
            builder.for_each(|name, value| found.push(format!("{name}{value}")));
            found
        };
        assert_eq!(order(&builder), ["c3", "ay", "b2"]);
        builder.set("c", "");
        builder.delete("none");
        assert_eq!(order(&builder), ["ay", "b2"]);
        assert_eq!(builder.get("c"), "");
        assert_eq!(builder.to_label_set(), LabelSet::from_pairs([("a", "y"), ("b", "2")]));
    }

    #[test]
    fn many_labels_that_are_set_together_are_as_set_one_by_one() {
        for count in [3usize, 200] {
            let mut one = LabelBuilder::new();
            let base: Vec<(String, String)> = (0..count).map(|n| (format!("n{n:03}"), n.to_string())).collect();
            one.reset(&LabelSet::from_pairs(base.clone()));
            let mut all = LabelBuilder::new();
            all.reset(&LabelSet::from_pairs(base));
            let names: Vec<(String, String)> =
                (0..count).map(|n| (format!("n{:03}", n * 7 % 250), format!("v{n}"))).collect();
            names.iter().for_each(|(name, value)| one.set(name, value));
            let spans: Vec<(Span, Span)> = names.iter().map(|(n, v)| (all.push_text(n), all.push_text(v))).collect();
            all.set_all(&spans);
            let order = |builder: &LabelBuilder| {
                let mut found = Vec::new();
                builder.for_each(|name, value| found.push((name.to_owned(), value.to_owned())));
                found
            };
            assert_eq!(order(&one), order(&all));
        }
    }
}
