//! The tenants of a body, and its division by them.

use std::collections::BTreeMap;

use otelcore_pdata::edit::{Editor, Keep, LogMut, edit};
use otelcore_pdata::views::{ResourceLogs, resource_entries};
use otelcore_pdata::{Rope, Signal};

use crate::hints::tenant_of;

/// The tenants of a body's records.
#[derive(Debug)]
pub(crate) struct Tenants<'a> {
    /// The tenant of the first record; empty for none.
    pub(crate) first: &'a [u8],
    /// The number of the tenant of each record, in their order.
    numbers: Vec<u32>,
    /// Bits in which the numbers differ.
    different: u32,
}

impl<'a> Tenants<'a> {
    pub(crate) fn new(body: &'a Rope) -> Self {
        let mut known: BTreeMap<&[u8], u32> = BTreeMap::new();
        let mut numbers = Vec::with_capacity(body.items() as usize);
        let mut first = None;
        for entry in resource_entries::<ResourceLogs<'_>>(body) {
            for scope in entry.scope_logs() {
                for record in scope.log_records() {
                    let tenant = tenant_of(entry.resource.attributes(), record.attributes());
                    first.get_or_insert(tenant);
                    let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                    numbers.push(*known.entry(tenant).or_insert(next));
                }
            }
        }
        // The first number is zero.
        let different = numbers.iter().fold(0, |bits, number| bits | number);
        Self { first: first.unwrap_or_default(), numbers, different }
    }

    /// Divides the body in two with different tenants. `None` if there is only one.
    pub(crate) fn divide(&self, body: &Rope) -> Option<[Rope; 2]> {
        if self.different == 0 {
            return None;
        }
        let bit = self.different.trailing_zeros();
        let half = |value| {
            let mut half = body.clone();
            let mut filter = TenantFilter { numbers: self.numbers.iter(), bit, value };
            edit(Signal::Logs, &mut half, &mut filter).ok().map(|_| half)
        };
        Some([half(0)?, half(1)?])
    }
}

/// Keeps the records in the number of whose tenant a bit has a value.
struct TenantFilter<'a> {
    numbers: std::slice::Iter<'a, u32>,
    bit: u32,
    value: u32,
}

impl Editor for TenantFilter<'_> {
    fn log(&mut self, _: &mut LogMut<'_>) -> Keep {
        let number = self.numbers.next().copied().unwrap_or(0);
        if number >> self.bit & 1 == self.value { Keep::Keep } else { Keep::Drop }
    }
}
