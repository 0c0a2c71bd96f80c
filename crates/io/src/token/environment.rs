//! A token that somebody else has put into the environment, as every Sigstore client accepts it.

use super::AmbientSource;

const VARIABLE: &str = "SIGSTORE_ID_TOKEN";

/// Always a token, never the name of a file.
pub(super) const SOURCE: AmbientSource = AmbientSource {
    id: "envvar",
    name: VARIABLE,
    about: "the environment variable SIGSTORE_ID_TOKEN",
    detect: |variables| variables(VARIABLE).is_some(),
    fetch: |variables, _, _| {
        let token = variables(VARIABLE).unwrap_or_default().trim().to_owned();
        Box::pin(async move { Ok(token) })
    },
};
