//! The data directory: whose it is, who else can read it, and whether there is space.

use super::Finding;
use crate::server::idp::secret;
use crate::server::material::MANIFEST;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_io::disk::{Disk as _, OsDisk};

/// Below this the logs take no entries.
const RESERVE: u64 = 64 << 20;
/// Below this somebody should make space.
const SCARCE: u64 = 1 << 30;
/// Folders of a data directory whose files are secrets.
const SECRET: [&str; 3] = ["keys", "secrets", "offline"];

/// Whether there is an instance, and what it was made by.
#[must_use]
pub fn instance(data_dir: &Path, production: bool) -> Finding {
    const SUBJECT: &str = "instance";
    let shown = data_dir.display();
    if !data_dir.join(MANIFEST).exists() {
        return Finding::failed(SUBJECT, Code::INPUT_UNREADABLE, format!("{shown} holds no instance"))
            .mend(format!("waxseal init --data-dir {shown} --public-url URL"));
    }
    let demo = data_dir.join(secret::FILE).exists();
    match (production, demo) {
        (true, true) => Finding::failed(
            SUBJECT,
            Code::INPUT_DEMO_PROVIDER,
            format!("{shown} has the secret of the demo identity provider: whoever read it can sign as anybody"),
        )
        .mend("make another directory with `waxseal init`; do not take this one into production"),
        (false, true) => Finding::good(SUBJECT, format!("for development, in {shown}")),
        (_, false) => Finding::good(SUBJECT, format!("in {shown}")),
    }
}

/// Whether others can read secrets or write anything.
#[must_use]
pub fn permissions(data_dir: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "permissions";
    let mut findings = Vec::new();
    let mut count = 0_u32;
    let failed = |path: &Path, found: &str, mend: &str| {
        Finding::failed(SUBJECT, Code::KEY_PERMISSIONS, format!("{} {found}", path.display()))
            .mend(format!("{mend} {}, and ask who did meanwhile", path.display()))
    };
    if let Ok(own) = std::fs::metadata(data_dir) {
        if own.permissions().mode() & 0o022 != 0 {
            findings.push(failed(data_dir, "can be written by others", "chmod go-w"));
        }
        findings.extend(owner(data_dir, &own));
    }
    let mut secrets: Vec<PathBuf> = vec![data_dir.join(secret::FILE)];
    for folder in SECRET {
        let folder = data_dir.join(folder);
        match std::fs::read_dir(&folder) {
            Ok(entries) => secrets.extend(entries.flatten().map(|entry| entry.path())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => findings.push(unreadable(&folder, &error)),
        }
    }
    secrets.sort();
    for path in secrets {
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            _ => continue,
        };
        count = count.saturating_add(1);
        if metadata.permissions().mode() & 0o077 != 0 {
            findings.push(failed(&path, "can be read by others", "chmod 600"));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good(SUBJECT, format!("{count} files with secrets are their owner's alone")));
    }
    findings
}

/// Whether this process is the one that the directory belongs to: what it makes would be another's.
fn owner(data_dir: &Path, metadata: &Metadata) -> Option<Finding> {
    let own = std::fs::metadata("/proc/self").ok()?.uid();
    let found = format!("{} belongs to the user {}, and this is user {own}", data_dir.display(), metadata.uid());
    (metadata.uid() != own).then(|| {
        Finding::warning("owner", Code::INPUT_UNREADABLE, found).mend("run waxseal as the owner of the directory")
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Finding {
    Finding::failed("permissions", Code::INPUT_UNREADABLE, format!("{}: {error}", path.display()))
        .mend("run waxseal as the owner of the directory")
}

/// Whether there is space for entries.
#[must_use]
pub fn space(data_dir: &Path) -> Finding {
    const SUBJECT: &str = "disk";
    match OsDisk.free_space(data_dir) {
        Ok(free) => spaces(free),
        Err(error) => Finding::failed(SUBJECT, Code::INPUT_UNREADABLE, format!("{}: {error}", data_dir.display())),
    }
}

fn spaces(free: u64) -> Finding {
    const SUBJECT: &str = "disk";
    let found = format!("{} MiB free", free >> 20);
    if free < RESERVE {
        Finding::failed(
            SUBJECT,
            Code::LOG_BUSY,
            format!("{found}: the logs take no entries below {} MiB", RESERVE >> 20),
        )
        .mend("make space on the file system of the data directory; the logs go on by themselves")
    } else if free < SCARCE {
        Finding::warning(SUBJECT, Code::LOG_BUSY, found).mend("make space on the file system of the data directory")
    } else {
        Finding::good(SUBJECT, found)
    }
}

/// Whether the key of the TUF root is still where whoever takes the machine finds it.
#[must_use]
pub fn root_key(data_dir: &Path) -> Finding {
    const SUBJECT: &str = "root key";
    let here = ["offline/tuf-root.pem", "keys/tuf-root.pem"].into_iter().map(|name| data_dir.join(name));
    match here.into_iter().find(|path| path.exists()) {
        Some(path) => {
            let found =
                format!("{} is beside the instance: who takes the machine may speak for it for good", path.display());
            Finding::warning(SUBJECT, Code::KEY_PERMISSIONS, found)
                .mend("take the folder to a safe place, and its passphrase to another one; `serve` does not need them")
        }
        None => Finding::good(SUBJECT, "not on this machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::examine::State;
    use std::fs::{Permissions, set_permissions};

    #[test]
    fn a_secret_that_others_can_read_is_found_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("keys/ca.pem");
        std::fs::create_dir(folder.path().join("keys")).expect("made");
        std::fs::write(&key, "secret").expect("written");
        set_permissions(&key, Permissions::from_mode(0o600)).expect("set");
        let good = permissions(folder.path());
        assert!(good.iter().all(|finding| finding.state == State::Good), "{good:?}");
        set_permissions(&key, Permissions::from_mode(0o640)).expect("set");
        let [bad] = permissions(folder.path()).try_into().expect("one finding");
        assert_eq!((bad.state, bad.code), (State::Failed, Some(Code::KEY_PERMISSIONS)));
        assert!(bad.mend.expect("a way").starts_with(&format!("chmod 600 {}", key.display())));
        set_permissions(&key, Permissions::from_mode(0o600)).expect("set");
        set_permissions(folder.path(), Permissions::from_mode(0o770)).expect("set");
        let [bad] = permissions(folder.path()).try_into().expect("one finding");
        assert!(bad.found.contains("written by others"), "{bad:?}");
    }

    #[test]
    fn a_demo_provider_is_no_production() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(instance(folder.path(), true).code, Some(Code::INPUT_UNREADABLE));
        std::fs::write(folder.path().join(MANIFEST), "{}").expect("written");
        assert_eq!(instance(folder.path(), true).state, State::Good);
        std::fs::write(folder.path().join(secret::FILE), "x").expect("written");
        assert_eq!(instance(folder.path(), true).code, Some(Code::INPUT_DEMO_PROVIDER));
        assert_eq!(instance(folder.path(), false).state, State::Good);
    }

    #[test]
    fn space_runs_out_by_degrees() {
        assert_eq!(spaces(RESERVE - 1).state, State::Failed);
        assert_eq!(spaces(RESERVE).state, State::Warning);
        assert_eq!(spaces(SCARCE).state, State::Good);
    }

    #[test]
    fn a_root_key_beside_the_instance_is_a_warning() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(root_key(folder.path()).state, State::Good);
        std::fs::create_dir(folder.path().join("offline")).expect("made");
        std::fs::write(folder.path().join("offline/tuf-root.pem"), "x").expect("written");
        assert_eq!(root_key(folder.path()).state, State::Warning);
    }
}
