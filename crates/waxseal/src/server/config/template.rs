//! The files that `init` writes for people to read and change: every key of the configuration with what it does.

use super::file::RULES_FILE;
use super::{Keys, Tls};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use waxseal_formats::client_config::Privacy;

/// What a new configuration says; everything else stands in it as a remark.
#[derive(Clone, Debug)]
pub struct Template {
    /// Scheme, host and port by which clients know the instance.
    pub public_url: String,
    /// The address to listen on, if it is not the one that follows from the rest.
    pub listen: Option<SocketAddr>,
    /// The address for health and metrics.
    pub operations_listen: Option<SocketAddr>,
    /// What the logs keep.
    pub privacy: Privacy,
    /// The certificate; `None` if nothing was said.
    pub tls: Option<Tls>,
    /// Where people log in.
    pub login: Option<super::Login>,
    /// Where the passphrase comes from.
    pub keys: Keys,
}

impl Template {
    /// The configuration file of a data directory.
    ///
    /// # Errors
    /// None that a text could give.
    pub fn config(&self, data_dir: &Path) -> Result<String, std::fmt::Error> {
        let mut text = String::from(HEAD);
        let path = |path: &Path| scalar(&path.strip_prefix(data_dir).unwrap_or(path).display().to_string());
        let out = &mut text;
        writeln!(
            out,
            "# The origin by which clients know this instance: scheme, host and port. Its host cannot change later."
        )?;
        writeln!(out, "public_url: {}\n", scalar(&self.public_url))?;
        writeln!(out, "# Keys, logs and the trust repository.")?;
        writeln!(out, "data_dir: .\n")?;
        writeln!(
            out,
            "# What the logs keep: `sealed` keeps hashes alone, `open` keeps entries to be read and searched."
        )?;
        writeln!(out, "# It cannot change later.")?;
        writeln!(out, "privacy: {}\n", self.privacy.name())?;
        writeln!(out, "# Who may have a certificate: see docs/rules.md. Read again when it changes.")?;
        writeln!(out, "rules: {RULES_FILE}")?;
        writeln!(
            out,
            "# Rules that are tried beside them: where they would decide otherwise is counted and recorded."
        )?;
        writeln!(out, "#candidate: rules-next.yaml\n")?;
        writeln!(out, "# The address to listen on: that of a public_url on loopback, else 0.0.0.0:443 with `tls` and")?;
        writeln!(out, "# 127.0.0.1:7480 without, where a proxy is expected.")?;
        match self.listen {
            Some(listen) => writeln!(out, "listen: {listen}")?,
            None => writeln!(out, "#listen: 0.0.0.0:443")?,
        }
        writeln!(out, "# Health and metrics on an address of their own.")?;
        match self.operations_listen {
            Some(listen) => writeln!(out, "operations_listen: {listen}\n")?,
            None => writeln!(out, "#operations_listen: 127.0.0.1:9464\n")?,
        }
        writeln!(
            out,
            "# Certificate chain and key in PEM, read again when they change. `tls: none` serves plain HTTP to everybody who"
        )?;
        writeln!(out, "# reaches the address: for a proxy on another machine.")?;
        match &self.tls {
            Some(Tls::Files { certificate, key }) => {
                writeln!(out, "tls:\n  certificate: {}\n  key: {}\n", path(certificate), path(key))?;
            }
            Some(Tls::None) => writeln!(out, "tls: none\n")?,
            None => writeln!(out, "#tls:\n#  certificate: tls/fullchain.pem\n#  key: tls/privkey.pem\n")?,
        }
        writeln!(out, "# Proxies whose X-Forwarded-For and X-Request-Id are believed.")?;
        writeln!(out, "#trusted_proxies: [10.0.0.0/8]\n")?;
        writeln!(out, "# Where people log in, told to clients. Whom it vouches for may sign only if a rule says so.")?;
        match &self.login {
            Some(login) => {
                writeln!(
                    out,
                    "login:\n  issuer: {}\n  client_id: {}\n",
                    scalar(&login.issuer),
                    scalar(&login.client_id)
                )?;
            }
            None => writeln!(out, "#login:\n#  issuer: https://login.example\n#  client_id: sigstore\n")?,
        }
        writeln!(
            out,
            "# Where the passphrase of the keys in keys/ comes from: `passphrase_file` (readable by its owner alone) or"
        )?;
        writeln!(out, "# `passphrase_env` (the name of a variable). Without either the keys have to be unencrypted.")?;
        match &self.keys {
            Keys::Plain => writeln!(out, "#keys:\n#  passphrase_file: secrets/passphrase\n")?,
            Keys::PassphraseFile(file) => writeln!(out, "keys:\n  passphrase_file: {}\n", path(file))?,
            Keys::PassphraseEnv(name) => writeln!(out, "keys:\n  passphrase_env: {}\n", scalar(name))?,
        }
        out.push_str(TAIL);
        Ok(text)
    }

