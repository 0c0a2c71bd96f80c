//! One signing instance, put together: material, logs, authorities, trust distribution and the demo identity provider,
//! behind one listener.

use crate::server::admin::Admin;
use crate::server::config::{self, ConfigError, UpSettings};
use crate::server::ct::issuers::{Issuers, IssuersError};
use crate::server::ct::{self, CtLog};
use crate::server::first_entry::FirstEntryError;
use crate::server::fulcio::{self, Fulcio};
use crate::server::gateway;
use crate::server::idp::claims::IssuerKind;
use crate::server::idp::{self, Idp, IdpError};
use crate::server::issuer_keys;
use crate::server::logs::{LogError, Logs};
use crate::server::material::{Material, MaterialError};
use crate::server::operate::{OperateError, Operator};
use crate::server::rekor_v1::{self, RekorV1};
use crate::server::rekor_v2;
use crate::server::telemetry::Metrics;
use crate::server::tsa::{self, Tsa, TsaSetupError};
use crate::server::tuf::{self, TufError};
use crate::server::ui::{self, Ui};
use crate::server::writers::Admission;
use axum::Router;
use axum::serve::ListenerExt as _;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use url::Url;
use waxseal_authority::rules::{DEFAULT_AUDIENCE, Rules, RulesError};
use waxseal_formats::client_config::{ClientConfig, Privacy};
use waxseal_formats::code::Code;
use waxseal_io::disk::OsDisk;
use waxseal_io::jwks::Jwks;
use waxseal_io::store::{DirectoryLock, StoreError, sync_directory};
use waxseal_io::system;
use waxseal_io::transport::{Http, PlainHttp};

/// A running instance: what it serves is ready, requests are answered once [`Instance::serve`] runs.
pub struct Instance {
    url: String,
    listener: TcpListener,
    router: Router,
    privacy: Privacy,
    data_dir: PathBuf,
    operator: Arc<Operator>,
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
    /// The certificates above the leaves of the CT log.
    #[error("ct log: {0}")]
    Issuers(#[from] IssuersError),
    /// A log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The Rekor v1 log's own entry.
    #[error("the Rekor v1 log's first entry: {0}")]
    RekorV1(#[from] FirstEntryError),
    /// The Rekor log's own entry, what clients are told, and the TUF repository that tells them.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// There is no instance in the directory.
    #[error("{} holds no instance", path.display())]
    NoInstance {
        /// The directory.
        path: PathBuf,
    },
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
            Self::Log(error) => error.code(),
            Self::Issuers(error) => error.code(),
            Self::RekorV1(error) => error.code(),
            Self::Operate(error) => error.code(),
            Self::NoInstance { .. } => Code::INPUT_UNREADABLE,
            Self::Fulcio(_) | Self::Tsa(_) => Code::KEY_UNSUPPORTED,
            Self::Idp(error) => error.code(),
            Self::Rules(error) => error.code(),
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
        self.operator.tuf().root_checksum()
    }

    /// Answers requests until `shutdown` is done, then finishes those under way and closes the logs.
    ///
    /// # Errors
    /// What the system says when the listener fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let renewal = tokio::spawn(self.operator.tuf().keep_fresh());
        let admin = Admin::listen(&self.data_dir, Arc::clone(&self.operator));
        if let Err(error) = &admin {
            tracing::warn!(%error, "`waxseal log` cannot reach this instance: it has to be stopped for it");
        }
        // An answer is one write: nothing is gained by waiting for more of it.
        let listener = self.listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        let served = axum::serve(listener, self.router).with_graceful_shutdown(shutdown).await;
        renewal.abort();
        drop(admin);
        let operator = self.operator;
        let closing = tokio::task::spawn_blocking(move || operator.close()).await;
        closing.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        served
    }

    /// Opens the instance of a data directory for its operator alone, while nobody else uses it. It answers nobody, and keeps the
    /// URL that its clients know. Keep the lock as long as the operator.
    ///
    /// # Errors
    /// [`StartError`]; [`StoreError::Locked`] while the instance runs.
    pub async fn offline(data_dir: PathBuf) -> Result<(Arc<Operator>, DirectoryLock), StartError> {
        let opened = tokio::task::spawn_blocking(move || Opened::open_offline(data_dir)).await;
        let opened = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let client = opened.client();
        let Opened { url, settings, lock, material, logs, admission, .. } = opened;
        let operator = Operator::new(settings.data_dir, url, client, material, logs, admission).await?;
        Ok((Arc::new(operator), lock))
    }
}

