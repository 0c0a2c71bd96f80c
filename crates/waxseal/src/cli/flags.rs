//! Flags that several commands share, with cosign's names.

use crate::cli::{Failure, Output, keys, trust, trust_environment};
use crate::client::policy::Policies;
use crate::client::trust::{Freshness, Pinned, TrustStore};
use crate::client::{PUBLIC_GOOD_TRUSTED_ROOT, key, verify};
use clap::Args;
use std::path::PathBuf;
use waxseal_formats::code::Code;
use waxseal_formats::extension::FulcioOid;
use waxseal_formats::pattern::Pattern;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::tuf::format_time;
use waxseal_io::system;
use waxseal_io::transport::Http;
use waxseal_verify::bundle::{Policy, Proof, Requirements};
use waxseal_verify::identity::IdentityPolicy;

/// Whom a signature has to come from.
#[derive(Debug, Clone, Default, Args)]
pub struct SignerArgs {
    /// The identity in the certificate: an e-mail address or a URI, compared byte for byte.
    #[arg(long, value_name = "IDENTITY", conflicts_with_all = ["certificate_identity_regexp", "key"])]
    pub certificate_identity: Option<String>,
    /// A regular expression that the whole identity has to match.
    #[arg(long, value_name = "REGEXP", conflicts_with = "key")]
    pub certificate_identity_regexp: Option<String>,
    /// The token issuer in the certificate.
    #[arg(long, value_name = "URL", conflicts_with_all = ["certificate_oidc_issuer_regexp", "key"])]
    pub certificate_oidc_issuer: Option<String>,
    /// A regular expression that the whole token issuer has to match.
    #[arg(long, value_name = "REGEXP", conflicts_with = "key")]
    pub certificate_oidc_issuer_regexp: Option<String>,
    /// The event that triggered the GitHub workflow.
    #[arg(long, value_name = "EVENT", conflicts_with = "key")]
    pub certificate_github_workflow_trigger: Option<String>,
    /// The commit that the GitHub workflow ran on.
    #[arg(long, value_name = "SHA", conflicts_with = "key")]
    pub certificate_github_workflow_sha: Option<String>,
    /// The name of the GitHub workflow.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    pub certificate_github_workflow_name: Option<String>,
    /// The repository of the GitHub workflow.
    #[arg(long, value_name = "OWNER/NAME", conflicts_with = "key")]
    pub certificate_github_workflow_repository: Option<String>,
    /// The ref that the GitHub workflow ran on.
    #[arg(long, value_name = "REF", conflicts_with = "key")]
    pub certificate_github_workflow_ref: Option<String>,
    /// A public key instead of an identity: a PEM file, env://NAME, or a key that is kept elsewhere, as for signing.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

impl SignerArgs {
    /// The policy that the flags spell: a key, or identity and issuer.
    ///
    /// # Errors
    /// `usage` if they do not say who is accepted; `key.unsupported` or `input.unreadable` for the key file.
    pub fn policy(&self) -> Result<Policy, Failure> {
        if let Some(reference) = &self.key {
            let key = key::public_key(reference).map_err(|error| keys::failure(&error))?;
            return Ok(Policy::Key(key));
        }
        let subject = either(
            self.certificate_identity.as_deref(),
            self.certificate_identity_regexp.as_deref(),
            "--certificate-identity",
        )?;
        let issuer = either(
            self.certificate_oidc_issuer.as_deref(),
            self.certificate_oidc_issuer_regexp.as_deref(),
            "--certificate-oidc-issuer",
        )?;
        let workflow = [
            (FulcioOid::GithubWorkflowTrigger, &self.certificate_github_workflow_trigger),
            (FulcioOid::GithubWorkflowSha, &self.certificate_github_workflow_sha),
            (FulcioOid::GithubWorkflowName, &self.certificate_github_workflow_name),
            (FulcioOid::GithubWorkflowRepository, &self.certificate_github_workflow_repository),
            (FulcioOid::GithubWorkflowRef, &self.certificate_github_workflow_ref),
        ];
        let extensions = workflow
            .into_iter()
            .filter_map(|(oid, value)| value.as_deref().map(|value| (oid, Pattern::exact(value))))
            .collect();
        Ok(Policy::Identities(vec![IdentityPolicy { subject, issuer, extensions }]))
    }
}

fn either(exact: Option<&str>, regexp: Option<&str>, flag: &str) -> Result<Pattern, Failure> {
    match (exact, regexp) {
        (Some(text), _) if !text.is_empty() => Ok(Pattern::exact(text)),
        (None, Some(text)) if !text.is_empty() => {
            Pattern::regex(text).map_err(|error| Failure::usage(format!("{flag}-regexp {text:?}: {error}")))
        }
        _ => Err(Failure::usage(format!("{flag} is missing: say who has to have signed, or give --key"))
            .hint("a signature by anybody proves nothing; pass --certificate-identity and --certificate-oidc-issuer")),
    }
}

/// Where the people of an instance log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginAt {
    /// The issuer.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
}

