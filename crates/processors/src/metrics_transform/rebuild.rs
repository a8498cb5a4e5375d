//! Makes a body of metrics anew: the transforms are performed on the metrics of each scope, one after another.

use std::borrow::Cow;
use std::collections::BTreeSet;

use otelcore_config::codes;
use otelcore_pdata::Rope;
use otelcore_pdata::edit::{EditError, MetricKind, OutputLimit};
use otelcore_pdata::schema::{metric, metrics, resource, resource_metrics, scope_metrics};
use otelcore_pdata::views::{KeyValue, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, raw_fields};
use otelcore_pipeline::{CODE_FIELD, Held, LogField, Outcome};

use super::aggregate::aggregate;
use super::{Action, MetricsTransformEditor, SubmatchCase, Transform};
use crate::owned_metric::{AttributeValue, OwnedMetric, Point, kind_name, kind_of_field, put_attribute};

/// A metric of a scope.
struct Slot<'a> {
    /// The `Metric` message as it came.
    raw: &'a [u8],
    new_name: Option<Cow<'a, [u8]>>,
    /// Takes the place of both.
    decoded: Option<Box<OwnedMetric<'a>>>,
}

impl<'a> Slot<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self { raw, new_name: None, decoded: None }
    }

    fn of_metric(metric: Box<OwnedMetric<'a>>) -> Self {
        Self { raw: &[], new_name: None, decoded: Some(metric) }
    }

    fn name(&self) -> &[u8] {
        match (&self.decoded, &self.new_name) {
            (Some(metric), _) => &metric.name,
            (None, Some(name)) => name,
            (None, None) => name_of(self.raw),
        }
    }

    /// Decodes it where it is.
    fn decode(&mut self) -> &mut OwnedMetric<'a> {
        let Self { raw, new_name, decoded } = self;
        decoded.get_or_insert_with(|| {
            let mut metric = OwnedMetric::decode(raw);
            if let Some(name) = new_name.take() {
                metric.name = name;
            }
            Box::new(metric)
        })
    }

    fn into_decoded(mut self) -> Box<OwnedMetric<'a>> {
        self.decode();
        self.decoded.unwrap_or_else(|| Box::new(OwnedMetric::decode(self.raw)))
    }

    /// A copy that is not decoded, if this one is not.
    fn copy(&self) -> Self {
        Self { raw: self.raw, new_name: self.new_name.clone(), decoded: self.decoded.clone() }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match (&self.decoded, &self.new_name) {
            (Some(metric), _) => metric.encode(out),
            (None, None) => out.extend_from_slice(self.raw),
            (None, Some(name)) => {
                put_bytes_field(out, metric::NAME, name);
                for (field, number, _) in raw_fields(self.raw) {
                    if number != metric::NAME {
                        out.extend_from_slice(field);
                    }
                }
            }
        }
    }

    fn points(&self) -> usize {
        self.decoded.as_ref().map_or_else(|| count_points(self.raw), |metric| metric.points.len())
    }
}

fn name_of(raw: &[u8]) -> &[u8] {
    let mut name: &[u8] = &[];
    for (number, wire) in MessageFields::new(raw) {
        if let (metric::NAME, WireValue::Len(v)) = (number, wire) {
            name = v;
        }
    }
    name
}

/// Points of a `Metric` message.
fn count_points(raw: &[u8]) -> usize {
    let is_data = |number: u32| kind_of_field(number) != MetricKind::Empty;
    MessageFields::new(raw)
        .filter_map(|(number, wire)| match wire {
            WireValue::Len(data) if is_data(number) => Some(data),
            _ => None,
        })
        .last()
        .map_or(0, |data| MessageFields::new(data).filter(|(number, _)| *number == 1).count())
}

/// The output, with the count of its points.
struct Output<'h> {
    out: Vec<u8>,
    /// The entries that `group` makes, which are appended to it.
    grouped: Vec<u8>,
    items: u32,
    is_changed: bool,
    held: &'h mut Held,
    /// The longest output, in bytes.
    limit: usize,
}

