use super::{Compiled, LANGUAGES, Language, MAX_MESSAGE_LEN, MAX_MESSAGES, MAX_SOURCE_LEN, PolicyError, Verdict};
use crate::input::{Input, MAX_VALUES};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use waxseal_formats::code::Code;

const NOW: &str = "2026-03-01T12:00:00Z";

fn input() -> Input {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "cosign.sigstore.dev/attestation/v1",
        "subject": [{"name": "registry.example/app", "digest": {"sha256": "aa"}}],
        "predicate": {
            "Data": "{\"foo\": \"bar\"}", "level": 3, "authors": ["ada", "bob"], "nothing": null,
            "scan": {"finished": "2026-02-20T00:00:00Z", "findings": [{"id": "CVE-1", "severity": "low"}]},
        },
    });
    let signer = json!({
        "identity": "ada@corp.example", "issuer": "https://issuer.example", "extensions": {"runnerEnvironment": "self-hosted"},
    });
    Input::facts(statement, signer).unwrap()
}

fn compile(language: &str, source: &str) -> Result<Compiled, PolicyError> {
    Compiled::compile(Language::named(language)?, source)
}

fn judge(language: &str, source: &str) -> Verdict {
    let now: Timestamp = NOW.parse().unwrap();
    compile(language, source).unwrap_or_else(|error| panic!("{source}: {error}")).evaluate(&input(), now)
}

fn allows(language: &str, source: &str) {
    assert!(matches!(judge(language, source), Verdict::Allowed(_)), "{source}: {:?}", judge(language, source));
}

#[track_caller]
fn denies(language: &str, source: &str, message: &str) {
    match judge(language, source) {
        Verdict::Denied(denial) => {
            assert_eq!(denial.code(), Code::POLICY_DENIED);
            assert!(denial.messages().iter().any(|text| text.contains(message)), "{source}: {denial:?}");
        }
        Verdict::Allowed(_) => panic!("{source} allows"),
    }
}

#[track_caller]
fn malformed(language: &str, source: &str, message: &str) {
    let error = compile(language, source).expect_err(source);
    assert_eq!(error.code(), Code::POLICY_MALFORMED, "{source}");
    assert!(error.to_string().contains(message), "{source}: {error}");
}

fn v1(rules: &str) -> String {
    format!("package signature\n{rules}")
}

fn sigstore(rules: &str) -> String {
    format!("package sigstore\n{rules}")
}

#[test]
fn languages_go_by_their_extension() {
    let names: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
    assert_eq!(names, ["cel", "rego", "cue"]);
    assert_eq!(Language::named("yaml").unwrap_err().code(), Code::POLICY_MALFORMED);
    malformed("cue", "predicateType: \"x\"", "CUE policies are not supported yet");
    for language in ["cel", "rego"] {
        let error = compile(language, &" ".repeat(MAX_SOURCE_LEN + 1)).unwrap_err();
        assert_eq!(error.code(), Code::INPUT_TOO_LARGE);
    }
    let many = Value::from(vec![0; MAX_VALUES]);
    assert_eq!(Input::facts(many, Value::Null).unwrap_err().code(), Code::INPUT_TOO_LARGE);
}

