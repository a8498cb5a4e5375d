//! Names of container images, by the grammar of the registry's reference library.

use std::ops::Range;

use otelcore_go_regexp::{GoRegexp, PatternError};

/// The longest name without tag and digest.
const MAX_NAME: usize = 255;

const HOST: &str = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const PATH: &str = "[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
const TAG: &str = r"[\w][\w.-]{0,127}";
const DIGEST: &str = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";

/// Digest algorithms, and how many digits theirs have.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// The parts of the name of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageName<'a> {
    /// With its domain, if it has one.
    pub repository: &'a str,
    /// Empty for none.
    pub tag: &'a str,
    /// `sha256:..`; empty for none.
    pub digest: &'a str,
}

impl ImageName<'_> {
    /// `service.version`: tag and digest, as far as there are any.
    #[must_use]
    pub fn version(&self) -> String {
        let separator = if self.tag.is_empty() || self.digest.is_empty() { "" } else { "@" };
        [self.tag, separator, self.digest].concat()
    }
}

/// Reads names of images.
#[derive(Debug)]
pub struct ImageParser {
    pattern: GoRegexp,
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_digest(text: &str) -> bool {
    let parts = text.split_once(':');
    parts.is_some_and(|(algorithm, digits)| ALGORITHMS.contains(&(algorithm, digits.len())) && is_lower_hex(digits))
}

/// 64 digits alone name an image by its digest.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && is_lower_hex(text)
}

impl ImageParser {
    /// A parser.
    ///
    /// # Errors
    /// Never: the pattern is valid.
    pub fn new() -> Result<Self, PatternError> {
        let domain = format!(r"(?:{HOST}(?:\.{HOST})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?");
        let name = format!("(?:{domain}/)?{PATH}(?:/{PATH})*");
        Ok(Self { pattern: GoRegexp::compile(&format!("^({name})(?::({TAG}))?(?:@({DIGEST}))?$"))? })
    }

    /// The parts of a name; `None` if it is not one.
    #[must_use]
    pub fn parse<'a>(&self, image: &'a str) -> Option<ImageName<'a>> {
        let groups = self.pattern.find(image.as_bytes())?;
        let group = |index: usize| -> &'a str {
            let range: Option<Range<usize>> = groups.get(index).cloned().flatten();
            range.and_then(|range| image.get(range)).unwrap_or_default()
        };
        let name = ImageName { repository: group(1), tag: group(2), digest: group(3) };
        let is_valid = name.repository.len() <= MAX_NAME && (name.digest.is_empty() || is_digest(name.digest));
        is_valid.then_some(name)
    }

    /// The full name with the digest, for `imageID` of a container; `None` without a repository or a digest.
    #[must_use]
    pub fn canonical(&self, image_id: &str) -> Option<String> {
        if is_identifier(image_id) || is_digest(image_id) {
            return None;
        }
        let (domain, rest) = match image_id.split_once('/') {
            None => ("docker.io", image_id),
            Some(("index.docker.io", rest)) => ("docker.io", rest),
            Some((first, rest))
                if first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first =>
            {
                (first, rest)
            }
            Some(_) => ("docker.io", image_id),
        };
        let library = if domain == "docker.io" && !rest.contains('/') { "library/" } else { "" };
        let remote = rest.split(':').next().unwrap_or_default();
        if remote.to_lowercase() != remote {
            return None;
        }
        let full = format!("{domain}/{library}{rest}");
        let has_digest = !self.parse(&full)?.digest.is_empty();
        has_digest.then_some(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:b248ef911f93ae27cbbc85056d1ffacc87fd941bbdc2ffd951b6df8df72b8096";

    #[test]
    fn name_is_split_into_repository_tag_and_digest() {
        let parser = ImageParser::new().unwrap();
        let parts = |image: &str| parser.parse(image).map(|name| (name.repository.to_owned(), name.tag.to_owned()));
        let some = |repository: &str, tag: &str| Some((repository.to_owned(), tag.to_owned()));
        assert_eq!(parts("nginx"), some("nginx", ""));
        assert_eq!(parts("example.com:5000/alpine/alpine:test"), some("example.com:5000/alpine/alpine", "test"));
        assert_eq!(parts(&format!("a/b:1.2@{SHA}")), some("a/b", "1.2"));
        assert_eq!(parts("[::1]:5000/a"), some("[::1]:5000/a", ""));
        assert_eq!(parser.parse(&format!("a@{SHA}")).unwrap().digest, SHA);
        for invalid in ["", "Nginx:1", "a:", "a@sha256:12", "a b", "a@md5:0123456789abcdef0123456789abcdef", "/a"] {
            assert_eq!(parts(invalid), None, "{invalid}");
        }
        assert_eq!(parts(&"a".repeat(256)), None);
    }

    #[test]
    fn version_is_tag_and_digest() {
        let parser = ImageParser::new().unwrap();
        let version = |image: &str| parser.parse(image).unwrap().version();
        assert_eq!(version("a:1"), "1");
        assert_eq!(version(&format!("a@{SHA}")), SHA);
        assert_eq!(version(&format!("a:1@{SHA}")), format!("1@{SHA}"));
        assert_eq!(version("a"), "");
    }

    #[test]
    fn canonical_name_has_a_domain_and_a_digest() {
        let parser = ImageParser::new().unwrap();
        let canonical = |image: String| parser.canonical(&image);
        assert_eq!(canonical(format!("nginx@{SHA}")), Some(format!("docker.io/library/nginx@{SHA}")));
        assert_eq!(canonical(format!("ghcr.io/a/b@{SHA}")), Some(format!("ghcr.io/a/b@{SHA}")));
        assert_eq!(canonical(format!("a/b:1@{SHA}")), Some(format!("docker.io/a/b:1@{SHA}")));
        assert_eq!(canonical(format!("docker-pullable://nginx@{SHA}")), None);
        assert_eq!(canonical(SHA.to_owned()), None);
        assert_eq!(canonical("nginx:1".to_owned()), None);
        assert_eq!(canonical(SHA[7..].to_owned()), None);
    }
}
