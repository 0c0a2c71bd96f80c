//! Keeping a registry's credentials where docker keeps them: in its configuration file, or with the helper that the file names.

use formats::crypto::Secret;
use formats::json::encode_base64;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use waxseal_formats as formats;

/// Docker Hub's name in docker's configuration.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");
/// Largest configuration file, in bytes.
const MAX_CONFIG_LEN: usize = 1 << 20;

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the configuration file, readable for whoever can read the file.
    File(PathBuf),
    /// With a credential helper.
    Helper(String),
}

/// The configuration file: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`. Nothing without a home.
#[must_use]
pub fn config_file(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// Keeps a user's password for `registry`. All else in the file stays as it is.
///
/// # Errors
/// What the system or the helper says; `InvalidData` if the file is no configuration.
pub fn keep(config: &Path, registry: &str, user: &str, password: &Secret<String>) -> io::Result<Kept> {
    let mut document = read(config)?;
    let server = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
    let helper = document
        .get("credHelpers")
        .and_then(|helpers| helpers.get(server))
        .or_else(|| document.get("credsStore"))
        .and_then(Value::as_str)
        .filter(|helper| !helper.is_empty());
    if let Some(helper) = helper {
        let helper = helper.to_owned();
        store(&helper, server, user, password)?;
        return Ok(Kept::Helper(helper));
    }
    let auths = document.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut().ok_or_else(|| invalid(config, "auths is no object"))?;
    let both = Secret::new(format!("{user}:{}", password.expose()));
    auths.insert(server.to_owned(), json!({"auth": encode_base64(both.expose().as_bytes())}));
    write(config, &document)?;
    Ok(Kept::File(config.to_owned()))
}

fn read(config: &Path) -> io::Result<Map<String, Value>> {
    let Some(bytes) = crate::file::read(config, MAX_CONFIG_LEN)? else { return Ok(Map::new()) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(invalid(config, "it is no object")),
        Err(error) => Err(invalid(config, &error.to_string())),
    }
}

fn invalid(config: &Path, problem: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{} is no configuration of docker: {problem}", config.display()))
}

/// Writes the file whole, for its owner only.
fn write(config: &Path, document: &Map<String, Value>) -> io::Result<()> {
    let folder = config.parent().ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".config.json.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let text = serde_json::to_string_pretty(document)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(&temporary, config));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Hands credentials to `docker-credential-<helper> store`, on its standard input.
fn store(helper: &str, server: &str, user: &str, password: &Secret<String>) -> io::Result<()> {
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("{helper:?} is no name of a credential helper")));
    }
    let program = format!("docker-credential-{helper}");
    let failed = |problem: String| io::Error::other(format!("{program}: {problem}"));
    let mut child = Command::new(&program)
        .arg("store")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let said = Secret::new(json!({"ServerURL": server, "Username": user, "Secret": password.expose()}).to_string());
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(said.expose().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    // Helpers tell what went wrong on standard output.
    let said: String = String::from_utf8_lossy(&output.stdout).chars().take(300).collect();
    Err(failed(format!("{} ({})", said.trim(), output.status)))
}

#[cfg(test)]
mod tests {
    use super::{Kept, config_file, keep};
    use formats::crypto::Secret;
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use waxseal_formats as formats;

    #[test]
    fn the_file_is_where_docker_looks_for_it() {
        let find = |set: &'static [(&str, &str)]| {
            config_file(&move |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(find(&[("HOME", "/h")]), Some(PathBuf::from("/h/.docker/config.json")));
        assert_eq!(find(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")]), Some(PathBuf::from("/d/config.json")));
        assert_eq!(find(&[("HOME", "")]), None);
    }

    #[test]
    fn credentials_join_those_that_are_kept_already_and_are_for_their_owner() {
        let folder = tempfile::tempdir().expect("folder");
        let config = folder.path().join("docker/config.json");
        let password = Secret::new("pass:word".to_owned());
        assert_eq!(keep(&config, "r.example", "alice", &password).expect("kept"), Kept::File(config.clone()));
        assert_eq!(fs::metadata(&config).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&config, r#"{"proxies":{"a":1},"auths":{"other":{"auth":"eA=="}}}"#).expect("written");
        keep(&config, "r.example", "alice", &password).expect("kept");
        keep(&config, "docker.io", "bob", &password).expect("kept");
        let document: serde_json::Value = serde_json::from_slice(&fs::read(&config).expect("read")).expect("JSON");
        assert_eq!(document["proxies"]["a"], 1);
        assert_eq!(document["auths"]["other"]["auth"], "eA==");
        assert_eq!(document["auths"]["r.example"]["auth"], "YWxpY2U6cGFzczp3b3Jk");
        assert_eq!(document["auths"]["https://index.docker.io/v1/"]["auth"], "Ym9iOnBhc3M6d29yZA==");
    }

    #[test]
    fn a_file_that_is_no_configuration_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let config = folder.path().join("config.json");
        for content in ["[]", "nonsense", r#"{"auths":7}"#] {
            fs::write(&config, content).expect("written");
            let error = keep(&config, "r", "u", &Secret::new("p".to_owned())).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{content}");
            assert_eq!(fs::read_to_string(&config).expect("read"), content);
        }
    }

    #[test]
    fn a_helper_that_is_named_gets_them_and_the_file_does_not() {
        let folder = tempfile::tempdir().expect("folder");
        let config = folder.path().join("config.json");
        for name in ["nowhere-to-be-found", "../evil", "a b"] {
            fs::write(&config, format!(r#"{{"credsStore":"{name}"}}"#)).expect("written");
            let error = keep(&config, "r", "u", &Secret::new("hunter2".to_owned())).expect_err("refused");
            assert!(error.to_string().contains(name) && !error.to_string().contains("hunter2"), "{error}");
            assert!(!fs::read_to_string(&config).expect("read").contains("auths"));
        }
    }
}
