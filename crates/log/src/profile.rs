//! What distinguishes one log from another: its name, its key, and which protocol its tiles and checkpoints follow.

use waxseal_formats::checkpoint::{Checkpoint, CheckpointError, CtSignature, SignedCheckpoint, tree_head_input};
use waxseal_formats::crypto::key::PublicKey;
use waxseal_formats::leaf::TileLeaf;
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_formats::note::{KeyId, Note, NoteSignature, ct_key_id, key_id};
use waxseal_formats::tile::TileKind;

use crate::UnixMillis;

/// The protocol of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Rekor v2: the leaf is the entry's canonical body, the checkpoint is a plain signed note (C2SP tlog-tiles).
    RekorV2,
    /// Rekor v1: as v2, but the origin is `<host> - <tree ID>`, the name of the signature is the host alone, and the key ID is
    /// the SHA-256 of the key for every kind of key (rekor `pkg/util/checkpoint.go`).
    RekorV1,
    /// Certificate transparency: the leaf is a MerkleTreeLeaf, the checkpoint is a signed tree head (C2SP static-ct-api).
    StaticCt,
}

/// What a log keeps of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// The whole entries: they are served, and can be searched.
    Kept,
    /// Leaf hashes alone: an entry is forgotten once its submitter has the proof.
    Sealed,
}

/// One log.
#[derive(Clone, Debug)]
pub struct Profile {
    /// First line of its checkpoints.
    pub origin: String,
    /// Its key.
    pub key: PublicKey,
    /// Its protocol.
    pub face: Face,
    /// What it keeps.
    pub bodies: Bodies,
}

impl Profile {
    /// The name of its signatures on checkpoints.
    pub fn name(&self) -> &str {
        match self.face {
            Face::RekorV1 => self.origin.rsplit_once(" - ").map_or(self.origin.as_str(), |(host, _)| host),
            Face::RekorV2 | Face::StaticCt => &self.origin,
        }
    }

    /// The ID of the key that signs checkpoints; for Rekor v2 this is the log's `logId`.
    pub fn key_id(&self) -> KeyId {
        match self.face {
            Face::RekorV2 => key_id(&self.origin, &self.key),
            Face::RekorV1 => self.log_id(),
            Face::StaticCt => ct_key_id(&self.origin, &self.log_id()),
        }
    }

    /// The log ID of RFC 6962 §3.2 and of Rekor v1: SHA-256 of the key.
    pub fn log_id(&self) -> Hash {
        self.key.spki_sha256()
    }

    /// The bytes that the log signs for this checkpoint.
    pub fn to_sign(&self, checkpoint: &Checkpoint, time: UnixMillis) -> Vec<u8> {
        match self.face {
            Face::RekorV1 | Face::RekorV2 => checkpoint.body().into_bytes(),
            Face::StaticCt => tree_head_input(time.0, checkpoint.size, &checkpoint.root),
        }
    }

    /// The signed checkpoint; `None` if no checkpoint signature of this log can look like that.
    pub fn note(&self, checkpoint: &Checkpoint, time: UnixMillis, signature: Vec<u8>) -> Option<String> {
        let signature = match self.face {
            Face::RekorV1 | Face::RekorV2 => signature,
            Face::StaticCt => {
                let algorithm = self.key.default_algorithm();
                CtSignature { timestamp_ms: time.0, algorithm, signature }.encode()?
            }
        };
        let line = NoteSignature::new(self.name(), &self.key_id(), signature);
        Some(Note { text: checkpoint.body(), signatures: vec![line] }.format())
    }

    /// Checks the signature of a checkpoint of this log.
    pub fn verify(&self, signed: &SignedCheckpoint) -> Result<(), CheckpointError> {
        match self.face {
            Face::RekorV1 | Face::RekorV2 => signed.verify(self.name(), &self.key_id(), &self.key),
            Face::StaticCt => signed.verify_ct(&self.origin, &self.key).map(|_| ()),
        }
    }

    /// The kind of tile that holds the entries, or would if they were kept.
    pub fn entries(&self) -> TileKind {
        match self.face {
            Face::RekorV1 | Face::RekorV2 => TileKind::Entries,
            Face::StaticCt => TileKind::Data,
        }
    }

    /// Whether the log has an index: what is asked of a Rekor v2 log needs none, and it appends the faster for it.
    pub fn indexed(&self) -> bool {
        match self.face {
            Face::RekorV2 => false,
            Face::RekorV1 | Face::StaticCt => true,
        }
    }

    /// The leaf hash of an entry as it is stored; `None` if that is not an entry of this log.
    pub fn leaf_hash(&self, body: &[u8]) -> Option<Hash> {
        match self.face {
            Face::RekorV1 | Face::RekorV2 => Some(leaf_hash(body)),
            Face::StaticCt => {
                let (leaf, rest) = TileLeaf::decode(body).ok()?;
                let leaf = leaf.timestamped.merkle_tree_leaf().ok()?;
                rest.is_empty().then(|| leaf_hash(&leaf))
            }
        }
    }
}

/// The origin of a Rekor v1 log on `host`: its tree ID is made of its key, so that it needs to be kept nowhere.
pub fn rekor_v1_origin(host: &str, key: &PublicKey) -> String {
    format!("{host} - {}", rekor_v1_tree_id(key))
}

/// The tree ID of a Rekor v1 log with this key: positive, as Trillian's are.
pub fn rekor_v1_tree_id(key: &PublicKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.spki_sha256();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) & (u64::MAX >> 1)).max(1)
}
