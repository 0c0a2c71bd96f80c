//! `waxseal trusted-root create`: keys and certificate chains become a trusted root that every client takes.

use crate::cli::key_values::KeyValues;
use crate::cli::{Failure, Output};
use crate::client::PUBLIC_GOOD_TRUSTED_ROOT;
use crate::client::verify::{MAX_KEY_FILE_LEN, read_bounded, read_public_key};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyDetails;
use waxseal_formats::note;
use waxseal_formats::trusted_root::{CertificateAuthority, MAX_CHAIN, TransparencyLog, TrustedRoot, Validity};
use waxseal_formats::x509::Certificate;

/// Make trusted roots.
#[derive(Debug, Args)]
pub struct TrustedRootArgs {
    #[command(subcommand)]
    command: TrustedRootCommand,
}

#[derive(Debug, Subcommand)]
enum TrustedRootCommand {
    /// Make a trusted root of keys and certificate chains.
    Create(Box<CreateArgs>),
}

/// Make a trusted root of keys and certificate chains. Each flag can be given several times.
#[derive(Debug, Default, Args)]
struct CreateArgs {
    /// A certificate authority: url, certificate-chain (PEM, the issuing certificate first), start-time, end-time.
    #[arg(long, value_name = "KEY=VALUE,…")]
    fulcio: Vec<String>,
    /// A certificate log: url, public-key (PEM), start-time, end-time.
    #[arg(long, value_name = "KEY=VALUE,…")]
    ctfe: Vec<String>,
    /// A Rekor log: url, public-key (PEM), start-time, end-time; a Rekor v2 log has its origin too.
    #[arg(long, value_name = "KEY=VALUE,…")]
    rekor: Vec<String>,
    /// A timestamp authority: url, certificate-chain (PEM, its own certificate first), start-time, end-time.
    #[arg(long, value_name = "KEY=VALUE,…")]
    tsa: Vec<String>,
    /// Trust the public instance as well.
    #[arg(long)]
    with_default_services: bool,
    /// But not its certificate authority.
    #[arg(long)]
    no_default_fulcio: bool,
    /// But not its certificate logs.
    #[arg(long)]
    no_default_ctfe: bool,
    /// But not its Rekor logs.
    #[arg(long)]
    no_default_rekor: bool,
    /// But not its timestamp authority.
    #[arg(long)]
    no_default_tsa: bool,
    /// Where it is written, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// `usage` for the lists, `input.*`, `key.unsupported` for the files.
pub fn run(args: &TrustedRootArgs, output: Output) -> Result<(), Failure> {
    let TrustedRootCommand::Create(args) = &args.command;
    let (root, warnings) = create(args)?;
    for warning in warnings {
        output.say(&format!("warning: {warning}"));
    }
    write(&root.to_json(), args.out.as_deref(), output)
}

/// Writes a document to a file or to stdout.
///
/// # Errors
/// `input.unreadable`.
pub fn write(document: &str, out: Option<&Path>, output: Output) -> Result<(), Failure> {
    let Some(path) = out else {
        let value: Value = serde_json::from_str(document).unwrap_or_default();
        return output.data(document, &value);
    };
    std::fs::write(path, format!("{document}\n")).map_err(|error| Failure::file(path, &error))?;
    output.say(&format!("Wrote {}", path.display()));
    output.data("", &serde_json::json!({"out": path}))
}

fn create(args: &CreateArgs) -> Result<(TrustedRoot, Vec<String>), Failure> {
    let mut root = TrustedRoot::default();
    if args.with_default_services {
        root = TrustedRoot::from_json(PUBLIC_GOOD_TRUSTED_ROOT)
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        for (unwanted, list) in [
            (args.no_default_fulcio, &mut root.certificate_authorities),
            (args.no_default_tsa, &mut root.timestamp_authorities),
        ] {
            if unwanted {
                list.clear();
            }
        }
        for (unwanted, list) in [(args.no_default_ctfe, &mut root.ctlogs), (args.no_default_rekor, &mut root.tlogs)] {
            if unwanted {
                list.clear();
            }
        }
    }
    let mut warnings = Vec::new();
    for text in &args.fulcio {
        root.certificate_authorities.push(authority("--fulcio", text)?);
    }
    for text in &args.tsa {
        root.timestamp_authorities.push(authority("--tsa", text)?);
    }
    for text in &args.ctfe {
        root.ctlogs.push(log("--ctfe", text, &mut warnings)?);
    }
    for text in &args.rekor {
        root.tlogs.push(log("--rekor", text, &mut warnings)?);
    }
    Ok((root, warnings))
}

fn authority(flag: &'static str, text: &str) -> Result<CertificateAuthority, Failure> {
    let mut list = KeyValues::parse(flag, text)?;
    let uri = list.url()?;
    let path = PathBuf::from(list.required("certificate-chain")?);
    let mut valid_for = list.validity()?;
    list.end()?;
    let chain = chain(&path)?;
    let first = chain.first().ok_or_else(|| malformed(&path, "it holds no certificate"))?;
    // Clients in Go and Python refuse an authority without a start.
    valid_for.start.get_or_insert(first.not_before());
    let name = chain.last().unwrap_or(first).subject();
    Ok(CertificateAuthority {
        uri,
        organization: name.organization,
        common_name: name.common_name,
        valid_for,
        operator: None,
        chain,
    })
}

/// A chain whose every certificate names the next one as its issuer: clients differ in what they make of other orders.
fn chain(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let bytes = read_bounded(path, MAX_KEY_FILE_LEN).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| malformed(path, "it is no PEM"))?;
    let chain = Certificate::chain_from_pem(&text).map_err(|error| malformed(path, &error.to_string()))?;
    if chain.len() > MAX_CHAIN {
        return Err(malformed(path, &format!("it holds {} certificates, {MAX_CHAIN} are allowed", chain.len())));
    }
    for pair in chain.windows(2) {
        if let [certificate, issuer] = pair
            && certificate.issuer_der() != issuer.subject_der()
        {
            let problem = format!("{:?} is not issued by the certificate after it", certificate.subject().common_name);
            return Err(malformed(path, &problem).hint("put the issuing certificate first and the root last"));
        }
    }
    Ok(chain)
}

