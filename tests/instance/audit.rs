//! The audit log of a running instance: complete, hashed, and changed by nobody unnoticed.

use super::refusals::SIGNING;
use super::{ALICE, Home, PAUSE, POLLS, Up, assert_refused, certificate_request, p256};
use serde_json::{Value, json};

fn rows(home: &Home, more: &[&str]) -> Vec<Value> {
    let directory = home.text("instance");
    let output = home.run(&[&["audit", "export", "--data-dir", &directory], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of<'a>(rows: &'a [Value], event: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["event"] == event).collect()
}

#[tokio::test]
async fn every_certificate_and_every_refusal_is_written_down_and_no_name_is() {
    let home = Home::new();
    let mut up = Up::start(&home);
    for _ in 0..3 {
        up.certificate(&p256()).await;
    }
    let mut claims = up.claims(ALICE);
    claims.insert("email_verified".into(), json!(false));
    let refused = up.signed(&claims);
    let answer = up.post(SIGNING, certificate_request(&p256(), ALICE, &refused).to_string()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    // The refusal is written within a second or so; the instance runs on.
    let mut written = Vec::new();
    for _ in 0..POLLS {
        written = rows(&home, &[]);
        if !of(&written, "denied").is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let denied = of(&written, "denied");
    assert_eq!((denied.len(), &denied[0]["code"]), (1, &json!("token.claim")));
    assert_eq!(denied[0]["request"].as_str(), Some(answer.header("x-request-id")));
    let issued = of(&written, "issued");
    assert_eq!(issued.len(), 3);
    for (index, row) in issued.iter().enumerate() {
        assert_eq!(row["leaf"]["index"], json!(index));
        assert_eq!(row["rule"], "demo-email");
    }
    assert_eq!(of(&written, "started").len(), 1);
    let text = format!("{written:?}");
    assert!(!text.contains("alice") && text.contains("hmac:"), "{text}");

    let directory = home.text("instance");
    let verify =
        |more: &[&str]| home.run(&[&["--output", "json", "audit", "verify", "--data-dir", &directory], more].concat());
    let summary = |output: &std::process::Output| -> Value { serde_json::from_slice(&output.stdout).expect("JSON") };
    let output = verify(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = summary(&output);
    assert_eq!((&before["certificates"], &before["faults"]), (&json!(3), &json!([])));

    // Killed and started again, it leads through the head that it had.
    up.kill();
    let head = format!("{}:{}", before["head"]["record"], before["head"]["digest"].as_str().expect("a digest"));
    let mut up = Up::start(&home);
    up.certificate(&p256()).await;
    up.stop();
    let output = verify(&["--through", &head]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(summary(&output)["certificates"], json!(4));
    assert_refused(&verify(&["--through", &format!("1:{}", "00".repeat(32))]), 1, "log.store-behind");
    assert_refused(&verify(&["--through", "nonsense"]), 2, "usage");
    // Stopped in order, it says so; and whoever has the keys finds the rows of a name.
    let written = rows(&home, &[]);
    assert_eq!((of(&written, "stopped").len(), of(&written, "started").len()), (1, 2));
    assert_eq!(rows(&home, &["--name", ALICE]).len(), 4);
    assert_eq!(rows(&home, &["--name", "bob@corp.example"]).len(), 0);

    // One bit in the last record, which is about no certificate: it is said, and the head that was kept is not there.
    let segment = home.path("instance/logs/ct/wal/0000000000000000");
    let whole = std::fs::read(&segment).expect("read");
    let last = summary(&verify(&[]));
    assert_eq!(last["unfinished"], json!(false));
    let head = format!("{}:{}", last["head"]["record"], last["head"]["digest"].as_str().expect("a digest"));
    let mut bytes = whole.clone();
    let place = bytes.windows(9).rposition(|part| part == b"\"event\":\"").expect("a row");
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    assert_eq!(summary(&verify(&[]))["unfinished"], json!(true));
    assert_refused(&verify(&["--through", &head]), 1, "log.store-behind");

    // One bit before it, and the chain does not hold.
    let mut bytes = whole;
    let place = bytes.windows(9).position(|part| part == b"\"event\":\"").expect("a row");
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    assert_refused(&verify(&[]), 1, "log.store-corrupt");
}

#[tokio::test]
async fn certificates_of_others_have_rows_too() {
    let home = Home::new();
    let up = Up::start(&home);
    let leaf = up.certificate(&p256()).await;
    let bundle = up.get("/api/v2/trustBundle").await.json();
    let chain = bundle["chains"][0]["certificates"].as_array().expect("a chain").clone();
    let pem = |text: &Value| {
        let certificate = waxseal_formats::x509::Certificate::from_pem(text.as_str().expect("PEM")).expect("one");
        waxseal_formats::json::encode_base64(certificate.der())
    };
    let mut submitted = vec![waxseal_formats::json::encode_base64(leaf.der())];
    submitted.extend(chain.iter().map(pem));
    let answer = up.post("/ctlog/ct/v1/add-chain", json!({"chain": submitted}).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let written = rows(&home, &[]);
    assert_eq!((of(&written, "issued").len(), of(&written, "submitted").len()), (1, 1));
    assert_eq!(of(&written, "submitted")[0]["leaf"]["index"], json!(1));
}

/// The last record, about a certificate that was published, is damaged: both commands say so, after all that can be read.
#[tokio::test]
async fn a_certificate_whose_record_is_damaged_is_missed() {
    let home = Home::new();
    let mut up = Up::start(&home);
    for _ in 0..2 {
        up.certificate(&p256()).await;
    }
    up.size_reaching("/ctlog", 2).await;
    up.kill();
    let segment = home.path("instance/logs/ct/wal/0000000000000000");
    let mut bytes = std::fs::read(&segment).expect("read");
    let issued = b"\"event\":\"issued\"";
    let place = bytes.windows(issued.len()).rposition(|part| part == issued).expect("a row");
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let directory = home.text("instance");
    assert_refused(&home.run(&["audit", "verify", "--data-dir", &directory]), 1, "log.store-corrupt");
    let output = home.run(&["audit", "export", "--data-dir", &directory]);
    assert_refused(&output, 1, "log.store-corrupt");
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("\"issued\"").count(), 1, "the other one is there");
}