#[test]
fn rego_allows_what_is_true() {
    for policy in [
        v1("default allow := false\nallow if input.predicateType == \"cosign.sigstore.dev/attestation/v1\""),
        v1("import rego.v1\nallow if json.unmarshal(input.predicate.Data).foo == \"bar\""),
        // Version 0, as in cosign's examples.
        v1("import data.signature.verified\ndefault allow = false\nallow {\n  data := json.unmarshal(input.predicate.Data)\n  data.foo == \"bar\"\n}")
            .replace("data := ", "predicate := ")
            .replace("data.foo", "predicate.foo"),
        v1("allow = true\ndeny[msg] { input.predicate.level < 2\n msg := \"level\" }"),
        v1("allow := true\ndeny contains msg if { input.predicate.level < 2\n msg := \"level\" }"),
        v1("allow if { every author in input.predicate.authors { author in {\"ada\", \"bob\"} } }"),
        v1("allow if data.waxseal.signer.identity == \"ada@corp.example\""),
        v1("allow if time.now_ns() - time.parse_rfc3339_ns(input.predicate.scan.finished) < (((30 * 24) * 3600) * 1000000000)"),
        v1("helper(x) := replace(concat(\"-\", [x, \"b\"]), \"-\", \"+\")\nallow if helper(\"a\") == \"a+b\""),
        v1("allow if count(numbers.range(1, 10)) == 10"),
        v1("allow if { numbers.range(3, 1) == [3, 2, 1]; to_number(\"1.5\") == 1.5; bits.lsh(1, 4) == 16 }"),
        v1("allow if { array.concat([1], [2]) == [1, 2]; numbers.range_step(0, 5, 2) == [0, 2, 4] }"),
        v1("allow if { true with input as {} }"),
        sigstore("isCompliant { input.predicate.level == 3 }"),
        sigstore("isCompliant := true"),
        sigstore("isCompliant[{\"result\": true}] { true }"),
        sigstore("isCompliant := [{\"result\": true, \"error\": \"\", \"warning\": \"\"}]"),
    ] {
        allows("rego", &policy);
    }
}

#[test]
fn rego_denies_whatever_is_not_true() {
    for (rules, message) in [
        ("allow if input.missing == 1", "signature.allow is undefined"),
        ("default allow := false\nallow if input.missing", "signature.allow is false"),
        ("allow := 1", "signature.allow is a number"),
        ("allow := \"true\"", "signature.allow is a text"),
        ("allow contains true", "signature.allow is a set"),
        ("allow := {\"a\": true}", "signature.allow is an object"),
        ("allow := null", "signature.allow is null"),
        ("allow := true\nallow := false if input.predicate", "conflicts"),
        ("allow if 1 / 0 == 1", "divide by zero"),
        ("allow if not 1 / 0 == 1", "divide by zero"),
        ("allow if not to_number(\"x\") == 1", "to_number"),
        ("allow if foo == 1", "undefined variable `foo`"),
        ("allow := true\ndeny := true", "signature.deny is true"),
        ("allow := true\ndeny := \"no\"", "no"),
        ("allow := true\ndeny := 7", "7"),
        (
            "allow := true\ndeny contains msg if { some f in input.predicate.scan.findings\n msg := sprintf(\"%v is %v\", [f.id, f.severity]) }",
            "CVE-1 is low",
        ),
        ("allow = true\ndeny[msg] { msg := \"old words\" }", "old words"),
        ("allow := true\ndeny := [\"a\", {\"b\": 1}]", "{\"b\":1}"),
        ("allow := true\ndeny if 1 / 0 == 1", "signature.deny cannot be evaluated"),
    ] {
        denies("rego", &v1(rules), message);
    }
    for (rules, message) in [
        ("isCompliant { input.missing }", "undefined"),
        ("isCompliant = 1 { true }", "a number"),
        ("isCompliant := false", "false"),
        ("isCompliant := []", "a list"),
        ("isCompliant := {\"result\": true}", "an object"),
        // policy-controller panics.
        ("isCompliant[r] { r := \"yes\" }", "is a text and no object"),
        // policy-controller takes one true result for an answer.
        ("isCompliant := [{\"result\": true}, {\"result\": false, \"error\": \"second\"}]", "second"),
        ("isCompliant := [{\"result\": true, \"warning\": \"old\"}]", "warning: old"),
        ("isCompliant := [{\"result\": \"true\"}]", "a text and not true or false"),
        ("isCompliant := [{\"error\": \"said\"}]", "said"),
    ] {
        denies("rego", &sigstore(rules), message);
    }
}

/// security.md row 39: Kyverno CVE-2026-22039, CVE-2026-4789.
#[test]
fn a_policy_has_no_input_or_output() {
    for (call, message) in [
        (
            "http.send({\"url\": \"http://127.0.0.1/\", \"method\": \"get\"}).status_code == 200",
            "could not find function http.send",
        ),
        ("opa.runtime().env.PATH", "could not find function opa.runtime"),
        ("net.lookup_ip_addr(\"localhost\")", "could not find function"),
        ("rand.intn(\"x\", 5) < 5", "`rand.intn` is not offered"),
    ] {
        denies("rego", &v1(&format!("allow if {call}")), message);
        denies("rego", &v1(&format!("allow if not {call}")), message);
    }
    malformed("cel", "http.get('http://127.0.0.1/') == ''", "there is no function `get`");
    malformed("cel", "now() > 1", "there is no function `now`");
}

