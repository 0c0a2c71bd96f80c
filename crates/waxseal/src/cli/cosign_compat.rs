//! What command lines written for cosign need: flags from `COSIGN_…` variables, long flags with one dash, and flags that
//! cosign hides as deprecated but that stand in many CI files. All of it follows from the commands' definitions.

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use std::any::TypeId;
use std::ffi::OsString;

/// The commands that cosign has too, at the top level. Only these listen to `COSIGN_…` variables: one that is set for
/// cosign must not change how an instance is served.
const COMMANDS: [&str; 23] = [
    "sign",
    "verify",
    "attest",
    "verify-attestation",
    "sign-blob",
    "verify-blob",
    "attest-blob",
    "verify-blob-attestation",
    "tree",
    "download",
    "copy",
    "save",
    "load",
    "clean",
    "login",
    "initialize",
    "trusted-root",
    "signing-config",
    "bundle",
    "generate-key-pair",
    "import-key-pair",
    "public-key",
    "version",
];
const SIGNING: &[&str] = &["sign", "sign-blob", "attest", "attest-blob"];
const VERIFYING: &[&str] = &["verify", "verify-blob", "verify-attestation", "verify-blob-attestation"];
const BOTH: &[&str] = &[
    "sign",
    "sign-blob",
    "attest",
    "attest-blob",
    "verify",
    "verify-blob",
    "verify-attestation",
    "verify-blob-attestation",
];

/// A flag of cosign that has no meaning of its own here.
struct Retired {
    name: &'static str,
    commands: &'static [&'static str],
    effect: Effect,
}

