//! The labels of points: those of their attributes, their scope, their resource and the configuration, sorted by name.
//!
//! Where several have one name, the first of these is used: `otel_scope_*`; `job` and `instance`; attributes of the
//! point, whose values are joined by `;` if several keys become one name; `external_labels`. A label without a value is
//! left out. What belongs to a resource or a scope is made once for it, and what a point adds is collected in buffers that
//! are used again.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages, Resource, Scope};
use otelcore_prometheus_translation::put_label_name;
use smallvec::SmallVec;

use crate::format::{RemoteWriteFormat, ResourceLabels};
use crate::series::Label;

/// Labels of one series, at most.
const MAX_LABELS: usize = 4096;
/// Bytes of the labels of one series, at most: each bucket of a histogram repeats them.
const MAX_LABEL_BYTES: usize = 64 << 10;

/// The attributes that become `job` and `instance`.
pub(crate) const SERVICE_KEYS: [&[u8]; 3] = [b"service.namespace", b"service.name", b"service.instance.id"];

/// Why a point has no labels.
const NO_NAME: &str = "an attribute has a key that gives no label name";
const TOO_LARGE: &str = "the labels of a series have more than 64 KiB, or are more than 4096";

/// A text of the body or the configuration, or a range of a buffer.
#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    Outside(&'a [u8]),
    /// In [`Buffers::names`].
    Name(usize, usize),
    /// In [`Buffers::kept`].
    Kept(usize, usize),
    /// In [`Buffers::point`].
    Point(usize, usize),
}

/// Texts that are made here.
#[derive(Debug, Default)]
struct Buffers {
    /// Translated names.
    names: Vec<u8>,
    /// Of the resource and the scope.
    kept: Vec<u8>,
    /// Of the point.
    point: Vec<u8>,
}

impl Buffers {
    fn get<'t>(&'t self, text: Text<'t>) -> &'t [u8] {
        let (buffer, start, end) = match text {
            Text::Outside(bytes) => return bytes,
            Text::Name(start, end) => (&self.names, start, end),
            Text::Kept(start, end) => (&self.kept, start, end),
            Text::Point(start, end) => (&self.point, start, end),
        };
        buffer.get(start..end).unwrap_or_default()
    }
}

/// A label and where it comes from: of those with one name, the lowest rank is used.
#[derive(Clone, Copy, Debug)]
struct RankedLabel<'a> {
    name: Text<'a>,
    value: Text<'a>,
    rank: u8,
}

const SCOPE: u8 = 0;
const SERVICE: u8 = 1;
const ATTRIBUTE: u8 = 2;
const EXTERNAL: u8 = 3;

/// An attribute with its value as text.
#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    key: &'a [u8],
    value: Text<'a>,
}

/// The labels of a series, sorted by name.
pub(crate) type Labels<'t> = SmallVec<[Label<'t>; 16]>;

/// Sets a label of sorted labels.
pub(crate) fn set_label<'t>(labels: &mut Labels<'t>, name: &'t [u8], value: &'t [u8]) {
    match labels.binary_search_by(|label| label.0.cmp(name)) {
        Ok(at) => {
            if let Some(label) = labels.get_mut(at) {
                label.1 = value;
            }
        }
        Err(at) => labels.insert(at, (name, value)),
    }
}

/// Sorted labels with one label more, or with another value for it.
pub(crate) fn with_label<'t>(labels: &[Label<'t>], name: &'t [u8], value: &'t [u8]) -> Labels<'t> {
    let at = labels.partition_point(|label| label.0 < name);
    let is_there = labels.get(at).is_some_and(|label| label.0 == name);
    let mut all = Labels::with_capacity(labels.len() + 1);
    all.extend_from_slice(labels.get(..at).unwrap_or_default());
    all.push((name, value));
    all.extend_from_slice(labels.get(at + usize::from(is_there)..).unwrap_or_default());
    all
}

/// Names of one naming, by key.
type NameCache<'a> = HashMap<&'a [u8], Option<(usize, usize)>, RandomState>;

