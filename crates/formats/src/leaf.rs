//! Entries of a certificate log: what is signed and hashed (RFC 6962 §3.1–3.4) and how a static log stores it
//! (C2SP static-ct-api, "Log entries").
//!
//! ```text
//! SignedEntry, precertificate:  0001 ‖ SHA-256(issuer SPKI) ‖ u24 len ‖ TBSCertificate
//! SignedEntry, certificate:     0000 ‖ u24 len ‖ certificate
//! TimestampedEntry:             u64 milliseconds ‖ SignedEntry ‖ u16 len ‖ extensions
//! MerkleTreeLeaf:               00 00 ‖ TimestampedEntry
//! TileLeaf:                     TimestampedEntry ‖ [u24 len ‖ precertificate] ‖ u16 len ‖ 32-byte fingerprints
//! ```

use crate::code::Code;
use crate::tls::{TlsReader, put_uint, put_vector};

/// entry_type of a certificate.
const X509_ENTRY: u64 = 0;
/// entry_type of a precertificate.
const PRECERT_ENTRY: u64 = 1;
/// Largest number of issuers that one entry names.
pub const MAX_CHAIN_LEN: usize = 16;

/// Why an entry cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The bytes end too early, go on after the end, or name an unknown type or version.
    #[error("the log entry is malformed")]
    Malformed,
    /// A part is longer than its length field can say.
    #[error("the log entry is too large")]
    TooLarge,
}

impl LeafError {
    /// `log.entry-kind` or `input.too-large`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed => Code::LOG_ENTRY_KIND,
            Self::TooLarge => Code::INPUT_TOO_LARGE,
        }
    }
}

/// What a log logs: a certificate or the essence of a precertificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedEntry {
    /// x509_entry.
    Certificate {
        /// The DER certificate.
        der: Vec<u8>,
    },
    /// precert_entry.
    Precertificate {
        /// SHA-256 of the issuer's SubjectPublicKeyInfo.
        issuer_key_hash: [u8; 32],
        /// The DER TBSCertificate without poison and without SCT list.
        tbs: Vec<u8>,
    },
}

impl SignedEntry {
    /// Appends `entry_type ‖ entry`.
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Certificate { der } => {
                put_uint(out, 2, X509_ENTRY)?;
                put_vector(out, 3, der)
            }
            Self::Precertificate { issuer_key_hash, tbs } => {
                put_uint(out, 2, PRECERT_ENTRY)?;
                out.extend_from_slice(issuer_key_hash);
                put_vector(out, 3, tbs)
            }
        }
    }

    fn read(reader: &mut TlsReader<'_>) -> Option<Self> {
        match reader.uint(2)? {
            X509_ENTRY => Some(Self::Certificate { der: reader.vector(3)?.to_vec() }),
            PRECERT_ENTRY => {
                Some(Self::Precertificate { issuer_key_hash: reader.array()?, tbs: reader.vector(3)?.to_vec() })
            }
            _ => None,
        }
    }
}

/// An entry with the time and the extensions that its SCT promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampedEntry {
    /// Milliseconds since 1970, as in the SCT.
    pub timestamp_ms: u64,
    /// What is logged.
    pub entry: SignedEntry,
    /// CtExtensions of the SCT; see [`crate::sct::leaf_index_extension`].
    pub extensions: Vec<u8>,
}

impl TimestampedEntry {
    /// The MerkleTreeLeaf, whose leaf hash is the tree's (RFC 6962 §3.4).
    ///
    /// # Errors
    /// [`LeafError::TooLarge`].
    pub fn merkle_tree_leaf(&self) -> Result<Vec<u8>, LeafError> {
        let mut out = vec![0, 0];
        self.put(&mut out).ok_or(LeafError::TooLarge)?;
        Ok(out)
    }

    /// Reads a MerkleTreeLeaf: the `leaf_input` of get-entries.
    ///
    /// # Errors
    /// [`LeafError::Malformed`].
    pub fn from_merkle_tree_leaf(bytes: &[u8]) -> Result<Self, LeafError> {
        let mut reader = TlsReader::new(bytes);
        if reader.array() != Some([0, 0]) {
            return Err(LeafError::Malformed);
        }
        let leaf = Self::read(&mut reader).ok_or(LeafError::Malformed)?;
        if reader.is_empty() { Ok(leaf) } else { Err(LeafError::Malformed) }
    }

