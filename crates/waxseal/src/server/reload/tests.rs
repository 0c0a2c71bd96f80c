use super::{Exchange, Outcome, Part, Refused, Reloader, Status};
use crate::server::config::Config;
use prometheus_client::registry::Registry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use waxseal_formats::code::Code;

/// A part that takes up the contents of the rules file, unless they are bad.
struct Contents {
    in_force: Arc<Mutex<String>>,
}

impl Part for Contents {
    fn prepare(&self, config: &Config) -> Result<Exchange, Refused> {
        let path = config.settings.rules.clone().expect("rules");
        let text = std::fs::read_to_string(path).unwrap_or_else(|_| "missing".to_owned());
        if text.contains("bad") {
            return Err(Refused { code: Code::POLICY_MALFORMED, message: "rules.yaml: bad".into() });
        }
        let in_force = Arc::clone(&self.in_force);
        Ok(Box::new(move || {
            *in_force.lock().expect("contents") = text;
            Vec::new()
        }))
    }

    fn files(&self, config: &Config) -> Vec<PathBuf> {
        config.settings.rules.clone().into_iter().collect()
    }
}

struct Site {
    folder: tempfile::TempDir,
    one: Arc<Mutex<String>>,
    other: Arc<Mutex<String>>,
    status: Arc<Status>,
}

const CONFIG: &str = "public_url: https://a.example\n";

impl Site {
    fn new() -> (Self, Reloader) {
        let site = Self {
            folder: tempfile::tempdir().expect("a folder"),
            one: Arc::default(),
            other: Arc::default(),
            status: Arc::default(),
        };
        site.write("waxseal.yaml", CONFIG);
        site.write("rules.yaml", "first");
        let config = Config::read(&site.folder.path().join("waxseal.yaml")).expect("a configuration");
        let part =
            |in_force: &Arc<Mutex<String>>| Box::new(Contents { in_force: Arc::clone(in_force) }) as Box<dyn Part>;
        let parts = vec![part(&site.one), part(&site.other)];
        let reloader = Reloader::new(config, parts, Arc::clone(&site.status));
        (site, reloader)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("written");
    }

    fn in_force(&self) -> String {
        let one = self.one.lock().expect("contents").clone();
        assert_eq!(one, *self.other.lock().expect("contents"), "all parts or none");
        one
    }
}

const DONE: Outcome = Outcome::InForce { restart: Vec::new() };

#[test]
fn a_change_is_taken_up_when_it_stays() {
    let (site, reloader) = Site::new();
    assert_eq!(reloader.look(), None);
    // A file that is being written differs from look to look.
    for half in ["sec", "secon"] {
        site.write("rules.yaml", half);
        assert_eq!(reloader.look(), None);
    }
    site.write("rules.yaml", "second");
    assert_eq!(reloader.look(), None);
    assert_eq!(site.in_force(), "");
    assert_eq!(reloader.look(), Some(DONE));
    assert_eq!(site.in_force(), "second");
    assert_eq!(reloader.look(), None);
    // The same contents in another file are no change, another name is.
    site.write("other.yaml", "third");
    site.write("waxseal.yaml", &format!("{CONFIG}rules: other.yaml\n"));
    assert_eq!((reloader.look(), reloader.look()), (None, Some(DONE)));
    assert_eq!(site.in_force(), "third");
    site.write("rules.yaml", "nobody reads this any more");
    assert_eq!((reloader.look(), reloader.look()), (None, None));
}

#[test]
fn a_signal_reloads_at_once() {
    let (site, reloader) = Site::new();
    site.write("rules.yaml", "second");
    assert_eq!(reloader.reload(), DONE);
    assert_eq!(site.in_force(), "second");
    assert_eq!((reloader.look(), reloader.look()), (None, None));
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let (site, reloader) = Site::new();
    site.write("rules.yaml", "second");
    assert_eq!(reloader.reload(), DONE);
    for (name, bad, code, named) in [
        ("rules.yaml", "bad", Code::POLICY_MALFORMED, "rules.yaml"),
        ("waxseal.yaml", "public_url: https://a.example\ncolour: red\n", Code::INPUT_CONFIG, "line 2"),
        ("waxseal.yaml", "public_url: https://a.example\nlisten: 0.0.0.0:1\n", Code::NETWORK_PLAIN_HTTP, "0.0.0.0:1"),
    ] {
        let good = std::fs::read_to_string(site.folder.path().join(name)).expect("read");
        site.write(name, bad);
        let Outcome::Kept(refused) = reloader.reload() else { panic!("{name} was taken up") };
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.message.contains(named), "{refused}");
        assert_eq!(site.in_force(), "second");
        // It is not tried again and again.
        assert_eq!((reloader.look(), reloader.look()), (None, None));
        let told = site.status.to_json();
        assert_eq!(told["refused"]["code"], code.as_str());
        site.write(name, &good);
        assert_eq!((reloader.look(), reloader.look()), (None, Some(DONE)));
        assert!(site.status.to_json()["refused"].is_null());
    }
    std::fs::remove_file(site.folder.path().join("waxseal.yaml")).expect("removed");
    assert!(matches!(reloader.reload(), Outcome::Kept(Refused { code: Code::INPUT_UNREADABLE, .. })));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_taken_up() {
    let (site, reloader) = Site::new();
    site.write("rules.yaml", "second");
    site.write("waxseal.yaml", "public_url: https://b.example\nlimits: {requests_per_second: 5}\ncandidate: c.yaml\n");
    let restart = vec!["public_url", "limits"];
    assert_eq!(reloader.reload(), Outcome::InForce { restart: restart.clone() });
    assert_eq!(site.in_force(), "second");
    assert_eq!(site.status.to_json()["restart_needed"], serde_json::json!(restart));
    // They are compared with what the instance was started with.
    site.write("waxseal.yaml", CONFIG);
    assert_eq!(reloader.reload(), DONE);
}

#[test]
fn reloads_are_counted() {
    let (site, reloader) = Site::new();
    let mut registry = Registry::default();
    site.status.register(&mut registry);
    let line = |line: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        assert!(text.contains(line), "{line}: {text}");
    };
    line("config_reloads_total{outcome=\"refused\"} 0");
    site.write("rules.yaml", "bad");
    reloader.reload();
    reloader.reload();
    line("config_reloads_total{outcome=\"refused\"} 2");
    line("config_refused 1");
    site.write("rules.yaml", "good");
    reloader.reload();
    line("config_reloads_total{outcome=\"done\"} 1");
    line("config_refused 0");
}