/// What has to be proven beside the signature and its signer.
#[derive(Debug, Clone, Default, Args)]
pub struct ProofArgs {
    /// Do not ask that the signature was logged. Whoever steals a certificate's key leaves no trace then.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    insecure_ignore_tlog: bool,
    /// Do not ask that the certificate was logged.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    insecure_ignore_sct: bool,
    /// Accepted for cosign's sake: timestamps are always verified.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    use_signed_timestamps: Option<bool>,
}

impl ProofArgs {
    /// Refuses what would be ignored.
    ///
    /// # Errors
    /// `usage`.
    pub fn check(&self) -> Result<(), Failure> {
        if self.use_signed_timestamps == Some(false) {
            return Err(Failure::usage("timestamps that come with a signature are always verified"));
        }
        Ok(())
    }

    /// What is demanded.
    #[must_use]
    pub const fn requirements(&self) -> Requirements {
        const fn proof(ignored: bool) -> Proof {
            if ignored { Proof::Ignored } else { Proof::Demanded }
        }
        Requirements { log: proof(self.insecure_ignore_tlog), sct: proof(self.insecure_ignore_sct) }
    }
}

/// What a verified statement has to say.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyArgs {
    /// A policy in Rego (.rego) or CEL (.cel) that the statement has to satisfy; of several, all have to allow.
    #[arg(long = "policy", value_name = "FILE", value_delimiter = ',')]
    files: Vec<PathBuf>,
}

impl PolicyArgs {
    /// Reads the files; nothing if none is given.
    ///
    /// # Errors
    /// `policy.malformed`, `input.*`.
    pub fn policies(&self) -> Result<Option<Policies>, Failure> {
        if self.files.is_empty() {
            return Ok(None);
        }
        Policies::read(&self.files).map(Some).map_err(|error| Failure::new(error.code(), error.to_string()))
    }
}

/// Whose certificates, logs and timestamps are trusted.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArgs {
    /// A trusted-root file.
    #[arg(long, value_name = "FILE")]
    pub trusted_root: Option<PathBuf>,
    /// A pinned instance.
    #[arg(long, value_name = "URL|NAME", conflicts_with = "trusted_root")]
    pub instance: Option<String>,
}

