//! `container`: the logs of containers, as Docker, CRI-O and containerd write them to files.
//!
//! Lines of CRI-O and containerd that are parts of one are joined.

use otelcore_expr::{Key, Map, Value, View};
use otelcore_go_regexp::{CaptureLocations, GoRegexp};
use otelcore_go_text::json;
use otelcore_go_text::time::{Location, read_by_go_layout};

use super::json::object;
use super::{Parse, parse_with};
use crate::blocks::ParserBlocks;
use crate::context::RunContext;
use crate::entry::Entry;
use crate::field::Field;
use crate::recombine::Recombine;
use crate::results::{OperatorName, Results};

/// The attribute with the path of the file.
pub(crate) const FILE_PATH: &str = "log.file.path";

const PATH_PATTERN: &str = r"^.*(\/|\\)(?P<namespace>[^_]+)_(?P<pod_name>[^_]+)_(?P<uid>[a-f0-9\-]+)(\/|\\)(?P<container_name>[^\._]+)(\/|\\)(?P<restart_count>\d+)\.log(\.\d{8}-\d{6})?$";

/// Attributes of the resource, by group of the pattern.
const PATH_ATTRIBUTES: [(&str, &str); 5] = [
    ("container_name", "k8s.container.name"),
    ("namespace", "k8s.namespace.name"),
    ("pod_name", "k8s.pod.name"),
    ("restart_count", "k8s.container.restart_count"),
    ("uid", "k8s.pod.uid"),
];

/// Who writes the lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Docker,
    Crio,
    Containerd,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "docker" => Self::Docker,
            "crio" => Self::Crio,
            "containerd" => Self::Containerd,
            _ => return None,
        })
    }

    fn time_layout(self) -> &'static str {
        match self {
            Self::Crio => "2006-01-02T15:04:05.999999999Z07:00",
            Self::Docker | Self::Containerd => "2006-01-02T15:04:05.999Z",
        }
    }
}

/// A path, and the attributes that it gives the resource.
type PathAttributes = (Vec<u8>, Vec<(Key, Value)>);

/// The operator.
pub(crate) struct Container {
    pub(crate) format: Option<Format>,
    pub(crate) parse_from: Field,
    pub(crate) parse_to: Field,
    pub(crate) blocks: ParserBlocks,
    pub(crate) recombine: Recombine,
    adds_metadata: bool,
    path_pattern: GoRegexp,
    path_locations: CaptureLocations,
    /// The attributes of this path: most entries have the path of the one before.
    last_path: Option<PathAttributes>,
    utc: Location,
}

impl Container {
    pub(crate) fn new(
        format: Option<Format>,
        adds_metadata: bool,
        (parse_from, parse_to, blocks): (Field, Field, ParserBlocks),
        recombine: Recombine,
    ) -> Result<Self, String> {
        let path_pattern = GoRegexp::compile(PATH_PATTERN).map_err(|error| error.to_string())?;
        let path_locations = path_pattern.capture_locations();
        Ok(Self {
            format,
            parse_from,
            parse_to,
            blocks,
            recombine,
            adds_metadata,
            path_pattern,
            path_locations,
            last_path: None,
            utc: Location::utc(),
        })
    }

    pub(crate) fn process(
        &mut self,
        mut entry: Entry,
        name: &OperatorName<'_>,
        context: &RunContext<'_>,
        results: &mut Results,
    ) {
        let format = match self.format {
            Some(format) => Ok(format),
            None => self.detect(&entry),
        };
        let format = match format {
            Ok(format) => format,
            Err(error) => {
                let error = format!("failed to detect a valid container log format: {error}");
                return name.handle_error(entry, error, results);
            }
        };
        let parsed =
            parse_with(&mut entry, &self.parse_from, &self.parse_to, &self.blocks, &mut LineParser { format }, context);
        let done = parsed.and_then(|()| self.map_attributes(&mut entry, format, name.id, context));
        match done {
            Err(error) => name.handle_error(entry, error, results),
            Ok(()) if format == Format::Docker => results.entries.push(entry),
            Ok(()) => self.recombine.process(entry, name, context, results),
        }
    }

    fn detect(&self, entry: &Entry) -> Result<Format, String> {
        let text = match self.parse_from.get(entry) {
            Some(View::String(text)) => text,
            Some(other) => return Err(format!("type '{}' cannot be parsed as container logs", other.go_type())),
            None => return Err("entry cannot be parsed as container logs".to_owned()),
        };
        if text.first() == Some(&b'{') {
            Ok(Format::Docker)
        } else if split_line(text, Format::Crio).is_some() {
            Ok(Format::Crio)
        } else if split_line(text, Format::Containerd).is_some() {
            Ok(Format::Containerd)
        } else {
            Err(format!("entry cannot be parsed as container logs: {}", String::from_utf8_lossy(text)))
        }
    }

    /// Moves what was parsed to where the conventions have it.
    fn map_attributes(
        &mut self,
        entry: &mut Entry,
        format: Format,
        operator_id: &str,
        context: &RunContext<'_>,
    ) -> Result<(), String> {
        self.set_time(entry, format, context).map_err(|error| format!("failed to parse time: {error}"))?;
        let missing = |name: &str| format!("move: field {name} does not exist");
        let log = entry.attributes.remove(&b"log"[..]).ok_or_else(|| missing("log"))?;
        Field::body().set(entry, log)?;
        let stream = entry.attributes.remove(&b"stream"[..]).ok_or_else(|| missing("stream"))?;
        Field::attribute("log.iostream").set(entry, stream)?;
        if self.adds_metadata { self.add_metadata(entry, operator_id) } else { Ok(()) }
    }

