//! Logins under way: codes that wait for their client, and devices that wait for their person. They are in memory, bounded, and gone
//! after a restart.

use super::claims::IssuerKind;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use waxseal_formats::crypto::{Secret, sha256};
use waxseal_formats::json::encode_base64url;
use waxseal_io::system;

/// Most codes, and most devices, that wait.
pub(super) const MAX_WAITING: usize = 1024;
/// How long a code waits: its client is a program that is there already.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long a device waits: its person is asked to go somewhere and type.
const DEVICE_LIFETIME: Duration = Duration::from_secs(600);
/// How often a device may ask.
const INTERVAL: Duration = Duration::from_secs(1);
/// Letters of the codes that people type: no vowels, so that no words come of them (RFC 8628 §6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What a code stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) kind: IssuerKind,
    pub(super) identity: String,
    pub(super) redirect: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
}

/// With what a code is presented.
pub(super) struct Presented {
    pub(super) kind: IssuerKind,
    pub(super) redirect: String,
    pub(super) verifier: Option<String>,
}

/// A device that waits.
pub(super) struct Device {
    kind: IssuerKind,
    challenge: Option<String>,
    nonce: Option<String>,
    user_code: String,
    identity: Option<String>,
    asked: Option<Instant>,
}

/// What a device is told at the beginning.
pub(super) struct Begun {
    pub(super) device_code: Secret<String>,
    pub(super) user_code: String,
    pub(super) lifetime: Duration,
    pub(super) interval: Duration,
}

/// What a device is told when it asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Poll {
    Approved { identity: String, nonce: Option<String> },
    Pending,
    TooFast,
    Expired,
    Wrong,
}

/// Whatever waits, by what it is called.
struct Waiting<T>(HashMap<String, (T, Instant)>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Waiting<T> {
    /// `false` if there is no room.
    fn add(&mut self, name: String, waits: T, lifetime: Duration) -> bool {
        let now = Instant::now();
        self.0.retain(|_, (_, until)| *until > now);
        if self.0.len() >= MAX_WAITING {
            return false;
        }
        self.0.insert(name, (waits, now + lifetime));
        true
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.0.get_mut(name).filter(|(_, until)| *until > Instant::now()).map(|(waits, _)| waits)
    }

    fn take(&mut self, name: &str) -> Option<T> {
        self.0.remove(name).filter(|(_, until)| *until > Instant::now()).map(|(waits, _)| waits)
    }
}

/// The logins under way.
#[derive(Default)]
pub(super) struct Grants {
    codes: Mutex<Waiting<Code>>,
    devices: Mutex<Waiting<Device>>,
}

impl Device {
    pub(super) fn new(kind: IssuerKind, challenge: Option<String>, nonce: Option<String>) -> Self {
        let letters: String = system::random::<8>().iter().map(|byte| letter(*byte)).collect();
        let (first, second) = letters.split_at(4);
        Self { kind, challenge, nonce, user_code: format!("{first}-{second}"), identity: None, asked: None }
    }
}

fn letter(byte: u8) -> char {
    let index = usize::from(byte).checked_rem(LETTERS.len()).unwrap_or_default();
    LETTERS.get(index).copied().map_or('B', char::from)
}

impl Grants {
    /// A code for a login, or nothing if too many wait.
    pub(super) fn issue(&self, code: Code) -> Option<Secret<String>> {
        let name = Secret::new(encode_base64url(&system::random::<32>()));
        lock(&self.codes).add(name.expose().clone(), code, CODE_LIFETIME).then_some(name)
    }

    /// Takes a code: it is gone whatever else is wrong, so that nobody tries twice.
    pub(super) fn redeem(&self, name: &str, presented: &Presented) -> Option<Code> {
        let code = lock(&self.codes).take(name)?;
        let fits = code.kind == presented.kind
            && code.redirect == presented.redirect
            && verified(&code.challenge, presented.verifier.as_deref());
        fits.then_some(code)
    }

    /// Has a device wait.
    pub(super) fn begin(&self, device: Device) -> Option<Begun> {
        let device_code = Secret::new(encode_base64url(&system::random::<32>()));
        let user_code = device.user_code.clone();
        let added = lock(&self.devices).add(device_code.expose().clone(), device, DEVICE_LIFETIME);
        added.then_some(Begun { device_code, user_code, lifetime: DEVICE_LIFETIME, interval: INTERVAL })
    }

    /// Approves the device that shows this code, however it was typed.
    pub(super) fn approve(&self, kind: IssuerKind, user_code: &str, identity: &str) -> bool {
        let plain = |code: &str| -> String {
            code.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase()).collect()
        };
        let (typed, now) = (plain(user_code), Instant::now());
        let mut devices = lock(&self.devices);
        let found = devices.0.values_mut().find(|(device, until)| {
            device.kind == kind && *until > now && device.identity.is_none() && plain(&device.user_code) == typed
        });
        match found {
            Some((device, _)) => {
                device.identity = Some(identity.to_owned());
                true
            }
            None => false,
        }
    }

    /// What a device that asks is told.
    pub(super) fn poll(&self, kind: IssuerKind, name: &str, verifier: Option<&str>) -> Poll {
        let mut devices = lock(&self.devices);
        let now = Instant::now();
        let Some(device) = devices.get_mut(name).filter(|device| device.kind == kind) else { return Poll::Expired };
        if let Some(challenge) = &device.challenge
            && !verified(challenge, verifier)
        {
            return Poll::Wrong;
        }
        let too_fast = device.asked.is_some_and(|asked| now.duration_since(asked) < INTERVAL);
        device.asked = Some(now);
        match device.identity.clone() {
            // Whoever has approval gets it, however impatient he was.
            Some(identity) => {
                let nonce = device.nonce.clone();
                devices.take(name);
                Poll::Approved { identity, nonce }
            }
            None if too_fast => Poll::TooFast,
            None => Poll::Pending,
        }
    }
}

/// RFC 7636 §4.6.
fn verified(challenge: &str, verifier: Option<&str>) -> bool {
    verifier.is_some_and(|verifier| encode_base64url(&sha256(verifier.as_bytes())) == challenge)
}

/// A poisoned lock means that a thread died in the middle; nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
