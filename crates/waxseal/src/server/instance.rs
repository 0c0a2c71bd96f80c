//! One signing instance, put together: material, logs, authorities, trust distribution and the demo identity provider,
//! behind one listener.

use crate::server::admin::Admin;
use crate::server::audit::Audit;
use crate::server::clock::Clock;
use crate::server::config::{self, Config, ConfigError, Provider, Settings};
use crate::server::ct::issuers::{Issuers, IssuersError};
use crate::server::ct::{self, CtLog};
use crate::server::expiry::Expiry;
use crate::server::first_entry::FirstEntryError;
use crate::server::front::tls::{Tls, TlsError};
use crate::server::front::{Bounds, Front};
use crate::server::fulcio::{self, Fulcio};
use crate::server::gateway;
use crate::server::idp::claims::IssuerKind;
use crate::server::idp::{self, Idp, IdpError, secret};
use crate::server::issuer_keys;
use crate::server::log_gauges::LogGauges;
use crate::server::logs::{LogError, Logs};
use crate::server::material::{MANIFEST, Material, MaterialError};
use crate::server::operate::{OperateError, Operator};
use crate::server::ready;
use crate::server::rekor_v1::{self, RekorV1};
use crate::server::rekor_v2;
use crate::server::reload::rules::RulesPart;
use crate::server::reload::{Part, Reloader, Status};
use crate::server::rules::CurrentRules;
use crate::server::telemetry::Metrics;
use crate::server::tsa::{self, Tsa, TsaSetupError};
use crate::server::tuf::{self, RootKey, TufError};
use crate::server::ui::{self, Ui};
use crate::server::writers::Admission;
use axum::Router;
use prometheus_client::metrics::gauge::Gauge;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;
use waxseal_authority::audit::{Event, NAMES_MESSAGE, Names, names_key};
use waxseal_authority::rules::{DEFAULT_AUDIENCE, Rules, RulesError};
use waxseal_formats::client_config::{ClientConfig, Privacy};
use waxseal_formats::code::Code;
use waxseal_io::disk::OsDisk;
use waxseal_io::jwks::Jwks;
use waxseal_io::signer::{KeyFiles, KeyPair, Signer as _};
use waxseal_io::store::{DirectoryLock, StoreError, sync_directory};
use waxseal_io::system;
use waxseal_io::transport::{Http, PlainHttp};

/// A running instance: what it serves is ready, requests are answered once [`Instance::serve`] runs.
pub struct Instance {
    url: String,
    front: Front,
    router: Router,
    /// Health and metrics on an address of their own.
    operations: Option<(Front, Router)>,
    privacy: Privacy,
    data_dir: PathBuf,
    operator: Arc<Operator>,
    reload: Reloadable,
    clock: Arc<Clock>,
    expiry: Arc<Expiry>,
    _lock: DirectoryLock,
}

/// The parts that take up another configuration while they work.
struct Reloadable {
    rules: Arc<CurrentRules>,
    admission: Arc<Admission>,
    jwks: Arc<Jwks>,
    audit: Arc<Audit>,
    tls: Option<Arc<Tls>>,
    status: Arc<Status>,
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
    /// The directory was made by `up`: whoever may read it can sign as anybody.
    #[error("{} was made by `up`, whose demo identity provider vouches for anybody: make another one with `waxseal init`", path.display())]
    DemoProvider {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was made by `init`: nobody vouches for made-up identities there.
    #[error("{} was made by `init`: start it with `waxseal serve`, or give `up` another directory", path.display())]
    Production {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has an instance already.
    #[error("{} holds an instance already", path.display())]
    Exists {
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
    /// The certificate of the listener.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
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
            Self::DemoProvider { .. } => Code::INPUT_DEMO_PROVIDER,
            Self::Production { .. } | Self::Exists { .. } => Code::USAGE,
            Self::Fulcio(_) | Self::Tsa(_) => Code::KEY_UNSUPPORTED,
            Self::Idp(error) => error.code(),
            Self::Rules(error) => error.code(),
            Self::Tuf(error) => error.code(),
            Self::Tls(error) => error.code(),
        }
    }
}

impl Instance {
    /// Opens the instance of a data directory; one with the demo provider is made if there is none. Nothing is made or
    /// changed before the address and the directory are known to be free.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: Settings, keys: KeyFiles) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        Self::start_on(listener, settings, keys).await
    }

