//! `--policy`: files that say what a verified attestation has to state.

use super::verify::{VerifyError, read_bounded};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_policy::engine::MAX_SOURCE_LEN;
use waxseal_policy::{Compiled, Input, Language, PolicyError, Verdict};
use waxseal_verify::bundle::Evidence;

/// Most policy files of one command.
pub const MAX_POLICIES: usize = 64;

/// Policies that all have to allow.
#[derive(Debug)]
pub struct Policies(Vec<(PathBuf, Compiled)>);

/// Why the policies cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// There is no policy file.
    #[error("no policy was given: name one with --policy")]
    Missing,
    /// There are more than [`MAX_POLICIES`].
    #[error("{found} policies are given, {MAX_POLICIES} are allowed")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] VerifyError),
    /// A file is no policy.
    #[error("{}: {error}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PolicyError,
    },
}

impl PoliciesError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing => Code::POLICY_MISSING,
            Self::TooMany { .. } => Code::INPUT_TOO_LARGE,
            Self::File(error) => error.code(),
            Self::Policy { error, .. } => error.code(),
        }
    }
}

/// That a policy does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", messages.join("; "))]
pub struct PolicyRefusal {
    /// The reason code.
    pub code: Code,
    /// What the policies say, each line with the file that says it.
    pub messages: Vec<String>,
}

