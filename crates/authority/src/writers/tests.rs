use super::{GRACE, LiveCertificates, MAX_WRITERS, Writer, Writers};
use crate::ca::CaIssuer;
use crate::ca::forge::{TestKey, issuer, leaf, name, now, precertificate};
use crate::rules::{Rules, RulesError};
use formats::code::Code;
use formats::crypto::KeyKind;
use formats::entry::Verifier;
use formats::x509::Certificate;
use jiff::{SignedDuration, Timestamp};
use waxseal_formats as formats;

fn read(writes: &str) -> Result<Writers, RulesError> {
    Rules::from_yaml(&format!("rules: []\n{writes}"), &[]).map(|rules| rules.writers().clone())
}

/// A list with PEM texts as YAML has them.
fn listing(members: &[(&str, &str)]) -> String {
    let mut text = "writes:\n".to_owned();
    for (kind, pem) in members {
        text += &format!("  - {kind}: |\n");
        pem.lines().for_each(|line| text += &format!("      {line}\n"));
    }
    text
}

fn of(certificate: &Certificate) -> Verifier {
    Verifier::Certificate(certificate.der().to_vec())
}

fn key_of(key: &TestKey) -> Verifier {
    Verifier::PublicKey(key.public.spki_der().to_vec())
}

/// What the writers say about a verifier, without a memory of what was issued.
fn decide(writers: &Writers, verifier: &Verifier, own: &CaIssuer, at: Timestamp) -> Result<(), String> {
    writers.decide([verifier], own, &LiveCertificates::default(), at).map_err(|denied| {
        assert_eq!(denied.code(), Code::RULE_WRITER);
        denied.to_string()
    })
}

#[test]
fn without_a_line_about_it_own_certificates_write() {
    assert_eq!(read(""), Ok(Writers::default()));
    assert_eq!(read("writes: own"), Ok(Writers::Listed(vec![Writer::Own])));
    assert_eq!(read("writes: [own]"), Ok(Writers::default()));
    assert_eq!(read("writes: any"), Ok(Writers::Any));
}

#[test]
fn certificates_and_keys_are_listed_as_pem() {
    let (key, (_, own)) = (TestKey::generate(KeyKind::EcdsaP384), issuer(KeyKind::EcdsaP256));
    let chain: String = own.chain().iter().map(Certificate::to_pem).collect();
    let text = listing(&[("ca", &chain), ("key", &key.public.to_pem())]) + "  - own\n";
    let expected = vec![
        Writer::Authority(own.chain()[0].clone()),
        Writer::Authority(own.chain()[1].clone()),
        Writer::Key(key.public.clone()),
        Writer::Own,
    ];
    assert_eq!(read(&text), Ok(Writers::Listed(expected)));
}

#[test]
fn what_cannot_be_listed_is_refused_with_its_place() {
    let (ca, own) = issuer(KeyKind::EcdsaP256);
    let (pem, leaf) = (own.chain()[0].to_pem(), leaf(&ca, &own).to_pem());
    let key = ca.public.to_pem();
    let private = key.replace("PUBLIC", "PRIVATE");
    let twice = listing(&[("key", &key), ("key", &key)]);
    let many: String = (0..=MAX_WRITERS).map(|_| pem.clone()).collect();
    for (text, line, reason) in [
        ("writes: everybody", 2, "everybody"),
        ("writes: 7", 2, "`any`, `own`"),
        ("writes: []", 2, "nobody"),
        ("writes: [own, any]", 2, "writes: any"),
        ("writes: [own, own]", 2, "member 2"),
        ("writes:\n  - own\n  - theirs", 4, "theirs"),
        ("writes:\n  - own\n  - cert: x", 4, "cert"),
        ("writes:\n  - own\n  - {}", 4, "`own`, `ca:`"),
        ("writes:\n  - ca: x", 3, "PEM"),
        ("writes:\n  - ca: [x]", 3, ""),
        ("writes:\n  - key: x", 3, "PEM"),
        ("writes: own\nwrites: any", 3, "writes"),
        (&listing(&[("ca", &leaf)]), 4, "not one of a CA"),
        (&listing(&[("ca", &key)]), 4, "PEM"),
        (&listing(&[("key", &pem)]), 4, "PEM"),
        (&listing(&[("key", &private)]), 4, "PEM"),
        (&listing(&[("ca", &many)]), 4, ""),
        (&twice, 3, "member 2"),
        (&(listing(&[("ca", &pem)]) + "    key: x\n"), 3, "member of its own"),
    ] {
        let error = read(text).expect_err(text);
        assert_eq!(error.code(), Code::POLICY_MALFORMED);
        let RulesError::Yaml { line: found, reason: message, .. } = &error else { panic!("{text}: {error:?}") };
        assert!(message.contains(reason), "{text}: {error}");
        assert_eq!(*found, line, "{text}: {error}");
    }
    let keys: Vec<_> = (0..=MAX_WRITERS).map(|_| TestKey::generate(KeyKind::Ed25519).public.to_pem()).collect();
    let list = |count: usize| listing(&keys[..count].iter().map(|key| ("key", key.as_str())).collect::<Vec<_>>());
    assert!(read(&list(MAX_WRITERS)).is_ok());
    assert!(read(&list(MAX_WRITERS + 1)).is_err_and(|error| error.to_string().contains("more than 100")));
}