    /// As [`Instance::start`], on a listener that is open already: who has to know the port beforehand opens it.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(listener: TcpListener, settings: Settings, keys: KeyFiles) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address: settings.listen, source };
        let url = settings.origin(listener.local_addr().map_err(failed)?);
        let opened = blocking(move || {
            match settings.provider {
                Provider::Demo => refuse_production(&settings.data_dir)?,
                Provider::Outside(_) => refuse_unmade(&settings.data_dir)?,
            }
            Opened::open(&settings, &url, keys)
        });
        opened.await?.into_instance(listener).await
    }

    /// Makes the instance of a data directory, or finishes making it: all its keys, certificates, logs, and the TUF
    /// repository, whose root `root` signs and which is stored nowhere. Returns SHA-256 of the root, in hexadecimal.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::Exists`] if there is one.
    pub async fn make(settings: Settings, keys: KeyFiles, root: KeyPair) -> Result<String, StartError> {
        let url = settings.origin(settings.listen);
        let opened = blocking(move || {
            let data_dir = &settings.data_dir;
            if data_dir.join(MANIFEST).exists() {
                return Err(StartError::Exists { path: data_dir.clone() });
            }
            refuse_demo(data_dir)?;
            Opened::open(&settings, &url, keys)
        });
        let opened = opened.await?;
        let client = opened.client();
        let Opened { url, settings, lock, material, logs, admission, .. } = opened;
        let (v1, v1_signer) = (logs.rekor_v1.handle(), material.rekor_v1_signer.clone());
        RekorV1::open(v1, v1_signer, Arc::clone(&admission)).await?;
        let root = RootKey::Given(root);
        let operator = Operator::new(settings.data_dir, url, client, material, logs, admission, root).await?;
        let checksum = operator.tuf().root_checksum();
        blocking(move || operator.close()).await;
        drop(lock);
        Ok(checksum)
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

    /// What takes up changes of the configuration that this instance was started with.
    #[must_use]
    pub fn reloader(&self, config: Config) -> Reloader {
        let Reloadable { rules, admission, jwks, audit, tls, status } = &self.reload;
        let (rules, admission, jwks) = (Arc::clone(rules), Arc::clone(admission), Arc::clone(jwks));
        let audit = Arc::clone(audit);
        let started = rules.load();
        let named = issuer_keys::files(&started.rules, config.settings.rules.as_deref());
        let part = RulesPart::new(Vec::new(), named, move |loaded, sources| {
            let (writers, before) = (loaded.rules.writers(), started.rules.writers());
            // The certificate log has its roots for as long as it runs.
            let same = writers.authorities().eq(before.authorities());
            admission.replace(writers.clone());
            jwks.replace_sources(sources);
            let candidate = loaded.candidate.as_ref().map(Rules::digest);
            audit.note(&Event::Rules { rules: loaded.rules.digest(), candidate });
            rules.replace(loaded.rules, loaded.candidate);
            if same { Vec::new() } else { vec!["writes: ca"] }
        });
        let mut parts: Vec<Box<dyn Part>> = vec![Box::new(part)];
        parts.extend(tls.iter().map(|tls| Box::new(Arc::clone(tls)) as Box<dyn Part>));
        Reloader::new(config, parts, Arc::clone(status))
    }

    /// Answers requests until `shutdown` is done, then finishes those under way and closes the logs.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let mut watching = JoinSet::new();
        watching.spawn(self.operator.tuf().keep_fresh());
        watching.spawn(Arc::clone(&self.reload.audit).keep());
        watching.spawn(self.clock.watch());
        watching.spawn(self.expiry.watch());
        let admin = Admin::listen(&self.data_dir, Arc::clone(&self.operator));
        if let Err(error) = &admin {
            tracing::warn!(%error, "`waxseal log` cannot reach this instance: it has to be stopped for it");
        }
        let operations = self.operations.map(|(front, routes)| {
            // Asked until the last request is answered.
            tokio::spawn(front.serve(routes, std::future::pending()))
        });
        self.front.serve(self.router, shutdown).await;
        if let Some(operations) = operations {
            operations.abort();
        }
        watching.abort_all();
        let audit = self.reload.audit;
        audit.note(&Event::Stopped);
        audit.finish().await;
        drop(admin);
        let operator = self.operator;
        blocking(move || operator.close()).await;
    }

    /// Opens the instance of a data directory for its operator alone, while nobody else uses it. It answers nobody, and keeps the
    /// URL that its clients know. Keep the lock as long as the operator.
    ///
    /// # Errors
    /// [`StartError`]; [`StoreError::Locked`] while the instance runs.
    pub async fn offline(data_dir: PathBuf, keys: KeyFiles) -> Result<(Arc<Operator>, DirectoryLock), StartError> {
        let opened = blocking(move || Opened::open_offline(data_dir, keys)).await?;
        let (client, root) = (opened.client(), opened.root_key());
        let Opened { url, settings, lock, material, logs, admission, .. } = opened;
        let operator = Operator::new(settings.data_dir, url, client, material, logs, admission, root).await?;
        Ok((Arc::new(operator), lock))
    }
}