    /// A rules file that admits nobody and shows how somebody is.
    #[must_use]
    pub fn rules(&self) -> String {
        let people = self.login.as_ref().map_or("https://login.example", |login| login.issuer.as_str());
        format!("{RULES_HEAD}{}{}{RULES_TAIL}", "#    issuer: ", scalar(people))
    }
}

/// A text as a YAML scalar.
fn scalar(text: &str) -> String {
    // What begins with a digit may be a number or a time.
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:@+~".contains(c))
        && !text.ends_with(':');
    let word = text.to_ascii_lowercase();
    let special = ["null", "true", "false", "none", "yes", "no", "on", "off"].contains(&word.as_str());
    if plain && !special { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

const HEAD: &str = "\
# Configuration of a waxseal instance, for `waxseal serve --config FILE`.
# Paths are relative to this file. What stands here as a remark has the value that is shown, or is off.
# `waxseal config check FILE` says what is wrong with it, `waxseal doctor --config FILE` with the instance.
# Rules, candidate rules and the files of `tls` are read again on SIGHUP and when they change; the rest at the start.

";

const TAIL: &str = "\
# Identities in the audit log as they are. In a sealed instance they are keyed hashes unless this is true.
#audit:
#  identities: false

# What strangers may use up. The last two are off unless they are set.
#limits:
#  connections: 10000
#  connections_per_address: 1024
#  requests_per_second: 50             # of one address
#  certificates_per_minute: 60         # of one identity

# The timestamp authority refuses while the clock is doubtful: also if it is further than this from any of these servers.
#timestamps:
#  ntp: [ntp.example]
#  max_difference: 1s

# `text` or `json`; the environment variable WAXSEAL_LOG overrides the level.
#log:
#  format: text
#  level: info
";

const RULES_HEAD: &str = "\
# Who may have a certificate: nobody, unless a rule says so. See docs/rules.md.
# `waxseal rules check FILE` finds mistakes, `waxseal iam test --token FILE` says what a token would get.
rules: []

# Take the brackets away, and begin like this:
#
#rules:
#  - name: release-images
#    issuer: https://token.actions.githubusercontent.com
#    match:
#      repository_id: \"123456\"
#      job_workflow_ref: acme/ci/.github/workflows/release.yml@refs/tags/v*
#  - name: people
";

const RULES_TAIL: &str = "
#    match:
#      email: \"*@corp.example\"
";

#[cfg(test)]
mod tests {
    use super::{Template, scalar};
    use crate::server::config::{Config, Keys, Login, Provider, Tls, rules};
    use std::path::{Path, PathBuf};
    use waxseal_formats::client_config::Privacy;

    fn template() -> Template {
        Template {
            public_url: "https://sign.corp.example".into(),
            listen: None,
            operations_listen: None,
            privacy: Privacy::Sealed,
            tls: None,
            login: None,
            keys: Keys::PassphraseFile("/data/secrets/passphrase".into()),
        }
    }

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("/data/waxseal.yaml"), text).expect("a configuration")
    }

    #[test]
    fn what_is_written_is_what_was_meant() {
        let least = parse(&template().config(Path::new("/data")).expect("text"));
        assert_eq!(least.settings.public_url.as_deref(), Some("https://sign.corp.example"));
        assert_eq!(least.settings.data_dir, Path::new("/data"));
        assert_eq!(least.settings.rules.as_deref(), Some(Path::new("/data/rules.yaml")));
        assert_eq!(least.keys, template().keys);
        assert_eq!(least.settings.listen.to_string(), "127.0.0.1:7480");

        let all = Template {
            listen: Some("0.0.0.0:8443".parse().expect("an address")),
            operations_listen: Some("127.0.0.1:9464".parse().expect("an address")),
            privacy: Privacy::Open,
            tls: Some(Tls::Files { certificate: "/etc/tls/a b.pem".into(), key: "/data/tls/key.pem".into() }),
            login: Some(Login { issuer: "https://login.corp.example/realms/a".into(), client_id: "12: #3".into() }),
            keys: Keys::PassphraseEnv("SECRET".into()),
            ..template()
        };
        let text = all.config(Path::new("/data")).expect("text");
        assert!(text.contains("key: tls/key.pem\n"), "{text}");
        let read = parse(&text);
        assert_eq!(Some(read.settings.listen), all.listen);
        assert_eq!(read.settings.operations_listen, all.operations_listen);
        assert_eq!(read.settings.privacy, Some(Privacy::Open));
        assert_eq!(Some(read.settings.tls), all.tls);
        assert_eq!(read.settings.provider, Provider::Outside(all.login));
        assert_eq!(read.keys, all.keys);
    }

    #[test]
    fn every_remark_is_a_setting_with_its_default() {
        let text = template().config(Path::new("/data")).expect("text");
        let bare = parse(&text);
        // What is a key behind `#` and no sentence.
        let shown: String = text
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "))
                    .unwrap_or(line)
                    .to_owned()
                    + "\n"
            })
            .collect();
        let shown = parse(&shown);
        assert_eq!(shown.settings.audit, bare.settings.audit);
        assert_eq!(shown.settings.timestamps.max_difference, bare.settings.timestamps.max_difference);
        assert_eq!(shown.log, bare.log);
        assert!(shown.settings.limits.requests_per_second.is_some() && shown.settings.candidate.is_some());
        assert!(matches!(shown.settings.tls, Tls::Files { .. }));
        assert_eq!(shown.settings.trusted_proxies.len(), 1);
        assert_eq!(shown.settings.login().map(|login| login.client_id.as_str()), Some("sigstore"));
    }

    #[test]
    fn the_rules_admit_nobody_and_the_example_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rules.yaml");
        let text = template().rules();
        std::fs::write(&path, &text).expect("written");
        assert_eq!(rules(Some(&path), &[]).expect("rules").issuers().count(), 0);
        let example: String = text
            .split_once("#\n")
            .expect("an example")
            .1
            .lines()
            .map(|line| line.trim_start_matches('#').to_owned() + "\n")
            .collect();
        std::fs::write(&path, example).expect("written");
        assert_eq!(rules(Some(&path), &[]).expect("rules").issuers().count(), 2);
    }

    #[test]
    fn a_scalar_is_quoted_where_it_would_be_something_else() {
        for plain in ["https://a.example:8443", "secrets/passphrase", "/etc/tls/key.pem", "sigstore"] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in ["", "none", "Yes", "12", "1e3", "0x1f", "a b", "#x", "a: b", "*", "x:", "-x", "\n", "ü"] {
            assert!(scalar(quoted).starts_with('"'), "{quoted}");
        }
        assert_eq!(PathBuf::from("/data/a").strip_prefix("/data").ok(), Some(Path::new("a")));
    }
}
