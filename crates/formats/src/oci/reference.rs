//! Names of images (distribution-spec "Pulling manifests"; docker's `reference` grammar and defaults).

use super::OciError;
use crate::crypto::Digest;
use std::fmt;

/// Docker Hub, as users write it.
const DOCKER_HUB: &str = "docker.io";
/// Docker Hub, as it calls itself in `docker-reference` of signatures, after go-containerregistry.
const DOCKER_HUB_CONTEXT: &str = "index.docker.io";
/// Longest name of a repository, its registry included.
const MAX_NAME_LEN: usize = 255;
/// Longest tag.
const MAX_TAG_LEN: usize = 128;

/// A repository in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: String,
    name: String,
}

/// The name of an image: a repository with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Repository {
    /// Parses `registry/name`; a name without a registry is one of Docker Hub.
    ///
    /// # Errors
    /// [`OciError::Reference`].
    pub fn parse(text: &str) -> Result<Self, OciError> {
        let (registry, name) = match text.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (DOCKER_HUB, text),
        };
        let registry = if registry == DOCKER_HUB_CONTEXT { DOCKER_HUB } else { registry };
        let name = match name.contains('/') {
            false if registry == DOCKER_HUB => format!("library/{name}"),
            _ => name.to_owned(),
        };
        if !is_registry(registry) {
            return Err(wrong(format!("{registry:?} is no registry: a host, with a port if need be, is expected")));
        }
        if !name.split('/').all(is_component) {
            return Err(wrong(format!(
                "{name:?} is no repository: lower-case letters, digits, single '.', '_' and '-' between them, and '/' are expected"
            )));
        }
        if registry.len().saturating_add(name.len()) > MAX_NAME_LEN {
            return Err(wrong(format!("the name is longer than {MAX_NAME_LEN} characters")));
        }
        Ok(Self { registry: registry.to_owned(), name })
    }

    /// A registry without a repository, for what is asked of it as a whole.
    ///
    /// # Errors
    /// [`OciError::Reference`].
    pub fn of_registry(registry: &str) -> Result<Self, OciError> {
        if is_registry(registry) {
            return Ok(Self { registry: registry.to_owned(), name: String::new() });
        }
        Err(wrong(format!("{registry:?} is no registry: a host, with a port if need be, is expected")))
    }

    /// The registry's host, with its port if it has one. Docker Hub is `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name within the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image of that digest.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest.clone()) }
    }

    /// The image of that tag.
    ///
    /// # Errors
    /// [`OciError::Reference`] if it is no tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, OciError> {
        if is_tag(tag) {
            return Ok(Reference { repository: self.clone(), tag: Some(tag.to_owned()), digest: None });
        }
        Err(wrong(format!("{tag:?} is no tag: letters, digits, '.', '_' and '-' are expected")))
    }

    /// How signatures of cosign name it: `registry/name`, where Docker Hub is `index.docker.io`.
    #[must_use]
    pub fn context(&self) -> String {
        let registry = if self.registry == DOCKER_HUB { DOCKER_HUB_CONTEXT } else { &self.registry };
        format!("{registry}/{}", self.name)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

impl Reference {
    /// Parses `registry/name:tag@sha256:hex`. A name without tag and digest means the tag `latest`.
    ///
    /// # Errors
    /// [`OciError::Reference`].
    pub fn parse(text: &str) -> Result<Self, OciError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let parsed = Digest::parse(digest).filter(|parsed| parsed.to_string() == digest);
                let parsed =
                    parsed.ok_or_else(|| wrong(format!("{digest:?} is no digest, such as sha256:… in lower case")))?;
                (name, Some(parsed))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let repository = Repository::parse(name)?;
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        };
        let named = tag.map(|tag| repository.with_tag(tag)).transpose()?;
        Ok(Self { tag: named.and_then(|named| named.tag), repository, digest })
    }

    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one. It decides what the image is, whatever the tag names.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

const fn wrong(problem: String) -> OciError {
    OciError::Reference { problem }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').unwrap_or("x")),
            };
            return address.parse::<core::net::Ipv6Addr>().is_ok() && port.is_none_or(is_port);
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Letters and digits in lower case, and between them `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(inner) || !bytes.last().copied().is_some_and(inner) {
        return false;
    }
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|part| !part.is_empty());
    separators.into_iter().all(|part| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG_LEN).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::{Reference, Repository};
    use crate::code::Code;

    const HEX: &str = "acda8f81fd9734e19664683a6886b03e205813f73ce10745af31b6ea1ac7cbf3";

    #[test]
    fn names_are_completed_as_docker_does() {
        for (text, full, context) in [
            ("alpine", "docker.io/library/alpine:latest", "index.docker.io/library/alpine"),
            ("acme/app:v1", "docker.io/acme/app:v1", "index.docker.io/acme/app"),
            ("index.docker.io/acme/app", "docker.io/acme/app:latest", "index.docker.io/acme/app"),
            ("ghcr.io/acme/app", "ghcr.io/acme/app:latest", "ghcr.io/acme/app"),
            ("localhost/app:1", "localhost/app:1", "localhost/app"),
            ("127.0.0.1:5000/a/b/c:1.0_x-y", "127.0.0.1:5000/a/b/c:1.0_x-y", "127.0.0.1:5000/a/b/c"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a"),
            ("r.example/a__b/c--d.e", "r.example/a__b/c--d.e:latest", "r.example/a__b/c--d.e"),
        ] {
            let reference = Reference::parse(text).expect(text);
            assert_eq!((reference.to_string().as_str(), reference.repository().context().as_str()), (full, context));
        }
        let pinned = Reference::parse(&format!("r.example/a:v1@sha256:{HEX}")).expect("parsed");
        assert_eq!((pinned.tag(), pinned.digest().expect("digest").to_hex().as_str()), (Some("v1"), HEX));
        let digest_only = Reference::parse(&format!("r.example/a@sha256:{HEX}")).expect("parsed");
        assert_eq!((digest_only.tag(), digest_only.to_string()), (None, format!("r.example/a@sha256:{HEX}")));
    }

    /// Row 11: names become paths of URLs and files.
    #[test]
    fn row_11_what_is_no_name_is_refused() {
        let long = format!("r.example/{}", "a".repeat(300));
        let digests =
            [format!("r.example/a@sha256:{}", HEX.to_uppercase()), format!("r.example/a@sha256:{HEX}@sha256:{HEX}")];
        for text in [
            "",
            "/",
            "r.example/",
            "r.example//a",
            "r.example/../a",
            "r.example/a/..",
            "r.example/./a",
            "r.example/A",
            "r.example/a%2f",
            "r.example/a?x",
            "r.example/a#x",
            "r.example/a b",
            "r.example/a:",
            "r.example/a:-v",
            "r.example/a:v/1",
            "r.example/a:v 1",
            "r.example/a@",
            "r.example/a@sha256:00",
            "r.example/a@md5:00",
            "r.example/a_-b",
            "r.example/-a",
            "r.example/a-",
            "http://r.example/a",
            "r.example:0/a",
            "r.example:99999/a",
            "r.example:x/a",
            "-r.example/a",
            "r..example/a",
            "user@r.example/a",
            "[::1/a",
            "[::1]x/a",
            "[x]/a",
            "r.example/a\0",
            "r.example/a\n",
            "r.exämple/a",
            &long,
            &digests[0],
            &digests[1],
        ] {
            assert_eq!(Reference::parse(text).expect_err(text).code(), Code::INPUT_MALFORMED, "{text}");
        }
        assert!(Repository::parse("r.example/a").expect("parsed").with_tag("../x").is_err());
    }
}
