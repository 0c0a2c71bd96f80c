//! Flags about the identity token that somebody signs with.

use crate::cli::flags::LoginAt;
use crate::cli::{Failure, Output};
use crate::client::login::{Flow, LoginError, Person, Provider, log_in};
use crate::client::verify::read_bounded;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Secret;
use waxseal_io::browser;
use waxseal_io::terminal::Terminal;
use waxseal_io::token::{TokenError, Variables, Wanted, identity_token, process_environment};
use waxseal_io::transport::Transport;

/// Longest file with a client's secret, in bytes.
const MAX_SECRET_LEN: usize = 4096;

/// Whose signature it becomes.
#[derive(Debug, Clone, Default, Args)]
pub struct TokenArgs {
    /// An identity token, or a file that holds one; else SIGSTORE_ID_TOKEN, the CI job's or the machine's own is used, and a person at a
    /// terminal logs in.
    #[arg(long, value_name = "TOKEN|FILE", conflicts_with = "key")]
    identity_token: Option<String>,
    /// Do not look for a token in the environment.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    oidc_disable_ambient_providers: bool,
    /// The one place to look for a token: envvar, github-actions, buildkite-agent, circleci, filesystem, google-workload-identity,
    /// google-impersonation.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["identity_token", "key"])]
    oidc_provider: Option<String>,
    /// How a person logs in.
    #[arg(long, value_name = "FLOW", value_enum)]
    fulcio_auth_flow: Option<AuthFlow>,
    /// Where a person logs in, if not where the instance says.
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<String>,
    /// The client id to log in with, if not the instance's.
    #[arg(long, value_name = "ID")]
    oidc_client_id: Option<String>,
    /// A file with the client's secret, if it has one.
    #[arg(long, value_name = "FILE")]
    oidc_client_secret_file: Option<PathBuf>,
    /// Where the provider sends the browser back to, if it cannot be any port of localhost.
    #[arg(long, value_name = "URL")]
    oidc_redirect_url: Option<Url>,
}

/// How a person logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AuthFlow {
    /// In a browser; without one on another device.
    Normal,
    /// On another device.
    Device,
    /// Not at all: a token has to be there.
    Token,
}

impl TokenArgs {
    /// The token, for `audience`. `login` is where the instance has people log in.
    ///
    /// # Errors
    /// `usage` if there is none; `token.*`, `input.*` and `network.*` for what was given, where it was looked for, and the login.
    pub async fn token(
        &self,
        transport: &dyn Transport,
        audience: &str,
        login: Option<&LoginAt>,
    ) -> Result<Secret<String>, Failure> {
        let none = |_: &str| None;
        let variables: Variables<'_> = if self.oidc_disable_ambient_providers { &none } else { &process_environment };
        let wanted = Wanted { given: self.identity_token.as_deref(), source: self.oidc_provider.as_deref() };
        let found = identity_token(wanted, variables, transport, audience).await;
        let failure = match found {
            Err(TokenError::None) => {
                let failure = Failure::new(Code::USAGE, TokenError::None.to_string());
                failure.hint("pass --identity-token, or log in with --fulcio-auth-flow device")
            }
            found => return found.map_err(|error| Failure::new(error.code(), error.to_string())),
        };
        let here = Here { terminal: Terminal::open() };
        let flow = match self.fulcio_auth_flow {
            Some(AuthFlow::Token) => return Err(failure),
            Some(AuthFlow::Device) => Flow::Device,
            Some(AuthFlow::Normal) => Flow::Normal,
            // Where nobody is, nobody logs in: a job without a token ends at once and says so.
            None if here.terminal.is_none() && std::env::var_os("BROWSER").is_none() => return Err(failure),
            None => Flow::Normal,
        };
        let Some(provider) = self.provider(login)? else {
            return Err(failure.hint("--oidc-issuer says where to log in, --identity-token gives a token"));
        };
        log_in(transport, &provider, flow, &here).await.map_err(|error| login_failure(&error))
    }

    fn provider(&self, login: Option<&LoginAt>) -> Result<Option<Provider>, Failure> {
        let Some(issuer) = self.oidc_issuer.clone().or_else(|| login.map(|login| login.issuer.clone())) else {
            return Ok(None);
        };
        let client_id = self.oidc_client_id.clone().or_else(|| login.map(|login| login.client_id.clone()));
        let secret = self.oidc_client_secret_file.as_deref().map(|path| {
            let bytes =
                read_bounded(path, MAX_SECRET_LEN).map_err(|error| Failure::new(error.code(), error.to_string()))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::new(Code::INPUT_MALFORMED, format!("{} holds no text", path.display())))?;
            Ok::<_, Failure>(Secret::new(text.trim().to_owned()))
        });
        Ok(Some(Provider {
            issuer,
            client_id: client_id.unwrap_or_else(|| "sigstore".to_owned()),
            client_secret: secret.transpose()?,
            redirect: self.oidc_redirect_url.clone(),
        }))
    }
}

fn login_failure(error: &LoginError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error {
        LoginError::NoWay => failure.hint("pass --identity-token"),
        LoginError::TimeOut(_) => failure.hint("run the command again, or pass --identity-token"),
        _ => failure,
    }
}

/// The person at this machine.
struct Here {
    terminal: Option<Terminal>,
}

impl Person for Here {
    fn say(&self, sentence: &str) {
        Output::Text.say(sentence);
    }

    fn open(&self, page: &Url) -> bool {
        browser::open(page)
    }

    fn ask(&self, question: &str) -> Option<String> {
        self.terminal.as_ref()?.ask(question).ok()
    }
}