#[test]
fn a_certificate_of_ones_own_writes_while_it_may_be_timestamped() {
    let (ca, own) = issuer(KeyKind::EcdsaP256);
    let certificate = leaf(&ca, &own);
    let (start, end, second) = (certificate.not_before(), certificate.not_after(), SignedDuration::from_secs(1));
    let (writers, live) = (Writers::default(), LiveCertificates::default());
    live.insert(&certificate, now());
    // Remembered or, after a restart, checked: it makes no difference.
    for known in [&live, &LiveCertificates::default()] {
        for time in [start, end, end + GRACE, start - GRACE] {
            assert_eq!(writers.decide([&of(&certificate)], &own, known, time), Ok(()), "{time}");
        }
        let denied = writers.decide([&of(&certificate)], &own, known, end + GRACE + second).expect_err("over");
        assert_eq!(
            denied.to_string(),
            "the log takes no entries signed by this certificate, which is not valid now: it takes those signed with \
             certificates of this instance; `writes:` in the rules file says so"
        );
    }
    assert!(decide(&writers, &of(&certificate), &own, start - GRACE - second).is_err());
}

#[test]
fn nothing_but_certificates_of_ones_own_writes_by_default() {
    let (ca, own) = issuer(KeyKind::EcdsaP256);
    let certificate = leaf(&ca, &own);
    let (other_ca, other) = issuer(KeyKind::EcdsaP256);
    let writers = Writers::default();
    let at = now();
    assert!(decide(&writers, &of(&certificate), &own, at).is_ok());
    // Same names, another key.
    assert_eq!(other.subject_der(), own.subject_der());
    let foreign = leaf(&other_ca, &other);
    // The leaf with one bit of its signature changed.
    let mut forged = certificate.der().to_vec();
    *forged.last_mut().expect("a signature") ^= 1;
    let poisoned = precertificate(&ca, &own, KeyKind::EcdsaP256).certificate().clone();
    for (what, verifier) in [
        ("another CA's", of(&foreign)),
        ("a forged one", Verifier::Certificate(forged)),
        ("a precertificate", of(&poisoned)),
        ("the CA itself", of(&own.chain()[0])),
        ("the root", of(&own.chain()[1])),
        ("garbage", Verifier::Certificate(b"PEM".to_vec())),
        (
            "the key of a good certificate",
            Verifier::PublicKey(certificate.public_key().expect("a key").spki_der().into()),
        ),
        ("the CA's key", key_of(&ca)),
        ("no key", Verifier::PublicKey(Vec::new())),
    ] {
        let message = decide(&writers, &verifier, &own, at).expect_err(what);
        assert!(message.contains("certificates of this instance") && message.contains("`writes:`"), "{message}");
    }
}

/// Whoever can issue below an authority's root is not this authority.
#[test]
fn own_is_the_issuing_certificate_not_its_root() {
    let (ca, own) = issuer(KeyKind::EcdsaP256);
    let root_only = CaIssuer::new(vec![own.chain()[1].clone()]).expect("an authority");
    assert!(decide(&Writers::default(), &of(&leaf(&ca, &own)), &root_only, now()).is_err());
}