    fn set_time(&self, entry: &mut Entry, format: Format, context: &RunContext<'_>) -> Result<(), String> {
        let text = match entry.attributes.get(&b"time"[..]).map(Value::view) {
            Some(View::String(text) | View::Bytes(text)) => text,
            Some(other) => return Err(format!("type {} cannot be parsed as a time", other.go_type())),
            None => return Err("failed to get the time from the entry".to_owned()),
        };
        let location = if format == Format::Crio { context.local } else { &self.utc };
        let time = read_by_go_layout(format.time_layout(), text, location, &context.now());
        entry.timestamp = Some(time.map_err(|error| error.to_string())?);
        entry.attributes.remove(&b"time"[..]);
        Ok(())
    }

    fn add_metadata(&mut self, entry: &mut Entry, operator_id: &str) -> Result<(), String> {
        let path = match entry.attributes.get(FILE_PATH.as_bytes()) {
            Some(Value::String(path)) => path,
            Some(other) => return Err(format!("type '{}' cannot be parsed as log path field", other.go_type())),
            None => {
                return Err(format!(
                    "operator '{operator_id}' has 'add_metadata_from_filepath' enabled, but the log record attribute '{FILE_PATH}' is missing. Perhaps enable the 'include_file_path' option?"
                ));
            }
        };
        if self.last_path.as_ref().is_none_or(|(last, _)| last != path) {
            let mut found = Vec::new();
            let names = self.path_pattern.group_names();
            self.path_pattern.capture(path, &mut self.path_locations, |group, text| {
                let name = names.get(group).map(String::as_str);
                if let Some((_, attribute)) = PATH_ATTRIBUTES.iter().find(|(group, _)| Some(*group) == name) {
                    found.push((Key::Borrowed(attribute.as_bytes()), Value::String(text.to_vec())));
                }
            });
            if found.is_empty() {
                return Err("failed to detect a valid log path".to_owned());
            }
            self.last_path = Some((path.clone(), found));
        }
        if let Some((_, attributes)) = &self.last_path {
            entry.resource.extend(attributes.iter().cloned());
        }
        Ok(())
    }
}

/// Parses one line.
struct LineParser {
    format: Format,
}

impl Parse for LineParser {
    fn parse(&mut self, value: View<'_>, _: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let kind = match self.format {
            Format::Docker => "docker container logs",
            Format::Crio => "cri-o container logs",
            Format::Containerd => "containerd logs",
        };
        let View::String(text) = value else {
            return Err(format!("type '{}' cannot be parsed as {kind}", value.go_type()));
        };
        if self.format == Format::Docker {
            return object(json::parse(text)?);
        }
        let Some([time, stream, tag, log]) = split_line(text, self.format) else {
            return Err("regex pattern does not match".to_owned());
        };
        let entry = |name: &'static str, text: &[u8]| (Key::Borrowed(name.as_bytes()), Value::String(text.to_vec()));
        let entries = [entry("time", time), entry("stream", stream), entry("logtag", tag), entry("log", log)];
        Ok(Value::Map(Map::from(entries)))
    }
}

/// Time, stream, tag and text of a line such as `2024-01-01T00:00:00.1Z stdout F text`.
fn split_line(line: &[u8], format: Format) -> Option<[&[u8]; 4]> {
    let time_end = line.iter().position(|b| *b == b' ')?;
    let (time, rest) = line.split_at_checked(time_end)?;
    let is_time = match format {
        Format::Crio => !time.is_empty() && !time.contains(&b'Z'),
        // Up to the only Z, which is its end; a circumflex is not allowed before it.
        _ => time.split_last().is_some_and(|(last, before)| {
            *last == b'Z' && !before.is_empty() && !before.iter().any(|b| b"^Z".contains(b))
        }),
    };
    let rest = rest.get(1..)?;
    let stream = [&b"stdout"[..], b"stderr"].into_iter().find(|stream| rest.starts_with(stream))?;
    let rest = rest.get(stream.len()..)?.strip_prefix(b" ")?;
    let tag_end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
    let (tag, log) = rest.split_at_checked(tag_end)?;
    let log = log.strip_prefix(b" ").unwrap_or(log);
    (is_time && !log.contains(&b'\n')).then_some([time, stream, tag, log])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_split_as_the_patterns_of_the_go_collector_do() {
        let split = |line: &'static str, format| {
            split_line(line.as_bytes(), format).map(|parts| parts.map(|part| std::str::from_utf8(part).unwrap()))
        };
        assert_eq!(
            split("2024-01-01T00:00:00.1Z stdout F a b", Format::Containerd),
            Some(["2024-01-01T00:00:00.1Z", "stdout", "F", "a b"])
        );
        assert_eq!(split("2024-01-01T00:00:00.1Z stdout F a b", Format::Crio), None);
        assert_eq!(
            split("2024-01-01T00:00:00.1+02:00 stderr P  x", Format::Crio),
            Some(["2024-01-01T00:00:00.1+02:00", "stderr", "P", " x"])
        );
        assert_eq!(split("t stdout", Format::Crio), None);
        assert_eq!(split("t stdout ", Format::Crio), Some(["t", "stdout", "", ""]));
        assert_eq!(split("t stdout F a\nb", Format::Crio), None);
    }
}