/// The parts, opened, in a thread that may block.
struct Opened {
    url: String,
    rules: Rules,
    candidate: Option<Rules>,
    settings: Settings,
    lock: DirectoryLock,
    material: Material,
    logs: Logs,
    ct_log: CtLog,
    audit: Arc<Audit>,
    admission: Arc<Admission>,
    /// The demo provider, if that is who vouches.
    idp: Option<Arc<Idp>>,
}

impl Opened {
    fn open(settings: &Settings, url: &str, keys: KeyFiles) -> Result<Self, StartError> {
        let demo = settings.provider == Provider::Demo;
        let known = if demo { idp::issuers(url)? } else { Vec::new() };
        // Read before anything is made: a faulty file leaves nothing behind.
        let rules = config::rules(settings.rules.as_deref(), &known)?;
        let candidate = config::candidate(settings, &known)?;
        let data_dir = &settings.data_dir;
        make_directory(data_dir)?;
        let lock = DirectoryLock::acquire(&OsDisk, data_dir)?;
        let host = host(url)?;
        let material = Material::open(data_dir, &host, settings.privacy, &Arc::new(keys), system::now())?;
        material.require(data_dir, idp::FILES.into_iter().filter(|_| demo).chain(tuf::FILES))?;
        // The provider's RSA key takes as long to make as the logs do.
        let (logs, idp) = thread::scope(|scope| {
            let idp = demo.then(|| scope.spawn(|| Idp::open(data_dir, url)));
            (Logs::open(data_dir, &material), idp.map(|idp| idp.join().unwrap_or_else(|panic| resume_unwind(panic))))
        });
        let (logs, idp) = (logs?, idp.transpose()?.map(Arc::new));
        let issuers = Issuers::open(Arc::new(OsDisk), &data_dir.join("logs/ct/public"))?;
        let (ct, ct_signer) = (logs.ct.handle(), material.ct_signer.clone());
        // Whose certificates sign entries, their certificates are logged.
        let listed = rules.writers().authorities().cloned().collect();
        let names = if settings.audit.identities {
            Names::Plain
        } else {
            Names::Hashed(names_key(&material.audit_signer.sign(NAMES_MESSAGE).map_err(MaterialError::from)?))
        };
        let audit = Audit::new(ct.clone(), names);
        let ct_log = CtLog::new(ct, ct_signer, material.ca.chain(), listed, issuers, Arc::clone(&audit))?;
        let admission = Arc::new(Admission::new(rules.writers().clone(), material.ca.clone()));
        let (url, settings) = (url.to_owned(), settings.clone());
        Ok(Self { url, rules, candidate, settings, lock, material, logs, ct_log, audit, admission, idp })
    }

    /// As it was last told to clients.
    fn open_offline(data_dir: PathBuf, keys: KeyFiles) -> Result<Self, StartError> {
        let Some(told) = tuf::published(&data_dir)? else { return Err(StartError::NoInstance { path: data_dir }) };
        let settings = Settings::demo(data_dir, SocketAddr::from(([127, 0, 0, 1], 0)));
        let provider = match refuse_demo(&settings.data_dir) {
            Err(_) => Provider::Demo,
            Ok(()) => Provider::Outside(config::Login::told(&told.client)),
        };
        Self::open(&Settings { provider, ..settings }, &told.url, keys)
    }