impl TrustArgs {
    /// Whether somebody said whose trusted root it is.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.trusted_root.is_some() || self.instance().is_some()
    }

    /// The trusted root: the file, the pinned instance's, or the one of the public-good instance, with what cosign's variables
    /// replace in it.
    ///
    /// # Errors
    /// `input.*`, `trusted-root.*`; for an instance that is not pinned, the line that pins it is the hint.
    pub fn trusted_root(&self) -> Result<TrustedRoot, Failure> {
        let failure = |error: verify::VerifyError| Failure::new(error.code(), error.to_string());
        if let Some(path) = &self.trusted_root {
            return verify::read_trusted_root(path).map_err(failure);
        }
        if let Some(instance) = self.instance() {
            let pinned = TrustStore::of_user().and_then(|store| store.pinned(&instance, system::now()));
            let pinned = pinned.map_err(trust::failure)?;
            if let Freshness::StaleSince(time) = pinned.freshness {
                let since = format_time(time);
                Output::Text.say(&format!(
                    "warning: news of {} may be missing since {since}: waxseal trust refresh {}",
                    pinned.url, pinned.name
                ));
            }
            return Ok(pinned.trusted_root);
        }
        let public = TrustedRoot::from_json(PUBLIC_GOOD_TRUSTED_ROOT)
            .map_err(|error| Failure::new(Code::TRUSTED_ROOT_MALFORMED, error.to_string()))?;
        let (root, used) = trust_environment::replaced(public, |name| std::env::var(name).ok())?;
        for name in used {
            Output::Text.say(&format!("warning: {name} replaces a part of the public instance's trusted root"));
        }
        Ok(root)
    }

    /// The pinned instance: the one that was named, else the one whose TUF repository cosign's variable names.
    fn instance(&self) -> Option<String> {
        let mirror = || std::env::var(trust_environment::MIRROR).ok().filter(|mirror| !mirror.is_empty());
        self.instance.clone().or_else(|| if self.trusted_root.is_some() { None } else { mirror() })
    }

    /// The pinned instance of `--instance`, refreshed: for signing.
    ///
    /// # Errors
    /// `trusted-root.*`, `network.unreachable`.
    pub async fn fresh(&self) -> Result<Option<Pinned>, Failure> {
        let Some(instance) = self.instance() else { return Ok(None) };
        let store = TrustStore::of_user().map_err(trust::failure)?;
        let transport = Http::new(store.plain_http(&instance).map_err(trust::failure)?);
        store.fresh(&transport, &instance, system::now()).await.map(Some).map_err(trust::failure)
    }
}

#[cfg(test)]
mod tests {
    use super::{SignerArgs, TrustArgs};
    use waxseal_formats::code::Code;
    use waxseal_verify::bundle::Policy;

    #[test]
    fn nobody_is_accepted_by_default() {
        let failure = SignerArgs::default().policy().expect_err("refused");
        assert_eq!((failure.code, failure.exit), (Code::USAGE, 2));
        let only_subject = SignerArgs { certificate_identity: Some("a@b".into()), ..SignerArgs::default() };
        assert_eq!(only_subject.policy().expect_err("refused").code, Code::USAGE);
        let empty = SignerArgs {
            certificate_identity: Some(String::new()),
            certificate_oidc_issuer: Some("https://i".into()),
            ..SignerArgs::default()
        };
        assert_eq!(empty.policy().expect_err("refused").code, Code::USAGE);
    }

    #[test]
    fn every_flag_reaches_the_policy() {
        let args = SignerArgs {
            certificate_identity_regexp: Some(".*@b".into()),
            certificate_oidc_issuer: Some("https://i".into()),
            certificate_github_workflow_ref: Some("refs/heads/main".into()),
            certificate_github_workflow_sha: Some("abc".into()),
            ..SignerArgs::default()
        };
        let Policy::Identities(identities) = args.policy().expect("policy") else { panic!("identities") };
        let [identity] = identities.as_slice() else { panic!("one") };
        assert!(identity.subject.matches("a@b") && !identity.subject.matches("a@b.evil"));
        assert!(identity.issuer.matches("https://i") && !identity.issuer.matches("https://i/"));
        assert_eq!(identity.extensions.len(), 2);
    }

    #[test]
    fn the_public_good_root_is_embedded_and_usable() {
        let root = TrustArgs::default().trusted_root().expect("embedded");
        assert!(!root.tlogs.is_empty() && !root.ctlogs.is_empty() && !root.certificate_authorities.is_empty());
    }
}
