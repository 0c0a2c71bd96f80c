//! `waxseal log fsck` on the directories of real instances.

use super::{Home, Up, assert_refused, files};
use serde_json::Value;
use std::process::Output;

fn fsck(home: &Home, more: &[&str]) -> Output {
    let directory = home.text("instance");
    home.run(&[&["log", "fsck", "--data-dir", &directory], more].concat())
}

#[tokio::test]
async fn a_killed_instance_is_clean_and_a_running_one_is_left_alone() {
    for privacy in ["sealed", "open"] {
        let home = Home::new();
        assert_refused(&fsck(&home, &[]), 1, "log.store-failed");
        let mut up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", privacy]);
        for _ in 0..3 {
            up.mark().await;
        }
        assert_refused(&fsck(&home, &[]), 1, "log.store-locked");
        let refused = fsck(&home, &["--output", "json"]);
        let answer: Value = serde_json::from_slice(&refused.stdout).expect("one JSON object");
        assert_eq!(answer["code"], "log.store-locked");
        up.kill();

        let before = files(&home.path("instance"));
        let output = fsck(&home, &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let logs: Vec<_> = said.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert_eq!(logs, ["ct", "rekor", "rekor-v1"], "{said}");
        assert!(said.lines().all(|line| line.ends_with(": clean")), "{said}");
        assert!(said.contains("ct: 3 entries") && said.contains("rekor: 4 entries"), "{said}");
        assert!(before == files(&home.path("instance")), "a check changes nothing");
        assert_eq!(Up::start(&home).mark().await, (3, 4));
    }
}

#[tokio::test]
async fn damage_is_told_with_its_file_and_place() {
    let home = Home::new();
    let mut up = Up::start(&home);
    up.mark().await;
    up.kill();
    let path = up.data_dir.join("logs/ct/wal/0000000000000000");
    let whole = std::fs::read(&path).expect("segment");
    // Where nothing was written yet: recovery would clear it, and nobody would know that the disk loses bits.
    let at = whole.len() - 1000;
    let mut bad = whole.clone();
    bad[at] ^= 0x08;
    std::fs::write(&path, &bad).expect("written");
    let output = fsck(&home, &[]);
    assert_refused(&output, 1, "log.store-corrupt");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let fault = format!("  logs/ct/wal/0000000000000000 at byte {at}: ");
    assert!(said.lines().any(|line| line.starts_with(&fault)), "{said}");
    assert!(said.contains("rekor: 2 entries") && said.contains("ct: 1 entries"), "{said}");
    let answer: Value = serde_json::from_slice(&fsck(&home, &["--output", "json"]).stdout).expect("one JSON object");
    assert_eq!(answer["code"], "log.store-corrupt");
    let ct = answer["logs"].as_array().and_then(|logs| logs.iter().find(|log| log["name"] == "ct")).expect("ct");
    assert_eq!(ct["faults"][0]["file"], "logs/ct/wal/0000000000000000");
    assert_eq!(ct["faults"][0]["offset"], at);
    std::fs::write(&path, &whole).expect("written");
    assert!(fsck(&home, &[]).status.success());
}
