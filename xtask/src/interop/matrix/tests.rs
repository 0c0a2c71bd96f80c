//! The rows are complete, and name only what exists.

use super::{super::command::Variables, *};

/// Every variable that a row may name.
fn variables() -> Variables {
    [
        "origin",
        "data",
        "cache",
        "root",
        "trusted_root",
        "signing_config",
        "signing_config_v1",
        "bundle",
        "artifact",
        "statement",
        "predicate",
        "identity",
        "issuer",
        "kind",
        "sign_js",
        "token",
    ]
    .into_iter()
    .fold(Variables::default(), |variables, name| variables.with(name, name))
}

#[test]
fn every_row_names_only_variables_that_exist() {
    let mut rows: Vec<Words> = SETUP.iter().map(|(_, words)| *words).collect();
    rows.extend(SIGNERS.iter().map(|signer| signer.words));
    rows.extend(Who::ALL.map(Who::token));
    for verifier in VERIFIERS {
        rows.extend(verifier.blob);
        rows.extend(verifier.statement);
    }
    for row in rows {
        variables().expand(row).unwrap();
    }
}

#[test]
fn names_tell_rows_apart() {
    for (at, signer) in SIGNERS.iter().enumerate() {
        assert!(SIGNERS.iter().skip(at + 1).all(|other| other.name != signer.name), "{}", signer.name);
    }
    assert!(CHOSEN.iter().all(|name| SIGNERS.iter().any(|signer| signer.name == *name)));
    for row in UNABLE {
        assert!(VERIFIERS.iter().any(|verifier| verifier.name == row.verifier), "{row:?}");
        assert!(row.signer.is_none_or(|name| SIGNERS.iter().any(|signer| signer.name == name)), "{row:?}");
    }
}

#[test]
fn our_verifier_is_asked_everything() {
    for signer in SIGNERS {
        for verifier in VERIFIERS.iter().filter(|verifier| verifier.program == Waxseal) {
            assert!(Change::ALL.iter().all(|change| unable(verifier, signer, *change).is_none()));
        }
        let asked =
            VERIFIERS.iter().any(|verifier| verifier.program == Waxseal && verifier.words(signer.content).is_some());
        assert!(asked, "{}", signer.name);
    }
}

#[test]
fn every_verifier_has_words_for_every_change() {
    for verifier in VERIFIERS {
        for change in [Change::Artifact, Change::Signature, Change::Identity] {
            assert!(!reasons(verifier.program, change).is_empty(), "{}: {change:?}", verifier.name);
        }
    }
}

#[test]
fn what_ours_makes_everybody_is_asked() {
    let p256 = |signer: &&Signer| !signer.words.contains("--signing-algorithm");
    for signer in SIGNERS.iter().filter(|signer| signer.program == Waxseal).filter(p256) {
        for program in [Cosign, SigstorePython, SigstoreJs] {
            let asked = VERIFIERS.iter().filter(|verifier| verifier.program == program).any(|verifier| {
                verifier.words(signer.content).is_some() && unable(verifier, signer, Change::None).is_none()
            });
            assert!(asked, "{} by {program:?}", signer.name);
        }
    }
}