impl Policies {
    /// Reads policy files; the language is the file's extension.
    ///
    /// # Errors
    /// [`PoliciesError`]; [`PoliciesError::Missing`] if `paths` is empty, which is not the same as no demand.
    pub fn read(paths: &[PathBuf]) -> Result<Self, PoliciesError> {
        if paths.is_empty() {
            return Err(PoliciesError::Missing);
        }
        if paths.len() > MAX_POLICIES {
            return Err(PoliciesError::TooMany { found: paths.len() });
        }
        paths.iter().map(|path| Ok((path.clone(), read(path)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Asks every policy about a verified attestation. `payload` is the statement as it was signed, `evidence` what was proven with
    /// it, `now` the time that policies are told.
    ///
    /// # Errors
    /// [`PolicyRefusal`], with what all policies say that do not allow.
    pub fn check(&self, payload: &[u8], evidence: &Evidence, now: Timestamp) -> Result<(), PolicyRefusal> {
        let input = Input::attestation(payload, evidence);
        let input = input.map_err(|error| PolicyRefusal { code: error.code(), messages: vec![error.to_string()] })?;
        let mut messages = Vec::new();
        for (path, policy) in &self.0 {
            match policy.evaluate(&input, now) {
                Verdict::Allowed(_) => {}
                Verdict::Denied(denial) => {
                    messages.extend(denial.messages().iter().map(|message| format!("{}: {message}", path.display())));
                }
            }
        }
        if messages.is_empty() { Ok(()) } else { Err(PolicyRefusal { code: Code::POLICY_DENIED, messages }) }
    }
}

fn read(path: &Path) -> Result<Compiled, PoliciesError> {
    let refuse = |error| PoliciesError::Policy { path: path.to_owned(), error };
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let language = Language::named(extension).map_err(refuse)?;
    let bytes = read_bounded(path, MAX_SOURCE_LEN)?;
    let source = std::str::from_utf8(&bytes).map_err(|_| {
        refuse(PolicyError::Malformed { language: language.name, problem: "it is not UTF-8".to_owned() })
    })?;
    Compiled::compile(language, source).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::{MAX_POLICIES, Policies, PoliciesError};
    use std::path::PathBuf;
    use waxseal_formats::bundle::{Bundle, Content};
    use waxseal_formats::code::Code;
    use waxseal_formats::pattern::Pattern;
    use waxseal_formats::trusted_root::TrustedRoot;
    use waxseal_policy::engine::MAX_SOURCE_LEN;
    use waxseal_verify::bundle::{Policy, verify};
    use waxseal_verify::identity::IdentityPolicy;
    use waxseal_verify::signature::Artifact;

    fn file(directory: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    fn code(paths: &[PathBuf]) -> Code {
        Policies::read(paths).map_err(|error: PoliciesError| error.code()).expect_err("refused")
    }

    #[test]
    fn files_that_are_no_policies_are_named() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(code(&[]), Code::POLICY_MISSING);
        assert_eq!(code(&[directory.path().join("none.rego")]), Code::INPUT_UNREADABLE);
        assert_eq!(code(&[file(&directory, "long.cel", vec![b' '; MAX_SOURCE_LEN + 1])]), Code::INPUT_TOO_LARGE);
        let good = file(&directory, "good.cel", "true");
        assert_eq!(code(&vec![good.clone(); MAX_POLICIES + 1]), Code::INPUT_TOO_LARGE);
        for (name, text) in
            [("a.cue", "a: 1"), ("a.yaml", "a: 1"), ("a", "true"), ("a.rego", "package x"), ("a.cel", "(")]
        {
            assert_eq!(code(&[good.clone(), file(&directory, name, text)]), Code::POLICY_MALFORMED, "{name}");
        }
        assert_eq!(code(&[file(&directory, "b.cel", [0xff])]), Code::POLICY_MALFORMED);
        let error = Policies::read(&[file(&directory, "c.cue", "a: 1")]).expect_err("refused").to_string();
        assert!(error.contains("c.cue: CUE policies are not supported yet"), "{error}");
    }

    #[test]
    fn every_policy_has_to_allow_what_was_proven() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let cases = vectors.conformance();
        let case = cases.iter().find(|case| case.name == "happy-path-intoto-in-dsse-v3").expect("the case");
        let bundle = Bundle::from_json(&case.bundle).expect("a bundle");
        let root = TrustedRoot::from_json(crate::client::PUBLIC_GOOD_TRUSTED_ROOT).expect("a root");
        let identity = IdentityPolicy {
            subject: Pattern::exact(&case.identity),
            issuer: Pattern::exact(&case.issuer),
            extensions: Vec::new(),
        };
        let now = "2026-11-24T00:00:00Z".parse().expect("a time");
        let artifact = Artifact::from_bytes(&case.artifact);
        let evidence = verify(&bundle, &artifact, &root, &Policy::Identities(vec![identity]), now).expect("verified");
        let Content::Envelope(envelope) = &bundle.content else { panic!("no envelope") };
        let payload = &envelope.payload;

        let directory = tempfile::tempdir().expect("directory");
        let signer = format!("signer.identity == {:?} && signer.issuer == {:?}", case.identity, case.issuer);
        let allowing = [
            file(&directory, "signer.cel", signer),
            file(
                &directory,
                "type.rego",
                "package signature\nallow { input.predicateType == \"https://slsa.dev/provenance/v1\" }",
            ),
        ];
        Policies::read(&allowing).expect("read").check(payload, &evidence, now).expect("allowed");
        let mut paths = allowing.to_vec();
        paths.push(file(
            &directory,
            "no.rego",
            "package signature\nallow := true\ndeny contains \"not today\" if true",
        ));
        paths.push(file(&directory, "never.cel", "predicate.buildDefinition.buildType == 'x'"));
        let policies = Policies::read(&paths).expect("read");
        let refusal = policies.check(payload, &evidence, now).expect_err("denied");
        assert_eq!((refusal.code, refusal.messages.len()), (Code::POLICY_DENIED, 2));
        assert!(refusal.to_string().contains("no.rego: not today"), "{refusal}");

        // Another statement than the proven one is not judged at all.
        let other = String::from_utf8(payload.clone()).expect("text").replace("workflow_dispatch", "push");
        let policies = Policies::read(&allowing).expect("read");
        for payload in [other.as_bytes(), b"", b"{}"] {
            assert_eq!(policies.check(payload, &evidence, now).expect_err("denied").code, Code::POLICY_DENIED);
        }
    }
}
