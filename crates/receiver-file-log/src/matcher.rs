//! Which files are read: the patterns of paths, the age, and the first ones in an order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use otelcore_go_regexp::GoRegexp;
use otelcore_go_text::time::{Location, Strptime, Time};
use otelcore_pipeline::FileSystem;

use crate::config::{FileLogConfig, SortConfig};
use crate::finder::{Found, find};
use crate::glob::Pattern;

/// What selects files.
#[derive(Debug)]
pub(crate) struct Matcher {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// In nanoseconds; zero disables it.
    exclude_older_than: u64,
    group_by: Option<GoRegexp>,
    regex: Option<GoRegexp>,
    orders: Vec<Order>,
    /// The number of files of each group; `None` without orders.
    top_n: Option<usize>,
}

#[derive(Debug)]
struct Order {
    key: Key,
    ascending: bool,
}

#[derive(Debug)]
enum Key {
    Numeric(usize),
    Alphabetical(usize),
    Timestamp(usize, Box<Strptime>, Box<Location>),
    Modified,
}

/// What is compared.
#[derive(PartialEq)]
enum Comparable {
    Number(i64),
    Text(Vec<u8>),
    Instant(i64, u32),
}

type ConfigError = (&'static str, String);

impl Matcher {
    /// Compiles the keys. The error has its key.
    pub(crate) fn new(config: &FileLogConfig) -> Result<Self, ConfigError> {
        let patterns = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).flatten().collect();
        let ordering = &config.ordering_criteria;
        let compile = |key, text: &str, what: &str| {
            let compiled = GoRegexp::compile(text).map_err(|e| (key, format!("compile {what}: {e}")));
            if text.is_empty() { Ok(None) } else { compiled.map(Some) }
        };
        let group_by = compile("ordering_criteria::group_by", &ordering.group_by, "group_by regex")?;
        let mut matcher = Self {
            include: patterns(&config.include),
            exclude: patterns(&config.exclude),
            exclude_older_than: config.exclude_older_than.nanos_or_zero(),
            group_by,
            regex: None,
            orders: Vec::new(),
            top_n: None,
        };
        if ordering.sort_by.is_empty() {
            return Ok(matcher);
        }
        if ordering.top_n < 0 {
            return Err(("ordering_criteria::top_n", "'top_n' must be a positive integer".to_owned()));
        }
        let needs_regex = |sort: &SortConfig| matches!(&*sort.sort_type, "numeric" | "alphabetical" | "timestamp");
        if ordering.sort_by.iter().any(needs_regex) {
            if ordering.regex.is_empty() {
                let message = "'regex' must be specified when 'sort_by' is specified";
                return Err(("ordering_criteria::regex", message.to_owned()));
            }
            matcher.regex = compile("ordering_criteria::regex", &ordering.regex, "regex")?;
        }
        let names = matcher.regex.as_ref().map(|regex| regex.group_names().to_vec()).unwrap_or_default();
        for sort in &ordering.sort_by {
            matcher.orders.push(order(sort, &names).map_err(|message| ("ordering_criteria::sort_by", message))?);
        }
        matcher.top_n = Some(usize::try_from(ordering.top_n).ok().filter(|n| *n > 0).unwrap_or(1));
        Ok(matcher)
    }

    /// The paths to read, in the order in which they are read.
    pub(crate) fn select(&self, files: &mut dyn FileSystem, now_nanos: u64) -> Found {
        let mut found = find(files, &self.include, &self.exclude);
        if self.exclude_older_than > 0 {
            found.paths.retain(|path| {
                let modified = files.metadata(path).map(|metadata| metadata.modified.0);
                modified.is_ok_and(|modified| now_nanos.saturating_sub(modified) <= self.exclude_older_than)
            });
        }
        let Some(top_n) = self.top_n else { return found };
        let mut groups: BTreeMap<Vec<u8>, Vec<PathBuf>> = BTreeMap::new();
        for path in std::mem::take(&mut found.paths) {
            let group = match &self.group_by {
                None => Some(Vec::new()),
                Some(regex) => {
                    regex.find(path.as_os_str().as_bytes()).and_then(|groups| groups.get(1).cloned()).map(|range| {
                        range.and_then(|range| path.as_os_str().as_bytes().get(range)).unwrap_or(b"").to_vec()
                    })
                }
            };
            if let Some(group) = group {
                groups.entry(group).or_default().push(path);
            }
        }
        for (_, paths) in groups {
            let (sorted, error) = self.sort(files, paths);
            found.paths.extend(sorted.into_iter().take(top_n));
            if found.error.is_none() {
                found.error = error;
            }
        }
        found
    }

    /// Sorts by each order in turn; a later one sorts within what the earlier ones have left equal only by its stability.
    fn sort(&self, files: &mut dyn FileSystem, paths: Vec<PathBuf>) -> (Vec<PathBuf>, Option<String>) {
        let mut error = None;
        let mut items: Vec<(PathBuf, Vec<Vec<u8>>)> = Vec::new();
        for path in paths {
            let captures = match &self.regex {
                None => Some(Vec::new()),
                Some(regex) => {
                    let text = path.as_os_str().as_bytes();
                    regex.find(text).map(|groups| {
                        let of = |range: Option<std::ops::Range<usize>>| range.and_then(|range| text.get(range));
                        groups.into_iter().skip(1).map(|range| of(range).unwrap_or_default().to_vec()).collect()
                    })
                }
            };
            match captures {
                Some(captures) => items.push((path, captures)),
                None => {
                    error.get_or_insert_with(|| format!("'{}' does not match regex", path.display()));
                }
            }
        }
        for order in &self.orders {
            let mut keyed = Vec::with_capacity(items.len());
            for (path, captures) in items {
                match order.key(files, &path, &captures) {
                    Ok(key) => keyed.push((key, path, captures)),
                    Err(e) => {
                        error.get_or_insert(e);
                    }
                }
            }
            keyed.sort_by(|(a, ..), (b, ..)| if order.ascending { a.compare(b) } else { b.compare(a) });
            items = keyed.into_iter().map(|(_, path, captures)| (path, captures)).collect();
        }
        (items.into_iter().map(|(path, _)| path).collect(), error)
    }
}

