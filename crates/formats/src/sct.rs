//! Signed certificate timestamps (RFC 6962 §3.2–3.3) and the leaf_index extension of static logs.
//!
//! ```text
//! SCT:          00 ‖ 32-byte log id ‖ u64 milliseconds ‖ u16 len ‖ extensions ‖ DigitallySigned
//! list:         u16 len ‖ (u16 len ‖ SCT)*
//! signed input: 00 00 ‖ u64 milliseconds ‖ entry_type ‖ entry ‖ u16 len ‖ extensions
//! leaf_index:   00 ‖ 0005 ‖ u40 index
//! ```

use crate::code::Code;
use crate::crypto::{PublicKey, SignatureAlgorithm, SignatureInvalid};
use crate::leaf::{LeafError, SignedEntry, TimestampedEntry};
use crate::tls::{TlsReader, put_uint, put_vector};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::Encode;
use der::asn1::OctetStringRef;

/// Largest number of SCTs in one list.
pub const MAX_SCTS: usize = 16;
/// SignatureAndHashAlgorithm (RFC 5246 §7.4.1.4.1) of the two schemes that RFC 6962 §2.1.4 allows.
const ALGORITHMS: [(SignatureAlgorithm, [u8; 2]); 2] =
    [(SignatureAlgorithm::EcdsaSha256, [4, 3]), (SignatureAlgorithm::RsaPkcs1Sha256, [4, 1])];
const LEAF_INDEX: u64 = 0;

/// Why an SCT cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SctError {
    /// The bytes end too early or go on after the end, or the list is empty.
    #[error("the signed certificate timestamp is malformed")]
    Malformed,
    /// Another version than v1.
    #[error("signed certificate timestamps of version {0} are not supported")]
    Version(u8),
    /// Neither ECDSA nor RSA over SHA-256, the two schemes of RFC 6962.
    #[error("signed certificate timestamps with hash {0} and signature {1} are not supported")]
    Algorithm(u8, u8),
    /// More than [`MAX_SCTS`], or too large for a length field.
    #[error("too many or too large signed certificate timestamps")]
    TooLarge,
}

impl SctError {
    /// Always `sct.invalid`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::SCT_INVALID
    }
}

/// A log's promise to publish an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificateTimestamp {
    /// SHA-256 of the log key's SubjectPublicKeyInfo.
    pub log_id: [u8; 32],
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// CtExtensions, part of what is signed; see [`leaf_index`].
    pub extensions: Vec<u8>,
    /// The scheme that the SCT names.
    pub algorithm: SignatureAlgorithm,
    /// The signature; ECDSA in ASN.1 DER.
    pub signature: Vec<u8>,
}

impl SignedCertificateTimestamp {
    /// Reads a SignedCertificateTimestampList: the contents of the X.509 extension's inner OCTET STRING.
    ///
    /// # Errors
    /// [`SctError`]; one unreadable SCT makes the list unreadable.
    pub fn parse_list(bytes: &[u8]) -> Result<Vec<Self>, SctError> {
        let mut reader = TlsReader::new(bytes);
        let list = reader.vector(2).ok_or(SctError::Malformed)?;
        if !reader.is_empty() || list.is_empty() {
            return Err(SctError::Malformed);
        }
        let mut list = TlsReader::new(list);
        let mut scts = Vec::new();
        while !list.is_empty() {
            if scts.len() == MAX_SCTS {
                return Err(SctError::TooLarge);
            }
            scts.push(Self::decode(list.vector(2).ok_or(SctError::Malformed)?)?);
        }
        Ok(scts)
    }

