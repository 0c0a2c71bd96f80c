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
    let residues = residues(modulus);
    if let Some((prime, _)) = residues.iter().find(|(_, residue)| *residue == 0) {
        return Err(Weakness::SmallFactor(*prime));
    }
    let of_the_generator =
        |(prime, residue): &(u32, u32)| !FINGERPRINT_PRIMES.contains(prime) || is_power_of_65537(*residue, *prime);
    if residues.iter().all(of_the_generator) {
        return Err(Weakness::Roca);
    }
    Ok(())
}

/// Each small prime with the residue of a big-endian number. Every token of an RSA issuer asks for them, so the number is
/// divided by products of several primes, as many as 32 bits hold, and only the rests by each.
fn residues(number: &[u8]) -> Vec<(u32, u32)> {
    let mut residues = Vec::with_capacity(SMALL_PRIMES.len());
    let mut group: Vec<u32> = Vec::new();
    let mut product = 1_u32;
    for prime in SMALL_PRIMES.into_iter().map(Some).chain([None]) {
        match prime.and_then(|prime| product.checked_mul(prime).zip(Some(prime))) {
            Some((larger, prime)) => {
                product = larger;
                group.push(prime);
            }
            None => {
                let rest = residue(number, product);
                residues.extend(group.drain(..).map(|prime| (prime, rest % prime)));
                product = 1;
                if let Some(prime) = prime {
                    product = prime;
                    group.push(prime);
                }
            }
        }
    }
    residues
}

/// The residue of a big-endian number.
fn residue(number: &[u8], modulus: u32) -> u32 {
    let modulus = u64::from(modulus);
    let (start, words) = number.as_rchunks::<4>();
    let step = |rest: u64, word: u32| ((rest << 32) | u64::from(word)) % modulus;
    let start = start.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte));
    let rest = words.iter().fold(step(0, start), |rest, word| step(rest, u32::from_be_bytes(*word)));
    u32::try_from(rest).unwrap_or(u32::MAX)
}

fn is_power_of_65537(number: u32, prime: u32) -> bool {
    let powers = std::iter::successors(Some(1), |power| Some(power * (65537 % prime) % prime));
    powers.take(prime as usize).any(|power| power == number)
}

#[cfg(test)]
mod tests {
    use super::{SMALL_PRIMES, Weakness, check, residues};

    /// 2^127 - 1 and 2^89 - 1 are prime and no powers of 65537 modulo all of the fingerprint's primes.
    const PRIME: [u8; 16] = (u128::MAX >> 1).to_be_bytes();

    #[test]
    fn residues_are_those_of_division_byte_by_byte() {
        for length in 0..300 {
            let number: Vec<u8> =
                (0..length).map(|index: u32| (index * 167 + length * 31 + 5).to_le_bytes()[0]).collect();
            let expected = SMALL_PRIMES
                .map(|prime| (prime, number.iter().fold(0, |rest, byte| ((rest << 8) | u32::from(*byte)) % prime)));
            assert_eq!(residues(&number), expected, "{length}");
        }
    }

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
