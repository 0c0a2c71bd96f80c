//! Asking an issuer for its keys: its discovery document, then the key set that this names.

use super::source::Discovery;
use super::{JwksError, MAX_BEARER_LEN, MAX_DISCOVERY_LEN, TIMEOUT};
use crate::transport::{Reach, Request, Transport, is_loopback};
use formats::crypto::Secret;
use formats::jwt::{JwkSet, JwtError, MAX_KEY_SET_LEN};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;
use waxseal_formats as formats;

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Discovery {
    pub(super) async fn fetch(&self, issuer: &str, transport: &dyn Transport) -> Result<JwkSet, JwksError> {
        let malformed = |reason: String| JwksError::Malformed { issuer: issuer.to_owned(), reason };
        let issuer_url = Url::parse(issuer).map_err(|error| malformed(error.to_string()))?;
        let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = Url::parse(&discovery).map_err(|error| malformed(error.to_string()))?;
        let bearer = match &self.token_file {
            None => None,
            Some(path) => Some(bearer(path.clone()).await.map_err(|reason| JwksError::Unusable {
                issuer: issuer.to_owned(),
                reason: format!("its token file {} {reason}", path.display()),
            })?),
        };
        let asked = Asked { issuer, issuer_url: &issuer_url, how: self, bearer: bearer.as_ref(), transport };
        let document = asked.get(Request::get(discovery).max_body_len(MAX_DISCOVERY_LEN)).await?;
        let document: Document = serde_json::from_slice(&document)
            .map_err(|error| malformed(format!("its discovery document is malformed: {error}")))?;
        if document.issuer != issuer && !self.aliases.contains(&document.issuer) {
            return Err(malformed(format!("its discovery document is that of {:?}", document.issuer)));
        }
        let (jwks_uri, reach) = self.key_url(issuer, &issuer_url, &document.jwks_uri)?;
        let keys = asked.get(Request::get(jwks_uri).max_body_len(MAX_KEY_SET_LEN).reach(reach)).await?;
        JwkSet::from_json(&keys).map_err(|error: JwtError| malformed(error.to_string()))
    }

    /// Where an issuer's keys are fetched from, as its discovery document says: from its own host as that was configured, or
    /// over https from another host with a public address (large providers do that). Never over http from elsewhere.
    ///
    /// An issuer that wants to see a token is an API server of Kubernetes. It names the address that it advertises inside
    /// the cluster, which is often another one than we reach it by, and serves its keys under every name it has: they are
    /// fetched by the name that was configured, for which alone the token is.
    fn key_url(&self, issuer: &str, issuer_url: &Url, jwks_uri: &str) -> Result<(Url, Reach), JwksError> {
        let refused = |reason| JwksError::KeyUrl {
            issuer: issuer.to_owned(),
            jwks_uri: jwks_uri.chars().take(200).collect(),
            reason,
        };
        let url = Url::parse(jwks_uri).map_err(|_| refused("that is no URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("that is a URL with a user"));
        }
        if self.token_file.is_some() && matches!(url.scheme(), "https" | "http") && url.origin() != issuer_url.origin()
        {
            let mut own = issuer_url.clone();
            own.set_path(url.path());
            own.set_query(url.query());
            return Ok((own, Reach::Anywhere));
        }
        match url.scheme() {
            "https" | "http" if url.origin() == issuer_url.origin() => {
                if url.scheme() == "https" || is_loopback(&url) {
                    Ok((url, Reach::Anywhere))
                } else {
                    Err(refused("that is plain http"))
                }
            }
            "https" if url.host() == issuer_url.host() => Ok((url, Reach::Anywhere)),
            "https" => Ok((url, Reach::Public)),
            _ => Err(refused("keys are fetched over https, or over http on loopback from the issuer itself")),
        }
    }
}

/// An issuer that is being asked.
struct Asked<'a> {
    issuer: &'a str,
    issuer_url: &'a Url,
    how: &'a Discovery,
    bearer: Option<&'a Secret<String>>,
    transport: &'a dyn Transport,
}

impl Asked<'_> {
    async fn get(&self, request: Request) -> Result<bytes::Bytes, JwksError> {
        let url = request.url().clone();
        let request = request.timeout(TIMEOUT);
        // The private authority is believed about the issuer's host, and the token is for its very origin.
        let request = match &self.how.authorities {
            Some(authorities) if url.host() == self.issuer_url.host() => request.trusting(Arc::clone(authorities)),
            _ => request,
        };
        let request = match self.bearer {
            Some(bearer) if url.origin() == self.issuer_url.origin() => request.bearer(bearer),
            _ => request,
        };
        let answer = self.transport.send(request).await;
        let answer = answer.map_err(|source| JwksError::Transport { issuer: self.issuer.to_owned(), source })?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(JwksError::Status { issuer: self.issuer.to_owned(), url: url.to_string(), status: answer.status })
        }
    }
}

/// Reads a bearer token. What is in the file is never shown.
async fn bearer(path: PathBuf) -> Result<Secret<String>, String> {
    let read = tokio::task::spawn_blocking(move || read_bearer(&path));
    read.await.unwrap_or_else(|_| Err("cannot be read".to_owned()))
}

fn read_bearer(path: &Path) -> Result<Secret<String>, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let limit = u64::try_from(MAX_BEARER_LEN).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.take(limit).read_to_string(&mut text);
    let text = Secret::new(text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let token = text.expose().trim();
    if text.expose().len() > MAX_BEARER_LEN || token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("holds no token".to_owned());
    }
    Ok(Secret::new(token.to_owned()))
}
