//! Whom docker's and podman's configuration says to be.

use super::{Credentials, RegistryError};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential, get_podman_credential};
use formats::crypto::Secret;
use waxseal_formats as formats;

/// Docker Hub's name in docker's configuration.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

/// What is sent to a registry, or to whoever makes its tokens.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// Nothing.
    Anonymous,
    /// A user with a password.
    Password { user: String, password: Secret<String> },
    /// What is exchanged for a token (docker's `identitytoken`).
    Refresh(Secret<String>),
    /// The token itself.
    Token(Secret<String>),
}

/// Whom to be at a registry. Helpers are programs: this blocks.
pub(super) fn login(credentials: &Credentials, registry: &str) -> Result<Login, RegistryError> {
    match credentials {
        Credentials::Anonymous => Ok(Login::Anonymous),
        Credentials::Token(token) => Ok(Login::Token(token.clone())),
        Credentials::Password { user, password } => {
            Ok(Login::Password { user: user.clone(), password: password.clone() })
        }
        Credentials::Keychain => {
            let server = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
            for found in [get_credential(server), get_podman_credential(server)] {
                match found {
                    Ok(DockerCredential::IdentityToken(token)) => return Ok(Login::Refresh(Secret::new(token))),
                    Ok(DockerCredential::UsernamePassword(user, password)) => {
                        return Ok(Login::Password { user, password: Secret::new(password) });
                    }
                    Err(
                        CredentialRetrievalError::ConfigNotFound
                        | CredentialRetrievalError::ConfigReadError
                        | CredentialRetrievalError::NoCredentialConfigured,
                    ) => {}
                    // Helpers say so when they have nothing for this server.
                    Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                        if [&stdout, &stderr].iter().any(|said| said.contains("credentials not found")) => {}
                    Err(error) => {
                        let reason = Some(format!("its credentials cannot be read: {error}"));
                        return Err(RegistryError::Unauthorized { registry: registry.to_owned(), reason });
                    }
                }
            }
            Ok(Login::Anonymous)
        }
    }
}
