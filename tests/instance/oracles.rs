//! Libraries that nobody here wrote, beside ours: ct-merkle and tlog_tiles check every proof that a test fetches, and
//! tlog_tiles reads whole logs over HTTP.

use super::{ALICE, Home, Up, certified_entry, p256, raw};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::digest::array::Array;
use ct_merkle::digest::consts::U32;
use ct_merkle::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use std::cell::Cell;
use tlog_tiles::{HashReader as _, Tile, TileHashReader, TileReader};
use waxseal_formats::crypto::sha256;
use waxseal_formats::merkle::{self, Hash};

/// SHA-256 as ct-merkle wants it; the trees are all its own.
#[derive(Clone, Default)]
pub(super) struct Sha256(Vec<u8>);

impl HashMarker for Sha256 {}

impl OutputSizeUser for Sha256 {
    type OutputSize = U32;
}

impl Update for Sha256 {
    fn update(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }
}

impl FixedOutput for Sha256 {
    fn finalize_into(self, out: &mut Output<Self>) {
        *out = Array(sha256(&self.0));
    }
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(*hash)).collect()
}

/// Asserts that `leaf` is in the tree, as all three see it.
pub(super) fn assert_included(leaf: &[u8], index: u64, size: u64, proof: &[Hash], root: &Hash) {
    merkle::verify_inclusion(index, size, &merkle::leaf_hash(leaf), proof, root).expect("included");
    let audit: InclusionProof<Sha256> = InclusionProof::try_from_bytes(proof.concat()).expect("a proof");
    RootHash::new(Array(*root), size)
        .verify_inclusion(&leaf.to_vec(), index, &audit)
        .expect("included, says ct-merkle");
    let hash = tlog_tiles::record_hash(leaf);
    tlog_tiles::check_record(&theirs(proof), size, tlog_tiles::Hash(*root), index, hash)
        .expect("included, says tlog_tiles");
}

/// Asserts that the tree of `new` leaves extends the one of `old` leaves, as all three see it.
pub(super) fn assert_consistent(old: u64, new: u64, proof: &[Hash], old_root: &Hash, new_root: &Hash) {
    merkle::verify_consistency(old, new, proof, old_root, new_root).expect("consistent");
    if old == 0 || old == new {
        // Nothing to prove, and the oracles have no form for that.
        return;
    }
    let extension: ConsistencyProof<Sha256> = ConsistencyProof::try_from_bytes(proof.concat()).expect("a proof");
    RootHash::<Sha256>::new(Array(*new_root), new)
        .verify_consistency(&RootHash::new(Array(*old_root), old), &extension)
        .expect("consistent, says ct-merkle");
    let (new_hash, old_hash) = (tlog_tiles::Hash(*new_root), tlog_tiles::Hash(*old_root));
    tlog_tiles::check_tree(&theirs(proof), new, new_hash, old, old_hash).expect("consistent, says tlog_tiles");
}

/// A log over HTTP, as tlog_tiles reads it.
struct Remote {
    address: String,
    /// What the log's paths begin with.
    prefix: &'static str,
    read: Cell<usize>,
}

impl Remote {
    fn of(up: &Up, prefix: &'static str) -> Self {
        Self { address: up.address(), prefix, read: Cell::new(0) }
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let (prefix, address) = (self.prefix, &self.address);
        let request = format!("GET {prefix}/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes());
        assert_eq!(answer.status, 200, "{prefix}/{path}: {}", answer.text());
        self.read.set(self.read.get() + 1);
        answer.body
    }

    /// The published checkpoint: the text before its signatures.
    fn checkpoint(&self) -> tlog_tiles::Checkpoint {
        let note = String::from_utf8(self.get("checkpoint")).expect("text");
        let (text, signatures) = note.split_once("\n\n").expect("a note");
        assert!(signatures.starts_with("\u{2014} "), "{note}");
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(format!("{text}\n").as_bytes()).expect("a checkpoint");
        assert_eq!(checkpoint.to_bytes(), format!("{text}\n").as_bytes(), "nothing is lost");
        checkpoint
    }

    /// The hashes of all leaves, from tiles that were found to make up the checkpoint's root.
    fn leaves(&self, checkpoint: &tlog_tiles::Checkpoint) -> Vec<tlog_tiles::Hash> {
        let reader = TileHashReader::new(checkpoint.size(), *checkpoint.hash(), self);
        let root = tlog_tiles::tree_hash(checkpoint.size(), &reader).expect("whole tiles");
        assert_eq!(root, *checkpoint.hash());
        let indices: Vec<u64> = (0..checkpoint.size()).map(|index| tlog_tiles::stored_hash_index(0, index)).collect();
        reader.read_hashes(&indices).expect("whole tiles")
    }

    /// The entries in the bundles (C2SP tlog-tiles): 16 bits of length, then the entry.
    fn entries(&self, size: u64) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        for index in 0..size.div_ceil(256) {
            let width = (size - index * 256).min(256);
            let part = if width < 256 { format!(".p/{width}") } else { String::new() };
            let bundle = self.get(&format!("tile/entries/{index:03}{part}"));
            let mut rest = bundle.as_slice();
            while let Some((length, more)) = rest.split_first_chunk::<2>() {
                let (entry, more) = more.split_at(usize::from(u16::from_be_bytes(*length)));
                entries.push(entry.to_vec());
                rest = more;
            }
        }
        entries
    }
}

