//! cosign 3.

use super::{Setup, Step, quoted, token};

/// cosign 3 takes services and keys from the instance's TUF repository, so no line names a service.
pub(super) fn steps(setup: &Setup<'_>) -> Vec<Step> {
    let Setup { instance, root_sha256, .. } = setup;
    let (identity, issuer) = (quoted(setup.identity), quoted(&setup.issuer));
    vec![
        Step {
            about: "Once: pin the instance by its root.",
            command: format!(
                "cosign initialize --mirror {instance}/tuf --root {instance}/tuf/1.root.json --root-checksum {root_sha256}"
            ),
        },
        token(setup),
        Step {
            about: "Sign a file.",
            command: "cosign sign-blob --yes --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact"
                .to_owned(),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "cosign verify-blob --bundle artifact.sigstore.json --certificate-identity {identity} --certificate-oidc-issuer {issuer} artifact"
            ),
        },
    ]
}
