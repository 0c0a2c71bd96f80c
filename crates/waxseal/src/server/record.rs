//! Records of running instances, so that other commands of the same user find their data directories.
//!
//! One file each, `$XDG_STATE_HOME/waxseal/instances/<name>.json` (by default below `~/.local/state`), written by `up`
//! when it is ready and removed when it stops. A record is a hint: it may outlive its instance.

use crate::server::config::below_home;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use url::{Host, Url};
use waxseal_formats::crypto::sha256;

/// Longest record, in bytes.
const MAX_LEN: u64 = 64 * 1024;

/// A running instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its origin.
    pub url: String,
    /// Its data directory, absolute.
    pub data_dir: PathBuf,
}

/// The folder of the records; None without a home directory.
#[must_use]
pub fn folder(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    Some(below_home(variable, "XDG_STATE_HOME", ".local/state")?.join("waxseal/instances"))
}

impl Record {
    /// Writes the record into `folder`, in the place of an earlier one of the same URL.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(file_name(&self.url));
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let text = serde_json::to_string(self)?;
        writeln!(file, "{text}")?;
        std::fs::rename(&temporary, &path)
    }

    /// The record of the instance with this URL. None if there is none, or none that can be read.
    #[must_use]
    pub fn find(folder: &Path, url: &str) -> Option<Self> {
        let mut text = String::new();
        File::open(folder.join(file_name(url))).ok()?.take(MAX_LEN).read_to_string(&mut text).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        (file_name(&record.url) == file_name(url)).then_some(record)
    }

    /// Removes the record, unless another instance has written its own in the meantime.
    pub fn remove(&self, folder: &Path) {
        if Self::find(folder, &self.url).as_ref() == Some(self)
            && let Err(error) = std::fs::remove_file(folder.join(file_name(&self.url)))
        {
            tracing::debug!(%error, "record not removed");
        }
    }
}

/// One name for all spellings of a URL: every name of this machine is the same, and a path means nothing.
fn file_name(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return format!("{}.json", hash(url)) };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.port_or_known_default() {
        Some(port) if loopback => format!("{port}.json"),
        _ => format!("{}.json", hash(&url.origin().ascii_serialization())),
    }
}

fn hash(text: &str) -> String {
    hex::encode(sha256(text.as_bytes())).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::{Record, folder};
    use std::path::{Path, PathBuf};

    fn record(url: &str, data_dir: &str) -> Record {
        Record { url: url.to_owned(), data_dir: PathBuf::from(data_dir) }
    }

    #[test]
    fn a_record_is_found_by_any_spelling_of_its_url() {
        let dir = tempfile::tempdir().expect("a folder");
        let records = dir.path().join("deep/down");
        let local = record("http://127.0.0.1:7480", "/a");
        let remote = record("https://sign.corp.example", "/b");
        assert_eq!(Record::find(&records, &local.url), None);
        local.write(&records).expect("written");
        remote.write(&records).expect("written");
        for url in ["http://127.0.0.1:7480", "http://127.0.0.1:7480/", "http://localhost:7480", "http://[::1]:7480/x"] {
            assert_eq!(Record::find(&records, url).as_ref(), Some(&local), "{url}");
        }
        assert_eq!(Record::find(&records, "https://SIGN.corp.example:443/").as_ref(), Some(&remote));
        for url in ["http://127.0.0.1:7481", "http://sign.corp.example", "nonsense", ""] {
            assert_eq!(Record::find(&records, url), None, "{url}");
        }
    }

    #[test]
    fn a_later_instance_takes_the_record_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, second) = (record("http://127.0.0.1:1", "/a"), record("http://127.0.0.1:1", "/b"));
        first.write(dir.path()).expect("written");
        second.write(dir.path()).expect("written");
        first.remove(dir.path());
        assert_eq!(Record::find(dir.path(), &first.url), Some(second.clone()));
        second.remove(dir.path());
        assert_eq!(Record::find(dir.path(), &first.url), None);
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_record_that_is_none_is_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        for content in ["", "{}", "[1]", r#"{"url":"http://127.0.0.1:2","data_dir":"/x"}"#] {
            std::fs::write(dir.path().join("1.json"), content).expect("written");
            assert_eq!(Record::find(dir.path(), "http://127.0.0.1:1"), None, "{content}");
        }
    }

    #[test]
    fn records_are_below_the_state_directory() {
        let home = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
        assert_eq!(folder(home).as_deref(), Some(Path::new("/home/a/.local/state/waxseal/instances")));
        let state = |name: &str| (name == "XDG_STATE_HOME").then(|| "/state".to_owned());
        assert_eq!(folder(state).as_deref(), Some(Path::new("/state/waxseal/instances")));
        assert_eq!(folder(|_| None), None);
    }
}
