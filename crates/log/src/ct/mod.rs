//! Certificate submissions: what waits for a time and an index to become a leaf (RFC 6962 §3, C2SP static-ct-api).

use waxseal_formats::code::Code;
use waxseal_formats::crypto::digest::sha256;
use waxseal_formats::leaf::{LeafError, SignedEntry, TileLeaf, TimestampedEntry};
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_formats::sct::{SctError, leaf_index_extension, signed_input};
use waxseal_formats::x509::CertificateError;

use crate::{Identity, UnixMillis};

pub mod chain;

/// Largest certificate or precertificate that is taken, in bytes.
pub const MAX_CERTIFICATE: usize = 64 << 10;

/// Why a submission cannot become a leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CtError {
    /// A certificate is larger than [`MAX_CERTIFICATE`].
    #[error("the certificate has {0} bytes, more than {MAX_CERTIFICATE}")]
    TooLarge(usize),
    /// The entry does not fit into its encoding.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The index does not fit into the leaf_index extension: the log is full.
    #[error(transparent)]
    Index(#[from] SctError),
    /// The entry of a chain cannot be taken apart.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl CtError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) => Code::INPUT_TOO_LARGE,
            Self::Leaf(error) => error.code(),
            Self::Index(error) => error.code(),
            Self::Certificate(error) => error.code(),
        }
    }
}

/// A submission whose chain was checked; only time and index are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    entry: SignedEntry,
    precertificate: Option<Vec<u8>>,
    chain_fingerprints: Vec<[u8; 32]>,
    identity: Identity,
    audit: Option<Vec<u8>>,
}

/// A submission that got its time and index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Hash of the MerkleTreeLeaf.
    pub hash: Hash,
    /// The entry as it stands in a data tile.
    pub body: Vec<u8>,
}

impl Submission {
    /// A precertificate: `tbs` is its TBSCertificate without poison, `der` the precertificate as it was submitted, `issuer_key_hash`
    /// the SHA-256 of the issuer's key, `chain` the SHA-256 of each certificate from the issuer to the root.
    pub fn precertificate(
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        der: Vec<u8>,
        chain: Vec<[u8; 32]>,
    ) -> Result<Self, CtError> {
        let entry = SignedEntry::Precertificate { issuer_key_hash, tbs };
        Self::new(entry, Some(der), chain)
    }

    /// A final certificate.
    pub fn certificate(der: Vec<u8>, chain: Vec<[u8; 32]>) -> Result<Self, CtError> {
        Self::new(SignedEntry::Certificate { der }, None, chain)
    }

    fn new(entry: SignedEntry, precertificate: Option<Vec<u8>>, chain: Vec<[u8; 32]>) -> Result<Self, CtError> {
        let size = match &entry {
            SignedEntry::Certificate { der } => der.len(),
            SignedEntry::Precertificate { tbs, .. } => tbs.len().max(precertificate.as_ref().map_or(0, Vec::len)),
        };
        if size > MAX_CERTIFICATE {
            return Err(CtError::TooLarge(size));
        }
        // The same entry at any other time has the same identity.
        let identity = sha256(&signed_input(0, &entry, &[])?);
        let submission = Self { entry, precertificate, chain_fingerprints: chain, identity, audit: None };
        // What does not fit is refused here, and not once it is in a batch with others.
        submission.leaf(0, UnixMillis(0))?;
        Ok(submission)
    }

    /// The same with a row for the audit log, at most [`crate::audit::MAX_ROW`] bytes, which becomes durable with its leaf. A
    /// repeated submission makes no leaf, and its row is dropped.
    #[must_use]
    pub fn with_audit(mut self, row: Vec<u8>) -> Self {
        self.audit = Some(row);
        self
    }

    /// Its row for the audit log.
    pub fn audit(&self) -> Option<&[u8]> {
        self.audit.as_deref()
    }

    /// What the log logs.
    pub fn entry(&self) -> &SignedEntry {
        &self.entry
    }

    /// What a repeated submission of the same certificate has in common with this one.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Bytes that it will have in a data tile, about.
    pub fn len(&self) -> usize {
        let certificate = match &self.entry {
            SignedEntry::Certificate { der } => der.len(),
            SignedEntry::Precertificate { tbs, .. } => tbs.len(),
        };
        let precertificate = self.precertificate.as_ref().map_or(0, Vec::len);
        certificate.saturating_add(precertificate).saturating_add(64)
    }

