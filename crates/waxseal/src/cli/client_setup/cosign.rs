//! cosign, which takes services and keys from the instance's TUF repository: no line names a service.

use super::{Setup, Step, quoted, token};

/// cosign 3.
pub(super) fn steps(setup: &Setup<'_>) -> Vec<Step> {
    with_flags(setup, "", "")
}

/// cosign 2, with the flags that make it write and read the bundles of today.
pub(super) fn steps_of_version_2(setup: &Setup<'_>) -> Vec<Step> {
    with_flags(setup, "--new-bundle-format --use-signing-config ", "--new-bundle-format --use-signed-timestamps ")
}

fn with_flags(setup: &Setup<'_>, sign: &str, verify: &str) -> Vec<Step> {
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
            command: format!(
                "cosign sign-blob --yes {sign}--identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact"
            ),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "cosign verify-blob {verify}--bundle artifact.sigstore.json --certificate-identity {identity} --certificate-oidc-issuer {issuer} artifact"
            ),
        },
    ]
}
