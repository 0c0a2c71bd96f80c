//! Images in real registries: signed by ours and judged by others, signed by others and judged by ours.
//!
//! Debian's docker-registry knows no referrers, so that everything goes through the fallback tag; go-containerregistry's has the API.
//! skopeo puts the images there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Value, json};
use waxseal_formats::crypto::digest::sha256;

use super::{
    command::{Site, Variables},
    http::Http,
    instance::{Instance, Options},
    matrix::{SETUP, Who},
    parts::Program,
    questions::{Ends, Question, ask, ours, theirs},
    registries::{HTPASSWD, PASSWORD, free_port, referrers_registry, registry},
};

const SIGNED: Ends = Ends::Well;
/// What is asked at each registry.
const QUESTIONS: &[Question] = &[
    // Ours signs.
    ours(
        "ours says that nothing is signed",
        "verify --instance {origin} {signer} {registry}/acme/app:v1",
        Ends::With(10, "artifact.unsigned"),
    ),
    ours(
        "ours says that there is no such tag",
        "verify --instance {origin} {signer} {registry}/acme/app:v9",
        Ends::With(11, "artifact.not-found"),
    ),
    ours("ours signs", "sign --yes --instance {origin} {registry}/acme/app:v1", SIGNED),
    ours(
        "ours verifies its own",
        "verify --instance {origin} {signer} {registry}/acme/app:v1",
        Ends::Saying("https://sigstore.dev/cosign/sign/v1"),
    ),
    ours(
        "ours refuses another identity",
        "verify --instance {origin} {stranger} {registry}/acme/app:v1",
        Ends::With(12, "certificate.identity"),
    ),
    theirs(
        "cosign 3 verifies ours",
        Program::Cosign,
        "verify {signer} --allow-http-registry {registry}/acme/app:v1",
        Ends::Well,
    ),
    theirs(
        "cosign 3 refuses another identity",
        Program::Cosign,
        "verify {stranger} --allow-http-registry {registry}/acme/app:v1",
        Ends::Refusing("no matching CertificateIdentity found"),
    ),
    theirs(
        "cosign 2 verifies ours",
        Program::Cosign2,
        "verify --new-bundle-format --use-signed-timestamps --trusted-root {trusted_root} {signer} --allow-http-registry {registry}/acme/app:v1",
        Ends::Well,
    ),
    // Ours attests.
    ours(
        "ours has no attestation yet",
        "verify-attestation --type slsaprovenance1 --instance {origin} {signer} {registry}/acme/app:v1",
        Ends::With(10, "artifact.unsigned"),
    ),
    ours(
        "ours attests",
        "attest -y --instance {origin} --type slsaprovenance1 --predicate {predicate} {registry}/acme/app:v1",
        SIGNED,
    ),
    ours(
        "ours verifies its attestation",
        "verify-attestation --type slsaprovenance1 --instance {origin} {signer} {registry}/acme/app:v1",
        Ends::Saying("payloadType"),
    ),
    ours(
        "a statement about something else is not attached",
        "attest --instance {origin} --statement {statement} {registry}/acme/app:v1",
        Ends::With(1, "statement.subject"),
    ),
    ours(
        "an attestation of another type does not do",
        "verify-attestation --type spdx --instance {origin} {signer} {registry}/acme/app:v1",
        Ends::With(10, "artifact.unsigned"),
    ),
    theirs(
        "cosign 3 verifies our attestation",
        Program::Cosign,
        "verify-attestation --type slsaprovenance1 {signer} --allow-http-registry {registry}/acme/app:v1",
        Ends::Well,
    ),
    // An attestation is no signature (security-profiles-operator 3449).
    ours(
        "only attested is not signed: attest",
        "attest --instance {origin} --type slsaprovenance1 --predicate {predicate} {registry}/acme/attested:v1",
        SIGNED,
    ),
    ours(
        "only attested is not signed: verify",
        "verify --instance {origin} {signer} {registry}/acme/attested:v1",
        Ends::With(10, "artifact.unsigned"),
    ),
    // Theirs.
    theirs(
        "cosign 3 signs",
        Program::Cosign,
        "sign --yes --identity-token {token} --allow-http-registry {registry}/acme/cosign3:v1",
        SIGNED,
    ),
    ours("ours verifies cosign 3's", "verify --instance {origin} {signer} {registry}/acme/cosign3:v1", Ends::Well),
    ours(
        "ours refuses cosign 3's for another identity",
        "verify --instance {origin} {stranger} {registry}/acme/cosign3:v1",
        Ends::With(12, "certificate.identity"),
    ),
    theirs(
        "cosign 3 attests",
        Program::Cosign,
        "attest --yes --identity-token {token} --allow-http-registry --type slsaprovenance1 --predicate {predicate} {registry}/acme/cosign3:v1",
        SIGNED,
    ),
    ours(
        "ours verifies cosign 3's attestation",
        "verify-attestation --type slsaprovenance1 --instance {origin} {signer} {registry}/acme/cosign3:v1",
        Ends::Saying("payloadType"),
    ),
    theirs(
        "cosign 2 signs under its tag",
        Program::Cosign2,
        "sign --yes --fulcio-url {origin} --rekor-url {origin} --identity-token {token} --allow-http-registry {registry}/acme/cosign2:v1",
        SIGNED,
    ),
    ours(
        "ours verifies cosign 2's",
        "verify --instance {origin} {signer} {registry}/acme/cosign2:v1",
        Ends::Saying("cosign container image signature"),
    ),
    ours(
        "ours refuses cosign 2's for another identity",
        "verify --instance {origin} {stranger} {registry}/acme/cosign2:v1",
        Ends::With(12, "certificate.identity"),
    ),
    theirs(
        "cosign 2 attests under its tag",
        Program::Cosign2,
        "attest --yes --fulcio-url {origin} --rekor-url {origin} --identity-token {token} --allow-http-registry --type slsaprovenance1 --predicate {predicate} {registry}/acme/cosign2:v1",
        SIGNED,
    ),
    ours(
        "ours verifies cosign 2's attestation",
        "verify-attestation --type slsaprovenance1 --instance {origin} {signer} {registry}/acme/cosign2:v1",
        Ends::Well,
    ),
    // Ours, as cosign 2 does.
    ours(
        "ours signs in both forms",
        "sign --instance {origin} --format bundle,legacy -a team=platform {registry}/acme/both:v1",
        SIGNED,
    ),
    ours(
        "ours verifies both",
        "verify --instance {origin} -a team=platform {signer} {registry}/acme/both:v1",
        Ends::Saying("cosign container image signature"),
    ),
    ours(
        "ours refuses another annotation",
        "verify --instance {origin} -a team=other {signer} {registry}/acme/both:v1",
        Ends::With(12, "policy.denied"),
    ),
    theirs(
        "cosign 2 verifies the old form",
        Program::Cosign2,
        "verify -a team=platform {signer} --allow-http-registry {registry}/acme/both:v1",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies the new form",
        Program::Cosign,
        "verify -a team=platform {signer} --allow-http-registry {registry}/acme/both:v1",
        Ends::Well,
    ),
    // An index.
    ours(
        "an unsigned index",
        "verify --instance {origin} {signer} {registry}/acme/multi:v1",
        Ends::With(10, "artifact.unsigned"),
    ),
    ours("ours signs an index and its images", "sign -r --instance {origin} {registry}/acme/multi:v1", SIGNED),
    ours("ours verifies an index", "verify --instance {origin} {signer} {registry}/acme/multi:v1", Ends::Well),
    theirs(
        "cosign 3 verifies an index",
        Program::Cosign,
        "verify {signer} --allow-http-registry {registry}/acme/multi:v1",
        Ends::Well,
    ),
    // Elsewhere.
    ours("ours shows what is attached", "tree {registry}/acme/app:v1", Ends::Saying("https://slsa.dev/provenance/v1")),
    ours(
        "ours downloads a signature",
        "download signature {registry}/acme/app:v1",
        Ends::Saying("verificationMaterial"),
    ),
    ours("ours downloads cosign 2's", "download signature {registry}/acme/cosign2:v1", Ends::Saying("Base64Signature")),
    ours("ours downloads an attestation", "download attestation {registry}/acme/app:v1", Ends::Saying("payloadType")),
    ours("ours copies", "copy {registry}/acme/app:v1 {other}/copied/app:v2", Ends::Well),
    ours("the copy verifies", "verify --instance {origin} {signer} {other}/copied/app:v2", Ends::Well),
    theirs(
        "the copy verifies with cosign 3",
        Program::Cosign,
        "verify {signer} --allow-http-registry {other}/copied/app:v2",
        Ends::Well,
    ),
    ours("ours copies an index", "copy {registry}/acme/multi:v1 {other}/copied/multi:v1", Ends::Well),
    ours("the copied index verifies", "verify --instance {origin} {signer} {other}/copied/multi:v1", Ends::Well),
    ours("ours saves", "save --instance {origin} --dir {saved} {registry}/acme/both:v1", Ends::Well),
    ours(
        "what is saved verifies without a registry",
        "verify --local-image --trusted-root {saved}/trusted_root.json {signer} {saved}",
        Ends::Well,
    ),
    ours(
        "what is saved is refused for another identity",
        "verify --local-image --trusted-root {saved}/trusted_root.json {stranger} {saved}",
        Ends::With(12, "certificate.identity"),
    ),
    ours("ours loads", "load --dir {saved} {other}/loaded/both:v1", Ends::Well),
    ours("what was loaded verifies", "verify --instance {origin} {signer} {other}/loaded/both:v1", Ends::Well),
    theirs(
        "what was loaded verifies with cosign 2",
        Program::Cosign2,
        "verify {signer} --allow-http-registry {other}/loaded/both:v1",
        Ends::Well,
    ),
];

