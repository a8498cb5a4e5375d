//! Objects as structs: the members that components use. Others are skipped, and null is the same as absence.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Null is the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// `metadata` of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct ObjectMeta {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub uid: String,
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
    /// RFC 3339; empty for none.
    #[serde(deserialize_with = "or_default")]
    pub creation_timestamp: String,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// The owner of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct OwnerReference {
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub uid: String,
    /// It manages the object.
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
}

/// Any object, with its metadata only.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct PartialObject {
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
}

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct Pod {
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    pub spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct PodSpec {
    #[serde(deserialize_with = "or_default")]
    pub node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    #[serde(deserialize_with = "or_default")]
    pub host_network: bool,
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
}

/// A container of a pod, as it is specified.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct Container {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub image: String,
}

/// `status` of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct PodStatus {
    #[serde(rename = "podIP", deserialize_with = "or_default")]
    pub pod_ip: String,
    /// RFC 3339; empty for none.
    #[serde(deserialize_with = "or_default")]
    pub start_time: String,
    #[serde(deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// A container of a pod, as it runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the API")]
pub struct ContainerStatus {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(rename = "containerID", deserialize_with = "or_default")]
    pub container_id: String,
    #[serde(rename = "imageID", deserialize_with = "or_default")]
    pub image_id: String,
    #[serde(deserialize_with = "or_default")]
    pub restart_count: i64,
}

/// Reads an object that a watch has passed on.
///
/// # Errors
/// It is not of this type, or is nested too deeply.
pub fn parse_object<'o, T: Deserialize<'o>>(object: &'o [u8]) -> Result<T, String> {
    serde_json::from_slice(object).map_err(|error| error.to_string())
}

/// Seconds since 1970 of an RFC 3339 time, without its fraction; `None` if it is not one.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let is = |at: usize, expected: &[u8]| text.as_bytes().get(at).is_some_and(|b| expected.contains(b));
    let separators = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    if !separators {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let is_valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !is_valid {
        return None;
    }
    let zone = text.get(19..)?;
    let zone = zone.trim_start_matches('.').trim_start_matches(|c: char| c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 => {
            let at = text.len() - 5;
            let seconds = number(at..at + 2)? * 3600 + number(at + 3..at + 5)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days since 1970 in the Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// Nanoseconds since 1970 of an RFC 3339 time; `None` if it is not one. Outside of what 64 bits express, the number wraps
/// as that of Go's `UnixNano`. Digits below a nanosecond are left out.
#[must_use]
pub fn parse_time_nanos(text: &str) -> Option<i64> {
    let seconds = parse_time(text)?;
    let fraction = text.get(19..)?.strip_prefix('.').unwrap_or_default();
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).chain(std::iter::repeat(b'0'));
    let nanos = digits.take(9).fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
    Some(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_not_used_are_skipped_and_null_is_absence() {
        let json = r#"{"kind":"Pod","metadata":{"name":"a","labels":null,"annotations":{"x":"y"},"managedFields":[{"deep":[1]}],
            "ownerReferences":[{"kind":"ReplicaSet","name":"r","uid":"u","controller":true}]},
            "spec":{"nodeName":"n","containers":[{"name":"c","image":"i","env":[]}]},
            "status":{"podIP":"10.0.0.1","containerStatuses":[{"name":"c","containerID":"x://1","restartCount":2,"imageID":null}]}}"#;
        let pod: Pod = serde_json::from_str(json).unwrap();
        assert_eq!((pod.metadata.name.as_str(), pod.metadata.labels.len()), ("a", 0));
        assert!(pod.metadata.owner_references[0].controller);
        assert_eq!((pod.spec.containers[0].image.as_str(), pod.status.pod_ip.as_str()), ("i", "10.0.0.1"));
        assert_eq!(pod.status.container_statuses[0].restart_count, 2);
        assert_eq!(serde_json::from_str::<Pod>("{}").unwrap(), Pod::default());
        assert!(serde_json::from_str::<Pod>(r#"{"metadata":{"name":3}}"#).is_err());
    }

    #[test]
    fn time_is_read_with_its_offset_and_without_its_fraction() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:00:00Z", Some(1_709_208_000)),
            ("2024-02-29T13:00:00.123456+01:00", Some(1_709_208_000)),
            ("2024-02-29T07:30:00-04:30", Some(1_709_208_000)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-02-29", None),
            ("2024-02-29T12:00:00", None),
            ("äöü4-02-29T12:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn time_in_nanoseconds_has_its_fraction() {
        let at = 1_709_208_000_000_000_000;
        for (text, expected) in [
            ("2024-02-29T12:00:00Z", Some(at)),
            ("2024-02-29T12:00:00.5Z", Some(at + 500_000_000)),
            ("2024-02-29T13:00:00.123456789+01:00", Some(at + 123_456_789)),
            ("2024-02-29T12:00:00.1234567899Z", Some(at + 123_456_789)),
            ("0001-01-01T00:00:00Z", Some(-6_795_364_578_871_345_152)),
            ("2024-02-29", None),
        ] {
            assert_eq!(parse_time_nanos(text), expected, "{text}");
        }
    }
}