/// Makes the labels of points, resource by resource and scope by scope.
#[derive(Debug)]
pub(crate) struct LabelBuilder<'a> {
    format: &'a RemoteWriteFormat,
    buffers: Buffers,
    /// Those of series, and those of `target_info`.
    names: [NameCache<'a>; 2],
    /// Labels of the resource and the configuration.
    resource: Vec<RankedLabel<'a>>,
    /// The length of `kept` without what belongs to the scope.
    resource_kept: usize,
    /// Attributes of the resource that become labels, sorted by key.
    converted: Vec<Attribute<'a>>,
    /// Labels of the scope, the resource and the configuration, sorted by name, each name once.
    base: Vec<RankedLabel<'a>>,
    attributes: Vec<Attribute<'a>>,
    /// Labels of the point.
    own: Vec<RankedLabel<'a>>,
}

/// Whether every naming keeps this key.
fn is_plain(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_alphabetic)
        && key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && !key.windows(2).any(|pair| pair == b"__")
}

/// The text of a value: in place if it is a string, else appended to the buffer.
fn text_of<'a>(buffer: &mut Vec<u8>, value: AnyValue<'a>, range: fn(usize, usize) -> Text<'a>) -> Text<'a> {
    if let AnyValue::String(text) = value {
        return Text::Outside(text);
    }
    let start = buffer.len();
    put_value(buffer, value);
    range(start, buffer.len())
}

/// Sorts by name and rank, and keeps the first of each name.
fn sort_and_deduplicate(buffers: &Buffers, labels: &mut Vec<RankedLabel<'_>>) {
    labels.sort_by(|a, b| buffers.get(a.name).cmp(buffers.get(b.name)).then(a.rank.cmp(&b.rank)));
    labels.dedup_by(|later, earlier| buffers.get(later.name) == buffers.get(earlier.name));
}

impl<'a> LabelBuilder<'a> {
    pub(crate) fn new(format: &'a RemoteWriteFormat) -> Self {
        Self {
            format,
            buffers: Buffers::default(),
            names: [NameCache::default(), NameCache::default()],
            resource: Vec::new(),
            resource_kept: 0,
            converted: Vec::new(),
            base: Vec::new(),
            attributes: Vec::new(),
            own: Vec::new(),
        }
    }