#[test]
fn policies_that_cannot_be_meant_are_malformed() {
    for (policy, message) in [
        (String::new(), "read as Rego v0"),
        ("allow if true".to_owned(), "read as Rego v0"),
        (v1("allow if {"), "read as Rego v0"),
        (v1("permit := true"), "no rule `allow`"),
        (sigstore("allow := true"), "no rule `isCompliant`"),
        ("package other\nallow := true".to_owned(), "its package is other"),
        ("package a.signature\nallow := true".to_owned(), "its package is a.signature"),
        ("package signature\nallow := true\npackage sigstore\nisCompliant := true".to_owned(), "Rego"),
    ] {
        malformed("rego", &policy, message);
    }
    for (policy, message) in [
        ("", "CEL"),
        ("predicate.level ==", "CEL"),
        ("claims.level == 3", "`claims` means nothing here"),
        ("predicate.authors.map(a, a) == []", "within a loop cost too much"),
        ("predicate.authors.all(a, predicate.authors.exists(b, a == b))", "within another one"),
    ] {
        malformed("cel", policy, message);
    }
}

#[test]
fn cel_allows_what_is_true_and_denies_the_rest() {
    for policy in [
        "predicateType == 'cosign.sigstore.dev/attestation/v1' && predicate.level >= 3",
        "statement.predicate.level == 3 && subject[0].digest.sha256 == 'aa'",
        "signer.identity.endsWith('@corp.example') && signer.extensions.runnerEnvironment == 'self-hosted'",
        "predicate.authors.all(a, a in ['ada', 'bob']) && !has(predicate.missing)",
        "predicate.scan.findings.all(f, f.severity in ['low', 'medium'])",
        "predicate.nothing == null",
    ] {
        allows("cel", policy);
    }
    for (policy, message) in [
        ("predicate.level == 4", "is false"),
        ("predicate.missing == 'x'", "cannot be evaluated"),
        ("signer.key == 'x'", "cannot be evaluated"),
        ("1 / 0 == 1", "cannot be evaluated"),
        ("predicate.level", "not true or false"),
        ("'true'", "not true or false"),
        ("null", "not true or false"),
    ] {
        denies("cel", policy, message);
    }
}

#[test]
fn a_budget_that_is_used_up_is_a_denial() {
    let bomb = "some i in numbers.range(1, 100000)\nsome j in numbers.range(1, 100000)\ni + j == 0";
    for rules in [
        format!("allow if {{ count([1 | {bomb}]) == 0 }}"),
        format!("bomb if {{ {bomb} }}\nallow if not bomb"),
        format!("allow := true\ndeny if {{ {bomb} }}"),
    ] {
        denies("rego", &v1(&rules), "time limit");
    }
    for (call, message) in [
        ("count(numbers.range(1, 100000000)) > 0", "too large"),
        ("bits.lsh(1, 99999999999) > 0", "too large"),
        ("to_number(\"9e99999999\") > 0", "to_number"),
        ("units.parse(\"9e99999999\") > 0", "not offered"),
        ("count(regex.replace(\"aaa\", \"a\", \"aaa\")) > 0", "not offered"),
    ] {
        denies("rego", &v1(&format!("allow if {call}")), message);
    }
    let doubled: String = (1..30).map(|i| format!("a{i} := concat(\"\", [a{0}, a{0}])\n", i - 1)).collect();
    denies("rego", &v1(&format!("allow if {{ a0 := \"x\"\n{doubled} count(a29) > 0 }}")), "too large");
    let wide = Input::facts(json!({"predicate": vec![0; 1 << 16]}), Value::Null).unwrap();
    let verdict = compile("cel", "true").unwrap().evaluate(&wide, NOW.parse().unwrap());
    assert!(matches!(verdict, Verdict::Denied(_)));
}

