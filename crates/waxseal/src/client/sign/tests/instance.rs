//! A whole instance in memory: certificate authority, CT log, timestamp authority and a log of one entry, out of the same
//! engines that serve it over HTTP.

use super::{OneEntryLog, url};
use crate::client::sign::Services;
use serde_json::{Value, json};
use waxseal_authority::ca::{self, CaIssuer, Issuance, SubordinateKind};
use waxseal_authority::challenge::verify_public_key_proof;
use waxseal_authority::oidc::UnverifiedToken;
use waxseal_authority::rules::Rules;
use waxseal_authority::tsa::TimestampAuthority;
use waxseal_formats::crypto::{KeyDetails, KeyKind, PublicKey, Secret};
use waxseal_formats::json::decode_base64;
use waxseal_formats::jwt::{self, Jwk, JwkMaterial, JwkSet};
use waxseal_formats::sct::{SignedCertificateTimestamp, signed_input};
use waxseal_formats::trusted_root::{CertificateAuthority, TransparencyLog, TrustedRoot, Validity};
use waxseal_formats::tsp::TimeStampReq;
use waxseal_formats::x509::{Certificate, DistinguishedName};
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;
use waxseal_io::transport::{Pending, Request, Response, Transport};

const ISSUER: &str = "https://idp.example";

pub(super) struct Instance {
    issuer: (KeyPair, CaIssuer),
    tsa: (KeyPair, TimestampAuthority),
    ct_log: KeyPair,
    idp: KeyPair,
    log: OneEntryLog,
}

fn key(kind: KeyKind) -> KeyPair {
    KeyPair::generate(kind).expect("key")
}

fn authority(kind: SubordinateKind) -> (KeyPair, Vec<Certificate>) {
    let name = |name: &str| DistinguishedName { organization: "corp.example".into(), common_name: name.into() };
    let (root_key, issuing_key) = (key(KeyKind::EcdsaP256), key(KeyKind::EcdsaP256));
    let unsigned = ca::root(&name("root"), root_key.public_key(), system::random(), system::now()).expect("root");
    let root = unsigned.finish(&root_key.sign(unsigned.message()).expect("signature")).expect("root");
    let unsigned =
        ca::subordinate(kind, &name("issuing"), issuing_key.public_key(), &root, system::random(), system::now())
            .expect("certificate");
    let issuing = unsigned.finish(&root_key.sign(unsigned.message()).expect("signature")).expect("certificate");
    (issuing_key, vec![issuing, root])
}

impl Instance {
    pub(super) fn new() -> Self {
        let (issuing_key, chain) = authority(SubordinateKind::FulcioIntermediate);
        let (stamping_key, stamping_chain) = authority(SubordinateKind::TimestampSigner);
        Self {
            issuer: (issuing_key, CaIssuer::new(chain).expect("authority")),
            tsa: (stamping_key, TimestampAuthority::new(stamping_chain).expect("authority")),
            ct_log: key(KeyKind::EcdsaP256),
            idp: key(KeyKind::Ed25519),
            log: OneEntryLog::new(|_| ()),
        }
    }

    pub(super) fn services() -> Services {
        Services {
            rekor_v1: Vec::new(),
            fulcio: Some(url("http://sign.example")),
            timestamp_authorities: vec![url("http://sign.example/api/v1/timestamp")],
            logs: vec![url("http://sign.example")],
        }
    }

    pub(super) fn root(&self) -> TrustedRoot {
        let valid_for = Validity::from("2020-01-01T00:00:00Z".parse().expect("time"));
        let authority = |chain: &[Certificate]| CertificateAuthority {
            uri: "http://sign.example".into(),
            organization: "corp.example".into(),
            common_name: "issuing".into(),
            chain: chain.to_vec(),
            valid_for,
            operator: None,
        };
        let ct_log = TransparencyLog {
            base_url: "http://sign.example/ctlog".into(),
            public_key: self.ct_log.public_key().clone(),
            key_details: KeyDetails::PkixEcdsaP256Sha256,
            valid_for,
            log_id: self.ct_log.public_key().spki_sha256().to_vec(),
            checkpoint_key_id: None,
            operator: None,
        };
        TrustedRoot {
            ctlogs: vec![ct_log],
            certificate_authorities: vec![authority(self.issuer.1.chain())],
            timestamp_authorities: vec![authority(self.tsa.1.chain())],
            ..self.log.root()
        }
    }

