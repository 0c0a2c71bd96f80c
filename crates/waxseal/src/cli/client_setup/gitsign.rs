//! gitsign, offline with Rekor v1: the one combination that verifies what it signs, whatever the logs keep.
//!
//! It cannot be pointed at a private instance through TUF: signing and verifying read an old client's cache. So the keys come as
//! files, named in the environment.

use super::{Fetched, Setup, Step, quoted};
use crate::cli::Failure;
use std::path::Path;
use waxseal_formats::x509::Certificate;
use waxseal_io::file;

/// The files beside each other.
const CHAIN: &str = "fulcio.pem";
const REKOR: &str = "rekor.pub";
const CT: &str = "ctfe.pub";
const ENVIRONMENT: &str = "gitsign.env";

/// Writes the keys and the environment into `directory`, an absolute path.
pub(super) fn write(setup: &Setup<'_>, fetched: &Fetched, directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, &error))?;
    let root = &fetched.trusted_root;
    // The newest: what signs now.
    let chain = root.certificate_authorities.last().ok_or_else(|| setup.missing("certificate authority"))?;
    let (rekor, ct) = setup.log_keys(root)?;
    let chain: String = chain.chain.iter().map(Certificate::to_pem).collect();
    let environment = environment(setup, directory);
    for (name, text) in [(CHAIN, chain), (REKOR, rekor), (CT, ct), (ENVIRONMENT, environment)] {
        let path = directory.join(name);
        file::replace(&path, text.as_bytes()).map_err(|error| Failure::file(&path, &error))?;
    }
    Ok(())
}

fn environment(setup: &Setup<'_>, directory: &Path) -> String {
    let Setup { instance, issuer, client_id, .. } = setup;
    let path = |name: &str| directory.join(name).display().to_string();
    let variables = [
        ("GITSIGN_FULCIO_URL", (*instance).to_owned()),
        ("GITSIGN_REKOR_URL", (*instance).to_owned()),
        ("GITSIGN_REKOR_VERSION", "1".to_owned()),
        ("GITSIGN_REKOR_MODE", "offline".to_owned()),
        ("GITSIGN_OIDC_ISSUER", issuer.clone()),
        ("GITSIGN_OIDC_CLIENT_ID", client_id.clone()),
        ("SIGSTORE_ROOT_FILE", path(CHAIN)),
        ("SIGSTORE_REKOR_PUBLIC_KEY", path(REKOR)),
        ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", path(CT)),
    ];
    variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

pub(super) fn steps(setup: &Setup<'_>, directory: &Path) -> Vec<Step> {
    let (identity, issuer) = (quoted(setup.identity), quoted(&setup.issuer));
    let environment = quoted(&directory.join(ENVIRONMENT).display().to_string());
    vec![
        Step { about: "In every shell that signs or verifies, such as from ~/.profile.", command: format!(". {environment}") },
        Step {
            about: "Once for each repository: sign with gitsign.",
            command: "git config gpg.format x509\ngit config gpg.x509.program gitsign\ngit config commit.gpgsign true\ngit config tag.gpgsign true"
                .to_owned(),
        },
        Step { about: "Sign a commit. It opens a browser unless SIGSTORE_ID_TOKEN has a token.", command: "git commit".to_owned() },
        Step {
            about: "Verify it.",
            command: format!("gitsign verify --certificate-identity={identity} --certificate-oidc-issuer={issuer} HEAD"),
        },
    ]
}
