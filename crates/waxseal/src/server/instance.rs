//! One signing instance, put together: material, logs, authorities, trust distribution and the demo identity provider,
//! behind one listener.

use crate::server::config::{self, ConfigError, UpSettings};
use crate::server::ct::issuers::{Issuers, IssuersError};
use crate::server::ct::{self, CtLog};
use crate::server::drive::{self, DriveError, Log, Reading};
use crate::server::fulcio::{self, Fulcio};
use crate::server::gateway;
use crate::server::idp::claims::IssuerKind;
use crate::server::idp::{self, Idp, IdpError};
use crate::server::material::{Material, MaterialError};
use crate::server::rekor_v1::{self, RekorV1};
use crate::server::rekor_v2::{self, RekorV2};
use crate::server::telemetry::Metrics;
use crate::server::tsa::{self, Tsa, TsaSetupError};
use crate::server::tuf::{self, Tuf, TufError};
use crate::server::ui::{self, Ui};
use crate::server::writers::Admission;
use axum::Router;
use jiff::SignedDuration;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use url::Url;
use waxseal_authority::rules::{DEFAULT_AUDIENCE, Rules, RulesError};
use waxseal_authority::trusted_root as description;
use waxseal_formats::client_config::{ClientConfig, Privacy};
use waxseal_formats::code::Code;
use waxseal_formats::trusted_root::Validity;
use waxseal_io::disk::OsDisk;
use waxseal_io::jwks::Jwks;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::store::{DirectoryLock, StoreError, sync_directory};
use waxseal_io::system;
use waxseal_io::transport::{Http, PlainHttp};
use waxseal_log::profile::{Bodies, Face, Profile, rekor_v1_origin};

/// A running instance: what it serves is ready, requests are answered once [`Instance::serve`] runs.
pub struct Instance {
    url: String,
    listener: TcpListener,
    router: Router,
    privacy: Privacy,
    tuf: Arc<Tuf>,
    logs: Vec<Log>,
    _lock: DirectoryLock,
}

