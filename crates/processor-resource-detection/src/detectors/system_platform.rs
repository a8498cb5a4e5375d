//! Name, version and description of the operating system, by the rules of the libraries that the Go collector uses.
//! No program is run for them.

use crate::answers::{Answers, Halt};

/// Files that name a distribution: the file, and the name where it is not in the file. They are read in this order.
const RELEASE_FILES: [(&str, Release); 11] = [
    ("oracle-release", Release::Named("oracle")),
    ("enterprise-release", Release::Named("oracle")),
    ("slackware-version", Release::Slackware),
    ("debian_version", Release::Debian),
    ("neokylin-release", Release::RedHatLike),
    ("redhat-release", Release::RedHatLike),
    ("system-release", Release::RedHatLike),
    ("gentoo-release", Release::Named("gentoo")),
    ("SuSE-release", Release::Suse),
    ("arch-release", Release::Arch),
    ("alpine-release", Release::Alpine),
];

/// How a file is read.
#[derive(Clone, Copy)]
enum Release {
    /// The version follows the word `release`.
    Named(&'static str),
    RedHatLike,
    Slackware,
    Debian,
    Suse,
    Arch,
    Alpine,
}

/// Name and version of the distribution; empty where they are not known.
pub(super) fn platform(answers: &mut Answers<'_>) -> Result<(String, String), Halt> {
    let etc = Some(answers.env("HOST_ETC")).filter(|path| !path.is_empty()).unwrap_or_else(|| "/etc".to_owned());
    let lsb = answers.text(format!("{etc}/lsb-release"))?.unwrap_or_default();
    let lsb_value = |key: &str| value_of(&lsb, key).unwrap_or_default().replace('"', "");
    let (lsb_id, lsb_release) = (lsb_value("DISTRIB_ID"), lsb_value("DISTRIB_RELEASE"));
    for (file, release) in RELEASE_FILES {
        let content = answers.text(format!("{etc}/{file}"))?.filter(|content| content.len() > 4);
        let Some(content) = content else { continue };
        let first_line = content.lines().next().unwrap_or_default().to_owned();
        let joined = content.lines().collect::<String>().to_lowercase();
        return Ok(match release {
            Release::Named(name) => (name.to_owned(), release_version(&joined)),
            Release::RedHatLike => (red_hat_name(&joined), release_version(&joined)),
            Release::Slackware => ("slackware".to_owned(), joined.replacen("slackware ", "", 1)),
            Release::Arch => ("arch".to_owned(), lsb_release),
            Release::Alpine => ("alpine".to_owned(), first_line),
            Release::Suse => suse(&content),
            Release::Debian => match lsb_id.as_str() {
                "Ubuntu" => ("ubuntu".to_owned(), lsb_release),
                "LinuxMint" => ("linuxmint".to_owned(), lsb_release),
                "Cumulus Linux" => ("cumuluslinux".to_owned(), lsb_release),
                "Kylin" | "uos" | "Deepin" => (lsb_id, lsb_release),
                _ => {
                    let is_raspbian = answers.file("/usr/bin/raspi-config")?.is_ok();
                    let name = if is_raspbian { "raspbian" } else { "debian" };
                    (name.to_owned(), first_line)
                }
            },
        });
    }
    if let Some(content) = answers.text(format!("{etc}/os-release"))?.filter(|content| content.len() > 4) {
        let value = |key: &str| unquoted(value_of(&content, key).unwrap_or_default());
        let (name, version) = (value("ID"), value("VERSION_ID"));
        let name = if name == "amzn" { "amazon" } else { name };
        return Ok((name.trim_matches('"').to_owned(), version.to_owned()));
    }
    let name = match lsb_id.as_str() {
        "ScientificSL" => "scientific".to_owned(),
        other => other.to_lowercase(),
    };
    Ok((name, lsb_release))
}

/// The value of the last line `key=value`, up to a second `=`.
fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = |line: &'t str| {
        let mut parts = line.split('=');
        let is_key = parts.next() == Some(key);
        parts.next().filter(|_| is_key)
    };
    text.lines().rev().find_map(value)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// The number behind the word `release`.