impl Output<'_> {
    /// Bytes of what has been written.
    fn len(&self) -> usize {
        self.out.len() + self.grouped.len()
    }

    /// Charges what has been written.
    fn charge(&mut self) -> Result<(), Outcome> {
        self.check(0)?;
        self.held.try_grow(self.len() as u64).map_err(|no_room| Outcome::retry(no_room.to_string()))
    }

    /// Checks the length of the output with so many bytes more.
    fn check(&self, more: usize) -> Result<(), Outcome> {
        if self.len().saturating_add(more) > self.limit {
            return Err(Outcome::permanent(EditError::OutputTooLarge { limit: self.limit }.to_string()));
        }
        Ok(())
    }

    fn add_items(&mut self, items: usize) {
        self.items = self.items.saturating_add(u32::try_from(items).unwrap_or(u32::MAX));
    }
}

/// The body after all transforms; `None` if none of them matches.
pub(super) fn rebuild(
    editor: &mut MetricsTransformEditor,
    body: &Rope,
    held: &mut Held,
) -> Result<Option<Rope>, Outcome> {
    let transforms = editor.transforms.clone();
    // Each `insert` copies what it matches.
    let limit = OutputLimit::default();
    let limit = OutputLimit { factor: limit.factor * (1 + transforms.len()), ..limit }.of(body.len());
    let (out, grouped) = (Vec::new(), Vec::new());
    let mut output = Output { out, grouped, items: 0, is_changed: false, held, limit };
    for part in body.parts() {
        for (field, number, wire) in raw_fields(&part.bytes) {
            match wire {
                WireValue::Len(entry) if number == metrics::RESOURCE_METRICS => {
                    rebuild_entry(editor, &transforms, (field, entry), &mut output)?;
                    output.charge()?;
                }
                _ => output.out.extend_from_slice(field),
            }
        }
    }
    if !output.is_changed {
        return Ok(None);
    }
    let grouped = std::mem::take(&mut output.grouped);
    output.out.extend_from_slice(&grouped);
    output.charge()?;
    Ok(Some(Rope::new(output.out.into(), output.items)))
}

fn rebuild_entry(
    editor: &mut MetricsTransformEditor,
    transforms: &[Transform],
    (field, entry): (&[u8], &[u8]),
    output: &mut Output<'_>,
) -> Result<(), Outcome> {
    let mut new = Vec::with_capacity(entry.len() + entry.len() / 8);
    let (mut is_changed, mut scopes) = (false, 0);
    for (field, number, wire) in raw_fields(entry) {
        let WireValue::Len(scope) = wire else {
            new.extend_from_slice(field);
            continue;
        };
        if number != resource_metrics::SCOPE_METRICS {
            new.extend_from_slice(field);
            continue;
        }
        let mut slots: Vec<Slot<'_>> = MessageFields::new(scope)
            .filter_map(|(number, wire)| match wire {
                WireValue::Len(raw) if number == scope_metrics::METRICS => Some(Slot::new(raw)),
                _ => None,
            })
            .collect();
        let mut change = ScopeChange { editor, entry, scope, output, is_changed: false, copied: 0 };
        change.transform(transforms, &mut slots)?;
        let is_scope_changed = change.is_changed;
        output.add_items(slots.iter().map(Slot::points).sum());
        if !is_scope_changed {
            scopes += 1;
            new.extend_from_slice(field);
            continue;
        }
        is_changed = true;
        if slots.is_empty() {
            continue;
        }
        scopes += 1;
        let mut content = fields_except(scope, scope_metrics::METRICS);
        let mut one = Vec::new();
        for slot in &slots {
            one.clear();
            slot.encode(&mut one);
            put_bytes_field(&mut content, scope_metrics::METRICS, &one);
            output.check(new.len() + content.len())?;
        }
        put_bytes_field(&mut new, resource_metrics::SCOPE_METRICS, &content);
    }
    if !is_changed {
        output.out.extend_from_slice(field);
        return Ok(());
    }
    output.is_changed = true;
    if scopes > 0 {
        put_bytes_field(&mut output.out, metrics::RESOURCE_METRICS, &new);
    }
    Ok(())
}