/// What is asked with keys, cosign's and ours. Each reads what the other made.
const WITH_KEYS: &[Question] = &[
    ours("ours makes a key pair", "generate-key-pair -y -o {keys}-ours", Ends::Well),
    theirs(
        "cosign 3 makes a key pair",
        Program::Cosign,
        "generate-key-pair --output-key-prefix {keys}-theirs",
        Ends::Well,
    ),
    ours(
        "ours signs with its key",
        "sign --instance {origin} --key {keys}-ours.key --format bundle,legacy {registry}/acme/keyed:v1",
        SIGNED,
    ),
    ours(
        "ours verifies with its key",
        "verify --instance {origin} --key {keys}-ours.pub {registry}/acme/keyed:v1",
        Ends::Well,
    ),
    ours(
        "ours refuses another key",
        "verify --instance {origin} --key {keys}-theirs.pub {registry}/acme/keyed:v1",
        Ends::With(12, "signature."),
    ),
    ours(
        "a signature by a key has no certificate",
        "verify --instance {origin} {signer} {registry}/acme/keyed:v1",
        Ends::With(13, "signature.key-missing"),
    ),
    theirs(
        "cosign 3 verifies with our key",
        Program::Cosign,
        "verify --key {keys}-ours.pub --allow-http-registry {registry}/acme/keyed:v1",
        Ends::Well,
    ),
    theirs(
        "cosign 2 verifies the old form with our key",
        Program::Cosign2,
        "verify --key {keys}-ours.pub --allow-http-registry {registry}/acme/keyed:v1",
        Ends::Well,
    ),
    theirs(
        "cosign 3 signs with our key",
        Program::Cosign,
        "sign --yes --key {keys}-ours.key --allow-http-registry {registry}/acme/unkeyed:v1",
        SIGNED,
    ),
    ours(
        "ours verifies what cosign 3 signed with it",
        "verify --instance {origin} --key {keys}-ours.pub {registry}/acme/unkeyed:v1",
        Ends::Well,
    ),
    ours("ours reads cosign 3's key", "public-key --key {keys}-theirs.key", Ends::Saying("BEGIN PUBLIC KEY")),
    ours(
        "ours signs a file with cosign 3's key",
        "sign-blob --instance {origin} --key {keys}-theirs.key --bundle {keys}-keyed.json {predicate}",
        SIGNED,
    ),
    theirs(
        "cosign 3 verifies it",
        Program::Cosign,
        "verify-blob --key {keys}-theirs.pub --bundle {keys}-keyed.json {predicate}",
        Ends::Well,
    ),
];

