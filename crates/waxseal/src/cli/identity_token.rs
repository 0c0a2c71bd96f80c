//! Flags about the identity token that somebody signs with.

use crate::cli::Failure;
use clap::Args;
use waxseal_formats::crypto::Secret;
use waxseal_io::token::{Variables, identity_token, process_environment};
use waxseal_io::transport::Transport;

/// Whose signature it becomes.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArgs {
    /// An identity token, or a file that holds one; else SIGSTORE_ID_TOKEN or the CI job's own is used.
    #[arg(long, value_name = "TOKEN|FILE", conflicts_with = "key")]
    identity_token: Option<String>,
    /// Do not look for a token in the environment.
    #[arg(long, hide = true)]
    oidc_disable_ambient_providers: bool,
}

impl TokenArgs {
    /// The token, for `audience`.
    ///
    /// # Errors
    /// `usage` if there is none; `token.*`, `input.*` and `network.*` for what was given and where it was looked for.
    pub async fn token(&self, transport: &dyn Transport, audience: &str) -> Result<Secret<String>, Failure> {
        let none = |_: &str| None;
        let variables: Variables<'_> = if self.oidc_disable_ambient_providers { &none } else { &process_environment };
        identity_token(self.identity_token.as_deref(), variables, transport, audience)
            .await
            .map_err(|error| Failure::new(error.code(), error.to_string()))
    }
}