fn fields_except(message: &[u8], except: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, number, _) in raw_fields(message) {
        if number != except {
            out.extend_from_slice(field);
        }
    }
    out
}

/// The change of the metrics of one scope.
struct ScopeChange<'e, 'a, 'h> {
    editor: &'e mut MetricsTransformEditor,
    /// The messages around.
    entry: &'a [u8],
    scope: &'a [u8],
    output: &'e mut Output<'h>,
    is_changed: bool,
    /// Bytes of the metrics that were copied, and of the attributes that were added to points, about.
    copied: usize,
}

impl<'a> ScopeChange<'_, 'a, '_> {
    fn transform(&mut self, transforms: &'a [Transform], slots: &mut Vec<Slot<'a>>) -> Result<(), Outcome> {
        for (index, transform) in transforms.iter().enumerate() {
            match transform.action {
                Action::Update => self.update(transform, slots),
                Action::Insert => self.insert(transform, slots)?,
                Action::Combine => self.combine(index, transform, slots)?,
                Action::Group => self.group(transform, slots)?,
            }
        }
        Ok(())
    }

    fn update(&mut self, transform: &'a Transform, slots: &mut Vec<Slot<'a>>) {
        slots.retain_mut(|slot| {
            if !transform.filter.matches_name(slot.name()) {
                return true;
            }
            if transform.only_renames() {
                self.is_changed |= rename(transform, slot);
                return true;
            }
            let metric = slot.decode();
            if !transform.filter.matches_any_point(metric) {
                return true;
            }
            self.is_changed = true;
            transform.apply(metric)
        });
    }

    fn insert(&mut self, transform: &'a Transform, slots: &mut Vec<Slot<'a>>) -> Result<(), Outcome> {
        let mut new = Vec::new();
        for slot in slots.iter() {
            if !transform.filter.matches_name(slot.name()) {
                continue;
            }
            // A point of a metric that is decoded has some bytes at least.
            self.copied += slot.decoded.as_ref().map_or(slot.raw.len(), |metric| 32 * metric.points.len());
            self.output.check(self.copied)?;
            let mut copy = slot.copy();
            if transform.only_renames() {
                rename(transform, &mut copy);
                new.push(copy);
                continue;
            }
            let mut metric = copy.into_decoded();
            if !transform.filter.matches_any_point(&metric) {
                continue;
            }
            metric.points.retain(|point| transform.filter.matches_point(point));
            if transform.apply(&mut metric) {
                new.push(Slot::of_metric(metric));
            }
        }
        self.is_changed |= !new.is_empty();
        slots.extend(new);
        Ok(())
    }

