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
    /// The identity in the certificate: an e-mail address or a URI, compared byte for byte. Of several, any will do.
    #[arg(long, value_name = "IDENTITY", conflicts_with_all = ["certificate_identity_regexp", "key"])]
    pub certificate_identity: Vec<String>,
    /// A regular expression that the whole identity has to match.
    #[arg(long, value_name = "REGEXP", conflicts_with = "key")]
    pub certificate_identity_regexp: Vec<String>,
    /// The token issuer in the certificate: one for all identities, or one for each in their order.
    #[arg(long, value_name = "URL", conflicts_with_all = ["certificate_oidc_issuer_regexp", "key"])]
    pub certificate_oidc_issuer: Vec<String>,
    /// A regular expression that the whole token issuer has to match.
    #[arg(long, value_name = "REGEXP", conflicts_with = "key")]
    pub certificate_oidc_issuer_regexp: Vec<String>,
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
    /// Any extension of the certificate, by its name (runnerEnvironment, sourceRepositoryURI, buildSignerURI, …) or its last number
    /// (11 for 1.3.6.1.4.1.57264.1.11), and the value that it has to have.
    #[arg(long, value_name = "NAME=VALUE", value_parser = extension, conflicts_with = "key")]
    pub certificate_extension: Vec<(FulcioOid, String)>,
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
        let subjects =
            patterns(&self.certificate_identity, &self.certificate_identity_regexp, "--certificate-identity")?;
        let issuers =
            patterns(&self.certificate_oidc_issuer, &self.certificate_oidc_issuer_regexp, "--certificate-oidc-issuer")?;
        let issuers = match issuers.as_slice() {
            [one] => vec![one.clone(); subjects.len()],
            several if several.len() == subjects.len() => issuers,
            several => {
                let (found, identities) = (several.len(), subjects.len());
                return Err(Failure::usage(format!("{found} issuers are given for {identities} identities"))
                    .hint("give one issuer for all identities, or one for each in their order"));
            }
        };
        let workflow = [
            (FulcioOid::GithubWorkflowTrigger, &self.certificate_github_workflow_trigger),
            (FulcioOid::GithubWorkflowSha, &self.certificate_github_workflow_sha),
            (FulcioOid::GithubWorkflowName, &self.certificate_github_workflow_name),
            (FulcioOid::GithubWorkflowRepository, &self.certificate_github_workflow_repository),
            (FulcioOid::GithubWorkflowRef, &self.certificate_github_workflow_ref),
        ];
        let extensions: Vec<_> = workflow
            .into_iter()
            .filter_map(|(oid, value)| value.as_deref().map(|value| (oid, Pattern::exact(value))))
            .chain(self.certificate_extension.iter().map(|(oid, value)| (*oid, Pattern::exact(value.as_str()))))
            .collect();
        let identities = subjects.into_iter().zip(issuers).map(|(subject, issuer)| IdentityPolicy {
            subject,
            issuer,
            extensions: extensions.clone(),
        });
        Ok(Policy::Identities(identities.collect()))
    }
}

/// `name=value` of an extension.
fn extension(text: &str) -> Result<(FulcioOid, String), String> {
    let (name, value) = text.split_once('=').ok_or("an extension is NAME=VALUE")?;
    let number = || name.parse().ok().and_then(FulcioOid::from_number);
    let oid = FulcioOid::from_name(name).or_else(number).ok_or_else(|| {
        let names: Vec<_> = FulcioOid::all().map(FulcioOid::name).collect();
        format!("no extension is called {name:?}: there are {}", names.join(", "))
    })?;
    Ok((oid, value.to_owned()))
}