fn order(sort: &SortConfig, names: &[String]) -> Result<Order, String> {
    let kind = &*sort.sort_type;
    let group = || {
        if sort.regex_key.is_empty() {
            return Err(format!("{kind} sort: regex key must be specified"));
        }
        // A group that does not exist is empty in every path.
        Ok(names.iter().position(|name| *name == sort.regex_key).unwrap_or(usize::MAX))
    };
    let key = match kind {
        "numeric" => Key::Numeric(group()?),
        "alphabetical" => Key::Alphabetical(group()?),
        "timestamp" => {
            if sort.layout.is_empty() {
                return Err("timestamp sort: layout must be specified".to_owned());
            }
            let format = Strptime::new(&sort.layout).map_err(|e| format!("timestamp sort: {e}"))?;
            let location = Location::load(&sort.location).ok_or_else(|| {
                let name = &sort.location;
                format!("timestamp sort: failed to load location {name}: unknown time zone {name}")
            })?;
            Key::Timestamp(group()?, Box::new(format), Box::new(location))
        }
        "mtime" => Key::Modified,
        _ => return Err("'sort_type' must be specified".to_owned()),
    };
    Ok(Order { key, ascending: sort.ascending })
}

impl Order {
    fn key(
        &self,
        files: &mut dyn FileSystem,
        path: &std::path::Path,
        captures: &[Vec<u8>],
    ) -> Result<Comparable, String> {
        let capture = |group: usize| captures.get(group).map_or(&b""[..], Vec::as_slice);
        match &self.key {
            Key::Numeric(group) => {
                let text = String::from_utf8_lossy(capture(*group)).into_owned();
                let number = text.parse().map_err(|_| format!("strconv.Atoi: parsing {text:?}: invalid syntax"))?;
                Ok(Comparable::Number(number))
            }
            Key::Alphabetical(group) => Ok(Comparable::Text(capture(*group).to_vec())),
            Key::Timestamp(group, format, location) => {
                let time = format.read(capture(*group), location, None, &Time::from_unix_nanos(0));
                let (seconds, nanos) = time.map_err(|e| e.to_string())?.instant();
                Ok(Comparable::Instant(seconds, nanos))
            }
            Key::Modified => {
                let metadata = files.metadata(path).map_err(|e| e.to_string())?;
                Ok(Comparable::Number(i64::try_from(metadata.modified.0).unwrap_or(i64::MAX)))
            }
        }
    }
}

impl Comparable {
    /// Both have the same kind.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Instant(a, x), Self::Instant(b, y)) => (a, x).cmp(&(b, y)),
            _ => Ordering::Equal,
        }
    }
}
