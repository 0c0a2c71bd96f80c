//! The command line: one file per verb, wired together here.

pub mod attest;
pub mod attest_blob;
pub mod audit;
pub mod bundle;
pub mod client_setup;
pub mod completion;
pub mod config;
pub mod conformance;
pub mod copy;
pub mod cosign_compat;
pub mod demo;
pub mod doctor;
pub mod download;
pub mod failure;
pub mod flags;
pub mod iam;
pub mod identity_token;
pub mod init;
pub mod initialize;
pub mod key_values;
pub mod keys;
pub mod log;
pub mod login;
pub mod registry_flags;
pub mod rules;
pub mod serve;
pub mod sign;
pub mod sign_blob;
pub mod signing_config;
pub mod token;
pub mod tree;
pub mod trust;
pub mod trust_environment;
pub mod trusted_root;
pub mod up;
pub mod verify;
pub mod verify_attestation;
pub mod verify_blob;
pub mod verify_blob_attestation;
pub mod version;

pub use failure::{Failure, Output};

use crate::server::telemetry::{LogFormat, start_logging};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use std::process::ExitCode;
use std::time::Duration;

/// Who may sign, what may merge, what may run: software signing in one binary.
#[derive(Debug, Parser)]
#[command(name = "waxseal", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// How answers are printed: sentences, or one JSON object on stdout.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    output: OutputFormat,

    /// How long a command may take that cosign has too: 90s, 3m, 1h; 0 is no limit.
    #[arg(long, short = 't', global = true, value_name = "DURATION", value_parser = duration, default_value = "3m")]
    timeout: Duration,
    /// Tell more about what is done.
    #[arg(long, short = 'd', global = true)]
    verbose: bool,

    #[command(subcommand)]
    command: Command,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OutputFormat {
    /// Sentences.
    Text,
    /// JSON.
    Json,
}

impl From<OutputFormat> for Output {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Text => Self::Text,
            OutputFormat::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the main job end to end in a temporary directory: sign, verify, and see what is refused.
    Demo(demo::DemoArgs),
    /// Run a signing instance for development on this machine, with a demo identity provider.
    Up(up::UpArgs),
    /// Make a signing instance for production: keys, certificates, trust root, and one configuration file.
    Init(Box<init::InitArgs>),
    /// Run the signing instance that `init` made.
    Serve(serve::ServeArgs),
    /// Look at an instance, say what is wrong with it and how to mend it.
    Doctor(doctor::DoctorArgs),
    /// Check or print a configuration file.
    Config(config::ConfigArgs),
    /// Look into the audit log of an instance.
    Audit(audit::AuditArgs),
    /// Say what a token would get, and why.
    Iam(iam::IamArgs),
    /// Look at signing rules.
    Rules(rules::RulesArgs),
    /// Sign images in a registry.
    Sign(Box<sign::SignArgs>),
    /// Verify images.
    Verify(Box<verify::VerifyArgs>),
    /// Say something about images: provenance, a scan, a list of what is in them.
    Attest(Box<attest::AttestArgs>),
    /// Verify what was said about images.
    VerifyAttestation(Box<verify_attestation::VerifyAttestationArgs>),
    /// Show what is attached to an image.
    Tree(tree::TreeArgs),
    /// Print what is attached to an image.
    Download(download::DownloadArgs),
    /// Copy an image with what is attached to it.
    Copy(copy::CopyArgs),
    /// Save an image with what is attached to it in a folder.
    Save(copy::SaveArgs),
    /// Load an image from a folder into a registry.
    Load(copy::LoadArgs),
    /// Log in to a registry.
    Login(login::LoginArgs),
    /// Sign a file.
    SignBlob(Box<sign_blob::SignBlobArgs>),
    /// Say something about a file.
    AttestBlob(Box<attest_blob::AttestBlobArgs>),
    /// Verify a file against its bundle.
    VerifyBlob(Box<verify_blob::VerifyBlobArgs>),
    /// Verify what was said about a file.
    VerifyBlobAttestation(Box<verify_blob_attestation::VerifyBlobAttestationArgs>),
    /// Look into bundles, and make bundles of what older versions wrote.
    Bundle(bundle::BundleArgs),
    /// Make a key pair.
    GenerateKeyPair(keys::GenerateArgs),
    /// Put a private key of another tool under a passphrase.
    ImportKeyPair(keys::ImportArgs),
    /// Print the public key of a key.
    PublicKey(keys::PublicKeyArgs),
    /// Print an identity token from the demo provider of a running `up`.
    Token(token::TokenArgs),
    /// Print the commands that make another client use an instance.
    ClientSetup(client_setup::ClientSetupArgs),
    /// Pin instances, and forget them.
    Trust(trust::TrustArgs),
    /// Pin an instance, with the flags of `cosign initialize`.
    Initialize(initialize::InitializeArgs),
    /// Make trusted roots.
    TrustedRoot(trusted_root::TrustedRootArgs),
    /// Make signing configs.
    SigningConfig(signing_config::SigningConfigArgs),
    /// The client protocols of the conformance suites.
    #[command(subcommand, hide = true)]
    Conformance(conformance::ConformanceCommand),
    /// Look after the logs of an instance.
    Log(log::LogArgs),
    /// Print a completion script for a shell.
    Completion(completion::CompletionArgs),
    /// Write the manual pages.
    #[command(hide = true)]
    Man(completion::ManArgs),
    /// Print version and build.
    Version(version::VersionArgs),
}

