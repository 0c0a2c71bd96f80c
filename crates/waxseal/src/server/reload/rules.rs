//! The signing rules, and those that are tried beside them.

use super::{Exchange, Part, Refused};
use crate::server::config::{self, Config};
use crate::server::issuer_keys;
use crate::server::rules::Enforced;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use waxseal_authority::rules::IssuerType;
use waxseal_io::jwks::Sources;

/// Reads the rules that a configuration names.
fn read(config: &Config, known: &[(String, IssuerType)]) -> Result<Enforced, Refused> {
    let rules = config::rules(config.settings.rules.as_deref(), known)?;
    let candidate = config.settings.candidate.as_deref();
    Ok(Enforced::new(rules, candidate.map(|path| config::rules(Some(path), known)).transpose()?))
}

/// What takes up rules and the keys of their issuers.
type TakeUp = dyn Fn(Enforced, Sources) -> Vec<&'static str> + Send + Sync;

/// Takes up changed rules, and changed files that they name.
pub struct RulesPart {
    known: Vec<(String, IssuerType)>,
    /// The files that the rules read last name.
    named: Mutex<Vec<PathBuf>>,
    exchange: Arc<TakeUp>,
}

impl RulesPart {
    /// Hands new rules to `exchange`, which returns what of them needs a restart. `known` are issuers that are accepted besides
    /// those of the files, `named` the files that the rules in force name.
    pub fn new(
        known: Vec<(String, IssuerType)>,
        named: Vec<PathBuf>,
        exchange: impl Fn(Enforced, Sources) -> Vec<&'static str> + Send + Sync + 'static,
    ) -> Self {
        Self { known, named: Mutex::new(named), exchange: Arc::new(exchange) }
    }
}

impl Part for RulesPart {
    fn prepare(&self, config: &Config) -> Result<Exchange, Refused> {
        let loaded = read(config, &self.known)?;
        let path = config.settings.rules.as_deref();
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) = issuer_keys::files(&loaded.rules, path);
        let sources = issuer_keys::sources(&loaded.rules, path);
        let exchange = Arc::clone(&self.exchange);
        Ok(Box::new(move || exchange(loaded, sources)))
    }

    fn files(&self, config: &Config) -> Vec<PathBuf> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).clone();
        config.settings.rules.iter().chain(&config.settings.candidate).cloned().chain(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::RulesPart;
    use crate::server::config::Config;
    use crate::server::reload::{Outcome, Reloader};
    use crate::server::rules::Enforced;
    use std::sync::{Arc, Mutex};
    use waxseal_formats::code::Code;

    #[test]
    fn both_sets_of_rules_are_exchanged_or_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        let rule = |issuer: &str| format!("rules:\n  - {{name: a, issuer: 'https://{issuer}', match: {{sub: x}}}}\n");
        write("waxseal.yaml", "public_url: https://a.example\ncandidate: next.yaml\n");
        write("rules.yaml", &rule("one.example"));
        write("next.yaml", &rule("next.example"));
        let config = Config::read(&folder.path().join("waxseal.yaml")).expect("a configuration");
        let in_force: Arc<Mutex<Option<Enforced>>> = Arc::default();
        let exchanged = Arc::clone(&in_force);
        let part = RulesPart::new(Vec::new(), Vec::new(), move |loaded, _| {
            *exchanged.lock().expect("rules") = Some(loaded);
            Vec::new()
        });
        let reloader = Reloader::new(config, vec![Box::new(part)], Arc::default());
        let accepts = |issuer: &str| {
            let in_force = in_force.lock().expect("rules");
            in_force.as_ref().is_some_and(|loaded| loaded.rules.accepted(&format!("https://{issuer}")).is_some())
        };
        let kept = |code| matches!(reloader.reload(), Outcome::Kept(refused) if refused.code == code);

        write("rules.yaml", &rule("two.example"));
        write("next.yaml", "rules: 5\n");
        assert!(kept(Code::POLICY_MALFORMED) && in_force.lock().expect("rules").is_none());
        write("next.yaml", &rule("next.example"));
        assert_eq!((reloader.look(), reloader.look()), (None, Some(Outcome::InForce { restart: Vec::new() })));
        assert!(accepts("two.example") && !accepts("one.example") && !accepts("next.example"));
        assert!(in_force.lock().expect("rules").as_ref().is_some_and(|loaded| loaded.candidate.is_some()));

        // Half a file may be a good one with fewer rules, and none at all is no permission.
        std::fs::remove_file(folder.path().join("rules.yaml")).expect("removed");
        assert!(kept(Code::INPUT_UNREADABLE) && accepts("two.example"));
    }
}