/// What is asked of a registry that wants to know who asks.
const BEHIND_A_LOGIN: &[Question] = &[
    ours(
        "who is not logged in is told so",
        "verify --instance {origin} {signer} {registry}/acme/app:v1",
        Ends::With(1, "registry.unauthorized"),
    ),
    ours("a wrong password is not kept", "login -u robot -p wrong {registry}", Ends::With(1, "registry.unauthorized")),
    ours("ours logs in", "login -u robot -p {password} {registry}", Ends::Well),
    ours("ours signs behind a login", "sign --instance {origin} {registry}/acme/app:v1", SIGNED),
    ours("ours verifies behind a login", "verify --instance {origin} {signer} {registry}/acme/app:v1", Ends::Well),
    theirs(
        "cosign 3 verifies behind a login",
        Program::Cosign,
        "verify {signer} --registry-username robot --registry-password {password} --allow-http-registry {registry}/acme/app:v1",
        Ends::Well,
    ),
];

/// What is asked when nobody is there.
const NOWHERE: &[Question] = &[ours(
    "a registry that is down is not a missing signature",
    "verify --instance {origin} {signer} {nowhere}/acme/app:v1",
    Ends::With(20, "network.unreachable"),
)];

/// The repositories that hold an image before anybody signs.
const REPOSITORIES: &[&str] =
    &["acme/app", "acme/attested", "acme/cosign3", "acme/cosign2", "acme/both", "acme/keyed", "acme/unkeyed"];

