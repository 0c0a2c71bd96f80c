//! Who signs, who verifies, and what is left out: all of it rows of data.

use super::{command::Words, edit::Change, parts::Program};

/// What a bundle is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// The artifact itself.
    Blob,
    /// An in-toto statement whose subject the artifact is, in a DSSE envelope.
    Statement,
}

/// Whose token it is signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    Person,
    Workflow,
}

impl Who {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Person, Self::Workflow];

    pub(crate) const fn identity(self) -> &'static str {
        match self {
            Self::Person => "alice@corp.example",
            Self::Workflow => "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/main",
        }
    }

    /// Somebody else of the same kind.
    pub(crate) const fn other_identity(self) -> &'static str {
        match self {
            Self::Person => "mallory@corp.example",
            Self::Workflow => "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/other",
        }
    }

    /// The issuer's path on the instance.
    pub(crate) const fn issuer_path(self) -> &'static str {
        match self {
            Self::Person => "/idp",
            Self::Workflow => "/idp/github",
        }
    }

    /// How @sigstore/cli calls such an identity.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Person => "email",
            Self::Workflow => "uri",
        }
    }

    pub(crate) const fn token(self) -> Words {
        match self {
            Self::Person => "token --instance {origin} --data-dir {data} --identity {identity}",
            Self::Workflow => {
                "token --instance {origin} --data-dir {data} --identity {identity} \
                    --issuer github"
            }
        }
    }
}

/// What has to be done once before a client can sign or verify.
pub(crate) const SETUP: &[(Program, Words)] = &[
    (Waxseal, "trust add {origin} --root {root}"),
    (Cosign, "initialize --mirror {origin}/tuf --root {root}"),
    (Cosign2, "initialize --mirror {origin}/tuf --root {root}"),
    (SigstorePython, "--instance {origin}/tuf trust-instance {root}"),
    (SigstoreJs, "init --mirror {origin}/tuf --root {root} --cache-path {cache}"),
];

/// A way to make a bundle.
#[derive(Debug)]
pub(crate) struct Signer {
    pub name: &'static str,
    pub program: Program,
    pub content: Content,
    pub who: Who,
    pub words: Words,
}

const fn signer(name: &'static str, program: Program, content: Content, who: Who, words: Words) -> Signer {
    Signer { name, program, content, who, words }
}

use Content::{Blob, Statement};
use Program::{Cosign, Cosign2, SigstoreJs, SigstoreJsLibrary, SigstorePython, Waxseal};
use Who::{Person, Workflow};

const COSIGN_SIGN: Words = "sign-blob --yes --bundle {bundle} {artifact}";
const COSIGN_2_ATTEST: Words = "attest-blob --yes --new-bundle-format --use-signing-config --predicate {predicate} \
    --type https://slsa.dev/provenance/v1 --bundle {bundle} {artifact}";
const PYTHON_SIGN: Words = "--instance {origin}/tuf sign --identity-token {token} \
    --bundle {bundle} {artifact}";
const PYTHON_ATTEST: Words = "--instance {origin}/tuf attest --identity-token {token} \
    --predicate {predicate} --predicate-type https://slsa.dev/provenance/v1 --bundle {bundle} \
    {artifact}";
const JS_SIGN: Words = "{sign_js} messageSignature {signing_config} {bundle} {artifact}";
const JS_STATEMENT: Words = "{sign_js} dsseEnvelope {signing_config} {bundle} {statement}";
const OUR_SIGN: Words = "sign-blob --instance {origin} --identity-token {token} --bundle {bundle} \
    {artifact}";
const OUR_STATEMENT: Words = "conformance sign-bundle --in-toto --identity-token {token} \
    --bundle {bundle} --trusted-root {trusted_root} --signing-config {signing_config} {statement}";

const JS_ATTEST: Words = "attest {statement} --fulcio-url {origin} --rekor-url {origin} -o {bundle}";

/// `sigstore sign`, told which log to take.
macro_rules! python_rekor {
    ($version:literal) => {
        concat!(
            "--instance {origin}/tuf sign --rekor-version ",
            $version,
            " --identity-token {token} --bundle {bundle} {artifact}"
        )
    };
}

/// `cosign sign-blob` with another key than P-256.
macro_rules! cosign_with {
    ($algorithm:literal) => {
        concat!("sign-blob --yes --signing-algorithm ", $algorithm, " --bundle {bundle} {artifact}")
    };
}

