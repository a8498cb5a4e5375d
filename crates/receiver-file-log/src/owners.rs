//! Names of users and groups, from the files that have them.

use std::collections::BTreeMap;
use std::path::Path;

use otelcore_pipeline::FileSystem;

/// The longest file that is read.
const MAX_BYTES: usize = 4 << 20;

/// Names by number.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: Option<BTreeMap<u32, Vec<u8>>>,
    groups: Option<BTreeMap<u32, Vec<u8>>>,
}

impl Owners {
    /// The name of a user.
    pub(crate) fn user(&mut self, files: &mut dyn FileSystem, id: u32) -> Option<Vec<u8>> {
        self.users.get_or_insert_with(|| read(files, "/etc/passwd")).get(&id).cloned()
    }

    /// The name of a group.
    pub(crate) fn group(&mut self, files: &mut dyn FileSystem, id: u32) -> Option<Vec<u8>> {
        self.groups.get_or_insert_with(|| read(files, "/etc/group")).get(&id).cloned()
    }
}

/// Lines of the form `name:x:number:..`. Without the file there are no names.
fn read(files: &mut dyn FileSystem, path: &str) -> BTreeMap<u32, Vec<u8>> {
    let text = files.read(Path::new(path), MAX_BYTES).unwrap_or_default();
    let line = |line: &[u8]| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next()?.to_vec();
        let number = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        Some((number, name))
    };
    // Of equal numbers, the first counts.
    let mut names = BTreeMap::new();
    for (number, name) in text.split(|b| *b == b'\n').filter_map(line) {
        names.entry(number).or_insert(name);
    }
    names
}
