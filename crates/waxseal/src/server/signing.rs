//! Signing within a request.

use std::sync::Arc;
use waxseal_io::signer::{Signer, SignerError};

/// Signs `message`: here, or where blocking is allowed when the key is a device's or a service's.
///
/// # Errors
/// [`SignerError`]; [`SignerError::Sign`] as well if signing broke off.
pub(crate) async fn sign(signer: &Arc<dyn Signer>, message: Vec<u8>) -> Result<Vec<u8>, SignerError> {
    if signer.is_quick() {
        return signer.sign(&message);
    }
    let signer = Arc::clone(signer);
    tokio::task::spawn_blocking(move || signer.sign(&message)).await.unwrap_or(Err(SignerError::Sign))
}

#[cfg(test)]
mod tests {
    use super::sign;
    use std::sync::Arc;
    use waxseal_formats::crypto::KeyKind;
    use waxseal_io::signer::{KeyPair, Signer};

    #[tokio::test]
    async fn quick_and_slow_keys_sign() {
        for (kind, quick) in
            [(KeyKind::EcdsaP256, true), (KeyKind::Ed25519, true), (KeyKind::Rsa { bits: 2048 }, false)]
        {
            let signer: Arc<dyn Signer> = Arc::new(KeyPair::generate(kind).expect("a key"));
            assert_eq!(signer.is_quick(), quick, "{kind}");
            let signature = sign(&signer, b"message".to_vec()).await.expect("a signature");
            let key = signer.public_key();
            assert!(key.verify(signer.algorithm(), b"message", &signature).is_ok(), "{kind}");
        }
    }
}