fn release_version(text: &str) -> String {
    if text.contains("rawhide") {
        return "rawhide".to_owned();
    }
    let starts_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut candidates = text.match_indices("release ").filter_map(|(at, found)| text.get(at + found.len()..));
    let Some(rest) = candidates.find(|rest| rest.starts_with(starts_word)) else {
        return String::new();
    };
    let first = rest.chars().take(1);
    first.chain(rest.chars().skip(1).take_while(|c| c.is_ascii_digit() || *c == '.')).collect()
}

fn red_hat_name(text: &str) -> String {
    if text.contains("red hat") {
        return "redhat".to_owned();
    }
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn suse(content: &str) -> (String, String) {
    let name = if content.to_lowercase().contains("opensuse") { "opensuse" } else { "suse" };
    let value = |key: &str| {
        let line = content.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        line.unwrap_or_default().trim().to_owned()
    };
    let (mut version, patch) = (value("VERSION"), value("PATCHLEVEL"));
    if !patch.is_empty() {
        version = format!("{version}.{patch}");
    }
    (name.to_owned(), version)
}

fn kernel(answers: &mut Answers<'_>, name: &str) -> Result<Result<String, String>, Halt> {
    let value = answers.file(format!("/proc/sys/kernel/{name}"))?;
    Ok(value.map(|value| String::from_utf8_lossy(&value).trim_end_matches('\n').to_owned()))
}

/// The build of the distribution; else the release of the kernel.
pub(super) fn os_build_id(answers: &mut Answers<'_>) -> Result<String, Halt> {
    let release = answers.text("/etc/os-release")?.unwrap_or_default();
    let build = release.lines().find_map(|line| line.strip_prefix("BUILD_ID="));
    match build.map(|build| build.trim_matches('"')).filter(|build| !build.is_empty()) {
        Some(build) => Ok(build.to_owned()),
        None => Ok(kernel(answers, "osrelease")?.unwrap_or_default()),
    }
}

/// `Debian GNU/Linux 12 (bookworm) (Linux host 6.1.0 #1 SMP x86_64)`.
pub(super) fn description(answers: &mut Answers<'_>) -> Result<Result<String, String>, Halt> {
    let mut words = Vec::new();
    for name in ["ostype", "hostname", "osrelease", "version"] {
        match kernel(answers, name)? {
            Ok(value) => words.push(value),
            Err(error) => return Ok(Err(error)),
        }
    }
    words.push(std::env::consts::ARCH.to_owned());
    let uname = words.join(" ");
    let release = match answers.text("/etc/os-release")? {
        Some(release) => release,
        None => answers.text("/usr/lib/os-release")?.unwrap_or_default(),
    };
    let name = release_name(&release);
    Ok(Ok(if name.is_empty() { uname } else { format!("{name} ({uname})") }))
}

/// Name and version out of `os-release`, else its `PRETTY_NAME`.
fn release_name(release: &str) -> String {
    let value = |key: &str| {
        let line = release.lines().rev().filter(|line| !line.trim_start().starts_with('#'));
        let mut values = line.filter_map(|line| line.split_once('=')).filter(|(k, _)| k.trim() == key);
        values.next().map(|(_, value)| unescaped(value.trim())).unwrap_or_default()
    };
    let (name, mut version) = (value("NAME"), value("VERSION"));
    if version.is_empty() {
        version = value("VERSION_ID");
    }
    if name.is_empty() || version.is_empty() { value("PRETTY_NAME") } else { format!("{name} {version}") }
}

/// A value of `os-release` without its quotes and backslashes.
fn unescaped(value: &str) -> String {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'') && value.len() >= 2);
    let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && matches!(next, '$' | '"' | '\'' | '\\' | '`') => {
                text.push(*next);
                chars.next();
            }
            _ => text.push(c),
        }
    }
    text
}