/// Runs everything; returns a line for each question and the reports of what was wrong.
pub(crate) fn run(site: &Site) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    if ![Program::DockerRegistry, Program::ReferrersRegistry, Program::Skopeo].iter().all(|part| site.has(*part)) {
        return Ok((vec!["not asked: a registry or skopeo is missing".to_owned()], Vec::new()));
    }
    let http = Http::new()?;
    // Keys are nobody's that the instance knows: whoever signs with one may write.
    let options = Options { writes: Some("any"), ..Options::default() };
    let instance = Instance::start(site, &http, &options)?;
    let variables = instance.trust_material(site, &http)?;
    for (program, words) in SETUP.iter().filter(|(program, _)| site.has(*program)) {
        site.run(*program, words, &variables)?.demand()?;
    }
    let who = Who::Person;
    let variables = variables.with("identity", who.identity());
    let token = site.run(Program::Waxseal, who.token(), &variables)?.demand()?;
    let issuer = format!("{}{}", variables.value("origin").unwrap_or_default(), who.issuer_path());
    let predicate = site.folder().join("predicate.json");
    fs::write(&predicate, json!({"buildDefinition": {}, "runDetails": {}}).to_string())?;
    let statement = site.folder().join("statement.json");
    let other = json!({"name": "other", "digest": {"sha256": hex::encode(sha256(b"other"))}});
    let stated = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [other],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    });
    fs::write(&statement, stated.to_string())?;
    let variables = variables
        .with("statement", text(&statement))
        .with("token", token.stdout.trim())
        .with("issuer", issuer)
        .with("other_identity", who.other_identity())
        .with("predicate", text(&predicate))
        .with("password", PASSWORD)
        .with("passphrase", "correct horse")
        .with("folder", text(site.folder()))
        .with("nowhere", format!("127.0.0.1:{}", free_port()?))
        .with("layout", text(&layout(site.folder())?));

    let fallback = registry(site, "fallback", None)?;
    let referrers = referrers_registry(site)?;
    let private = registry(site, "private", Some(HTPASSWD))?;
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (place, other) in [(&fallback, &referrers), (&referrers, &fallback)] {
        let variables = variables
            .clone()
            .with("registry", place.address.clone())
            .with("other", other.address.clone())
            .with("keys", text(&site.folder().join(place.name)))
            .with("saved", text(&site.folder().join(format!("saved-{}", place.name))));
        for repository in REPOSITORIES {
            push(site, &variables, repository, "v1", "")?;
        }
        push(site, &variables, "acme/multi", "multi", "--all")?;
        ask(site, place.name, QUESTIONS, &variables, &mut lines, &mut wrong)?;
        ask(site, place.name, WITH_KEYS, &variables, &mut lines, &mut wrong)?;
        let (line, fault) = together(site, &variables)?;
        lines.push(format!("{}: {line}", place.name));
        wrong.extend(fault);
    }
    let variables = variables.with("registry", private.address.clone());
    push(site, &variables, "acme/app", "v1", &format!("--dest-creds=robot:{PASSWORD}"))?;
    ask(site, private.name, BEHIND_A_LOGIN, &variables, &mut lines, &mut wrong)?;
    ask(site, "nowhere", NOWHERE, &variables, &mut lines, &mut wrong)?;
    Ok((lines, wrong))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// How many attest one image at the same time.