fn log(flag: &'static str, text: &str, warnings: &mut Vec<String>) -> Result<TransparencyLog, Failure> {
    let mut list = KeyValues::parse(flag, text)?;
    let base_url = list.url()?;
    let path = PathBuf::from(list.required("public-key")?);
    let valid_for = list.validity()?;
    let origin = if flag == "--rekor" { list.take("origin") } else { None };
    list.end()?;
    let public_key = read_public_key(&path).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let key_details = KeyDetails::for_key(&public_key).ok_or_else(|| {
        let message = format!("{}: trusted roots have no name for a key of {}", path.display(), public_key.kind());
        Failure::new(Code::KEY_UNSUPPORTED, message)
    })?;
    let log_id = match &origin {
        // The log id of a Rekor v2 log is the key id in its checkpoints, which may depend on the origin.
        Some(origin) => note::key_id(origin, &public_key),
        None => note::spki_key_id(public_key.spki_der()),
    };
    let host = Url::parse(&base_url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned));
    if let Some(origin) = origin.filter(|origin| host.as_deref() != Some(origin.split('/').next().unwrap_or_default()))
    {
        warnings.push(format!("cosign compares the host of {base_url} with the origin {origin}: they differ"));
    }
    Ok(TransparencyLog {
        base_url,
        public_key,
        key_details,
        // Clients in Go refuse a log without a start.
        valid_for: Validity { start: valid_for.start.or(Some(Timestamp::UNIX_EPOCH)), ..valid_for },
        log_id: log_id.to_vec(),
        checkpoint_key_id: None,
        operator: None,
    })
}

