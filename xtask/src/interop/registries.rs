//! Registries that nobody here wrote.

use std::{fs, net::TcpListener};

use serde_json::json;

use super::{command::Site, parts::Program, server::Server};

/// A line of htpasswd for `robot`, whose password is [`PASSWORD`] (bcrypt, which the registry demands).
pub(super) const HTPASSWD: &str = "robot:$2b$04$Qt7EMyiDb46GJgWSZE9pcOIcNYubEjScx3W72HiVshFa/ix5HIQru\n";
pub(super) const PASSWORD: &str = "open-sesame";

/// A registry that runs.
pub(crate) struct Place {
    pub(super) name: &'static str,
    pub(crate) address: String,
    /// Kept for its end.
    _server: Server,
}

pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Debian's registry.
pub(super) fn registry(site: &Site, name: &'static str, users: Option<&str>) -> anyhow::Result<Place> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let folder = site.folder().join(name);
    fs::create_dir_all(&folder)?;
    let mut config = json!({
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": folder.join("data")}, "delete": {"enabled": true}},
        "http": {"addr": address},
    });
    if let (Some(users), Some(config)) = (users, config.as_object_mut()) {
        let path = folder.join("htpasswd");
        fs::write(&path, users)?;
        config.insert("auth".to_owned(), json!({"htpasswd": {"realm": "robots", "path": path}}));
    }
    // JSON is YAML.
    let path = folder.join("config.yml");
    fs::write(&path, config.to_string())?;
    let mut command = site.command(Program::DockerRegistry)?;
    command.arg("serve").arg(path);
    started(site, name, address, command)
}

pub(super) fn referrers_registry(site: &Site) -> anyhow::Result<Place> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = site.command(Program::ReferrersRegistry)?;
    command.arg(&address);
    started(site, "referrers", address, command)
}

fn started(site: &Site, name: &'static str, address: String, command: std::process::Command) -> anyhow::Result<Place> {
    let log = site.folder().join(format!("logs/registry-{name}.log"));
    let server = Server::when(command, &log, || Ok(std::net::TcpStream::connect(&address).is_ok()))?;
    Ok(Place { name, address, _server: server })
}