/// `waxseal sign-blob` with another key than P-256.
macro_rules! waxseal_with {
    ($algorithm:literal) => {
        concat!(
            "sign-blob --instance {origin} --identity-token {token} --signing-algorithm ",
            $algorithm,
            " --bundle {bundle} {artifact}"
        )
    };
}

/// The rows of the table.
pub(crate) const SIGNERS: &[Signer] = &[
    signer("cosign", Cosign, Blob, Person, COSIGN_SIGN),
    signer("cosign, workflow", Cosign, Blob, Workflow, COSIGN_SIGN),
    signer(
        "cosign, files",
        Cosign,
        Blob,
        Person,
        "sign-blob --yes --trusted-root {trusted_root} --signing-config {signing_config} \
            --bundle {bundle} {artifact}",
    ),
    signer("cosign, P-384", Cosign, Blob, Person, cosign_with!("ecdsa-sha2-384-nistp384")),
    signer("cosign, P-521", Cosign, Blob, Person, cosign_with!("ecdsa-sha2-512-nistp521")),
    signer("cosign, RSA 2048", Cosign, Blob, Person, cosign_with!("rsa-sign-pkcs1-2048-sha256")),
    signer("cosign, RSA 4096", Cosign, Blob, Person, cosign_with!("rsa-sign-pkcs1-4096-sha256")),
    signer(
        "cosign attest-blob",
        Cosign,
        Statement,
        Person,
        "attest-blob --yes --predicate {predicate} --type https://slsa.dev/provenance/v1 \
            --bundle {bundle} {artifact}",
    ),
    signer(
        "cosign, Rekor v1",
        Cosign,
        Blob,
        Person,
        "sign-blob --yes --trusted-root {trusted_root} --signing-config {signing_config_v1} \
            --bundle {bundle} {artifact}",
    ),
    signer(
        "cosign, Rekor v1 by URL",
        Cosign,
        Blob,
        Person,
        "sign-blob --yes --use-signing-config=false --fulcio-url {origin} --rekor-url {origin} \
            --bundle {bundle} {artifact}",
    ),
    signer(
        "cosign attest-blob, Rekor v1",
        Cosign,
        Statement,
        Person,
        "attest-blob --yes --trusted-root {trusted_root} --signing-config {signing_config_v1} \
            --predicate {predicate} --type https://slsa.dev/provenance/v1 --bundle {bundle} {artifact}",
    ),
    signer(
        "cosign 2",
        Cosign2,
        Blob,
        Person,
        "sign-blob --yes --new-bundle-format --use-signing-config --bundle {bundle} {artifact}",
    ),
    signer(
        "cosign 2, Rekor v1",
        Cosign2,
        Blob,
        Person,
        "sign-blob --yes --new-bundle-format --trusted-root {trusted_root} \
            --signing-config {signing_config_v1} --bundle {bundle} {artifact}",
    ),
    // What it sends is a dsseRequestV002.
    signer("cosign 2 attest-blob", Cosign2, Statement, Person, COSIGN_2_ATTEST),
    signer(
        "cosign 2 attest-blob, Rekor v1",
        Cosign2,
        Statement,
        Person,
        "attest-blob --yes --new-bundle-format --trusted-root {trusted_root} \
            --signing-config {signing_config_v1} --predicate {predicate} \
            --type https://slsa.dev/provenance/v1 --bundle {bundle} {artifact}",
    ),
    signer("python", SigstorePython, Blob, Person, PYTHON_SIGN),
    signer("python, Rekor v1", SigstorePython, Blob, Person, python_rekor!("1")),
    signer("python, Rekor v2", SigstorePython, Blob, Person, python_rekor!("2")),
    signer("python, workflow", SigstorePython, Blob, Workflow, PYTHON_SIGN),
    signer("python attest", SigstorePython, Statement, Person, PYTHON_ATTEST),
    signer("python attest, workflow", SigstorePython, Statement, Workflow, PYTHON_ATTEST),
    signer(
        "python attest, Rekor v1",
        SigstorePython,
        Statement,
        Person,
        "--instance {origin}/tuf attest --rekor-version 1 --identity-token {token} \
            --predicate {predicate} --predicate-type https://slsa.dev/provenance/v1 --bundle {bundle} \
            {artifact}",
    ),
    signer("js", SigstoreJsLibrary, Blob, Person, JS_SIGN),
    signer("js, workflow", SigstoreJsLibrary, Blob, Workflow, JS_SIGN),
    signer(
        "js, Rekor v1",
        SigstoreJsLibrary,
        Blob,
        Person,
        "{sign_js} messageSignature {signing_config_v1} {bundle} {artifact}",
    ),
    // What it sends is a dsseRequestV002.
    signer("js statement", SigstoreJsLibrary, Statement, Person, JS_STATEMENT),
    signer(
        "js statement, Rekor v1",
        SigstoreJsLibrary,
        Statement,
        Person,
        "{sign_js} dsseEnvelope {signing_config_v1} {bundle} {statement}",
    ),
    // Rekor v1, intoto 0.0.2.
    signer("js attest", SigstoreJs, Statement, Person, JS_ATTEST),
    signer(
        "js attest, timestamp",
        SigstoreJs,
        Statement,
        Workflow,
        "attest {statement} --fulcio-url {origin} --rekor-url {origin} --tsa-server-url {origin} -o {bundle}",
    ),
    signer("waxseal", Waxseal, Blob, Person, OUR_SIGN),
    signer("waxseal, workflow", Waxseal, Blob, Workflow, OUR_SIGN),
    signer(
        "waxseal, files",
        Waxseal,
        Blob,
        Person,
        "sign-blob --trusted-root {trusted_root} --signing-config {signing_config} \
            --identity-token {token} --bundle {bundle} {artifact}",
    ),
    signer("waxseal, P-384", Waxseal, Blob, Person, waxseal_with!("ecdsa-sha2-384-nistp384")),
    signer("waxseal, P-521", Waxseal, Blob, Person, waxseal_with!("ecdsa-sha2-512-nistp521")),
    signer("waxseal, RSA 3072", Waxseal, Blob, Person, waxseal_with!("rsa-sign-pkcs1-3072-sha256")),
    signer(
        "waxseal conformance",
        Waxseal,
        Blob,
        Person,
        "conformance sign-bundle --identity-token {token} --bundle {bundle} \
            --trusted-root {trusted_root} --signing-config {signing_config} {artifact}",
    ),
    signer(
        "waxseal attest-blob",
        Waxseal,
        Statement,
        Person,
        "attest-blob --instance {origin} --identity-token {token} --predicate {predicate} --type slsaprovenance1 \
            --bundle {bundle} {artifact}",
    ),
    signer(
        "waxseal attest-blob, Rekor v1",
        Waxseal,
        Statement,
        Person,
        "attest-blob --trusted-root {trusted_root} --signing-config {signing_config_v1} --identity-token {token} \
            --predicate {predicate} --type slsaprovenance1 --bundle {bundle} {artifact}",
    ),
    signer("waxseal statement", Waxseal, Statement, Person, OUR_STATEMENT),
    signer("waxseal statement, workflow", Waxseal, Statement, Workflow, OUR_STATEMENT),
];