    /// The name of a label; `None` if the key gives none. `of_target` is 1 for the naming of `target_info`.
    fn name_of(&mut self, key: &'a [u8], of_target: usize) -> Option<Text<'a>> {
        if is_plain(key) {
            return Some(Text::Outside(key));
        }
        let naming = if of_target == 0 { self.format.naming() } else { self.format.target_naming() };
        let names = &mut self.buffers.names;
        let cache = self.names.get_mut(of_target)?;
        let range = cache.entry(key).or_insert_with(|| {
            let start = names.len();
            put_label_name(names, key, naming).ok().map(|()| (start, names.len()))
        });
        range.map(|(start, end)| Text::Name(start, end))
    }

    /// Begins a resource.
    pub(crate) fn start_resource(&mut self, resource: &Resource<'a>) {
        self.buffers.kept.clear();
        self.resource.clear();
        let [mut namespace, mut name, mut instance] = [None; 3];
        for kv in resource.attributes() {
            let found = match kv.key {
                b"service.namespace" => &mut namespace,
                b"service.name" => &mut name,
                b"service.instance.id" => &mut instance,
                _ => continue,
            };
            found.get_or_insert(kv.value);
        }
        let kept = &mut self.buffers.kept;
        if let Some(name) = name {
            let start = kept.len();
            if let Some(namespace) = namespace {
                put_value(kept, namespace);
                kept.push(b'/');
            }
            let name_start = kept.len();
            put_value(kept, name);
            if kept.len() > name_start {
                let value = Text::Kept(start, kept.len());
                self.resource.push(RankedLabel { name: Text::Outside(b"job"), value, rank: SERVICE });
            }
        }
        if let Some(instance) = instance {
            let value = text_of(kept, instance, Text::Kept);
            if !self.buffers.get(value).is_empty() {
                self.resource.push(RankedLabel { name: Text::Outside(b"instance"), value, rank: SERVICE });
            }
        }
        for (name, value) in &self.format.external_labels {
            let (name, value) = (Text::Outside(name), Text::Outside(value));
            self.resource.push(RankedLabel { name, value, rank: EXTERNAL });
        }
        self.convert(resource);
        self.resource_kept = self.buffers.kept.len();
    }

    /// Collects the attributes of the resource that become labels.
    fn convert(&mut self, resource: &Resource<'a>) {
        self.converted.clear();
        if self.format.resource_labels == ResourceLabels::None {
            return;
        }
        for kv in resource.attributes() {
            if self.format.resource_labels == ResourceLabels::All || !SERVICE_KEYS.contains(&kv.key) {
                let value = text_of(&mut self.buffers.kept, kv.value, Text::Kept);
                self.converted.push(Attribute { key: kv.key, value });
            }
        }
        // The last of equal keys is used.
        self.converted.reverse();
        self.converted.sort_by(|a, b| a.key.cmp(b.key));
        self.converted.dedup_by(|later, earlier| later.key == earlier.key);
    }

    /// Begins a scope of the resource.
    pub(crate) fn start_scope(&mut self, scope: &Scope<'a>) {
        self.buffers.kept.truncate(self.resource_kept);
        self.base.clear();
        if self.format.scope_labels {
            // The last of equal names is used, so that they are collected from the end.
            let mut attributes: SmallVec<[KeyValue<'a>; 8]> = scope.attributes().collect();
            attributes.retain(|kv| !matches!(kv.key, b"name" | b"version" | b"schema_url"));
            for kv in attributes.iter().rev() {
                let start = self.buffers.kept.len();
                self.buffers.kept.extend_from_slice(b"otel_scope_");
                self.buffers.kept.extend_from_slice(kv.key);
                let key = self.buffers.kept.split_off(start);
                if put_label_name(&mut self.buffers.kept, &key, self.format.naming()).is_err() {
                    continue;
                }
                let name = Text::Kept(start, self.buffers.kept.len());
                let value = text_of(&mut self.buffers.kept, kv.value, Text::Kept);
                self.base.push(RankedLabel { name, value, rank: SCOPE });
            }
            for (name, value) in [(&b"otel_scope_version"[..], scope.version), (b"otel_scope_name", scope.name)] {
                if !value.is_empty() {
                    let (name, value) = (Text::Outside(name), Text::Outside(value));
                    self.base.push(RankedLabel { name, value, rank: SCOPE });
                }
            }
        }
        self.base.extend_from_slice(&self.resource);
        sort_and_deduplicate(&self.buffers, &mut self.base);
    }

    /// The labels of a point of the current scope.
    ///
    /// # Errors
    /// Why it has none.
    pub(crate) fn labels_of_point(
        &mut self,
        attributes: RepeatedMessages<'a, KeyValue<'a>>,
    ) -> Result<Labels<'_>, &'static str> {
        self.collect(attributes)?;
        self.merge_converted();
        self.name_attributes(0)?;
        self.merge()
    }

    /// The labels of `target_info` of the current resource, for which no scope may have been started; `None` if nothing
    /// but `job` and `instance` is known of it, or neither of them.
    ///
    /// # Errors
    /// Why it has none.
    pub(crate) fn labels_of_target(&mut self, resource: &Resource<'a>) -> Result<Option<Labels<'_>>, &'static str> {
        self.collect(resource.attributes())?;
        self.base.clear();
        self.base.extend_from_slice(&self.resource);
        sort_and_deduplicate(&self.buffers, &mut self.base);
        let all = resource.attributes().count();
        let of_service = SERVICE_KEYS.iter().filter(|key| resource.attributes().any(|kv| kv.key == **key)).count();
        if all == of_service {
            return Ok(None);
        }
        self.attributes.retain(|attribute| !SERVICE_KEYS.contains(&attribute.key));
        self.name_attributes(1)?;
        let labels = self.merge()?;
        let is_identified = labels.iter().any(|(name, _)| matches!(*name, b"job" | b"instance"));
        Ok(is_identified.then_some(labels))
    }

    /// Collects attributes that have a value, sorted by key.
    fn collect(&mut self, attributes: RepeatedMessages<'a, KeyValue<'a>>) -> Result<(), &'static str> {
        self.attributes.clear();
        self.buffers.point.clear();
        let mut bytes = 0;
        for kv in attributes {
            bytes += kv.raw.len();
            if self.attributes.len() == MAX_LABELS || bytes > MAX_LABEL_BYTES {
                return Err(TOO_LARGE);
            }
            let value = text_of(&mut self.buffers.point, kv.value, Text::Point);
            self.attributes.push(Attribute { key: kv.key, value });
        }
        if !self.attributes.is_sorted_by_key(|attribute| attribute.key) {
            self.attributes.sort_by_key(|attribute| attribute.key);
        }
        Ok(())
    }

    /// Replaces attributes by those of the resource with the same key, and adds the others.
    fn merge_converted(&mut self) {
        if self.converted.is_empty() {
            return;
        }
        let converted = &self.converted;
        self.attributes.retain(|own| converted.binary_search_by(|c| c.key.cmp(own.key)).is_err());
        self.attributes.extend_from_slice(converted);
        self.attributes.sort_by_key(|attribute| attribute.key);
    }

    /// Translates the names of the attributes, and joins the values of equal names.
    fn name_attributes(&mut self, of_target: usize) -> Result<(), &'static str> {
        self.own.clear();
        for at in 0..self.attributes.len() {
            let Some(attribute) = self.attributes.get(at).copied() else { break };
            if self.buffers.get(attribute.value).is_empty() {
                continue;
            }
            let name = self.name_of(attribute.key, of_target).ok_or(NO_NAME)?;
            self.own.push(RankedLabel { name, value: attribute.value, rank: ATTRIBUTE });
        }
        let Self { buffers, own, .. } = self;
        if own.is_sorted_by(|a, b| buffers.get(a.name) < buffers.get(b.name)) {
            return Ok(());
        }
        own.sort_by(|a, b| buffers.get(a.name).cmp(buffers.get(b.name)));
        let mut at = 0;
        while let (Some(first), Some(second)) = (own.get(at).copied(), own.get(at + 1).copied()) {
            if buffers.get(first.name) != buffers.get(second.name) {
                at += 1;
                continue;
            }
            // All of one name at once, so that the joined text is copied once.
            let end = at + own.iter().skip(at).take_while(|l| buffers.get(l.name) == buffers.get(first.name)).count();
            let joined = join_values(buffers, own.get(at..end).unwrap_or_default());
            if let Some(label) = own.get_mut(at) {
                label.value = joined;
            }
            own.drain(at + 1..end);
            at += 1;
        }
        Ok(())
    }