/// Parses the arguments, runs the command and returns its exit status.
pub fn main() -> ExitCode {
    let (cli, warnings) = match cosign_compat::parse::<Cli>(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            json_asked(std::env::args()).fail(&Failure::usage(usage_sentence(&error)));
            return ExitCode::from(failure::EXIT_USAGE);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let output = Output::from(cli.output);
    for warning in warnings {
        output.say(&format!("warning: {warning}"));
    }
    if cli.verbose {
        start_logging(LogFormat::Text, "info,waxseal=debug,waxseal_io=debug,reqwest=debug");
    }
    let limit = cli.timeout;
    let limit = (cli.command.is_cosigns() && !limit.is_zero()).then_some(limit);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let code = waxseal_formats::code::Code::INPUT_UNREADABLE;
            output.fail(&Failure::new(code, format!("the runtime cannot start: {error}")));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(within(limit, run(cli.command, output))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

/// What is wrong with the command line, in one sentence: clap's first, which names the offending value.
fn usage_sentence(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing".to_owned();
    }
    let text = error.to_string();
    let sentence: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    sentence.join(" ").trim_start_matches("error: ").to_owned()
}

/// How to answer a command line that could not be parsed.
fn json_asked(arguments: impl Iterator<Item = String>) -> Output {
    let arguments: Vec<String> = arguments.collect();
    let separate =
        arguments.windows(2).any(|pair| matches!(pair, [flag, value] if flag == "--output" && value == "json"));
    if separate || arguments.iter().any(|argument| argument == "--output=json") { Output::Json } else { Output::Text }
}

impl Command {
    /// Whether cosign has this command too. All others may take as long as they need: some serve.
    const fn is_cosigns(&self) -> bool {
        matches!(
            self,
            Self::Sign(_)
                | Self::Verify(_)
                | Self::Attest(_)
                | Self::VerifyAttestation(_)
                | Self::Tree(_)
                | Self::Download(_)
                | Self::Copy(_)
                | Self::Save(_)
                | Self::Load(_)
                | Self::Login(_)
                | Self::SignBlob(_)
                | Self::AttestBlob(_)
                | Self::VerifyBlob(_)
                | Self::VerifyBlobAttestation(_)
                | Self::Bundle(_)
                | Self::Initialize(_)
                | Self::TrustedRoot(_)
                | Self::SigningConfig(_)
        )
    }
}

/// Ends what takes longer than it may.
async fn within(limit: Option<Duration>, command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let Some(limit) = limit else { return command.await };
    tokio::time::timeout(limit, command).await.unwrap_or_else(|_| {
        let code = waxseal_formats::code::Code::NETWORK_UNREACHABLE;
        let message = format!("not done within {limit:?}");
        Err(Failure::new(code, message).hint("a service does not answer; --timeout allows more time"))
    })
}

/// A duration as Go writes it.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|parsed| parsed.try_into().ok());
    parsed.ok_or_else(|| "a duration is a number with its unit: 90s, 3m, 1h30m".to_owned())
}

async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Up(args) => up::run(args, output).await,
        Command::Init(args) => init::run(*args, output).await,
        Command::Serve(args) => serve::run(args, output).await,
        Command::Doctor(args) => doctor::run(args, output).await,
        Command::Config(args) => config::run(args, output).await,
        Command::Audit(args) => audit::run(args, output).await,
        Command::Iam(args) => iam::run(args, output).await,
        Command::Rules(args) => rules::run(args, output).await,
        Command::Sign(args) => sign::run(*args, output).await,
        Command::Verify(args) => verify::run(*args, output).await,
        Command::Attest(args) => attest::run(*args, output).await,
        Command::VerifyAttestation(args) => verify_attestation::run(*args, output).await,
        Command::Tree(args) => tree::run(args, output).await,
        Command::Download(args) => download::run(args, output).await,
        Command::Copy(args) => copy::run(args, output).await,
        Command::Save(args) => copy::save(args, output).await,
        Command::Load(args) => copy::load(args, output).await,
        Command::Login(args) => login::run(args, output).await,
        Command::GenerateKeyPair(args) => keys::generate(&args, output),
        Command::ImportKeyPair(args) => keys::import(&args, output),
        Command::PublicKey(args) => keys::public(&args, output),
        Command::SignBlob(args) => sign_blob::run(*args, output).await,
        Command::AttestBlob(args) => attest_blob::run(*args, output).await,
        Command::Conformance(command) => conformance::run(command, output).await,
        Command::VerifyBlob(args) => verify_blob::run(*args, output).await,
        Command::VerifyBlobAttestation(args) => verify_blob_attestation::run(*args, output).await,
        Command::Bundle(args) => bundle::run(args, output).await,
        Command::Token(args) => token::run(args, output).await,
        Command::ClientSetup(args) => client_setup::run(args, output).await,
        Command::Trust(args) => trust::run(args, output).await,
        Command::Initialize(args) => initialize::run(args, output).await,
        Command::TrustedRoot(args) => trusted_root::run(&args, output),
        Command::SigningConfig(args) => signing_config::run(&args, output),
        Command::Log(args) => log::run(args, output).await,
        Command::Completion(args) => completion::completion(&args, Cli::command(), output),
        Command::Man(args) => completion::man(&args, Cli::command(), output),
        Command::Version(args) => version::run(&args, output),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cli, Output, cosign_compat, duration, json_asked, usage_sentence};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, seconds) in [("3m", 180), ("90s", 90), ("1h30m", 5400), ("3m0s", 180), ("0", 0)] {
            assert_eq!(duration(text), Ok(std::time::Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "3", "-3m", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cosigns_commands_are_the_same_in_both_lists() {
        let line =
            |words: &[&str]| cosign_compat::parse::<Cli>(words.iter().map(std::ffi::OsString::from)).expect("parsed").0;
        let file = line(&["waxseal", "sign-blob", "-bundle", "b", "f"]);
        assert!(file.command.is_cosigns() && cosign_compat::is_cosigns("sign-blob"));
        assert!(!line(&["waxseal", "completion", "bash"]).command.is_cosigns());
        assert!(!cosign_compat::is_cosigns("serve"));
    }

    #[test]
    fn wrong_usage_is_told_in_a_sentence_with_the_offending_value() {
        let sentence = |arguments: &[&str]| {
            usage_sentence(&Cli::try_parse_from([&["waxseal"], arguments].concat()).expect_err("refused"))
        };
        assert_eq!(sentence(&["foo"]), "unrecognized subcommand 'foo'");
        assert!(sentence(&["trust", "add", "http://x"]).contains("--root"));
        assert_eq!(sentence(&["trust"]), "a command is missing");
        assert_eq!(sentence(&[]), "a command is missing");
    }

    #[test]
    fn json_is_answered_with_json_even_if_the_rest_is_not_understood() {
        let asked = |arguments: &[&str]| json_asked(arguments.iter().map(ToString::to_string));
        assert_eq!(asked(&["waxseal", "foo", "--output", "json"]), Output::Json);
        assert_eq!(asked(&["waxseal", "--output=json", "foo"]), Output::Json);
        assert_eq!(asked(&["waxseal", "foo", "--output", "text"]), Output::Text);
    }
}