    /// Takes the metrics that match, each with its points that match, out of the scope. Other points stay.
    fn extract(&mut self, transform: &Transform, slots: &mut Vec<Slot<'a>>) -> Vec<OwnedMetric<'a>> {
        let mut extracted = Vec::new();
        let mut left = Vec::with_capacity(slots.len());
        for slot in slots.drain(..) {
            if !transform.filter.matches_name(slot.name()) {
                left.push(slot);
                continue;
            }
            let mut metric = slot.into_decoded();
            if !transform.filter.matches_any_point(&metric) {
                left.push(Slot::of_metric(metric));
                continue;
            }
            self.is_changed = true;
            if !transform.filter.matches_all_points(&metric) {
                let mut rest = Box::new(metric.without_points());
                let points = std::mem::take(&mut metric.points);
                let (matching, others) = points.into_iter().partition(|point| transform.filter.matches_point(point));
                metric.points = matching;
                rest.points = others;
                left.push(Slot::of_metric(rest));
            }
            extracted.push(*metric);
        }
        *slots = left;
        extracted
    }

    fn combine(&mut self, index: usize, transform: &'a Transform, slots: &mut Vec<Slot<'a>>) -> Result<(), Outcome> {
        let mut matching = Vec::new();
        for slot in slots.iter_mut() {
            if transform.filter.matches_name(slot.name()) {
                let metric = &*slot.decode();
                if transform.filter.matches_any_point(metric) {
                    matching.push(metric);
                }
            }
        }
        if matching.is_empty() {
            return Ok(());
        }
        if let Err(reason) = can_be_combined(&matching) {
            if let Some(is_reported) = self.editor.is_reported.get_mut(index)
                && !std::mem::replace(is_reported, true)
            {
                let new_name = String::from_utf8_lossy(&transform.new_name);
                let code = (CODE_FIELD, LogField::Str(codes::INVALID));
                self.editor.log.warn(&reason, &[("new_name", LogField::Str(&new_name)), code]);
            }
            return Ok(());
        }
        let mut metrics = self.extract(transform, slots).into_iter();
        let Some(mut combined) = metrics.next() else { return Ok(()) };
        let mut points = Vec::new();
        let first = (combined.name.clone(), std::mem::take(&mut combined.points));
        for (name, its_points) in
            std::iter::once(first).chain(metrics.map(|metric| (metric.name.clone(), metric.points)))
        {
            points.extend(self.with_submatches(transform, &name, its_points)?);
        }
        combined.name = Cow::Borrowed(&transform.new_name);
        combined.points = aggregate(combined.kind, combined.temporality, points, transform.aggregation_type);
        if transform.apply(&mut combined) {
            slots.push(Slot::of_metric(Box::new(combined)));
        }
        Ok(())
    }

    /// The points with an attribute for each group of the pattern that matches the name of their metric.
    fn with_submatches(
        &mut self,
        transform: &Transform,
        name: &[u8],
        mut points: Vec<Point<'a>>,
    ) -> Result<Vec<Point<'a>>, Outcome> {
        let Some(pattern) = &transform.filter.regexp else { return Ok(points) };
        let Some(groups) = pattern.find(name) else { return Ok(points) };
        for (index, group) in groups.iter().enumerate().skip(1) {
            let text = group.clone().and_then(|range| name.get(range)).unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            let value = match transform.submatch_case {
                None => text.to_vec(),
                Some(SubmatchCase::Lower) => String::from_utf8_lossy(text).to_lowercase().into_bytes(),
                Some(SubmatchCase::Upper) => String::from_utf8_lossy(text).to_uppercase().into_bytes(),
            };
            let key = match pattern.group_names().get(index - 1) {
                Some(name) if !name.is_empty() => name.clone().into_bytes(),
                _ => format!("${index}").into_bytes(),
            };
            let copies = points.len().saturating_mul(key.len() + value.len());
            self.copied = self.copied.saturating_add(copies);
            self.output.check(self.copied)?;
            for point in &mut points {
                point.set_attribute(Cow::Owned(key.clone()), AttributeValue::Text(Cow::Owned(value.clone())));
            }
        }
        Ok(points)
    }

    fn group(&mut self, transform: &'a Transform, slots: &mut Vec<Slot<'a>>) -> Result<(), Outcome> {
        let metrics = self.extract(transform, slots);
        if metrics.is_empty() {
            return Ok(());
        }
        let mut scope = fields_except(self.scope, scope_metrics::METRICS);
        let mut one = Vec::new();
        for metric in &metrics {
            one.clear();
            metric.encode(&mut one);
            put_bytes_field(&mut scope, scope_metrics::METRICS, &one);
            self.output.add_items(metric.points.len());
        }
        let mut entry = Vec::new();
        let mut resource: Vec<u8> = Vec::new();
        for (field, number, wire) in raw_fields(self.entry) {
            match (number, wire) {
                // Pieces of a message are joined.
                (resource_metrics::RESOURCE, WireValue::Len(raw)) => resource.extend_from_slice(raw),
                (resource_metrics::SCOPE_METRICS, _) => {}
                _ => entry.extend_from_slice(field),
            }
        }
        let resource = with_labels(&resource, &transform.group_resource_labels);
        put_bytes_field(&mut entry, resource_metrics::RESOURCE, &resource);
        put_bytes_field(&mut entry, resource_metrics::SCOPE_METRICS, &scope);
        // Each scope and each transform repeats the resource.
        self.output.check(entry.len())?;
        put_bytes_field(&mut self.output.grouped, metrics::RESOURCE_METRICS, &entry);
        Ok(())
    }
}