/// What would take the stack, or hours to read, is refused before anything reads or evaluates it.
#[test]
fn bombs_are_refused_when_they_are_read() {
    let chain = |n: usize| {
        let rules: String = (0..n).map(|i| format!("r{i} if r{}\n", i + 1)).collect();
        v1(&format!("allow if r0\n{rules}r{n} := true\n"))
    };
    allows("rego", &chain(50));
    let nested = |n: usize| v1(&format!("allow if {}1{} != 2", "[".repeat(n), "]".repeat(n)));
    allows("rego", &nested(10));
    allows("rego", &v1(&format!("allow if {}1 == 41", "1 + ".repeat(40))));
    for (policy, message) in [
        (chain(200), "too deeply"),
        (v1("f(x) := f(x + 1)\nallow if f(1)"), "recursion"),
        (v1("f(x) := g(x)\ng(x) := data.signature.f(x)\nallow if f(1)"), "recursion"),
        (v1("import data.signature.f as g\nf(x) := g(x)\nallow if f(1)"), "imported under another name"),
        (v1("import data.signature as s\nf(x) := s.f(x)\nallow if f(1)"), "has to be followed"),
        (v1("allow if data[\"signature\"].allow"), "has to be followed"),
        (v1("g(x) := x\nf(x) := g(x)\nallow if f(1) with g as f"), "no function"),
        (nested(40), "brackets within each other"),
        (v1(&format!("allow if {}", "[[[[[[[[[[1]]]]]]]]]]\n".repeat(200))), "too many brackets"),
        (v1(&format!("allow if {}1 == 1", "1 +\n".repeat(3000))), "operators"),
        (v1(&format!("allow if {}1 == 1", "-\n".repeat(3000))), "operators"),
        (v1("allow if count(sprintf(\"%999999999999d\", [1])) > 0"), "digits"),
        (v1("allow if count(sprintf(input.format, [1])) > 0"), "written out"),
    ] {
        malformed("rego", &policy, message);
    }
    let deep = |text: &str| malformed("cel", text, "too deep");
    deep(&"(".repeat(2000));
    deep(&("!".repeat(100) + "true"));
    deep(&vec!["true"; 300].join(" && "));
    deep(&vec!["1"; 1000].join(" + "));
    malformed("cel", &format!("predicateType == '{}'", "x".repeat(20_000)), "longer than");
}

#[test]
fn messages_are_bounded() {
    let policy = v1(&format!(
        "allow := true\ndeny contains sprintf(\"%d{}\", [i]) if some i in numbers.range(1, 500)",
        "x".repeat(MAX_MESSAGE_LEN)
    ));
    let Verdict::Denied(denial) = judge("rego", &policy) else { panic!("allowed") };
    assert_eq!(denial.messages().len(), MAX_MESSAGES);
    assert!(denial.messages().iter().all(|text| text.len() <= MAX_MESSAGE_LEN));
}

/// Pieces of both languages, so that some texts are policies.
fn scraps() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "allow",
        " if ",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\n",
        " := ",
        " == ",
        "true",
        "1",
        "\"a\"",
        "input",
        ".",
        "predicate",
        " not ",
        "some x in ",
        "x",
        "every x in ",
        " | ",
        " with ",
        "data.signature",
        "deny contains ",
        "f(x) := ",
        "f",
        " else := ",
        "default ",
        "import ",
        "count",
        "sprintf(\"%v\", ",
        ",",
        "numbers.range(1, 9)",
        "walk(",
        "'",
        "`",
        "#",
        "&&",
        "!",
        "-",
        "/",
        "0",
        "isCompliant",
        ".all(a, ",
        "signer",
        "é",
        "\\",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_text_evaluation_ends(body in scraps(), any in any::<String>()) {
        let now: Timestamp = NOW.parse().unwrap();
        for text in [v1(&body), sigstore(&body), v1(&format!("allow if {{ {body} }}")), body, any] {
            for language in ["rego", "cel"] {
                if let Ok(policy) = compile(language, &text) {
                    let _verdict = policy.evaluate(&input(), now);
                }
            }
        }
    }
}
