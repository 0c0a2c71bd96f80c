//! `waxseal signing-config create`: services become a signing config that every client takes.

use crate::cli::key_values::KeyValues;
use crate::cli::trusted_root::write;
use crate::cli::{Failure, Output};
use crate::client::verify::read_bounded;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use waxseal_formats::signing_config::{MAX_CONFIG_LEN, Selector, Service, SigningConfig};

/// Make signing configs.
#[derive(Debug, Args)]
pub struct SigningConfigArgs {
    #[command(subcommand)]
    command: SigningConfigCommand,
}

#[derive(Debug, Subcommand)]
enum SigningConfigCommand {
    /// Make a signing config of services.
    Create(Box<CreateArgs>),
}

/// Make a signing config of services. Each is url, api-version, operator, start-time, end-time; each flag can be given several times.
#[derive(Debug, Default, Args)]
struct CreateArgs {
    /// A certificate authority, of version 1.
    #[arg(long, value_name = "KEY=VALUE,…")]
    fulcio: Vec<String>,
    /// An identity provider at which people log in.
    #[arg(long, value_name = "KEY=VALUE,…")]
    oidc_provider: Vec<String>,
    /// A Rekor log, of version 1 or 2.
    #[arg(long, value_name = "KEY=VALUE,…")]
    rekor: Vec<String>,
    /// A timestamp authority: its url is the whole one that requests go to.
    #[arg(long, value_name = "KEY=VALUE,…")]
    tsa: Vec<String>,
    /// How many of the logs are used: ANY, ALL, EXACT:2.
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    rekor_config: Option<Selector>,
    /// How many of the timestamp authorities are used: ANY, ALL, EXACT:2.
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    tsa_config: Option<Selector>,
    /// A signing config whose services are there too.
    #[arg(long, value_name = "FILE")]
    base_config: Option<PathBuf>,
    /// Where it is written, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// `usage` for the lists, `input.*` for the files.
pub fn run(args: &SigningConfigArgs, output: Output) -> Result<(), Failure> {
    let SigningConfigCommand::Create(args) = &args.command;
    write(&create(args)?.to_json(), args.out.as_deref(), output)
}

fn create(args: &CreateArgs) -> Result<SigningConfig, Failure> {
    let mut config = match &args.base_config {
        None => SigningConfig::default(),
        Some(path) => {
            let document =
                read_bounded(path, MAX_CONFIG_LEN).map_err(|error| Failure::new(error.code(), error.to_string()))?;
            SigningConfig::from_json(&document)
                .map_err(|error| Failure::new(error.code(), format!("{}: {error}", path.display())))?
        }
    };
    for (flag, texts, versions, list) in [
        ("--fulcio", &args.fulcio, &[1_u32][..], &mut config.ca_urls),
        ("--oidc-provider", &args.oidc_provider, &[1][..], &mut config.oidc_urls),
        ("--rekor", &args.rekor, &[1, 2][..], &mut config.rekor_tlog_urls),
        ("--tsa", &args.tsa, &[1][..], &mut config.tsa_urls),
    ] {
        for text in texts {
            list.push(service(flag, text, versions)?);
        }
    }
    config.rekor_tlog_config = args.rekor_config.unwrap_or(config.rekor_tlog_config);
    config.tsa_config = args.tsa_config.unwrap_or(config.tsa_config);
    Ok(config)
}

fn service(flag: &'static str, text: &str, versions: &[u32]) -> Result<Service, Failure> {
    let mut list = KeyValues::parse(flag, text)?;
    let version = list.required("api-version")?;
    let major_api_version = version.parse().ok().filter(|version| versions.contains(version)).ok_or_else(|| {
        let known: Vec<_> = versions.iter().map(ToString::to_string).collect();
        Failure::usage(format!("{flag} {text:?}: clients know api-version {}, not {version}", known.join(" and ")))
    })?;
    let service = Service {
        url: list.url()?,
        major_api_version,
        valid_for: list.validity()?,
        // sigstore-python refuses a service without one.
        operator: list.required("operator")?,
    };
    list.end()?;
    Ok(service)
}

fn selector(text: &str) -> Result<Selector, String> {
    match text.to_ascii_uppercase().as_str() {
        "ANY" => Ok(Selector::Any),
        "ALL" => Ok(Selector::All),
        other => match other.strip_prefix("EXACT:").map(str::parse::<u32>) {
            Some(Ok(count)) if count > 0 => Ok(Selector::Exact(count)),
            _ => Err("ANY, ALL, or EXACT: and a number".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{CreateArgs, create, selector};
    use waxseal_formats::code::Code;
    use waxseal_formats::signing_config::{Selector, SigningConfig};

    fn args(rekor: &str) -> CreateArgs {
        CreateArgs { rekor: vec![rekor.to_owned()], ..CreateArgs::default() }
    }

    const LOG: &str = "url=https://r.example,api-version=2,operator=corp,start-time=2026-01-01T00:00:00Z";

    #[test]
    fn services_are_written_as_clients_read_them_and_added_to_a_base() {
        let config = create(&args(LOG)).expect("created");
        assert_eq!(SigningConfig::from_json(config.to_json().as_bytes()).expect("parsed"), config);
        let folder = tempfile::tempdir().expect("directory");
        let base = folder.path().join("base.json");
        std::fs::write(&base, config.to_json()).expect("written");
        let more = CreateArgs {
            base_config: Some(base),
            tsa: vec!["url=https://t.example/api/v1/timestamp,api-version=1,operator=corp".into()],
            rekor_config: Some(Selector::All),
            ..CreateArgs::default()
        };
        let config = create(&more).expect("created");
        assert_eq!((config.rekor_tlog_urls.len(), config.tsa_urls.len()), (1, 1));
        assert_eq!((config.rekor_tlog_config, config.tsa_config), (Selector::All, Selector::Any));
    }

    #[test]
    fn what_clients_would_refuse_is_refused_here() {
        for text in [
            LOG.replace("api-version=2", "api-version=3"),
            LOG.replace(",operator=corp", ""),
            LOG.replace("url=https://r.example,", ""),
            format!("{LOG},origin=r.example"),
        ] {
            assert_eq!(create(&args(&text)).expect_err("refused").code, Code::USAGE, "{text}");
        }
        let fulcio = CreateArgs {
            fulcio: vec!["url=https://f.example,api-version=2,operator=corp".into()],
            ..CreateArgs::default()
        };
        assert_eq!(create(&fulcio).expect_err("refused").code, Code::USAGE);
        assert_eq!(selector("EXACT:2"), Ok(Selector::Exact(2)));
        for text in ["EXACT", "EXACT:0", "SOME", ""] {
            assert!(selector(text).is_err(), "{text}");
        }
    }
}
