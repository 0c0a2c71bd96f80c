//! Flags about registries, with cosign's names.

use crate::cli::Failure;
use crate::client::image::{ImageError, Place, Stored};
use clap::Args;
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Secret;
use waxseal_formats::oci::{OciError, Reference, Repository};
use waxseal_io::registry::{Credentials, Pace, Registry, RegistrySettings};

/// Exit status when an image has no signatures, as in cosign.
pub const EXIT_UNSIGNED: u8 = 10;
/// Exit status when a tag does not exist, as in cosign.
pub const EXIT_NOT_FOUND: u8 = 11;

/// Where signatures are kept if not beside the image: a repository (cosign's variable).
const REPOSITORY: &str = "COSIGN_REPOSITORY";

/// How registries are spoken to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Speak plain http to the registry, if it is not on this machine.
    #[arg(long)]
    pub allow_http_registry: bool,
    /// Take any certificate from the registry. What is fetched is verified all the same; credentials are not safe.
    #[arg(long)]
    pub allow_insecure_registry: bool,
    /// The user name for the registry, instead of what `docker login` keeps.
    #[arg(long, value_name = "NAME", requires = "registry_password", conflicts_with = "registry_token")]
    pub registry_username: Option<String>,
    /// The password for the registry.
    #[arg(long, value_name = "PASSWORD", requires = "registry_username", value_parser = secret)]
    pub registry_password: Option<Secret<String>>,
    /// A bearer token for the registry.
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub registry_token: Option<Secret<String>>,
    /// Certificate authorities (PEM) that the registry's certificate may come from, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub registry_cacert: Option<PathBuf>,
    /// A client certificate (PEM) to show to the registry.
    #[arg(long, value_name = "FILE", requires = "registry_client_key")]
    pub registry_client_cert: Option<PathBuf>,
    /// The private key (PEM) of the client certificate.
    #[arg(long, value_name = "FILE", requires = "registry_client_cert")]
    pub registry_client_key: Option<PathBuf>,
    /// A host that may be sent the registry's credentials to make a token of them, if it belongs to neither it nor its domain.
    #[arg(long, value_name = "HOST")]
    pub registry_token_host: Vec<String>,
    /// Accepted for cosign's sake: signatures refer to the image wherever the registry can keep that.
    #[arg(long, value_name = "MODE", hide = true, value_parser = ["legacy", "oci-1-1"])]
    pub registry_referrers_mode: Option<String>,
    /// Accepted for cosign's sake: credentials of cloud registries come from their docker credential helpers.
    #[arg(long, hide = true)]
    pub k8s_keychain: bool,
}

impl RegistryArgs {
    /// The client that the flags describe.
    ///
    /// # Errors
    /// `input.*` for the files.
    pub fn registry(&self) -> Result<Registry, Failure> {
        Registry::new(self.settings()?).map_err(|error| failure(&error.into()))
    }

    /// What the flags say.
    ///
    /// # Errors
    /// `input.*` for the files.
    pub fn settings(&self) -> Result<RegistrySettings, Failure> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(pem).transpose();
        let credentials = match (&self.registry_username, &self.registry_password, &self.registry_token) {
            (_, _, Some(token)) => Credentials::Token(token.clone()),
            (Some(user), Some(password), None) => {
                Credentials::Password { user: user.clone(), password: password.clone() }
            }
            _ => Credentials::Keychain,
        };
        let client = match (read(&self.registry_client_cert)?, read(&self.registry_client_key)?) {
            (Some(certificate), Some(key)) => Some((certificate, Secret::new(key))),
            _ => None,
        };
        Ok(RegistrySettings {
            plain_http: self.allow_http_registry,
            any_certificate: self.allow_insecure_registry,
            authorities: read(&self.registry_cacert)?,
            client,
            credentials,
            token_hosts: self.registry_token_host.clone(),
            pace: Pace::default(),
        })
    }

    /// The repository where signatures of `image` are: its own, or the one that COSIGN_REPOSITORY names.
    ///
    /// # Errors
    /// `input.malformed` if that is none.
    pub fn signatures_of(&self, image: &Reference) -> Result<Repository, Failure> {
        match std::env::var(REPOSITORY).ok().filter(|named| !named.is_empty()) {
            Some(named) => Repository::parse(&named)
                .map_err(|error| Failure::new(error.code(), format!("{REPOSITORY} {named:?}: {error}"))),
            None => Ok(image.repository().clone()),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that clap asks for")]
fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn pem(path: &Path) -> Result<String, Failure> {
    const MAX_PEM_LEN: usize = 1 << 20;
    let bytes = crate::client::verify::read_bounded(path, MAX_PEM_LEN)
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| Failure::new(Code::INPUT_MALFORMED, format!("{} is no PEM", path.display())))
}

/// Parses the name of an image.
///
/// # Errors
/// `usage`.
pub fn reference(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error: OciError| Failure::usage(format!("{text:?} is no image: {error}")))
}

/// Looks an image up.
///
/// # Errors
/// `artifact.not-found` with exit status 11, and what else [`failure`] says.
pub async fn find(registry: &Registry, image: &Reference) -> Result<Stored, Failure> {
    let place = Place::of(registry, image);
    let found = match (image.digest(), image.tag()) {
        (Some(digest), _) => place.manifest(digest).await.map(Some),
        (None, tag) => place.tagged(tag.unwrap_or("latest")).await,
    };
    match found.map_err(|error| failure(&error))? {
        Some(stored) => Ok(stored),
        None => {
            let missing = Failure::new(Code::ARTIFACT_NOT_FOUND, format!("there is no {image}"));
            Err(Failure { exit: EXIT_NOT_FOUND, ..missing }
                .hint("is the name right? private images need `waxseal login`"))
        }
    }
}

/// A failure about an image, with what to do about it.
#[must_use]
pub fn failure(error: &ImageError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error.code() {
        Code::ARTIFACT_NOT_FOUND => Failure { exit: EXIT_NOT_FOUND, ..failure },
        Code::REGISTRY_UNAUTHORIZED => failure.hint("log in with `waxseal login REGISTRY` or `docker login`"),
        _ => failure,
    }
}
