//! Our own client.

use super::{Setup, Step, quoted, token};

pub(super) fn steps(setup: &Setup<'_>) -> Vec<Step> {
    let Setup { instance, root_sha256, .. } = setup;
    let (identity, issuer) = (quoted(setup.identity), quoted(&setup.issuer));
    vec![
        Step {
            about: "Once: pin the instance by its root.",
            command: format!("waxseal trust add {instance} --root-sha256 {root_sha256}"),
        },
        token(setup),
        Step {
            about: "Sign a file.",
            command: format!(
                "waxseal sign-blob --instance {instance} --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact"
            ),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "waxseal verify-blob --instance {instance} --bundle artifact.sigstore.json --certificate-identity {identity} --certificate-oidc-issuer {issuer} artifact"
            ),
        },
    ]
}
