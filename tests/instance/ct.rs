//! The certificate log of a running instance over RFC 6962 and as tiles: one tree, whoever asks.

mod oracle;
mod refusals;

use super::oracles::{assert_consistent, assert_included};
use super::{Answer, Home, PAUSE, POLLS, Up};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oracle::Oracle;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use serde_json::{Value, json};
use waxseal_formats::checkpoint::{CtSignature, tree_head_input};
use waxseal_formats::crypto::{PublicKey, sha256};
use waxseal_formats::leaf::{SignedEntry, TileLeaf, TimestampedEntry};
use waxseal_formats::merkle::{Hash, leaf_hash, verify_inclusion};
use waxseal_formats::sct::{SignedCertificateTimestamp, leaf_index};
use waxseal_formats::tile::{TileId, TileKind};
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::Signer as _;

const API: &str = "/ctlog/ct/v1";
/// 1.3.6.1.4.1.11129.2.4.4, extended key usage.
const PRECERTIFICATE_SIGNING: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 4];
const POISON: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3];
/// Leaves of the tree whose proofs are all asked for; with 9 of them every shape of a small tree occurs.
const SIZE: u64 = 9;

/// An authority whose key the test holds.
struct Authority {
    /// Its certificate, and those above it.
    chain: Vec<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(organization: &str, name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(organization: &str, name: &str) -> CertificateParams {
    let mut params = params(organization, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn precertificate(name: &str) -> CertificateParams {
    let mut poison = CustomExtension::from_oid_content(POISON, vec![5, 0]);
    poison.set_criticality(true);
    let mut params = params("", name);
    params.custom_extensions = vec![poison];
    params
}

impl Authority {
    /// One of the two of the instance: `ca`, or `ca-root` above it.
    fn of(up: &Up, name: &str) -> Self {
        let read = |folder: &str, name: &str| {
            std::fs::read_to_string(up.data_dir.join(folder).join(format!("{name}.pem"))).expect("readable")
        };
        let key = KeyPair::from_pem(&read("keys", name)).expect("key");
        let names = if name == "ca" { vec!["ca", "ca-root"] } else { vec!["ca-root"] };
        let chain: Vec<_> =
            names.iter().map(|name| Certificate::from_pem(&read("certificates", name)).expect("certificate")).collect();
        let subject = chain[0].subject();
        assert_eq!(chain[0].public_key().expect("key").spki_der(), key.subject_public_key_info());
        let issuer = Issuer::new(authority(&subject.organization, &subject.common_name), key);
        Self { chain: chain.iter().map(|certificate| certificate.der().to_vec()).collect(), issuer }
    }

    /// A stranger's own root.
    fn stranger() -> Self {
        let (params, key) = (authority("stranger", "root"), KeyPair::generate().expect("key"));
        let root = params.self_signed(&key).expect("root").der().to_vec();
        Self { chain: vec![root], issuer: Issuer::new(params, key) }
    }

    /// An authority below this one.
    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("key");
        let der = params.signed_by(&key, &self.issuer).expect("signed").der().to_vec();
        Self { chain: [vec![der], self.chain.clone()].concat(), issuer: Issuer::new(params, key) }
    }

    /// A certificate and the chain above it.
    fn sign(&self, params: CertificateParams) -> Vec<Vec<u8>> {
        let leaf = params.signed_by(&KeyPair::generate().expect("key"), &self.issuer).expect("signed");
        [vec![leaf.der().to_vec()], self.chain.clone()].concat()
    }
}

fn body(chain: &[Vec<u8>]) -> String {
    json!({"chain": chain.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>()}).to_string()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_else(|| panic!("no text: {value}"))).expect("base64")
}

fn hash(value: &Value) -> Hash {
    bytes(value).try_into().expect("32 bytes")
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

/// The log's key, as a verifier has it.
fn log_key(up: &Up) -> PublicKey {
    waxseal_io::signer::KeyPair::load(&up.data_dir.join("keys/ct.pem")).expect("key").public_key().clone()
}

/// The timestamp in an answer to a submission, verified over what was submitted.
fn timestamp(up: &Up, answer: &Answer, chain: &[Vec<u8>]) -> SignedCertificateTimestamp {
    assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{}", answer.text());
    let object = answer.json();
    assert_eq!(object["sct_version"], 0);
    // As it would stand in a certificate.
    let time = object["timestamp"].as_u64().expect("a number");
    let extensions = bytes(&object["extensions"]);
    let length = u16::try_from(extensions.len()).expect("short").to_be_bytes();
    let encoded =
        [&[0][..], &bytes(&object["id"]), &time.to_be_bytes(), &length, &extensions, &bytes(&object["signature"])];
    let sct = SignedCertificateTimestamp::decode(&encoded.concat()).expect("a timestamp");
    let key = log_key(up);
    assert_eq!(sct.log_id, key.spki_sha256());
    sct.verify(&key, &entry(chain)).expect("the log's signature");
    sct
}

/// What the log signs for a chain.
fn entry(chain: &[Vec<u8>]) -> SignedEntry {
    let leaf = Certificate::from_der(&chain[0]).expect("certificate");
    match leaf.poison() {
        None => SignedEntry::Certificate { der: chain[0].clone() },
        Some(_) => {
            let issuer = Certificate::from_der(&chain[1]).expect("issuer");
            let issuer_key_hash = issuer.public_key().expect("key").spki_sha256();
            SignedEntry::Precertificate { issuer_key_hash, tbs: leaf.tbs_without_poison().expect("poison") }
        }
    }
}

impl Up {
    async fn add(&self, path: &str, chain: &[Vec<u8>]) -> Answer {
        self.post(&format!("{API}/{path}"), body(chain)).await
    }

    async fn ct(&self, path: &str) -> Value {
        let answer = self.get(&format!("{API}/{path}")).await;
        assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{path}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        answer.json()
    }

    /// A refusal in plain text: status and reason code.
    async fn ct_refusal(&self, path: &str) -> (u16, String) {
        refusal(&self.get(path).await)
    }

    /// The tree head of at least `size` leaves, verified.
    async fn tree_head(&self, size: u64) -> (u64, Hash) {
        for _ in 0..POLLS {
            let head = self.ct("get-sth").await;
            if head["tree_size"].as_u64().expect("a number") >= size {
                return verified(self, &head);
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the tree never has {size} leaves");
    }
}

fn refusal(answer: &Answer) -> (u16, String) {
    let text = answer.text();
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{text}");
    assert_eq!(answer.header("cache-control"), "no-store", "{text}");
    let code = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map(|(code, _)| code);
    (answer.status, code.unwrap_or_default().to_owned())
}

/// Size and root of a tree head whose signature is the log's.
fn verified(up: &Up, head: &Value) -> (u64, Hash) {
    let number = |name: &str| head[name].as_u64().expect("a number");
    let (size, time, root) = (number("tree_size"), number("timestamp"), hash(&head["sha256_root_hash"]));
    // A checkpoint's signature is the time and this.
    let blob = [&time.to_be_bytes()[..], &bytes(&head["tree_head_signature"])].concat();
    let signature = CtSignature::parse(&blob).expect("DigitallySigned");
    let input = tree_head_input(time, size, &root);
    log_key(up).verify(signature.algorithm, &input, &signature.signature).expect("the log's signature");
    (size, root)
}

fn escaped(hash: &Hash) -> String {
    STANDARD.encode(hash).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// Chains of every kind, each submitted and its timestamp verified, in the order of their indices; the tree's heads by size.
struct Filled {
    chains: Vec<Vec<Vec<u8>>>,
    timestamps: Vec<SignedCertificateTimestamp>,
    roots: Vec<Hash>,
}

impl Filled {
    async fn fill(up: &Up) -> Self {
        let (intermediate, root) = (Authority::of(up, "ca"), Authority::of(up, "ca-root"));
        let (size, empty) = up.tree_head(0).await;
        assert_eq!(size, 0);
        let mut filled = Self { chains: Vec::new(), timestamps: Vec::new(), roots: vec![empty] };
        // A subordinate authority that only the submission names.
        let other = root.below(authority("corp", "another issuer"));
        for index in 0..SIZE {
            let name = format!("leaf {index}");
            let (path, chain) = match index % 4 {
                0 => ("add-pre-chain", intermediate.sign(precertificate(&name))),
                1 => ("add-chain", intermediate.sign(params("", &name))),
                2 => ("add-pre-chain", other.sign(precertificate(&name))),
                _ => ("add-chain", root.sign(params("", &name))),
            };
            // The root may be left out.
            let sent = if index < 4 { &chain[..] } else { &chain[..chain.len() - 1] };
            let sct = timestamp(up, &up.add(path, sent).await, &chain);
            assert_eq!(leaf_index(&sct.extensions), Ok(index));
            let (size, root) = up.tree_head(index + 1).await;
            assert_eq!(size, index + 1);
            filled.roots.push(root);
            filled.chains.push(chain);
            filled.timestamps.push(sct);
        }
        filled
    }

    /// The leaf that the timestamp at this index promises.
    fn leaf(&self, index: usize) -> Vec<u8> {
        let sct = &self.timestamps[index];
        let timestamped = TimestampedEntry {
            timestamp_ms: sct.timestamp_ms,
            entry: entry(&self.chains[index]),
            extensions: sct.extensions.clone(),
        };
        timestamped.merkle_tree_leaf().expect("leaf")
    }

    fn oracle(&self) -> Oracle {
        Oracle::new((0..self.chains.len()).map(|index| self.leaf(index)))
    }

    /// Every proof of every leaf in every tree, by ours and by a stranger's code.
    async fn check_proofs(&self, up: &Up) {
        let oracle = self.oracle();
        for size in 1..=SIZE {
            let root = &self.roots[usize::try_from(size).expect("small")];
            assert_eq!(oracle.root(size), *root);
            for index in 0..size {
                let leaf = leaf_hash(&self.leaf(usize::try_from(index).expect("small")));
                let answer = up.ct(&format!("get-proof-by-hash?hash={}&tree_size={size}", escaped(&leaf))).await;
                assert_eq!(answer["leaf_index"], index);
                let proof = hashes(&answer["audit_path"]);
                verify_inclusion(index, size, &leaf, &proof, root).expect("included");
                oracle.check_inclusion(index, size, &proof);
            }
        }
        for second in 0..=SIZE {
            for first in 0..=second {
                let answer = up.ct(&format!("get-sth-consistency?first={first}&second={second}")).await;
                let proof = hashes(&answer["consistency"]);
                let root = |size: u64| &self.roots[usize::try_from(size).expect("small")];
                assert_consistent(first, second, &proof, root(first), root(second));
                oracle.check_consistency(first, second, &proof);
            }
        }
    }

    /// The issuers that chains named, each under its hash.
    async fn check_issuers(&self, up: &Up) {
        for issuer in self.chains.iter().flat_map(|chain| &chain[1..]) {
            let answer = up.get(&format!("/ctlog/issuer/{}", hex::encode(sha256(issuer)))).await;
            assert_eq!((answer.status, answer.media_type()), (200, "application/pkix-cert"));
            assert_eq!(&answer.body, issuer);
        }
        // The leaves are not among them.
        for chain in &self.chains {
            let name = hex::encode(sha256(&chain[0]));
            assert_eq!(up.get(&format!("/ctlog/issuer/{name}")).await.status, 404);
            assert!(!up.data_dir.join("logs/ct/public/issuer").join(name).exists());
        }
    }

    async fn check_hash_tile(&self, up: &Up) -> TileId {
        let id = TileId::in_tree(TileKind::Hash(0), 0, SIZE).expect("a tile");
        let answer = up.get(&format!("/ctlog/{id}")).await;
        let expected: Vec<Hash> = (0..self.chains.len()).map(|index| leaf_hash(&self.leaf(index))).collect();
        assert_eq!((answer.status, answer.body), (200, expected.concat()));
        id
    }
}

/// `extra_data` taken apart (RFC 6962 §4.6): the precertificate, if it is one, and the chain.
fn extra_data(data: &[u8], precertificate: bool) -> Vec<Vec<u8>> {
    fn vector<'a>(data: &mut &'a [u8]) -> &'a [u8] {
        let (length, rest) = data.split_first_chunk::<3>().expect("a length");
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
        let (vector, rest) = rest.split_at(usize::try_from(length).expect("small"));
        *data = rest;
        vector
    }
    let mut rest = data;
    let mut found = Vec::new();
    if precertificate {
        found.push(vector(&mut rest).to_vec());
    }
    let mut chain = vector(&mut rest);
    assert!(rest.is_empty());
    while !chain.is_empty() {
        found.push(vector(&mut chain).to_vec());
    }
    found
}

#[tokio::test]
async fn an_open_log_answers_every_question_about_one_tree() {
    let home = Home::new();
    let mut up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", "open"]);
    let filled = Filled::fill(&up).await;
    filled.check_proofs(&up).await;
    filled.check_issuers(&up).await;

    // The tiles are the same tree.
    let signed = up.checkpoint("/ctlog").await;
    signed.verify_ct("127.0.0.1/ctlog", &log_key(&up)).expect("signature");
    assert_eq!((signed.checkpoint.size, &signed.checkpoint.root), (SIZE, filled.roots.last().expect("roots")));
    let id = filled.check_hash_tile(&up).await;
    let data = up.get(&format!("/ctlog/{}", TileId { kind: TileKind::Data, ..id })).await;
    assert_eq!(data.header("cache-control"), "public, max-age=604800, immutable");

    // So are the entries, in one piece and one by one.
    let all = up.ct("get-entries?start=0&end=99").await;
    let all = all["entries"].as_array().expect("a list");
    assert_eq!(all.len(), filled.chains.len());
    let mut rest = data.body.as_slice();
    for (index, (shown, chain)) in all.iter().zip(&filled.chains).enumerate() {
        let leaf = filled.leaf(index);
        assert_eq!(bytes(&shown["leaf_input"]), leaf);
        let timestamped = TimestampedEntry::from_merkle_tree_leaf(&leaf).expect("leaf");
        let is_precertificate = matches!(timestamped.entry, SignedEntry::Precertificate { .. });
        let expected = if is_precertificate { chain } else { &chain[1..] };
        assert_eq!(extra_data(&bytes(&shown["extra_data"]), is_precertificate), *expected);

        let (stored, after) = TileLeaf::decode(rest).expect("stored");
        rest = after;
        assert_eq!(stored.timestamped, timestamped);
        assert_eq!(stored.precertificate.as_ref(), is_precertificate.then_some(&chain[0]));
        let fingerprints: Vec<_> = chain[1..].iter().map(|der| sha256(der)).collect();
        assert_eq!(stored.chain_fingerprints, fingerprints);

        let one = up.ct(&format!("get-entries?start={index}&end={index}")).await;
        assert_eq!(one["entries"], json!([shown]));
        let proven = up.ct(&format!("get-entry-and-proof?leaf_index={index}&tree_size={SIZE}")).await;
        assert_eq!((&proven["leaf_input"], &proven["extra_data"]), (&shown["leaf_input"], &shown["extra_data"]));
        let (index, proof) = (index as u64, hashes(&proven["audit_path"]));
        assert_included(&leaf, index, SIZE, &proof, &filled.roots[filled.roots.len() - 1]);
        filled.oracle().check_inclusion(index, SIZE, &proof);
    }
    assert!(rest.is_empty());

    // The same submission again, before and after a restart, is the same entry.
    let roots = up.ct("get-roots").await;
    assert_eq!(bytes(&roots["certificates"][0]), filled.chains[0][2]);
    for restart in [false, true] {
        if restart {
            let address = up.address();
            drop(up);
            up = Up::start_with(&home, &address, &[]);
        }
        for ((chain, first), path) in
            filled.chains.iter().zip(&filled.timestamps).zip(["add-pre-chain", "add-chain"].iter().cycle())
        {
            let again = timestamp(&up, &up.add(path, chain).await, chain);
            assert_eq!((again.timestamp_ms, &again.extensions), (first.timestamp_ms, &first.extensions));
        }
        assert_eq!(up.tree_head(SIZE).await.0, SIZE);
    }
    filled.check_proofs(&up).await;
    assert_eq!(up.ct("get-entries?start=0&end=99").await["entries"], json!(all));
}

#[tokio::test]
async fn a_sealed_log_proves_everything_and_shows_no_entry() {
    let home = Home::new();
    let up = Up::start(&home);
    let filled = Filled::fill(&up).await;
    filled.check_proofs(&up).await;
    filled.check_issuers(&up).await;
    filled.check_hash_tile(&up).await;
    for path in [
        &format!("{API}/get-entries?start=0&end=1"),
        &format!("{API}/get-entries?start=x"),
        &format!("{API}/get-entry-and-proof?leaf_index=0&tree_size=1"),
        "/ctlog/tile/data/000.p/9",
        "/ctlog/tile/data/000",
    ] {
        assert_eq!(up.ct_refusal(path).await, (403, "log.sealed".into()), "{path}");
    }
    for (chain, first) in filled.chains.iter().zip(&filled.timestamps) {
        let path = if Certificate::from_der(&chain[0]).expect("leaf").poison().is_some() {
            "add-pre-chain"
        } else {
            "add-chain"
        };
        let again = timestamp(&up, &up.add(path, chain).await, chain);
        assert_eq!((again.timestamp_ms, &again.extensions), (first.timestamp_ms, &first.extensions));
    }
    // Nothing of a leaf is in any file: neither itself nor its name.
    for (path, content) in super::files(&up.data_dir) {
        for (index, chain) in filled.chains.iter().enumerate() {
            let leaf = Certificate::from_der(&chain[0]).expect("leaf");
            let name = format!("leaf {index}");
            for needle in [name.as_bytes(), leaf.public_key().expect("key").raw()] {
                let found = content.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "{name} stands in {}", path.display());
            }
        }
    }
}

/// The instance's own certificates take the way inside the process; outsiders prove them as they prove others.
#[tokio::test]
async fn the_authoritys_own_certificates_are_proven_like_submitted_ones() {
    let home = Home::new();
    let up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", "open"]);
    let (index, _) = up.mark().await;
    let (size, root) = up.tree_head(index + 1).await;
    let shown = up.ct(&format!("get-entry-and-proof?leaf_index={index}&tree_size={size}")).await;
    let leaf = bytes(&shown["leaf_input"]);
    assert_included(&leaf, index, size, &hashes(&shown["audit_path"]), &root);
    // What is shown can be submitted again, as a Fulcio elsewhere would have: precertificate, intermediate, root.
    let chain = extra_data(&bytes(&shown["extra_data"]), true);
    assert_eq!(chain.len(), 3);
    let sct = timestamp(&up, &up.add("add-pre-chain", &chain).await, &chain);
    assert_eq!(leaf_index(&sct.extensions), Ok(index));
    let leaf = TimestampedEntry::from_merkle_tree_leaf(&leaf).expect("leaf");
    assert_eq!(leaf.timestamp_ms, sct.timestamp_ms);
}

/// A Fulcio elsewhere, whose issuing certificate the operator lists below `writes:`, sends precertificate, intermediate and root.
#[tokio::test]
async fn an_authority_elsewhere_logs_what_it_issues() {
    let home = Home::new();
    let elsewhere = Authority::stranger().below(authority("elsewhere", "issuing"));
    let pem = Certificate::from_der(&elsewhere.chain[0]).expect("certificate").to_pem().replace('\n', "\n      ");
    let rules = home.write("rules.yaml", format!("writes:\n  - own\n  - ca: |\n      {pem}\nrules: []\n"));
    let up = Up::start_with(&home, "127.0.0.1:0", &["--rules", &rules, "--privacy", "open"]);
    let chain = elsewhere.sign(precertificate("leaf"));
    assert_eq!(chain.len(), 3);
    let sct = timestamp(&up, &up.add("add-pre-chain", &chain).await, &chain);
    assert_eq!(leaf_index(&sct.extensions), Ok(0));
    up.tree_head(1).await;
    let roots = up.ct("get-roots").await;
    let roots: Vec<_> = roots["certificates"].as_array().expect("a list").iter().map(bytes).collect();
    assert_eq!(roots, [Authority::of(&up, "ca-root").chain[0].clone(), elsewhere.chain[0].clone()]);
    // What stands above the certificate that is listed is not kept.
    let entries = up.ct("get-entries?start=0&end=0").await;
    assert_eq!(extra_data(&bytes(&entries["entries"][0]["extra_data"]), true), chain[..2]);
    assert_eq!(up.get(&format!("/ctlog/issuer/{}", hex::encode(sha256(&chain[2])))).await.status, 404);
}
