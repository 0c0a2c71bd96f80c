//! Reading from a registry: manifests, blobs, and what refers to an image. Everything is hashed.

use super::auth::Action;
use super::client::{Ask, Body, body};
use super::parts::Incoming;
use super::reach::shown;
use super::{Registry, RegistryError};
use bytes::{Bytes, BytesMut};
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
pub(super) const MAX_PAGES: usize = 50;
/// Most referrers that are listed.
pub(super) const MAX_REFERRERS: usize = 10_000;
/// The header in which registries say a manifest's digest.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";

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
    /// The manifest of a reference. Its digest is computed from its bytes; a registry that says another one is not believed at all.
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
        let handed_out_as = text(&response, header::CONTENT_TYPE.as_str());
        let stated = text(&response, CONTENT_DIGEST);
        let bytes = body(response, &what, MAX_MANIFEST_LEN as u64).await?;
        let algorithm = reference.digest().map_or(HashAlgorithm::Sha256, Digest::algorithm);
        let found = algorithm.digest(&bytes);
        if reference.digest().is_some_and(|digest| *digest != found) {
            return Err(RegistryError::Digest { what, found });
        }
        if stated.is_some_and(|stated| !is_digest_of(&stated, &bytes)) {
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
        let mut stream = self.blob_stream(repository, blob).await?;
        let mut bytes = BytesMut::new();
        while let Some(part) = stream.next().await? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }

    /// A blob, a part at a time. It ends with an error if it is not what its digest says.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob_stream(&self, repository: &Repository, blob: &Descriptor) -> Result<BlobStream, RegistryError> {
        let what = format!("{repository}@{}", blob.digest);
        let url = self.address(repository, &format!("blobs/{}", blob.digest)).await?;
        let ask = Ask { moves_blob: true, ..self.get(repository, url, Vec::new()) };
        let response = self.demand(ask, &what, &[200]).await?;
        let (pace, hasher) = (self.inner.settings.pace, blob.digest.algorithm().hasher());
        let (blob, left) = (blob.clone(), blob.size);
        Ok(BlobStream { what, blob, left, hasher: Some(hasher), parts: Incoming::new(response, pace) })
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
        for page in 0..MAX_PAGES {
            let ask = self.get(repository, url.clone(), vec![(header::ACCEPT, INDEX.to_owned())]);
            // A registry that breaks off has a list, and it is not the whole of it.
            let good: &[u16] = if page == 0 { &[200, 400, 404, 405, 406, 501] } else { &[200] };
            let response = self.demand(ask, &what, good).await?;
            if response.status().as_u16() != 200 {
                return Ok(None);
            }
            let next = text(&response, header::LINK.as_str()).map_or(Ok(None), |link| next_page(&link, &url))?;
            let bytes = body(response, &what, MAX_MANIFEST_LEN as u64).await?;
            match Manifest::from_json(&bytes, None)? {
                Manifest::Index(index) => found.extend(index.manifests),
                // A registry that answers every path with something has no list.
                Manifest::Image(_) if page == 0 => return Ok(None),
                Manifest::Image(_) => {
                    return Err(RegistryError::Answer { url: shown(&url), problem: "it is no list".to_owned() });
                }
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
}

/// The tag that lists what refers to an image where the registry does not: `sha256-<hex>`.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm().name(), subject.to_hex())
}

/// Whether that is what a registry calls the digest of these bytes.
pub(super) fn is_digest_of(stated: &str, bytes: &[u8]) -> bool {
    Digest::parse(stated).is_some_and(|stated| stated.algorithm().digest(bytes) == stated)
}

/// A blob on its way.
pub struct BlobStream {
    what: String,
    blob: Descriptor,
    left: u64,
    hasher: Option<Hasher>,
    parts: Incoming,
}

impl BlobStream {
    /// The next part; nothing at the end. The last part only comes if the whole is right, so that what is wrong is never complete.
    ///
    /// # Errors
    /// [`RegistryError::Digest`] or [`RegistryError::TooLarge`] for something else, [`RegistryError::Unreachable`],
    /// [`RegistryError::Slow`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let part = self.parts.next().await?;
        let len = part.as_ref().map_or(0, |part| part.len() as u64);
        let left = self.left.checked_sub(len);
        self.left = left.ok_or_else(|| RegistryError::TooLarge { what: self.what.clone(), limit: self.blob.size })?;
        if let (Some(hasher), Some(part)) = (&mut self.hasher, &part) {
            hasher.update(part);
        }
        if self.left == 0 || part.is_none() {
            match self.hasher.take().map(Hasher::finish) {
                Some(found) if found != self.blob.digest => {
                    return Err(RegistryError::Digest { what: self.what.clone(), found });
                }
                _ => {}
            }
        }
        Ok(part)
    }
}

fn text(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(ToOwned::to_owned)
}

/// The address in `<…>; rel="next"` (RFC 8288). It has to be of the same registry, and another one than this.
fn next_page(link: &str, url: &Url) -> Result<Option<Url>, RegistryError> {
    let Some((address, parameters)) = link.trim().strip_prefix('<').and_then(|link| link.split_once('>')) else {
        return Ok(None);
    };
    let is_next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
    if !parameters.split(';').any(is_next) {
        return Ok(None);
    }
    match url.join(address) {
        Ok(next) if next.origin() == url.origin() && next != *url => Ok(Some(next)),
        _ => Err(RegistryError::Answer { url: shown(url), problem: "its list goes on somewhere else".to_owned() }),
    }
}