/// The signers of the second run, one for each client and kind of entry: what a log keeps makes no difference to what is
/// in a bundle, and the whole table twice would take twice as long.
const CHOSEN: &[&str] = &[
    "cosign",
    "cosign, Rekor v1",
    "cosign attest-blob",
    "cosign 2, Rekor v1",
    "cosign 2 attest-blob",
    "python, Rekor v1",
    "python, Rekor v2",
    "js",
    "js attest, timestamp",
    "waxseal",
    "waxseal statement",
];

impl Signer {
    pub(crate) fn is_chosen(&self) -> bool {
        CHOSEN.contains(&self.name)
    }
}

/// A way to verify a bundle; `None` where it has no command for that content.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub name: &'static str,
    pub program: Program,
    pub blob: Option<Words>,
    pub statement: Option<Words>,
}

impl Verifier {
    pub(crate) const fn words(&self, content: Content) -> Option<Words> {
        match content {
            Blob => self.blob,
            Statement => self.statement,
        }
    }
}

const OUR_CONFORMANCE: Words = "conformance verify-bundle --bundle {bundle} \
    --certificate-identity {identity} --certificate-oidc-issuer {issuer} \
    --trusted-root {trusted_root} {artifact}";
const PYTHON_VERIFY: Words = "--instance {origin}/tuf verify identity --bundle {bundle} \
    --cert-identity {identity} --cert-oidc-issuer {issuer} {artifact}";

