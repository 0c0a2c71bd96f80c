//! Reason codes: the stable, lower-case, dotted names of what was found wrong.
//!
//! A code is the same in logs, HTTP answers, verdicts and documentation. Codes are extended by finer
//! ones below a class (`log.checkpoint-root` below `log`), never renamed.

use serde::Serialize;
use std::fmt;

/// One reason code, such as `log.proof-invalid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(&'static str);

impl Code {
    /// The code as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The part before the first dot: `log` of `log.proof-invalid`.
    #[must_use]
    pub fn class(self) -> &'static str {
        self.0.split_once('.').map_or(self.0, |(class, _)| class)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Declares every code once, as a constant and in [`Code::ALL`].
macro_rules! codes {
    ($($name:ident = $text:literal: $meaning:literal;)*) => {
        impl Code {
            $(#[doc = concat!("`", $text, "`: ", $meaning, ".")] pub const $name: Code = Code($text);)*

            /// Every code with its meaning, in the order of the documentation.
            pub const ALL: &'static [(Code, &'static str)] = &[$((Code::$name, $meaning),)*];
        }
    };
}

codes! {
    BUNDLE_MALFORMED = "bundle.malformed": "the bundle is not well-formed JSON of a Sigstore bundle";
    BUNDLE_DUPLICATE_ENTRY = "bundle.duplicate-entry": "the same log entry stands in the bundle twice";
    BUNDLE_UNSUPPORTED_VERSION = "bundle.unsupported-version": "the bundle's media type names a version this verifier does not know";
    BUNDLE_EMPTY_CHAIN = "bundle.empty-chain": "the bundle's certificate chain is empty";
    BUNDLE_ROOT_IN_CHAIN = "bundle.root-in-chain": "the bundle carries a root certificate, or a chain where one certificate is allowed";
    BUNDLE_MISSING_MATERIAL = "bundle.missing-material": "the bundle lacks its key or certificate, its content or its signature";
    BUNDLE_LIMITS = "bundle.limits": "the bundle holds more parts than allowed";
    CERTIFICATE_MALFORMED = "certificate.malformed": "the certificate cannot be read";
    CERTIFICATE_CHAIN = "certificate.chain": "no path leads from the certificate to a trusted authority valid at that time";
    CERTIFICATE_EXPIRED = "certificate.expired": "a certificate was not valid at the time of signing";
    CERTIFICATE_USAGE = "certificate.usage": "the certificate is not meant for this use";
    CERTIFICATE_IDENTITY = "certificate.identity": "the certificate names another identity";
    CERTIFICATE_ISSUER = "certificate.issuer": "the certificate names another token issuer";
    CERTIFICATE_EXTENSION = "certificate.extension": "a certificate extension is malformed or has another value than demanded";
    SCT_MISSING = "sct.missing": "the certificate carries no signed certificate timestamp";
    SCT_INVALID = "sct.invalid": "the signed certificate timestamp's signature does not verify";
    SCT_UNTRUSTED_LOG = "sct.untrusted-log": "the signed certificate timestamp comes from a log that is not trusted at that time";
    LOG_UNKNOWN = "log.unknown": "the entry names a log that is not in the trusted root";
    LOG_KEY_WINDOW = "log.key-window": "the log key was not valid at the entry's time";
    LOG_SET_INVALID = "log.set-invalid": "the signed entry timestamp does not verify";
    LOG_PROOF_MISSING = "log.proof-missing": "no verifiable proof that the signature was logged";
    LOG_PROOF_INVALID = "log.proof-invalid": "the inclusion proof does not lead to the root";
    LOG_CHECKPOINT_MALFORMED = "log.checkpoint-malformed": "the checkpoint cannot be parsed";
    LOG_CHECKPOINT_SIGNATURE = "log.checkpoint-signature": "the checkpoint is not signed by the log";
    LOG_CHECKPOINT_ROOT = "log.checkpoint-root": "the checkpoint's root or size is not the one of the proof";
    LOG_INDEX = "log.index": "the entry's index disagrees with its proof";
    LOG_ENTRY_MISMATCH = "log.entry-mismatch": "the log entry is about another signature, key or digest";
    LOG_ENTRY_KIND = "log.entry-kind": "the log entry is of another kind or version than stated or supported";
    LOG_ENTRY_MALFORMED = "log.entry-malformed": "the log entry, or the request to log it, cannot be read";
    LOG_ENTRY_EXISTS = "log.entry-exists": "the log has this entry already";
    LOG_ENTRY_MISSING = "log.entry-missing": "the log has no such entry";
    LOG_BUSY = "log.busy": "the log cannot take more entries at the moment";
    LOG_FROZEN = "log.frozen": "the log takes no more entries";
    LOG_SEALED = "log.sealed": "the log keeps no entries: this instance is sealed";
    LOG_STORE_CORRUPT = "log.store-corrupt": "the stored log is damaged or contradicts itself";
    LOG_STORE_BEHIND = "log.store-behind": "the stored log lacks entries of a checkpoint that it published";
    LOG_STORE_LOCKED = "log.store-locked": "another process uses the stored log";
    LOG_STORE_FAILED = "log.store-failed": "the stored log cannot be read or written";
    TIME_MISSING = "time.missing": "no trusted time proves when the signature was made";
    TIME_OUTSIDE_CERTIFICATE = "time.outside-certificate": "the proven time lies outside the certificate's validity";
    TIME_FUTURE = "time.future": "the proven time lies in the future";
    TIME_CLOCK_DOUBTFUL = "time.clock-doubtful": "the clock of the timestamp authority cannot be trusted now";
    TIME_TOKEN_INVALID = "time.token-invalid": "the timestamp token is malformed or its signature does not verify";
    TIME_TOKEN_MISMATCH = "time.token-mismatch": "the timestamp token is about another signature";
    TIME_REQUEST_MALFORMED = "time.request-malformed": "the timestamp request cannot be read";
    TIME_REQUEST_HASH = "time.request-hash": "the timestamp request's hash function is weak or unknown, or the digest has another length";
    TIME_REQUEST_POLICY = "time.request-policy": "the timestamp request asks for a policy that the authority does not have";
    TIME_REQUEST_EXTENSION = "time.request-extension": "the timestamp request has an extension";
    TIME_AUTHORITY_UNTRUSTED = "time.authority-untrusted": "the timestamp comes from an authority that is not trusted";
    TIME_AUTHORITY_WINDOW = "time.authority-window": "the timestamp lies outside the authority's validity";
    SIGNATURE_INVALID = "signature.invalid": "the signature does not verify";
    SIGNATURE_DIGEST_MISMATCH = "signature.digest-mismatch": "the artifact is not the one that was signed";
    SIGNATURE_ENVELOPE = "signature.envelope": "the DSSE envelope is not acceptable";
    SIGNATURE_KEY_MISSING = "signature.key-missing": "the bundle is signed with a key and none was given";
    SIGNATURE_KEY_MISMATCH = "signature.key-mismatch": "the given key is not the one that the bundle names";
    STATEMENT_SUBJECT = "statement.subject": "the statement is about another artifact";
    STATEMENT_PREDICATE_TYPE = "statement.predicate-type": "the statement's predicate is of another type";
    TRUSTED_ROOT_MALFORMED = "trusted-root.malformed": "the trusted root cannot be used";
    TRUSTED_ROOT_WINDOW = "trusted-root.window": "the trusted root has no material for that time";
    TRUSTED_ROOT_EXPIRED = "trusted-root.expired": "trust metadata is past its expiry";
    TRUSTED_ROOT_HASH = "trusted-root.hash": "a trust file has another length or digest than the metadata says";
    TRUSTED_ROOT_LIMITS = "trusted-root.limits": "the trust repository demands more steps than allowed";
    TRUSTED_ROOT_MISSING = "trusted-root.missing": "the trust repository lacks a file that it must have";
    TRUSTED_ROOT_PIN = "trusted-root.pin": "the instance's root is not the one that was given";
    TRUSTED_ROOT_ROLLBACK = "trusted-root.rollback": "the trust repository offers older metadata than was seen before";
    TRUSTED_ROOT_THRESHOLD = "trusted-root.threshold": "too few of the role's keys signed the trust metadata";
    TRUSTED_ROOT_UNPINNED = "trusted-root.unpinned": "the instance is not pinned on this machine";
    TRUSTED_ROOT_VERSION = "trusted-root.version": "trust metadata has another version than was asked for";
    TOKEN_MALFORMED = "token.malformed": "the identity token is not an acceptable JWT";
    TOKEN_SIGNATURE = "token.signature": "the identity token's signature does not verify";
    TOKEN_ISSUER = "token.issuer": "the identity token's issuer is not accepted";
    TOKEN_AUDIENCE = "token.audience": "the identity token is meant for someone else";
    TOKEN_EXPIRED = "token.expired": "the identity token is not valid now";
    TOKEN_CLAIM = "token.claim": "the identity token lacks a claim or has an unacceptable one";
    TOKEN_USED = "token.used": "the identity token is good for one certificate and has been used";
    RULE_DENIED = "rule.denied": "no signing rule admits this identity";
    RULE_LIMIT = "rule.limit": "the identity or the rule has had as many certificates as it may";
    RULE_WRITER = "rule.writer": "the log takes no entries signed by this certificate or key";
    CHALLENGE_FAILED = "challenge.failed": "the proof of possession does not verify";
    KEY_PASSPHRASE = "key.passphrase": "the private key is encrypted and the passphrase is missing or does not open it";
    KEY_PERMISSIONS = "key.permissions": "a file with a private key or passphrase can be read by others";
    KEY_UNAVAILABLE = "key.unavailable": "the signing key cannot be used at the moment";
    KEY_UNSUPPORTED = "key.unsupported": "the key is of an unsupported kind, size or encoding";
    POLICY_DENIED = "policy.denied": "the policy refuses";
    POLICY_MALFORMED = "policy.malformed": "the policy cannot be read";
    POLICY_STRANGERS = "policy.strangers": "a signing rule admits whoever has an account at a shared issuer";
    POLICY_MISSING = "policy.missing": "no policy was given";
    ARTIFACT_UNSIGNED = "artifact.unsigned": "the artifact carries no signature";
    ARTIFACT_NOT_FOUND = "artifact.not-found": "the artifact does not exist";
    NETWORK_LIMITED = "network.limited": "the address makes too many requests";
    NETWORK_LISTEN = "network.listen": "the address cannot be listened on";
    NETWORK_PLAIN_HTTP = "network.plain-http": "others would be served without TLS";
    NETWORK_UNREACHABLE = "network.unreachable": "a needed service cannot be reached";
    NETWORK_REFUSED = "network.refused": "a needed service refuses the request";
    REGISTRY_UNAUTHORIZED = "registry.unauthorized": "the registry refuses access";
    INPUT_CONFIG = "input.config": "the configuration file is refused";
    INPUT_DEMO_PROVIDER = "input.demo-provider": "the data directory has the demo identity provider's secret, whose owner can sign as anybody";
    INPUT_TOO_LARGE = "input.too-large": "the input is larger than allowed";
    INPUT_UNREADABLE = "input.unreadable": "the input cannot be read";
    INPUT_MALFORMED = "input.malformed": "the input can be read and is not what it should be";
    USAGE = "usage": "the command was used wrongly";
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_dotted_and_lower_case() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for text in texts {
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-'), "{text}");
        }
        assert_eq!(Code::LOG_PROOF_INVALID.class(), "log");
    }
}
