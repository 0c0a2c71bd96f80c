//! `waxseal login`: a registry's credentials are tried and then kept where docker keeps them.

use crate::cli::registry_flags::{RegistryArgs, failure};
use crate::cli::{Failure, Output};
use clap::Args;
use serde_json::json;
use std::io::Read as _;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Secret;
use waxseal_io::registry::login::{Kept, config_file, keep};
use waxseal_io::registry::{Credentials, Registry, RegistrySettings};
use waxseal_io::terminal::Terminal;
use waxseal_io::token::process_environment;

/// Longest password, in bytes.
const MAX_PASSWORD_LEN: u64 = 64 << 10;

/// Log in to a registry, for all commands that sign and verify images. (To log in to sign, see --identity-token and docs/sign.md.)
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The user name.
    #[arg(long, short = 'u', value_name = "NAME")]
    username: String,
    /// The password. Others on this machine can see it: --password-stdin is better.
    #[arg(long, short = 'p', value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The registry, such as ghcr.io.
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    server: String,
}

/// Runs the command.
///
/// # Errors
/// `registry.unauthorized` if the registry does not take the credentials; nothing is kept then.
pub async fn run(args: LoginArgs, output: Output) -> Result<(), Failure> {
    let password = password(&args)?;
    let credentials = Credentials::Password { user: args.username.clone(), password: password.clone() };
    let settings = RegistrySettings { credentials, ..args.registry.settings()? };
    let registry = Registry::new(settings).map_err(|error| failure(&error.into()))?;
    registry.ping(&args.server).await.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let config = config_file(&process_environment)
        .ok_or_else(|| Failure::new(Code::INPUT_UNREADABLE, "there is neither HOME nor DOCKER_CONFIG to keep it in"))?;
    let kept = keep(&config, &args.server, &args.username, &password)
        .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("the password is not kept: {error}")))?;
    let place = match &kept {
        Kept::File(path) => path.display().to_string(),
        Kept::Helper(helper) => format!("docker-credential-{helper}"),
    };
    output.say(&format!("Logged in to {} as {}; the password is in {place}", args.server, args.username));
    output.data("", &json!({"registry": args.server, "username": args.username, "kept": place}))
}

fn password(args: &LoginArgs) -> Result<Secret<String>, Failure> {
    if let Some(password) = &args.password {
        return Ok(Secret::new(password.clone()));
    }
    if !args.password_stdin {
        let terminal = Terminal::open()
            .ok_or_else(|| Failure::usage("there is no terminal to ask for the password: pass --password-stdin"))?;
        return terminal
            .ask_secret("Password: ")
            .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("the terminal: {error}")));
    }
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_PASSWORD_LEN)
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("standard input: {error}")))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
