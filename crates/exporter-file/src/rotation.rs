//! Names of files that are full, and which of them are removed. Renames and removes; never writes content.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use otelcore_pdata::text::UtcDateTime;
use otelcore_pipeline::{FileKind, FileSystem, WallTime};

const NANOS_PER_DAY: u64 = 24 * 3600 * 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// How many later milliseconds are tried for a name that is taken.
const MAX_NAME_ATTEMPTS: u64 = 1000;

/// When files are full, and how long they are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// The largest size of a file. A single request may be longer.
    pub(crate) max_bytes: u64,
    /// Zero for no limit.
    pub(crate) max_days: u32,
    /// Zero for no limit.
    pub(crate) max_backups: usize,
}

/// `2006-01-02T15-04-05.000`. Texts of this form have the order of the times.
fn timestamp(time: WallTime) -> String {
    let t = UtcDateTime::from_unix_nanos(i64::try_from(time.0).unwrap_or(i64::MAX));
    let millis = u64::from(t.nanos) / NANOS_PER_MILLI;
    format!("{:04}-{:02}-{:02}T{:02}-{:02}-{:02}.{millis:03}", t.year, t.month, t.day, t.hour, t.minute, t.second)
}

/// Whether it has the form of [`timestamp`].
fn is_timestamp(text: &[u8]) -> bool {
    const FORM: &[u8] = b"0000-00-00T00-00-00.000";
    text.len() == FORM.len()
        && text.iter().zip(FORM).all(|(b, form)| if *form == b'0' { b.is_ascii_digit() } else { b == form })
}

/// The parts of a path around the time of its backups: directory, name with a hyphen, extension with its dot.
struct NameParts {
    dir: PathBuf,
    prefix: Vec<u8>,
    extension: Vec<u8>,
}

impl NameParts {
    fn of(path: &Path) -> Self {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned();
        let name = path.file_name().unwrap_or_default().as_bytes();
        let (stem, extension) = name.split_at(name.iter().rposition(|b| *b == b'.').unwrap_or(name.len()));
        Self { dir, prefix: [stem, b"-"].concat(), extension: extension.to_vec() }
    }

    fn backup(&self, time: WallTime) -> PathBuf {
        let name = [self.prefix.as_slice(), timestamp(time).as_bytes(), b"-size", &self.extension].concat();
        self.dir.join(OsString::from_vec(name))
    }

    /// The time in the name of a backup; the reason behind it is missing in names of older versions.
    fn time_of<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let inner = name.strip_prefix(self.prefix.as_slice())?.strip_suffix(self.extension.as_slice())?;
        let (time, reason) = inner.split_at_checked(timestamp(WallTime(0)).len())?;
        (is_timestamp(time) && matches!(reason, b"" | b"-size" | b"-time")).then_some(time)
    }
}

impl Rotation {
    /// Gives a file that is full the name of a backup, and removes backups that are too many or too old.
    pub(crate) fn rotate(&self, files: &mut dyn FileSystem, path: &Path, now: WallTime) -> io::Result<()> {
        let parts = NameParts::of(path);
        for later in 0..MAX_NAME_ATTEMPTS {
            let backup = parts.backup(WallTime(now.0.saturating_add(later * NANOS_PER_MILLI)));
            match files.metadata(&backup) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    files.rename(path, &backup)?;
                    // The file is rotated also where old ones can't be removed.
                    return self.remove_old(files, &parts, now);
                }
                Err(e) => return Err(e),
                Ok(_) => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("rename {}: every name is taken", path.display())))
    }

    /// Removes the backups of a file that are too many or too old.
    pub(crate) fn remove_old_backups(&self, files: &mut dyn FileSystem, path: &Path, now: WallTime) -> io::Result<()> {
        self.remove_old(files, &NameParts::of(path), now)
    }

    fn remove_old(&self, files: &mut dyn FileSystem, parts: &NameParts, now: WallTime) -> io::Result<()> {
        if self.max_backups == 0 && self.max_days == 0 {
            return Ok(());
        }
        let mut backups: Vec<(Vec<u8>, OsString)> = files
            .read_dir(&parts.dir)?
            .into_iter()
            .filter(|entry| entry.kind == FileKind::File)
            .filter_map(|entry| Some((parts.time_of(entry.name.as_bytes())?.to_vec(), entry.name)))
            .collect();
        backups.sort_by(|a, b| b.cmp(a));
        let max_age = u64::from(self.max_days).saturating_mul(NANOS_PER_DAY);
        let oldest = (self.max_days > 0).then(|| timestamp(WallTime(now.0.saturating_sub(max_age))));
        for (i, (time, name)) in backups.iter().enumerate() {
            let is_too_many = self.max_backups > 0 && i >= self.max_backups;
            if is_too_many || oldest.as_ref().is_some_and(|oldest| time.as_slice() < oldest.as_bytes()) {
                files.remove_file(&parts.dir.join(name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_backup_is_recognised_and_other_files_are_not() {
        let parts = NameParts::of(Path::new("/data/tele.me.json"));
        let time = WallTime(1_663_131_734_173_000_000);
        assert_eq!(parts.backup(time).to_str(), Some("/data/tele.me-2022-09-14T05-02-14.173-size.json"));
        for (name, expected) in [
            ("tele.me-2022-09-14T05-02-14.173-size.json", true),
            ("tele.me-2022-09-14T05-02-14.173.json", true),
            ("tele.me-2022-09-14T05-02-14.173-time.json", true),
            ("tele.me-2022-09-14T05-02-14.173-x.json", false),
            ("tele.me-2022-09-14T05-02-14.json", false),
            ("tele.me.json", false),
            ("other-2022-09-14T05-02-14.173.json", false),
        ] {
            assert_eq!(parts.time_of(name.as_bytes()).is_some(), expected, "{name}");
        }
        assert_eq!(
            NameParts::of(Path::new("plain")).backup(WallTime(0)).to_str(),
            Some("./plain-1970-01-01T00-00-00.000-size")
        );
    }
}