/// Why an instance cannot be started or run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The data directory cannot be made.
    #[error("{}: {source}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The data directory cannot be locked.
    #[error(transparent)]
    Lock(#[from] StoreError),
    /// The public URL has no host.
    #[error("{url} has no host")]
    Host {
        /// The URL.
        url: String,
    },
    /// Keys and certificates.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// A log.
    #[error("{name} log: {source}")]
    Log {
        /// Which one.
        name: &'static str,
        /// What is wrong.
        source: DriveError,
    },
    /// The certificates above the leaves of the CT log.
    #[error("ct log: {0}")]
    Issuers(#[from] IssuersError),
    /// The Rekor log's own entry.
    #[error(transparent)]
    Rekor(#[from] rekor_v2::OpenError),
    /// The Rekor v1 log's own entry.
    #[error(transparent)]
    RekorV1(#[from] rekor_v1::OpenError),
    /// The certificate authority.
    #[error(transparent)]
    Fulcio(#[from] fulcio::OtherKey),
    /// The timestamp authority.
    #[error(transparent)]
    Tsa(#[from] TsaSetupError),
    /// The demo identity provider.
    #[error(transparent)]
    Idp(#[from] IdpError),
    /// The demo identity provider's issuers.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// What clients are told.
    #[error(transparent)]
    Description(#[from] description::TrustedRootError),
    /// The TUF repository.
    #[error("TUF repository: {0}")]
    Tuf(#[from] TufError),
}

impl StartError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Config(error) => error.code(),
            Self::Listen { .. } => Code::NETWORK_LISTEN,
            Self::DataDir { .. } => Code::INPUT_UNREADABLE,
            Self::Host { .. } => Code::USAGE,
            Self::Lock(error) => error.code(),
            Self::Material(error) => error.code(),
            Self::Log { source, .. } => source.code(),
            Self::Issuers(error) => error.code(),
            Self::Rekor(error) => error.code(),
            Self::RekorV1(error) => error.code(),
            Self::Fulcio(_) | Self::Tsa(_) => Code::KEY_UNSUPPORTED,
            Self::Idp(error) => error.code(),
            Self::Rules(error) => error.code(),
            Self::Description(error) => error.code(),
            Self::Tuf(error) => error.code(),
        }
    }
}

impl Instance {
    /// Opens the instance of a data directory, or makes it. Nothing is made or changed before the address and the directory
    /// are known to be free.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: UpSettings) -> Result<Self, StartError> {
        let settings = settings.check()?;
        let failed = |source| StartError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        Self::start_on(listener, settings).await
    }

    /// As [`Instance::start`], on a listener that is open already: who has to know the port beforehand opens it.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(listener: TcpListener, settings: UpSettings) -> Result<Self, StartError> {
        let settings = settings.check()?;
        let failed = |source| StartError::Listen { address: settings.listen, source };
        let url = settings.origin(listener.local_addr().map_err(failed)?);
        let opened = tokio::task::spawn_blocking(move || Opened::open(&settings, &url)).await;
        let opened = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        opened.into_instance(listener).await
    }

    /// Scheme, host and port by which clients know the instance.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its logs keep.
    #[must_use]
    pub const fn privacy(&self) -> Privacy {
        self.privacy
    }

    /// SHA-256 of the first TUF root, in hexadecimal.
    #[must_use]
    pub fn root_checksum(&self) -> String {
        self.tuf.root_checksum()
    }

    /// Answers requests until `shutdown` is done, then finishes those under way and closes the logs.
    ///
    /// # Errors
    /// What the system says when the listener fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let renewal = tokio::spawn(Arc::clone(&self.tuf).keep_fresh());
        let served = axum::serve(self.listener, self.router).with_graceful_shutdown(shutdown).await;
        renewal.abort();
        for log in self.logs {
            log.close();
        }
        served
    }
}

/// The parts, opened, in a thread that may block.
struct Opened {
    url: String,
    rules: Rules,
    settings: UpSettings,
    lock: DirectoryLock,
    material: Material,
    ct: Log,
    ct_log: CtLog,
    rekor: Log,
    rekor_v1: Log,
    idp: Arc<Idp>,
}

impl Opened {
    fn open(settings: &UpSettings, url: &str) -> Result<Self, StartError> {
        // Read before anything is made: a faulty file leaves nothing behind.
        let rules = config::rules(settings.rules.as_deref(), &idp::issuers(url)?)?;
        let data_dir = &settings.data_dir;
        let missing: Vec<&Path> = data_dir.ancestors().take_while(|path| !path.exists()).collect();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        made.map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
        // What is made durable below a directory is lost with the directory's own name.
        for parent in missing.into_iter().filter_map(Path::parent) {
            sync_directory(&OsDisk, if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        let lock = DirectoryLock::acquire(&OsDisk, data_dir)?;
        let host = host(url)?;
        let material = Material::open(data_dir, &host, settings.privacy, system::now())?;
        material.require(data_dir, idp::FILES.into_iter().chain(tuf::FILES))?;
        let logs = data_dir.join("logs");
        let create = material.is_new();
        let ct = read_log(&logs, "ct", ct_profile(&host, &material), &material.ct_signer, create)?;
        let rekor = read_log(&logs, "rekor", rekor_profile(&host, &material), &material.rekor_signer, create)?;
        let create = material.lacks_rekor_v1();
        let profile = rekor_v1_profile(&host, &material);
        let rekor_v1 = read_log(&logs, "rekor-v1", profile, &material.rekor_v1_signer, create)?;
        // All are sound: only now one of them may be changed.
        let start = |name, log: Reading| log.start().map_err(|source| StartError::Log { name, source });
        let (ct, rekor, rekor_v1) = (start("ct", ct)?, start("rekor", rekor)?, start("rekor-v1", rekor_v1)?);
        // Whose certificates sign entries, their certificates are logged.
        let listed = rules.writers().authorities().cloned().collect();
        let issuers = Issuers::open(Arc::new(OsDisk), &logs.join("ct").join("public"))?;
        let ct_log = CtLog::new(ct.handle(), material.ct_signer.clone(), material.ca.chain(), listed, issuers)?;
        let idp = Arc::new(Idp::open(data_dir, url)?);
        Ok(Self {
            url: url.to_owned(),
            rules,
            settings: settings.clone(),
            lock,
            material,
            ct,
            ct_log,
            rekor,
            rekor_v1,
            idp,
        })
    }

    async fn into_instance(self, listener: TcpListener) -> Result<Instance, StartError> {
        let Self { url, rules, settings, lock, mut material, ct, ct_log, rekor, rekor_v1, idp } = self;
        let jwks = Arc::new(Jwks::new(Arc::new(Http::new(PlainHttp::LoopbackOnly)), idp.keys()));

        let admission = Arc::new(Admission::new(rules.writers().clone(), material.ca.clone()));
        let rekor_v2 = RekorV2::open(rekor.handle(), Arc::clone(&admission)).await?;
        let rekor_v1_log =
            RekorV1::open(rekor_v1.handle(), material.rekor_v1_signer.clone(), Arc::clone(&admission)).await?;
        let tsa = Tsa::new(material.tsa_chain.clone(), material.tsa_signer.clone())?;
        let ca = material.ca.clone();
        let ca_signer = material.ca_signer.clone();
        let fulcio = Fulcio::new(ca, ca_signer, Arc::new(rules), jwks, Arc::new(ct_log.clone()), admission)?;

        let client = ClientConfig {
            oidc_issuer: idp.issuer(IssuerKind::Email),
            client_id: "sigstore".into(),
            audience: DEFAULT_AUDIENCE.into(),
            privacy: material.privacy,
        };
        let config = describe(&url, &material, &client).client_trust_config()?;
        let targets = tuf::targets(&config, &client, &url);
        let data_dir = settings.data_dir.clone();
        let opening = tokio::task::spawn_blocking(move || Tuf::open(&data_dir, targets, system::now()));
        let tuf = opening.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let tuf = Arc::new(tuf);
        if !material.is_whole() {
            material.complete()?;
        }

        let ui = Ui { url: url.clone(), operator: material.host.clone(), tuf: Arc::clone(&tuf), ready: Vec::new() };
        let metrics = Arc::new(Metrics::new(|_| {}));
        let routes = Router::new()
            .merge(ui::routes(Arc::new(ui)))
            .merge(fulcio::routes(Arc::new(fulcio)))
            .merge(ct::routes(ct_log))
            .merge(rekor_v1::routes(rekor_v1_log))
            .merge(rekor_v2::routes(rekor_v2))
            .merge(tsa::routes(Arc::new(tsa)))
            .merge(tuf::routes(Arc::clone(&tuf)))
            .merge(idp.routes())
            .merge(Arc::clone(&metrics).routes())
            .fallback(gateway::not_found)
            .method_not_allowed_fallback(gateway::method_not_allowed);
        let (router, privacy) = (metrics.watch(routes), client.privacy);
        Ok(Instance { url, listener, router, privacy, tuf, logs: vec![ct, rekor, rekor_v1], _lock: lock })
    }
}

/// The host of a URL, as the checkpoints of its logs name it: without the brackets of IPv6.
fn host(url: &str) -> Result<String, StartError> {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).map(|host| host.trim_matches(['[', ']']).to_owned());
    host.ok_or_else(|| StartError::Host { url: url.to_owned() })
}

/// What the logs of an instance keep.
const fn bodies(privacy: Privacy) -> Bodies {
    match privacy {
        Privacy::Sealed => Bodies::Sealed,
        Privacy::Open => Bodies::Kept,
    }
}

fn ct_profile(host: &str, material: &Material) -> Profile {
    let key = material.ct_signer.public_key().clone();
    Profile { origin: format!("{host}/ctlog"), key, face: Face::StaticCt, bodies: bodies(material.privacy) }
}

fn rekor_profile(host: &str, material: &Material) -> Profile {
    let key = material.rekor_signer.public_key().clone();
    Profile { origin: host.to_owned(), key, face: Face::RekorV2, bodies: bodies(material.privacy) }
}

fn rekor_v1_profile(host: &str, material: &Material) -> Profile {
    let key = material.rekor_v1_signer.public_key().clone();
    Profile { origin: rekor_v1_origin(host, &key), key, face: Face::RekorV1, bodies: bodies(material.privacy) }
}

/// Reads a log; only in a directory that was never whole is a missing one made.
fn read_log(
    logs: &Path,
    name: &'static str,
    profile: Profile,
    signer: &Arc<KeyPair>,
    create: bool,
) -> Result<Reading, StartError> {
    let failed = |source| StartError::Log { name, source };
    let directory = logs.join(name);
    let settings = drive::Settings::default();
    if create && !Log::exists(&directory, &settings).map_err(failed)? {
        Log::create(&directory, &profile, &settings).map_err(failed)?;
    }
    Log::read(&directory, profile, signer.clone(), settings).map_err(failed)
}

/// What clients are told of the instance: all of it is valid since it was made. Of the two Rekor logs the one that began last is
/// taken by sigstore-js, so the v1 log began a second before.
fn describe(url: &str, material: &Material, client: &ClientConfig) -> description::Instance {
    let valid_for = Validity::from(material.created);
    let authority = |common_name: &str, chain: Vec<_>| description::Authority {
        common_name: common_name.to_owned(),
        chain,
        valid_for,
    };
    description::Instance {
        url: url.to_owned(),
        operator: material.host.clone(),
        oidc_issuers: vec![client.oidc_issuer.clone()],
        start: material.created,
        certificate_authorities: vec![authority("waxseal signing", material.ca.chain().to_vec())],
        timestamp_authorities: vec![authority("waxseal timestamp authority", material.tsa_chain.clone())],
        ct_logs: vec![description::CtLog {
            url: format!("{url}/ctlog"),
            key: material.ct_signer.public_key().clone(),
            valid_for,
        }],
        rekor_logs: vec![
            description::RekorLog {
                url: url.to_owned(),
                version: description::RekorVersion::V1,
                origin: rekor_v1_origin(&material.host, material.rekor_v1_signer.public_key()),
                key: material.rekor_v1_signer.public_key().clone(),
                valid_for: Validity::from(
                    material.created.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(material.created),
                ),
            },
            description::RekorLog {
                url: url.to_owned(),
                version: description::RekorVersion::V2,
                origin: material.host.clone(),
                key: material.rekor_signer.public_key().clone(),
                valid_for,
            },
        ],
    }
}
