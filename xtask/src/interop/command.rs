//! Running a client: a command is a row of words with `{names}` in them, and it runs in a home of its own.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::parts::{Parts, Program};

/// The words of a command, separated by spaces; `{name}` is replaced by a variable, which may have spaces in it.
pub(crate) type Words = &'static str;

/// What `{names}` stand for. A name that begins with `$` is a variable of the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// The same, and `name` stands for `value`.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(name, value.into());
        self
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| Some((name.strip_prefix('$')?, value.as_str())))
    }

    /// `words` with their names replaced.
    ///
    /// # Errors
    ///
    /// When a name stands for nothing: the row is wrong.
    pub(crate) fn expand(&self, words: &str) -> anyhow::Result<Vec<String>> {
        words.split_whitespace().map(|word| self.expand_word(word)).collect()
    }

    fn expand_word(&self, word: &str) -> anyhow::Result<String> {
        let mut expanded = String::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { bail!("{word}: a brace is open") };
            let Some(value) = self.value(name) else { bail!("{word}: {name} stands for nothing") };
            expanded.push_str(before);
            expanded.push_str(value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// How Go, OpenSSL, Rust and curl; Python's requests; and Node.js are told of a TLS authority.
const TLS_AUTHORITY: &[&str] = &["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

/// Longer than any command takes, shorter than a stuck one would.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where commands run: each program with a home of its own, each run with a log.
#[derive(Debug)]
pub(crate) struct Site {
    folder: PathBuf,
    parts: Parts,
    runs: AtomicUsize,
    /// The authority that issued the servers' TLS certificates, if it is not one that everybody knows.
    tls_authority: Option<PathBuf>,
}

/// What Go, Python and Rust print when a program meets its own fault.
const CRASHES: &[&str] = &["goroutine 1 [", "Traceback (most recent call last)", "panicked at"];

/// How a command ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The command line.
    pub line: String,
    /// The exit status; `None` when a signal or our patience ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub(crate) fn accepted(&self) -> bool {
        self.status == Some(0)
    }

    /// An exit status that says no. A crash is not an answer, whatever its status.
    pub(crate) fn refused(&self) -> bool {
        let crashed = CRASHES.iter().any(|mark| self.stderr.contains(mark));
        self.status.is_some_and(|status| status != 0) && !crashed
    }

    /// All of it, for a reader.
    pub(crate) fn report(&self) -> String {
        let status = self.status.map_or_else(|| "no exit status".to_owned(), |status| status.to_string());
        let shown = |text: &str| text.trim_end().replace('\n', "\n    ");
        format!("$ {}\n  exit: {status}\n    {}\n    {}\n", self.line, shown(&self.stdout), shown(&self.stderr))
    }

    /// Nothing when it was accepted.
    ///
    /// # Errors
    ///
    /// The whole report otherwise.
    pub(crate) fn demand(self) -> anyhow::Result<Self> {
        if self.accepted() {
            return Ok(self);
        }
        bail!("{}", self.report())
    }
}

impl Site {
    pub(crate) fn new(folder: PathBuf, parts: Parts) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("logs"))?;
        Ok(Self { folder, parts, runs: AtomicUsize::new(0), tls_authority: None })
    }

    /// The same, where clients believe the TLS authority in this file.
    #[must_use]
    pub(crate) fn believing(self, tls_authority: PathBuf) -> Self {
        Self { tls_authority: Some(tls_authority), ..self }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn has(&self, program: Program) -> bool {
        self.path(program).is_some()
    }

    pub(crate) fn path(&self, program: Program) -> Option<&Path> {
        self.parts.path(program)
    }

    /// Where @sigstore/cli and the libraries that it is made from are installed; nowhere when they are not.
    fn sigstore_js(&self) -> &Path {
        let modules = self.path(Program::SigstoreJs).and_then(|binary| binary.ancestors().nth(2));
        modules.unwrap_or(Path::new(""))
    }

    /// A command of `program`, apart from this user's settings, caches, proxies and tokens.
    pub(crate) fn command(&self, program: Program) -> anyhow::Result<Command> {
        let path = self.parts.path(program).with_context(|| format!("{program:?} is not here"))?;
        // A shell is the user of our own commands: it is at home where they are.
        let owner = if program == Program::Shell { Program::Waxseal } else { program };
        let home = self.folder.join("home").join(format!("{owner:?}").to_lowercase());
        fs::create_dir_all(&home)?;
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", &home)
            .env("TUF_ROOT", home.join("tuf"))
            .env("NODE_NO_WARNINGS", "1")
            .env("SIGSTORE_JS", self.sigstore_js())
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        for name in TLS_AUTHORITY {
            command.envs(self.tls_authority.as_ref().map(|file| (name, file)));
        }
        if program == Program::SigstoreJs {
            // It looks for a token in its environment when it takes that for the one of a CI job.
            command.env("CI", "1");
        }
        Ok(command)
    }

    /// Runs `words` of `program` to its end; `token`, where there is one, is in its environment as well.
    ///
    /// # Errors
    ///
    /// When it cannot be run; a refusal is an [`Outcome`].
    pub(crate) fn run(&self, program: Program, words: &str, variables: &Variables) -> anyhow::Result<Outcome> {
        let words = variables.expand(words)?;
        let mut command = self.command(program)?;
        command.args(&words);
        if let Some(token) = variables.value("token") {
            command.env("SIGSTORE_ID_TOKEN", token);
        }
        if let Some(passphrase) = variables.value("passphrase") {
            command.env("COSIGN_PASSWORD", passphrase);
        }
        command.envs(variables.environment());
        let line = line(program, &words, variables.value("token"));
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let log = |stream: &str| self.folder.join(format!("logs/{run:04}-{program:?}.{stream}").to_lowercase());
        fs::write(log("command"), &line)?;
        command.stdout(File::create(log("stdout"))?).stderr(File::create(log("stderr"))?);
        let status = wait(&mut command).with_context(|| line.clone())?;
        let read = |stream: &str| fs::read(log(stream)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Outcome { line, status, stdout: read("stdout")?, stderr: read("stderr")? })
    }
}

