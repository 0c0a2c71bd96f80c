//! Where the two verifiers differ, and why that is so.

use crate::verdicts::Disagreement;

/// A class of disagreements.
pub(crate) struct Explained {
    /// Our reason code, if we refuse.
    pub(crate) ours: Option<&'static str>,
    /// What stands in the other's sentence, if it refuses.
    pub(crate) theirs: Option<&'static str>,
    /// What has to stand in the place of the change.
    pub(crate) place: &'static str,
    /// And in how it was changed, or in the name of the bundle.
    pub(crate) how: &'static str,
    pub(crate) why: &'static str,
}

impl Explained {
    pub(crate) fn is_about(&self, found: &Disagreement<'_>) -> bool {
        let ours = match (self.ours, found.ours) {
            (None, Ok(())) => true,
            (Some(code), Err(found)) => code == found,
            _ => false,
        };
        let theirs = match (self.theirs, found.theirs) {
            (None, Ok(())) => true,
            (Some(part), Err(found)) => found.contains(part),
            _ => false,
        };
        let how = found.how.contains(self.how) || found.name.contains(self.how);
        ours && theirs && found.place.contains(self.place) && how
    }
}

/// All of them.
pub(crate) const EXPLAINED: &[Explained] = &[
    Explained {
        ours: None,
        theirs: Some("invalid type: null"),
        place: "",
        how: "",
        why: "null stands for a field's default in protobuf's JSON: we read it as absent, they refuse it",
    },
    Explained {
        ours: None,
        theirs: Some("missing field"),
        place: "",
        how: "removed",
        why: "what is absent is empty (proto3): a promise is none, a second entry that names no log proves nothing; they cannot read it",
    },
    Explained {
        ours: None,
        theirs: Some("invalid inclusion promise"),
        place: "/signedEntryTimestamp",
        how: "emptied",
        why: "the same, as an empty text: they verify it",
    },
    Explained {
        ours: None,
        theirs: Some("has no checkpoint"),
        place: "/inclusionProof/checkpoint",
        how: "",
        why: "in bundles 0.1 a promise suffices, so that a proof may lack its checkpoint",
    },
    Explained {
        ours: None,
        theirs: Some("invalid integrated time"),
        place: "/inclusionPromise",
        how: "",
        why: "a time that nobody signed means nothing to us, a timestamp is there; they hold it against the certificate",
    },
    Explained {
        ours: None,
        theirs: Some("unsupported or invalid EC curve"),
        place: "",
        how: "",
        why: "they know no P-521",
    },
    Explained {
        ours: None,
        theirs: Some("unknown variant `PKIX_"),
        place: "",
        how: "",
        why: "they know P-256 only in hashedrekord 0.0.2",
    },
    Explained {
        ours: Some("log.checkpoint-root"),
        theirs: None,
        place: "",
        how: "",
        why: "the proof's root hash and tree size have to be the checkpoint's: they take the checkpoint's and leave these unread",
    },
    Explained {
        ours: Some("log.checkpoint-signature"),
        theirs: None,
        place: "",
        how: "rekor-v2-other-host",
        why: "a log's checkpoints begin with the host of its address in the trusted root: they do not compare",
    },
    Explained {
        ours: Some("log.checkpoint-signature"),
        theirs: None,
        place: "/checkpoint/envelope",
        how: "another character",
        why: "the name before a checkpoint's signature is part of it (signed-note): they look at the key's hint alone",
    },
    Explained {
        ours: Some("log.index"),
        theirs: None,
        place: "",
        how: "",
        why: "the entry's index has to be its proof's in Rekor v2: they leave one of them unread",
    },
    Explained {
        ours: Some("log.unknown"),
        theirs: None,
        place: "",
        how: "",
        why: "the entry has to name a log of the trusted root: they find Rekor v2 by its checkpoint and leave the name unread",
    },
    Explained {
        ours: Some("signature.key-mismatch"),
        theirs: None,
        place: "",
        how: "",
        why: "a hint that is a key's hash has to be this key's: they leave it unread",
    },
    Explained {
        ours: Some("bundle.duplicate-entry"),
        theirs: None,
        place: "/tlogEntries",
        how: "",
        why: "the same entry twice is no second one",
    },
    Explained {
        ours: Some("bundle.duplicate-entry"),
        theirs: None,
        place: "",
        how: "entry-twice",
        why: "the same entry twice, as recorded",
    },
    Explained {
        ours: Some("bundle.malformed"),
        theirs: None,
        place: "/mediaType",
        how: "removed",
        why: "a bundle says which version it is: they take one that does not, even without a proof",
    },
    Explained {
        ours: Some("bundle.malformed"),
        theirs: None,
        place: "/inclusionProof/",
        how: "another character",
        why: "a number is digits (protobuf's JSON): they read one with a plus",
    },
    Explained {
        ours: Some("log.key-window"),
        theirs: None,
        place: "/inclusionPromise",
        how: "tlogs-closed",
        why: "an entry without a time of its own was made with a key that was valid at the proven times: they look at no other time",
    },
];