    fn put(&self, out: &mut Vec<u8>) -> Option<()> {
        put_uint(out, 8, self.timestamp_ms)?;
        self.entry.put(out)?;
        put_vector(out, 2, &self.extensions)
    }

    fn read(reader: &mut TlsReader<'_>) -> Option<Self> {
        Some(Self {
            timestamp_ms: reader.uint(8)?,
            entry: SignedEntry::read(reader)?,
            extensions: reader.vector(2)?.to_vec(),
        })
    }
}

/// One entry of a data tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileLeaf {
    /// What is hashed into the tree.
    pub timestamped: TimestampedEntry,
    /// The DER precertificate as it was submitted; present exactly for precertificates.
    pub precertificate: Option<Vec<u8>>,
    /// SHA-256 of each certificate of the chain after the entry's own, at most [`MAX_CHAIN_LEN`].
    pub chain_fingerprints: Vec<[u8; 32]>,
}

impl TileLeaf {
    /// The bytes in the tile.
    ///
    /// # Errors
    /// [`LeafError::TooLarge`]; [`LeafError::Malformed`] if `precertificate` does not go with the entry's type.
    pub fn encode(&self) -> Result<Vec<u8>, LeafError> {
        let mut out = Vec::new();
        self.timestamped.put(&mut out).ok_or(LeafError::TooLarge)?;
        match (&self.timestamped.entry, &self.precertificate) {
            (SignedEntry::Certificate { .. }, None) => {}
            (SignedEntry::Precertificate { .. }, Some(precertificate)) => {
                put_vector(&mut out, 3, precertificate).ok_or(LeafError::TooLarge)?;
            }
            _ => return Err(LeafError::Malformed),
        }
        if self.chain_fingerprints.len() > MAX_CHAIN_LEN {
            return Err(LeafError::TooLarge);
        }
        put_vector(&mut out, 2, &self.chain_fingerprints.concat()).ok_or(LeafError::TooLarge)?;
        Ok(out)
    }

    /// Reads the first entry of `tile` and returns it with the bytes after it.
    ///
    /// # Errors
    /// [`LeafError::Malformed`].
    pub fn decode(tile: &[u8]) -> Result<(Self, &[u8]), LeafError> {
        let mut reader = TlsReader::new(tile);
        let leaf = Self::read(&mut reader).ok_or(LeafError::Malformed)?;
        Ok((leaf, reader.rest()))
    }

    fn read(reader: &mut TlsReader<'_>) -> Option<Self> {
        let timestamped = TimestampedEntry::read(reader)?;
        let precertificate = match timestamped.entry {
            SignedEntry::Certificate { .. } => None,
            SignedEntry::Precertificate { .. } => Some(reader.vector(3)?.to_vec()),
        };
        let (chain_fingerprints, rest) = reader.vector(2)?.as_chunks();
        if !rest.is_empty() || chain_fingerprints.len() > MAX_CHAIN_LEN {
            return None;
        }
        Some(Self { timestamped, precertificate, chain_fingerprints: chain_fingerprints.to_vec() })
    }
}