/// The parts, opened, in a thread that may block.
struct Opened {
    url: String,
    rules: Rules,
    settings: UpSettings,
    lock: DirectoryLock,
    material: Material,
    logs: Logs,
    ct_log: CtLog,
    admission: Arc<Admission>,
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
        let logs = Logs::open(data_dir, &material)?;
        let issuers = Issuers::open(Arc::new(OsDisk), &data_dir.join("logs/ct/public"))?;
        let (ct, ct_signer) = (logs.ct.handle(), material.ct_signer.clone());
        // Whose certificates sign entries, their certificates are logged.
        let listed = rules.writers().authorities().cloned().collect();
        let ct_log = CtLog::new(ct, ct_signer, material.ca.chain(), listed, issuers)?;
        let admission = Arc::new(Admission::new(rules.writers().clone(), material.ca.clone()));
        let idp = Arc::new(Idp::open(data_dir, url)?);
        let (url, settings) = (url.to_owned(), settings.clone());
        Ok(Self { url, rules, settings, lock, material, logs, ct_log, admission, idp })
    }

    /// As it was last told to clients.
    fn open_offline(data_dir: PathBuf) -> Result<Self, StartError> {
        let Some(url) = tuf::published_url(&data_dir)? else { return Err(StartError::NoInstance { path: data_dir }) };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = UpSettings { data_dir, listen, public_url: None, rules: None, privacy: None };
        Self::open(&settings, &url)
    }

    fn client(&self) -> ClientConfig {
        ClientConfig {
            oidc_issuer: self.idp.issuer(IssuerKind::Email),
            client_id: "sigstore".into(),
            audience: DEFAULT_AUDIENCE.into(),
            privacy: self.material.privacy,
        }
    }

    async fn into_instance(self, listener: TcpListener) -> Result<Instance, StartError> {
        let client = self.client();
        let Self { url, rules, settings, lock, material, logs, ct_log, admission, idp } = self;
        let jwks = Arc::new(Jwks::new(Arc::new(Http::new(PlainHttp::LoopbackOnly)), idp.keys()));
        jwks.replace_sources(issuer_keys::sources(&rules, settings.rules.as_deref()));
        // Faults are in the log before somebody signs; nothing waits for it.
        tokio::spawn({
            let jwks = Arc::clone(&jwks);
            async move { jwks.ask_all().await }
        });

        let (v1, v1_signer) = (logs.rekor_v1.handle(), material.rekor_v1_signer.clone());
        let rekor_v1 = RekorV1::open(v1, v1_signer, Arc::clone(&admission)).await?;
        let tsa = Tsa::new(material.tsa_chain.clone(), material.tsa_signer.clone())?;
        let ca = material.ca.clone();
        let ca_signer = material.ca_signer.clone();
        let admitting = Arc::clone(&admission);
        let fulcio = Fulcio::new(ca, ca_signer, Arc::new(rules), jwks, Arc::new(ct_log.clone()), admitting)?;

        let (host, privacy, data_dir) = (material.host.clone(), material.privacy, settings.data_dir);
        let operator = Arc::new(Operator::new(data_dir.clone(), url.clone(), client, material, logs, admission).await?);

        let ui = Ui { url: url.clone(), operator: host, tuf: operator.tuf(), ready: Vec::new() };
        let metrics = Arc::new(Metrics::new(|_| {}));
        let routes = Router::new()
            .merge(ui::routes(Arc::new(ui)))
            .merge(fulcio::routes(Arc::new(fulcio)))
            .merge(ct::routes(ct_log))
            .merge(rekor_v1::routes(rekor_v1))
            .merge(rekor_v2::routes(operator.rekor_v2()))
            .merge(tsa::routes(Arc::new(tsa)))
            .merge(tuf::routes(operator.tuf()))
            .merge(idp.routes())
            .merge(Arc::clone(&metrics).routes())
            .fallback(gateway::not_found)
            .method_not_allowed_fallback(gateway::method_not_allowed);
        let router = metrics.watch(routes);
        Ok(Instance { url, listener, router, privacy, data_dir, operator, _lock: lock })
    }
}

/// The host of a URL, as the checkpoints of its logs name it: without the brackets of IPv6.
fn host(url: &str) -> Result<String, StartError> {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).map(|host| host.trim_matches(['[', ']']).to_owned());
    host.ok_or_else(|| StartError::Host { url: url.to_owned() })
}