    /// Whether it has no bytes: never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The leaf at `index`, promised at `time`: the index stands in it as an extension, so it is hashed only now.
    pub fn leaf(&self, index: u64, time: UnixMillis) -> Result<Leaf, CtError> {
        let timestamped = TimestampedEntry {
            timestamp_ms: time.0,
            entry: self.entry.clone(),
            extensions: leaf_index_extension(index)?,
        };
        let hash = leaf_hash(&timestamped.merkle_tree_leaf()?);
        let body = TileLeaf {
            timestamped,
            precertificate: self.precertificate.clone(),
            chain_fingerprints: self.chain_fingerprints.clone(),
        };
        Ok(Leaf { hash, body: body.encode()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::profile;
    use crate::profile::Face;
    use waxseal_formats::tile::{HashTile, TileId};
    use waxseal_testkit::vectors;

    #[test]
    fn the_recorded_entries_have_the_recorded_leaf_hashes() {
        let Some(vectors) = vectors() else { return };
        let read = |path: &str| vectors.read(&format!("private-instance/ct-log/{path}"));
        let id = TileId::parse("tile/0/001.p/184").unwrap();
        let hashes = HashTile::parse(&id, &read("tile/0/001.p/184")).unwrap();
        let data = read("tile/data/001.p/184");
        let mut rest = data.as_slice();
        for (index, hash) in (256u64..).zip(hashes.hashes()) {
            let (entry, tail) = TileLeaf::decode(rest).unwrap();
            let SignedEntry::Precertificate { issuer_key_hash, tbs } = entry.timestamped.entry else { panic!() };
            let der = entry.precertificate.unwrap();
            let submission = Submission::precertificate(issuer_key_hash, tbs, der, entry.chain_fingerprints).unwrap();
            let leaf = submission.leaf(index, UnixMillis(entry.timestamped.timestamp_ms)).unwrap();
            assert_eq!((leaf.hash, leaf.body.as_slice()), (*hash, &rest[..rest.len() - tail.len()]));
            assert_eq!(profile(Face::StaticCt).leaf_hash(&leaf.body), Some(*hash));
            assert_eq!(profile(Face::StaticCt).leaf_hash(&[leaf.body, vec![0]].concat()), None);
            rest = tail;
        }
        assert_eq!(rest, b"");
    }

    #[test]
    fn the_identity_is_that_of_the_certificate_alone() {
        let submit = |issuer, tbs: &[u8], der: &[u8]| {
            *Submission::precertificate([issuer; 32], tbs.to_vec(), der.to_vec(), Vec::new()).unwrap().identity()
        };
        assert_eq!(submit(1, b"tbs", b"signed once"), submit(1, b"tbs", b"signed again"));
        assert_ne!(submit(1, b"tbs", b""), submit(2, b"tbs", b""));
        assert_ne!(submit(1, b"tbs", b""), submit(1, b"TBS", b""));
        let certificate = Submission::certificate(b"tbs".to_vec(), Vec::new()).unwrap();
        assert_ne!(*certificate.identity(), submit(1, b"tbs", b""));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_in_a_batch() {
        let large = vec![0; MAX_CERTIFICATE + 1];
        let error = Submission::certificate(large.clone(), Vec::new()).unwrap_err();
        assert_eq!((&error, error.code()), (&CtError::TooLarge(MAX_CERTIFICATE + 1), Code::INPUT_TOO_LARGE));
        let error = Submission::precertificate([0; 32], Vec::new(), large, Vec::new()).unwrap_err();
        assert_eq!(error, CtError::TooLarge(MAX_CERTIFICATE + 1));
        let error = Submission::certificate(Vec::new(), vec![[0; 32]; 17]).unwrap_err();
        assert_eq!((&error, error.code()), (&CtError::Leaf(LeafError::TooLarge), Code::INPUT_TOO_LARGE));
        let submission = Submission::certificate(Vec::new(), Vec::new()).unwrap();
        assert!(submission.leaf((1 << 40) - 1, UnixMillis(0)).is_ok());
        assert!(matches!(submission.leaf(1 << 40, UnixMillis(0)), Err(CtError::Index(_))));
    }
}