/// What becomes of it. The sentence follows the flag's name and says what holds instead.
enum Effect {
    /// A switch that changes nothing, whichever way it stands.
    Ignored(&'static str),
    /// A value that changes nothing.
    ValueIgnored(&'static str),
    /// A switch that asks for what is not done if it stands this way, and for nothing otherwise.
    RefusedIf(bool, &'static str),
    /// A value that asks for what is not done: to go on without it would mislead.
    Refused(&'static str),
}

/// A command that defines one of these itself keeps its own meaning.
const RETIRED: [Retired; 23] = [
    Retired {
        name: "tlog-upload",
        commands: SIGNING,
        effect: Effect::RefusedIf(false, "a signature is always logged: nothing else can be verified"),
    },
    Retired {
        name: "new-bundle-format",
        commands: SIGNING,
        effect: Effect::RefusedIf(false, "a bundle is written; images take --format legacy"),
    },
    Retired { name: "new-bundle-format", commands: VERIFYING, effect: Effect::Ignored("every format is recognised") },
    Retired {
        name: "offline",
        commands: VERIFYING,
        effect: Effect::RefusedIf(false, "verification never asks a log or any other service"),
    },
    Retired {
        name: "private-infrastructure",
        commands: VERIFYING,
        effect: Effect::Ignored("log entries are still demanded, from the logs of the trusted root"),
    },
    Retired {
        name: "experimental-oci11",
        commands: BOTH,
        effect: Effect::Ignored("referrers are used wherever the registry has them"),
    },
    Retired { name: "b64", commands: BOTH, effect: Effect::Ignored("it concerned detached signatures only") },
    Retired {
        name: "rekor-entry-type",
        commands: SIGNING,
        effect: Effect::ValueIgnored("the log decides the type of its entries"),
    },
    Retired {
        name: "record-creation-timestamp",
        commands: SIGNING,
        effect: Effect::Ignored("the timestamp authority says when it was"),
    },
    Retired {
        name: "insecure-skip-verify",
        commands: SIGNING,
        effect: Effect::Ignored("what is signed is always verified before it is written"),
    },
    Retired {
        name: "replace",
        commands: SIGNING,
        effect: Effect::RefusedIf(true, "attestations are added and never removed by a new one"),
    },
    Retired {
        name: "issue-certificate",
        commands: SIGNING,
        effect: Effect::RefusedIf(true, "a certificate is for a key that lives as long as one signature"),
    },
    Retired {
        name: "sign-container-identity",
        commands: SIGNING,
        effect: Effect::Refused("the signature names the image as it was called"),
    },
    Retired {
        name: "output-signature",
        commands: SIGNING,
        effect: Effect::Refused("the signature is in the bundle: pass --bundle"),
    },
    Retired {
        name: "output-certificate",
        commands: SIGNING,
        effect: Effect::Refused("the certificate is in the bundle: pass --bundle"),
    },
    Retired {
        name: "output-payload",
        commands: SIGNING,
        effect: Effect::Refused("the payload is in the bundle: pass --bundle"),
    },
    Retired {
        name: "rfc3161-timestamp",
        commands: BOTH,
        effect: Effect::Refused("the timestamp is in the bundle: pass --bundle"),
    },
    Retired {
        name: "signature-digest-algorithm",
        commands: VERIFYING,
        effect: Effect::ValueIgnored("the key decides the digest"),
    },
    Retired {
        name: "ca-roots",
        commands: VERIFYING,
        effect: Effect::Refused("pass --trusted-root: certificate authorities are trusted there, with their validity"),
    },
    Retired {
        name: "ca-intermediates",
        commands: VERIFYING,
        effect: Effect::Refused("pass --trusted-root: certificate authorities are trusted there, with their validity"),
    },
    Retired {
        name: "timestamp-certificate-chain",
        commands: VERIFYING,
        effect: Effect::Refused("pass --trusted-root: timestamp authorities are trusted there, with their validity"),
    },
    Retired {
        name: "sct",
        commands: VERIFYING,
        effect: Effect::Refused("the certificate has to carry its timestamp of the certificate log"),
    },
    Retired {
        name: "attachment",
        commands: BOTH,
        effect: Effect::Refused("name the attachment by its digest, or attest it"),
    },
];

impl Effect {
    const fn is_switch(&self) -> bool {
        matches!(self, Self::Ignored(_) | Self::RefusedIf(..))
    }
}

/// Parses a command line as cosign's users write it. The strings are warnings about what was changed or left out.
///
/// # Errors
/// clap's, and [`ErrorKind::ValueValidation`] for a retired flag that asks for what is not done.
pub fn parse<T: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(T, Vec<String>), clap::Error> {
    let mut command = extended(T::command());
    let (arguments, mut warnings) = with_two_dashes(arguments, &command);
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    retired_flags(&matches, &mut warnings).map_err(|problem| command.error(ErrorKind::ValueValidation, problem))?;
    let parsed = T::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    Ok((parsed, warnings))
}

/// Whether cosign has a top-level command of this name.
#[must_use]
pub fn is_cosigns(command: &str) -> bool {
    COMMANDS.contains(&command)
}

/// The command line with what cosign's users expect: variables and retired flags. Both are left out of help.
fn extended(command: Command) -> Command {
    with_variables(command).mut_subcommands(|sub| if is_cosigns(sub.get_name()) { as_cosigns(sub) } else { sub })
}

fn as_cosigns(command: Command) -> Command {
    let mut command = command.mut_subcommands(as_cosigns);
    for flag in &RETIRED {
        if flag.commands.contains(&command.get_name()) && !has_flag(&command, flag.name) {
            command = command.arg(flag.definition());
        }
    }
    if command.get_after_help().is_none() && !command.has_subcommands() {
        command = command.after_help("Flags can be given in the environment too: --yes as COSIGN_YES=true.");
    }
    with_variables(command)
}

/// Every flag also from `COSIGN_` and its name in capitals. An empty variable is none, as in cosign.
fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let Some(long) = arg.get_long().filter(|_| arg.get_env().is_none()) else { return arg };
        let name = variable(long);
        let is_bool =
            arg.get_value_parser().type_id() == TypeId::of::<bool>() || matches!(arg.get_action(), ArgAction::SetTrue);
        // cosign's switches take 1 and T as well.
        let arg = if is_bool { arg.value_parser(BoolishValueParser::new()) } else { arg };
        if std::env::var_os(&name).is_some_and(|value| !value.is_empty()) {
            // What is in a variable may be a secret: neither help nor completion shows it.
            arg.env(name).hide_env(true).hide_env_values(true)
        } else {
            arg
        }
    })
}

fn variable(flag: &str) -> String {
    format!("COSIGN_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Long flags that were written with one dash get their second one, with a warning.
fn with_two_dashes(arguments: impl IntoIterator<Item = OsString>, command: &Command) -> (Vec<OsString>, Vec<String>) {
    let (mut corrected, mut warnings) = (Vec::new(), Vec::new());
    let (mut here, mut flags_are_over) = (command, false);
    for (index, argument) in arguments.into_iter().enumerate() {
        let text = argument.to_str().unwrap_or_default();
        flags_are_over |= text == "--";
        let one_dash = text.strip_prefix('-').filter(|rest| rest.len() > 1 && !rest.starts_with('-'));
        match one_dash {
            _ if flags_are_over || index == 0 => {}
            Some(rest) => {
                let name = rest.split('=').next().unwrap_or_default();
                if has_flag(here, name) || has_flag(command, name) {
                    warnings.push(format!("-{name} is taken for --{name}: long flags have two dashes"));
                    corrected.push(format!("--{rest}").into());
                    continue;
                }
            }
            None => here = here.find_subcommand(text).unwrap_or(here),
        }
        corrected.push(argument);
    }
    (corrected, warnings)
}

fn has_flag(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(name))
}

impl Retired {
    /// An id that no command's own flag has.
    fn id(&self) -> String {
        format!("cosign:{}", self.name)
    }

    fn definition(&self) -> Arg {
        let arg = Arg::new(self.id()).long(self.name).hide(true);
        if self.effect.is_switch() {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .action(ArgAction::Set)
                .value_parser(BoolishValueParser::new())
        } else {
            arg.action(ArgAction::Append)
        }
    }

    /// The warning about this flag, which was given.
    fn warning(&self, matches: &ArgMatches) -> Result<String, String> {
        let name = self.name;
        let stands = || matches.try_get_one::<bool>(&self.id()).ok().flatten().copied();
        match self.effect {
            Effect::Ignored(instead) | Effect::ValueIgnored(instead) => {
                Ok(format!("--{name} changes nothing: {instead}"))
            }
            Effect::RefusedIf(refused, instead) if stands() != Some(refused) => {
                Ok(format!("--{name} is no longer needed: {instead}"))
            }
            Effect::RefusedIf(refused, instead) => Err(format!("--{name}={refused} is not supported: {instead}")),
            Effect::Refused(instead) => Err(format!("--{name} is not supported: {instead}")),
        }
    }
}

fn retired_flags(matches: &ArgMatches, warnings: &mut Vec<String>) -> Result<(), String> {
    let (mut name, mut here) = ("", matches);
    while let Some((sub, matches)) = here.subcommand() {
        (name, here) = (sub, matches);
    }
    for flag in RETIRED.iter().filter(|flag| flag.commands.contains(&name)) {
        let id = flag.id();
        let known = here.try_contains_id(&id).is_ok_and(|given| given);
        if known && matches!(here.value_source(&id), Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            warnings.push(flag.warning(here)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{RETIRED, extended, parse, variable, with_two_dashes};
    use clap::{Args, Command, CommandFactory, Parser, Subcommand};
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, Subcommand)]
    enum Verb {
        SignBlob(Blob),
        VerifyBlob(Blob),
        Serve(Blob),
    }

    #[derive(Debug, Args)]
    struct Blob {
        #[arg(long)]
        key: Option<String>,
        #[arg(long, short = 'y', num_args = 0..=1, default_missing_value = "true", require_equals = true)]
        yes: Option<bool>,
        #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
        tlog_upload: Option<bool>,
        file: String,
    }

    fn parsed(line: &str) -> Result<(Blob, Vec<String>), String> {
        let words = line.split(' ').map(OsString::from);
        let (cli, warnings) = parse::<Cli>(words).map_err(|error| error.to_string())?;
        let (Verb::SignBlob(blob) | Verb::VerifyBlob(blob) | Verb::Serve(blob)) = cli.verb;
        Ok((blob, warnings))
    }

    #[test]
    fn one_dash_is_taken_for_two_where_the_flag_exists() {
        let (blob, warnings) = parsed("waxseal sign-blob -key=k -yes f").expect("parsed");
        assert_eq!((blob.key.as_deref(), blob.yes, blob.file.as_str()), (Some("k"), Some(true), "f"));
        assert_eq!(warnings.len(), 2);
        assert_eq!(warnings[0], "-key is taken for --key: long flags have two dashes");
        // Short flags, what is no flag, and whatever follows two dashes are left alone.
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in ["waxseal sign-blob -y -nope f", "waxseal sign-blob -- -key", "-key sign-blob - f"] {
            assert_eq!(with_two_dashes(words(line), &Cli::command()), (words(line), Vec::new()));
        }
    }

    #[test]
    fn switches_take_what_go_takes() {
        for (text, stands) in [("1", true), ("T", true), ("true", true), ("0", false), ("f", false)] {
            let (blob, _) = parsed(&format!("waxseal sign-blob --yes={text} f")).expect("parsed");
            assert_eq!(blob.yes, Some(stands), "{text}");
        }
        assert!(parsed("waxseal sign-blob --yes=perhaps f").is_err());
    }

    #[test]
    fn retired_flags_are_told_of_and_what_would_mislead_is_refused() {
        let (_, warnings) = parsed("waxseal verify-blob --offline --b64=false f").expect("parsed");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(parsed("waxseal verify-blob --offline=false f").expect_err("refused").contains("--offline=false"));
        assert!(parsed("waxseal verify-blob --ca-roots r f").expect_err("refused").contains("--trusted-root"));
        assert!(parsed("waxseal sign-blob --output-signature s f").expect_err("refused").contains("--bundle"));
        // A command's own flag keeps its meaning, and commands that cosign has not know none of them.
        let (blob, warnings) = parsed("waxseal sign-blob --tlog-upload=false f").expect("parsed");
        assert_eq!((blob.tlog_upload, warnings.len()), (Some(false), 0));
        assert!(parsed("waxseal serve --offline f").is_err());
    }

    #[test]
    fn the_names_of_variables_follow_from_the_flags() {
        assert_eq!(variable("certificate-identity"), "COSIGN_CERTIFICATE_IDENTITY");
        assert_eq!(variable("yes"), "COSIGN_YES");
    }

    #[test]
    fn no_flag_is_retired_twice_and_help_shows_none() {
        let pairs = RETIRED.iter().flat_map(|flag| flag.commands.iter().map(|command| (flag.name, *command)));
        assert_eq!(pairs.clone().collect::<BTreeSet<_>>().len(), pairs.count());
        let mut command: Command = extended(Cli::command());
        command.build();
        let help = command.find_subcommand_mut("verify-blob").expect("command").render_long_help().to_string();
        assert!(help.contains("COSIGN_YES") && !help.contains("--ca-roots"), "{help}");
        command.debug_assert();
    }
}