/// The columns of the table.
pub(crate) const VERIFIERS: &[Verifier] = &[
    Verifier {
        name: "waxseal",
        program: Waxseal,
        blob: Some(
            "verify-blob --instance {origin} --bundle {bundle} --certificate-identity {identity} \
                --certificate-oidc-issuer {issuer} {artifact}",
        ),
        statement: Some(
            "verify-blob-attestation --instance {origin} --bundle {bundle} --type slsaprovenance1 \
                --certificate-identity {identity} --certificate-oidc-issuer {issuer} {artifact}",
        ),
    },
    Verifier {
        name: "waxseal, file",
        program: Waxseal,
        blob: Some(
            "verify-blob --trusted-root {trusted_root} --bundle {bundle} \
                --certificate-identity {identity} --certificate-oidc-issuer {issuer} {artifact}",
        ),
        statement: None,
    },
    Verifier {
        name: "waxseal conformance",
        program: Waxseal,
        blob: Some(OUR_CONFORMANCE),
        statement: Some(OUR_CONFORMANCE),
    },
    Verifier {
        name: "cosign",
        program: Cosign,
        blob: Some(
            "verify-blob --bundle {bundle} --certificate-identity {identity} \
                --certificate-oidc-issuer {issuer} {artifact}",
        ),
        statement: Some(
            "verify-blob-attestation --bundle {bundle} --certificate-identity {identity} \
                --certificate-oidc-issuer {issuer} --type https://slsa.dev/provenance/v1 \
                {artifact}",
        ),
    },
    Verifier {
        name: "cosign, file",
        program: Cosign,
        blob: Some(
            "verify-blob --trusted-root {trusted_root} --bundle {bundle} \
                --certificate-identity {identity} --certificate-oidc-issuer {issuer} {artifact}",
        ),
        statement: Some(
            "verify-blob-attestation --trusted-root {trusted_root} --bundle {bundle} \
                --certificate-identity {identity} --certificate-oidc-issuer {issuer} \
                --type https://slsa.dev/provenance/v1 {artifact}",
        ),
    },
    Verifier {
        name: "cosign 2",
        program: Cosign2,
        blob: Some(
            "verify-blob --new-bundle-format --use-signed-timestamps --bundle {bundle} \
                --certificate-identity {identity} --certificate-oidc-issuer {issuer} {artifact}",
        ),
        statement: Some(
            "verify-blob-attestation --new-bundle-format --use-signed-timestamps --bundle {bundle} \
                --certificate-identity {identity} --certificate-oidc-issuer {issuer} \
                --type https://slsa.dev/provenance/v1 {artifact}",
        ),
    },
    Verifier { name: "python", program: SigstorePython, blob: Some(PYTHON_VERIFY), statement: Some(PYTHON_VERIFY) },
    Verifier {
        name: "js",
        program: SigstoreJs,
        blob: Some(
            "verify {bundle} --blob-file {artifact} --tuf-mirror-url {origin}/tuf \
                --tuf-root-path {root} --tuf-cache-path {cache} \
                --certificate-identity-{kind} {identity} --certificate-issuer {issuer}",
        ),
        statement: Some(
            "verify {bundle} --tuf-mirror-url {origin}/tuf --tuf-root-path {root} \
                --tuf-cache-path {cache} --certificate-identity-{kind} {identity} \
                --certificate-issuer {issuer}",
        ),
    },
];

/// What a verifier is not asked, because it is known not to be able to.
#[derive(Debug)]
struct Unable {
    verifier: &'static str,
    /// The signer's name.
    signer: Option<&'static str>,
    content: Option<Content>,
    change: Option<Change>,
    why: &'static str,
}

const fn cannot_read(verifier: &'static str, signer: &'static str, why: &'static str) -> Unable {
    Unable { verifier, signer: Some(signer), content: None, change: None, why }
}

