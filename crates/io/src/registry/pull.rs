//! Reading from a registry: manifests, blobs, and what refers to an image. Everything is hashed.

use super::auth::Action;
use super::client::{Ask, Body, body, send, unreachable};
use super::{Registry, RegistryError};
use bytes::Bytes;
use formats::crypto::digest::Hasher;
use formats::crypto::{Digest, HashAlgorithm};
use formats::oci::{
    DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, MAX_MANIFEST_LEN, Manifest, Reference, Repository,
};
use reqwest::{Method, Response, header};
use std::io::Write as _;
use url::Url;
use waxseal_formats as formats;

/// Most pages of a list of referrers.
const MAX_PAGES: usize = 50;
/// Most referrers that are listed.
pub(super) const MAX_REFERRERS: usize = 10_000;
/// Most redirects of a blob.
const MAX_REDIRECTS: usize = 5;

/// A manifest that a registry has.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Bytes,
    /// What they say.
    pub manifest: Manifest,
}

impl Registry {
    /// The manifest of a reference. Its digest is computed from its bytes, whatever the registry says.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let what = reference.to_string();
        let url = self.address(reference.repository(), &format!("manifests/{name}")).await?;
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        let ask = self.get(reference.repository(), url, vec![(header::ACCEPT, accept)]);
        let response = self.demand(ask, &what, &[200]).await?;
        let handed_out_as = text(&response, &header::CONTENT_TYPE);
        let bytes = body(response, &what, MAX_MANIFEST_LEN as u64).await?;
        let algorithm = reference.digest().map_or(HashAlgorithm::Sha256, Digest::algorithm);
        let found = algorithm.digest(&bytes);
        if reference.digest().is_some_and(|digest| *digest != found) {
            return Err(RegistryError::Digest { what, found });
        }
        let manifest = Manifest::from_json(&bytes, handed_out_as.as_deref())?;
        let descriptor = Descriptor { digest: found, ..Descriptor::of(manifest.media_type(), &bytes) };
        Ok(Resolved { descriptor, bytes, manifest })
    }

    /// Asks whether the registry is there and takes the credentials.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn ping(&self, registry: &str) -> Result<(), RegistryError> {
        // The name is only a key here: a ping is about no repository.
        let nowhere = Repository::of_registry(registry)?;
        let url = self.base(registry, "").await?;
        self.demand(self.get(&nowhere, url, Vec::new()), registry, &[200]).await.map(drop)
    }

    /// A blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob(&self, repository: &Repository, blob: &Descriptor, limit: u64) -> Result<Bytes, RegistryError> {
        let what = format!("{repository}@{}", blob.digest);
        if blob.size > limit {
            return Err(RegistryError::TooLarge { what, limit });
        }
        let response = self.open_blob(repository, &blob.digest).await?;
        let bytes = body(response, &what, blob.size).await?;
        let found = blob.digest.algorithm().digest(&bytes);
        if found == blob.digest { Ok(bytes) } else { Err(RegistryError::Digest { what, found }) }
    }

    /// A blob, a part at a time. It ends with an error if it is not what its digest says.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob_stream(&self, repository: &Repository, blob: &Descriptor) -> Result<BlobStream, RegistryError> {
        let response = self.open_blob(repository, &blob.digest).await?;
        Ok(BlobStream {
            what: format!("{repository}@{}", blob.digest),
            blob: blob.clone(),
            left: blob.size,
            hasher: Some(blob.digest.algorithm().hasher()),
            response,
        })
    }

    /// Writes a blob to a file, which holds something else if there is an error.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob_to(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        file: &mut std::fs::File,
    ) -> Result<(), RegistryError> {
        let mut stream = self.blob_stream(repository, blob).await?;
        while let Some(part) = stream.next().await? {
            file.write_all(&part).map_err(|error| RegistryError::File(error.to_string()))?;
        }
        Ok(())
    }

    /// The manifests that refer to `subject`, as far as they may be of that type: by the registry's own list, or where it has none by
    /// the tag that clients keep instead (distribution-spec "Referrers Tag Schema"). Registries differ in what they call the type of
    /// what has an empty configuration, so that such are listed too.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut found = match self.listed(repository, subject).await? {
            Some(listed) => listed,
            None => self.fallback(repository, subject).await?,
        };
        found.retain(|descriptor| match (&descriptor.artifact_type, artifact_type) {
            (Some(found), Some(wanted)) => found == wanted || found == formats::oci::EMPTY,
            _ => true,
        });
        Ok(found)
    }

    /// What the registry lists; nothing if it keeps no list.
    pub(super) async fn listed(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let what = format!("the referrers of {repository}@{subject}");
        let mut url = self.address(repository, &format!("referrers/{subject}")).await?;
        let mut found: Vec<Descriptor> = Vec::new();
        for _ in 0..MAX_PAGES {
            let ask = self.get(repository, url.clone(), vec![(header::ACCEPT, INDEX.to_owned())]);
            let good = [200, 400, 404, 405, 406, 501];
            let response = self.demand(ask, &what, &good).await?;
            if response.status().as_u16() != 200 {
                return Ok(None);
            }
            let next = text(&response, &header::LINK).and_then(|link| next_page(&link, &url));
            let bytes = body(response, &what, MAX_MANIFEST_LEN as u64).await?;
            match Manifest::from_json(&bytes, None)? {
                Manifest::Index(index) => found.extend(index.manifests),
                // A registry that answers every path with something has no list.
                Manifest::Image(_) => return Ok(None),
            }
            if found.len() > MAX_REFERRERS {
                return Err(RegistryError::TooMany { what, limit: MAX_REFERRERS });
            }
            match next {
                Some(next) => url = next,
                None => return Ok(Some(found)),
            }
        }
        Err(RegistryError::TooMany { what, limit: MAX_REFERRERS })
    }

    async fn fallback(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        match self.resolve(&repository.with_tag(&fallback_tag(subject))?).await {
            Ok(Resolved { manifest: Manifest::Index(index), .. }) => {
                if index.manifests.len() > MAX_REFERRERS {
                    let what = format!("the referrers of {repository}@{subject}");
                    return Err(RegistryError::TooMany { what, limit: MAX_REFERRERS });
                }
                Ok(index.manifests)
            }
            Ok(_) | Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob_exists(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let url = self.address(repository, &format!("blobs/{digest}")).await?;
        let ask = Ask { method: Method::HEAD, ..self.get(repository, url, Vec::new()) };
        match self.demand(ask, &digest.to_string(), &[200, 307, 302]).await {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn get<'a>(
        &self,
        repository: &'a Repository,
        url: Url,
        headers: Vec<(header::HeaderName, String)>,
    ) -> Ask<'a> {
        let body = Body::Bytes(Bytes::new());
        Ask { method: Method::GET, repository, action: Action::Pull, url, headers, body, moves_blob: false }
    }

    /// Asks for a blob, and follows to where it is kept. The credentials stay here (CVE-2026-48978 and its like).
    async fn open_blob(&self, repository: &Repository, digest: &Digest) -> Result<Response, RegistryError> {
        let what = format!("{repository}@{digest}");
        let url = self.address(repository, &format!("blobs/{digest}")).await?;
        let ask = Ask { moves_blob: true, ..self.get(repository, url, Vec::new()) };
        let mut response = self.demand(ask, &what, &[200, 301, 302, 303, 307, 308]).await?;
        for _ in 0..MAX_REDIRECTS {
            if response.status().as_u16() == 200 {
                return Ok(response);
            }
            let from = response.url().clone();
            let unusable = |problem: &str| RegistryError::Answer { url: from.to_string(), problem: problem.to_owned() };
            let location = text(&response, &header::LOCATION).and_then(|location| from.join(&location).ok());
            let location = location.ok_or_else(|| unusable("it redirects to nowhere"))?;
            if location.scheme() != "https" && !(location.scheme() == "http" && self.may_be_plain(&location)) {
                return Err(unusable("it redirects to somewhere that is not https"));
            }
            if super::client::loopback_of_another(&from, &location) {
                return Err(unusable("it redirects to this machine"));
            }
            response = send(self.client(&location).get(location.clone()), location.as_str()).await?;
            let status = response.status().as_u16();
            if !matches!(status, 200 | 301..=303 | 307 | 308) {
                let (url, message) = (location.to_string(), String::new());
                return Err(RegistryError::Refused { url, status, message });
            }
        }
        Err(RegistryError::Answer { url: what, problem: "it redirects without end".to_owned() })
    }
}

/// The tag that lists what refers to an image where the registry does not: `sha256-<hex>`.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm().name(), subject.to_hex())
}

/// A blob on its way.
pub struct BlobStream {
    what: String,
    blob: Descriptor,
    left: u64,
    hasher: Option<Hasher>,
    response: Response,
}

impl BlobStream {
    /// The next part; nothing at the end, which is only reached if the whole was right.
    ///
    /// # Errors
    /// [`RegistryError::Digest`] or [`RegistryError::TooLarge`] for something else, [`RegistryError::Unreachable`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let url = self.response.url().to_string();
        if let Some(part) = self.response.chunk().await.map_err(|error| unreachable(&error, &url))? {
            let left = self.left.checked_sub(part.len() as u64);
            self.left =
                left.ok_or_else(|| RegistryError::TooLarge { what: self.what.clone(), limit: self.blob.size })?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&part);
            }
            return Ok(Some(part));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.blob.digest => Err(RegistryError::Digest { what: self.what.clone(), found }),
            _ => Ok(None),
        }
    }
}

fn text(response: &Response, name: &header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(ToOwned::to_owned)
}

/// The address in `<…>; rel="next"`, if it is of the same registry.
fn next_page(link: &str, url: &Url) -> Option<Url> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = url.join(address).ok()?;
    (rest.contains("next") && next.origin() == url.origin()).then_some(next)
}