    pub(super) fn token(&self, email: &str) -> Secret<String> {
        let now = system::now().as_second();
        let claims = json!({
            "iss": ISSUER, "sub": "1", "aud": "sigstore", "iat": now, "exp": now + 600,
            "email": email, "email_verified": true,
        });
        let input = jwt::signing_input("EdDSA", "k", claims.as_object().expect("object"));
        Secret::new(jwt::assemble(&input, &self.idp.sign(input.as_bytes()).expect("signature")))
    }

    fn certificate(&self, request: &Request) -> Vec<u8> {
        let token =
            request.header_value("authorization").and_then(|value| value.strip_prefix("Bearer ")).expect("token");
        let x = self.idp.public_key().raw().to_vec();
        let keys =
            JwkSet::new(vec![Jwk { key_id: Some("k".into()), algorithm: None, material: JwkMaterial::Ed25519 { x } }]);
        let rules = format!("rules: [{{name: all, issuer: '{ISSUER}', match: {{sub: '**'}}}}]");
        let rules = Rules::from_yaml(&rules, &[]).expect("rules");
        let accepted = rules.accepted(ISSUER).expect("issuer");
        let claims =
            UnverifiedToken::parse(token).and_then(|token| token.verify(accepted.issuer(), &keys, system::now()));
        let grant = rules.decide(&claims.expect("claims")).expect("grant");
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        let body = &body["publicKeyRequest"];
        let key = PublicKey::from_pem(body["publicKey"]["content"].as_str().expect("PEM")).expect("key");
        let proof = body["proofOfPossession"].as_str().and_then(decode_base64).expect("base64");
        let proven = verify_public_key_proof(&grant, key, &proof).expect("possession");

        let (signer, issuer) = &self.issuer;
        let sign = |message: &[u8]| signer.sign(message).expect("signature");
        let issuance = Issuance::new(issuer, &grant, &proven, system::now(), system::random()).expect("issuance");
        let signature = sign(issuance.message());
        let precertificate = issuance.finish(&signature).expect("precertificate");
        let timestamp_ms = u64::try_from(system::now().as_millisecond()).expect("time");
        let input = signed_input(timestamp_ms, &precertificate.entry(), &[]).expect("input");
        let sct = SignedCertificateTimestamp {
            log_id: self.ct_log.public_key().spki_sha256(),
            timestamp_ms,
            extensions: Vec::new(),
            algorithm: self.ct_log.algorithm(),
            signature: self.ct_log.sign(&input).expect("signature"),
        };
        let last = precertificate.embed(&sct, self.ct_log.public_key()).expect("certificate");
        let certificate = last.finish(&sign(last.message())).expect("certificate");
        let chain = std::iter::once(&certificate).chain(issuer.chain()).map(Certificate::to_pem).collect::<Vec<_>>();
        json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}).to_string().into_bytes()
    }

    fn timestamp(&self, request: &Request) -> Vec<u8> {
        let (signer, authority) = &self.tsa;
        let query = TimeStampReq::from_der(request.body()).expect("query");
        let token = authority.stamp(&query, system::now(), system::random()).expect("token");
        token.finish(&signer.sign(token.message()).expect("signature")).expect("token")
    }
}

impl Transport for Instance {
    fn send(&self, request: Request) -> Pending<'_> {
        let (status, body) = match request.url().path() {
            "/api/v2/signingCert" => (200, self.certificate(&request)),
            "/api/v1/timestamp" => (200, self.timestamp(&request)),
            "/api/v2/log/entries" => (201, self.log.entry(request.body()).to_answer_json().into_bytes()),
            other => panic!("{other}"),
        };
        Box::pin(async move { Ok(Response { status, headers: Vec::new(), body: body.into() }) })
    }
}