const UNABLE: &[Unable] = &[
    cannot_read("python", "cosign, P-384", "compares a SHA-256 digest with one of SHA-384"),
    cannot_read("python", "cosign, P-521", "compares a SHA-256 digest with one of SHA-512"),
    cannot_read("python", "cosign, RSA 2048", "takes leaf keys to be ECDSA"),
    cannot_read("python", "cosign, RSA 4096", "takes leaf keys to be ECDSA"),
    cannot_read("python", "waxseal, P-384", "compares a SHA-256 digest with one of SHA-384"),
    cannot_read("python", "waxseal, P-521", "compares a SHA-256 digest with one of SHA-512"),
    cannot_read("python", "waxseal, RSA 3072", "takes leaf keys to be ECDSA"),
    cannot_read("python", "cosign attest-blob", "reads Statement v1 only; cosign writes v0.1"),
    cannot_read("python", "cosign attest-blob, Rekor v1", "reads Statement v1 only; cosign writes v0.1"),
    cannot_read("python", "cosign 2 attest-blob", "reads Statement v1 only; cosign writes v0.1"),
    cannot_read("python", "cosign 2 attest-blob, Rekor v1", "reads Statement v1 only; cosign writes v0.1"),
    cannot_read("python", "js attest", "takes the time of an entry from hashedrekord and dsse alone"),
    cannot_read("python", "js attest, timestamp", "takes no entries of kind intoto"),
    cannot_read("cosign 2", "cosign, Rekor v1 by URL", "is told to demand a timestamp, and there is none"),
    cannot_read("cosign 2", "js attest", "is told to demand a timestamp, and there is none"),
    Unable {
        verifier: "js",
        signer: None,
        content: Some(Statement),
        change: Some(Change::Artifact),
        why: "leaves a statement's subject to its caller",
    },
];

/// Why `verifier` is not asked about a bundle of `signer` with `change`.
pub(crate) fn unable(verifier: &Verifier, signer: &Signer, change: Change) -> Option<&'static str> {
    UNABLE
        .iter()
        .find(|row| {
            row.verifier == verifier.name
                && row.signer.is_none_or(|name| name == signer.name)
                && row.content.is_none_or(|content| content == signer.content)
                && row.change.is_none_or(|found| found == change)
        })
        .map(|row| row.why)
}

/// What a verifier says when it refuses a change: an exit status alone proves little, since a verifier that could not
/// read its own trust material has the same. Several where it depends on the kind of key, or on which of two true
/// reasons it meets first: the timestamp and the log entry are about the signature as it was.
const REASONS: &[(Program, Change, &[&str])] = &[
    (
        Waxseal,
        Change::Artifact,
        &["error[signature.digest-mismatch]", "error[signature.invalid]", "error[statement.subject]"],
    ),
    (
        Waxseal,
        Change::Signature,
        &["error[signature.invalid]", "error[time.token-mismatch]", "error[log.entry-mismatch]"],
    ),
    (Waxseal, Change::Identity, &["error[certificate.identity]"]),
    (
        Cosign,
        Change::Artifact,
        &["could not verify message", "provided artifact digests do not match digests in statement"],
    ),
    (Cosign, Change::Signature, &["failed to verify log inclusion"]),
    (Cosign, Change::Identity, &["no matching CertificateIdentity found"]),
    (
        Cosign2,
        Change::Artifact,
        &["could not verify message", "provided artifact digest does not match any digest in statement"],
    ),
    (Cosign2, Change::Signature, &["failed to verify log inclusion"]),
    (Cosign2, Change::Identity, &["no matching CertificateIdentity found"]),
    (SigstorePython, Change::Artifact, &["Bundle message digest mismatch", "in-toto statement has no subject"]),
    (
        SigstorePython,
        Change::Signature,
        &["not enough sources of verified time", "Signature is invalid for input", "DSSE: invalid signature"],
    ),
    (SigstorePython, Change::Identity, &["Certificate's SANs do not match"]),
    (SigstoreJs, Change::Artifact, &["signature verification failed"]),
    (SigstoreJs, Change::Signature, &["timestamp could not be verified", "signature mismatch"]),
    (SigstoreJs, Change::Identity, &["certificate identity error"]),
];

/// What `program` may say when it refuses `change`; nothing when it has no business refusing.
pub(crate) fn reasons(program: Program, change: Change) -> &'static [&'static str] {
    REASONS.iter().find(|(of, about, _)| *of == program && *about == change).map_or(&[], |(.., reasons)| reasons)
}

#[cfg(test)]
mod tests;