    fn client(&self) -> ClientConfig {
        let own = self.idp.as_ref().map(|idp| config::Login::sigstore(idp.issuer(IssuerKind::Email)));
        let login = own.or_else(|| self.settings.login().cloned());
        let login = login.unwrap_or_else(|| config::Login::sigstore(String::new()));
        ClientConfig {
            oidc_issuer: login.issuer,
            client_id: login.client_id,
            audience: DEFAULT_AUDIENCE.into(),
            privacy: self.material.privacy,
        }
    }

    /// The key of a TUF root for development is with the others; in production it is kept elsewhere.
    const fn root_key(&self) -> RootKey {
        if self.idp.is_some() { RootKey::Beside } else { RootKey::Elsewhere }
    }

    async fn into_instance(self, listener: TcpListener) -> Result<Instance, StartError> {
        let front = front(&self.settings, listener)?;
        let operations = match self.settings.operations_listen {
            None => None,
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| StartError::Listen { address, source })?)
            }
        };
        let (client, root) = (self.client(), self.root_key());
        let Self { url, rules, candidate, settings, lock, material, logs, ct_log, audit, admission, idp } = self;
        audit.note(&Event::Started { rules: rules.digest() });
        let jwks = {
            let own = idp.as_ref().map(|idp| idp.keys()).unwrap_or_default();
            Arc::new(Jwks::new(Arc::new(Http::new(PlainHttp::LoopbackOnly)), own))
        };
        jwks.replace_sources(issuer_keys::sources(&rules, settings.rules.as_deref()));
        // Faults are in the log before somebody signs; nothing waits for it.
        tokio::spawn({
            let jwks = Arc::clone(&jwks);
            async move { jwks.ask_all().await }
        });
        let rules = Arc::new(CurrentRules::new(rules, candidate));

        let (v1, v1_signer) = (logs.rekor_v1.handle(), material.rekor_v1_signer.clone());
        let v1_log = v1.clone();
        let rekor_v1 = RekorV1::open(v1, v1_signer, Arc::clone(&admission)).await?;
        let certificate_log = logs.ct.handle();
        let clock = Clock::new(settings.timestamps.clone(), certificate_log.clone());
        let tsa = Tsa::new(material.tsa_chain.clone(), material.tsa_signer.clone(), Arc::clone(&clock))?;
        let (ca_chain, tsa_chain) = (material.ca.chain().to_vec(), material.tsa_chain.clone());
        let ca = material.ca.clone();
        let ca_signer = material.ca_signer.clone();
        let reloads = Arc::new(Status::default());
        let admitting = Arc::clone(&admission);
        let owner = Arc::clone(&admission);
        let (host, privacy, data_dir) = (material.host.clone(), material.privacy, settings.data_dir);
        let operator = Operator::new(data_dir.clone(), url.clone(), client, material, logs, owner, root).await?;
        let operator = Arc::new(operator);
        let expiry = Expiry::new(operator.tuf(), &ca_chain, &tsa_chain, front.tls.clone());
        let log_gauges = LogGauges { ct: certificate_log.clone(), rekor_v1: v1_log, rekor_v2: operator.rekor_v2() };
        let metrics = Arc::new(Metrics::new(|registry| {
            reloads.register(registry);
            expiry.register(registry);
            registry.register("connections", "Open connections", front.connections.clone());
            registry.register_collector(Box::new(log_gauges));
        }));
        let fulcio = Fulcio::new(fulcio::Parts {
            issuer: ca,
            signer: ca_signer,
            rules: Arc::clone(&rules),
            jwks: Arc::clone(&jwks),
            log: Arc::new(ct_log.clone()),
            admission: Arc::clone(&admission),
            metrics: Arc::clone(&metrics),
            audit: Arc::clone(&audit),
            per_identity: settings.limits.certificates_per_minute.and_then(NonZeroU32::new),
        })?;

        let told = Arc::clone(&reloads);
        let details: Vec<(_, ui::Detail)> = match settings.provider {
            Provider::Demo => Vec::new(),
            Provider::Outside(_) => {
                let (expiry, keys) = (Arc::clone(&expiry), Arc::clone(&jwks));
                vec![
                    ("config", Box::new(move || told.to_json())),
                    ("expires", Box::new(move || expiry.to_json())),
                    ("issuers", Box::new(move || issuer_keys::health(&keys))),
                ]
            }
        };
        let ready = ready::checks(ca_chain, certificate_log, operator.rekor_v2(), Arc::clone(&clock));
        let ui = Ui { url: url.clone(), operator: host, tuf: operator.tuf(), ready, details };
        let ui = Arc::new(ui);
        let operations = operations.map(|listener| {
            let routes = ui::health(Arc::clone(&ui)).merge(Arc::clone(&metrics).routes());
            // Whoever watches the instance is not one of those who could use it up.
            let bounds = Bounds { requests_per_second: None, ..front.bounds };
            let connections = Gauge::default();
            let plain = Front { listener, tls: None, bounds, trusted_proxies: Vec::new(), connections };
            (plain, routes.fallback(gateway::not_found))
        });
        let routes = Router::new()
            .merge(ui::routes(ui))
            .merge(fulcio::routes(Arc::new(fulcio)))
            .merge(ct::routes(ct_log))
            .merge(rekor_v1::routes(rekor_v1))
            .merge(rekor_v2::routes(operator.rekor_v2()))
            .merge(tsa::routes(Arc::new(tsa)))
            .merge(tuf::routes(operator.tuf()))
            .merge(idp.map_or_else(Router::new, Idp::routes))
            .merge(Arc::clone(&metrics).routes())
            .fallback(gateway::not_found)
            .method_not_allowed_fallback(gateway::method_not_allowed);
        let router = metrics.watch(routes);
        let reload = Reloadable { rules, admission: admitting, jwks, audit, tls: front.tls.clone(), status: reloads };
        Ok(Instance { url, front, router, operations, privacy, data_dir, operator, reload, clock, expiry, _lock: lock })
    }
}

