//! Key files, through the binary.

use super::{assert_refused, command, last_line};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

fn run(home: &Path, passphrase: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = command(home, arguments);
    command.current_dir(home);
    if let Some(passphrase) = passphrase {
        command.env("COSIGN_PASSWORD", passphrase);
    }
    // Without a terminal nobody is asked.
    command.stdin(std::process::Stdio::null()).output().expect("waxseal runs")
}

#[test]
fn a_key_pair_is_made_once_and_opens_with_its_passphrase() {
    let home = tempfile::tempdir().expect("directory");
    let made = run(home.path(), Some("correct horse"), &["generate-key-pair"]);
    assert!(made.status.success(), "{}", last_line(&made));
    let mode = |name: &str| std::fs::metadata(home.path().join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("cosign.key"), mode("cosign.pub")), (0o600, 0o644));
    let private = std::fs::read_to_string(home.path().join("cosign.key")).expect("read");
    assert!(private.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"), "{private}");
    let public = std::fs::read_to_string(home.path().join("cosign.pub")).expect("read");
    let printed = run(home.path(), Some("correct horse"), &["public-key", "--key", "cosign.key"]);
    assert_eq!(String::from_utf8(printed.stdout).expect("text").trim(), public.trim());

    assert_refused(&run(home.path(), Some("wrong"), &["public-key", "--key", "cosign.key"]), 1, "key.passphrase");
    assert_refused(&run(home.path(), Some("x"), &["generate-key-pair"]), 1, "input.unreadable");
    let kept = std::fs::read_to_string(home.path().join("cosign.key")).expect("read");
    assert_eq!(kept, private, "a key that exists is not replaced");
    let replaced = run(home.path(), Some(""), &["generate-key-pair", "-y", "--signing-algorithm", "ed25519"]);
    assert!(String::from_utf8_lossy(&replaced.stderr).contains("its passphrase is empty"));
}

#[test]
fn keys_of_other_tools_are_imported() {
    let home = tempfile::tempdir().expect("directory");
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/io/testdata/keys");
    for name in ["sec1-p256.pem", "pkcs1-rsa2048.pem"] {
        let file = keys.join(name).display().to_string();
        let imported = run(home.path(), Some("p"), &["import-key-pair", "--key", &file, "-o", name]);
        assert!(imported.status.success(), "{}", last_line(&imported));
        let of = |key: &str| run(home.path(), Some("p"), &["public-key", "--key", key]).stdout;
        assert_eq!(of(&file), of(&format!("{name}.key")));
    }
    let nothing = home.path().join("nothing.pem");
    std::fs::write(&nothing, "hello").expect("written");
    let file = nothing.display().to_string();
    assert_refused(&run(home.path(), Some("p"), &["import-key-pair", "--key", &file]), 1, "key.unsupported");
    assert_refused(&run(home.path(), Some("p"), &["import-key-pair", "--key", "awskms:///x"]), 1, "key.unsupported");
    assert_refused(&run(home.path(), Some("p"), &["import-key-pair", "--key", "env://NOT_SET"]), 1, "input.unreadable");
    assert!(!home.path().join("cosign.key").exists());
}