    /// Reads one SCT.
    ///
    /// # Errors
    /// [`SctError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SctError> {
        let mut reader = TlsReader::new(bytes);
        let [version] = reader.array().ok_or(SctError::Malformed)?;
        if version != 0 {
            return Err(SctError::Version(version));
        }
        let (log_id, timestamp_ms, extensions, algorithm, signature) =
            Self::fields(&mut reader).filter(|_| reader.is_empty()).ok_or(SctError::Malformed)?;
        let [hash, kind] = algorithm;
        let algorithm = ALGORITHMS
            .iter()
            .find(|(_, bytes)| *bytes == algorithm)
            .map(|(algorithm, _)| *algorithm)
            .ok_or(SctError::Algorithm(hash, kind))?;
        Ok(Self { log_id, timestamp_ms, extensions: extensions.to_vec(), algorithm, signature: signature.to_vec() })
    }

    #[expect(clippy::type_complexity, reason = "the fields of one structure, named where they are taken apart")]
    fn fields<'a>(reader: &mut TlsReader<'a>) -> Option<([u8; 32], u64, &'a [u8], [u8; 2], &'a [u8])> {
        Some((reader.array()?, reader.uint(8)?, reader.vector(2)?, reader.array()?, reader.vector(2)?))
    }

    /// The SCT's bytes.
    ///
    /// # Errors
    /// [`SctError::TooLarge`]; [`SctError::Algorithm`] for a scheme that RFC 6962 does not have.
    pub fn encode(&self) -> Result<Vec<u8>, SctError> {
        let mut out = vec![0];
        out.extend_from_slice(&self.log_id);
        put_uint(&mut out, 8, self.timestamp_ms).ok_or(SctError::TooLarge)?;
        put_vector(&mut out, 2, &self.extensions).ok_or(SctError::TooLarge)?;
        out.extend(self.digitally_signed()?);
        Ok(out)
    }

    /// The DigitallySigned structure alone.
    ///
    /// # Errors
    /// As [`SignedCertificateTimestamp::encode`].
    pub fn digitally_signed(&self) -> Result<Vec<u8>, SctError> {
        digitally_signed(self.algorithm, &self.signature)
    }

    /// The contents of the X.509 extension's extnValue: an OCTET STRING with the list of these SCTs.
    ///
    /// # Errors
    /// [`SctError::TooLarge`], also for an empty list, and as [`SignedCertificateTimestamp::encode`].
    pub fn to_list_extension(scts: &[Self]) -> Result<Vec<u8>, SctError> {
        if scts.is_empty() || scts.len() > MAX_SCTS {
            return Err(SctError::TooLarge);
        }
        let mut list = Vec::new();
        for sct in scts {
            put_vector(&mut list, 2, &sct.encode()?).ok_or(SctError::TooLarge)?;
        }
        let mut out = Vec::new();
        put_vector(&mut out, 2, &list).ok_or(SctError::TooLarge)?;
        OctetStringRef::new(&out).and_then(|octets| octets.to_der()).map_err(|_| SctError::TooLarge)
    }

    /// The answer of add-chain and add-pre-chain (RFC 6962 §4.1), one JSON object.
    ///
    /// # Errors
    /// As [`SignedCertificateTimestamp::encode`].
    pub fn to_add_chain_response(&self) -> Result<String, SctError> {
        Ok(serde_json::json!({
            "sct_version": 0,
            "id": STANDARD.encode(self.log_id),
            "timestamp": self.timestamp_ms,
            "extensions": STANDARD.encode(&self.extensions),
            "signature": STANDARD.encode(self.digitally_signed()?),
        })
        .to_string())
    }

    /// Verifies the log's signature over `entry`. That `log_id` is `log_key`'s, and that the log is trusted at
    /// that time, is the caller's to check.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, log_key: &PublicKey, entry: &SignedEntry) -> Result<(), SignatureInvalid> {
        let input = signed_input(self.timestamp_ms, entry, &self.extensions).map_err(|_| SignatureInvalid)?;
        log_key.verify(self.algorithm, &input, &self.signature)
    }
}

/// What the log signs for an SCT (RFC 6962 §3.2).
///
/// # Errors
/// [`LeafError::TooLarge`].
pub fn signed_input(timestamp_ms: u64, entry: &SignedEntry, extensions: &[u8]) -> Result<Vec<u8>, LeafError> {
    // It is byte for byte the MerkleTreeLeaf: version and signature_type are zero, as version and leaf_type are.
    TimestampedEntry { timestamp_ms, entry: entry.clone(), extensions: extensions.to_vec() }.merkle_tree_leaf()
}

/// A DigitallySigned structure (RFC 5246 §4.7): hash, signature kind, `u16 len ‖ signature`.
///
/// # Errors
/// [`SctError::Algorithm`] for a scheme that RFC 6962 does not have; [`SctError::TooLarge`].
pub fn digitally_signed(algorithm: SignatureAlgorithm, signature: &[u8]) -> Result<Vec<u8>, SctError> {
    let (_, bytes) =
        ALGORITHMS.iter().find(|(known, _)| *known == algorithm).ok_or(SctError::Algorithm(u8::MAX, u8::MAX))?;
    let mut out = bytes.to_vec();
    put_vector(&mut out, 2, signature).ok_or(SctError::TooLarge)?;
    Ok(out)
}

/// CtExtensions with the one extension leaf_index (C2SP static-ct-api): the entry's index, at most 40 bits.
///
/// # Errors
/// [`SctError::TooLarge`].
pub fn leaf_index_extension(index: u64) -> Result<Vec<u8>, SctError> {
    let mut data = Vec::new();
    put_uint(&mut data, 5, index).ok_or(SctError::TooLarge)?;
    let mut out = Vec::new();
    put_uint(&mut out, 1, LEAF_INDEX).ok_or(SctError::TooLarge)?;
    put_vector(&mut out, 2, &data).ok_or(SctError::TooLarge)?;
    Ok(out)
}

