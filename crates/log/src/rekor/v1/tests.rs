use super::*;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm, PublicKey};
use waxseal_formats::entry::Verifier;
use waxseal_formats::envelope::pae;
use waxseal_formats::json::{decode_base64, encode_base64};
use waxseal_testkit::{Exchange, vectors};

#[expect(clippy::disallowed_methods, reason = "a test key signs")]
fn random() -> SystemRandom {
    SystemRandom::new()
}

struct Key {
    pair: EcdsaKeyPair,
    pem: String,
}

impl Key {
    fn new(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
        Self { pair, pem: PublicKey::from_spki_der(&spki).unwrap().to_pem() }
    }

    fn p256() -> Self {
        Self::new(&signature::ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&random(), message).unwrap().as_ref().to_vec()
    }

    fn base64(&self) -> String {
        encode_base64(self.pem.as_bytes())
    }
}

fn parse(request: &str) -> ProposedEntry {
    ProposedEntry::from_json(request.as_bytes()).unwrap_or_else(|error| panic!("{error}: {request}"))
}

fn hashedrekord(digest: &Digest, signature: &[u8], key: &str) -> ProposedEntry {
    parse(&format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"{}","value":"{}"}}}},"signature":{{"content":"{}","publicKey":{{"content":"{key}"}}}}}}}}"#,
        digest.algorithm().name(),
        digest.to_hex(),
        encode_base64(signature)
    ))
}

fn dsse(payload_type: &str, payload: &[u8], signatures: &[Vec<u8>], keys: &[String]) -> ProposedEntry {
    let signatures: Vec<_> =
        signatures.iter().map(|sig| format!(r#"{{\"sig\":\"{}\"}}"#, encode_base64(sig))).collect();
    let keys: Vec<_> = keys.iter().map(|key| format!(r#""{key}""#)).collect();
    parse(&format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"proposedContent":{{"envelope":"{{\"payload\":\"{}\",\"payloadType\":\"{payload_type}\",\"signatures\":[{}]}}","verifiers":[{}]}}}}}}"#,
        encode_base64(payload),
        signatures.join(","),
        keys.join(",")
    ))
}

