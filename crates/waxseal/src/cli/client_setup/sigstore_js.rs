//! sigstore-js, by its command line.

use super::{Setup, Step, fetch_root, quoted, token};

pub(super) fn steps(setup: &Setup<'_>) -> Vec<Step> {
    let Setup { instance, .. } = setup;
    let (identity, issuer) = (quoted(setup.identity), quoted(&setup.issuer));
    let kind = if setup.identity.contains("://") { "uri" } else { "email" };
    let statement = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"artifact","digest":{"sha256":"%s"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}"#;
    vec![
        fetch_root(setup),
        Step {
            about: "Once: pin the instance by it.",
            command: format!("sigstore init --mirror {instance}/tuf --root root.json --cache-path ./tuf-cache"),
        },
        token(setup),
        Step {
            about: "Make a statement about a file, and sign it. Without CI in the environment it would log in at the public instance.",
            command: format!(
                "printf '{statement}' \"$(sha256sum artifact | cut -d' ' -f1)\" > statement.json\nCI=1 SIGSTORE_ID_TOKEN=$TOKEN sigstore attest statement.json --fulcio-url {instance} --rekor-url {instance} --tsa-server-url {instance} -o artifact.sigstore.json"
            ),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "sigstore verify artifact.sigstore.json --tuf-mirror-url {instance}/tuf --tuf-root-path root.json --tuf-cache-path ./tuf-cache --certificate-identity-{kind} {identity} --certificate-issuer {issuer}"
            ),
        },
    ]
}