#[test]
fn listed_authorities_write_and_own_ones_no_more() {
    let ((ca, own), (other_ca, other)) = (issuer(KeyKind::EcdsaP256), issuer(KeyKind::EcdsaP384));
    let writers = read(&listing(&[("ca", &other.chain()[0].to_pem())])).expect("writers");
    let theirs = leaf(&other_ca, &other);
    assert_eq!(decide(&writers, &of(&theirs), &own, now()), Ok(()));
    assert!(decide(&writers, &of(&theirs), &own, theirs.not_after() + GRACE).is_ok());
    assert!(decide(&writers, &of(&theirs), &own, theirs.not_after() + GRACE * 2).is_err());
    let mine = leaf(&ca, &own);
    let live = LiveCertificates::default();
    live.insert(&mine, now());
    let denied = writers.decide([&of(&mine)], &own, &live, now()).expect_err("not listed");
    assert!(denied.to_string().contains("certificates of a listed CA"), "{denied}");
    // The path may not be longer than one step: an entry has the leaf alone.
    let root = Writers::Listed(vec![Writer::Authority(other.chain()[1].clone())]);
    assert!(decide(&root, &of(&theirs), &own, now()).is_err());
    // What the root signed itself is an authority, and no signer.
    assert!(decide(&root, &of(&other.chain()[0]), &own, now()).is_err());
    // A CA that was not valid when it signed.
    let key = TestKey::generate(KeyKind::EcdsaP256);
    let late = now() + SignedDuration::from_hours(2);
    let unsigned = crate::ca::root(&name("issuing"), &other_ca.public, [1; 20], late).expect("a root");
    let late = unsigned.finish(&other_ca.sign(unsigned.message())).expect("a certificate");
    assert_eq!(late.subject_der(), other.subject_der());
    assert!(decide(&Writers::Listed(vec![Writer::Authority(late)]), &of(&theirs), &own, now()).is_err());
    assert!(decide(&writers, &key_of(&key), &own, now()).is_err());
}

#[test]
fn listed_keys_write_without_a_certificate() {
    let (ca, own) = issuer(KeyKind::EcdsaP256);
    let (key, other) = (TestKey::generate(KeyKind::EcdsaP256), TestKey::generate(KeyKind::EcdsaP256));
    let writers = read(&(listing(&[("key", &key.public.to_pem())]) + "  - own\n")).expect("writers");
    assert_eq!(decide(&writers, &key_of(&key), &own, now()), Ok(()));
    assert_eq!(decide(&writers, &of(&leaf(&ca, &own)), &own, now()), Ok(()));
    let message = decide(&writers, &key_of(&other), &own, now()).expect_err("not listed");
    assert!(message.contains("certificates of this instance and those of a listed key"), "{message}");
    // A listed key that signs itself a certificate could put any name into it.
    let unsigned = crate::ca::root(&name("alice"), &key.public, [1; 20], now()).expect("a root");
    let own_made = unsigned.finish(&key.sign(unsigned.message())).expect("a certificate");
    assert!(decide(&writers, &of(&own_made), &own, now()).is_err());
}

#[test]
fn any_asks_nothing() {
    let (_, own) = issuer(KeyKind::EcdsaP256);
    for verifier in [Verifier::PublicKey(Vec::new()), Verifier::Certificate(b"PEM".to_vec())] {
        assert_eq!(decide(&Writers::Any, &verifier, &own, now()), Ok(()));
    }
}

#[test]
fn every_verifier_has_to_be_admitted_and_there_has_to_be_one() {
    let (ca, own) = issuer(KeyKind::EcdsaP256);
    let (mine, other) = (of(&leaf(&ca, &own)), key_of(&TestKey::generate(KeyKind::EcdsaP256)));
    let decide = |verifiers: &[Verifier]| {
        Writers::default().decide(verifiers, &own, &LiveCertificates::default(), now()).map_err(|denied| denied.signer)
    };
    assert_eq!(decide(&[mine.clone(), mine.clone()]), Ok(()));
    assert_eq!(decide(&[mine.clone(), other.clone()]), Err("this key"));
    assert_eq!(decide(&[other, mine]), Err("this key"));
    assert_eq!(decide(&[]), Err("nobody"));
}