/// The listener with what its settings say.
fn front(settings: &Settings, listener: TcpListener) -> Result<Front, StartError> {
    let tls = match &settings.tls {
        config::Tls::None => None,
        config::Tls::Files { certificate, key } => Some(Arc::new(Tls::open(certificate, key)?)),
    };
    let (limits, default) = (settings.limits, Bounds::default());
    let count = |limit: Option<u32>| limit.and_then(|limit| usize::try_from(limit).ok());
    let bounds = Bounds {
        connections: count(limits.connections).unwrap_or(default.connections),
        connections_per_address: count(limits.connections_per_address),
        requests_per_second: limits.requests_per_second.and_then(NonZeroU32::new),
        ..default
    };
    let trusted_proxies = settings.trusted_proxies.clone();
    Ok(Front { listener, tls, bounds, trusted_proxies, connections: Gauge::default() })
}

/// Makes a data directory that only its owner may enter, unless it is there, durably.
///
/// # Errors
/// [`StartError::DataDir`]; [`StoreError`] if it cannot be synced.
pub fn make_directory(data_dir: &Path) -> Result<(), StartError> {
    let missing: Vec<&Path> = data_dir.ancestors().take_while(|path| !path.exists()).collect();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|source| StartError::DataDir { path: data_dir.to_owned(), source })?;
    // What is made durable below a directory is lost with the directory's own name.
    for parent in missing.into_iter().filter_map(Path::parent) {
        sync_directory(&OsDisk, if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Runs what blocks; its panics are the caller's.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))
}

/// Whoever has the secret of a demo provider can be anybody.
fn refuse_demo(data_dir: &Path) -> Result<(), StartError> {
    let demo = [secret::FILE, idp::KEY_FILE].iter().any(|name| data_dir.join(name).exists());
    if demo { Err(StartError::DemoProvider { path: data_dir.to_owned() }) } else { Ok(()) }
}

/// What is served in production was made by `init`.
fn refuse_unmade(data_dir: &Path) -> Result<(), StartError> {
    refuse_demo(data_dir)?;
    let whole = data_dir.join(MANIFEST).exists();
    if whole { Ok(()) } else { Err(StartError::NoInstance { path: data_dir.to_owned() }) }
}

/// An instance that was made without the demo provider never gets one.
fn refuse_production(data_dir: &Path) -> Result<(), StartError> {
    let whole = data_dir.join(MANIFEST).exists();
    let made = data_dir.join(config::file::FILE).exists() || (whole && refuse_demo(data_dir).is_ok());
    if made { Err(StartError::Production { path: data_dir.to_owned() }) } else { Ok(()) }
}

/// The host of a URL, as the checkpoints of its logs name it: without the brackets of IPv6.
fn host(url: &str) -> Result<String, StartError> {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).map(|host| host.trim_matches(['[', ']']).to_owned());
    host.ok_or_else(|| StartError::Host { url: url.to_owned() })
}
