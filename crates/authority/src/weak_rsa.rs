//! RSA keys whose private half is easy to find: small factors, foreign exponents and the Infineon generator
//! (ROCA, CVE-2017-15361).

/// The only public exponent that is accepted, big-endian.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// Primes that no modulus may have as a factor.
const SMALL_PRIMES: [u32; 46] = [
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199,
];
/// Primes modulo which every modulus of the faulty generator is a power of 65537, and a random one hardly ever
/// modulo all of them (Nemec et al., "The Return of Coppersmith's Attack", 2017, §3.3).
const FINGERPRINT_PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Why an RSA key is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// An exponent other than 65537.
    #[error("its public exponent is not 65537")]
    Exponent,
    /// A factor below 200.
    #[error("its modulus is divisible by {0}")]
    SmallFactor(u32),
    /// CVE-2017-15361.
    #[error("it was made by the faulty Infineon generator (ROCA)")]
    Roca,
}

/// Checks a public key given as big-endian numbers; leading zeros do not matter.
///
/// # Errors
/// The first [`Weakness`] found.
pub(crate) fn check(modulus: &[u8], exponent: &[u8]) -> Result<(), Weakness> {
    let leading_zeros = exponent.iter().take_while(|byte| **byte == 0).count();
    if exponent.iter().skip(leading_zeros).ne(&EXPONENT) {
        return Err(Weakness::Exponent);
    }
    if let Some(prime) = SMALL_PRIMES.into_iter().find(|prime| residue(modulus, *prime) == 0) {
        return Err(Weakness::SmallFactor(prime));
    }
    if FINGERPRINT_PRIMES.into_iter().all(|prime| is_power_of_65537(residue(modulus, prime), prime)) {
        return Err(Weakness::Roca);
    }
    Ok(())
}

fn residue(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |rest, byte| ((rest << 8) | u32::from(*byte)) % prime)
}

fn is_power_of_65537(number: u32, prime: u32) -> bool {
    let powers = std::iter::successors(Some(1), |power| Some(power * (65537 % prime) % prime));
    powers.take(prime as usize).any(|power| power == number)
}

#[cfg(test)]
mod tests {
    use super::{Weakness, check};

    /// 2^127 - 1 and 2^89 - 1 are prime and no powers of 65537 modulo all of the fingerprint's primes.
    const PRIME: [u8; 16] = (u128::MAX >> 1).to_be_bytes();

    #[test]
    fn exponents_other_than_65537_are_refused() {
        assert_eq!(check(&PRIME, &[1, 0, 1]), Ok(()));
        assert_eq!(check(&PRIME, &[0, 0, 1, 0, 1]), Ok(()));
        for exponent in [&[3][..], &[1], &[], &[1, 0, 0], &[1, 0, 1, 0, 1]] {
            assert_eq!(check(&PRIME, exponent), Err(Weakness::Exponent));
        }
    }

    #[test]
    fn small_factors_are_refused() {
        for factor in [2, 3, 199] {
            let modulus = ((u128::MAX >> 16) - (u128::MAX >> 16) % factor).to_be_bytes();
            assert!(matches!(check(&modulus, &[1, 0, 1]), Err(Weakness::SmallFactor(_))), "{factor}");
        }
    }

    #[test]
    fn cve_2017_15361_powers_of_65537_are_refused() {
        for exponent in [2, 3, 7] {
            assert_eq!(check(&65537_u128.pow(exponent).to_be_bytes(), &[1, 0, 1]), Err(Weakness::Roca));
        }
    }
}