/// `input.malformed` about a file.
#[must_use]
pub fn malformed(path: &Path, problem: &str) -> Failure {
    Failure::new(Code::INPUT_MALFORMED, format!("{}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{CreateArgs, create};
    use waxseal_formats::code::Code;
    use waxseal_formats::note;
    use waxseal_formats::trusted_root::TrustedRoot;
    use waxseal_testkit::vectors;

    #[test]
    fn a_root_that_was_taken_apart_is_put_together_again() {
        let Some(vectors) = vectors() else { return };
        let document = std::fs::read(vectors.path("private-instance/trusted_root.json")).expect("root");
        let root = TrustedRoot::from_json(&document).expect("root");
        let folder = tempfile::tempdir().expect("directory");
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let chain = |name: &str, chain: &[waxseal_formats::x509::Certificate]| {
            file(name, chain.iter().map(waxseal_formats::x509::Certificate::to_pem).collect())
        };
        let (ca, tsa) = (&root.certificate_authorities[0], &root.timestamp_authorities[0]);
        let (ca_file, tsa_file) = (chain("ca", &ca.chain), chain("tsa", &tsa.chain));
        let (tlog, ctlog) = (root.tlogs.last().expect("log"), &root.ctlogs[0]);
        let (tlog_key, ctlog_key) = (file("tlog", tlog.public_key.to_pem()), file("ct", ctlog.public_key.to_pem()));
        let start = |time: Option<jiff::Timestamp>| time.expect("start").to_string();
        let args = CreateArgs {
            fulcio: vec![format!("url={},certificate-chain={ca_file}", ca.uri)],
            tsa: vec![format!(
                "url={},certificate-chain={tsa_file},start-time={}",
                tsa.uri,
                start(tsa.valid_for.start)
            )],
            rekor: vec![format!("url={},public-key={tlog_key},origin=127.0.0.1", tlog.base_url)],
            ctfe: vec![format!(
                "url={},public-key={ctlog_key},start-time={}",
                ctlog.base_url,
                start(ctlog.valid_for.start)
            )],
            ..CreateArgs::default()
        };
        let (made, warnings) = create(&args).expect("created");
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!((&made.tlogs[0].log_id, &made.tlogs[0].public_key), (&tlog.log_id, &tlog.public_key));
        assert_eq!((&made.ctlogs[0].log_id, made.ctlogs[0].valid_for), (&ctlog.log_id, ctlog.valid_for));
        assert_eq!(
            (&made.certificate_authorities[0].chain, &made.timestamp_authorities[0].chain),
            (&ca.chain, &tsa.chain)
        );
        assert_eq!(made.certificate_authorities[0].valid_for.start, Some(ca.chain[0].not_before()));
        assert_eq!(TrustedRoot::from_json(made.to_json().as_bytes()).expect("parsed"), made);

        // Without an origin it is a Rekor v1 log; an origin elsewhere is told of.
        let v1 =
            CreateArgs { rekor: vec![format!("url={},public-key={tlog_key}", tlog.base_url)], ..CreateArgs::default() };
        let (made, _) = create(&v1).expect("created");
        assert_eq!(made.tlogs[0].log_id, note::spki_key_id(tlog.public_key.spki_der()).to_vec());
        let elsewhere = CreateArgs {
            rekor: vec![format!("url={},public-key={tlog_key},origin=log.example", tlog.base_url)],
            ..CreateArgs::default()
        };
        assert_eq!(create(&elsewhere).expect("created").1.len(), 1);

        let reversed: Vec<_> = ca.chain.iter().rev().cloned().collect();
        let reversed = chain("reversed", &reversed);
        let code = |fulcio: String| {
            create(&CreateArgs { fulcio: vec![fulcio], ..CreateArgs::default() }).expect_err("refused").code
        };
        assert_eq!(code(format!("url=https://ca.example,certificate-chain={reversed}")), Code::INPUT_MALFORMED);
        assert_eq!(code(format!("url=https://ca.example,certificate-chain={tlog_key}")), Code::INPUT_MALFORMED);
        assert_eq!(code("url=https://ca.example,certificate-chain=/nowhere".into()), Code::INPUT_UNREADABLE);
        assert_eq!(code("url=https://ca.example".into()), Code::USAGE);
    }

    #[test]
    fn the_public_instance_is_trusted_only_where_it_was_asked_for() {
        let (made, _) = create(&CreateArgs::default()).expect("created");
        assert_eq!(made, TrustedRoot::default());
        let args = CreateArgs { with_default_services: true, no_default_ctfe: true, ..CreateArgs::default() };
        let (made, _) = create(&args).expect("created");
        assert!(made.ctlogs.is_empty() && !made.tlogs.is_empty() && !made.certificate_authorities.is_empty());
    }
}