    /// The labels of the point and the base, sorted by name.
    fn merge(&self) -> Result<Labels<'_>, &'static str> {
        let mut labels = Labels::new();
        let mut bytes = 0;
        let (mut own, mut base) = (self.own.iter().peekable(), self.base.iter().peekable());
        loop {
            let next = match (own.peek().copied(), base.peek().copied()) {
                (None, None) => break,
                (Some(_), None) => own.next(),
                (None, Some(_)) => base.next(),
                (Some(a), Some(b)) => match self.buffers.get(a.name).cmp(self.buffers.get(b.name)) {
                    std::cmp::Ordering::Less => own.next(),
                    std::cmp::Ordering::Greater => base.next(),
                    std::cmp::Ordering::Equal => {
                        let is_own = a.rank < b.rank;
                        let both = (own.next(), base.next());
                        if is_own { both.0 } else { both.1 }
                    }
                },
            };
            let Some(label) = next else { break };
            let (name, value) = (self.buffers.get(label.name), self.buffers.get(label.value));
            if !value.is_empty() {
                bytes += name.len() + value.len();
                labels.push((name, value));
            }
        }
        if labels.len() > MAX_LABELS || bytes > MAX_LABEL_BYTES { Err(TOO_LARGE) } else { Ok(labels) }
    }
}

/// The values of labels with one name, joined; one that equals what is there is left out, as in Go.
fn join_values<'a>(buffers: &mut Buffers, labels: &[RankedLabel<'a>]) -> Text<'a> {
    let mut joined: Vec<u8> = Vec::new();
    for (at, label) in labels.iter().enumerate() {
        let value = buffers.get(label.value);
        if at == 0 {
            joined.extend_from_slice(value);
        } else if value != joined {
            joined.push(b';');
            joined.extend_from_slice(value);
        }
    }
    let start = buffers.point.len();
    buffers.point.extend_from_slice(&joined);
    Text::Point(start, buffers.point.len())
}
