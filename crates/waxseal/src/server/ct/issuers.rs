//! The certificates above the leaves: public material that leaves name by hash, and that has to be there as long as they are.

use std::collections::HashMap;
use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;
use waxseal_formats::x509::{Certificate, MAX_CERTIFICATE_LEN};
use waxseal_io::disk::{Disk, Open, is_full};
use waxseal_io::file;

/// SHA-256 of a DER certificate.
pub type Fingerprint = [u8; 32];

/// Certificates that are kept in memory as well. Only holders of accepted roots can make more.
const MAX_IN_MEMORY: usize = 1024;

/// The issuers of a log, one file each below its public directory.
pub struct Issuers {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Those that this process knows to be durable. Held while a file is written: one writer at a time.
    durable: Mutex<HashMap<Fingerprint, Arc<[u8]>>>,
}

/// Why an issuer cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct IssuersError {
    /// Its file, or the directory of all of them.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with the file of an issuer.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// What the system says.
    #[error(transparent)]
    Io(Error),
    /// It has another hash than its name says.
    #[error("it is not the certificate that its name says")]
    Damaged,
    /// A leaf names it, and it is not there.
    #[error("it is missing")]
    Missing,
}

impl IssuersError {
    /// `log.store-corrupt`, `log.store-failed`, or `log.busy` while the disk is full.
    #[must_use]
    pub fn code(&self) -> Code {
        match &self.problem {
            Problem::Io(error) if is_full(error) => Code::LOG_BUSY,
            Problem::Io(_) => Code::LOG_STORE_FAILED,
            Problem::Damaged | Problem::Missing => Code::LOG_STORE_CORRUPT,
        }
    }
}

