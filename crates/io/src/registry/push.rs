//! Writing to a registry: blobs, manifests, and what refers to an image.

use super::auth::Action;
use super::client::{Ask, Body, refusal};
use super::pull::{BlobStream, CONTENT_DIGEST, Resolved, fallback_tag, is_digest_of};
use super::reach::shown;
use super::{Registry, RegistryError};
use bytes::Bytes;
use formats::crypto::Digest;
use formats::oci::{Descriptor, INDEX, ImageIndex, ImageManifest, MANIFEST, Manifest, Repository};
use futures_util::stream::{self, StreamExt as _};
use reqwest::{Method, header};
use std::fs::File;
use std::io::Read as _;
use std::mem::discriminant;
use std::time::Instant;
use url::Url;
use waxseal_formats as formats;

/// How often a tag is written that others write as well.
const ATTEMPTS: usize = 12;
/// How much of a file is sent at once, in bytes.
const PART_LEN: usize = 256 << 10;

/// A manifest that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its digest.
    pub digest: Digest,
    /// Whether the registry took note of what it refers to (`OCI-Subject`).
    pub subject_noted: bool,
}

/// What a tag is to name from now on.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The manifest.
    pub manifest: Manifest,
    /// Blobs that it needs and that are not there yet.
    pub blobs: Vec<Bytes>,
}

