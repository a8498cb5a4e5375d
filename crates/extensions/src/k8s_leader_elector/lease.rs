//! A lease as the API server has it: read, changed and written as JSON.
//!
//! Members that are not known here stay as they are. Sends nothing.

use std::time::Duration;

use otelcore_pdata::text::UtcDateTime;
use serde_json::{Map, Value, json};

/// What is compared and decided by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct LeaseSpec {
    /// Empty for nobody.
    pub(super) holder: String,
    pub(super) duration: Duration,
    /// As the server has it.
    pub(super) acquired: Value,
    pub(super) renewed: Value,
    pub(super) transitions: i64,
}

/// A lease.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Lease(Map<String, Value>);

impl Lease {
    /// A lease that does not exist yet.
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        let mut lease = Map::new();
        lease.insert("apiVersion".to_owned(), json!("coordination.k8s.io/v1"));
        lease.insert("kind".to_owned(), json!("Lease"));
        lease.insert("metadata".to_owned(), json!({"name": name, "namespace": namespace}));
        Self(lease)
    }

    /// # Errors
    /// It is not a lease.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map(Self).map_err(|error| format!("the lease is not valid: {error}"))
    }

    pub(super) fn spec(&self) -> LeaseSpec {
        let member = |name: &str| self.0.get("spec").and_then(|spec| spec.get(name));
        let seconds = member("leaseDurationSeconds").and_then(Value::as_u64).unwrap_or(0);
        LeaseSpec {
            holder: member("holderIdentity").and_then(Value::as_str).unwrap_or_default().to_owned(),
            duration: Duration::from_secs(seconds.min(u64::from(u32::MAX))),
            acquired: member("acquireTime").cloned().unwrap_or(Value::Null),
            renewed: member("renewTime").cloned().unwrap_or(Value::Null),
            transitions: member("leaseTransitions").and_then(Value::as_i64).unwrap_or(0),
        }
    }

    pub(super) fn set_spec(&mut self, spec: &LeaseSpec) {
        let members = [
            ("holderIdentity", json!(spec.holder)),
            ("leaseDurationSeconds", json!(spec.duration.as_secs())),
            ("acquireTime", spec.acquired.clone()),
            ("renewTime", spec.renewed.clone()),
            ("leaseTransitions", json!(spec.transitions)),
        ];
        let old = self.0.entry("spec").or_insert_with(|| json!({}));
        if !old.is_object() {
            *old = json!({});
        }
        if let Some(old) = old.as_object_mut() {
            old.extend(members.map(|(name, value)| (name.to_owned(), value)));
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // A map with keys that are strings can't fail.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }
}

/// A time of a lease: RFC 3339 with six digits, no more and no fewer.
pub(super) fn micro_time(unix_nanos: u64) -> Value {
    let t = UtcDateTime::from_unix_nanos(i64::try_from(unix_nanos).unwrap_or(i64::MAX));
    let (date, micros) = (format!("{:04}-{:02}-{:02}", t.year, t.month, t.day), t.nanos / 1000);
    json!(format!("{date}T{:02}:{:02}:{:02}.{micros:06}Z", t.hour, t.minute, t.second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_of_a_lease_stay() {
        let json =
            br#"{"metadata":{"resourceVersion":"5","labels":{"a":"b"}},"spec":{"strategy":"x","holderIdentity":"h",
            "leaseDurationSeconds":15,"acquireTime":"t","leaseTransitions":2}}"#;
        let mut lease = Lease::parse(json).unwrap();
        let mut spec = lease.spec();
        assert_eq!((spec.holder.as_str(), spec.duration.as_secs(), spec.transitions), ("h", 15, 2));
        spec.holder = "me".to_owned();
        spec.renewed = micro_time(1_709_208_000_000_120_999);
        lease.set_spec(&spec);
        let written: Value = serde_json::from_slice(&lease.to_json()).unwrap();
        let expected = json!({"metadata":{"resourceVersion":"5","labels":{"a":"b"}},"spec":{"strategy":"x",
            "holderIdentity":"me","leaseDurationSeconds":15,"acquireTime":"t","leaseTransitions":2,
            "renewTime":"2024-02-29T12:00:00.000120Z"}});
        assert_eq!(written, expected);
    }

    #[test]
    fn damaged_lease_is_an_error_or_held_by_nobody() {
        assert!(Lease::parse(b"[]").is_err() && Lease::parse(b"{").is_err());
        let mut lease = Lease::parse(br#"{"spec":3}"#).unwrap();
        assert_eq!(lease.spec(), LeaseSpec::default());
        lease.set_spec(&LeaseSpec { holder: "me".to_owned(), ..LeaseSpec::default() });
        assert_eq!(lease.spec().holder, "me");
    }
}