impl TileReader for Remote {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // The path without the height, which C2SP tlog-tiles leaves out.
        Ok(tiles.iter().map(|tile| self.get(&tile.path().replacen("tile/8/", "tile/", 1))).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Logs so many signatures by alice, and returns each with its index.
async fn log_entries(up: &Up, count: u64) -> Vec<(u64, Vec<u8>)> {
    let key = p256();
    let certificate = up.certificate(&key).await;
    let mut logged = Vec::new();
    for number in 0..count {
        let request = certified_entry(&key, &certificate, format!("{ALICE} signs {number}").as_bytes());
        let answer = up.post("/api/v2/log/entries", request.to_string()).await;
        let answer = answer.json();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let bytes = |value: &serde_json::Value| STANDARD.decode(text(value)).expect("base64");
        let (proof, body) = (&answer["inclusionProof"], bytes(&answer["canonicalizedBody"]));
        let hash = |value: &serde_json::Value| Hash::try_from(bytes(value)).expect("a hash");
        let hashes: Vec<Hash> = proof["hashes"].as_array().expect("a list").iter().map(hash).collect();
        let (index, size) = (text(&answer["logIndex"]).parse(), text(&proof["treeSize"]).parse());
        let (index, size) = (index.expect("a number"), size.expect("a number"));
        assert_included(&body, index, size, &hashes, &hash(&proof["rootHash"]));
        logged.push((index, body));
    }
    logged
}

/// More than a tile of entries, so that the tree has a full tile, a partial one, and a second level.
const ENTRIES: u64 = 270;

#[tokio::test]
async fn tlog_tiles_reads_the_rekor_v2_log_with_every_entry_at_its_place() {
    let home = Home::new();
    let up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", "open"]);
    let logged = log_entries(&up, ENTRIES).await;
    let size = up.size_reaching("", ENTRIES + 1).await;
    let remote = Remote::of(&up, "");
    let checkpoint = remote.checkpoint();
    assert_eq!((checkpoint.origin(), checkpoint.size(), checkpoint.extension()), ("127.0.0.1", size, ""));
    let (leaves, entries) = (remote.leaves(&checkpoint), remote.entries(size));
    let hashes: Vec<_> = entries.iter().map(|entry| tlog_tiles::record_hash(entry)).collect();
    assert_eq!(hashes, leaves);
    for (index, body) in &logged {
        assert_eq!(&entries[usize::try_from(*index).expect("small")], body);
    }
}

#[tokio::test]
async fn tlog_tiles_reads_the_hashes_of_sealed_logs() {
    let home = Home::new();
    let up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", "sealed"]);
    let logged = log_entries(&up, 20).await;
    let size = up.size_reaching("", 21).await;
    let checkpoint = Remote::of(&up, "").checkpoint();
    assert_eq!(checkpoint.size(), size);
    let leaves = Remote::of(&up, "").leaves(&checkpoint);
    for (index, body) in &logged {
        assert_eq!(leaves[usize::try_from(*index).expect("small")], tlog_tiles::record_hash(body));
    }
    let certificates = up.size_reaching("/ctlog", 1).await;
    let remote = Remote::of(&up, "/ctlog");
    let checkpoint = remote.checkpoint();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("127.0.0.1/ctlog", certificates));
    assert_eq!(u64::try_from(remote.leaves(&checkpoint).len()).expect("small"), certificates);
}

/// A test of the oracles: what they check, they refuse when it is wrong.
#[test]
fn the_oracles_refuse_another_leaf_and_another_root() {
    let leaves = [b"a", b"b"].map(|leaf| merkle::leaf_hash(leaf));
    let root = merkle::node_hash(&leaves[0], &leaves[1]);
    assert_included(b"a", 0, 2, &[leaves[1]], &root);
    let proof: InclusionProof<Sha256> = InclusionProof::try_from_bytes(leaves[1].to_vec()).expect("a proof");
    assert!(RootHash::new(Array(root), 2).verify_inclusion(&b"c".to_vec(), 0, &proof).is_err());
    let other = tlog_tiles::record_hash(b"c");
    assert!(tlog_tiles::check_record(&theirs(&[leaves[1]]), 2, tlog_tiles::Hash(root), 0, other).is_err());
}