/// The `extra_data` of get-entries (RFC 6962 §4.6): for a precertificate the submitted one, then the chain.
///
/// # Errors
/// [`LeafError::TooLarge`].
pub fn extra_data<'a>(
    precertificate: Option<&[u8]>,
    chain: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, LeafError> {
    let mut out = Vec::new();
    let mut certificates = Vec::new();
    let put = |certificates: &mut Vec<u8>, out: &mut Vec<u8>| {
        if let Some(precertificate) = precertificate {
            put_vector(out, 3, precertificate)?;
        }
        for certificate in chain {
            put_vector(certificates, 3, certificate)?;
        }
        put_vector(out, 3, certificates)
    };
    put(&mut certificates, &mut out).ok_or(LeafError::TooLarge)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{LeafError, SignedEntry, TileLeaf, TimestampedEntry, extra_data};
    use crate::code::Code;
    use crate::sct::{leaf_index, leaf_index_extension};

    fn precertificate() -> TileLeaf {
        TileLeaf {
            timestamped: TimestampedEntry {
                timestamp_ms: 0x0102_0304_0506_0708,
                entry: SignedEntry::Precertificate { issuer_key_hash: [7; 32], tbs: b"tbs".to_vec() },
                extensions: leaf_index_extension(5).expect("fits"),
            },
            precertificate: Some(b"precert".to_vec()),
            chain_fingerprints: vec![[1; 32], [2; 32]],
        }
    }

    #[test]
    fn layout_is_that_of_rfc_6962() {
        let leaf = precertificate().timestamped.merkle_tree_leaf().expect("leaf");
        let key_hash = "07".repeat(32);
        assert_eq!(
            hex::encode(&leaf),
            format!("000001020304050607080001{key_hash}000003746273{}", "00080000050000000005")
        );
        assert_eq!(TimestampedEntry::from_merkle_tree_leaf(&leaf), Ok(precertificate().timestamped));
        let certificate = TimestampedEntry {
            timestamp_ms: 1,
            entry: SignedEntry::Certificate { der: b"der".to_vec() },
            extensions: Vec::new(),
        };
        let leaf = certificate.merkle_tree_leaf().expect("leaf");
        assert_eq!(hex::encode(&leaf), "0000000000000000000100000000036465720000");
        assert_eq!(TimestampedEntry::from_merkle_tree_leaf(&leaf), Ok(certificate));
        let extra = extra_data(Some(b"p"), [&b"a"[..], b"bc"]).expect("extra");
        assert_eq!(hex::encode(extra), "00000170000009000001610000026263");
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let leaf = precertificate();
        let tile = leaf.encode().expect("tile");
        let twice = [tile.clone(), tile.clone()].concat();
        let (first, rest) = TileLeaf::decode(&twice).expect("first");
        assert_eq!((first, rest), (leaf.clone(), &tile[..]));
        for len in 0..tile.len() {
            let error = TileLeaf::decode(&tile[..len]).expect_err("truncated");
            assert_eq!(error, LeafError::Malformed);
            assert_eq!(error.code(), Code::LOG_ENTRY_KIND);
        }
        let mut longer = leaf.timestamped.merkle_tree_leaf().expect("leaf");
        longer.push(0);
        assert_eq!(TimestampedEntry::from_merkle_tree_leaf(&longer), Err(LeafError::Malformed));
        let unknown = [&[0, 0][..], &[0; 8], &[0x80, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(TimestampedEntry::from_merkle_tree_leaf(&unknown), Err(LeafError::Malformed));
    }

    #[test]
    fn a_precertificate_entry_without_the_precertificate_is_refused() {
        let mut leaf = precertificate();
        leaf.precertificate = None;
        assert_eq!(leaf.encode(), Err(LeafError::Malformed));
        leaf = precertificate();
        leaf.chain_fingerprints = vec![[0; 32]; 17];
        let error = leaf.encode().expect_err("17 issuers");
        assert_eq!((error, error.code()), (LeafError::TooLarge, Code::INPUT_TOO_LARGE));
    }

    #[test]
    fn the_recorded_data_tiles_round_trip_and_hash_to_the_tree() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let mut count = 0;
        for name in ["000", "001.p/184"] {
            let tile = vectors.read(&format!("private-instance/ct-log/tile/data/{name}"));
            let hashes = vectors.read(&format!("private-instance/ct-log/tile/0/{name}"));
            let mut rest = &tile[..];
            for hash in hashes.chunks(32) {
                let (leaf, after) = TileLeaf::decode(rest).expect("leaf");
                assert_eq!(leaf.encode().expect("tile"), rest[..rest.len() - after.len()]);
                assert_eq!(leaf_index(&leaf.timestamped.extensions), Ok(count));
                let hashed = leaf.timestamped.merkle_tree_leaf().expect("leaf");
                assert_eq!(crate::crypto::sha256_concat(&[&[0], &hashed]), hash);
                count += 1;
                rest = after;
            }
            assert!(rest.is_empty());
        }
        assert_eq!(count, 440);
    }
}
