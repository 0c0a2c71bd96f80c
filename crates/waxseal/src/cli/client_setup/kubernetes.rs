//! Admission controllers: what they are to trust, and an example of a policy.

use super::{Fetched, Setup};
use crate::cli::Failure;
use waxseal_formats::json::encode_base64;
use waxseal_formats::x509::Certificate;

/// policy-controller: a TrustRoot that follows the instance's TUF repository, and a ClusterImagePolicy.
pub(super) fn policy_controller(setup: &Setup<'_>, fetched: &Fetched) -> String {
    let Setup { instance, .. } = setup;
    let (identity, issuer) = (yaml(setup.identity), yaml(&setup.issuer));
    let root = encode_base64(&fetched.root);
    let (instance, mirror) = (yaml(instance), yaml(&format!("{instance}/tuf")));
    format!(
        r#"apiVersion: policy.sigstore.dev/v1alpha1
kind: TrustRoot
metadata: {{name: waxseal}}
spec:
  remote:
    mirror: {mirror}
    root: {root}
---
# Namespaces take part with the label policy.sigstore.dev/include=true.
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {{name: signed-by-us}}
spec:
  images: [{{glob: "registry.example/**"}}]
  authorities:
    - name: waxseal
      # The format of cosign 3.
      signatureFormat: bundle
      keyless:
        url: {instance}
        trustRootRef: waxseal
        identities: [{{issuer: {issuer}, subject: {identity}}}]
      rfc3161timestamp: {{trustRootRef: waxseal}}
"#
    )
}

/// Kyverno: a ClusterPolicy with the instance's keys in it.
///
/// # Errors
/// `trusted-root.malformed` if a log's key is missing: without it nothing would be checked.
pub(super) fn kyverno(setup: &Setup<'_>, fetched: &Fetched) -> Result<String, Failure> {
    let (identity, issuer, instance) = (yaml(setup.identity), yaml(&setup.issuer), yaml(setup.instance));
    let root = &fetched.trusted_root;
    let pem = |text: String| block(&text, 20);
    let roots: String = root
        .certificate_authorities
        .iter()
        .flat_map(|authority| authority.chain.iter().map(Certificate::to_pem))
        .collect();
    let (rekor, ct) = setup.log_keys(root)?;
    let (roots, rekor, ct) = (pem(roots), pem(rekor), pem(ct));
    Ok(format!(
        r#"apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {{name: signed-by-us}}
spec:
  webhookConfiguration: {{failurePolicy: Fail, timeoutSeconds: 30}}
  rules:
    - name: signed-by-us
      match: {{any: [{{resources: {{kinds: [Pod]}}}}]}}
      verifyImages:
        - imageReferences: ["registry.example/*"]
          failureAction: Enforce
          attestors:
            - entries:
                - keyless:
                    subject: {identity}
                    issuer: {issuer}
                    roots: |-
{roots}
                    rekor:
                      url: {instance}
                      pubkey: |-
{rekor}
                    ctlog:
                      pubkey: |-
{ct}
"#
    ))
}

/// A text as YAML has it, whatever is in it: JSON is YAML.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn block(text: &str, indent: usize) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(|line| format!("{}{line}", " ".repeat(indent + 4))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{kyverno, policy_controller};
    use crate::cli::client_setup::{Fetched, Setup};
    use serde_json::Value;
    use waxseal_formats::client_config::{ClientConfig, Privacy};
    use waxseal_formats::code::Code;
    use waxseal_formats::trusted_root::TrustedRoot;

    fn setup() -> (Setup<'static>, Fetched) {
        let setup = Setup {
            instance: "https://sign.corp.example",
            root_sha256: "ab12",
            identity: "https://github.com/acme/app/.github/workflows/x.yml@refs/heads/\"main\"",
            issuer: "https://token.actions.githubusercontent.com".to_owned(),
            client_id: "sigstore".to_owned(),
            audience: "sigstore".to_owned(),
            demo: false,
        };
        let root = waxseal_testkit::vectors().map(|vectors| vectors.read("private-instance/trusted_root.json"));
        let trusted_root = root.and_then(|root| TrustedRoot::from_json(&root).ok()).unwrap_or_default();
        let client = ClientConfig {
            oidc_issuer: String::new(),
            client_id: "sigstore".into(),
            audience: "sigstore".into(),
            privacy: Privacy::Sealed,
        };
        (setup, Fetched { root: b"{}".to_vec(), client, trusted_root })
    }

    #[test]
    fn without_the_key_of_a_log_there_is_no_policy() {
        let (setup, mut fetched) = setup();
        fetched.trusted_root = TrustedRoot::default();
        assert_eq!(kyverno(&setup, &fetched).expect_err("refused").code, Code::TRUSTED_ROOT_MALFORMED);
    }

    #[test]
    fn the_documents_are_yaml_and_no_identity_breaks_them() {
        let (setup, fetched) = setup();
        let documents = policy_controller(&setup, &fetched);
        let (root, policy) = documents.split_once("---\n").expect("two documents");
        let root: Value = serde_saphyr::from_str(root).expect("YAML");
        assert_eq!((&root["kind"], &root["spec"]["remote"]["root"]), (&"TrustRoot".into(), &"e30=".into()));
        let policy: Value = serde_saphyr::from_str(policy).expect("YAML");
        assert_eq!(policy["spec"]["authorities"][0]["keyless"]["identities"][0]["subject"], setup.identity);
        if fetched.trusted_root.tlogs.is_empty() {
            return;
        }
        let policy = kyverno(&setup, &fetched).expect("keys of all logs");
        let policy: Value = serde_saphyr::from_str(&policy).expect("YAML");
        let keyless = &policy["spec"]["rules"][0]["verifyImages"][0]["attestors"][0]["entries"][0]["keyless"];
        assert_eq!((&keyless["subject"], &keyless["issuer"]), (&setup.identity.into(), &setup.issuer.clone().into()));
    }
}