/// False: the name stays.
fn rename<'a>(transform: &'a Transform, slot: &mut Slot<'a>) -> bool {
    if transform.new_name.is_empty() {
        return false;
    }
    let name = transform.new_name(slot.name());
    match &mut slot.decoded {
        Some(metric) => metric.name = name,
        None => slot.new_name = Some(name),
    }
    true
}

/// A resource with these attributes.
fn with_labels(resource: &[u8], labels: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(resource.len() + 64);
    for (field, number, wire) in raw_fields(resource) {
        let is_replaced = |raw| labels.iter().any(|(key, _)| *key == KeyValue::parse(raw).key);
        match (number, wire) {
            (resource::ATTRIBUTES, WireValue::Len(raw)) if is_replaced(raw) => {}
            _ => out.extend_from_slice(field),
        }
    }
    for (key, value) in labels {
        put_attribute(&mut out, resource::ATTRIBUTES, key, otelcore_pdata::views::AnyValue::String(value));
    }
    out
}

fn attribute_keys<'m>(metric: &'m OwnedMetric<'_>) -> BTreeSet<&'m [u8]> {
    metric.points.iter().flat_map(|point| &point.attributes).map(|attribute| &*attribute.key).collect()
}

/// Whether metrics can become one; otherwise the reason.
fn can_be_combined(metrics: &[&OwnedMetric<'_>]) -> Result<(), String> {
    let [first, others @ ..] = metrics else { return Ok(()) };
    if others.is_empty() {
        return Ok(());
    }
    let name = |metric: &OwnedMetric<'_>| String::from_utf8_lossy(&metric.name).into_owned();
    if let Some(summary) = metrics.iter().find(|metric| metric.kind == MetricKind::Summary) {
        return Err(format!("Summary metrics cannot be combined: {}", name(summary)));
    }
    let differ = |what: &str, other: &OwnedMetric<'_>, a: &str, b: &str| {
        Err(format!("metrics cannot be combined as they {what}: {} ({a}) and {} ({b})", name(first), name(other)))
    };
    let keys = attribute_keys(first);
    let text = |keys: &BTreeSet<&[u8]>| {
        keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(" ")
    };
    for other in others {
        if other.kind != first.kind {
            return differ("are of different types", other, kind_name(first.kind), kind_name(other.kind));
        }
        if other.unit != first.unit {
            let (a, b) = (String::from_utf8_lossy(first.unit), String::from_utf8_lossy(other.unit));
            return differ("have different units", other, &a, &b);
        }
        let other_keys = attribute_keys(other);
        if keys != other_keys {
            return differ("have different attributes", other, &text(&keys), &text(&other_keys));
        }
        if other.temporality != first.temporality {
            let word = |temporality: i32| match temporality {
                1 => "Delta",
                2 => "Cumulative",
                _ => "Unspecified",
            };
            let (a, b) = (word(first.temporality), word(other.temporality));
            return differ("have different aggregation temporalities", other, a, b);
        }
        if other.is_monotonic != first.is_monotonic {
            let (a, b) = (first.is_monotonic.to_string(), other.is_monotonic.to_string());
            return differ("have different monotonicity", other, &a, &b);
        }
    }
    Ok(())
}