const AT_ONCE: usize = 6;

/// Many who attest at the same time: none of their attestations may be lost (cosign 2432).
fn together(site: &Site, variables: &Variables) -> anyhow::Result<(String, Option<String>)> {
    push(site, variables, "acme/together", "v1", "")?;
    let words = "attest --instance {origin} --type slsaprovenance1 --predicate {predicate} {registry}/acme/together:v1";
    let outcomes = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..AT_ONCE).map(|_| scope.spawn(|| site.run(Program::Waxseal, words, variables)?.demand())).collect();
        all.into_iter().map(|one| one.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked"))).collect::<Vec<_>>()
    });
    outcomes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let listed = site.run(Program::Waxseal, "download attestation {registry}/acme/together:v1", variables)?.demand()?;
    let found = listed.stdout.lines().count();
    let right = found == AT_ONCE;
    let line = format!("{AT_ONCE} attest at the same time: {}", if right { "ok" } else { "WRONG" });
    Ok((line, (!right).then(|| format!("of {AT_ONCE} attestations made at the same time {found} are left"))))
}

fn push(site: &Site, variables: &Variables, repository: &str, name: &str, more: &str) -> anyhow::Result<()> {
    let variables = variables.clone().with("repository", repository).with("name", name);
    let words = format!(
        "--insecure-policy copy --dest-tls-verify=false {more} oci:{{layout}}:{{name}} docker://{{registry}}/{{repository}}:v1"
    );
    site.run(Program::Skopeo, &words, &variables)?.demand().map(drop)
}

/// A folder with one image, `v1`, and an index of two, `multi`.
fn layout(folder: &Path) -> anyhow::Result<PathBuf> {
    let layout = folder.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8]| -> anyhow::Result<Value> {
        let digest = hex::encode(sha256(bytes));
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({"digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let described = |bytes: &[u8], media_type: &str, more: Value| -> anyhow::Result<Value> {
        let mut descriptor = put(bytes)?;
        let object = descriptor.as_object_mut().context("an object")?;
        object.insert("mediaType".to_owned(), json!(media_type));
        object.extend(more.as_object().cloned().unwrap_or_default());
        Ok(descriptor)
    };
    let image = |architecture: &str| -> anyhow::Result<Vec<u8>> {
        // An empty tar archive: nothing unpacks it here.
        let tar = vec![0_u8; 1024];
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/app"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(sha256(&tar)))]},
        });
        let config = described(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json", json!({}))?;
        let layer = described(&tar, "application/vnd.oci.image.layer.v1.tar", json!({}))?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        });
        Ok(manifest.to_string().into_bytes())
    };
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let platform = |architecture: &str| json!({"platform": {"os": "linux", "architecture": architecture}});
    let children = [
        described(&image("amd64")?, MANIFEST, platform("amd64"))?,
        described(&image("arm64")?, MANIFEST, platform("arm64"))?,
    ];
    let index = "application/vnd.oci.image.index.v1+json";
    let multi = json!({"schemaVersion": 2, "mediaType": index, "manifests": children}).to_string();
    let named = |name: &str| json!({"annotations": {"org.opencontainers.image.ref.name": name}});
    let entries =
        [described(&image("amd64")?, MANIFEST, named("v1"))?, described(multi.as_bytes(), index, named("multi"))?];
    let list = json!({"schemaVersion": 2, "mediaType": index, "manifests": entries});
    fs::write(layout.join("index.json"), list.to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(layout)
}
