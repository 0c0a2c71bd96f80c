//! Where the keys of the issuers in a rules file come from, with the files that the rules name read.
//!
//! A file that cannot be used is the fault of its issuer alone: tokens of that one are refused with the reason, everybody
//! else signs.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use waxseal_authority::rules::{AcceptedIssuer, CaSource, KeySource, Rules};
use waxseal_formats::jwt::{JwkSet, MAX_KEY_SET_LEN};
use waxseal_io::file;
use waxseal_io::jwks::{Discovery, IssuerHealth, Jwks, Source, Sources};

/// The sources of all issuers of these rules. Paths are relative to the rules file, if there is one. Blocks.
#[must_use]
pub fn sources(rules: &Rules, rules_file: Option<&Path>) -> Sources {
    let mut sources = Sources::new();
    for accepted in rules.issuers() {
        let Some(source) = source(accepted, rules_file) else { continue };
        if let Source::Unusable(reason) = &source {
            tracing::warn!(issuer = accepted.issuer().url(), reason, "tokens of this issuer are refused");
        }
        match accepted.pattern() {
            Some(pattern) => sources.pattern(pattern.clone(), source),
            None => sources.issuer(accepted.issuer().url(), source),
        }
    }
    sources
}

/// What is known of the issuers' keys, for `/readyz`. An issuer that cannot be asked is its own fault: the instance is ready.
#[must_use]
pub fn health(jwks: &Jwks) -> Value {
    let one = |health: IssuerHealth| (health.issuer, json!({"keys": health.keys, "failure": health.failure}));
    Value::Object(jwks.health().into_iter().map(one).collect())
}

/// The files that [`sources`] reads: whoever changes one wants it read again.
#[must_use]
pub fn files(rules: &Rules, rules_file: Option<&Path>) -> Vec<PathBuf> {
    rules.issuers().filter_map(|accepted| accepted.keys().file()).map(|path| beside(rules_file, path)).collect()
}

/// None for an issuer in this process.
fn source(accepted: &AcceptedIssuer, rules_file: Option<&Path>) -> Option<Source> {
    let source = match accepted.keys() {
        KeySource::Own => return None,
        KeySource::Static(keys) => Ok(Source::Static(Arc::new(keys.clone()))),
        KeySource::File(path) => key_set(&beside(rules_file, path)).map(Arc::new).map(Source::Static),
        KeySource::Discovery { ca, token_file } => {
            let authorities = match ca {
                None => Ok(None),
                Some(CaSource::Inline(pem)) => Ok(Some(Arc::from(pem.as_str()))),
                Some(CaSource::File(path)) => authorities(&beside(rules_file, path)).map(Some),
            };
            authorities.map(|authorities| {
                Source::Discovery(Discovery {
                    aliases: accepted.issuer().aliases().to_vec(),
                    authorities,
                    token_file: token_file.as_ref().map(|path| beside(rules_file, path)),
                })
            })
        }
    };
    Some(source.unwrap_or_else(Source::Unusable))
}

fn key_set(path: &Path) -> Result<JwkSet, String> {
    let shown = path.display();
    let keys = JwkSet::from_json(&contents(path, MAX_KEY_SET_LEN)?);
    let keys = keys.map_err(|error| format!("its key file {shown} is no JSON Web Key Set: {error}"))?;
    if keys.keys().is_empty() {
        return Err(format!("its key file {shown} has no key that can verify a signature"));
    }
    Ok(keys)
}

fn authorities(path: &Path) -> Result<Arc<str>, String> {
    let shown = path.display();
    let pem = String::from_utf8(contents(path, CaSource::MAX_LEN)?);
    let pem = pem.map_err(|_| format!("its `ca_file` {shown} is no PEM of certificates"))?;
    CaSource::check(&pem).map_err(|error| format!("its `ca_file` {shown} is {error}"))?;
    Ok(pem.into())
}

fn contents(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    match file::read(path, max) {
        Ok(Some(contents)) => Ok(contents),
        Ok(None) => Err(format!("its file {} is not there", path.display())),
        Err(error) => Err(format!("its file {} cannot be read: {error}", path.display())),
    }
}

fn beside(rules_file: Option<&Path>, path: &Path) -> PathBuf {
    rules_file.and_then(Path::parent).map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

#[cfg(test)]
mod tests {
    use super::{files, sources};
    use crate::server::writers::tests::authority;
    use serde_json::json;
    use std::sync::Arc;
    use waxseal_authority::rules::Rules;
    use waxseal_formats::code::Code;
    use waxseal_formats::x509::Certificate;
    use waxseal_io::jwks::Jwks;
    use waxseal_io::transport::replay::Replay;

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"a"}]}"#;
    const RULES: &str = "
issuers:
  - {issuer: 'https://given.example', type: email, jwks_file: keys.json}
  - {issuer: 'https://missing.example', type: email, jwks_file: missing.json}
  - {issuer: 'https://empty.example', type: email, jwks_file: empty.json}
  - {issuer: 'https://private.example', type: email, ca_file: ca.pem}
  - {issuer_pattern: 'https://*.corp.example', type: email, ca_file: none.pem}
  - {issuer: 'https://plain.example', type: email, token_file: /nowhere}
rules: []
";

    #[tokio::test]
    async fn files_are_read_beside_the_rules_and_a_broken_one_is_its_issuers_fault_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let rules_file = folder.path().join("rules.yaml");
        let pem: String = authority().1.chain().iter().map(Certificate::to_pem).collect();
        for (name, contents) in [("keys.json", KEYS), ("empty.json", r#"{"keys":[]}"#), ("ca.pem", pem.as_str())] {
            std::fs::write(folder.path().join(name), contents).expect("written");
        }
        let rules = Rules::from_yaml(RULES, &[]).expect("rules");
        let watched = files(&rules, Some(&rules_file));
        let named = ["empty.json", "keys.json", "missing.json", "ca.pem", "none.pem"];
        assert_eq!(watched, named.map(|name| folder.path().join(name)));

        let replay = Arc::new(Replay::new());
        let discovery = json!({"issuer": "https://private.example", "jwks_uri": "https://private.example/keys"});
        replay.answer("GET", "https://private.example/.well-known/openid-configuration", 200, discovery.to_string());
        replay.answer("GET", "https://private.example/keys", 200, KEYS);
        let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, []);
        jwks.replace_sources(sources(&rules, Some(&rules_file)));
        for issuer in ["https://given.example", "https://private.example"] {
            assert_eq!(jwks.keys(issuer, Some("a")).await.expect(issuer).keys().len(), 1);
        }
        assert!(replay.asked().iter().all(|request| request.authorities() == Some(pem.as_str())));
        for (issuer, file) in [
            ("https://missing.example", "missing.json is not there"),
            ("https://empty.example", "empty.json has no key"),
            ("https://a.corp.example", "none.pem is not there"),
            ("https://plain.example", "/nowhere cannot be read"),
        ] {
            let error = jwks.keys(issuer, None).await.expect_err(issuer);
            assert_eq!(error.code(), Code::TOKEN_ISSUER);
            assert!(error.to_string().contains(file), "{error}");
        }
        let broken: Vec<_> = jwks.health().into_iter().filter(|one| one.failure.is_some()).collect();
        assert_eq!(broken.len(), 4);

        std::fs::write(folder.path().join("missing.json"), KEYS).expect("written");
        jwks.replace_sources(sources(&rules, Some(&rules_file)));
        assert!(jwks.keys("https://missing.example", None).await.is_ok(), "mended and read again");
    }
}