/// What is accepted: texts, or regular expressions.
fn patterns(exact: &[String], regexps: &[String], flag: &str) -> Result<Vec<Pattern>, Failure> {
    let regexp = |text: &String| {
        Pattern::regex(text).map_err(|error| Failure::usage(format!("{flag}-regexp {text:?}: {error}")))
    };
    let all = || exact.iter().chain(regexps);
    if all().next().is_none() || all().any(String::is_empty) {
        return Err(Failure::usage(format!("{flag} is missing: say who has to have signed, or give --key"))
            .hint("a signature by anybody proves nothing; pass --certificate-identity and --certificate-oidc-issuer"));
    }
    exact.iter().map(|text| Ok(Pattern::exact(text.as_str()))).chain(regexps.iter().map(regexp)).collect()
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
    use super::{SignerArgs, TrustArgs, extension};
    use waxseal_formats::code::Code;
    use waxseal_verify::bundle::Policy;

    #[test]
    fn nobody_is_accepted_by_default() {
        let failure = SignerArgs::default().policy().expect_err("refused");
        assert_eq!((failure.code, failure.exit), (Code::USAGE, 2));
        let only_subject = SignerArgs { certificate_identity: vec!["a@b".into()], ..SignerArgs::default() };
        assert_eq!(only_subject.policy().expect_err("refused").code, Code::USAGE);
        let empty = SignerArgs {
            certificate_identity: vec![String::new()],
            certificate_oidc_issuer: vec!["https://i".into()],
            ..SignerArgs::default()
        };
        assert_eq!(empty.policy().expect_err("refused").code, Code::USAGE);
    }

    #[test]
    fn every_flag_reaches_the_policy() {
        let args = SignerArgs {
            certificate_identity_regexp: vec![".*@b".into()],
            certificate_oidc_issuer: vec!["https://i".into()],
            certificate_github_workflow_ref: Some("refs/heads/main".into()),
            certificate_github_workflow_sha: Some("abc".into()),
            certificate_extension: vec![extension("runnerEnvironment=github-hosted").expect("known")],
            ..SignerArgs::default()
        };
        let Policy::Identities(identities) = args.policy().expect("policy") else { panic!("identities") };
        let [identity] = identities.as_slice() else { panic!("one") };
        assert!(identity.subject.matches("a@b") && !identity.subject.matches("a@b.evil"));
        assert!(identity.issuer.matches("https://i") && !identity.issuer.matches("https://i/"));
        assert_eq!(identity.extensions.len(), 3);
        assert_eq!(extension("11=x"), extension("runnerEnvironment=x"));
        for wrong in ["runnerEnvironment", "wing=left", "99=x", "=x"] {
            assert!(extension(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_several_identities_any_will_do_with_its_own_issuer() {
        let given = |identities: &[&str], issuers: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
            let args = SignerArgs {
                certificate_identity: owned(identities),
                certificate_oidc_issuer: owned(issuers),
                ..SignerArgs::default()
            };
            args.policy().map(|policy| match policy {
                Policy::Identities(identities) => identities,
                Policy::Key(_) => panic!("no key was given"),
            })
        };
        let accepts = |identities: &[&str], issuers: &[&str], subject: &str, issuer: &str| {
            let policies = given(identities, issuers).expect("a policy");
            policies.iter().any(|policy| policy.subject.matches(subject) && policy.issuer.matches(issuer))
        };
        assert!(accepts(&["a@x", "b@x"], &["https://i"], "b@x", "https://i"));
        assert!(accepts(&["a@x", "b@x"], &["https://i", "https://j"], "b@x", "https://j"));
        // An identity is who it is at its own issuer alone.
        assert!(!accepts(&["a@x", "b@x"], &["https://i", "https://j"], "a@x", "https://j"));
        assert_eq!(given(&["a@x"], &["https://i", "https://j"]).expect_err("refused").code, Code::USAGE);
        assert_eq!(given(&["a@x", ""], &["https://i"]).expect_err("refused").code, Code::USAGE);
    }

    #[test]
    fn the_public_good_root_is_embedded_and_usable() {
        let root = TrustArgs::default().trusted_root().expect("embedded");
        assert!(!root.tlogs.is_empty() && !root.ctlogs.is_empty() && !root.certificate_authorities.is_empty());
    }
}