impl Issuers {
    /// Opens the issuers of the log whose public directory this is, and makes their directory if need be.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub fn open(disk: Arc<dyn Disk>, public: &Path) -> Result<Self, IssuersError> {
        let directory = public.join("issuer");
        let failed = |source| IssuersError { path: directory.clone(), problem: Problem::Io(source) };
        disk.create_directories(&directory).map_err(failed)?;
        for path in disk.list(&directory).map_err(failed)? {
            // A process died before it could rename this to an issuer.
            if path.extension().is_some_and(|extension| extension == "new") {
                disk.remove(&path).map_err(failed)?;
            }
        }
        // What is made durable below a directory is lost with the directory's own name.
        for parent in directory.ancestors().skip(1).take(2) {
            disk.sync_directory(parent).map_err(failed)?;
        }
        Ok(Self { disk, directory, durable: Mutex::default() })
    }

    /// Keeps these certificates. When this returns `Ok`, they are durable. It blocks.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub fn keep(&self, certificates: &[Certificate]) -> Result<(), IssuersError> {
        let mut durable = self.durable();
        let new: Vec<(Fingerprint, &[u8])> = certificates
            .iter()
            .map(|certificate| (sha256(certificate.der()), certificate.der()))
            .filter(|(fingerprint, _)| !durable.contains_key(fingerprint))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        for (fingerprint, der) in &new {
            let path = self.path(fingerprint);
            self.write(&path, der).map_err(|source| IssuersError { path, problem: Problem::Io(source) })?;
        }
        let failed = |source| IssuersError { path: self.directory.clone(), problem: Problem::Io(source) };
        self.disk.sync_directory(&self.directory).map_err(failed)?;
        for (fingerprint, der) in new {
            if durable.len() < MAX_IN_MEMORY {
                durable.insert(fingerprint, der.into());
            }
        }
        Ok(())
    }

    /// Makes the contents of a certificate's file durable, whether it is there already or not.
    fn write(&self, path: &Path, der: &[u8]) -> Result<(), Error> {
        if self.disk.read(path, MAX_CERTIFICATE_LEN).is_ok_and(|found| found.as_deref() == Some(der)) {
            // An earlier process may have died before it was synced.
            return self.disk.open(path, Open::Read)?.sync_all();
        }
        file::exchange(&*self.disk, path, der)
    }

    /// The DER certificate with this fingerprint; `None` if it never was an issuer. It may block.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub fn find(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<[u8]>>, IssuersError> {
        if let Some(der) = self.durable().get(fingerprint) {
            return Ok(Some(der.clone()));
        }
        let path = self.path(fingerprint);
        let problem = match self.disk.read(&path, MAX_CERTIFICATE_LEN) {
            Ok(None) => return Ok(None),
            Ok(Some(der)) if sha256(&der) == *fingerprint => return Ok(Some(der.into())),
            Ok(Some(_)) => Problem::Damaged,
            Err(error) => Problem::Io(error),
        };
        Err(IssuersError { path, problem })
    }

    /// The DER certificate that a leaf names by this fingerprint. It may block.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub fn named(&self, fingerprint: &Fingerprint) -> Result<Arc<[u8]>, IssuersError> {
        let missing = || IssuersError { path: self.path(fingerprint), problem: Problem::Missing };
        self.find(fingerprint)?.ok_or_else(missing)
    }

    fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.directory.join(hex::encode(fingerprint))
    }

    /// A poisoned lock means that a thread died in the middle; what is in the map is durable all the same.
    fn durable(&self) -> MutexGuard<'_, HashMap<Fingerprint, Arc<[u8]>>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, Issuers, Problem};
    use std::path::Path;
    use std::sync::Arc;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::sha256;
    use waxseal_formats::x509::Certificate;
    use waxseal_io::disk::memory::MemoryDisk;
    use waxseal_io::disk::{Disk as _, OsDisk};
    use waxseal_testkit::vectors;

    fn chain() -> Option<(Vec<Certificate>, Vec<Fingerprint>)> {
        let chain = vectors()?.text("private-instance/keys/fulcio-chain.pem");
        let chain = Certificate::chain_from_pem(&chain).expect("chain");
        let fingerprints = chain.iter().map(|certificate| sha256(certificate.der())).collect();
        Some((chain, fingerprints))
    }

    #[test]
    fn issuers_survive_and_a_changed_one_is_noticed() {
        let Some((chain, fingerprints)) = chain() else { return };
        let directory = tempfile::tempdir().expect("directory");
        let public = directory.path().join("public");
        let open = || Issuers::open(Arc::new(OsDisk), &public).expect("opened");
        open().keep(&chain).expect("kept");

        std::fs::write(public.join("issuer/0.new"), b"unfinished").expect("written");
        let issuers = open();
        issuers.keep(&chain).expect("kept already");
        assert_eq!(std::fs::read_dir(public.join("issuer")).expect("issuers").count(), chain.len());
        let issuers = open();
        for (certificate, fingerprint) in chain.iter().zip(&fingerprints) {
            assert_eq!(issuers.named(fingerprint).expect("found").as_ref(), certificate.der());
        }
        assert!(issuers.find(&[0; 32]).expect("none").is_none());
        let error = issuers.named(&[0; 32]).expect_err("missing");
        assert!(matches!(error.problem, Problem::Missing) && error.code() == Code::LOG_STORE_CORRUPT);

        let file = public.join("issuer").join(hex::encode(fingerprints[0]));
        std::fs::write(&file, chain[1].der()).expect("written");
        let error = issuers.find(&fingerprints[0]).expect_err("damaged");
        assert!(matches!(error.problem, Problem::Damaged) && error.path == file);
        assert_eq!(error.code(), Code::LOG_STORE_CORRUPT);
        // Submitting the chain again mends it.
        issuers.keep(&chain).expect("kept");
        assert_eq!(open().named(&fingerprints[0]).expect("found"), chain[0].der().into());
    }

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.create_directory(Path::new("/log")).expect("made");
        disk.sync_directory(Path::new("/")).expect("synced");
        disk
    }

    /// The machine stops at the `n`-th operation; whether all was done before, and what a power cut leaves.
    fn stopped_at(n: u64, seed: u64, chain: &[Certificate], disk: &MemoryDisk) -> (bool, Issuers) {
        let public = Path::new("/log/public");
        disk.stop_at(n);
        let kept = Issuers::open(Arc::new(disk.clone()), public).and_then(|issuers| issuers.keep(chain)).is_ok();
        disk.power_cut(seed);
        (kept, Issuers::open(Arc::new(disk.clone()), public).expect("opened"))
    }

    #[test]
    fn what_was_kept_survives_a_power_cut_after_every_operation() {
        let Some((chain, fingerprints)) = chain() else { return };
        for seed in 0..20 {
            for n in 1.. {
                let disk = disk();
                let (kept, issuers) = stopped_at(n, seed, &chain, &disk);
                for (certificate, fingerprint) in chain.iter().zip(&fingerprints) {
                    let found = issuers.find(fingerprint).expect("whole, or not there");
                    assert!(found.as_deref() == Some(certificate.der()) || (!kept && found.is_none()), "{n}, {seed}");
                }
                issuers.keep(&chain).expect("kept now");
                if kept {
                    break;
                }
            }
        }
    }

    #[test]
    fn each_sync_is_needed() {
        let Some((chain, fingerprints)) = chain() else { return };
        let all = disk();
        let open = |disk: &MemoryDisk| Issuers::open(Arc::new(disk.clone()), Path::new("/log/public")).expect("opened");
        open(&all).keep(&chain).expect("kept");
        let before = disk().syncs();
        let syncs: Vec<_> = all.syncs().into_iter().filter(|sync| !before.contains(sync)).collect();
        assert!(syncs.len() >= 4, "{syncs:?}");
        for (operation, path) in syncs {
            let lost = (0..50).any(|seed| {
                let disk = disk();
                let ignored = path.clone();
                disk.ignore(move |which, at| which == operation && at == ignored);
                open(&disk).keep(&chain).expect("kept");
                disk.power_cut(seed);
                let issuers = open(&disk);
                fingerprints.iter().any(|fingerprint| !matches!(issuers.find(fingerprint), Ok(Some(_))))
            });
            assert!(lost, "without {operation:?} of {} nothing is lost", path.display());
        }
    }

    /// Security row 43: a full disk loses nothing and passes.
    #[test]
    fn row_43_a_full_disk_is_said_to_be_full() {
        let Some((chain, fingerprints)) = chain() else { return };
        let disk = disk();
        let issuers = Issuers::open(Arc::new(disk.clone()), Path::new("/log/public")).expect("opened");
        disk.set_capacity(Some(100));
        assert_eq!(issuers.keep(&chain).expect_err("full").code(), Code::LOG_BUSY);
        disk.set_capacity(None);
        issuers.keep(&chain).expect("kept");
        assert!(issuers.find(&fingerprints[0]).expect("found").is_some());
    }
}
