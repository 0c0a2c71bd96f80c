//! sigstore-python 4.

use super::{Setup, Step, fetch_root, quoted, token};

/// sigstore-python wants the root as a file.
pub(super) fn steps(setup: &Setup<'_>) -> Vec<Step> {
    let Setup { instance, .. } = setup;
    let (identity, issuer) = (quoted(setup.identity), quoted(&setup.issuer));
    vec![
        fetch_root(setup),
        Step {
            about: "Once: pin the instance by it.",
            command: format!("sigstore --instance {instance}/tuf trust-instance root.json"),
        },
        token(setup),
        Step {
            about: "Sign a file.",
            command: format!(
                "sigstore --instance {instance}/tuf sign --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact"
            ),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "sigstore --instance {instance}/tuf verify identity --bundle artifact.sigstore.json --cert-identity {identity} --cert-oidc-issuer {issuer} artifact"
            ),
        },
    ]
}