fn intoto(payload: &[u8], signatures: &[(Vec<u8>, String)]) -> ProposedEntry {
    let twice = |bytes: &[u8]| encode_base64(encode_base64(bytes).as_bytes());
    let signatures: Vec<_> =
        signatures.iter().map(|(sig, key)| format!(r#"{{"sig":"{}","publicKey":"{key}"}}"#, twice(sig))).collect();
    parse(&format!(
        r#"{{"apiVersion":"0.0.2","kind":"intoto","spec":{{"content":{{"envelope":{{"payloadType":"t","payload":"{}","signatures":[{}]}},"hash":{{"algorithm":"sha256","value":"{}"}}}}}}}}"#,
        twice(payload),
        signatures.join(","),
        "01".repeat(32)
    ))
}

fn rekord(artifact: &[u8], signature: &[u8], key: &str) -> ProposedEntry {
    parse(&format!(
        r#"{{"apiVersion":"0.0.1","kind":"rekord","spec":{{"data":{{"content":"{}"}},"signature":{{"format":"x509","content":"{}","publicKey":{{"content":"{key}"}}}}}}}}"#,
        encode_base64(artifact),
        encode_base64(signature)
    ))
}

fn rfc3161(response: &[u8]) -> ProposedEntry {
    let content = encode_base64(response);
    parse(&format!(r#"{{"apiVersion":"0.0.1","kind":"rfc3161","spec":{{"tsr":{{"content":"{content}"}}}}}}"#))
}

fn refused(entry: &ProposedEntry) -> Code {
    admit(entry).unwrap_err().code()
}

fn recorded() -> Vec<Exchange> {
    let Some(vectors) = vectors() else { return Vec::new() };
    let files = ["cosign-3.1.3", "cosign-2.6.1", "gitsign-034927d", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3"];
    let exchanges = files.iter().flat_map(|file| vectors.wire(file));
    exchanges.filter(|e| e.service == "rekor1-standin" && e.path == "/api/v1/log/entries").collect()
}

#[test]
fn recorded_requests_of_every_client_are_admitted_with_their_signer_and_search_keys() {
    let recorded = recorded();
    for exchange in &recorded {
        let entry = ProposedEntry::from_json(exchange.request_body.as_deref().unwrap()).unwrap();
        let checked = admit(&entry).unwrap_or_else(|error| panic!("{}: {error}", exchange.step));
        let answer = exchange.response_json();
        let logged = answer.as_object().and_then(|entries| entries.values().next()).unwrap()["body"].as_str().unwrap();
        assert_eq!(Some(&checked.body), decode_base64(logged).as_ref(), "{}", exchange.step);
        assert!(checked.keys.iter().any(|key| key.ends_with("@corp.example")), "{:?}", checked.keys);
        assert!(matches!(entry.verifiers().as_slice(), [Verifier::Certificate(_)]), "{}", exchange.step);
    }
    assert!(vectors().is_none() || recorded.len() > 15);
}

/// security.md row 1: a genuine signature, key or digest of something else is not logged.
#[test]
fn parts_of_another_entry_are_refused_for_every_kind() {
    let (key, other) = (Key::p256(), Key::p256());
    let digest = |message: &[u8]| HashAlgorithm::Sha256.digest(message);
    let signature = key.sign(b"artifact");
    assert!(admit(&hashedrekord(&digest(b"artifact"), &signature, &key.base64())).is_ok());
    assert_eq!(refused(&hashedrekord(&digest(b"another"), &signature, &key.base64())), Code::SIGNATURE_INVALID);
    assert_eq!(refused(&hashedrekord(&digest(b"artifact"), &signature, &other.base64())), Code::SIGNATURE_INVALID);
    let foreign = other.sign(b"artifact");
    assert_eq!(refused(&hashedrekord(&digest(b"artifact"), &foreign, &key.base64())), Code::SIGNATURE_INVALID);
    assert!(admit(&rekord(b"artifact", &signature, &key.base64())).is_ok());
    assert_eq!(refused(&rekord(b"another", &signature, &key.base64())), Code::SIGNATURE_INVALID);
    assert_eq!(refused(&rekord(b"artifact", &signature, &other.base64())), Code::SIGNATURE_INVALID);

    let signature = key.sign(&pae("t", b"payload"));
    let keys = [key.base64()];
    assert!(admit(&dsse("t", b"payload", std::slice::from_ref(&signature), &keys)).is_ok());
    for entry in [
        dsse("t", b"another", std::slice::from_ref(&signature), &keys),
        dsse("u", b"payload", std::slice::from_ref(&signature), &keys),
        dsse("t", b"payload", std::slice::from_ref(&signature), &[other.base64()]),
        dsse("t", b"payload", &[signature.clone(), other.sign(b"something else")], &keys),
        intoto(b"another", &[(signature.clone(), key.base64())]),
        intoto(b"payload", &[(signature.clone(), other.base64())]),
        // Each key made one of the signatures, and not the one that it stands beside.
        intoto(b"payload", &[(signature.clone(), other.base64()), (other.sign(&pae("t", b"payload")), key.base64())]),
    ] {
        assert_eq!(refused(&entry), Code::SIGNATURE_ENVELOPE);
    }
    assert!(admit(&intoto(b"payload", &[(signature, key.base64())])).is_ok());
}

#[test]
fn every_signature_of_an_envelope_is_logged_beside_the_key_that_made_it() {
    let keys = [Key::p256(), Key::new(&signature::ECDSA_P384_SHA384_ASN1_SIGNING)];
    let message = pae("t", b"payload");
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(&message)).collect();
    let verifiers: Vec<_> = keys.iter().rev().map(Key::base64).collect();
    let checked = admit(&dsse("t", b"payload", &signatures, &verifiers)).unwrap();
    let body = String::from_utf8(checked.body).unwrap();
    for (key, signature) in keys.iter().zip(&signatures) {
        let row = format!(r#"{{"signature":"{}","verifier":"{}"}}"#, encode_base64(signature), key.base64());
        assert!(body.contains(&row), "{body}");
    }
    let mut sorted = signatures.iter().map(|signature| encode_base64(signature)).collect::<Vec<_>>();
    sorted.sort();
    assert!(body.find(&sorted[0]) < body.find(&sorted[1]), "{body}");
}

#[test]
fn a_key_of_another_size_or_with_another_hash_is_not_taken() {
    let key = Key::new(&signature::ECDSA_P384_SHA384_ASN1_SIGNING);
    let signature = key.sign(b"artifact");
    assert!(admit(&hashedrekord(&HashAlgorithm::Sha384.digest(b"artifact"), &signature, &key.base64())).is_ok());
    let wrong = hashedrekord(&HashAlgorithm::Sha256.digest(b"artifact"), &signature, &key.base64());
    let error = admit(&wrong).unwrap_err();
    assert_eq!(error, RekorError::Hash { key: "PKIX_ECDSA_P384_SHA_384", digest: "sha256" });
    assert_eq!(error.code(), Code::KEY_UNSUPPORTED);
}

#[test]
fn ed25519_signs_artifacts_and_envelopes_and_not_digests() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let key = encode_base64(PublicKey::from_spki_der(&spki).unwrap().to_pem().as_bytes());
    assert!(admit(&rekord(b"artifact", pair.sign(b"artifact").as_ref(), &key)).is_ok());
    let signature = pair.sign(&pae("t", b"payload")).as_ref().to_vec();
    assert!(admit(&dsse("t", b"payload", &[signature], std::slice::from_ref(&key))).is_ok());
    let digest = HashAlgorithm::Sha512.digest(b"artifact");
    let entry = hashedrekord(&digest, pair.sign(digest.as_bytes()).as_ref(), &key);
    assert_eq!(admit(&entry).unwrap_err(), RekorError::Unsupported("PKIX_ED25519"));
    assert_eq!(check(&entry).unwrap_err().code(), Code::SIGNATURE_INVALID);
}

#[test]
fn a_chain_has_to_be_one() {
    let Some(vectors) = vectors() else { return };
    let text = vectors.text("private-instance/trusted_root.json");
    let root = waxseal_formats::trusted_root::TrustedRoot::from_json(text.as_bytes()).unwrap();
    let exchanges = recorded();
    let request = exchanges.iter().find(|e| e.step == "r1-sign-blob").unwrap().request_json();
    let leaf = request["spec"]["signature"]["publicKey"]["content"].as_str().and_then(decode_base64).unwrap();
    let leaf = String::from_utf8(leaf).unwrap();
    let issuers = &root.certificate_authorities[0].chain;
    let admitted = |pem: &[&str]| {
        let mut request = request.clone();
        request["spec"]["signature"]["publicKey"]["content"] = encode_base64(pem.concat().as_bytes()).into();
        admit(&parse(&request.to_string()))
    };
    let pems: Vec<String> = issuers.iter().map(waxseal_formats::x509::Certificate::to_pem).collect();
    let [intermediate, root] = pems.as_slice() else { panic!("two authorities") };
    let whole = admitted(&[&leaf, intermediate, root]).unwrap();
    assert!(
        String::from_utf8(whole.body)
            .unwrap()
            .contains(&encode_base64([&leaf, intermediate, root].map(String::as_str).concat().as_bytes()))
    );
    assert!(admitted(&[&leaf, intermediate]).is_ok());
    for (pem, place) in [([&leaf, root, intermediate], 0), ([&leaf, intermediate, &leaf], 1), ([&leaf, &leaf, root], 0)]
    {
        let error = admitted(&pem.map(String::as_str)).unwrap_err();
        assert_eq!((error.code(), error), (Code::CERTIFICATE_CHAIN, RekorError::Chain(place)));
    }
    // The signature is by the first certificate, not by some other of the chain.
    assert_eq!(admitted(&[intermediate, root]).unwrap_err().code(), Code::SIGNATURE_INVALID);
}

#[test]
fn timestamps_are_verified_with_the_certificate_they_carry() {
    let Some(vectors) = vectors() else { return };
    let stamps = vectors.wire("openssl-ts-3.0.19").into_iter().filter(|e| e.status == 200 && e.method == "POST");
    let (mut with, mut without) = (0, 0);
    for stamp in stamps {
        let response = stamp.response_body.unwrap();
        match admit(&rfc3161(&response)) {
            Ok(checked) => {
                assert_eq!(checked.keys, [HashAlgorithm::Sha256.digest(&response).to_string()]);
                let mut forged = response.clone();
                *forged.last_mut().unwrap() ^= 1;
                let Ok(forged) = ProposedEntry::from_json(
                    format!(
                        r#"{{"apiVersion":"0.0.1","kind":"rfc3161","spec":{{"tsr":{{"content":"{}"}}}}}}"#,
                        encode_base64(&forged)
                    )
                    .as_bytes(),
                ) else {
                    continue;
                };
                assert_eq!(refused(&forged), Code::TIME_TOKEN_INVALID);
                with += 1;
            }
            Err(error) => {
                assert_eq!((error.code(), error), (Code::TIME_TOKEN_INVALID, RekorError::TokenSigner));
                without += 1;
            }
        }
    }
    assert!(with > 0 && without > 0, "{with} {without}");
}

#[test]
fn old_intoto_entries_can_be_looked_for_and_not_be_added() {
    let key = Key::p256();
    let sig = encode_base64(&key.sign(&pae("t", b"payload")));
    let request = |sig: &str| {
        parse(&format!(
            r#"{{"apiVersion":"0.0.1","kind":"intoto","spec":{{"content":{{"envelope":"{{\"payload\":\"{}\",\"payloadType\":\"t\",\"signatures\":[{{\"sig\":\"{sig}\"}}]}}"}},"publicKey":"{}"}}}}"#,
            encode_base64(b"payload"),
            key.base64()
        ))
    };
    let entry = request(&sig);
    assert_eq!(admit(&entry).unwrap_err(), RekorError::ReadOnly("intoto 0.0.1"));
    assert_eq!(refused(&entry), Code::LOG_ENTRY_KIND);
    assert!(check(&entry).unwrap().body.starts_with(br#"{"apiVersion":"0.0.1","kind":"intoto""#));
    assert_eq!(check(&request("AQ==")).unwrap_err().code(), Code::SIGNATURE_ENVELOPE);
}

#[test]
fn statements_are_found_by_subjects_and_materials() {
    let key = Key::p256();
    let statement = br#"{"subject":[{"digest":{"sha256":"AB","gitCommit":"cd"}},{"name":"none"},{"digest":"x"}],"predicate":{"materials":[{"digest":{"sha1":"ef"}},7]}}"#;
    let found = |payload_type: &str, payload: &[u8]| {
        let signature = key.sign(&pae(payload_type, payload));
        admit(&dsse(payload_type, payload, &[signature], &[key.base64()])).unwrap().keys
    };
    let keys = found("application/vnd.in-toto+json", statement);
    let hash = HashAlgorithm::Sha256.digest(key.pem.as_bytes()).to_hex();
    for expected in ["sha256:AB", "gitCommit:cd", "sha1:ef", &hash, &format!("sha256:{hash}")] {
        assert!(keys.iter().any(|key| key == expected), "{expected} in {keys:?}");
    }
    assert!(keys.contains(&HashAlgorithm::Sha256.digest(statement).to_string()));
    assert_eq!(found("t", statement).len(), 4);
    for payload in [&b"not JSON"[..], b"", b"[]", br#"{"subject":7,"predicate":[]}"#] {
        assert_eq!(found("application/vnd.in-toto+json", payload).len(), 4);
    }
}

#[test]
fn an_entry_that_does_not_fit_into_a_bundle_is_refused() {
    let key = Key::p256();
    let signature = key.sign(&pae("t", b"payload"));
    let mut entry = intoto(b"payload", &[(signature, key.base64())]);
    let ProposedEntry::Intoto(proposed) = &mut entry else { panic!() };
    proposed.payload_type = "t".repeat(70_000);
    let signature = key.sign(&pae(&proposed.payload_type, b"payload"));
    proposed.signatures[0].signature = signature;
    assert_eq!(admit(&entry).unwrap().into_entry().unwrap_err().code(), Code::INPUT_TOO_LARGE);
}