impl Registry {
    /// Writes a blob, unless it is there.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_blob(&self, repository: &Repository, bytes: Bytes) -> Result<Digest, RegistryError> {
        let digest = formats::crypto::HashAlgorithm::Sha256.digest(&bytes);
        if !self.blob_exists(repository, &digest).await? {
            let len = bytes.len() as u64;
            self.upload(repository, &digest, len, Body::Bytes(bytes)).await?;
        }
        Ok(digest)
    }

    /// Writes a blob as it comes from another registry. The registry hashes it, and so does the stream.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_stream(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        from: BlobStream,
    ) -> Result<(), RegistryError> {
        let parts = stream::try_unfold(from, |mut from| async move {
            Ok::<_, RegistryError>(from.next().await?.map(|part| (part, from)))
        });
        self.upload(repository, &blob.digest, blob.size, Body::Stream(parts.boxed())).await
    }

    /// Writes a blob that is in a file.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_file(&self, repository: &Repository, blob: &Descriptor, file: File) -> Result<(), RegistryError> {
        let parts = stream::try_unfold(file, |mut file| async move {
            let mut part = vec![0; PART_LEN];
            let read = file.read(&mut part).map_err(|error| RegistryError::File(error.to_string()))?;
            part.truncate(read);
            Ok::<_, RegistryError>((read > 0).then_some((Bytes::from(part), file)))
        });
        self.upload(repository, &blob.digest, blob.size, Body::Stream(parts.boxed())).await
    }

    /// Has a registry take a blob from another repository of its own. Whether it did.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount_blob(
        &self,
        into: &Repository,
        from: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        if into.registry() != from.registry() {
            return Ok(false);
        }
        let mut url = self.address(into, "blobs/uploads/").await?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from.name());
        let ask = self.put(Method::POST, into, url, Vec::new(), Body::Bytes(Bytes::new()));
        Ok(self.demand(ask, &digest.to_string(), &[201, 202]).await?.status().as_u16() == 201)
    }

    /// Sends a blob in one piece (distribution-spec "POST then PUT").
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        len: u64,
        body: Body,
    ) -> Result<(), RegistryError> {
        let what = format!("place for {digest} in {repository}");
        let url = self.address(repository, "blobs/uploads/").await?;
        let ask = self.put(Method::POST, repository, url.clone(), Vec::new(), Body::Bytes(Bytes::new()));
        let response = self.demand(ask, &what, &[202]).await?;
        let unusable = |problem: &str| RegistryError::Answer { url: shown(&url), problem: problem.to_owned() };
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| url.join(location).ok());
        let mut location = location.ok_or_else(|| unusable("it does not say where the blob goes"))?;
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        let headers = vec![
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, len.to_string()),
        ];
        if location.origin() == url.origin() {
            let ask = Ask { moves_blob: true, ..self.put(Method::PUT, repository, location, headers, body) };
            return self.demand(ask, &what, &[201, 202, 204]).await.map(drop);
        }
        self.upload_elsewhere(repository, &url, location, headers, body).await
    }

    /// Where a registry has its blobs sent to somebody else, that one does not hear the credentials (CVE-2026-50151).
    async fn upload_elsewhere(
        &self,
        repository: &Repository,
        registry: &Url,
        location: Url,
        headers: Vec<(header::HeaderName, String)>,
        body: Body,
    ) -> Result<(), RegistryError> {
        self.follow(registry, &location)?;
        let mut request = self.client_for(registry, &location).put(location.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.dispatch(request, body, &location, true).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let what = format!("place for a blob at {}", shown(&location));
        Err(refusal(response, repository.registry().to_owned(), &what).await)
    }

    /// Writes a manifest under a tag or its digest.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        name: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Pushed, RegistryError> {
        let digest = Descriptor::of(media_type, &bytes).digest;
        let what = format!("{repository}:{name}");
        if Digest::parse(name).is_none() {
            repository.with_tag(name)?;
        } else if !is_digest_of(name, &bytes) {
            return Err(RegistryError::Digest { what, found: digest });
        }
        let url = self.address(repository, &format!("manifests/{name}")).await?;
        let headers = vec![(header::CONTENT_TYPE, media_type.to_owned())];
        let ask = self.put(Method::PUT, repository, url, headers, Body::Bytes(bytes.clone()));
        let response = self.demand(ask, &what, &[200, 201, 202]).await?;
        let stated = response.headers().get(CONTENT_DIGEST).and_then(|stated| stated.to_str().ok());
        if stated.is_some_and(|stated| !is_digest_of(stated, &bytes)) {
            return Err(RegistryError::Digest { what, found: digest });
        }
        Ok(Pushed { digest, subject_noted: response.headers().contains_key("oci-subject") })
    }

    /// Writes a manifest that refers to an image, and makes sure that it is found from there: where the registry keeps no list of
    /// referrers, the tag that clients keep instead is updated. Its entry says what the manifest says (cosign 4641).
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn attach(&self, repository: &Repository, manifest: &ImageManifest) -> Result<Digest, RegistryError> {
        self.attach_bytes(repository, &Manifest::Image(manifest.clone()), manifest.to_json().into()).await
    }

    /// As [`Registry::attach`], for a manifest that exists in these bytes.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn attach_bytes(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        let mut described = Descriptor::of(manifest.media_type(), &bytes);
        described.artifact_type = manifest.artifact_type().map(ToOwned::to_owned);
        described.annotations.clone_from(manifest.annotations());
        let digest = described.digest.clone();
        let pushed = self.push_manifest(repository, &digest.to_string(), manifest.media_type(), bytes).await?;
        let Some(subject) = manifest.subject().filter(|_| !pushed.subject_noted) else { return Ok(digest) };
        if self.listed(repository, &subject.digest).await?.is_some() {
            return Ok(digest);
        }
        self.merge_tag(repository, &fallback_tag(&subject.digest), |current| {
            let mut listed = match current {
                Some(Manifest::Index(index)) => index.clone(),
                _ => ImageIndex::new(Vec::new()),
            };
            if listed.manifests.iter().any(|known| known.digest == described.digest) {
                return None;
            }
            listed.manifests.push(described.clone());
            Some(Merged { manifest: Manifest::Index(listed), blobs: Vec::new() })
        })
        .await?;
        Ok(digest)
    }

    /// Makes a tag name what `merge` makes of what it names now, until `merge` finds nothing left to do. Others may do the same at the
    /// same time: what was written is read again a moment later (cosign 2432).
    ///
    /// # Errors
    /// [`RegistryError::Lost`] if others always win.
    pub async fn merge_tag(
        &self,
        repository: &Repository,
        tag: &str,
        merge: impl Fn(Option<&Manifest>) -> Option<Merged>,
    ) -> Result<(), RegistryError> {
        let reference = repository.with_tag(tag)?;
        for _ in 0..ATTEMPTS {
            let current = match self.resolve(&reference).await {
                Ok(Resolved { manifest, .. }) => Some(manifest),
                Err(RegistryError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            let Some(merged) = merge(current.as_ref()) else { return Ok(()) };
            // Somebody else's image, or list, under a name that happens to be the same.
            if current.is_some_and(|current| discriminant(&current) != discriminant(&merged.manifest)) {
                let problem = format!("{tag} names something else, which is not written over");
                return Err(RegistryError::Answer { url: repository.to_string(), problem });
            }
            let start = Instant::now();
            for blob in merged.blobs {
                self.push_blob(repository, blob).await?;
            }
            let (media_type, document) = match &merged.manifest {
                Manifest::Image(manifest) => (MANIFEST, manifest.to_json()),
                Manifest::Index(index) => (INDEX, index.to_json()),
            };
            self.push_manifest(repository, tag, media_type, document.into()).await?;
            // Whoever read the tag before it was written writes over it about now.
            let settle = self.inner.settings.pace.settle.max(start.elapsed().saturating_mul(3));
            tokio::time::sleep(settle.saturating_add(super::client::jitter(settle))).await;
        }
        Err(RegistryError::Lost { tag: reference.to_string(), attempts: ATTEMPTS })
    }

    fn put<'a>(
        &self,
        method: Method,
        repository: &'a Repository,
        url: Url,
        headers: Vec<(header::HeaderName, String)>,
        body: Body,
    ) -> Ask<'a> {
        Ask { method, repository, action: Action::Push, url, headers, body, moves_blob: false }
    }
}