/// The index in the leaf_index extension of an SCT's CtExtensions; extensions of other types are skipped.
///
/// # Errors
/// [`SctError::Malformed`] if there is none, or not exactly one of 40 bits.
pub fn leaf_index(extensions: &[u8]) -> Result<u64, SctError> {
    let mut reader = TlsReader::new(extensions);
    let mut index = None;
    while !reader.is_empty() {
        let kind = reader.uint(1).ok_or(SctError::Malformed)?;
        let data = reader.vector(2).ok_or(SctError::Malformed)?;
        if kind == LEAF_INDEX {
            if data.len() != 5 || index.is_some() {
                return Err(SctError::Malformed);
            }
            index = TlsReader::new(data).uint(5);
        }
    }
    index.ok_or(SctError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::{SctError, SignedCertificateTimestamp, leaf_index, leaf_index_extension};
    use crate::code::Code;
    use crate::crypto::SignatureAlgorithm;

    fn sct() -> SignedCertificateTimestamp {
        SignedCertificateTimestamp {
            log_id: [9; 32],
            timestamp_ms: 1_795_531_070_295,
            extensions: leaf_index_extension(908_820).expect("fits"),
            algorithm: SignatureAlgorithm::EcdsaSha256,
            signature: vec![0x30, 0],
        }
    }

    #[test]
    fn layout_is_that_of_rfc_6962() {
        let encoded = sct().encode().expect("encoded");
        let log_id = "09".repeat(32);
        assert_eq!(hex::encode(&encoded), format!("00{log_id}000001a20dfddb57000800000500000dde14040300023000"));
        assert_eq!(SignedCertificateTimestamp::decode(&encoded), Ok(sct()));
        let list = SignedCertificateTimestamp::to_list_extension(&[sct(), sct()]).expect("list");
        assert_eq!(list[..2], [0x04, 0x78]);
        assert_eq!(SignedCertificateTimestamp::parse_list(&list[2..]), Ok(vec![sct(), sct()]));
    }

    #[test]
    fn leaf_index_is_forty_bits() {
        assert_eq!(hex::encode(leaf_index_extension(908_820).expect("fits")), "00000500000dde14");
        assert_eq!(leaf_index(&hex::decode("00000500000dde14").expect("hex")), Ok(908_820));
        assert_eq!(leaf_index(&hex::decode("01000000000500000dde14").expect("hex")), Ok(908_820));
        assert_eq!(leaf_index_extension(1 << 40), Err(SctError::TooLarge));
        for malformed in ["", "000004000dde14", "00000500000dde1400", "00000500000dde1400000500000dde14", "0000"] {
            assert_eq!(leaf_index(&hex::decode(malformed).expect("hex")), Err(SctError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        let list = SignedCertificateTimestamp::to_list_extension(&[sct()]).expect("list");
        let list = &list[2..];
        for len in 0..list.len() {
            let error = SignedCertificateTimestamp::parse_list(&list[..len]).expect_err("truncated");
            assert_eq!((error, error.code()), (SctError::Malformed, Code::SCT_INVALID));
        }
        assert_eq!(SignedCertificateTimestamp::parse_list(&[list, &[0]].concat()), Err(SctError::Malformed));
        assert_eq!(SignedCertificateTimestamp::parse_list(&[0, 0]), Err(SctError::Malformed));
        assert_eq!(SignedCertificateTimestamp::to_list_extension(&[]), Err(SctError::TooLarge));
        let many = vec![sct(); 17];
        assert_eq!(SignedCertificateTimestamp::to_list_extension(&many), Err(SctError::TooLarge));
        let many: Vec<u8> = many.iter().flat_map(|sct| [vec![0, 57], sct.encode().expect("sct")].concat()).collect();
        let many = [&u16::try_from(many.len()).expect("fits").to_be_bytes(), &many[..]].concat();
        assert_eq!(SignedCertificateTimestamp::parse_list(&many), Err(SctError::TooLarge));
    }

    #[test]
    fn other_versions_and_schemes_are_refused() {
        let mut encoded = sct().encode().expect("encoded");
        encoded[0] = 1;
        assert_eq!(SignedCertificateTimestamp::decode(&encoded), Err(SctError::Version(1)));
        encoded[0] = 0;
        let at = encoded.len() - 6;
        encoded[at] = 2;
        assert_eq!(SignedCertificateTimestamp::decode(&encoded), Err(SctError::Algorithm(2, 3)));
        let ed25519 = SignedCertificateTimestamp { algorithm: SignatureAlgorithm::Ed25519, ..sct() };
        assert!(matches!(ed25519.encode(), Err(SctError::Algorithm(..))));
    }

    #[test]
    fn the_add_chain_response_is_the_recorded_one() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let recorded = vectors
            .wire("fulcio-1.8.8-outgoing")
            .into_iter()
            .find(|exchange| exchange.path.ends_with("add-pre-chain"))
            .expect("an add-pre-chain")
            .response_json();
        use base64::Engine;
        let bytes = |key: &str| {
            base64::engine::general_purpose::STANDARD.decode(recorded[key].as_str().expect("text")).expect("base64")
        };
        let encoded = [
            &[0][..],
            &bytes("id"),
            &recorded["timestamp"].as_u64().expect("number").to_be_bytes(),
            &[0, 8],
            &bytes("extensions"),
            &bytes("signature"),
        ]
        .concat();
        let sct = SignedCertificateTimestamp::decode(&encoded).expect("sct");
        assert_eq!(leaf_index(&sct.extensions), Ok(0));
        let ours: serde_json::Value =
            serde_json::from_str(&sct.to_add_chain_response().expect("response")).expect("json");
        assert_eq!(ours, recorded);
    }
}