/// The command line without the token: reports are pasted into issues.
fn line(program: Program, words: &[String], token: Option<&str>) -> String {
    let mut line = format!("{program:?}").to_lowercase();
    for word in words {
        line.push(' ');
        line.push_str(if Some(word.as_str()) == token { "TOKEN" } else { word });
    }
    line
}

fn wait(command: &mut Command) -> anyhow::Result<Option<i32>> {
    let mut child = command.spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_within_words() {
        let variables = Variables::default().with("origin", "http://h:1").with("kind", "e mail");
        let words = variables.expand("--url={origin}/tuf --as-{kind} plain").unwrap();
        assert_eq!(words, ["--url=http://h:1/tuf", "--as-e mail", "plain"]);
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_refused() {
        assert!(Variables::default().expand("{origin}").is_err());
        assert!(Variables::default().expand("{origin").is_err());
    }

    fn ended(status: Option<i32>, stderr: &str) -> Outcome {
        Outcome { line: String::new(), status, stdout: String::new(), stderr: stderr.to_owned() }
    }

    #[test]
    fn a_crash_is_no_refusal() {
        assert!(ended(Some(0), "").accepted());
        assert!(ended(Some(1), "").refused());
        assert!(!ended(None, "").refused() && !ended(None, "").accepted());
        assert!(!ended(Some(0), "").refused());
        assert!(!ended(Some(1), "Traceback (most recent call last):\n  File").refused());
        assert!(!ended(Some(2), "panic: nil\n\ngoroutine 1 [running]:").refused());
    }

    #[test]
    fn a_token_stays_out_of_the_report() {
        let words = ["--identity-token".to_owned(), "eyJ".to_owned()];
        assert_eq!(line(Program::Waxseal, &words, Some("eyJ")), "waxseal --identity-token TOKEN");
    }
}
